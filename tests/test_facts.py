"""The facts of a run: what those who follow it are told, in which order, and what they need not be told."""

import pickle
import sys
from collections import Counter
from collections.abc import Sequence
from random import Random
from types import FrameType

import pytest
from msgspec import msgpack
from tests.follower import Follower
from tests.runs import CHAIN, DIAMOND, a_run, done, failed, found, lost, tell

from cloaca.engine.events import AttemptEvent, Begin, Cancel, Room, RunEvent
from cloaca.engine.facts import (
    Fact,
    RunBegan,
    RunFinished,
    TaskExpanded,
    TaskFact,
    TaskFinished,
    TaskPutBack,
    TaskRetried,
    TaskStarted,
)
from cloaca.engine.fan import Each
from cloaca.engine.run import Run
from cloaca.engine.work import Work
from cloaca.history.plan import plan
from cloaca.retry import RetryPolicy
from cloaca.testing import NO_USAGE
from cloaca.wire.messages import Done, Failed, Lost, Outcome, Started, Unstarted, Usage, Version


def followed(run: Run, *events: RunEvent | AttemptEvent) -> Sequence[Fact]:
    """What one who follows the run from here on is told of these events."""
    run.listen()
    tell(run, *events)
    follower = Follower()
    follower.follow(run.facts())
    return follower.facts


def told(facts: Sequence[Fact]) -> list[str]:
    """In short."""
    return [
        f"{type(fact).__name__} {fact.task}{'' if fact.item is None else [fact.item]} {fact.nth}"
        if isinstance(fact, TaskFact)
        else type(fact).__name__
        for fact in facts
    ]


def test_nothing_is_told_to_nobody() -> None:
    run = a_run(CHAIN)
    tell(run, Begin(), Room(1), done(0))
    assert run.facts() == ()


def test_each_fact_is_handed_out_once() -> None:
    run = a_run(CHAIN)
    run.listen()
    tell(run, Begin())
    assert told(run.facts()) == ["RunBegan"]
    assert told(run.facts()) == []


def test_a_run_is_told_from_its_beginning_to_its_end() -> None:
    facts = followed(a_run([("a", []), ("b", ["a"])]), Begin(), Room(2), Started(0), done(0, k=b"1"), Room(1), done(1))
    assert told(facts) == [
        "RunBegan",
        "TaskStarted a 1",
        "TaskFinished a 1",
        "TaskFinished b 1",
        "RunFinished",
    ]
    (_, _, ended, *_) = facts
    assert isinstance(ended, TaskFinished)
    assert (ended.outcome, ended.diff, ended.end) == (Outcome("Completed"), {"k": b"1"}, NO_USAGE)


def test_of_a_task_of_which_nothing_else_is_to_be_told_there_is_one_fact_made_in_one_call() -> None:
    """Whoever follows a run pays for each task: less than a tenth of what a trivial one costs the coordinator."""
    calls = Counter[str]()

    def count(frame: FrameType, event: str, _: object) -> None:
        calls[frame.f_code.co_filename.rpartition("/")[2]] += event == "call"

    run = a_run([(name, []) for name in "abcdefgh"])
    run.listen()
    sys.setprofile(count)
    tell(run, Begin(), Room(8), *map(done, range(8)))
    sys.setprofile(None)
    assert calls["chronicle.py"] == 1 + 8 + 1, "each of a call, with the run's own beginning and end"
    assert len(run.facts()) == 1 + 8 + 1


def test_times_are_those_of_both_clocks() -> None:
    run = a_run([("a", [])])
    run.listen()
    usage = Usage(1.5, 2.75, 0, 0, worker=7)
    events: list[RunEvent | AttemptEvent] = [Begin(), Room(1), Started(0, 1.5, 7), Done(0, {}, usage)]
    for at, event in enumerate(events):
        run.handle(event, float(at), 1000.0 + at)
    facts = run.facts()
    assert [(fact.at, fact.time) for fact in facts] == [(n, 1000.0 + n) for n in (0.0, 2.0, 3.0, 3.0)]
    started, ended = facts[1:3]
    assert isinstance(started, TaskStarted)
    assert isinstance(ended, TaskFinished)
    assert (started.moment, started.worker) == (1.5, 7)
    assert (ended.usage, ended.worker) == (usage, 7)


def test_of_what_is_known_to_run_only_when_it_has_ended_the_end_tells_when_and_where_it_began() -> None:
    facts = followed(a_run([("a", [])]), Begin(), Room(1), Done(0, {}, Usage(0.25, 0.5, 0, 0, worker=2)))
    assert told(facts) == ["RunBegan", "TaskFinished a 1", "RunFinished"]
    ended = facts[1]
    assert isinstance(ended, TaskFinished)
    assert ended.usage is not None
    assert (ended.usage.started, ended.worker) == (0.25, 2)


def test_the_worker_that_died_is_told() -> None:
    facts = followed(a_run([("a", [])]), Begin(), Room(1), Started(0, None, 3), Lost(0, None, "SIGKILL", worker=3))
    (ended,) = [fact for fact in facts if isinstance(fact, TaskFinished)]
    assert (ended.outcome.status, ended.usage, ended.worker) == ("Failed", None, 3)


def test_what_is_given_back_before_it_began_is_not_told() -> None:
    facts = followed(a_run([("a", [])]), Begin(), Room(1), Unstarted(0), Room(1), done(1))
    assert told(facts) == ["RunBegan", "TaskFinished a 1", "RunFinished"]


def test_what_finds_no_room_is_put_back() -> None:
    lacking = Failed(0, "StorageFullError", "no", "", None, NO_USAGE, lacking=10)
    facts = followed(a_run([("a", []), ("b", [])]), Begin(), Room(2), Started(0), lacking)
    assert facts[-1] == TaskPutBack(0.0, 0.0, "a", None, 1, 10)


def test_a_failed_try_is_told_and_then_the_next_one() -> None:
    policy = RetryPolicy.builder().max_attempts(2).build()
    run = Run(plan("w", [("a", [])]), [Work(0, (), retry=policy)], {}, numbers=iter(range(9)), answers=True)
    facts = followed(run, Begin(), Room(1), failed(0))
    retried = facts[-1]
    assert isinstance(retried, TaskRetried)
    assert (retried.error, retried.nth, retried.ended) == ("ValueError: no", 1, 0)
    assert retried.delay == run.due


def test_skipping_is_told_after_the_end_from_which_it_follows() -> None:
    facts = followed(a_run(CHAIN), Begin(), Room(1), failed(0))
    ends = [fact for fact in facts if isinstance(fact, TaskFinished)]
    assert [(end.task, end.outcome.status, end.nth) for end in ends] == [
        ("a", "Failed", 1),
        ("b", "Skipped", 0),
        ("c", "Skipped", 0),
    ]
    assert "a" in (ends[1].outcome.reason or "")
    assert told(facts)[-1] == "RunFinished"


def test_a_run_that_is_stopped_tells_why_and_what_never_began() -> None:
    facts = followed(a_run(CHAIN), Begin(), Room(1), Started(0), Cancel(), lost(0))
    ends = {fact.task: fact.outcome.status for fact in facts if isinstance(fact, TaskFinished)}
    assert ends == dict.fromkeys("abc", "Cancelled")
    assert facts[-1] == RunFinished(0.0, 0.0, "it was cancelled")


def test_a_mapped_task_is_told_of_with_its_instances() -> None:
    each = Each("k", expansion=7)
    work = [Work(0, (), each=each), Work(1, (), each=Each("k", follows=0))]
    run = Run(
        plan("w", [("a", []), ("b", ["a"])]), work, {"k": Version("in", b"")}, numbers=iter(range(9)), answers=True
    )
    items = found(0, [b"x", b"y"])
    facts = followed(run, Begin(), Room(1), items, Room(2), done(1, s=b"1"), failed(2), Room(1), done(3, t=b"2"))
    assert told(facts)[1:] == [
        "TaskExpanded a 1",
        "TaskExpanded b 0",
        "TaskFinished a[0] 1",
        "TaskFinished a[1] 1",
        "TaskFinished a 1",
        "TaskFinished b[1] 0",
        "TaskFinished b[0] 1",
        "TaskFinished b 0",
        "RunFinished",
    ]
    expanded = [fact for fact in facts if isinstance(fact, TaskExpanded)]
    assert [(fact.size, fact.items) for fact in expanded] == [(2, items.items), (2, None)]
    first, *_ = [fact for fact in facts if isinstance(fact, TaskFinished) and fact.task == "b" and fact.item == 0]
    assert first.overlay == {"s": (Version("a[0]", b"1"),)}


@pytest.mark.parametrize("seed", range(5))
def test_the_same_events_make_the_same_facts(seed: int) -> None:
    one, other = (_by_chance(Random(seed)) for _ in range(2))
    assert one == other
    assert isinstance(one[0], RunBegan)


def _by_chance(random: Random) -> Sequence[Fact]:
    run = a_run(DIAMOND, reads="k")
    events: list[RunEvent | AttemptEvent] = [Begin()]
    for number in range(4):
        events += [Room(2), Started(number)] if random.random() < 0.5 else [Room(2)]
        events.append(done(number, k=bytes([number])) if random.random() < 0.7 else failed(number))
    return followed(run, *events)


def test_facts_can_be_written_down_and_read_again() -> None:
    facts = followed(a_run(CHAIN), Begin(), Room(1), done(0, k=b"1"), Room(1), failed(1))
    for fact in facts:
        assert msgpack.decode(msgpack.encode(fact), type=dict)["at"] == fact.at
        assert pickle.loads(pickle.dumps(fact)) == fact
