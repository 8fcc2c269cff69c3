"""What tasks print appears on the program's own streams, and can't break a run."""

import io
import os
import sys
from contextlib import redirect_stderr, redirect_stdout

import pytest

from cloaca.running.console import Console
from cloaca.wire.messages import Said


def test_text_goes_to_the_streams_of_the_moment(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.show(Said(0, "stdout", "one\n"))
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as error:
        console.show(Said(0, "stdout", "two\n"))
        console.show(Said(0, "stderr", "three\n"))
    console.show(Said(0, "stderr", "four\n"))
    assert (out.getvalue(), error.getvalue()) == ("two\n", "three\n")
    assert capsys.readouterr() == ("one\n", "four\n")


def test_text_is_flushed() -> None:
    raw = io.BytesIO()
    with redirect_stdout(io.TextIOWrapper(raw, "utf-8", write_through=False)):
        Console().show(Said(0, "stdout", "größe\n"))
        assert raw.getvalue().decode() == "größe\n"


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_program_without_streams(stream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, stream, None)
    Console().show(Said(0, stream, "text\n"))


class Stream(io.StringIO):
    """Raises on the first write."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error: Exception | None = error

    def write(self, text: str) -> int:
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        return super().write(text)


@pytest.mark.parametrize("error", [OSError("gone"), ValueError("closed"), RuntimeError("a notebook's own")])
def test_a_stream_that_raises_is_given_up_and_no_other(error: Exception) -> None:
    console = Console()
    with redirect_stdout(Stream(error)) as broken:
        console.show(Said(0, "stdout", "one\n"))
        console.show(Said(0, "stdout", "two\n"))
    with redirect_stdout(io.StringIO()) as fresh:
        console.show(Said(0, "stdout", "three\n"))
    assert (broken.getvalue(), fresh.getvalue()) == ("", "three\n")


def test_a_pipe_that_nobody_reads() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    console = Console()
    with redirect_stdout(os.fdopen(writing, "w")) as pipe:
        console.show(Said(0, "stdout", "one\n"))
        console.show(Said(0, "stdout", "two\n"))
    with pytest.raises(BrokenPipeError):
        pipe.close()


def test_streams_that_come_after_a_broken_one_in_its_place() -> None:
    """Identities are reused: a stream mustn't be taken for one that is gone."""
    console = Console()
    for _ in range(100):
        with redirect_stdout(Stream(OSError())):
            console.show(Said(0, "stdout", "lost\n"))
        with redirect_stdout(io.StringIO()) as fresh:
            console.show(Said(0, "stdout", "text\n"))
        assert fresh.getvalue() == "text\n"
        del fresh


@pytest.mark.parametrize(("encoding", "expected"), [("ascii", b"gr\\xf6\\u20ac\n"), ("latin-1", b"gr\xf6\\u20ac\n")])
def test_characters_that_the_stream_lacks_are_escaped(encoding: str, expected: bytes) -> None:
    raw = io.BytesIO()
    console = Console()
    with redirect_stdout(io.TextIOWrapper(raw, encoding)):
        console.show(Said(0, "stdout", "grö€\n"))
        console.show(Said(0, "stdout", "plain\n"))
        assert raw.getvalue() == expected + b"plain\n"
