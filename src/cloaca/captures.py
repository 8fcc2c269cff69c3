"""Captures: what of one workflow was pickled for workers, kept for its next execution.

Most executions find everything as it was. Then they get the very lists that the one before had, by which the
coordinator sees that there is nothing to publish.
"""

import pickle
from collections.abc import Mapping, Sequence

from msgspec import Struct

from cloaca.condition import Condition
from cloaca.engine.run import Work
from cloaca.merge.rules import Rule
from cloaca.trigger import asked_in_attempts, trigger_of
from cloaca.wire.functions import Captured, FunctionCache, RuleOf, next_number
from cloaca.wire.messages import Publish
from cloaca.workflow import Task, Workflow


class Capture(Struct, frozen=True):
    """A workflow as workers are to know it.

    `functions` with their templates, and conditions; the `work` by rank; the merge `rules` by key.
    """

    functions: Sequence[Publish]
    work: Sequence[Work]
    rules: Mapping[str, bytes]


class Captures:
    """The captures of one workflow, to which nothing here leads back.

    `tasks` by rank; `collected` are the keys that are kept by task; `timeout` is for tasks that have none of their own.
    """

    def __init__(
        self, tasks: Sequence[Task], merge: Mapping[str, Rule], collected: frozenset[str], timeout: float | None
    ) -> None:
        self._tasks = tasks
        self._ids = [task.id for task in tasks]
        self._called = [task.function for task in tasks]
        self._merge = merge
        self._collected = collected
        self._timeout = timeout
        self._functions = FunctionCache()
        self._rules = FunctionCache()
        self._conditions = {
            condition: Publish(next_number(), pickle.dumps(condition), ()) for condition in asked_in_attempts(tasks)
        }
        self._captured: list[Captured] = []
        self._last = Capture((), (), {})

    def now(self) -> Capture:
        """The functions and rules as they stand now. Raises `CaptureError` where one can't be sent."""
        captured = self._functions.capture_all(self._ids, self._called)
        rules = {key: self._rules.capture(RuleOf(key), rule).blob for key, rule in self._merge.items()}
        if captured is not self._captured:
            self._last = self._made(captured)
            self._captured = captured
        return Capture(self._last.functions, self._last.work, rules)

    def _made(self, captured: list[Captured]) -> Capture:
        functions = [
            Publish(function.number, function.blob, self._sent_along(task, function), function.template)
            for task, function in zip(self._tasks, captured, strict=True)
        ]
        numbers = {condition: sent.function for condition, sent in self._conditions.items()}
        work = [
            Work(
                function.function,
                function.reads if task.trigger_rules is None else _with_keys(function.reads, task.trigger_rules),
                task.timeout or self._timeout,
                task.retry,
                trigger_of(task),
                condition_number(task, numbers),
                task.prefix,
            )
            for task, function in zip(self._tasks, functions, strict=True)
        ]
        templates = [Publish(number, blob, ()) for number, blob in self._functions.templates]
        return Capture([*templates, *functions, *self._conditions.values()], work, {})

    def _sent_along(self, task: Task, function: Captured) -> tuple[str, ...]:
        """The keys that a slice covers. What is kept by task grows with every task: it is sent when asked for."""
        reads, collected = task.reads, self._collected
        if reads is None:
            reads = tuple([task.prefix + key for key in function.reads]) if task.prefix else function.reads
        return reads if collected.isdisjoint(reads) else tuple(key for key in reads if key not in collected)


def by_rank(workflow: Workflow) -> list[Task]:
    """The tasks in the order of `topological_sort`."""
    return [workflow.tasks[place] for place in workflow.plan.defined]


def condition_number(task: Task, numbers: Mapping[Condition, int]) -> int:
    """The number of the task's condition, or 0 where it has none that is asked in its attempts."""
    return 0 if task.trigger_rules is None else numbers.get(task.trigger_rules, 0)


def _with_keys(reads: tuple[str, ...], condition: Condition) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*reads, *condition.keys)))
