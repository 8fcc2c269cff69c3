"""Context: every member, as the program sees it and as a task sees it."""

import copy
import enum
import json
import math
import pickle
import threading
from collections import Counter, UserDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from cloaca import Context
from cloaca.errors import INPUT, DecodeError, EncodeError, MergeConflict
from cloaca.merge.equality import equal
from cloaca.tasks.contents import Contents
from cloaca.tasks.context import contents_of, of_versions, over
from cloaca.values.codec import encode
from cloaca.wire.messages import Outcome, Slice, Version

Known = dict[str, tuple[Version, ...]]


def known(**writes: Mapping[str, Any]) -> Known:
    """Versions, by key: what each writer wrote, `...` where it removed the key."""
    return {
        key: tuple(Version(name, None if value is ... else encode(value)) for name, value in by_writer.items())
        for key, by_writer in writes.items()
    }


CONFLICTING = known(year={INPUT: 2026}, total={"north": 1, "south": 2}, mean={"east": 1.5, "west": ...})


@pytest.fixture
def in_conflict() -> Context:
    return of_versions(CONFLICTING)


# ---- one key -------------------------------------------------------------------------------------------------------


def test_get_is_the_value_or_the_default() -> None:
    context = Context({"a": 1, "nothing": None})
    assert context.get("a") == 1
    assert context.get("b") is None
    assert context.get("b", 7) == 7
    assert context.get("nothing", 7) is None


def test_set_inserts_and_overwrites() -> None:
    context = Context()
    assert context.set("a", 1) is None  # type: ignore[func-returns-value]  # that is the point
    context.set("a", 2)
    context["b"] = 3
    assert context.to_dict() == {"a": 2, "b": 3}


def test_insert_takes_absent_keys_only() -> None:
    context = Context({"nothing": None})
    context.insert("a", 1)
    for key in ("a", "nothing"):
        with pytest.raises(ValueError, match=f"^Key already exists: {key}$"):
            context.insert(key, 2)
    assert context.to_dict() == {"nothing": None, "a": 1}


def test_pop_removes_and_returns() -> None:
    context = Context({"a": [1], "b": None})
    assert (context.pop("a"), context.pop("b"), [*context]) == ([1], None, [])
    assert (context.pop("a", 7), context.pop("a", None)) == (7, None)
    with pytest.raises(KeyError, match="Key not found: a"):
        context.pop("a")


def test_setdefault_sets_what_is_absent() -> None:
    context = Context({"a": 1})
    assert (context.setdefault("a", 2), context.setdefault("b", [2]), context.setdefault("c")) == (1, [2], None)
    context.setdefault("b", []).append(3)
    assert context.to_dict() == {"a": 1, "b": [2], "c": None}


def test_a_mapping_or_a_context_is_taken_in_place() -> None:
    context = same = Context({"a": 1, "b": 2})
    context |= {"b": 3}
    context |= Context({"c": 4})
    assert context is same
    assert context.to_dict() == {"a": 1, "b": 3, "c": 4}
    with pytest.raises(TypeError, match="unsupported operand"):
        context |= [("a", 1)]  # type: ignore[arg-type]


def test_update_takes_present_keys_only() -> None:
    context = Context({"nothing": None})
    context.update("nothing", 1)
    with pytest.raises(KeyError, match=r"^'Key not found: a'$"):
        context.update("a", 1)
    assert context.to_dict() == {"nothing": 1}


def test_update_sets_every_key_of_a_mapping() -> None:
    context = Context({"a": 1})
    context.update({"a": 2, "b": 3})
    context.update(Context({"c": 4}))
    context.update(UserDict(d=5))
    assert context.to_dict() == {"a": 2, "b": 3, "c": 4, "d": 5}
    with pytest.raises(TypeError, match=r"update takes a key and its value, or a mapping, not a str alone"):
        context.update("a")
    with pytest.raises(TypeError, match="A context key is a str, not int: 1"):
        context.update({1: 2})  # type: ignore[dict-item]


def test_an_attribute_is_no_way_to_a_key() -> None:
    context = Context({"rows": [1]})
    with pytest.raises(AttributeError, match=r"no attribute 'rows': a key is read by context\['rows'\]"):
        context.rows  # type: ignore[attr-defined]  # noqa: B018
    assert not hasattr(context, "_private")
    assert copy.copy(context) == pickle.loads(pickle.dumps(context)) == context


@pytest.mark.parametrize("remove", [Context.remove, Context.delete])
def test_remove_returns_the_value_and_never_raises(remove: Callable[[Context, str], Any]) -> None:
    context = Context({"a": [1], "nothing": None})
    assert remove(context, "a") == [1]
    assert remove(context, "a") is None
    assert remove(context, "nothing") is None
    assert context.to_dict() == {}


def test_remove_settles_a_conflict(in_conflict: Context) -> None:
    assert in_conflict.remove("total") is None
    assert "total" not in in_conflict


def test_remove_of_a_value_that_cannot_be_rebuilt_removes_it() -> None:
    context = of_versions({"a": (Version("load", encode(Stubborn())),)})
    assert context.remove("a") is None
    assert "a" not in context


def test_square_brackets() -> None:
    context = Context({"a": None})
    assert context["a"] is None
    del context["a"]
    with pytest.raises(KeyError, match=r"^'Key not found: a'$"):
        context["a"]
    with pytest.raises(KeyError, match=r"^'Key not found: a'$"):
        del context["a"]


def test_a_key_that_holds_none_is_present() -> None:
    context = Context({"nothing": None})
    assert "nothing" in context
    assert "other" not in context
    assert len(context) == 1


@pytest.mark.parametrize("miss", [lambda c: c["totl"], lambda c: c.__delitem__("totl"), lambda c: c.update("totl", 1)])
def test_a_missing_key_names_the_nearest(miss: Callable[[Context], Any]) -> None:
    context = Context({"total": 1, "totals": 2, "year": 3})
    with pytest.raises(KeyError) as caught:
        miss(context)
    assert caught.value.args == ("Key not found: totl. The nearest names are 'total', 'totals'.",)


def test_a_removed_key_is_not_named() -> None:
    context = Context({"total": 1})
    del context["total"]
    with pytest.raises(KeyError, match=r"^'Key not found: totl'$"):
        context["totl"]


# ---- keys are text -------------------------------------------------------------------------------------------------


class Column(str, enum.Enum):  # noqa: UP042 - whose str() is not its value
    TOTAL = "total"


def test_a_member_of_an_enum_is_the_text_that_it_holds() -> None:
    context = Context()
    context.set(Column.TOTAL, 1)
    assert [(key, type(key)) for key in context] == [("total", str)]
    assert context.get(Column.TOTAL) == context["total"] == 1
    assert context.remove(Column.TOTAL) == 1
    context.set("total", 2)
    del context[Column.TOTAL]
    assert [(key, type(key)) for key in contents_of(context).diff()] == [("total", str)]


KEYED: list[Callable[[Context, Any], Any]] = [
    Context.get,
    Context.__getitem__,
    Context.__delitem__,
    Context.remove,
    lambda context, key: context.set(key, 1),
    lambda context, key: context.insert(key, 1),
    lambda context, key: context.update(key, 1),
    lambda context, key: context.update_from_dict({key: 1}),
    lambda _, key: Context({key: 1}),
]


@pytest.mark.parametrize("use", KEYED)
def test_any_other_key_is_a_type_error(use: Callable[[Context, Any], Any]) -> None:
    with pytest.raises(TypeError, match="A context key is a str, not int: 5"):
        use(Context({"a": 1}), 5)


def test_a_key_that_is_no_text_is_not_in_it() -> None:
    assert 5 not in Context({"5": 1})
    assert "\ud800" not in Context({"?": 1})


def test_a_key_that_no_message_can_carry_is_refused() -> None:
    with pytest.raises(ValueError, match=r"valid text, and '\\ud800' is not: surrogates not allowed"):
        Context().set("\ud800", 1)


def test_keys_may_be_in_any_script() -> None:
    assert Context({"größe": 1, "": 2, "a b": 3}).to_dict() == {"größe": 1, "": 2, "a b": 3}


@pytest.mark.parametrize("data", [[("a", 1)], "a", 5, Context()])
def test_the_data_is_a_dict(data: Any) -> None:
    with pytest.raises(TypeError, match="Expected a dict with str keys"):
        Context(data)
    with pytest.raises(TypeError, match="Expected a dict with str keys"):
        Context().update_from_dict(data)


# ---- values, not references ----------------------------------------------------------------------------------------


def test_set_stores_a_snapshot() -> None:
    rows = [1, {"inner": [2]}]
    context = Context({"given": rows})
    context.set("set", rows)
    context["item"] = rows
    context.update_from_dict({"updated": rows})
    rows.append(3)
    assert context.to_dict() == {key: [1, {"inner": [2]}] for key in ("given", "set", "item", "updated")}


@pytest.mark.parametrize(
    "read",
    [
        lambda context: context.get("rows"),
        lambda context: context["rows"],
        lambda context: context.to_dict()["rows"],
        lambda context: next(iter(context.values())),
        lambda context: next(iter(context.items()))[1],
    ],
)
def test_what_is_read_is_the_callers_own(read: Callable[[Context], Any]) -> None:
    context = Context({"rows": [1, [2]]})
    mine = read(context)
    mine.append(3)
    mine[1].append(4)
    assert context["rows"] == [1, [2]]
    assert read(context) is not read(context)


def test_an_array_is_a_copy_that_can_be_written_to() -> None:
    context = Context({"array": np.arange(3)})
    mine = context["array"]
    mine[0] = 9
    assert context["array"].tolist() == [0, 1, 2]


class Colour(enum.Enum):
    RED = 1


@dataclass
class Point:
    x: float
    tags: set[str] = field(default_factory=set)


VALUES = [
    None,
    True,
    10**100,
    -0.0,
    math.nan,
    "text \ud800",
    b"bytes",
    (1, (2,)),
    {1, 2},
    frozenset({"a"}),
    {1: "int key", (1, 2): "tuple key"},
    datetime(2026, 1, 1, tzinfo=UTC),
    Decimal("1.10"),
    Fraction(1, 3),
    Counter("abba"),
    Colour.RED,
    Point(1.5, {"a"}),
    PurePosixPath("/tmp"),
    1 + 2j,
    range(3),
    bytearray(b"x"),
    np.array([[1.0, math.nan]]),
    np.float32(1.5),
    pd.DataFrame({"a": [1, 2], "b": ["x", None]}),
    Context({"inside": (1,)}),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_value_comes_out_equal_and_of_its_type(value: Any) -> None:
    assert equal(Context({"key": value})["key"], value)


def test_sharing_and_cycles_inside_a_value_survive() -> None:
    shared = [1]
    cycle: list[Any] = [shared, shared]
    cycle.append(cycle)
    out = Context({"key": cycle})["key"]
    assert out[0] is out[1]
    assert out[2] is out


def test_a_value_that_cannot_be_sent_raises_at_set_and_changes_nothing() -> None:
    context = Context({"model": 1})
    with pytest.raises(EncodeError) as caught:
        context.set("model", {"cache": [threading.Lock()]})
    assert (caught.value.key, caught.value.path, caught.value.type_name) == (
        "model",
        "model['cache'][0]",
        "_thread.lock",
    )
    assert context["model"] == 1


class Stubborn:
    """Can be sent, and not rebuilt."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _refuse, ()


def _refuse() -> None:
    raise OSError("no licence")


def test_a_value_that_cannot_be_rebuilt_names_its_key_and_its_writer() -> None:
    bad = encode(Stubborn())
    context = of_versions({"model": (Version("train", bad),), "same": (Version("a", bad), Version("b", bad))})
    context.set("own", Stubborn())
    for key, writer in {"model": "train", "same": "a", "own": INPUT}.items():
        with pytest.raises(DecodeError, match="OSError: no licence") as caught:
            context.get(key)
        assert (caught.value.key, caught.value.writer) == (key, writer)
        assert isinstance(caught.value.__cause__, OSError)


# ---- all keys ------------------------------------------------------------------------------------------------------


def test_keys_values_items_are_in_order_of_insertion() -> None:
    context = Context({"b": 1, "a": 2})
    context.set("c", 3)
    context.set("b", 4)
    assert list(context) == list(context.keys()) == ["b", "a", "c"]
    assert list(context.values()) == [4, 2, 3]
    assert list(context.items()) == [("b", 4), ("a", 2), ("c", 3)]
    assert len(context) == 3


def test_a_context_may_change_while_it_is_iterated() -> None:
    context = Context({"a": 1, "b": 2})
    for key in context:
        del context[key]
    assert len(context) == 0


def test_to_dict_is_plain() -> None:
    assert type(Context({"a": 1}).to_dict()) is dict


def test_a_copy_goes_its_own_way() -> None:
    context = Context({"a": [1], "gone": 0})
    del context["gone"]
    for twin in (context.copy(), copy.copy(context), copy.deepcopy(context), pickle.loads(pickle.dumps(context))):
        assert twin == context
        twin.set("a", 2)
        assert context.to_dict() == {"a": [1]}


@pytest.mark.parametrize("twin", [Context.copy, copy.copy, copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])
def test_a_copy_keeps_conflicts(in_conflict: Context, twin: Callable[[Context], Context]) -> None:
    in_conflict.set("year", 2027)
    twins = twin(in_conflict)
    assert contents_of(twins).versions() == contents_of(in_conflict).versions()
    assert twins == in_conflict


def test_contexts_are_equal_by_what_they_hold() -> None:
    assert Context({"a": 1, "b": {1, 2}}) == Context({"b": {2, 1}, "a": 1})
    assert Context({"a": math.nan}) == Context({"a": -math.nan})
    assert Context({"a": 1}) != Context({"a": True})
    assert Context({"a": 1}) != Context({"a": 1, "b": None})
    assert Context({"a": 1}) != {"a": 1}


def test_conflicts_are_equal_by_their_candidates(in_conflict: Context) -> None:
    assert in_conflict == of_versions(CONFLICTING)
    settled = in_conflict.copy()
    settled.set("total", 1)
    assert settled != in_conflict


def test_a_context_has_no_hash() -> None:
    with pytest.raises(TypeError):
        hash(Context())


# ---- repr ----------------------------------------------------------------------------------------------------------


def test_repr_shows_a_short_context_in_full() -> None:
    assert repr(Context()) == "Context({})"
    assert repr(Context({"b": 1, "a": ["x", None]})) == "Context({'b': 1, 'a': ['x', None]})"


def test_repr_shows_eight_keys() -> None:
    context = Context(dict.fromkeys("zyxwvutsr", 0))
    assert repr(context) == "Context({" + "".join(f"'{letter}': 0, " for letter in "zyxwvuts") + "...})"


def test_repr_is_short_whatever_is_inside() -> None:
    huge = {"text": "x" * 10_000, "rows": [[list(range(100))] * 100] * 100, "digits": 10**10_000, "k" * 1000: 1}
    for order in (list(huge), list(reversed(huge))):
        text = repr(Context({key: huge[key] for key in order}))
        assert len(text) < 120
        assert "\n" not in text


def test_repr_never_raises(in_conflict: Context) -> None:
    in_conflict.set("model", Stubborn())
    shown = "{'year': 2026, 'total': <in conflict>, 'mean': <in conflict>, 'model': a value that can't be shown he...}"
    assert repr(in_conflict) == f"Context({shown})"


# ---- JSON ----------------------------------------------------------------------------------------------------------


def test_json_there_and_back() -> None:
    data = {"b": [1, 2.5, None, True], "a": {"k": "ü"}, "": ""}
    context = Context(data)
    assert json.loads(context.to_json()) == data
    assert Context.from_json(context.to_json()) == context
    assert list(Context.from_json('{"b": 1, "a": 2}')) == ["b", "a"]
    assert Context().to_json() == "{}"


def test_from_json_of_a_subclass_is_one() -> None:
    class Mine(Context):
        pass

    assert type(Mine.from_json("{}")) is Mine


@pytest.mark.parametrize("text", ["", "{", "{'a': 1}", '{"a": NaN}', '{"a": -Infinity}', "[]", "1", "null", '"a"'])
def test_json_that_is_malformed_or_no_object(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Context.from_json(text)


@pytest.mark.parametrize("value", [{1, 2}, math.nan, {"x": [math.inf]}, b"bytes", Colour.RED, {(1, 2): 3}])
def test_a_value_that_json_cannot_carry_names_its_key(value: Any) -> None:
    with pytest.raises(TypeError, match="The value of key 'culprit' can't be written as JSON"):
        Context({"fine": 1, "culprit": value}).to_json()


# ---- conflicts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("read", [Context.get, Context.__getitem__])
def test_reading_a_conflict_raises(in_conflict: Context, read: Callable[[Context, str], Any]) -> None:
    for _ in range(2):
        with pytest.raises(MergeConflict) as caught:
            read(in_conflict, "total")
        error = caught.value
        assert (error.key, error.writers, vars(error)["values"]) == ("total", ("north", "south"), ("1", "2"))
    assert in_conflict.get("year") == 2026


def test_a_conflict_raises_a_new_error_each_time(in_conflict: Context) -> None:
    errors = []
    for _ in range(2):
        with pytest.raises(MergeConflict) as caught:
            in_conflict.get("total")
        errors.append(caught.value)
    assert errors[0] is not errors[1]


@pytest.mark.parametrize("read", [Context.to_dict, Context.values, Context.items, Context.to_json])
def test_reading_everything_raises_for_all_conflicts(in_conflict: Context, read: Callable[[Context], Any]) -> None:
    with pytest.raises(MergeConflict) as caught:
        read(in_conflict)
    assert all(
        part in str(caught.value) for part in ("'total'", "task 'north' wrote 1", "'mean'", "task 'west' wrote nothing")
    )


def test_to_dict_may_skip_conflicts(in_conflict: Context) -> None:
    assert in_conflict.to_dict(conflicts="skip") == {"year": 2026}
    assert Context({"a": 1}).to_dict(conflicts="raise") == {"a": 1}
    with pytest.raises(ValueError, match='conflicts must be "raise" or "skip"'):
        in_conflict.to_dict(conflicts="first")  # type: ignore[arg-type]


def test_a_conflict_counts_as_present(in_conflict: Context) -> None:
    assert "total" in in_conflict
    assert len(in_conflict) == 3
    assert list(in_conflict.keys()) == ["year", "total", "mean"]
    with pytest.raises(ValueError, match="Key already exists: total"):
        in_conflict.insert("total", 3)


def test_conflicts_are_listed(in_conflict: Context) -> None:
    found = in_conflict.conflicts()
    assert list(found) == ["total", "mean"]
    assert vars(found["mean"])["values"] == ("1.5", "nothing (it removed the key)")
    assert Context({"a": 1}).conflicts() == {}


SETTLING: dict[str, tuple[Callable[[Context], Any], Any]] = {
    "set": (lambda context: context.set("total", 3), 3),
    "item": (lambda context: context.__setitem__("total", 3), 3),
    "update": (lambda context: context.update("total", 3), 3),
    "remove": (lambda context: context.remove("total"), None),
    "del": (lambda context: context.__delitem__("total"), None),
}


@pytest.mark.parametrize("how", SETTLING)
def test_a_write_settles_a_conflict(in_conflict: Context, how: str) -> None:
    settle, value = SETTLING[how]
    settle(in_conflict)
    assert in_conflict.get("total") == value
    assert list(in_conflict.conflicts()) == ["mean"]
    assert ("total" in in_conflict) is (value is not None)


def test_versions_that_agree_are_no_conflict() -> None:
    context = of_versions(known(a={"x": {1, 2}, "y": {2, 1}}, gone={"x": ..., "y": ...}))
    assert context.to_dict() == {"a": {1, 2}}
    assert "gone" not in context


class Counted:
    """Counts how often one is rebuilt. `order` makes no difference, except to the bytes."""

    rebuilt = 0

    def __init__(self, order: str) -> None:
        self.order = order

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        Counted.rebuilt += 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Counted)

    def __hash__(self) -> int:
        return 0


def test_a_key_is_merged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    context = of_versions(known(a={"x": Counted("one"), "y": Counted("two")}))
    monkeypatch.setattr(Counted, "rebuilt", 0)
    assert "a" in context
    assert list(context) == ["a"]
    assert context.conflicts() == over(contents_of(context).unchanged()).conflicts() == {}
    assert Counted.rebuilt == 2
    assert context["a"].order == "one"
    assert Counted.rebuilt == 3


def test_the_context_as_it_was_given_lacks_its_changes(in_conflict: Context) -> None:
    in_conflict.set("total", 3)
    in_conflict.set("new", 4)
    given = over(contents_of(in_conflict).unchanged())
    assert given == of_versions(CONFLICTING)
    given.set("year", 2027)
    assert in_conflict["year"] == 2026


# ---- in a task -----------------------------------------------------------------------------------------------------


class World:
    """Answers a task's questions about `versions`, and counts them."""

    def __init__(self, versions: Known, outcomes: Mapping[str, Outcome] | None = None) -> None:
        self.versions = versions
        self.outcomes = outcomes or {}
        self.questions: list[Any] = []
        self.nearby: tuple[str, ...] = ()

    def ask(self, keys: tuple[str, ...], rest: bool, outcomes: bool) -> Slice:  # noqa: FBT001 - the shape of Ask
        self.questions.append("rest" if rest else "outcomes" if outcomes else keys)
        found = self.versions if rest else {key: self.versions.get(key, ()) for key in (*keys, *self.nearby)}
        return Slice(found, rest, self.outcomes if outcomes else None)

    def context(self, *sent: str, covered: str = "") -> Context:
        """`sent` keys come with the slice; `covered`, a letter each, are looked up by the sender and may be absent."""
        part = {key: self.versions[key] for key in sent}
        return over(Contents(Slice(part), "me", covered=frozenset({*sent, *covered}), ask=self.ask))


def letters(text: str) -> Known:
    return {letter: (Version(INPUT, encode(place)),) for place, letter in enumerate(text)}


def test_what_was_sent_is_never_asked_for() -> None:
    world = World(letters("abc"))
    context = world.context("a", covered="x")
    assert context.get("a") == context["a"] == 0
    assert context.get("x") is None
    assert "x" not in context
    context.insert("x", 1)
    context.set("new", 1)
    context.update("a", 5)
    assert context["new"] == 1
    del context["a"]
    assert world.questions == []
    assert contents_of(context).diff() == {"x": encode(1), "new": encode(1), "a": None}


def test_what_was_not_sent_is_asked_for_once() -> None:
    world = World(letters("abc"))
    context = world.context("a")
    for _ in range(2):
        assert context.get("b") == 1
        assert "nowhere" not in context
        assert context.get("nowhere", 7) == 7
    assert world.questions == [("b",), ("nowhere",)]


def test_what_comes_along_with_an_answer_is_not_asked_for() -> None:
    world = World(letters("abc"))
    world.nearby = ("c",)
    context = world.context("a")
    assert (context.get("b"), context.get("c"), context.get("a")) == (1, 2, 0)
    assert world.questions == [("b",)]


def test_an_answer_that_says_nothing_of_a_key_means_that_it_is_absent() -> None:
    asked = []

    def ask(*question: Any) -> Slice:
        asked.append(question)
        return Slice({})

    context = over(Contents(Slice({}), "me", ask=ask))
    assert context.get("a") is None
    assert context.get("a") is None
    assert len(asked) == 1


@pytest.mark.parametrize("look", [Context.keys, Context.to_dict, len, list, repr, Context.conflicts])
def test_looking_at_all_keys_asks_for_the_rest_once(look: Callable[[Context], Any]) -> None:
    world = World(letters("abc"))
    context = world.context("b")
    context.get("c")
    look(context)
    look(context)
    assert world.questions == [("c",), "rest"]
    assert context.get("nowhere") is None
    assert context.to_dict() == {"a": 0, "b": 1, "c": 2}
    assert len(world.questions) == 2


def test_the_order_of_keys_does_not_depend_on_what_was_asked_first() -> None:
    context = World(letters("abcd")).context("c")
    context.get("d")
    context.set("new", 1)
    context.set("b", 1)
    context.get("a")
    assert list(context) == ["a", "b", "c", "d", "new"]
    del context["b"]
    assert list(context) == ["a", "c", "d", "new"]


def test_changes_made_before_the_rest_arrives_stand() -> None:
    context = World(letters("abc")).context()
    context.set("a", 9)
    context.remove("b")
    assert context.to_dict() == {"a": 9, "c": 2}


def test_a_missing_key_names_names_that_were_not_sent() -> None:
    world = World(known(total={INPUT: 1}))
    with pytest.raises(KeyError, match="The nearest names are 'total'"):
        world.context()["totl"]


def test_only_text_is_asked_for() -> None:
    world = World(known(total={INPUT: 1}))
    context = world.context()
    assert context.get(Column.TOTAL) == 1
    assert [type(key) for key in world.questions[0]] == [str]
    with pytest.raises(TypeError, match="A context key is a str"):
        context.get(5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="valid text"):
        context.get("\ud800")
    assert len(world.questions) == 1


@pytest.mark.parametrize("erase", [Context.remove, Context.__delitem__])
def test_only_text_is_sent_back(erase: Callable[[Context, str], Any]) -> None:
    context = World(known(total={INPUT: 1})).context("total")
    erase(context, Column.TOTAL)
    assert [type(key) for key in contents_of(context).diff()] == [str]


def test_a_conflict_is_asked_for_like_any_other_key() -> None:
    world = World(CONFLICTING)
    context = world.context()
    with pytest.raises(MergeConflict):
        context.get("total")
    assert "total" in context
    context.set("total", 3)
    assert context.get("total") == 3
    assert world.questions == [("total",)]


def test_the_diff_is_what_was_set_and_removed() -> None:
    context = World(letters("ab")).context("a", "b")
    context.set("b", 7)
    context.remove("a")
    context.remove("nowhere")
    assert contents_of(context).diff() == {"b": encode(7), "a": None}


def test_the_writer_of_an_own_value_is_the_task() -> None:
    context = World({}).context()
    context.set("model", Stubborn())
    with pytest.raises(DecodeError, match="written by task 'me'"):
        context.get("model")
    with pytest.raises(DecodeError, match="written by task 'me'"):
        context.copy().get("model")


def test_a_copy_asks_nothing_again() -> None:
    world = World(letters("abc"), {"clean": Outcome("Completed")})
    twin = world.context("a").copy()
    assert twin.to_dict() == {"a": 0, "b": 1, "c": 2}
    assert twin.get("nowhere") is None
    assert world.questions == ["rest"]
    assert twin.outcome("clean").status == "Completed"


def test_each_outcome_is_asked_for_once() -> None:
    world = World({}, {"clean": Outcome("Failed", "ValueError: 5"), "load": Outcome("Completed")})
    context = world.context()
    assert context.outcome("clean") == Outcome("Failed", "ValueError: 5")
    assert context.outcome("load").error is None
    assert world.questions == ["outcomes"]
    with pytest.raises(KeyError, match=r"No task before this one has the id 'clan'\. The nearest names are 'clean'"):
        context.outcome("clan")


@pytest.mark.parametrize("name", [5, None, "\udc80"])
def test_what_is_no_name_is_no_ancestor(name: Any) -> None:
    world = World({}, {"5": Outcome("Completed")})
    with pytest.raises(KeyError, match="No task before this one has the id"):
        world.context().outcome(name)


def test_outcomes_that_were_sent_are_not_asked_for() -> None:
    given = Slice({}, complete=True, outcomes={"load": Outcome("Skipped")})
    context = over(Contents(given, "me", ask=World({}).ask))
    assert context.outcome("load").status == "Skipped"


def test_outside_a_task_no_task_has_ended() -> None:
    with pytest.raises(KeyError, match="No task before this one has the id 'load'"):
        Context().outcome("load")


# ---- against a dict ------------------------------------------------------------------------------------------------

KEYS = st.sampled_from("abcde")
PLAIN = st.none() | st.integers() | st.lists(st.integers(), max_size=2) | st.tuples(st.text(max_size=2))


class AgainstDict(RuleBasedStateMachine):
    """A task's context does what a dict does, whichever part of it was sent."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(letters("abc"))
        self.context = self.world.context("a", covered="d")
        self.model: dict[str, Any] = {"a": 0, "b": 1, "c": 2}

    @rule(key=KEYS, value=PLAIN)
    def set(self, key: str, value: Any) -> None:
        self.context.set(key, value)
        self.model[key] = value

    @rule(key=KEYS)
    def remove(self, key: str) -> None:
        assert self.context.remove(key) == self.model.pop(key, None)

    @rule(key=KEYS, value=PLAIN)
    def insert_or_update(self, key: str, value: Any) -> None:
        (self.context.update if key in self.model else self.context.insert)(key, value)
        self.model[key] = value

    @rule(key=KEYS)
    def read(self, key: str) -> None:
        assert self.context.get(key, "absent") == self.model.get(key, "absent")
        assert (key in self.context) is (key in self.model)

    @rule()
    def read_all(self) -> None:
        assert self.context.to_dict() == self.model
        assert len(self.context) == len(self.model)

    @invariant()
    def asks_little(self) -> None:
        assert len(self.world.questions) == len(set(self.world.questions))


@pytest.mark.slow
def test_a_context_behaves_as_a_dict() -> None:
    run_state_machine_as_test(AgainstDict)


@given(st.dictionaries(st.text(max_size=3), PLAIN | st.lists(PLAIN, max_size=3), max_size=5))
def test_any_context_survives_a_copy_and_a_pickle(data: dict[str, Any]) -> None:
    context = Context(data)
    assert context == context.copy() == pickle.loads(pickle.dumps(context))
    assert context.to_dict() == data
