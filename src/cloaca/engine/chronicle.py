"""Chronicle: the facts of a run (`engine/facts`), from its ledger as it stands when each of them happens."""

from collections.abc import Mapping

from cloaca.engine.events import AttemptEvent
from cloaca.engine.facts import (
    Fact,
    RunBegan,
    RunFinished,
    TaskExpanded,
    TaskFinished,
    TaskPutBack,
    TaskRetried,
    TaskStarted,
    TaskSubmitted,
)
from cloaca.engine.fan import Fan
from cloaca.engine.ledger import Ledger
from cloaca.engine.state import Stop
from cloaca.engine.tries import Tries
from cloaca.history.telling import Told
from cloaca.wire.messages import FIGURES, Done, Failed, ItemsDone, Lost, Skipped, Started


class Chronicle:
    """Those that nobody has taken yet. `at` and `time` are when they happen, as in `Fact`.

    `reused` is the unit whose end the run takes from what it was given.
    """

    def __init__(self, ledger: Ledger, tries: Tries) -> None:
        self.at = self.time = 0.0
        self.reused: int | None = None
        self._ledger = ledger
        self._tries = tries
        self._facts: list[Fact] = []

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

    def submitted(self, unit: int) -> None:
        """An attempt goes to the executor."""
        self._facts.append(TaskSubmitted(*self._about(unit, 1)))

    def started(self, unit: int, event: AttemptEvent) -> None:
        """It has begun, as is told, or follows from its end."""
        match event:
            case Done(usage=usage) | Failed(usage=usage) | Skipped(usage=usage):
                moment, worker = usage.started, usage.worker
            case ItemsDone():
                moment, *_, worker = FIGURES.unpack_from(event.figures)
            case Started(moment=float(moment), worker=worker):
                pass
            case _:
                moment, worker = self.at, 0
        self._facts.append(TaskStarted(*self._about(unit), moment, worker))

    def put_back(self, unit: int, lacking: int = 0) -> None:
        """It doesn't count."""
        self._facts.append(TaskPutBack(*self._about(unit, 1), lacking))

    def retried(self, unit: int, end: Failed | Lost, delay: float) -> None:
        """It has failed, and there will be another one."""
        error, ended = self._ledger.text_of(unit, end), self._tries.failures[unit]
        self._facts.append(TaskRetried(*self._about(unit), end, error, delay, ended, self._overlay(unit)))

    def expanded(self, fan: Fan, event: Done) -> None:
        """A mapped task has instances."""
        about = self._about(fan.rank)
        self._facts.append(
            TaskExpanded(*about, fan.size, event.diff, event.usage, fan.rank == self.reused)
            if fan.leader is None
            else TaskExpanded(*about, fan.size)
        )

    def ended(self, unit: int, done: Done | None = None) -> None:
        """A task or an instance has ended; `done` is how, if it ended well."""
        ledger, fan = self._ledger, self._ledger.fans.get(unit)
        self._facts.append(
            TaskFinished(
                *self._about(unit),
                ledger.outcome_in_full(unit),
                ledger.ends[unit],
                {} if done is None else done.diff,
                None if done is None else done.settled,
                self._tries.failures[unit],
                self._overlay(unit),
                None if fan is None else fan.size,
                unit == self.reused,
            )
        )

    def _about(self, unit: int, more: int = 0) -> tuple[float, float, str, int | None, int]:
        task, item = self._ledger.place(unit)
        return self.at, self.time, task, item, self._ledger.attempts[unit] + more

    def _overlay(self, unit: int) -> Mapping[str, Told]:
        fan = None if unit < len(self._ledger.names) else self._ledger.fan_of(unit)
        return {} if fan is None or fan.leader is None else fan.overlay(unit - fan.first)
