"""Coordinator: the loop between runs, which decide, and an executor, which does. It makes no decision itself.

    run.handle(event, now) --> commands --> executor.submit / answer / cancel
          ^                                          |
          +--------------- events <--- executor.wait +

Several runs share one executor; they are offered room in turn. An attempt's number tells whose event it is; an event
about an attempt that is no longer open belongs to nobody, and is dropped.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from math import inf
from operator import attrgetter
from time import monotonic, time
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from msgspec import Struct, field

from cloaca.engine.events import (
    AttemptEvent,
    BatchEvent,
    Begin,
    Cancel,
    Commands,
    Deliver,
    Ended,
    Release,
    Room,
    Supply,
    Tick,
    Withdraw,
)
from cloaca.engine.seats import Seats
from cloaca.execution.executor import Executor
from cloaca.running.console import Console, ConsoleThread
from cloaca.values.blobs import references_among
from cloaca.values.holder import Holder, Nowhere
from cloaca.values.storage import Lease, Leases
from cloaca.wire.messages import (
    Answer,
    Assignment,
    Done,
    Event,
    ItemsDone,
    Logged,
    Lost,
    Profiled,
    Publish,
    Remark,
    Said,
    SpanNote,
    Started,
    Surroundings,
    Unstarted,
    Wants,
    Warned,
)

if TYPE_CHECKING:
    from cloaca.engine.batches import BatchRun
    from cloaca.engine.facts import Fact
    from cloaca.engine.run import Run

AnyRun = TypeVar("AnyRun", bound="Run | BatchRun")


OnEnd = Callable[[Exception | None], None]


class Job(Struct, Generic[AnyRun], eq=False):
    """A run of the workflow of that name, or a call of `map`.

    `rules` are the workflow's merge rules for this run, or the function of the call: what goes with the job. `leases`
    keep the large values that the run may still need. `on_end` is called once, with the error that ended it, if one
    did; `on_delivery` with each batch of results; `on_facts` with the facts of a run that somebody follows, before what
    comes of them is done; `on_release` with leases that the run doesn't need any more; `on_profile` with what profilers
    have recorded, `on_note` with what tasks tell of their spans, and `on_memory` with each reading of the workers'
    memory. All on the coordinator's thread. Where that is the caller's own, `catch_up` is called between two steps.
    """

    workflow: str
    run: AnyRun
    functions: Sequence[Publish]
    on_end: OnEnd
    surroundings: Surroundings
    rules: Publish | None = None
    leases: Leases = field(default_factory=dict)
    on_delivery: Callable[[Deliver], None] = lambda _: None
    on_facts: "Callable[[Sequence[Fact]], None] | None" = None
    on_release: Callable[[list[Lease]], None] = lambda _: None
    on_profile: Callable[[Profiled], None] = lambda _: None
    on_note: Callable[[SpanNote], None] = lambda _: None
    on_memory: Callable[[tuple[float, int]], None] = lambda _: None
    catch_up: Callable[[], None] = lambda: None


AnyJob: TypeAlias = Job[Any]


class Coordinator:
    """Drives runs on one executor. `step` and all it calls stay on one thread; `post` is for every thread."""

    def __init__(
        self,
        executor: Executor,
        console: Console | ConsoleThread | None = None,
        holder: Holder | None = None,
        seats: Seats | None = None,
    ) -> None:
        self._executor = executor
        self._holder = Nowhere() if holder is None else holder
        self._seats = Seats() if seats is None else seats
        self._mailbox: deque[tuple[AnyJob, BatchEvent]] = deque()
        self._jobs: deque[AnyJob] = deque()
        self._owners: dict[int, AnyJob] = {}
        self._load = 0  # how many calls of functions these come to
        self._sizes: dict[int, int] = {}  # of those that come to several
        self._published: dict[str, Sequence[Publish]] = {}
        self._console = console or Console()
        self._shown = self._console.shown
        self._memory = executor.memory

    @property
    def is_idle(self) -> bool:
        """Whether no run is under way, and none was posted."""
        return not self._jobs and not self._mailbox

    def post(self, job: AnyJob, event: Begin | Cancel | Supply) -> None:
        """Hand an event to a job's run; `Begin` makes the job known."""
        self._mailbox.append((job, event))
        self._executor.wake()

    def step(self, timeout: float | None = None) -> None:
        """Carry on until something has happened, or is due, for at most `timeout` seconds."""
        if self._mailbox:
            for letter in self._mail():
                self._open(*letter)
        shown = self._console.shown
        if shown != self._shown:
            self._executor.shown(shown - self._shown)
            self._shown = shown
        self._offer_room()
        due = min([due for job in self._jobs if (due := job.run.due) is not None], default=inf)
        events = self._executor.wait(timeout if due == inf else _time_left(due, timeout))
        now = monotonic()
        for event in events:
            self._pass_on(event, now)
        if due <= now:
            self._ring(now)
        if self._executor.memory is not self._memory:
            self._tell_memory()
        for job in [*self._jobs]:
            if job.on_facts is not None:
                self._tell(job)

    def _ring(self, now: float) -> None:
        """Tell the runs whose moment has come."""
        for job in [job for job in self._jobs if (due := job.run.due) is not None and due <= now]:
            self._feed(job, Tick(), now)

    def _tell_memory(self) -> None:
        """Memory was read."""
        self._memory = self._executor.memory
        for job in self._jobs:
            if self._memory is not None:
                job.on_memory(self._memory)

    def fail(self, error: Exception) -> None:
        """End every job with `error`: the executor can't go on."""
        self.refuse(error)
        open_attempts = list(self._owners)
        self._owners.clear()
        self._sizes.clear()
        self._load = 0
        self._executor.cancel(open_attempts, 0)
        while self._jobs:
            job = self._jobs.popleft()
            job.run.abandon()
            job.on_end(error)

    def close(self) -> None:
        """Close the executor, and show what it has told last."""
        self._executor.close()
        for event in self._executor.wait(0):
            self._pass_on(event, monotonic())

    def refuse(self, error: Exception) -> None:
        """End what was posted and hasn't begun. On any thread, once nobody steps any more."""
        for job, event in self._mail():
            if isinstance(event, Begin):
                job.run.abandon()
                job.on_end(error)

    def _mail(self) -> Iterator[tuple[AnyJob, BatchEvent]]:
        """Take out what was posted: each once, whoever else does the same."""
        with suppress(IndexError):
            while True:
                yield self._mailbox.popleft()

    def _open(self, job: AnyJob, event: BatchEvent) -> None:
        if isinstance(event, Begin):
            self._jobs.append(job)
            self._publish(job)
        if job in self._jobs:
            self._feed(job, event, monotonic())

    def _publish(self, job: AnyJob) -> None:
        self._executor.surround(job.surroundings)
        published = self._published.get(job.workflow, ())
        if job.functions is not published:
            known = {function.function for function in published}
            unknown = [function for function in job.functions if function.function not in known]
            self._executor.publish(unknown)
            self._published[job.workflow] = [*published, *unknown] if published else job.functions
        if job.rules is not None:
            self._executor.publish([job.rules])

    def _retire(self, job: AnyJob) -> None:
        """Forget the run's rules and what they merged, and functions that only earlier executions of the workflow ran.

        Those were pickled anew, or replaced.
        """
        if job.rules is not None:
            self._executor.retire([job.rules.function])
            for part in (*job.rules.attached, job.rules.blob):  # what of it lies in files
                job.leases.pop(part, None)
        if any(other.workflow == job.workflow for other in self._jobs):
            return
        published = self._published.get(job.workflow, ())
        if published is not job.functions:
            self._published[job.workflow] = job.functions
            current = {function.function for function in job.functions}
            self._executor.retire([known.function for known in published if known.function not in current])

    def _offer_room(self) -> None:
        window = self._executor.window
        room, lanes = window - self._load, self._executor.lanes
        for _ in range(len(self._jobs)):
            if room <= 0:
                return
            job = self._jobs[0]
            self._jobs.rotate(-1)
            if ready := job.run.ready:
                open_before = self._load
                grain = 1 if ready == 1 else self._executor.grain(ready)
                self._feed(job, Room(room, open_before, grain, window // lanes if lanes else 1), monotonic())
                room -= self._load - open_before

    def _pass_on(self, event: Event, now: float) -> None:
        """Tell the run whose event it is. What has ended isn't open any more; what it has stored is looked after."""
        match event:
            case Done():  # first, as there is one for each task
                job = self._owners.pop(event.attempt, None)
                self._load -= job is not None
                for payload in references_among(event.diff.values() if event.items is None else event.items.payloads):
                    self._take_over(event.attempt, payload, job)
            case Started() | Wants():
                job = self._owners.get(event.attempt)
            case ItemsDone():
                job = self._get_on(event.attempt, len(event.written))
                for payload in event.stored:
                    self._take_over(event.attempt, payload, job)
            case Said() | Logged() | Warned() | Profiled() | SpanNote():
                self._hand_on(event)
                return
            case _:
                if isinstance(event, Lost):
                    self._bury(event)
                job = self._get_on(event.attempt, event.count if isinstance(event, Unstarted) else 1)
        if job is not None:
            self._feed(job, event, now)
        elif not isinstance(event, Started | Wants):
            self._seats.free(event.attempt)  # its run was ended by a fault, and left it to itself

    def _hand_on(self, told: Remark | Profiled | SpanNote) -> None:
        """What no run looks at goes to whoever does."""
        if not isinstance(told, Profiled | SpanNote):
            self._console.show(told)
        elif (job := self._owners.get(told.attempt)) is not None:
            if isinstance(told, SpanNote):
                job.on_note(told)
            else:
                job.on_profile(told)

    def _get_on(self, attempt: int, count: int) -> AnyJob | None:
        """So many calls of an attempt have ended; returns whose it is."""
        job = self._owners.get(attempt)
        if job is None:
            return None
        self._load -= count
        left = self._sizes.pop(attempt, 1) - count
        if left:
            self._sizes[attempt] = left
        else:
            del self._owners[attempt]
        return job

    def _bury(self, lost: Lost) -> None:
        """What a lost attempt has left."""
        self._console.end(lost.attempt)
        self._holder.discard(lost.attempt, lost.item)

    def _take_over(self, attempt: int, payload: bytes, job: AnyJob | None) -> None:
        """Take out a lease on what the attempt stored. Where nobody keeps it, the file goes at once."""
        lease = self._holder.take_over(attempt, payload)
        if job is not None and lease is not None:
            job.leases[payload] = lease

    def _feed(self, job: AnyJob, event: BatchEvent | AttemptEvent, now: float) -> None:
        try:
            commands = job.run.handle(event, now) if job.on_facts is None else job.run.handle(event, now, time())
        except Exception as error:  # noqa: BLE001 - a fault in one run must not take the others along
            if self._tell(job):
                self._close(job, error)
            return
        if commands and (job.on_facts is None or self._tell(job)):
            self._carry_out(job, commands)

    def _tell(self, job: AnyJob) -> bool:
        """Hand on what has happened in a run that somebody follows; returns whether that went well."""
        if job.on_facts is None:
            return True
        try:
            job.on_facts(job.run.facts())
        except Exception as error:  # noqa: BLE001 - as above
            self._close(job, error)
            return False
        return True

    def _carry_out(self, job: AnyJob, commands: Commands) -> None:
        assignments: list[Assignment] = []
        withdrawn: list[Withdraw] = []
        for command in commands:
            match command:
                case Assignment():
                    self._owners[command.attempt] = job
                    if command.items is not None and (size := command.size) > 1:
                        self._sizes[command.attempt] = size
                        self._load += size - 1
                    assignments.append(command)
                case Withdraw():
                    withdrawn.append(command)
                case _:
                    self._carry_out_one(job, command)
        if assignments:
            self._load += len(assignments)
            self._executor.submit(assignments)
        for (grace, item), those in groupby(withdrawn, attrgetter("grace", "item")):
            self._executor.cancel([withdraw.attempt for withdraw in those], grace, item)

    def _carry_out_one(self, job: AnyJob, command: Answer | Release | Deliver | Ended) -> None:
        match command:
            case Answer():
                self._executor.answer(command)
            case Release():
                leases = [job.leases.pop(payload, None) for payload in command.payloads]
                job.on_release([lease for lease in leases if lease is not None])
            case Deliver():
                job.on_delivery(command)
            case Ended():
                self._close(job, None)

    def _close(self, job: AnyJob, error: Exception | None) -> None:
        self._jobs.remove(job)
        left = [attempt for attempt, owner in self._owners.items() if owner is job] if error else []
        for attempt in left:
            self._get_on(attempt, self._sizes.get(attempt, 1))
        if left:
            self._executor.cancel(left, 0)
        if error is not None:
            job.run.abandon()
        self._retire(job)
        job.on_end(error)


def _time_left(due: float, timeout: float | None) -> float:
    """How long to wait: until the first moment that a run has asked for, or for `timeout` seconds."""
    left = max(0.0, due - monotonic())
    return left if timeout is None else min(left, timeout)
