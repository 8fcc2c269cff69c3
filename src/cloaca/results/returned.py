"""What tasks have returned that are plain functions: the values of the keys under which it was set."""

from collections.abc import Mapping
from typing import Any

from cloaca.results.task import TaskResult
from cloaca.tasks.context import Context, contents_of
from cloaca.workflows.workflow import Workflow


def returned_by(workflow: Workflow) -> Mapping[str, tuple[str, ...]]:
    """The keys that are set to what each of them returns, by the id of its task."""
    return {
        task.id: tuple([task.prefix + key for key in task.form.returns])
        for task in workflow.tasks
        if task.form.returns is not None
    }


def value_of(task: TaskResult, keys: tuple[str, ...] | None, final: Context) -> Any:
    """What the task has returned, as it stands in the final context. `keys`: `None` where it says none.

    Raises `ValueError` where that isn't there, or isn't what the task has returned.
    """
    if keys is None:
        raise ValueError(f"Task {task.id!r} says by no returns= what it returns: ask for a key, as in result['rows'].")
    if task.status != "Completed":
        why = task.error_message or task.reason
        raise ValueError(f"Task {task.id!r} has returned nothing: {task.status}{f', {why}' if why else ''}.")
    for key in keys:
        _check_writer(task.id, key, final)
    values = tuple([final[key] for key in keys])
    return values[0] if len(values) == 1 else values or None


def _check_writer(task: str, key: str, final: Context) -> None:
    """Raise where the value of the key comes from other tasks, too."""
    versions = contents_of(final).unchanged().given.versions.get(key, ())
    writers = [version.writer for version in versions if version.writer != task]
    if writers:
        raise ValueError(
            f"What task {task!r} has returned isn't kept: key {key!r} was set by {writers[-1]!r}, too. "
            f"result[{key!r}] is its value in the end."
        )
