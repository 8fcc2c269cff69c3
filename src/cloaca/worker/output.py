"""A worker's `sys.stdout` and `sys.stderr`: what tasks print goes out in whole lines, as soon as a line is complete.

The beginning of a line goes out where a task asks for that: by flushing it, or by a carriage return, as at a terminal.
So it does where a task is slow to go on with it: `print` writes a line's end apart from the line.

The streams are ordinary text streams over a sink of our own, so `.buffer`, `.reconfigure`, `.fileno` and the rest are
what libraries expect. A task may close or replace them: for the next one they are as new.
"""

import io
import sys
from codecs import utf_8_decode
from collections.abc import Callable
from threading import RLock
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer

Say = Callable[[str, str], None]

_DESCRIPTORS = {"stdout": 1, "stderr": 2}
_SLOW = 0.1  # seconds


class Output:
    """Both streams of a worker. `say(name, text)` takes what is printed; no text: the unfinished line ends there.

    `is_touched`: something was printed, or a stream flushed, as it also is by closing, detaching or reconfiguring it.
    """

    def __init__(self, say: Say) -> None:
        self.say = say
        self.is_touched = False
        self._streams: dict[str, io.TextIOWrapper] = {}
        self._sinks: dict[str, _TextSink] = {}
        for name in _DESCRIPTORS:
            self._open(name)
        self.renew()

    def renew(self) -> None:
        """End the lines that a task left unfinished, and put the streams where it found them."""
        if self.is_touched:
            self._tidy_up()
        if sys.stdout is not self._streams["stdout"] or sys.stderr is not self._streams["stderr"]:
            sys.stdout, sys.stderr = self._streams["stdout"], self._streams["stderr"]

    def _tidy_up(self) -> None:
        self.is_touched = False  # what other threads print meanwhile makes it true again
        try:
            for name, stream in self._streams.items():
                self._tidy(name, stream)
        except BaseException:
            self.is_touched = True
            raise

    def _tidy(self, name: str, stream: io.TextIOWrapper) -> None:
        is_given_up, sink = _is_given_up(stream), self._sinks[name]
        if not is_given_up and not stream.write_through:  # a task has reconfigured it
            stream.flush()
        if sink.is_unfinished:
            sink.finish()
        if is_given_up:
            self._open(name)

    def begin_anew(self) -> None:
        """In a forked child: what was on the way is its parent's, as are the locks. A thread of it may hold one."""
        for sink in self._sinks.values():
            sink.begin_anew()

    def _open(self, name: str) -> None:
        sink = self._sinks[name] = _TextSink(name, self)
        self._streams[name] = io.TextIOWrapper(sink, "utf-8", "backslashreplace", write_through=True)


def _is_given_up(stream: io.TextIOWrapper) -> bool:
    """Whether a task has closed it, or taken away what is beneath it."""
    try:
        return stream.closed
    except ValueError:
        return True


class _TextSink(io.RawIOBase):
    """Takes bytes, and passes them on as text."""

    def __init__(self, name: str, output: Output) -> None:
        super().__init__()
        self.name = f"<{name}>"
        self._stream = name
        self._output = output
        self.begin_anew()

    def begin_anew(self) -> None:
        self._rest = b""
        self._has_begun = False  # of a line, the beginning was passed on
        self._moved = 0.0  # when a line began, or was last passed on as far as it had come
        self._lock = RLock()  # the garbage collector may call a finalizer that prints, in the middle of a write

    @property
    def is_unfinished(self) -> bool:
        """Whether there is the beginning of a line, passed on or not."""
        return self._has_begun or bool(self._rest)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return _DESCRIPTORS[self._stream]

    def write(self, data: "Buffer", /) -> int:
        self._output.is_touched = True
        chunk, text = bytes(data), ""
        with self._lock:
            is_due = chunk.endswith(b"\n") or b"\r" in chunk or self._is_slow()
            self._rest += chunk
            end = len(self._rest) if is_due else self._rest.rfind(b"\n") + 1
            if end:
                text = self._taken(end)
        if text:
            self._pass_on(text)
        return len(chunk)

    def flush(self) -> None:
        self._output.is_touched = True
        super().flush()
        with self._lock:
            text = self._taken(len(self._rest))
        if text:
            self._pass_on(text)

    def finish(self) -> None:
        """End the line that is still unfinished."""
        with self._lock:
            rest, self._rest = self._rest, b""
        if rest:
            self._pass_on(rest.decode(errors="backslashreplace"))
        if self._has_begun:
            self._has_begun = False
            self._output.say(self._stream, "")

    def _is_slow(self) -> bool:
        """Whether the task takes its time to go on with a line."""
        now = monotonic()
        if not self._rest and not self._has_begun:
            self._moved = now
        return now - self._moved >= _SLOW

    def _taken(self, end: int) -> str:
        """What rests up to there, as far as it is whole characters, taken out."""
        text, length = utf_8_decode(self._rest[:end], "backslashreplace")
        self._rest = self._rest[length:]
        return text

    def _pass_on(self, text: str) -> None:
        self._has_begun = not text.endswith("\n")
        if self._has_begun:
            self._moved = monotonic()
        self._output.say(self._stream, text)
