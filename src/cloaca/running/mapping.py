"""map: one function over many items, on a runner's workers; the results come in the order of the items.

Items are taken, and batches made of them (`running/batches.py`), on the thread that asks for results, as it goes: input
may be endless, and what is under way is bounded. What an error comes after is the same for all sizes of batches: each
brings its results up to the error, and an item that can't be had or sent ends the last batch before it.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from queue import SimpleQueue
from typing import Any

from cloaca.count import Count
from cloaca.engine.batches import BatchRun
from cloaca.engine.events import Deliver
from cloaca.errors import CloacaError
from cloaca.running import interrupts
from cloaca.running.batches import Batches, Sizes
from cloaca.running.coordinator import Job
from cloaca.running.loop import Loop
from cloaca.running.results import results_of
from cloaca.terms import Terms

Arrival = Deliver | Exception | None
MakeJob = Callable[[Callable[[Deliver], None], Callable[[Exception | None], None]], Job[BatchRun]]

Lists = Generator[list[Any], None, None]
Seen = Callable[[Lists], Lists]

AHEAD_PER_WORKER = 3
"""How many batches each worker has under way: one that it runs, one that waits, one that is being read."""

FEW = 64
"""So many results at most are handed out one by one."""


def mapped(
    owner: object,
    loop: Loop,
    make_job: MakeJob,
    items: Iterable[Any],
    sizes: Sizes,
    workers: int,
    terms: Terms,
    seen: Seen,
    count: Count | None = None,
) -> Iterator[Any]:
    """The results of a call of `map`. Whoever lets go of them ends the call.

    `owner` is kept until then: a runner that nobody holds ends. What comes is `seen` on its way, and `count`ed before.
    """
    most = AHEAD_PER_WORKER * workers
    made = _lists(owner, loop, make_job, lambda: Batches(iter(items), sizes, loop.holder, most, terms, count))
    return results_of(seen(made))


def results_here(results: Iterable[Any], seen: Seen) -> Iterator[Any]:
    """The results of a call of `map` that are made as they are asked for."""
    return results_of(seen([result] for result in results))


def unseen(lists: Lists) -> Lists:
    """The same lists: nobody looks at what comes."""
    return lists


def _lists(
    _owner: object, loop: Loop, make_job: MakeJob, begun: Callable[[], Batches]
) -> Generator[list[Any], None, None]:
    arrivals: SimpleQueue[Arrival] = SimpleQueue()
    job = make_job(arrivals.put, arrivals.put)
    batches = begun()
    loop.begin(job)
    try:
        while True:
            while (batch := batches.next()) is not None:
                loop.supply(job, batch)
            if batches.awaits:
                with interrupts.raised():
                    arrived = arrivals.get()
                batches.arrived(_delivered(arrived))
            elif not batches.have_ended:
                yield from _apart(batches.results(job.leases))
            else:
                batches.end()
                _show(loop)
                return
    except Exception:
        loop.settle()
        raise
    finally:
        loop.cancel(job)  # and nothing more: who lets go of the results may be the garbage collector, anywhere


def _apart(results: list[Any]) -> Iterator[list[Any]]:
    """Those of a batch, one by one where they are few: these may be large, and each goes when nobody holds it."""
    if len(results) > FEW:
        yield results
        return
    results.reverse()
    while results:
        yield [results.pop()]


def _show(loop: Loop) -> None:
    """Wait until all that was printed is shown. Raises what writing it has raised."""
    loop.settle()
    unwritten = loop.unwritten()
    if unwritten is not None:
        raise unwritten


def _delivered(arrival: Arrival) -> Deliver:
    if isinstance(arrival, Deliver):
        return arrival
    raise arrival or CloacaError("This call of map was ended.")
