"""Pool: assignments on worker processes: what is given to whom, and what comes back. The executor of ordinary runs.

Data flow, the line in the middle being the border of the process:

    coordinator's thread                       |  worker processes (fresh interpreters, each its own process group)
                                               |
    submit --> line ----feed----> peer.queue  ===== socket ====> run, one by one
    wait   <-- events  <-------- reports     <==== socket ===== each report at once
                  ^------------- pidfd       <---- the kernel   when the process is gone
                                 life-line   ----> the kernel   when we are gone

- One socket per worker, and no lock shared with it: a dying worker takes nothing with it, and what each worker
  holds is known here.
- Writes never block: what a socket doesn't take waits in `Peer.outgoing`. (Two blocking writers facing each other
  with full buffers never end.)
- That a worker died is learnt from the process, never from the end of its socket, which a forked child may hold
  open. It costs the attempt that was running; what was queued behind it goes to others.

Which workers there are, and how they end, is `Workforce`'s business; their memory is read by `MemoryWatch`.
"""

import os
import signal
import weakref
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from math import ceil, inf
from operator import attrgetter
from selectors import EVENT_READ, EVENT_WRITE, DefaultSelector, SelectorKey
from time import monotonic

from msgspec.structs import replace

from cloaca.attempts.initializer import Equipment, rejection
from cloaca.border.mark import INITIALIZING, NONE
from cloaca.border.spin import Lookout
from cloaca.border.surroundings import here
from cloaca.border.waker import Waker
from cloaca.border.whereabouts import widened
from cloaca.errors import InitializerError
from cloaca.pool.backlog import Backlog
from cloaca.pool.batching import Batching
from cloaca.pool.line import Line
from cloaca.pool.memory import MemoryWatch
from cloaca.pool.nursery import Nursery
from cloaca.pool.peer import Peer
from cloaca.pool.reports import WorkerReport, checked, opened
from cloaca.pool.stalls import TOLERATED, StallWatch, given_up, has_begun, interrupted, unstarted
from cloaca.pool.workforce import Workforce, signal_name
from cloaca.values.records import encode_notice
from cloaca.wire.frames import Garbled
from cloaca.wire.messages import (
    SOCKET_LOST,
    Answer,
    Assignment,
    Done,
    Down,
    Event,
    Failed,
    Free,
    Logged,
    Lost,
    Profiled,
    Publish,
    Ready,
    Recall,
    Remark,
    Retire,
    Skipped,
    SpanNote,
    Started,
    Surroundings,
    Tallied,
    Unfit,
    Unstarted,
    Up,
    Vitals,
    Wants,
    Worn,
)
from cloaca.wire.shortage import passes

START_SECONDS = 0.005
"""How often to look whether workers have begun what they were given. Of most short tasks only the end is told."""

STILL_SECONDS = 0.001
"""How long to wait at most where a worker was told to stand still, to see whether it does."""

HELD_SECONDS = 0.005
"""How long to wait at most where a worker is held back, to see whether what it told has been shown."""

LOOKED_THROUGH = 64
"""In how many functions to look for modules that are loaded before the first workers are forked."""

RECALL_SECONDS = 0.002
"""How long a task may run, while others wait behind it and a worker has nothing to do."""

HUNG_UP = "the worker's connection to the program was closed, and so it was stopped"
NONSENSE = "what came on the worker's connection to the program makes no sense ({}), and so it was stopped"
UNTOLD = (
    "how isn't known, as the program ignores SIGCHLD, or waits for all its child processes (with "
    "signal.signal(signal.SIGCHLD, signal.SIG_DFL) it would stand here)"
)

_RELOADED = encode_notice(
    "Modules were reloaded while tasks are under way: what hasn't begun of these runs the new version. Wait for "
    "executions to end before you reload a module."
)

_BLIND = encode_notice(
    "The memory of processes can't be read here (is /proc there, and a descriptor left?): as long as that is so, "
    "memory_limit stops no task."
)

_load = attrgetter("load")
_pools: "weakref.WeakSet[Pool]" = weakref.WeakSet()


class Pool:
    """Runs assignments on up to `size` worker processes, started when there is work for them.

    `environment` is what the workers' environment has beyond the program's own; `cores` how many there are;
    `memory_limit` how many bytes a worker may have for itself; `equipment` what each runs before its first task.
    They are forked from the `nursery`, if there is one: it is the pool's from then on.
    """

    answers = True
    calls_objects = False

    def __init__(
        self,
        size: int,
        environment: Mapping[str, str],
        cores: int = 1,
        memory_limit: int | None = None,
        equipment: Equipment | None = None,
        nursery: Nursery | None = None,
    ) -> None:
        self._size = self.lanes = size
        self._cores = cores
        self._environment = environment
        self._equipment = equipment
        self._fault: InitializerError | None = None
        self._functions: dict[int, Publish] = {}
        self._line = Line()
        self._events: list[Event] = []
        self._backlog = Backlog()
        self._batching = Batching()
        self._lookout = Lookout()
        self._memory = MemoryWatch(size, memory_limit)
        self.memory: tuple[float, int] | None = None
        self._stalls = StallWatch()
        self._waker = Waker()
        self._selector = DefaultSelector()
        self._workforce = Workforce(size, self._selector, nursery)
        self._peers = self._workforce.peers
        self._surroundings = here()
        self.surround(self._surroundings)
        self._selector.register(self._waker.descriptor, EVENT_READ)
        self._closed = False
        self._starts_due = 0.0
        _pools.add(self)

    @property
    def window(self) -> int:
        """As many as the workers have use for now. What was taken on early goes before what comes up meanwhile."""
        return self._size * self._batching.window

    def grain(self, ready: int) -> int:
        """So many that a worker has the next one when it has come to the end of one."""
        return self._batching.size(ceil(ready / (2 * self._size)))

    @property
    def pids(self) -> list[int]:
        """The process ids of the workers."""
        return [peer.pid for peer in self._peers]

    # ---- the coordinator's calls -----------------------------------------------------------------------------------

    def surround(self, surroundings: Surroundings) -> None:
        """Tell each worker with the next assignments that it is given, where that is news."""
        environment = widened(surroundings.environment, self._environment)
        surrounded = replace(surroundings, environment=environment)
        if surrounded != self._surroundings:  # else it stays the same object, which workers are known to have
            self._surroundings = surrounded
        outdated = [peer for peer in self._peers if peer.has_outdated(surroundings)]
        self._dismiss_outdated()
        if outdated and (self._line.load or self._busy()):
            self._notice(_RELOADED)

    def publish(self, functions: Sequence[Publish]) -> None:
        """Keep the functions; each goes to a worker with the first assignment there that names it."""
        self._functions.update((function.function, function) for function in functions)
        if not self._peers:
            self._workforce.foresee(function.blob for function in functions[:LOOKED_THROUGH])

    def retire(self, functions: Sequence[int]) -> None:
        """Forget functions, here and in the workers."""
        for number in functions:
            self._functions.pop(number, None)
        for peer in self._peers:
            known = [number for number in functions if number in peer.known]
            if known:
                peer.known.difference_update(known)
                self._send(peer, [Retire(known)])

    def submit(self, assignments: Sequence[Assignment]) -> None:
        """Take on attempts; they go to workers in `wait`, the most urgent first."""
        if not self._peers:
            self._workforce.foresee(chain.from_iterable(map(_first_values, assignments[:1])))
        self._line.add(assignments)

    def answer(self, answer: Answer) -> None:
        """Pass the answer on to the worker that asked, if it is still there."""
        for peer in self._peers:
            if peer.runs(answer.attempt):
                self._send(peer, [answer])

    def cancel(self, attempts: Sequence[int], grace: float, item: int | None = None) -> None:
        """Give back what is pending; in `wait`, stop what runs. What a worker has queued is stopped when it starts."""
        queued = (assignment.attempt for peer in self._peers for assignment in peer.queue)
        self._events += self._line.withdraw(attempts, queued, grace, item)

    def wait(self, timeout: float | None) -> Sequence[Event]:
        """Feed the workers, and collect what they report; may return early, with nothing.

        What can wait is done between the two: then no worker waits for it, nor whoever waits for a report.
        """
        if self._closed:
            return self._told()
        if self._fault is not None:
            fault, self._fault = self._fault, None
            raise fault
        if self._line.withdrawn:
            self._stop_withdrawn()
        self._feed()
        self._look_after_workers()
        self._relieve()
        ended: list[Peer] = []
        for key, mask in self._look_out(timeout):
            peer: Peer | None = key.data
            if peer is None:
                (self._waker if key.fd == self._waker.descriptor else self._workforce).hear()
            elif key.fd == peer.exit_descriptor:
                ended.append(peer)
            else:
                self._serve(peer, mask)
        for peer in filter(self._workforce.has_gone, ended):
            self._bury(peer)
        self._feed()
        self._tell_starts()
        return self._told()

    def _look_after_workers(self) -> None:
        now = monotonic()
        attended = [peer for peer in self._peers if peer.is_attended]
        if not attended and now < self._memory.due and now < self._stalls.due:
            return
        if self._memory.due <= now:
            self._read_memory()
        if self._stalls.due <= now:
            self._look_for_stalls()
        for peer in self._workforce.kill_overdue(attended):
            self._bury(peer)
        self._judge()
        self._dismiss_outdated()
        for peer in attended:
            peer.is_attended = not peer.is_at_ease
        self._feed()

    def _notice(self, record: bytes) -> None:
        """Have something told that is about the workers."""
        notice = Logged(NONE, record)
        self._backlog.add(notice)
        self._events.append(notice)

    def _told(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def wake(self) -> None:
        """Make `wait` return."""
        self._waker.ring()

    def shown(self, count: int) -> None:
        """Let workers go on of which enough was shown."""
        self._backlog.shown(count)

    def close(self) -> None:
        """Let idle workers leave, stop the others, and wait until all are gone, a few seconds at most."""
        if self._closed:
            return
        self._closed = True
        _pools.discard(self)
        for peer in self._workforce.close():
            self._notice(given_up(peer))
        self._waker.close()
        self._selector.close()

    def abandon(self) -> None:
        """In a forked child of the program: give up every descriptor."""
        self._closed = True
        self._workforce.abandon()
        self._waker.close()
        self._selector.close()

    # ---- waiting ---------------------------------------------------------------------------------------------------

    def _look_out(self, timeout: float | None) -> list[tuple[SelectorKey, int]]:
        """What sockets and ends of workers have, at once or as soon as anything has."""
        if self._events:
            return self._selector.select(0)
        busy = [peer for peer in self._peers if peer.queue]
        left = self._time_left(timeout, busy)
        if left != 0 and 0 < len(busy) < self._cores:
            found = self._lookout.look(partial(self._selector.select, 0))
            if found:
                return found
        return self._selector.select(left)

    def _time_left(self, timeout: float | None, busy: list[Peer]) -> float | None:
        """How long to wait at most: until a worker is to be killed, memory to be read, or a look at workers is due."""
        now = monotonic()
        left = inf if timeout is None else timeout
        for peer in self._peers:
            if peer.is_attended:
                left = min(left, self._patience(peer, now))
            if not peer.is_told:
                left = min(left, self._starts_due - now)
        if busy:
            left = min(left, self._memory.due - now)
            if len(busy) < len(self._peers) and max(map(_load, busy)) > 1 and self._has_idle_worker():
                left = min(left, RECALL_SECONDS)
        if (again_at := self._workforce.again_at) is not None and self._line.load and not self._holds_back():
            left = min(left, again_at - now)
        return None if left == inf else max(0.0, left)

    def _patience(self, peer: Peer, now: float) -> float:
        """How long a worker may be left alone of which something is expected beside its tasks."""
        left = inf if peer.kill_at is None else peer.kill_at - now
        if peer.is_held:
            left = min(left, HELD_SECONDS)
        if peer.judged_at is not None:
            left = min(left, STILL_SECONDS)
        return left if has_begun(peer) else min(left, self._stalls.due - now)

    def _busy(self) -> list[Peer]:
        return [peer for peer in self._peers if peer.queue]

    def _has_idle_worker(self) -> bool:
        return any(not peer.queue and peer.takes_more for peer in self._peers)

    # ---- feeding ---------------------------------------------------------------------------------------------------

    def _feed(self) -> None:
        if not self._line.load or self._holds_back() or self._fault is not None:
            return
        if len(self._peers) < self._size and (lacking := len(self._line) - len(self._peers) + len(self._busy())) > 0:
            self._start_workers(lacking)
        batch = self._batching.size(ceil(self._line.load / (2 * self._size)))
        hungry = [peer for peer in self._peers if peer.load <= batch // 2 and peer.takes_more]
        for peer in sorted(hungry, key=_load):
            if not self._line.load or self._holds_back():
                return
            if not peer.is_swollen:
                self._hand_over(peer, batch - peer.load)

    def _start_workers(self, count: int) -> None:
        """Start up to `count` more. The first that they hear of is the runner's initializer."""
        if self._equipment is None:
            for _ in self._workforce.start(count, self._surroundings):
                pass
            return
        function = self._equipment.function
        for peer in self._workforce.start(count, self._surroundings, function.function):
            peer.surroundings = self._surroundings
            self._send(peer, [self._surroundings, function])

    def _holds_back(self) -> bool:
        """Whether the machine is so short of memory that no task is to begin beside those that run."""
        return self._memory.is_short and bool(self._busy())

    def _relieve(self) -> None:
        """Where a task turned out long, others go on from what has ended before it and what waits behind it."""
        laden = [peer for peer in self._peers if peer.load > 1]
        if not laden:
            return
        for peer in laden:
            first = peer.queue[0]
            if first.size > 1 and peer.item != peer.at and _is_long(peer) and not self._is_profiled(first):
                self._collect(peer, peer.drain())
        if not self._line.load and self._has_idle_worker() and not self._holds_back():
            for peer in laden:
                self._recall(peer)
            self._feed()

    def _is_profiled(self, assignment: Assignment) -> bool:
        """Whether its worker has more to tell of what has ended than stands in its notes, and tells that first."""
        function = self._functions.get(assignment.function)
        return function is not None and function.profiling is not None

    def _recall(self, peer: Peer) -> None:
        """Take back what waits at a worker, which may have begun it meanwhile."""
        if peer.load > 1 and _is_long(peer):
            count = peer.permits.recall(peer.permitted - (peer.queue[0].after is None))
            recalled = self._take_back(peer, count)
            if count:
                peer.recalls += 1
                self._send(peer, [Recall(peer.recalls, recalled)])

    def _take_all_back(self, peer: Peer) -> None:
        """A worker ends: all that it has queued is for others."""
        self._break_off(peer, 0)
        self._take_back(peer, peer.permitted)

    def _take_back(self, peer: Peer, count: int) -> list[int]:
        """The last `count` calls that a worker has permits for are for others; returns the attempts that they are of.

        What comes after one of these in a chain goes along.
        """
        attempts: list[int] = []
        behind: deque[Assignment] = deque()
        while count:
            at = peer.at if len(peer.queue) == 1 else 0
            last = peer.queue.pop()
            attempts.append(last.attempt)
            if last.after is not None:
                behind.appendleft(last)
                peer.load -= 1
                continue
            taken = min(count, last.size - at)
            if taken == last.size:
                self._events += self._line.put_back(last, behind)
                behind.clear()
            else:
                self._events.append(Unstarted(last.attempt, taken))
                if taken < last.size - at:
                    peer.queue.append(_shortened(last, last.size - taken))
                else:
                    peer.reported, peer.at = last.attempt, 0
                    self._line.forget(last.attempt)
            peer.load -= taken
            count -= taken
        if not peer.queue:
            peer.is_told = True
        return attempts

    def _break_off(self, peer: Peer, place: int = 1) -> None:
        """What comes at that place of a worker's queue, and after it in its chain, isn't begun: it is given back."""
        queue, past = peer.queue, place
        while past < len(queue) and queue[past].after is not None:
            past += 1
        peer.load -= past - place
        for last in reversed(range(place, past)):
            self._events.append(self._line.given_back(queue[last]))
            del queue[last]

    def _hand_over(self, peer: Peer, count: int) -> None:
        is_idle, waiting = not peer.queue, self._line.load
        assignments = self._line.take(count)
        messages: list[Down] = []
        if is_idle:
            peer.is_told = False
            messages.append(Free(assignments[0].attempt))
        if peer.surroundings is not self._surroundings:
            peer.surroundings = self._surroundings
            messages.append(self._surroundings)
        behind = 0
        for assignment in assignments:
            behind += assignment.after is not None
            asked = 0 if assignment.noting is None else assignment.noting.fingerprint
            for number in (assignment.rules, assignment.variables, assignment.condition, asked):
                if number and number not in peer.known:
                    messages += self._made_known(peer, number)
            if assignment.function not in peer.known:
                messages += self._made_known(peer, assignment.function)
        taken = waiting - self._line.load
        peer.queue += assignments
        peer.load += taken
        peer.permits.issue(taken - is_idle - behind)
        self._send(peer, [*messages, *assignments])

    def _made_known(self, peer: Peer, number: int) -> list[Publish]:
        """What tells the worker of a function: first what that needs, where it is news too."""
        peer.known.add(number)
        function = self._functions[number]
        if not (function.head or function.binding or function.along) and function.profiling is None:
            return [function]
        news = [self._made_known(peer, other) for other in function.needs if other not in peer.known]
        return [*chain.from_iterable(news), function]

    def _send(self, peer: Peer, messages: Sequence[Down]) -> None:
        had_to_wait = bool(peer.outgoing)
        peer.send(messages)
        if peer.outgoing and not had_to_wait:
            self._selector.modify(peer.socket, EVENT_READ | EVENT_WRITE, peer)

    # ---- collecting ------------------------------------------------------------------------------------------------

    def _serve(self, peer: Peer, mask: int) -> None:
        if mask & EVENT_WRITE:
            peer.flush()
            if not peer.outgoing:
                self._selector.modify(peer.socket, EVENT_READ, peer)
        if mask & EVENT_READ:
            try:
                self._collect(peer, peer.receive())
            except EOFError:
                self._workforce.lost_contact(peer)
            except OSError as error:
                if not passes(error):
                    self._workforce.lost_contact(peer)

    def _collect(self, peer: Peer, messages: Iterator[Up]) -> None:
        """Take what a worker has sent. Where it makes no sense, that costs what the worker runs, and it is replaced."""
        if peer.nonsense is not None:
            return
        try:
            for message in messages:
                match message:
                    case Done() | Failed() | Skipped():
                        self._take_report(peer, message)
                    case Tallied():
                        self._take_tallied(peer, message)
                    case _:
                        self._take(peer, message)
        except Garbled as nonsense:
            peer.nonsense = str(nonsense)
            self._workforce.cut_off(peer)

    def _take(self, peer: Peer, message: Ready | Unfit | Worn | Wants | Remark | Profiled | SpanNote) -> None:
        match message:
            case Ready():
                self._welcome(peer, message.recall)
            case Worn():
                if peer.queue and peer.is_at(peer.begun[0], peer.item):
                    raise Garbled(f"word that it ends, while it runs attempt {peer.attempt}")
                self._take_all_back(peer)
                self._workforce.dismiss(peer)
            case Unfit():
                self._take_refusal(peer, message)
            case Wants():
                self._hear_of(peer, message.attempt)
                if not peer.runs(message.attempt):
                    raise Garbled(f"a question of attempt {message.attempt}, which it doesn't run")
                self._events.append(message)
            case Profiled() | SpanNote():
                self._hear_of(peer, message.attempt)
                self._events.append(message)
            case _:
                self._hear_of(peer, message.attempt)
                self._backlog.add(message, peer)
                self._events.append(message)

    def _hear_of(self, peer: Peer, attempt: int) -> None:
        """A worker has said something in an attempt: it has begun that, although it may be at the next one by now."""
        self._tell_start(peer)
        if peer.runs(attempt) and not peer.is_told:
            peer.is_told = True
            self._events.append(Started(attempt, None, peer.number))

    def _take_report(self, peer: Peer, report: WorkerReport) -> None:
        first = _first_told_of(peer, report)
        if first is None or (first.items is not None and not _is_news(report, peer.at)):
            return
        report = checked(report)
        if isinstance(report, Done) and report.is_held and not first.unless:
            raise Garbled(f"word that another attempt stands for attempt {report.attempt}, for which none is to")
        if type(report) is Done:
            usage = report.usage
            self._batching.measured(usage.ended - usage.started, usage.bytes_written)
        else:
            self._batching.broken_off(report)
            self._break_off(peer)
        self._events.append(report)
        self._get_on(peer)

    def _take_tallied(self, peer: Peer, tallied: Tallied) -> None:
        first = _first_told_of(peer, tallied)
        if first is None:
            return
        if first.items is None or tallied.place > peer.at:
            raise Garbled(f"a tally of attempt {tallied.attempt} from item {tallied.place} on")
        done = opened(tallied, peer.at)
        count = len(done.written)
        if peer.at + count > first.size:
            raise Garbled(f"a tally of more items than attempt {tallied.attempt} has")
        if count:
            self._batching.tallied(done.figures)
            self._events.append(done)
            self._get_on(peer, count)

    def _get_on(self, peer: Peer, count: int = 1) -> None:
        """So many calls of what a worker has first in its queue have ended."""
        if peer.gets_on(count):
            self._line.forget(peer.reported)
        if peer.is_swollen and not peer.queue:
            self._look_again(peer)

    def _welcome(self, peer: Peer, recall: int) -> None:
        """A worker can be given something: it has started, or has heard of what was recalled."""
        if not peer.heard <= recall <= peer.recalls:
            raise Garbled(f"word of recall {recall}, where there were {peer.recalls}")
        if not peer.is_ready:
            if self._equipment is not None:
                self._take_stock(peer, self._equipment.name)
            if not self._busy():
                self._memory.put_off()
        self._workforce.is_ready(peer)
        peer.heard = recall

    def _take_refusal(self, peer: Peer, refusal: Unfit) -> None:
        if self._equipment is None or peer.is_ready:
            raise Garbled("word that the runner's initializer has raised, which it doesn't run")
        if not peer.is_unfit:
            self._give_up(rejection(self._equipment.name, refusal))

    def _take_stock(self, peer: Peer, initializer: str) -> None:
        """The initializer has returned: what the worker has for itself now is what it begins with."""
        self._memory.read_baseline(peer)
        if self._memory.is_over(peer) and not peer.is_unfit:
            limit = f"{self._memory.limit or 0:,}"
            self._give_up(
                InitializerError(
                    initializer,
                    f"left a worker with {peer.baseline:,} bytes for itself, over the memory_limit of {limit}",
                )
            )

    def _give_up(self, fault: InitializerError) -> None:
        """No worker can be made ready. It is raised once all that was told before has been passed on."""
        if self._workforce.reject_unready():
            self._fault = fault

    def _tell_starts(self) -> None:
        """Tell what workers run now, every so often."""
        untold = [peer for peer in self._peers if not peer.is_told]
        if not untold or (now := monotonic()) < self._starts_due:
            return
        self._starts_due = now + START_SECONDS
        for peer in untold:
            self._tell_start(peer)

    def _tell_start(self, peer: Peer) -> None:
        """Tell what a worker runs now. What has begun and ended meanwhile needs no telling."""
        if not peer.queue or peer.is_told:
            return
        begun, moment = peer.begun
        if peer.is_at(begun, peer.item):
            peer.is_told = True
            self._events.append(Started(begun, moment, peer.number))

    # ---- stopping --------------------------------------------------------------------------------------------------

    def _stop_withdrawn(self) -> None:
        """Stop the workers that run a withdrawn attempt."""
        for peer in self._peers:
            grace = self._line.grace(peer.attempt, peer.at)
            if grace is None:
                continue
            if peer.is_doomed:
                self._workforce.stop(peer, grace)
            else:
                peer.halt()

    def _judge(self) -> None:
        """Stop those that were halted for a reason that holds, and let the others go on.

        One may have come to the end of an attempt, or of an item, by now, and run the next one: it was made to stand
        still, so that what it has reported can be read before it is judged.
        """
        for peer in self._peers:
            if not peer.stands_still:
                continue
            self._collect(peer, peer.drain())
            if peer.is_doomed:
                continue
            grace = self._line.grace(peer.attempt, peer.at)
            if grace is not None:
                self._workforce.stop(peer, grace)
            elif peer.queue and self._has_too_much(peer):
                peer.limit = self._memory.limit
                self._workforce.stop(peer, 0)  # no grace: it would go on growing
            else:
                peer.go_on()

    def _look_for_stalls(self) -> None:
        """Kill workers that stand still where they are to begin something: nothing of it has run, so it costs nothing.

        One that stands still in the middle of a task may be looked at with a debugger: that is only told.
        """
        for peer in self._stalls.look(self._peers):
            is_interrupted = has_begun(peer)
            if peer.stalls == TOLERATED:
                self._notice(interrupted(peer) if is_interrupted else unstarted(peer))
            if not is_interrupted:
                self._workforce.stop(peer, 0)

    # ---- memory ----------------------------------------------------------------------------------------------------

    def _read_memory(self) -> None:
        """Read what the workers that are busy have for themselves, from time to time; stop those over the limit."""
        busy = self._busy()
        if not busy:
            return
        if self._memory.read_machine():
            self._notice(self._memory.notice())
        for peer in [peer for peer in busy if not peer.is_doomed]:
            self._memory.read(peer)
            if self._memory.is_over(peer):
                peer.halt()
        self.memory = monotonic(), sum([peer.memory or 0 for peer in self._peers])
        if self._memory.has_gone_blind():
            self._notice(_BLIND)

    def _has_too_much(self, peer: Peer) -> bool:
        if self._memory.limit is not None:
            self._memory.read(peer)
        return self._memory.is_over(peer)

    def _look_again(self, peer: Peer) -> None:
        """A worker that had much memory has nothing to do now: what it still has, it won't give back."""
        self._memory.read(peer)
        if peer.is_swollen and not peer.is_doomed:
            self._workforce.dismiss(peer)

    # ---- endings ---------------------------------------------------------------------------------------------------

    def _dismiss_outdated(self) -> None:
        """Let idle workers go that may have run another version of a module."""
        for peer in self._peers:
            if peer.is_outdated and peer.is_ready and not peer.queue and not peer.is_doomed:
                self._workforce.dismiss(peer)

    def _bury(self, peer: Peer) -> None:
        """Take leave of a worker that has ended: its last reports count, the attempt it was running is lost.

        One that doesn't end although it was killed is given up, and counts as ended.
        """
        self._collect(peer, peer.drain())
        (begun, moment), item = peer.begun, peer.item
        code = self._workforce.bury(peer)
        if peer.is_given_up:
            self._notice(given_up(peer))
            code = -signal.SIGKILL
        self._lose_first(peer, code, begun, moment, item)
        self._take_all_back(peer)
        if not peer.is_ready and not peer.is_unfit:
            was_at = self._equipment if begun == INITIALIZING else None
            self._workforce.count_failed_start(code, None if was_at is None else was_at.name)

    def _lose_first(self, peer: Peer, code: int | None, begun: int, moment: float, item: int | None) -> None:
        """The attempt that was running is lost. One that was about to run is not: it stays first in line."""
        if not peer.queue:
            return
        first, is_told = peer.attempt, peer.is_told
        if is_told and peer.queue[0].items is not None:
            item = peer.at  # it may have come further, and not have told: what makes no sense doesn't count
        was_running = is_told or peer.is_at(begun, item)
        if not was_running and (not self._line.is_lost_idly(first) or peer.at):
            return
        self._break_off(peer)
        if peer.gets_on():
            self._line.forget(first)
        if not is_told:
            self._events.append(Started(first, moment if was_running else None, peer.number))
        self._events.append(
            Lost(
                first,
                None if code is None or code < 0 else code,
                None if code is None or code >= 0 else signal_name(-code),
                _reason(peer, code),
                Vitals(
                    monotonic() - moment if was_running else None,
                    peer.memory,
                    self._memory.available,
                    is_oom=code in (None, -signal.SIGKILL) and not peer.is_stopped and self._memory.has_kernel_killed(),
                ),
                peer.limit,
                item=item if was_running else None,
                worker=peer.number,
            )
        )


def _first_values(assignment: Assignment) -> list[bytes]:
    """What it reads at once, or its first item."""
    if assignment.items is not None:
        return assignment.items.payloads[:1]
    return [version.payload or b"" for versions in assignment.slice.versions.values() for version in versions[:1]]


def _is_long(peer: Peer) -> bool:
    begun, moment = peer.begun
    return begun == peer.attempt and monotonic() - moment >= RECALL_SECONDS


def _reason(peer: Peer, code: int | None) -> str | None:
    """Why a worker was stopped, beyond how it ended."""
    if peer.nonsense is not None:
        return NONSENSE.format(peer.nonsense)
    if (peer.has_hung_up and peer.is_killed) or code == SOCKET_LOST:
        return HUNG_UP
    return UNTOLD if code is None else None


def _first_told_of(peer: Peer, report: WorkerReport | Tallied) -> Assignment | None:
    """What comes first at a worker, which it reports. `None`: it tells once more, as an exception struck it telling."""
    if peer.queue and peer.queue[0].attempt == report.attempt:
        return peer.queue[0]
    if report.attempt == peer.reported:
        return None
    raise Garbled(f"a report of attempt {report.attempt}, which it doesn't run")


def _is_news(report: WorkerReport, at: int) -> bool:
    """Whether it is about the next item of an attempt, and not about one that was reported before."""
    place = report.item if isinstance(report, Failed | Skipped) else 0 if report.is_held else None
    if place is None or place > at:
        raise Garbled(f"a report of item {place} of attempt {report.attempt}, where {at} is the next one")
    return place == at


def _shortened(assignment: Assignment, size: int) -> Assignment:
    """Without the last ones of its items."""
    items = assignment.items
    return assignment if items is None else replace(assignment, items=replace(items, payloads=items.payloads[:size]))


def _abandon_all() -> None:
    for pool in list(_pools):
        pool.abandon()


os.register_at_fork(after_in_child=_abandon_all)
