"""What becomes of values as annotations ask for it, and what is told of those that don't fit."""

import enum
import subprocess
import sys
from collections import ChainMap, Counter, OrderedDict, UserList, defaultdict, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import PurePath
from typing import Annotated, Any, Literal, NamedTuple, NewType, NotRequired, TypedDict

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloaca.tasks.conversion import conversion_of
from cloaca.tasks.mismatch import Mismatch


class Parent(msgspec.Struct):
    a: float


class Child(Parent):
    pass


class Renamed(msgspec.Struct, rename="camel"):
    unit_price: float
    parts: list[Parent] = []


class Tagged(msgspec.Struct, tag="t", forbid_unknown_fields=True):
    a: int


class Exact(msgspec.Struct, forbid_unknown_fields=True):
    a: int
    b: Annotated[int, msgspec.Meta(ge=0)] = 0


@dataclass
class Point:
    x: int
    near: "list[Point]" = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError("x is below 0")


class Shape(TypedDict):
    sides: int
    name: NotRequired[str]


class Drawing(TypedDict, total=False):
    shapes: list[Shape]
    size: tuple[int, int]


class Color(enum.Enum):
    RED = "red"


class Pair(NamedTuple):
    left: int
    right: int


class Own:
    pass


UserId = NewType("UserId", int)
CHILD, OWN = Child(1.0), Own()


def same(value: Any) -> Any:
    return value


# ---- what is as annotated ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (dict[str, int], Counter("aab")),
        (Mapping[str, int], Counter("aab")),
        (Mapping[str, int], ChainMap({"a": 1})),
        (dict[str, int], OrderedDict(a=1)),
        (dict[str, list[int]], defaultdict(list, {"a": [1]})),
        (Sequence[int], (1, 2)),
        (Sequence[int], range(3)),
        (Sequence[int], UserList([1])),
        (Collection[int], {1, 2}),
        (Iterable[str], {"a": 1}),
        (AbstractSet[int], frozenset({1})),
        (tuple[int, int], Pair(1, 2)),
        (tuple[int, ...], Pair(1, 2)),
        (Sequence[int] | None, (1, 2)),
        (Sequence[int] | Mapping[str, int], (1, 2)),
        (Shape, {"sides": 3, "naem": "typo"}),
        (Drawing, {"shapes": [{"sides": 3, "naem": "typo"}]}),
        (deque[int], deque([1])),
        (npt.NDArray[np.float64], np.zeros(2)),
        (Any, OWN),
        (Own | None, OWN),
        (int, True),
        (Annotated[Parent, "doc"], CHILD),
    ],
)
def test_what_is_as_annotated_stays_the_very_object(annotation: Any, value: Any) -> None:
    assert conversion_of(annotation)(value) is value


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (list[Sequence[int]], [(1, 2), [3]]),
        (dict[str, Sequence[int]], {"a": (1, 2)}),
        (list[dict[str, int]], [{"a": 1}, Counter("ab")]),
        (tuple[Sequence[int], str], ((1,), "a")),
        (dict[tuple[int, int], str], {Pair(1, 2): "a"}),
        (list[Shape], [{"sides": 3}, {"sides": 4, "naem": "typo"}]),
        (list[Shape | None], [None, {"sides": 4, "naem": "typo"}]),
        (list[list[Shape]], [[{"sides": 4, "naem": "typo"}]]),
        (list[Drawing], [{"size": Pair(1, 2)}]),
        (list[Shape], [OrderedDict(sides=3)]),
        (set[AbstractSet[int]], {frozenset({1})}),
    ],
)
def test_nothing_is_lost_further_down(annotation: Any, value: Any) -> None:
    found = conversion_of(annotation)(value)
    assert (found, repr(found)) == (value, repr(value))


# ---- what is made --------------------------------------------------------------------------------------------------

KEPT_AND_MADE = [CHILD, Parent(2.0)]


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (list[Parent], [CHILD, {"a": 2}], KEPT_AND_MADE),
        (list[Parent], (CHILD,), [CHILD]),
        (list[Parent], (CHILD, {"a": 2}), KEPT_AND_MADE),
        (tuple[Parent, ...], [CHILD, {"a": 2}], tuple(KEPT_AND_MADE)),
        (tuple[Parent, int], [CHILD, 1], (CHILD, 1)),
        (Sequence[Parent], (CHILD, {"a": 2}), KEPT_AND_MADE),
        (dict[str, Parent], {"x": CHILD, "y": {"a": 2}}, {"x": CHILD, "y": Parent(2.0)}),
        (Mapping[str, Parent], OrderedDict(x=CHILD, y={"a": 2}), {"x": CHILD, "y": Parent(2.0)}),
        (dict[str, list[Parent]], {"x": [CHILD, {"a": 2}]}, {"x": KEPT_AND_MADE}),
        (Parent | None, {"a": 2}, Parent(2.0)),
        (list[Parent | None], [CHILD, None, {"a": 2}], [CHILD, None, Parent(2.0)]),
        (list[Parent] | None, [CHILD, {"a": 2}], KEPT_AND_MADE),
        (Parent | Point, {"x": 1}, Point(1)),
        (list[Parent | Point], [Point(1), CHILD, {"a": 2}], [Point(1), CHILD, Parent(2.0)]),
        (set[Decimal], [Decimal(1), "2"], {Decimal(1), Decimal(2)}),
        (frozenset[date], {"2026-01-31"}, frozenset({date(2026, 1, 31)})),
        (Renamed, {"unitPrice": 1, "parts": [CHILD, {"a": 2}]}, Renamed(1.0, KEPT_AND_MADE)),
        (Point, {"x": 1, "near": [Point(2), {"x": np.int64(3)}]}, Point(1, [Point(2), Point(3)])),
        (Shape, {"sides": np.int64(3), "naem": "typo"}, {"sides": 3, "naem": "typo"}),
        (list[Color], [Color.RED, "red"], [Color.RED, Color.RED]),
        (list[list[int]], [(1, np.int64(2))], [[1, 2]]),
        (dict[int, str], {np.int64(1): "a"}, {1: "a"}),
        (UserId, np.int64(1), 1),
        (list[UserId], [1, np.int64(2)], [1, 2]),
        (Annotated[list[Parent], "doc"], [CHILD, {"a": 2}], KEPT_AND_MADE),
        (list[float], [1, 2.5], [1.0, 2.5]),
    ],
)
def test_parts_are_made_one_by_one(annotation: Any, value: Any, expected: Any) -> None:
    found = conversion_of(annotation)(value)
    assert (found, repr(found)) == (expected, repr(expected))


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (int, np.int64(3), 3),
        (int, np.uint8(3), 3),
        (float, np.float32(0.5), 0.5),
        (float, np.float16(0.5), 0.5),
        (float, np.int32(3), 3.0),
        (bool, np.bool_(True), True),
        (int | None, np.int64(3), 3),
        (int | float, np.float32(0.5), 0.5),
        (Annotated[int, msgspec.Meta(ge=3)], np.int64(3), 3),
        (list[int], [1, np.int64(2)], [1, 2]),
        (dict[str, float], {"a": np.float32(0.5)}, {"a": 0.5}),
        (list[bool], [np.bool_(False)], [False]),
        (Exact, {"a": np.int64(1)}, Exact(1)),
    ],
)
def test_numbers_of_numpy_become_plain_ones(annotation: Any, value: Any, expected: Any) -> None:
    found = conversion_of(annotation)(value)
    assert (found, repr(found)) == (expected, repr(expected))


@pytest.mark.parametrize(
    ("annotation", "value", "fault"),
    [
        (int, np.float64(3), "expected int, got float64"),
        (int, np.bool_(True), f"expected int, got {np.bool_.__name__}"),
        (bool, np.int64(1), "expected bool, got int64"),
        (bool, 1, "expected bool, got int"),
        (float, True, "expected float, got bool"),
        (float, np.bool_(True), f"expected float, got {np.bool_.__name__}"),
        (int, np.array([3]), "expected int, got ndarray"),
        (str, np.int64(3), "expected str, got int64"),
        (Annotated[int, msgspec.Meta(ge=3)], np.int64(2), "expected int >= 3"),
    ],
)
def test_numbers_that_would_be_guessed_are_refused(annotation: Any, value: Any, fault: str) -> None:
    assert refused(annotation, value) == fault


def test_numpy_is_not_loaded_for_it() -> None:
    script = """
import sys
from fractions import Fraction
from cloaca.tasks.conversion import conversion_of
from cloaca.tasks.mismatch import Mismatch
for kind in (int, float, bool):
    try:
        conversion_of(kind)(Fraction(1, 2))
    except Mismatch:
        pass
print("numpy" in sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


# ---- what doesn't fit ----------------------------------------------------------------------------------------------


def unhashable(value: Any) -> str:
    """What this Python says where a set is to hold the value."""
    with pytest.raises(TypeError) as caught:
        set().add(value)
    return str(caught.value)


def refused(annotation: Any, value: Any) -> str:
    with pytest.raises(Mismatch) as caught:
        conversion_of(annotation)(value)
    return f"{caught.value.path}: {caught.value.fault}".removeprefix(": ")


@pytest.mark.parametrize(
    ("annotation", "value", "fault"),
    [
        (list[int], np.zeros(2), "expected list[int], got ndarray"),
        (list[int], None, "expected list[int], got None"),
        (list[int], 5, "expected list[int], got int"),
        (list[str], "abc", "expected list[str], got str"),
        (Sequence[str], "abc", "expected Sequence[str], got str"),
        (Iterable[int], b"abc", "expected Iterable[int], got bytes"),
        (int, None, "expected int, got None"),
        (int | None, "x", "expected int | None, got str"),
        (list[int] | None, {}, "expected list[int] | None, got dict"),
        (dict[str, int], [1], "expected dict[str, int], got list"),
        (dict, [1], "expected dict, got list"),
        (Parent, 3, "expected Parent, got int"),
        (Parent, {}, "field 'a' is missing"),
        (Exact, {"a": 1, "c": 2}, "field 'c' is unknown"),
        (Exact, {"a": 1, "b": -1}, ".b: expected int >= 0"),
        (Point, {"x": -1}, "x is below 0"),
        (Shape, {}, "field 'sides' is missing"),
        (Shape, 3, "expected Shape, got int"),
        (Shape, {"sides": "3"}, "['sides']: expected int, got str"),
        (Literal["a", 1], "x", "expected 'a' or 1, got 'x'"),
        (list[Literal["a"]], ["a", 1], "[1]: expected 'a', got 1"),
        (Color, "blue", "invalid enum value 'blue'"),
        (Color, 3, "expected Color, got int"),
        (date, 5, "expected date, got int"),
        (tuple[int, int], [1], "expected 2 elements, got 1"),
        (tuple[int, int], [1, "2"], "[1]: expected int, got str"),
        (dict[int, str], {"a": "b"}, " key 'a': expected int, got str"),
        (dict[str, int], {"north": "b"}, "['north']: expected int, got str"),
        (dict[str, list[Parent]], {"north": [CHILD, {"a": "b"}]}, "['north'][1].a: expected float, got str"),
        (set[int], {"a"}, " element 'a': expected int, got str"),
        (set[Parent], [{"a": 1}], unhashable(Parent(1))),
        (list[Parent], [CHILD, {"a": "b"}], "[1].a: expected float, got str"),
        (list[Parent], [CHILD, 3], "[1]: expected Parent, got int"),
        (list[Parent] | None, [CHILD, {"a": "b"}], "[1].a: expected float, got str"),
        (list[Parent | None], [CHILD, {"a": "b"}], "[1].a: expected float, got str"),
        (list[Parent] | dict[str, Parent], {"x": {"a": "b"}}, "['x'].a: expected float, got str"),
        (Renamed, {"unitPrice": 1, "parts": [{"a": "b"}]}, ".parts[0].a: expected float, got str"),
        (Tagged, {"type": "t", "a": "1"}, ".a: expected int, got str"),
        (Tagged, {"type": "u", "a": 1}, ".type: invalid value 'u'"),
        (PurePath, "x", "expected PurePath, got str"),
    ],
)
def test_what_does_not_fit_is_told_in_words_of_python(annotation: Any, value: Any, fault: str) -> None:
    assert refused(annotation, value) == fault


ANEW = type("Parent", (), {"__module__": __name__})
HEIR = type("Heir", (ANEW,), {})


@pytest.mark.parametrize(
    ("annotation", "wrap", "path"),
    [
        (Parent, same, ""),
        (Parent | None, same, ""),
        (list[Parent], lambda one: [CHILD, one], "[1]"),
        (dict[str, Parent], lambda one: {"x": one}, "['x']"),
        (list[Parent | Point], lambda one: [one], "[0]"),
        (Renamed, lambda one: {"unitPrice": 1, "parts": [one]}, ".parts[0]"),
    ],
)
@pytest.mark.parametrize("kind", [ANEW, HEIR])
def test_a_class_that_was_defined_anew(annotation: Any, wrap: Any, path: str, kind: type) -> None:
    one = kind()
    with pytest.raises(Mismatch) as caught:
        conversion_of(annotation)(wrap(one))
    assert caught.value.path == path
    assert caught.value.fault == "expected Parent, got an instance of another class of that name"
    assert caught.value.advice == "Parent was probably defined anew after the block ended: run the block again."


def test_classes_of_one_name_in_two_modules_are_told_apart() -> None:
    other = type("Own", (), {"__module__": "elsewhere"})
    assert refused(Own, other()) == f"expected {__name__}.Own, got elsewhere.Own"


# ---- with msgspec as the reference ---------------------------------------------------------------------------------

plain_annotations: Any = st.recursive(
    st.sampled_from([int, float, str, bool, None, date]),
    lambda inner: st.one_of(
        inner.map(list.__class_getitem__),
        inner.map(lambda one: tuple.__class_getitem__((one, ...))),
        inner.map(lambda one: dict.__class_getitem__((str, one))),
        st.tuples(inner, inner).map(tuple.__class_getitem__),
        inner.map(lambda one: one | None if one is not None else one),
    ),
    max_leaves=4,
)
plain_values: Any = st.recursive(
    st.sampled_from([0, 1, True, 0.5, "a", "2026-01-31", None]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.sampled_from("ab"), inner),
    ),
    max_leaves=6,
)


@given(plain_annotations, plain_values)
def test_part_by_part_makes_what_msgspec_makes(annotation: Any, value: Any) -> None:
    conversion = conversion_of(annotation)
    try:
        expected = msgspec.convert(value, annotation, strict=True)
    except (msgspec.ValidationError, TypeError):
        return
    assert repr(conversion(value)) == repr(expected)
    assert repr(conversion.kept(value)) == repr(expected)
