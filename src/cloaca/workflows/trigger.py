"""Trigger: when a task of a workflow starts, in the terms of a run."""

from collections.abc import Iterable

from cloaca.triggers.condition import Condition
from cloaca.triggers.rules import DEFAULT
from cloaca.workflows.workflow import Task


def trigger_of(task: Task) -> str | Condition | None:
    """The rule of the task: a condition, the name of a rule, or `None` for the default."""
    if task.trigger_rules is not None:
        return task.trigger_rules
    return None if task.trigger_rule == DEFAULT else task.trigger_rule


def asked_in_attempts(tasks: Iterable[Task]) -> list[Condition]:
    """The conditions that a run can't decide, each once: they look at values, or nothing has to end before."""
    conditions = (
        task.trigger_rules
        for task in tasks
        if task.trigger_rules is not None and (task.trigger_rules.keys or not task.dependencies)
    )
    return list(dict.fromkeys(conditions))
