"""Left: how many seconds more an execution will take, by what its tasks took before.

The work that is left is shared by all workers. But it takes no less than the longest way through it: what has to come
after something else can't be done beside it.
"""

from array import array
from collections.abc import Callable, Mapping, Sequence
from itertools import compress

from cloaca.engine.fan import Fan
from cloaca.engine.ledger import Ledger
from cloaca.engine.priority import longest
from cloaca.engine.state import ENDED
from cloaca.history.plan import Plan

Before = Mapping[str, tuple[float, int]]
"""What tasks took in an earlier execution, by id: seconds, of an instance where it is mapped; and how many of these."""

_UNKNOWN = (0.0, 1)
_LEFT = bytes([number not in ENDED for number in range(256)])


class TimeLeft:
    """Of one execution. Nothing is worked out before somebody asks.

    `durations`: how many seconds tasks took last, or an instance of each, by rank, as the run brings it up to date;
    0.0: that isn't known. `sizes`: how many instances mapped tasks had, by rank. What is on record is asked for only
    where these don't tell everything, and once: `recorded`.
    """

    def __init__(
        self,
        plan: Plan,
        durations: Sequence[float],
        sizes: dict[int, int],
        workers: int,
        recorded: Callable[[], Before] = dict,
    ) -> None:
        self._plan = plan
        self._durations = durations
        self._sizes = sizes
        self._workers = workers
        self._recorded = recorded
        self._each: list[float] = []
        self._work: Sequence[float] = ()
        self._spans: list[float] = []
        self._ways: Sequence[float] = ()
        self._is_known = False

    def of(self, ledger: Ledger, states: bytes, so_far: Mapping[int, Sequence[float]]) -> float | None:
        """How many seconds are left; `None` where nothing tells.

        `states` are by rank, and so is for how long what runs has: `so_far`. A task whose time isn't known counts as
        the mean of the others.
        """
        if not self._ways:
            self._look_back()
        left, fans = bytearray(states.translate(_LEFT)), [*ledger.fans.values()]
        usual = 1.0 if self._is_known else self._usual(fans)
        if not usual:
            return None
        work, longest_way, apart = 0.0, 0.0, [fan.rank for fan in fans if left[fan.rank]]
        for rank in {*apart, *so_far}:
            own, count = self._own(rank, usual, so_far.get(rank, ()), ledger.fans.get(rank))
            after = (self._ways[rank] - self._spans[rank]) * usual
            work += own
            longest_way = max(longest_way, after + own / max(1, min(count, self._workers)))
            left[rank] = False
        work += usual * sum(compress(self._work, left))
        return max(work / self._workers, longest_way, usual * max(compress(self._ways, left), default=0.0))

    def end(self, ledger: Ledger) -> None:
        """It has ended: the next execution of the workflow can tell how many instances there may be."""
        self._sizes.update({rank: fan.size for rank, fan in ledger.fans.items()})

    def _own(self, rank: int, usual: float, so_far: Sequence[float], fan: Fan | None) -> tuple[float, int]:
        """How long a task that runs has to go on, or a mapped one with its instances; and how many there are."""
        each, count = (usual * self._each[rank], 1) if fan is None else _instances(fan, usual * self._each[rank])
        return max(0.0, each * count - sum([min(each, seconds) for seconds in so_far])), count

    def _usual(self, fans: Sequence[Fan]) -> float:
        """How long tasks take as a mean that have ended in this execution, or that are mapped; 0.0: none has."""
        known = [seconds for seconds in self._durations if seconds > 0]
        known += [fan.seconds * fan.size / ended for fan in fans if fan.seconds and (ended := _ended(fan))]
        return sum(known) / len(known) if known else 0.0

    def _look_back(self) -> None:
        """What is known of earlier executions; where that is nothing, each task counts as one."""
        names, each = self._plan.names, [*self._durations]
        before = {} if all(each) else self._recorded()
        if before:
            each = [seconds or before.get(name, _UNKNOWN)[0] for seconds, name in zip(each, names, strict=True)]
        sizes = [self._sizes.get(rank) or before.get(name, _UNKNOWN)[1] for rank, name in enumerate(names)]
        known = [seconds for seconds in each if seconds > 0]
        self._is_known = bool(known)
        usual = sum(known) / len(known) if known else 1.0
        self._each = [seconds if seconds > 0 else usual for seconds in each]
        self._work = array("d", [seconds * size for seconds, size in zip(self._each, sizes, strict=True)])
        self._spans = [work / max(1, min(size, self._workers)) for work, size in zip(self._work, sizes, strict=True)]
        self._ways = longest(range(len(names) - 1, -1, -1), self._plan.successors, self._spans)


def _instances(fan: Fan, before: float) -> tuple[float, int]:
    """How long an instance of a mapped task takes, and how many are left."""
    ended = _ended(fan)
    return (fan.seconds * fan.size / ended if ended else before), fan.size - ended


def _ended(fan: Fan) -> int:
    return fan.size - fan.unended
