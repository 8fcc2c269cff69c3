"""Facts of runs as records of a store, and the other way round."""

from collections.abc import Iterable, Iterator, Mapping
from time import monotonic, time

from msgspec import msgpack
from msgspec.structs import replace

from cloaca.engine.ends import End
from cloaca.engine.facts import Fact, TaskExpanded, TaskFinished, TaskRetried
from cloaca.recording.payloads import Shelving, restored, restored_version, stored_version
from cloaca.store.records import Header, Problem, Record
from cloaca.store.store import Store
from cloaca.wire.messages import (
    Failed,
    Figures,
    ItemsFound,
    Lost,
    Outcome,
    Skipped,
    Usage,
    Version,
    figures_of,
    usage_of,
)

_REPORTS: Mapping[str, type[Failed | Lost | Skipped]] = {"Failed": Failed, "Lost": Lost, "Skipped": Skipped}


def clock() -> float:
    """What the monotonic clock lacks to seconds since 1970: its times mean nothing on another day."""
    return time() - monotonic()


class Writing:
    """Makes the records of one execution. `places`: of the tasks in its plan; `codes`: the digests of their code."""

    def __init__(self, shelving: Shelving, places: Mapping[str, int], codes: Mapping[str, bytes]) -> None:
        self.shelving = shelving
        self._places = places
        self._codes = codes
        self._clock = clock()

    def record(self, fact: TaskFinished | TaskExpanded | TaskRetried) -> Record:
        """What is recorded of a fact."""
        match fact:
            case TaskFinished():
                return self._finished(fact)
            case TaskExpanded():
                return self._expanded(fact)
            case TaskRetried():
                place = self._places[fact.task]
                problem = self._problem(fact.end, fact.error)
                return Record(place, fact.item, "Retried", fact.nth, fact.time, fact.ended, problem=problem)

    def _finished(self, fact: TaskFinished) -> Record:
        shelving, outcome, usage = self.shelving, fact.outcome, fact.usage
        settled = None
        if fact.settled is not None:
            settled = {key: stored_version(version, shelving.stored) for key, version in fact.settled.items()}
        problem = None
        if outcome.status != "Completed":
            problem = self._problem(fact.end, outcome.error or outcome.reason or "")
        return Record(
            self._places[fact.task],
            fact.item,
            outcome.status,
            fact.nth,
            fact.time,
            fact.ended,
            None if usage is None else self._figures(usage),
            () if usage is None else usage.read,
            shelving.diff(fact.diff),
            self._codes.get(fact.task, b""),
            fact.looks,
            settled,
            problem,
            size=fact.size,
            reused=fact.origin,
        )

    def _expanded(self, fact: TaskExpanded) -> Record:
        usage, found = fact.usage, fact.items
        return Record(
            self._places[fact.task],
            fact.item,
            "Expanded",
            fact.nth,
            fact.time,
            figures=None if usage is None else self._figures(usage),
            read=() if usage is None else usage.read,
            code=self._codes.get(fact.task, b""),
            looks=fact.looks,
            items=None if found is None else tuple(map(self.shelving.stored, found.payloads)),
            labels=None if found is None or found.labels is None else tuple(found.labels),
            item_keys=None if found is None or found.keys is None else tuple(found.keys),
            size=fact.size,
            reused=fact.origin,
        )

    def _figures(self, usage: Usage) -> Figures:
        """What an attempt cost, with times since 1970."""
        started, ended, cpu, peak, bytes_read, mapped, written, worker = figures_of(usage)
        return started + self._clock, ended + self._clock, cpu, peak, bytes_read, mapped, written, worker

    def _problem(self, end: End, text: str) -> Problem:
        if not isinstance(end, Failed | Lost | Skipped):
            return Problem("", text)
        if isinstance(end, Failed) and not self.shelving.allows_pickles:
            end = replace(end, error=None)
        if not isinstance(end, Lost):
            end = replace(end, usage=_later(end.usage, self._clock))
        return Problem(type(end).__name__, text, msgpack.encode(end))


# ---- back to facts -------------------------------------------------------------------------------------------------


def facts_of(header: Header, records: Iterable[Record], store: Store) -> Iterator[Fact]:
    """The facts of which those records were made, as far as they tell what an attempt came to."""
    for record in records:
        task = header.tasks[record.task].id
        match record.state:
            case "Expanded":
                yield _expansion(task, record, store)
            case "Retried":
                yield _retry(task, record, store)
            case _:
                yield _finish(task, record, store)


def usage_in(record: Record) -> Usage | None:
    """What the attempt cost."""
    if record.figures is None:
        return None
    return _later(usage_of(record.figures, record.read), -clock())


def items_in(record: Record, store: Store) -> ItemsFound | None:
    """The items that a mapped task has found."""
    if record.items is None:
        return None
    payloads = [restored(payload, store, "an item") for payload in record.items]
    labels, keys = record.labels, record.item_keys
    return ItemsFound(payloads, None if labels is None else [*labels], None if keys is None else [*keys])


def diff_in(record: Record, store: Store) -> dict[str, bytes | None]:
    """What the attempt left."""
    return {
        key: None if payload is None else restored(payload, store, f"the value of key {key!r}")
        for key, payload in record.diff.items()
    }


def settled_in(record: Record, store: Store) -> dict[str, Version] | None:
    """What keys came to of which the attempt was told several versions."""
    if record.settled is None:
        return None
    return {key: restored_version(version, store) for key, version in record.settled.items()}


def _expansion(task: str, record: Record, store: Store) -> TaskExpanded:
    size = record.size or 0
    return TaskExpanded(
        0.0, record.time, task, record.item, record.nth, size, items_in(record, store), usage_in(record)
    )


def _retry(task: str, record: Record, store: Store) -> TaskRetried:
    end, text = _end_in(record, store), "" if record.problem is None else record.problem.text
    if not isinstance(end, Failed | Lost):
        end = Lost(0, None, None, text)
    at = record.time - clock()
    return TaskRetried(at, record.time, task, record.item, record.nth, end, text, None, record.ended)


def _finish(task: str, record: Record, store: Store) -> TaskFinished:
    text = None if record.problem is None else record.problem.text
    is_failed = record.state == "Failed"
    outcome = Outcome(record.state, text if is_failed else None, None if is_failed else text)
    end, diff, settled = _end_in(record, store), diff_in(record, store), settled_in(record, store)
    return TaskFinished(
        0.0,
        record.time,
        task,
        record.item,
        record.nth,
        outcome,
        end,
        diff,
        settled,
        record.ended,
        size=record.size,
        looks=record.looks,
    )


def _end_in(record: Record, store: Store) -> End:
    problem = record.problem
    if problem is None or not problem.report:
        return usage_in(record)
    end: Failed | Lost | Skipped = msgpack.decode(problem.report, type=_REPORTS[problem.kind])
    if isinstance(end, Lost):
        return end
    end = replace(end, usage=_later(end.usage, -clock()))
    return replace(end, error=None) if isinstance(end, Failed) and not store.allows_pickles else end


def _later(usage: Usage, seconds: float) -> Usage:
    """The same with times on a clock that is so many seconds ahead."""
    return replace(usage, started=usage.started + seconds, ended=usage.ended + seconds)
