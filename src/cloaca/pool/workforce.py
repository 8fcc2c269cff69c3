"""Workforce: which workers there are. It starts them, tells them to end, and sees to it that they do.

What they are given to do is the pool's business.

    start --> getting ready --> ready --------------------> dismissed: an idle worker leaves by itself
                  |               |                              |
                  |               +--> told to end (SIGTERM)     |
                  |                       |                      |
                  v                       v                      v
                 dead <------------- dead, or killed when its grace is over --> given up, if that doesn't end it

Nothing here waits for a process: what should happen to one has a moment by which it is seen to. Only `close` waits, and
not for ever.
"""

import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from selectors import EVENT_READ, EVENT_WRITE, BaseSelector
from socket import socket
from time import monotonic

from cloaca.border.mark import NONE
from cloaca.errors import WorkersUnavailableError
from cloaca.pool.foresight import preloadable
from cloaca.pool.nursery import Nursery, NurseryLostError
from cloaca.pool.peer import Peer
from cloaca.wire.messages import Surroundings
from cloaca.wire.shortage import AGAIN_SECONDS, PATIENCE_SECONDS, passes

GRACE_SECONDS = 2.0
ENDING_SECONDS = 0.1
KILLED_SECONDS = 2.0
"""How long a worker that was killed may take to end. One that takes longer is held by the kernel or by a debugger."""

BECOMING_SECONDS = 60.0
"""How long what was started may take to be a worker, as long as none has shown that `sys.executable` makes workers."""

TOLERATED_FAILED_STARTS = 3
"""In a row, of workers that ended by themselves before they were ready: the next one would, too."""

TOLERATED_KILLED_STARTS = 100
"""In a row, of workers that something killed before they were ready."""

_SCARCE = "See how many files (ulimit -n) and processes (ulimit -u) the program may have, and how much memory is left."


class Workforce:
    """Up to `size` workers, whose sockets and ends are watched by `selector`, forked from the nursery if there is one.

    It is the workforce's from then on.
    """

    def __init__(self, size: int, selector: BaseSelector, nursery: Nursery | None = None) -> None:
        self.peers: list[Peer] = []
        self._nursery = None if nursery is None or nursery.is_lost else nursery
        self._size = size
        self._selector = selector
        self._failed_starts = 0
        self._killed_starts = 0
        self._makes_workers = False
        self._lacks_since: float | None = None
        self.again_at: float | None = None
        """When it may be worth trying to start a worker again, where none could be, or the nursery is waited for."""
        if self._nursery is not None:
            selector.register(self._nursery.descriptor, EVENT_READ)

    def foresee(self, blobs: Iterable[bytes]) -> None:
        """The first workers will run these functions, or read these values: what they mention is loaded beforehand."""
        if self._nursery is not None:
            self._nursery.load(preloadable(blobs))

    def hear(self) -> None:
        """Take in what the nursery has told."""
        if self._nursery is None:
            return
        self._nursery.hear()
        if not self._nursery.is_loading:
            self.again_at = None
        if self._nursery.is_lost:
            self._unwatch(self._nursery.descriptor)
            self._nursery.close()
            self._nursery = None

    def start(self, count: int, surroundings: Surroundings, initializer: int = 0) -> Iterator[Peer]:
        """Start up to `count` more, and yield each, before it has been told anything.

        Raises `WorkersUnavailableError` where there is none and none can be started.
        """
        nursery = self._nursery
        if nursery is not None and nursery.is_loading:
            self.again_at = nursery.due
        if self.again_at is not None and monotonic() < self.again_at:
            return
        if nursery is not None and not nursery.suits(surroundings.environment):
            nursery = None
        for _ in range(min(count, self._size - len(self.peers))):
            try:
                peer = self._started(surroundings, initializer, nursery)
            except OSError as error:
                self._do_without(error)
                return
            if not self._makes_workers:
                peer.kill_at = monotonic() + BECOMING_SECONDS
            self._lacks_since = self.again_at = None
            yield peer

    def _started(self, surroundings: Surroundings, initializer: int, nursery: Nursery | None) -> Peer:
        try:
            peer = Peer(surroundings, initializer, nursery)
        except NurseryLostError:  # it is done without from here on
            peer = Peer(surroundings, initializer)
        self.peers.append(peer)
        try:
            self._selector.register(peer.socket, EVENT_READ | EVENT_WRITE, peer)
            self._selector.register(peer.exit_descriptor, EVENT_READ, peer)
        except OSError:
            self.bury(peer)
            raise
        return peer

    def _do_without(self, error: OSError) -> None:
        """Go on with the workers that there are; where there is none, try again for a while if that may help."""
        now = monotonic()
        since = now if self._lacks_since is None or self.peers else self._lacks_since
        self._lacks_since, self.again_at = since, now + AGAIN_SECONDS
        if not self.peers and (not passes(error) or now - since >= PATIENCE_SECONDS):
            self._lacks_since = self.again_at = None
            advice = f" {_SCARCE}" if passes(error) else ""
            raise WorkersUnavailableError(f"No worker process can be started: {error}.{advice}") from error

    def is_ready(self, peer: Peer) -> None:
        """A worker has said so."""
        peer.is_ready = self._makes_workers = True
        if not peer.is_doomed:
            peer.kill_at = None
        self._failed_starts = self._killed_starts = 0

    # ---- endings ---------------------------------------------------------------------------------------------------

    def stop(self, peer: Peer, grace: float) -> None:
        """Tell a worker and what it started to end, and kill them after `grace` seconds. Said again, it may hurry."""
        peer.judged_at = None
        if peer.is_killed:
            return
        deadline = monotonic() + grace
        if grace <= 0:
            peer.signal_group(signal.SIGKILL)
        elif not peer.is_doomed:
            peer.signal_group(signal.SIGTERM)
            peer.signal_group(signal.SIGCONT)
        peer.is_stopped = True
        peer.is_to_end(deadline if peer.kill_at is None else min(peer.kill_at, deadline))

    def dismiss(self, peer: Peer) -> None:
        """Let a worker go that has nothing to do."""
        peer.hang_up()
        peer.is_to_end(monotonic() + GRACE_SECONDS)

    def lost_contact(self, peer: Peer) -> None:
        """A worker's socket has come to its end. One that lives on is of no use without it.

        A worker that is ending closes its socket a moment before.
        """
        self._unwatch(peer.socket)
        if not peer.is_doomed:
            peer.has_hung_up = True
            peer.is_to_end(monotonic() + ENDING_SECONDS)

    def cut_off(self, peer: Peer) -> None:
        """Kill a worker that sends what makes no sense: nothing that it says counts any more."""
        self._unwatch(peer.socket)
        self.stop(peer, 0)

    def _unwatch(self, watched: socket | int) -> None:
        if watched in self._selector.get_map():
            self._selector.unregister(watched)

    def kill_overdue(self, attended: Sequence[Peer]) -> list[Peer]:
        """Kill those of them whose grace is over. Returns those that were killed long ago and haven't ended."""
        overdue = [peer for peer in attended if peer.kill_at is not None and peer.kill_at <= monotonic()]
        given_up = [peer for peer in overdue if peer.is_killed]
        for peer in overdue:
            if peer.is_doomed:
                peer.signal_group(signal.SIGKILL)
                peer.is_killed, peer.kill_at = True, monotonic() + KILLED_SECONDS
                continue
            peer.kill_at = None
            if not peer.is_ready and not self._makes_workers and peer.begun[0] == NONE:
                self._refuse(peer)
        return given_up

    def _refuse(self, peer: Peer) -> None:
        """What was started is something else, or can't find its way: another one would do the same."""
        self.stop(peer, 0)
        raise WorkersUnavailableError(
            f"What was started as a worker hasn't become one within {BECOMING_SECONDS:g} s. It was started as "
            f"{sys.executable} (sys.executable): that must be a Python interpreter that runs what `-c` gives it. Where "
            'it is something else, use executor="serial".'
        )

    def has_gone(self, peer: Peer) -> bool:
        """Whether nothing is left of a worker that has ended. A debugger keeps it until it has seen that for itself."""
        if peer.reap():
            return True
        self._unwatch(peer.exit_descriptor)
        peer.is_killed = True
        peer.is_to_end(monotonic() + ENDING_SECONDS)
        return False

    def bury(self, peer: Peer) -> int | None:
        """Take leave of a worker that has ended; returns its exit code, or minus the signal that ended it, if known.

        One that hasn't ended, or that a debugger keeps, is given up.
        """
        self.peers.remove(peer)
        self._unwatch(peer.socket)
        self._unwatch(peer.exit_descriptor)
        _leave(peer)
        return peer.exit_code

    def reject_unready(self) -> bool:
        """The initializer has raised: stop all workers that aren't through with it. Whether there was any."""
        unready = [peer for peer in self.peers if not peer.is_ready and not peer.is_unfit]
        for peer in unready:
            peer.is_unfit = True
            self.stop(peer, GRACE_SECONDS)
        return bool(unready)

    def count_failed_start(self, code: int | None, initializer: str | None = None) -> None:
        """A worker has ended before it was ready. Raises `WorkersUnavailableError` where that is no accident.

        `initializer` is the name of the one that it was running, if it was: whatever ended it then, it was that.
        """
        killer = 0 if code is None else max(0, -code)
        if killer and initializer is None:
            self._killed_starts += 1
        else:
            self._failed_starts += 1
        if self._failed_starts < TOLERATED_FAILED_STARTS and self._killed_starts < TOLERATED_KILLED_STARTS:
            return
        failed = max(self._failed_starts, self._killed_starts)
        self._failed_starts = self._killed_starts = 0
        advice = (
            "Something outside kills them: often the machine is out of memory."
            if killer
            else "What they wrote to standard error tells why; often a module on sys.path shadows one of Python's."
        )
        if initializer is not None:
            advice = f"They were running the runner's initializer {initializer!r}: let it return or raise."
        how = f"killed by {signal_name(killer)}" if killer else f"exit code {'unknown' if code is None else code}"
        raise WorkersUnavailableError(
            f"{failed} worker processes in a row ended before they were ready ({how}). {advice}"
        )

    def close(self) -> list[Peer]:
        """Hang up, wait, kill, wait: idle workers run their exit handlers. Returns those that haven't ended then."""
        for peer in self.peers:
            if peer.queue:
                self.stop(peer, GRACE_SECONDS)
            elif not peer.is_ready:
                self.stop(peer, 0)
            peer.hang_up()
        _await_ends([peer for peer in self.peers if not peer.is_killed], GRACE_SECONDS)
        for peer in self.peers:
            peer.signal_group(signal.SIGKILL)
        _await_ends(self.peers, KILLED_SECONDS)
        peers, self.peers[:] = list(self.peers), []
        for peer in peers:
            _leave(peer)
        if self._nursery is not None:
            self._nursery.close()
        return [peer for peer in peers if peer.is_given_up]

    def abandon(self) -> None:
        """In a forked child of the program: give up every descriptor, the life-lines above all."""
        for peer in self.peers:
            peer.close()


def _await_ends(peers: Iterable[Peer], timeout: float) -> None:
    deadline = monotonic() + timeout
    for peer in peers:
        peer.has_ended(max(0.0, deadline - monotonic()))


def _leave(peer: Peer) -> None:
    """Let go of all that there is of a worker here."""
    peer.signal_group(signal.SIGKILL)  # what it started must not outlive it
    if not peer.reap():
        peer.give_up()
    peer.close()


def signal_name(number: int) -> str:
    """The name of a signal."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"  # real-time signals have no names of their own
