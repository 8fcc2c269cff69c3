"""Interrupts: a program that is told to end while it waits for a run ends in order.

By default SIGTERM and SIGHUP end a process on the spot: no `finally`, no `with`, no exit handlers; files stay behind.
While the main thread waits for a run, it is an exception instead, as Ctrl-C is. Handlers of the program's own stay.

Who sends such a signal often sends it again: `timeout` to its child and then to the group, supervisors to whoever is
still there. That is the same request. It doesn't hurry what is being put in order, nor kill the program meanwhile.
"""

import atexit
import os
import select
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from threading import current_thread, main_thread
from time import monotonic
from types import FrameType

from cloaca.attempts.termination import Terminated
from cloaca.border import forks

SAME_SECONDS = 10.0
"""For how long a signal that comes again says nothing new."""

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)

_waits = False
_said_until = 0.0


@contextmanager
def raised() -> Generator[None, None, None]:
    """Raise `SystemExit` with the code that shells show for such an end (143 for SIGTERM) on the main thread."""
    global _waits  # noqa: PLW0603 - a process has one main thread, and its signals
    if _waits or current_thread() is not main_thread():
        yield
        return
    ours = [number for number in _SIGNALS if signal.getsignal(number) in (signal.SIG_DFL, _leave)]
    _waits = True
    try:
        for number in ours:
            signal.signal(number, _leave)
        yield
    finally:
        _waits = False
        if monotonic() >= _said_until:  # else `_leave` stays: the program is on its way to its end
            for number in ours:
                signal.signal(number, signal.SIG_DFL)


def tell(interrupt: BaseException, workflow: str, way: str = "") -> None:
    """Say on the program's standard error what is being done: whoever pressed Ctrl-C sits there, and waits.

    `way`: how to go on later, if that can be done. Not where that would wait itself, for somebody who reads it.
    """
    if not isinstance(interrupt, KeyboardInterrupt | SystemExit) or _is_full(sys.stderr):
        return  # if neither: the program has set itself an alarm, and knows
    why = "told to end, " if isinstance(interrupt, SystemExit) else ""
    how = "" if isinstance(interrupt, SystemExit) else "; Ctrl-C again stops it at once"
    with suppress(Exception):  # the terminal may have gone, and the stream be an object of any kind
        print(f"cloaca: {why}stopping workflow {workflow!r}{how}{way}", file=sys.stderr, flush=True)  # noqa: T201


def _is_full(stream: object) -> bool:
    """Whether what is written there would have to wait. Of a stream that isn't a file's nothing is known."""
    try:
        descriptor: int = stream.fileno()  # type: ignore[attr-defined]  # any object, or none
    except (AttributeError, OSError, ValueError):
        return False
    room = select.poll()
    room.register(descriptor, select.POLLOUT)
    return not room.poll(0)


def _leave(number: int, frame: FrameType | None) -> None:
    global _said_until  # noqa: PLW0603 - as above
    if monotonic() < _said_until or forks.puts_off(number, frame):
        return
    if not _waits:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        return
    _said_until = monotonic() + SAME_SECONDS
    raise Terminated(128 + number)


def _end() -> None:
    """An interpreter that ends gives up its handlers, but doesn't touch what is ignored."""
    if monotonic() < _said_until:
        for number in _SIGNALS:
            if signal.getsignal(number) is _leave:
                signal.signal(number, signal.SIG_IGN)


def _begin() -> None:
    global _waits, _said_until
    _waits, _said_until = False, 0.0


atexit.register(_end)
forks.spare(_leave, *_SIGNALS)
os.register_at_fork(after_in_child=_begin)
