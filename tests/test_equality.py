"""When two values agree. Every case is tried in both directions, and as the encoded values that merging compares."""

import builtins
import copy
import math
import struct
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from itertools import count, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloaca.merge.encoded import are_equal
from cloaca.merge.equality import equal
from cloaca.values.blobs import LARGE, Blob, Part, reference, write
from cloaca.values.codec import decode, encode

NAN = math.nan


def other_nan() -> float:
    """A NaN of other bits."""
    nan: float = struct.unpack("<d", b"\1\0\0\0\0\0\xf8\xff")[0]
    return nan


def trip(value: Any) -> Any:
    return decode(encode(value))


def agree(one: Any, other: Any) -> bool:
    """Whether they do, told alike: in both directions, after the journey between processes, and as they travel."""
    answers = {equal(one, other), equal(other, one), equal(trip(one), trip(other)), equal(trip(other), one)}
    if encode(one) != encode(other):  # the same bytes are a yes, whatever a class says of itself
        answers |= {are_equal(encode(one), encode(other)), are_equal(encode([0, other]), encode([0, one]))}
        answers.add(are_equal(encode({"a": one}), encode({"a": other})))
    assert len(answers) == 1
    return answers.pop()


class Colour(Enum):
    RED = 1
    BLUE = 2


@dataclass
class Point:
    x: Any
    y: Any = 0


class Plain:
    """Knows only identity."""

    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)


class Rows(list):  # type: ignore[type-arg]
    """A list with the list's own equality."""


class Insensitive(dict):  # type: ignore[type-arg]
    """A dict with an equality of its own."""

    __hash__ = None

    def __eq__(self, other: object) -> bool:
        return {str(key).lower() for key in self} == {str(key).lower() for key in other}  # type: ignore[attr-defined]


class Answering:
    """Its `__eq__` answers with what it holds, or raises it."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def __eq__(self, other: object) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


Pair = namedtuple("Pair", "a b")  # noqa: PYI024 - a plain one is what users have

EQUAL: dict[str, tuple[Any, Any]] = {
    "scalars": ([None, True, 1, 1.5, "a", b"a", 10**30], [None, True, 1, 1.5, "a", b"a", 10**30]),
    "zeros": (0.0, -0.0),
    "nan": (NAN, other_nan()),
    "nan inside": ([{"a": (NAN,)}], [{"a": (other_nan(),)}]),
    "complex nan": (complex(NAN, 1), complex(NAN, 1)),
    "nan in a set": ({1, NAN}, {NAN, 1}),
    "nan in a tuple in a set": ({(1, NAN), (2, NAN)}, {(2, NAN), (1, NAN)}),
    "nan as a key": ({NAN: [1], "a": 2}, {"a": 2, NAN: [1]}),
    "order of a dict": ({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1}),
    "order of a set": (set("abcdefgh"), set("hgfedcba")),
    "frozensets in a set": ({frozenset("abc"), frozenset()}, {frozenset(), frozenset("cba")}),
    "named tuple": (Pair(1, [2]), Pair(1, [2])),
    "deque": (deque([1, NAN]), deque([1, NAN])),
    "ordered": (OrderedDict(a=NAN, b=1), OrderedDict(a=NAN, b=1)),
    "default dict": (defaultdict(list, a=[NAN]), defaultdict(list, a=[NAN])),
    "counter": (Counter("abba"), Counter("baab")),
    "list subclass": (Rows([1, NAN]), Rows([1, NAN])),
    "own equality": (Insensitive(A=1), Insensitive(a=2)),
    "decimal": (Decimal("1.0"), Decimal("1.00")),
    "decimal nan": (Decimal("NaN"), Decimal("NaN")),
    "fraction": (Fraction(1, 3), Fraction(2, 6)),
    "datetime": (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)),
    "enum": (Colour.RED, Colour.RED),
    "dataclass": (Point(1, [2]), Point(1, [2])),
    "identity only": (Plain(a=1, b=[2]), Plain(a=1, b=[2])),
    "identity only, in a set": ({Plain(a=1), Plain(a=2)}, {Plain(a=2), Plain(a=1)}),
    "function": (len, len),
    "class": (Point, Point),
    "array": (np.arange(6.0).reshape(2, 3), np.arange(6.0).reshape(2, 3)),
    "array of nan": (np.array([1, NAN]), np.array([1, other_nan()])),
    "array of other layout": (np.arange(6).reshape(2, 3), np.asfortranarray(np.arange(6).reshape(2, 3))),
    "empty array": (np.empty((0, 3)), np.empty((0, 3))),
    "array without dimensions": (np.array(NAN), np.array(NAN)),
    "array of complex nan": (np.array([complex(NAN, 1)]), np.array([complex(NAN, 1)])),
    "array of dates": (
        np.array(["2026-01-01", "NaT"], dtype="datetime64[D]"),
        np.array(["2026-01-01", "NaT"], dtype="datetime64[D]"),
    ),
    "array of text": (np.array(["a", "bc"]), np.array(["a", "bc"])),
    "array of objects": (
        np.array([[1, NAN], {"a": {1, 2}}, None], dtype=object),
        np.array([[1, NAN], {"a": {2, 1}}, None], dtype=object),
    ),
    "structured array": (
        np.array([(1, NAN), (2, 0)], dtype=[("a", "i4"), ("b", "f8")]),
        np.array([(1, NAN), (2, 0)], dtype=[("a", "i4"), ("b", "f8")]),
    ),
    "masked array": (np.ma.masked_array([1, 2], [False, True]), np.ma.masked_array([1, 2], [False, True])),
    "numpy scalars": ([np.float64(NAN), np.int8(1)], [np.float64(NAN), np.int8(1)]),
    "numpy date": (np.datetime64("NaT", "s"), np.datetime64("NaT", "s")),
    "arrays in a dict": ({"a": np.arange(3), "b": 1}, {"b": 1, "a": np.arange(3)}),
    "frame": (pd.DataFrame({"a": [1, 2], "b": ["x", None]}), pd.DataFrame({"a": [1, 2], "b": ["x", None]})),
    "frame of nan": (pd.DataFrame({"a": [1.0, NAN]}), pd.DataFrame({"a": [1.0, NAN]})),
    "frame of objects": (pd.DataFrame({"a": [{1, 2}, NAN]}), pd.DataFrame({"a": [{2, 1}, NAN]})),
    "frame of other blocks": (
        pd.DataFrame({"a": [1, 2], "b": [3, 4]}),
        pd.concat([pd.DataFrame({"a": [1, 2]}), pd.DataFrame({"b": [3, 4]})], axis=1),
    ),
    "frame with another kind of index": (pd.DataFrame({"a": [1, 2]}), pd.DataFrame({"a": [1, 2]}, index=[0, 1])),
    "frame with levels": (
        pd.DataFrame({"a": [1, 2]}, index=pd.MultiIndex.from_tuples([(1, "x"), (2, "y")], names=["i", "j"])),
        pd.DataFrame({"a": [1, 2]}, index=pd.MultiIndex.from_tuples([(1, "x"), (2, "y")], names=["i", "j"])),
    ),
    "frame with a column twice": (
        pd.DataFrame([[1, 2]], columns=["a", "a"]),
        pd.DataFrame([[1, 2]], columns=["a", "a"]),
    ),
    "empty frame": (pd.DataFrame(), pd.DataFrame()),
    "series": (pd.Series([1.5, NAN], name="a"), pd.Series([1.5, NAN], name="a")),
    "series of text": (pd.Series(["a", None]), pd.Series(["a", None])),
    "series of dates": (
        pd.Series(pd.to_datetime(["2026-01-01", "NaT"])).dt.tz_localize("UTC"),
        pd.Series(pd.to_datetime(["2026-01-01", "NaT"])).dt.tz_localize("UTC"),
    ),
    "categories": (pd.Series(["a", "b"], dtype="category"), pd.Series(["a", "b"], dtype="category")),
    "nullable": (pd.Series([1, None], dtype="Int64"), pd.Series([1, None], dtype="Int64")),
    "index": (pd.Index(["a", None], name="i"), pd.Index(["a", None], name="i")),
    "extension array": (pd.array([1, None], dtype="Int64"), pd.array([1, None], dtype="Int64")),
    "missing values of pandas": ([pd.NA, pd.NaT], [pd.NA, pd.NaT]),
}

DIFFERENT: dict[str, tuple[Any, Any]] = {
    "bool and int": (True, 1),
    "int and float": (1, 1.0),
    "bool in a list": ([True], [1]),
    "bool as a key": ({True: "a"}, {1: "a"}),
    "bool in a tuple as a key": ({(True,): "a"}, {(1,): "a"}),
    "bool in a set": ({True}, {1}),
    "list and tuple": ([1], (1,)),
    "set and frozenset": ({1}, frozenset({1})),
    "lengths": ([1, 2], [1]),
    "values": ({"a": 1, "b": 2}, {"a": 1, "b": 3}),
    "keys": ({"a": 1}, {"b": 1}),
    "more keys": ({"a": 1}, {"a": 1, "b": 1}),
    "elements": ({1, 2}, {1, 3}),
    "nan and no nan": (NAN, 1.0),
    "nan in a set and none": ({NAN}, {1.0}),
    "nan as a key, with another value": ({NAN: 1}, {NAN: 2}),
    "the rest of a complex nan": (complex(NAN, 1), complex(NAN, 2)),
    "order of an ordered dict": (OrderedDict(a=1, b=2), OrderedDict(b=2, a=1)),
    "dict and ordered dict": ({"a": 1}, OrderedDict(a=1)),
    "dict and its subclass": ({"a": 1}, defaultdict(int, a=1)),
    "counts": (Counter("abba"), Counter("abb")),
    "deques": (deque([1]), deque([2])),
    "enum": (Colour.RED, Colour.BLUE),
    "dataclass": (Point(1), Point(2)),
    "dataclass with an array": (Point(np.arange(3), 1), Point(np.arange(3), 1)),
    "identity only": (Plain(a=1), Plain(a=2)),
    "identity only, in a set": ({Plain(a=1)}, {Plain(a=2)}),
    "signalling nan": (Decimal("sNaN"), Decimal("sNaN")),
    "eq that raises": (Answering(ValueError("no")), Answering(ValueError("no"))),
    "eq that raises, deep inside": ([{"a": Answering(ValueError("no"))}], [{"a": Answering(ValueError("no"))}]),
    "eq that returns an array": (Answering(np.array([True, True])), Answering(np.array([True, True]))),
    "eq that returns an array of one": (Answering(np.array([True])), Answering(np.array([True]))),
    "eq that returns a frame": (Answering(pd.DataFrame({"a": [True]})), Answering(pd.DataFrame({"a": [True]}))),
    "eq that returns a missing value": (Answering(pd.NA), Answering(pd.NA)),
    "dtype": (np.array([1, 2]), np.array([1.0, 2.0])),
    "byte order": (np.array([1], dtype="<i4"), np.array([1], dtype=">i4")),
    "shape": (np.arange(6), np.arange(6).reshape(2, 3)),
    "content": (np.array([1.0, NAN]), np.array([1.0, 2.0])),
    "the rest of a complex nan in an array": (np.array([complex(NAN, 1)]), np.array([complex(NAN, 2)])),
    "a bool in an array of objects": (np.array([True], dtype=object), np.array([1], dtype=object)),
    "the other field of a record with nan": (
        np.array([(1, NAN)], dtype=[("a", "i4"), ("b", "f8")]),
        np.array([(2, NAN)], dtype=[("a", "i4"), ("b", "f8")]),
    ),
    "mask": (np.ma.masked_array([1, 2], [False, True]), np.ma.masked_array([1, 2], [False, False])),
    "numpy and python": (np.float64(1.5), 1.5),
    "numpy scalars": (np.float32(1.5), np.float32(2.5)),
    "frame dtype": (pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [1.0]})),
    "frame content": (pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [2]})),
    "frame shape": (pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [1, 2]})),
    "frame columns": (pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]})),
    "order of columns": (pd.DataFrame({"a": [1], "b": [1]}), pd.DataFrame({"b": [1], "a": [1]})),
    "frame index": (pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [1]}, index=[5])),
    "name of the index": (pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [1]}).rename_axis("i")),
    "text and objects": (pd.Series(["a"], dtype="string"), pd.Series(["a"], dtype=object)),
    "a bool among objects": (pd.Series([True], dtype=object), pd.Series([1], dtype=object)),
    "name of a series": (pd.Series([1], name="a"), pd.Series([1], name="b")),
    "missing text": (pd.Series(["a", None]), pd.Series(["a", "b"])),
    "categories": (pd.Series(["a"], dtype="category"), pd.Series(["a"], dtype=pd.CategoricalDtype(["a", "b"]))),
    "time zones": (
        pd.Series(pd.to_datetime(["2026-01-01"])).dt.tz_localize("UTC"),
        pd.Series(pd.to_datetime(["2026-01-01"])).dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo"),
    ),
    "a nullable value": (pd.Series([1, None], dtype="Int64"), pd.Series([1, 2], dtype="Int64")),
    "index": (pd.Index([1]), pd.Index([2])),
}


@pytest.mark.parametrize("case", EQUAL)
def test_equal(case: str) -> None:
    assert agree(*EQUAL[case])


@pytest.mark.parametrize("case", DIFFERENT)
def test_different(case: str) -> None:
    assert not agree(*DIFFERENT[case])


@pytest.mark.parametrize("cases", [EQUAL, DIFFERENT], ids=["equal", "different"])
def test_where_a_value_lies_does_not_matter(cases: dict[str, tuple[Any, Any]], tmp_path: Path) -> None:
    names, large = count(), "x" * LARGE

    def put(parts: Sequence[Part], _is_structure: object, _key: object) -> bytes:
        return reference(Blob(*write([str(tmp_path)], str(next(names)), parts), is_structure=True))

    for case, pair in cases.items():
        if encode(pair[0]) == encode(pair[1]):
            continue
        payloads = [(encode([value, large]), encode([value, large], put=put)) for value in pair]
        assert {are_equal(a, b) for a, b in product(*payloads)} == {cases is EQUAL}, case
        assert all(are_equal(here, there) for here, there in payloads), case


class Unequalled:
    """It has no `__eq__`, and holds what may be encoded in several ways."""

    def __init__(self, *held: Any) -> None:
        self.held = held


def test_objects_without_equality_are_equal_by_what_they_hold() -> None:
    texts = [str(number) for number in range(8)]
    assert agree(Unequalled({*texts}, "held"), Unequalled({*reversed(texts)}, "he" + "ld"[:]))
    assert not agree(Unequalled({*texts}), Unequalled({*texts[1:]}))
    assert not agree(Unequalled(1), Unequalled(True))


@pytest.mark.parametrize("case", DIFFERENT)
def test_different_deep_inside(case: str) -> None:
    one, other = DIFFERENT[case]
    assert not agree(({"a": [one]}, 1), ({"a": [other]}, 1))


# ---- it ends -------------------------------------------------------------------------------------------------------


def nested(depth: int, innermost: Any, wrap: Callable[[Any], Any]) -> Any:
    value = innermost
    for _ in range(depth):
        value = wrap(value)
    return value


@pytest.mark.slow
@pytest.mark.parametrize("wrap", [lambda x: [x], lambda x: {"a": x}, lambda x: (x,), lambda x: Rows([x])])
def test_depth_does_not_matter(wrap: Callable[[Any], Any]) -> None:
    assert equal(nested(100_000, NAN, wrap), nested(100_000, NAN, wrap))
    assert not equal(nested(100_000, 1, wrap), nested(100_000, 2, wrap))


def test_sharing_does_not_matter() -> None:
    """Each level mentions the next one twice: written out, that is 2 ** 200 elements."""
    assert equal(nested(200, [NAN], lambda x: [x, x]), nested(200, [NAN], lambda x: [x, x]))
    assert not equal(nested(200, [1], lambda x: (x, x)), nested(200, [2], lambda x: (x, x)))


@pytest.mark.parametrize("odd", range(50))
def test_what_is_gone_is_not_taken_for_what_comes_after_it(odd: int) -> None:
    """Comparing makes objects that are soon gone, and identities are reused."""
    one, other = ([OrderedDict(a=(place, place == chosen)) for place in range(50)] for chosen in (odd, None))
    assert not equal(one, other)


def cycle(value: Any) -> list[Any]:
    inner: dict[str, Any] = {"value": value}
    outer = [inner, (inner,)]
    inner["outer"] = outer
    return outer


def test_cycles_are_compared_by_what_they_hold() -> None:
    assert agree(cycle({"a", "b", NAN}), cycle({NAN, "b", "a"}))
    assert not agree(cycle(1), cycle(2))


def test_a_cycle_through_a_class_that_compares_its_fields_ends() -> None:
    one, other = Point(1), Point(1)
    one.y, other.y = one, other
    assert equal(one, other) is equal(other, one) is False


# ---- laws ----------------------------------------------------------------------------------------------------------

ATOMS = st.none() | st.booleans() | st.integers(-2, 2) | st.floats(width=16) | st.text("ab", max_size=1)
HASHABLE = st.recursive(ATOMS, lambda inner: st.tuples(inner) | st.frozensets(inner, max_size=2), max_leaves=3)


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(HASHABLE, inner, max_size=3)
        | st.sets(HASHABLE, max_size=3)
    )


VALUES = st.recursive(ATOMS, containers, max_leaves=8)


def reordered(value: Any) -> Any:
    """The same value, its dicts and sets filled in the opposite order, and no object the same."""
    match value:
        case dict():
            return {reordered(key): reordered(value[key]) for key in reversed(value)}
        case list() | tuple():
            return type(value)(map(reordered, value))
        case set() | frozenset():
            return type(value)(map(reordered, reversed(list(value))))
        case float() if value != value:  # noqa: PLR0124 - only NaN differs from itself
            return other_nan() if math.copysign(1, value) < 0 else float("nan")
        case _:
            return copy.copy(value)


@given(VALUES)
def test_a_value_agrees_with_itself_after_any_journey(value: Any) -> None:
    assert equal(value, trip(value))
    assert equal(value, copy.deepcopy(value))


@given(VALUES)
def test_order_does_not_matter(value: Any) -> None:
    assert equal(value, reordered(value))


@given(VALUES, VALUES)
def test_agreeing_is_mutual(one: Any, other: Any) -> None:
    assert equal(one, other) is equal(other, one)


@given(VALUES, VALUES)
def test_what_agrees_is_equal_to_python_too(one: Any, other: Any) -> None:
    if equal(one, other) and "nan" not in repr(one):
        assert one == other
        assert type(one) is type(other)


@given(st.lists(VALUES, max_size=3), VALUES, VALUES)
def test_one_element_that_differs_makes_the_whole_differ(around: list[Any], one: Any, other: Any) -> None:
    assert equal([*around, one], [*around, other]) is equal(one, other)
    assert equal({"a": one, "b": around}, {"b": around, "a": other}) is equal(one, other)


@pytest.mark.skipif(not hasattr(builtins, "frozendict"), reason="since Python 3.15")
def test_frozen_dicts_are_looked_into() -> None:
    frozen = vars(builtins)["frozendict"]
    one, other = frozen(a=float("nan"), b=[1]), frozen(b=[1], a=float("nan"))
    assert equal(one, other)
    assert not equal(one, frozen(a=1, b=[1]))
    assert not equal(one, dict(one))
    assert equal(decode(encode(one)), one)
