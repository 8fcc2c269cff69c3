"""Lists as payloads: one that can't be sent or rebuilt as a whole comes through up to the element at fault."""

import gc
import weakref
from collections.abc import Callable
from datetime import date
from pathlib import Path
from threading import Lock
from typing import Any, Self

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cloaca.values.blobs import Blob, reference, write
from cloaca.values.elements import ListWriter, decode_list, encode_apart, encode_list


class Unsendable:
    def __reduce__(self) -> str | tuple[Any, ...]:
        raise LookupError("not this one")


class Unreadable:
    def __reduce__(self) -> str | tuple[Any, ...]:
        return refuse, ("not here",)


def refuse(reason: str) -> None:
    raise LookupError(reason)


class Pair:
    def __init__(self, left: object, right: object) -> None:
        self.left = left
        self.right = right

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pair) and (self.left, self.right) == (other.left, other.right)

    __hash__ = None  # type: ignore[assignment]


class Day(date):
    """Of a kind of which nothing can be changed, and it can."""

    def note(self, text: str) -> None:
        self.text = text


class Lasting(tuple[Any]):
    """Whose kind nobody knows, and so neither whether it can be changed."""

    __slots__ = ()

    def __new__(cls, value: Any) -> Self:
        return super().__new__(cls, [value])

    def __reduce__(self) -> str | tuple[Any, ...]:
        return Lasting, (self[0],)


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    few = st.lists(inner, max_size=6)
    return (
        few | few.map(tuple) | st.dictionaries(st.text(max_size=3), inner, max_size=4) | st.builds(Pair, inner, inner)
    )


SCALARS = st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.frozensets(st.integers(), max_size=5)
ELEMENTS = st.lists(st.recursive(SCALARS, nested, max_leaves=12), max_size=12)


@given(ELEMENTS, ELEMENTS)
@example([], [])
@example([(1, 2, 3, 4, 5)], [])
@example(list(range(2500)), [(), [], {}])
def test_what_comes_before_an_element_that_cannot_be_rebuilt(before: list[Any], after: list[Any]) -> None:
    payload, length, error = encode_list([*before, Unreadable(), *after])
    assert (length, error) == (len(before) + 1 + len(after), None)
    elements, errors = decode_list(payload)
    place = min(errors)
    assert elements[:place] == before
    assert list(map(type, elements[:place])) == list(map(type, before))
    assert repr(errors[place]) == "LookupError('not here')"


@given(ELEMENTS, ELEMENTS)
@example([], [])
@example([1], [Unreadable(), Unsendable()])
def test_what_comes_before_an_element_that_cannot_be_sent(before: list[Any], after: list[Any]) -> None:
    payload, length, error = encode_list([*before, Unsendable(), *after])
    assert length == len(before)
    assert error is not None
    assert (error.path, error.key) == ("value", None)
    assert "LookupError: not this one" in str(error)
    assert decode_list(payload) == (before, {})


@pytest.mark.parametrize(
    "form", [list, tuple, lambda unreadable: {1: unreadable}, lambda unreadable: Pair(2, unreadable)]
)
@pytest.mark.parametrize("count", [0, 1, 2, 999, 1000, 1001])
def test_the_element_at_fault_may_hold_the_one_that_fails(form: Callable[[Any], Any], count: int) -> None:
    unreadable = form([Unreadable()]) if form in {list, tuple} else form(Unreadable())
    elements, errors = decode_list(encode_list([*range(count), unreadable, 5])[0])
    assert elements[: min(errors)] == list(range(count))


@pytest.mark.parametrize(
    "shared", [[1], {1}, Pair(1, 2), bytearray(b"1"), np.arange(3), ([1],), {"a": 1}, Lasting([1])]
)
def test_elements_share_only_what_they_hold_themselves(shared: Any) -> None:
    """Whichever of them travel together, each is as it would be alone."""
    for others in ([], [{2}], [3, (4, 5)]):
        payload, _, _ = encode_list([*others, shared, (shared, shared), 6, [shared]])
        elements, _ = decode_list(payload)
        one, (two, three), _, (four,) = elements[len(others) :]
        assert two is three
        assert len({id(one), id(two), id(four)}) == 3
        assert list(map(type, (one, two, four))) == [type(shared)] * 3
        assert elements[: len(others)] == others


@pytest.mark.parametrize("pickled", [[], [{0}]])
def test_what_lasts_is_told_once(pickled: list[Any]) -> None:
    numbers = [np.float64(number) for number in range(1000)]
    payload, _, _ = encode_list([*pickled, *numbers])
    assert decode_list(payload) == ([*pickled, *numbers], {})
    assert len(payload) < 50 * len(numbers)


def test_what_is_added_is_as_it_was_then() -> None:
    elements, array, items = ListWriter(), np.zeros(100_000), [0]
    for number in range(3):
        array[:] = items[0] = number
        elements.add((array, items))
        elements.own()
    taken, _ = decode_list(elements.payload())
    assert [(float(array.max()), items) for array, items in taken] == [(0.0, [0]), (1.0, [1]), (2.0, [2])]


def test_nothing_is_kept_of_large_values_but_their_bytes() -> None:
    """Also where nobody looks for garbage."""
    gc.disable()
    try:
        elements, kept = ListWriter(), list[weakref.ref[Any]]()
        for number in range(3):
            array = np.full(100_000, number)
            kept.append(weakref.ref(array))
            elements.add(array)
            elements.own()
            del array
            assert [one() for one in kept] == [None] * (number + 1)
        kept.append(weakref.ref(elements))
        assert len(elements.payload()) > 2_400_000
        del elements
        assert kept[-1]() is None
    finally:
        gc.enable()


def test_each_is_rebuilt_whatever_happens_to_those_before_it() -> None:
    shared = [1]
    payload, unsent = encode_apart([shared, Unreadable(), (shared, {2}), Unsendable(), Unreadable(), {3}])
    elements, unread = decode_list(payload)
    assert elements == [[1], None, ([1], {2}), None, None, {3}]
    assert (list(unsent), list(unread)) == ([3], [1, 4])


def test_arrays_among_the_elements_stay_writable() -> None:
    arrays = [np.arange(5), np.arange(3)]
    elements, _ = decode_list(encode_list([*arrays, Unreadable()])[0])
    assert [array.tolist() for array in elements[:2]] == [[0, 1, 2, 3, 4], [0, 1, 2]]
    assert all(array.flags.writeable for array in elements[:2])


@pytest.mark.parametrize("elements", [[1, Unreadable()], [1, Unreadable(), Lock()]])
def test_a_list_in_a_file(tmp_path: Path, elements: list[Any]) -> None:
    path, size = write([str(tmp_path)], "1", [encode_list(elements)[0]])
    payload = reference(Blob(path, size, is_structure=False))
    assert decode_list(payload)[0][:1] == [1]
    Path(path).unlink()
    with pytest.raises(FileNotFoundError):
        decode_list(payload)


class Moody:
    """Can be sent, but not at the first time; and so can be rebuilt."""

    moods: list[str] = []  # noqa: RUF012 - one for all

    def __reduce__(self) -> str | tuple[Any, ...]:
        improve()
        return improve, ()


def improve() -> int:
    if Moody.moods:
        raise LookupError(Moody.moods.pop())
    return 3


def test_a_list_that_fails_as_a_whole_only() -> None:
    Moody.moods = ["at first", "while looking for the culprit"]
    payload, length, error = encode_list([1, Moody()])
    assert (length, error) == (2, None)
    assert decode_list(payload) == ([1, 3], {})


def test_an_error_that_isn_t_raised_again_says_nothing_of_the_elements() -> None:
    """It comes from outside, as that of an alarm, and goes on to whom it was meant for."""
    payload, _, _ = encode_list([1, Moody()])
    Moody.moods = ["at first"]
    with pytest.raises(LookupError, match="at first"):
        decode_list(payload)


@pytest.mark.parametrize("raised", [StopIteration, RecursionError, MemoryError])
def test_whatever_an_element_raises_ends_the_list(raised: type[Exception]) -> None:
    class Raising:
        def __reduce__(self) -> str | tuple[Any, ...]:
            return throw, (raised,)

    elements, errors = decode_list(encode_list([1, Raising(), 2])[0])
    assert (elements[:1], type(errors[1])) == ([1], raised)
    elements, errors = decode_list(encode_list([1, Raising(), 2, Lock()])[0])
    assert (elements[:1], type(errors[1])) == ([1], raised)


def throw(raised: type[Exception]) -> None:
    raise raised
