"""Frames survive any cut of the stream, at any size."""

from collections.abc import Sequence
from contextlib import suppress
from socket import socketpair
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloaca.wire import frames
from cloaca.wire.frames import FrameReader, decode_up, frame
from cloaca.wire.messages import Said


def read_back(texts: Sequence[str], cuts: Sequence[int]) -> list[str]:
    """Send a frame for each text, in pieces of the given sizes, and read them all."""
    ours, theirs = socketpair()
    stream = b"".join(frame(Said(0, "stdout", text)) for text in texts)

    def send() -> None:
        with ours:
            start, turn = 0, 0
            while start < len(stream):
                size = cuts[turn % len(cuts)]
                ours.sendall(stream[start : start + size])
                start, turn = start + size, turn + 1

    sender = Thread(target=send)
    sender.start()
    found: list[str] = []
    with theirs:
        reader = FrameReader(theirs, decode_up)
        with suppress(EOFError):
            while True:
                for message in reader.receive():
                    assert isinstance(message, Said)
                    found.append(message.text)
    sender.join()
    return found


@given(
    st.lists(st.integers(0, 200).map(lambda size: "x" * size), max_size=20),
    st.lists(st.integers(1, 300), min_size=1, max_size=5),
)
def test_no_cut_of_the_stream_changes_what_is_read(texts: list[str], cuts: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames, "_CAPACITY", 64)
        assert read_back(texts, cuts) == texts


@pytest.mark.parametrize("sizes", [(100_000, 200_000), (262_136, 262_137), (1, 5_000_000, 1)])
def test_frames_around_the_size_of_the_buffer_arrive(sizes: tuple[int, ...]) -> None:
    texts = ["x" * size for size in sizes * 5]
    assert read_back(texts, [1 << 20]) == texts
