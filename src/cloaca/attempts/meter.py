"""Meter: what attempts cost, measured in the process that runs them.

The peak is the kernel's high-water mark of this process's memory. `getrusage` can't be asked: what it says survives
`exec`, so that a worker would report the memory of the program that started it. Reading the mark takes as long as a
trivial task, and so is left out after attempts that are too short to have moved it much. The clock of CPU time takes a
call of the system, up to a microsecond: within a millisecond, a worker is taken to have been busy.
"""

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from resource import RUSAGE_SELF, getrusage
from time import monotonic, process_time

from cloaca.tasks.shelf import Traffic
from cloaca.values.blobs import size_of
from cloaca.wire.messages import Figures, Phases, Usage, usage_of

WORTH_A_READING = 0.001
"""Seconds after which the high-water mark and the clock of CPU time are read again."""

SHORT = 0.0001
"""Seconds that an attempt takes at most that counts as short."""

_STATUS = "/proc/self/status"
_UNIT = 1 if sys.platform == "darwin" else 1024
"""Of what `getrusage` says, in bytes."""

_HIGH_WATER = re.compile(r"VmHWM:\s*(\d+) kB")


class Meter:
    """Measures one attempt at a time. `clock` is that of CPU time: of the process, or of the thread.

    `worker` is the number of the worker that runs it; 0: it runs in the program's own thread.
    """

    def __init__(self, clock: Callable[[], float] = process_time, worker: int = 0) -> None:
        self._worker = worker
        self._clock = clock
        self._peak = high_water()
        self._started = self._looked = self._cpu = 0.0
        self.ended = 0.0
        """When the last one had."""
        self.short = 0
        """How many attempts in a row were short, up to the last one."""
        self.phases: Phases | None = None
        """Those of the last one, if they are worth a word."""
        self._loaded_since = self._loading = 0.0
        self._imported: tuple[str, ...] = ()

    def start(self) -> float:
        """An attempt begins: at that moment."""
        self._started = now = monotonic()
        self.phases = None
        if now - self._looked >= WORTH_A_READING:
            self._look(now)
        return now

    def stop(self, traffic: Traffic, written: Iterable[bytes | None] = ()) -> Usage:
        """It has ended; returns what it cost. `written` are the payloads that it set."""
        return usage_of(self.figures(traffic, written), tuple(traffic.keys), self.phases)

    def loaded(self, seconds: float, imported: Sequence[str]) -> None:
        """That long, a function was loaded for the attempt, and with it these packages were imported."""
        if self._loaded_since != self._started:
            self._loaded_since, self._loading, self._imported = self._started, 0.0, ()
        self._loading += seconds
        self._imported = (*self._imported, *imported)

    def figures(self, traffic: Traffic, written: Iterable[bytes | None]) -> Figures:
        """The same, as the figures of an instance."""
        started = self._started
        self.ended = ended = monotonic()
        cpu = ended - started
        self.short = self.short + 1 if cpu <= SHORT else 0
        if cpu >= WORTH_A_READING:
            busy = self._cpu + (started - self._looked)
            self._look(ended)
            cpu = max(0.0, self._cpu - busy)
            self._peak = high_water()
            self.phases = self._passed(traffic)
        size = 0
        for payload in written:
            if payload is not None:
                size += size_of(payload)
        return started, ended, cpu, self._peak, traffic.read, traffic.mapped, size, self._worker

    def _passed(self, traffic: Traffic) -> Phases | None:
        """The phases of the attempt that has ended."""
        loading, imported = (self._loading, self._imported) if self._loaded_since == self._started else (0.0, ())
        phases = Phases(loading + traffic.loading, traffic.waiting, traffic.encoding, imported)
        return phases if phases.loading + phases.waiting + phases.encoding >= WORTH_A_READING else None

    def _look(self, now: float) -> None:
        """Read the clock of CPU time."""
        self._looked, self._cpu = now, self._clock()


def high_water() -> int:
    """The most memory that this process has ever used, in bytes."""
    try:
        with open(_STATUS, encoding="utf-8") as status:
            found = _HIGH_WATER.search(status.read())
    except OSError:
        found = None
    return int(found[1]) * 1024 if found else getrusage(RUSAGE_SELF).ru_maxrss * _UNIT
