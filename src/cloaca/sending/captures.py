"""Captures: what of one workflow was pickled for workers, kept for its next execution.

Most executions find everything as it was. Then they get the very lists that the one before had, by which the
coordinator sees that there is nothing to publish.
"""

import pickle
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from cloaca.dataflow.demand import limited_reads
from cloaca.engine.work import Work
from cloaca.pickling.functions import Captured, RuleOf, next_number
from cloaca.pickling.kin import FunctionCache
from cloaca.sending.attached import Attached, still_held
from cloaca.sending.bindings import Bindings
from cloaca.sending.fingerprints import Fingerprints
from cloaca.sending.variables import Variables
from cloaca.sending.work import all_work, reads_of
from cloaca.values.holder import Holder
from cloaca.values.storage import Leases
from cloaca.wire.messages import Publish
from cloaca.workflows.workflow import Task, Workflow, asked_in_attempts, by_rank


class Capture(Struct, frozen=True):
    """A workflow as workers are to know it.

    `functions` with their heads, conditions, and what expands mapped tasks; the `work` by rank; the merge `rules`
    by key. `variables`: the number of what modules are to have; 0 where that is what importing them gives. `leases`
    keep what functions take along in files.
    """

    functions: Sequence[Publish]
    work: Sequence[Work]
    rules: Mapping[str, bytes]
    variables: int = 0
    leases: Leases = {}


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
        self._leases: Leases = {}
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
        self._fingerprints = Fingerprints(tasks)
        found = [*self._called, *self._merge.values(), *self._fingerprints.called]
        self._variables = Variables(found, self._name)
        self._captured: list[Captured] = []
        self._asked: Sequence[Captured] = []
        self._wanted: Publish | None = None
        self._last = Capture((), (), {})

    def now(self, holder: Holder) -> Capture:
        """The functions and rules as they stand now, in `holder` what is large of the functions.

        Raises `CaptureError` where one can't be sent.
        """
        if not all(map(holder.has, self._leases)):
            self._functions = FunctionCache()  # somebody has removed a file
        leases = self._leases.copy()
        attached = Attached(holder, leases)
        captured = self._functions.capture_all(self._ids, self._called, attached)
        fingerprints = self._fingerprints.now(attached)
        self._leases = still_held(leases, [*captured, *self._functions.heads, *fingerprints])
        rules = {key: self._rules[key].capture_all([RuleOf(key)], [rule])[0].blob for key, rule in self._merge.items()}
        is_as_before = captured is self._captured and fingerprints is self._asked
        if not is_as_before:
            self._variables.look_again()
        wanted = self._variables.now()
        if not is_as_before or wanted is not self._wanted:
            self._last = self._made(captured, wanted)
            self._captured, self._asked, self._wanted = captured, fingerprints, wanted
        return Capture(self._last.functions, self._last.work, rules, self._last.variables, self._leases)

    def _name(self, number: int) -> str:
        """What a function is, or a merge rule after them."""
        if number < len(self._ids):
            return f"Task {self._ids[number]!r}"
        others = [f"The merge rule of key {key!r}" for key in self._merge]
        others += [f"The fingerprint of task {task!r}" for task in self._fingerprints.ids]
        return others[number - len(self._ids)]

    def _made(self, captured: list[Captured], wanted: Publish | None) -> Capture:
        functions = [
            Publish(
                function.number,
                function.blob,
                self._sent_along(task, function),
                function.head,
                task.form.takes_handle,
                self._bindings.number(rank),
                None if task.form.is_plain else task.writes,
                self._limits.get(rank),
                function.attached,
            )
            for rank, (task, function) in enumerate(zip(self._tasks, captured, strict=True))
        ]
        timeouts = [task.timeout or self._timeout for task in self._tasks]
        work = all_work(
            self._plan,
            self._tasks,
            [(sent.function, sent.reads, limit) for sent, limit in zip(functions, timeouts, strict=True)],
            {condition: sent.function for condition, sent in self._conditions.items()},
            {rank: sent.function for rank, sent in self._expansions.items()},
            self._fingerprints.numbers,
        )
        published = [
            *[Publish(head.number, head.blob, (), attached=head.attached) for head in self._functions.heads],
            *self._bindings.published,
            *functions,
            *self._conditions.values(),
            *self._expansions.values(),
            *self._fingerprints.published,
        ]
        if wanted is None:
            return Capture(published, work, {})
        return Capture([wanted, *published], work, {}, wanted.function)

    def _sent_along(self, task: Task, function: Captured) -> tuple[str, ...]:
        """The keys that a slice covers. What is kept by task grows with every task: it is sent when asked for."""
        reads, collected = reads_of(task, function.reads), self._collected
        return reads if collected.isdisjoint(reads) else tuple(key for key in reads if key not in collected)
