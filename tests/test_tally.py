"""What a worker notes of the items that have ended, as whoever looks at it at any moment finds it."""

import os
from collections.abc import Iterator

import pytest

from cloaca.border.mark import Mark, create
from cloaca.border.tally import MOST, ItemEnd, Tally, one_tallied
from cloaca.pool.reports import opened
from cloaca.values.blobs import Blob, reference
from cloaca.wire.frames import Garbled
from cloaca.wire.messages import FIGURES, ItemsDone, Tallied


@pytest.fixture
def sides() -> Iterator[tuple[Tally, Tally]]:
    """The worker's view of it, and the coordinator's."""
    descriptor = create()
    ours, theirs, mark = Tally(descriptor), Tally(descriptor), Mark(descriptor)
    os.close(descriptor)
    yield ours, theirs
    assert mark.read()[0] == -1, "the mark stands beside it"
    for one in (ours, theirs, mark):
        one.close()


def end(n: int, diff: dict[str, bytes | None], read: tuple[str, ...] = ("items",)) -> ItemEnd:
    return (*diff,), (*diff.values(),), read, (1.0 + n, 1.5 + n, 0.25, 1000 + n, 1, 2, 3, 4), None, None


def found(theirs: Tally, place: int = 0) -> ItemsDone:
    return opened(theirs.read(), place)


def test_what_one_side_notes_the_other_one_finds(sides: tuple[Tally, Tally]) -> None:
    ours, theirs = sides
    ours.begin(7)
    diffs: list[dict[str, bytes | None]] = [{"a": b"x"}, {"a": b"y"}, {"b": None, "a": b"z"}, {}, {"a": b"w"}]
    for n, diff in enumerate(diffs):
        assert ours.reached(7) == n
        assert ours.add(n, end(n, diff, ("items",) if n < 3 else ()))
    done = found(theirs)
    assert done.attempt == 7
    assert [
        dict(zip(keys, written, strict=True)) for keys, written in zip(done.keys, done.written, strict=True)
    ] == diffs
    assert done.read == [("items",)] * 3 + [()] * 2
    assert [*FIGURES.iter_unpack(done.figures)] == [(1.0 + n, 1.5 + n, 0.25, 1000 + n, 1, 2, 3, 4) for n in range(5)]
    assert found(theirs, 3).written == [(), (b"w",)]
    assert ours.reached(8) is None


def test_what_is_noted_twice_counts_once(sides: tuple[Tally, Tally]) -> None:
    ours, theirs = sides
    ours.begin(7, 3)
    for n in (3, 3, 4, 3):
        assert ours.add(n, end(n, {"a": b"%d" % n}))
    assert found(theirs, 3).written == [(b"3",), (b"4",)]


def test_what_was_reported_is_not_there_any_more(sides: tuple[Tally, Tally]) -> None:
    ours, theirs = sides
    ours.begin(7)
    ours.add(0, end(0, {"a": b"x"}))
    ours.begin(7, 1)
    assert (ours.count, ours.reached(7), theirs.read().entries) == (0, 1, b"\xdd\0\0\0\0")
    ours.add(1, end(1, {"a": b"y"}))
    assert theirs.read().place == 1
    assert found(theirs, 1).keys == [("a",)], "nothing before it is there to go on from"


def test_what_is_interrupted_before_it_counts_leaves_no_trace(
    sides: tuple[Tally, Tally], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = sides
    ours.begin(7)
    ours.add(0, end(0, {"a": b"x"}))
    with monkeypatch.context() as patch:

        class Striking:
            def __getitem__(self, place: int, words: memoryview = ours._words) -> int:
                return int(words[place])

            def __setitem__(self, *_: object) -> None:
                raise KeyboardInterrupt

        patch.setattr(ours, "_words", Striking())
        with pytest.raises(KeyboardInterrupt):
            ours.add(1, end(1, {"b": b"y"}))
    assert ours.reached(7) == 1
    ours.add(1, end(1, {"a": b"z"}))
    assert found(theirs).keys == [("a",), ("a",)]
    assert found(theirs).written == [(b"x",), (b"z",)]


def test_there_is_room_for_so_many_and_no_more(sides: tuple[Tally, Tally]) -> None:
    ours, theirs = sides
    ours.begin(7)
    assert all(ours.add(n, end(n, {"a": b"x"})) for n in range(MOST))
    assert not ours.add(MOST, end(MOST, {"a": b"x"}))
    assert len(found(theirs).written) == MOST
    ours.begin(7, MOST)
    assert not ours.add(MOST, end(0, {"a": bytes(1 << 20)}))
    large = opened(one_tallied(7, MOST, end(0, {"a": b"x" * (1 << 20)})), MOST)
    assert [len(payload or b"") for (payload,) in large.written] == [1 << 20]


def test_what_is_stored_in_files_is_named(sides: tuple[Tally, Tally]) -> None:
    ours, theirs = sides
    stored = reference(Blob("/there", 100_000, is_structure=False))
    ours.begin(7)
    ours.add(0, end(0, {"a": b"x", "b": stored}))
    assert found(theirs).stored == [stored]


@pytest.mark.parametrize(
    ("figures", "entries"),
    [
        (b"", b"garbage"),
        (b"", b"\x91\x91\x91\xa1x"),
        (bytes(8), b"\x90"),
        (bytes(FIGURES.size), b"\x90"),
        (bytes(FIGURES.size), b"\x91\x93\x91\xc4\x01x\xc0\xc0"),
        (bytes(FIGURES.size), b"\x91\x93\x91\xc4\x00\x91\xa1a\x90"),
    ],
)
def test_what_makes_no_sense_is_refused(figures: bytes, entries: bytes) -> None:
    with pytest.raises(Garbled):
        opened(Tallied(7, 0, figures, entries), 0)


@pytest.mark.parametrize(
    "times", [(float("nan"), 1.0, 0.0), (2.0, 1.0, 0.0), (-1.0, 1.0, 0.0), (1.0, 1e300, 0.0), (1.0, 2.0, -1.0)]
)
def test_times_that_cannot_be_are_left_out(times: tuple[float, float, float]) -> None:
    figures = FIGURES.pack(*times, 5, 6, 7, 8, 9)
    done = opened(Tallied(7, 0, figures, b"\x91\x93\x90\x90\x90"), 0)
    started, ended, cpu, *rest = FIGURES.unpack(done.figures)
    assert (ended - started, cpu, rest) == (0.0, 0.0, [5, 6, 7, 8, 9])
