"""Whatever happens, at whatever stage of an attempt: it costs that task, its siblings complete, the runner serves on.

{load the function, decode an input, run, encode a value, report} x {all that code can do to a process}. Every cell runs
beside innocent siblings and is followed by an innocent workflow, all on one runner.
"""

import ctypes
import faulthandler
import gc
import os
import re
import resource
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, Thread
from typing import Any, NoReturn

import cloudpickle
import pytest
from tests.support import PATIENCE

import cloaca
from cloaca import Context, DecodeError, EncodeError, TaskError, TaskTimeout, WorkerDied

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # as if all this stood in the user's script

Act = Callable[[], Any]

# ---- what happens --------------------------------------------------------------------------------------------------


class UnpicklableError(Exception):
    def __init__(self) -> None:
        super().__init__("I hold a lock")
        self.lock = Lock()


class UnrebuildableError(Exception):
    def __reduce__(self) -> tuple[Any, ...]:
        return int, ("not a number",)


def raise_an_error() -> NoReturn:
    raise ValueError("boom")


def raise_what_cannot_be_pickled() -> NoReturn:
    raise UnpicklableError


def raise_what_cannot_be_rebuilt() -> NoReturn:
    raise UnrebuildableError("boom")


def run_out_of_memory() -> None:
    bytearray(1 << 62)


def recurse() -> None:
    recurse()


def leave_by_sys_exit() -> NoReturn:
    sys.exit(3)


def interrupt() -> NoReturn:
    raise KeyboardInterrupt


def leave_by_os_exit() -> NoReturn:
    os._exit(7)


def read_from_nowhere() -> None:
    ctypes.string_at(0)


def overflow_the_stack() -> None:
    faulthandler._stack_overflow()  # type: ignore[attr-defined]


def kill_by_sigkill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_by_sigterm() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()


def close_every_descriptor() -> None:
    os.closerange(0, 256)


def hang() -> NoReturn:
    while True:
        pass


def hang_in_c() -> None:
    sum(range(10**12))


def fork_and_return() -> None:
    child = os.fork()
    if child:
        os.waitpid(child, 0)


def leave_a_thread() -> None:
    Thread(target=signal.sigwait, args=([signal.SIGUSR1],)).start()


def leave_a_process() -> None:
    subprocess.Popen(["sleep", "1000"])


def change_everything() -> None:
    os.chdir("/")
    os.environ["CHANGED"] = "yes"
    sys.path.insert(0, "/nowhere")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, signal.SIG_IGN)


def write_garbage() -> None:
    for descriptor in (1, 2):
        os.write(descriptor, bytes(range(128, 256)) * 10)


def garble_every_socket() -> None:
    for descriptor in range(3, 256):
        with suppress(OSError):
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                os.write(descriptor, b"meant for another descriptor")
    signal.pause()


def stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def ask_at_the_terminal() -> None:
    Path("/dev/tty").open("w").close()


def tune_the_process() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
    gc.disable()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    threading.setprofile(print)


def flood_the_output() -> None:
    for _ in range(2_000):
        print("-" * 100)


# ---- what comes of it, by stage ------------------------------------------------------------------------------------

STAGES = ("load", "decode", "run", "encode", "report")
Errors = dict[str, type[BaseException] | None]


def raises(error: type[BaseException]) -> Errors:
    return {"load": error, "decode": DecodeError, "run": error, "encode": EncodeError, "report": TaskError}


def leaves(error: type[BaseException]) -> Errors:
    return {**dict.fromkeys(STAGES, error), "report": TaskError}


EVERYWHERE_DEATH: Errors = dict.fromkeys(STAGES, WorkerDied)
EVERYWHERE_TIMEOUT: Errors = dict.fromkeys(STAGES, TaskTimeout)
HARMLESS: Errors = {**dict.fromkeys(STAGES), "report": TaskError}


@dataclass(frozen=True)
class Ending:
    """The errors by stage, and what the text of each matches."""

    errors: Errors
    text: str = ""


ENDINGS: dict[Act, Ending] = {
    raise_an_error: Ending(raises(ValueError), "boom"),
    raise_what_cannot_be_pickled: Ending(raises(TaskError), "UnpicklableError|hold a lock"),
    raise_what_cannot_be_rebuilt: Ending(raises(TaskError), "UnrebuildableError|boom"),
    run_out_of_memory: Ending(raises(MemoryError)),
    recurse: Ending(raises(RecursionError), "recursion|nested too deeply"),
    leave_by_sys_exit: Ending(leaves(SystemExit), "3"),
    interrupt: Ending(leaves(KeyboardInterrupt)),
    leave_by_os_exit: Ending(EVERYWHERE_DEATH, "exited with code 7"),
    read_from_nowhere: Ending(EVERYWHERE_DEATH, "killed by SIGSEGV"),
    overflow_the_stack: Ending(EVERYWHERE_DEATH, "killed by SIGSEGV"),
    kill_by_sigkill: Ending(EVERYWHERE_DEATH, "killed by SIGKILL"),
    kill_by_sigterm: Ending(EVERYWHERE_DEATH, "killed by SIGTERM"),
    close_every_descriptor: Ending(EVERYWHERE_DEATH, "connection to the program was closed"),
    garble_every_socket: Ending(EVERYWHERE_DEATH, "makes no sense .*b'meant for another"),
    ask_at_the_terminal: Ending(raises(OSError), "terminal|/dev/tty|boom"),
    stop: Ending(EVERYWHERE_TIMEOUT, "longer than its time limit of 0.2 s"),
    hang: Ending(EVERYWHERE_TIMEOUT, "longer than its time limit of 0.2 s"),
    hang_in_c: Ending(EVERYWHERE_TIMEOUT, "longer than its time limit of 0.2 s"),
    fork_and_return: Ending(HARMLESS),
    leave_a_thread: Ending(HARMLESS),
    leave_a_process: Ending(HARMLESS),
    change_everything: Ending(HARMLESS),
    write_garbage: Ending(HARMLESS),
    tune_the_process: Ending(HARMLESS),
    flood_the_output: Ending(HARMLESS),
}
LIMITED = (stop, hang, hang_in_c)
CELLS = {f"{stage}-{act.__name__}": (stage, act) for act in ENDINGS for stage in STAGES}


# ---- where it happens ----------------------------------------------------------------------------------------------


def after(act: Act, value: Any) -> Any:
    act()
    return value


def write_done(context: Context) -> None:
    context.set("done", True)


class Loaded:
    """A task whose function acts when it is loaded."""

    def __init__(self, act: Act) -> None:
        self.act = act

    def __call__(self, context: Context) -> None:
        raise AssertionError("it travels as something else")

    def __reduce__(self) -> tuple[Any, ...]:
        return after, (self.act, write_done)


class Decoded:
    """A value that acts when it is decoded."""

    def __init__(self, act: Act) -> None:
        self.act = act

    def __reduce__(self) -> tuple[Any, ...]:
        return after, (self.act, "decoded")


class Encoded:
    """A value that acts when it is encoded."""

    def __init__(self, act: Act) -> None:
        self.act = act

    def __reduce__(self) -> Any:
        return after(self.act, (str, ("encoded",)))


class ReportedError(Exception):
    """An error that acts when it is reported, and can't be."""

    def __init__(self, act: Act) -> None:
        super().__init__("boom 3 recursion hold a lock")
        self.act = act

    def __reduce__(self) -> Any:
        return after(self.act, ("no", "reduction"))


def task(stage: str, act: Act) -> Callable[[Context], Any]:
    def decode(context: Context) -> None:
        context.get("value")
        write_done(context)

    def run(context: Context) -> None:
        act()
        write_done(context)

    def encode(context: Context) -> None:
        context.set("out", Encoded(act))
        write_done(context)

    def report(context: Context) -> None:
        raise ReportedError(act)

    at: dict[str, Callable[[Context], Any]] = {"load": Loaded(act), "decode": decode, "run": run, "encode": encode}
    return at.get(stage, report)


# ---- running it ----------------------------------------------------------------------------------------------------

SIBLINGS = ("one", "two", "three")
Results = tuple[cloaca.WorkflowResult, cloaca.WorkflowResult]


def define(name: str, stage: str, act: Act) -> None:
    with cloaca.WorkflowBuilder(name):
        cloaca.task(id="bad", timeout=0.2 if act in LIMITED else None)(task(stage, act))
        for sibling in SIBLINGS:
            cloaca.task(id=sibling)(lambda context, sibling=sibling: context.set(sibling, os.getpid()))

        @cloaca.task(dependencies=["bad", *SIBLINGS])
        def join(context):
            context.set("there", sorted({*SIBLINGS, "done"} & set(context)))


def tuning() -> list[object]:
    limits, cores = resource.getrlimit(resource.RLIMIT_NOFILE), sorted(os.sched_getaffinity(0))
    return [list(limits), cores, gc.isenabled(), threading.getprofile()]


def run_cell(runner: cloaca.DefaultRunner, name: str, act: Act) -> Results:
    given = Context({"value": Decoded(act)})
    return runner.start(name, given).result(PATIENCE), runner.start("innocent bystander").result(PATIENCE)


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Results | Exception]:
    for name, (stage, act) in CELLS.items():
        define(name, stage, act)
    with cloaca.WorkflowBuilder("innocent bystander"):

        @cloaca.task()
        def look(context):
            context.set("directory", os.fspath(Path.cwd()))
            context.set("changed", os.environ.get("CHANGED"))
            context.set("path", sys.path[0])
            context.set("tuning", tuning())

    found: dict[str, Results | Exception] = {}
    left = dict(CELLS)
    while left:
        with cloaca.DefaultRunner(workers=2, executor="processes", grace_seconds=0.1) as runner:
            for name, (_, act) in list(left.items()):
                del left[name]
                try:
                    found[name] = run_cell(runner, name, act)
                except Exception as error:  # noqa: BLE001 - the tests of the cell raise it, the others get a new runner
                    found[name] = error
                    break
    return found


@pytest.fixture
def results(cell: str, outcomes: dict[str, Results | Exception]) -> Results:
    match outcomes[cell]:
        case Exception() as error:
            raise error
        case results:
            return results


@pytest.mark.parametrize("cell", CELLS)
def test_the_task_ends_as_it_should(cell: str, results: Results) -> None:
    stage, act = CELLS[cell]
    ending = ENDINGS[act]
    bad = results[0].tasks["bad"]
    expected = ending.errors[stage]
    if expected is None:
        assert (bad.status, bad.error) == ("Completed", None)
        return
    assert bad.status == "Failed"
    assert type(bad.error) is expected, bad.error
    assert re.search(ending.text, bad.error_message or "", re.DOTALL), bad.error_message
    assert "'bad'" in str(bad.error) or expected not in (WorkerDied, TaskTimeout)


@pytest.mark.parametrize("cell", CELLS)
def test_its_siblings_complete_and_the_join_sees_them(cell: str, results: Results) -> None:
    result, _ = results
    assert {result.tasks[sibling].status for sibling in (*SIBLINGS, "join")} == {"Completed"}
    assert {result.tasks[sibling].attempts for sibling in SIBLINGS} == {1}
    done = ["done"] if result.tasks["bad"].status == "Completed" else []
    assert result.final_context["there"] == sorted([*SIBLINGS, *done])


@pytest.mark.parametrize("cell", CELLS)
def test_the_next_workflow_finds_nothing_changed(results: Results) -> None:
    _, result = results
    assert (result.status, result.error_message) == ("Completed", None)
    there = {"directory": os.fspath(Path.cwd()), "changed": None, "path": sys.path[0], "tuning": tuning()}
    assert result.final_context.to_dict() == there
