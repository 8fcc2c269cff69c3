"""Captures: what of one workflow was pickled for workers, kept for its next execution.

Most executions find everything as it was. Then they get the very lists that the one before had, by which the
coordinator sees that there is nothing to publish.
"""

import pickle
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from cloaca.dataflow.demand import limited_reads
from cloaca.engine.fan import Each
from cloaca.engine.pairing import paired
from cloaca.engine.work import Work
from cloaca.history.plan import Plan
from cloaca.pickling.functions import Captured, RuleOf, next_number
from cloaca.pickling.kin import FunctionCache
from cloaca.sending.bindings import Bindings
from cloaca.sending.variables import Variables
from cloaca.triggers.condition import Condition
from cloaca.triggers.rules import DEFAULT
from cloaca.wire.messages import Publish
from cloaca.workflows.workflow import Task, Workflow, asked_in_attempts, by_rank


class Capture(Struct, frozen=True):
    """A workflow as workers are to know it.

    `functions` with their heads, conditions, and what expands mapped tasks; the `work` by rank; the merge `rules`
    by key. `variables`: the number of what modules are to have; 0 where that is what importing them gives.
    """

    functions: Sequence[Publish]
    work: Sequence[Work]
    rules: Mapping[str, bytes]
    variables: int = 0


class Captures:
    """The captures of one workflow, to which nothing here leads back.

    `collected` are the keys that are kept by task; `timeout` is for tasks that have none of their own;
    `expansion` makes what expands a mapped task.
    """

    def __init__(
        self,
        workflow: Workflow,
        collected: frozenset[str],
        timeout: float | None,
        expansion: Callable[[Task], object],
    ) -> None:
        tasks = by_rank(workflow)
        self._tasks = tasks
        self._ids = [task.id for task in tasks]
        self._called = [task.function for task in tasks]
        self._limits = limited_reads(workflow)
        self._plan = workflow.plan
        self._merge = workflow.merge
        self._collected = collected
        self._timeout = timeout
        self._functions = FunctionCache()
        self._rules = {key: FunctionCache() for key in workflow.merge}
        self._conditions = {
            condition: Publish(next_number(), pickle.dumps(condition), ()) for condition in asked_in_attempts(tasks)
        }
        self._expansions = {
            rank: Publish(next_number(), pickle.dumps(expansion(task)), (task.for_each,))
            for rank, task in enumerate(tasks)
            if task.for_each
        }
        self._bindings = Bindings(tasks)
        self._variables = Variables(
            [
                *((f"Task {task.id!r}", task.function) for task in tasks),
                *((f"The merge rule of key {key!r}", rule) for key, rule in self._merge.items()),
            ]
        )
        self._captured: list[Captured] = []
        self._wanted: Publish | None = None
        self._last = Capture((), (), {})

    def now(self) -> Capture:
        """The functions and rules as they stand now. Raises `CaptureError` where one can't be sent."""
        captured = self._functions.capture_all(self._ids, self._called)
        rules = {key: self._rules[key].capture_all([RuleOf(key)], [rule])[0].blob for key, rule in self._merge.items()}
        if captured is not self._captured:
            self._variables.look_again()
        wanted = self._variables.now()
        if captured is not self._captured or wanted is not self._wanted:
            self._last = self._made(captured, wanted)
            self._captured, self._wanted = captured, wanted
        return Capture(self._last.functions, self._last.work, rules, self._last.variables)

    def _made(self, captured: list[Captured], wanted: Publish | None) -> Capture:
        functions = [
            Publish(
                function.number,
                function.blob,
                self._sent_along(task, function),
                function.head,
                task.form.takes_handle,
                self._bindings.number(rank),
                task.writes,
                self._limits.get(rank),
            )
            for rank, (task, function) in enumerate(zip(self._tasks, captured, strict=True))
        ]
        each = mapped_over(self._plan, self._tasks, {rank: sent.function for rank, sent in self._expansions.items()})
        numbers = {condition: sent.function for condition, sent in self._conditions.items()}
        work = [
            work_of(
                task,
                function.function,
                function.reads if task.trigger_rules is None else _with_keys(function.reads, task.trigger_rules),
                condition=condition_number(task, numbers),
                each=each.get(rank),
                timeout=task.timeout or self._timeout,
            )
            for rank, (task, function) in enumerate(zip(self._tasks, functions, strict=True))
        ]
        published = [
            *[Publish(head.number, head.blob, ()) for head in self._functions.heads],
            *self._bindings.published,
            *functions,
            *self._conditions.values(),
            *self._expansions.values(),
        ]
        if wanted is None:
            return Capture(published, work, {})
        return Capture([wanted, *published], work, {}, wanted.function)

    def _sent_along(self, task: Task, function: Captured) -> tuple[str, ...]:
        """The keys that a slice covers. What is kept by task grows with every task: it is sent when asked for."""
        reads, collected = task.reads, self._collected
        if reads is None:
            own = [*(parameter.name for parameter in task.form.parameters), *function.reads]
            named = [task.prefix + key for key in own] if task.prefix else own
            reads = tuple(dict.fromkeys([key for key in named if key != task.for_each]))  # an instance has its item
        return reads if collected.isdisjoint(reads) else tuple(key for key in reads if key not in collected)


def work_of(
    task: Task,
    function: int,
    reads: tuple[str, ...] = (),
    *,
    condition: int,
    each: Each | None,
    timeout: float | None = None,
) -> Work:
    """A task in the terms of a run. `function` and `condition` are the numbers of what is run and asked."""
    return Work(
        function,
        reads,
        timeout,
        task.retry,
        None if task.rule == DEFAULT else task.rule,
        task.trigger_rules,
        condition,
        each=each,
        limit=task.limit,
        prefix=task.prefix,
    )


def mapped_over(plan: Plan, tasks: Sequence[Task], expansions: Mapping[int, int]) -> dict[int, Each]:
    """How tasks are mapped, by rank. `expansions` are the numbers of what expands them."""
    if not expansions:
        return {}
    writes = {rank: tuple([tasks[rank].prefix + key for key in _written_by(tasks[rank])]) for rank in expansions}
    return paired(plan, [task.for_each for task in tasks], expansions, writes)


def _written_by(task: Task) -> tuple[str, ...]:
    """The keys that a task sets: what it declares, or else what its code tells for certain."""
    if task.writes is not None:
        return task.writes
    from cloaca.dataflow.touches import keys_set

    return keys_set(task.function) or ()


def condition_number(task: Task, numbers: Mapping[Condition, int]) -> int:
    """The number of the task's condition, or 0 where it has none that is asked in its attempts."""
    return 0 if task.trigger_rules is None else numbers.get(task.trigger_rules, 0)


def _with_keys(reads: tuple[str, ...], condition: Condition) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*reads, *condition.keys)))
