"""Console: shows what tasks print, through the program's own `sys.stdout` and `sys.stderr`.

Through the objects, looked up each time: so pytest, notebooks and `contextlib.redirect_stdout` see it.
"""

import sys
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TextIO

PATIENCE_SECONDS = 1.0


class Console:
    """Writes whole lines to the program's streams."""

    def __init__(self) -> None:
        self._broken: list[TextIO] = []

    def show(self, stream: str, text: str) -> None:
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


def _write(target: TextIO, text: str) -> None:
    """Write `text`, with escapes for the characters that the stream's encoding lacks."""
    try:
        target.write(text)
    except UnicodeEncodeError as error:
        target.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding))


class ConsoleThread:
    """A console that never keeps its caller waiting: a pipe that nobody reads must not stop the coordinator."""

    def __init__(self) -> None:
        self._console = Console()
        self._queue: SimpleQueue[tuple[str, str] | SimpleQueue[None] | None] = SimpleQueue()
        self._has_closed = False
        self._thread = Thread(target=self._work, name="cloaca console", daemon=True)
        self._thread.start()

    def show(self, stream: str, text: str) -> None:
        """Have it written, after all that came before."""
        self._queue.put((stream, text))

    def settle(self) -> None:
        """Wait until everything so far has been written."""
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
            if isinstance(item, tuple):
                self._console.show(*item)
            else:
                item.put(None)
        self._has_closed = True
        with suppress(Empty):  # whoever came too late for the loop above, and too early to see that it has ended
            while True:
                item = self._queue.get_nowait()
                if isinstance(item, SimpleQueue):
                    item.put(None)
