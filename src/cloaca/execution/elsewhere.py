"""ElsewhereExecutor: runs assignments in other processes, by any executor that calls there what it is handed.

    submit --> queue --> provider.submit(errand.run) --> a process, somewhere
                                                        |
    wait <-------- its report, as the future's result <-+

Nothing is known of those processes but that they call a function and send back what it returns. So all that an attempt
needs travels with it, large values too; it can't ask, and is given all that it may look at; and it can't be stopped:
one that is cancelled while it runs is reported as lost, and its process is missing until the function returns. Which
one has begun isn't told: so no more are handed over than there are processes, and what is handed over counts as begun.

When a process dies, such executors say only that they are broken: then all that was handed over is lost.
"""

import os
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from time import monotonic

from msgspec.structs import replace

from cloaca.attempts import errand
from cloaca.attempts.initializer import Equipment
from cloaca.errors import InitializerError, WorkersUnavailableError
from cloaca.execution.executor import InProgram
from cloaca.execution.futures import CLOSING_SECONDS, QUEUED, warn_of_stuck
from cloaca.execution.provider import Provider
from cloaca.wire.messages import (
    Answer,
    Assignment,
    Done,
    Event,
    Failed,
    Lost,
    Publish,
    Skipped,
    Slice,
    Started,
    Unstarted,
)
from cloaca.wording import summary_of

CANT_STOP = "its process can't be stopped by cloaca, and goes on until the function returns"

Promise = Future[Done | Failed | Skipped]


class ElsewhereExecutor(InProgram):
    """Runs so many attempts at a time. All that happens is done in calls of `wait` and of what comes before it."""

    answers = False
    calls_objects = False

    def __init__(self, provider: Provider, workers: int, equipment: Equipment | None = None) -> None:
        self._provider = provider
        self._workers = workers
        self._equipment = equipment
        self._name = os.urandom(8).hex()
        self._functions: dict[int, Publish] = {}
        self._queue: deque[Assignment] = deque()
        self._handed: dict[int, tuple[str, Promise]] = {}
        self._stuck: dict[int, tuple[str, Promise]] = {}
        self._events: list[Event] = []
        self._ended: SimpleQueue[int | None] = SimpleQueue()

    @property
    def window(self) -> int:
        """As many as there are processes that can run one, and a few that wait."""
        return self._free + QUEUED

    @property
    def _free(self) -> int:
        return max(0, self._workers - len(self._stuck))

    def publish(self, functions: Sequence[Publish]) -> None:
        """Keep them: they go along with each attempt that names them."""
        self._functions.update((function.function, function) for function in functions)

    def retire(self, functions: Sequence[int]) -> None:
        """Forget them here. Processes forget by themselves."""
        for number in functions:
            self._functions.pop(number, None)

    def submit(self, assignments: Sequence[Assignment]) -> None:
        """Queue them; they are handed over in `wait`."""
        self._queue.extend(assignments)

    def answer(self, answer: Answer) -> None:
        """Never called: slices are complete."""
        raise AssertionError(f"Attempt {answer.attempt} didn't ask")

    def cancel(self, attempts: Sequence[int], grace: float) -> None:  # noqa: ARG002 - nobody can be told to end
        """Give back those that wait here; those that were handed over are lost, and may go on."""
        withdrawn = set(attempts)
        self._events += [Unstarted(queued.attempt) for queued in self._queue if queued.attempt in withdrawn]
        self._queue = deque(queued for queued in self._queue if queued.attempt not in withdrawn)
        for number in [number for number in attempts if number in self._handed]:
            self._events.append(Lost(number, None, None, CANT_STOP))
            task, promise = self._handed.pop(number)
            self._stuck[number] = task, promise
            promise.cancel()

    def wait(self, timeout: float | None) -> Sequence[Event]:
        """Hand over what can be, and return what has come back."""
        if not self._events:
            self._hand_over()
        try:
            ended = self._ended.get(timeout=0 if self._events else timeout)
            while True:
                if ended is not None:
                    self._take_back(ended)
                ended = self._ended.get_nowait()
        except Empty:
            pass
        with suppress(WorkersUnavailableError):  # the next call says so
            self._hand_over()
        events, self._events = self._events, []
        return events

    def wake(self) -> None:
        """Make `wait` return."""
        self._ended.put(None)

    def close(self) -> None:
        """Give everything up. What runs goes on, and it says so."""
        self.cancel([*self._handed, *(queued.attempt for queued in self._queue)], 0)
        self.wake()
        left = wait([promise for _, promise in self._stuck.values()], CLOSING_SECONDS).not_done
        warn_of_stuck("processes", [task for task, promise in self._stuck.values() if promise in left])
        self._stuck.clear()
        self._provider.close()

    def _hand_over(self) -> None:
        while self._queue and len(self._handed) < self._free:
            assignment = self._queue[0]
            promise = self._provider.submit(errand.run, self._errand(assignment))
            self._queue.popleft()
            self._handed[assignment.attempt] = assignment.task, promise
            self._events.append(Started(assignment.attempt, monotonic()))
            promise.add_done_callback(partial(self._note, assignment.attempt))

    def _note(self, number: int, _told: Promise) -> None:
        """Called on any thread."""
        self._ended.put(number)

    def _take_back(self, number: int) -> None:
        self._stuck.pop(number, None)
        if number not in self._handed:
            return  # it was cancelled
        _, promise = self._handed.pop(number)
        if promise.cancelled():  # by whoever else has the executor
            self._events.append(Lost(number, None, None, "it was cancelled in the executor of the runner"))
            return
        error = promise.exception()
        if isinstance(error, InitializerError):
            raise error
        self._events.append(promise.result() if error is None else Lost(number, None, None, summary_of(error)))

    def _errand(self, assignment: Assignment) -> errand.Errand:
        """The attempt with all that it takes. What is made as it is looked at is made now."""
        named = assignment.function, assignment.rules, assignment.condition, assignment.variables
        functions = {number: self._functions[number] for number in named if number in self._functions}
        for function in [*functions.values()]:
            functions |= {n: self._functions[n] for n in (function.head, function.binding) if n in self._functions}
        given = assignment.slice
        whole = Slice(dict(given.versions), complete=True, outcomes=dict(given.outcomes or {}))
        return errand.Errand(self._name, self._equipment, [*functions.values()], replace(assignment, slice=whole))
