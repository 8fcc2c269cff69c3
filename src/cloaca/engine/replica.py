"""A replica of a run's history, for a thread that looks at what tasks saw while the run goes on.

A task's ancestors have ended when it runs, and what they wrote doesn't change any more. So another thread may take it
over, without a lock, and answer from there, with caches of its own. It does so when it is asked, for the ancestors that
it doesn't know yet: each is taken over once.
"""

from cloaca.engine.facts import TryFact
from cloaca.engine.outcomes import Outcomes
from cloaca.engine.run import Run
from cloaca.engine.view import ContextView, DeferredMapping, Overlaid
from cloaca.history.history import History
from cloaca.wire.messages import Slice


class Replica:
    """What tasks of a run saw that have been started. To be used by one thread at a time."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._history: History | None = None
        self._known: set[int] = set()

    def name(self, fact: TryFact) -> str:
        """What the task is called, or the instance."""
        return self._run.ledger.name(self._run.ledger.unit(fact.task, fact.item))

    def slice(self, fact: TryFact) -> Slice:
        """Everything that was seen there; it costs nothing until it is looked into."""
        ledger = self._run.ledger
        unit = ledger.unit(fact.task, fact.item)
        rank, followed = ledger.seen_from(unit), ledger.followed(unit)
        return Slice(
            DeferredMapping(lambda: Overlaid(ContextView(self._up_to(rank), rank), fact.overlay)),
            complete=True,
            outcomes=Outcomes(ledger, lambda: self._up_to(rank), rank, followed),
        )

    def _up_to(self, rank: int) -> History:
        """The history, with what all ancestors of the task have written."""
        if self._history is None:
            self._history = self._run.history.twin()
        predecessors, known = self._run.plan.predecessors, self._known
        new: set[int] = set()
        ahead = list(predecessors[rank])
        while ahead:
            task = ahead.pop()
            if task not in known and task not in new:
                new.add(task)
                ahead.extend(predecessors[task])
        for task in sorted(new):
            self._history.take_over(task, self._run.history)
        known |= new
        return self._history
