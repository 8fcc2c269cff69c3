"""How versions become one value, or a conflict."""

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloaca.equality import equal
from cloaca.errors import MergeConflict
from cloaca.merge import Conflict, agree, settle, shown
from cloaca.wire.codec import decode, encode
from cloaca.wire.messages import Version


def versions(*values: Any) -> tuple[Version, ...]:
    """A version of each value, by writers a, b, c, ...; `...` is a deletion."""
    return tuple(
        Version(chr(ord("a") + place), None if value is ... else encode(value)) for place, value in enumerate(values)
    )


class Stubborn:
    """Can be sent, and not rebuilt."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _refuse, ()


def _refuse() -> None:
    raise OSError("no licence")


class Nearly:
    """An equality that isn't transitive: 1 is nearly 2, 2 is nearly 3, and 1 isn't nearly 3."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Nearly) and abs(self.number - other.number) <= 1

    def __hash__(self) -> int:
        return 0


class Broken:
    """Its `__eq__` raises."""

    def __init__(self, number: int) -> None:
        self.number = number

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise ValueError("no")


# ---- settle --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [1, None, [1], ...])
def test_a_single_version_stands(value: Any) -> None:
    (version,) = versions(value)
    assert settle("key", (version,)) is version


@pytest.mark.parametrize("value", [1, {"b"}, float("nan"), Stubborn(), Broken(1), ...])
def test_the_same_bytes_agree_unopened(value: Any) -> None:
    concurrent = versions(value, value, value)
    assert settle("key", concurrent) is concurrent[0]


def test_versions_that_are_equal_agree_and_the_first_stands() -> None:
    concurrent = versions({"x": 1, "y": {2}}, {"y": {2}, "x": 1})
    assert concurrent[0].payload != concurrent[1].payload
    assert settle("key", concurrent) is concurrent[0]


@pytest.mark.parametrize("values", [(1, 2), (1, True), (1, 1, 2), ([1], (1,)), (None, 0)])
def test_versions_that_differ_are_in_conflict(values: tuple[Any, ...]) -> None:
    for order in permutations(versions(*values)):
        assert settle("key", order) == Conflict("key", order)


@pytest.mark.parametrize("values", [(1, ...), (..., 1, 1), (None, ...), (Stubborn(), ...)])
def test_a_deletion_and_a_value_are_in_conflict(values: tuple[Any, ...]) -> None:
    for order in permutations(versions(*values)):
        assert settle("key", order) == Conflict("key", order)


def test_all_deleted_is_deleted() -> None:
    concurrent = versions(..., ...)
    assert settle("key", concurrent) is concurrent[0]


def test_what_cannot_be_rebuilt_is_in_conflict() -> None:
    assert isinstance(settle("key", versions(Stubborn(), 1)), Conflict)


def test_an_equality_that_raises_makes_a_conflict() -> None:
    assert isinstance(settle("key", versions(Broken(1), Broken(2))), Conflict)


@pytest.mark.parametrize("numbers", [(1, 2, 3), (1, 3, 5)])
def test_an_odd_equality_decides_alike_in_every_order(numbers: tuple[int, ...]) -> None:
    verdicts = {type(settle("key", order)) for order in permutations(versions(*map(Nearly, numbers)))}
    assert len(verdicts) == 1


@pytest.mark.parametrize("numbers", [(1, 2, 3), (1, 3, 5)])
def test_encoded_values_agree_alike_in_every_order(numbers: tuple[int, ...]) -> None:
    orders = permutations([encode(Nearly(number)) for number in numbers])
    assert len({agree(dict.fromkeys(order).keys()) for order in orders}) == 1


SMALL = st.integers(0, 2) | st.booleans() | st.none()
VALUES = st.recursive(
    SMALL | st.just(float("nan")),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner) | st.sets(SMALL),
    max_leaves=3,
)
WRITES = st.lists(VALUES | st.just(...), min_size=1, max_size=4)


@given(WRITES, st.randoms(use_true_random=False))
def test_the_order_of_versions_changes_only_which_equal_one_stands(values: list[Any], random: Any) -> None:
    concurrent = versions(*values)
    shuffled = tuple(random.sample(concurrent, len(concurrent)))
    match settle("key", concurrent), settle("key", shuffled):
        case Conflict(versions=one), Conflict(versions=other):
            assert (one, other) == (concurrent, shuffled)
        case Version(payload=None), Version(payload=None):
            pass
        case Version(payload=bytes(one)), Version(payload=bytes(other)):
            assert equal(decode(one), decode(other))
        case verdicts:
            pytest.fail(f"The order decided: {verdicts}")


@given(WRITES)
def test_the_first_of_those_that_agree_stands(values: list[Any]) -> None:
    concurrent = versions(*values)
    settled = settle("key", concurrent)
    assert isinstance(settled, Conflict) or settled is concurrent[0]


@given(WRITES)
def test_saying_it_again_changes_nothing(values: list[Any]) -> None:
    once, twice = settle("key", versions(*values)), settle("key", versions(*values, *values))
    assert type(once) is type(twice)


@given(st.lists(VALUES, min_size=1, max_size=4))
def test_they_agree_where_each_pair_is_equal(values: list[Any]) -> None:
    assert agree({encode(value) for value in values}) is all(equal(one, other) for one in values for other in values)


# ---- the conflict --------------------------------------------------------------------------------------------------


def test_a_conflict_tells_who_wrote_what() -> None:
    conflict = settle("total", versions(1, ..., "x" * 1000, Stubborn()))
    assert isinstance(conflict, Conflict)
    error = conflict.error
    assert isinstance(error, MergeConflict)
    assert (error.key, error.writers) == ("total", ("a", "b", "c", "d"))
    one, nothing, text, unknown = vars(error)["values"]
    assert (one, nothing) == ("1", "nothing (it removed the key)")
    assert len(text) < 70
    assert unknown == "a value that can't be shown here (OSError: no licence)"
    assert "context.set('total', ...)" in str(error)


def test_each_error_is_new() -> None:
    conflict = Conflict("key", versions(1, 2))
    assert conflict.error is not conflict.error


@pytest.mark.parametrize(
    "value", [{"digits": 10**10_000}, "line\nline" * 100, list(range(10**5)), {"k": [[["deep"] * 9] * 9] * 9}]
)
def test_whatever_is_shown_is_one_short_line(value: Any) -> None:
    text = shown(encode(value))
    assert "\n" not in text
    assert len(text) <= 203


def test_a_repr_over_several_lines_is_shown_on_one() -> None:
    assert "\n" not in shown(encode(Lines()))


class Lines:
    def __repr__(self) -> str:
        return "a\nb"
