"""FuturesExecutor: runs assignments on threads of the program, by any executor of `concurrent.futures` that has some.

    submit --> pool.submit(_run) --> a thread: Started, Wants, its report --> a queue --> wait
                                          ^                                    |
                                          +------- its own queue <--- answer <-+

The functions are the program's own objects; values go through the same codec as everywhere. What belongs to the whole
process (generators of random numbers, the working directory, signals, output) is shared by all attempts, and left
alone. A thread can't be stopped: an attempt that is cancelled while it runs is reported as lost, its own report is
dropped, and its thread is missing until the function returns.

Guarantee: what is reported of an attempt is decided under one lock, so there is one end, whoever comes first.
"""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, wait
from functools import partial
from itertools import count
from queue import Empty, SimpleQueue
from threading import Lock, get_ident
from time import monotonic, thread_time
from typing import Any

from msgspec import Struct

from cloaca.attempts import attempt, child
from cloaca.attempts.meter import Meter
from cloaca.attempts.nesting import inside_task
from cloaca.attempts.seeding import unseeded
from cloaca.attempts.workroom import Workroom
from cloaca.errors import WorkersUnavailableError
from cloaca.execution.executor import InProgram
from cloaca.execution.provider import Provider
from cloaca.tasks.context import Context
from cloaca.warning import warn
from cloaca.wire.messages import (
    Answer,
    Assignment,
    Event,
    Lost,
    Slice,
    Started,
    Unstarted,
    Wants,
)

QUEUED = 2
"""How many attempts wait in the pool, so that no thread stands still while the next one is decided."""

CLOSING_SECONDS = 1.0
"""How long to wait at the end for threads that still run a function."""

CANT_STOP = "its thread can't be stopped, and goes on until the function returns"

_SHOWN = 5
_MENTIONED: frozenset[str] = frozenset()


class _Submitted(Struct, eq=False):
    """An attempt that was submitted and has not been reported."""

    task: str
    future: "Future[None] | None" = None
    has_started: bool = False


class FuturesExecutor(InProgram):
    """Runs assignments as `provider` does, so many `workers` at a time.

    `functions` maps the number of a function to the object: they needn't be published. `workroom` is where they run.
    """

    answers = True

    def __init__(
        self,
        provider: Provider,
        workers: int,
        functions: Mapping[int, Any],
        workroom: Workroom | None = None,
        kind: type[Context] = Context,
    ) -> None:
        self._provider = provider
        self._workers = workers
        self._functions = functions
        self._workroom = workroom or Workroom()
        self._kind = kind
        self._lock = Lock()
        self._events: SimpleQueue[Event | None] = SimpleQueue()
        self._open: dict[int, _Submitted] = {}
        self._stuck: dict[int, _Submitted] = {}
        self._threads: dict[int, int] = {}
        self._questions = count(1)
        self._asking: dict[int, tuple[int, SimpleQueue[Slice | None]]] = {}
        self._broken: Exception | None = None

    @property
    def window(self) -> int:
        """As many as there are threads that can run one, and a few that wait."""
        return max(1, self._workers - len(self._stuck)) + QUEUED

    def submit(self, assignments: Sequence[Assignment]) -> None:
        """Hand them to the pool, in that order."""
        for assignment in assignments:
            opened = self._open[assignment.attempt] = _Submitted(assignment.task)
            try:
                opened.future = self._provider.submit(self._run, assignment)
            except WorkersUnavailableError as error:
                self._broken = error
                return

    def answer(self, answer: Answer) -> None:
        """Let the thread go on that waits for this. Nobody may wait for it any more."""
        _, mailbox = self._asking.get(answer.question, (None, None))
        if mailbox is not None:
            mailbox.put(answer.slice)

    def cancel(self, attempts: Sequence[int], grace: float) -> None:  # noqa: ARG002 - a thread can't be told to end
        """Give back those that wait in the pool; those that run are lost, and their threads go on."""
        for number in attempts:
            opened = self._open.get(number)
            if opened is None:
                continue
            if opened.future is None or opened.future.cancel():
                self._report(Unstarted(number))
            else:
                self._start(number)
                self._report(Lost(number, None, None, CANT_STOP), goes_on=True)
        for asked_by, mailbox in list(self._asking.values()):
            if asked_by not in self._open:
                mailbox.put(None)

    def wait(self, timeout: float | None) -> Sequence[Event]:
        """Return what threads have reported since."""
        events: list[Event] = []
        if self._broken is not None:
            broken, self._broken = self._broken, None
            raise broken
        try:
            event = self._events.get(timeout=timeout)
            while True:
                if event is not None:
                    events.append(event)
                event = self._events.get_nowait()
        except Empty:
            return events

    def wake(self) -> None:
        """Make `wait` return."""
        self._events.put(None)

    def close(self) -> None:
        """Give everything up, and the pool if it is cloaca's own. A thread that still runs goes on, and it says so."""
        self.cancel(list(self._open), 0)
        self._events.put(None)
        wait([opened.future for opened in list(self._stuck.values()) if opened.future is not None], CLOSING_SECONDS)
        stuck = [opened.task for opened in list(self._stuck.values())]
        self._stuck.clear()
        warn_of_stuck("threads", stuck)
        self._provider.close()

    # ---- on the pool's threads -------------------------------------------------------------------------------------

    def _run(self, assignment: Assignment) -> None:
        number, worker = assignment.attempt, self._worker()
        if not self._start(number, worker):  # it was cancelled as its thread came to it
            with self._lock:
                self._stuck.pop(number, None)
            return
        try:
            with inside_task(), self._workroom.entered():
                report = attempt.run(
                    assignment,
                    self._functions.__getitem__,
                    _MENTIONED,
                    partial(self._ask, number),
                    Meter(thread_time, worker),
                    left=partial(child.end_unless_in, os.getpid()),
                    kind=self._kind,
                    seeding=unseeded,
                )
        except WorkersUnavailableError as error:  # of the initializer: nothing can run
            with self._lock:
                for table in (self._open, self._stuck):
                    table.pop(number, None)
            self._broken = error
            self.wake()
        else:
            self._report(report)

    def _start(self, number: int, worker: int = 0) -> bool:
        """Report that it has begun, once; returns whether it is still wanted."""
        with self._lock:
            opened = self._open.get(number)
            if opened is not None and not opened.has_started:
                opened.has_started = True
                self._events.put(Started(number, monotonic(), worker))
            return opened is not None

    def _worker(self) -> int:
        """The number of this thread among those that have run attempts."""
        with self._lock:
            return self._threads.setdefault(get_ident(), len(self._threads) + 1)

    def _report(self, report: Any, *, goes_on: bool = False) -> None:
        """Report its end, if nobody has yet. `goes_on`: its thread does."""
        with self._lock:
            opened = self._open.pop(report.attempt, None)
            if opened is None:
                self._stuck.pop(report.attempt, None)
                return
            if goes_on:
                self._stuck[report.attempt] = opened
        self._events.put(report)

    def _ask(self, number: int, keys: tuple[str, ...], rest: bool, outcomes: bool) -> Slice:  # noqa: FBT001 - as in Ask
        question, mailbox = next(self._questions), SimpleQueue[Slice | None]()
        self._asking[question] = number, mailbox
        try:
            if number not in self._open:
                raise RuntimeError("The task was ended by its run: it can't read more of its context.")
            self._events.put(Wants(number, keys, rest, outcomes, question))
            told = mailbox.get()
        finally:
            del self._asking[question]
        if told is None:
            raise RuntimeError("The task was ended by its run: it can't read more of its context.")
        return told


def warn_of_stuck(what: str, tasks: Sequence[str]) -> None:
    """Say that threads, or processes, still run these tasks at the end of a runner, if any do."""
    if tasks:
        shown = ", ".join(map(repr, tasks[:_SHOWN])) + ("" if len(tasks) <= _SHOWN else f" and {len(tasks)} in all")
        warn(f"The runner has ended, and {what} still run {shown}. The program can't end before they do.")
