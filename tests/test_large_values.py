"""Values on both sides of `LARGE`: nothing tells whether one was sent or mapped."""

import gc
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from tests.reference import deterministic

from cloaca.merge.equality import equal
from cloaca.values import codec
from cloaca.values.blobs import LARGE, Blob, Part, blob_of, is_content, is_reference, reference, write
from cloaca.values.codec import STRUCTURES, decode, encode, inlined

SHAPES = [1, 10, 40_000]  # of lengths: both sides of LARGE


@dataclass
class Store:
    """Where values go, and what was told about them."""

    folder: Path
    told: list[tuple[bool, str | None]] = field(default_factory=list)

    def put(self, parts: Sequence[Part], is_structure: bool, key: str | None) -> bytes:  # noqa: FBT001 - as in Put
        self.told.append((is_structure, key))
        path, size = write([str(self.folder)], str(len(self.told)), parts)
        return reference(Blob(path, size, is_structure))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@dataclass(eq=False)
class Model:
    weights: np.ndarray[Any, Any]
    names: list[str]


class Rows(list[Any]):
    pass


def records(number: int) -> list[dict[str, Any]]:
    return [{"id": row, "name": f"row {row}", "share": row / 7, "tags": ["a", None]} for row in range(number)]


def shared(number: int) -> list[Any]:
    rows = [str(row) for row in range(number)]
    return [rows, rows]


KINDS: dict[str, Any] = {
    "array": lambda n: np.arange(n * 1.0),
    "fortran": lambda n: np.asfortranarray(np.arange(6 * n).reshape(2, 3 * n)),
    "slice": lambda n: np.arange(3 * n)[::3],
    "read-only": lambda n: np.frombuffer(bytes(8 * n), "f8"),
    "booleans": lambda n: np.arange(5 * n) % 2 == 0,
    "objects": lambda n: np.array([1, "a", None, [2]] * n, dtype=object),
    "structured": lambda n: np.ones(n, dtype=[("a", "i4"), ("b", "f8"), ("c", "S3")]),
    "dates": lambda n: np.arange(n).astype("M8[D]"),
    "masked": lambda n: np.ma.masked_equal(np.arange(n), 3),
    "frame": lambda n: pd.DataFrame({"i": range(n), "f": np.arange(n) / 3, "s": [f"row {row}" for row in range(n)]}),
    "dated frame": lambda n: pd.DataFrame({"d": range(n)}, index=pd.date_range("1900", periods=n, tz="UTC")),
    "categories": lambda n: pd.Series(["x", "y"] * n, dtype="category", name="c"),
    "records": records,
    "dict": lambda n: {f"key {row}": row for row in range(n)},
    "ordered": lambda n: OrderedDict((row, str(row)) for row in range(n)),
    "defaults": lambda n: defaultdict(list, {row: [row] for row in range(n)}),
    "counts": lambda n: Counter(str(row) for row in range(n)),
    "dict of arrays": lambda n: {"a": np.arange(n), "b": {"c": np.ones(n)}},
    "tuple": lambda n: tuple(range(n)),
    "set": lambda n: {str(row) for row in range(n)},
    "frozenset": lambda n: frozenset(range(n)),
    "deque": lambda n: deque(range(n)),
    "subclass": lambda n: Rows(range(n)),
    "shared": shared,
    "decimals": lambda n: [Decimal(row) / 8 for row in range(n)],
    "instance": lambda n: Model(np.arange(n * 1.0), [str(row) for row in range(n)]),
    "bytes": lambda n: b"\xc1\0\0\0" * n,
    "bytearray": lambda n: bytearray(b"abcd" * n),
    "str": lambda n: "häß€" * n,
    "surrogates": lambda n: "\ud800abc" * n,
    "int": lambda n: 7 ** (n * 5),
}
TEMPTING = {"objects", "masked", "frame", "dated frame", "categories", "instance", "dict of arrays"}
"""Kinds whose own equality tells less than `equal`, or nothing."""


def kinds(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("kind", names or KINDS)


# ---- out as they went in -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", SHAPES)
@kinds()
def test_a_value_comes_out_equal_wherever_it_was(store: Store, kind: str, number: int) -> None:
    value = KINDS[kind](number)
    payload = encode(value, "k", store.put)
    read = decode(payload)
    assert type(read) is type(value)
    assert equal(read, value)
    if kind not in TEMPTING:
        assert bool(np.all(read == value))
    assert is_reference(payload) is (len(encode(value)) >= LARGE) is bool(store.told)


@kinds()
def test_the_largest_shape_of_each_kind_is_stored(store: Store, kind: str) -> None:
    payload = encode(KINDS[kind](SHAPES[-1]), "k", store.put)
    assert is_reference(payload)
    assert len(payload) < 200


@pytest.mark.parametrize("number", SHAPES)
@kinds()
def test_what_is_stored_is_what_would_have_been_sent(store: Store, kind: str, number: int) -> None:
    value = KINDS[kind](number)
    assert inlined(encode(value, "k", store.put)) == encode(value)


# NumPy's pickles tell an array with gaps from one without, and those of pandas 2 a frame that was read.
@kinds(*(kind for kind in KINDS if kind != "slice" and (kind != "frame" or pd.__version__ >= "3")))
def test_what_was_read_is_encoded_to_the_same_bytes(store: Store, kind: str) -> None:
    payload = encode(KINDS[kind](SHAPES[-1]), "k", store.put)
    assert inlined(encode(decode(payload), "k", store.put)) == inlined(payload)


@pytest.mark.parametrize("number", SHAPES)
@kinds("array", "fortran", "slice", "read-only", "booleans", "objects", "structured", "dates")
def test_an_array_comes_out_writable(store: Store, kind: str, number: int) -> None:
    value = KINDS[kind](number)
    payload = encode(value, "k", store.put)
    mine, other = decode(payload), decode(payload)
    mine[...] = np.zeros(1, mine.dtype)[0]
    assert (mine == np.zeros(1, mine.dtype)[0]).all()
    assert (other == value).all()


@pytest.mark.parametrize("number", SHAPES)
def test_a_frame_comes_out_writable(store: Store, number: int) -> None:
    value = KINDS["frame"](number)
    payload = encode(value, "k", store.put)
    mine, other = decode(payload), decode(payload)
    mine.loc[:, "i"] = 7
    mine["new"] = mine["f"] + 1
    pd.testing.assert_frame_equal(other, value)
    assert (mine["i"] == 7).all()


@pytest.mark.parametrize("number", SHAPES)
def test_what_is_shared_stays_shared(store: Store, number: int) -> None:
    one, other = decode(encode(shared(number), "k", store.put))
    assert one is other


leaves = st.one_of(
    st.none(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=5),
    npst.arrays("f8", st.integers(0, 9)),
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=3), inner, max_size=3),
        st.lists(inner, max_size=2).map(lambda items: [items, items]),
    ),
    max_leaves=8,
)


@deterministic
@given(values, st.integers(1, 400))
def test_whatever_the_limit_the_bytes_are_the_same(
    tmp_path_factory: pytest.TempPathFactory, value: object, limit: int
) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "LARGE", limit)
        payload = encode(value, "k", store.put)
    sent = encode(value)
    assert is_reference(payload) is (len(sent) >= limit)
    assert inlined(payload) == sent
    assert equal(decode(payload), decode(sent))
    assert equal(decode(payload), value)
    if is_reference(payload):
        assert is_content(blob_of(payload), [sent])


# ---- the limit, and what is told -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [bytes, str, bytearray])
def test_a_value_is_stored_from_large_on(store: Store, kind: type) -> None:
    def of(size: int) -> Any:
        return "x" * size if kind is str else kind(size)

    over = len(encode(of(60_000))) - 60_000
    largest, smallest = of(LARGE - over - 1), of(LARGE - over)
    assert [len(encode(value)) for value in (largest, smallest)] == [LARGE - 1, LARGE]
    assert not is_reference(encode(largest, "k", store.put))
    assert is_reference(encode(smallest, "k", store.put))
    assert decode(encode(smallest, "k", store.put)) == smallest


@kinds()
def test_merging_is_told_whether_it_may_look_inside(store: Store, kind: str) -> None:
    value = KINDS[kind](SHAPES[-1])
    payload = encode(value, "rows", store.put)
    is_structure = kind in {"records", "dict", "ordered", "defaults", "counts", "dict of arrays", "shared", "decimals"}
    assert is_structure is (type(value) in STRUCTURES)
    assert store.told == [(is_structure, "rows")]
    assert blob_of(payload).is_structure is is_structure


def test_without_a_store_all_values_are_sent() -> None:
    assert all(not is_reference(encode(make(SHAPES[-1]))) for make in KINDS.values())


def test_what_cannot_be_stored_is_told_by_who_stores() -> None:
    def full(*_: object) -> bytes:
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        encode(bytes(LARGE), "k", full)


def test_an_array_is_not_locked_by_having_been_stored(store: Store) -> None:
    value = bytearray(LARGE)
    encode(value, "k", store.put)
    value.append(1)  # raises BufferError as long as somebody has a view of it
    array = np.zeros(LARGE)
    encode(array, "k", store.put)
    array.resize(10, refcheck=False)
    assert (len(value), len(array)) == (LARGE + 1, 10)


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_is_left_as_it_was(store: Store, *, enabled: bool) -> None:
    payload = encode(records(SHAPES[-1]), "k", store.put)
    broken = bytearray(inlined(payload))
    broken[len(broken) // 2 :] = b"\xc1" * (len(broken) - len(broken) // 2)
    path, size = write([str(store.folder)], "broken", [bytes(broken)])
    (gc.enable if enabled else gc.disable)()
    try:
        decode(payload)
        assert gc.isenabled() is enabled
        with pytest.raises(ValueError, match=r".+"):
            decode(reference(Blob(path, size, is_structure=True)))
        assert gc.isenabled() is enabled
    finally:
        gc.enable()
