"""Progress: how far an execution is, looked up in its ledger, on whichever thread asks.

The run tells nothing for it, so one that nobody looks at pays nothing. A look costs a few passes over the states of its
tasks, which C makes, and a constant for each mapped task, however many instances that has.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from msgspec import Struct

from cloaca.engine.fan import Fan
from cloaca.engine.ledger import Ledger
from cloaca.engine.sight import Attempt
from cloaca.engine.state import CANCELLED, COMPLETED, EXPANDED, FAILED, RUNNING, SKIPPED, State
from cloaca.progress.left import TimeLeft

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
        seconds: since it began. left: how many more it will take, by what tasks took in earlier executions of the
            runner, or on record, and else in this one, and what has to come after what; `None` where nothing tells.
        mapped: the mapped tasks that are under way, the largest first.
        busy: what runs on which worker for how long, the longest first.
        reused: how many of those that completed were taken over from what is on record.
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
    reused: int = 0

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
        """How many were run to their end in a second, so far."""
        return (self.completed - self.reused + self.failed) / self.seconds if self.seconds else 0.0


def progress_of(
    name: str,
    status: str,
    ledger: Ledger,
    attempts: Iterable[Attempt],
    time_left: TimeLeft,
    seconds: float,
    now: float,
    origins: Collection[tuple[str, int | None]] = (),
) -> Progress:
    """What the ledger of a run says.

    `attempts` are those that are open; `now` is on their clock. `origins` has what was taken over, by id and item.
    """
    reused = _reused(ledger, origins)  # before the rest, as it is told after it is done
    states, fans = bytes(ledger.states[: len(ledger.names)]), [*ledger.fans.values()]
    ended_fans = bytes([states[fan.rank] for fan in fans])
    completed, failed, skipped, cancelled = (
        states.count(state) + _counted(fans, state) - ended_fans.count(state) for state in _COUNTED
    )
    running, tries = [*_running(ledger, attempts, now)], [*ledger.attempts]
    return Progress(
        name,
        status,
        len(states) + sum([fan.size - 1 for fan in fans]),
        completed,
        failed,
        skipped,
        cancelled,
        len(running),
        len(tries) - tries.count(0) - tries.count(1),
        seconds,
        None if status != "Running" else time_left.of(ledger, states, _so_far(ledger, running)),
        _under_way(states, fans),
        _busy(ledger, running),
        reused,
    )


def _reused(ledger: Ledger, origins: Collection[tuple[str, int | None]]) -> int:
    """How many were taken over; of a mapped task its instances count, as in all that is told."""
    mapped = [(fan.task, None) for fan in [*ledger.fans.values()]] if origins else []
    return len(origins) - sum([place in origins for place in mapped])


def _counted(fans: Sequence[Fan], state: State) -> int:
    return sum([fan.counted(state) for fan in fans])


def _under_way(states: bytes, fans: Sequence[Fan]) -> tuple[Mapped, ...]:
    found = [Mapped(fan.task, fan.size - fan.unended, fan.size) for fan in fans if states[fan.rank] == EXPANDED]
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
