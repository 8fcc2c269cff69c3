"""Chains: tasks of which each needs the one before and nothing else. A worker is sent several at once.

Nobody could begin such a task before the one before it has ended, and the worker that ran that has what it left. So
where tasks are tiny, a round trip for each of them is saved. All else is as ever: each is an attempt of its own, which
is reported as soon as it has ended, and tried again by itself. What comes after one that didn't end well is given back,
and waits.

A task that is asked first whether it may begin, or that needs seats, begins a chain at best; so does one of lower
priority than the one before, as others may go first by then. And so does every task where keys have merge rules, or get
the values of others: what one leaves isn't all then that the next one sees of a key.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from cloaca.engine.state import WAITING, State
from cloaca.engine.work import Merging, Work
from cloaca.history.plan import Plan


class Chains:
    """Those of one run. `following` are the mapped tasks that follow another one item by item."""

    def __init__(
        self, plan: Plan, work: Sequence[Work], states: Sequence[State], merging: Merging, following: AbstractSet[int]
    ) -> None:
        self._successors, self._predecessors = plan.successors, plan.predecessors
        self._work = work
        self._states = states
        self._following = following
        self.are_allowed = not (merging.ruled or merging.passing)

    def behind(self, rank: int, most: int) -> list[int]:
        """The tasks that come right after one that is to begin, at most so many, each after the one before.

        None after a mapped one: its first attempt tells its items, and it has ended when they have.
        """
        found: list[int] = []
        priority = self._work[rank].priority
        if self._work[rank].each is not None:
            return found
        for _ in range(most):
            successors = self._successors[rank]
            if len(successors) != 1 or len(self._predecessors[successors[0]]) != 1:
                break
            (rank,) = successors
            if self._states[rank] is not WAITING or not self._is_plain(rank):
                break
            if self._work[rank].priority < priority:
                break
            found.append(rank)
        return found

    def _is_plain(self, rank: int) -> bool:
        work = self._work[rank]
        is_asked = work.rule is not None or work.trigger is not None
        return not is_asked and work.each is None and not work.share and rank not in self._following
