"""Interrupts: a program that is told to end while it waits for a run ends in order.

By default SIGTERM and SIGHUP end a process on the spot: no `finally`, no `with`, no exit handlers; files stay behind.
While the main thread waits for a run, it is an exception instead, as Ctrl-C is. Handlers of the program's own stay.
"""

import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from threading import current_thread, main_thread
from typing import NoReturn

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def raised() -> Generator[None, None, None]:
    """Raise `SystemExit` with the code that shells show for such an end (143 for SIGTERM) on the main thread."""
    if current_thread() is not main_thread():
        yield
        return
    ours = [number for number in _SIGNALS if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, _leave)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def tell(interrupt: BaseException, workflow: str) -> None:
    """Say on the program's standard error what is being done: whoever pressed Ctrl-C sits there, and waits."""
    why = "told to end, " if isinstance(interrupt, SystemExit) else ""
    how = "" if isinstance(interrupt, SystemExit) else "; Ctrl-C again stops it at once"
    with suppress(Exception):  # the terminal may have gone, and the stream be an object of any kind
        print(f"cloaca: {why}stopping workflow {workflow!r}{how}", file=sys.stderr, flush=True)  # noqa: T201


def _leave(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)
