"""Earlier: what a run is told of the ends that it begins with, as facts of runs before it.

Purpose
    To go on where a run was interrupted, or has failed: what has ended is not run again, all else is.

Guarantees
    - An end counts only where all that comes before it has ended by what is given, too: the last fact of it, if there
      are several. So any part of a run's facts may be given, in any order: those of which too little is known, or of
      which something before them is to be made again, are left out.
    - What is left then sees the very versions that it would have seen, and leaves what it would have left: where the
      function of a task follows from what it sees, the run ends as if it had never been interrupted.
    - An end that another run made for itself is made again here: what a rule skipped, what was cancelled, and what a
      mapped task came to by its instances.
    - Where only tries are given, the next one goes on counting: so its seed is the one that it would have had.

Roads not taken
    - To take over history and states as they were: they would have to be stored in full, and to fit each version.
    - To hand the ends in as reports: they would be tried again, wait for seats, and pass for ends of this run.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from cloaca.engine.ends import FailedTry
from cloaca.engine.facts import Fact, TaskExpanded, TaskFinished, TaskRetried
from cloaca.wire.messages import Done, Failed, Lost, Skipped, Usage

_TaskItem = tuple[str, int | None]


class Earlier:
    """What is given, by task and number of the item."""

    def __init__(self, facts: Iterable[Fact]) -> None:
        self._facts: dict[_TaskItem, TaskRetried | TaskExpanded | TaskFinished] = {}
        self._failed: defaultdict[_TaskItem, list[FailedTry]] = defaultdict(list)
        for fact in facts:
            if isinstance(fact, TaskRetried | TaskExpanded | TaskFinished) and _counts(fact):
                self._facts[fact.task, fact.item] = fact
            if isinstance(fact, TaskRetried):
                failed = FailedTry(fact.nth, fact.end, fact.error, None, fact.at, fact.delay)
                self._failed[fact.task, fact.item].append(failed)

    @property
    def is_given(self) -> bool:
        """Whether there is anything."""
        return bool(self._facts)

    def tries(self, place: _TaskItem) -> tuple[int, int]:
        """How many tries have begun, and how many of them have ended by themselves, but for the one it ended with."""
        match self._facts.get(place):
            case TaskRetried() as fact:
                return fact.nth, fact.ended + isinstance(fact.end, Failed)
            case TaskFinished() as fact:
                return fact.nth, fact.ended
            case TaskExpanded() as fact:
                return fact.nth, 0
            case None:
                return 0, 0

    def failed(self, place: _TaskItem) -> Sequence[FailedTry]:
        """The tries that have failed, in order."""
        return self._failed.get(place, ())

    def report(self, place: _TaskItem, number: int) -> Done | Failed | Lost | Skipped | None:
        """What its attempt has ended with, as if the one of that number had; `None`: that isn't given."""
        match self._facts.get(place):
            case TaskExpanded(items=items, usage=Usage() as usage):
                return Done(number, {}, usage, items=items)
            case TaskFinished(end=Usage() as usage, diff=diff, settled=settled):
                return Done(number, dict(diff), usage, None if settled is None else dict(settled))
            case TaskFinished(end=Failed() | Lost() | Skipped() as end):
                return end
            case _:
                return None


def _counts(fact: TaskRetried | TaskExpanded | TaskFinished) -> bool:
    """Whether it tells what an attempt has ended with that came to its end."""
    match fact:
        case TaskRetried():
            return True
        case TaskExpanded(usage=usage):
            return usage is not None
        case TaskFinished(size=size, end=end, outcome=outcome):
            return size is None and end is not None and outcome.status != "Cancelled"
