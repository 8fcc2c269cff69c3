"""Left: how many seconds more an execution will take, by what its tasks took before.

The work that is left is shared by all workers. But it takes no less than the longest way through it: what has to come
after something else can't be done beside it.
"""

from collections.abc import Mapping, Sequence

from cloaca.engine.fan import Fan
from cloaca.engine.ledger import Ledger
from cloaca.engine.state import ENDED, State


def left_of(
    ledger: Ledger,
    states: Sequence[State],
    durations: Sequence[float],
    so_far: Mapping[int, Sequence[float]],
    workers: int,
) -> float | None:
    """How many seconds are left; `None` where nothing tells.

    `states` and `durations` (0.0: not known) are by rank, and so is for how long what runs has: `so_far`. A task whose
    time isn't known counts as the mean of the others.
    """
    known = [seconds for seconds in durations if seconds > 0]
    usual = sum(known) / len(known) if known else 0.0
    fans, work, after = {**ledger.fans}, 0.0, [0.0] * len(states)
    for rank in range(len(states) - 1, -1, -1):
        way = after[rank]
        if states[rank] not in ENDED:
            each, count = (durations[rank], 1) if rank not in fans else _instances(fans[rank], durations[rank])
            each = each or usual
            if count and not each:
                return None
            own = each * count
            if rank in so_far:
                own = max(0.0, own - sum([min(each, seconds) for seconds in so_far[rank]]))
            work += own
            after[rank] = way = way + (own if count == 1 else own / max(1, min(count, workers)))
        for above in ledger.predecessors[rank]:
            after[above] = max(after[above], way)
    return max([work / workers, *after])


def _instances(fan: Fan, before: float) -> tuple[float, int]:
    """How long an instance of a mapped task takes, and how many are left."""
    ended = sum([fan.counted(state) for state in ENDED])
    return (fan.seconds * fan.size / ended if ended else before), fan.size - ended
