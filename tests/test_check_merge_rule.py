"""What `check_merge_rule` finds, and what it lets pass."""

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import numpy as np
import pytest

from cloaca import merge
from cloaca.testing import check_merge_rule

Rule = Callable[[Any, Sequence[Any]], Any]


@pytest.mark.parametrize(
    ("rule", "values"),
    [
        (merge.sum, [1, 2, 6]),
        (merge.sum, [1, 2, 6, 24]),
        (merge.sum, [np.array([1, 2]), np.array([0, 5]), np.array([7, 7])]),
        (merge.union, [{1, 2}, {2, 3}, {1}]),
        (merge.max, [2, 6, 1]),
        (merge.min, [2, 6, 1]),
        (merge.concat, [[1], [1], [1]]),
        (lambda base, values: max(values), [1, 2]),
        (lambda base, values: float("nan"), [1, 2, 3]),
    ],
)
def test_a_good_rule_leaves_nothing_to_tell(rule: Rule, values: list[Any]) -> None:
    assert check_merge_rule(rule, values) == ()


@pytest.mark.parametrize(
    ("rule", "values", "told"),
    [
        (
            merge.first,
            [1, 2, 6],
            "base None, values [1, 2, 6] gives 1, and base None, values [6, 2, 1] gives 6",
        ),
        (
            merge.concat,
            [[1], [2], [3]],
            "base None, values [[1], [2], [3]] gives [1, 2, 3], and base None, values [[3], [2], [1]] gives [3, 2, 1]",
        ),
    ],
)
def test_order_is_told_for_information(rule: Rule, values: list[Any], told: str) -> None:
    assert f"For information, it depends on the order: {told}." in check_merge_rule(rule, values)


def test_neighbours_are_swapped_too() -> None:
    *_, finding = check_merge_rule(lambda base, values: values == [1, 2, 1], [1, 2, 1])
    assert finding.startswith("For information")
    assert "values [2, 1, 1] gives False" in finding


def test_grouping_is_tried_from_both_ends() -> None:
    def forgets_first_of_two(base: Any, values: Sequence[int]) -> int:
        return values[1] if len(values) == 2 else max(values)

    def mean(base: Any, values: Sequence[float]) -> float:
        return sum(values) / len(values)

    (finding,) = check_merge_rule(mean, [1, 2, 6])
    assert finding == (
        "It depends on grouping: base None, values [1, 2, 6] gives 3.0, "
        "and base None, values [1.5, 6] gives 3.75, where the first 2 were merged before."
    )
    grouping, *_ = check_merge_rule(forgets_first_of_two, [7, 6, 1])
    assert grouping.startswith("It depends on grouping: base None, values [7, 6, 1] gives 7")
    (finding,) = check_merge_rule(lambda base, values: mean(base, values) if base else max(values), [1, 2, 6])
    assert finding.startswith("It depends on grouping: base 1, values [1, 2, 6] gives 3.0")


def test_the_last_are_merged_first_too() -> None:
    def shows_it_only_at_the_end(base: Any, values: Sequence[int]) -> int:
        return 100 if list(values) == [2, 6] else max(values)

    grouping, *_ = check_merge_rule(shows_it_only_at_the_end, [3, 2, 6])
    assert grouping == (
        "It depends on grouping: base None, values [3, 2, 6] gives 6, "
        "and base None, values [3, 100] gives 100, where the last 2 were merged before."
    )


def test_two_values_show_no_grouping() -> None:
    assert check_merge_rule(lambda base, values: sum(values) / len(values), [1, 2]) == ()


def test_a_base_that_counts_twice_depends_on_grouping() -> None:
    (finding,) = check_merge_rule(lambda base, values: (base or 0) + sum(values), [1, 2, 6])
    assert finding.startswith("It depends on grouping: base 1, values [1, 2, 6] gives 10, and base 1")


def test_a_rule_that_changes_the_values_is_found() -> None:
    def extends(base: Any, values: Sequence[list[int]]) -> list[int]:
        whole = values[0]
        for value in values[1:]:
            whole += value
        return whole

    assert check_merge_rule(extends, [[1], [1]]) == (
        "It changes the values: base None, values [[1], [1]] left the values as [[1, 1], [1]].",
    )


def test_a_rule_that_takes_values_away_is_found() -> None:
    def empties(base: Any, values: Any) -> int:
        values.clear()
        return 0

    assert check_merge_rule(empties, [1, 2]) == (
        "It changes the values: base None, values [1, 2] left the values as [].",
    )


def test_a_rule_that_changes_the_base_is_found() -> None:
    def empties(base: Any, values: Sequence[list[int]]) -> int:
        if base:
            base.clear()
        return 0

    assert check_merge_rule(empties, [[1], [2]]) == (
        "It changes the base: base [1], values [[1], [2]] left the base as [].",
    )


def test_a_rule_that_is_not_repeatable_is_told_of_that_alone() -> None:
    calls = count()
    assert check_merge_rule(lambda base, values: next(calls), [1, 2, 3]) == (
        "It isn't repeatable: base None, values [1, 2, 3] gives 1, and then 2.",
    )


def test_a_rule_that_raises_is_found_once() -> None:
    (finding,) = check_merge_rule(merge.sum, ["a", "b"])
    assert finding == (
        "It raises: base None, values ['a', 'b'] raised TypeError: "
        "sum needs values with + and -, not str: use cloaca.merge.concat."
    )


def test_a_rule_that_needs_a_base_raises_without_one() -> None:
    (finding,) = check_merge_rule(lambda base, values: max(base, *values), [1, 2, 3])
    assert finding.startswith("It raises: base None, values [1, 2, 3] raised TypeError: ")


def test_a_rule_that_cannot_take_its_own_result_raises() -> None:
    (finding,) = check_merge_rule(lambda base, values: {"sum": sum(values)}, [1, 2, 6])
    assert finding.startswith("It raises: base None, values [{'sum': 3}, 6] raised TypeError: ")


def test_a_result_that_cannot_be_sent_is_found() -> None:
    (finding,) = check_merge_rule(lambda base, values: (value for value in values), [1, 2])
    assert finding.startswith("It raises: base None, values [1, 2] raised EncodeError: ")


def test_the_samples_are_left_alone() -> None:
    samples = [[1], [2]]
    check_merge_rule(lambda base, values: [value.clear() for value in values], samples)
    assert samples == [[1], [2]]


def test_by_task_cannot_be_tried() -> None:
    (finding,) = check_merge_rule(merge.by_task, [1, 2])
    assert finding == "by_task can't be tried on values: it keeps what each task wrote, by task, and combines nothing."


@pytest.mark.parametrize("values", [[], [1]])
def test_a_rule_is_tried_on_two_values_at_least(values: list[int]) -> None:
    with pytest.raises(ValueError, match=f"at least two values, better three; here are {len(values)}"):
        check_merge_rule(merge.sum, values)


def test_a_rule_is_a_function() -> None:
    with pytest.raises(TypeError, match="not 'sum'"):
        check_merge_rule("sum", [1, 2])  # type: ignore[arg-type]
