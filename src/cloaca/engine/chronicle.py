"""Chronicle: the facts of a run (`engine/facts`), from its ledger as it stands when each of them happens."""

from collections.abc import Mapping
from typing import Any

from cloaca.engine.facts import (
    Fact,
    RunBegan,
    RunFinished,
    TaskExpanded,
    TaskFinished,
    TaskPutBack,
    TaskRetried,
    TaskStarted,
)
from cloaca.engine.fan import Fan
from cloaca.engine.ledger import Ledger
from cloaca.engine.looking import Looking
from cloaca.engine.looks import Looks
from cloaca.engine.reuse import Candidate
from cloaca.engine.state import Stop
from cloaca.engine.tries import Tries
from cloaca.history.telling import Told
from cloaca.wire.messages import Done, Failed, Lost, Outcome, Started

_COMPLETED = Outcome("Completed")
_NOTHING: Mapping[str, Any] = {}

NO_CANDIDATES: Mapping[int, Candidate] = {}


class Chronicle:
    """Those that nobody has taken yet. `at` and `time` are when they happen, as in `Fact`.

    `looking`, where the run is recorded, tells what attempts have found. `given` is the unit whose end the run takes
    from what it was given, and `candidates` are the attempts that stand for those of units, at that moment.
    """

    def __init__(self, ledger: Ledger, tries: Tries, looking: Looking | None = None) -> None:
        self.at = self.time = 0.0
        self.given: int | None = None
        self.candidates = NO_CANDIDATES
        self._looking = looking
        self._ledger = ledger
        self._names, self._fans, self._attempts = ledger.names, ledger.fans, ledger.attempts
        self._tries = tries
        self._facts: list[Fact] = []
        self._seen: tuple[int, Looks | None] = -1, None

    def take(self) -> list[Fact]:
        """Take out all there are, in order."""
        facts, self._facts = self._facts, []
        return facts

    def begun(self) -> None:
        """The run has begun."""
        self._facts.append(RunBegan(self.at, self.time))

    def over(self, stopped: Stop | None) -> None:
        """The run has ended."""
        self._facts.append(RunFinished(self.at, self.time, None if stopped is None else stopped.value))

    def started(self, unit: int, event: Started) -> None:
        """It runs."""
        task, item = self._ledger.place(unit)
        moment = self.at if event.moment is None else event.moment
        self._facts.append(TaskStarted(self.at, self.time, task, item, self._attempts[unit], moment, event.worker))

    def put_back(self, unit: int, lacking: int) -> None:
        """It doesn't count."""
        task, item = self._ledger.place(unit)
        self._facts.append(TaskPutBack(self.at, self.time, task, item, self._attempts[unit] + 1, lacking))

    def retried(self, unit: int, end: Failed | Lost, delay: float) -> None:
        """It has failed, and there will be another one."""
        task, item = self._ledger.place(unit)
        nth, error, ended = self._attempts[unit], self._ledger.text_of(unit, end), self._tries.failures[unit]
        overlay = self._overlay(unit)
        self._facts.append(TaskRetried(self.at, self.time, task, item, nth, end, error, delay, ended, overlay))

    def expanded(self, fan: Fan, event: Done) -> None:
        """A mapped task has instances."""
        nth = self._attempts[fan.rank]
        if not fan.is_head:
            self._facts.append(TaskExpanded(self.at, self.time, fan.task, None, nth, fan.size))
            return
        candidate = self.candidates.get(fan.rank)
        self._facts.append(
            TaskExpanded(
                self.at,
                self.time,
                fan.task,
                None,
                nth,
                fan.size,
                event.items,
                event.usage,
                candidate is not None or fan.rank == self.given,
                "" if candidate is None else candidate.origin,
                None if self._looking is None else self._looks(fan.rank, event, candidate, self._looking),
            )
        )

    def ended(self, unit: int, done: Done | None = None) -> None:
        """A task or an instance has ended; `done` is how, if it ended well."""
        if unit < len(self._names):
            task, item, overlay = self._names[unit], None, _NOTHING
            size = self._fans[unit].size if unit in self._fans else None
        else:
            (task, item), overlay, size = self._ledger.place(unit), self._overlay(unit), None
        candidate = self.candidates.get(unit)
        self._facts.append(
            TaskFinished(
                self.at,
                self.time,
                task,
                item,
                self._attempts[unit],
                self._ledger.outcome_in_full(unit) if done is None else _COMPLETED,
                self._ledger.ends[unit] if done is None else done.usage,
                _NOTHING if done is None else done.diff,
                None if done is None else done.settled,
                self._tries.failures[unit],
                overlay,
                size,
                candidate is not None or unit == self.given,
                "" if candidate is None else candidate.origin,
                None if done is None or self._looking is None else self._looks(unit, done, candidate, self._looking),
            )
        )

    def look(self, unit: int, done: Done) -> None:
        """See what a task has looked at before what it has left stands there, which is quicker than after."""
        if self._looking is not None and done.looked is not None and unit not in self.candidates:
            self._seen = unit, self._looking.of(unit, done.looked)

    def _looks(self, unit: int, done: Done, candidate: Candidate | None, looking: Looking) -> Looks | None:
        if candidate is not None:
            return candidate.looks
        if self._seen[0] == unit:
            return self._seen[1]
        return None if done.looked is None else looking.of(unit, done.looked)

    def _overlay(self, unit: int) -> Mapping[str, Told]:
        fan = None if unit < len(self._ledger.names) else self._ledger.fan_of(unit)
        return fan.overlay(unit - fan.first) if fan is not None and fan.has_overlay else _NOTHING
