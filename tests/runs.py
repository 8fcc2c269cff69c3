"""What the tests of runs share: making one, telling it events, reading what it says."""

from collections.abc import Mapping, Sequence
from itertools import count

from tests import invariants
from tests.reference import Graph

from cloaca.engine.events import AttemptEvent, Command, RunEvent
from cloaca.engine.run import Run
from cloaca.engine.work import Merging, Work
from cloaca.errors import INPUT
from cloaca.history.plan import plan
from cloaca.testing import NO_USAGE
from cloaca.wire.messages import (
    Answer,
    Assignment,
    Done,
    Failed,
    ItemsFound,
    Lost,
    Slice,
    Version,
)

DIAMOND: Graph = [("root", []), ("left", ["root"]), ("right", ["root"]), ("join", ["left", "right"])]
CHAIN: Graph = [("a", []), ("b", ["a"]), ("c", ["b"])]


def places_seen(version: Version) -> Sequence[int]:
    """The places of what a version's writer saw."""
    return range(-version.saw[0]) if version.saw and version.saw[0] < 0 else version.saw


def candidates_of(told: tuple[Version, ...]) -> tuple[Version, ...]:
    """Of all versions that a reader is told, those that no other one's writer saw, as they were written."""
    superseded = {place for version in told for place in places_seen(version)}
    return tuple(
        Version(version.writer, version.payload, rivals=version.rivals)
        for place, version in enumerate(told)
        if place not in superseded
    )


def a_run(
    graph: Graph,
    given: Mapping[str, bytes] | None = None,
    *,
    answers: bool = True,
    reads: str = "",
    habits: dict[int, tuple[str, ...]] | None = None,
    merging: Merging | None = None,
) -> Run:
    """`given` is the input; `reads` are the keys that every task reads, a letter each."""
    known = {key: Version(INPUT, payload) for key, payload in (given or {}).items()}
    compiled = plan("w", graph)
    work = [Work(rank, tuple(reads)) for rank in range(len(compiled.names))]
    return Run(compiled, work, known, numbers=count(), answers=answers, habits=habits, merging=merging)


def tell(run: Run, *events: RunEvent | AttemptEvent) -> list[Command]:
    """Feed events, audit the run after each, and return all commands."""
    commands: list[Command] = []
    for event in events:
        commands += run.handle(event, 0.0)
        invariants.check(run)
    return commands


def done(attempt: int, **diff: bytes | None) -> Done:
    return Done(attempt, diff, NO_USAGE)


def found(attempt: int, items: Sequence[bytes], labels: Sequence[str] = (), keys: list[bytes] | None = None) -> Done:
    """These are the items of a mapped task."""
    return Done(attempt, {}, NO_USAGE, items=ItemsFound([*items], [*labels] or None, keys))


def failed(attempt: int) -> Failed:
    return Failed(attempt, "ValueError", "no", "", None, NO_USAGE)


def lost(attempt: int) -> Lost:
    return Lost(attempt, None, "SIGKILL")


def states(run: Run) -> dict[str, str]:
    return {run.ledger.name(unit): state.name for unit, state in enumerate(run.states)}


def assigned(commands: Sequence[Command]) -> list[tuple[int, str]]:
    return [(command.attempt, command.task) for command in commands if isinstance(command, Assignment)]


def answered(commands: Sequence[Command]) -> Slice:
    (answer,) = commands
    assert isinstance(answer, Answer)
    return answer.slice
