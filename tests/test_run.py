"""One run: races written down as events, a state machine against a naive model, and shuffled orders of completion."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from itertools import count
from random import Random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec import msgpack
from tests.reference import KEYS, Diff, Graph, Inputs, Model, diffs, graphs, inputs

from cloaca.coordinator import Coordinator, Job
from cloaca.engine import invariants
from cloaca.engine.events import AttemptEvent, Begin, Cancel, Command, Ended, Room, RunEvent, Withdraw
from cloaca.engine.plan import plan
from cloaca.engine.run import ENDED, FIRST_PREFETCH, Run, State, Work
from cloaca.engine.view import versions
from cloaca.errors import INPUT, InternalError
from cloaca.execution.attempt import TaskFunction
from cloaca.execution.executor import Executor
from cloaca.execution.serial import SerialExecutor
from cloaca.execution.surroundings import here
from cloaca.testing import NO_USAGE, Action, Choose, Move, Play, ScriptedExecutor, running, telling
from cloaca.wire.codec import encode
from cloaca.wire.messages import (
    Answer,
    Assignment,
    Done,
    Failed,
    Lost,
    Outcome,
    Publish,
    Slice,
    Started,
    Unstarted,
    Version,
    Wants,
)

DIAMOND: Graph = [("root", []), ("left", ["root"]), ("right", ["root"]), ("join", ["left", "right"])]
CHAIN: Graph = [("a", []), ("b", ["a"]), ("c", ["b"])]


def a_run(graph: Graph, given: Mapping[str, bytes] | None = None, *, answers: bool = True, reads: str = "") -> Run:
    """`given` is the input; `reads` are the keys that every task reads, a letter each."""
    known = {key: (Version(INPUT, payload),) for key, payload in (given or {}).items()}
    compiled = plan("w", graph)
    work = [Work(rank, tuple(reads)) for rank in range(len(compiled.names))]
    return Run(compiled, work, known, numbers=count(), answers=answers)


def tell(run: Run, *events: RunEvent | AttemptEvent) -> list[Command]:
    """Feed events, audit the run after each, and return all commands."""
    commands: list[Command] = []
    for event in events:
        commands += run.handle(event, 0.0)
        invariants.check(run)
    return commands


def done(attempt: int, **diff: bytes | None) -> Done:
    return Done(attempt, diff, NO_USAGE)


def failed(attempt: int) -> Failed:
    return Failed(attempt, "ValueError", "no", "", None, NO_USAGE)


def lost(attempt: int) -> Lost:
    return Lost(attempt, None, "SIGKILL")


def states(run: Run) -> dict[str, str]:
    return {name: state.name for name, state in zip(run.plan.names, run.states, strict=True)}


def assigned(commands: Sequence[Command]) -> list[tuple[int, str]]:
    return [(command.attempt, command.task) for command in commands if isinstance(command, Assignment)]


# ---- the course of a run -------------------------------------------------------------------------------------------


def test_a_run_from_beginning_to_end() -> None:
    run = a_run(DIAMOND)
    assert tell(run, Begin()) == []
    assert assigned(tell(run, Room(5))) == [(0, "root")]
    assert tell(run, Started(0), done(0)) == []
    assert assigned(tell(run, Room(5))) == [(1, "left"), (2, "right")]
    assert tell(run, Started(2), Started(1), done(2), done(1)) == []
    assert assigned(tell(run, Room(5))) == [(3, "join")]
    assert tell(run, Started(3), done(3)) == [Ended()]
    assert set(states(run).values()) == {"COMPLETED"}
    assert run.attempts == [1, 1, 1, 1]


def test_room_is_never_exceeded_and_the_smallest_rank_goes_first() -> None:
    run = a_run([(name, []) for name in "dcba"])
    assert tell(run, Begin(), Room(0)) == []
    assert assigned(tell(run, Room(3))) == [(0, "d"), (1, "c"), (2, "b")]
    assert run.ready == 1
    assert assigned(tell(run, Unstarted(1), Room(2))) == [(3, "c"), (4, "a")]


def test_nothing_is_submitted_before_the_run_begins() -> None:
    run = a_run(CHAIN)
    assert tell(run, Room(3)) == []
    assert assigned(tell(run, Begin(), Room(3))) == [(0, "a")]


def test_what_is_given_back_is_submitted_again_under_a_new_number() -> None:
    run = a_run(CHAIN)
    tell(run, Begin(), Room(1), Unstarted(0))
    assert run.attempts == [0, 0, 0], "only what started counts as a try"
    assert assigned(tell(run, Room(1))) == [(1, "a")]
    tell(run, Started(1), done(1))
    assert run.attempts == [1, 0, 0]


# ---- failure -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [failed, lost])
def test_a_failing_task_skips_all_that_wait_for_it_alone(end: Callable[[int], Failed | Lost]) -> None:
    run = a_run(CHAIN)
    assert tell(run, Begin(), Room(1), Started(0), end(0))[-1:] == [Ended()]
    assert states(run) == {"a": "FAILED", "b": "SKIPPED", "c": "SKIPPED"}
    assert run.outcome(0) == Outcome("Failed", "ValueError: no" if end is failed else "WorkerDied: SIGKILL")
    assert run.outcome(1) == Outcome("Skipped")


def test_a_join_with_one_failed_dependency_runs() -> None:
    run = a_run(DIAMOND)
    tell(run, Begin(), Room(1), Started(0), done(0, k=b"0"), Room(2), Started(1), Started(2))
    assert tell(run, failed(1), done(2)) == []
    (join,) = tell(run, Room(1))
    assert isinstance(join, Assignment)
    assert join.task == "join"
    (answer,) = tell(run, Started(3), Wants(3, ("k",), outcomes=True))
    assert isinstance(answer, Answer)
    assert answer.slice.versions == {"k": (Version("root", b"0"),)}, "as it was before the failed task"
    assert answer.slice.outcomes == {
        "root": Outcome("Completed"),
        "left": Outcome("Failed", "ValueError: no"),
        "right": Outcome("Completed"),
    }


def test_a_join_none_of_whose_dependencies_completed_is_skipped() -> None:
    run = a_run([*DIAMOND, ("after", ["join"]), ("beside", ["join", "root"])])
    tell(run, Begin(), Room(1), Started(0), done(0), Room(2), Started(1), Started(2), failed(1), failed(2))
    assert states(run)["join"] == "SKIPPED"
    assert states(run)["after"] == "SKIPPED"
    assert states(run)["beside"] == "READY", "the root ended well"


def test_the_trigger_rule_is_asked_when_the_last_dependency_has_ended_not_before() -> None:
    run = a_run(DIAMOND)
    tell(run, Begin(), Room(1), Started(0), done(0), Room(2), Started(1), Started(2), failed(1))
    assert states(run)["join"] == "WAITING"
    tell(run, failed(2))
    assert states(run)["join"] == "SKIPPED"


# ---- races ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", [Started(0), Wants(0, ("k",)), done(0, k=b"late"), failed(0), lost(0), Unstarted(0)])
@pytest.mark.parametrize("end", [done(0), failed(0), lost(0)])
def test_a_late_report_is_dropped(end: AttemptEvent, event: AttemptEvent) -> None:
    run = a_run([("a", []), ("b", [])])
    tell(run, Begin(), Room(1), Started(0), end)
    before = states(run), list(run.ends), run.history.final()
    assert tell(run, event) == []
    assert (states(run), list(run.ends), run.history.final()) == before
    assert run.late == 1


def test_a_late_report_of_what_was_given_back_does_not_touch_the_next_attempt() -> None:
    run = a_run(CHAIN)
    tell(run, Begin(), Room(1), Unstarted(0), Room(1))
    assert tell(run, Started(0), done(0, k=b"late")) == []
    assert states(run)["a"] == "SUBMITTED"
    assert run.late == 2


def test_cancel_before_anything_was_submitted_ends_the_run() -> None:
    run = a_run(DIAMOND)
    assert tell(run, Begin(), Cancel()) == [Ended()]
    assert set(states(run).values()) == {"CANCELLED"}
    assert tell(run, Room(4)) == []
    assert tell(run, Cancel()) == []


def test_cancel_before_the_run_began_leaves_nothing_to_begin() -> None:
    run = a_run(DIAMOND)
    assert tell(run, Cancel(), Begin(), Room(4)) == [Ended()]
    assert set(states(run).values()) == {"CANCELLED"}


def test_cancel_after_the_end_changes_nothing() -> None:
    run = a_run([("a", [])])
    assert tell(run, Begin(), Room(1), Started(0), done(0))[-1:] == [Ended()]
    assert tell(run, Cancel()) == []
    assert not run.cancelled


def test_cancel_withdraws_what_is_open_and_cancels_the_rest() -> None:
    run = a_run([("a", []), ("b", []), ("c", []), ("d", ["a"])])
    tell(run, Begin(), Room(2), Started(0))
    assert tell(run, Cancel()) == [Withdraw(0), Withdraw(1)]
    assert states(run) == {"a": "RUNNING", "b": "SUBMITTED", "c": "CANCELLED", "d": "CANCELLED"}


def test_unstarted_while_cancelling_is_cancelled_not_repeated() -> None:
    run = a_run([("a", []), ("b", ["a"])])
    tell(run, Begin(), Room(1))
    assert tell(run, Cancel(), Unstarted(0)) == [Withdraw(0), Ended()]
    assert states(run) == {"a": "CANCELLED", "b": "CANCELLED"}
    assert run.attempts == [0, 0]


def test_done_after_cancel_counts_and_starts_nothing() -> None:
    run = a_run([("a", []), ("b", ["a"])])
    tell(run, Begin(), Room(1), Started(0), Cancel())
    assert tell(run, done(0, k=b"1")) == [Ended()]
    assert states(run) == {"a": "COMPLETED", "b": "CANCELLED"}
    assert versions(run.history.final()["k"]) == (Version("a", b"1"),)


def test_lost_after_cancel_is_cancelled() -> None:
    run = a_run([("a", [])])
    tell(run, Begin(), Room(1), Started(0), Cancel())
    assert tell(run, lost(0)) == [Ended()]
    assert states(run) == {"a": "CANCELLED"}
    assert run.outcome(0).status == "Cancelled"


def test_failed_after_cancel_is_failed() -> None:
    run = a_run([("a", []), ("b", ["a"])])
    tell(run, Begin(), Room(1), Started(0), Cancel())
    assert tell(run, failed(0)) == [Ended()]
    assert states(run) == {"a": "FAILED", "b": "CANCELLED"}


def test_an_attempt_that_starts_after_the_cancel_may_still_be_answered() -> None:
    run = a_run([("a", [])], {"k": b"0"})
    tell(run, Begin(), Room(1), Cancel(), Started(0))
    assert [type(command) for command in tell(run, Wants(0, ("k",)), lost(0))] == [Answer, Ended]


IMPOSSIBLE = [
    *[([], event) for event in (Wants(0), done(0), failed(0), lost(0))],
    *[([Started(0)], event) for event in (Started(0), Unstarted(0))],
]


@pytest.mark.parametrize(("before", "event"), IMPOSSIBLE)
def test_what_cannot_happen_raises_with_the_story(before: list[AttemptEvent], event: AttemptEvent) -> None:
    run = a_run([("other", []), ("clean", [])])
    tell(run, Begin(), Room(2), Started(1), *before)
    with pytest.raises(InternalError) as caught:
        run.handle(event, 1.5)
    message = str(caught.value)
    assert "'other' is" in message
    assert f"attempt 0 reported {type(event).__name__}" in message
    story = [line.split()[1] for line in message.splitlines()[1:]]
    assert story == ["submitted", *(type(earlier).__name__ for earlier in before), type(event).__name__]


# ---- what an attempt is given --------------------------------------------------------------------------------------


def answered(commands: Sequence[Command]) -> Slice:
    (answer,) = commands
    assert isinstance(answer, Answer)
    return answer.slice


def test_a_slice_holds_the_keys_that_are_read_where_they_exist() -> None:
    run = a_run([("a", [])], {"x": b"0", "y": b"0"}, reads="xz")
    (assignment,) = tell(run, Begin(), Room(1))
    assert isinstance(assignment, Assignment)
    assert assignment.slice == Slice({"x": (Version(INPUT, b"0"),)})


def test_a_slice_for_an_executor_that_never_asks_is_complete() -> None:
    run = a_run(DIAMOND, {"x": b"0"}, answers=False)
    tell(run, Begin(), Room(1), Started(0), done(0, y=b"1"))
    first, second = tell(run, Room(2))
    assert isinstance(first, Assignment)
    assert isinstance(second, Assignment)
    tell(run, Started(1), done(1, y=b"2", x=None))
    assert dict(second.slice.versions) == {"x": (Version(INPUT, b"0"),), "y": (Version("root", b"1"),)}
    assert second.slice.complete
    assert second.slice.outcomes == {"root": Outcome("Completed")}


def test_each_answer_brings_twice_as_many_keys_from_nearby() -> None:
    run = a_run([("a", [])], {f"x{n:04}": b"0" for n in range(1000)})
    tell(run, Begin(), Room(1), Started(0))
    keys: set[str] = set()
    for prefetch in (FIRST_PREFETCH, 2 * FIRST_PREFETCH, 4 * FIRST_PREFETCH):
        found = answered(tell(run, Wants(0, ("x0999",)))).versions
        assert len(found.keys() - keys - {"x0999"}) == prefetch
        assert found["x0999"] == (Version(INPUT, b"0"),)
        keys |= found.keys() - {"x0999"}


def test_a_key_that_does_not_exist_is_answered_as_known_to_be_absent() -> None:
    run = a_run([("a", [])])
    tell(run, Begin(), Room(1), Started(0))
    assert answered(tell(run, Wants(0, ("missing",)))) == Slice({"missing": ()})


def test_the_rest_is_complete_and_in_order() -> None:
    run = a_run(CHAIN, {"x": b"0", "y": b"0"})
    tell(run, Begin(), Room(1), Started(0), done(0, z=b"1", x=b"1"), Room(1), Started(1))
    rest = answered(tell(run, Wants(1, rest=True)))
    assert rest.complete
    assert list(rest.versions) == ["y", "z", "x"]
    assert rest.outcomes is None


def test_outcomes_alone_bring_no_keys() -> None:
    run = a_run(CHAIN, {"x": b"0"})
    tell(run, Begin(), Room(1), Started(0), done(0), Room(1), Started(1))
    assert answered(tell(run, Wants(1, outcomes=True))) == Slice({}, outcomes={"a": Outcome("Completed")})


# ---- against a naive model -----------------------------------------------------------------------------------------


class NaiveRun:
    """Who has ended and how, who is open: everything else is worked out anew each time."""

    def __init__(self, graph: Graph, given: Inputs) -> None:
        self.dependencies = dict(graph)
        self.names = plan("w", graph).names
        self.context = Model(graph, given)
        self.ended: dict[str, str] = {}
        self.open: dict[int, str] = {}
        self.started: set[int] = set()
        self.is_cancelled = False

    def ready(self) -> list[str]:
        return [
            name
            for name in self.names
            if name not in self.ended and name not in self.open.values() and self._may_start(name)
        ]

    def end(self, attempt: int, how: str) -> None:
        self.ended[self.open.pop(attempt)] = how
        self.skip()

    def skip(self) -> None:
        for name in self.names:
            if name not in self.ended and self._dependencies_ended(name) and not self._may_start(name):
                self.ended[name] = "SKIPPED"

    def cancel(self) -> None:
        self.is_cancelled = True
        self.ended |= {
            name: "CANCELLED" for name in self.names if name not in self.ended and name not in self.open.values()
        }

    def states(self) -> dict[str, str]:
        ready = dict.fromkeys(self.ready(), "READY")
        opened = {name: "RUNNING" if n in self.started else "SUBMITTED" for n, name in self.open.items()}
        return dict.fromkeys(self.names, "WAITING") | ready | opened | self.ended

    def _dependencies_ended(self, name: str) -> bool:
        return all(dependency in self.ended for dependency in self.dependencies[name])

    def _may_start(self, name: str) -> bool:
        ends = [self.ended.get(dependency) for dependency in self.dependencies[name]]
        return not ends or (None not in ends and "COMPLETED" in ends)


class RunAgainstModel(RuleBasedStateMachine):
    """Any events that an executor's contract allows, and late ones, in any order."""

    @initialize(graph=graphs(most=8), given=inputs, answers=st.booleans())
    def begin(self, graph: Graph, given: Inputs, *, answers: bool) -> None:
        compiled = plan("w", graph)
        self.run = Run(compiled, [Work(0, ("a", "b"))] * len(compiled.names), given, numbers=count(), answers=answers)
        self.answers = answers
        self.model = NaiveRun(graph, given)
        self.last = -1
        self.late = 0
        self.ends_told = 0
        assert self.tell(Begin()) == []

    def tell(self, event: RunEvent | AttemptEvent) -> list[Command]:
        commands = list(self.run.handle(event, 0.0))
        self.ends_told += commands.count(Ended())
        return [command for command in commands if command != Ended()]

    def pick(self, data: st.DataObject, attempts: Sequence[int]) -> int:
        return data.draw(st.sampled_from(sorted(attempts)))

    @property
    def held(self) -> list[int]:
        return [attempt for attempt in self.model.open if attempt not in self.model.started]

    @property
    def running(self) -> list[int]:
        return [attempt for attempt in self.model.open if attempt in self.model.started]

    @rule(size=st.integers(0, 4))
    def room(self, size: int) -> None:
        expected = self.model.ready()[:size]
        for command, name in zip(self.tell(Room(size)), expected, strict=True):
            assert isinstance(command, Assignment)
            assert command.task == name
            assert command.attempt == self.last + 1
            self.last = command.attempt
            self.model.open[command.attempt] = name
            self.check_slice(command)

    def check_slice(self, assignment: Assignment) -> None:
        visible = self.model.context.whole(assignment.task)
        given = assignment.slice
        assert given.complete is not self.answers
        if self.answers:
            assert given.versions == {key: found for key, found in visible.items() if key in "ab"}
        else:
            assert dict(given.versions) == visible
            assert given.outcomes is not None
            assert dict(given.outcomes) == self.outcomes(assignment.task)

    def outcomes(self, task: str) -> dict[str, Outcome]:
        return {name: self.run.outcome(self.run.plan.rank[name]) for name in self.model.context.orders[task]}

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def start(self, data: st.DataObject) -> None:
        attempt = self.pick(data, self.held)
        assert self.tell(Started(attempt)) == []
        self.model.started.add(attempt)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        attempt = self.pick(data, self.held)
        assert self.tell(Unstarted(attempt)) == []
        if self.model.is_cancelled:
            self.model.end(attempt, "CANCELLED")
        else:
            del self.model.open[attempt]

    @precondition(lambda self: self.running)
    @rule(data=st.data(), diff=diffs)
    def complete(self, data: st.DataObject, diff: Diff) -> None:
        attempt = self.pick(data, self.running)
        self.model.context.record(self.model.open[attempt], diff)
        assert self.tell(Done(attempt, dict(diff), NO_USAGE)) == []
        self.model.end(attempt, "COMPLETED")

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        attempt = self.pick(data, self.running)
        assert self.tell(failed(attempt)) == []
        self.model.end(attempt, "FAILED")

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        attempt = self.pick(data, self.running)
        assert self.tell(lost(attempt)) == []
        self.model.end(attempt, "CANCELLED" if self.model.is_cancelled else "FAILED")

    @precondition(lambda self: self.running)
    @rule(data=st.data(), keys=st.sets(st.sampled_from([*KEYS, "z"])), rest=st.booleans(), outcomes=st.booleans())
    def want(self, data: st.DataObject, keys: set[str], *, rest: bool, outcomes: bool) -> None:
        attempt = self.pick(data, self.running)
        task = self.model.open[attempt]
        visible = self.model.context.whole(task)
        given = answered(self.tell(Wants(attempt, tuple(sorted(keys)), rest, outcomes)))
        assert given.complete is rest
        assert given.outcomes == (self.outcomes(task) if outcomes else None)
        assert rest or keys <= given.versions.keys()
        assert not rest or given.versions == visible
        assert all(found == visible.get(key, ()) for key, found in given.versions.items())

    @precondition(lambda self: self.last > len(self.model.open))
    @rule(
        data=st.data(),
        event=st.sampled_from(
            [Started, Unstarted, failed, lost, lambda n: done(n, a=b"late"), lambda n: Wants(n, ("a",))]
        ),
    )
    def report_late(self, data: st.DataObject, event: Callable[[int], AttemptEvent]) -> None:
        closed = [attempt for attempt in range(self.last + 1) if attempt not in self.model.open]
        assert self.tell(event(self.pick(data, closed))) == []
        self.late += 1

    @precondition(lambda self: not self.run_is_over)
    @rule(is_meant=st.integers(0, 3))
    def cancel(self, is_meant: int) -> None:
        """Not too often: most runs should go on for a while."""
        if is_meant:
            return
        withdrawn = [] if self.model.is_cancelled else [Withdraw(attempt) for attempt in self.model.open]
        assert self.tell(Cancel()) == withdrawn
        self.model.cancel()

    @property
    def run_is_over(self) -> bool:
        return len(self.model.ended) == len(self.model.names)

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "run"):
            return
        invariants.check(self.run)
        assert states(self.run) == self.model.states()
        assert self.run.late == self.late
        assert self.ends_told == self.run_is_over
        final = {key: versions(writes) for key, writes in self.run.history.final().items()}
        assert final == self.model.context.final()


def test_the_run_agrees_with_the_naive_model() -> None:
    run_state_machine_as_test(
        RunAgainstModel,
        settings=settings(
            derandomize=True,
            database=None,
            deadline=None,
            max_examples=120,
            stateful_step_count=40,
            suppress_health_check=list(HealthCheck),
        ),
    )


# ---- the audit itself ----------------------------------------------------------------------------------------------


def spoil(run: Run, name: str, change: Callable[[object], object]) -> None:
    setattr(run, name, change(getattr(run, name)))


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("_unended", lambda unended: unended - 1, "the run counts 2"),
        ("_ready", lambda ready: [*ready, 2], "the heap holds"),
        ("_open", lambda _: {}, "attempts are open at []"),
        ("_waiting", lambda _: [0, 0, 0, 5], "it counts 5 unended"),
        ("_well", lambda well: [0, 0, 0, 1], "and 1 completed dependencies"),
        ("attempts", lambda _: [0, 0, 0, 0], "no attempt of it was ever started"),
        ("ends", lambda _: [None] * 4, "its end is None"),
        ("cancelled", lambda _: True, "the run was cancelled"),
        ("states", lambda states: [*states[:3], State.READY], "of its dependencies have not ended"),
        ("states", lambda states: [*states[:3], State.SKIPPED], "of its dependencies have not ended"),
        ("states", lambda states: [State.FAILED, *states[1:]], "its write of 'k' stands"),
        ("states", lambda states: [State.FAILED, *states[1:]], "none of its dependencies completed"),
    ],
)
def test_the_audit_finds_a_broken_run(name: str, change: Callable[[object], object], said: str) -> None:
    run = a_run(DIAMOND)
    tell(run, Begin(), Room(1), Started(0), done(0, k=b"1"), Room(1), Started(1))
    spoil(run, name, change)
    with pytest.raises(AssertionError) as caught:
        invariants.check(run)
    assert said in str(caught.value)


# ---- shuffled orders of completion, through the coordinator --------------------------------------------------------


def conclusion(run: Run) -> bytes:
    """How a run ended, as bytes: statuses, and every key with its versions, in order."""
    outcomes = [run.outcome(rank) for rank in range(len(run.plan.names))]
    final = [(key, versions(writes)) for key, writes in run.history.final().items()]
    return msgpack.encode([outcomes, run.attempts, final])


def workload(seed: int) -> tuple[Graph, Mapping[int, TaskFunction]]:
    """25 tasks that read and write few keys, so that they meet; some fail, and what they write tells what they saw."""
    random = Random(seed)
    graph = [
        (f"t{n}", [f"t{m}" for m in random.sample(range(n), min(n, random.choice([0, 1, 2, 2, 3, 7])))])
        for n in range(25)
    ]
    return graph, {rank: a_task(name, random.getrandbits(30)) for rank, name in enumerate(plan("w", graph).names)}


def a_task(name: str, seed: int) -> TaskFunction:
    def function(context):
        random = Random(seed)
        saw = [str(context.to_dict("skip")), sorted(context.conflicts())]
        if random.random() < 0.15:
            raise ValueError(f"{name} saw {saw}")
        for key in random.sample(KEYS, 2):
            context.set(key, random.choice([0, 1, saw]))
        if random.random() < 0.2:
            context.remove(random.choice(KEYS))

    return function


def jobs_of(
    seeds: Sequence[int], numbers: Iterator[int], *, answers: bool
) -> tuple[list[Job], dict[int, TaskFunction], list[tuple[int, Exception | None]]]:
    """A job for each seed; the list tells which of them ended, in that order."""
    ends: list[tuple[int, Exception | None]] = []
    functions: dict[int, TaskFunction] = {}
    jobs = []
    for seed in seeds:
        graph, own = workload(seed)
        first = len(functions)
        functions |= {first + rank: function for rank, function in own.items()}
        work = [Work(first + rank, ("a",)) for rank in own]
        given = {"a": (Version(INPUT, encode(0)),)}
        run = Run(plan("w", graph), work, given, numbers=numbers, answers=answers)
        publish = [Publish(number.function, b"", number.reads) for number in work]
        jobs.append(Job("w", run, publish, _noting(ends, seed), here()))
    return jobs, functions, ends


def _noting(ends: list[tuple[int, Exception | None]], seed: int) -> Callable[[Exception | None], None]:
    return lambda error: ends.append((seed, error))


def drive(executor: Executor, jobs: Sequence[Job]) -> None:
    coordinator = Coordinator(executor)
    for job in jobs:
        coordinator.post(job, Begin())
    while not coordinator.is_idle:
        coordinator.step(0)
        for job in jobs:
            invariants.check(job.run)
    executor.close()


def in_order(seed: int) -> bytes:
    """The conclusion of a workload that runs task by task, in this thread."""
    (job,), functions, _ = jobs_of([seed], count(), answers=False)
    drive(SerialExecutor(functions), [job])
    return conclusion(job.run)


def chooser(seed: int) -> Choose:
    return Random(seed).choice


def newest(moves: Sequence[Move]) -> Move:
    return [move for move in moves if move.action is not Action.GIVE_BACK][-1]


def breadth_first(moves: Sequence[Move]) -> Move:
    """Start all, then end them in the reverse order."""
    starts = [move for move in moves if move.action is Action.START]
    return starts[0] if starts else newest(moves)


CHOOSERS = [chooser(1), chooser(2), newest, breadth_first]


@pytest.mark.parametrize("answers", [True, False], ids=["asking", "complete slices"])
@pytest.mark.parametrize("window", [1, 3, 64])
def test_no_order_of_completion_changes_a_byte_of_the_result(window: int, *, answers: bool) -> None:
    for seed in range(4):
        expected = in_order(seed)
        for choose in CHOOSERS:
            (job,), functions, ends = jobs_of([seed], count(), answers=answers)
            drive(ScriptedExecutor(running(functions), choose, window=window, answers=answers), [job])
            assert conclusion(job.run) == expected
            assert ends == [(seed, None)]


def test_the_workloads_have_something_to_get_wrong() -> None:
    """Some tasks fail, some are skipped, and some keys end with several versions."""
    outcomes, _, final = zip(*(msgpack.decode(in_order(seed)) for seed in range(4)), strict=True)
    assert {status for told in outcomes for status, *_ in told} == {"Completed", "Failed", "Skipped"}
    assert any(len(found) > 1 for keys in final for _, found in keys)


def asking_key_by_key(assignment: Assignment) -> Generator[Wants, Slice, Diff]:
    """Reads on demand, one key at a time, while others go on; writes what it saw."""
    saw = []
    for key in KEYS:
        given = yield Wants(assignment.attempt, (key,))
        saw.append([key, given.versions[key]])
    return {KEYS[len(assignment.task) % 3]: msgpack.encode([assignment.task, saw]), assignment.task: b"1"}


@pytest.mark.parametrize("seed", range(4))
def test_what_is_asked_in_the_middle_of_a_task_does_not_depend_on_when(seed: int) -> None:
    conclusions = set()
    for choose in CHOOSERS:
        (job,), _, _ = jobs_of([seed], count(), answers=True)
        drive(ScriptedExecutor(asking_key_by_key, choose, window=5), [job])
        conclusions.add(conclusion(job.run))
    assert len(conclusions) == 1


@pytest.mark.parametrize("seed", range(4))
def test_runs_that_share_an_executor_do_not_touch_each_other(seed: int) -> None:
    seeds = [0, 1, 2, 3]
    jobs, functions, ends = jobs_of(seeds, count(), answers=True)
    drive(ScriptedExecutor(running(functions), chooser(seed), window=4), jobs)
    assert [conclusion(job.run) for job in jobs] == [in_order(each) for each in seeds]
    assert sorted(ends) == [(each, None) for each in seeds], "each is told once"


class Publications(ScriptedExecutor):
    """Remembers what it was told to publish."""

    published: Sequence[int] = ()

    def publish(self, functions: Sequence[Publish]) -> None:
        self.published = [*self.published, *(function.function for function in functions)]
        super().publish(functions)


def test_a_function_is_published_once_however_many_runs_use_it() -> None:
    numbers = count()
    jobs, functions, ends = jobs_of([0], numbers, answers=True)
    run = Run(plan("w", [("again", [])]), [Work(3, ())], {}, numbers=numbers, answers=True)
    executor = Publications(running(functions), chooser(0))
    drive(executor, [*jobs, Job("w", run, [Publish(3, b"", ())], _noting(ends, 1), here())])
    assert sorted(executor.published) == sorted(functions)
    assert len(ends) == 2


@pytest.mark.parametrize("after", [0, 1, 7, 30])
def test_cancelling_one_run_leaves_the_others_alone(after: int) -> None:
    jobs, functions, ends = jobs_of([0, 1, 2], count(), answers=True)
    executor = ScriptedExecutor(running(functions), chooser(after), window=4)
    coordinator = Coordinator(executor)
    for job in jobs:
        coordinator.post(job, Begin())
    for _ in range(after):
        coordinator.step(0)
    coordinator.post(jobs[1], Cancel())
    while not coordinator.is_idle:
        coordinator.step(0)
        invariants.check(jobs[1].run)
    assert [conclusion(jobs[each].run) for each in (0, 2)] == [in_order(each) for each in (0, 2)]
    assert all(state in ENDED for state in jobs[1].run.states)
    assert State.CANCELLED in jobs[1].run.states
    assert sorted(ends) == [(0, None), (1, None), (2, None)]
    assert not executor.moves(), "nothing is left open"
    executor.close()


def test_a_fault_of_one_run_does_not_take_the_others_along() -> None:
    (job,), functions, ends = jobs_of([1], count(), answers=True)
    broken = Broken(plan("w", CHAIN), [], {}, numbers=count(), answers=True)
    drive(ScriptedExecutor(running(functions), chooser(0)), [Job("w", broken, [], _noting(ends, 0), here()), job])
    (first, error), second = ends
    assert first == 0
    assert isinstance(error, InternalError)
    assert second == (1, None)
    assert conclusion(job.run) == in_order(1)


class Broken(Run):
    def handle(self, event, now):
        raise InternalError("broken")


# ---- the scripted executor keeps its contract, and its caller to it ------------------------------------------------


def executor_with(play: Play | None = None, *, answers: bool = True) -> ScriptedExecutor:
    executor = ScriptedExecutor(play, answers=answers)
    executor.publish([Publish(0, b"", ())])
    executor.submit([Assignment(n, f"t{n}", 0, Slice({}, complete=not answers)) for n in range(2)])
    return executor


def test_a_test_decides_every_step() -> None:
    executor = executor_with()
    assert sorted(executor.held) == [0, 1]
    executor.start(1)
    executor.ask(Wants(1, ("k",)))
    executor.answer(Answer(1, Slice({"k": ()})))
    assert executor.answer_to(1) == Slice({"k": ()})
    executor.give_back(0)
    executor.report(done(1, k=b"1"))
    assert executor.wait(None) == [Started(1), Wants(1, ("k",)), Unstarted(0), done(1, k=b"1")]
    assert executor.wait(None) == []
    assert not executor.held
    assert not executor.running


def test_a_play_that_raises_fails_its_attempt() -> None:
    def play(assignment):
        yield Wants(assignment.attempt, ("k",))
        raise KeyError("k")

    executor = executor_with(play)
    executor.start(0)
    executor.go_on(0)
    executor.answer(Answer(0, Slice({})))
    executor.go_on(0)
    *_, report = executor.wait(None)
    assert isinstance(report, Failed)
    assert (report.type_name, report.text) == ("KeyError", "'k'")


def test_the_cancelled_may_be_lost_or_win_the_race() -> None:
    executor = executor_with(telling(lost_attempt))
    executor.start(0)
    assert [move.action.value for move in executor.moves()] == ["go on", "start", "give back"]
    executor.cancel([0, 1, 7])
    assert [move.action.value for move in executor.moves()] == ["go on", "lose", "start", "give back"]
    executor.perform(Move(Action.LOSE, 0, "t0"))
    executor.start(1)
    executor.go_on(1)
    assert executor.wait(None) == [Started(0), lost(0), Started(1), lost(1)]


def lost_attempt(assignment: Assignment) -> Lost:
    return lost(assignment.attempt)


@pytest.mark.parametrize(
    ("breach", "said"),
    [
        (lambda executor: executor.go_on(0), "not running"),
        (lambda executor: executor.report(done(0)), "not running"),
        (lambda executor: executor.lose(0), "not running"),
        (lambda executor: executor.start(5), "not held"),
        (lambda executor: (executor.start(0), executor.give_back(0)), "not held"),
        (lambda executor: (executor.start(0), executor.ask(Wants(0)), executor.go_on(0)), "waits for an answer"),
        (lambda executor: (executor.start(0), executor.report(done(0)), executor.report(done(0))), "not running"),
        (lambda executor: executor.answer(Answer(0, Slice({}))), "without having asked"),
        (lambda executor: executor.submit([Assignment(1, "t", 0, Slice({}))]), "submitted before"),
        (lambda executor: executor.submit([Assignment(2, "t", 9, Slice({}))]), "never published"),
        (lambda executor: (executor.retire([0]), executor.submit([Assignment(2, "t", 0, Slice({}))])), "published"),
        (lambda executor: (executor.close(), executor.submit([Assignment(2, "t", 0, Slice({}))])), "closed"),
    ],
)
def test_what_the_contract_rules_out_is_refused(breach: Callable[[ScriptedExecutor], object], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        breach(executor_with())


def test_an_executor_that_never_asks_needs_complete_slices() -> None:
    executor = executor_with(answers=False)
    with pytest.raises(AssertionError, match="incomplete"):
        executor.submit([Assignment(2, "t", 0, Slice({}))])
    executor.start(0)
    with pytest.raises(AssertionError, match="never do"):
        executor.ask(Wants(0))
