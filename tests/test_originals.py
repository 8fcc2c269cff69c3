"""Originals: who reads a value after others in the same worker is given exactly what decoding it would give."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.reference import deterministic

import cloaca
from cloaca import Context, DefaultRunner, WorkflowBuilder
from cloaca.values import codec, originals
from cloaca.values.blobs import Blob, reference, write
from cloaca.values.codec import decode, encode


@pytest.fixture(autouse=True)
def keeping(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in a worker."""
    monkeypatch.setattr(originals, "_keeps", True)
    yield
    originals.drop()


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[memoryview]:
    """The contents of files that were decoded."""
    found: list[memoryview] = []

    def noting(content: memoryview, real: Callable[[memoryview], Any] = codec.decode_content) -> Any:
        found.append(content)
        return real(content)

    monkeypatch.setattr(codec, "decode_content", noting)
    return found


def stored(folder: Path, value: object, name: str = "value") -> bytes:
    """What refers to a file with the value."""
    return encode(value, put=lambda parts, _is_structure, _key: written(folder, name, parts))


def written(folder: Path, name: str, parts: Any) -> bytes:
    path, size = write([str(folder)], name, parts)
    return reference(Blob(path, size, is_structure=True))


def table(count: int = 3000) -> list[dict[str, Any]]:
    return [{"id": number, "name": f"name {number}", "rate": number / 7, "tags": None} for number in range(count)]


def told(value: object) -> object:
    """The value with all types."""
    if isinstance(value, dict):
        return {key: (type(one), told(one)) for key, one in value.items()}
    return [(type(one), told(one)) for one in value] if isinstance(value, list) else value


def spoil(value: Any) -> None:
    """Change all that can be changed in it."""
    for part in value.values() if isinstance(value, dict) else value:
        if isinstance(part, dict | list | tuple | set):
            spoil(part)
    if not isinstance(value, tuple):
        value.clear()


atoms = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.text() | st.binary()
plain = st.recursive(atoms, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@given(st.lists(plain) | st.dictionaries(st.text(), plain))
@deterministic
def test_each_reader_is_given_its_own(value: Any) -> None:
    originals.drop()
    fresh = encode(value)
    for _ in range(4):
        copy = originals.copy_of("path")
        found = originals.given("path", len(fresh), decode(fresh), is_plain=True) if copy is None else copy
        assert told(found) == told(value)
        spoil(found)


ROWS: dict[str, Any] = {
    "dicts": table(),
    "lists": [[number, str(number), None, 0.5] for number in range(10_000)],
    "columns": {name: [number * 0.5 for number in range(10_000)] for name in "abc"},
    "dicts by name": {f"row {number}": {"id": number, "rate": 0.5} for number in range(5000)},
    "numbers": [*range(100_000)],
    "tuples and numbers": [*range(30_000), (1, "a" * 100)],
    "texts by name": {str(number): str(number) for number in range(10_000)},
    "tuples": [(number, (str(number), None)) for number in range(10_000)],
    "lists of tuples": [[(number, str(number)) for number in range(1000)] for _ in range(10)],
    "tuples by tuples": {(number, "a"): ("b", number) for number in range(10_000)},
}


@pytest.mark.parametrize("value", ROWS.values(), ids=ROWS)
def test_the_third_reader_and_those_after_it_decode_nothing(
    value: Any, tmp_path: Path, decoded: list[memoryview]
) -> None:
    payload = stored(tmp_path, value)
    for _ in range(5):
        found = decode(payload)
        assert found == value
        spoil(found)
    assert len(decoded) == 2


OTHERS: dict[str, Any] = {
    "rows in rows": [{"id": number, "at": [number]} for number in range(5000)],
    "rows in the last row": [*([number] for number in range(30_000)), [[1]]],
    "rows and numbers": [*range(30_000), [1]],
    "tuples that hold rows": [(number, [number]) for number in range(10_000)],
    "tuples in rows in rows": [[[(number, number)]] for number in range(10_000)],
    "rows and tuples": [*((number, number) for number in range(10_000)), [1]],
    "sets": [{number, str(number)} for number in range(10_000)],
    "one row of tuples twice": [pairs := [(number, number) for number in range(10_000)], pairs],
    "one row twice": [row := {"id": 1, "name": "a" * 100_000}, row],
}


@pytest.mark.parametrize("value", OTHERS.values(), ids=OTHERS)
def test_of_others_each_reader_decodes_its_own(value: Any, tmp_path: Path, decoded: list[memoryview]) -> None:
    payload = stored(tmp_path, value)
    for _ in range(4):
        found = decode(payload)
        assert told(found) == told(value)
        spoil(found)
    assert len(decoded) == 4


def test_they_go_where_they_are_not_needed(tmp_path: Path, decoded: list[memoryview]) -> None:
    payloads = [stored(tmp_path, table(), name) for name in "ab"]
    for payload in [*payloads, *payloads, *payloads]:
        decode(payload)
    assert len(decoded) == 4
    originals.drop({f"{tmp_path}/b"})
    for payload in payloads:
        decode(payload)
    assert len(decoded) == 5


def test_they_take_no_more_than_so_much(
    tmp_path: Path, decoded: list[memoryview], monkeypatch: pytest.MonkeyPatch
) -> None:
    payloads = [stored(tmp_path, table(), name) for name in "ab"]
    monkeypatch.setattr(originals, "MOST", 1.5 * os.stat(tmp_path / "a").st_size)
    for payload in [*payloads, *payloads, *payloads]:
        decode(payload)
    assert len(decoded) == 2 + 3


def test_the_program_keeps_none(tmp_path: Path, decoded: list[memoryview], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(originals, "_keeps", False)
    payload = stored(tmp_path, table())
    for _ in range(3):
        decode(payload)
    assert (len(decoded), originals.noted) == (3, {})


def test_a_forked_child_keeps_none(tmp_path: Path) -> None:
    payload = stored(tmp_path, table())
    decode(payload)
    decode(payload)
    child = os.fork()
    if not child:
        try:
            decode(payload)
            os._exit(bool(originals.noted))
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert originals.noted


# ---- in workers ----------------------------------------------------------------------------------------------------


def test_no_task_sees_what_another_one_has_changed_and_none_keeps_what_it_is_not_sent() -> None:
    with WorkflowBuilder("rows", outputs=["sums", "kept"]) as builder:

        @cloaca.task(for_each="numbers")
        def read(context: Context, item: int) -> None:
            rows = context["rows"]
            kept = len(originals.noted)
            context["sums"] = [sum(row["id"] for row in rows), kept]
            if item % 2:
                rows[item]["id"] = rows[item + 1]["id"] = 1_000_000
                del rows[item + 2 :]

        @cloaca.task(dependencies=["read"])
        def end(context: Context) -> None:
            context["kept"] = len(originals.noted)

    with DefaultRunner(workers=1) as runner:
        result = runner.execute(builder, {"numbers": [n % 3 for n in range(20)], "rows": table()})
        result.raise_for_status()
    assert result.final_context["sums"] == [[sum(range(3000)), 1]] * 20
    assert result.final_context["kept"] == 0
