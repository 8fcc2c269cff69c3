"""Sight: what a task or an instance is answered that asks for more of the context than its slice has."""

from collections.abc import Iterator
from itertools import islice

from msgspec import Struct

from cloaca.engine.history import History
from cloaca.engine.ledger import Ledger
from cloaca.engine.plan import Plan
from cloaca.engine.telling import Told
from cloaca.engine.view import Overlaid
from cloaca.wire.messages import Outcome

FIRST_PREFETCH = 16
"""How many keys (or tasks without one) nearby come along with the first key that a slice lacked; doubled each time."""

MOST_PREFETCH = 1 << 20


class Attempt(Struct, gc=False):
    """An open attempt of a task, by rank, or of an instance, by unit. `is_expired`: its time was up.

    `nearby` and `prefetch` serve its on-demand reads.
    """

    number: int
    rank: int
    is_expired: bool = False
    nearby: Iterator[tuple[str, Told] | None] | None = None
    prefetch: int = FIRST_PREFETCH


class Sight:
    """Answers from the history of a run, and from what instances wrote for those that follow them."""

    def __init__(self, plan: Plan, history: History, ledger: Ledger) -> None:
        self._plan = plan
        self._history = history
        self._ledger = ledger

    def whole(self, unit: int) -> dict[str, Told]:
        """Every key that it sees."""
        whole = self._history.whole(self._ledger.seen_from(unit))
        overlay = self._overlay(unit)
        return dict(Overlaid(whole, overlay)) if overlay else whole

    def nearby(self, attempt: Attempt, keys: tuple[str, ...]) -> dict[str, Told]:
        """The keys asked for, and more of what the attempt may ask for next: twice as many each time."""
        rank = self._ledger.seen_from(attempt.rank)
        if attempt.nearby is None:
            attempt.nearby = self._history.near(rank)
        found = dict(filter(None, islice(attempt.nearby, attempt.prefetch)))
        attempt.prefetch = min(2 * attempt.prefetch, MOST_PREFETCH)
        for key in keys:
            found[key] = self._history.versions(rank, key)
        overlay = self._overlay(attempt.rank)
        return {key: overlay.get(key, told) for key, told in found.items()} if overlay else found

    def outcomes(self, unit: int) -> dict[str, Outcome]:
        """How all ended that came before it. Of a task that it follows item by item, its own instance counts."""
        ledger, seen_from = self._ledger, self._ledger.seen_from(unit)
        outcomes = {self._plan.names[task]: ledger.outcome(task) for task in self._history.ancestors(seen_from)}
        if unit < len(self._plan.names):
            return outcomes
        fan = ledger.fan_of(unit)
        return outcomes | {above.task: ledger.outcome(above.first + unit - fan.first) for above in fan.above()}

    def _overlay(self, unit: int) -> dict[str, Told]:
        if unit < len(self._plan.names):
            return {}
        fan = self._ledger.fan_of(unit)
        return fan.overlay(unit - fan.first)
