"""Console: shows what tasks print, through the program's own `sys.stdout` and `sys.stderr`.

Through the objects, looked up each time: so pytest, notebooks and `contextlib.redirect_stdout` see it.
"""

import sys
from typing import TextIO


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
