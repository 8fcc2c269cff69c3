"""Readers: which tasks may still look at the value of a key, among those that come after its writer.

Of some tasks it is known which keys they look at: they are listed by key. All others may look at any. A task that may,
and hasn't ended, or that comes before such a one, is *live*; of each task it is counted how many live ones depend on
it. So every dependency is counted down once in a run, whatever the number of values.
"""

from collections.abc import Sequence

from cloaca.history.ancestry import Ancestry
from cloaca.history.plan import Plan
from cloaca.history.write import INPUT_RANK

_INPUT = (INPUT_RANK,)


class Readers:
    """The readers of one run. `reads`: the keys that each task may look at, by rank; `None`: any."""

    def __init__(self, plan: Plan, ancestry: Ancestry, reads: Sequence[frozenset[str] | None]) -> None:
        self._predecessors = plan.predecessors
        self._ancestry = ancestry
        self._has_ended = bytearray(len(reads))
        self._may_read_any = bytearray(keys is None for keys in reads)
        self._by_key: dict[str, list[int]] = {}
        for rank, keys in enumerate(reads):
            for key in keys or ():
                self._by_key.setdefault(key, []).append(rank)
        self._live = [0] * (len(reads) + 1)  # the last one counts those that depend on the input alone
        for rank in reversed(range(len(reads))):
            if self._may_read_any[rank] or self._live[rank]:
                for above in self._predecessors[rank] or _INPUT:
                    self._live[above] += 1

    def ended(self, rank: int) -> list[int]:
        """A task has ended; returns those after which none comes any more that may look at any key."""
        self._has_ended[rank] = True
        if not self._may_read_any[rank]:
            return []
        self._may_read_any[rank] = False
        done: list[int] = []
        ahead = [] if self._live[rank] else [rank]
        while ahead:
            for above in self._predecessors[ahead.pop()] or _INPUT:
                self._live[above] -= 1
                if not self._live[above]:
                    done.append(above)
                    if above != INPUT_RANK and not self._may_read_any[above]:
                        ahead.append(above)
        return done

    def is_any_after(self, rank: int) -> bool:
        """Whether a task comes after this one that may look at any key."""
        return self._live[rank] > 0

    def after(self, rank: int, key: str) -> int | None:
        """A task that looks at this key and may come after that one."""
        readers = self._by_key.get(key, [])
        while readers and self._has_ended[readers[-1]]:
            readers.pop()
        for reader in reversed(readers):
            if reader <= rank:
                return None
            if not self._has_ended[reader] and (rank == INPUT_RANK or self._ancestry.may_be_above(rank, reader)):
                return reader
        return None
