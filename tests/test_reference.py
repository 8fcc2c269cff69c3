"""The reference itself: small cases whose outcome the design tells. The merge is compared with it elsewhere."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from tests.reference import (
    ABSENT,
    CONFLICT,
    ENDINGS,
    Action,
    Graph,
    Mark,
    Reference,
    Rule,
    Tale,
    deterministic,
    mean,
    tales,
)

from cloaca.merge.equality import equal

TWO: Graph = [("a", []), ("b", []), ("join", ["a", "b"])]
CHAIN: Graph = [("a", []), ("b", ["a"]), ("c", ["b"])]
# Both `c` and `d` come after `b`; `c` also after `a`, of which `d` knows nothing.
CROSSED: Graph = [("a", []), ("b", []), ("c", ["a", "b"]), ("d", ["b"]), ("join", ["c", "d"])]
# `a` and `b` meet in `c` and in `d`, neither of which knows of the other.
TWICE: Graph = [("a", []), ("b", []), ("c", ["a", "b"]), ("d", ["a", "b"]), ("join", ["c", "d"])]


Deeds = Mapping[str, Action]


def reference(
    graph: Graph, *given_: Any, rule: Rule = None, on_conflict: str = "keep", deeds: Deeds | None = None, **more: Action
) -> Reference:
    idle: Deeds = {task: ("rewrite",) for task, _ in graph}
    return Reference(Tale(graph, {**idle, **(deeds or {}), **more}, given_, rule, on_conflict))


def joined(
    graph: Graph, *given_: Any, rule: Rule = None, on_conflict: str = "keep", deeds: Deeds | None = None, **more: Action
) -> Any:
    """What `join` sees, which is what is left in the end, too."""
    told = reference(graph, *given_, rule=rule, on_conflict=on_conflict, deeds=deeds, **more)
    assert agree(told.final(), told.at("join"))
    return told.at("join")


def agree(one: Any, other: Any) -> bool:
    return one is other if isinstance(one, Mark) or isinstance(other, Mark) else equal(one, other)


# ---- writes, candidates, order -------------------------------------------------------------------------------------


def test_nobody_wrote() -> None:
    assert joined(TWO) is ABSENT
    assert joined(TWO, 5) == 5


def test_a_write_supersedes_those_before_it() -> None:
    told = reference(CHAIN, 0, a=("set", 1), b=("set", 2))
    assert [told.at(task) for task in "abc"] == [0, 1, 2]


def test_one_candidate_is_the_value_also_where_it_removed_the_key() -> None:
    assert joined(TWO, 0, a=("set", 1)) == 1
    assert joined(TWO, 0, a=("remove",)) is ABSENT


def test_rewriting_what_was_seen_is_no_write() -> None:
    assert joined(TWO, 0, a=("rewrite",), b=("set", 1)) == 1
    assert joined(TWO, 0, a=("set", 0), b=("set", 1)) == 1


def test_removing_what_is_not_there_is_no_write() -> None:
    assert joined(TWO, a=("remove",), b=("set", 1)) == 1


def test_the_order_is_that_of_the_listing() -> None:
    assert joined([("a", []), ("b", []), ("join", ["b", "a"])], a=("set", [1]), b=("set", [2])) == [2, 1]


def test_the_end_lists_the_sinks_in_the_order_of_definition() -> None:
    graph = [("end", ["c", "b"]), ("a", []), ("b", []), ("c", [])]
    told: Deeds = {name: ("set", [name]) for name in "abc"}
    assert reference(graph, deeds=told).final() == ["c", "b", "a"]
    failed: dict[str, Action | None] = {**told, "end": None}
    assert Reference(Tale(graph, failed)).final() == ["a", "b", "c"]


# ---- 2 to 6 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_", "a", "b", "value"),
    [
        pytest.param([1], ("append", 2), ("append", 2), [1, 2, 2], id="both additions, though equal"),
        pytest.param([1], ("append", 2), ("set", [3]), CONFLICT, id="one was only extended"),
        pytest.param([1], ("set", [3]), ("set", [3]), [3], id="equal lists"),
        pytest.param([1], ("append", 2), ("remove",), CONFLICT, id="extended and removed"),
        pytest.param(0, ("set", [1]), ("set", [2]), [1, 2], id="the base is no list"),
        pytest.param(0, ("set", [1]), ("set", [1]), [1, 1], id="the base is no list, and they are equal"),
        pytest.param(0, ("set", 1), ("set", 1), 1, id="equal"),
        pytest.param(0, ("set", 1), ("set", 2), CONFLICT, id="unequal"),
        pytest.param(0, ("set", 1), ("set", True), CONFLICT, id="equal to Python, not of one type"),
        pytest.param(0, ("remove",), ("remove",), ABSENT, id="removed by both"),
        pytest.param(0, ("remove",), ("set", 1), CONFLICT, id="removed and changed"),
        pytest.param({"x": 1}, ("put", "y", 2), ("put", "z", 3), {"x": 1, "y": 2, "z": 3}, id="other members"),
        pytest.param({"x": 1}, ("put", "x", 2), ("put", "x", 3), CONFLICT, id="one member"),
        pytest.param({"x": 1}, ("put", "x", 2), ("put", "x", 2), {"x": 2}, id="one member, the same change"),
        pytest.param({"x": 1}, ("delete", "x"), ("put", "y", 2), {"y": 2}, id="a member deleted by one"),
        pytest.param({"x": 1}, ("delete", "x"), ("put", "x", 2), CONFLICT, id="a member deleted and changed"),
        pytest.param(0, ("put", "x", 2), ("put", "y", 3), {"x": 2, "y": 3}, id="the base is no dict"),
        pytest.param({"x": 1}, ("put", "y", 2), ("set", 3), CONFLICT, id="a dict and none"),
        pytest.param(
            {"x": [1]}, ("within", "x", ("append", 2)), ("within", "x", ("append", 3)), {"x": [1, 2, 3]}, id="nested"
        ),
        pytest.param({}, ("put", "x", [1]), ("put", "x", [1]), {"x": [1]}, id="equal lists in a dict, where none was"),
        pytest.param({}, ("put", "x", [1]), ("put", "x", [2]), CONFLICT, id="lists in a dict, where none was"),
        pytest.param({1}, ("add", 2), ("add", 3), CONFLICT, id="sets have a rule of their own only if asked for"),
    ],
)
def test_two_branches(given_: Any, a: Action, b: Action, value: Any) -> None:
    assert agree(joined(TWO, given_, a=a, b=b), value)


def test_where_there_was_no_list_all_additions_count_also_equal_ones() -> None:
    graph = [*[(name, []) for name in "abc"], ("join", ["a", "b", "c"])]
    assert joined(graph, a=("set", [1]), b=("set", [2]), c=("set", [1])) == [1, 2, 1]


def test_lists_of_branches_that_share_a_write_have_it_once() -> None:
    """`c` and `d` both go on from what `b` began, only `c` knows what `a` began, and `e` knows of nobody."""
    graph: Graph = [*CROSSED[:-1], ("e", []), ("join", ["c", "e", "d"])]
    began: Deeds = {"a": ("set", [1]), "b": ("set", [2]), "e": ("set", [5])}
    assert joined(graph, deeds=began, c=("append", 3), d=("append", 4)) == [1, 2, 3, 5, 4]
    assert joined(graph, deeds=began, c=("append", 3), d=("set", [4])) is CONFLICT, "d did more than to go on"


def test_a_list_that_began_without_the_base_is_an_addition() -> None:
    """Both candidates know what `b` began, which is the base, and only `c` what `a` began."""
    assert joined(CROSSED, a=("set", [1]), b=("set", [2]), c=("append", 3), d=("append", 4)) == [2, 1, 3, 4]


def test_a_list_that_one_branch_began_and_replaced_is_no_addition() -> None:
    graph: Graph = [("a", []), ("b", ["a"]), ("c", []), ("join", ["b", "c"])]
    assert joined(graph, a=("set", [1]), b=("set", [2]), c=("set", [3])) is CONFLICT


def test_a_list_in_a_dict_is_extended_once_it_was_seen() -> None:
    """`c` and `d` both go on from the list that `b` put there."""
    began: Deeds = {"b": ("put", "x", [1])}
    two, three = ("within", "x", ("append", 2)), ("within", "x", ("append", 3))
    assert joined(CROSSED, {}, deeds=began, c=two, d=three) == {"x": [1, 2, 3]}


def test_what_both_candidates_know_is_the_base() -> None:
    """Not the input: the additions of `a` and `b` stand in the base already."""
    appended: Deeds = {"a": ("append", 1), "b": ("append", 2), "c": ("append", 3), "d": ("append", 4)}
    assert joined(TWICE, [0], deeds=appended) == [0, 1, 2, 3, 4]


def test_a_later_write_that_was_superseded_counts_where_additions_are_gathered() -> None:
    """`a` isn't known to `d`, so what precedes all candidates is what `b` left."""
    appended: Deeds = {"a": ("append", 1), "b": ("append", 2), "c": ("append", 3), "d": ("append", 4)}
    assert joined(CROSSED, [0], deeds=appended) == [0, 2, 1, 3, 4]


def test_a_member_has_a_history_of_its_own() -> None:
    """`c` settles the member that it sees in `a`'s version, and `d`, which changes another one, doesn't undo it."""
    graph: Graph = [("a", []), ("c", ["a"]), ("d", []), ("join", ["c", "d"])]
    given_ = {"x": 0, "y": 0}
    assert joined(graph, given_, a=("put", "x", 1), c=("put", "x", 2), d=("put", "y", 3)) == {"x": 2, "y": 3}
    assert joined(graph, given_, a=("put", "x", 1), c=("put", "y", 2), d=("put", "x", 3)) is CONFLICT


# ---- conflicts -----------------------------------------------------------------------------------------------------


def test_a_base_in_conflict_puts_the_key_in_conflict_unless_all_agree() -> None:
    quarrel: Deeds = {"a": ("set", 1), "b": ("set", 2)}
    assert joined(TWICE, 0, deeds=quarrel, c=("set", {"x": 3}), d=("set", {"y": 4})) is CONFLICT
    assert joined(TWICE, 0, deeds=quarrel, c=("set", [3]), d=("set", [4])) is CONFLICT
    assert joined(TWICE, 0, deeds=quarrel, c=("set", 3), d=("set", 3)) == 3


def test_a_write_on_a_conflict_settles_it() -> None:
    assert joined(TWICE, 0, a=("set", 1), b=("set", 2), c=("set", 1)) == 1
    assert joined(TWICE, 0, a=("set", 1), b=("set", 2), c=("remove",)) is ABSENT


def test_who_saw_a_conflict_changed_every_member_of_a_dict() -> None:
    """It removed those that there had been before it, but none of which it couldn't know."""
    quarrel: Deeds = {"a": ("put", "x", 1), "b": ("set", {"x": 2, "y": 0})}
    assert joined(CROSSED, {}, deeds=quarrel, c=("set", {"x": 2, "y": 1}), d=("rewrite",)) == {"x": 2, "y": 1}
    assert joined(CROSSED, {}, deeds=quarrel, c=("set", {"x": 5}), d=("put", "z", 1)) == {"x": 5, "z": 1}
    assert joined(CROSSED, {}, deeds=quarrel, c=("set", {"x": 5}), d=("put", "x", 5)) == {"x": 5}
    assert joined(CROSSED, {}, deeds=quarrel, c=("set", {"x": 5}), d=("put", "y", 1)) is CONFLICT


def test_who_saw_an_input_in_conflict_removed_the_members_of_its_values() -> None:
    graph: Graph = [("a", []), ("b", []), ("c", ["a"]), ("d", ["a", "b"]), ("join", ["c", "d"])]
    told: Deeds = {"a": ("remove",), "b": ("remove",), "c": ("put", "x", 0), "d": ("put", "y", 0)}
    assert joined(graph, {}, {"x": 0}, deeds=told) is CONFLICT
    assert joined(graph, {}, {"z": 0}, deeds=told) == {"x": 0, "y": 0}


def test_a_member_of_a_value_that_lost_in_order_does_not_come_back() -> None:
    lost: Deeds = {"a": ("set", 0), "b": ("set", {"y": 0})}
    assert joined(TWICE, deeds=lost, c=("put", "x", 0), d=("put", "z", 0), on_conflict="first") == {"x": 0, "z": 0}


@pytest.mark.parametrize(("on_conflict", "value"), [("first", 1), ("last", 2)])
def test_conflicts_settle_in_order_where_that_is_asked_for(on_conflict: str, value: int) -> None:
    assert joined(TWO, 0, a=("set", 1), b=("set", 2), on_conflict=on_conflict) == value
    assert joined(TWO, {}, a=("put", "x", 1), b=("put", "x", 2), on_conflict=on_conflict) == {"x": value}
    assert joined(TWO, 1, 2, on_conflict=on_conflict) == value


def test_an_input_in_conflict_is_one_until_somebody_writes() -> None:
    assert joined(TWO, 1, 2) is CONFLICT
    assert joined(TWO, 1, 2, a=("set", 3)) == 3
    assert joined(TWO, 1, 2, a=("set", 3), b=("set", 4)) is CONFLICT
    assert joined(TWO, 1, 2, a=("set", 3), b=("set", 3)) == 3


def test_a_first_candidate_may_be_a_removal() -> None:
    assert joined(TWO, 0, a=("remove",), b=("set", 2), on_conflict="first") is ABSENT
    assert joined(TWO, 0, a=("remove",), b=("set", 2), rule="first") is ABSENT


# ---- rules ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "given_", "a", "b", "value"),
    [
        pytest.param("sum", [10], ("increment", 1), ("increment", 1), 12, id="sum"),
        pytest.param("sum", [], ("increment", 1), ("increment", 2), 3, id="sum from nothing"),
        pytest.param("sum", [10], ("remove",), ("increment", 1), 1, id="sum, one removed it all"),
        pytest.param("sum", [10], ("set", "text"), ("increment", 1), CONFLICT, id="sum of text"),
        pytest.param("concat", [(1,)], ("append", 2), ("append", 3), (1, 2, 3), id="concat"),
        pytest.param("concat", [], ("append", 2), ("append", 2), [2, 2], id="concat from nothing"),
        pytest.param("concat", [[1]], ("set", []), ("append", 3), CONFLICT, id="concat of a list that was cut"),
        pytest.param("concat", [[1]], ("remove",), ("append", 3), CONFLICT, id="concat and a removal"),
        pytest.param("union", [{1, 2}], ("add", 3), ("discard", 1), {2, 3}, id="union"),
        pytest.param("union", [{1, 2}], ("remove",), ("add", 3), {3}, id="union, one removed it all"),
        pytest.param("union", [5], ("add", 3), ("add", 4), CONFLICT, id="union with a number"),
        pytest.param("max", [9], ("set", 1), ("set", 2), 2, id="max, whatever the base"),
        pytest.param("min", [0], ("set", 1), ("remove",), 1, id="min, whatever was removed"),
        pytest.param("max", [0], ("set", 1), ("set", "text"), CONFLICT, id="max of what can't be compared"),
        pytest.param("first", [0], ("set", 1), ("set", 2), 1, id="first"),
        pytest.param("last", [0], ("set", 1), ("set", 2), 2, id="last"),
        pytest.param(mean, [10], ("set", 1), ("set", 3), 12, id="a function"),
        pytest.param(mean, [10], ("set", 1), ("set", "text"), CONFLICT, id="a function that raises"),
        pytest.param("by_task", [], ("set", 1), ("set", 1), {"a": 1, "b": 1}, id="by task"),
        pytest.param("by_task", [{"x": 0}], ("set", 1), ("rewrite",), {"x": 0, "a": 1}, id="by task, over the input"),
        pytest.param("by_task", [5], ("set", 1), ("rewrite",), CONFLICT, id="by task, over a number"),
        pytest.param("by_task", [{"x": 0}], ("set", 1), ("remove",), {"a": 1}, id="by task, the input removed"),
    ],
)
def test_two_branches_with_a_rule(rule: Rule, given_: list[Any], a: Action, b: Action, value: Any) -> None:
    assert agree(joined(TWO, *given_, rule=rule, a=a, b=b), value)


@pytest.mark.parametrize("rule", ["sum", "concat", "union", "max", "first", mean])
def test_no_rule_is_asked_for_one_candidate_nor_where_all_removed_the_key(rule: Rule) -> None:
    assert joined(TWO, 5, rule=rule, a=("set", "text")) == "text"
    assert joined(TWO, 5, rule=rule, a=("remove",), b=("remove",)) is ABSENT


def test_a_sum_counts_every_later_write_once() -> None:
    added: Deeds = {name: ("increment", 2**place) for place, name in enumerate("abcd")}
    assert joined(CROSSED, 16, rule="sum", deeds=added) == 31
    assert joined(TWICE, 16, rule="sum", deeds=added) == 31


def test_an_element_added_by_one_who_does_not_know_of_its_removal_stays() -> None:
    graph: Graph = [("a", []), ("b", []), ("c", ["a"]), ("join", ["b", "c"])]
    assert joined(graph, set(), rule="union", a=("add", 1), b=("add", 1), c=("discard", 1)) == {1}


def test_an_element_removed_by_one_who_knows_all_additions_goes() -> None:
    graph: Graph = [("a", []), ("b", []), ("c", ["a", "b"]), ("d", []), ("join", ["c", "d"])]
    assert joined(graph, set(), rule="union", a=("add", 1), b=("add", 1), c=("discard", 1), d=("add", 2)) == {2}


def test_by_task_keeps_what_was_superseded_but_not_what_was_removed() -> None:
    told = reference(CHAIN, rule="by_task", a=("set", 1), b=("set", 2), c=("set", 3))
    assert [told.at("a"), told.at("b"), told.at("c"), told.final()] == [
        ABSENT,
        {"a": 1},
        {"a": 1, "b": 2},
        {"a": 1, "b": 2, "c": 3},
    ]
    told = reference(CHAIN, rule="by_task", a=("set", 1), b=("remove",), c=("set", 3))
    assert (told.at("c"), told.final()) == (ABSENT, {"c": 3})


@pytest.mark.parametrize("rule", ["sum", "max", "concat", "union", mean])
def test_a_base_in_conflict_defeats_every_rule(rule: Rule) -> None:
    quarrel: Deeds = {"a": ("set", 1), "b": ("set", "text")}
    assert joined(TWICE, 0, rule=rule, deeds=quarrel, c=("set", 3), d=("set", 4)) is CONFLICT


def test_a_rule_that_raised_stays_a_conflict_whatever_else_is_asked_for() -> None:
    for on_conflict in ENDINGS:
        assert joined(TWO, 0, rule="sum", a=("set", 1), b=("set", []), on_conflict=on_conflict) is CONFLICT


# ---- the tales -----------------------------------------------------------------------------------------------------


@given(tales())
@deterministic
def test_a_tale_told_twice_ends_the_same(tale: Tale) -> None:
    once, again = Reference(tale), Reference(tale)
    assert list(once.wrote) == list(again.wrote)
    assert all(agree(once.wrote[task], again.wrote[task]) for task in once.wrote)
    assert agree(once.final(), again.final())


@given(tales())
@deterministic
def test_asking_changes_nothing(tale: Tale) -> None:
    told = Reference(tale)
    before = [told.at(task) for task in told.orders]
    told.final()
    assert all(map(agree, [told.at(task) for task in told.orders], before))
