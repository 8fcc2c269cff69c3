"""Cores: how many of them ran tasks at each moment, and why the others didn't."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from msgspec import Struct

from cloaca.account.spans import Span
from cloaca.engine.ledger import Ledger
from cloaca.engine.seats import Share
from cloaca.history.plan import Plan


class Idle(NamedTuple):
    """How many seconds the workers had nothing to do, all of them together, and why.

    `starting`: before the first task began. `nothing_ready`: all that could run did, and the rest waited for that.
    `backing_off`: a task waited to be tried again. `limited`: others ran that had taken what a named limit allows.
    `handing_over`: a task was ready, and had not begun: it was on its way, or its worker was starting. `ending`: after
    the last task.
    """

    starting: float = 0.0
    nothing_ready: float = 0.0
    backing_off: float = 0.0
    limited: float = 0.0
    handing_over: float = 0.0
    ending: float = 0.0

    @property
    def seconds(self) -> float:
        """All of it."""
        return sum(self)


class Moment(Struct, frozen=True, gc=False):
    """From here on, in seconds since the execution began, so many run; `ready` could, and don't.

    Of those, `limited` wait for others that have taken of the same named limits. `backing_off` wait to be tried again.
    """

    at: float
    running: int
    ready: int
    limited: int = 0
    backing_off: int = 0


_Shift = tuple[float, int, int, int, Share]
"""When how many more run, are ready and back off, of such a share: there are three for each task, so no class."""


def moments(
    ledger: Ledger, plan: Plan, spans: Sequence[Span], failed: Sequence[Span], seats: Mapping[str, int]
) -> list[Moment]:
    """The moments at which that changes, in order.

    `spans` are the last tries, `failed` those before them, and `seats` how many each named limit has.
    """
    before: dict[int, list[Span]] = {}
    for one in failed:
        before.setdefault(one.unit, []).append(one)
    changes: list[_Shift] = []
    for span, ready in zip(spans, _ready_at(ledger, plan, spans), strict=True):
        changes += _changes(before.get(span.unit, ()), span, ready, ledger.share(span.unit))
    changes.sort()
    return [*_summed(changes, seats)]


def _changes(failed: Sequence[Span], last: Span, ready: float, share: Share) -> Iterator[_Shift]:
    """What the tries of a task change that is ready from then on."""
    for span in (*failed, last):
        yield min(ready, span.started), 0, 1, 0, share
        yield span.started, 1, -1, 0, share
        yield span.ended, -1, 0, 0, share
        if span is not last:
            ready = span.ended + span.delay
            yield span.ended, 0, 0, 1, ()
            yield ready, 0, 0, -1, ()


def _summed(changes: Sequence[_Shift], seats: Mapping[str, int]) -> Iterator[Moment]:
    running = ready = backing_off = limited = 0
    has_changed = False
    left, waits = dict(seats), Counter[Share]()
    for place, (at, starts, readied, backs_off, share) in enumerate(changes, 1):
        running, ready, backing_off = running + starts, ready + readied, backing_off + backs_off
        if share:
            waits[share] += readied
            for name, count in share:
                left[name] -= starts * count
            has_changed = True
        if place == len(changes) or changes[place][0] > at:
            if has_changed:
                limited, has_changed = _limited(waits, left), False
            yield Moment(at, running, ready, limited, backing_off)


def _limited(waits: Counter[Share], left: Mapping[str, int]) -> int:
    """How many wait for what others have taken, or for what is kept for those that do."""
    for share in [share for share, number in waits.items() if not number]:
        del waits[share]
    waiting = [*waits]
    lacking = {share for share in waiting if _lacks(share, left)}
    kept = dict(left)
    for share in lacking:
        for name, count in share:
            kept[name] = min(kept[name], left[name] - count)
    return sum([waits[share] for share in waiting if share in lacking or _lacks(share, kept)])


def _lacks(share: Share, left: Mapping[str, int]) -> bool:
    return any(left[name] < count for name, count in share)


def idle(found: Sequence[Moment], workers: int, seconds: float) -> Idle:
    """Why so many workers had nothing to do in a run that took so many `seconds`."""
    first = next((moment.at for moment in found if moment.running), seconds)
    last = found[-1].at if found else seconds
    handing_over = limited = backing_off = nothing_ready = 0.0
    for one, then in pairwise(found):
        if one.at < first:
            continue
        took, free = then.at - one.at, max(0, workers - one.running)
        on_their_way = min(free, one.ready - one.limited)
        held = min(free - on_their_way, one.limited)
        waiting = min(free - on_their_way - held, one.backing_off)
        handing_over += on_their_way * took
        limited += held * took
        backing_off += waiting * took
        nothing_ready += (free - on_their_way - held - waiting) * took
    ending = workers * max(0.0, seconds - last)
    return Idle(workers * first, nothing_ready, backing_off, limited, handing_over, ending)


def _ready_at(ledger: Ledger, plan: Plan, spans: Sequence[Span]) -> Iterator[float]:
    """When each of them could have begun: all before it had ended."""
    ended = {span.unit: span.ended for span in spans}
    for rank, fan in ledger.fans.items():
        ended[rank] = max((ended.get(unit, 0.0) for unit in range(fan.first, fan.first + fan.size)), default=0.0)
    before: dict[int, float] = {}
    for span in spans:
        rank = plan.rank[span.task]
        leaders = () if span.item is None else ledger.fans[rank].leaders
        if rank not in before:
            followed = {leader.rank for leader in leaders}
            others = (ended.get(above, 0.0) for above in plan.predecessors[rank] if above not in followed)
            before[rank] = max(others, default=0.0)
        own = max((ended.get(leader.first + (span.item or 0), 0.0) for leader in leaders), default=0.0)
        yield max(before[rank], own)
