"""Which profile a result has of tasks, or why it has none."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from cloaca.errors import NoProfileError
from cloaca.profiling.profile import Profile
from cloaca.profiling.profiles import Gathered, Profiles

_ADVICE = 'With runner.execute(..., profile="cprofile") all tasks are profiled, and with task(profile=True) one'


class HowItEnded(Protocol):
    """How a task has ended, as far as it matters here: see `TaskResult`."""

    status: str
    attempts: int
    reused: bool
    reused_from: str | None


def profile_of(
    profiles: Profiles, results: Mapping[str, HowItEnded], known: Sequence[str], tasks: Sequence[str]
) -> Profile:
    """The profile of these tasks, or of all. `known` are the ids of tasks; `results` has those of instances, too."""
    found = [(task, _gathered(profiles, results, known, task)) for task in tasks or known]
    held = [(task, gathered) for task, gathered in found if isinstance(gathered, Gathered)]
    if not held or len(held) < len(tasks):
        raise NoProfileError(next(why for _, why in found if isinstance(why, str)))
    profilers = sorted({gathered.profiler for _, gathered in held})
    if len(profilers) > 1:
        raise NoProfileError(
            f"These tasks were profiled by {' and '.join(profilers)}, whose profiles can't be put together: name tasks "
            "of one of them."
        )
    return Profile(held[0][1].profiler, tuple([task for task, _ in held]), [gathered for _, gathered in held])


def _gathered(profiles: Profiles, results: Mapping[str, HowItEnded], known: Sequence[str], task: str) -> Gathered | str:
    """What there is of a task, or why there is nothing. Raises `KeyError` where there is no such task."""
    gathered, result = profiles.of(task), results[task]
    if gathered is not None and gathered.parts:
        return gathered
    if not profiles:
        return f"There are no profiles: the execution wasn't profiled, or is on record, where none are. {_ADVICE}."
    if gathered is None and task not in known:
        return (
            f"What is recorded of a mapped task's items is put together: ask for profile({task.rpartition('[')[0]!r})."
        )
    return f"There is no profile of task {task!r}: {_why(gathered, result)}."


def _why(gathered: Gathered | None, result: HowItEnded) -> str:
    if gathered is None:
        return f"it wasn't to be profiled, as it says profile=False, or execute doesn't name a profiler. {_ADVICE}"
    if gathered.notes:
        return "; ".join(gathered.notes)
    if result.reused:
        return f"it wasn't run, as an attempt of execution {result.reused_from!r} stands for it"
    if not result.attempts:
        return f"it didn't run ({result.status.lower()})"
    if gathered.calls:
        return f"{gathered.profiler} saw nothing in {gathered.calls} calls: they were too short for it"
    return "its function was never called to its end: its worker died, or what it needs couldn't be loaded"
