"""TaskProfiler: the profiler of one task in one process; and Profilers, all that a process has."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NoReturn

from cloaca.profiling.tool import tool_of
from cloaca.wire.messages import Profiled, Profiling


class TaskProfiler:
    """Profiles the calls of a task's function, one at a time. What stands in its way never fails the task."""

    def __init__(self, profiling: Profiling, news: "dict[TaskProfiler, None]") -> None:
        self._profiling = profiling
        self._probe = tool_of(profiling.profiler).probe()
        self._news = news
        self._calls = 0
        self._notes: dict[str, None] = {}

    def prepared(self) -> Callable[[], object]:
        """The function is about to be called: what begins, to be called by whoever calls it."""
        self._news[self] = None
        try:
            return self._probe.prepared()
        except (RuntimeError, ValueError) as error:
            return partial(_raise, error)

    def is_hindered(self, why: str) -> None:
        """It has not begun, as another profiler stands in the way."""
        self._notes[f"another profiler was active ({why})"] = None

    def has_begun(self) -> None:
        """It has begun, and the function is called."""
        self._calls += 1
        self._probe.has_begun()

    def end(self) -> None:
        """It has returned, or raised."""
        note = self._probe.end()
        if note:
            self._notes[note] = None

    def told(self, attempt: int) -> Profiled:
        """What there is to tell since this was asked for last."""
        calls, notes = self._calls, tuple(self._notes)
        self._calls, self._notes = 0, {}
        asked = self._profiling
        return Profiled(attempt, asked.task, asked.profiler, calls, self._probe.taken(), notes)


def _raise(error: Exception) -> NoReturn:
    raise error


class Profilers:
    """The profilers of a process, one for each task that is profiled."""

    def __init__(self) -> None:
        self._news: dict[TaskProfiler, None] = {}

    def new(self, profiling: Profiling) -> TaskProfiler:
        """One for a task."""
        return TaskProfiler(profiling, self._news)

    def told(self, attempt: int) -> Sequence[Profiled]:
        """What there is to tell of calls that have ended, each once; that `attempt` made them."""
        if not self._news:
            return ()
        news = [*self._news]
        self._news.clear()
        return [profiler.told(attempt) for profiler in news]
