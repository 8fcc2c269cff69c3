"""SerialExecutor: runs assignments on the calling thread. For debuggers, profilers and coverage; the reference.

`wait` runs the next assignment and returns its events. The functions are the program's own objects; values go through
the same codec as everywhere. It offers no protection: a task that hangs or kills its process does so to the caller.
"""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import Context as Variables
from functools import partial
from time import sleep
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from cloaca.attempts import attempt, child, termination
from cloaca.attempts.batch import BatchFunction, as_failed
from cloaca.attempts.meter import Meter
from cloaca.attempts.nesting import inside_task
from cloaca.attempts.seeding import of_process
from cloaca.attempts.workroom import Workroom
from cloaca.count import Count
from cloaca.execution.executor import InProgram
from cloaca.failure import raised
from cloaca.item import of_item, of_result, unreadable_item
from cloaca.tasks.context import Context
from cloaca.terms import Terms
from cloaca.values.codec import encode_unseen
from cloaca.values.elements import decode_list, encode_list
from cloaca.wire.messages import (
    Answer,
    Assignment,
    Done,
    Event,
    Failed,
    Lost,
    Ranges,
    Skipped,
    SpanNote,
    Started,
    Unstarted,
)

if TYPE_CHECKING:
    from cloaca.profiling.task import Profilers

_EVERYTHING: frozenset[str] = frozenset()

Gate = Callable[[], AbstractContextManager[object]]
"""Held while an item is tried."""

Seating = Callable[[tuple[tuple[str, int], ...]], AbstractContextManager[Mapping[str, Ranges]]]
"""Waits for so many seats of these limits, and has them until it is left."""


def _freely(share: tuple[tuple[str, int], ...]) -> AbstractContextManager[Mapping[str, Ranges]]:
    """Nobody else has any."""
    return nullcontext({name: ((0, count),) for name, count in share})


class SerialExecutor(InProgram):
    """Runs assignments in the order of their submission, with the function objects themselves.

    `functions` maps the number of a function to the object, so nothing needs to be published. `workroom` is where they
    run; `passed` waits for the seats that an attempt takes, beside other threads. `profilers` are those of functions
    that have some.
    """

    window = 1
    answers = False

    def __init__(
        self,
        functions: Mapping[int, Any],
        workroom: Workroom | None = None,
        passed: Seating = _freely,
        kind: type[Context] = Context,
        profilers: "Profilers | None" = None,
    ) -> None:
        self._profilers = profilers
        self._functions = functions
        self._workroom = workroom or Workroom()
        self._passed = passed
        self._kind = kind
        self._queue: deque[Assignment] = deque()
        self._events: list[Event] = []
        self._noted: list[SpanNote] = []
        self._meter = Meter()

    def submit(self, assignments: Sequence[Assignment]) -> None:
        """Queue them; they run in `wait`."""
        self._queue.extend(assignments)

    def answer(self, answer: Answer) -> None:
        """Never called: slices are complete."""
        raise AssertionError(f"Attempt {answer.attempt} didn't ask")

    def cancel(self, attempts: Sequence[int], grace: float, item: int | None = None) -> None:  # noqa: ARG002 - nobody to be patient with
        """Give back those that are queued; nothing else can be under way."""
        withdrawn = set(attempts)
        self._events += [Unstarted(queued.attempt) for queued in self._queue if queued.attempt in withdrawn]
        self._queue = deque(queued for queued in self._queue if queued.attempt not in withdrawn)

    def wait(self, timeout: float | None) -> Sequence[Event]:
        """Run the next assignment. With none, time passes: for `timeout` seconds, if any."""
        events, self._events = self._events, []
        if timeout and not events and not self._queue:
            sleep(timeout)
        if not events and self._queue:
            seated = self._seated(self._queue[0])
            with of_process().kept(), inside_task(), self._workroom.entered(), seated as assignment:
                self._queue.popleft()
                report = self._run(assignment)
            meant = termination.meant_for_program(report)
            if meant is not None:
                self._events = [Started(assignment.attempt), Lost(assignment.attempt, None, "SIGINT")]
                raise meant
            told = () if self._profilers is None else self._profilers.told(assignment.attempt)
            noted, self._noted = self._noted, []
            return [Started(assignment.attempt), *noted, *told, report]
        return events

    @contextmanager
    def _seated(self, assignment: Assignment) -> Generator[Assignment, None, None]:
        """The assignment, with the seats that it has among all threads."""
        if assignment.slots is None:
            yield assignment
            return
        share = [(name, sum([stop - start for start, stop in ranges])) for name, ranges in assignment.slots.items()]
        with self._passed(tuple(share)) as slots:
            yield replace(assignment, slots=slots)

    def _run(self, assignment: Assignment) -> Done | Failed | Skipped:
        """Run it."""
        load, left = self._functions.__getitem__, partial(child.end_unless_in, os.getpid())
        ask, note = attempt.never_asked, self._noted.append
        return attempt.run(assignment, load, _EVERYTHING, ask, self._meter, left=left, kind=self._kind, note=note)

    def wake(self) -> None:
        """Nothing to do: `wait` never blocks."""

    def close(self) -> None:
        """Nothing was started."""


def each(
    batch: BatchFunction,
    items: Iterable[Any],
    workroom: Workroom,
    terms: Terms,
    gate: Gate = nullcontext,
    variables: Callable[[], Variables] | None = None,
    count: Count | None = None,
) -> Iterator[Any]:
    """What a batch's function makes of each item, here. Items, results and errors are what workers would make them.

    `variables`, where they are given, make the context variables in which it is called. `count` is brought up to date.
    """
    count = count or Count()
    for number, item in enumerate(items):
        result, error = _outcome(batch, item, number, workroom, terms, gate, variables, count)
        if error is None:
            yield result
        elif terms.yields_errors:
            count.failed += 1
            yield error
        else:
            try:
                raise error
            finally:
                del error  # its traceback leads here: nothing would go before the garbage collector came


def _outcome(
    batch: BatchFunction,
    item: Any,
    number: int,
    workroom: Workroom,
    terms: Terms,
    gate: Gate,
    variables: Callable[[], Variables] | None,
    count: Count,
) -> tuple[Any, BaseException | None]:
    """What comes of an item in as many tries as it has: its result, or an error."""
    payload, _, unsent = encode_list([number, item])
    if unsent is not None:
        return None, of_item(unsent, number, item)
    tries = 0
    while True:
        with gate():
            results, error = _called(batch, payload, (number, number + 1, tries), workroom, variables)
        if error is None:
            break
        delay = terms.delay(number, tries + 1, as_failed(error))
        if delay is None:
            return None, _as_sent(error)
        sleep(delay)
        tries += 1
        count.retried += tries == 1
    (result,), unread = decode_list(results)
    return result, of_result(unreadable_item(unread[0]), number) if unread else None


def _called(
    batch: BatchFunction,
    payload: bytes,
    part: tuple[int, int, int],
    workroom: Workroom,
    variables: Callable[[], Variables] | None,
) -> tuple[bytes, BaseException | None]:
    process = os.getpid()
    try:
        with of_process().kept(), inside_task(), workroom.entered():
            if variables is None:
                results, error, _ = batch.outcome(payload, encode_unseen(part))
            else:
                results, error, _ = variables().run(batch.outcome, payload, encode_unseen(part))
        child.end_unless_in(process, None)
    except BaseException as failed:
        child.end_unless_in(process, failed)
        raise
    return results, error


def _as_sent(error: BaseException) -> BaseException:
    """What a worker's error would become: itself, with the frames that debuggers want, or what stands for it."""
    failed = as_failed(error)
    sent = raised(failed)
    is_like_it = type(sent) is type(error) and as_failed(sent).text == failed.text
    return error if is_like_it else sent
