"""Profiles: what the profilers of all processes have told of one execution, by task."""

from collections.abc import Mapping

from msgspec import Struct, field

from cloaca.profiling.tool import ProfilerName, tool_of
from cloaca.wire.messages import Profiled

_PARTS = 64
"""How many recordings of a task are put together at a time."""


class Gathered(Struct):
    """What there is of one task: its profiler, recordings of so many `calls`, and what is to be said of them."""

    profiler: ProfilerName
    calls: int = 0
    parts: list[bytes] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)

    def add(self, told: Profiled) -> None:
        """Take in what a process has told."""
        self.calls += told.calls
        self.notes.update(dict.fromkeys(told.notes))
        if told.data is not None:
            self.parts.append(told.data)
        if len(self.parts) >= _PARTS:
            self._put_together()

    def _put_together(self) -> None:
        try:
            self.parts = [tool_of(self.profiler).combined(self.parts)]
        except Exception as error:  # noqa: BLE001 - a task may have written to what isn't its own: that ends no run
            self.parts = []
            self.notes[f"what was recorded can't be read, and is left out: {error}"] = None


class Profiles:
    """What was gathered. `profilers` are those of the tasks that are profiled, by id."""

    def __init__(self, profilers: Mapping[str, ProfilerName]) -> None:
        self._gathered = {task: Gathered(profiler) for task, profiler in profilers.items()}

    def __bool__(self) -> bool:
        return bool(self._gathered)

    def add(self, told: Profiled) -> None:
        """Take in what a process has told."""
        gathered = self._gathered.get(told.task)
        if gathered is not None and gathered.profiler == told.profiler:
            gathered.add(told)

    def of(self, task: str) -> Gathered | None:
        """What there is of a task, if it was to be profiled."""
        return self._gathered.get(task)


NOTHING_PROFILED = Profiles({})
