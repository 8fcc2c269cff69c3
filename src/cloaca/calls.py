"""Calls of `map`: one function is called with many items, on the workers of a runner or in its own process."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from cloaca import argument
from cloaca.attempts.batch import Awaited, BatchFunction, Spread, UnbrokenBatch
from cloaca.attempts.seeding import unseeded
from cloaca.count import Count
from cloaca.engine.batches import BatchRun
from cloaca.engine.events import Deliver
from cloaca.pickling.functions import OfMap, capture
from cloaca.pickling.loading import Sharing
from cloaca.retry import RetryPolicy
from cloaca.running.batches import Sizes
from cloaca.running.coordinator import Job, OnEnd
from cloaca.running.mapping import Lists, mapped, results_here, unseen
from cloaca.running.settings import (
    check_limit,
    checked_order,
    checked_retry,
    checked_seconds,
    checked_size,
    chosen_seed,
)
from cloaca.runs import Runs, at_hand
from cloaca.sending.attached import Attached
from cloaca.sending.variables import Variables
from cloaca.tasks.place import place_of, working_directory
from cloaca.terms import Terms
from cloaca.wire.messages import ITEMS, Publish, SpanNote

if TYPE_CHECKING:
    from cloaca.progress.results import Counted
    from cloaca.tracing.call import CallSpan
    from cloaca.values.storage import Leases


def call_each(
    runs: Runs,
    function: Callable[..., Any],
    items: Iterable[Any],
    *more_iterables: Iterable[Any],
    chunksize: int | None,
    seed: int | None,
    retry: RetryPolicy | None,
    retry_attempts: int | None,
    timeout: float | None,
    ordered: bool,
    on_error: Literal["raise", "return"],
    limit: str | None,
    shared: Mapping[str, Any] | None,
    progress: bool | None,
) -> Iterator[Any]:
    """Call the function with each of the items; yield what it returns."""
    runs.check_usable()
    terms = Terms(checked_retry(retry, retry_attempts), chosen_seed(seed), *checked_order(on_error, ordered))
    timeout = checked_seconds("timeout", timeout)
    sizes = Sizes(checked_size(chunksize, timeout))
    check_limit(limit, runs.settings.limits)
    seat = ((limit, 1),) if limit else ()
    if seat:
        runs.gates.demand_none(f"map(limit={limit!r})")
    shared = argument.shared(shared)
    place = place_of(function, working_directory()) if shared else ""
    called = argument.of_items(function, 1 + len(more_iterables), shared, place)
    called = Sharing(called, **shared) if shared else called
    given = Spread(called) if more_iterables else called
    given = Awaited(given) if argument.is_awaited(called) else given
    name = getattr(function, "__name__", type(function).__name__)
    counted = _counted(runs, name, (items, *more_iterables), progress=progress)
    seen, count = (unseen, Count()) if counted is None else (counted.through, counted.count)
    items = zip(items, *more_iterables, strict=False) if more_iterables else items
    if runs.settings.executor == "serial":
        from cloaca.execution import serial  # workers do without

        gate = partial(runs.gates.passed, seat) if seat else nullcontext
        single = BatchFunction(given, terms.seed, sizes.longest)
        span = _span(runs, function, name, _at_once)
        each = serial.each(single, items, runs.workroom, terms, gate, span.variables(), count)
        return results_here(each, lambda lists: seen(span.through(lists)))
    kind = UnbrokenBatch if terms.goes_on else BatchFunction
    sent, own, variables, objects = None, list[Publish](), 0, dict[int, object]()
    leases: Leases = {}
    loop = runs.running_loop()
    if loop.calls_objects:
        number = next(runs.blocks)
        objects = {number: kind(given, terms.seed, sizes.longest, unseeded)}
    else:
        apart = Attached(loop.holder, leases)
        captured = capture(OfMap("map"), kind(given, terms.seed, sizes.longest), called, apart)
        number = captured.number
        sent = Publish(number, captured.blob, (ITEMS,), attached=captured.attached)
        wanted = Variables([called], lambda _: "The function of map").now()
        own, variables = ([], 0) if wanted is None else ([wanted], wanted.function)
    surroundings = runs.surroundings(loop.holder)
    span = _span(runs, function, name, loop.do)
    run = BatchRun(
        number,
        numbers=runs.numbers,
        grace=runs.settings.grace,
        variables=variables,
        timeout=timeout,
        share=seat,
        seats=runs.seats,
        traced=span.traced,
    )

    if counted is not None:
        counted.running = run.running
    called_here = runs.objects  # not the runner itself: whoever lets go of it ends it

    def job(on_delivery: Callable[[Deliver], None], on_end: OnEnd) -> Job[BatchRun]:
        ending = at_hand(called_here, objects, on_end)
        return Job("", run, own, ending, surroundings, sent, leases, on_delivery, on_note=span.note)

    through = span.through
    return mapped(
        runs, loop, job, items, sizes, runs.settings.workers, terms, lambda lists: seen(through(lists)), count
    )


def _counted(runs: Runs, name: str, items: tuple[Iterable[Any], ...], *, progress: bool | None) -> "Counted | None":
    """What looks at the results as they come: a display of how far it is, if that is asked for."""
    wanted = runs.settings.progress if progress is None else argument.switch("progress", progress)
    if not wanted:
        return None
    from cloaca.progress.board import board  # what draws it takes a while to load
    from cloaca.progress.results import Counted

    totals = [len(some) for some in items if isinstance(some, Sized)]
    return Counted(name, min(totals, default=None), board().show)


class _Unspanned:
    """In the place of a span, where there is none."""

    traced = None

    def variables(self) -> None:
        """The function is called as it is."""

    def through(self, lists: Lists) -> Lists:
        """The same lists."""
        return lists

    def note(self, noted: SpanNote) -> None:
        """Nobody has a span to tell of."""


def _span(
    runs: Runs, function: Callable[..., Any], name: str, apart: Callable[[Callable[[], None]], None]
) -> "CallSpan | _Unspanned":
    """The span of the call, if it is traced. `apart` has something done by another thread, if there is one."""
    tracer = runs.settings.tracer
    if tracer is None:
        return _Unspanned()
    from cloaca.tracing.call import CallSpan  # few are traced

    return CallSpan(tracer, function, name, apart)


def _at_once(call: Callable[[], None]) -> None:
    call()
