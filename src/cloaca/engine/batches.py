"""One call of `map` as a pure state machine: batches of items come in, and their results go out, in any order.

It is to the coordinator what `Run` is, and keeps the same rules: no clock, no user code, no payload opened.

             room               Done, Failed, Lost
    QUEUED --------> SUBMITTED ---------------------> delivered
       ^                 |
       +---- Unstarted --+

Items come and results go at the caller's pace: what is known here is only what is under way.
"""

from collections import deque
from collections.abc import Iterator

from cloaca.engine.events import (
    AttemptEvent,
    BatchEvent,
    Cancel,
    Commands,
    Deliver,
    Ended,
    Room,
    Supply,
    Tick,
    Withdraw,
)
from cloaca.wire.messages import (
    ITEMS,
    PART,
    Answer,
    Assignment,
    Done,
    Failed,
    Lost,
    Slice,
    Started,
    Unstarted,
    Version,
    Wants,
)

_NOTHING = Slice({}, complete=True, outcomes={})


class BatchRun:
    """The state of one call of `map`. `function` and `variables` are the numbers of what was published for it."""

    def __init__(self, function: int, *, numbers: Iterator[int], grace: float, variables: int = 0) -> None:
        self._function = function
        self._variables = variables
        self._numbers = numbers
        self._grace = grace
        self._queued: deque[Supply] = deque()
        self._open: dict[int, Supply] = {}
        self._started: set[int] = set()
        self._is_cancelled = False
        self._deadline: float | None = None

    @property
    def ready(self) -> int:
        """How many batches could be submitted now."""
        return len(self._queued)

    @property
    def due(self) -> float | None:
        """When what still runs is to be stopped, after the call has ended."""
        return self._deadline

    def handle(self, event: BatchEvent | AttemptEvent, now: float) -> Commands:
        """Take in one event; returns what is to be done, in order."""
        match event:
            case Supply():
                if not self._is_cancelled:
                    self._queued.append(event)
                return ()
            case Room():
                return self._submit(event.count)
            case Cancel():
                return self._cancel(now, self._grace if event.grace is None else event.grace)
            case Tick():
                return self._tick(now)
            case Started():
                self._started.add(event.attempt)
                return ()
            case Done() | Failed() | Lost() | Unstarted() | Wants():
                return self._report(event)
            case _:
                return ()

    def _submit(self, count: int) -> Commands:
        assignments = []
        while count and self._queued:
            supply = self._queued.popleft()
            number = next(self._numbers)
            self._open[number] = supply
            assignments.append(self._assignment(number, supply))
            count -= 1
        return assignments

    def _assignment(self, number: int, supply: Supply) -> Assignment:
        versions = {ITEMS: (Version(supply.name, supply.payload),)}
        if supply.part is not None:
            versions[PART] = (Version(supply.name, supply.part),)
        slice_ = Slice(versions, complete=True, outcomes={})
        return Assignment(number, supply.name, self._function, slice_, variables=self._variables)

    def abandon(self) -> None:
        """The call was ended from outside, by a fault: nothing is to be submitted any more."""
        self._queued.clear()

    def _report(self, event: Done | Failed | Lost | Unstarted | Wants) -> Commands:
        if event.attempt not in self._open:
            return ()
        if isinstance(event, Wants):
            return (Answer(event.attempt, _NOTHING, event.question),)
        supply = self._open.pop(event.attempt)
        self._started.discard(event.attempt)
        if not isinstance(event, Unstarted):
            return [Deliver(supply.first, supply.name, event), *self._ended()]
        if not self._is_cancelled:
            self._queued.appendleft(supply)
        return self._ended()

    def _cancel(self, now: float, grace: float) -> Commands:
        """Take back what hasn't begun. What runs may come to its end first: mostly that is sooner than a new worker."""
        self._is_cancelled = True
        self._queued.clear()
        self._deadline = now + grace if self._open else None
        unstarted = [number for number in self._open if number not in self._started]
        return [*(Withdraw(number, grace) for number in unstarted), *self._ended()]

    def _tick(self, now: float) -> Commands:
        if self._deadline is None or self._deadline > now:
            return ()
        self._deadline = None
        return [Withdraw(number, self._grace) for number in self._open]

    def _ended(self) -> Commands:
        if not self._is_cancelled or self._open:
            return ()
        self._deadline = None
        return (Ended(),)
