"""Progress: how far an execution is, looked up in its ledger, on whichever thread asks.

The run tells nothing for it, so one that nobody looks at pays nothing. A look costs a few passes over the states of its
tasks, which C makes, and a constant for each mapped task, however many instances that has.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from msgspec import Struct

from cloaca.engine.fan import Fan
from cloaca.engine.ledger import Ledger
from cloaca.engine.sight import Attempt
from cloaca.engine.state import CANCELLED, COMPLETED, EXPANDED, FAILED, RUNNING, SKIPPED, State
from cloaca.progress.left import left_of

_COUNTED = (COMPLETED, FAILED, SKIPPED, CANCELLED)


class Mapped(NamedTuple):
    """How many instances of a mapped task have ended, of how many."""

    task: str
    done: int
    total: int


class Busy(NamedTuple):
    """What runs on a worker (0: in the program itself), and for how many seconds so far."""

    worker: int
    task: str
    seconds: float


class Progress(Struct, frozen=True):
    """How far an execution is: `execution.progress()` gives it.

    Attributes:
        name: the workflow's. status: as the execution's.
        total: how many tasks there are; of a mapped task, its instances count as soon as it is known how many.
        done: how many of these have ended, well or not: `completed`, `failed`, `skipped` and `cancelled` together.
        running: how many run now.
        retried: how many have been tried again.
        seconds: since it began. left: how many more it will take, by what tasks have taken so far, in this execution or
            earlier ones of the runner, and what has to come after what; `None` where nothing tells.
        mapped: the mapped tasks that are under way, the largest first.
        busy: what runs on which worker for how long, the longest first.
    """

    name: str
    status: str
    total: int
    completed: int
    failed: int
    skipped: int
    cancelled: int
    running: int
    retried: int
    seconds: float
    left: float | None
    mapped: tuple[Mapped, ...] = ()
    busy: tuple[Busy, ...] = ()

    @property
    def done(self) -> int:
        """How many have ended."""
        return self.completed + self.failed + self.skipped + self.cancelled

    @property
    def fraction(self) -> float:
        """How much is done, from 0.0 to 1.0: that, at the end."""
        return self.done / self.total if self.total else 1.0

    @property
    def rate(self) -> float:
        """How many have ended in a second, so far."""
        return self.done / self.seconds if self.seconds else 0.0


def progress_of(
    name: str,
    status: str,
    ledger: Ledger,
    attempts: Iterable[Attempt],
    durations: Sequence[float],
    workers: int,
    seconds: float,
    now: float,
) -> Progress:
    """What the ledger of a run says.

    `attempts` are those that are open; `durations` seconds by rank, 0.0 where a task's aren't known; `now` is on the
    clock of the attempts.
    """
    states, fans = ledger.states[: len(ledger.names)], [*ledger.fans.values()]
    counts = {state: states.count(state) + _counted(fans, state) for state in _COUNTED}
    ended_fans = {state: sum(states[fan.rank] is state for fan in fans) for state in _COUNTED}
    total = len(states) + sum([fan.size - 1 for fan in fans])
    completed, failed, skipped, cancelled = (counts[state] - ended_fans[state] for state in _COUNTED)
    running = [*_running(ledger, attempts, now)]
    tries = [*ledger.attempts]
    return Progress(
        name,
        status,
        total,
        completed,
        failed,
        skipped,
        cancelled,
        len(running),
        len(tries) - tries.count(0) - tries.count(1),
        seconds,
        None if status != "Running" else left_of(ledger, states, durations, _so_far(ledger, running), workers),
        _under_way(states, fans),
        _busy(ledger, running),
    )


def _counted(fans: Sequence[Fan], state: State) -> int:
    return sum([fan.counted(state) for fan in fans])


def _ended_of(fan: Fan) -> int:
    return sum([fan.counted(state) for state in _COUNTED])


def _under_way(states: Sequence[State], fans: Sequence[Fan]) -> tuple[Mapped, ...]:
    found = [Mapped(fan.task, _ended_of(fan), fan.size) for fan in fans if states[fan.rank] is EXPANDED]
    return tuple(sorted(found, key=_size, reverse=True))


def _running(ledger: Ledger, attempts: Iterable[Attempt], now: float) -> Iterator[tuple[int, int, float]]:
    """What runs, by unit; on which worker; and for how long."""
    states = ledger.states
    for attempt in attempts:
        unit, began = attempt.rank, attempt.began
        if unit < len(states) and states[unit] is RUNNING:
            yield unit, attempt.worker, 0.0 if began is None else max(0.0, now - began)


def _busy(ledger: Ledger, running: Sequence[tuple[int, int, float]]) -> tuple[Busy, ...]:
    found = [Busy(worker, ledger.name(unit), seconds) for unit, worker, seconds in running]
    return tuple(sorted(found, key=_seconds, reverse=True))


def _so_far(ledger: Ledger, running: Sequence[tuple[int, int, float]]) -> dict[int, list[float]]:
    """For how long what runs of each task has, by rank."""
    found: dict[int, list[float]] = {}
    for unit, _, seconds in running:
        rank = unit if unit < len(ledger.names) else ledger.fan_of(unit).rank
        found.setdefault(rank, []).append(seconds)
    return found


def _size(mapped: Mapped) -> int:
    return mapped.total


def _seconds(busy: Busy) -> float:
    return busy.seconds
