"""FuturesExecutor: what executors have in common that hand their attempts to one of `concurrent.futures`.

    submit --> queue --> provider.submit(...) --> a thread, or a process, somewhere
                                                   |
    wait <-- what is still wanted of it <-- mail <-+

All is decided in calls of `submit`, `cancel` and `wait`, which come from one thread: the others only put letters into
the mail. So an attempt has one end, whoever comes first, and nothing is locked.

What such an executor runs can't be stopped: an attempt that is cancelled then is reported as lost, its own report is
dropped, and its place is missing until the function returns.
"""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

from msgspec import Struct

from cloaca.errors import WorkersUnavailableError
from cloaca.execution.executor import InProgram
from cloaca.execution.provider import Provider
from cloaca.warning import warn
from cloaca.wire.messages import Assignment, Event, Lost, SpanNote, Started, Unstarted, Wants

QUEUED = 2
"""How many attempts wait, so that no place stands still while the next one is decided."""

CLOSING_SECONDS = 1.0
"""How long to wait at the end for what still runs."""

_SHOWN = 5

Letter = Event | WorkersUnavailableError | None


class _HandedOver(Struct, eq=False):
    """An attempt that has not been reported."""

    task: str
    future: Future[Any]
    has_started: bool


class FuturesExecutor(InProgram):
    """Runs so many attempts at a time. `place` is what one of them takes: a thread, or a process.

    `stuck` are those that were cancelled, and go on; whoever runs an attempt may put letters into the `mail`.
    """

    place: str

    def __init__(self, provider: Provider, workers: int) -> None:
        self.provider = provider
        self._workers = workers
        self.mail: SimpleQueue[Letter] = SimpleQueue()
        self._queue: deque[Assignment] = deque()
        self._open: dict[int, _HandedOver] = {}
        self.stuck: dict[int, _HandedOver] = {}
        self._events: list[Event] = []
        self._is_closed = False

    @property
    def window(self) -> int:
        """As many as there are places, and a few that wait."""
        return self.free + QUEUED

    @property
    def free(self) -> int:
        """How many places there are that no cancelled attempt takes."""
        return max(0, self._workers - sum(not stuck.future.done() for stuck in self.stuck.values()))

    @property
    def most(self) -> int:
        """How many are handed over at once."""
        return self.window

    def handed(self, assignment: Assignment) -> tuple[Future[Any], bool]:
        """Hand it over. Returns what it will come to, and whether it counts as begun from here on."""
        raise NotImplementedError

    def submit(self, assignments: Sequence[Assignment]) -> None:
        """Queue them; they are handed over in `wait`."""
        self._queue.extend(assignments)

    def cancel(self, attempts: Sequence[int], grace: float, item: int | None = None) -> None:  # noqa: ARG002 - nobody can be told to end
        """Give back those that wait; those that run are lost, and go on."""
        withdrawn = set(attempts)
        self._events += [Unstarted(queued.attempt) for queued in self._queue if queued.attempt in withdrawn]
        self._queue = deque(queued for queued in self._queue if queued.attempt not in withdrawn)
        for number in attempts:
            opened = self._open.pop(number, None)
            if opened is not None:
                self._withdraw(number, opened)

    def _withdraw(self, number: int, opened: _HandedOver) -> None:
        if opened.future.cancel() and not opened.has_started:
            self._events.append(Unstarted(number))
            return
        if not opened.has_started:  # it says so in a letter that nobody has read
            self._events.append(Started(number, monotonic()))
        reason = f"its {self.place} can't be stopped, and goes on until the function returns"
        self._events.append(Lost(number, None, None, reason))
        if not opened.future.done():
            self.stuck[number] = opened

    def wait(self, timeout: float | None) -> Sequence[Event]:
        """Hand over what can be, and return what has come back."""
        if not self._events:
            self._hand_over()
        with suppress(Empty):
            self._note(self.mail.get(timeout=0 if self._events else timeout))
            while True:
                self._note(self.mail.get_nowait())
        with suppress(WorkersUnavailableError):  # the next call says so
            self._hand_over()
        events, self._events = self._events, []
        return events

    def wake(self) -> None:
        """Make `wait` return."""
        self.mail.put(None)

    def close(self) -> None:
        """Give everything up, and the executor if it is cloaca's own. What still runs goes on, and it says so."""
        self.cancel([*self._open, *(queued.attempt for queued in self._queue)], 0)
        self.wake()
        left = wait([stuck.future for stuck in self.stuck.values()], CLOSING_SECONDS).not_done
        tasks = [stuck.task for stuck in self.stuck.values() if stuck.future in left]
        if tasks and not self._is_closed:
            shown = ", ".join(map(repr, tasks[:_SHOWN])) + ("" if len(tasks) <= _SHOWN else f" and {len(tasks)} in all")
            places = f"{self.place}es" if self.place.endswith("s") else f"{self.place}s"
            warn(f"The runner has ended, and {places} still run {shown}. The program can't end before they do.")
        self._is_closed = True
        if tasks:
            self.provider.let_go()
        else:
            self.provider.close()

    def _hand_over(self) -> None:
        while self._queue and len(self._open) < self.most:
            assignment = self._queue[0]
            future, has_started = self.handed(assignment)
            self._queue.popleft()
            self._open[assignment.attempt] = _HandedOver(assignment.task, future, has_started)
            if has_started:
                self._events.append(Started(assignment.attempt, monotonic()))

    def _note(self, letter: Letter) -> None:
        """Take note of a letter. What is said of an attempt that was cancelled is of no interest any more."""
        if letter is None:
            return
        if isinstance(letter, WorkersUnavailableError):
            raise letter
        opened = self._open.get(letter.attempt)
        if isinstance(letter, Started) and opened is not None:
            opened.has_started = True
        elif not isinstance(letter, Started | Wants | SpanNote):
            self._open.pop(letter.attempt, None)
            self.stuck.pop(letter.attempt, None)
        if opened is not None:
            self._events.append(letter)
