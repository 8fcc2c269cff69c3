"""Trigger: the conditions of a workflow, in the terms of a run."""

from collections.abc import Iterable

from cloaca.triggers.condition import Condition
from cloaca.workflows.workflow import Task


def asked_in_attempts(tasks: Iterable[Task]) -> list[Condition]:
    """The conditions that a run can't decide, each once: they look at values, or nothing has to end before."""
    conditions = (
        task.trigger_rules
        for task in tasks
        if task.trigger_rules is not None and (task.trigger_rules.keys or not task.dependencies)
    )
    return list(dict.fromkeys(conditions))
