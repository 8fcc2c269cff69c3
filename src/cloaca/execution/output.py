"""A worker's `sys.stdout` and `sys.stderr`: what tasks print goes out in whole lines, as soon as a line is complete.

The streams are ordinary text streams over a sink of our own, so `.buffer`, `.reconfigure`, `.fileno` and the rest are
what libraries expect. A task may close or replace them: for the next one they are as new.
"""

import io
import sys
from collections.abc import Callable
from threading import RLock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer

Say = Callable[[str, str], None]

_DESCRIPTORS = {"stdout": 1, "stderr": 2}


class Output:
    """Both streams of a worker. `say(name, lines)` takes what is printed."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._streams: dict[str, io.TextIOWrapper] = {}
        self._sinks: dict[str, _Sink] = {}
        for name in _DESCRIPTORS:
            self._open(name)
        self.renew()

    def renew(self) -> None:
        """Send the lines that a task left unfinished, and put the streams where it found them."""
        for name, stream in self._streams.items():
            if stream.closed:
                self._open(name)
                continue
            if not stream.write_through:  # a task has reconfigured it
                stream.flush()
            if self._sinks[name].has_rest:
                self._sinks[name].finish()
        if sys.stdout is not self._streams["stdout"] or sys.stderr is not self._streams["stderr"]:
            sys.stdout, sys.stderr = self._streams["stdout"], self._streams["stderr"]

    def _open(self, name: str) -> None:
        sink = self._sinks[name] = _Sink(name, self._say)
        self._streams[name] = io.TextIOWrapper(sink, "utf-8", "backslashreplace", write_through=True)


class _Sink(io.RawIOBase):
    """Takes bytes, and passes them on as text, line by line."""

    def __init__(self, name: str, say: Say) -> None:
        super().__init__()
        self.name = f"<{name}>"
        self._stream = name
        self._say = say
        self._line = b""
        self._lock = RLock()  # the garbage collector may call a finalizer that prints, in the middle of a write

    @property
    def has_rest(self) -> bool:
        """Whether there is a line that is still unfinished."""
        return bool(self._line)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return _DESCRIPTORS[self._stream]

    def write(self, data: "Buffer", /) -> int:
        chunk = bytes(data)
        with self._lock:
            lines, newline, rest = (self._line + chunk).rpartition(b"\n")
            self._line = rest
        if newline:
            self._pass_on(lines + newline)
        return len(chunk)

    def finish(self) -> None:
        """Send the line that is still unfinished."""
        with self._lock:
            line, self._line = self._line, b""
        if line:
            self._pass_on(line + b"\n")

    def _pass_on(self, lines: bytes) -> None:
        self._say(self._stream, lines.decode(errors="backslashreplace"))
