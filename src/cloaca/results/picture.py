"""What the picture of a result tells of its tasks: how they ended, and how long they took."""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice

from cloaca.account.told import duration
from cloaca.engine.ends import cost_of
from cloaca.engine.fan import Fan
from cloaca.engine.ledger import Ledger
from cloaca.engine.state import State
from cloaca.workflows.diagram import Note, NoteOf
from cloaca.workflows.outline import Node

_NAMED = 3
_WORST_FIRST = (State.FAILED, State.CANCELLED, State.COMPLETED, State.SKIPPED)


def noting(ledger: Ledger, mapped: frozenset[int], is_reused: Callable[[str], bool]) -> NoteOf:
    """Note of each node how its tasks ended; of several, how many ended how, and which ones failed."""

    def note_of(node: Node) -> Note:
        ranks = node.ranks
        lines = (_one(ledger, ranks[0], is_reused),) if len(ranks) == 1 else tuple(_several(ledger, ranks, is_reused))
        states = {ledger.states[rank] for rank in ranks}
        worst = next((state for state in _WORST_FIRST if state in states), None)
        return Note(lines, "" if worst is None else _told(worst), mapped.issuperset(ranks))

    return note_of


def _one(ledger: Ledger, rank: int, is_reused: Callable[[str], bool]) -> str:
    fan, cost = ledger.fans.get(rank), cost_of(ledger.ends[rank])
    parts = [_told(ledger.states[rank])]
    if is_reused(ledger.names[rank]):
        parts.append("reused")
    if fan is not None:
        parts.append(_instances(fan))
    if cost is not None:
        parts.append(duration(cost.ended - cost.started))
    return ", ".join(parts)


def _instances(fan: Fan) -> str:
    failed = fan.counted(State.FAILED)
    size = "1 instance" if fan.size == 1 else f"{fan.size:,} instances"
    return size + (f" ({failed:,} failed)" if failed else "")


def _several(ledger: Ledger, ranks: Sequence[int], is_reused: Callable[[str], bool]) -> list[str]:
    counts = Counter(ledger.states[rank] for rank in ranks)
    parts = [f"{counts[state]:,} {_told(state)}" for state in _WORST_FIRST if counts[state]]
    reused = sum(is_reused(ledger.names[rank]) for rank in ranks)
    if reused:
        parts.append(f"{reused:,} reused")
    costs = [cost for rank in ranks if (cost := cost_of(ledger.ends[rank])) is not None]
    if costs:
        parts.append(f"{duration(sum([cost.ended - cost.started for cost in costs]))} together")
    return [", ".join(parts), *_failed(ledger, ranks, counts[State.FAILED])]


def _failed(ledger: Ledger, ranks: Sequence[int], count: int) -> list[str]:
    if not count:
        return []
    names = islice((ledger.names[rank] for rank in ranks if ledger.states[rank] is State.FAILED), _NAMED)
    return [f"Failed: {', '.join(names)}{', ...' if count > _NAMED else ''}"]


def _told(state: State) -> str:
    return state.name.capitalize()
