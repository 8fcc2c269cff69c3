"""Peer: the coordinator's end of one worker process. What it holds, what is still to be written to it, how it ended."""

import os
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from socket import SHUT_WR, socketpair
from time import monotonic

from cloaca.border.mark import NONE, Mark, create
from cloaca.border.naming import next_number
from cloaca.border.permits import Permits
from cloaca.border.tally import Tally
from cloaca.pool.ending import ending_of
from cloaca.pool.launch import launch, letter
from cloaca.pool.nursery import Nursery
from cloaca.wire.frames import FrameReader, decode_up, frame
from cloaca.wire.messages import Assignment, Down, Surroundings, Up
from cloaca.wire.shortage import passes

MOST_UNSHOWN, LEAST_UNSHOWN = 1 << 23, 1 << 22
"""How many bytes of output may wait to be shown before the worker is held back, and how few before it may go on."""

STILL_SECONDS = 0.2
"""How long a process that is told to stand still may take for it, before it counts as one that can't."""


class Peer:
    """One worker process. `number` tells it from all others that the program has started.

    `queue` holds the assignments that were sent and not yet reported, the running one first; `at`: how many items of
    that were reported; `load`: how many calls of functions are left, in all. `is_told`: that the first of them has
    begun was told, where there is any. `permits` are the right to start what is queued, `known` the functions that the
    worker has, `surroundings` where it was told to run.

    `is_attended`: something may be expected of it, or to be done with it, beside its tasks: mostly not. `is_ready`: it
    has said so; `recalls`: how often something was recalled from it, of which it knows of `heard`; `reported`: the
    attempt that it has reported last. `has_hung_up`: its socket came to an end before it did; `nonsense`: what came
    there makes no sense; `is_doomed`: it is ending, and is to be given nothing more; `is_stopped`: it was told to;
    `kill_at`: when it is to be killed if it hasn't ended by then, or given up if `is_killed`; `is_given_up`: that was
    done. `judged_at`: it was told to stand still, and this is when it is judged at the latest; `stalls`: how often in a
    row it was found standing still of its own. `memory` is the last reading of what it has for itself, in bytes;
    `is_swollen`: that was so much that it is looked at again before it is given more; `limit`: it was stopped as it had
    more than that. `baseline` is what the runner's initializer has left it with; `is_unfit`: that raised, here or in
    another worker. `is_outdated`: the program has loaded modules anew since it was told of them.

    `unshown`: how many bytes the program holds of what it has told and nobody has been shown yet; `is_held`: that is so
    much that it is to tell no more.

    `exit_descriptor` becomes readable when the process has ended.

    `initializer` is the number under which it will be published; 0 where there is none. It is forked from the
    `nursery`, or a fresh interpreter where there is none.
    """

    def __init__(self, surroundings: Surroundings, initializer: int = 0, nursery: Nursery | None = None) -> None:
        self.number = next_number()
        self.queue: deque[Assignment] = deque()
        self.known: set[int] = set()
        self.surroundings: Surroundings | None = None
        self.reported = NONE
        self.at = self.load = self.recalls = self.heard = self.stalls = self.baseline = self.unshown = 0
        self.is_told = self.is_attended = True
        self.is_ready = self.is_unfit = self.is_swollen = self.is_outdated = self.is_held = False
        self.is_doomed = self.is_stopped = self.is_killed = self.is_given_up = self.has_hung_up = False
        self.kill_at: float | None = None
        self.judged_at: float | None = None
        self.memory: int | None = None
        self.limit: int | None = None
        self.nonsense: str | None = None
        self.outgoing = bytearray(letter(surroundings.path))
        with ExitStack() as undo, ExitStack() as theirs:
            self.socket, socket = socketpair()
            undo.callback(self.socket.close)
            theirs.callback(socket.close)
            lifeline, self._lifeline = os.pipe()
            undo.callback(os.close, self._lifeline)
            theirs.callback(os.close, lifeline)
            self.permits = Permits()
            undo.callback(self.permits.close)
            mark = create()
            theirs.callback(os.close, mark)
            self._mark = Mark(mark)
            undo.callback(self._mark.close)
            self._tally = Tally(mark)
            undo.callback(self._tally.close)
            descriptors = socket.fileno(), lifeline, mark, self.permits.reader
            if nursery is None:
                self._process = launch(self.number, descriptors, initializer, surroundings.environment)
            else:
                self._process = nursery.fork(self.number, descriptors, initializer)
            undo.callback(self._process.discard)
            self._ending = ending_of(self._process)
            undo.pop_all()
        self.exit_descriptor = self._ending.descriptor
        self.socket.setblocking(False)  # noqa: FBT003 - the argument's only form
        self._reader = FrameReader(self.socket, decode_up)

    @property
    def pid(self) -> int:
        """The process id, which is also that of its process group."""
        return self._process.pid

    @property
    def is_at_ease(self) -> bool:
        """Whether nothing is expected of it, nor to be done with it, beside its tasks."""
        is_as_it_was = self.is_ready and not self.is_outdated and not self.is_held
        return is_as_it_was and self.kill_at is None and self.judged_at is None

    @property
    def takes_more(self) -> bool:
        """Whether it may be given more: it knows of all that was recalled, and isn't to end or to stand still."""
        is_told_to_stand = self.is_doomed or self.judged_at is not None
        return self.is_ready and self.heard == self.recalls and not is_told_to_stand and not self.is_outdated

    @property
    def permitted(self) -> int:
        """How many calls of functions are left that take a permit, the one that it is at included if it took one.

        What comes after another attempt in a chain takes none: nobody else could begin it.
        """
        return sum([one.size for one in self.queue if one.after is None]) - self.at

    @property
    def attempt(self) -> int:
        """The one that it runs, or is about to; `NONE` where it has nothing to do."""
        return self.queue[0].attempt if self.queue else NONE

    def runs(self, attempt: int) -> bool:
        """Whether that is the attempt that it runs, or is about to."""
        return bool(self.queue) and self.queue[0].attempt == attempt

    def is_at(self, begun: int, item: int | None) -> bool:
        """Whether what it has begun last is the first assignment in its queue, or the next item of that."""
        first = self.queue[0]
        return begun == first.attempt and (first.items is None or item == self.at)

    def has_outdated(self, surroundings: Surroundings) -> bool:
        """Whether it is found only now that the program has loaded modules anew since it was told of them."""
        if self.is_outdated or self.surroundings is None:
            return False
        self.is_outdated = self.surroundings.generation < surroundings.generation
        self.is_attended = True
        return self.is_outdated

    @property
    def begun(self) -> tuple[int, float]:
        """The number of the attempt that the worker began last, and when that was, on the machine's monotonic clock.

        Where the worker's clock says something else (a task may have replaced it), that is now.
        """
        (begun, moment), now = self._mark.read(), monotonic()
        return begun, moment if 0 <= moment <= now else now

    @property
    def item(self) -> int | None:
        """The item of a batch to which the worker came last, where it told."""
        return self._mark.item

    def gets_on(self, count: int = 1) -> bool:
        """So many calls of the first in its queue have come to their ends. Returns whether that has, too."""
        self.at += count
        self.load -= count
        first = self.queue[0]
        if first.items is not None and self.at < first.size:
            self.is_told = False
            return False
        self.reported = self.queue.popleft().attempt
        self.at = 0
        self.is_told = not self.queue
        return True

    def is_to_end(self, kill_at: float) -> None:
        """Give it nothing more, and kill it at that moment if it hasn't ended by then."""
        self.is_doomed = self.is_attended = True
        self.kill_at = kill_at

    def send(self, messages: Sequence[Down]) -> None:
        """Write as much as the socket takes now; the rest waits in `outgoing`."""
        self.outgoing += frame(list(messages))
        self.flush()

    def flush(self) -> None:
        """Write what waits, as far as the socket takes it."""
        try:
            while self.outgoing:
                del self.outgoing[: self.socket.send(self.outgoing)]
        except OSError as error:
            if not passes(error):
                self.outgoing.clear()  # the worker is going; its end is learnt from the process

    def receive(self) -> Iterator[Up]:
        """Receive once, and yield what the worker has reported.

        At the end of its socket this raises `EOFError` or `ConnectionError`, and `Garbled` where a task has written to
        what isn't its own.
        """
        return self._reader.receive()

    def drain(self) -> Iterator[Up]:
        """All reports that are there, and what the worker has noted of the first attempt that is then in its queue.

        The notes are read first: of what they follow, the reports have come by then, although it may live and go on.
        """
        noted = self._tally.read()
        with suppress(BlockingIOError, EOFError, ConnectionError):
            while True:  # a forked child may hold the socket open: then it never comes to its end
                yield from self.receive()
        if noted.figures and self.queue and self.queue[0].attempt == noted.attempt:
            yield noted

    def hang_up(self) -> None:
        """Say that nothing more will come: an idle worker then leaves by itself. What it still says can be read."""
        with suppress(OSError):  # it has left already
            self.socket.shutdown(SHUT_WR)

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to the worker and whatever it started."""
        with suppress(ProcessLookupError, PermissionError):  # macOS says the second where only a zombie is left
            os.killpg(self.pid, number)

    def halt(self) -> None:
        """Tell the process to stand still. By then, or soon, `stands_still`."""
        if self.judged_at is None:
            self.judged_at = monotonic() + STILL_SECONDS
            self.is_attended = True
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGSTOP)

    @property
    def stands_still(self) -> bool:
        """Whether a process that was halted does nothing more of its own before it is let go on.

        One that hasn't stopped in all that time can't: it is inside the kernel, or a debugger holds it.
        """
        return self.judged_at is not None and (self._ending.has_stopped() or self.judged_at <= monotonic())

    def go_on(self) -> None:
        """Let the process go on that was halted."""
        self.judged_at = None
        self.signal_group(signal.SIGCONT)

    @property
    def state(self) -> str:
        """What the process does, by the kernel's letter for it."""
        return self._ending.state

    @property
    def exit_code(self) -> int | None:
        """The process's exit code, or minus the signal that ended it, once it was reaped.

        `None`: the program ignores SIGCHLD, or waits for all its children, and so nobody can tell.
        """
        return None if self._process.is_untold else self._process.returncode

    def reap(self) -> bool:
        """Whether nothing is left of the process any more, if it has ended."""
        return self._process.is_reaped()

    def give_up(self) -> None:
        """Wait no more for the process; if it ends after all, nothing is left of it."""
        self.is_given_up = True
        self._process.wait_later()

    def tells(self, size: int) -> None:
        """It has told so many bytes more, or, where it is less than none, so many have been shown."""
        self.unshown += size
        is_held = self.unshown > (LEAST_UNSHOWN if self.is_held else MOST_UNSHOWN)
        if is_held != self.is_held:
            self.is_held = is_held
            self.is_attended = True
            self._mark.hold(back=is_held)

    def has_ended(self, timeout: float) -> bool:
        """Wait for the process, for at most `timeout` seconds."""
        return self._ending.comes_within(timeout)

    def close(self) -> None:
        """Give up every descriptor."""
        self.unshown, self.is_held = 0, False  # nobody is there to be held back
        self.socket.close()
        self._mark.close()
        self._tally.close()
        self.permits.close()
        for descriptor in (self._lifeline, self.exit_descriptor):
            os.close(descriptor)
