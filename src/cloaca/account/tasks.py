"""Tasks: how each ended, which come right before it, and what it took; of a mapped one all instances together."""

from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from cloaca.account.spans import Span
from cloaca.engine.ledger import Ledger
from cloaca.engine.state import ENDED, State
from cloaca.history.plan import Plan


class TaskFigures(Struct, frozen=True):
    """A task. `seconds`: what it, or all of its instances, took in all tries; `instances` counts these by status."""

    name: str
    status: str
    before: tuple[int, ...]
    seconds: float
    instances: Mapping[str, int] | None


def figures_of(ledger: Ledger, plan: Plan, spans: Sequence[Span]) -> Iterator[TaskFigures]:
    """Those of all tasks, by rank."""
    seconds = [0.0] * len(plan.names)
    for span in spans:
        seconds[plan.rank[span.task]] += span.seconds
    for rank, name in enumerate(plan.names):
        fan = ledger.fans.get(rank)
        counts = (
            None if fan is None else {_told(state): count for state in sorted(ENDED) if (count := fan.counted(state))}
        )
        yield TaskFigures(name, _told(ledger.states[rank]), plan.predecessors[rank], seconds[rank], counts)


def _told(state: State) -> str:
    return state.name.capitalize()
