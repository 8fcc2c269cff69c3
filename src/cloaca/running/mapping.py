"""map: one function over many items, on a runner's workers; the results come in the order of the items.

    items --> batches --> supplied, a few ahead --> results, in any order --> in the order of the items

Items are taken, and batches made, on the thread that asks for results, as it goes: input may be endless, and what is
under way is bounded. Batches are sized by what earlier ones have taken.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import chain, islice
from queue import SimpleQueue
from typing import Any

from cloaca.engine.batches import BatchRun
from cloaca.engine.events import Deliver, Supply
from cloaca.errors import CloacaError
from cloaca.failure import raised
from cloaca.loss import error_of
from cloaca.running.coordinator import Job
from cloaca.running.loop import Loop
from cloaca.wire.blobs import LARGE
from cloaca.wire.codec import decode, encode_unseen
from cloaca.wire.messages import RESULTS, Done, Failed, Lost

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


def mapped(
    owner: object, loop: Loop, make_job: MakeJob, items: Iterable[Any], sizes: Sizes, workers: int
) -> Iterator[Any]:
    """The results of a call of `map`, one by one. Whoever lets go of them ends the call.

    `owner` is kept until then: a runner that nobody holds ends.
    """
    return chain.from_iterable(_lists(owner, loop, make_job, items, sizes, workers))


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
                return
            yield batches.results(arrivals, job)
    finally:
        loop.cancel(job)
        loop.settle()


class _Batches:
    """What was made of the items, and hasn't been handed out yet."""

    def __init__(self, items: Iterator[Any], sizes: Sizes, loop: Loop) -> None:
        self._items = items
        self._sizes = sizes
        self._storage = loop.storage
        self._lengths: dict[int, int] = {}
        self._leases: dict[int, object] = {}
        self._early: dict[int, Deliver] = {}
        self._made = self._first = self._handed_out = 0

    @property
    def under_way(self) -> int:
        """How many batches were made and not handed out."""
        return self._made - self._handed_out

    def make(self) -> Supply | None:
        """The next batch; `None` at the end of the items."""
        items = list(islice(self._items, self._sizes.next))
        if not items:
            return None
        first, index = self._first, self._made
        payload = encode_unseen((first, items))
        if len(payload) >= LARGE:
            payload, self._leases[index] = self._storage.put(payload)
        self._lengths[index] = len(items)
        self._first += len(items)
        self._made += 1
        return Supply(index, f"map, items {first} to {self._first - 1}", payload)

    def results(self, arrivals: "SimpleQueue[Arrival]", job: Job[BatchRun]) -> list[Any]:
        """Those of the next batch in the order of the items. Raises what its function raised, or what became of it."""
        while self._handed_out not in self._early:
            arrival = arrivals.get()
            if not isinstance(arrival, Deliver):
                raise arrival or CloacaError("This call of map was ended.")
            self._early[arrival.index] = arrival
            if isinstance(arrival.end, Done):
                usage = arrival.end.usage
                self._sizes.measured(self._lengths[arrival.index], usage.ended - usage.started)
        delivery = self._early.pop(self._handed_out)
        del self._lengths[self._handed_out]
        self._leases.pop(self._handed_out, None)
        self._handed_out += 1
        return _decoded(delivery, job)


def _decoded(delivery: Deliver, job: Job[BatchRun]) -> list[Any]:
    match delivery.end:
        case Done(diff=diff):
            payload = diff[RESULTS] or b""
            results: list[Any] = decode(payload)
            job.leases.pop(payload, None)
            return results
        case Failed() as failed:
            raise raised(failed)
        case Lost() as lost:
            raise error_of(lost, delivery.name, 1)
