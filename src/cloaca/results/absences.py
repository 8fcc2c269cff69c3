"""Absences: why a key isn't there, from what a run has recorded.

A key that a failed task looked up in vain is set by a task that doesn't come before it, or failed itself, or by none. A
key that a result lacks would have been set by a task that failed or was skipped.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, Final

from cloaca.dataflow.finding import Finding, FindingKind, advice_of, finding_of
from cloaca.engine.run import Run
from cloaca.engine.state import State
from cloaca.nearest import nearest
from cloaca.tasks.place import shortened
from cloaca.wire.messages import Failed, Outcome
from cloaca.workflows.passed import passed_in, source_of
from cloaca.workflows.workflow import Task, Workflow, by_rank

_MOST = 100  # findings
_ANY: Final = None
"""Stands for the keys that nobody can tell from a task's code."""


class Absences:
    """What is known of one run that has ended, as far as the absence of keys goes."""

    def __init__(self, workflow: Workflow, run: Run, outcomes: Sequence[Outcome], directory: str) -> None:
        self._workflow = workflow
        self._passed = passed_in(workflow)
        self._ancestry = run.history.ancestry
        self._outcomes = outcomes
        self._ledger = run.ledger
        self._directory = directory

    @cached_property
    def _tasks(self) -> list[Task]:
        return by_rank(self._workflow)

    # ---- of a result -----------------------------------------------------------------------------------------------

    def why(self, key: str) -> str:
        """Which task that didn't complete sets the key, or may set it, and why it didn't; "" where there is none."""
        return self._told.get(key, self._told[_ANY]) if "_told" in vars(self) else self._why(key)

    def _why(self, key: str | None) -> str:
        key = key if key in self._unfinished else _ANY
        setters = self._unfinished.get(key)
        unclear = self._unclear(self._ledger.fans) if key is _ANY else ""
        if not setters:
            return unclear
        rank, sets = setters[0], "may set it" if key is _ANY else "sets it"
        text = f"Task {self._tasks[rank].id!r}, which {sets}, {self._fate(rank)}."
        cause = self._causes[rank]
        before = "" if cause is None else f"Before it, task {self._tasks[cause].id!r} {self._fate(cause)}."
        return " ".join(filter(None, (text, before, unclear)))

    def _fate(self, rank: int) -> str:
        outcome = self._outcomes[rank]
        if outcome.status == "Failed":
            return f"failed: {outcome.error}{self.at(rank)}"
        return f"was skipped: {outcome.reason}" if outcome.status == "Skipped" else "was cancelled"

    def at(self, unit: int) -> str:
        """Where a task, or an instance, failed, in brackets: the line that raised, or else the function."""
        failed = self._ledger.first_failed(unit)
        end, task = self._ledger.ends[failed], self._tasks[self._rank_of(failed)]
        raised = end.place if isinstance(end, Failed) else ""
        place = shortened(raised, self._directory) if raised else task.place(self._directory)
        return f" ({place})" if place else ""

    def place(self, rank: int) -> str:
        """Where the function of a task stands."""
        return self._tasks[rank].place(self._directory)

    def _rank_of(self, unit: int) -> int:
        return unit if unit < len(self._tasks) else self._ledger.fan_of(unit).rank

    @cached_property
    def _unfinished(self) -> dict[str | None, list[int]]:
        """The keys that tasks set which didn't complete, as they declare or their code tells, with those tasks."""
        found: dict[str | None, list[int]] = {}
        for rank, outcome in enumerate(self._outcomes):
            if outcome.status != "Completed":
                for key in _set_by(self._tasks[rank]):
                    found.setdefault(key, []).append(rank)
        return found

    @cached_property
    def _causes(self) -> list[int | None]:
        """Of each task one that failed before it, by rank, if any did: of a chain of failures the first one."""
        causes: list[int | None] = []
        for dependencies in self._workflow.plan.predecessors:
            failed = (above for above in dependencies if self._outcomes[above].status == "Failed")
            above = (causes[above] for above in dependencies if causes[above] is not None)
            causes.append(next(above, next(failed, None)))
        return causes

    def __getstate__(self) -> dict[str, Any]:
        """Functions needn't be pickled for this: what is to be told is."""
        return {"_told": self._told}

    @cached_property
    def _told(self) -> dict[str | None, str]:
        return {key: self._why(key) for key in (_ANY, *self._unfinished)}

    # ---- of failed tasks -------------------------------------------------------------------------------------------

    def findings(self, run: Run, known: Sequence[Finding]) -> Iterator[Finding]:
        """Of each failed task that looked up absent keys: why they were. What is `known` before isn't said again."""
        said = {(finding.task, finding.key) for finding in known}
        for unit, end in self._ledger.ends.of_tasks_and_failed():
            rank = self._rank_of(unit)
            for key in end.absent if isinstance(end, Failed) else ():
                if (self._tasks[rank].id, key) in said or len(said) > _MOST:
                    continue
                said.add((self._tasks[rank].id, key))
                finding = self._absent(run, rank, key)
                if finding is not None:
                    yield finding

    def _absent(self, run: Run, rank: int, key: str) -> Finding | None:
        source = source_of(key, self._passed)
        lead = f"Task {self._tasks[rank].id!r} looked up key {source!r}"
        if source != key:
            lead += f" (passed in as {key.removeprefix(self._tasks[rank].prefix)!r})"
        removed = [write.rank for write in run.history.candidates(rank, source) if write.version.payload is None]
        if removed:
            text = f"{lead}, which task {self._tasks[removed[0]].id!r} has removed before it"
            return self._finding("missing", key, text, rank, removed[0])
        setters = [*run.history.writers(source), *self._unfinished.get(source, ())]
        if not setters:
            return self._unset(run, rank, key, lead)
        above = [setter for setter in setters if self._ancestry.is_above(setter, rank)]
        for setter in [setter for setter in setters if setter not in above and setter != rank]:
            text = f"{lead}, which task {self._tasks[setter].id!r} sets"
            if self._ancestry.is_above(rank, setter):
                text = f"{text} after it: give {source!r} in the input, or set it in a task before"
                return self._finding("late", key, text, rank, setter)
            text = f"{text} without coming before it: {advice_of(self._tasks[rank], self._tasks[setter])}"
            return self._finding("unordered", key, text, rank, setter)
        for setter in [setter for setter in above if self._outcomes[setter].status != "Completed"]:
            text = f"{lead}, which task {self._tasks[setter].id!r} sets, and that one {self._fate(setter)}"
            return self._finding("missing", key, text, rank, setter)
        return None

    def _unclear(self, ranks: Iterable[int]) -> str:
        """Of which of these mapped tasks no instance completed, and nobody knows what it sets; "" where of none."""
        for rank in sorted(ranks):
            task, is_silent = self._tasks[rank], not self._ledger.fans[rank].counted(State.COMPLETED)
            if is_silent and task.writes is None and _sets_who_knows_what(task):
                return (
                    f"No instance of task {task.id!r} completed, and its code doesn't tell for certain which keys it "
                    "sets: declare writes=[...] with all of them."
                )
        return ""

    def _unset(self, run: Run, rank: int, key: str, lead: str) -> Finding | None:
        unclear = self._unclear(fan for fan in self._ledger.fans if self._ancestry.is_above(fan, rank))
        if unclear:
            return self._finding("missing", key, f"{lead}. {unclear.removesuffix('.')}", rank)
        close = nearest(key, run.history.standing(), 1)
        if not close:
            return self._finding("missing", key, f"{lead}, which no task of this run set and the input lacks", rank)
        meant = f"{lead}, which no task sets and the input lacks: did it mean {close[0]!r}"
        writers = run.history.writers(close[0])
        apart = [writer for writer in writers if writer != rank and not self._ancestry.is_above(writer, rank)]
        if apart:
            meant += f", which task {self._tasks[apart[0]].id!r} sets without coming before it"
        return self._finding("missing", key, f"{meant}?", rank, *apart[:1])

    def _finding(self, kind: FindingKind, key: str, text: str, *ranks: int) -> Finding:
        return finding_of(kind, key, text, [self._tasks[rank] for rank in ranks], self._directory)


def _sets_who_knows_what(task: Task) -> bool:
    if task.form.is_plain:
        return False
    from cloaca.dataflow.touches import keys_set

    return keys_set(task.function) is None


def _set_by(task: Task) -> list[str | None]:
    """The keys that a task sets, by their full names; also `_ANY` where it may set others."""
    if task.writes is not None:
        return [task.prefix + key for key in task.writes]
    from cloaca.dataflow.touches import touches_of

    touched = touches_of(task.function)
    return [*(task.prefix + key for key in touched.sets), *([_ANY] if touched.leaves_more else ())]
