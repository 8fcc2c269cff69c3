"""Lists as payloads: one that can't be sent or rebuilt as a whole comes through up to the element at fault."""

from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cloaca.values.blobs import Blob, reference, write
from cloaca.values.codec import encode_unseen
from cloaca.values.elements import decode_list, encode_list


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
    elements, why = decode_list(payload)
    assert elements == before
    assert list(map(type, elements)) == list(map(type, before))
    assert repr(why) == "LookupError('not here')"


@given(ELEMENTS, ELEMENTS)
@example([], [])
@example([1], [Unreadable(), Unsendable()])
def test_what_comes_before_an_element_that_cannot_be_sent(before: list[Any], after: list[Any]) -> None:
    payload, length, error = encode_list([*before, Unsendable(), *after])
    assert length == len(before)
    assert error is not None
    assert (error.path, error.key) == ("value", None)
    assert "LookupError: not this one" in str(error)
    assert decode_list(payload) == (before, None)


@pytest.mark.parametrize(
    "form", [list, tuple, lambda unreadable: {1: unreadable}, lambda unreadable: Pair(2, unreadable)]
)
@pytest.mark.parametrize("count", [0, 1, 2, 999, 1000, 1001])
def test_the_element_at_fault_may_hold_the_one_that_fails(form: Callable[[Any], Any], count: int) -> None:
    unreadable = form([Unreadable()]) if form in {list, tuple} else form(Unreadable())
    assert decode_list(encode_list([*range(count), unreadable, 5]).payload).elements == list(range(count))


def test_elements_share_what_they_hold() -> None:
    shared = [1]
    first, second = decode_list(encode_list([shared, (shared, shared), Unreadable()]).payload).elements
    assert second[0] is second[1] is first


def test_arrays_among_the_elements_stay_writable() -> None:
    arrays = [np.arange(5), np.arange(3)]
    elements, _ = decode_list(encode_list([*arrays, Unreadable()]).payload)
    assert [array.tolist() for array in elements] == [[0, 1, 2, 3, 4], [0, 1, 2]]
    assert all(array.flags.writeable for array in elements)


@pytest.mark.parametrize("elements", [[1, Unreadable()], [1, Unreadable(), Lock()]])
def test_a_list_in_a_file(tmp_path: Path, elements: list[Any]) -> None:
    path, size = write([str(tmp_path)], "1", [encode_list(elements).payload])
    payload = reference(Blob(path, size, is_structure=False))
    assert decode_list(payload).elements == [1]
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
    assert decode_list(payload) == ([1, 3], None)


def test_an_error_that_isn_t_raised_again_says_nothing_of_the_elements() -> None:
    """It comes from outside, as that of an alarm, and goes on to whom it was meant for."""
    payload = encode_unseen([1, Moody()])
    Moody.moods = ["at first"]
    with pytest.raises(LookupError, match="at first"):
        decode_list(payload)


@pytest.mark.parametrize("raised", [StopIteration, RecursionError, MemoryError])
def test_whatever_an_element_raises_ends_the_list(raised: type[Exception]) -> None:
    class Raising:
        def __reduce__(self) -> str | tuple[Any, ...]:
            return throw, (raised,)

    elements, error = decode_list(encode_list([1, Raising(), 2]).payload)
    assert (elements, type(error)) == ([1], raised)
    elements, error = decode_list(encode_list([1, Raising(), 2, Lock()]).payload)
    assert (elements, type(error)) == ([1], raised)


def throw(raised: type[Exception]) -> None:
    raise raised
