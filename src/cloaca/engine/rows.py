"""Rows: mapped tasks one after the other, item by item; and which values of their instances are needed no longer.

What instances set under a key is collected when all have ended, and then a task that comes after may read it. A mapped
task has an *heir* if one follows it, and all else that comes after it comes after that one, too: then whatever an
instance of the heir sets or removes, nobody will read as it was before, neither in its row nor collected. So large
values may go as soon as that instance has ended well. What is collected is told when the heir is, with empty places
in their stead: in the same places whichever instance ended first.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from cloaca.engine.fan import Fan
from cloaca.history.ancestry import Ancestry
from cloaca.history.plan import Plan
from cloaca.values.blobs import is_reference


class Rows:
    """The rows of one run. `kept`: the keys of which every write counts, however many come after it."""

    def __init__(self, plan: Plan, ancestry: Ancestry, kept: AbstractSet[str]) -> None:
        self._successors = plan.successors
        self._ancestry = ancestry
        self._kept = kept

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

    def superseded(self, fan: Fan, index: int) -> list[bytes]:
        """The large values that nobody needs any more, now that the instance has ended well."""
        found: list[bytes] = []
        for key, payload in fan.wrote(index).items() if fan.leader is not None else ():
            owner, before = fan.before(index, key)
            if before is None or before == payload or not is_reference(before) or key in self._kept:
                continue
            if owner in self.bequeathed(fan):
                found.append(before)
        return found

    def diff_of(self, fan: Fan, diff: dict[str, bytes | None], later: Sequence[Fan]) -> dict[str, bytes | None]:
        """What a fan leaves, given what was collected of it, and those that are seen in its place."""
        gone = {key for one in later for key in one.keys_set if key in diff and key not in self._kept}
        return {key: fan.collected(key, without_large=key in gone) for key in diff} if gone else diff
