"""A run that begins with ends of an earlier one leaves what a run leaves that was never interrupted, byte for byte."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from itertools import count
from random import Random
from typing import Any

import pytest
from msgspec import msgpack
from msgspec.structs import replace
from tests import invariants
from tests.follower import Follower, Place
from tests.reference import KEYS, Graph, Model, is_well_paired
from tests.runs import CHAIN, candidates_of, tell
from tests.test_coordinator import chooser, conclusion, in_order, workload
from tests.test_lifetimes import Kind, names_of, opaque, removed, small
from tests.test_run_model import patient

from cloaca.border.surroundings import here
from cloaca.engine.earlier import Earlier
from cloaca.engine.ends import End
from cloaca.engine.events import Begin, Cancel, Command, Ended, Release, Room, Tick, Withdraw
from cloaca.engine.facts import Fact, RunFinished, TaskExpanded, TaskFinished, TaskRetried
from cloaca.engine.fan import Each, together
from cloaca.engine.pairing import paired
from cloaca.engine.run import Run
from cloaca.engine.seats import Seats
from cloaca.engine.work import Limits, Merging, Work
from cloaca.errors import INPUT
from cloaca.history.plan import plan
from cloaca.running.coordinator import Coordinator, Job
from cloaca.testing import ScriptedExecutor, running
from cloaca.triggers.condition import context_value
from cloaca.values.codec import encode
from cloaca.wire.messages import (
    Assignment,
    Done,
    Failed,
    Items,
    ItemsFound,
    Lost,
    Outcome,
    Publish,
    Skipped,
    Slice,
    Started,
    Unstarted,
    Usage,
    Version,
)

FREE = Each("")
RULES = [None, None, None, "all_done", "one_failed", "none_failed", "all_success"]

KINDS: Sequence[Kind] = (small, small, opaque, removed)

# ---- workflows made by chance --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Weave:
    """A workflow made by chance. What a task sets tells what it saw: so a run can't see anything else unnoticed.

    `is_mended`: those don't fail any more that fail each time.
    """

    seed: int
    is_mended: bool = False

    @cached_property
    def graph(self) -> Graph:
        random = Random(self.seed)
        return [
            (f"t{n}", [f"t{m}" for m in random.sample(range(n), min(n, random.choice([0, 1, 1, 2, 3])))])
            for n in range(12)
        ]

    @cached_property
    def mapped(self) -> Mapping[str, str]:
        random, mapped = Random(self.seed), dict[str, str]()
        for name, _ in self.graph:
            key = random.choice([None, "a", "b"])
            if key is not None and is_well_paired(self.graph, {**mapped, name: key}):
                mapped[name] = key
        return mapped

    def run(self, earlier: Sequence[Fact] = ()) -> Run:
        random = Random(self.seed)
        compiled = plan("w", self.graph)
        ranks = range(len(compiled.names))
        keys = [self.mapped.get(name) for name in compiled.names]
        each = paired(compiled, keys, dict.fromkeys(ranks, 1), dict.fromkeys(ranks, ()))
        work = [
            Work(
                0,
                (),
                retry=patient(random.choice([1, 2, 3])),
                rule=None if each.get(rank, FREE).follows is not None else random.choice(RULES),
                trigger=context_value("a", "exists") if is_asked else None,
                condition=9 * is_asked,
                each=each.get(rank),
            )
            for rank, is_asked in enumerate(random.random() < 0.2 for _ in ranks)
        ]
        return Run(
            compiled,
            work,
            {key: Version(INPUT, encode(key)) for key in KEYS},
            numbers=count(),
            answers=False,
            merging=Merging(ruled=frozenset("bc"), collected=frozenset("c")) if self.seed % 2 else None,
            seed=self.seed,
            earlier=earlier,
        )

    def report(self, assignment: Assignment) -> Done | Failed | Lost | Skipped:
        """What comes of an attempt: it follows from what it saw, and which try it is."""
        number, name = assignment.attempt, assignment.task
        random = Random(f"{self.seed} {name}")
        saw = [[key, candidates_of(told)] for key, told in sorted(assignment.slice.versions.items()) if told]
        told = (assignment.slice.outcomes or {}).items()  # those of instances that are followed, only to who asks
        outcomes = sorted((task, outcome) for task, outcome in told if task not in self.mapped)
        digest = sha256(msgpack.encode([saw, outcomes, _sent(assignment), assignment.ended])).hexdigest()[:12]
        usage = Usage(1.0, 2.0 + random.randrange(64) / 64, random.randrange(64) / 64, 1, (digest,))  # sums are exact
        if assignment.condition and random.random() < 0.4:
            return Skipped(number, f"by {digest}", usage)
        if (random.random() < 0.15 and not self.is_mended) or (random.random() < 0.2 and assignment.ended == 0):
            return Failed(number, "ValueError", f"saw {digest}", "", None, usage)
        if random.random() < 0.1 and assignment.nth == 1:
            return Lost(number, None, "SIGKILL")
        if name in self.mapped:
            return Done(number, {}, usage, items=self._items(random, f"{name}-{digest}"))
        keys = random.sample(KEYS, random.choice([0, 1, 2]))
        return Done(number, {key: random.choice(KINDS)(f"{name}-{key}-{digest}") for key in keys}, usage)

    def _items(self, random: Random, digest: str) -> ItemsFound:
        size = random.choice([0, 1, 2, 4, 14])
        items = [random.choice([small, opaque])(f"{n}-{digest}") for n in range(size)]
        if random.random() < 0.5:
            return ItemsFound(items)
        return ItemsFound(items, [f"'k{n}'" for n in range(size)], [encode(f"k{n}") for n in range(size)])


def alone(whole: Assignment, place: int) -> Assignment:
    """What the instance at that place would be sent alone."""
    items = whole.items
    assert items is not None
    keys = None if items.keys is None else items.keys[place : place + 1]
    writers = items.writers if len(items.writers) == 1 else items.writers[place : place + 1]
    one = Items([items.payloads[place]], keys, items.of, writers)
    return replace(whole, task=whole.name(place), slice=whole.seen(place), items=one)


@dataclass
class Driver:
    """Takes a run to its end, or for so many `steps`, in an order of its own."""

    weave: Weave
    order: int
    earlier: Sequence[Fact] = ()
    steps: int | None = None
    released: set[str] = field(default_factory=set)
    submitted: list[Place] = field(default_factory=list)
    most: int = 1  # items in one attempt
    is_over = False

    def __post_init__(self) -> None:
        self.random = Random(self.order)
        self.run = self.weave.run(self.earlier)
        self.run.listen()
        self.held: list[Assignment] = []
        self.begun: list[Assignment] = []
        self.now = 0.0
        commands = self.run.handle(Begin(), self.now)
        self.follower = Follower({self.run.ledger.place(unit): nth for unit, nth in enumerate(self.run.attempts)})
        self.heed(commands)
        while not self.is_over and self.steps != 0:
            self.move()
            self.steps = None if self.steps is None else self.steps - 1

    @property
    def facts(self) -> Sequence[Fact]:
        return self.follower.facts

    def move(self) -> None:
        choices = ["submit"] * bool(self.run.ready) + ["start", "start", "give back"] * bool(self.held)
        choices += ["end"] * 2 * bool(self.begun)
        match self.random.choice(choices or ["wait"]):
            case "submit":
                self.tell(Room(self.random.choice([1, 2, 5]), grain=self.random.choice([1, 3])))
            case "start":
                self.begun.append(self.pick(self.held))
                self.tell(Started(self.begun[-1].attempt))
            case "give back":
                held = self.pick(self.held)
                self.tell(Unstarted(held.attempt, size_of(held)))
            case "end":
                self.end(self.pick(self.begun))
            case _:
                assert self.run.due is not None, "nothing will ever happen"
                self.now = max(self.now, self.run.due)
                self.tell(Tick())

    def end(self, begun: Assignment) -> None:
        """One ends, or one item after the other."""
        size = size_of(begun)
        if size == 1:
            self.tell(self.weave.report(begun))
            return
        for place in range(size):
            report = self.weave.report(alone(begun, place))
            if place and (isinstance(report, Lost) or self.random.random() < 0.3):
                self.tell(Started(begun.attempt))
            self.tell(together([report]) if isinstance(report, Done) else report)
            if isinstance(report, Lost):
                if place + 1 < size:
                    self.tell(Unstarted(begun.attempt, size - place - 1))
                return

    def pick(self, assignments: list[Assignment]) -> Assignment:
        return assignments.pop(self.random.randrange(len(assignments)))

    def tell(self, event: Any) -> None:
        self.heed(self.run.handle(event, self.now))

    def heed(self, commands: Sequence[Command]) -> None:
        for command in commands:
            self.obey(command)
        invariants.check(self.run)
        self.follower.follow(self.run.facts())

    def obey(self, command: Command) -> None:
        match command:
            case Assignment():
                first, size = self.run.open_attempts[command.attempt].rank, size_of(command)
                self.submitted += map(self.run.ledger.place, range(first, first + size))
                self.most = max(self.most, size)
                frozen = Slice(dict(command.slice.versions), complete=True, outcomes=dict(command.slice.outcomes or {}))
                payloads = [one.payload for told in frozen.versions.values() for one in told]
                assert names_of(payloads).isdisjoint(self.released), "told of after its release"
                assert command.items is None or names_of(command.items.payloads).isdisjoint(self.released)
                self.held.append(replace(command, slice=frozen))
            case Release(payloads=payloads):
                self.released |= names_of(payloads)
            case Withdraw():
                """It may end by itself all the same, or be given back."""
            case _:
                assert isinstance(command, Ended)
                self.is_over = True

    @cached_property
    def conclusion(self) -> bytes:
        """All that a result tells, with all that was measured."""
        ledger = self.run.ledger
        units = {name: ledger.find(name) or 0 for name in ledger}
        ends = {
            name: replace(end, attempt=0) if isinstance(end := ledger.ends[unit], Failed | Lost | Skipped) else end
            for name, unit in units.items()
        }
        told = [[name, ledger.outcome_in_full(unit), ledger.attempts[unit], ends[name]] for name, unit in units.items()]
        return msgpack.encode([told, list(self.run.history.final().items())])


def _sent(assignment: Assignment) -> Any:
    """The item, wherever it stands in its attempt."""
    items = assignment.items
    return None if items is None else (items.payloads, items.keys, items.of, items.writers)


def size_of(assignment: Assignment) -> int:
    return 1 if assignment.items is None else len(assignment.items.payloads)


def kept(facts: Sequence[Fact]) -> set[Place]:
    """What needs not be run again where all these facts are given."""
    given = Earlier(facts)
    places = {(fact.task, fact.item) for fact in facts if isinstance(fact, TaskExpanded | TaskFinished)}
    return {place for place in places if given.report(place, 0) is not None}


SEEDS = range(40)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_was_interrupted_goes_on_as_if_it_had_not_been(seed: int) -> None:
    weave, random = Weave(seed), Random(seed)
    whole = Driver(weave, 1)
    for _ in range(3):
        facts: Sequence[Fact] = []
        for attempt in range(random.choice([1, 2, 4])):
            facts = [*facts, *Driver(weave, 10 + attempt, facts, random.randrange(60)).facts]
        last = Driver(weave, 3, facts)
        assert last.conclusion == whole.conclusion
        assert kept(facts).isdisjoint(last.submitted), "what has ended is run once more"
        assert whole.released.isdisjoint(names_of(_left(last.run))), "what nobody needs is kept"


def _left(run: Run) -> list[bytes | None]:
    return [version.payload for told in run.history.final().values() for version in told]


@pytest.mark.parametrize("seed", SEEDS)
def test_any_facts_may_be_given_in_any_order(seed: int) -> None:
    weave, random = Weave(seed), Random(seed)
    whole = Driver(weave, 1)
    for share in (0.2, 0.5, 0.9):
        facts = [fact for fact in whole.facts if random.random() < share and not isinstance(fact, TaskRetried)]
        shuffled = sorted(facts, key=lambda fact: (isinstance(fact, TaskRetried), random.random()))
        for given in (facts, shuffled):
            assert _without_tries(Driver(weave, 2, given)) == _without_tries(whole)


def _without_tries(driver: Driver) -> list[Any]:
    """Where facts of tries are left out, they are made again; what comes of them is the same."""
    told, final = msgpack.decode(driver.conclusion)
    return [[[name, outcome, end] for name, outcome, _, end in told], final]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_cancelled_run_goes_on(seed: int) -> None:
    """What failed meanwhile wasn't tried again: so failures aren't given."""
    weave = Weave(seed)
    stopped = Driver(weave, 1, steps=Random(seed).randrange(60))
    if not stopped.is_over:
        stopped.tell(Cancel())
        while not stopped.is_over:
            stopped.move()
    given = [fact for fact in stopped.facts if not (isinstance(fact, TaskFinished) and fact.outcome.status == "Failed")]
    assert Driver(weave, 2, given).conclusion == Driver(weave, 3).conclusion


@pytest.mark.parametrize("seed", SEEDS)
def test_what_failed_is_made_again_and_all_that_came_after_it(seed: int) -> None:
    """The code of what failed was mended; what saw it fail is run again, too, and nothing else."""
    broken = Driver(Weave(seed), 1)
    well = [fact for fact in broken.facts if not (isinstance(fact, TaskFinished) and fact.outcome.status == "Failed")]
    failed = {(fact.task, fact.item) for fact in broken.facts if isinstance(fact, TaskFinished)} - {
        (fact.task, fact.item) for fact in well if isinstance(fact, TaskFinished)
    }
    tried_in_vain = [fact for fact in well if isinstance(fact, TaskRetried) and (fact.task, fact.item) in failed]
    given = [fact for fact in well if fact not in tried_in_vain]
    mended = Weave(seed, is_mended=True)
    again = Driver(mended, 2, given)
    assert again.conclusion == Driver(mended, 3).conclusion
    reused = [fact for fact in again.facts if isinstance(fact, TaskFinished | TaskExpanded) and fact.reused]
    assert {(fact.task, fact.item) for fact in reused}.isdisjoint(again.submitted)
    before, tasks_that_failed = Model(mended.graph, {}).orders, {task for task, _ in failed}
    untouched = {task for task in before if tasks_that_failed.isdisjoint([task, *before[task]])}
    assert untouched.isdisjoint(task for task, _ in again.submitted), "what had nothing to do with it is run once more"


def test_the_workflows_have_something_to_get_wrong() -> None:
    runs = [Driver(Weave(seed), 1) for seed in SEEDS]
    ends = [fact for driver in runs for fact in driver.facts if isinstance(fact, TaskFinished)]
    counts = {(fact.item is None, fact.size is None, fact.outcome.status) for fact in ends}
    for status in ("Completed", "Failed"):
        assert counts >= {(True, True, status), (True, False, status), (False, True, status)}
    assert counts >= {(True, True, "Skipped"), (False, True, "Skipped")}
    assert any(isinstance(fact.end, Lost) for fact in ends)
    assert any(isinstance(fact.end, Skipped) for fact in ends)
    assert any(fact.overlay for fact in ends)
    assert any(driver.released for driver in runs)
    assert any(driver.most > 1 for driver in runs)
    assert sum(isinstance(fact, TaskRetried) for driver in runs for fact in driver.facts) > 10


# ---- one by one ----------------------------------------------------------------------------------------------------


USAGE = Usage(1.0, 2.0, 0.0, 0)
FAILURE = Failed(7, "ValueError", "no", "", None, USAGE)


def finished(
    task: str, end: End = USAGE, *, item: int | None = None, nth: int = 1, **diff: bytes | None
) -> TaskFinished:
    status = "Completed" if isinstance(end, Usage) else "Failed"
    return TaskFinished(0.0, 0.0, task, item, nth, Outcome(status), end, diff)


def submitted(commands: Sequence[Command]) -> list[str]:
    return [command.task for command in commands if isinstance(command, Assignment)]


def begun(graph: Graph, *earlier: Fact, limits: Limits | None = None, **of_work: Any) -> tuple[Run, list[Command]]:
    compiled = plan("w", graph)
    work = [Work(rank, (), **of_work) for rank in range(len(compiled.names))]
    run = Run(compiled, work, {}, numbers=count(), answers=True, limits=limits, earlier=earlier)
    run.listen()
    return run, tell(run, Begin())


def test_a_run_of_which_nothing_is_left_ends_as_it_begins() -> None:
    run, commands = begun(CHAIN, finished("a", k=b"1"), finished("b"), finished("c", k=b"2"))
    assert commands == [Ended()]
    assert run.history.final()["k"] == (Version("c", b"2"),)
    assert [type(fact) for fact in run.facts()[1:]] == [TaskFinished] * 3 + [RunFinished]


def test_an_end_counts_only_where_all_before_it_has_ended() -> None:
    run, _ = begun([("a", []), ("b", ["a"]), ("c", []), ("d", ["b", "c"])], finished("b"), finished("d"), finished("c"))
    assert submitted(tell(run, Room(9))) == ["a"]
    (reused,) = [fact for fact in run.facts() if isinstance(fact, TaskFinished) and fact.reused]
    assert reused.task == "c"


def test_what_failed_before_is_not_tried_again_where_that_end_is_given() -> None:
    run, commands = begun(CHAIN, finished("a", FAILURE, nth=2), retry=patient(3))
    assert commands == [Ended()]
    assert [run.ledger.outcome(rank).status for rank in range(3)] == ["Failed", "Skipped", "Skipped"]
    assert run.attempts == [2, 0, 0]


def test_the_next_try_counts_on() -> None:
    retried = TaskRetried(0.0, 0.0, "a", None, 2, FAILURE, "ValueError: no", 5.0, 1)
    run, _ = begun([("a", [])], retried, retry=patient(3))
    (assignment,) = tell(run, Room(1))
    assert isinstance(assignment, Assignment)
    assert (assignment.nth, assignment.ended) == (3, 2)


def test_a_run_that_is_to_fail_fast_begins_nothing_after_an_end_that_failed() -> None:
    run, commands = begun([("a", []), ("b", [])], finished("a", FAILURE), limits=Limits(fail_fast=True))
    assert commands == [Ended()]
    assert [run.ledger.outcome(rank).status for rank in range(2)] == ["Failed", "Cancelled"]


def test_what_has_ended_needs_no_seat() -> None:
    compiled = plan("w", [(name, []) for name in "abc"])
    work = [Work(rank, (), share=(("db", 1),)) for rank in range(3)]
    seats, elsewhere = Seats({"db": 1}), object()
    seats.take((("db", 1),), 99, elsewhere)
    run = Run(compiled, work, {}, numbers=count(), answers=True, seats=seats, earlier=[finished("a"), finished("c")])
    tell(run, Begin())
    assert tell(run, Room(3)) == []
    seats.free(99)
    assert submitted(tell(run, Room(3))) == ["b"]


def test_instances_are_kept_one_by_one() -> None:
    compiled = plan("w", [("m", [])])
    items = ItemsFound([b"x", b"y", b"z"])
    expanded = TaskExpanded(0.0, 0.0, "m", None, 1, 3, items, USAGE)
    given = [expanded, finished("m", item=2, r=encode(3)), finished("m", item=0, r=encode(1))]
    run = Run(compiled, [Work(0, (), each=Each("k", 7))], {}, numbers=count(), answers=True, earlier=given)
    tell(run, Begin())
    (assignment,) = tell(run, Room(9))
    assert isinstance(assignment, Assignment)
    assert assignment.task == "m[1]"
    tell(run, Done(assignment.attempt, {"r": encode(2)}, USAGE))
    assert run.ledger.outcome(0).status == "Completed"


def test_instances_of_a_task_that_is_expanded_anew_are_run_anew() -> None:
    run = Run(
        plan("w", [("m", [])]),
        [Work(0, (), each=Each("k", 7))],
        {},
        numbers=count(),
        answers=True,
        earlier=[finished("m", item=0, r=encode(1))],
    )
    assert submitted(tell(run, Begin(), Room(9))) == ["m"]


# ---- with values, and merges ---------------------------------------------------------------------------------------


def job_of(seed: int, earlier: Sequence[Fact] = ()) -> tuple[Job[Run], ScriptedExecutor, list[Fact]]:
    graph, functions = workload(seed)
    work = [Work(rank, ("a",)) for rank in functions]
    given = {"a": Version(INPUT, encode(0))}
    run = Run(plan("w", graph), work, given, numbers=count(), answers=True, earlier=earlier)
    run.listen()
    facts: list[Fact] = []
    publish = [Publish(rank, b"", ("a",)) for rank in functions]
    job = Job("w", run, publish, lambda _: None, here(), on_facts=facts.extend)
    return job, ScriptedExecutor(running(functions), chooser(seed), window=4), facts


@pytest.mark.parametrize("seed", range(6))
def test_tasks_that_merge_what_others_left_leave_the_same_values(seed: int) -> None:
    job, executor, facts = job_of(seed)
    coordinator = Coordinator(executor)
    coordinator.post(job, Begin())
    for _ in range(20 + 20 * seed):
        if not coordinator.is_idle:
            coordinator.step(0)
    executor.close()
    again, executor, told = job_of(seed, facts)
    coordinator = Coordinator(executor)
    coordinator.post(again, Begin())
    while not coordinator.is_idle:
        coordinator.step(0)
        invariants.check(again.run)
    executor.close()
    assert conclusion(again.run) == in_order(seed)
    ends = [fact for fact in told if isinstance(fact, TaskFinished) and not fact.reused]
    anew = {(fact.task, fact.item) for fact in ends if fact.nth and fact.size is None}
    assert kept(facts).isdisjoint(anew)
    assert len(anew) + len(kept(facts)) <= len(workload(seed)[0])


def test_what_keys_came_to_is_told_and_given() -> None:
    job, executor, facts = job_of(1)
    coordinator = Coordinator(executor)
    coordinator.post(job, Begin())
    while not coordinator.is_idle:
        coordinator.step(0)
    executor.close()
    settled = [fact for fact in facts if isinstance(fact, TaskFinished) and fact.settled]
    assert settled
    report = Earlier(settled).report((settled[0].task, None), 5)
    assert isinstance(report, Done)
    assert report.settled == settled[0].settled
