"""The merge rules that have names."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import permutations
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.reference import deterministic

from cloaca import merge
from cloaca.merge.change import ABSENT, Change
from cloaca.merge.equality import equal
from cloaca.merge.named import combined
from cloaca.values.codec import decode, encode

NAN = math.nan

Rule = Callable[[Any, Sequence[Any]], Any]


def combine(rule: Rule, base: Any, *changes: tuple[Any, Any]) -> Any:
    """What a run calls: the base and, for each write, what its writer saw. Here `...` is nothing."""
    told = [Change(*(ABSENT if part is ... else part for part in change)) for change in changes]
    return combined[rule](ABSENT if base is ... else base, told)


# ---- sum -----------------------------------------------------------------------------------------------------------

SUMS: list[tuple[Any, list[Any], Any]] = [
    (10, [11, 12], 13),
    (10, [9, 10], 9),
    (None, [1, 2, 3], 6),
    (None, [5], 5),
    (10**100, [10**100 + 1, 10**100 + 1], 10**100 + 2),
    (0.5, [0.75, 1.0], 1.25),
    (1, [1.5, 2], 2.5),
    (1j, [2j, 1 + 1j], 1 + 2j),
    (Fraction(1, 3), [Fraction(2, 3), Fraction(1, 2)], Fraction(5, 6)),
    (timedelta(1), [timedelta(2), timedelta(3)], timedelta(4)),
    (datetime(2026, 1, 1, tzinfo=UTC), [datetime(2026, 1, 2, tzinfo=UTC)] * 2, datetime(2026, 1, 3, tzinfo=UTC)),
    (None, [True, True], 2),
    (None, [True], 1),
    (True, [True], 1),
    (Counter(a=2), [Counter(a=3), Counter(a=2, b=1)], Counter(a=3, b=1)),
    (Counter(a=2), [Counter(a=-3), Counter(a=1)], Counter(a=-4)),
    (None, [Counter(a=1), Counter(a=1)], Counter(a=2)),
    (Counter(), [Counter({"a": 0.5}), Counter({"a": 0.25})], Counter({"a": 0.75})),
    (np.array([1, 2]), [np.array([2, 2]), np.array([1, 5])], np.array([2, 5])),
    (None, [np.array([math.inf, 1.0])], np.array([math.inf, 1.0])),
    (None, [np.array([True]), np.array([True])], np.array([2])),
    (np.array([False]), [np.array([True]), np.array([True])], np.array([2])),
    (None, [np.float64(0.5), np.float64(0.25)], np.float64(0.75)),
    (pd.Series([1, 2]), [pd.Series([2, 2]), pd.Series([1, 3])], pd.Series([2, 3])),
    (pd.DataFrame({"a": [1]}), [pd.DataFrame({"a": [2]}), pd.DataFrame({"a": [4]})], pd.DataFrame({"a": [5]})),
    (None, [pd.Series([1, 2], index=["x", "y"]), pd.Series([1, 2], index=["y", "x"])],
     pd.Series([3, 3], index=["x", "y"])),
]  # fmt: skip


@pytest.mark.parametrize(("base", "values", "total"), SUMS)
def test_sum_adds_what_each_value_changed(base: Any, values: list[Any], total: Any) -> None:
    assert equal(merge.sum(base, values), total)


def test_sum_counts_each_write_against_what_its_writer_saw() -> None:
    assert combine(merge.sum, 10, (10, 11), (11, 15), (10, 12)) == 17


@pytest.mark.parametrize(
    ("base", "changes", "total"),
    [
        (5, [(..., 3), (5, 6)], 9),
        (5, [(5, ...), (5, 7)], 2),
        (..., [(..., 5), (5, ...), (..., 3)], 3),
        (..., [(5, ...), (..., 5), (..., 3)], 3),
        (..., [(5, 8), (..., 5)], 8),
        (..., [(..., ...), (..., 3)], 3),
        (Counter(a=5), [(Counter(a=5), ...), (Counter(a=5), Counter(a=7))], Counter(a=2)),
        (Decimal(5), [(Decimal(5), ...), (Decimal(5), Decimal(7))], Decimal(2)),
        (..., [(Decimal(5), ...), (..., Decimal(7))], Decimal(2)),
        (..., [(np.array([5]), ...), (..., np.array([7]))], np.array([2])),
    ],
)
def test_to_sum_nothing_is_zero(base: Any, changes: list[tuple[Any, Any]], total: Any) -> None:
    assert equal(combine(merge.sum, base, *changes), total)


def test_sum_does_not_round_decimals() -> None:
    large, small = Decimal("1e60"), Decimal("1e-60")
    exact = Decimal("1" + "0" * 60 + "." + "0" * 59 + "1")
    assert merge.sum(None, [large, small]) == exact
    assert merge.sum(exact, [large]) == large
    assert combine(merge.sum, small, (large, exact)) == Decimal("2e-60")
    assert combine(merge.sum, ..., (exact, ...)).as_tuple() == (1, exact.as_tuple().digits, exact.as_tuple().exponent)
    assert merge.sum(None, [Counter({"a": large}), Counter({"a": small})])["a"] == exact


@pytest.mark.parametrize("values", [["1e200000", "1"], ["inf", "-inf"]])
def test_sum_refuses_decimals_that_it_would_have_to_round(values: list[str]) -> None:
    with pytest.raises(ValueError, match=r"never rounds .* 100,000 digits"):
        merge.sum(None, list(map(Decimal, values)))


def test_sum_adds_floats_in_the_order_given() -> None:
    assert merge.sum(None, [1e16, 1.0, 1.0]) == 1e16 + 1.0 + 1.0
    assert merge.sum(None, [1.0, 1.0, 1e16]) == 1.0 + 1.0 + 1e16 != 1e16 + 1.0 + 1.0


@given(st.integers(), st.lists(st.integers(), min_size=3))
@deterministic
def test_what_sum_gives_does_not_depend_on_grouping(base: int, values: list[int]) -> None:
    grouped = merge.sum(base, [merge.sum(base, values[:2]), *values[2:]])
    assert grouped == merge.sum(base, values) == base + sum(value - base for value in values)


def test_a_count_of_zero_stays_only_where_the_base_has_it() -> None:
    total = merge.sum(Counter(a=1, b=0), [Counter(b=0, c=0), Counter(a=1, b=0, d=1), Counter(a=1, b=0, d=-1)])
    assert dict(total) == {"a": 0, "b": 0}


class Tally(Counter[str]):
    """A Counter of one's own."""


def test_the_sum_of_counters_has_the_type_of_the_base() -> None:
    assert type(merge.sum(Tally(a=1), [Counter(a=2)])) is Tally


@pytest.mark.parametrize(
    ("base", "values", "message"),
    [
        (None, [["a"], ["b"]], "not list: use cloaca.merge.concat"),
        (None, ["a", "b"], "not str: use cloaca.merge.concat"),
        (None, ["a"], "not str: use cloaca.merge.concat"),
        ((1,), [(1, 2)], "not tuple: use cloaca.merge.concat"),
        (None, [{1}, {2}], "not set: use cloaca.merge.union"),
        ({1}, [{1, 2}], "not set: use cloaca.merge.union"),
        (None, [{"a": 1}], "not dict: give the key no rule, and dicts are merged key by key"),
        (None, [object()], r"not object: give the key a function \(base, values\) of your own"),
        (None, [np.array(["a"]), np.array(["b"])], "not ndarray: give the key a function"),
        (None, [pd.Series(["a"]), pd.Series(["b"])], "not Series: give the key a function"),
        (None, [cast("Any", Counter)(a="x")], "not Counter: give the key a function"),
        (1, ["a"], "not int and str: write values of one type"),
        (None, [Counter(a=1), 1], "not Counter and int: write values of one type"),
        (None, [None, 1], "not NoneType and int: write values of one type"),
    ],
)
def test_sum_refuses_what_has_no_plus_and_minus(base: Any, values: list[Any], message: str) -> None:
    with pytest.raises(TypeError, match=rf"^sum needs values with \+ and -, {message}"):
        merge.sum(base, values)


@pytest.mark.parametrize(
    ("base", "values", "message"),
    [
        (None, [np.ones((3, 1)), np.ones((1, 3))], r"one shape, not \(3, 1\) and \(1, 3\)"),
        (np.ones(3), [1.0, 2.0], r"one shape, not \(\) and \(3,\)"),
        (np.ones(3), [np.ones(4)], r"one shape, not \(4,\) and \(3,\)"),
        (None, [pd.Series([1], index=["x"]), pd.Series([1], index=["y"])], "same labels"),
        (None, [pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]})], "same labels"),
    ],
)
def test_sum_refuses_other_shapes(base: Any, values: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^sum needs values .*{message}"):
        merge.sum(base, values)


@pytest.mark.parametrize("value", [Counter(a=1), np.array([1])])
def test_the_sum_shares_nothing_with_the_arguments(value: Any) -> None:
    for total in (combine(merge.sum, value, (..., ...)), combine(merge.sum, ..., (..., value))):
        assert equal(total, value)
        total[0] = 7
        assert not equal(total, value)


# ---- concat --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "values", "whole"),
    [
        ([1], [[1, 2], [1, 3]], [1, 2, 3]),
        ([1], [[1, 2], [1, 2]], [1, 2, 2]),
        ([1], [[1], [1, 3]], [1, 3]),
        (None, [[1], [2]], [1, 2]),
        ((1,), [(1, 2), (1, 3)], (1, 2, 3)),
        ("a", ["ab", "ac"], "abc"),
        (b"a", [b"ab", b"ac"], b"abc"),
        ([{"x": NAN}, {1}], [[{"x": NAN}, {1}, 2]], [{"x": NAN}, {1}, 2]),
    ],
)
def test_concat_joins_what_was_appended(base: Any, values: list[Any], whole: Any) -> None:
    assert equal(merge.concat(base, values), whole)


def test_concat_takes_what_each_write_appended() -> None:
    assert combine(merge.concat, [1], ([1], [1, 2]), ([1, 2], [1, 2, 3]), ([1], [1, 4])) == [1, 2, 3, 4]
    assert combine(merge.concat, [1], (..., [5]), ([1], [1, 2])) == [1, 5, 2]


def test_concat_compares_values_whatever_they_share() -> None:
    row = [0]
    assert merge.concat([row, row], [[[0], [0], 1]]) == [[0], [0], 1]


def test_concat_of_one_write_is_a_copy() -> None:
    written = [1]
    assert merge.concat(None, [written]) is not written
    assert merge.concat(written, [written]) is not written


@pytest.mark.parametrize(
    ("saw", "wrote", "message"),
    [
        ([1, 2], [1, 3, 4], "item 1 was 2 and became 3"),
        ([1, 2], [1], "2 items became 1"),
        ([1], [True, 2], "item 0 was 1 and became True"),
        ([0, 1], [5, 0, 1], "item 0 was 0 and became 5"),
        ("abc", "abx", "item 2 was 'c' and became 'x'"),
        ([1], ..., "one removed the key"),
    ],
)
def test_concat_refuses_writes_that_did_more_than_append(saw: Any, wrote: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"only append, and .*{message}"):
        combine(merge.concat, saw, (saw, wrote))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, 2], "not int: use cloaca.merge.sum"),
        ([{1}], "not set: use cloaca.merge.union"),
        ([{}], "not dict: give the key no rule"),
        ([bytearray()], "not bytearray: give the key a function"),
        ([[1], (1,)], "not list and tuple: write values of one type"),
    ],
)
def test_concat_refuses_what_it_cannot_join(values: list[Any], message: str) -> None:
    with pytest.raises(TypeError, match=f"^concat needs lists, tuples, texts or bytes, all of one type, {message}"):
        merge.concat(None, values)


# ---- union ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "values", "whole"),
    [
        ({1, 2}, [{1, 2, 3}, {1, 2, 4}], {1, 2, 3, 4}),
        ({1, 2}, [{1}, {1, 2, 3}], {1, 3}),
        ({1, 2}, [{1}, {1}], {1}),
        (None, [{1}, {1, 2}], {1, 2}),
        (frozenset({1}), [{1, 2}], frozenset({1, 2})),
        (None, [frozenset({1}), {2}], frozenset({1, 2})),
    ],
)
def test_union_adds_and_removes_element_by_element(base: Any, values: list[Any], whole: Any) -> None:
    assert equal(merge.union(base, values), whole)


ELEMENTS = "xy"

subsets = st.frozensets(st.sampled_from(ELEMENTS))


@given(subsets, st.lists(subsets, min_size=1))
@deterministic
def test_side_by_side_each_element_is_added_or_removed_by_any(base: frozenset[str], values: Any) -> None:
    expected = (base & frozenset(ELEMENTS).intersection(*values)) | (frozenset().union(*values) - base)
    assert merge.union(base, values) == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1]], "not list: use cloaca.merge.concat"),
        ([1], "not int: use cloaca.merge.sum"),
        ([{1: 2}], "not dict: give the key no rule"),
        ([{1}, [1]], "not set and list: write values of one type"),
    ],
)
def test_union_refuses_what_is_no_set(values: list[Any], message: str) -> None:
    with pytest.raises(TypeError, match=f"^union needs sets or frozensets, {message}"):
        merge.union(None, values)


# ---- rules that choose ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "values", "chosen"),
    [
        (merge.max, [3, 5, 4], 5),
        (merge.min, [3, 5, 2], 2),
        (merge.max, ["a", "b"], "b"),
        (merge.max, [1, True], 1),
        (merge.max, [True, 1], True),
        (merge.min, [1.0, 1], 1.0),
        (merge.max, [NAN, 1.0], 1.0),
        (merge.max, [1.0, NAN], 1.0),
        (merge.min, [NAN, 1.0], 1.0),
        (merge.min, [Decimal("nan"), Decimal(1)], Decimal(1)),
        (merge.max, [NAN, NAN], NAN),
        (merge.first, [3, 5, 4], 3),
        (merge.last, [3, 5, 4], 4),
    ],
)
@pytest.mark.parametrize("base", [None, 0, 100])
def test_one_of_the_values_is_chosen_whatever_the_base(rule: Rule, values: list[Any], chosen: Any, base: Any) -> None:
    assert equal(rule(base, values), chosen)


@pytest.mark.parametrize("rule", [merge.max, merge.min])
def test_nan_never_lets_the_order_decide(rule: Rule) -> None:
    assert {rule(None, values) for values in permutations([NAN, 1.0, 2.0])} == {rule(None, [1.0, 2.0])}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, "a"], "not int and str: write values of one type"),
        ([np.ones(2), np.ones(2)], "not ndarray: give the key a function"),
        ([{}, {}], "not dict: give the key no rule"),
    ],
)
def test_max_refuses_what_has_no_order(values: list[Any], message: str) -> None:
    with pytest.raises(TypeError, match=f"^max needs values that < can order, {message}"):
        merge.max(None, values)


# ---- all of them ---------------------------------------------------------------------------------------------------

NAMED: list[Rule] = [getattr(merge, name) for name in merge.__all__]


@pytest.mark.parametrize("rule", [merge.sum, merge.concat, merge.union, merge.max, merge.min])
def test_a_rule_needs_values(rule: Rule) -> None:
    with pytest.raises(ValueError, match=f"^{rule.__name__} needs at least one value"):
        rule(None, [])


@pytest.mark.parametrize(
    ("rule", "base", "values"),
    [
        *((merge.sum, base, values) for base, values, _ in SUMS),
        (merge.concat, [[1]], [[[1], [2]], [[1], [3]]]),
        (merge.union, {1, 2}, [{1}, {1, 2, 3}]),
        (merge.max, 1, [2, 3]),
        (merge.min, 1, [2, 3]),
    ],
)
def test_no_rule_changes_its_arguments(rule: Rule, base: Any, values: list[Any]) -> None:
    before = deepcopy((base, values))
    rule(base, values)
    assert equal((base, values), before)


def test_by_task_cannot_be_called() -> None:
    with pytest.raises(TypeError, match="needs to know who wrote"):
        merge.by_task(None, [1, 2])


def test_the_rules_that_count_changes() -> None:
    assert set(combined) == {merge.sum, merge.concat}


@pytest.mark.parametrize("rule", NAMED)
def test_a_rule_is_itself_after_the_journey_to_a_worker(rule: Rule) -> None:
    assert decode(encode(rule)) is rule
