"""Rows: mapped tasks one after the other, item by item; and which values of their instances are needed no longer.

What instances set under a key is collected when all have ended, and then a task that comes after may read it. A mapped
task has an *heir* if one follows it, and all else that comes after it comes after that one, too: then whatever an
instance of the heir sets or removes, nobody will read as it was before, neither in its row nor collected. So large
values may go as soon as that instance has ended well. What is collected is told when the heir is, with empty places
in their stead: in the same places whichever instance ended first.

Where the workflow says which keys are asked for, a value of another key goes as soon as the last instance of its row
that may look at it has ended well, if nothing after the row may.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from cloaca.engine.fan import Fan
from cloaca.history.ancestry import Ancestry
from cloaca.history.plan import Plan
from cloaca.history.unwanted import Demand
from cloaca.values.blobs import is_reference


class Rows:
    """The rows of one run. `kept`: the keys of which every write counts, however many come after it.

    `demand`: what is asked for, where the workflow says so.
    """

    def __init__(self, plan: Plan, ancestry: Ancestry, kept: AbstractSet[str], demand: Demand | None = None) -> None:
        self._successors = plan.successors
        self._ancestry = ancestry
        self._kept = kept
        self._demand = demand
        self._readers: dict[tuple[int, str], int | None] = {}

    def heir(self, fan: Fan) -> Fan | None:
        """The fan that is seen in place of this one by all that isn't before it, if there is one."""
        if len(fan.followers) != 1:
            return None
        (heir,) = fan.followers
        after = (task for task in self._successors[fan.rank] if task != heir.rank)
        return heir if all(self._ancestry.is_known_above(heir.rank, task) for task in after) else None

    def bequeathed(self, fan: Fan) -> list[Fan]:
        """Those that this one is seen in place of, the first one first."""
        found: list[Fan] = []
        while fan.leader is not None and self.heir(fan.leader) is fan:
            fan = fan.leader
            found.append(fan)
        return found[::-1]

    def spent(self, fan: Fan, index: int) -> list[bytes]:
        """The large values of its row that nobody needs any more, now that the instance has ended well."""
        owners, wrote = self.bequeathed(fan), fan.wrote(index)
        found: list[bytes] = []
        for owner in owners:
            for key, payload in owner.wrote(index).items():
                if payload is None or not is_reference(payload) or key in self._kept:
                    continue
                is_spent = wrote[key] != payload if key in wrote else self._last_reader(owner, key) == fan.rank
                if is_spent and fan.before(index, key)[0] is owner:
                    found.append(payload)
        return found

    def _last_reader(self, fan: Fan, key: str) -> int | None:
        """The last of its row that may look at what it has set; `None` where others may, or the key is asked for."""
        demand = self._demand
        if demand is None or key in demand.outputs:
            return None
        if (fan.rank, key) not in self._readers:
            self._readers[fan.rank, key] = self._found(fan, key, demand.reads)
        return self._readers[fan.rank, key]

    def _found(self, fan: Fan, key: str, reads: Sequence[AbstractSet[str] | None]) -> int | None:
        after = [
            rank
            for rank in range(fan.rank + 1, len(reads))
            if ((keys := reads[rank]) is None or key in keys) and self._ancestry.may_be_above(fan.rank, rank)
        ]
        row: set[int] = set()
        heir = self.heir(fan)
        while heir is not None:
            row.add(heir.rank)
            heir = self.heir(heir)
        return after[-1] if after and row.issuperset(after) else None

    def diff_of(self, fan: Fan, diff: dict[str, bytes | None], later: Sequence[Fan]) -> dict[str, bytes | None]:
        """What a fan leaves, given what was collected of it, and those that are seen in its place."""
        anew = {key for one in later for key in one.keys_set}
        left = [key for key in diff if key not in self._kept]
        gone = [key for key in left if key in anew or self._last_reader(fan, key) is not None]
        return {key: fan.collected(key, without_large=key in gone) for key in diff} if gone else diff
