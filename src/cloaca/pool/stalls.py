"""Stalls: workers that stand still, or don't end although they were killed; and what is told of them.

A process stands still where somebody has stopped it, where a debugger holds it, or where it waits inside the kernel for
what doesn't come. Nothing that is done to it helps for certain: so it is gone on without.
"""

from collections.abc import Iterable, Iterator
from time import monotonic

from cloaca.border.mark import INITIALIZING
from cloaca.pool.peer import Peer
from cloaca.values.records import encode_notice

LOOK_SECONDS = 1.0
TOLERATED = 3
"""How many looks in a row may find a worker standing still, the last one not counted."""

_STOPPED = frozenset("Tt")
_STILL = frozenset("TtD")
"""The last one passes by itself where a task works with files, or a worker starts from them."""

_MEANING = {
    "D": "it waits inside the kernel, mostly for a file system (NFS) or a disk that doesn't answer",
    "T": "somebody has stopped it (SIGSTOP)",
    "t": "a debugger holds it",
    "Z": "it has ended, and a debugger keeps what is left of it",
}


class StallWatch:
    """Looks from time to time whether workers that have something to do stand still."""

    def __init__(self) -> None:
        self.due = monotonic()

    def look(self, peers: Iterable[Peer]) -> Iterator[Peer]:
        """Those that have been found standing still long enough for that to be told, and each time after that."""
        self.due = monotonic() + LOOK_SECONDS
        for peer in peers:
            is_idle = not peer.queue if has_begun(peer) else False
            if peer.is_doomed or is_idle or peer.state not in (_STOPPED if _is_busy(peer) else _STILL):
                peer.stalls = 0
                continue
            peer.stalls += 1
            if peer.stalls >= TOLERATED:
                yield peer


def has_begun(peer: Peer) -> bool:
    """Whether a worker has begun what comes first: to run the initializer, or the first attempt in its queue."""
    if not peer.is_ready:
        return peer.begun[0] == INITIALIZING
    if not peer.queue:
        return True
    first = peer.queue[0].attempt
    return peer.is_told or first == peer.begun[0]


def _is_busy(peer: Peer) -> bool:
    """Whether a worker may be at files of its own accord: in a task, or as it starts."""
    return has_begun(peer) or not peer.is_ready


def unstarted(peer: Peer) -> bytes:
    """What is told of one that hasn't begun what it was given, as a record."""
    return encode_notice(
        f"{_found(peer)} It hadn't begun what it was given: it was killed, and another takes its place."
    )


def interrupted(peer: Peer) -> bytes:
    """What is told of one that stands still in the middle of an attempt."""
    return encode_notice(
        f"{_found(peer)} Task {peer.queue[0].task!r} stands still with it, until it goes on (`kill -CONT {peer.pid}`), "
        "the task's time limit has passed, or the execution is cancelled."
    )


def given_up(peer: Peer) -> bytes:
    """What is told of one that doesn't end."""
    return encode_notice(
        f"Worker process {peer.pid} was killed, and doesn't end: {_why(peer)}. It was given up, and another takes its "
        f"place. It goes when what it waits for comes; /proc/{peer.pid}/stack tells where in the kernel it is."
    )


def _found(peer: Peer) -> str:
    return f"Worker process {peer.pid} does nothing: {_why(peer)}."


def _why(peer: Peer) -> str:
    state = peer.state
    return f"{_MEANING.get(state, 'why is not known')} (state {state})"
