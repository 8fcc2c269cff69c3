"""Whatever a program is, and wherever it is: its workers start as new processes, or one error says why they can't."""

import errno
import getpass
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.support import run

import cloaca
from cloaca.border.inheritance import BEGUN_AS_WORKER
from cloaca.errors import WorkersUnavailableError
from cloaca.pool import workforce


def answer_of(function: Callable[[int], Any]) -> Any:
    """What the function returns in a worker that is started for it."""
    with cloaca.DefaultRunner(workers=1, executor="processes") as runner:
        return next(runner.map(function, [0]))


@contextmanager
def at(directory: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(directory)
    try:
        yield
    finally:
        os.chdir(before)


def executable(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


# ---- what is given to workers --------------------------------------------------------------------------------------


def test_a_path_may_be_longer_than_a_command_line_and_needs_no_utf8(monkeypatch: pytest.MonkeyPatch) -> None:
    added = [f"/nix/store/{n:040d}-python-package/lib/python3.11/site-packages" for n in range(3000)]
    monkeypatch.setattr(sys, "path", [*sys.path, "/tmp/a\udcff", "/with\nnewline", *added])
    monkeypatch.setattr(sys, "argv", ["program\udcfe", *added])
    monkeypatch.setitem(os.environb, b"LONG\xff", b"\xfe" * 100_000)
    path, arguments, variable = answer_of(lambda _: (sys.path[-3002:], sys.argv, os.environb[b"LONG\xff"]))
    assert path == sys.path[-3002:]
    assert arguments == sys.argv
    assert variable == b"\xfe" * 100_000


def test_a_worker_collects_garbage() -> None:
    assert answer_of(lambda _: __import__("gc").isenabled())


ODD = """
import warnings

import cloaca
import odd_steps

with cloaca.WorkflowBuilder("odd"):
    cloaca.task(id="one")(odd_steps.one)
    cloaca.task(id="other")(lambda context: context.set("value", 2))

    @cloaca.task(dependencies=["one", "other"])
    def join(context):
        warnings.warn("joining")
        try:
            context["value"]
        except cloaca.MergeConflict as error:
            context.set("said", str(error))

    @cloaca.task(dependencies=["join"])
    def fail(context):
        raise ValueError(context["said"])

with cloaca.DefaultRunner(workers=1) as runner:
    result = runner.execute("odd")
    print(result.status, len(result.final_context["large"]))
"""


def test_a_program_in_a_folder_whose_name_is_no_text(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"\xff\xfe")
    folder.mkdir()
    (folder / "program.py").write_text(ODD)
    (folder / "odd_steps.py").write_text(
        "def one(context):\n    context.set('value', 1)\n    context.set('large', b'x' * 100_000)\n"
    )
    ended = run("program.py", cwd=folder, TMPDIR=str(folder))
    assert (ended.returncode, ended.stdout) == (0, "Failed 100000\n"), ended.stderr


def test_bytes_warnings_are_errors(tmp_path: Path) -> None:
    code = "import cloaca\nwith cloaca.DefaultRunner(workers=1) as r: print(list(r.map(lambda x: x, [1])))"
    ended = run("-bb", "-c", code, cwd=tmp_path)
    assert (ended.stdout, ended.stderr) == ("[1]\n", "")


def test_the_working_directory_may_be_removed_at_any_time(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    with at(first), cloaca.DefaultRunner(workers=1, executor="processes") as runner:
        first.rmdir()
        assert list(runner.map(abs, [-1])) == [1]
        os.chdir(second)
        assert list(runner.map(lambda _: Path.cwd(), [0])) == [second]
        second.rmdir()
        assert list(runner.map(abs, [-1])) == [1]


ELSEWHERE = """
import os
import sys

import cloaca

def job(_):
    import pipes_of_mine, queue, socket
    return pipes_of_mine.VALUE, queue.__file__ == QUEUE

import queue
QUEUE = queue.__file__
with cloaca.DefaultRunner(workers=1) as runner:
    assert list(runner.map(abs, [-1])) == [1]
os.chdir("data")
with cloaca.DefaultRunner(workers=1) as runner:
    print(list(runner.map(job, [0])))
"""


def test_a_folder_of_data_hides_no_module_of_python(tmp_path: Path) -> None:
    """The program (`-c`, a notebook) looks for modules wherever it is, and has loaded Python's own before it came."""
    data = tmp_path / "data"
    data.mkdir()
    for name in ("queue", "socket", "heapq", "struct", "pickle"):
        (data / f"{name}.py").write_text("raise RuntimeError('this is data')")
    (data / "pipes_of_mine.py").write_text("VALUE = 7")
    ended = run("-c", ELSEWHERE, cwd=tmp_path)
    assert (ended.stdout, ended.stderr) == ("[(7, True)]\n", "")


MANAGED = """
from multiprocessing import Manager

import cloaca

if __name__ == "__main__":
    with cloaca.WorkflowBuilder("managed"):

        @cloaca.task()
        def put(context):
            context["queue"].put(7)
            context["back"] = context["queue"]

    with cloaca.DefaultRunner(workers=1) as runner:
        assert list(runner.map(abs, [-1])) == [1]
        with Manager() as manager:
            queue = manager.Queue()
            list(runner.map(queue.put, range(3)))
            result = runner.execute("managed", {"queue": queue})
            print([queue.get() for _ in range(3)], result.final_context["back"].get())
"""


def test_proxies_of_a_manager_work_whenever_it_was_started(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(MANAGED)
    ended = run("program.py", cwd=tmp_path)
    assert (ended.stdout, ended.stderr) == ("[0, 1, 2] 7\n", "")


# ---- what workers don't take over ----------------------------------------------------------------------------------

INHERITED = """
import os
import signal
import subprocess
import sys

import cloaca

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1])

def look(_):
    handlers = [signal.getsignal(number) for number in (signal.SIGCHLD, signal.SIGHUP)]
    is_usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return handlers, is_usual, signal.pthread_sigmask(signal.SIG_BLOCK, []), subprocess.call(["sh", "-c", "exit 7"])

with cloaca.DefaultRunner(workers=1, grace_seconds=60) as runner:
    assert list(runner.map(look, [0])) == [([signal.SIG_DFL] * 2, True, set(), 7)]

    with cloaca.WorkflowBuilder("late"):

        @cloaca.task(timeout=0.2)
        def late(context):
            try:
                signal.pause()
            finally:
                print("tidied up")

    runner.execute("late")
"""


def test_signals_that_the_program_blocks_or_ignores(tmp_path: Path) -> None:
    ended = run("-c", INHERITED, cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (0, "tidied up\n"), ended.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux")
def test_a_worker_is_the_first_to_go_where_memory_runs_out() -> None:
    score = Path("/proc/self/oom_score_adj")
    assert answer_of(lambda _: int(score.read_text())) == 1000 >= int(score.read_text())


# ---- a task that asks ----------------------------------------------------------------------------------------------


def ask(_: int) -> None:
    input("Your name? ")


def ask_secretly(_: int) -> None:
    getpass.getpass()


def open_the_terminal(_: int) -> None:
    with Path("/dev/tty").open():
        """It can't be."""


@pytest.mark.filterwarnings("ignore::getpass.GetPassWarning")
@pytest.mark.parametrize(
    ("way", "kind"),
    [(ask, EOFError), (ask_secretly, EOFError), (open_the_terminal, OSError)],
    ids=lambda way: way.__name__,
)
def test_a_task_that_asks_at_the_terminal_is_told_that_it_can_t(
    way: Callable[[int], None], kind: type[Exception]
) -> None:
    with pytest.raises(kind, match=r"can't ask at the terminal.*pass the answer in the context") as caught:
        answer_of(way)
    assert not isinstance(caught.value, OSError) or caught.value.errno == errno.ENXIO


def stop_there(_: int) -> None:
    breakpoint()  # noqa: T100


def stop_in_the_debugger(_: int) -> None:
    import pdb  # noqa: T100

    pdb.set_trace()  # noqa: T100
    os.getpid()


@pytest.mark.parametrize("way", [stop_there, stop_in_the_debugger], ids=lambda way: way.__name__)
def test_a_task_that_stops_in_a_debugger_is_told_that_it_can_t(way: Callable[[int], None]) -> None:
    with pytest.raises(
        (Exception, SystemExit), match=r"A debugger has no terminal in a worker: .* CLOACA_EXECUTOR=serial"
    ):
        answer_of(way)


@pytest.mark.parametrize(("chosen", "expected"), [("0", "None"), ("one_of_mine.stop", "stopped by mine")])
def test_another_debugger_that_was_chosen_is_called(
    chosen: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one_of_mine.py").write_text("def stop():\n    return 'stopped by mine'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONBREAKPOINT", chosen)
    assert answer_of(lambda _: str(sys.breakpointhook())) == expected  # noqa: T100


# ---- what it is called ---------------------------------------------------------------------------------------------


def names_here(_: int) -> tuple[str, str]:
    return Path("/proc/self/comm").read_text(), Path("/proc/self/cmdline").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux")
def test_workers_are_told_from_other_processes_by_their_names() -> None:
    short, whole = answer_of(names_here)
    assert re.fullmatch(r"cloaca-worker(-\d)?\n", short)
    assert re.search(rf"\0-c\0'cloaca-worker-\d+ of process {os.getpid()}'; ", whole)


AT_A_TERMINAL = """
import os
import sys

import cloaca

def ask(context):
    sys.stdout.flush()
    os.write(1, b"shown\\n")
    with open("/dev/tty") as terminal:
        terminal.readline()

os.system("stty tostop")
with cloaca.WorkflowBuilder("ask"):
    cloaca.task(id="ask")(ask)
with cloaca.DefaultRunner(workers=1) as runner:
    print(runner.execute("ask").status)
"""


def test_a_worker_is_no_background_process_of_a_terminal(tmp_path: Path) -> None:
    import pty

    (tmp_path / "program.py").write_text(AT_A_TERMINAL)
    try:
        for side in pty.openpty():
            os.close(side)
    except OSError:
        pytest.skip("there are no terminals here")
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, str(tmp_path / "program.py")])
    said = b""
    with suppress(OSError):  # its end: the other side is closed
        while piece := os.read(terminal, 1 << 12):
            said += piece
    os.close(terminal)
    assert os.waitpid(pid, 0)[1] == 0, said
    assert b"shown" in said
    assert b"Failed" in said


# ---- what is no Python interpreter ---------------------------------------------------------------------------------

ITSELF = """
import pathlib
import sys

starts = pathlib.Path("starts")
with starts.open("a") as file:
    file.write("x")
sys.executable = "APP"
FROZEN
import cloaca

with cloaca.DefaultRunner(workers=2) as runner:
    print(list(runner.map(abs, [-1])))
"""


@pytest.mark.parametrize("mark", ["sys.frozen = True", ""])
def test_a_frozen_program_is_refused_with_what_to_do(mark: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    app = executable(tmp_path / "app", f"exec {sys.executable} {script}")
    script.write_text(ITSELF.replace("APP", app).replace("FROZEN", mark))
    ended = run(str(script), cwd=tmp_path)
    assert ended.returncode == 1
    assert 'executor="serial"' in ended.stderr
    assert len((tmp_path / "starts").read_text()) <= 1 + 3 * 2, "each start has made others"


def test_serial_needs_no_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with cloaca.DefaultRunner(executor="serial") as runner:
        assert list(runner.map(abs, [-1])) == [1]


@pytest.mark.parametrize("known", [None, ""])
def test_a_program_that_has_no_interpreter(known: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", known)
    with pytest.raises(WorkersUnavailableError, match=r"sys.executable is not set"):
        cloaca.DefaultRunner(executor="processes")


def test_what_never_becomes_a_worker_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(workforce, "BECOMING_SECONDS", 0.1)
    monkeypatch.setattr(sys, "executable", executable(tmp_path / "other", "exec sleep 1000"))
    with (
        cloaca.DefaultRunner(workers=2, executor="processes") as runner,
        pytest.raises(WorkersUnavailableError, match=r"other \(sys.executable\): that must be a Python interpreter"),
    ):
        next(runner.map(abs, [-1]))


def test_a_wrapper_that_knows_no_flags(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A profiler puts itself in the interpreter's place, and takes what it doesn't know for its own."""
    wrapper = f'while [ "$1" != -c ]; do shift; done; exec {sys.executable} "$@"'
    monkeypatch.setattr(sys, "executable", executable(tmp_path / "python", wrapper))
    (tmp_path / "socket.py").write_text("raise RuntimeError('shadows')")
    with at(tmp_path):
        assert answer_of(abs) == 0


def test_workers_pass_the_mark_of_their_start_to_nobody() -> None:
    assert BEGUN_AS_WORKER not in answer_of(lambda _: dict(os.environ))
