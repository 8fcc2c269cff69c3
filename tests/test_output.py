"""What a task prints goes out in whole lines, and where it asks for it or is slow, as far as a line has come."""

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from time import monotonic, sleep

import pytest

import cloaca
from cloaca import DefaultRunner
from cloaca.worker import output
from cloaca.worker.output import Output


@contextmanager
def printing() -> Iterator[tuple[list[str], Output]]:
    """What is passed on of `sys.stdout`; "|" ends a line."""
    passed: list[str] = []
    streams = sys.stdout, sys.stderr
    try:
        yield passed, Output(lambda _, text: passed.append(text or "|"))
    finally:
        sys.stdout, sys.stderr = streams


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(output, "monotonic", lambda: now[0])
    return now


@pytest.mark.usefixtures("clock")
def test_whole_lines_go_out_at_once_and_no_beginnings() -> None:
    with printing() as (passed, streams):
        print("one", "two")
        print("three", end=" ")
        print("four\nfive", end="")
        assert passed == ["one two\n", "three four\n"]
        streams.renew()
        assert passed == ["one two\n", "three four\n", "five", "|"]
        streams.renew()
        assert passed[4:] == []


@pytest.mark.usefixtures("clock")
def test_the_beginning_of_a_line_goes_out_when_it_is_flushed() -> None:
    with printing() as (passed, streams):
        print("loading", end=" ... ", flush=True)
        sys.stdout.flush()
        print("done")
        print("again", end="", flush=True)
        streams.renew()
        assert passed == ["loading ... ", "done\n", "again", "|"]


@pytest.mark.usefixtures("clock")
def test_the_beginning_of_a_line_goes_out_with_a_carriage_return() -> None:
    with printing() as (passed, _):
        sys.stdout.write("\r1/6")
        sys.stdout.write("2/6\r")
        sys.stdout.write("3/6\r\n")
        assert passed == ["\r1/6", "2/6\r", "3/6\r\n"]


def test_the_beginning_of_a_line_goes_out_where_its_rest_is_slow_to_come(clock: list[float]) -> None:
    with printing() as (passed, _):
        for _ in range(3):
            sys.stdout.write(".")
            clock[0] += 0.3
        sys.stdout.write("-")
        sys.stdout.write("-")
        sys.stdout.write("\n")
        print("quick")
        assert passed == ["..", ".", "-", "-\n", "quick\n"]


@pytest.mark.usefixtures("clock")
def test_characters_are_never_torn() -> None:
    with printing() as (passed, streams):
        euro = "€".encode()
        sys.stdout.buffer.write(b"5 " + euro[:1])
        sys.stdout.buffer.flush()
        sys.stdout.buffer.write(euro[1:] + b"!")
        sys.stdout.buffer.flush()
        sys.stdout.buffer.write(euro[:2])
        streams.renew()
        assert passed == ["5 ", "€!", "\\xe2\\x82", "|"]


@pytest.mark.usefixtures("clock")
def test_a_stream_that_a_task_closes_ends_its_line() -> None:
    with printing() as (passed, streams):
        print("begun", end="")
        sys.stdout.close()
        streams.renew()
        print("new")
        assert passed == ["begun", "|", "new\n"]


# ---- while a task runs ---------------------------------------------------------------------------------------------


class Seen(io.StringIO):
    """Makes a file as soon as a text has been written."""

    def __init__(self, text: str, file: Path) -> None:
        super().__init__()
        self._text = text
        self._file = file

    def write(self, text: str) -> int:
        written = super().write(text)
        if self._text in self.getvalue():
            self._file.touch()
        return written


def wait_for(file: str) -> None:
    until = monotonic() + 60
    while not Path(file).exists():
        assert monotonic() < until, "what was printed hasn't been shown"
        sleep(0.01)


def flushed(file: str) -> None:
    print(".", end="", flush=True)
    wait_for(file)
    print(".", end="", flush=True)


def returning(file: str) -> None:
    sys.stdout.write("\r1/2.")
    wait_for(file)
    sys.stdout.write("\r2/2\n")


def on_standard_error(file: str) -> None:
    print(".", end="", flush=True, file=sys.stderr)
    wait_for(file)


def slow(file: str) -> None:
    sys.stdout.write(".")
    sleep(output._SLOW)
    sys.stdout.write(".")
    wait_for(file)


@pytest.mark.parametrize(
    ("print_some", "expected"),
    [
        (flushed, ("..\n", "")),
        (returning, ("\r1/2.\r2/2\n", "")),
        (on_standard_error, ("", ".\n")),
        (slow, ("..\n", "")),
    ],
)
def test_unfinished_lines_are_shown_while_the_task_runs(
    print_some: Callable[[str], None], expected: tuple[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "seen"

    def task(context):
        print_some(str(file))

    with cloaca.WorkflowBuilder("live"):
        cloaca.task()(task)
    with redirect_stdout(Seen(".", file)) as out, redirect_stderr(Seen(".", file)) as error:
        DefaultRunner(workers=1, executor="processes").execute("live").raise_for_status()
    assert (out.getvalue(), error.getvalue()) == expected


def test_a_task_that_dies_leaves_no_line_unfinished(capsys: pytest.CaptureFixture[str]) -> None:
    def task(context):
        print("loading ... ", end="", flush=True)
        os._exit(1)

    with cloaca.WorkflowBuilder("dying"):
        cloaca.task()(task)
    DefaultRunner(workers=1, executor="processes").execute("dying")
    assert capsys.readouterr().out == "loading ... \n"


def test_dots_of_two_tasks_are_neither_lost_nor_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with cloaca.WorkflowBuilder("dots"):
        for mark in ".-":

            @cloaca.task(id=f"task {mark}")
            def task(context, mark=mark):
                for _ in range(500):
                    print(mark, end="", flush=True)

    DefaultRunner(workers=2, executor="processes").execute("dots").raise_for_status()
    out = capsys.readouterr().out
    assert (out.count("."), out.count("-")) == (500, 500)
    assert {frozenset(line) for line in out.splitlines()} == {frozenset("."), frozenset("-")}
