"""Chains: tasks of which each needs only the one before travel together; nothing else about them is different."""

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests import invariants
from tests.reference import Graph
from tests.runs import CHAIN, a_run, done, failed, lost, states, tell
from tests.support import pipe

import cloaca
from cloaca import Context, DefaultRunner, RetryPolicy
from cloaca.engine.events import Begin, Cancel, Command, Room, Tick
from cloaca.engine.fan import Each
from cloaca.engine.run import Run
from cloaca.engine.work import Merging, Work
from cloaca.history.plan import plan
from cloaca.pool import batching
from cloaca.pool.line import Line
from cloaca.pool.peer import Peer
from cloaca.retry import BackoffStrategy
from cloaca.wire.messages import Assignment, Down, Failed, Lost, Slice, Started, Unstarted, Version
from cloaca.worker.trail import Trail

# ---- what the run decides ------------------------------------------------------------------------------------------


def afters(commands: Sequence[Command]) -> list[tuple[int, int | None]]:
    return [(command.attempt, command.after) for command in commands if isinstance(command, Assignment)]


def test_what_needs_only_the_one_before_is_submitted_with_that() -> None:
    run = a_run(CHAIN)
    assert afters(tell(run, Begin(), Room(9, chain=9))) == [(0, None), (1, 0), (2, 1)]
    assert states(run) == {"a": "SUBMITTED", "b": "AHEAD", "c": "AHEAD"}
    tell(run, done(0))
    assert states(run) == {"a": "COMPLETED", "b": "SUBMITTED", "c": "AHEAD"}
    tell(run, done(1), done(2))
    assert set(states(run).values()) == {"COMPLETED"}


@pytest.mark.parametrize(("room", "submitted"), [(Room(2, chain=9), 2), (Room(9, chain=2), 2), (Room(9), 1)])
def test_no_more_than_there_is_room_for(room: Room, submitted: int) -> None:
    assert len(tell(a_run(CHAIN), Begin(), room)) == submitted


@pytest.mark.parametrize(
    "graph",
    [
        [("a", []), ("b", ["a"]), ("c", ["a"])],
        [("a", []), ("b", []), ("c", ["a", "b"])],
    ],
)
def test_where_others_could_run_beside_it_nothing_comes_along(graph: Graph) -> None:
    run = a_run(graph)
    assert {after for _, after in afters(tell(run, Begin(), Room(9, chain=9)))} == {None}


def test_behind_a_mapped_task_nothing_comes_along_as_it_has_not_ended_when_its_items_are_told() -> None:
    work = [Work(0, (), each=Each("k", expansion=7)), Work(1, ()), Work(2, ())]
    run = Run(plan("w", CHAIN), work, {}, numbers=count(), answers=True)
    assert afters(tell(run, Begin(), Room(9, chain=9))) == [(0, None)]


def test_with_merge_rules_nothing_comes_along() -> None:
    run = a_run(CHAIN, merging=Merging(ruled=frozenset("k")))
    assert afters(tell(run, Begin(), Room(9, chain=9))) == [(0, None)]


@pytest.mark.parametrize("event", [failed(0), lost(0)])
def test_what_came_along_with_one_that_fails_waits_and_is_skipped_with_it(event: Failed | Lost) -> None:
    run = a_run(CHAIN)
    tell(run, Begin(), Room(9, chain=9), Started(0), Unstarted(2), Unstarted(1))
    assert states(run) == {"a": "RUNNING", "b": "WAITING", "c": "WAITING"}
    tell(run, event)
    assert states(run) == {"a": "FAILED", "b": "SKIPPED", "c": "SKIPPED"}


def test_what_was_given_back_whole_begins_anew_as_a_chain() -> None:
    run = a_run(CHAIN)
    tell(run, Begin(), Room(9, chain=9), Unstarted(2), Unstarted(1), Unstarted(0))
    assert states(run) == {"a": "READY", "b": "WAITING", "c": "WAITING"}
    assert afters(tell(run, Room(9, chain=9))) == [(3, None), (4, 3), (5, 4)]


def test_what_is_given_back_after_the_one_before_has_ended_is_ready() -> None:
    run = a_run(CHAIN)
    tell(run, Begin(), Room(9, chain=9), done(0), Unstarted(2), Unstarted(1))
    assert states(run) == {"a": "COMPLETED", "b": "READY", "c": "WAITING"}


def test_a_run_that_is_cancelled_takes_back_all_of_a_chain() -> None:
    run = a_run(CHAIN)
    tell(run, Begin(), Room(9, chain=9), Started(0), Cancel(), Unstarted(2), Unstarted(1), lost(0))
    assert set(states(run).values()) == {"CANCELLED"}


# ---- at random, against the same run without chains ----------------------------------------------------------------

TRIES = 3
PATIENT = RetryPolicy(
    max_attempts=TRIES, initial_delay=1.0, with_jitter=False, backoff_strategy=BackoffStrategy.fixed()
)


class Simulated:
    """A run whose executor does as it likes, within its contract. What a task does follows from its name and try."""

    def __init__(self, seed: int, chain: int) -> None:
        self.random, self.fate = Random(f"{seed} {chain}"), Random(seed)
        graph = list(self.graph(Random(seed)))
        compiled = plan("w", graph)
        self.fates = {name: [self.fate.choice("fdddd") for _ in range(TRIES)] for name, _ in graph}
        self.diffs = {name: self.diff() for name, _ in graph}
        work = [Work(rank, (), retry=PATIENT) for rank in range(len(graph))]
        inputs = {"a": Version("", b"1"), "b": Version("", b"2")}
        self.run = Run(compiled, work, inputs, numbers=count(), answers=True)
        self.chain = chain
        self.queues: list[list[Assignment]] = []
        self.most = 0
        self.now = 0.0
        self.tell(Begin())
        while set(states(self.run).values()) & {"WAITING", "READY", "AHEAD", "SUBMITTED", "RUNNING", "BACKING_OFF"}:
            self.move()

    @staticmethod
    def graph(random: Random) -> Iterator[tuple[str, list[str]]]:
        for number in range(30):
            above = [f"t{random.randrange(number)}" for _ in range(random.choice([0, 1, 2]))] if number else []
            last = [f"t{number - 1}"] if number and random.random() < 0.7 else above
            yield f"t{number}", sorted(set(last))

    def diff(self) -> dict[str, bytes | None]:
        return {key: self.fate.choice([b"1", b"2", None]) for key in "abc" if self.fate.random() < 0.3}

    def tell(self, event: Any) -> None:
        for command in self.run.handle(event, self.now):
            if isinstance(command, Assignment):
                if command.after is None:
                    self.queues.append([command])
                else:
                    assert self.queues[-1][-1].attempt == command.after
                    self.queues[-1].append(command)
        self.most = max([self.most, *map(len, self.queues)])
        invariants.check(self.run)

    def move(self) -> None:
        moves: list[Callable[[], None]] = [self.take] if self.run.ready else []
        if self.queues:
            moves += [self.get_on, self.get_on, self.get_on, self.give_back]
        if not moves:
            assert self.run.due is not None
            self.now = max(self.now, self.run.due)
            self.tell(Tick())
            return
        self.random.choice(moves)()

    def take(self) -> None:
        self.tell(Room(self.random.choice([1, 3, 8]), chain=self.chain))

    def get_on(self) -> None:
        """One ends. If it doesn't end well, what comes after it is given back first."""
        queue = self.random.choice(self.queues)
        first = queue[0]
        if self.random.random() < 0.5:
            self.tell(Started(first.attempt))
        if self.fates[first.task][first.nth - 1] == "f":
            for other in reversed(queue[1:]):
                self.tell(Unstarted(other.attempt))
            self.queues.remove(queue)
            self.tell(failed(first.attempt))
            return
        del queue[0]
        if not queue:
            self.queues.remove(queue)
        self.tell(done(first.attempt, **self.diffs[first.task]))

    def give_back(self) -> None:
        queue = self.random.choice(self.queues)
        self.queues.remove(queue)
        for other in reversed(queue):
            self.tell(Unstarted(other.attempt))

    @property
    def outcome(self) -> tuple[dict[str, str], Mapping[str, Any], list[int]]:
        return states(self.run), self.run.history.final(), list(self.run.attempts)


@pytest.mark.parametrize("seed", range(40))
def test_what_comes_of_a_run_is_the_same_without_chains(seed: int) -> None:
    alone, chained = Simulated(seed, 1), Simulated(seed, 9)
    assert chained.outcome == alone.outcome
    assert (alone.most, chained.most > 1) == (1, True)


# ---- where they wait -----------------------------------------------------------------------------------------------


def stretch(first: int, length: int, place: int = 0) -> list[Assignment]:
    """The assignments of a chain, by number."""
    numbers = range(first, first + length)
    return [
        Assignment(number, "t", 1, Slice({}), place=place, after=None if number == first else number - 1)
        for number in numbers
    ]


def numbers(assignments: Sequence[Assignment]) -> list[int]:
    return [assignment.attempt for assignment in assignments]


def test_a_chain_waits_in_its_place_and_leaves_as_a_whole() -> None:
    line = Line()
    line.add([*stretch(0, 3, place=5), *stretch(10, 1, place=1), *stretch(20, 2, place=3)])
    assert (line.load, len(line)) == (6, 3)
    assert numbers(line.take(2)) == [10, 20, 21]
    assert numbers(line.take(1)) == [0, 1, 2]
    assert (line.load, len(line)) == (0, 0)


def test_a_chain_that_is_put_back_is_whole_again() -> None:
    line = Line()
    line.add(stretch(10, 2))
    head, *behind = stretch(0, 3)
    assert [*line.put_back(head, behind)] == []
    assert line.load == 5
    assert numbers(line.take(5)) == [0, 1, 2, 10, 11]


def test_a_chain_is_withdrawn_as_a_whole() -> None:
    line = Line()
    line.add([*stretch(0, 3), *stretch(10, 2)])
    assert line.withdraw([0, 1, 2], (), 0) == [Unstarted(2), Unstarted(1), Unstarted(0)]
    assert (line.load, numbers(line.take(9))) == (2, [10, 11])


# ---- what the next one sees ----------------------------------------------------------------------------------------


def one(writer: str, payload: bytes | None) -> tuple[Version, ...]:
    return (Version(writer, payload),)


@pytest.mark.parametrize(
    ("seen", "diffs", "sees"),
    [
        ({}, [{"k": b"1"}], {"k": one("t0", b"1")}),
        ({"k": one("i", b"0")}, [{"k": b"1"}], {"k": one("t0", b"1")}),
        ({"k": one("i", b"1")}, [{"k": b"1"}], {"k": one("i", b"1")}),
        ({"k": one("i", b"1")}, [{"k": b"1"}, {"k": b"1"}], {"k": one("i", b"1")}),
        ({"k": one("i", b"1")}, [{"k": b"2"}, {"k": b"1"}], {"k": one("t1", b"1")}),
        ({"k": one("i", b"1")}, [{"k": b"1"}, {"k": b"2"}], {"k": one("t1", b"2")}),
        ({"k": one("i", b"1")}, [{"k": b"2"}, {"k": b"2"}], {"k": one("t0", b"2")}),
        ({"k": one("i", b"1")}, [{"k": None}], {"k": one("t0", None)}),
        ({"k": ()}, [{"k": None}], {"k": ()}),
        ({"k": ()}, [{"k": b"1"}], {"k": one("t0", b"1")}),
        ({"k": one("i", b"1") + one("j", b"1")}, [{"k": b"1"}], {"k": one("t0", b"1")}),
        ({}, [{"k": None}], {}),
    ],
)
def test_what_those_before_it_have_left_stands_over_what_the_first_one_saw(
    seen: Mapping[str, tuple[Version, ...]], diffs: Sequence[Mapping[str, bytes | None]], sees: Mapping[str, Any]
) -> None:
    trail = Trail()
    for number, diff in enumerate(diffs):
        trail.add(f"t{number}", diff)
        trail.add(f"t{number}", diff)
    assert trail.over(Slice(seen, names=())).versions == sees


def test_of_a_key_that_may_have_been_there_before_the_next_one_asks() -> None:
    trail = Trail()
    trail.add("t", {"k": b"1", "new": b"2"})
    assert trail.over(Slice({}, names=("k",))) == Slice({"new": one("t", b"2")}, names=("k", "k", "new"))
    assert trail.over(Slice({}, names=None)) == Slice({}, names=None)
    trail.begin()
    assert trail.over(Slice({})).versions == {}


# ---- in workers ----------------------------------------------------------------------------------------------------

LENGTH = 60


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a task takes here, it counts as tiny."""
    monkeypatch.setattr(batching, "BATCH_SECONDS", 3600.0)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many messages go to workers, how many assignments, and how many of these come after another one."""
    counted: Counter[str] = Counter()
    send = Peer.send

    def counting(peer: Peer, messages: Sequence[Down]) -> None:
        those = [message for message in messages if isinstance(message, Assignment)]
        counted["sends"] += 1
        counted["assignments"] += len(those)
        counted["after"] += sum(message.after is not None for message in those)
        send(peer, messages)

    monkeypatch.setattr(Peer, "send", counting)
    return counted


def warm(runner: DefaultRunner) -> None:
    """From here on its tasks are known to be tiny."""
    with cloaca.WorkflowBuilder("tiny"):
        for number in range(200):
            cloaca.task(id=str(number))(nothing)
    for _ in range(2):
        runner.execute("tiny")


def nothing(_: Context) -> None:
    """Do nothing."""


def add_one(context: Context) -> None:
    context.set("sum", context.get("sum", 0) + 1)


def define_chain(length: int, function_of: Callable[[int], Callable[[Context], Any]], **options: Any) -> None:
    with cloaca.WorkflowBuilder("chain"):
        for number in range(length):
            dependencies = [str(number - 1)] if number else []
            cloaca.task(id=str(number), dependencies=dependencies, **options)(function_of(number))


def test_a_chain_takes_few_messages(sent: Counter[str]) -> None:
    """Now 1; it would be one for each task. On a machine that is busy tasks seem longer, and chains are shorter."""
    define_chain(1000, lambda _: add_one)
    with DefaultRunner(workers=2) as runner:
        warm(runner)
        runner.execute("chain")
        sent.clear()
        assert runner.execute("chain").final_context["sum"] == 1000
    assert sent["assignments"] == 1000
    assert sent["sends"] <= 50
    assert sent["after"] >= 950


def actions(number: int, random: Random) -> Callable[[Context], None]:
    """A task that reads, sets and removes keys that its code doesn't name, and keeps what it has seen."""
    chosen = [(random.choice(["set", "set", "same", "delete", "get", "look"]), random.choice("abcd")) for _ in range(4)]
    values = [random.choice([1, [number], "x" * 100_000, None]) for _ in chosen]

    def act(context: Context) -> None:
        seen: list[Any] = []
        for (action, key), value in zip(chosen, values, strict=True):
            if action == "set":
                context.set(key, value)
            elif action == "same":
                context.set(key, context.get(key))
            elif action == "delete":
                if key in context:
                    context.remove(key)
            elif action == "get":
                seen.append((key, repr(context.get(key, "absent"))[:20]))
            else:
                seen.append(sorted(context.keys() - {"seen"}))
        context.set("seen", [*context.get("seen", []), seen])

    return act


@pytest.mark.parametrize("seed", range(4))
def test_tasks_in_chains_see_what_they_would_see_alone(seed: int, sent: Counter[str]) -> None:
    define_chain(LENGTH, lambda number: actions(number, Random(f"{seed} {number}")))
    given = Context({"a": 1, "b": [2]})
    alone = DefaultRunner(executor="serial").execute("chain", given)
    with DefaultRunner(workers=2) as runner:
        warm(runner)
        for _ in range(3):
            sent.clear()
            chained = runner.execute("chain", given)
            assert dict(chained.final_context) == dict(alone.final_context)
    assert sent["after"] > LENGTH / 2


def test_one_that_fails_is_tried_again_and_what_comes_after_it_runs_once(tmp_path: Path) -> None:
    """A file takes note of each that runs."""
    log = tmp_path / "log"

    def function_of(number: int) -> Callable[[Context], None]:
        def run(context: Context) -> None:
            with log.open("a") as file:
                file.write(f"{number}\n")
            if number == 7 and log.read_text().split().count("7") < 3:
                raise ValueError("not yet")
            add_one(context)

        return run

    define_chain(20, function_of, retry_attempts=5, retry_delay_ms=1)
    with DefaultRunner(workers=2) as runner:
        warm(runner)
        log.write_text("")
        result = runner.execute("chain")
    assert result.final_context["sum"] == 20
    ran = Counter(log.read_text().split())
    assert ran.pop("7") == 3
    assert set(ran.values()) == {1}


def test_one_whose_worker_dies_is_lost_and_nothing_else(tmp_path: Path, sent: Counter[str]) -> None:
    log = tmp_path / "log"

    def function_of(number: int) -> Callable[[Context], None]:
        def run(context: Context) -> None:
            with log.open("a") as file:
                file.write(f"{number}\n")
            if number == 7 and "7\n7\n" not in log.read_text():
                os.kill(os.getpid(), signal.SIGKILL)
            add_one(context)

        return run

    define_chain(20, function_of, retry_attempts=5, retry_delay_ms=1)
    with DefaultRunner(workers=1) as runner:
        warm(runner)
        log.write_text("")
        sent.clear()
        result = runner.execute("chain")
    assert result.final_context["sum"] == 20
    assert sent["after"] > 20
    assert log.read_text().split() == [*map(str, range(7)), "7", *map(str, range(7, 20))]


def test_where_one_fails_for_good_nothing_after_it_runs(tmp_path: Path) -> None:
    log = tmp_path / "log"

    def function_of(number: int) -> Callable[[Context], None]:
        def run(_: Context) -> None:
            with log.open("a") as file:
                file.write(f"{number}\n")
            if number == 7:
                raise ValueError("never")

        return run

    define_chain(20, function_of)
    with DefaultRunner(workers=2) as runner:
        warm(runner)
        result = runner.execute("chain")
        assert (result.tasks["7"].status, result.tasks["8"].status) == ("Failed", "Skipped")
        warm(runner)
    assert log.read_text().split() == [*map(str, range(8))]


def test_a_chain_that_is_cancelled_in_the_middle_ends(tmp_path: Path) -> None:
    gate = pipe(tmp_path / "gate")

    def function_of(number: int) -> Callable[[Context], None]:
        def run(_: Context) -> None:
            if number == 7:
                gate.read_text()

        return run

    define_chain(20, function_of)
    with DefaultRunner(workers=2) as runner:
        warm(runner)
        future = runner.start("chain")
        with gate.open("w"):
            future.cancel()
            assert future.result().tasks["19"].status == "Cancelled"
