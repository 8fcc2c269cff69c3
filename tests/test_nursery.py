"""The nursery: workers are forked from it where they would be as fresh ones are, and it may go at any time."""

import errno
import gc
import os
import pickle
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.support import Program, run, watched

from cloaca import Context, DefaultRunner
from cloaca.border.birth import DESCRIPTORS, FIT, FORKED, LOAD, LONGEST, REFUSED, TOLD, WANTED
from cloaca.border.whereabouts import path_here, variables, widened
from cloaca.pool import foresight, nursery
from cloaca.pool.child import ChildProcess
from cloaca.pool.foresight import preloadable
from cloaca.pool.nursery import nursery_of
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

        def make(
            *functions: Callable[[Context], Any], environment: dict[str, str] | None = None, workers: int = 2
        ) -> Desk:
            own = {"OPENBLAS_NUM_THREADS": "1", **(environment or {})}
            place = nursery_of(workers, widened(variables, own), path_here())
            pool = Pool(2, own, nursery=place)
            stack.callback(pool.close)
            pool.publish(published(*functions))
            return Desk(pool)

        yield make


def origin(context: Context) -> None:
    """The worker's parent, and how the worker itself was started."""
    context.set("parent", os.getppid())
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


def was_forked(found: dict[str, Any]) -> bool:
    """Its command line has no room for a worker's code: it is the nursery's."""
    return "cloaca.worker.nursery" in found["command"]


def is_forked(desk: Desk, function: int = 0) -> bool:
    return was_forked(told(desk, function))


def nursery_process() -> psutil.Process:
    (child,) = [child for child in psutil.Process().children() if "cloaca-nursery" in " ".join(child.cmdline())]
    return child


# ---- what is forked ------------------------------------------------------------------------------------------------


def test_workers_are_forked_from_one_process_and_those_that_take_their_places_too(desk_of: PoolDesk) -> None:
    desk = desk_of(origin, die)
    first = told(desk)
    (lost,) = desk.run([1])
    second = told(desk)
    assert isinstance(lost, Lost)
    assert lost.exit_code == 7
    assert was_forked(first)
    assert was_forked(second)
    assert first["pid"] != second["pid"]


def test_forked_workers_are_children_of_the_program(desk_of: PoolDesk) -> None:
    desk = desk_of(origin)
    found = told(desk)
    assert found["parent"] == PROGRAM
    assert found["pid"] in [child.pid for child in psutil.Process().children()]
    desk.executor.close()
    assert not psutil.pid_exists(found["pid"])
    assert psutil.Process().children() == []


def signal_the_main_thread(context: Context) -> None:
    """By the number that the C library has of it."""
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: heard.append(number))
    main = threading.get_ident()
    sender = threading.Thread(target=signal.pthread_kill, args=(main, signal.SIGUSR1))
    sender.start()
    sender.join()
    signal.signal(signal.SIGUSR1, before)
    clock = time.pthread_getcpuclockid(main)
    context.set("heard", heard)
    context.set("has a clock", time.clock_gettime(clock) > 0)


def test_a_forked_worker_knows_the_number_of_its_thread(desk_of: PoolDesk) -> None:
    assert told(desk_of(signal_the_main_thread)) == {"heard": [signal.SIGUSR1], "has a clock": True}


def test_none_starts_where_nothing_could_be_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: str) -> str:
        raise OSError(errno.EINVAL, "Invalid argument")  # as another C library says

    monkeypatch.setattr(os, "confstr", fails)
    with DefaultRunner(workers=2) as runner:
        assert psutil.Process().children() == []
        assert list(runner.map(abs, [-1])) == [1]


def test_one_worker_alone_is_no_fork(desk_of: PoolDesk) -> None:
    assert not is_forked(desk_of(origin, workers=1))


def test_a_forked_worker_shows_its_own_name(desk_of: PoolDesk) -> None:
    command = told(desk_of(origin))["command"]
    assert f"of process {PROGRAM}'; " in command.partition("\0'cloaca-worker-")[2]
    assert "cloaca-nursery" not in command


def look_around(context: Context) -> None:
    """What a process has that isn't written down anywhere else."""
    links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd") if int(name) > 2]
    opened = [os.readlink(link) for link in links if os.path.lexists(link)]  # not that of the folder itself
    told = [target.partition(":")[0].rstrip("0123456789") for target in opened if ".so" not in target]
    context.set("open", sorted(told))  # some systems show what is mapped of libraries
    status = Path("/proc/self/status").read_text()
    wanted = ("SigBlk", "SigIgn", "SigCgt", "Cap", "Umask", "Threads", "Seccomp:", "NoNewPrivs", "Cpus_allowed:")
    context.set("status", [line for line in status.splitlines() if line.startswith(wanted)])
    context.set("is leader", os.getsid(0) == os.getpgrp() == os.getpid())
    context.set("score", Path("/proc/self/oom_score_adj").read_text())
    context.set("flags", [list(sys.flags), sys.path, sys.argv, gc.isenabled()])
    context.set("handlers", [str(signal.getsignal(number)).partition(" at 0x")[0] for number in signal.valid_signals()])


def test_what_is_forked_is_what_a_fresh_interpreter_would_be(desk_of: PoolDesk) -> None:
    forked = told(desk_of(look_around))
    assert forked == told(desk_of(look_around, workers=1))


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
    nursery_process().kill()
    assert not is_forked(desk)


def test_it_is_killed_and_workers_go_on(desk_of: PoolDesk) -> None:
    desk = desk_of(origin, die)
    first = told(desk)
    nursery_process().kill()
    assert told(desk)["pid"] == first["pid"]
    (lost,) = desk.run([1])
    assert isinstance(lost, Lost)
    assert lost.exit_code == 7
    assert not is_forked(desk)


def test_it_stands_still(desk_of: PoolDesk) -> None:
    desk = desk_of(origin, wait_for_ever)
    assert is_forked(desk)
    nursery_process().suspend()
    desk.submit([1])
    desk.until(Started)
    (another,) = desk.submit([0])
    while another not in desk.ends:
        desk.step()
    end = desk.ends[another]
    assert isinstance(end, Done)
    assert not was_forked(written(end))


def test_it_stands_still_before_it_is_ready(desk_of: PoolDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nursery, "LOADING_SECONDS", 0.1)
    desk = desk_of(origin)
    nursery_process().suspend()
    assert not is_forked(desk)


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[list[int]], list[int]]]:
    """Something plays the nursery: to each that asks for a worker it tells the next of these things of its process.

    Returns what was told until now.
    """
    with ExitStack() as stack:

        def begin(script: list[int]) -> list[int]:
            told: list[int] = []

            def launch(descriptors: tuple[int, int], _: object) -> ChildProcess:
                connection = socket.socket(fileno=os.dup(descriptors[0]))
                thread = threading.Thread(target=play, args=(connection, script, told))
                thread.start()
                stack.callback(thread.join)
                return ChildProcess(os.posix_spawnp("sleep", ["sleep", "3600"], os.environ, setpgroup=0))

            monkeypatch.setattr(nursery, "launch_nursery", launch)
            return told

        yield begin


def play(connection: socket.socket, script: list[int], told: list[int]) -> None:
    connection.recv(1 << 18)  # where modules are
    connection.send(TOLD.pack(FIT, 0, 0))
    with connection:
        for what in script:
            asked, descriptors = heard(connection)
            while asked.startswith(LOAD):
                connection.send(TOLD.pack(FIT, 0, 0))
                asked, descriptors = heard(connection)
            for descriptor in descriptors:
                os.close(descriptor)
            if not asked:
                return
            number, _ = WANTED.unpack(asked)
            about = os.posix_spawnp("true", ["true"], os.environ) if what == FORKED else errno.ENOSYS
            told.append(what)
            connection.send(TOLD.pack(what, number, about))


def heard(connection: socket.socket) -> tuple[bytes, list[int]]:
    asked, descriptors, _, _ = socket.recv_fds(connection, LONGEST, DESCRIPTORS)
    return asked, descriptors


def test_a_process_ends_before_it_is_born_and_another_is_asked_for(
    played: Callable[[list[int]], list[int]], desk_of: PoolDesk
) -> None:
    told_of = played([FORKED, FORKED, REFUSED])
    assert not is_forked(desk_of(origin))
    assert told_of == [FORKED, FORKED, REFUSED]
    assert [child.name() for child in psutil.Process().children()].count("true") == 0


def test_what_would_be_forked_would_be_no_child_of_the_program(
    played: Callable[[list[int]], list[int]], desk_of: PoolDesk
) -> None:
    told_of = played([REFUSED])
    assert not is_forked(desk_of(origin))
    assert told_of == [REFUSED]


PROGRAM_THAT_WAITS = """
import os, psutil, signal
import cloaca

if __name__ == "__main__":
    with cloaca.DefaultRunner(workers=2) as runner:
        assert list(runner.map(abs, [-1])) == [1]
        print(*[child.pid for child in psutil.Process().children() if "cloaca-nursery" in " ".join(child.cmdline())])
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


# ---- it is the runner's ----------------------------------------------------------------------------------------------


def started() -> int:
    """The nursery of the runner that was made last. Until it has its name, it is the only child of this process."""
    (child,) = psutil.Process().children()
    return child.pid


def test_it_starts_with_the_runner_and_ends_with_it_although_nothing_was_run() -> None:
    with ExitStack() as stack, DefaultRunner(workers=2):
        stack.enter_context(watched([started()]))


def test_it_ends_when_nobody_has_the_runner_any_more() -> None:
    runner = DefaultRunner(workers=2)
    with watched([started()]):
        del runner
        gc.collect()


def test_no_runner_that_could_not_be_made_leaves_one_behind() -> None:
    with pytest.raises(ValueError, match="initializer"):
        DefaultRunner(workers=2, initializer=3)  # type: ignore[arg-type]
    gc.collect()
    assert psutil.Process().children() == []


@pytest.mark.parametrize("executor", ["serial", "threads"])
def test_other_executors_have_none(executor: Any) -> None:
    with DefaultRunner(workers=2, executor=executor):
        assert psutil.Process().children() == []


def test_a_forked_child_of_the_program_leaves_it_alone() -> None:
    with DefaultRunner(workers=2) as runner:
        child = os.fork()
        if not child:
            runner.shutdown()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert psutil.pid_exists(started())


MODULE_WITH_A_RUNNER = """
import psutil
import cloaca

runner = cloaca.DefaultRunner(workers=2)

def children(_):
    return len(psutil.Process().children())
"""


def test_a_worker_that_imports_a_module_with_a_runner_starts_none(tmp_path: Path) -> None:
    (tmp_path / "with_a_runner.py").write_text(MODULE_WITH_A_RUNNER)
    (tmp_path / "program.py").write_text("import with_a_runner as one; print(*one.runner.map(one.children, [0]))")
    assert run("program.py", cwd=tmp_path).stdout == "0\n"


# ---- what it loads ---------------------------------------------------------------------------------------------------


@pytest.fixture
def has_loaded() -> Callable[[Context], None]:
    """A task that names two modules and imports none. It travels by value."""
    import_module("colorsys")

    def has_loaded(context: Context) -> None:
        context.set("has", [name for name in ("colorsys", "left_behind") if name in sys.modules])
        context.set("command", Path("/proc/self/cmdline").read_text())

    return has_loaded


def test_what_functions_name_is_loaded_once(
    has_loaded: Callable[[Context], None], desk_of: PoolDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foresight, "PRELOADED", {"colorsys"})
    found = told(desk_of(has_loaded))
    assert found["has"] == ["colorsys"]
    assert was_forked(found)


def test_what_the_module_of_a_function_names_is_loaded_too(
    make_module: Callable[[str, str], Any], desk_of: PoolDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The function travels by its name; its module has what it calls from another one."""
    monkeypatch.setattr(foresight, "PRELOADED", {"colorsys"})
    make_module("helpers_of_mine", "import colorsys\ndef clean(): pass")
    steps = make_module(
        "steps_of_mine",
        "import sys\nfrom pathlib import Path\nfrom helpers_of_mine import clean\n"
        "loaded = 'colorsys' in sys.modules\n"
        "class Odd:\n    def __getattr__(self, name): raise OSError(name)\nodd = Odd()\n"
        "def look(context):\n    context.set('command', Path('/proc/self/cmdline').read_text())\n",
    )
    import_module("colorsys")
    assert preloadable([pickle.dumps(steps.look)]) == {"colorsys"}
    assert is_forked(desk_of(steps.look))


def test_nothing_is_loaded_that_no_function_names(
    has_loaded: Callable[[Context], None], desk_of: PoolDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_module("wave")
    monkeypatch.setattr(foresight, "PRELOADED", {"wave"})
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
    monkeypatch.setattr(foresight, "PRELOADED", {"left_behind"})
    monkeypatch.setattr(foresight, "is_installed", lambda _: True)
    desk = desk_of(has_loaded)
    found = told(desk)
    assert found["has"] == []
    assert not was_forked(found)


def test_pandas_is_loaded_before_workers_are_forked(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        """
import sys
import pandas as pd
import cloaca
from cloaca.pool import nursery

nursery.LOADING_SECONDS = 3600  # however busy the machine is

def summed(number):
    return pd.Series([number]).sum(), open("/proc/self/cmdline").read()

if __name__ == "__main__":
    with cloaca.DefaultRunner(workers=2) as runner:
        print(*runner.map(summed, [1]))
"""
    )
    found = run("program.py", cwd=tmp_path, OPENBLAS_NUM_THREADS="1")
    assert "cloaca.worker.nursery" in found.stdout, found.stderr
