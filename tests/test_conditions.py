"""Conditions as values: how they are made, what they say of themselves, how they compare, and what they refuse."""

import copy
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from threading import Lock
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cloaca
from cloaca import all_of, always, any_of, context_value, none_of, task_failed, task_skipped, task_success
from cloaca.triggers.comparison import compares, of_absent
from cloaca.triggers.condition import Condition, ContextValue, Operator
from cloaca.triggers.verdict import judge, refusal

SPELLINGS: Mapping[Operator, list[str]] = {
    "equals": ["equals", "==", "eq", "Equals", "EQ"],
    "not_equals": ["not_equals", "!=", "ne", "notEquals", "NOT_EQUALS", "notequals"],
    "greater_than": ["greater_than", ">", "gt", "GreaterThan", "GREATER_THAN"],
    "less_than": ["less_than", "<", "lt", "lessthan", "LT"],
    "contains": ["contains", "Contains"],
    "not_contains": ["not_contains", "NotContains", "notcontains"],
    "exists": ["exists", "EXISTS"],
    "not_exists": ["not_exists", "NotExists", "notexists"],
}

SOME: dict[str, Condition] = {
    "context_value('score', 'greater_than', 10)": context_value("score", ">", 10),
    "context_value('name', 'equals', None)": context_value("name", "eq", None),
    "context_value('rows', 'exists')": context_value("rows", "exists"),
    "task_success('a')": task_success("a"),
    "task_failed('a')": task_failed("a"),
    "task_skipped('a')": task_skipped("a"),
    "always()": always(),
    "all_of(task_success('a'), always())": all_of(task_success("a"), always()),
    "any_of(none_of(task_failed('b')), context_value('k', 'contains', 'x'))": any_of(
        none_of(task_failed("b")), context_value("k", "contains", "x")
    ),
}


def load(context: cloaca.Context) -> None: ...


# ---- values --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "condition"), SOME.items(), ids=list(SOME))
def test_a_condition_says_how_it_is_made(text: str, condition: Condition) -> None:
    assert repr(condition) == text
    assert eval(text, vars(cloaca) | {name: getattr(cloaca, name) for name in cloaca.__all__}) == condition


@pytest.mark.parametrize("condition", SOME.values(), ids=list(SOME))
@pytest.mark.parametrize("trip", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_condition_is_equal_to_its_copy(condition: Condition, trip: Callable[[Condition], Condition]) -> None:
    again = trip(condition)
    assert again == condition
    assert hash(again) == hash(condition)
    assert repr(again) == repr(condition)


def test_conditions_that_say_different_things_differ() -> None:
    assert len(set(SOME.values())) == len(SOME)
    assert context_value("a", ">", 1) != context_value("a", "<", 1)
    assert context_value("a", ">", 1) != context_value("a", ">", 2)
    assert all_of(always()) != any_of(always())


@pytest.mark.parametrize(("operator", "spelling"), [(name, one) for name, all_ in SPELLINGS.items() for one in all_])
def test_operators_have_several_spellings(operator: Operator, spelling: str) -> None:
    condition = context_value("k", spelling, 1)
    assert isinstance(condition, ContextValue)
    assert condition.operator == operator


def test_a_condition_is_fixed_when_it_is_made() -> None:
    allowed = ["north"]
    condition = context_value("region", "equals", allowed)
    allowed.append("south")
    assert isinstance(condition, ContextValue)
    assert condition.value == ["north"]
    condition.value.append("east")
    assert condition.value == ["north"]
    with pytest.raises(AttributeError):
        condition.key = "other"  # type: ignore[misc]


def test_a_condition_tells_what_it_asks_for() -> None:
    condition = all_of(task_success("b"), any_of(context_value("k", ">", 1), task_failed("a")), task_failed("b"))
    assert condition.tasks == ("b", "a")
    assert condition.keys == ("k",)
    assert (always().tasks, always().keys) == ((), ())
    assert task_success(load).tasks == (load,)
    assert repr(task_success(load)) == "task_success(load)"


class Silent:
    """Has no text to show."""

    def __repr__(self) -> str:
        raise OSError("no text")


def test_a_condition_on_a_value_without_a_text_can_be_shown() -> None:
    assert "<Silent instance at" in repr(context_value("k", "==", Silent()))
    assert len(repr(context_value("k", "==", list(range(10**5))))) < 300


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: context_value("k", "=", 1),
            r"The operator of context_value\('k', ...\) is one of 'equals', .*not '='",
        ),
        (lambda: context_value("k", 3, 1), "not 3"),  # type: ignore[arg-type]
        (lambda: context_value("k", "equals"), r"context_value\('k', 'equals', ...\) needs a value"),
        (lambda: context_value(3, "exists"), "a key, which is a string .*, not 3"),  # type: ignore[arg-type]
        (lambda: context_value("\ud800", "exists"), "a string that UTF-8 can carry"),
        (lambda: task_success(3), "task_success takes the id of a task, or its function, not 3"),  # type: ignore[arg-type]
        (lambda: task_failed(""), "task_failed takes the id of a task, or its function, not ''"),
        (lambda: task_skipped(None), "task_skipped takes the id"),  # type: ignore[arg-type]
        (all_of, "all_of takes at least one condition; always"),
        (lambda: any_of("load"), r"any_of takes conditions, as in task_success\('load'\), not 'load'"),  # type: ignore[arg-type]
        (lambda: none_of([always()]), r"write none_of\(\*conditions\)"),  # type: ignore[arg-type]
    ],
)
def test_what_makes_no_sense_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_conditions_are_made_by_functions_only() -> None:
    with pytest.raises(TypeError, match="made by a function"):
        Condition()


def test_a_value_that_can_not_be_sent_is_refused_at_once() -> None:
    with pytest.raises(cloaca.EncodeError, match="key 'lock'"):
        context_value("lock", "equals", Lock())


def test_conditions_nest_a_hundred_deep_and_no_deeper() -> None:
    condition = always()
    for _ in range(100):
        condition = all_of(condition)
    assert pickle.loads(pickle.dumps(condition)) == condition
    with pytest.raises(ValueError, match="100 deep at most: give all_of several at once"):
        all_of(condition)


# ---- comparing -----------------------------------------------------------------------------------------------------

NAN = float("nan")
ARRAY = np.array([1, 2, 3])
FRAME = pd.DataFrame({"a": [1, 2]})


@dataclass
class Money:
    cents: int

    def __gt__(self, other: object) -> bool:
        return isinstance(other, Money) and self.cents > other.cents


@pytest.mark.parametrize(
    ("value", "operator", "other", "holds"),
    [
        (3, "equals", 3, True),
        (3, "equals", 3.0, True),
        (True, "equals", 1, True),
        (Decimal("0.5"), "equals", 0.5, True),
        (np.int64(3), "equals", 3, True),
        (3, "equals", np.int64(3), True),
        (np.array(3), "equals", 3, True),
        (NAN, "equals", NAN, False),
        (None, "equals", None, True),
        ([1, (2,)], "equals", [1, (2,)], True),
        ({"a": 1, "b": 2}, "equals", {"b": 2, "a": 1}, True),
        ("3", "equals", 3, False),
        (Money(3), "equals", Money(3), True),
        (ARRAY, "equals", ARRAY.copy(), True),
        (ARRAY, "equals", np.array([1, 2, 4]), False),
        (ARRAY, "equals", np.array([1, 2]), False),
        (ARRAY, "equals", [1, 2, 3], False),
        ([ARRAY], "equals", [ARRAY.copy()], True),
        ([ARRAY], "equals", [np.array([1, 2, 4])], False),
        ({"a": ARRAY}, "equals", {"a": ARRAY.copy()}, True),
        (FRAME, "equals", FRAME.copy(), True),
        (FRAME, "equals", FRAME + 1, False),
        (FRAME["a"], "equals", FRAME["a"].copy(), True),
        (FRAME, "not_equals", FRAME + 1, True),
        (FRAME, "not_equals", FRAME.copy(), False),
        (3, "not_equals", 4, True),
        (3, "not_equals", 3.0, False),
        (4, "greater_than", 3, True),
        (3, "greater_than", 3, False),
        ("b", "greater_than", "a", True),
        ([1, 2], "greater_than", [1, 1], True),
        (Money(4), "greater_than", Money(3), True),
        (np.float64(0.5), "greater_than", 0, True),
        (3, "less_than", 4, True),
        (4, "less_than", 4, False),
        ("north-west", "contains", "west", True),
        ([1, 2], "contains", 2, True),
        ({"a": 1}, "contains", "a", True),
        ({1, 2}, "contains", 3, False),
        (ARRAY, "contains", 3, True),
        ([1, 2], "not_contains", 3, True),
        ([1, 2], "not_contains", 2, False),
        (None, "exists", None, True),
        (0, "not_exists", None, False),
    ],
)
def test_values_compare_as_python_compares_them_and_arrays_as_wholes(
    value: Any,
    operator: Operator,
    other: Any,
    holds: bool,  # noqa: FBT001 - a parameter of the table
) -> None:
    assert compares(value, operator, other) is holds


class Broken:
    def __eq__(self, other: object) -> bool:
        raise ValueError("no opinion")

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("value", "operator", "other", "error"),
    [
        ("three", "greater_than", 3, TypeError),
        (None, "less_than", 3, TypeError),
        (ARRAY, "greater_than", 3, ValueError),
        (3, "contains", 3, TypeError),
        ("text", "contains", 3, TypeError),
        (Broken(), "equals", 3, ValueError),
    ],
)
def test_what_can_not_be_compared_raises(value: Any, operator: Operator, other: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        compares(value, operator, other)


def test_of_a_key_that_is_absent_only_the_negative_holds() -> None:
    assert {operator for operator in SPELLINGS if of_absent(operator)} == {"not_equals", "not_contains", "not_exists"}


# ---- verdicts ------------------------------------------------------------------------------------------------------


class Known:
    """Facts that a test makes up: how tasks ended, and the values of keys."""

    def __init__(self, statuses: Mapping[str, str], **values: Any) -> None:
        self._statuses = statuses
        self._values = values
        self.asked: list[str] = []

    def status(self, task: str) -> str:
        self.asked.append(task)
        return self._statuses[task]

    def holds(self, asked: ContextValue) -> bool:
        self.asked.append(asked.key)
        return compares(self._values[asked.key], asked.operator, asked.value)

    def told(self, asked: ContextValue) -> str:
        return f"{asked.key} is {self._values[asked.key]}"


ENDED = Known({"good": "Completed", "bad": "Failed", "idle": "Skipped"}, n=3)
GOOD, BAD, IDLE, BIG = task_success("good"), task_success("bad"), task_success("idle"), context_value("n", ">", 5)


@pytest.mark.parametrize(
    ("condition", "why"),
    [
        (GOOD, None),
        (task_failed("bad"), None),
        (task_skipped("idle"), None),
        (always(), None),
        (all_of(GOOD, none_of(BAD, IDLE)), None),
        (any_of(BAD, GOOD), None),
        (BAD, "'bad' failed"),
        (task_failed("good"), "'good' ended well"),
        (task_failed("idle"), "'idle' was skipped"),
        (BIG, "n is 3"),
        (all_of(GOOD, BAD, IDLE), "'bad' failed"),
        (any_of(BAD, IDLE, BIG), "'bad' failed, 'idle' was skipped, n is 3"),
        (any_of(BAD, task_skipped("bad")), "'bad' failed"),
        (none_of(BAD, GOOD), "'good' ended well"),
        (none_of(all_of(GOOD, task_failed("bad"))), "'good' ended well, 'bad' failed"),
        (none_of(any_of(BAD, GOOD)), "'good' ended well"),
        (none_of(none_of(BAD)), "'bad' failed"),
    ],
)
def test_a_refusal_tells_the_facts_that_decided(condition: Condition, why: str | None) -> None:
    assert refusal(condition, ENDED) == (None if why is None else f"its rule {condition} doesn't hold: {why}")


def test_a_refusal_without_any_facts() -> None:
    assert refusal(none_of(always()), ENDED) == "its rule none_of(always()) doesn't hold"


def test_a_refusal_is_short_however_long_the_rule() -> None:
    names = [f"task {n}" for n in range(1000)]
    refused = refusal(any_of(*map(task_success, names)), Known(dict.fromkeys(names, "Failed")))
    assert refused is not None
    assert len(refused) < 700


@pytest.mark.parametrize(
    ("condition", "asked"),
    [
        (all_of(BAD, GOOD, BIG), ["bad"]),
        (any_of(BAD, GOOD, BIG), ["bad", "good"]),
        (none_of(BAD, GOOD, BIG), ["bad", "good"]),
        (all_of(any_of(GOOD, BAD), BIG), ["good", "n"]),
    ],
)
def test_conditions_are_asked_from_left_to_right_and_no_further_than_necessary(
    condition: Condition, asked: list[str]
) -> None:
    facts = Known({"good": "Completed", "bad": "Failed"}, n=3)
    judge(condition, facts)
    assert facts.asked == asked


nested = st.recursive(
    st.builds(task_success, st.sampled_from("ab")) | st.builds(task_failed, st.sampled_from("ab")) | st.just(always()),
    lambda parts: st.builds(
        lambda combine, those: combine(*those),
        st.sampled_from([all_of, any_of, none_of]),
        st.lists(parts, min_size=1, max_size=3),
    ),
)


def naive(condition: Any, ended: Mapping[str, str]) -> bool:
    match repr(condition).partition("("):
        case ("always", *_):
            return True
        case (("task_success" | "task_failed") as name, *_):
            return ended[condition.task] == {"task_success": "Completed", "task_failed": "Failed"}[name]
        case (name, *_):
            parts = [naive(part, ended) for part in condition.parts]
            return {"all_of": all(parts), "any_of": any(parts), "none_of": not any(parts)}[name]


@given(nested, st.fixed_dictionaries(dict.fromkeys("ab", st.sampled_from(["Completed", "Failed", "Skipped"]))))
def test_a_verdict_is_that_of_plain_logic_and_its_grounds_decide(condition: Condition, ended: dict[str, str]) -> None:
    verdict = judge(condition, Known(ended))
    assert verdict.holds is naive(condition, ended)
    named = {ground.task for ground in verdict.grounds if hasattr(ground, "task")}
    for task in ended.keys() - named:
        for other in ("Completed", "Failed", "Skipped"):
            assert naive(condition, {**ended, task: other}) is verdict.holds, "what isn't told doesn't matter"
