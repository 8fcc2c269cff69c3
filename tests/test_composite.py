"""Composites: lists and dicts made of payloads that nobody opened."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.reference import deterministic

from cloaca.merge.equality import equal
from cloaca.merge.rules import Rules
from cloaca.merge.settle import settle
from cloaca.merge.settled import Settled
from cloaca.tasks.shelf import Traffic
from cloaca.values.blobs import LARGE, Blob, Part, is_reference, reference, references_in, size_of, write
from cloaca.values.codec import PICKLED, decode, decode_content, encode, encode_each, inlined
from cloaca.values.composite import MARK, collected, composite_of, is_composite
from cloaca.wire.messages import Version

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=3) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)
pickled = st.tuples(plain) | st.frozensets(st.integers(), max_size=3) | st.complex_numbers()
hashable = st.text(max_size=3) | st.integers() | st.none() | st.tuples(st.integers())


@given(st.lists(plain))
@deterministic
def test_a_list_of_plain_values_has_the_bytes_of_its_encoding(values: list[Any]) -> None:
    assert collected([encode(value) for value in values]) == encode(values)


@given(st.dictionaries(st.text(max_size=3) | st.integers(-9, 9) | st.none(), plain))
@deterministic
def test_a_dict_of_plain_values_has_the_bytes_of_its_encoding(values: dict[Any, Any]) -> None:
    payload = collected([encode(value) for value in values.values()], [encode(key) for key in values])
    assert payload == encode(values)


@pytest.mark.parametrize("size", [0, 15, 16, 65_535, 65_536])
def test_heads_of_every_width(size: int) -> None:
    assert collected([b"\1"] * size) == encode([1] * size)
    keys = [encode(n) for n in range(size)]
    assert collected([b"\1"] * size, keys) == encode(dict.fromkeys(range(size), 1))


@given(st.lists(st.tuples(hashable, plain | pickled, st.booleans()), unique_by=lambda entry: entry[0]))
@deterministic
def test_any_values_come_out_as_they_went_in(entries: list[tuple[Any, Any, bool]]) -> None:
    payloads = [encode(value) if is_there else None for _, value, is_there in entries]
    assert equal(decode(collected(payloads)), [value if is_there else None for _, value, is_there in entries])
    there = {key: value for key, value, is_there in entries if is_there}
    found = decode(collected(payloads, [encode(key) for key, _, _ in entries]))
    assert equal(found, there)
    assert list(found) == list(there)


def test_a_composite_is_told_from_all_other_payloads(tmp_path: Path) -> None:
    payload = collected([encode((1,)), None])
    assert is_composite(payload)
    assert payload[0] == PICKLED
    assert not is_reference(payload)
    assert composite_of(payload).elements == [encode((1,)), None]
    others = [encode(1), encode((1, 2)), encode([np.zeros(10)]), stored(tmp_path, [1])]
    assert not any(map(is_composite, others))
    assert MARK not in others


def stored(folder: Path, value: Any) -> bytes:
    """A value in a file, as a reference."""

    def put(parts: list[Part], is_structure: bool, _key: str | None) -> bytes:  # noqa: FBT001 - as in Put
        path, size = write([str(folder)], f"value {len(list(folder.iterdir()))}", parts)
        return reference(Blob(path, size, is_structure))

    return put([encode(value)], False, None)


def test_elements_in_files_are_read_measured_and_taken_along(tmp_path: Path) -> None:
    array, row = stored(tmp_path, np.arange(1000)), stored(tmp_path, [1, 2])
    payload = collected([array, row, encode(3)])
    found = decode(payload)
    assert equal(found, [np.arange(1000), [1, 2], 3])
    found[0][:] = 7
    assert decode(payload)[0][1] == 1
    assert list(references_in(payload)) == [array, row]
    assert list(references_in(array)) == [array]
    assert size_of(payload) == len(payload) + size_of(array) + size_of(row)
    traffic = Traffic()
    traffic.note("k", payload)
    assert (traffic.read, traffic.mapped) == (size_of(payload), size_of(array) + size_of(row))
    whole = inlined(payload)
    assert not list(references_in(whole))
    for file in tmp_path.iterdir():
        file.unlink()
    assert equal(decode(whole), [np.arange(1000), [1, 2], 3])
    assert equal(decode_content(memoryview(bytearray(whole))), [np.arange(1000), [1, 2], 3])


def test_what_is_plain_once_it_is_inlined_has_the_bytes_of_its_encoding(tmp_path: Path) -> None:
    payload = collected([stored(tmp_path, [1, 2]), None], [encode("a"), encode("b")])
    assert inlined(payload) == encode({"a": [1, 2]})


def test_composites_are_merged_like_any_list_or_dict() -> None:
    base = Version("the input", collected([encode((0,))]))
    longer = Version("one", collected([encode((0,)), encode((1,))]), (0,))
    other = Version("other", collected([encode((0,)), encode((2,))]), (0,))
    settled = settle("k", (base, longer, other), Rules())
    assert isinstance(settled, Settled)
    assert decode(settled.payload or b"") == [(0,), (1,), (2,)]


@pytest.mark.parametrize(
    "values",
    [
        [],
        [1, "two", [3], {"four": None}],
        [1, (2,), {3}],
        [1, 2**70, "\ud800"],
        [b"x" * LARGE, [0] * LARGE, 1],
        [[1]] * 3,
    ],
    ids=["none", "plain", "pickled", "beyond msgpack", "large", "shared"],
)
def test_values_encoded_together_have_the_bytes_of_each(values: list[Any]) -> None:
    stored: list[int] = []

    def put(parts: Sequence[Part], _is_structure: bool, key: str | None) -> bytes:  # noqa: FBT001 - as in Put
        stored.append(sum(map(len, parts)))
        return f"{key} {len(stored)}".encode()

    assert encode_each(values) == [encode(value) for value in values]
    together = encode_each(values, "k", put)
    sizes, stored = stored, []
    assert together == [encode(value, "k", put) for value in values]
    assert sizes == stored
