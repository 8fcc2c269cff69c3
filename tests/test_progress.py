"""How far an execution is: what is told of it, and what is shown where. In models, `invariants` counts."""

import fcntl
import logging
import os
import pty
import select
import signal
import struct
import sys
import termios
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from io import StringIO
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from time import monotonic
from types import SimpleNamespace
from typing import Any, TextIO

import psutil
import pyte
import pytest
from msgspec.structs import replace
from tests.support import PATIENCE, environment, run

import cloaca
from cloaca import Context
from cloaca.engine.fan import Each, Fan
from cloaca.engine.ledger import Ledger
from cloaca.engine.state import State
from cloaca.errors import StoreError
from cloaca.history.plan import plan
from cloaca.progress.above import Above
from cloaca.progress.board import Board
from cloaca.progress.hold import Hold
from cloaca.progress.left import TimeLeft
from cloaca.progress.progress import Busy, Mapped, Progress
from cloaca.progress.results import Counted
from cloaca.progress.terminal import Terminal
from cloaca.recorded import took_before
from cloaca.store.memory import MemoryStore
from cloaca.store.took import Took
from cloaca.wire.messages import ItemsFound

PROGRESS = Progress("sales", "Running", 10, 3, 1, 0, 0, 2, 0, 5.0, None)


# ---- as a value ----------------------------------------------------------------------------------------------------


def test_an_execution_tells_how_far_it_is(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)

    with cloaca.WorkflowBuilder("sales") as builder:

        @cloaca.task(for_each="rows")
        def first(context: Context, row: int) -> None:
            context["first"] = row

        @cloaca.task(dependencies=[first])
        def held(context: Context) -> None:
            with open(gate, encoding="utf-8") as file:
                file.read()

        @cloaca.task(dependencies=[held])
        def last(context: Context) -> None:
            context["last"] = 1

    started = Event()

    with cloaca.DefaultRunner(workers=1) as runner:
        execution = runner.start(builder, {"rows": [1, 2, 3]})
        with open(gate, "w", encoding="utf-8"):  # which waits for the task
            started.set()
            told = _until(execution, _holds_with_three_done)
        assert (told.status, told.total, told.completed, told.fraction) == ("Running", 5, 3, 0.6)
        (busy,) = told.busy
        assert (busy.worker > 0, busy.task) == (True, "held")
        assert busy.seconds <= told.seconds
        result = execution.result()
    told = execution.progress()
    assert (told.status, told.total, told.done, told.fraction, told.left) == ("Completed", 5, 5, 1.0, None)
    assert (told.seconds, told.busy, told.running) == (result.duration, (), 0)


def _holds_with_three_done(progress: Progress) -> bool:
    return (progress.running, progress.done, progress.mapped) == (1, 3, ())


def _until(execution: cloaca.Execution, holds: Callable[[Progress], bool]) -> Progress:
    """Ask until that is so."""
    while not holds(progress := execution.progress()):
        assert progress.seconds < PATIENCE
    return progress


def test_what_failed_was_skipped_and_tried_again_is_counted() -> None:
    tries: list[int] = []

    with cloaca.WorkflowBuilder("odd") as builder:

        @cloaca.task(retry_attempts=2)
        def twice(context: Context) -> None:
            tries.append(1)
            if len(tries) == 1:
                raise ValueError("once")

        @cloaca.task(dependencies=[twice])
        def bad(context: Context) -> None:
            raise ValueError("always")

        cloaca.task(id="behind", dependencies=[bad])(lambda context: None)

    with cloaca.DefaultRunner(executor="serial") as runner:
        execution = runner.start(builder)
    told = execution.progress()
    assert (told.total, told.done, told.completed, told.failed, told.skipped, told.retried) == (3, 3, 1, 1, 1, 1)


def left(
    tasks: dict[str, list[str]],
    durations: list[float],
    so_far: dict[int, list[float]],
    workers: int = 4,
    ended: Iterable[int] = (),
) -> float | None:
    """What is left of such a workflow; all by rank."""
    planned = plan("demo", [*tasks.items()])
    ledger = Ledger(planned, ())
    for rank in ended:
        ledger.states[rank] = State.COMPLETED
    return TimeLeft(planned, durations, {}, workers).of(ledger, bytes(ledger.states), so_far)


def test_the_time_left_gets_shorter_while_a_task_runs_and_other_workers_do_not_shorten_it() -> None:
    assert left({"long": []}, [8.0], {}) == 8.0
    assert left({"long": []}, [8.0], {0: [3.0]}) == 5.0
    assert left({"long": []}, [8.0], {0: [9.0]}) == 0.0, "it takes longer than it did"


def test_what_comes_after_each_other_is_not_shared_by_workers() -> None:
    chain = {"a": [], "b": ["a"], "c": ["b"]}
    assert left(chain, [1.0, 2.0, 3.0], {}) == 6.0
    assert left(chain, [1.0, 2.0, 3.0], {1: [0.5]}, ended=[0]) == 4.5
    assert left(chain, [1.0, 2.0, 3.0], {}, ended=[0, 1, 2]) == 0.0


def test_what_stands_side_by_side_is_shared_by_workers() -> None:
    wide: dict[str, list[str]] = {f"t{number}": [] for number in range(8)}
    assert left(wide, [1.0] * 8, {}) == 2.0
    assert left(wide, [1.0] * 8, {}, workers=1) == 8.0


def test_a_task_of_unknown_time_takes_as_long_as_others_did_and_none_is_told_where_nothing_is_known() -> None:
    two: dict[str, list[str]] = {"a": [], "b": ["a"]}
    assert left(two, [0.0, 0.0], {}) is None
    assert left(two, [2.0, 0.0], {}, ended=[0]) == 2.0


def test_what_has_ended_since_the_first_look_tells_how_long_tasks_take_of_which_nothing_is_known() -> None:
    planned, durations = plan("demo", [(f"t{number}", []) for number in range(4)]), [0.001, 0.0, 0.0, 0.0]
    ledger = Ledger(planned, ())
    ledger.states[0] = State.COMPLETED
    time_left = TimeLeft(planned, durations, {}, 1)
    assert time_left.of(ledger, bytes(ledger.states), {}) == pytest.approx(0.003)
    ledger.states[1], durations[1] = State.COMPLETED, 5.999
    assert time_left.of(ledger, bytes(ledger.states), {}) == pytest.approx(6.0)


def test_the_instances_of_a_mapped_task_are_shared_by_workers_and_its_followers_come_after() -> None:
    planned = plan("demo", [("map", []), ("total", ["map"])])
    ledger = Ledger(planned, ())
    time_left = TimeLeft(planned, [1.0, 3.0], {}, 4)
    assert time_left.of(ledger, bytes(ledger.states[:2]), {}) == 1.0 + 3.0, "it may be one"
    fan = Fan("map", 0, 2, Each("rows", 1), ItemsFound([b""] * 8))
    ledger.add(fan, State.READY)
    assert time_left.of(ledger, bytes(ledger.states[:2]), {}) == 2.0 + 3.0
    assert time_left.of(ledger, bytes(ledger.states[:2]), {0: [1.0, 1.0, 1.0, 1.0]}) == 1.0 + 3.0


def test_how_many_instances_there_were_tells_what_is_left_before_they_are_there() -> None:
    planned, sizes = plan("demo", [("load", []), ("map", ["load"])]), dict[int, int]()
    ledger = Ledger(planned, ())
    assert TimeLeft(planned, [1.0, 2.0], sizes, 4).of(ledger, bytes(ledger.states), {}) == 1.0 + 2.0
    ledger.add(Fan("map", 1, 2, Each("rows", 1), ItemsFound([b""] * 8)), State.READY)
    TimeLeft(planned, [1.0, 2.0], sizes, 4).end(ledger)
    assert sizes == {1: 8}
    ledger = Ledger(planned, ())
    assert TimeLeft(planned, [1.0, 2.0], sizes, 4).of(ledger, bytes(ledger.states), {}) == 1.0 + 2 * 2.0


def test_what_is_on_record_tells_what_the_runner_does_not_know() -> None:
    planned = plan("demo", [("load", []), ("map", ["load"]), ("new", ["map"])])
    ledger, asked = Ledger(planned, ()), list[int]()

    def recorded() -> dict[str, tuple[float, int]]:
        asked.append(1)
        return {"load": (9.0, 1), "map": (2.0, 8), "gone": (5.0, 1)}

    for durations, expected in [([1.0, 0.0, 0.0], 1.0 + 4.0 + 1.5), ([1.0, 1.0, 1.0], 1.0 + 1.0 + 1.0)]:
        time_left = TimeLeft(planned, durations, {}, 4, recorded)
        for _ in range(2):
            assert time_left.of(ledger, bytes(ledger.states), {}) == expected
    assert asked == [1]


def test_an_execution_tells_what_is_left_by_what_its_tasks_took_before(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with cloaca.WorkflowBuilder("two") as builder:
        cloaca.task(id="a")(lambda context: None)
        cloaca.task(id="b", dependencies=["a"])(lambda context: Path(context["gate"]).read_text())
    with cloaca.DefaultRunner(workers=1) as runner:
        first = runner.start(builder, {"gate": os.devnull})
        first.result()
        second = runner.start(builder, {"gate": str(gate)})
        assert second.progress().left is not None
        gate.write_text("go")
        second.result()
    assert second.progress().left is None


def test_what_is_taken_over_is_counted_apart_and_adds_nothing_to_the_rate(tmp_path: Path) -> None:
    with cloaca.WorkflowBuilder("sales") as builder:
        cloaca.task(id="load")(lambda context: None)

        @cloaca.task(dependencies=["load"], for_each="rows")
        def clean(context: Context, row: int) -> None:
            context["cleaned"] = row

        cloaca.task(id="last", dependencies=[clean])(lambda context: None)

    given = {"rows": [1, 2, 3]}
    with cloaca.DefaultRunner(f"sqlite:///{tmp_path}/runs.db", workers=1) as runner:
        runner.execute(builder, given, targets=["clean"])
        again = runner.start(builder, given, reuse=True)
        again.result()
        told = again.progress()
        assert (told.total, told.completed, told.reused, told.fraction) == (5, 5, 4, 1.0)
        assert told.rate == 1 / told.seconds
        whole = runner.start(builder, given, reuse=True)
        whole.result()
    assert (whole.progress().reused, whole.progress().rate) == (5, 0.0)


@pytest.mark.parametrize("is_recorded", [True, False])
def test_what_is_on_record_tells_a_new_runner_what_is_left(tmp_path: Path, *, is_recorded: bool) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with cloaca.WorkflowBuilder("two") as builder:
        cloaca.task(id="a")(lambda context: context.set("read", Path(context["gate"]).read_text()))
        cloaca.task(id="b", dependencies=["a"])(lambda context: None)
    url = f"sqlite:///{tmp_path}/runs.db" if is_recorded else None
    with cloaca.DefaultRunner(url, workers=1) as runner:
        runner.execute(builder, {"gate": os.devnull})
    with cloaca.DefaultRunner(url, workers=1) as runner:
        second = runner.start(builder, {"gate": str(gate)})
        assert (second.progress().left is not None) is is_recorded
        gate.write_text("go")
        second.result()


def test_a_store_that_can_not_be_read_tells_nothing_of_what_is_left(tmp_path: Path) -> None:
    class Broken(MemoryStore):
        def took(self, workflow: str) -> dict[str, Took]:
            raise StoreError(f"nothing is told of {workflow}", path=str(tmp_path))

    with closing(Broken()) as store:
        assert took_before(store, "sales") == {}


# ---- on a board ----------------------------------------------------------------------------------------------------


class Slate:
    """A screen that takes note of what it is to show."""

    interval = 0.01

    def __init__(self, error: Exception | None = None) -> None:
        self.shown: SimpleQueue[list[Progress]] = SimpleQueue()
        self.left: list[Progress] = []
        self.closed = 0
        self._error = error

    def show(self, under_way: list[Progress]) -> None:
        if self._error is not None:
            raise self._error
        self.shown.put(under_way)

    def leave(self, progress: Progress) -> None:
        self.left.append(progress)

    def close(self) -> None:
        self.closed += 1


def changing(status: str, progress: Progress = PROGRESS) -> Progress:
    return Progress(progress.name, status, 10, 10, 0, 0, 0, 0, 0, 6.0, None)


def test_what_has_ended_is_shown_when_its_end_is_settled_and_the_thread_is_gone() -> None:
    slate, now = Slate(), [PROGRESS]
    board = Board(lambda: slate)
    place = board.show(lambda: now[0])
    assert slate.shown.get(timeout=PATIENCE) == [PROGRESS]
    now[0] = changing("Completed")
    place.settle()
    assert slate.left == [now[0]]
    assert slate.closed
    assert not board._thread or not board._thread.is_alive()


class Pauses(Event):
    """Takes note of how long it is waited for, and lets nobody wait."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.seconds.append(timeout)
        return True


def test_a_look_that_takes_long_makes_the_next_come_later_but_the_first_one_loads_what_draws(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    costs = iter([0.5, 0.0, 0.02, 0.0])  # seconds of a core: of each look
    clock, slate, looks = [0.0], Slate(), iter(["Running", "Running", "Running", "Completed"])
    monkeypatch.setattr("cloaca.progress.board.thread_time", lambda: clock[0])

    def look() -> Progress:
        clock[0] += next(costs)
        return changing(next(looks))

    board, pauses = Board(lambda: slate), Pauses()
    board._news = pauses
    assert board.show(look).is_over.wait(PATIENCE)
    board._join()
    assert pauses.seconds == [slate.interval, slate.interval, pytest.approx(5.0)]


def test_all_that_is_under_way_stands_on_one_screen() -> None:
    screens: list[Slate] = []

    def made() -> Slate:
        screens.append(Slate())
        return screens[-1]

    board = Board(made)
    now = {name: Progress(name, "Running", 1, 0, 0, 0, 0, 0, 0, 0.0, None) for name in "ab"}
    places = {name: board.show(lambda name=name: now[name]) for name in "ab"}  # type: ignore[misc]
    while not screens or len(screens[0].shown.get(timeout=PATIENCE)) < 2:
        pass
    now["a"] = changing("Failed", now["a"])
    places["a"].settle()
    assert [one.name for one in screens[0].left] == ["a"]
    now["b"] = changing("Completed", now["b"])
    places["b"].settle()
    assert [one.name for one in screens[0].left] == ["a", "b"]
    again = board.show(lambda: changing("Completed"))
    again.settle()
    assert [len(screen.left) for screen in screens] == [2, 1]


def test_what_never_began_is_shown_no_more() -> None:
    slate = Slate()
    board = Board(lambda: slate)
    place = board.show(lambda: PROGRESS)
    slate.shown.get(timeout=PATIENCE)
    place.drop()
    assert slate.left == []
    assert slate.closed


def test_a_display_that_fails_is_given_up_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    board = Board(lambda: Slate(OSError("no terminal")))
    with caplog.at_level(logging.WARNING, "cloaca"):
        board.show(lambda: PROGRESS).settle()
        board.show(lambda: PROGRESS).settle()
    assert [record.getMessage() for record in caplog.records] == ["Progress isn't shown any more: OSError: no terminal"]


def test_an_execution_goes_on_without_its_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloaca.progress.board._boards", {os.getpid(): Board(lambda: Slate(OSError("gone")))})
    with cloaca.WorkflowBuilder("one") as builder:
        cloaca.task(id="one")(lambda context: context.set("one", 1))
    with cloaca.DefaultRunner(workers=1) as runner:
        assert runner.execute(builder, progress=True).final_context["one"] == 1


def test_a_display_wakes_no_worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    slate, gate = Slate(), str(tmp_path / "gate")
    os.mkfifo(gate)
    monkeypatch.setattr("cloaca.progress.board._boards", {os.getpid(): Board(lambda: slate)})
    with cloaca.WorkflowBuilder("held") as builder:
        cloaca.task(id="held")(lambda context: context.set("read", Path(gate).read_text(encoding="utf-8")))

    def woken() -> int:
        """How often others have been, when there have been some more looks."""
        for _ in range(20):
            slate.shown.get(timeout=PATIENCE)
        children = psutil.Process().children(recursive=True)
        return sum(child.num_ctx_switches().voluntary for child in children)

    with cloaca.DefaultRunner(workers=1) as runner:
        execution = runner.start(builder, progress=True)
        with open(gate, "w", encoding="utf-8"):  # which waits for the task
            until = monotonic() + PATIENCE
            while woken() != woken():
                assert monotonic() < until, "they are, all the time"
        execution.result()


def test_an_execution_that_cannot_begin_leaves_no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(Slate)
    monkeypatch.setattr("cloaca.progress.board._boards", {os.getpid(): board})
    with cloaca.WorkflowBuilder("one") as builder:
        cloaca.task(id="one")(lambda context: None)
    runner = cloaca.DefaultRunner(workers=1)
    runner.shutdown()
    with pytest.raises(cloaca.RunnerClosedError):
        runner.execute(builder, progress=True)
    assert board._shown == []


# ---- calls of map --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", ["processes", "serial"])
def test_the_results_of_map_are_counted(monkeypatch: pytest.MonkeyPatch, executor: Any) -> None:
    slate = Slate()
    monkeypatch.setattr("cloaca.progress.board._boards", {os.getpid(): Board(lambda: slate)})
    with cloaca.DefaultRunner(workers=1, executor=executor, progress=True) as runner:
        assert [*runner.map(abs, range(5))] == [*range(5)]
        assert [*runner.map(abs, iter(range(5)))] == [*range(5)]
        with pytest.raises(ZeroDivisionError):
            [*runner.map(lambda item: 1 // item, [1, 0, 1])]
        assert [*runner.map(abs, range(5), progress=False)] == [*range(5)]
    told = [(one.name, one.status, one.done, one.total) for one in slate.left]
    assert told == [("abs", "Completed", 5, 5), ("abs", "Completed", 5, 5), ("<lambda>", "Failed", 1, 3)]


@pytest.mark.parametrize("executor", ["processes", "threads", "serial"])
def test_items_of_map_that_fail_or_are_tried_again_are_counted(monkeypatch: pytest.MonkeyPatch, executor: Any) -> None:
    slate = Slate()
    monkeypatch.setattr("cloaca.progress.board._boards", {os.getpid(): Board(lambda: slate)})

    def odd(item: Any) -> Any:
        return 1.0 / (item % 3)

    with cloaca.DefaultRunner(workers=1, executor=executor, progress=True) as runner:
        results = [*runner.map(odd, range(8), on_error="return", retry_attempts=2)]
        results += runner.map(odd, ["no number", 1], on_error="return")
        with pytest.raises(ZeroDivisionError):
            [*runner.map(odd, [1, 2, 3], retry_attempts=2)]
    assert [isinstance(result, ZeroDivisionError) for result in results[:8]] == [number % 3 == 0 for number in range(8)]
    told = [(one.status, one.total, one.completed, one.failed, one.retried, one.fraction) for one in slate.left]
    assert told[:2] == [("Completed", 8, 5, 3, 3, 1.0), ("Completed", 2, 1, 1, 0, 1.0)]
    assert told[2] == ("Failed", 3, 2, 0, 1, 2 / 3)


def test_what_has_come_behind_a_long_item_of_map_counts_and_the_long_one_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    slate, gate = Slate(), str(tmp_path / "gate")
    os.mkfifo(gate)
    monkeypatch.setattr("cloaca.progress.board._boards", {os.getpid(): Board(lambda: slate)})

    def first_waits(item: int) -> None:
        if item == 0:
            Path(gate).read_text(encoding="utf-8")

    with cloaca.DefaultRunner(workers=2, progress=True) as runner, ThreadPoolExecutor(1) as pool:
        results = pool.submit(lambda: [*runner.map(first_waits, range(4), chunksize=1)])
        told = PROGRESS
        while (told.name, told.done, told.running) != ("first_waits", 3, 1):
            (told,) = slate.shown.get(timeout=PATIENCE)
        assert [(one.worker > 0, one.task) for one in told.busy] == [(True, "item 0")]
        Path(gate).write_text("go", encoding="utf-8")
        results.result()
    assert [(one.done, one.running, one.busy) for one in slate.left] == [(4, 0, ())]


def test_results_that_nobody_takes_any_more_are_cancelled() -> None:
    slate = Slate()
    board = Board(lambda: slate)
    counted = Counted("f", 3, board.show)

    def lists() -> Iterator[list[int]]:
        yield [1, 2]
        yield [3]

    with closing(counted.through(lists())) as results:  # type: ignore[arg-type]
        assert next(results) == [1, 2]
        assert (counted.progress().done, counted.progress().total, counted.progress().status) == (2, 3, "Running")
    assert counted.progress().status == "Cancelled"
    board.close()


# ---- what is printed meanwhile -------------------------------------------------------------------------------------


def test_lines_stand_above_and_what_is_unfinished_is_kept() -> None:
    lines: list[str] = []
    stream = StringIO()
    above = Above(stream, lines.append)
    above.write("one\ntw")
    above.write("o\n\r  0%|    |")
    assert (lines, above.rest) == (["one", "two"], "  0%|    |")
    above.write("\r 50%|##  |")
    above.write("\r\x1b[K\rother 10%|")
    assert above.rest == "other 10%|"
    above.write("\rother 100%|\nand")
    assert (lines[2:], above.rest) == (["other 100%|"], "and")
    above.write("\r")
    assert above.rest == "and\r"
    assert above.give_up() is stream
    above.write(" more")
    assert (stream.getvalue(), above.rest) == ("and\r more", "")
    assert above.encoding == stream.encoding


# ---- in earnest ----------------------------------------------------------------------------------------------------

SCRIPT = """
import logging, sys, time
import cloaca

if "log" in sys.argv:
    logging.basicConfig(level="INFO", format="a record of %(levelname)s")
    for name in ("cloaca", "tasks"):
        logging.getLogger(name).setLevel("INFO")

with cloaca.WorkflowBuilder("sales") as builder:

    @cloaca.task()
    def load(context):
        print("loading", flush=True)
        context["rows"] = [*range(4)]

    @cloaca.task(dependencies=[load], for_each="rows")
    def clean(context, row):
        for part in range(3):
            sys.stderr.write(f"\\rbar {row}: {part}")
        sys.stderr.write("\\n")
        logging.getLogger("tasks").info("row")
        if row == 3 and "fail" in sys.argv:
            raise ValueError(row)
        context["cleaned"] = row

    @cloaca.task(dependencies=[clean])
    def hold(context):
        if "hold" in sys.argv:
            print("held", flush=True)
            time.sleep(60)

with cloaca.DefaultRunner(workers=2) as runner:
    result = runner.execute(builder, progress=True)
    print("over:", result.status)
"""


class Screen:
    """A script on a terminal of that many columns: what stands there."""

    def __init__(self, folder: Path, *arguments: str, columns: int = 80, script: str = SCRIPT) -> None:
        path = folder / "script.py"
        path.write_text(script, encoding="utf-8")
        self._screen = pyte.Screen(columns, 40)
        self._stream = pyte.ByteStream(self._screen)
        self.pid, self._end = pty.fork()
        if not self.pid:
            settings = environment(TERM="xterm-256color", COLUMNS=str(columns))
            os.execve(sys.executable, [sys.executable, str(path), *arguments], settings)
        fcntl.ioctl(self._end, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))

    def read(self, until: str = "") -> list[str]:
        """What stands on it when that does, or at the end."""
        while not until or not any(until in line for line in self._screen.display):
            try:
                data = os.read(self._end, 1 << 16)
            except OSError:  # the end, as Linux tells it
                data = b""
            if not data:
                os.close(self._end)
                os.waitpid(self.pid, 0)
                break
            self._stream.feed(data)
        return [line.rstrip() for line in self._screen.display if line.strip()]

    @property
    def shows_cursor(self) -> bool:
        return not self._screen.cursor.hidden


@pytest.mark.parametrize("columns", [80, 40])
def test_on_a_terminal_what_is_printed_stands_whole_above_one_line_for_the_end(tmp_path: Path, columns: int) -> None:
    screen = Screen(tmp_path, columns=columns)
    lines = screen.read()
    assert "loading" in lines
    assert {f"bar {row}: 2" for row in range(4)} <= {*lines}
    end = " ".join(lines[lines.index("bar 0: 2") :])
    assert "sales Completed 6 of 6 (100 %)" in end
    assert lines[-1] == "over: Completed"
    assert not any("━" in line for line in lines)
    assert screen.shows_cursor


def test_while_it_runs_a_terminal_shows_a_bar_and_after_ctrl_c_it_is_as_before(tmp_path: Path) -> None:
    screen = Screen(tmp_path, "hold")
    screen.read("5 of 6 (83 %)")
    assert not screen.shows_cursor
    os.kill(screen.pid, signal.SIGINT)
    lines = screen.read()
    assert any(line.startswith("sales Cancelled 6 of 6") for line in lines)
    assert not any("━" in line for line in lines)
    assert "    result = runner.execute(builder, progress=True)" in lines
    assert "KeyboardInterrupt" in lines[-1]
    assert screen.shows_cursor


def test_what_handlers_write_that_were_made_before_stands_above_the_display(tmp_path: Path) -> None:
    screen = Screen(tmp_path, "log")
    lines = screen.read()
    assert lines.count("a record of INFO") == 5
    assert not any("record" in line and line != "a record of INFO" for line in lines)
    assert {f"bar {row}: 2" for row in range(4)} <= {*lines}
    assert lines[-1] == "over: Completed"


def test_the_display_begins_on_a_line_of_its_own(tmp_path: Path) -> None:
    begun = SCRIPT.replace("    result = ", '    print("begun: ", end="")\n    result = ')
    lines = Screen(tmp_path, script=begun).read()
    assert lines[0] == "begun:"
    assert "loading" in lines
    assert lines[-1] == "over: Completed"


@contextmanager
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[TextIO, Callable[[], str]]]:
    """A terminal on which this program's errors stand, and what was written to it up to the end of an execution."""
    end, other = pty.openpty()
    termios.tcsetwinsize(other, (40, 100))
    with open(other, "w", encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr("cloaca.progress.board._boards", {})
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.delenv("CI", raising=False)
        try:
            yield stream, lambda: _read_up_to("(100 %)", end)
        finally:
            os.close(end)


def _read_up_to(text: str, end: int) -> str:
    data = b""
    while text.encode() not in data:
        assert select.select([end], [], [], PATIENCE)[0]
        data += os.read(end, 1 << 16)
    return data.decode()


def run_one() -> None:
    with cloaca.WorkflowBuilder("sales") as builder:
        cloaca.task(id="one")(lambda context: None)
    with cloaca.DefaultRunner(workers=1) as runner:
        runner.execute(builder, progress=True)


def test_of_two_programs_on_one_terminal_the_second_says_that_it_writes_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with on_terminal(monkeypatch) as (stream, written):
        first = Hold(stream)
        run_one()
        told, line = written().splitlines()
        assert told.startswith("cloaca: another program shows its progress on this terminal, ")
        assert line.startswith("sales: Completed, 1 of 1 (100 %)")
        run_one()
        assert "another program" not in written(), "once is enough"
        first.let_go()
        run_one()
        assert "sales: Completed" not in (shown := written())
        assert "Completed" in shown
        Hold(stream).let_go()  # nobody has it any more


@pytest.mark.parametrize(("name", "value"), [("TERM", "dumb"), ("CI", "true")])
def test_a_log_that_is_a_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    with on_terminal(monkeypatch) as (_, written):
        monkeypatch.setenv(name, value)
        run_one()
        (line,) = written().splitlines()
    assert line.startswith("sales: Completed, 1 of 1 (100 %)")


def test_memory_of_the_machine_is_told_where_it_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream := _Tty())
    for available, is_told in [(50e9, False), (1.5e9, True)]:
        memory = SimpleNamespace(available=available, total=64e9)
        monkeypatch.setattr("psutil.virtual_memory", lambda memory=memory: memory)
        with closing(Terminal()) as screen:
            screen.show([PROGRESS])
        assert ("memory is short: 1.5 of 64 GB left" in stream.getvalue()) is is_told


def test_what_has_not_changed_is_drawn_again_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, changed = [100.0], replace(PROGRESS, failed=2)
    monkeypatch.setattr("cloaca.progress.terminal.monotonic", lambda: clock[0])
    monkeypatch.setattr(sys, "stderr", stream := _Tty())
    steps = [(0.1, PROGRESS, True), (0.5, PROGRESS, False), (0.1, changed, True), (0.1, changed, False)]
    with closing(Terminal()) as screen:
        for passes, progress, is_drawn in [*steps, (0.5, changed, True)]:
            clock[0] += passes
            before = stream.tell()
            screen.show([progress])
            assert (stream.tell() > before) is is_drawn


def test_handlers_have_their_stream_back_when_the_display_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = _Tty()
    monkeypatch.setattr(sys, "stderr", stream)
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger("tests of the display")
    monkeypatch.setattr(logger, "handlers", [handler, logging.StreamHandler(StringIO())])
    terminal = Terminal()
    assert handler.stream is sys.stderr is not stream
    terminal.close()
    assert handler.stream is sys.stderr is stream


class _Tty(StringIO):
    def isatty(self) -> bool:
        return True


def test_where_there_is_no_terminal_a_line_tells_of_the_end(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    done = run("script.py", "fail", cwd=tmp_path)
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "over: Failed"
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("sales: ")]
    assert line.startswith("sales: Failed, 6 of 6 (100 %), 1 failed, ")


def test_the_environment_says_whether_it_is_shown(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT.replace(", progress=True", ""), encoding="utf-8")
    assert "sales: " not in run("script.py", cwd=tmp_path).stderr
    assert "sales: Completed" in run("script.py", cwd=tmp_path, CLOACA_PROGRESS="1").stderr
    assert "sales: " not in run("script.py", cwd=tmp_path, CLOACA_PROGRESS="0").stderr
    wrong = run("script.py", cwd=tmp_path, CLOACA_PROGRESS="maybe").stderr.splitlines()[-1]
    assert wrong.startswith("ValueError: CLOACA_PROGRESS")


@pytest.mark.parametrize("given", [1, "yes"])
def test_progress_is_true_or_false(given: Any) -> None:
    with cloaca.WorkflowBuilder("one") as builder:
        cloaca.task(id="one")(lambda context: None)
    with pytest.raises(ValueError, match="progress is True or False"):
        cloaca.DefaultRunner(progress=given)
    with cloaca.DefaultRunner(executor="serial") as runner:
        for call in (runner.execute, runner.start):
            with pytest.raises(ValueError, match="progress is True or False"):
                call(builder, progress=given)
        with pytest.raises(ValueError, match="progress is True or False"):
            runner.map(abs, [1], progress=given)


# ---- what it looks like --------------------------------------------------------------------------------------------


def test_much_is_shown_in_few_lines() -> None:
    from rich.console import Console

    from cloaca.progress.drawing import drawn, scene

    mapped = tuple(Mapped(f"m{number}", number, 1000 * number) for number in range(1, 50))
    busy = tuple(Busy(number, f"t{number}", 60.0 + number) for number in range(64))
    many = [Progress("w" * 200, "Running", 10**6, 10, 0, 0, 0, 64, 3, 9.0, 8000.0, mapped, busy)] * 100
    console = Console(file=StringIO(), width=40, record=True)
    console.print(drawn(scene(many, most=3)))
    lines = console.export_text().splitlines()
    assert len(lines) == 3 * (1 + 3 + 1 + 1 + 4 + 1) + 1
    assert all(len(line) <= 40 for line in lines)
    assert lines[-1] == "and 97 more"
