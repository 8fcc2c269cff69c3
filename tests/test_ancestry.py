"""Ancestry: what it says for sure is true, and of what tasks ask about most it is sure."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.reference import Graph, Model, deterministic, graphs

from cloaca.history.ancestry import Ancestry
from cloaca.history.plan import plan


@given(graphs(most=14), st.randoms(use_true_random=False))
@deterministic
def test_ancestry_is_certain_only_of_the_truth_and_always_of_direct_dependencies(graph: Graph, random: Random) -> None:
    compiled = plan("w", graph)
    model, ancestry = Model(graph, {}), Ancestry(compiled)
    pairs = [(one, other) for one in range(len(graph)) for other in range(len(graph))]
    random.shuffle(pairs)
    for one, other in pairs:
        is_above = compiled.names[one] in model.orders[compiled.names[other]]
        if ancestry.is_surely_above(one, other):
            assert is_above, (one, other)
        if ancestry.is_surely_not_above(one, other):
            assert not is_above, (one, other)
        assert ancestry.is_surely_above(one, other) or one not in compiled.predecessors[other]
        assert ancestry.is_known_above(one, other) == is_above


@given(graphs(most=14), st.integers(1, 6))
@deterministic
def test_of_tasks_far_apart_what_is_known_is_true(graph: Graph, near: int) -> None:
    compiled = plan("w", graph)
    model = Model(graph, {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cloaca.history.ancestry.NEAR", near)
        ancestry = Ancestry(compiled)
        for one in range(len(graph)):
            for other in range(one + 1, len(graph)):
                is_above = compiled.names[one] in model.orders[compiled.names[other]]
                known = ancestry.is_known_above(one, other)
                assert known == is_above if other - one <= near else known <= is_above


@given(st.lists(st.integers(0, 20), min_size=1, max_size=20))
@deterministic
def test_in_a_forest_ancestry_is_certain_of_every_pair(places: list[int]) -> None:
    graph = [(f"t{n}", [f"t{place}"] if place < n else []) for n, place in enumerate(places)]
    compiled = plan("w", graph)
    model, ancestry = Model(graph, {}), Ancestry(compiled)
    for task in range(len(graph)):
        surely = {compiled.names[other] for other in range(len(graph)) if ancestry.is_surely_above(other, task)}
        perhaps = {
            compiled.names[other] for other in range(len(graph)) if not ancestry.is_surely_not_above(other, task)
        }
        assert surely == perhaps == set(model.orders[compiled.names[task]])
