"""Recorded: executions as a runner's store has them: begun, gone on with, listed and forgotten."""

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from operator import is_
from typing import TYPE_CHECKING, NamedTuple

from cloaca.engine.facts import Fact, TaskExpanded, TaskFinished, TaskRetried
from cloaca.errors import ExecutionChangedError, StoreError, ValueLostError
from cloaca.history.told_digests import Combining
from cloaca.recording.facts import Writing, facts_of
from cloaca.recording.past_attempts import OwnAttempts, PastAttempts
from cloaca.recording.payloads import Shelving, demand_allowed, named, restored_version, stored_version
from cloaca.recording.recorder import ExecutionRecording, Recorder
from cloaca.recording.skeleton import copy_rows_of, rows_of, rule_payloads
from cloaca.store.records import Header, Record, TaskRow
from cloaca.store.store import Claim, Store
from cloaca.store.took import Took
from cloaca.tasks.contents import Contents, whole
from cloaca.values.blobs import LARGE, size_of
from cloaca.values.digest import Digests
from cloaca.values.storage import Leases
from cloaca.wire.messages import Version
from cloaca.workflows.codes import Codes
from cloaca.workflows.targets import restricted
from cloaca.workflows.workflow import Task, Workflow

if TYPE_CHECKING:
    from cloaca.engine.reuse import Reuse

_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


class Left(NamedTuple):
    """What an execution has left that is to be gone on with: how it began, what had ended, and the claim on it.

    `attempts`: all that had completed. What has behind a failure isn't among the `facts`, as that may end well now.
    """

    header: Header
    facts: Sequence[Fact]
    attempts: OwnAttempts
    claim: Claim


def left_by(recorder: Recorder, execution: str) -> Left:
    """Claim an execution, and read what it has left. Raises `StoreError` where that can't be done."""
    store = recorder.store
    claim = store.claim(execution)
    try:
        header = store.header(execution)
        records = [*store.records(execution)]
        facts = [fact for record in records for fact in _kept(header, record, store)]
        return Left(header, [*completed(header, facts)], OwnAttempts(header, records, store), claim)
    except BaseException:
        store.end(claim, "Interrupted", time.time())
        raise


def _kept(header: Header, record: Record, store: Store) -> list[Fact]:
    """What a record tells; nothing where a value that belongs to it is lost: its task is run again."""
    try:
        return [*facts_of(header, [record], store)]
    except ValueLostError:
        return []


def completed(header: Header, facts: Iterable[Fact]) -> Iterator[Fact]:
    """Those that tell of what need not be done again, whatever becomes of the rest: all before it had completed, too.

    Of a mapped task, each instance counts by itself for those that follow it item by item, and all count for others.
    """
    rows = header.tasks
    before = {row.id: _waited_for(row, rows) for row in rows}
    led_by = {row.id: {rows[place].id for place in row.dependencies} - before[row.id] for row in rows}
    well: set[tuple[str, int | None]] = set()
    for fact in facts:
        if not isinstance(fact, TaskRetried | TaskExpanded | TaskFinished):
            continue
        needed: set[tuple[str, int | None]] = {(task, None) for task in before[fact.task]}
        if fact.item is not None:
            needed |= {(task, fact.item) for task in led_by[fact.task]}
        if not well.issuperset(needed):
            continue
        if not isinstance(fact, TaskFinished):
            yield fact
        elif fact.outcome.status == "Completed":
            well.add((fact.task, fact.item))
            yield fact


def _waited_for(row: TaskRow, rows: Sequence[TaskRow]) -> set[str]:
    """Its dependencies, but for those after which it goes item by item."""
    dependencies = [rows[place] for place in row.dependencies]
    own = (row.for_each, row.per_item)
    return {other.id for other in dependencies if row.for_each is None or own != (other.for_each, other.per_item)}


def given_to(header: Header, store: Store) -> Contents:
    """What an execution was given."""
    inputs = header.inputs.items()
    return Contents(whole({key: (restored_version(one, store, f"key {key!r} of the input"),) for key, one in inputs}))


def took_before(store: Store, workflow: str) -> Mapping[str, Took]:
    """How long the tasks of a workflow took, by id, as the latest execution on record tells. A fault tells nothing."""
    try:
        return store.took(workflow)
    except StoreError:  # whoever writes to it tells of that
        return {}


class WorkflowCodes:
    """The codes of a workflow's tasks, by id, and the digests of its merge rules, as they are now.

    `sent` is what workers are sent to run it. As long as that is the same, so are the codes.
    """

    def __init__(self, workflow: Workflow, sent: tuple[object, ...] = ()) -> None:
        codes = Codes()
        self.by_task = {task.id: codes.of(task) for task in workflow.tasks}
        rules = {key: codes.code_of_rule(rule) for key, rule in workflow.merge.items()}
        self.combining = Combining(rules, workflow.on_conflict)
        self._sent = sent

    def are_of(self, sent: tuple[object, ...]) -> bool:
        """Whether these, too, are the codes of what is sent so."""
        return bool(sent) and len(sent) == len(self._sent) and all(map(is_, sent, self._sent))


class OnRecord:
    """What is recorded of one execution, and taken over from others: `reuse`. `seed`: that of what is taken over."""

    def __init__(
        self,
        recorder: Recorder,
        workflow: Workflow,
        codes: WorkflowCodes,
        left: Left | None = None,
        targets: tuple[str, ...] | None = None,
    ) -> None:
        self.digests = Digests()
        self.seed: int | None = None
        self.reuse: Reuse | None = None if left is None else left.attempts
        self._recorder = recorder
        self._workflow = workflow
        self._left = left
        self._targets = targets
        self._codes = codes.by_task
        self.combining = codes.combining

    def take_over(self, asked: bool | None) -> None:  # noqa: FBT001 - as the user says it
        """Take over what holds of earlier executions, where the execution, the workflow or the task says so."""
        tasks = self._workflow.tasks
        barred = frozenset([task.id for task in tasks if not _may_reuse(task, self._workflow, asked)])
        if len(barred) == len(tasks) and not asked:
            return
        accepted = {task.id: task.accept for task in tasks if task.accept}
        past = PastAttempts(self._recorder.store, self._workflow.name, self._codes, accepted, barred)
        self.reuse, self.seed = past, None if past.newest is None else past.newest.seed

    def begin(self, id: str, seed: int, inputs: Mapping[str, Version], leases: Leases) -> ExecutionRecording:
        """Record the execution from here on."""
        store, left = self._recorder.store, self._left
        if left is None:
            header = self._header(id, seed, inputs)
            claim = store.create(header)
        else:
            header, claim = left.header, left.claim
        places = {row.id: place for place, row in enumerate(header.tasks)}
        digests = {task: code.digest for task, code in self._codes.items()}
        writing = Writing(Shelving(store, claim, self.digests.of), places, digests)
        recording = self._recorder.record(claim, writing, [*{one.digest: one for one in self._codes.values()}.values()])
        if left is None:
            recording.keep([*_large(inputs.values())], leases)
        return recording

    def _header(self, id: str, seed: int, inputs: Mapping[str, Version]) -> Header:
        workflow, store = self._workflow, self._recorder.store
        for key, version in inputs.items():
            demand_allowed(version, store, f"key {key!r} of the input")
        name = partial(named, digest=self.digests.of)
        return Header(
            id,
            workflow.name,
            time.time(),
            seed,
            {key: stored_version(version, name) for key, version in inputs.items()},
            rows_of(workflow),
            _PYTHON,
            rule_payloads(workflow.merge) if store.allows_pickles else {},
            self._targets,
            workflow.on_conflict,
            copy_rows_of(workflow),
            workflow.outputs,
        )


def _may_reuse(task: Task, workflow: Workflow, asked: bool | None) -> bool:  # noqa: FBT001 - as the user says it
    """Whether attempts may stand for those of a task. `execute(reuse=False)` goes before all."""
    if asked is False:
        return False
    if task.reuse is not None:
        return task.reuse
    return workflow.reuse or bool(asked)


def _large(versions: Iterable[Version]) -> Iterator[bytes]:
    """The payloads among them that stand in files of their own."""
    for version in versions:
        if version.payload is not None and size_of(version.payload) >= LARGE:
            yield version.payload
        yield from _large(version.rivals)


def wanted_of(header: Header, workflow: Workflow) -> Workflow:
    """What of the workflow was to run. Raises `ExecutionChangedError` where that isn't what it was."""
    if header.targets is not None:
        known = {task.id for task in workflow.tasks}
        there = [id for id in header.targets if id in known]
        workflow = restricted(workflow, there) if there else workflow
    _check_shape(header, workflow)
    return workflow


def _check_shape(header: Header, workflow: Workflow) -> None:
    names = [task.id for task in header.tasks]
    before = {task.id: (tuple([names[place] for place in task.dependencies]), task.for_each) for task in header.tasks}
    now = {task.id: (task.dependencies, task.for_each) for task in workflow.tasks}
    if [*before] == [*now] and before == now:
        return
    told = [
        *(f"task {id!r} is new" for id in now if id not in before),
        *(f"task {id!r} is gone" for id in before if id not in now),
        *(_difference(id, before[id], now[id]) for id in now if id in before and before[id] != now[id]),
    ]
    raise ExecutionChangedError(header.id, header.workflow, tuple(told or ["its tasks stand in another order"]))


def _difference(id: str, before: tuple[tuple[str, ...], str | None], now: tuple[tuple[str, ...], str | None]) -> str:
    if before[0] != now[0]:
        return f"task {id!r} depends on {[*now[0]]}, and depended on {[*before[0]]}"
    return f"task {id!r} is mapped over {now[1]!r}, and was over {before[1]!r}"
