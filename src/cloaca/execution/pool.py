"""Pool: worker processes, started, fed, watched and replaced. The executor of every ordinary run.

Data flow, the line in the middle being the border of the process:

    coordinator's thread                       |  worker processes (fresh interpreters, each its own process group)
                                               |
    submit --> pending --feed--> peer.queue  ===== socket ====> run, one by one
    wait   <-- events  <-------- reports     <==== socket ===== each report at once
                  ^------------- pidfd       <---- the kernel   when the process is gone
                                 life-line   ----> the kernel   when we are gone

- One socket per worker, and no lock shared with it: a dying worker takes nothing with it, and what each worker
  holds is known here.
- Writes never block: what a socket doesn't take waits in `Peer.outgoing`. (Two blocking writers facing each other
  with full buffers never end.)
- That a worker died is learnt from the process, never from the end of its socket, which a forked child may hold
  open. It costs the attempt that was running; what was queued behind it goes to others.
"""

import os
import signal
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial
from math import ceil
from selectors import EVENT_READ, EVENT_WRITE, DefaultSelector, SelectorKey
from time import monotonic

from cloaca.errors import WorkersUnavailableError
from cloaca.execution.batching import Batching
from cloaca.execution.peer import Peer
from cloaca.execution.spin import spin
from cloaca.execution.surroundings import here
from cloaca.wire.messages import (
    SOCKET_LOST,
    Answer,
    Assignment,
    Done,
    Down,
    Event,
    Failed,
    Lost,
    Publish,
    Ready,
    Retire,
    Started,
    Surroundings,
    Unstarted,
    Up,
)

WINDOW_PER_WORKER = 256
TOLERATED_FAILED_STARTS = 3
GRACE_SECONDS = 2.0
CANCELLED = "it was cancelled"
ENDING_SECONDS = 0.1
HUNG_UP = "the worker's connection to the program was closed, and so it was stopped"

_pools: "weakref.WeakSet[Pool]" = weakref.WeakSet()


class Pool:
    """Runs assignments on up to `size` worker processes, started when there is work for them.

    `environment` is what the workers' environment has beyond the program's own; `cores` how many there are.
    """

    answers = True

    def __init__(self, size: int, environment: Mapping[str, str], cores: int = 1) -> None:
        self.window = size * WINDOW_PER_WORKER
        self._size = size
        self._cores = cores
        self._environment = {**os.environ, **environment}
        self._surroundings = here()
        self._functions: dict[int, Publish] = {}
        self._pending: deque[Assignment] = deque()
        self._peers: list[Peer] = []
        self._holder: dict[int, Peer] = {}
        self._withdrawn: set[int] = set()
        self._announced: dict[int, int] = {}  # started, as it seemed: how often at a worker that then died idle
        self._events: list[Event] = []
        self._batching = Batching()
        self._failed_starts = 0
        self._selector = DefaultSelector()
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_writer, False)
        self._selector.register(self._wake_reader, EVENT_READ)
        self._closed = False
        _pools.add(self)

    @property
    def pids(self) -> list[int]:
        """The process ids of the workers."""
        return [peer.pid for peer in self._peers]

    # ---- the coordinator's calls -----------------------------------------------------------------------------------

    def surround(self, surroundings: Surroundings) -> None:
        """Tell each worker with the next assignments that it is given, where that is news."""
        self._surroundings = surroundings

    def publish(self, functions: Sequence[Publish]) -> None:
        """Keep the functions; each goes to a worker with the first assignment there that names it."""
        self._functions.update((function.function, function) for function in functions)

    def retire(self, functions: Sequence[int]) -> None:
        """Forget functions, here and in the workers."""
        for number in functions:
            self._functions.pop(number, None)
        for peer in self._peers:
            known = [number for number in functions if number in peer.known]
            if known:
                peer.known.difference_update(known)
                self._send(peer, [Retire(known)])

    def submit(self, assignments: Sequence[Assignment]) -> None:
        """Take on attempts; they go to workers in `wait`."""
        self._pending.extend(assignments)

    def answer(self, answer: Answer) -> None:
        """Pass the answer on to the worker that asked, if it is still there."""
        peer = self._holder.get(answer.attempt)
        if peer is not None:
            self._send(peer, [answer])

    def cancel(self, attempts: Sequence[int]) -> None:
        """Give back what is pending; in `wait`, stop what runs. What a worker has queued is stopped when it starts."""
        withdrawn = set(attempts)
        self._events += [self._given_back(waiting.attempt) for waiting in self._pending if waiting.attempt in withdrawn]
        self._pending = deque(waiting for waiting in self._pending if waiting.attempt not in withdrawn)
        self._withdrawn |= withdrawn & self._holder.keys()

    def wait(self, timeout: float | None) -> Sequence[Event]:
        """Feed the workers, and collect what they report."""
        self._stop_withdrawn()
        self._feed()
        ended: list[Peer] = []
        for key, mask in self._look_out(0 if self._events else timeout):
            peer: Peer | None = key.data
            if peer is None:
                os.read(self._wake_reader, 1 << 16)
            elif key.fd == peer.exit_descriptor:
                ended.append(peer)
            else:
                self._serve(peer, mask)
        for peer in ended:
            self._bury(peer)
        self._feed()
        events, self._events = self._events, []
        return events

    def _look_out(self, timeout: float | None) -> list[tuple[SelectorKey, int]]:
        if timeout != 0 and 0 < sum(bool(peer.queue) for peer in self._peers) < self._cores:
            found = spin(partial(self._selector.select, 0))
            if found:
                return found
        return self._selector.select(timeout)

    def wake(self) -> None:
        """Make `wait` return."""
        if self._closed:
            return
        try:
            os.write(self._wake_writer, b"!")
        except BlockingIOError:
            return  # the pipe is full of wake-ups already

    def close(self) -> None:
        """Let idle workers leave, stop the others, and wait until all are gone."""
        if self._closed:
            return
        self._closed = True
        _pools.discard(self)
        self._end_workers()
        self._selector.close()
        os.close(self._wake_reader)
        os.close(self._wake_writer)

    # ---- feeding ---------------------------------------------------------------------------------------------------

    def _feed(self) -> None:
        if not self._pending:
            return
        self._start_workers()
        ready = [peer for peer in self._peers if peer.is_ready and not peer.is_doomed]
        if not ready:
            return
        batch = self._batching.size(ceil(len(self._pending) / (2 * self._size)))
        for peer in sorted(ready, key=lambda peer: len(peer.queue)):
            if not self._pending:
                return
            if not peer.queue or len(peer.queue) <= batch // 2:
                self._hand_over(peer, batch - len(peer.queue))

    def _start_workers(self) -> None:
        idle = sum(not peer.queue for peer in self._peers)
        for _ in range(min(self._size - len(self._peers), len(self._pending) - idle)):
            try:
                peer = Peer(self._environment, self._surroundings)
            except OSError as error:
                if self._peers:
                    return  # the machine has no room for another process: go on with those that there are
                raise WorkersUnavailableError(f"No worker process can be started: {error}.") from error
            self._peers.append(peer)
            self._selector.register(peer.socket, EVENT_READ, peer)
            self._selector.register(peer.exit_descriptor, EVENT_READ, peer)

    def _hand_over(self, peer: Peer, count: int) -> None:
        was_idle = not peer.queue
        messages: list[Down] = []
        if peer.surroundings != self._surroundings:
            peer.surroundings = self._surroundings
            messages.append(self._surroundings)
        while count > 0 and self._pending:
            assignment = self._pending.popleft()
            for number in (assignment.rules, assignment.function) if assignment.rules else (assignment.function,):
                if number not in peer.known:
                    peer.known.add(number)
                    messages.append(self._functions[number])
            messages.append(assignment)
            peer.queue.append(assignment)
            self._holder[assignment.attempt] = peer
            count -= 1
        self._send(peer, messages)
        if was_idle:
            self._start_first(peer)

    def _send(self, peer: Peer, messages: Sequence[Down]) -> None:
        had_to_wait = bool(peer.outgoing)
        peer.send(messages)
        if peer.outgoing and not had_to_wait:
            self._selector.modify(peer.socket, EVENT_READ | EVENT_WRITE, peer)

    # ---- collecting ------------------------------------------------------------------------------------------------

    def _serve(self, peer: Peer, mask: int) -> None:
        if mask & EVENT_WRITE:
            peer.flush()
            if not peer.outgoing:
                self._selector.modify(peer.socket, EVENT_READ, peer)
        if mask & EVENT_READ:
            try:
                self._collect(peer)
            except EOFError:
                # A worker that is ending closes its socket a moment before; one that lives on is of no use without it.
                self._selector.unregister(peer.socket)
                peer.is_doomed = True
                peer.has_hung_up = not peer.has_ended(ENDING_SECONDS)
                peer.signal_group(signal.SIGKILL)

    def _collect(self, peer: Peer) -> None:
        for message in peer.receive():
            self._take(peer, message)

    def _take(self, peer: Peer, message: Up) -> None:
        match message:
            case Done() | Failed():
                peer.queue.popleft()
                del self._holder[message.attempt]
                self._withdrawn.discard(message.attempt)
                if self._announced:
                    self._announced.pop(message.attempt, None)
                self._batching.measured(message.usage.ended - message.usage.started)
                self._events.append(message)
                if peer.queue:
                    self._start_first(peer)
            case Ready():
                peer.is_ready = True
                self._failed_starts = 0
            case _:
                self._events.append(message)

    def _start_first(self, peer: Peer) -> None:
        first = peer.queue[0].attempt
        if first not in self._announced:
            self._events.append(Started(first))

    def _stop_withdrawn(self) -> None:
        """Kill the workers that run a withdrawn attempt.

        A worker may have reported it by now, and run the next one: it is made to stand still, so that what it has
        reported can be read before it is judged.
        """
        if not self._withdrawn:
            return
        for peer in self._peers:
            if peer.queue and peer.queue[0].attempt in self._withdrawn and not peer.is_doomed:
                peer.freeze()
                for message in peer.drain():
                    self._take(peer, message)
                peer.is_doomed = bool(peer.queue) and peer.queue[0].attempt in self._withdrawn
                peer.signal_group(signal.SIGKILL if peer.is_doomed else signal.SIGCONT)

    # ---- endings ---------------------------------------------------------------------------------------------------

    def _bury(self, peer: Peer) -> None:
        """Take leave of a worker that has ended: its last reports count, the attempt it was running is lost."""
        for message in peer.drain():
            self._take(peer, message)
        peer.signal_group(signal.SIGKILL)  # what it started must not outlive it
        code = peer.reap()
        self._lose_first(peer, code)
        self._forget(peer)
        while peer.queue:
            assignment = peer.queue.pop()
            del self._holder[assignment.attempt]
            self._requeue(assignment)
        if not peer.is_ready:
            self._count_failed_start(code)

    def _lose_first(self, peer: Peer, code: int) -> None:
        """The attempt that was running is lost. One that was about to run is not: it stays first in line."""
        if not peer.queue:
            return
        first = peer.queue[0].attempt
        times = self._announced.get(first, 0)
        if first != peer.begun and first not in self._withdrawn and times < TOLERATED_FAILED_STARTS:
            self._announced[first] = times + 1
            return
        self._announced.pop(first, None)
        peer.queue.popleft()
        del self._holder[first]
        self._withdrawn.discard(first)
        self._events.append(_lost(first, code, HUNG_UP if peer.has_hung_up or code == SOCKET_LOST else None))

    def _requeue(self, assignment: Assignment) -> None:
        """Put it first in line, unless it was withdrawn."""
        if assignment.attempt in self._withdrawn:
            self._withdrawn.discard(assignment.attempt)
            self._events.append(self._given_back(assignment.attempt))
        else:
            self._pending.appendleft(assignment)

    def _given_back(self, attempt: int) -> Unstarted | Lost:
        if self._announced.pop(attempt, None) is None:
            return Unstarted(attempt)
        return Lost(attempt, None, None, CANCELLED)

    def _forget(self, peer: Peer) -> None:
        self._peers.remove(peer)
        for descriptor in (peer.socket, peer.exit_descriptor):
            if descriptor in self._selector.get_map():
                self._selector.unregister(descriptor)
        peer.close()

    def _count_failed_start(self, code: int) -> None:
        self._failed_starts += 1
        if self._failed_starts >= TOLERATED_FAILED_STARTS:
            self._failed_starts, failed = 0, self._failed_starts
            advice = (
                "Something outside kills them: often the machine is out of memory."
                if code < 0
                else "What they wrote to standard error tells why; often a module on sys.path shadows one of Python's."
            )
            how = f"killed by {_signal_name(-code)}" if code < 0 else f"exit code {code}"
            raise WorkersUnavailableError(
                f"{failed} worker processes in a row ended before they were ready ({how}). {advice}"
            )

    def _end_workers(self) -> None:
        """Hang up, wait, kill, wait: idle workers run their exit handlers, and none outlives this call."""
        for peer in self._peers:
            if peer.queue or not peer.is_ready:
                peer.signal_group(signal.SIGKILL)
            peer.hang_up()
        deadline = monotonic() + GRACE_SECONDS
        for peer in self._peers:
            peer.has_ended(max(0.0, deadline - monotonic()))
            peer.signal_group(signal.SIGKILL)
            peer.reap()
            peer.close()
        self._peers.clear()

    def abandon(self) -> None:
        """In a forked child of the program: give up every descriptor, the life-lines above all."""
        self._closed = True
        for peer in self._peers:
            peer.close()
        for descriptor in (self._wake_reader, self._wake_writer):
            os.close(descriptor)
        self._selector.close()


def _lost(attempt: int, code: int, reason: str | None) -> Lost:
    if code < 0:
        return Lost(attempt, None, _signal_name(-code), reason)
    return Lost(attempt, code, None, reason)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"  # real-time signals have no names of their own


def _abandon_all() -> None:
    for pool in list(_pools):
        pool.abandon()


os.register_at_fork(after_in_child=_abandon_all)
