"""The worker process: reads assignments from its socket, runs them one by one, and reports each at once.

Everything happens on the main thread: a second thread that reads the socket would double the time of a round trip.
While a task waits for an answer it reads on, and keeps the assignments that come in between for later.

A process that a task forks from here has no socket; when it returns from the task, it exits.
"""

import atexit
import os
import select
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache, partial
from socket import socket
from threading import Lock
from time import monotonic
from typing import Any, NoReturn

from cloaca.execution import attempt, child, lifeline, permits, termination
from cloaca.execution.initializer import Initializer, initializing
from cloaca.execution.leftovers import Leftovers
from cloaca.execution.logbook import Logbook
from cloaca.execution.mark import INITIALIZING, NONE, Mark
from cloaca.execution.meter import Meter
from cloaca.execution.modules import ProgramFinder
from cloaca.execution.notices import Notices
from cloaca.execution.outlet import Outlet
from cloaca.execution.output import Output
from cloaca.execution.spin import Lookout
from cloaca.execution.surroundings import enter, here, recognised
from cloaca.tasks.handle import with_handle
from cloaca.tasks.watched import context_kind
from cloaca.wire.frames import FrameReader, decode_down
from cloaca.wire.functions import load
from cloaca.wire.messages import (
    SOCKET_LOST,
    Answer,
    Assignment,
    Done,
    Failed,
    Free,
    Publish,
    Ready,
    Recall,
    Retire,
    Said,
    Skipped,
    Slice,
    Surroundings,
    Unfit,
    Wants,
)
from cloaca.wire.templates import fill

_is_serving = False
_as_set = lru_cache(maxsize=1024)(frozenset[str])  # the functions of a template mostly read the same


def is_serving() -> bool:
    """Whether this process is a worker."""
    return _is_serving


def main(
    descriptor: int, lifeline_descriptor: int, mark_descriptor: int, permits_descriptor: int, initializer: int
) -> None:
    """Serve on an inherited socket until it is closed. `initializer` is the number of the runner's, or 0."""
    global _is_serving  # noqa: PLW0603 - a process is a worker or not, once and for all
    _is_serving = True
    lifeline.follow(lifeline_descriptor)
    termination.follow()
    os.set_inheritable(descriptor, False)  # noqa: FBT003 - the argument's only form
    mark = Mark(mark_descriptor)
    os.close(mark_descriptor)
    os.set_inheritable(permits_descriptor, False)  # noqa: FBT003 - the argument's only form
    Worker(socket(fileno=descriptor), mark, permits_descriptor, initializer).serve()


class Worker:
    """The state of a worker: its socket, the functions it knows, and the assignments that wait."""

    def __init__(self, connection: socket, mark: Mark, permits_descriptor: int, initializer: int) -> None:
        self._socket = connection
        self._reader = FrameReader(connection, decode_down)
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)
        self._send = Outlet(connection).send
        self._asking = Lock()
        self._blobs: dict[int, bytes] = {}
        self._reads: dict[int, frozenset[str]] = {}
        self._templates: dict[int, int] = {}
        self._handled: dict[int, bool] = {}
        self._bound: dict[int, tuple[int, tuple[str, ...] | None]] = {}
        self._functions: dict[int, Any] = {}
        self._queue: deque[Assignment] = deque()
        self._answers: deque[Answer] = deque()
        self._current = NONE
        self._mark = mark
        self._permits = permits_descriptor
        self._initializer = initializer
        self._is_free = False
        self._surroundings = here()
        self._output = Output(self.say)
        self._logbook = Logbook(self._send)
        self._notices = Notices(self._send)
        self._meter = Meter()
        self._kind = context_kind()
        self._lookout = Lookout()
        self._leftovers = Leftovers()
        self._modules = ProgramFinder()
        self._is_cut_off = False
        os.register_at_fork(after_in_child=self._lose_socket)

    def serve(self) -> NoReturn:
        """Run assignments until the coordinator closes the socket, or this worker is told to end; then end."""
        try:
            if self._initializer:
                self._initialize(self._initializer)
            self._send(Ready())
            while True:
                while not self._queue:
                    self._await_mail()
                if self._is_free or permits.take(self._permits):
                    self._is_free = False
                    self._run(self._queue.popleft())
                else:
                    self._receive()  # the word that it was recalled is on its way
        except (EOFError, termination.Terminated):
            self._leave(0)
        except OSError:  # a task closed what isn't its own, or the coordinator has gone
            self._leave(SOCKET_LOST)

    def say(self, stream: str, text: str) -> None:
        """Send what a task printed. Where there is no socket, in a forked child or at the end, it is written here."""
        if self._is_cut_off:
            os.write(1 if stream == "stdout" else 2, text.encode(errors="replace"))
            return
        self._send(Said(self._current, stream, text))

    def _run(self, assignment: Assignment) -> None:
        self._current = assignment.attempt
        self._mark.write(assignment.attempt, monotonic())
        reads = self._reads.get(assignment.function, frozenset())
        report = self._attempted(assignment, self._load, reads, self._surroundings.folders)
        with self._asking:  # a thread that the task leaves may wait for an answer: it comes before the report goes
            self._current = NONE
        self._send(report)

    def _initialize(self, number: int) -> None:
        """Run the runner's initializer. Where it raises, this worker is of no use."""
        while number not in self._blobs:
            self._await_mail()
        self._mark.write(INITIALIZING, monotonic())

        def load_it(_: int) -> Initializer:
            return Initializer(self._load(number))

        report = self._attempted(initializing(number), load_it)
        self._forget([number])
        if isinstance(report, Failed):
            self._send(Unfit(report.type_name, report.text, report.traceback))
            self._leave(0)

    def _attempted(
        self,
        assignment: Assignment,
        load: Callable[[int], Any],
        reads: frozenset[str] = frozenset(),
        folders: tuple[str, ...] = (),
    ) -> Done | Failed | Skipped:
        """Run it in the program's surroundings. Who was told to end does so."""
        enter(self._surroundings)
        self._logbook.begin(assignment, self._surroundings.loggers)
        self._notices.begin(assignment, self._surroundings.filters)
        ask = partial(self._ask, assignment.attempt)
        report = attempt.run(assignment, load, reads, ask, self._meter, folders, self._has_left, self._kind)
        self._output.renew()
        if termination.was_told():
            raise termination.Terminated
        return report

    def _has_left(self, error: BaseException | None) -> None:
        """A task's function has ended: put back what it has changed. A process that it forked ends with it."""
        if self._is_cut_off:
            child.end(error, self._output.renew)
        self._leftovers.clear()

    def _load(self, number: int) -> Any:
        function = self._functions.get(number)
        if function is None:
            function = self._functions[number] = self._made(number)
            self._logbook.restore()  # modules that were imported for it may have configured logging
        return function

    def _made(self, number: int) -> Any:
        template, blob = self._templates.get(number), self._blobs[number]
        made = load(blob) if template is None else fill(self._load(template), blob)
        del self._blobs[number]
        made = with_handle(made) if number in self._handled else made
        return made if number not in self._bound else self._with_keys(made, *self._bound[number])

    def _with_keys(self, function: Any, binding: int, writes: tuple[str, ...] | None) -> Any:
        from cloaca.tasks.binding import bound  # most tasks declare nothing

        return bound(function, self._load(binding) if binding else None, writes)

    def _ask(self, number: int, keys: tuple[str, ...], rest: bool, outcomes: bool) -> Slice:  # noqa: FBT001 - as in Ask
        if self._is_cut_off:
            raise RuntimeError("A process that a task forked can't read more of the context: read it before the fork.")
        with self._asking:
            if number != self._current:
                raise RuntimeError("The task has ended: a thread that it left behind can't read more of its context.")
            self._send(Wants(number, keys, rest, outcomes))
            while not self._answers:
                self._await_mail()
            return self._answers.popleft().slice

    def _await_mail(self) -> None:
        self._lookout.look(self._has_mail)
        self._receive()

    def _has_mail(self) -> bool:
        return bool(self._poll.poll(0))

    def _receive(self) -> None:
        for messages in self._reader.receive():
            for message in messages:
                match message:
                    case Assignment():
                        self._queue.append(message)
                    case Surroundings():
                        self._surroundings = recognised(message)
                        self._modules.take(message.modules)
                    case Publish():
                        self._learn(message)
                    case Answer():
                        self._answers.append(message)
                    case Free():
                        self._is_free = True
                    case Recall():
                        self._drop(message.count)
                    case Retire():
                        self._forget(message.functions)

    def _drop(self, count: int) -> None:
        for _ in range(count):
            self._queue.pop()
        self._send(Ready())

    def _learn(self, function: Publish) -> None:
        number = function.function
        self._blobs[number] = function.blob
        self._reads[number] = _as_set(function.reads)
        if function.template:
            self._templates[number] = function.template
        if function.takes_handle:
            self._handled[number] = True
        if function.binding or function.writes is not None:
            self._bound[number] = function.binding, function.writes

    def _forget(self, functions: list[int]) -> None:
        for table in (self._blobs, self._reads, self._templates, self._handled, self._bound, self._functions):
            for number in functions:
                table.pop(number, None)

    def _leave(self, code: int) -> NoReturn:
        """Run the exit handlers and go. An interpreter's own end would wait for the threads that tasks have left."""
        if termination.was_told():
            termination.end()
        if code == 0:
            self._lose_socket()  # what the handlers print is written here
        atexit._run_exitfuncs()
        with suppress(OSError):
            self._output.renew()
        os._exit(code)

    def _lose_socket(self) -> None:
        self._is_cut_off = True
        self._socket.close()
        self._output = Output(self.say)  # another thread may have held a lock of the old one, for ever now
        self._logbook.lose_program()
        self._notices.lose_program()
