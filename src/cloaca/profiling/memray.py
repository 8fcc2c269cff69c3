"""memray: what the memory is made of, at the moment when there was most. A profile is that of the call with the most.

Memory isn't added up: calls that run one after the other never have it at once. memray writes to a file, by its path.
That has no name, or loses it as soon as memray has opened it: nothing is left when a process ends in the middle.
"""

import os
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

import memray

DISPLACED = "the task has used memray itself: what it did from there on is left out"
_LINES = 30
_PEAK = struct.Struct("<Q")
"""What stands before a recording: the most memory that there was, in bytes."""


class _MemoryProbe:
    def __init__(self) -> None:
        self._told = -1
        self._most = b""
        self._tracker: Any = None
        self._is_on = self._is_displaced = False
        self._file: _CaptureFile | None = None
        self._kind: Any = memray.Tracker

    def prepared(self) -> Callable[[], object]:
        self._stop()
        self._file = file = _CaptureFile()
        destination = memray.FileDestination(file.path, overwrite=True, compress_on_exit=False)
        aggregated = memray.FileFormat.AGGREGATED_ALLOCATIONS
        self._tracker = memray.Tracker(destination=destination, file_format=aggregated)
        enter: Callable[[], object] = self._tracker.__enter__
        return enter

    def has_begun(self) -> None:
        self._is_on = True
        if self._file is not None:
            self._file.hide()
        setattr(memray, "Tracker", self._given_way)  # noqa: B010 - there is one in a process, and the task's goes first

    def end(self) -> str:
        is_displaced = self._is_displaced
        self._stop()
        return DISPLACED if is_displaced else ""

    def taken(self) -> bytes | None:
        told, self._most = self._most, b""
        return told or None

    def _given_way(self, *given: Any, **named: Any) -> Any:
        """What the task gets that makes a tracker of its own."""
        self._stop()
        self._is_displaced = True
        return self._kind(*given, **named)

    def _stop(self) -> None:
        was_on, self._is_on, self._is_displaced = self._is_on, False, False
        file, self._file = self._file, None
        if file is None:
            return
        if was_on:
            setattr(memray, "Tracker", self._kind)  # noqa: B010
            self._tracker.__exit__(None, None, None)
            self._take(file.read())
        file.close()

    def _take(self, capture: bytes) -> None:
        with _readable(capture) as path, closing(memray.FileReader(path)) as reader:
            peak = reader.metadata.peak_memory
        if peak > self._told:
            self._told, self._most = peak, _PEAK.pack(peak) + capture


class _CaptureFile:
    """A file with a path for as long as that is needed, and gone when it is closed."""

    def __init__(self) -> None:
        self._has_name = not hasattr(os, "memfd_create")
        if self._has_name:
            self._descriptor, self.path = tempfile.mkstemp(prefix="cloaca-profile-")
        else:
            self._descriptor = os.memfd_create("cloaca-profile")
            self.path = f"/proc/self/fd/{self._descriptor}"

    def hide(self) -> None:
        """It is open elsewhere: so nothing is left of it if this process is killed."""
        if self._has_name:
            self._has_name = False
            os.unlink(self.path)

    def read(self) -> bytes:
        return os.pread(self._descriptor, os.fstat(self._descriptor).st_size, 0)

    def write(self, content: bytes) -> None:
        with open(self.path, "wb") as file:
            file.write(content)

    def close(self) -> None:
        os.close(self._descriptor)
        self.hide()


class Memray:
    """Follows each allocation: several times slower where there are many small ones."""

    def __init__(self) -> None:
        self.writers: Mapping[str, Callable[[bytes, str], None]] = {".html": _write_flamegraph, ".bin": _write_capture}

    def probe(self) -> _MemoryProbe:
        """What records."""
        return _MemoryProbe()

    def combined(self, parts: Sequence[bytes]) -> bytes:
        """That with the most memory."""
        return max(parts, key=_peak_of)

    def text(self, recorded: bytes) -> str:
        """The lines that have allocated what there was at the peak, the largest first."""
        sizes: Counter[str] = Counter()
        with _readable(recorded[_PEAK.size :]) as path, closing(memray.FileReader(path)) as reader:
            for record in reader.get_high_watermark_allocation_records(merge_threads=True):
                function, file, line = next(iter(record.stack_trace(max_stacks=1)), ("?", "?", 0))
                sizes[f"{file}:{line} ({function})"] += record.size
        rows = [f"{size / 1000:14,.1f} kB  {place}" for place, size in sizes.most_common(_LINES)]
        return "\n".join([f"{_peak_of(recorded) / 1000:14,.1f} kB  at the peak", *rows])

    def opened(self, recorded: bytes) -> memray.FileReader:
        """As memray has it."""
        with _readable(recorded[_PEAK.size :]) as path:
            return memray.FileReader(path)


def _peak_of(recorded: bytes) -> int:
    peak: int = _PEAK.unpack_from(recorded)[0]
    return peak


@contextmanager
def _readable(capture: bytes) -> Generator[str, None, None]:
    """The path of a file that memray can read."""
    file = _CaptureFile()
    try:
        file.write(capture)
        yield file.path
    finally:
        file.close()


def _write_capture(recorded: bytes, path: str) -> None:
    with open(path, "wb") as file:
        file.write(recorded[_PEAK.size :])


def _write_flamegraph(recorded: bytes, path: str) -> None:
    """By its command, which is what memray promises to keep."""
    with tempfile.TemporaryDirectory(prefix="cloaca-profile-") as folder:
        capture, page = os.path.join(folder, "capture.bin"), os.path.join(folder, "page.html")
        _write_capture(recorded, capture)
        command = [sys.executable, "-m", "memray", "flamegraph", "--no-web", "--force", "--output", page, capture]
        subprocess.run(command, check=True, capture_output=True)
        with open(page, "rb") as made, open(path, "wb") as file:
            file.write(made.read())
