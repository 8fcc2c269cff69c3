"""Past: executions that a runner's store has, looked at again; and a task called again with what it saw."""

import time
from collections import Counter
from collections.abc import Mapping
from contextvars import copy_context
from datetime import timedelta
from functools import cached_property
from typing import Any

from msgspec.structs import replace

from cloaca import argument
from cloaca.attempts.attempt import take_over
from cloaca.attempts.seeding import of_process
from cloaca.authoring.registry import find
from cloaca.engine.events import Begin, Cancel
from cloaca.engine.facts import Fact, TaskExpanded, TaskFinished
from cloaca.engine.replica import Replica
from cloaca.engine.run import Run
from cloaca.merge.rules import Rules
from cloaca.nearest import nearest
from cloaca.recorded import given_to
from cloaca.recording.facts import clock, facts_of
from cloaca.recording.rehearsal import rehearsal, rehearsed
from cloaca.recording.skeleton import skeleton_of
from cloaca.results.result import WorkflowResult
from cloaca.results.task import TaskResult
from cloaca.results.tries import rfc3339
from cloaca.runs import Runs
from cloaca.sending.objects import called
from cloaca.store.records import Header, TaskRow
from cloaca.store.store import Listed, Store
from cloaca.tasks.contents import Contents
from cloaca.tasks.context import Context, over
from cloaca.tasks.scope import as_set
from cloaca.values.codec import decode
from cloaca.workflows.passed import homes
from cloaca.workflows.workflow import Task

_STATUSES = ("Running", "Completed", "Failed", "Cancelled", "Interrupted")


class PastExecution:
    """An execution that was recorded. `runner.execution(id)` and `runner.executions()` give it.

    Attributes:
        id: its own.
        workflow: the name of the workflow.
        status: "Running", "Completed", "Failed", "Cancelled", or "Interrupted": the program that ran it is gone.
        start_time, end_time: RFC 3339 strings; `None` where it hasn't ended.
    """

    def __init__(self, listed: Listed, store: Store) -> None:
        self.id = listed.id
        self.workflow = listed.workflow
        self.status = listed.status
        self.start_time = rfc3339(listed.began)
        self.end_time = None if listed.ended is None else rfc3339(listed.ended)
        self._listed = listed
        self._store = store

    @property
    def duration(self) -> float | None:
        """Seconds from its begin to its end; `None` where it hasn't ended."""
        return None if self._listed.ended is None else self._listed.ended - self._listed.began

    @property
    def seed(self) -> int:
        """What the random numbers of all its tasks follow from."""
        return self._header.seed

    @property
    def input(self) -> Context:
        """What it was given."""
        return over(given_to(self._header, self._store))

    @property
    def tasks(self) -> Mapping[str, TaskResult]:
        """How each task ended, by id, and each instance of a mapped one; "Cancelled" where it hasn't."""
        return self.result.tasks

    @property
    def final_context(self) -> Context:
        """What its tasks had left in the end, or so far."""
        return self.result.final_context

    @property
    def error_message(self) -> str | None:
        """What went wrong and where; `None` where nothing did."""
        return self.result.error_message

    @cached_property
    def result(self) -> WorkflowResult:
        """The result, as `execute` returned it. Of an execution that hasn't ended, what hasn't is "Cancelled"."""
        rules, run, _ = self._rebuilt
        ended = time.time() if self._listed.ended is None else self._listed.ended
        return WorkflowResult(self._skeleton, self.id, run, rules, self._listed.began, ended, clock(), ({}, ()))

    def before(self, task: str, item: int | None = None) -> Context:
        """What a task saw when it began; of a mapped one, its instance for the item of that number.

        Raises `KeyError` where no attempt of it is recorded.
        """
        return over(self._seen_by(task, item))

    def after(self, task: str, item: int | None = None) -> Context:
        """What it saw, with what it has set and removed. Raises as above."""
        seen = self._seen_by(task, item)
        fact = self._fact(task, item)
        seen.changes.update(as_set(fact.diff) if self._row(task).per_item else fact.diff)
        return over(seen)

    def called_again(self, task: Task, item: int | None) -> Context:
        """Call the task's function with what it saw; returns the context that it leaves."""
        seen = self._seen_by(task.id, item)
        if task.prefix:
            seen.enter(task.prefix)
        context = over(seen)
        fact = self._fact(task.id, item)
        of_process().begin(self._header.seed, seen.writer, fact.ended)
        given = () if item is None or task.per_item is not None else (self._item(task.id, item),)
        take_over(context, called(task)(context, *given), copy_context())
        return context

    def _item(self, task: str, item: int) -> Any:
        for fact in reversed(self._facts):
            if isinstance(fact, TaskExpanded) and fact.task == task and fact.items is not None:
                return decode(fact.items.payloads[item])
        raise KeyError(f"Execution {self.id!r} has no items of task {task!r} on record.")

    def __repr__(self) -> str:
        seconds = "" if self.duration is None else f", {self.duration:.3f} s"
        return f"PastExecution({self.workflow!r}, {self.status!r}, {self.start_time}{seconds}, id={self.id!r})"

    # ---- rebuilt from records --------------------------------------------------------------------------------------

    @cached_property
    def _header(self) -> Header:
        return self._store.header(self.id)

    @cached_property
    def _facts(self) -> list[Fact]:
        return [*facts_of(self._header, self._store.records(self.id), self._store)]

    @cached_property
    def _skeleton(self) -> Any:
        header = self._header
        return skeleton_of(header if self._store.allows_pickles else replace(header, rules={}))

    @cached_property
    def _rebuilt(self) -> tuple[Rules, Run, Replica]:
        """The run as it ended, or as far as it had come."""
        workflow, header = self._skeleton, self._header
        rules = Rules(workflow.merge, workflow.on_conflict, homes(workflow))
        inputs = given_to(header, self._store).versions()
        run = rehearsed(workflow, rules, inputs, header.seed, earlier=self._facts)
        run.handle(Cancel(), 0.0)
        return rules, run, Replica(run)

    @cached_property
    def _rehearsed(self) -> Mapping[tuple[str, int | None], TaskFinished]:
        """How each ended, as a rehearsal tells it: with what those before it had set for the same item."""
        workflow, header = self._skeleton, self._header
        rules = Rules(workflow.merge, workflow.on_conflict, homes(workflow))
        inputs = given_to(header, self._store).versions()
        run = rehearsal(workflow, rules, inputs, header.seed, earlier=self._facts)
        run.listen()
        run.handle(Begin(), 0.0)
        return {(fact.task, fact.item): fact for fact in run.facts() if isinstance(fact, TaskFinished)}

    def _row(self, task: str) -> TaskRow:
        return next(row for row in self._header.tasks if row.id == task)

    def _fact(self, task: str, item: int | None) -> TaskFinished:
        for fact in reversed(self._facts):
            if isinstance(fact, TaskFinished) and (fact.task, fact.item) == (task, item) and fact.nth:
                return fact
        known = [row.id for row in self._header.tasks]
        if task not in known:
            raise KeyError(f"Execution {self.id!r} has no task {task!r}.{_near(task, known)}")
        which = f"task {task!r}" if item is None else f"the instance of {task!r} for item {item}"
        raise KeyError(f"Execution {self.id!r} has no attempt of {which} on record.")

    def _seen_by(self, task: str, item: int | None) -> Contents:
        rules, _, replica = self._rebuilt
        fact = self._fact(task, item)
        if item is not None:
            told = self._rehearsed.get((task, item), fact)
            fact = replace(fact, overlay=told.overlay)
        return Contents(replica.slice(fact), replica.name(fact), rules, origin=(self._header.seed, fact.ended))


# ---- what runners are asked ----------------------------------------------------------------------------------------


def _near(name: str, names: list[str]) -> str:
    """A sentence about the names that are nearest to one that isn't there, if any are near."""
    near = nearest(name, names)
    return f" The nearest names are {', '.join(map(repr, near))}." if near else ""


def executions(runs: Runs, workflow: str | None, status: str | None) -> list[PastExecution]:
    """Those on record, the newest first."""
    if status is not None:
        argument.choice("status", status, dict.fromkeys(_STATUSES))
    store = runs.recorder("executions").store
    return [PastExecution(listed, store) for listed in store.entries(workflow, status)]


def execution(runs: Runs, id: str) -> PastExecution:
    """The one with that id."""
    store = runs.recorder("execution").store
    header = store.header(id)
    (listed,) = [listed for listed in store.entries(header.workflow) if listed.id == id]
    return PastExecution(listed, store)


def replay(runs: Runs, id: str, task: str, item: int | None) -> Context:
    """Call a task again, here."""
    past = execution(runs, id)
    workflow = find(past.workflow)
    found = next((one for one in workflow.tasks if one.id == task), None)
    if found is None:
        near = _near(task, [one.id for one in workflow.tasks])
        raise KeyError(f"Workflow {workflow.name!r} has no task {task!r}.{near}")
    if found.for_each is not None and item is None:
        raise ValueError(
            f"Task {task!r} runs once for each item of {found.for_each!r}. Say for which one to call it: "
            f"replay({id!r}, {task!r}, item=0) for the first."
        )
    return past.called_again(found, item)


def prune(runs: Runs, keep: int | None, older_than: timedelta | float | None) -> int:
    """Forget what need not be kept."""
    if keep is None and older_than is None:
        raise ValueError("prune is told what stays: keep=10 (of each workflow), or older_than=timedelta(days=30).")
    seconds = older_than.total_seconds() if isinstance(older_than, timedelta) else older_than
    kept = 0 if keep is None else argument.whole("keep", keep, least=0)
    before = time.time() - (0.0 if seconds is None else argument.not_negative("older_than, in seconds,", seconds))
    store = runs.recorder("prune").store
    seen: Counter[str] = Counter()
    going: list[str] = []
    entries = store.entries()
    under_way = {listed.workflow for listed in entries if listed.status == "Running"}  # these may take over from others
    for listed in entries:
        seen[listed.workflow] += 1
        if listed.workflow not in under_way and seen[listed.workflow] > kept and listed.began <= before:
            going.append(listed.id)
    return store.remove(going)
