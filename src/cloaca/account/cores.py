"""Cores: how many of them ran tasks at each moment, and why the others didn't."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from cloaca.account.spans import Span
from cloaca.engine.ledger import Ledger
from cloaca.history.plan import Plan


class Idle(NamedTuple):
    """How many seconds the workers had nothing to do, all of them together, and why.

    `starting`: before the first task began. `nothing_ready`: all that could run did, and the rest waited for that.
    `handing_over`: a task was ready, and had not begun: it was on its way, its worker was starting, or it waited for a
    limit. `ending`: after the last task.
    """

    starting: float
    nothing_ready: float
    handing_over: float
    ending: float

    @property
    def seconds(self) -> float:
        """All of it."""
        return sum(self)


class Moment(NamedTuple):
    """From here on, in seconds since the execution began, so many run, and so many that are ready do not."""

    at: float
    running: int
    ready: int


def moments(ledger: Ledger, plan: Plan, spans: Sequence[Span]) -> list[Moment]:
    """The moments at which that changes, in order."""
    changes: list[tuple[float, int, int]] = []
    for span, ready in zip(spans, _ready_at(ledger, plan, spans), strict=True):
        changes += [(min(ready, span.started), 0, 1), (span.started, 1, -1), (span.ended, -1, 0)]
    changes.sort()
    found: list[Moment] = []
    running = waiting = 0
    for at, runs, waits in changes:
        running, waiting = running + runs, waiting + waits
        if found and found[-1].at == at:
            found.pop()
        found.append(Moment(at, running, waiting))
    return found


def idle(found: Sequence[Moment], workers: int, seconds: float) -> Idle:
    """Why so many workers had nothing to do in a run that took so many `seconds`."""
    first = next((moment.at for moment in found if moment.running), seconds)
    last = found[-1].at if found else seconds
    nothing_ready = handing_over = 0.0
    for one, then in pairwise(found):
        if one.at < first:
            continue
        free = max(0, workers - one.running)
        delayed = min(free, one.ready)
        handing_over += delayed * (then.at - one.at)
        nothing_ready += (free - delayed) * (then.at - one.at)
    return Idle(workers * first, nothing_ready, handing_over, workers * max(0.0, seconds - last))


def _ready_at(ledger: Ledger, plan: Plan, spans: Sequence[Span]) -> Iterator[float]:
    """When each of them could have begun: all before it had ended."""
    ended = {span.unit: span.ended for span in spans}
    for rank, fan in ledger.fans.items():
        ended[rank] = max((ended.get(unit, 0.0) for unit in range(fan.first, fan.first + fan.size)), default=0.0)
    before: dict[int, float] = {}
    for span in spans:
        rank, leader = plan.rank[span.task], None
        if span.item is not None:
            leader = ledger.fans[rank].leader
        followed = None if leader is None else leader.rank
        if rank not in before:
            others = (ended.get(above, 0.0) for above in plan.predecessors[rank] if above != followed)
            before[rank] = max(others, default=0.0)
        own = 0.0 if leader is None or span.item is None else ended.get(leader.first + span.item, 0.0)
        yield max(before[rank], own)
