"""The worker process: reads assignments from its socket, runs them one by one, and reports each at once.

Everything happens on the main thread: a second thread that reads the socket would double the time of a round trip.
While a task waits for an answer, what comes in between is left for later.

A process that a task forks from here has no socket; when it returns from the task, it exits.
"""

import atexit
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain, count
from socket import socket
from threading import RLock
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, NoReturn

from msgspec.structs import replace

from cloaca.attempts import attempt, child, leaving, terminal, termination, variables
from cloaca.attempts.initializer import Initializer, initializing
from cloaca.attempts.items import Series
from cloaca.attempts.meter import Meter
from cloaca.attempts.nesting import become_worker
from cloaca.attempts.repertoire import Repertoire
from cloaca.border import inheritance, lifeline, naming
from cloaca.border.authkey import Authkey
from cloaca.border.logbook import Logbook, Speaker
from cloaca.border.mark import INITIALIZING, NONE, Mark
from cloaca.border.notices import Notices
from cloaca.border.permits import SEVERAL, Permit
from cloaca.border.surroundings import bearings, enter, here, is_in
from cloaca.border.tally import ItemEnd, Tally, one_tallied
from cloaca.tasks.shelf import Traffic
from cloaca.tasks.watched import context_kind
from cloaca.values import mappings, originals
from cloaca.values.blobs import blob_of, references_in
from cloaca.wire.frames import Garbled, HungUp
from cloaca.wire.messages import (
    SOCKET_LOST,
    Answer,
    Assignment,
    Done,
    Failed,
    Free,
    Message,
    Publish,
    Ready,
    Recall,
    Remark,
    Retire,
    Said,
    Skipped,
    Slice,
    SpanNote,
    Surroundings,
    Unfit,
    Wants,
    Worn,
)
from cloaca.worker.inlet import Inlet
from cloaca.worker.leftovers import Leftovers
from cloaca.worker.modules import ProgramFinder
from cloaca.worker.outlet import Outlet
from cloaca.worker.output import Output
from cloaca.worker.snapshot import Snapshot

if TYPE_CHECKING:
    from cloaca.profiling.task import Profilers
    from cloaca.worker.trail import Trail

PIECE, LONGEST_PIECE = 1 << 16, 1 << 20
"""How many characters are told at once: so many, if lines end there, and never more than so many."""

HELD_SECONDS = 0.002
"""How often to look whether what was told has been shown, where it wasn't for long."""

REPORT_SECONDS = 0.005
"""How long items may have ended before they are reported, where others are run meanwhile."""

SPARE_PATIENCE = 10
"""How many milliseconds a mapping that nobody uses waits for the next task."""

MANY = 4 * SEVERAL
"""After so many short items in a row, the next ones are taken to be short, too."""

_PATIENCE = 100  # how often exceptions may strike outside of tasks, and between two rounds of that


def main(
    connection: socket,
    lifeline_descriptor: int,
    mark_descriptor: int,
    permits_descriptor: int,
    initializer: int,
    number: int,
) -> None:
    """Serve on an inherited socket until it is closed. `initializer` is the number of the runner's, or 0.

    `number` is that of this worker.
    """
    become_worker()
    mappings.keep_spare()
    originals.keep()
    lifeline.follow(lifeline_descriptor)
    inheritance.renounce()
    naming.bear(naming.name_of(number))
    termination.follow()
    connection.set_inheritable(False)
    mark, tally = Mark(mark_descriptor), Tally(mark_descriptor)
    os.close(mark_descriptor)
    os.set_inheritable(permits_descriptor, False)  # noqa: FBT003 - the argument's only form
    Worker(connection, mark, tally, permits_descriptor, initializer, number).serve()


def _files_of(assignment: Assignment) -> set[str]:
    """The files of the values that an attempt is sent."""
    versions = chain.from_iterable(assignment.slice.versions.values())
    payloads = [version.payload for version in versions if version.payload is not None]
    return {blob_of(held).path for payload in payloads for held in references_in(payload)}


def _pieces(text: str) -> Iterator[str]:
    """The text, in pieces of whole lines where these aren't too long: each waits for what was told before."""
    start = 0
    while len(text) - start > PIECE:
        end = text.rfind("\n", start, start + PIECE) + 1 or text.find("\n", start, start + LONGEST_PIECE) + 1
        end = end or min(start + LONGEST_PIECE, len(text))
        yield text[start:end]
        start = end
    if start < len(text) or not text:
        yield text[start:]


class Worker:
    """The state of a worker: its socket, the functions it knows, and the assignments that wait.

    An exception may strike anywhere: of an alarm that a task has set, or of a thread that it has left behind. So each
    step is taken either in one go, or such that taking it again changes nothing; and what was on the way is done first.
    """

    def __init__(
        self,
        connection: socket,
        mark: Mark,
        tally: Tally,
        permits_descriptor: int,
        initializer: int,
        number: int,
    ) -> None:
        self._socket = connection
        connection.setblocking(False)  # noqa: FBT003 - the argument's only form
        self._inlet = Inlet(connection)
        self._mail = self._inlet.mail
        self._send = Outlet(connection).send
        self._asking = RLock()  # a signal handler may ask in the middle of asking
        self._questions = count(1)
        self._queue: dict[int, Assignment] = {}
        self._begun: Assignment | None = None
        self._latest: Assignment | None = None  # the one that was begun last
        self._place = 0  # of its item, where it has some
        self._report: Done | Failed | Skipped | ItemEnd | None = None
        self._told_at = 0.0  # all items were reported then that had ended
        self._current: tuple[int, int] | None = None
        self._mark = mark
        self._tally = tally
        mark.take_items()
        leaving.look_after(self._goes_on)
        self._permit = Permit(permits_descriptor)
        self._heard = 0
        self._initializer = initializer
        self._surroundings = here()
        self._bearings = bearings(self._surroundings)
        self._authkey = Authkey()
        self._output = Output(self.say)
        terminal.give_up()
        self._logbook = Logbook(self._tell, self._speaker)
        self._notices = Notices(self._tell, self._speaker)
        self._meter = Meter(worker=number)
        self._repertoire = Repertoire(self._has_loaded)
        self._kind = context_kind()
        self._leftovers = Leftovers()
        self._snapshot = Snapshot()
        self._trail: Trail | None = None
        self._is_settled = False
        self._is_worn = False
        self._modules = ProgramFinder(variables.of_process().complete)
        self._is_cut_off = False
        os.register_at_fork(after_in_child=self._lose_socket)

    def serve(self) -> NoReturn:
        """Run assignments until the coordinator closes the socket, or this worker is told to end; then end.

        Python raises what others set also where a loop goes round: what strikes the inner one there strikes this one.
        """
        struck: BaseException | None = None
        for _ in range(_PATIENCE):
            try:
                struck = self._serve_on(struck)
            except BaseException as error:  # noqa: BLE001 - a thread that a task left behind may raise anything here
                struck = error
        raise RuntimeError("Exceptions strike this worker wherever it is.") from struck

    def _serve_on(self, struck: BaseException | None) -> BaseException | None:
        """Serve on after what has struck. Returns what struck last, where that were too many."""
        for _ in range(_PATIENCE):
            try:
                if struck is not None:
                    self._bear(struck)
                self._go_on()
            except (HungUp, termination.Terminated):
                self._leave(0)
            except Garbled:  # a task has read from what isn't its own
                self._leave(SOCKET_LOST)
            except OSError as error:
                if error.errno is not None:  # a task closed what isn't its own, or the coordinator has gone
                    self._leave(SOCKET_LOST)
                struck = error
            except BaseException as error:  # noqa: BLE001 - as above
                struck = error
        return struck

    def _go_on(self) -> NoReturn:
        """Do what is to be done, from wherever it was interrupted."""
        if self._begun is not None:
            self._hand_in(self._begun)
        if self._initializer:
            self._initialize(self._initializer)
        self._send(Ready(self._heard))
        while True:
            if self._mail and not self._permit.is_in_hand:
                self._heed()
            if not self._run_queued():
                self._await_more()

    def _await_more(self) -> None:
        """Wait for mail: with something spare, for which the next task may have use, not for long."""
        if not (mappings.is_spare() or originals.noted):
            self._inlet.await_more()
            return
        self._inlet.await_more(SPARE_PATIENCE)
        if not self._mail:
            mappings.drop_spare()
            originals.drop()

    def _run_queued(self) -> bool:
        """Run what is queued; returns whether that was interrupted by mail."""
        for assignment in tuple(self._queue.values()):
            if not self._run_through(assignment):
                return bool(self._mail)  # the word that it was recalled is on its way, or here
            if self._mail:
                return True
        return False

    def _run_through(self, assignment: Assignment) -> bool:
        """Run it, of several items one after the other; returns whether there was a permit for all."""
        self._is_settled = self._is_settled and is_in(self._bearings)
        if assignment.after is not None:
            if assignment.attempt not in self._queue:
                return True
            assignment = self._grown(assignment)
        elif self._trail is not None:
            self._trail.begin()
        if mappings.is_spare() or originals.noted:
            needed = _files_of(assignment)
            mappings.drop_spare(needed)
            originals.drop(needed)
        if assignment.items is not None:
            return self._run_items(assignment)
        if assignment.after is None and not self._permit.is_for(assignment.attempt):
            return False
        self._run(assignment)
        return True

    def _grown(self, assignment: Assignment) -> Assignment:
        """What comes in a chain, with what the one before it has left."""
        if self._trail is None:
            from cloaca.worker.trail import Trail  # most programs have no chains

            self._trail = Trail()
        if isinstance(self._report, Done) and self._latest is not None:
            self._trail.add(self._latest.task, self._report.diff)
        return replace(assignment, slice=self._trail.over(assignment.slice))

    def _run_items(self, whole: Assignment) -> bool:
        number, tally = whole.attempt, self._tally
        if tally.reached(number) is None:
            tally.begin(number)
        load, reads = self._repertoire.under(whole.variables), self._repertoire.reads(whole.function)
        series = Series(
            whole, load, reads, self._meter, self._surroundings.folders, self._has_left, self._kind, self._note
        )
        self._told_at = monotonic()
        for place in range(tally.reached(number) or 0, whole.size):
            are_short = series.is_harmless and self._meter.short > MANY and place + SEVERAL <= whole.size
            if not self._permit.is_for(number, place, are_short=are_short):
                self._hand_in_tally()
                return False
            self._run_item(series, whole, place)
        self._hand_in_tally()
        self._queue.pop(number, None)
        return True

    def _bear(self, error: BaseException) -> None:
        """What has struck while an attempt was on its way is the end of that."""
        if termination.was_told():
            raise termination.Terminated
        self._leftovers.clear()
        if self._begun is not None and self._report is None:
            usage = self._meter.stop(Traffic())
            self._report = attempt.failure(self._begun.attempt, error, usage, item=self._place)

    def say(self, stream: str, text: str) -> None:
        """Send what a task printed. Where there is no socket, in a forked child or at the end, it is written here."""
        if self._is_cut_off:
            os.write(1 if stream == "stdout" else 2, (text or "\n").encode(errors="replace"))
            return
        for piece in _pieces(text):
            self._tell(Said(NONE if self._current is None else self._current[0], stream, piece))

    def _tell(self, told: Remark) -> None:
        """Send what is to be shown, once the program can take it. Who was told to end doesn't wait for that."""
        while self._mark.is_held and not termination.was_told():
            sleep(HELD_SECONDS)
        self._send(told)

    def _note(self, noted: SpanNote) -> None:
        """Send what a task tells of its span. A process that it has forked has no say in that."""
        if not self._is_cut_off:
            self._send(noted)

    def _speaker(self) -> Speaker:
        """Of what it has begun last: the attempt, the task or instance, and which try of it that is."""
        latest = self._latest
        return (NONE, "", 0) if latest is None else (latest.attempt, latest.name(self._place), latest.nth)

    def _run(self, assignment: Assignment) -> None:
        self._begin(assignment, monotonic(), NONE)
        load, reads = self._repertoire.under(assignment.variables), self._repertoire.reads(assignment.function)
        self._report = self._attempted(assignment, load, reads, self._surroundings.folders)
        self._hand_in(assignment)

    def _run_item(self, series: Series, whole: Assignment, place: int) -> None:
        who = self._begin(whole, self._meter.start(), place)
        self._settle_in()
        self._is_settled = series.is_harmless
        self._report = series.run(place, partial(self._ask, who))
        if termination.was_told():
            self._end(whole.attempt)
        self._hand_in(whole)

    def _begin(self, assignment: Assignment, moment: float, item: int) -> tuple[int, int]:
        """From here on it is at that; returns who asks for more."""
        self._report = None
        self._place = place = 0 if item == NONE else item
        self._begun = self._latest = assignment
        self._current = who = assignment.attempt, place
        self._mark.write(assignment.attempt, moment, item)
        return who

    def _has_loaded(self, seconds: float, imported: Sequence[str]) -> None:
        """A function was loaded: modules that were imported with it may have configured logging."""
        self._logbook.restore()
        self._meter.loaded(seconds, imported)

    def _hand_in(self, assignment: Assignment) -> None:
        """Report, once or twice: the coordinator takes the first one."""
        if not self._is_settled or self._output.is_touched:
            self._output.renew()
        with self._asking:  # a thread that the task leaves may wait for an answer: it comes before the report goes
            self._current = None
        if assignment.items is not None:
            self._hand_in_item(assignment, self._place)
        else:
            if not isinstance(self._report, Done):
                self._break_off(assignment.attempt)
            if self._repertoire.profilers is not None:
                self._tell_profiles(assignment.attempt, self._repertoire.profilers)
            if isinstance(self._report, Message):
                self._send(self._report)
            self._queue.pop(assignment.attempt, None)
        self._begun = None
        if self._is_worn:
            self._send(Worn())
            self._leave(0)

    def _break_off(self, attempt: int) -> None:
        """What comes after that attempt in its chain is not to be run; the last one goes first."""
        behind: list[int] = []
        for later in self._queue.values():
            if later.after == (behind[-1] if behind else attempt):
                behind.append(later.attempt)
        for number in reversed(behind):
            self._queue.pop(number, None)

    def _hand_in_item(self, whole: Assignment, place: int) -> None:
        """Keep what came of an item, unless that was done; and report what there is, from time to time.

        What is out of the ordinary is reported at once, after all before it.
        """
        end, tally, number = self._report, self._tally, whole.attempt
        is_noted = type(end) is tuple and tally.add(place, end)
        if not is_noted and end is not None and tally.reached(number) == place:
            self._hand_in_tally()
            self._send(one_tallied(number, place, end) if isinstance(end, tuple) else end)
            tally.begin(number, place + 1)
        now = self._meter.ended
        if now - self._told_at > REPORT_SECONDS or self._is_worn:
            self._told_at = now
            self._hand_in_tally()

    def _hand_in_tally(self) -> None:
        """Report the items that have ended, once or twice."""
        if self._repertoire.profilers is not None and self._latest is not None:
            self._tell_profiles(self._latest.attempt, self._repertoire.profilers)
        if self._tally.count:
            tallied = self._tally.read()
            self._send(tallied)
            self._tally.begin(tallied.attempt, tallied.place + self._tally.count)

    def _tell_profiles(self, attempt: int, profilers: "Profilers") -> None:
        """Tell what profilers have recorded, before the report of what they have recorded it of."""
        for told in profilers.told(attempt):
            self._send(told)

    def _initialize(self, number: int) -> None:
        """Run the runner's initializer. Where it raises, this worker is of no use."""
        while number not in self._repertoire:
            self._inlet.await_more()
            self._heed()
        self._mark.write(INITIALIZING, monotonic())

        def load_it(_: int) -> Initializer:
            return Initializer(self._repertoire.load(number))

        report = self._attempted(initializing(number), load_it)
        if isinstance(report, Failed):
            self._send(Unfit(report.type_name, report.text, report.traceback))
            self._leave(0)
        self._output.renew()
        self._logbook.keep()
        self._initializer = 0
        self._repertoire.forget([number])

    def _attempted(
        self,
        assignment: Assignment,
        load: Callable[[int], Any],
        reads: frozenset[str] = frozenset(),
        folders: tuple[str, ...] = (),
    ) -> Done | Failed | Skipped:
        """Run it in the program's surroundings. Who was told to end does so."""
        self._latest = assignment
        self._settle_in()
        ask = partial(self._ask, (assignment.attempt, 0))
        left, kind = self._has_left, self._kind
        report = attempt.run(assignment, load, reads, ask, self._meter, folders, left, kind, note=self._note)
        if termination.was_told():
            self._end(assignment.attempt)
        return report

    def _end(self, attempt: int) -> NoReturn:
        """It was told to end: the attempt counts as lost, and only profilers tell of it."""
        if self._repertoire.profilers is not None:
            self._tell_profiles(attempt, self._repertoire.profilers)
        raise termination.Terminated

    def _settle_in(self) -> None:
        """Be where the program is, log and warn as it would: whatever another task has changed, if any has."""
        if not self._is_settled:
            enter(self._bearings)
            self._logbook.adopt(self._surroundings.loggers)
            self._notices.adopt(self._surroundings.filters)
            self._snapshot = Snapshot(self._logbook.loggers, self._logbook.sentinel)
        self._is_settled = False

    def _has_left(self, error: BaseException | None) -> None:
        """A task's function has ended: put back what it has changed. A process that it forked ends with it."""
        if self._is_cut_off:
            child.end(error, self._output.renew)
        self._is_settled = False
        is_as_it_was = not self._leftovers.were_noted() and self._snapshot.holds()
        if is_as_it_was and error is None and not self._initializer:
            self._is_settled = self._logbook.is_complete
            return
        self._leftovers.clear()
        if self._initializer:
            self._leftovers.keep()  # what it sets is meant to stay
        elif not self._leftovers.put_back():
            self._is_worn = True

    def _goes_on(self) -> bool:
        """One of several items has ended that a single attempt calls its function with; whether it may go on."""
        self._has_left(None)
        self._output.renew()
        self._settle_in()
        return not self._is_worn

    def _ask(
        self,
        who: tuple[int, int],
        keys: tuple[str, ...],
        rest: bool,  # noqa: FBT001 - as in Ask
        outcomes: bool,  # noqa: FBT001
    ) -> Slice:
        if self._is_cut_off:
            raise RuntimeError("A process that a task forked can't read more of the context: read it before the fork.")
        with self._asking:
            if who != self._current:
                raise RuntimeError("The task has ended: a thread that it left behind can't read more of its context.")
            self._hand_in_tally()  # of several items, so that it is known which one asks
            question = next(self._questions)
            self._send(Wants(who[0], keys, rest, outcomes, question))
            return self._inlet.answer(question)

    def _heed(self) -> None:
        """Take in the mail. Where that is interrupted, all of it is taken in again."""
        messages = self._inlet.messages()
        for message in messages:
            match message:
                case Assignment():
                    self._queue[message.attempt] = message
                case Surroundings():
                    self._surroundings = message
                    self._bearings = bearings(message)
                    self._is_settled = False
                    self._authkey.take(message.authkey)
                    self._modules.take(message.modules)
                case Publish():
                    self._repertoire.learn(message)
                case Answer():
                    """Nobody waits for it any more."""
                case Free():
                    self._permit.give(message.attempt)
                case Recall():
                    self._drop(message)
                case Retire():
                    self._repertoire.forget(message.functions)
        del self._mail[: len(messages)]

    def _drop(self, recalled: Recall) -> None:
        for number in recalled.attempts:
            self._queue.pop(number, None)
        self._heard = recalled.number
        self._send(Ready(self._heard))

    def _leave(self, code: int) -> NoReturn:
        """Run the exit handlers and go. An interpreter's own end would wait for the threads that tasks have left."""
        if termination.was_told():
            termination.end()
        if code == 0:
            self._lose_socket()  # what the handlers print is written here
        try:
            atexit._run_exitfuncs()
            with suppress(OSError):
                self._output.renew()
        finally:
            os._exit(code)

    def _lose_socket(self) -> None:
        self._is_cut_off = True
        self._socket.close()
        self._output.begin_anew()
        self._logbook.lose_program()
        self._notices.lose_program()
