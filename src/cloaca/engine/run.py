"""One run of a workflow as a pure state machine: `handle(event, now)` returns the commands to carry out.

Rules of this file
    - No clock, process, socket, random or log call, no user code, no payload opened. The time is an argument.
    - What may happen to a task stands in `_TRANSITIONS`, and only there. Anything else is an `InternalError` that
      prints the task's story.
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
       |     Skipped: its condition on values doesn't hold           |
       +-------------------------------------------------------------+
    What hasn't ended when the run is stopped ends as CANCELLED. A run is stopped by Cancel, by the first failure of a
    run that is to fail fast, and by its own time limit.
"""

from array import array
from collections import deque
from collections.abc import Callable, Iterator, Mapping, MutableMapping, MutableSequence, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum, auto
from heapq import heapify, heappop, heappush
from itertools import islice
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from cloaca import rules, verdict
from cloaca.condition import Condition
from cloaca.engine.events import AttemptEvent, Begin, Cancel, Commands, Ended, Release, Room, RunEvent, Tick, Withdraw
from cloaca.engine.history import History
from cloaca.engine.lifetimes import Lifetimes
from cloaca.engine.passing import Passing
from cloaca.engine.plan import Plan
from cloaca.engine.priority import Priority
from cloaca.engine.statuses import Statuses
from cloaca.engine.telling import PlaceOf, Told
from cloaca.engine.timers import Timers
from cloaca.engine.view import ContextView, DeferredMapping
from cloaca.errors import InternalError, kinds_of
from cloaca.loss import error_of
from cloaca.retry import RetryPolicy
from cloaca.rules import may_start
from cloaca.seed import fraction
from cloaca.wire.blobs import is_reference, size_of
from cloaca.wire.messages import (
    Answer,
    Assignment,
    Done,
    Failed,
    Lost,
    Outcome,
    Skipped,
    Slice,
    Started,
    Unstarted,
    Usage,
    Version,
    Wants,
)

FIRST_PREFETCH = 16
"""How many keys (or tasks without one) nearby come along with the first key that a slice lacked; doubled each time."""

MOST_PREFETCH = 1 << 20
STORY_LENGTH = 10_000
GRACE_SECONDS = 2.0


class State(IntEnum):
    """Where a task stands."""

    WAITING = auto()
    READY = auto()
    SUBMITTED = auto()
    RUNNING = auto()
    BACKING_OFF = auto()
    COMPLETED = auto()
    FAILED = auto()
    SKIPPED = auto()
    CANCELLED = auto()


ENDED = frozenset({State.COMPLETED, State.FAILED, State.SKIPPED, State.CANCELLED})
_OUTCOMES = {state: Outcome(state.name.capitalize()) for state in State}
_EXPLAINED = frozenset({State.FAILED, State.SKIPPED})
_IDLE = frozenset({State.WAITING, State.READY, State.BACKING_OFF})


class Stop(Enum):
    """Why a run was stopped before its end."""

    CANCELLED = "it was cancelled"
    FAILED_FAST = "a task failed"
    OUT_OF_TIME = "its time was up"


class Work(Struct, frozen=True, gc=False):
    """What a task runs: the number of its published function, and the keys that it will probably read.

    `timeout`: how many seconds one attempt may take. Without a `retry` policy there is one. `trigger` is when it may
    start, a rule by name or a condition; `None`: the default rule. `condition`: the number under which that was
    published, where it is asked in the attempt; 0 where the run decides. `prefix`: of the task's keys, in a copy.
    """

    function: int
    reads: tuple[str, ...]
    timeout: float | None = None
    retry: RetryPolicy | None = None
    trigger: str | Condition | None = None
    condition: int = 0
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run as a whole must keep to.

    It is stopped after `timeout` seconds, and by the first failure where it is to `fail_fast`; a task that is stopped
    has `grace` seconds to put its things in order. Values over `size` bytes are taken note of.
    """

    timeout: float | None = None
    fail_fast: bool = False
    grace: float = GRACE_SECONDS
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Merging:
    """What a run has to know of merging, which it never does itself.

    `rules` is the number of the published rules; `ruled` are the keys that have one, and `collected` those among them
    whose values are kept by task; `unanimous`: no task begins while a key is in conflict at it; `place_of` tells where
    the function of a task stands, by rank; `passing` which keys find a value of another key.
    """

    rules: int = 0
    ruled: frozenset[str] = frozenset()
    collected: frozenset[str] = frozenset()
    unanimous: bool = False
    place_of: PlaceOf = lambda _rank: ""
    passing: Passing = field(default_factory=dict)


class Attempt(Struct, gc=False):
    """An open attempt; `nearby` and `prefetch` serve its on-demand reads. `is_expired`: its time was up."""

    number: int
    rank: int
    is_expired: bool = False
    nearby: Iterator[tuple[str, Told] | None] | None = None
    prefetch: int = FIRST_PREFETCH


class Run:
    """The state of one run.

    `answers`: whether the executor asks for what a slice lacks in the middle of a task. `seed`: what all attempts'
    seeds come from. `stopped` tells why, where it was; `oversized` who set a value that is too large, and how large it
    is, by key; `due` when the run wants a `Tick`. `durations`: how many seconds tasks took in earlier runs, by
    rank, and 0 where that isn't known; `habits`: the keys that tasks read there for which they had to ask, by rank.
    Both are brought up to date.
    """

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
        seed: int = 0,
        durations: MutableSequence[float] | None = None,
        habits: MutableMapping[int, tuple[str, ...]] | None = None,
    ) -> None:
        self.plan = plan
        self._durations = array("d", bytes(8 * len(plan.names))) if durations is None else durations
        self._habits = {} if habits is None else habits
        self.priority = Priority(plan, self._durations)
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
        )
        self.states = [State.WAITING] * len(plan.names)
        self.attempts = [0] * len(plan.names)
        self._failures = [0] * len(plan.names)
        self.ends: list[Usage | Failed | Lost | Skipped | None] = [None] * len(plan.names)
        self.stopped: Stop | None = None
        self.oversized: dict[str, tuple[str, int]] = {}
        self.late = 0
        self._limits = limits or Limits()
        self._deadlines = Timers()
        self._backoffs = Timers()
        self._deadline: float | None = None
        self._now = 0.0
        self._work = work
        self._numbers = numbers
        self._answers = answers
        self._ready: list[int] = []  # places by priority: a heap
        self._open: dict[int, Attempt] = {}
        self._unended = len(plan.names)
        self._waiting = [len(dependencies) for dependencies in plan.predecessors]
        self._well = [0] * len(plan.names)
        self._log: deque[float | int | str] = deque(maxlen=3 * STORY_LENGTH)  # flat: less for the garbage collector

    @property
    def ready(self) -> int:
        """How many tasks could be submitted now."""
        return len(self._ready)

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
        due = self._deadline
        for timers in (self._deadlines, self._backoffs):
            moment = timers.due
            if moment is not None and (due is None or moment < due):
                due = moment
        return due

    def handle(self, event: RunEvent | AttemptEvent, now: float) -> Commands:
        """Take in one event; returns what is to be done, in order."""
        self._now = now
        match event:
            case Done():  # first, as there is one for each task
                return self._report(event)
            case Room():
                return self._submit(event.count)
            case Begin():
                return self._begin()
            case Cancel():
                return self._stop(Stop.CANCELLED, event.grace)
            case Tick():
                return self._tick()
            case _:
                return self._report(event)

    def _report(self, event: AttemptEvent) -> Commands:
        attempt = self._open.get(event.attempt)
        if attempt is None:
            self.late += 1
            return ()
        kind = type(event)
        self._log.extend((self._now, attempt.rank, kind.__name__))
        transition = _TRANSITIONS.get((self.states[attempt.rank], kind))
        if transition is None:
            raise self._impossible(attempt, event)
        return transition(self, attempt, event)

    def story(self, rank: int) -> str:
        """The ordered events of one task, one a line."""
        entries = iter(self._log)
        return "\n".join(f"  {now:.6f} {what}" for now, task, what in zip(*[entries] * 3, strict=True) if task == rank)

    def outcomes(self) -> list[Outcome]:
        """How each task ended, by rank."""
        return [
            self.outcome(rank) if state in _EXPLAINED else _OUTCOMES[state] for rank, state in enumerate(self.states)
        ]

    def outcome(self, rank: int) -> Outcome:
        """How a task ended, as `context.outcome` tells it."""
        state = self.states[rank]
        if state is State.SKIPPED:
            return Outcome("Skipped", reason=self.reason(rank))
        if state is not State.FAILED:
            return _OUTCOMES[state]
        match self.ends[rank]:
            case Lost() as lost:
                error = error_of(lost, self.plan.names[rank], self.attempts[rank])
                return Outcome("Failed", f"{type(error).__name__}: {error}")
            case Failed(type_name=type_name, text=text):
                return Outcome("Failed", f"{type_name}: {text}")
            case _:
                raise InternalError(f"Task {self.plan.names[rank]!r} failed and nothing tells why")

    def reason(self, rank: int) -> str:
        """Why a task was skipped."""
        end = self.ends[rank]
        reason = end.reason if isinstance(end, Skipped) else self._refusal(rank)
        if reason is None:
            raise InternalError(f"Task {self.plan.names[rank]!r} was skipped and nothing tells why")
        return reason

    def _refusal(self, rank: int) -> str | None:
        """Why the task isn't to start now that all before it has ended; `None`: it is to start."""
        work = self._work[rank]
        if work.condition:
            return None
        if isinstance(work.trigger, Condition):
            return verdict.refusal(work.trigger, Statuses(self._status))
        names = self.plan.names
        ends = {
            names[dependency]: _OUTCOMES[self.states[dependency]].status for dependency in self.plan.predecessors[rank]
        }
        return rules.refusal(work.trigger or rules.DEFAULT, ends)

    def _status(self, task: str) -> str:
        return _OUTCOMES[self.states[self.plan.rank[task]]].status

    # ---- the run ---------------------------------------------------------------------------------------------------

    def _begin(self) -> Commands:
        if self.stopped:
            return ()
        if self._limits.timeout is not None:
            self._deadline = self._now + self._limits.timeout
        ready = [rank for rank, waiting in enumerate(self._waiting) if not waiting]
        for rank in ready:
            self.states[rank] = State.READY
        self._ready = [self.priority.places[rank] for rank in ready]
        heapify(self._ready)
        return ()

    def _submit(self, count: int) -> Commands:
        assignments = []
        while count and self._ready:
            rank = self.priority.ranks[heappop(self._ready)]
            attempt = Attempt(next(self._numbers), rank)
            self._open[attempt.number] = attempt
            self.states[rank] = State.SUBMITTED
            self._note(rank, "submitted")
            assignments.append(self._assignment(attempt.number, rank))
            count -= 1
        return assignments

    def _assignment(self, number: int, rank: int) -> Assignment:
        work = self._work[rank]
        agreed: tuple[str, ...] = ()
        reads = work.reads
        if self._merging.unanimous and len(self.plan.predecessors[rank]) > 1:
            agreed = tuple(self.history.joined_keys(rank))
            reads = (*reads, *agreed)
        slice_ = self._slice(rank, reads) if self._answers else self._whole_slice(rank)
        if work.condition and self._answers:
            slice_ = replace(slice_, outcomes=self._named_outcomes(work.trigger))
        return Assignment(
            number,
            self.plan.names[rank],
            work.function,
            slice_,
            self._merging.rules,
            agreed,
            nth=self.attempts[rank] + 1,
            ended=self._failures[rank],
            seed=self.seed,
            place=self.priority.places[rank],
            condition=work.condition,
            prefix=work.prefix,
        )

    def _tick(self) -> Commands:
        for rank in self._backoffs.ring(self._now):
            self._make_ready(rank)
        if self._deadline is not None and self._deadline <= self._now:
            return self._stop(Stop.OUT_OF_TIME)
        return [self._expire(self._open[number]) for number in self._deadlines.ring(self._now)]

    def _expire(self, attempt: Attempt) -> Withdraw:
        attempt.is_expired = True
        self._note(attempt.rank, "out of time")
        return Withdraw(attempt.number, self._limits.grace)

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
        self._ready.clear()
        self._backoffs.drop_all()
        self._deadline = None
        for rank, state in enumerate(self.states):
            if state in _IDLE:
                self._note(rank, "cancelled")
                self._close(rank, State.CANCELLED)

    def _make_ready(self, rank: int) -> None:
        self.states[rank] = State.READY
        heappush(self._ready, self.priority.places[rank])

    def _note(self, rank: int, what: str) -> None:
        self._log.extend((self._now, rank, what))

    def _current(self) -> Iterator[int]:
        """The tasks that run, or could run without any other one: all that haven't ended come after one of them."""
        yield from (self.priority.ranks[place] for place in self._ready)
        yield from self._backoffs
        for attempt in self._open.values():
            yield attempt.rank

    def _ended(self) -> Commands:
        return () if self._unended else (Ended(),)

    def _close(self, rank: int, state: State) -> None:
        self.states[rank] = state
        self._unended -= 1
        self._lifetimes.ended(rank)

    def _released(self) -> Commands:
        if self._lifetimes.is_idle:
            return ()
        writes = self._lifetimes.released(self._current)
        released = (write.version.payload for write in writes)
        payloads = [payload for payload in released if payload is not None and payload not in self.history.shared]
        return (Release(payloads),) if payloads else ()

    def _impossible(self, attempt: Attempt, event: AttemptEvent) -> InternalError:
        name = self.plan.names[attempt.rank]
        return InternalError(
            f"Task {name!r} is {self.states[attempt.rank].name}, and attempt {attempt.number} reported "
            f"{type(event).__name__}, which can't happen there. Its story:\n{self.story(attempt.rank)}"
        )

    # ---- what a task sees ------------------------------------------------------------------------------------------

    def _slice(self, rank: int, reads: tuple[str, ...]) -> Slice:
        found = self.history.told(rank, reads)
        if rank in self._habits:
            for key in self._habits[rank]:
                found.setdefault(key, self.history.versions(rank, key))
        elif self.plan.predecessors[rank] and not found:
            found = self.history.left_by_dependencies(rank)
        return Slice(found, met=self.history.met(rank))

    def _learn(self, rank: int, read: tuple[str, ...]) -> None:
        """A task had to ask for what it read. What is kept by task grows with every task: that it asks for again."""
        self._habits[rank] = tuple([key for key in read if key not in self._merging.collected])

    def _whole_slice(self, rank: int) -> Slice:
        return Slice(
            ContextView(self.history, rank), complete=True, outcomes=DeferredMapping(lambda: self._outcomes(rank))
        )

    def _nearby(self, attempt: Attempt, keys: tuple[str, ...]) -> dict[str, Told]:
        """The keys asked for, and more of what the attempt may ask for next: twice as many each time."""
        if attempt.nearby is None:
            attempt.nearby = self.history.near(attempt.rank)
        found = dict(filter(None, islice(attempt.nearby, attempt.prefetch)))
        attempt.prefetch = min(2 * attempt.prefetch, MOST_PREFETCH)
        for key in keys:
            found[key] = self.history.versions(attempt.rank, key)
        return found

    def _outcomes(self, rank: int) -> dict[str, Outcome]:
        return {self.plan.names[task]: self.outcome(task) for task in self.history.ancestors(rank)}

    def _named_outcomes(self, trigger: str | Condition | None) -> dict[str, Outcome]:
        tasks = trigger.tasks if isinstance(trigger, Condition) else ()
        return {task: Outcome(self._status(task)) for task in tasks if isinstance(task, str)}

    # ---- transitions -----------------------------------------------------------------------------------------------

    def _start(self, attempt: Attempt, _event: AttemptEvent) -> Commands:
        self.states[attempt.rank] = State.RUNNING
        self.attempts[attempt.rank] += 1
        timeout = self._work[attempt.rank].timeout
        if timeout is not None:
            self._deadlines.set(attempt.number, self._now + timeout)
        return ()

    def _give_back(self, attempt: Attempt, _event: AttemptEvent) -> Commands:
        del self._open[attempt.number]
        if self.stopped:
            self._close(attempt.rank, State.CANCELLED)
            return self._ended()
        self._make_ready(attempt.rank)
        return ()

    def _answer(self, attempt: Attempt, event: Wants) -> Commands:
        outcomes = self._outcomes(attempt.rank) if event.outcomes else None
        if event.rest:
            found = self.history.whole(attempt.rank)
        else:
            found = self._nearby(attempt, event.keys) if event.keys else {}
        return (Answer(attempt.number, Slice(found, event.rest, outcomes)),)

    def _complete(self, attempt: Attempt, event: Done) -> Commands:
        for key, write in self.history.record(attempt.rank, event.diff).items():
            if write.seen:
                self._lifetimes.superseded(key, write)
            if self._limits.size is not None:
                self._note_size(key, write.version, self._limits.size)
        if attempt.nearby is not None:
            self._learn(attempt.rank, event.usage.read)
        self._durations[attempt.rank] = event.usage.ended - event.usage.started
        return self._end(attempt, State.COMPLETED, event.usage)

    def _note_size(self, key: str, version: Version, limit: int) -> None:
        payload = version.payload
        if payload is None or (len(payload) <= limit and not is_reference(payload)):
            return
        size = size_of(payload)
        if size > limit:
            self.oversized.setdefault(key, (version.writer, size))

    def _fail(self, attempt: Attempt, event: Failed | Lost) -> Commands:
        rank = attempt.rank
        if isinstance(event, Lost):
            if attempt.is_expired:
                event = replace(event, timeout=self._work[rank].timeout)
            elif self.stopped:
                return self._end(attempt, State.CANCELLED, event)
        else:
            self._failures[rank] += 1
        delay = None if self.stopped else self._delay(rank, event)
        if delay is None:
            return self._end(attempt, State.FAILED, event)
        self._forget(attempt)
        self.states[rank] = State.BACKING_OFF
        self._backoffs.set(rank, self._now + delay)
        return ()

    def _delay(self, rank: int, event: Failed | Lost) -> float | None:
        """How many seconds to wait before the next try; `None`: there is none."""
        policy = self._work[rank].retry
        if policy is None:
            return None
        nth, name = self.attempts[rank], self.plan.names[rank]
        if isinstance(event, Lost):
            error = error_of(event, name, nth)
            kinds, text = kinds_of(type(error)), f"{type(error).__name__}: {error}"
        else:
            kinds, text = event.kinds, f"{event.type_name}: {event.text}"
        return policy.delay(nth, fraction(self.seed, name, nth)) if policy.retries(nth, kinds, text) else None

    def _skip(self, attempt: Attempt, event: Skipped) -> Commands:
        return self._end(attempt, State.SKIPPED, event)

    def _start_and_skip(self, attempt: Attempt, event: Skipped) -> Commands:
        self._start(attempt, event)
        return self._skip(attempt, event)

    def _start_and_complete(self, attempt: Attempt, event: Done) -> Commands:
        self._start(attempt, event)
        return self._complete(attempt, event)

    def _start_and_fail(self, attempt: Attempt, event: Failed) -> Commands:
        self._start(attempt, event)
        return self._fail(attempt, event)

    def _end(self, attempt: Attempt, state: State, end: Usage | Failed | Lost | Skipped) -> Commands:
        self._forget(attempt)
        self.ends[attempt.rank] = end
        self._close(attempt.rank, state)
        self._release(attempt.rank)
        released = () if self._lifetimes.is_idle else self._released()
        if state is State.FAILED and self._limits.fail_fast and self._unended and not self.stopped:
            return [*released, *self._stop(Stop.FAILED_FAST)]
        return (*released, *self._ended()) if released else self._ended()

    def _forget(self, attempt: Attempt) -> None:
        del self._open[attempt.number]
        if self._work[attempt.rank].timeout is not None:
            self._deadlines.drop(attempt.number)

    def _release(self, ended: int) -> None:
        """Count the end at each dependent; those whose dependencies have all ended become ready, or are skipped."""
        ahead = [ended]
        while ahead:
            task = ahead.pop()
            well = self.states[task] is State.COMPLETED
            for dependent in self.plan.successors[task]:
                self._waiting[dependent] -= 1
                self._well[dependent] += well
                if self._waiting[dependent] or self.states[dependent] is not State.WAITING:
                    continue
                trigger = self._work[dependent].trigger
                if may_start(self._well[dependent]) if trigger is None else self._refusal(dependent) is None:
                    self._make_ready(dependent)
                else:
                    self._close(dependent, State.SKIPPED)
                    ahead.append(dependent)


_TRANSITIONS: dict[tuple[State, type[AttemptEvent]], Callable[[Run, Attempt, Any], Commands]] = {
    (State.SUBMITTED, Started): Run._start,
    (State.SUBMITTED, Unstarted): Run._give_back,
    (State.SUBMITTED, Done): Run._start_and_complete,
    (State.SUBMITTED, Failed): Run._start_and_fail,
    (State.SUBMITTED, Skipped): Run._start_and_skip,
    (State.RUNNING, Wants): Run._answer,
    (State.RUNNING, Done): Run._complete,
    (State.RUNNING, Failed): Run._fail,
    (State.RUNNING, Skipped): Run._skip,
    (State.RUNNING, Lost): Run._fail,
}
