"""Sight: what a task or an instance is sent of the context, and what it is answered that asks for more.

A slice is a guess at what will be read: the keys that the code names, those that it had to ask for in earlier runs, and
where it names none, the little that its dependencies left. An executor that never asks is given all that the task may
look at; where that isn't known, all there is, as a mapping that looks keys up when they are read.
"""

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice

from msgspec import Struct
from msgspec.structs import replace

from cloaca.engine.fan import Fan
from cloaca.engine.ledger import Ledger
from cloaca.engine.outcomes import Outcomes
from cloaca.engine.view import ContextView, Overlaid
from cloaca.history.history import History
from cloaca.history.plan import Plan
from cloaca.history.telling import Told
from cloaca.wire.messages import Outcome, Overlay, Slice, Wants

FIRST_PREFETCH = 16
"""How many keys (or tasks without one) nearby come along with the first key that a slice lacked; doubled each time."""

MOST_PREFETCH = 1 << 20


class Attempt(Struct, gc=False):
    """An open attempt of a task, by rank, or of an instance, by unit; or of so many, one after the other.

    `rank` is that of the first one that hasn't ended, `count` how many haven't, and `place` how many have.
    `is_expired`: its time was up. It runs on that `worker`, and `began` then, as far as the run was told.

    `nearby` and `prefetch` serve what it asks for: the keys in `asked`; `ancestors` and `prefetch_ancestors` how others
    ended.
    """

    number: int
    rank: int
    count: int = 1
    place: int = 0
    is_expired: bool = False
    nearby: Iterator[tuple[str, Told] | None] | None = None
    prefetch: int = FIRST_PREFETCH
    asked: list[str] | None = None
    ancestors: Iterator[str] | None = None
    prefetch_ancestors: int = FIRST_PREFETCH
    worker: int = 0
    began: float | None = None

    @property
    def item(self) -> int | None:
        """The place of the one that it is at, if it is at several."""
        return self.place if self.place or self.count > 1 else None

    def get_on(self, count: int) -> None:
        """So many have ended. The next one has asked for nothing so far."""
        self.rank += count
        self.place += count
        self.count -= count
        self.is_expired = False
        self.nearby = self.asked = self.ancestors = None
        self.prefetch = self.prefetch_ancestors = FIRST_PREFETCH


class Sight:
    """Answers from the history of a run, and from what instances wrote for those that follow them.

    `habits`: the keys that tasks had to ask for, by rank; `collected`: those that are kept by task; `is_asked`: whether
    the executor asks for what a slice lacks; `looks`: all keys that a task may look at, by rank, where that is known.
    """

    def __init__(
        self,
        plan: Plan,
        history: History,
        ledger: Ledger,
        *,
        habits: MutableMapping[int, tuple[str, ...]],
        collected: AbstractSet[str],
        is_asked: bool,
        looks: Sequence[AbstractSet[str] | None] = (),
    ) -> None:
        self._plan = plan
        self._history = history
        self._ledger = ledger
        self._habits = habits
        self._collected = collected
        self._is_asked = is_asked
        self._looks = looks
        self._of_input: tuple[tuple[str, ...], Slice | None] = (), None

    # ---- slices ----------------------------------------------------------------------------------------------------

    def slice(self, rank: int, reads: tuple[str, ...]) -> Slice:
        """What a task is sent. `reads` are the keys that its code names."""
        if not self._is_asked:
            return self._whole_slice(rank, rank, reads)
        if not self._plan.predecessors[rank] and rank not in self._habits:
            return self._slice_of_input(rank, reads)
        found = self._history.told(rank, reads) if reads else {}
        if rank in self._habits:
            found |= self._by_habit(rank, rank)
        elif self._plan.predecessors[rank] and not found:
            found = self._history.left_by_dependencies(rank)
        return Slice(found, met=self._history.met(rank), names=self._history.names(rank))

    def _slice_of_input(self, rank: int, reads: tuple[str, ...]) -> Slice:
        """What a task is sent that depends on none: the same, mostly, as the one before that reads the same keys."""
        known, slice_ = self._of_input
        if reads != known or slice_ is None:
            found = self._history.told(rank, reads) if reads else {}
            slice_ = Slice(found, met=self._history.met(rank), names=self._history.names(rank))
            if self._history.is_input_alike:
                self._of_input = reads, slice_
        return slice_

    def slice_in_chain(self, rank: int, reads: tuple[str, ...], head: int) -> Slice:
        """What a task is sent that comes in a chain: what its `head` sees. The worker has what others leave."""
        found = self._history.told(head, reads) | self._by_habit(rank, head)
        return Slice(found, met=self._history.met(head), names=self._history.names(head))

    def slice_for_item(self, fan: Fan, unit: int, reads: tuple[str, ...]) -> Slice:
        """What an instance sees: what all of its task see alike, and what those before it wrote for the same item."""
        if fan.slice is None:
            fan.slice = self._common_slice(fan, reads)
        if not fan.has_overlay:
            return fan.slice
        overlay = fan.overlay(unit - fan.first)
        if not self._is_asked:
            return Slice(Overlaid(fan.slice.versions, overlay), complete=True, outcomes=self._outcomes(unit))
        names = None if fan.slice.names is None else (*fan.slice.names, *overlay)
        laid_over = _laid_over(fan, overlay, reads)
        return replace(fan.slice, versions={**fan.slice.versions, **laid_over}, names=names)

    def slice_for_items(self, fan: Fan, units: range, reads: tuple[str, ...]) -> tuple[Slice, list[Overlay] | None]:
        """What several instances see alike, and what each sees beside that."""
        if fan.slice is None:
            fan.slice = self._common_slice(fan, reads)
        if not fan.has_overlay:
            return fan.slice, None
        overlays = []
        for unit in units:
            overlay = fan.overlay(unit - fan.first)
            overlays.append(Overlay(_laid_over(fan, overlay, reads), tuple(overlay)))
        return fan.slice, overlays

    def learn(self, task: int, attempt: Attempt, read: tuple[str, ...]) -> None:
        """A task had to ask, to read keys or to compare them with what it set: next time it is sent all these along.

        What is kept by task grows with every task: that it asks for again.
        """
        keys = dict.fromkeys([*read, *(attempt.asked or ())])
        self._habits[task] = tuple([key for key in keys if key not in self._collected])

    def learn_of_item(self, fan: Fan, attempt: Attempt, read: tuple[str, ...]) -> None:
        """An instance had to ask. The first one to do so teaches: the others are sent that along."""
        if fan.rank not in self._habits:
            self.learn(fan.rank, attempt, read)
            fan.slice = None

    def _common_slice(self, fan: Fan, reads: tuple[str, ...]) -> Slice:
        rank = fan.head.rank
        if not self._is_asked:
            return self._whole_slice(fan.rank, rank, reads)
        found = self._history.told(rank, reads) | self._by_habit(fan.rank, rank)
        return Slice(found, met=self._history.met(rank), names=self._history.names(rank))

    def _by_habit(self, task: int, rank: int) -> dict[str, Told]:
        """What the task had to ask for in earlier runs, as it stands at `rank`. What is absent is known to be so."""
        keys = self._habits.get(task, ())
        found = self._history.told(rank, keys)
        if len(found) < len(keys):
            found |= {key: () for key in keys if key not in found}
        return found

    def _whole_slice(self, task: int, rank: int, reads: tuple[str, ...]) -> Slice:
        """All that a task may look at, as it stands at `rank`."""
        looks = self._looks[task] if self._looks else None
        if looks is None:
            versions: Mapping[str, Told] = ContextView(self._history, rank)
        else:
            versions = self._history.told(rank, dict.fromkeys((*sorted(looks), *reads)))
        return Slice(versions, complete=True, outcomes=self._outcomes(rank))

    # ---- answers ---------------------------------------------------------------------------------------------------

    def answer(self, attempt: Attempt, asked: Wants) -> Slice:
        """What an attempt is answered that has asked: for keys, for how others ended, or for all there is."""
        if not asked.outcomes:
            found = self._whole(attempt.rank) if asked.rest else self._nearby(attempt, asked.keys)
            return Slice(found, asked.rest)
        if asked.keys:
            return Slice({}, outcomes=self._outcomes_nearby(attempt, asked.keys))
        outcomes = self._outcomes(attempt.rank)
        if not asked.rest:
            return Slice({}, outcomes=dict(outcomes))
        whole = self._whole(attempt.rank)
        return Slice(whole, complete=True, outcomes={**outcomes, **outcomes.of_instances(self._ledger)})

    def _whole(self, unit: int) -> dict[str, Told]:
        """Every key that it sees."""
        whole = self._history.whole(self._ledger.seen_from(unit))
        overlay = self._overlay(unit)
        return dict(Overlaid(whole, overlay)) if overlay else whole

    def _nearby(self, attempt: Attempt, keys: tuple[str, ...]) -> dict[str, Told]:
        """The keys asked for, and more of what the attempt may ask for next: twice as many each time."""
        if not keys:
            return {}
        rank = self._ledger.seen_from(attempt.rank)
        if attempt.nearby is None or attempt.asked is None:
            attempt.nearby, attempt.asked = self._history.near(rank), []
        attempt.asked += keys
        found = dict(filter(None, islice(attempt.nearby, attempt.prefetch)))
        attempt.prefetch = min(2 * attempt.prefetch, MOST_PREFETCH)
        for key in keys:
            found[key] = self._history.versions(rank, key)
        overlay = self._overlay(attempt.rank)
        return {key: overlay.get(key, told) for key, told in found.items()} if overlay else found

    def _outcomes(self, unit: int) -> Outcomes:
        """How all ended that came before it. Of a task that it follows item by item, its own instance counts."""
        seen_from = self._ledger.seen_from(unit)
        return Outcomes(self._ledger, lambda: self._history, seen_from, self._ledger.followed(unit))

    def _outcomes_nearby(self, attempt: Attempt, names: tuple[str, ...]) -> dict[str, Outcome]:
        """How those ended that the attempt asks for, and more of which it may ask next: twice as many each time."""
        outcomes = self._outcomes(attempt.rank)
        if attempt.ancestors is None:
            attempt.ancestors = outcomes.nearest()
        more = islice(attempt.ancestors, attempt.prefetch_ancestors)
        attempt.prefetch_ancestors = min(2 * attempt.prefetch_ancestors, MOST_PREFETCH)
        found = {name: outcomes[name] for name in (*more, *names) if name in outcomes}
        return {**found, **outcomes.of_instances(names)}

    def _overlay(self, unit: int) -> dict[str, Told]:
        if unit < len(self._plan.names):
            return {}
        fan = self._ledger.fan_of(unit)
        return fan.overlay(unit - fan.first)


def _laid_over(fan: Fan, overlay: Mapping[str, Told], reads: tuple[str, ...]) -> dict[str, Told]:
    """What an instance is sent of what those before it wrote: what it will probably read, and what has to be merged."""
    versions = {} if fan.slice is None else fan.slice.versions
    return {key: told for key, told in overlay.items() if key in versions or key in reads or len(told) > 1}
