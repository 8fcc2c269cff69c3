"""The plan: one fixed order, whatever the size; and every fault of a graph in one error."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloaca.errors import WorkflowError
from cloaca.history.plan import Plan, plan


def findings(*tasks: tuple[str, list[str]]) -> tuple[str, ...]:
    with pytest.raises(WorkflowError) as caught:
        plan("w", tasks)
    assert caught.value.workflow == "w"
    assert all(finding in str(caught.value) for finding in caught.value.findings)
    return caught.value.findings


@st.composite
def acyclic_graphs(draw: st.DrawFn) -> list[tuple[str, list[str]]]:
    """Draw a graph whose dependencies may be defined after their dependents, and may be listed twice."""
    order = draw(st.permutations(range(draw(st.integers(1, 12)))))
    tasks = [
        (f"t{task}", [f"t{order[i]}" for i in draw(st.lists(st.integers(0, place - 1)))] if place else [])
        for place, task in enumerate(order)
    ]
    return draw(st.permutations(tasks))


def smallest_order(tasks: list[tuple[str, list[str]]]) -> list[str]:
    """Say it naively: again and again the first task, by definition, whose dependencies are all there."""
    order: list[str] = []
    while len(order) < len(tasks):
        order.append(next(task for task, listed in tasks if task not in order and set(listed) <= set(order)))
    return order


@given(acyclic_graphs())
def test_ranks_follow_the_smallest_topological_order(tasks: list[tuple[str, list[str]]]) -> None:
    compiled = plan("w", tasks)
    assert list(compiled.names) == smallest_order(tasks)
    assert [tasks[place][0] for place in compiled.defined] == list(compiled.names)
    assert all(compiled.names[rank] == name for name, rank in compiled.rank.items())
    assert len(compiled.rank) == len(tasks)


@given(acyclic_graphs())
def test_edges_are_those_of_the_author(tasks: list[tuple[str, list[str]]]) -> None:
    compiled = plan("w", tasks)
    for name, listed in tasks:
        predecessors = compiled.predecessors[compiled.rank[name]]
        assert [compiled.names[rank] for rank in predecessors] == list(dict.fromkeys(listed))
    for rank, successors in enumerate(compiled.successors):
        assert list(successors) == [later for later, ranks in enumerate(compiled.predecessors) if rank in ranks]


@given(acyclic_graphs())
def test_levels_are_the_longest_distance_from_a_root(tasks: list[tuple[str, list[str]]]) -> None:
    compiled = plan("w", tasks)

    def distance(rank: int) -> int:
        return max((distance(earlier) + 1 for earlier in compiled.predecessors[rank]), default=0)

    levels = compiled.levels()
    assert [[distance(rank) for rank in level] for level in levels] == [
        [depth] * len(level) for depth, level in enumerate(levels)
    ]
    assert sorted(rank for level in levels for rank in level) == list(range(len(tasks)))
    assert all(level == sorted(level) for level in levels)


def test_rank_is_the_order_of_definition_where_that_is_possible() -> None:
    compiled = plan("w", [("b", []), ("a", ["b"]), ("c", ["a", "b", "a"])])
    assert compiled == Plan(
        names=("b", "a", "c"),
        predecessors=((), (0,), (1, 0)),
        successors=((1, 2), (2,), ()),
        defined=range(3),
        rank={"b": 0, "a": 1, "c": 2},
    )


@pytest.mark.slow
@pytest.mark.parametrize("step", [-1, 1])
def test_a_chain_of_100_000_tasks_in_either_direction(step: int) -> None:
    names = [f"t{i}" for i in range(100_000)]
    links = dict(pairwise(names[::step]))
    compiled = plan("w", [(name, [links[name]] if name in links else []) for name in names])
    assert list(compiled.names) == names[::-step]
    assert len(compiled.levels()) == 100_000


@pytest.mark.slow
def test_a_fan_in_of_100_000_tasks() -> None:
    names = [f"t{i}" for i in range(100_000)]
    compiled = plan("w", [*((name, []) for name in names), ("join", names)])
    assert compiled.predecessors[100_000] == tuple(range(100_000))


def test_an_empty_workflow() -> None:
    (finding,) = findings()
    assert "Workflow cannot be empty" in finding


def test_a_duplicate_id_is_told_once_with_its_count() -> None:
    (finding,) = findings(("a", []), ("a", []), ("a", []), ("b", ["a"]))
    assert "3 tasks" in finding
    assert "'a'" in finding


def test_a_missing_dependency_names_the_nearest_id() -> None:
    (finding,) = findings(("load", []), ("report", ["laod"]))
    assert "'report'" in finding
    assert "'laod'" in finding
    assert "did you mean 'load'?" in finding


def test_many_missing_dependencies_are_summed_up() -> None:
    found = findings(("a", [f"missing {i}" for i in range(1000)]))
    assert len(found) < 50
    assert "980 more" in found[-1]


def test_a_task_that_depends_on_itself() -> None:
    (finding,) = findings(("a", []), ("b", ["a", "b"]))
    assert finding == "Task 'b' depends on itself."


def test_each_cycle_is_one_finding() -> None:
    found = findings(("a", ["b"]), ("b", ["a"]), ("x", ["z", "a"]), ("y", ["x"]), ("z", ["y"]))
    assert [finding.split(": ")[1] for finding in found] == ["a -> b -> a", "x -> z -> y -> x"]


def test_of_a_tangle_a_shortest_cycle_is_shown() -> None:
    (finding,) = findings(("a", ["b"]), ("b", ["c"]), ("c", ["d"]), ("d", ["a", "c"]))
    assert finding.endswith("c -> d -> c")


@pytest.mark.slow
def test_a_cycle_of_100_000_tasks_is_found_and_shortened() -> None:
    (finding,) = findings(*[(f"t{i}", [f"t{(i + 1) % 100_000}"]) for i in range(100_000)])
    assert "t0 -> t1 -> " in finding
    assert finding.endswith("t99999 -> t0")
    assert len(finding) < 300


def test_all_faults_are_told_at_once() -> None:
    found = findings(("a", ["b", "a"]), ("b", ["a", "nowhere"]), ("c", []), ("c", []))
    assert [any(word in finding for finding in found) for word in ("itself", "nowhere", "2 tasks", "a -> b -> a")] == [
        True
    ] * 4
    assert len(found) == 4


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.lists(st.sampled_from("abcdef"), max_size=3)), max_size=6))
def test_any_graph_has_a_plan_or_an_error(tasks: list[tuple[str, list[str]]]) -> None:
    try:
        order = plan("w", tasks).names
    except WorkflowError:
        order = ()
    assert (len(order) == len(tasks) > 0) == is_sound(tasks)


def is_sound(tasks: list[tuple[str, list[str]]]) -> bool:
    """Say it naively: ids are unique, and taking away what needs nothing leaves nothing."""
    waiting = dict(tasks)
    while ready := {name for name, listed in waiting.items() if not set(listed) & set(waiting)}:
        waiting = {name: listed for name, listed in waiting.items() if name not in ready}
    names = {name for name, _ in tasks}
    return len(names) == len(tasks) > 0 and not waiting and all(set(listed) <= names for _, listed in tasks)
