"""How all tasks and instances of a run ended, by name, and what of that was taken over."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from cloaca.dataflow.finding import Finding
from cloaca.engine.ledger import Ledger
from cloaca.nearest import nearest
from cloaca.results.task import TaskResult
from cloaca.wire.messages import Outcome
from cloaca.wording import counted

_COMPARED = 10_000  # names that an unknown one is compared with


class Reused(NamedTuple):
    """What was taken over in a run, and why the rest ran: by id of the task and number of the item.

    `origins` are the executions from which it was, and `reasons` why all else ran, where that was asked.
    """

    origins: Mapping[tuple[str, int | None], str] = {}
    reasons: Mapping[tuple[str, int | None], str] = {}


NOTHING_REUSED = Reused()


class TaskResults(Mapping[str, TaskResult]):
    """The results by name: tasks in the order of the workflow, each followed by its instances.

    Each is made when it is first asked for, and kept.
    """

    def __init__(
        self, ledger: Ledger, outcomes: Sequence[Outcome], clock: float, findings: tuple[Finding, ...], reuse: Reused
    ) -> None:
        self._ledger = ledger
        self._reuse = reuse
        self._findings = findings
        self._outcomes = outcomes
        self._clock = clock
        self._made: dict[str, TaskResult] = {}

    def __getitem__(self, id: str) -> TaskResult:
        try:
            return self._made[id]
        except KeyError:
            return self._made.setdefault(id, self._make(id))  # one for all threads

    def __contains__(self, id: object) -> bool:
        return self._ledger.find(id) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._ledger)

    def __len__(self) -> int:
        return len(self._ledger)

    def is_reused(self, id: str) -> bool:
        """Whether a task wasn't run, as an attempt of an earlier execution stands for it."""
        return (id, None) in self._reuse.origins

    def __repr__(self) -> str:
        counts = Counter(outcome.status for outcome in self._outcomes)
        others = [f"{count} {status.lower()}" for status, count in counts.items() if status != "Completed"]
        return f"<results of {counted(len(self), 'task')}{': ' if others else ''}{', '.join(others)}>"

    def _make(self, id: str) -> TaskResult:
        ledger, unit = self._ledger, self._ledger.find(id)
        if unit is None:
            raise KeyError(_unknown(id, list(islice(ledger, _COMPARED)))) from None
        outcome = self._outcomes[unit] if unit < len(self._outcomes) else ledger.outcome_in_full(unit)
        failed = ledger.error_name(unit)
        explained = tuple([found for found in self._findings if found.explains(id, outcome.error or "")])
        place = ledger.place(unit)
        reused_from, because = self._reuse.origins.get(place), self._reuse.reasons.get(place)
        attempts, end = ledger.attempts[unit], ledger.ends[unit]
        tries, cut_off = ledger.failed_tries.get(unit, ()), ledger.cut_off.get(unit, (None, None))
        return TaskResult(
            id, outcome, attempts, end, self._clock, failed, explained, reused_from, because, tries, cut_off
        )


def _unknown(id: object, names: Sequence[str]) -> str:
    close = nearest(id, names) if isinstance(id, str) else ()
    advice = f" The nearest ids are {', '.join(map(repr, close))}." if close else ""
    return f"No task of this workflow has the id {id!r}.{advice}"
