"""Skeleton: a workflow as records have it, without its functions: its graph, its copies, how its keys are merged."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from operator import attrgetter
from typing import Any, NoReturn

from cloaca.errors import EncodeError
from cloaca.history.plan import plan
from cloaca.merge.given import OnConflict, Rule
from cloaca.sending.work import written_by
from cloaca.store.records import CopyRow, Header, TaskRow
from cloaca.triggers.condition import Combined, Condition, ContextValue, TaskEnded
from cloaca.values.codec import decode, encode
from cloaca.workflows.workflow import Copy, PerItem, Task, Workflow

_POLICIES: Mapping[str, OnConflict] = {"first": "first", "last": "last", "fail": "fail"}


def rows_of(workflow: Workflow) -> tuple[TaskRow, ...]:
    """What is recorded of its tasks, in order of definition."""
    places = {task.id: place for place, task in enumerate(workflow.tasks)}
    return tuple([_row_of(task, places) for task in workflow.tasks])


def _row_of(task: Task, places: Mapping[str, int]) -> TaskRow:
    dependencies = tuple([places[name] for name in task.dependencies])
    writes = None if task.for_each is None else written_by(task)
    condition = None if task.trigger_rules is None else _row_of_condition(task.trigger_rules)
    per_item = None if task.per_item is None else (task.per_item.prefix, task.per_item.item)
    rule, allows = task.trigger_rule, task.allow_failure
    return TaskRow(task.id, dependencies, task.for_each, writes, task.prefix, rule, condition, allows, per_item)


def _row_of_condition(condition: Condition) -> tuple[Any, ...]:
    match condition:
        case ContextValue(key=key, operator=operator, payload=payload):
            return "value", key, operator, payload
        case TaskEnded(task=str(task), status=status):
            return "ended", task, status
        case Combined(how=how, parts=parts):
            return (how, *map(_row_of_condition, parts))
        case _:
            raise AssertionError(f"{condition!r} is no condition of a workflow")


def _condition_of(row: Sequence[Any]) -> Condition:
    kind, *told = row
    if kind == "value":
        return ContextValue(*told)
    if kind == "ended":
        return TaskEnded(*told)
    parts = tuple(map(_condition_of, told))
    return Combined(kind, parts, 0)


def copy_rows_of(workflow: Workflow) -> tuple[CopyRow, ...]:
    """What is recorded of the workflows that are part of it."""
    return tuple(
        [CopyRow(one.prefix, one.ids, one.roots, one.leaves, dict(one.inputs), one.for_each) for one in workflow.copies]
    )


def rule_payloads(rules: Mapping[str, Rule]) -> dict[str, bytes]:
    """Its merge rules, as far as they can be sent anywhere."""
    payloads: dict[str, bytes] = {}
    for key, rule in rules.items():
        with suppress(EncodeError):
            payloads[key] = encode(rule)
    return payloads


_GONE = attrgetter("gone")
"""In place of the functions, which aren't called: one without Python code, so that errors name no place of it."""


def skeleton_of(header: Header) -> Workflow:
    """The workflow that was run, as far as it was recorded."""
    names = [row.id for row in header.tasks]
    tasks = tuple([_task_of(row, names) for row in header.tasks])
    compiled = plan(header.workflow, [(task.id, task.dependencies) for task in tasks])
    return Workflow(
        header.workflow,
        "",
        {},
        tasks,
        compiled,
        merge={key: _rule(payload) for key, payload in header.rules.items()},
        on_conflict=None if header.on_conflict is None else _POLICIES[header.on_conflict],
        copies=tuple([_copy_of(row) for row in header.copies]),
        outputs=header.outputs,
    )


def _task_of(row: TaskRow, names: list[str]) -> Task:
    dependencies = tuple([names[place] for place in row.dependencies])
    return Task(
        row.id,
        _GONE,
        dependencies,
        trigger_rule=row.rule,
        trigger_rules=None if row.condition is None else _condition_of(row.condition),
        for_each=row.for_each,
        writes=row.writes,
        prefix=row.prefix,
        allow_failure=row.allow_failure,
        per_item=None if row.per_item is None else PerItem(*row.per_item),
    )


def _copy_of(row: CopyRow) -> Copy:
    return Copy(row.prefix, row.ids, row.roots, row.leaves, row.inputs, row.for_each)


def _rule(payload: bytes) -> Rule:
    """The rule. It may refer to what isn't there any more: then it raises, when it is asked, what that raised."""
    try:
        rule: Rule = decode(payload)
    except Exception as error:  # noqa: BLE001 - whatever importing it raises
        return partial(_raise, error)
    return rule


def _raise(error: Exception, _base: object, _values: object) -> NoReturn:
    raise error
