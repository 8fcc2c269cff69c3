"""Left: how many seconds more an execution will take, by what its tasks took before.

The work that is left is shared by all workers. But it takes no less than the longest way through it: what has to come
after something else can't be done beside it.
"""

from array import array
from collections.abc import Callable, Mapping, Sequence
from itertools import compress
from typing import NamedTuple

from cloaca.engine.fan import Fan
from cloaca.engine.ledger import Ledger
from cloaca.engine.priority import longest
from cloaca.engine.state import ENDED
from cloaca.history.plan import Plan

Before = Mapping[str, tuple[float, int]]
"""What tasks took in an earlier execution, by id: seconds, of an instance where it is mapped; and how many of these."""

_UNKNOWN = (0.0, 1)
_NEAR = 1.2
"""By which factor what is usual may differ from what was counted with."""

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
        self._known: _KnownTimes | None = None
        self._ahead: _TimesAhead | None = None

    def of(self, ledger: Ledger, states: bytes, so_far: Mapping[int, Sequence[float]]) -> float | None:
        """How many seconds are left; `None` where nothing tells.

        `states` are by rank, and so is for how long what runs has: `so_far`. A task whose time isn't known counts as
        the mean of the others.
        """
        fans = [*ledger.fans.values()]
        ahead = self._looked_ahead(fans)
        if ahead is None:
            return None
        left, work, longest_way = bytearray(states.translate(_LEFT)), 0.0, 0.0
        for rank in {*so_far, *(fan.rank for fan in fans if left[fan.rank])}:
            own, count = _own(ahead.each[rank], so_far.get(rank, ()), ledger.fans.get(rank))
            work += own
            span = own / max(1, min(count, self._workers))
            longest_way = max(longest_way, span + ahead.ways[rank] - ahead.spans[rank])
            left[rank] = False
        work += sum(compress(ahead.work, left))
        return max(work / self._workers, longest_way, max(compress(ahead.ways, left), default=0.0))

    def end(self, ledger: Ledger) -> None:
        """It has ended: the next execution of the workflow can tell how many instances there may be."""
        self._sizes.update({rank: fan.size for rank, fan in ledger.fans.items()})

    def _looked_ahead(self, fans: Sequence[Fan]) -> "_TimesAhead | None":
        """What lies ahead. It is worked out again where tasks of unknown times turn out to take others, as a mean."""
        known = self._known = self._known or self._looked_back()
        ahead = self._ahead
        if ahead is not None and known.tells_all:
            return ahead
        usual = self._usual(known, fans)
        if usual and (ahead is None or not ahead.usual / _NEAR <= usual <= ahead.usual * _NEAR):
            ahead = self._ahead = self._worked_out(known, usual)
        return ahead

    def _looked_back(self) -> "_KnownTimes":
        names, each = self._plan.names, [*self._durations]
        before = {} if all(each) else self._recorded()
        if before:
            each = [seconds or before.get(name, _UNKNOWN)[0] for seconds, name in zip(each, names, strict=True)]
        sizes = [self._sizes.get(rank) or before.get(name, _UNKNOWN)[1] for rank, name in enumerate(names)]
        return _KnownTimes(each, sizes, all(each))

    def _usual(self, known: "_KnownTimes", fans: Sequence[Fan]) -> float:
        """How long those tasks take as a mean of which that is known by now; 0.0: of none."""
        both = zip(self._durations, known.each, strict=True)
        took = [seconds for now, before in both if (seconds := now or before)]
        took += [fan.seconds * fan.size / ended for fan in fans if fan.seconds and (ended := _ended(fan))]
        return sum(took) / len(took) if took else 0.0

    def _worked_out(self, known: "_KnownTimes", usual: float) -> "_TimesAhead":
        each = [seconds or usual for seconds in known.each]
        work = array("d", [seconds * size for seconds, size in zip(each, known.sizes, strict=True)])
        shared = zip(work, known.sizes, strict=True)
        spans = [seconds / max(1, min(size, self._workers)) for seconds, size in shared]
        ways = longest(range(len(each) - 1, -1, -1), self._plan.successors, spans)
        return _TimesAhead(usual, each, work, spans, ways)


class _KnownTimes(NamedTuple):
    """What was known before the first look: of each task how long it took, 0.0 where nothing tells; and of how many."""

    each: list[float]
    sizes: list[int]
    tells_all: bool


class _TimesAhead(NamedTuple):
    """What there is to do, by rank, where a task of unknown time takes as long as is `usual`.

    How long each takes, or an instance of it; the work of all its instances; how long it takes where workers share
    that; and the longest way from its begin to the end of the execution.
    """

    usual: float
    each: Sequence[float]
    work: Sequence[float]
    spans: Sequence[float]
    ways: Sequence[float]


def _own(each: float, so_far: Sequence[float], fan: Fan | None) -> tuple[float, int]:
    """How long a task that runs has to go on, or a mapped one with its instances; and how many there are."""
    each, count = (each, 1) if fan is None else _instances(fan, each)
    return max(0.0, each * count - sum([min(each, seconds) for seconds in so_far])), count


def _instances(fan: Fan, before: float) -> tuple[float, int]:
    """How long an instance of a mapped task takes, and how many are left."""
    ended = _ended(fan)
    return (fan.seconds * fan.size / ended if ended else before), fan.size - ended


def _ended(fan: Fan) -> int:
    return fan.size - fan.unended
