"""What a run is made of where tasks are profiled: their functions, under profilers, are functions of their own."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from cloaca.attempts.profiled import profiled
from cloaca.pickling.functions import next_number
from cloaca.profiling.task import Profilers
from cloaca.profiling.tool import ProfilerName, checked_profiler, tool_of
from cloaca.sending.makings import Makings
from cloaca.wire.messages import Profiling, Publish
from cloaca.workflows.workflow import Task, Workflow, by_rank

_DEFAULT: ProfilerName = "cprofile"


def profilers_of(workflow: Workflow, asked: ProfilerName | None) -> dict[str, ProfilerName]:
    """The profilers of those tasks that are profiled, by id; `asked` is that of the run, if it has one.

    They are loaded. Raises `ModuleNotFoundError` where one isn't installed.
    """
    chosen = {task.id: _chosen(task, asked) for task in workflow.tasks}
    profilers: dict[str, ProfilerName] = {
        task: checked_profiler(f"profile={name!r}, of task {task!r},", name)
        for task, name in chosen.items()
        if name is not None
    }
    for name in {*profilers.values()}:
        tool_of(name).probe()  # what lacks is told here, and nobody waits for it later
    return profilers


def _chosen(task: Task, asked: ProfilerName | None) -> str | None:
    match task.profile:
        case str() as name:
            return name
        case True:
            return asked or _DEFAULT
        case None:
            return asked
        case _:
            return None


def under_profilers(makings: Makings, workflow: Workflow, profilers: Mapping[str, str]) -> Makings:
    """The same, with functions under these profilers."""
    tasks = by_rank(workflow)
    profilings = [
        Profiling(work.function, task.id, profilers[task.id]) if task.id in profilers else None
        for work, task in zip(makings.work, tasks, strict=True)
    ]
    return _here(makings, profilings) if makings.objects else _sent(makings, profilings)


def _here(makings: Makings, profilings: Sequence[Profiling | None]) -> Makings:
    """What runs in the program calls the profiled functions by the numbers that they have anyway."""
    own = Profilers()
    objects: dict[int, Any] = {**makings.objects}
    for one in profilings:
        if one is not None:
            objects[one.function] = profiled(objects[one.function], own.new(one))
    return replace(makings, objects=objects, profilers=own)


def _sent(makings: Makings, profilings: Sequence[Profiling | None]) -> Makings:
    """Workers know the functions already, as they are for other runs: these have other numbers."""
    known = {function.function: function for function in makings.functions}
    functions, work = [*makings.functions], [*makings.work]
    for rank, one in enumerate(profilings):
        if one is not None:
            number = next_number()
            functions.append(Publish(number, b"", known[one.function].reads, profiling=one))
            work[rank] = replace(work[rank], function=number)
    return replace(makings, functions=functions, work=work)
