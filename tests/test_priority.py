"""Which of the ready tasks goes first: in virtual time, schedules come close to the best that there is."""

from collections.abc import Mapping, Sequence
from heapq import heappop, heappush
from itertools import count
from operator import is_
from random import Random
from typing import Any

import pytest
from tests.reference import Graph
from tests.runs import done

import cloaca
from cloaca.engine.events import Begin, Ended, Room
from cloaca.engine.priority import Priority
from cloaca.engine.run import Run
from cloaca.engine.work import Work
from cloaca.history.plan import Plan, plan
from cloaca.wire.messages import Assignment, Started


def scheduled(graph: Graph, durations: Mapping[str, float], workers: int, *, known: bool = True) -> float:
    """When the last task ends, with so many workers and no time lost between tasks."""
    compiled = plan("w", graph)
    given = [durations[name] for name in compiled.names] if known else None
    work = [Work(rank, ()) for rank in range(len(compiled.names))]
    run = Run(compiled, work, {}, numbers=count(), answers=True, durations=given)
    run.handle(Begin(), 0.0)
    now, running, is_over = 0.0, list[tuple[float, int]](), False
    while not is_over:
        for command in run.handle(Room(workers - len(running)), now):
            assert isinstance(command, Assignment)
            run.handle(Started(command.attempt), now)
            heappush(running, (now + durations[command.task], command.attempt))
        now, attempt = heappop(running)
        is_over = Ended() in run.handle(done(attempt), now)
    return now


def bound(graph: Graph, durations: Mapping[str, float], workers: int) -> float:
    """No schedule ends sooner: all work on all workers, and the longest way through."""
    compiled = plan("w", graph)
    ways: dict[str, float] = {}
    for name in reversed(compiled.names):
        after = [ways[compiled.names[rank]] for rank in compiled.successors[compiled.rank[name]]]
        ways[name] = durations[name] + max(after, default=0.0)
    return max(sum(durations.values()) / workers, *ways.values())


CHAIN_LENGTH = 20


def a_chain_beside_many(short: float, link: float, number: int) -> tuple[Graph, dict[str, float]]:
    """The short ones are defined first: by rank alone, the chain would begin when they have ended."""
    chain = [(f"link {n}", [f"link {n - 1}"] if n else []) for n in range(CHAIN_LENGTH)]
    graph: Graph = [*((f"short {n}", []) for n in range(number)), *chain]
    return graph, {name: short if name.startswith("short") else link for name, _ in graph}


@pytest.mark.parametrize("workers", [2, 4, 16])
@pytest.mark.parametrize(("short", "link"), [(1.0, 10.0), (1.0, 1.0), (0.1, 5.0)])
@pytest.mark.parametrize("known", [True, False])
def test_a_long_chain_beside_many_short_tasks_never_waits(
    workers: int, short: float, link: float, *, known: bool
) -> None:
    number = round(CHAIN_LENGTH * link * (workers - 1) / short)
    graph, durations = a_chain_beside_many(short, link, number)
    assert scheduled(graph, durations, workers, known=known) <= 1.05 * bound(graph, durations, workers)


def test_known_durations_tell_a_short_way_of_long_tasks_from_a_long_way_of_short_ones() -> None:
    graph: Graph = [("a", []), ("b", ["a"]), ("c", ["b"]), ("slow", [])]
    durations = {"a": 1.0, "b": 1.0, "c": 1.0, "slow": 10.0}
    assert scheduled(graph, durations, 1, known=True) == 13.0
    assert first_of(graph, durations) == "slow"
    assert first_of(graph, {}) == "a"


def first_of(graph: Graph, durations: Mapping[str, float]) -> str:
    compiled = plan("w", graph)
    priority = Priority(compiled, [durations.get(name, 0.0) for name in compiled.names])
    return compiled.names[priority.ranks[0]]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("workers", [2, 8])
def test_random_workflows_come_close_to_the_bound(seed: int, workers: int) -> None:
    """Within the guarantee of list scheduling, and nearly always much closer."""
    chance = Random(seed)
    graph: Graph = [
        (f"t{n}", [f"t{m}" for m in {chance.randrange(max(0, n - 30), n) for _ in range(2)}] if n > 10 else [])
        for n in range(200)
    ]
    durations = {name: chance.choice([0.1, 1.0, 5.0]) for name, _ in graph}
    assert scheduled(graph, durations, workers) <= (2 - 1 / workers) * bound(graph, durations, workers)


def compiled(graph: Graph) -> Plan:
    return plan("w", graph)


@pytest.mark.parametrize(
    ("graph", "durations", "expected"),
    [
        ([("a", []), ("b", [])], [], ["a", "b"]),
        ([("a", []), ("b", []), ("c", ["b"])], [], ["b", "c", "a"]),
        ([("a", []), ("b", []), ("c", ["b"])], [9.0, 1.0, 1.0], ["a", "b", "c"]),
        ([("a", []), ("b", [])], [0.0, 2.0], ["a", "b"]),
        ([("a", []), ("b", []), ("c", [])], [0.0, 3.0, 1.0], ["b", "a", "c"]),
        ([("a", []), ("b", []), ("c", ["b", "a"])], [], ["b", "a", "c"]),
        (
            [("a", []), ("b", []), ("c", []), ("d", ["a"]), ("e", ["b"]), ("f", ["c"])],
            [],
            ["a", "d", "b", "e", "c", "f"],
        ),
        ([("a", []), ("b", []), ("c", []), ("ab", ["a", "b"]), ("abc", ["c", "ab"])], [], ["a", "b", "ab", "c", "abc"]),
    ],
)
def test_each_task_comes_after_what_it_needs_the_deepest_first(
    graph: Graph, durations: Sequence[float], expected: list[str]
) -> None:
    priority = Priority(compiled(graph), durations)
    names = compiled(graph).names
    assert [names[rank] for rank in priority.ranks] == expected
    assert [priority.places[rank] for rank in priority.ranks] == list(range(len(names)))


def test_what_follows_a_mapped_task_goes_before_it() -> None:
    graph: Graph = [("make", []), ("load", ["make"]), ("use", ["load"]), ("keep", ["load"]), ("total", ["use", "keep"])]
    priority = Priority(compiled(graph), followers={1: [2, 3]})
    assert [compiled(graph).names[rank] for rank in priority.ranks] == ["make", "keep", "use", "load", "total"]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("workers", [2, 4, 8])
def test_the_critical_path_is_not_kept_waiting_by_what_is_deeper(workers: int, *, known: bool) -> None:
    """Depth first alone would begin the chain when what belongs to the deeper end has been done."""
    wide = [(f"{n} {m}", [f"{n} {m - 1}"] if m else []) for n in range(2 * workers) for m in range(101)]
    chain = [(f"link {m}", [f"link {m - 1}"] if m else []) for m in range(100)]
    graph: Graph = [*chain, *wide, ("end", [f"{n} 100" for n in range(2 * workers)])]
    durations = {name: 1.0 for name, _ in graph}
    assert scheduled(graph, durations, workers, known=known) <= 1.05 * bound(graph, durations, workers)


def test_where_nothing_is_to_be_sorted_one_list_is_kept_of_the_plans_own_numbers() -> None:
    plan_ = compiled([(f"t{n}", []) for n in range(1000)])
    priority = Priority(plan_)
    assert priority.places is priority.ranks
    assert all(map(is_, priority.ranks, plan_.rank.values()))


# ---- priorities that tasks were given ------------------------------------------------------------------------------


def order_of(graph: Graph, priorities: Mapping[str, int], *, chain: int = 1, room: int = 1) -> list[str]:
    """The order in which tasks are submitted, each of which ends before the next ones are."""
    plan_ = compiled(graph)
    work = [Work(rank, (), priority=priorities.get(name, 0)) for rank, name in enumerate(plan_.names)]
    run = Run(plan_, work, {}, numbers=count(), answers=True)
    run.handle(Begin(), 0.0)
    names: list[str] = []
    while assignments := [one for one in run.handle(Room(room, chain=chain), 0.0) if isinstance(one, Assignment)]:
        names += [one.task for one in assignments]
        for one in assignments:
            run.handle(done(one.attempt), 0.0)
    return names


def test_of_those_that_are_ready_the_highest_priority_goes_first_and_then_all_is_as_ever() -> None:
    graph: Graph = [("a", []), ("b", []), ("c", []), ("d", ["b"]), ("low", []), ("e", ["d"])]
    assert order_of(graph, {}) == ["b", "d", "e", "a", "c", "low"]
    assert order_of(graph, {"c": 5, "low": -1}) == ["c", "b", "d", "e", "a", "low"]
    assert order_of(graph, {"e": 9, "a": 1}) == ["a", "b", "d", "e", "c", "low"], "what e needs isn't raised by it"
    assert order_of(graph, {"d": -(10**30), "c": 10**30}) == ["c", "b", "a", "low", "d", "e"]


def test_a_priority_stands_above_the_critical_path_which_counts_among_equals() -> None:
    chain: Graph = [(f"link {n}", [f"link {n - 1}"] if n else []) for n in range(50)]
    graph: Graph = [*((f"short {n}", []) for n in range(3)), *chain, ("end", ["link 49", "short 0"])]
    first = {name for name, needed in graph if name.startswith("short") and not needed}
    assert order_of(graph, {})[0] == "link 0"
    assert {*order_of(graph, dict.fromkeys(first, 1))[:3]} == first
    assert order_of(graph, dict.fromkeys([*first, "link 0"], 1))[0] == "link 0"


def test_what_has_a_lower_priority_does_not_go_along_in_a_chain() -> None:
    graph: Graph = [("a", []), ("then", ["a"]), ("other", ["then"])]
    assert order_of(graph, {}, chain=3, room=3) == ["a", "then", "other"]
    plan_ = compiled(graph)
    for priorities, sent in (
        ({}, 3),
        ({"then": -1}, 1),
        ({"a": 1}, 1),
        ({"other": -1}, 2),
        ({"then": 1, "other": 2}, 3),
    ):
        work = [Work(rank, (), priority=priorities.get(name, 0)) for rank, name in enumerate(plan_.names)]
        run = Run(plan_, work, {}, numbers=count(), answers=True)
        run.handle(Begin(), 0.0)
        assert len(list(run.handle(Room(3, chain=3), 0.0))) == sent


@pytest.mark.parametrize("executor", ["serial", "threads", "processes"])
def test_priorities_change_the_order_and_no_result(executor: Any) -> None:
    def workflow(priorities: Sequence[int]) -> cloaca.Workflow:
        with cloaca.WorkflowBuilder("ordered", check="off") as builder:
            for number, priority in enumerate(priorities):
                cloaca.task(id=f"t{number}", priority=priority)(lambda context: {"seed": context.seed})
        return builder.build()

    with cloaca.DefaultRunner(executor=executor, workers=1) as runner:
        given, plain = workflow([0, 7, -3, 7]), workflow([0, 0, 0, 0])
        results = [runner.execute(one, seed=5) for one in (given, plain)]
    assert given.version == plain.version
    begun = sorted(results[0].tasks, key=lambda id: results[0].tasks[id].start_time or "")
    assert begun == ["t1", "t3", "t0", "t2"]
    assert len({str(result.final_context.conflicts()) for result in results}) == 1


@pytest.mark.parametrize("priority", ["high", 1.5, True, None.__class__])
def test_a_priority_is_a_whole_number(priority: Any) -> None:
    with pytest.raises(ValueError, match=r"task\(priority=\.\.\.\) is a whole number, the higher the sooner"):
        cloaca.task(priority=priority)
