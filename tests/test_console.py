"""What tasks print appears on the program's own streams, and can't break a run."""

import io
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from threading import Event

import pytest
from tests.support import environment

from cloaca.running.console import Console, ConsoleThread
from cloaca.values.codec import encode
from cloaca.wire.messages import Logged, Said


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


# ---- unfinished lines ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("1:load|1:ing |1:done\n|2:next\n", "loading done\nnext\n"),
        ("1:loading |2:a line\n|1:done\n|2:next\n", "loading \na line\ndone\nnext\n"),
        ("1:..|2:--|1:..|2:--|1:|2:", "..\n--\n..\n--\n"),
        ("1:loading |2:a line\nand more|1:done\n", "loading \na line\nand more\ndone\n"),
        ("1:loading |1:|2:next\n", "loading \nnext\n"),
        ("1:loading |2:a line\n|1:|2:next\n", "loading \na line\nnext\n"),
        ("1:\r 5%|1:\r50%|1:\r99%\n|2:next\n", "\r 5%\r50%\r99%\nnext\n"),
        ("1:\r 5%|2:a line\n|1:\r50%|1:\n", "\r 5%\na line\n\r50%\n"),
        ("1:\r 5%|2:\r10%|1:\r50%|2:\r99%", "\r 5%\r10%\r50%\r99%"),
        ("1:\r 5%|1:\r   \r|2:a line\n", "\r 5%\r   \ra line\n"),
        ("1:\r 5%\r   \r|2:a line\n", "\r 5%\r   \ra line\n"),
        ("1:5%\r|2:a line\n", "5%\r\na line\n"),
        ("1:loading |2:a line\n|1:\n|2:next\n", "loading \na line\nnext\n"),
        ("1:loading |2:a|1:\n|2: line\n", "loading \na line\n"),
        ("1:loading |2:a line\n|1:\n\nlast\n", "loading \na line\n\nlast\n"),
        ("1:\r 5%|2:a line\n|1:\n|1:\n", "\r 5%\na line\n\n"),
        ("1:5%|1:\r|1:|2:a line\n", "5%\r\na line\n"),
        ("1:top|2:\n|2:\rbelow|2:\x1b[A|1:\rtop", "top\n\rbelow\x1b[A\rtop"),
        ("1:  |2:a line\n", "  a line\n"),
    ],
)
def test_texts_of_two_tasks_never_share_a_line(said: str, expected: str) -> None:
    console = Console()
    with redirect_stdout(io.StringIO()) as out:
        for each in said.split("|"):
            writer, _, text = each.partition(":")
            console.show(Said(int(writer), "stdout", text))
    assert out.getvalue() == expected


def test_an_attempt_that_was_lost_does_not_go_on_with_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.show(Said(1, "stdout", "loading "))
    console.show(Said(1, "stderr", "\r 5%"))
    console.end(1)
    console.end(1)
    assert capsys.readouterr() == ("loading \n", "\r 5%\n")


@pytest.mark.parametrize(
    ("files", "expected"),
    [(("one", "one"), ["\r50%\na line\n\r99%\n"]), (("error", "out"), ["\r50%\r99%\n", "a line\n"])],
)
def test_lines_on_two_streams_are_kept_apart_where_both_lead_to_one_place(
    tmp_path: Path, files: tuple[str, str], expected: list[str]
) -> None:
    console = Console()
    error, out = [(tmp_path / file).open("a") for file in files]
    with redirect_stdout(out), redirect_stderr(error):
        console.show(Said(1, "stderr", "\r50%"))
        console.show(Said(2, "stdout", "a line\n"))
        console.show(Said(1, "stderr", "\r99%\n"))
    out.close()
    error.close()
    assert [file.read_bytes().decode() for file in sorted(tmp_path.iterdir())] == expected


def test_a_stream_that_was_replaced_knows_nothing_of_the_other_s_line() -> None:
    console = Console()
    with redirect_stdout(io.StringIO()) as first:
        console.show(Said(1, "stdout", "loading "))
    with redirect_stdout(io.StringIO()) as second:
        console.show(Said(2, "stdout", "a line\n"))
        console.show(Said(1, "stdout", "done\n"))
    assert (first.getvalue(), second.getvalue()) == ("loading ", "a line\ndone\n")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_a_progress_bar_wipes_out_the_one_in_whose_place_it_comes() -> None:
    console = Console()
    with redirect_stderr(Terminal()) as terminal:
        console.show(Said(1, "stderr", "\ra long one: 50%"))
        console.show(Said(2, "stderr", "\rshort: 5%"))
        console.show(Said(2, "stderr", "\rshort: 9%"))
    assert terminal.getvalue() == "\ra long one: 50%\r\x1b[K\rshort: 5%\rshort: 9%"


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """One whose handlers are seen by nobody else."""
    logger = logging.getLogger("tests of the console")
    logger.propagate = False
    yield logger
    logger.handlers.clear()


def record(logger: logging.Logger, level: int = logging.WARNING) -> Logged:
    told = {"name": logger.name, "levelno": level, "levelname": "W", "msg": "a record", "args": ()}
    return Logged(3, encode(told))


@pytest.mark.parametrize(
    ("kind", "said", "expected"),
    [
        (io.StringIO, "\r50%", "\r50%\na record\n\r99%"),
        (io.StringIO, "loading ", "loading \na record\n\r99%"),
        (io.StringIO, "done\n", "done\na record\n\r99%"),
        (Terminal, "\r50%", "\r50%\r\x1b[Ka record\n\r99%"),
        (Terminal, "loading ", "loading \na record\n\r99%"),
    ],
)
def test_what_a_handler_writes_begins_on_a_line_of_its_own(
    logger: logging.Logger, kind: type[io.StringIO], said: str, expected: str
) -> None:
    console = Console()
    with redirect_stderr(kind()) as stream:
        logger.addHandler(logging.StreamHandler(sys.stderr))
        console.show(Said(1, "stderr", said))
        console.show(record(logger))
        console.show(Said(1, "stderr", "\r99%"))
    assert stream.getvalue() == expected


def test_a_record_of_the_program_s_own_makes_way_too(monkeypatch: pytest.MonkeyPatch) -> None:
    console, cloacas = Console(), logging.getLogger("cloaca")
    monkeypatch.setattr(cloacas, "propagate", False)
    with redirect_stderr(io.StringIO()) as stream:
        monkeypatch.setattr(cloacas, "handlers", [logging.StreamHandler(sys.stderr)])
        console.show(Said(1, "stderr", "\r50%"))
        console.log(logging.ERROR, lambda: cloacas.error("a record"))
    assert stream.getvalue() == "\r50%\na record\n"


def test_a_line_stays_whole_where_no_handler_writes_beside_it(logger: logging.Logger) -> None:
    console = Console()
    with redirect_stderr(io.StringIO()) as stream, redirect_stdout(io.StringIO()):
        logger.addHandler(logging.StreamHandler(sys.stdout))
        strict = logging.StreamHandler(sys.stderr)
        strict.setLevel(logging.ERROR)
        logger.addHandler(strict)
        console.show(Said(1, "stderr", "\r50%"))
        console.show(record(logger))
        console.show(Said(1, "stderr", "\r99%"))
    assert stream.getvalue() == "\r50%\r99%"


def test_without_handlers_python_s_own_one_writes_on_a_line_of_its_own(tmp_path: Path) -> None:
    script = """
import logging
import cloaca
with cloaca.WorkflowBuilder("one") as builder:
    @cloaca.task()
    def load(context):
        print("loading ", end="", flush=True)
        logging.getLogger("sales").warning("no rows")
with cloaca.DefaultRunner(workers=1) as runner:
    runner.execute(builder)
"""
    (tmp_path / "script.py").write_text(script, encoding="utf-8")
    joined = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    assert joined.stdout == "loading \nno rows\n"


# ---- many pieces ---------------------------------------------------------------------------------------------------


class Slow(io.StringIO):
    """Takes its first text only when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.is_open = Event()
        self.texts: list[str] = []

    def write(self, text: str) -> int:
        assert self.is_open.wait(60)
        self.texts.append(text)
        return len(text)


def test_pieces_that_a_slow_stream_keeps_waiting_are_written_together() -> None:
    with redirect_stdout(Slow()) as slow, redirect_stderr(io.StringIO()) as error:
        console = ConsoleThread()
        console.show(Said(1, "stdout", "begun\n"))
        for _ in range(100):
            console.show(Said(1, "stdout", "."))
        console.show(Said(1, "stderr", "aside\n"))
        console.show(Said(1, "stdout", "."))
        console.show(Said(1, "stdout", ""))
        console.show(Said(2, "stdout", "end\n"))
        slow.is_open.set()
        console.settle()
        console.close()
    assert "".join(slow.texts) == "begun\n" + "." * 101 + "\nend\n"
    assert len(slow.texts) < 10
    assert error.getvalue() == "aside\n"
