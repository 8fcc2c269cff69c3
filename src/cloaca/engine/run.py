"""One run of a workflow as a pure state machine: `handle(event, now)` returns the commands to carry out.

Rules of this file
    - No clock, process, socket, random or log call, no user code, no payload opened. The time is an argument.
    - What may happen to a task stands in `_TRANSITIONS`, and only there. Anything else is an `InternalError` that
      tells how the task stands.
    - An attempt has a number that is never reused. A report about an attempt that is no longer open is late: dropped.
    - Commands come out in an order that depends on the events alone.

          dependencies ended            room                 Started (or its end, at once)
    WAITING ---------------> READY ------------> SUBMITTED ----------> RUNNING
       |                     ^   ^  Unstarted       |                    |
       |                     |   +------------------+              Done  |  Failed, Lost
       | its rule says no    |                                       |   |
       v                     | Tick                                  |   +--> no more tries: FAILED
    SKIPPED                  +-- BACKING_OFF <-----------------------|---+
       ^                                                             +------> COMPLETED
       |     Skipped: its condition doesn't hold, or it says so      |
       +-------------------------------------------------------------+
    In a chain, what waits only for the one before is submitted with that, and is AHEAD until that has ended well (see
    engine/chain). Where it doesn't, it is Unstarted, and WAITING again.
    An attempt that found no room for a value is HELD_UP until others have let go of some (see engine/back_pressure).
    A mapped task whose first attempt has told its items is EXPANDED until its instances have ended (see engine/fan).
    What hasn't ended when the run is stopped ends as CANCELLED. A run is stopped by Cancel, by the first failure of a
    run that is to fail fast, and by its own time limit.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, MutableSequence, Sequence
from collections.abc import Set as AbstractSet
from typing import Any
from weakref import proxy

from msgspec.structs import replace

from cloaca.engine.assigning import Assigning
from cloaca.engine.back_pressure import BackPressure
from cloaca.engine.chain import Chains
from cloaca.engine.chronicle import NO_CANDIDATES, Chronicle
from cloaca.engine.copied import Copied
from cloaca.engine.earlier import Earlier
from cloaca.engine.ends import End, FailedTry
from cloaca.engine.events import (
    AttemptEvent,
    Begin,
    Cancel,
    Command,
    Commands,
    Ended,
    Release,
    Room,
    RunEvent,
    Tick,
    Withdraw,
)
from cloaca.engine.facts import Fact
from cloaca.engine.fan import Fan, together
from cloaca.engine.ledger import Ledger
from cloaca.engine.looking import Looking
from cloaca.engine.offers import Offers, Takeover
from cloaca.engine.priority import Priority
from cloaca.engine.queue import Queue
from cloaca.engine.reuse import Reuse
from cloaca.engine.rows import Rows
from cloaca.engine.seats import Seats
from cloaca.engine.sight import Attempt, Sight
from cloaca.engine.state import (
    AHEAD,
    BACKING_OFF,
    CANCELLED,
    COMPLETED,
    ENDED,
    EXPANDED,
    FAILED,
    HELD_UP,
    READY,
    RUNNING,
    SKIPPED,
    SUBMITTED,
    WAITING,
    State,
    Stop,
)
from cloaca.engine.tries import Tries
from cloaca.engine.work import Limits, Merging, Work, followers
from cloaca.errors import InternalError, StorageFullError
from cloaca.history.history import History
from cloaca.history.lifetimes import Lifetimes
from cloaca.history.plan import Plan
from cloaca.history.told_digests import Combining, ContentOf
from cloaca.history.unwanted import Demand
from cloaca.triggers import rules
from cloaca.values.blobs import LARGE, references_among, references_in, size_of
from cloaca.wire.messages import (
    Answer,
    Assignment,
    Done,
    Failed,
    ItemsDone,
    Lost,
    Noting,
    Skipped,
    Started,
    Trace,
    Unstarted,
    Version,
    Wants,
)

MOST_TOGETHER = 1 << 10
"""How many instances are ended at once, where attempts of others stand for theirs."""

_IDLE = frozenset({WAITING, READY, BACKING_OFF, HELD_UP})


class Run:
    """The state of one run.

    `answers`: whether the executor asks for what a slice lacks in the middle of a task. `demand`: what is asked for of
    the values, where the workflow says so. `seed`: what all attempts'
    seeds come from. `stopped` tells why, where it was; `oversized` who set a value that is too large, and how large it
    is, by key; `due` when the run wants a `Tick`. `durations`: how many seconds tasks, or an instance of each, took in
    earlier runs, by rank, and 0 where that isn't known; `habits`: the keys that tasks read there for which they had to
    ask, by rank. Both are brought up to date. `store` takes a large payload that was made here, and returns what to
    send in its place. `seats` are those of the runner's named limits. `earlier`: what had ended before.
    `looks`: see `Sight`. `content`, where the run is recorded, gives the digest of what a payload consists of, and
    `combining` those of the merge rules. `reuse`: attempts of other executions, which may stand for those of this one;
    then `reasons` tells of all that has to run why it does. `trace`: where the run stands in one, if it is traced.
    """

    __slots__ = (  # not for memory: an object of more than thirty attributes finds them slowly without
        "__weakref__",
        "_assigning",
        "_awaits_first",
        "_chains",
        "_chronicle",
        "_deadline",
        "_durations",
        "_earlier",
        "_fans",
        "_followers",
        "_following",
        "_in_copies",
        "_lifetimes",
        "_limits",
        "_looking",
        "_merging",
        "_now",
        "_numbers",
        "_offers",
        "_open",
        "_pressure",
        "_queue",
        "_rows",
        "_sight",
        "_spent",
        "_store",
        "_tasks",
        "_tries",
        "_unended",
        "_waiting",
        "_well",
        "_work",
        "attempts",
        "ends",
        "history",
        "late",
        "ledger",
        "oversized",
        "plan",
        "priority",
        "seed",
        "states",
        "stopped",
    )

    def __init__(
        self,
        plan: Plan,
        work: Sequence[Work],
        inputs: Mapping[str, Version],
        *,
        numbers: Iterator[int],
        answers: bool,
        limits: Limits | None = None,
        merging: Merging | None = None,
        demand: Demand | None = None,
        seed: int = 0,
        variables: int = 0,
        durations: MutableSequence[float] | None = None,
        habits: MutableMapping[int, tuple[str, ...]] | None = None,
        store: Callable[[bytes], bytes] = lambda payload: payload,
        seats: Seats | None = None,
        earlier: Iterable[Fact] = (),
        looks: Sequence[AbstractSet[str] | None] = (),
        content: ContentOf | None = None,
        combining: Combining | None = None,
        reuse: Reuse | None = None,
        trace: Trace | None = None,
    ) -> None:
        self.plan = plan
        self._durations = array("d", bytes(8 * len(plan.names))) if durations is None else durations
        self._followers = followers(work)
        self.priority = Priority(plan, self._durations, self._followers, [one.priority for one in work])
        self.seed = seed
        self._merging = merging or Merging()
        self.history = History(
            plan,
            inputs,
            collected=self._merging.collected,
            ruled=self._merging.ruled,
            place_of=self._merging.place_of,
            passing=self._merging.passing,
        )
        self._lifetimes = Lifetimes(
            plan,
            self.history,
            ruled=self._merging.ruled,
            collected=self._merging.collected,
            demand=demand,
        )
        self._work = [*work]  # of each task, and of each instance
        self.ledger = Ledger(plan, self._work)
        self._sight = Sight(
            plan,
            self.history,
            self.ledger,
            habits={} if habits is None else habits,
            collected=self._merging.collected,
            is_asked=answers,
            looks=looks,
        )
        self.states = self.ledger.states
        self.attempts = self.ledger.attempts
        self.ends = self.ledger.ends
        self.stopped: Stop | None = None
        self.oversized: dict[str, tuple[str, int]] = {}
        self.late = 0
        self._limits = limits or Limits()
        self._tries = Tries(self._work, self.ledger, seed)
        self._queue = Queue(self.priority, self._work, self.ledger, Seats() if seats is None else seats)
        self._rows = Rows(plan, self.history.ancestry, self._merging.ruled | self._merging.collected, demand)
        self._looking = None
        if content is not None:
            self._looking = Looking(
                plan,
                self._work,
                self.history,
                self.ledger,
                merging=self._merging,
                seed=seed,
                content=content,
                combining=combining or Combining(),
            )
        self._offers = None
        if reuse is not None:
            if self._looking is None:
                raise InternalError(
                    "A run that isn't recorded can't tell whether attempts of others may stand for its own"
                )
            self._offers = Offers(reuse, self._looking, self.ledger, self._tries, self._work)
        self._assigning = Assigning(
            plan,
            self._work,
            priority=self.priority,
            ledger=self.ledger,
            tries=self._tries,
            history=self.history,
            sight=self._sight,
            merging=self._merging,
            seed=seed,
            variables=variables,
            is_asked=answers,
            is_recorded=content is not None,
            trace=trace,
        )
        self._pressure = BackPressure(self.priority.places, self.ledger)
        self._deadline: float | None = None
        self._awaits_first = self._limits.timeout is not None
        self._now = 0.0
        self._tasks = len(plan.names)
        self._fans = self.ledger.fans
        self._following = frozenset(rank for ranks in self._followers.values() for rank in ranks)
        self._in_copies = frozenset(rank for rank in self._following if work[rank].inner is not None)
        self._chains = Chains(plan, self._work, self.states, self._merging, self._following)
        self._store = store
        self._spent: list[bytes] = []  # items that nobody needs any more
        self._numbers = numbers
        self._open: dict[int, Attempt] = {}
        self._unended = len(plan.names)
        self._waiting = [len(dependencies) for dependencies in plan.predecessors]
        self._well = [0] * len(plan.names)
        self._chronicle: Chronicle | None = None
        self._earlier = Earlier(earlier)

    @property
    def ready(self) -> int:
        """How many tasks and instances could be submitted now."""
        return self._queue.size or bool(self._pressure)

    @property
    def durations(self) -> Sequence[float]:
        """How many seconds tasks, or an instance of each, took last, by rank; 0.0: that isn't known."""
        return self._durations

    @property
    def open_attempts(self) -> Mapping[int, Attempt]:
        """The attempts that were submitted and haven't been reported, by number."""
        return self._open

    @property
    def timeout(self) -> float | None:
        """How many seconds the run may take."""
        return self._limits.timeout

    @property
    def due(self) -> float | None:
        """When the run is to be told that time has passed; `None`: never, as it is."""
        due, deadline = self._tries.due, self._deadline
        return deadline if due is None else due if deadline is None else min(due, deadline)

    @property
    def reasons(self) -> Mapping[tuple[str, int | None], str]:
        """Why tasks and instances run that others could have stood for, by id and number of the item."""
        return {} if self._offers is None else self._offers.reasons

    @property
    def seats(self) -> Mapping[str, int]:
        """How many seats each named limit has."""
        return self._queue.seats

    def listen(self) -> None:
        """Somebody is going to follow the run: from here on, its facts are there to be taken."""
        self._chronicle = Chronicle(self.ledger, self._tries, self._looking)

    def facts(self) -> Sequence[Fact]:
        """Those that came of the events since this was asked last: each is handed out once."""
        return () if self._chronicle is None else self._chronicle.take()

    def handle(self, event: RunEvent | AttemptEvent, now: float, time: float = 0.0) -> Commands:
        """Take in one event; returns what is to be done, in order. `time` is that of the wall clock, for facts."""
        self._now = now
        if self._chronicle is not None:
            self._chronicle.at, self._chronicle.time = now, time
        match event:
            case Done():  # first, as there is one for each task
                commands = self._report(event)
            case Room():
                commands = self._submit(event.count, event.open, event.grain, event.chain)
            case Begin():
                commands = self._begin()
            case Cancel():
                commands = self._stop(Stop.CANCELLED, event.grace)
            case Tick():
                commands = self._tick()
            case _:
                commands = self._report(event)
        return commands if self._offers is None else [*commands, *self._taken_over(self._offers)]

    def _report(self, event: AttemptEvent) -> Commands:
        attempt = self._open.get(event.attempt)
        if attempt is None:
            self.late += 1
            return ()
        kind, state = type(event), self.states[attempt.rank]
        if state is SUBMITTED and kind in _AT_ONCE:
            self._start(attempt, event)
            state = RUNNING
        transition = _TRANSITIONS.get((state, kind))
        if transition is None:
            raise self._impossible(attempt, event)
        return transition(self, attempt, event)

    def abandon(self) -> None:
        """The run was ended from outside, by a fault: it waits for no seat any more. Its attempts keep theirs."""
        self._queue.clear()

    # ---- the run ---------------------------------------------------------------------------------------------------

    def _begin(self) -> Commands:
        if self._chronicle is not None:
            self._chronicle.begun()
        if self.stopped:
            return ()
        if self._limits.timeout is not None:
            self._deadline = self._now + self._limits.startup + self._limits.timeout
        ready = [rank for rank, waiting in zip(self.plan.rank.values(), self._waiting, strict=True) if not waiting]
        if self._in_copies:
            ready = [rank for rank in ready if rank not in self._in_copies]
        for rank in ready:
            self.states[rank] = READY
        self._queue.fill(ready)
        commands = self._resume() if self._earlier.is_given else ()
        if self._offers is not None:
            units = self._ready_units()
            for unit in units:
                self._queue.expect(unit, 1)
            self._offers.pending.extend(units)
        return commands

    def _ready_units(self) -> list[int]:
        """Take out all that is ready, to be submitted or to be offered."""
        units = self._queue.take_all()
        if self._offers is not None:
            for unit in self._offers.pending:
                self._queue.expect(unit, -1)
            units += self._offers.pending
            self._offers.pending.clear()
        return units

    def _resume(self) -> Commands:
        """End all that had ended before; what has not is ready then. Meanwhile, each counts as an open attempt."""
        commands: list[Command] = []
        left: list[Attempt] = []
        while attempts := [self._opened(range(unit, unit + 1)) for unit in self._ready_units()]:
            for attempt in attempts:
                place = self.ledger.place(attempt.rank)
                self.attempts[attempt.rank], self._tries.failures[attempt.rank] = self._earlier.tries(place)
                for failed in self._earlier.failed(place):
                    self.ledger.keep_try(attempt.rank, failed)
                report = self._earlier.report(place, attempt.number)
                if report is None:
                    left.append(attempt)
                else:
                    commands += self._end_again(attempt, report)
        for attempt in left:
            commands += self._take_back(attempt, range(attempt.rank, attempt.rank + 1))
        if self._chronicle is not None:
            self._chronicle.given = None
        return [command for command in commands if not isinstance(command, Withdraw)]

    def _end_again(self, attempt: Attempt, report: Done | Failed | Lost | Skipped) -> Commands:
        """End it as it had ended: it isn't tried again."""
        if self._chronicle is not None:
            self._chronicle.given = attempt.rank
        if isinstance(report, Done):
            return self._complete(attempt, report)
        return self._end(attempt, SKIPPED if isinstance(report, Skipped) else FAILED, report)

    # ---- what other executions have done ---------------------------------------------------------------------------

    def _taken_over(self, offers: Offers) -> Iterator[Command]:
        """Offer all that has become ready, and what does by that, and so on; what nothing stands for is ready then."""
        pending = offers.pending
        while pending:
            unit = pending.popleft()
            takeover = offers.takeover(unit)
            if takeover is None:
                self._make_ready(unit)
                continue
            if unit < self._tasks:
                self._queue.expect(unit, -1)
                yield from self._take_over(unit, takeover)
                continue
            takeovers = [takeover, *self._more_taken_over(offers, unit)]
            self._queue.expect(unit, -len(takeovers))
            yield from self._take_over_together(unit, takeovers)

    def _take_over(self, unit: int, takeover: Takeover) -> Commands:
        """End a task as the attempt did that stands for its own."""
        candidate, chronicle = takeover.candidate, self._chronicle
        self.attempts[unit], self._tries.failures[unit] = candidate.nth, candidate.ended
        if chronicle is None:
            return self._complete(self._opened(range(unit, unit + 1)), takeover.report)
        chronicle.candidates = {unit: candidate}
        commands = self._complete(self._opened(range(unit, unit + 1)), takeover.report)
        chronicle.candidates = NO_CANDIDATES
        return commands

    def _more_taken_over(self, offers: Offers, unit: int) -> Iterator[Takeover]:
        """What stands for the instances right after one, as far as anything does: they are ended together."""
        pending, fan = offers.pending, self.ledger.fan_of(unit)
        for beside in range(unit + 1, min(unit + MOST_TOGETHER, fan.first + fan.size)):
            if not pending or pending[0] != beside:
                return
            takeover = offers.takeover(pending.popleft())
            if takeover is None:
                self._make_ready(beside)
                return
            yield takeover

    def _take_over_together(self, unit: int, takeovers: Sequence[Takeover]) -> Commands:
        """End instances, from that one on, as the attempts did that stand for theirs."""
        candidates = [takeover.candidate for takeover in takeovers]
        past = unit + len(candidates)
        self.attempts[unit:past] = [candidate.nth for candidate in candidates]
        self._tries.failures[unit:past] = [candidate.ended for candidate in candidates]
        if self._chronicle is not None:
            self._chronicle.candidates = dict(zip(range(unit, past), candidates, strict=True))
        commands = self._have_completed(unit, together([takeover.report for takeover in takeovers]))
        if self._chronicle is not None:
            self._chronicle.candidates = NO_CANDIDATES
        return commands

    def _submit(self, count: int, under_way: int, grain: int, chain: int) -> Commands:
        assignments: list[Assignment] = []
        queue, width = self._queue, len(self._open) + count
        if self._pressure.alone is not None:
            return ()
        if self._pressure or not self._chains.are_allowed:
            chain = 1
        if queue.is_waiting:
            queue.call_up()
        while count > 0 and (units := queue.take(width, min(grain, count))) is not None:
            count -= len(units)
            assignments.append(self._attempt(units))
            if chain > 1 and units.start < self._tasks:
                behind = self._chains.behind(units.start, min(chain - 1, count))
                if behind and self._offers is not None:
                    behind = self._offers.that_may_go_ahead(units.start, behind)
                if behind:
                    count -= len(behind)
                    assignments += self._attempts_behind(assignments[-1].attempt, units.start, behind)
        if not assignments and self._pressure and not self._is_any_under_way(under_way):
            unit = self._pressure.try_alone()
            queue.expect(unit, -1)
            return [self._attempt(range(unit, unit + 1))]
        return assignments

    def _attempt(self, units: range) -> Assignment:
        """Submit an attempt."""
        attempt = self._opened(units)
        unit, count = units.start, len(units)
        share = self._work[unit].share
        assignment = self._assigning.assignment(attempt.number, unit, count)
        if share:
            assignment = replace(assignment, slots=self._queue.seat(share, attempt.number))
        if self._offers is None or not (unless := self._offers.unless(unit)):
            return assignment
        return replace(assignment, noting=Noting(assignment.fingerprint, unless))

    def _attempts_behind(self, before: int, head: int, behind: Iterable[int]) -> Iterator[Assignment]:
        """Submit those as well that come in a chain behind the `head`, whose attempt goes before theirs."""
        for rank in behind:
            attempt = self._opened(range(rank, rank + 1))
            self.states[rank] = AHEAD
            self._queue.expect(rank, -1)
            yield self._assigning.assignment(attempt.number, rank, head=head, after=before)
            before = attempt.number

    def _opened(self, units: range) -> Attempt:
        attempt = Attempt(next(self._numbers), units.start, len(units))
        self._open[attempt.number] = attempt
        if attempt.count == 1:
            self.states[units.start] = SUBMITTED
        else:
            self.states[units.start : units.stop] = [SUBMITTED] * attempt.count
        if self._in_copies and units.start >= self._tasks:
            self._begin_with(units)
        return attempt

    def _tick(self) -> Commands:
        for rank in self._tries.backoffs.ring(self._now):
            self._make_ready(rank)
        if self._deadline is not None and self._deadline <= self._now:
            return self._stop(Stop.OUT_OF_TIME)
        return [self._expire(self._open[number]) for number in self._tries.deadlines.ring(self._now)]

    def _expire(self, attempt: Attempt) -> Withdraw:
        attempt.is_expired = True
        return Withdraw(attempt.number, self._limits.grace, None if self.stopped else attempt.item)

    def _stop(self, why: Stop, grace: float | None = None) -> Commands:
        """Cancel what hasn't begun, and withdraw what has. Said again, it may shorten the grace of what still runs."""
        if not self._unended:
            return ()
        if self.stopped is None:
            self.stopped = why
            self._cancel_idle()
        grace = self._limits.grace if grace is None else grace
        return [*(Withdraw(number, grace) for number in self._open), *self._ended()]

    def _cancel_idle(self) -> None:
        self._queue.clear()
        if self._offers is not None:
            self._offers.pending.clear()
        self._tries.backoffs.drop_all()
        self._pressure.clear()
        self._deadline = None
        for rank, state in enumerate(self.states):
            if state in _IDLE:
                self._close(rank, CANCELLED)

    def _make_ready(self, rank: int) -> None:
        self.states[rank] = READY
        if rank < self._tasks:
            self._queue.add(rank)
        else:
            self._queue.offer(self.ledger.fan_of(rank), rank)

    # ---- where there is no room for values -------------------------------------------------------------------------

    def _hold_up(self, attempt: Attempt, lacking: int) -> Commands:
        """Let it wait for others to let go of values. It doesn't count as a try."""
        unit = attempt.rank
        self._get_on(attempt)
        self.attempts[unit] -= 1
        if self._chronicle is not None:
            self._chronicle.put_back(unit, lacking)
        self.states[unit] = HELD_UP
        self._queue.expect(unit, 1)
        self._pressure.hold_up(unit, lacking)
        self._hold_back()
        return ()

    def _let_go(self, payloads: Sequence[bytes]) -> None:
        """Nobody can read these any more: those go on that waited for as much room."""
        units = self._pressure.let_go(payloads)
        for unit in units:
            self._make_ready(unit)
        if units:
            self._hold_back()

    def _hold_back(self) -> None:
        """While some are held up, nothing begins that comes after them, unless it may let go of values."""
        self._queue.hold_back(self._may_begin if self._pressure else None)

    def _may_begin(self, rank: int) -> bool:
        fan = self._fans.get(rank)
        if fan is not None and (fan.leaders or fan.has_returned):
            return True
        is_before = self.priority.places[rank] < self._pressure.first_place
        return is_before or any(map(self.history.has_left_large, self.plan.predecessors[rank]))

    def _is_any_under_way(self, number: int) -> bool:
        """Whether others may let go of values: of `number` attempts that are open, of all runs; or of those to come."""
        return bool(self._open or number or [*self._tries.backoffs] or self._queue.is_any_seated)

    def _explained(self, event: Failed) -> Failed:
        """A failure for want of room, with what holds it."""
        held = self._pressure.told(self.history)
        is_named = event.type_name == StorageFullError.__name__
        return replace(event, text=f"{event.text} {held}" if is_named else event.text, notes=(*event.notes, held))

    def _current(self) -> Iterator[int]:
        """Where all is seen from that runs, or could run without any other: all else that hasn't ended comes after."""
        seen_from = self.ledger.seen_from
        yield from map(seen_from, self._queue)
        yield from map(seen_from, self._tries.backoffs)
        yield from map(seen_from, self._pressure)
        if self._offers is not None:
            yield from map(seen_from, self._offers.pending)
        for attempt in self._open.values():
            yield seen_from(attempt.rank)

    def _ended(self) -> Commands:
        if self._unended:
            return ()
        if self._chronicle is not None:
            self._chronicle.over(self.stopped)
        return (Ended(),)

    def _close(self, rank: int, state: State, done: Done | None = None) -> None:
        self.states[rank] = state
        self._unended -= 1
        if self._chronicle is not None:
            self._chronicle.ended(rank, done)
        if rank < self._tasks:
            self._lifetimes.ended(rank)
        else:
            fan = self.ledger.fan_of(rank)
            self._instances_ended(fan, rank - fan.first, 1)

    def _released(self) -> Commands:
        released = (write.version.payload for write in self._lifetimes.released(self._current))
        payloads = [held for payload in released if payload is not None for held in references_in(payload)]
        payloads += self._spent
        self._spent.clear()
        if payloads:
            self._let_go(payloads)
        return [Release(payloads)] if payloads else ()

    def _impossible(self, attempt: Attempt, event: AttemptEvent) -> InternalError:
        unit = attempt.rank
        expired, stopped = ", its time is up" * attempt.is_expired, ", the run was stopped" * (self.stopped is not None)
        return InternalError(
            f"Task {self.ledger.name(unit)!r} is {self.states[unit].name}, and attempt {attempt.number} reported "
            f"{type(event).__name__}, which can't happen there: {self.attempts[unit]} of its tries have begun, "
            f"{self._tries.failures[unit]} have failed{expired}{stopped}."
        )

    # ---- transitions -----------------------------------------------------------------------------------------------

    def _start(self, attempt: Attempt, event: AttemptEvent) -> Commands:
        self.states[attempt.rank] = RUNNING
        self.attempts[attempt.rank] += 1
        if type(event) is Started:
            attempt.worker, attempt.began = event.worker, self._now if event.moment is None else event.moment
            if self._chronicle is not None:
                self._chronicle.started(attempt.rank, event)
            timeout = self._work[attempt.rank].timeout
            if timeout is not None:
                self._tries.deadlines.set(attempt.number, self._moment(event) + timeout)
        if self._awaits_first:
            self._awaits_first = False
            if self._deadline is not None and self._limits.timeout is not None:
                self._deadline = min(self._deadline, self._moment(event) + self._limits.timeout)
        return ()

    def _moment(self, event: AttemptEvent) -> float:
        moment = event.moment if isinstance(event, Started) else None
        return self._now if moment is None else moment

    def _give_back(self, attempt: Attempt, event: Unstarted) -> Commands:
        past = attempt.rank + attempt.count
        units = range(past - event.count, past)
        if units.start < attempt.rank or self.states[units.start] is not SUBMITTED:
            raise self._impossible(attempt, event)
        return self._take_back(attempt, units)

    def _fall_behind(self, attempt: Attempt, _: Unstarted) -> Commands:
        """What it was to come right after hasn't ended well: it waits for that as any other does."""
        self._get_on(attempt)
        if self.stopped:
            self._close(attempt.rank, CANCELLED)
            return self._ended()
        self._queue.expect(attempt.rank, 1)
        self.states[attempt.rank] = WAITING
        return ()

    def _take_back(self, attempt: Attempt, units: range) -> Commands:
        """Nothing of these has run."""
        attempt.count -= len(units)
        if not attempt.count:
            self._get_on(attempt)
        if self.stopped:
            for unit in units:
                self._close(unit, CANCELLED)
            return self._ended()
        self._queue.expect(units.start, len(units))
        for unit in units:
            self._make_ready(unit)
        return ()

    def _answer(self, attempt: Attempt, event: Wants) -> Commands:
        return (Answer(attempt.number, self._sight.answer(attempt, event), event.question),)

    def _complete(self, attempt: Attempt, event: Done) -> Commands:
        rank, work = attempt.rank, self._work[attempt.rank]
        if event.is_held and self._offers is not None:
            self._get_on(attempt)
            takeover = self._offers.held(rank)
            return self._take_over(rank, takeover) if rank < self._tasks else self._take_over_together(rank, [takeover])
        if work.each is not None:
            return self._complete_part(attempt, event)
        if self._looking is not None and self._chronicle is not None:
            self._chronicle.look(rank, event)
        self._record(rank, event.diff, event.usage.ended - event.usage.started)
        if event.settled is not None:
            self.history.settle(rank, event.settled)
        if attempt.nearby is not None:
            self._sight.learn(rank, attempt, event.usage.read)
        return self._end(attempt, COMPLETED, event.usage, event)

    def _record(self, rank: int, diff: Mapping[str, bytes | None], seconds: float) -> None:
        limit = self._limits.size
        for key, write in self.history.record(rank, diff).items():
            self._lifetimes.written(key, write)
            payload = diff[key]
            if limit is not None and payload is not None and (size := size_of(payload)) > limit:
                self.oversized.setdefault(key, (self.plan.names[rank], size))
        self._durations[rank] = seconds

    def _kept(self, payload: bytes | None) -> bytes | None:
        return payload if payload is None or len(payload) < LARGE else self._store(payload)

    def _fail(self, attempt: Attempt, event: Failed | Lost) -> Commands:
        rank = attempt.rank
        if isinstance(event, Failed) and event.lacking > 0 and not self.stopped:
            if self._pressure.alone != rank:
                return self._hold_up(attempt, event.lacking)
            event = self._explained(event)
        if isinstance(event, Lost):
            if attempt.began is not None:
                self.ledger.cut_off[rank] = attempt.began, self._now
            if attempt.is_expired:
                event = replace(event, timeout=self._work[rank].timeout)
            elif self.stopped:
                return self._end(attempt, CANCELLED, event)
        delay = None if self.stopped else self._tries.delay(rank, event)
        if delay is None:
            return self._end(attempt, FAILED, event)
        if self._chronicle is not None:
            self._chronicle.retried(rank, event, delay)
        told = self.ledger.text_of(rank, event)
        self.ledger.keep_try(rank, FailedTry(self.attempts[rank], event, told, attempt.began, self._now, delay))
        self._tries.failures[rank] += isinstance(event, Failed)
        self._get_on(attempt)
        self._queue.expect(rank, 1)
        self.states[rank] = BACKING_OFF
        self._tries.backoffs.set(rank, self._now + delay)
        return ()

    def _skip(self, attempt: Attempt, event: Skipped) -> Commands:
        return self._end(attempt, SKIPPED, event)

    def _end(self, attempt: Attempt, state: State, end: End, done: Done | None = None) -> Commands:
        rank = attempt.rank
        self._get_on(attempt)
        if rank < self._tasks:
            self.ends.of_tasks[rank] = end
            self._close(rank, state, done)
            self._release(rank)
        else:
            self.ends[rank] = end
            self.ledger.fan_of(rank).cost(end)
            self._close(rank, state, done)
        is_fatal = state is FAILED and self._limits.fail_fast and not self.ledger.allows_failure(rank)
        return self._followed_up(Stop.FAILED_FAST if is_fatal else None)

    def _followed_up(self, stop: Stop | None = None) -> Commands:
        """What an end brings about; it may `stop` the run."""
        released = () if self._lifetimes.is_idle and not self._spent else self._released()
        if stop is not None and self._unended and not self.stopped:
            return [*released, *self._stop(stop)]
        return released if self._unended else [*released, *self._ended()]

    def _get_on(self, attempt: Attempt, count: int = 1) -> None:
        """So many of those that it is at have ended, or go on in another one."""
        work = self._work[attempt.rank]
        if work.timeout is not None:
            self._tries.deadlines.drop(attempt.number)  # if there is a next one, it has a time of its own
        if count < attempt.count:
            attempt.get_on(count)
            return
        del self._open[attempt.number]
        if self._pressure.alone is not None:
            self._pressure.alone = None
            self._hold_back()
        if work.share:
            self._queue.unseat(attempt.number)

    def _release(self, ended: int) -> None:
        """Count the end at each dependent; those whose dependencies have all ended become ready, or are skipped.

        A mapped task may count as ended well and as failed (`Fan.counted`). One that is to follow another one item by
        item comes here only where that one was never expanded.
        """
        waiting, well, states = self._waiting, self._well, self.states
        add = self._queue.add if self._offers is None else self._offers.pending.append
        ahead = [ended]
        while ahead:
            task = ahead.pop()
            counts = states[task] is COMPLETED if task not in self._fans else self._fans[task].has_succeeded
            ahead += self._left_out(task) if self._in_copies else ()
            for dependent in self.plan.successors[task]:
                waiting[dependent] -= 1
                well[dependent] += counts
                if waiting[dependent] or states[dependent] is not WAITING:
                    if states[dependent] is AHEAD:
                        states[dependent] = SUBMITTED
                    continue
                work = self._work[dependent]
                if dependent in self._in_copies:
                    continue
                if dependent in self._following:
                    may_start = False
                elif (work.rule is None and work.trigger is None) or work.inner is not None:
                    may_start = rules.may_start(well[dependent])
                else:
                    may_start = self.ledger.refusal(dependent) is None
                if may_start:
                    states[dependent] = READY
                    add(dependent)
                else:
                    self._queue.expect(dependent, -1)
                    self._close(dependent, SKIPPED)
                    ahead.append(dependent)

    def _left_out(self, head: int) -> list[int]:
        """Close those that await the items of a task which has ended without telling any."""
        members = [rank for rank in self._followers.get(head, ()) if rank in self._in_copies]
        found = [rank for rank in members if self.states[rank] is WAITING]
        for rank in found:
            self._queue.expect(rank, -1)
            self._close(rank, SKIPPED)
        return found

    # ---- mapped tasks ----------------------------------------------------------------------------------------------

    def _complete_part(self, attempt: Attempt, event: Done) -> Commands:
        """A mapped task was expanded, or one of its instances has ended well."""
        unit = attempt.rank
        if unit >= self._tasks:
            return self._complete_instances(attempt, together([event]))
        if self.stopped:
            return self._end(attempt, CANCELLED, None)
        self._get_on(attempt)
        self._expand(unit, event)
        return [*self._released(), *self._ended()]

    def _complete_instances(self, attempt: Attempt, event: ItemsDone) -> Commands:
        """The next instances of an attempt have ended well, of which the first was started."""
        unit, count = attempt.rank, len(event.written)
        if count > attempt.count:
            raise self._impossible(attempt, event)
        if attempt.nearby is not None:
            self._sight.learn_of_item(self.ledger.fan_of(unit), attempt, event.read[0])
        self._get_on(attempt, count)
        self.attempts[unit + 1 : unit + count] = [1] * (count - 1)
        return self._have_completed(unit, event)

    def _have_completed(self, unit: int, event: ItemsDone) -> Commands:
        """Instances have ended so, from that one on."""
        fan, count = self.ledger.fan_of(unit), len(event.written)
        index = unit - fan.first
        if fan.is_end:
            event = self._copied(fan).ended_with(fan, index, event)
        fan.keep(index, event)
        self.ends.keep(unit, event)
        fan.cost_of_all(event.figures)
        self.states[unit : unit + count] = [COMPLETED] * count
        self._unended -= count
        if self._chronicle is not None:
            for place in range(count):
                self._chronicle.ended(unit + place, event.alone(place))
        self._instances_ended(fan, index, count)
        return self._followed_up()

    def _expand(self, rank: int, event: Done) -> None:
        """From here on there are instances: of the task, and of those that go through the same items."""
        for mapped in (rank, *self._followers.get(rank, ())):
            self._fan_out(mapped, event)
        head = self._fans[rank]
        head.add(event.usage)
        units = range(head.first, head.first + head.size)
        if not head.size:
            self._end_mapped(head)
        elif head.inner is not None and self.ledger.refusal_of_instance(head.first) is not None:
            head.withdraw()
            for closed, index, count in self._closed(head, units, SKIPPED):
                self._instances_ended(closed, index, count)
        elif self._offers is not None:
            head.withdraw()
            self._make_known(head, units)
        else:
            self._queue.add(rank)

    def _fan_out(self, rank: int, event: Done) -> None:
        work = self._work[rank]
        if work.each is None:
            raise InternalError(f"Task {self.plan.names[rank]!r} was expanded, and is no mapped task")
        if event.items is None:
            raise InternalError(f"Task {self.plan.names[rank]!r} was to tell its items, and told none")
        leaders, before = tuple([self._fans[one] for one in work.each.led_by]), work.each.head(rank)
        head = None if before is None else self._fans[before].head
        fan = Fan(self.plan.names[rank], rank, len(self.states), work.each, event.items, leaders, head)
        fan.goes_one_by_one = self._offers is not None and work.fingerprint != 0
        if fan.inner is not None:
            self._enter_copies(fan, work)
        self.ledger.add(fan, READY if head is None else WAITING)
        self._queue.expect(rank, fan.unended - (head is not None))
        self._tries.failures += [0] * fan.unended
        self._work += [work] * fan.unended
        self._unended += fan.unended
        if self._chronicle is not None:
            self._chronicle.expanded(fan, event)

    def _enter_copies(self, fan: Fan, work: Work) -> None:
        """Its instances belong to copies that are made for items."""
        merging = self._merging
        fan.copied = fan.head.copied or Copied(fan, proxy(self.history), merging.ruled, merging.place_of)
        is_joined = self._merging.unanimous and len(fan.leaders) > 1
        fan.goes_one_by_one |= fan.is_end or work.condition != 0 or is_joined

    def _make_known(self, fan: Fan, units: Iterable[int]) -> None:
        """These instances are ready for the first time."""
        if self._offers is None:
            self._queue.offer_all(fan, units)
        else:
            self._offers.pending.extend(units)

    def _instances_ended(self, fan: Fan, index: int, count: int) -> None:
        """So many have ended alike, from that one on: count it, and let those begin that follow them item by item."""
        ahead = [(fan, index, count)]
        while ahead:
            fan, index, count = ahead.pop()
            state = self.states[fan.first + index]
            fan.count(index, count, state)
            if fan.is_end:
                self._spent += self._left_behind(fan, index, count)
            self._spent += references_among(fan.spend(index, count))
            if state is COMPLETED and fan.inner is None and fan.head.has_stored:
                for place in range(index, index + count):
                    self._spent += self._rows.spent(fan, place)
            if not fan.unended:
                self._end_mapped(fan)
            for follower in fan.followers:
                ahead += self._led(follower, index, count)
            if fan.inner is not None and fan.is_head:
                ahead += self._begin_copies(fan, index, count)

    def _led(self, fan: Fan, index: int, count: int) -> Iterator[tuple[Fan, int, int]]:
        """One that it follows has ended, at so many places: what may begin there does; yields what ends instead."""
        units = [fan.first + place for place in fan.led(index, count)]
        yield from self._let_begin(fan, [unit for unit in units if self.states[unit] is WAITING])

    def _let_begin(self, fan: Fan, waiting: Sequence[int]) -> Iterator[tuple[Fan, int, int]]:
        if self.stopped:
            yield from self._closed(fan, waiting, CANCELLED)
            return
        refused = self._refused(fan, waiting)
        beginning = [unit for unit in waiting if unit not in refused] if refused else waiting
        if fan.is_end:
            through = [unit for unit in beginning if self._is_through(fan, unit)]
            beginning = [unit for unit in beginning if unit not in through]
            yield from self._closed(fan, through, COMPLETED)
        for unit in beginning:
            self.states[unit] = READY
        if beginning:
            self._make_known(fan, beginning)
        yield from self._closed(fan, refused, SKIPPED)

    def _refused(self, fan: Fan, units: Sequence[int]) -> dict[int, None]:
        """Those that aren't to begin, now that those that they follow have ended, which one has alike for all."""
        work, states = self._work[fan.rank], self.states
        if work.inner is not None and (work.rule is not None or work.trigger is not None):
            return dict.fromkeys([unit for unit in units if self.ledger.refusal_of_instance(unit) is not None])
        back = [leader.first - fan.first for leader in fan.leaders]
        if not back or not units:
            return {}
        if len(back) == 1:
            return {} if states[units[0] + back[0]] is COMPLETED else dict.fromkeys(units)
        return dict.fromkeys([unit for unit in units if COMPLETED not in [states[unit + step] for step in back]])

    def _closed(self, fan: Fan, units: Iterable[int], state: State) -> Iterator[tuple[Fan, int, int]]:
        """End instances that have no attempt."""
        for unit in units:
            self._queue.expect(unit, -1)
            self.states[unit] = state
            self._unended -= 1
            if self._chronicle is not None:
                self._chronicle.ended(unit)
            yield fan, unit - fan.first, 1

    # ---- copies that are made for items ----------------------------------------------------------------------------

    def _begin_with(self, units: range) -> None:
        """Instances begin, and if they are the first ones of their copies, those do."""
        fan = self.ledger.fan_of(units.start)
        if fan.is_head and fan.inner is not None:
            for closed, index, count in self._begin_copies(fan, units.start - fan.first, len(units)):
                self._instances_ended(closed, index, count)

    def _begin_copies(self, head: Fan, index: int, count: int) -> Iterator[tuple[Fan, int, int]]:
        """So many copies begin: so do those of their tasks that follow none; yields what ends instead."""
        for fan in head.beside:
            units = range(fan.first + index, fan.first + index + count)
            yield from self._let_begin(fan, [unit for unit in units if self.states[unit] is WAITING])

    def _is_through(self, end: Fan, unit: int) -> bool:
        """Whether a copy is through without an attempt: nothing of what it has left is to be merged."""
        index = unit - end.first
        gathered = self._copied(end).gathered(end, index)
        if gathered.joined:
            return False
        end.keep_one(index, gathered.keys, gathered.payloads)
        return True

    def _left_behind(self, end: Fan, index: int, count: int) -> list[bytes]:
        """Copies are through: the large values of their instances that none of them has left."""
        found: list[bytes] = []
        for place in range(index, index + count):
            kept = {*end.wrote(place).values()}
            for fan in end.above:
                found += [payload for payload in fan.forget(place) if payload not in kept]
        return found

    def _copied(self, fan: Fan) -> Copied:
        if not isinstance(fan.copied, Copied):
            raise InternalError(f"Task {fan.task!r} belongs to no workflow that runs for each item")
        return fan.copied

    def _end_mapped(self, fan: Fan) -> None:
        """All instances have ended: so does their task, after the one that it follows, and before those that follow."""
        ahead = [fan]
        while ahead:
            fan = ahead.pop()
            has_led = all(self.states[leader.rank] in ENDED for leader in fan.leaders)
            if has_led and not fan.unended and self.states[fan.rank] is EXPANDED:
                self._close_mapped(fan)
                ahead += fan.followers

    def _close_mapped(self, fan: Fan) -> None:
        rank = fan.rank
        diff = fan.collect() if fan.inner is None or fan.is_end else {}
        state = fan.state
        if fan.inner is not None:
            self._record(rank, {key: self._kept(payload) for key, payload in diff.items()}, fan.seconds)
        elif self._rows.heir(fan) is None:
            self._record_row(fan, diff)
        self.ends[rank] = self.ledger.end_of(fan, state)
        self.states[rank] = state
        self._unended -= 1
        if self._chronicle is not None:
            self._chronicle.ended(rank)
        for member in fan.head.close():  # as long as one of them sees what the head does, none counts as ended there
            self._lifetimes.ended(member.rank)
            member.let_go()
        self._release(rank)

    def _record_row(self, last: Fan, diff: dict[str, bytes | None]) -> None:
        """What a mapped task leaves; before it what those leave that it is seen in place of."""
        above = self._rows.bequeathed(last)
        for place, fan in enumerate([*above, last], 1):
            left = diff if fan is last else self._rows.diff_of(fan, fan.collect(), [*above[place:], last])
            if left or fan.state is COMPLETED:
                self._record(fan.rank, {key: self._kept(payload) for key, payload in left.items()}, fan.seconds)


_AT_ONCE = frozenset({Done, ItemsDone, Failed, Skipped})
"""What may come of a submitted attempt before anything tells that it runs: so it has begun, too."""

_TRANSITIONS: dict[tuple[State, type[AttemptEvent]], Callable[[Run, Attempt, Any], Commands]] = {
    (AHEAD, Unstarted): Run._fall_behind,
    (SUBMITTED, Started): Run._start,
    (SUBMITTED, Unstarted): Run._give_back,
    (RUNNING, Wants): Run._answer,
    (RUNNING, Unstarted): Run._give_back,
    (RUNNING, Done): Run._complete,
    (RUNNING, ItemsDone): Run._complete_instances,
    (RUNNING, Failed): Run._fail,
    (RUNNING, Skipped): Run._skip,
    (RUNNING, Lost): Run._fail,
}
