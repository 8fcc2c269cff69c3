"""cProfile: which functions were called, how often and for how long. A profile is a file of `pstats`, as bytes.

Since Python 3.12 there is one such profiler in a process at a time, and who begins a second one gets an error. A task
that profiles something itself doesn't get it: the profile of the task ends where that begins.
"""

import marshal
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from cProfile import Profile as Profiler
from io import StringIO
from pstats import SortKey, Stats
from typing import Any

FunctionCalled = tuple[str, int, str]
CallStats = dict[FunctionCalled, tuple[Any, ...]]

DISPLACED = "the task has used a profiler of its own: what it did from there on is left out"
_LINES = 30
_PROFILER = 2
"""The number by which `sys.monitoring` knows cProfile."""

_OWN = os.path.dirname(__file__) + os.sep


class _CallsProbe:
    def __init__(self) -> None:
        self._profiler = Profiler()
        self._is_on = self._has_news = False
        self._use_tool: Callable[[int, str], None] | None = None

    def prepared(self) -> Callable[[], object]:
        self._stop()
        other = sys.getprofile()
        if other is not None and sys.version_info < (3, 12):  # it would be displaced; since then, there is an error
            raise ValueError(getattr(other, "__name__", type(other).__name__))
        return self._profiler.enable

    def has_begun(self) -> None:
        self._is_on = self._has_news = True
        self._give_way()

    def end(self) -> str:
        was_on = self._is_on
        is_displaced = was_on and not self._is_active()
        self._stop()
        return DISPLACED if is_displaced else ""

    def taken(self) -> bytes | None:
        if not self._has_news:  # to ask would turn off another one
            return None
        self._has_news = False
        self._profiler.create_stats()
        stats: CallStats = self._profiler.stats
        self._profiler.clear()
        calls = dict(_without_own(stats))
        return marshal.dumps(calls) if calls else None

    def _is_active(self) -> bool:
        if sys.version_info >= (3, 12):
            return self._use_tool is not None
        other: object = sys.getprofile()
        return other is self._profiler

    def _stop(self) -> None:
        if self._is_on:  # what isn't on would turn off another one
            self._profiler.disable()
            self._is_on = False
        self._stand_in_the_way()

    def _give_way(self) -> None:
        """Let whoever wants to profile from here on do so, instead of this."""
        if sys.version_info >= (3, 12):
            self._use_tool = sys.monitoring.use_tool_id
            sys.monitoring.use_tool_id = self._used

    def _stand_in_the_way(self) -> None:
        if sys.version_info >= (3, 12) and self._use_tool is not None:
            sys.monitoring.use_tool_id = self._use_tool
            self._use_tool = None

    def _used(self, number: int, name: str) -> None:
        """Somebody begins to use a tool of `sys.monitoring`."""
        use_tool = self._use_tool
        if use_tool is None:
            return
        if number == _PROFILER:
            self._profiler.disable()
            self._stand_in_the_way()
        use_tool(number, name)


def _is_own(place: FunctionCalled) -> bool:
    file, _, name = place
    return file.startswith(_OWN) or "_lsprof.Profiler" in name


def _without_own(stats: CallStats) -> Iterator[tuple[FunctionCalled, tuple[Any, ...]]]:
    """All but what profiling itself has called. Each caller that is named is there, as viewers look it up."""
    for place, (*figures, callers) in stats.items():
        others = {caller: told for caller, told in callers.items() if not _is_own(caller)}
        if not _is_own(place) and (others or not callers):
            yield place, (*figures, others)


class CProfile:
    """Measures each call: exact in numbers, and slower by that."""

    def __init__(self) -> None:
        self.writers: Mapping[str, Callable[[bytes, str], None]] = {".prof": _write, ".pstats": _write}

    def probe(self) -> _CallsProbe:
        """What records."""
        return _CallsProbe()

    def combined(self, parts: Sequence[bytes]) -> bytes:
        """CallStats are added up."""
        if len(parts) == 1:
            return parts[0]
        stats = self.opened(parts[0])
        stats.add(*[self.opened(part) for part in parts[1:]])
        return marshal.dumps(stats.stats)  # type: ignore[attr-defined]

    def text(self, recorded: bytes) -> str:
        """The functions that took longest, with what they called."""
        stats = self.opened(recorded)
        shown = StringIO()
        stats.stream = shown  # type: ignore[attr-defined]
        stats.sort_stats(SortKey.CUMULATIVE).print_stats(_LINES)
        return shown.getvalue().strip("\n")

    def opened(self, recorded: bytes) -> Stats:
        """As `pstats` has it."""
        calls: Any = _HeldStats(marshal.loads(recorded))  # noqa: S302 - from a worker of this program
        return Stats(calls)


class _HeldStats:
    """What `pstats` takes in place of a profiler."""

    def __init__(self, stats: CallStats) -> None:
        self.stats = stats

    def create_stats(self) -> None:
        """It is there."""


def _write(recorded: bytes, path: str) -> None:
    with open(path, "wb") as file:
        file.write(recorded)
