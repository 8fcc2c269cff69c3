"""Explanations of tasks: why one ran, or didn't, what it saw and what it left."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from cloaca.account.told import duration, size
from cloaca.engine.ends import cost_of
from cloaca.engine.ledger import Ledger
from cloaca.engine.state import ENDED
from cloaca.errors import INPUT, InternalError
from cloaca.history.pedigree import Final, Pedigrees
from cloaca.history.plan import Plan
from cloaca.results.starts import Starts
from cloaca.results.task import TaskResult
from cloaca.results.tries import Try
from cloaca.triggers.rules import DEFAULT, RULES, ended, told

_LISTED = 20


class TaskExplanation(NamedTuple):
    """What `result.explain_task(id)` tells. Printed, it is a text.

    `task` is its id, `place` where its function stands, `status` how it ended. `waited_for`: what it depends on, with
    how that ended. `rule` and `condition` say when it is to start ("": it has no condition). `why`: why it was skipped,
    or what it failed with; "" where it ended well. `read`: the keys that it looked at, each with the tasks that had
    written what it saw ("the input": none had). `wrote`: the keys that it set, with the bytes that the values take, and
    `None` for one that it removed. `tries`: those that were made. `instances`: how many of a mapped task ended how.
    `handled`: it failed, and may. `reused_from` and `ran_because`: as in its `TaskResult`.
    """

    task: str
    place: str
    status: str
    waited_for: Mapping[str, str]
    rule: str
    condition: str
    why: str
    read: Mapping[str, tuple[str, ...]]
    wrote: Mapping[str, int | None]
    tries: tuple[Try, ...] = ()
    instances: Mapping[str, int] = {}
    handled: bool = False
    reused_from: str | None = None
    ran_because: str | None = None

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def __repr__(self) -> str:
        return str(self)

    def _lines(self) -> Iterator[str]:
        yield self._head()
        if self.instances:
            counts = ", ".join(f"{count:,} {status}" for status, count in self.instances.items())
            yield f"It was to run once for each item: {counts}."
        if self.handled:
            yield "It may fail (allow_failure), so the execution hasn't failed by that."
        yield from self._on_reuse()
        yield from self._on_start()
        yield from [_failed(one) for one in self.tries[:-1]]
        yield from _listed("It read:", [_read(key, writers) for key, writers in self.read.items()])
        yield from _listed("It left:", [_wrote(key, count) for key, count in self.wrote.items()])

    def _head(self) -> str:
        place = f" ({self.place})" if self.place else ""
        why = f": {self.why}" if self.why else "."
        return f"Task {self.task!r}{place} {ended(self.status)}{_last(self.tries)}{why}"

    def _on_reuse(self) -> Iterator[str]:
        if self.reused_from is not None:
            yield f"It wasn't run: an attempt of execution {self.reused_from!r} stands for it."
        if self.ran_because is not None:
            yield f"It ran, and wasn't taken over: {self.ran_because}."

    def _on_start(self) -> Iterator[str]:
        if not self.waited_for:
            yield "It depends on no other task."
        else:
            listed = [told(task, status) for task, status in islice(self.waited_for.items(), _LISTED)]
            more = f" and {len(self.waited_for) - _LISTED:,} more" if len(self.waited_for) > _LISTED else ""
            yield f"It waited for its dependencies: {', '.join(listed)}{more}."
            yield f"By {'the default' if self.rule == DEFAULT else 'its'} rule {self.rule}, {RULES[self.rule].demand}."
        if self.condition:
            yield f"Its condition: {self.condition}."


def _last(tries: Sequence[Try]) -> str:
    """How long the last try took, where, and the how manyeth it was."""
    if not tries:
        return ""
    one = tries[-1]
    took = "" if one.duration is None else f" after {duration(one.duration)}"
    return took + (f" on worker {one.worker}" if one.worker else "") + (f", in try {one.nth}" if one.nth > 1 else "")


def _failed(one: Try) -> str:
    where = f" on worker {one.worker}" if one.worker else ""
    waited = "" if one.delay is None else f"; the next one waited {duration(one.delay)}"
    return f"Try {one.nth} failed{where}: {one.error_message}{waited}."


def _listed(head: str, rows: Sequence[str]) -> Iterator[str]:
    if rows:
        yield head
        yield from [f"  {row}" for row in rows[:_LISTED]]
    if len(rows) > _LISTED:
        yield f"  ... and {len(rows) - _LISTED:,} more"


def _read(key: str, writers: Sequence[str]) -> str:
    if not writers:
        return repr(key)
    return f"{key!r}, given by the input" if [*writers] == [INPUT] else f"{key!r}, set by {_named(writers)}"


def _named(writers: Sequence[str]) -> str:
    names = [name if name == INPUT else repr(name) for name in writers[:_LISTED]]
    return ", ".join(names) + (f" and {len(writers) - _LISTED:,} more" if len(writers) > _LISTED else "")


def _wrote(key: str, count: int | None) -> str:
    return f"{key!r}, which it removed" if count is None else f"{key!r}, {size(count)}"


class Inquiry(NamedTuple):
    """What is known of a run that has ended."""

    plan: Plan
    ledger: Ledger
    tasks: Mapping[str, TaskResult]
    starts: Starts
    pedigrees: Pedigrees
    final: Final

    def explained(self, task: TaskResult) -> TaskExplanation:
        """Of one of its tasks, or instances."""
        unit = self.ledger.find(task.id)
        if unit is None:
            raise InternalError(f"Task {task.id!r} has a result and no place")
        rank = self.plan.rank[self.ledger.place(unit)[0]]
        wrote = self.pedigrees.written(rank, self.final) if unit == rank else {}
        return TaskExplanation(
            task.id,
            self.pedigrees.place_of(rank),
            task.status,
            self._waited_for(rank, unit),
            *self.starts.of(rank),
            task.error_message or task.reason or "",
            {key: self.pedigrees.seen(rank, key, self.final) for key in self._read(task, unit)},
            wrote,
            task.tries if unit not in self.ledger.fans else (),
            self._instances(unit),
            task.status == "Failed" and self.ledger.allows_failure(rank),
            task.reused_from,
            task.ran_because,
        )

    def _waited_for(self, rank: int, unit: int) -> dict[str, str]:
        """An instance that goes after one of the same item waits for that alone, not for all of its task."""
        followed = self.ledger.followed(unit)
        names = [self.plan.names[above] for above in self.plan.predecessors[rank]]
        ids = [self.ledger.name(followed[name]) if name in followed else name for name in names]
        return {id: self.tasks[id].status for id in ids}

    def _read(self, task: TaskResult, unit: int) -> Iterable[str]:
        """The keys that it looked at; of a mapped task, all of its instances."""
        fan = self.ledger.fans.get(unit)
        if fan is None:
            return task.keys_read
        costs = (cost_of(self.ledger.ends[one]) for one in range(fan.first, fan.first + fan.size))
        return dict.fromkeys(key for cost in costs if cost is not None for key in cost.read)

    def _instances(self, unit: int) -> dict[str, int]:
        fan = self.ledger.fans.get(unit)
        if fan is None:
            return {}
        counts = {state.name.capitalize(): fan.counted(state) for state in ENDED}
        return {status: count for status, count in counts.items() if count}
