"""An executor that answers in whatever order a test chooses.

    coordinator --submit--> held --start--> running --go on--> asks, or reports --wait--> coordinator
                             |                 |
                             +-- give back     +-- lose

`ScriptedExecutor` keeps the contract of executors, and holds its caller to the other side of it. Nothing happens by
itself: every step is a *move*, made by the test (`start`, `go_on`, `ask`, `report`, `lose`, `give_back`), or picked by
`choose` from all that are possible, one for each `wait`. `random.Random(seed).choice` is such a function, and
`lambda moves: moves[-1]` another. So each interleaving of a run can be written down, or tried at random and repeated.

What an attempt does is its *play*: a generator that yields what it wants, is sent the answer, and returns its diff or
its report. `running` makes a play of real task functions.

Threads would let a real function stop where it reads a missing key. They are not used: with a generator the order of
events is the order of calls, and nothing is left to end. A real function asks for the whole context before it starts.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from msgspec.structs import replace

from cloaca.attempts import attempt
from cloaca.attempts.meter import Meter
from cloaca.attempts.seeding import of_process
from cloaca.execution.executor import InProgram
from cloaca.testing.demand import demand
from cloaca.wire.messages import (
    Answer,
    Assignment,
    Done,
    Event,
    Failed,
    Lost,
    Publish,
    Skipped,
    Slice,
    Started,
    Unstarted,
    Usage,
    Wants,
)

Diff = Mapping[str, bytes | None]
Report = Done | Failed | Skipped | Lost
Play = Callable[[Assignment], Generator[Wants, Slice, Diff | Report]]

NO_USAGE = Usage(0.0, 0.0, 0.0, 0)
"""What a scripted attempt costs."""


class Action(Enum):
    """What can happen to an open attempt."""

    START = "start"
    GIVE_BACK = "give back"
    GO_ON = "go on"
    LOSE = "lose"


@dataclass(frozen=True, slots=True)
class Move:
    """One possible next step of a scripted executor."""

    action: Action
    attempt: int
    task: str


Choose = Callable[[Sequence[Move]], Move]


# ---- plays ---------------------------------------------------------------------------------------------------------


def telling(report: Callable[[Assignment], Diff | Report]) -> Play:
    """A play that asks for nothing: `report` gives the diff or the report; what it raises fails the attempt."""

    def play(assignment: Assignment) -> Generator[Wants, Slice, Diff | Report]:
        yield from ()
        return report(assignment)

    return play


def running(functions: Mapping[int, attempt.TaskFunction]) -> Play:
    """A play that runs the task's real function, by its number, on the whole context as it is at that moment."""
    meter = Meter()

    def play(assignment: Assignment) -> Generator[Wants, Slice, Diff | Report]:
        given = assignment.slice
        if not given.complete:
            given = yield Wants(assignment.attempt, rest=True, outcomes=True)
        with of_process().kept():
            seen, load = replace(assignment, slice=given), functions.__getitem__
            return attempt.run(seen, load, frozenset(), attempt.never_asked, meter)

    return play


# ---- the executor --------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Open:
    """An attempt that was submitted and has not been reported. `script` is its play: a generator runs when resumed."""

    assignment: Assignment
    script: Generator[Wants, Slice, Diff | Report]
    has_started: bool = False
    is_asking: bool = False
    answer: Slice | None = None
    is_cancelled: bool = False


class ScriptedExecutor(InProgram):
    """An executor in memory whose every step a test decides.

    Args:
        play: what attempts do; by default they write nothing.
        choose: picks the next of the possible moves, whenever `wait` has nothing to return. Without it only the test
            makes moves, and `wait` returns at once.
        window: how many open attempts it asks for.
        answers: whether its attempts may ask for what their slices lack.

    A move that the contract rules out, or a call that breaks the caller's side of it, raises `AssertionError`.

    >>> from cloaca.wire.messages import Assignment, Publish, Slice
    >>> executor = ScriptedExecutor(telling(lambda assignment: {"key": b"1"}))
    >>> executor.publish([Publish(0, b"", ())])
    >>> executor.submit([Assignment(7, "load", 0, Slice({}))])
    >>> executor.start(7)
    >>> executor.go_on(7)
    >>> [type(event).__name__ for event in executor.wait(None)]
    ['Started', 'Done']
    """

    def __init__(
        self, play: Play | None = None, choose: Choose | None = None, *, window: int = 8, answers: bool = True
    ) -> None:
        self.window = window
        self.answers = answers
        self._play = telling(lambda _: {}) if play is None else play
        self._choose = choose
        self._functions: set[int] = set()
        self._last = -1
        self._open: dict[int, _Open] = {}
        self._events: list[Event] = []
        self._is_closed = False
        self.graces: dict[int, float] = {}

    # ---- the test's side -------------------------------------------------------------------------------------------

    @property
    def held(self) -> Mapping[int, Assignment]:
        """The open attempts that haven't started, by number."""
        return MappingProxyType({n: held.assignment for n, held in self._open.items() if not held.has_started})

    @property
    def running(self) -> Mapping[int, Assignment]:
        """The open attempts that have started, by number."""
        return MappingProxyType({n: held.assignment for n, held in self._open.items() if held.has_started})

    def moves(self) -> list[Move]:
        """Every move that the contract allows now, in the order of submission. Only the cancelled are lost."""
        return [
            Move(action, number, held.assignment.task) for number, held in self._open.items() for action in _next(held)
        ]

    def perform(self, move: Move) -> None:
        """Make a move."""
        match move.action:
            case Action.START:
                self.start(move.attempt)
            case Action.GIVE_BACK:
                self.give_back(move.attempt)
            case Action.GO_ON:
                self.go_on(move.attempt)
            case Action.LOSE:
                self.lose(move.attempt)

    def start(self, number: int) -> None:
        """Take up a held attempt."""
        self._held(number).has_started = True
        self._events.append(Started(number))

    def give_back(self, number: int) -> None:
        """Return a held attempt as `Unstarted`."""
        self._held(number)
        del self._open[number]
        self._events.append(Unstarted(number))

    def go_on(self, number: int) -> None:
        """Let a running attempt play on: until it asks for something, or ends."""
        running = self._running(number)
        try:
            wants = next(running.script) if running.answer is None else running.script.send(running.answer)
        except StopIteration as end:
            self.report(_report(number, end.value))
        except Exception as error:  # noqa: BLE001 - as with a real task, whatever it raises fails its attempt
            self.report(Failed(number, type(error).__name__, str(error), "", None, NO_USAGE))
        else:
            self.ask(wants)

    def ask(self, wants: Wants) -> None:
        """Let a running attempt ask for something. It goes on when it was answered."""
        demand(self.answers, f"Attempt {wants.attempt} asks, and this executor's attempts never do.")
        running = self._running(wants.attempt)
        running.is_asking = True
        self._events.append(wants)

    def answer_to(self, number: int) -> Slice | None:
        """The latest answer that a running attempt was given."""
        return self._running(number).answer

    def report(self, report: Report) -> None:
        """End a running attempt."""
        self._running(report.attempt)
        self._leave(report.attempt)
        self._events.append(report)

    def lose(self, number: int) -> None:
        """End a running attempt as if its worker had been killed."""
        demand(number in self.running, f"Attempt {number} is not running: it can't be lost.")
        self._leave(number)
        self._events.append(Lost(number, None, "SIGKILL"))

    # ---- the coordinator's side ------------------------------------------------------------------------------------

    def publish(self, functions: Sequence[Publish]) -> None:
        """Make functions known."""
        self._functions.update(function.function for function in functions)

    def retire(self, functions: Sequence[int]) -> None:
        """Forget functions."""
        self._functions.difference_update(functions)

    def submit(self, assignments: Sequence[Assignment]) -> None:
        """Hold attempts until a move starts them."""
        demand(not self._is_closed, "Attempts were submitted to an executor that is closed.")
        for assignment in assignments:
            demand(assignment.attempt > self._last, f"Attempt {assignment.attempt} was submitted before.")
            demand(assignment.function in self._functions, f"Function {assignment.function} was never published.")
            demand(self.answers or assignment.slice.complete, f"The slice of {assignment.task!r} is incomplete.")
            self._last = assignment.attempt
            self._open[assignment.attempt] = _Open(assignment, self._play(assignment))

    def answer(self, answer: Answer) -> None:
        """Pass on what an attempt asked for. An answer for one that has ended meanwhile is dropped."""
        asking = self._open.get(answer.attempt)
        if asking is None:
            return
        demand(asking.is_asking, f"Attempt {answer.attempt} was answered without having asked.")
        asking.is_asking = False
        asking.answer = answer.slice

    def cancel(self, attempts: Sequence[int], grace: float, item: int | None = None) -> None:  # noqa: ARG002 - each is at one
        """Offer the moves by which these attempts end early. They may still win the race, and end by themselves.

        `graces` keeps what each was given last.
        """
        for number in attempts:
            if number in self._open:
                self._open[number].is_cancelled = True
                self.graces[number] = grace

    def wait(self, timeout: float | None) -> Sequence[Event]:  # noqa: ARG002 - nothing happens by itself
        """Return what has happened; where that is nothing, make one move if there is somebody to choose it."""
        if not self._events and self._choose is not None and (moves := self.moves()):
            self.perform(self._choose(moves))
        events, self._events = self._events, []
        return events

    def wake(self) -> None:
        """Nothing to do: `wait` never blocks."""

    def close(self) -> None:
        """Drop every open attempt."""
        self._is_closed = True
        for number in list(self._open):
            self._leave(number)

    # ---- beneath ---------------------------------------------------------------------------------------------------

    def _held(self, number: int) -> _Open:
        demand(number in self.held, f"Attempt {number} is not held: it can't start, nor be given back.")
        return self._open[number]

    def _running(self, number: int) -> _Open:
        demand(number in self.running, f"Attempt {number} is not running.")
        running = self._open[number]
        demand(not running.is_asking, f"Attempt {number} waits for an answer.")
        return running

    def _leave(self, number: int) -> None:
        self._open.pop(number).script.close()


def _next(held: _Open) -> Sequence[Action]:
    if not held.has_started:
        return (Action.START, Action.GIVE_BACK)
    going_on = () if held.is_asking else (Action.GO_ON,)
    return (*going_on, Action.LOSE) if held.is_cancelled else going_on


def _report(number: int, end: Diff | Report) -> Report:
    return Done(number, dict(end), NO_USAGE) if isinstance(end, Mapping) else end
