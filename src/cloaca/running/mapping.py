"""map: one function over many items, on a runner's workers; the results come in the order of the items.

    items --> batches --> supplied, a few ahead --> results, in any order --> in the order of the items

Items are taken, and batches made, on the thread that asks for results, as it goes: input may be endless, and what is
under way is bounded. Batches are sized by what earlier ones have taken. What an error comes after is the same for all
sizes: a batch brings its results up to the error, and an item that can't be had or sent ends the last batch before it.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from itertools import islice
from queue import SimpleQueue
from typing import Any

from cloaca.engine.batches import BatchRun
from cloaca.engine.events import Deliver, Supply
from cloaca.errors import CloacaError
from cloaca.failure import raised
from cloaca.item import of_item, of_result, unreadable
from cloaca.loss import error_of
from cloaca.running.coordinator import Job
from cloaca.running.loop import Loop
from cloaca.running.results import Results
from cloaca.running.storage import Leases
from cloaca.wire.blobs import LARGE
from cloaca.wire.codec import decode
from cloaca.wire.elements import decode_list, encode_list
from cloaca.wire.messages import FAILURE, RESULTS, Done, Failed, Lost

Arrival = Deliver | Exception | None
MakeJob = Callable[[Callable[[Deliver], None], Callable[[Exception | None], None]], Job[BatchRun]]

BATCH_SECONDS = 0.02
"""How long a batch should take: much longer than its way to a worker and back."""

LARGEST_BATCH = 50_000
MOST_GROWTH = 8
AHEAD_PER_WORKER = 3
"""How many batches each worker has under way: one that it runs, one that waits, one that is being read."""


class Sizes:
    """How many items the next batch should have: `fixed`, or by the durations of earlier ones.

    >>> sizes = Sizes(None)
    >>> sizes.next, sizes.measured(1, 0.0001), sizes.next, sizes.measured(8, 0.08), sizes.next
    (1, None, 8, None, 2)
    """

    def __init__(self, fixed: int | None) -> None:
        self.next = fixed or 1
        self._is_fixed = fixed is not None

    def measured(self, items: int, seconds: float) -> None:
        """A batch of so many items took so long."""
        if not self._is_fixed:
            fitting = int(items * BATCH_SECONDS / max(seconds, 1e-9))
            self.next = max(1, min(fitting, MOST_GROWTH * items, LARGEST_BATCH))


def mapped(owner: object, loop: Loop, make_job: MakeJob, items: Iterable[Any], sizes: Sizes, workers: int) -> Results:
    """The results of a call of `map`. Whoever lets go of them ends the call.

    `owner` is kept until then: a runner that nobody holds ends.
    """
    return Results(_lists(owner, loop, make_job, items, sizes, workers))


def results_here(results: Iterable[Any]) -> Results:
    """The results of a call of `map` that are made as they are asked for."""
    return Results([result] for result in results)


def _lists(
    _owner: object, loop: Loop, make_job: MakeJob, items: Iterable[Any], sizes: Sizes, workers: int
) -> Generator[list[Any], None, None]:
    arrivals: SimpleQueue[Arrival] = SimpleQueue()
    job = make_job(arrivals.put, arrivals.put)
    batches = _Batches(iter(items), sizes, loop)
    loop.begin(job)
    try:
        while True:
            while batches.under_way < AHEAD_PER_WORKER * workers and (batch := batches.make()) is not None:
                loop.supply(job, batch)
            if not batches.under_way:
                batches.end()
                _show(loop)
                return
            yield batches.results(arrivals, job)
    except Exception:
        loop.settle()
        raise
    finally:
        loop.cancel(job)  # and nothing more: who lets go of the results may be the garbage collector, anywhere


def _show(loop: Loop) -> None:
    """Wait until all that was printed is shown. Raises what writing it has raised."""
    loop.settle()
    unwritten = loop.unwritten()
    if unwritten is not None:
        raise unwritten


class _Batches:
    """What was made of the items, and hasn't been handed out yet."""

    def __init__(self, items: Iterator[Any], sizes: Sizes, loop: Loop) -> None:
        self._items = items
        self._sizes = sizes
        self._storage = loop.storage
        self._numbers: dict[int, range] = {}
        self._leases: dict[int, object] = {}
        self._early: dict[int, Deliver] = {}
        self._made = self._first = self._handed_out = 0
        self._error: BaseException | None = None

    @property
    def under_way(self) -> int:
        """How many batches were made and not handed out."""
        return self._made - self._handed_out

    def make(self) -> Supply | None:
        """The next batch; `None` at the end of the items, or where an error comes after those that were made."""
        if self._error is not None:
            return None
        elements: list[Any] = [self._first]
        try:
            elements.extend(islice(self._items, self._sizes.next))
        except Exception as error:  # noqa: BLE001 - raised once all results before it are out
            self._error = error
        if len(elements) == 1:
            return None
        try:
            return self._supply(elements)
        except Exception as error:  # noqa: BLE001 - as above
            self._error = error
            return None

    def _supply(self, elements: list[Any]) -> Supply | None:
        first, index = self._first, self._made
        payload, length, error = encode_list(elements)
        numbers = range(first, first + length - 1)
        if error is not None:
            self._error = of_item(error, numbers.stop, elements[length])
        if not numbers:
            return None
        if len(payload) >= LARGE:
            payload, self._leases[index] = self._storage.put(payload)
        self._numbers[index] = numbers
        self._first = numbers.stop
        self._made += 1
        return Supply(index, f"map, items {first} to {numbers[-1]}", payload)

    def results(self, arrivals: "SimpleQueue[Arrival]", job: Job[BatchRun]) -> list[Any]:
        """Those of the next batch in the order of the items. With an error in it, they are the last ones."""
        while self._handed_out not in self._early:
            arrival = arrivals.get()
            if not isinstance(arrival, Deliver):
                raise arrival or CloacaError("This call of map was ended.")
            self._early[arrival.index] = arrival
            if isinstance(arrival.end, Done):
                usage = arrival.end.usage
                self._sizes.measured(len(self._numbers[arrival.index]), usage.ended - usage.started)
        delivery = self._early.pop(self._handed_out)
        first = self._numbers.pop(self._handed_out).start
        self._leases.pop(self._handed_out, None)
        self._handed_out += 1
        results, error = _outcome(delivery, first, job.leases)
        if error is not None:
            self._error, self._made = error, self._handed_out
        return results

    def end(self) -> None:
        """All results are out: raise the error that comes after them, if there is one."""
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
        finally:
            del error  # its traceback leads here: it would keep the runner until the garbage collector came


def _outcome(delivery: Deliver, first: int, leases: Leases) -> tuple[list[Any], BaseException | None]:
    """The results of a batch up to the first error, and that error, if there is one."""
    match delivery.end:
        case Done(diff=diff):
            try:
                return _reported(diff, first)
            finally:
                for payload in diff.values():
                    leases.pop(payload or b"", None)
        case Failed() as failed:
            return [], raised(failed)
        case Lost() as lost:
            return [], error_of(lost, delivery.name, 1)


def _reported(diff: Mapping[str, bytes | None], first: int) -> tuple[list[Any], BaseException | None]:
    results, unread = decode_list(diff[RESULTS] or b"")
    if unread is not None:
        return results, of_result(unreadable(unread), first + len(results))
    failure = diff.get(FAILURE)
    return results, None if failure is None else raised(decode(failure))
