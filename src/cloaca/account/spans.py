"""Spans: when each task and instance ran, where, and what it cost."""

from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from cloaca.engine.ends import End, FailedTry, cost_of
from cloaca.engine.ledger import Ledger
from cloaca.wire.messages import Lost, Usage


class Span(Struct, frozen=True, gc=False):
    """One try of a task, or of an instance of a mapped one for the item of that number.

    `started` and `ended` are seconds since the execution began; `cpu` are seconds, `peak_memory` and the others bytes.
    `worker`: the number of the worker, from 1; 0: the program itself. `status`: how it ended: "Completed", "Failed",
    "Cancelled", "Skipped" (a condition was looked at), or "Retried": it failed with that `error`, and another one
    followed `delay` seconds later. `loading`, `waiting` and `encoding` are those of its seconds, where they are worth a
    word, in which the function was loaded (and with it the packages `imported`) and values rebuilt, values that it
    lacked were waited for, and those that it set were made bytes.
    """

    unit: int
    task: str
    item: int | None
    name: str
    nth: int
    worker: int
    started: float
    ended: float
    cpu: float
    status: str
    read: tuple[str, ...]
    bytes_read: int
    bytes_mapped: int
    bytes_written: int
    peak_memory: int
    delay: float = 0.0
    error: str = ""
    loading: float = 0.0
    waiting: float = 0.0
    encoding: float = 0.0
    imported: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.started


def spans_of(ledger: Ledger, began: float) -> Iterator[Span]:
    """The last tries of all that have run, as far as is known when, by unit. `began`: when, on the clock of costs.

    A mapped task has one for each instance, and none of its own. What had ended before, and was taken over, has none.
    """
    for unit, end in enumerate(ledger.ends):
        cost = None if unit in ledger.fans else _cost(ledger, unit, end)
        if cost is not None and cost.started >= began:
            yield _span(ledger, unit, ledger.attempts[unit], cost, began, ledger.states[unit].name.capitalize())


def _span(ledger: Ledger, unit: int, nth: int, cost: Usage, began: float, status: str) -> Span:
    span = Span(
        unit,
        *ledger.place(unit),
        ledger.name(unit),
        nth,
        cost.worker,
        cost.started - began,
        cost.ended - began,
        cost.cpu,
        status,
        cost.read,
        cost.bytes_read,
        cost.bytes_mapped,
        cost.bytes_written,
        cost.peak_memory,
    )
    phases = cost.phases
    if phases is None:
        return span
    return replace(
        span, loading=phases.loading, waiting=phases.waiting, encoding=phases.encoding, imported=phases.imported
    )


def _cost(ledger: Ledger, unit: int, end: End) -> Usage | None:
    """What its last try has cost. Of one that was cut off it is known when it ran."""
    if isinstance(end, Lost) and unit in ledger.cut_off:
        started, ended = ledger.cut_off[unit]
        return Usage(started, ended, 0.0, 0, worker=end.worker)
    return cost_of(end)


def failed_spans_of(ledger: Ledger, began: float) -> Iterator[Span]:
    """The tries that failed and were followed by others, as far as they are kept and known to have begun by then."""
    for unit, tries in ledger.failed_tries.items():
        for failed in tries:
            cost = _cost_of_failed(failed)
            if cost is not None and cost.started >= began:
                span = _span(ledger, unit, failed.nth, cost, began, "Retried")
                yield replace(span, delay=failed.delay or 0.0, error=failed.error)


def _cost_of_failed(failed: FailedTry) -> Usage | None:
    """What it has cost. Of one that was cut off it is known when it ran, if the run was told that it began."""
    if failed.began is None or not isinstance(failed.end, Lost):
        return cost_of(failed.end)
    return Usage(failed.began, failed.ended, 0.0, 0, worker=failed.end.worker)
