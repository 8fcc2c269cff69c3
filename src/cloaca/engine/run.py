"""One run of a workflow as a pure state machine: `handle(event, now)` returns the commands to carry out.

Rules of this file
    - No clock, process, socket, random or log call, no user code, no payload opened. The time is an argument.
    - What may happen to a task stands in `_TRANSITIONS`, and only there. Anything else is an `InternalError` that
      prints the task's story.
    - An attempt has a number that is never reused. A report about an attempt that is no longer open is late: dropped.
    - Commands come out in an order that depends on the events alone.

          dependencies ended            room                 Started
    WAITING ---------------> READY ------------> SUBMITTED ----------> RUNNING
       |                       ^    Unstarted       |                    |
       |                       +--------------------+                    |
       | none ended well                                   Done          | Failed, Lost
       v                                                     |           |
    SKIPPED            CANCELLED (by Cancel)            COMPLETED     FAILED
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, auto
from heapq import heapify, heappop, heappush
from itertools import islice
from typing import Any

from cloaca.engine.events import AttemptEvent, Begin, Cancel, Commands, Ended, Release, Room, RunEvent, Withdraw
from cloaca.engine.history import History
from cloaca.engine.lifetimes import Lifetimes
from cloaca.engine.plan import Plan
from cloaca.engine.telling import PlaceOf, Told
from cloaca.engine.view import ContextView, DeferredMapping
from cloaca.errors import InternalError
from cloaca.rules import may_start
from cloaca.wire.blobs import is_reference, size_of
from cloaca.wire.messages import (
    Answer,
    Assignment,
    Done,
    Failed,
    Lost,
    Outcome,
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


class State(IntEnum):
    """Where a task stands."""

    WAITING = auto()
    READY = auto()
    SUBMITTED = auto()
    RUNNING = auto()
    COMPLETED = auto()
    FAILED = auto()
    SKIPPED = auto()
    CANCELLED = auto()


ENDED = frozenset({State.COMPLETED, State.FAILED, State.SKIPPED, State.CANCELLED})


@dataclass(frozen=True, slots=True)
class Work:
    """What a task runs: the number of its published function, and the keys that it will probably read."""

    function: int
    reads: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Merging:
    """What a run has to know of merging, which it never does itself.

    `rules` is the number of the published rules; `ruled` are the keys that have one, and `collected` those among them
    whose values are kept by task; `unanimous`: no task begins while a key is in conflict at it; `place_of` tells where
    the function of a task stands, by rank.
    """

    rules: int = 0
    ruled: frozenset[str] = frozenset()
    collected: frozenset[str] = frozenset()
    unanimous: bool = False
    place_of: PlaceOf = lambda _rank: ""


@dataclass(slots=True)
class Attempt:
    """An open attempt; `nearby` and `prefetch` serve its on-demand reads."""

    number: int
    rank: int
    nearby: Iterator[tuple[str, Told] | None] | None = None
    prefetch: int = FIRST_PREFETCH


class Run:
    """The state of one run.

    `answers`: whether the executor asks for what a slice lacks in the middle of a task. `oversized` tells of the values
    over `limit` bytes who set them and how large they are, by key. `seed`: what all attempts' seeds come from.
    """

    def __init__(
        self,
        plan: Plan,
        work: Sequence[Work],
        inputs: Mapping[str, Version],
        *,
        numbers: Iterator[int],
        answers: bool,
        limit: int | None = None,
        merging: Merging | None = None,
        seed: int = 0,
    ) -> None:
        self.plan = plan
        self.seed = seed
        self._merging = merging or Merging()
        self.history = History(
            plan,
            inputs,
            collected=self._merging.collected,
            ruled=self._merging.ruled,
            place_of=self._merging.place_of,
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
        self.ends: list[Usage | Failed | Lost | None] = [None] * len(plan.names)
        self.cancelled = False
        self.oversized: dict[str, tuple[str, int]] = {}
        self._limit = limit
        self.late = 0
        self._work = work
        self._numbers = numbers
        self._answers = answers
        self._ready: list[int] = []
        self._open: dict[int, Attempt] = {}
        self._unended = len(plan.names)
        self._waiting = [len(dependencies) for dependencies in plan.predecessors]
        self._well = [0] * len(plan.names)
        self._log: deque[tuple[float, int, str]] = deque(maxlen=STORY_LENGTH)

    @property
    def ready(self) -> int:
        """How many tasks could be submitted now."""
        return len(self._ready)

    @property
    def open_attempts(self) -> Mapping[int, Attempt]:
        """The attempts that were submitted and haven't been reported, by number."""
        return self._open

    def handle(self, event: RunEvent | AttemptEvent, now: float) -> Commands:
        """Take in one event; returns what is to be done, in order."""
        match event:
            case Room():
                return self._submit(event.count, now)
            case Begin():
                return self._begin()
            case Cancel():
                return self._cancel(now)
            case _:
                return self._report(event, now)

    def _report(self, event: AttemptEvent, now: float) -> Commands:
        attempt = self._open.get(event.attempt)
        if attempt is None:
            self.late += 1
            return ()
        self._log.append((now, attempt.rank, type(event).__name__))
        transition = _TRANSITIONS.get((self.states[attempt.rank], type(event)))
        if transition is None:
            raise self._impossible(attempt, event)
        return transition(self, attempt, event)

    def story(self, rank: int) -> str:
        """The ordered events of one task, one a line."""
        return "\n".join(f"  {now:.6f} {what}" for now, task, what in self._log if task == rank)

    def outcome(self, rank: int) -> Outcome:
        """How a task ended, as `context.outcome` tells it."""
        if self.states[rank] is not State.FAILED:
            return Outcome(self.states[rank].name.capitalize())
        match self.ends[rank]:
            case Lost() as lost:
                return Outcome("Failed", f"WorkerDied: {lost.reason or lost.signal or f'exit code {lost.exit_code}'}")
            case Failed(type_name=type_name, text=text):
                return Outcome("Failed", f"{type_name}: {text}")
            case _:
                raise InternalError(f"Task {self.plan.names[rank]!r} failed and nothing tells why")

    # ---- the run ---------------------------------------------------------------------------------------------------

    def _begin(self) -> Commands:
        if self.cancelled:
            return ()
        self._ready = [rank for rank, waiting in enumerate(self._waiting) if not waiting]
        heapify(self._ready)
        for rank in self._ready:
            self.states[rank] = State.READY
        return ()

    def _submit(self, count: int, now: float) -> Commands:
        assignments = []
        while count and self._ready:
            rank = heappop(self._ready)
            attempt = Attempt(next(self._numbers), rank)
            self._open[attempt.number] = attempt
            self.states[rank] = State.SUBMITTED
            self._log.append((now, rank, "submitted"))
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
        )

    def _cancel(self, now: float) -> Commands:
        if self.cancelled or not self._unended:
            return ()
        self.cancelled = True
        self._ready.clear()
        for rank, state in enumerate(self.states):
            if state is State.WAITING or state is State.READY:
                self._log.append((now, rank, "cancelled"))
                self._close(rank, State.CANCELLED)
        return [*(Withdraw(number) for number in self._open), *self._ended()]

    def _current(self) -> Iterator[int]:
        """The tasks that run or could run now: every other one that hasn't ended comes after one of them."""
        yield from self._ready
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
        payloads = [write.version.payload for write in writes if write.version.payload is not None]
        return (Release(payloads),) if payloads else ()

    def _impossible(self, attempt: Attempt, event: AttemptEvent) -> InternalError:
        name = self.plan.names[attempt.rank]
        return InternalError(
            f"Task {name!r} is {self.states[attempt.rank].name}, and attempt {attempt.number} reported "
            f"{type(event).__name__}, which can't happen there. Its story:\n{self.story(attempt.rank)}"
        )

    # ---- what a task sees ------------------------------------------------------------------------------------------

    def _slice(self, rank: int, reads: tuple[str, ...]) -> Slice:
        versions = self.history.versions
        found = {key: told for key in reads if (told := versions(rank, key))}
        return Slice(found, met=self.history.met(rank))

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

    # ---- transitions -----------------------------------------------------------------------------------------------

    def _start(self, attempt: Attempt, _event: AttemptEvent) -> Commands:
        self.states[attempt.rank] = State.RUNNING
        self.attempts[attempt.rank] += 1
        return ()

    def _give_back(self, attempt: Attempt, _event: AttemptEvent) -> Commands:
        del self._open[attempt.number]
        if self.cancelled:
            self._close(attempt.rank, State.CANCELLED)
            return self._ended()
        self.states[attempt.rank] = State.READY
        heappush(self._ready, attempt.rank)
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
            if self._limit is not None:
                self._note_size(key, write.version, self._limit)
        return self._end(attempt, State.COMPLETED, event.usage)

    def _note_size(self, key: str, version: Version, limit: int) -> None:
        payload = version.payload
        if payload is None or (len(payload) <= limit and not is_reference(payload)):
            return
        size = size_of(payload)
        if size > limit:
            self.oversized.setdefault(key, (version.writer, size))

    def _fail(self, attempt: Attempt, event: Failed | Lost) -> Commands:
        self._failures[attempt.rank] += isinstance(event, Failed)
        stopped = self.cancelled and isinstance(event, Lost)
        return self._end(attempt, State.CANCELLED if stopped else State.FAILED, event)

    def _end(self, attempt: Attempt, state: State, end: Usage | Failed | Lost) -> Commands:
        del self._open[attempt.number]
        self.ends[attempt.rank] = end
        self._close(attempt.rank, state)
        self._release(attempt.rank)
        released = () if self._lifetimes.is_idle else self._released()
        return (*released, *self._ended()) if released else self._ended()

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
                if may_start(self._well[dependent]):
                    self.states[dependent] = State.READY
                    heappush(self._ready, dependent)
                else:
                    self._close(dependent, State.SKIPPED)
                    ahead.append(dependent)


_TRANSITIONS: dict[tuple[State, type[AttemptEvent]], Callable[[Run, Attempt, Any], Commands]] = {
    (State.SUBMITTED, Started): Run._start,
    (State.SUBMITTED, Unstarted): Run._give_back,
    (State.RUNNING, Wants): Run._answer,
    (State.RUNNING, Done): Run._complete,
    (State.RUNNING, Failed): Run._fail,
    (State.RUNNING, Lost): Run._fail,
}
