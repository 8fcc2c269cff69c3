"""Whatever one task does, it costs that task: its siblings complete, and the runner serves on.

One table. All cases run on one runner, one after the other, each beside innocent siblings and followed by a workflow
that has nothing to do with it. The runner has ended before the first test looks at what came out.
"""

import ctypes
import os
import re
import resource
import signal
import stat
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, Thread
from typing import Any, NoReturn

import cloudpickle
import psutil
import pytest
from tests.support import PATIENCE

import cloaca
from cloaca import Context, DecodeError, EncodeError, TaskError, WorkerDied
from cloaca.errors import RemoteTraceback

pytestmark = pytest.mark.usefixtures("way_of_starting")

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # as if all this stood in the user's script

SIBLINGS = ("one", "two", "three", "four")


class UnpicklableError(Exception):
    """Holds something that can't be pickled."""

    def __init__(self) -> None:
        super().__init__("I hold a lock")
        self.lock = Lock()


class UnrebuildableError(Exception):
    """Pickles as a call that raises."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")

    def __reduce__(self) -> tuple[Any, ...]:
        return int, (str(self),)


class UnspeakableError(Exception):
    """Can't be shown."""

    def __str__(self) -> str:
        raise LookupError("no words")


class Poison:
    """Pickles, and raises when it is unpickled; as a function it can't be loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise LookupError('poisoned')",)

    def __call__(self, context: Context) -> None:
        context.set("never", 1)


# ---- what tasks do -------------------------------------------------------------------------------------------------


def raise_an_error(_: Context) -> NoReturn:
    raise ValueError("boom")


def raise_what_cannot_be_pickled(_: Context) -> NoReturn:
    raise UnpicklableError


def raise_what_cannot_be_rebuilt(_: Context) -> NoReturn:
    raise UnrebuildableError(1, 2)


def raise_what_cannot_be_shown(_: Context) -> NoReturn:
    raise UnspeakableError


def raise_a_text_that_is_not_unicode(_: Context) -> NoReturn:
    raise OSError("no such file: " + os.fsdecode(b"\xff.csv"))


def raise_a_group(_: Context) -> NoReturn:
    raise ExceptionGroup("two", [ValueError(1), KeyError(2)])


def leave_by_sys_exit(_: Context) -> NoReturn:
    sys.exit(3)


def leave_by_os_exit(_: Context) -> NoReturn:
    os._exit(7)


def leave_quietly(_: Context) -> NoReturn:
    os._exit(0)


def read_from_nowhere(_: Context) -> None:
    ctypes.string_at(0)


def kill_by(number: int) -> Callable[[Context], None]:
    def kill(_: Context) -> None:
        signal.raise_signal(number)  # to this thread: another one might let it go by while this one pauses
        signal.pause()

    kill.__name__ = f"kill_by_signal_{int(number)}"
    return kill


def interrupt(_: Context) -> NoReturn:
    raise KeyboardInterrupt


def recurse(context: Context) -> None:
    recurse(context)


def take_too_much_memory(_: Context) -> None:
    bytearray(1 << 62)


def run_out_of_memory(_: Context) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + 50_000_000, hard))
    try:
        bytearray(100_000_000)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def close_every_descriptor(_: Context) -> None:
    os.closerange(0, 256)


def close_every_descriptor_and_stay(_: Context) -> None:
    os.closerange(0, 256)
    signal.pause()


def write_to_every_socket(_: Context) -> None:
    for descriptor in range(3, 64):
        try:
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                os.write(descriptor, bytes(range(256)))
        except OSError:
            pass
    signal.pause()


def write_a_frame_of_nonsense(_: Context) -> None:
    for descriptor in range(3, 64):
        try:
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                os.write(descriptor, b"\x03" + bytes(7) + b"abc")
        except OSError:
            pass
    signal.pause()


def fork_and_return_twice(context: Context) -> None:
    child = os.fork()
    if child == 0:
        context.set("who", "child")
        return
    os.waitpid(child, 0)
    context.set("who", "parent")


def fork_and_raise_twice(_: Context) -> NoReturn:
    child = os.fork()
    if child:
        os.waitpid(child, 0)
    raise ValueError("parent" if child else "child")


def fork_and_die(_: Context) -> None:
    if os.fork():
        os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


def return_a_number(_: Context) -> int:
    return 5


def return_keys_that_are_no_text(_: Context) -> dict[Any, int]:
    return {1: 2}


def set_what_cannot_be_sent(context: Context) -> None:
    context.set("lock", {"inner": [Lock()]})


def set_what_encodes_by_exiting(context: Context) -> None:
    class Leaving:
        def __reduce__(self):
            sys.exit(4)

    context.set("leaving", Leaving())


def set_a_key_that_is_not_unicode(context: Context) -> None:
    context.set(os.fsdecode(b"\xff"), 1)


def read_poison(context: Context) -> None:
    context.get("poison")


def write_to_the_raw_streams(context: Context) -> None:
    for descriptor in (1, 2):
        os.write(descriptor, bytes(range(256)) * 10)
    context.set("who", "loud")


def print_what_is_not_unicode(context: Context) -> None:
    print(os.fsdecode(b"\xff"), end="")
    context.set("who", "loud")


def close_the_streams(context: Context) -> None:
    sys.stdout.close()
    sys.stderr.close()
    context.set("who", "silent")


def replace_the_streams(context: Context) -> None:
    sys.stdout = sys.stderr = None
    context.set("who", "silent")


def leave_a_thread(context: Context) -> None:
    Thread(target=signal.sigwait, args=([signal.SIGUSR1],), daemon=True).start()
    context.set("who", "threaded")


def ignore_signals(context: Context) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, signal.SIG_IGN)
    context.set("who", "deaf")


def trip_over_an_alarm(_: Context) -> None:
    signal.signal(signal.SIGALRM, lambda *_: sys.exit("wake up"))
    signal.setitimer(signal.ITIMER_REAL, 1e-6)
    signal.pause()


def enter_another_directory_that_goes(context: Context) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
    context.set("who", "lost")


# ---- the table -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Expected:
    """How a task ends: the type of its error, what its text matches, and what it wrote under `who`."""

    error: type[BaseException] | None = None
    text: str = ""
    who: str | None = None


def died(how: str) -> Expected:
    return Expected(WorkerDied, rf"WorkerDied: The worker that ran task 'bad' \(try 1\) died[^:]*: (killed by )?{how}")


CASES: dict[Callable[[Context], Any], Expected] = {
    raise_an_error: Expected(ValueError, "ValueError: boom"),
    raise_what_cannot_be_pickled: Expected(TaskError, "UnpicklableError: I hold a lock"),
    raise_what_cannot_be_rebuilt: Expected(TaskError, "UnrebuildableError: 1 and 2"),
    raise_what_cannot_be_shown: Expected(UnspeakableError, "UnspeakableError: .*can't be shown: LookupError"),
    raise_a_text_that_is_not_unicode: Expected(OSError, r"OSError: no such file: .*\.csv"),
    raise_a_group: Expected(ExceptionGroup, "ExceptionGroup: two"),
    leave_by_sys_exit: Expected(SystemExit, "SystemExit: 3"),
    leave_by_os_exit: died("exited with code 7"),
    leave_quietly: died("exited with code 0"),
    read_from_nowhere: died("SIGSEGV"),
    kill_by(signal.SIGKILL): died("SIGKILL"),
    kill_by(signal.SIGTERM): died("SIGTERM"),
    kill_by(signal.SIGABRT): died("SIGABRT"),
    kill_by(signal.SIGRTMIN + 3): died(f"(SIG|signal {signal.SIGRTMIN + 3})"),
    kill_by(signal.SIGINT): Expected(KeyboardInterrupt, "KeyboardInterrupt"),
    interrupt: Expected(KeyboardInterrupt, "KeyboardInterrupt"),
    recurse: Expected(RecursionError, "RecursionError: maximum recursion depth exceeded"),
    take_too_much_memory: Expected(MemoryError, "MemoryError"),
    run_out_of_memory: Expected(MemoryError, "MemoryError"),
    close_every_descriptor: died(".*connection.*closed"),
    close_every_descriptor_and_stay: died(".*connection.*closed"),
    write_to_every_socket: died(".*connection.*(makes no sense|closed)"),
    write_a_frame_of_nonsense: died(".*connection.*(makes no sense|closed)"),
    fork_and_return_twice: Expected(who="parent"),
    fork_and_raise_twice: Expected(ValueError, "ValueError: parent"),
    fork_and_die: died("SIGKILL"),
    return_a_number: Expected(TypeError, "TypeError: A task returns None, its context, or a mapping.*not int"),
    return_keys_that_are_no_text: Expected(TypeError, "TypeError: A context key is a str, not int"),
    set_what_cannot_be_sent: Expected(EncodeError, r"EncodeError: .*'lock'.*lock\['inner'\]\[0\]: _thread.lock"),
    set_what_encodes_by_exiting: Expected(SystemExit, "SystemExit: 4"),
    set_a_key_that_is_not_unicode: Expected(ValueError, "ValueError: A context key is valid text"),
    Poison(): Expected(LookupError, "LookupError: poisoned"),
    read_poison: Expected(DecodeError, "DecodeError: .*'poison', written by the input,.*LookupError: poisoned"),
    write_to_the_raw_streams: Expected(who="loud"),
    print_what_is_not_unicode: Expected(who="loud"),
    close_the_streams: Expected(who="silent"),
    replace_the_streams: Expected(who="silent"),
    leave_a_thread: Expected(who="threaded"),
    ignore_signals: Expected(who="deaf"),
    trip_over_an_alarm: Expected(SystemExit, "SystemExit: wake up"),
    enter_another_directory_that_goes: Expected(who="lost"),
}

MODULES = {
    "leaving_module": ("raise SystemExit('closed')", Expected(SystemExit, "SystemExit: closed")),
    "dying_module": ("os._exit(5)", died("exited with code 5")),
    "broken_module": ("exec('def (')", Expected(SyntaxError, "SyntaxError")),
    "absent_module": (
        "import no_such_module",
        Expected(ModuleNotFoundError, "ModuleNotFoundError: .*'no_such_module'"),
    ),
    "changed_module": ("del function", Expected(AttributeError, "AttributeError: .*function")),
}
"""Modules that the program has imported, and what they do where a worker imports them."""


TABLE = {getattr(case, "__name__", type(case).__name__): expected for case, expected in CASES.items()}
TABLE |= {name: expected for name, (_, expected) in MODULES.items()}


# ---- running it ----------------------------------------------------------------------------------------------------


Results = tuple[cloaca.WorkflowResult, cloaca.WorkflowResult]
"""What came out of a case, and of the innocent workflow after it."""


def define(name: str, bad: Callable[[Context], Any]) -> None:
    """One bad task, its siblings, one task that follows it alone, and one that follows them all."""
    with cloaca.WorkflowBuilder(name):
        cloaca.task(id="bad")(bad)
        for sibling in SIBLINGS:

            def write_own_name(context: Context, sibling: str = sibling) -> None:
                context.set(sibling, os.getpid())

            cloaca.task(id=sibling)(write_own_name)

        @cloaca.task(dependencies=["bad"])
        def after(context):
            context.set("after", 1)

        @cloaca.task(dependencies=["bad", *SIBLINGS])
        def join(context):
            context.set("there", sorted(set(SIBLINGS) & set(context)))
            context.set("outcome", context.outcome("bad").status)


def functions(folder: Path) -> Iterator[Callable[[Context], Any]]:
    """Every case, in the order of the table."""
    yield from CASES
    for name, (in_a_worker, _) in MODULES.items():
        source = f"import os\ndef function(context): pass\nif os.getpid() != {os.getpid()}: {in_a_worker}\n"
        (folder / f"{name}.py").write_text(source)
        function: Callable[[Context], Any] = __import__(name).function
        yield function


def run_all(cases: Iterator[tuple[str, Callable[[Context], Any]]]) -> Iterator[tuple[str, Results | Exception]]:
    """Run case after case on one runner. One that breaks the runner fails its own tests, and costs only the runner."""
    for name, function in cases:
        define(name, function)
    names = deque(TABLE)
    while names:
        with cloaca.DefaultRunner(workers=2, executor="processes") as runner:
            broken = False
            while names and not broken:
                name = names.popleft()
                try:
                    yield name, (result_of(runner, name), result_of(runner, "innocent"))
                except Exception as error:  # noqa: BLE001 - the tests of the case raise it
                    broken = True
                    yield name, error


def result_of(runner: cloaca.DefaultRunner, workflow: str) -> cloaca.WorkflowResult:
    return runner.start(workflow, Context({"poison": Poison()})).result(PATIENCE)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Results | Exception]]:
    folder = tmp_path_factory.mktemp("modules")
    define("innocent", lambda context: context.set("who", "innocent"))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        outcomes = dict(run_all(zip(TABLE, functions(folder), strict=True)))
    yield outcomes
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def results(case: str, outcomes: dict[str, Results | Exception]) -> Results:
    match outcomes[case]:
        case Exception() as error:
            raise error
        case results:
            return results


# ---- what came out -------------------------------------------------------------------------------------------------

FAILING = [name for name, expected in TABLE.items() if expected.error]


@pytest.mark.parametrize("case", TABLE)
def test_the_task_ends_as_it_should(case: str, results: Results) -> None:
    result, expected = results[0], TABLE[case]
    bad = result.tasks["bad"]
    assert result.status == bad.status == ("Failed" if expected.error else "Completed")
    assert result.final_context.get("who") == expected.who
    assert "never" not in result.final_context
    if expected.error:
        assert isinstance(bad.error, expected.error)
        assert re.match(expected.text, bad.error_message or "", re.DOTALL), bad.error_message


@pytest.mark.parametrize("case", TABLE)
def test_its_siblings_complete_and_the_join_sees_them(results: Results) -> None:
    result, _ = results
    assert {result.tasks[sibling].status for sibling in SIBLINGS} == {"Completed"}
    assert {result.tasks[sibling].attempts for sibling in SIBLINGS} == {1}
    assert result.tasks["join"].status == "Completed"
    assert result.final_context["there"] == sorted(SIBLINGS)
    assert result.final_context["outcome"] == result.tasks["bad"].status


@pytest.mark.parametrize("case", TABLE)
def test_the_next_workflow_completes(results: Results) -> None:
    _, result = results
    assert (result.status, result.error_message) == ("Completed", None)
    assert result.final_context["who"] == "innocent"


@pytest.mark.parametrize("case", FAILING)
def test_what_follows_a_failure_alone_is_skipped(results: Results) -> None:
    result, _ = results
    assert result.tasks["after"].status == "Skipped"
    assert "after" not in result.final_context
    first, *_ = (result.error_message or "").splitlines()
    assert first.startswith("Task 'bad' failed: ")


@pytest.mark.parametrize("case", [name for name in FAILING if TABLE[name].error is not WorkerDied])
def test_an_error_brings_the_traceback_of_the_worker(results: Results) -> None:
    error = results[0].tasks["bad"].error
    assert error is not None
    assert isinstance(error.__cause__, RemoteTraceback)
    assert type(error).__name__ in str(error.__cause__) or isinstance(error, TaskError)


@pytest.mark.parametrize(
    ("case", "number", "code"), [("read_from_nowhere", "SIGSEGV", None), ("leave_by_os_exit", None, 7)]
)
def test_a_death_tells_task_signal_and_exit_code(number: str | None, code: int | None, results: Results) -> None:
    error = results[0].tasks["bad"].error
    assert isinstance(error, WorkerDied)
    assert (error.task, error.signal, error.exit_code) == ("bad", number, code)


@pytest.mark.parametrize("case", ["raise_what_cannot_be_shown"])
def test_an_error_of_the_program_s_own_class_comes_back_as_that_class(results: Results) -> None:
    assert type(results[0].tasks["bad"].error) is UnspeakableError


def test_a_value_that_cannot_be_rebuilt_names_the_task_that_wrote_it() -> None:
    with cloaca.WorkflowBuilder("poisoner"):

        @cloaca.task()
        def writer(context):
            context.set("poison", Poison())

        @cloaca.task(dependencies=[writer])
        def bystander(context):
            context.set("who", "unharmed")

        @cloaca.task(dependencies=[bystander])
        def reader(context):
            context.get("poison")

    with cloaca.DefaultRunner(workers=1, executor="processes") as runner:
        result = runner.execute("poisoner")
    error = result.tasks["reader"].error
    assert isinstance(error, DecodeError)
    assert (error.key, error.writer) == ("poison", "writer")
    assert result.final_context["who"] == "unharmed"


def test_a_thread_that_a_task_left_behind_reads_nothing_of_the_next_task(tmp_path: Path) -> None:
    gate, told = tmp_path / "gate", tmp_path / "told"
    os.mkfifo(gate)
    os.mkfifo(told)

    def leave(context: Context) -> None:
        import threading

        key = "terces"[::-1]  # a name that the code doesn't mention: it must be asked for

        def read_later() -> None:
            gate.read_text()
            try:
                outcome = repr(context.get(key))
            except RuntimeError as error:
                outcome = str(error)
            told.write_text(outcome)

        threading.Thread(target=read_later, daemon=True).start()

    def hide(context: Context) -> None:
        context.set("secret", 1)

    def read(context: Context) -> None:
        gate.write_text("go")
        context.set("told", told.read_text())

    with cloaca.WorkflowBuilder("leaving a reader") as builder:
        cloaca.task(id="leave")(leave)
        cloaca.task(id="hide", dependencies=["leave"])(hide)
        cloaca.task(id="read", dependencies=["hide"])(read)
    with cloaca.DefaultRunner(workers=1) as runner:
        result = runner.execute(builder, {"secret": 0})
    assert (result.status, result.error_message) == ("Completed", None)
    assert "The task has ended" in result.final_context["told"]
