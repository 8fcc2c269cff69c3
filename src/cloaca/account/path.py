"""The critical path through a run: which tasks, one after the other, it had to wait for, by what they took.

No number of workers makes a run shorter than that (Brent, 1974).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cloaca.account.spans import Span
from cloaca.engine.fan import Fan
from cloaca.engine.ledger import Ledger
from cloaca.history.plan import Plan


class CriticalPath(NamedTuple):
    """The spans of the tasks on it, in order, and how many seconds they took together."""

    spans: tuple[Span, ...]
    seconds: float


def critical_path(ledger: Ledger, plan: Plan, spans: Sequence[Span]) -> CriticalPath:
    """The one by dependencies. Of a mapped task that follows another item by item, each instance follows its own."""
    by_unit = {span.unit: span for span in spans}
    paths = _Paths(by_unit)
    for rank, above in enumerate(plan.predecessors):
        fan = ledger.fans.get(rank)
        if fan is None:
            paths.go_on(rank, paths.longest(above))
        else:
            _go_on_in(paths, fan, above)
    units = paths.back_from(paths.longest(range(len(plan.names))))
    found = tuple([by_unit[unit] for unit in units if unit in by_unit])
    return CriticalPath(found, sum(span.seconds for span in found))


def _go_on_in(paths: "_Paths", fan: Fan, above: Sequence[int]) -> None:
    leaders = fan.leaders
    followed = {leader.rank for leader in leaders}
    before = paths.longest([rank for rank in above if rank not in followed])
    others = () if before is None else (before,)
    for index in range(fan.size):
        paths.go_on(fan.first + index, paths.longest((*others, *(leader.first + index for leader in leaders))))
    paths.go_on(fan.rank, paths.longest((*range(fan.first, fan.first + fan.size), *others)))


class _Paths:
    """The longest path to each unit: how many seconds it takes, and which unit comes before the last one."""

    def __init__(self, spans: Mapping[int, Span]) -> None:
        self._spans = spans
        self._seconds: dict[int, float] = {}
        self._before: dict[int, int | None] = {}

    def longest(self, units: Sequence[int]) -> int | None:
        """Which of these units has the longest path to it."""
        return max(units, key=self._seconds.__getitem__, default=None)

    def go_on(self, unit: int, before: int | None) -> None:
        """The longest path to a unit is that to the one `before`, and itself."""
        own = self._spans[unit].seconds if unit in self._spans else 0.0
        self._seconds[unit] = own + (0.0 if before is None else self._seconds[before])
        self._before[unit] = before

    def back_from(self, unit: int | None) -> list[int]:
        """The units on the way to that one, in order."""
        units = []
        while unit is not None:
            units.append(unit)
            unit = self._before[unit]
        return units[::-1]
