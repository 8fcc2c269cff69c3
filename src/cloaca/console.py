"""Console: shows what tasks print, through the program's own `sys.stdout` and `sys.stderr`.

Through the objects, looked up each time: so pytest, notebooks and `contextlib.redirect_stdout` see it.
"""

import sys


class Console:
    """Writes whole lines to the program's streams."""

    def __init__(self) -> None:
        self._broken: set[int] = set()

    def show(self, stream: str, text: str) -> None:
        """Write `text` to the stream named "stdout" or "stderr".

        A stream that can't be written to any more (a closed pipe) is given up, once: the program notices that itself
        when it prints, and a task's result doesn't depend on who reads its output.
        """
        target = sys.stdout if stream == "stdout" else sys.stderr
        if target is None or id(target) in self._broken:
            return
        try:
            target.write(text)
            target.flush()
        except (OSError, ValueError):
            self._broken.add(id(target))
