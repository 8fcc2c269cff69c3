"""Output that nobody reads, or handlers that hang: who prints waits for it, and all others no longer than they said."""

import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from time import monotonic
from typing import Any

import cloudpickle
import pytest
from tests.support import PATIENCE, pipe

import cloaca
from cloaca import Context, DefaultRunner, TaskTimeout, WorkflowResult
from cloaca.pool.backlog import ITSELF, Backlog
from cloaca.pool.peer import LEAST_UNSHOWN, MOST_UNSHOWN
from cloaca.running import interrupts
from cloaca.running.future import Execution
from cloaca.testing.desk import Desk
from cloaca.wire.messages import Logged, Said, Started, Warned
from cloaca.worker import worker

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # as if all this stood in the user's script

LINE = "x" * 999 + "\n"
FLOOD = 20_000  # lines
IN_FLIGHT = 4 << 20  # bytes that a worker may send before it learns that it is held back


class Stuck(io.StringIO):
    """A stream that takes nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.gate = threading.Event(), threading.Event()

    def write(self, text: str) -> int:
        self.reached.set()
        self.gate.wait()
        return super().write(text)


class Hanging(logging.Handler):
    """A handler that doesn't return until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.gate = threading.Event(), threading.Event()

    def handle(self, record: logging.LogRecord) -> bool:
        self.reached.set()
        return self.gate.wait()


@contextmanager
def unread() -> Iterator[Stuck]:
    """The program's standard output is read by nobody, until the block ends."""
    stream = Stuck()
    with redirect_stdout(stream):
        try:
            yield stream
        finally:
            stream.gate.set()


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    """A handler of the program hangs, until the test ends."""
    handler, logger = Hanging(), logging.getLogger("task")
    logger.addHandler(handler)
    yield handler
    handler.gate.set()
    logger.removeHandler(handler)


def workflow(task: Callable[..., Any], **options: Any) -> cloaca.WorkflowBuilder:
    with cloaca.WorkflowBuilder("telling", check="off") as builder:
        cloaca.task(id="tell", **options)(task)
    return builder


def say(context: Context) -> None:
    print("hello")
    context.set("said", True)


def log(context: Context) -> None:
    logging.getLogger("task").warning("hello")
    context.set("said", True)


def flood(context: Context) -> None:
    for _ in range(FLOOD):
        sys.stdout.write(LINE)
    context.set("said", True)


def flood_for_ever(_: Context) -> None:
    while True:
        sys.stdout.write(LINE)


def in_time(execution: Execution) -> WorkflowResult:
    """The result, of which is only ever asked with a short time limit."""
    end = monotonic() + PATIENCE
    while monotonic() < end:
        try:
            return execution.result(timeout=0.05)
        except TimeoutError:
            pass
    raise AssertionError("no result came")


# ---- time limits, Ctrl-C and the end -------------------------------------------------------------------------------


def test_a_result_comes_in_time_although_nobody_reads_the_output() -> None:
    with DefaultRunner(workers=1) as runner, unread() as stuck:
        execution = runner.start(workflow(say))
        assert in_time(execution).final_context["said"]
        assert not stuck.getvalue()
        stuck.gate.set()
        execution.result()
        assert stuck.getvalue() == "hello\n"


def test_a_result_comes_in_time_although_a_handler_hangs(hanging: Hanging) -> None:
    with DefaultRunner(workers=1) as runner:
        assert in_time(runner.start(workflow(log))).final_context["said"]
        assert hanging.reached.wait(PATIENCE)
        hanging.gate.set()


def test_without_a_time_limit_a_result_comes_after_the_output() -> None:
    with DefaultRunner(workers=1) as runner, unread() as stuck:
        execution = runner.start(workflow(say))

        def open_it() -> None:
            stuck.reached.wait(PATIENCE)
            stuck.gate.set()

        opener = threading.Thread(target=open_it)
        opener.start()
        execution.result()
        assert stuck.getvalue() == "hello\n"
        opener.join()


def test_callbacks_are_called_in_time_although_nobody_reads_the_output() -> None:
    called: list[str] = []
    with cloaca.WorkflowBuilder("telling", check="off", on_complete=lambda result: called.append(result.status)) as b:
        cloaca.task(id="tell")(say)
    with DefaultRunner(workers=1) as runner, unread():
        in_time(runner.start(b))
        assert called == ["Completed"]


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_is_heard_although_nobody_reads_the_output(times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[None] = []

    def tell(*_: object) -> None:
        told.append(None)
        if len(told) < times:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(interrupts, "tell", tell)

    def interrupt(context: Context) -> None:
        print("hello")
        os.kill(context["program"], signal.SIGINT)
        signal.pause()

    with DefaultRunner(workers=1, grace_seconds=0.1) as runner, unread() as stuck:
        with pytest.raises(KeyboardInterrupt) as caught:
            runner.execute(workflow(interrupt), {"program": os.getpid()})
        assert not stuck.getvalue()
    assert caught.value.result.status == "Cancelled"  # type: ignore[attr-defined]


def test_a_runner_ends_although_nobody_reads_the_output() -> None:
    with unread() as stuck:
        runner = DefaultRunner(workers=1)
        in_time(runner.start(workflow(say)))
        runner.shutdown()
        assert not stuck.getvalue()


def test_what_is_being_done_is_not_told_to_an_error_stream_that_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress_full():
        while True:
            os.write(writer, bytes(4096))
    os.set_blocking(writer, True)
    with os.fdopen(reader, "rb"), os.fdopen(writer, "w") as full:
        monkeypatch.setattr(sys, "stderr", full)
        interrupts.tell(KeyboardInterrupt(), "work")
        os.read(reader, 1 << 16)


@contextmanager
def suppress_full() -> Iterator[None]:
    with pytest.raises(BlockingIOError):
        yield


def test_a_handler_may_wait_for_an_execution_of_the_runner_whose_record_it_handles() -> None:
    statuses: list[str] = []

    class Executing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage() == "hello":
                statuses.append(runner.execute(workflow(say)).status)

    handler, logger = Executing(), logging.getLogger("task")
    logger.addHandler(handler)
    try:
        with DefaultRunner(workers=1) as runner:
            runner.execute(workflow(log))
    finally:
        logger.removeHandler(handler)
    assert statuses == ["Completed"]


# ---- a flood ---------------------------------------------------------------------------------------------------


def told_by(desk: Desk) -> int:
    return sum(len(event.text) for event in desk.events if isinstance(event, Said))


def test_who_floods_waits_until_it_is_shown_and_nobody_else_does(desk_of: Callable[..., Desk]) -> None:
    desk = desk_of(2, flood, lambda _: print("a word"))
    (flooding,) = desk.submit([0])
    held = desk.executor._peers  # type: ignore[attr-defined]
    while not any(peer.is_held for peer in held):
        desk.step()
    others = desk.submit([1] * 5)
    while not desk.ends.keys() >= set(others):
        desk.step()
    assert flooding not in desk.ends
    assert told_by(desk) < MOST_UNSHOWN + IN_FLIGHT < FLOOD * len(LINE)
    shown = 0
    while flooding not in desk.ends:
        count = sum(isinstance(event, Said | Logged | Warned) for event in desk.events)
        desk.executor.shown(count - shown)
        shown = count
        desk.step()
    assert told_by(desk) == FLOOD * len(LINE) + 5 * len("a word\n")


@pytest.mark.parametrize("kind", ["records", "warnings"])
def test_records_and_warnings_wait_too(kind: str, desk_of: Callable[..., Desk]) -> None:
    def flood_of_records(_: Context) -> None:
        logging.getLogger("task").propagate = True
        for _n in range(FLOOD):
            logging.getLogger("task").warning(LINE)

    def flood_of_warnings(_: Context) -> None:
        import warnings

        warnings.simplefilter("always")

        for n in range(FLOOD):
            warnings.warn(f"{n} {LINE}", stacklevel=1)

    desk = desk_of(1, flood_of_records if kind == "records" else flood_of_warnings)
    (flooding,) = desk.submit([0])
    while not any(peer.is_held for peer in desk.executor._peers):  # type: ignore[attr-defined]
        desk.step()
    assert flooding not in desk.ends


def test_one_print_of_much_waits_in_between(desk_of: Callable[..., Desk]) -> None:
    desk = desk_of(1, lambda _: print(LINE * FLOOD))
    (flooding,) = desk.submit([0])
    while not any(peer.is_held for peer in desk.executor._peers):  # type: ignore[attr-defined]
        desk.step()
    assert flooding not in desk.ends
    assert told_by(desk) < MOST_UNSHOWN + IN_FLIGHT


def test_a_time_limit_holds_for_a_task_that_waits_for_its_output() -> None:
    with DefaultRunner(workers=1, grace_seconds=0.1) as runner, unread():
        result = in_time(runner.start(workflow(flood_for_ever, timeout=1.0)))
        assert isinstance(result.tasks["tell"].error, TaskTimeout)


def test_a_task_that_is_told_to_end_does_not_wait_to_say_what_it_does(
    desk_of: Callable[..., Desk], tmp_path: Path
) -> None:
    ended = pipe(tmp_path / "ended")

    def clean_up(_: Context) -> None:
        try:
            flood_for_ever(_)
        finally:
            print("cleaning up")
            ended.write_text("cleaned up")

    desk = desk_of(1, clean_up)
    (flooding,) = desk.submit([0])
    desk.until(Started)
    while not any(peer.is_held for peer in desk.executor._peers):  # type: ignore[attr-defined]
        desk.step()
    reader = threading.Thread(target=ended.read_text)
    reader.start()
    desk.executor.cancel([flooding], PATIENCE)
    desk.collect()
    reader.join(PATIENCE)
    assert not reader.is_alive()


# ---- the parts -----------------------------------------------------------------------------------------------------


class Worker:
    """Stands for a peer: notes what it is told."""

    def __init__(self) -> None:
        self.unshown = 0

    def tells(self, size: int) -> None:
        self.unshown += size


def test_what_is_shown_counts_for_whoever_told_it() -> None:
    backlog, one, other = Backlog(), Worker(), Worker()
    backlog.add(Said(0, "stdout", "12345"), one)  # type: ignore[arg-type]
    backlog.add(Logged(-1, b"of the pool itself"))
    backlog.add(Logged(0, b"123"), other)  # type: ignore[arg-type]
    backlog.add(Warned(0, None, "W", "12", "f.py", 1, "m"), one)  # type: ignore[arg-type]
    assert (one.unshown, other.unshown) == (2 * ITSELF + 7, ITSELF + 3)
    backlog.shown(2)
    assert (one.unshown, other.unshown) == (ITSELF + 2, ITSELF + 3)
    backlog.shown(2)
    assert (one.unshown, other.unshown) == (0, 0)
    assert LEAST_UNSHOWN < MOST_UNSHOWN


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a line\n",
        "unfinished",
        LINE * 500,
        LINE * 500 + "unfinished",
        "x" * 100_000 + "\n" + LINE * 100,
        "y" * (3 << 20),
        "y" * (3 << 20) + "\n" + LINE,
        "y" * (1 << 20),
        "\n" * 200_000,
    ],
)
def test_pieces_are_the_text_in_whole_lines_where_these_are_not_too_long(text: str) -> None:
    pieces = list(worker._pieces(text))
    assert "".join(pieces) == text
    assert all(pieces) or pieces == [""], "no text is the end of a line"
    assert all(len(piece) <= worker.LONGEST_PIECE for piece in pieces)
    assert all(piece.endswith("\n") for piece in pieces[:-1] if len(piece) < worker.LONGEST_PIECE)
