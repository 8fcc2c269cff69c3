"""Console: shows what tasks print, log and warn of, by the program's own means.

Through `sys.stdout` and `sys.stderr`, looked up each time: so pytest, notebooks and `contextlib.redirect_stdout` see
it. Through the handlers of the program's loggers, and through its filters of warnings.
"""

import logging
import sys
import traceback
import warnings
from collections import defaultdict
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TextIO

from cloaca.errors import summary
from cloaca.wire.codec import decode
from cloaca.wire.messages import Logged, Said, Told, Warned
from cloaca.wire.records import decode_record

PATIENCE_SECONDS = 1.0


class Console:
    """Shows each thing as it comes. None of it can break a run, whatever the program's streams and handlers do."""

    def __init__(self) -> None:
        self._broken: list[TextIO] = []
        self._registries: defaultdict[str, dict[Any, Any]] = defaultdict(dict)
        self._has_complained = False

    def show(self, told: Told) -> None:
        """Write, log or warn."""
        match told:
            case Said():
                self._write(told.stream, told.text)
            case Logged():
                self._log(told)
            case Warned():
                self._warn(told)

    def _write(self, stream: str, text: str) -> None:
        """Write `text` to the stream named "stdout" or "stderr".

        A stream that can't be written to any more (a closed pipe) is given up, once: the program notices that itself
        when it prints, and a task's result doesn't depend on who reads its output.
        """
        target = sys.stdout if stream == "stdout" else sys.stderr
        if target is None or any(target is broken for broken in self._broken):
            return
        try:
            _write(target, text)
            target.flush()
        except Exception:  # noqa: BLE001 - the program's stream may be an object of any kind, and raise anything
            self._broken.append(target)

    def _log(self, logged: Logged) -> None:
        """Give the record to the program's handlers. That one of them raises is told once; the next records follow."""
        try:
            record = decode_record(logged.record)
            logger = logging.getLogger(record.name)
            if logger.isEnabledFor(record.levelno):
                logger.handle(record)
        except BaseException:  # noqa: BLE001 - also one that ends the program: this thread isn't the program's
            if not self._has_complained:
                self._has_complained = True
                self._write("stderr", f"A handler of the program raised at a task's record.\n{traceback.format_exc()}")

    def _warn(self, warned: Warned) -> None:
        """Issue it as if the task's line had been run here. Where that raises, it is shown on standard error."""
        registry = self._registries[warned.file]
        try:
            warnings.warn_explicit(_warning(warned), Warning, warned.file, warned.line, warned.module, registry)
        except BaseException:  # noqa: BLE001 - the program may have made it an error since, or replaced what shows it
            self._write("stderr", f"{warned.file}:{warned.line}: {warned.category}: {warned.text}\n")


def _write(target: TextIO, text: str) -> None:
    """Write `text`, with escapes for the characters that the stream's encoding lacks."""
    try:
        target.write(text)
    except UnicodeEncodeError as error:
        target.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding))


def _warning(warned: Warned) -> Warning:
    """The warning itself, or one with its text where it can't be made here."""
    with suppress(Exception):
        found = None if warned.warning is None else decode(warned.warning)
        if isinstance(found, Warning):
            return found
    return UserWarning(summary(warned.category, warned.text))


class ConsoleThread:
    """A console that never keeps its caller waiting: a pipe that nobody reads must not stop the coordinator."""

    def __init__(self) -> None:
        self._console = Console()
        self._queue: SimpleQueue[Told | SimpleQueue[None] | None] = SimpleQueue()
        self._has_closed = False
        self._thread = Thread(target=self._work, name="cloaca console", daemon=True)
        self._thread.start()

    def show(self, told: Told) -> None:
        """Have it shown, after all that came before."""
        self._queue.put(told)

    def settle(self) -> None:
        """Wait until everything so far has been shown."""
        bell: SimpleQueue[None] = SimpleQueue()
        self._queue.put(bell)
        if not self._has_closed:
            bell.get()

    def close(self) -> None:
        """Let the thread finish, unless it is stuck in a pipe that nobody reads."""
        self._queue.put(None)
        self._thread.join(PATIENCE_SECONDS)

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            if isinstance(item, SimpleQueue):
                item.put(None)
            else:
                self._console.show(item)
        self._has_closed = True
        with suppress(Empty):  # whoever came too late for the loop above, and too early to see that it has ended
            while True:
                item = self._queue.get_nowait()
                if isinstance(item, SimpleQueue):
                    item.put(None)
