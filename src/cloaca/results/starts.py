"""When tasks of a result were to start: their rules and conditions, as texts."""

from functools import cached_property
from typing import Any

from cloaca.triggers.rules import DEFAULT
from cloaca.workflows.workflow import Task, Workflow, by_rank


class Starts:
    """The rule of each task, and its condition ("": it has none). They are looked up when asked for."""

    def __init__(self, workflow: Workflow) -> None:
        self._workflow = workflow

    def of(self, rank: int) -> tuple[str, str]:
        """Those of the task."""
        if "_told" in vars(self):
            return self._told.get(rank, (DEFAULT, ""))
        return _said(self._tasks[rank])

    @cached_property
    def _tasks(self) -> list[Task]:
        return by_rank(self._workflow)

    @cached_property
    def _told(self) -> dict[int, tuple[str, str]]:
        return {rank: _said(task) for rank, task in enumerate(self._tasks) if task.has_rule}

    def __getstate__(self) -> dict[str, Any]:
        """Functions needn't be pickled for this: what is to be told is."""
        return {"_told": self._told}


def _said(task: Task) -> tuple[str, str]:
    return task.rule, "" if task.trigger_rules is None else str(task.trigger_rules)
