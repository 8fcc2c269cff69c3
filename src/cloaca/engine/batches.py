"""One call of `map` as a pure state machine: batches of items come in, and their results go out, in any order.

It is to the coordinator what `Run` is, and keeps the same rules: no clock, no user code, no payload opened.

                        room               Done, Failed, Lost
    DELAYED --> QUEUED --------> SUBMITTED ---------------------> delivered
                  ^                 |
                  +---- Unstarted --+

Items come and results go at the caller's pace: what is known here is only what is under way.
"""

from collections import deque
from collections.abc import Iterator

from msgspec.structs import replace

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
from cloaca.engine.seats import Seats, Share
from cloaca.engine.timers import Timers
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
    Traced,
    Unstarted,
    Version,
    Wants,
)

_NOTHING = Slice({}, complete=True, outcomes={})


class BatchRun:
    """The state of one call of `map`. `function` and `variables` are the numbers of what was published for it.

    A batch may take `timeout` seconds, and takes the `share` of the `seats`, if there is one.
    `traced`: the span that all see, where the call is traced.
    """

    def __init__(
        self,
        function: int,
        *,
        numbers: Iterator[int],
        grace: float,
        variables: int = 0,
        timeout: float | None = None,
        share: Share = (),
        seats: Seats | None = None,
        traced: Traced | None = None,
    ) -> None:
        self._function = function
        self._variables = variables
        self._numbers = numbers
        self._grace = grace
        self._timeout = timeout
        self._share = share
        self._seats = Seats() if seats is None else seats
        self._traced = traced
        self._queued: deque[Supply] = deque()
        self._delayed: dict[int, Supply] = {}
        self._delays = Timers()
        self._open: dict[int, Supply] = {}
        self._started: dict[int, tuple[int, float]] = {}  # the worker, and when
        self._deadlines = Timers()
        self._expired: set[int] = set()
        self._is_cancelled = False
        self._end_by: float | None = None

    @property
    def ready(self) -> int:
        """How many batches could be submitted now."""
        return len(self._queued)

    @property
    def due(self) -> float | None:
        """When a batch has taken too long, or waited; or what still runs is to be stopped, once the call is over."""
        moments = self._end_by, self._delays.due, self._deadlines.due
        return min((moment for moment in moments if moment is not None), default=None)

    def running(self) -> list[tuple[int, str, float]]:
        """What runs: on which worker, what it is called, and since when. Any thread may ask."""
        under_way = [(self._open.get(number), *told) for number, told in [*self._started.items()]]
        return [(worker, supply.name, began) for supply, worker, began in under_way if supply is not None]

    def handle(self, event: BatchEvent | AttemptEvent, now: float) -> Commands:
        """Take in one event; returns what is to be done, in order."""
        match event:
            case Supply():
                self._take(event, now)
                return ()
            case Room():
                return self._submit(event.count)
            case Cancel():
                return self._cancel(now, self._grace if event.grace is None else event.grace)
            case Tick():
                return self._tick(now)
            case Started():
                return self._start(event, now)
            case Done() | Failed() | Lost() | Unstarted() | Wants():
                return self._report(event)
            case _:
                return ()

    def abandon(self) -> None:
        """The call was ended from outside, by a fault: nothing is to be submitted any more."""
        self._queued.clear()
        self._delayed.clear()
        self._delays.drop_all()
        self._seats.leave(self)

    def _take(self, supply: Supply, now: float) -> None:
        if self._is_cancelled:
            return
        if supply.delay:
            self._delayed[supply.first] = supply
            self._delays.set(supply.first, now + supply.delay)
        else:
            self._queued.append(supply)

    def _submit(self, count: int) -> Commands:
        assignments = []
        while count and self._queued:
            if self._share and not self._seats.room(self._share, self):
                self._seats.stand_in_line(self._share, self)
                break
            supply = self._queued.popleft()
            number = next(self._numbers)
            if self._share:
                self._seats.take(self._share, number, self)
            self._open[number] = supply
            assignments.append(self._assignment(number, supply))
            count -= 1
        return assignments

    def _assignment(self, number: int, supply: Supply) -> Assignment:
        versions = {ITEMS: (Version(supply.name, supply.payload),)}
        if supply.part is not None:
            versions[PART] = (Version(supply.name, supply.part),)
        slice_ = Slice(versions, complete=True, outcomes={})
        return Assignment(number, supply.name, self._function, slice_, variables=self._variables, traced=self._traced)

    def _start(self, event: Started, now: float) -> Commands:
        if event.attempt in self._open:
            began = now if event.moment is None else event.moment
            self._started[event.attempt] = event.worker, began
            if self._timeout is not None:
                self._deadlines.set(event.attempt, began + self._timeout)
        return ()

    def _report(self, event: Done | Failed | Lost | Unstarted | Wants) -> Commands:
        if event.attempt not in self._open:
            return ()
        if isinstance(event, Wants):
            return (Answer(event.attempt, _NOTHING, event.question),)
        supply = self._open.pop(event.attempt)
        self._started.pop(event.attempt, None)
        self._deadlines.drop(event.attempt)
        self._seats.free(event.attempt)
        if isinstance(event, Lost) and event.attempt in self._expired:
            event = replace(event, timeout=self._timeout)
        self._expired.discard(event.attempt)
        if not isinstance(event, Unstarted):
            return [Deliver(supply.first, supply.name, event), *self._ended()]
        if not self._is_cancelled:
            self._queued.appendleft(supply)
        return self._ended()

    def _cancel(self, now: float, grace: float) -> Commands:
        """Take back what hasn't begun. What runs may come to its end first: mostly that is sooner than a new worker."""
        self._is_cancelled = True
        self.abandon()
        self._end_by = now + grace if self._open else None
        unstarted = [number for number in self._open if number not in self._started]
        return [*(Withdraw(number, grace) for number in unstarted), *self._ended()]

    def _tick(self, now: float) -> Commands:
        self._queued.extend(self._delayed.pop(first) for first in self._delays.ring(now))
        late = [*self._deadlines.ring(now)]
        self._expired.update(late)
        if self._end_by is not None and self._end_by <= now:
            self._end_by = None
            late = [*self._open]
        return [Withdraw(number, self._grace) for number in late]

    def _ended(self) -> Commands:
        if not self._is_cancelled or self._open:
            return ()
        self._end_by = None
        return (Ended(),)
