"""The nursery: workers are forked from it where they would be as fresh ones are, and it may go at any time."""

import gc
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.support import Program, run, watched

from cloaca import Context
from cloaca.pool import nursery, workforce
from cloaca.pool.pool import Pool
from cloaca.testing.desk import Desk, published, written
from cloaca.values.storage import sweep
from cloaca.wire.messages import Done, Lost, Started

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="of Linux")

PROGRAM = os.getpid()
PoolDesk = Callable[..., Desk]


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is: it is waited for."""
    monkeypatch.setattr(nursery, "LOADING_SECONDS", 3600.0)


@pytest.fixture
def desk_of() -> Iterator[PoolDesk]:
    with ExitStack() as stack:

        def make(*functions: Callable[[Context], Any], environment: dict[str, str] | None = None) -> Desk:
            pool = Pool(2, {"OPENBLAS_NUM_THREADS": "1", **(environment or {})})
            stack.callback(pool.close)
            pool.publish(published(*functions))
            return Desk(pool)

        yield make


def origin(context: Context) -> None:
    """What the worker's parent is called, and the worker itself."""
    context.set("parent", Path(f"/proc/{os.getppid()}/comm").read_text().strip())
    context.set("nursery", os.getppid())
    context.set("command", Path("/proc/self/cmdline").read_text())
    context.set("pid", os.getpid())


def die(_: Context) -> None:
    os._exit(7)


def wait_for_ever(_: Context) -> None:
    signal.pause()


def told(desk: Desk, function: int = 0) -> dict[str, Any]:
    """What the task sets."""
    (end,) = desk.run([function])
    assert isinstance(end, Done)
    return dict(written(end))


def is_forked(desk: Desk, function: int = 0) -> bool:
    return bool(told(desk, function)["parent"] == "cloaca-nursery")


# ---- what is forked ------------------------------------------------------------------------------------------------


def test_workers_are_forked_from_one_process_and_those_that_take_their_places_too(desk_of: PoolDesk) -> None:
    desk = desk_of(origin, die)
    first = told(desk)
    (lost,) = desk.run([1])
    second = told(desk)
    assert isinstance(lost, Lost)
    assert lost.exit_code == 7
    assert first["parent"] == second["parent"] == "cloaca-nursery"
    assert first["nursery"] == second["nursery"] != PROGRAM
    assert first["pid"] != second["pid"]


def test_a_forked_worker_shows_its_own_name(desk_of: PoolDesk) -> None:
    command = told(desk_of(origin))["command"]
    assert f"of process {PROGRAM}'; " in command.partition("\0'cloaca-worker-")[2]
    assert "cloaca-nursery" not in command


def look_around(context: Context) -> None:
    """What a process has that isn't written down anywhere else."""
    links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd") if int(name) > 2]
    opened = [os.readlink(link) for link in links if os.path.lexists(link)]  # not that of the folder itself
    context.set("open", sorted(target.partition(":")[0].rstrip("0123456789") for target in opened))
    status = Path("/proc/self/status").read_text()
    told = ("SigBlk", "SigIgn", "SigCgt", "Cap", "Umask", "Threads", "Seccomp:", "NoNewPrivs", "Cpus_allowed:")
    context.set("status", [line for line in status.splitlines() if line.startswith(told)])
    context.set("is leader", os.getsid(0) == os.getpgrp() == os.getpid())
    context.set("score", Path("/proc/self/oom_score_adj").read_text())
    context.set("flags", [list(sys.flags), sys.path, sys.argv, gc.isenabled()])
    context.set("handlers", [str(signal.getsignal(number)).partition(" at 0x")[0] for number in signal.valid_signals()])


def test_what_is_forked_is_what_a_fresh_interpreter_would_be(
    desk_of: PoolDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    forked = told(desk_of(look_around))
    monkeypatch.setattr(workforce, "LEAST_NURSED", sys.maxsize)
    assert forked == told(desk_of(look_around))


def test_how_it_ends_is_known_although_the_program_waits_for_no_child(
    desk_of: PoolDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        (lost,) = desk_of(die).run([0])
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert isinstance(lost, Lost)
    assert lost.exit_code == 7


# ---- where a fresh interpreter would be another one ------------------------------------------------------------------


def set_mask(_: pytest.MonkeyPatch) -> Callable[[], object]:
    before = os.umask(0o027)
    return lambda: os.umask(before)


def set_limit(_: pytest.MonkeyPatch) -> Callable[[], object]:
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    changed = 0 if soft else min(4096, hard) if hard > 0 else 4096
    resource.setrlimit(resource.RLIMIT_CORE, (changed, hard))
    return lambda: resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))


def turn_output(_: pytest.MonkeyPatch) -> Callable[[], object]:
    kept = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)

    def back() -> None:
        os.dup2(kept, 2)
        os.close(kept)

    return back


@pytest.mark.parametrize("change", [set_mask, set_limit, turn_output])
def test_what_the_program_hands_on_has_changed(
    change: Callable[[pytest.MonkeyPatch], Callable[[], object]], desk_of: PoolDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    if change is set_limit and resource.getrlimit(resource.RLIMIT_CORE) == (0, 0):
        pytest.skip("nothing can be changed here")
    desk = desk_of(origin)
    undo = change(monkeypatch)
    try:
        assert not is_forked(desk)
    finally:
        undo()


THREAD = "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()"
FILE = "import os; os.open(os.devnull, os.O_RDONLY)"


@pytest.mark.parametrize(
    "left", [THREAD, FILE, "import os; 'cloaca-nursery' in repr(__import__('sys').orig_argv) and os._exit(3)"]
)
def test_what_python_runs_at_its_start_leaves_something_behind(left: str, desk_of: PoolDesk, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(left)
    assert not is_forked(desk_of(origin, environment={"PYTHONPATH": os.fspath(tmp_path)}))


# ---- it may go at any time -------------------------------------------------------------------------------------------


def test_it_is_killed_before_anything_was_forked(desk_of: PoolDesk) -> None:
    desk = desk_of(origin)
    (child,) = psutil.Process().children()
    child.kill()
    assert not is_forked(desk)


def test_it_is_killed_and_workers_go_on(desk_of: PoolDesk) -> None:
    desk = desk_of(origin, die)
    first = told(desk)
    with watched([first["nursery"]]):
        os.kill(first["nursery"], signal.SIGKILL)
    assert told(desk)["pid"] == first["pid"]
    (lost,) = desk.run([1])
    assert isinstance(lost, Lost)
    assert (lost.exit_code, lost.signal) == (None, None)
    assert lost.reason is not None
    assert "cloaca-nursery" in lost.reason
    assert not is_forked(desk)


def test_it_stands_still(desk_of: PoolDesk) -> None:
    desk = desk_of(origin, wait_for_ever)
    first = told(desk)
    os.kill(first["nursery"], signal.SIGSTOP)
    desk.submit([1])
    desk.until(Started)
    (another,) = desk.submit([0])
    while another not in desk.ends:
        desk.step()
    end = desk.ends[another]
    assert isinstance(end, Done)
    assert written(end)["parent"] != "cloaca-nursery"


def test_it_stands_still_before_it_is_ready(desk_of: PoolDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nursery, "LOADING_SECONDS", 0.1)
    desk = desk_of(origin)
    (child,) = psutil.Process().children()
    child.suspend()
    assert not is_forked(desk)


PROGRAM_THAT_WAITS = """
import os, psutil, signal
import cloaca

def nursery(_):
    return os.getppid()

if __name__ == "__main__":
    with cloaca.DefaultRunner(workers=2) as runner:
        print(*runner.map(nursery, [0]))
        if not os.fork():
            signal.pause()
        signal.pause()
"""


def test_it_goes_with_the_program_although_a_child_of_that_lives_on(tmp_path: Path) -> None:
    with Program(PROGRAM_THAT_WAITS, tmp_path) as program, watched([int(program.line())]):
        program.send(signal.SIGKILL)
    sweep()


def test_nobody_says_anything_when_the_program_is_killed(tmp_path: Path) -> None:
    script = PROGRAM_THAT_WAITS.replace("        if not os.fork():\n            signal.pause()\n", "")
    with Program(script, tmp_path) as program:
        program.line()
        program.send(signal.SIGKILL)
        assert program.end() == (-signal.SIGKILL, "", "")
    sweep()


# ---- what it loads ---------------------------------------------------------------------------------------------------


@pytest.fixture
def has_loaded() -> Callable[[Context], None]:
    """A task that names two modules and imports none. It travels by value."""
    import_module("colorsys")

    def has_loaded(context: Context) -> None:
        context.set("has", [name for name in ("colorsys", "left_behind") if name in sys.modules])
        context.set("parent", Path(f"/proc/{os.getppid()}/comm").read_text().strip())

    return has_loaded


def test_what_functions_name_is_loaded_once(
    has_loaded: Callable[[Context], None], desk_of: PoolDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nursery, "_PRELOADED", ("colorsys",))
    found = told(desk_of(has_loaded))
    assert found == {"has": ["colorsys"], "parent": "cloaca-nursery"}


def test_nothing_is_loaded_that_no_function_names(
    has_loaded: Callable[[Context], None], desk_of: PoolDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_module("wave")
    monkeypatch.setattr(nursery, "_PRELOADED", ("wave",))
    assert told(desk_of(has_loaded))["has"] == []


@pytest.mark.parametrize("source", [THREAD, FILE, "raise ValueError('on its way')", "import os; os._exit(3)"])
def test_a_module_leaves_something_behind_or_does_not_load(
    source: str,
    has_loaded: Callable[[Context], None],
    make_module: Callable[[str, str], Any],
    desk_of: PoolDesk,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a worker would have it of its own: fresh interpreters run the task, which never comes to the module."""
    make_module("left_behind", "")
    (Path(sys.path[0]) / "left_behind.py").write_text(source)
    monkeypatch.setattr(nursery, "_PRELOADED", ("left_behind",))
    monkeypatch.setattr(nursery, "is_installed", lambda _: True)
    desk = desk_of(has_loaded)
    assert told(desk) == {"has": [], "parent": Path("/proc/self/comm").read_text().strip()}


def test_pandas_is_loaded_before_workers_are_forked(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        """
import sys
import pandas as pd
import cloaca
from cloaca.pool import nursery, workforce

nursery.LOADING_SECONDS = 3600  # however busy the machine is

def summed(number):
    return pd.Series([number]).sum(), open("/proc/%d/comm" % __import__("os").getppid()).read()

if __name__ == "__main__":
    with cloaca.DefaultRunner(workers=2) as runner:
        print(*runner.map(summed, [1]))
"""
    )
    found = run("program.py", cwd=tmp_path, OPENBLAS_NUM_THREADS="1")
    assert "cloaca-nursery" in found.stdout, found.stderr
