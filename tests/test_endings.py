"""Programs as users start them, and every way in which they end: whatever happens, no worker outlives its program.

Workers hold the standard output of their program. So a program's output comes to its end only when they have gone: that
`run` and `Program.end` return says that nothing is left. Nothing here waits for time to pass.
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from tests.support import PATIENCE, Program, environment, pipe, run, watched

from cloaca.values.folder import PREFIX
from cloaca.values.storage import SHARED_MEMORY, sweep

EXECUTORS = ("processes", "serial")
SMALL = """
import os
import sys

import cloaca

FACTOR = 10

def scale(value):
    return FACTOR * value

with cloaca.WorkflowBuilder("small"):

    @cloaca.task()
    def first(context):
        context.set("scaled", scale(context["value"]))

    @cloaca.task(dependencies=[first])
    def second(context):
        print("scaled to", context["scaled"])
        context.set("pid", os.getpid())

runner = cloaca.DefaultRunner(workers=2)
result = runner.execute("small", cloaca.Context({"value": 4}))
assert result.final_context["pid"] != os.getpid()
print(result.status, flush=True)
"""
PRINTED = "scaled to 40\nCompleted\n"


@pytest.fixture(autouse=True)
def _sweep() -> Iterator[None]:
    """A program that was killed leaves its folders for large values. The next one removes them, as is done here."""
    yield
    sweep()


SPINNING = """
import os
import re
import signal

import cloaca

signal.signal(signal.SIGINT, signal.default_int_handler)  # a test may have been started with Ctrl-C ignored

def in_python():
    while True:
        pass

def in_c():
    sum(range(10**12))

def in_a_pattern():
    re.match("(a+)+$", "a" * 100 + "b")

def in_a_wait():
    signal.pause()

def tidying():
    try:
        print("spinning", os.getpid())
        in_python()
    finally:
        print("tidied up")

def tidying_for_ever():
    try:
        tidying()
    finally:
        in_a_wait()

with cloaca.WorkflowBuilder("spinning"):

    @cloaca.task()
    def spin(context):
        print("spinning", os.getpid())
        SPIN()

    @cloaca.task(dependencies=["spin"])
    def after(context):
        pass
"""


def spinning(way: str, rest: str) -> str:
    """A program with a task that never ends in one way or other, and what it does with it."""
    return dedent(SPINNING).replace("SPIN", way) + dedent(rest)


# ---- ways to start -------------------------------------------------------------------------------------------------


def test_a_file(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(SMALL)
    assert_clean(run("program.py", cwd=tmp_path))


def test_a_command(tmp_path: Path) -> None:
    assert_clean(run("-c", SMALL, cwd=tmp_path))


def test_standard_input(tmp_path: Path) -> None:
    assert_clean(run("-", cwd=tmp_path, given=SMALL))


def test_a_module(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    (tmp_path / "package" / "program.py").write_text(SMALL)
    assert_clean(run("-m", "package.program", cwd=tmp_path))


def test_a_package_with_relative_imports(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    (tmp_path / "package" / "scaling.py").write_text("def scale(value): return 10 * value")
    main = SMALL.replace("def scale(value):\n    return FACTOR * value\n", "from .scaling import scale\n")
    (tmp_path / "package" / "__main__.py").write_text(main)
    assert_clean(run("-m", "package", cwd=tmp_path))


def test_a_folder_without_access_to_the_file_any_more(tmp_path: Path) -> None:
    """Workers never open the program's file."""
    (tmp_path / "program.py").write_text("import os; os.remove(__file__)\n" + SMALL)
    assert_clean(run("program.py", cwd=tmp_path))


def test_optimised_away_assertions_and_hidden_docstrings(tmp_path: Path) -> None:
    assert_clean(run("-OO", "-c", SMALL, cwd=tmp_path))


def test_isolated_mode_without_environment(tmp_path: Path) -> None:
    """Neither PYTHONPATH nor the current directory counts; what the program puts on sys.path does."""
    path = environment()["PYTHONPATH"]
    assert_clean(run("-I", "-c", f"import sys; sys.path.insert(0, {path!r})\n" + SMALL, cwd=tmp_path))


def test_warnings_as_errors(tmp_path: Path) -> None:
    assert_clean(run("-W", "error", "-c", SMALL, cwd=tmp_path))


def test_development_mode(tmp_path: Path) -> None:
    """It tells of every file and process that is left to the garbage collector."""
    assert_clean(run("-X", "dev", "-W", "error", "-c", SMALL + "runner.shutdown()", cwd=tmp_path))


def assert_clean(ended: "subprocess.CompletedProcess[str]", printed: str = PRINTED) -> None:
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, printed, "")


# ---- ways to end ---------------------------------------------------------------------------------------------------


def test_an_error_at_top_level(tmp_path: Path) -> None:
    ended = run("-c", SMALL + "raise LookupError('mine')", cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (1, PRINTED)
    assert ended.stderr.splitlines()[-1] == "LookupError: mine"
    assert ended.stderr.count("Traceback") == 1


def test_sys_exit(tmp_path: Path) -> None:
    ended = run("-c", SMALL + "sys.exit(5)", cwd=tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (5, PRINTED, "")


def test_os_exit(tmp_path: Path) -> None:
    ended = run("-c", SMALL + "os._exit(6)", cwd=tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (6, PRINTED, "")


def test_the_end_while_an_execution_is_under_way(tmp_path: Path) -> None:
    rest = """
    runner = cloaca.DefaultRunner(workers=1)
    execution = runner.start("spinning")
    input()
    """
    with Program(spinning("in_c", rest), tmp_path) as program:
        assert program.line().startswith("spinning")
        program.enter()
        program.complains("The program has come to its end, and waits for it")
        program.send(signal.SIGINT)
        code, printed, errors = program.end()
    assert (code, printed) == (0, "")
    assert errors.splitlines()[1:] == ["cloaca: stopping workflow 'spinning'; Ctrl-C again stops it at once"]


def test_what_is_left_at_the_end_goes_without_a_word(tmp_path: Path) -> None:
    rest = """
import atexit
import gc

with cloaca.DefaultRunner(workers=1) as runner:
    held = [runner.execute("small", {"value": 4, "large": bytes(400_000)})]
atexit._run_exitfuncs()
for name, module in list(sys.modules.items()):
    if name.startswith("cloaca."):  # as the interpreter does in the end
        vars(module).update(dict.fromkeys((name for name in vars(module) if not name.startswith("__"))))
held.clear()
gc.collect()
"""
    ended = run("-c", SMALL + rest, cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_an_execution_in_a_thread_that_the_program_waits_for(tmp_path: Path) -> None:
    rest = """
import threading

threading.Thread(target=lambda: print(runner.execute("small", result.final_context).status)).start()
"""
    ended = run("-c", SMALL + rest, cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.count("Completed\n") == 2


def test_an_execution_in_an_exit_handler_says_that_it_is_too_late_or_runs(tmp_path: Path) -> None:
    rest = """
import atexit

@atexit.register
def late():
    try:
        print(runner.execute("small", result.final_context).status)
    except (ValueError, RuntimeError) as error:
        print("refused:", error)
"""
    ended = run("-c", SMALL + rest, cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines()[-1].startswith(("Completed", "refused: "))


# ---- Ctrl-C --------------------------------------------------------------------------------------------------------

INTERRUPTED = "cloaca: stopping workflow 'spinning'; Ctrl-C again stops it at once\n"
WAYS = ("in_python", "in_c", "in_a_pattern", "in_a_wait")
CATCHING = """
runner = cloaca.DefaultRunner(workers=2)
try:
    runner.execute("spinning")
except KeyboardInterrupt as interrupt:
    result = interrupt.result
    print(result.status, *[task.status for task in result.tasks.values()], flush=True)

with cloaca.WorkflowBuilder("next"):

    @cloaca.task()
    def quick(context):
        context.set("n", 1)

print(runner.execute("next").status)
"""


@pytest.mark.parametrize("way", WAYS)
def test_ctrl_c_raises_keyboard_interrupt_with_the_result(way: str, tmp_path: Path) -> None:
    with Program(spinning(way, CATCHING), tmp_path) as program:
        assert program.line().startswith("spinning")
        program.send(signal.SIGINT)
        assert program.end() == (0, "Cancelled Cancelled Cancelled\nCompleted\n", INTERRUPTED)


@pytest.mark.parametrize("way", ["in_python", "in_a_wait"])
def test_ctrl_c_in_serial_does_the_same(way: str, tmp_path: Path) -> None:
    with Program(spinning(way, CATCHING), tmp_path, CLOACA_EXECUTOR="serial") as program:
        assert program.line().startswith("spinning")
        program.send(signal.SIGINT)
        assert program.end() == (0, "Cancelled Cancelled Cancelled\nCompleted\n", "")


@pytest.mark.parametrize("executor", EXECUTORS)
def test_ctrl_c_that_nobody_catches_shows_one_traceback(executor: str, tmp_path: Path) -> None:
    rest = 'cloaca.DefaultRunner(workers=1).execute("spinning")'
    with Program(spinning("in_python", rest), tmp_path, CLOACA_EXECUTOR=executor) as program:
        assert program.line().startswith("spinning")
        program.send(signal.SIGINT)
        code, rest, errors = program.end()
    assert (code, rest) == (-signal.SIGINT, "")
    assert errors.count("Traceback") == 1
    assert errors.splitlines()[-1] == "KeyboardInterrupt"


def test_ctrl_c_while_waiting_with_a_timeout(tmp_path: Path) -> None:
    rest = CATCHING.replace('runner.execute("spinning")', 'runner.start("spinning").result(timeout=1000)')
    with Program(spinning("in_c", rest), tmp_path) as program:
        assert program.line().startswith("spinning")
        program.send(signal.SIGINT)
        assert program.end() == (0, "Cancelled Cancelled Cancelled\nCompleted\n", INTERRUPTED)


def test_ctrl_c_lets_a_task_put_its_things_in_order(tmp_path: Path) -> None:
    with Program(spinning("tidying", CATCHING), tmp_path) as program:
        assert [program.line()[:8], program.line()[:8]] == ["spinning", "spinning"], "it is inside"
        program.send(signal.SIGINT)
        assert program.line() == "tidied up"
        assert program.end() == (0, "Cancelled Cancelled Cancelled\nCompleted\n", INTERRUPTED)


def test_ctrl_c_again_stops_a_task_that_takes_its_time(tmp_path: Path) -> None:
    """A patient runner: only the second one ends this before the test's patience does."""
    rest = CATCHING.replace("workers=2", "workers=2, grace_seconds=1000")
    with Program(spinning("tidying_for_ever", rest), tmp_path) as program:
        assert [program.line()[:8], program.line()[:8]] == ["spinning", "spinning"], "it is inside"
        program.send(signal.SIGINT)
        assert program.line() == "tidied up"
        program.send(signal.SIGINT)
        assert program.end() == (0, "Cancelled Cancelled Cancelled\nCompleted\n", INTERRUPTED)


# ---- a violent end -------------------------------------------------------------------------------------------------

EXECUTING = """
cloaca.DefaultRunner(workers=1).execute("spinning")
"""


@pytest.mark.parametrize("way", WAYS)
def test_workers_go_when_their_program_is_killed(way: str, tmp_path: Path) -> None:
    with Program(spinning(way, EXECUTING), tmp_path) as program:
        worker = int(program.line().split()[1])
        with watched([worker]):
            program.send(signal.SIGKILL)
        assert program.end() == (-signal.SIGKILL, "", "")


@pytest.mark.parametrize("way", ["in_python", "in_c"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_program_that_is_told_to_end_while_it_waits_ends_in_order(
    number: signal.Signals, way: str, tmp_path: Path
) -> None:
    rest = """
    import atexit, signal
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may have been started by nohup
    atexit.register(print, "exit handler")
    try:
        with cloaca.DefaultRunner(workers=1, grace_seconds=0.1) as runner:
            runner.execute("spinning")
    except SystemExit as leaving:
        print(leaving.result.status, flush=True)
        raise
    """
    with Program(spinning(way, rest), tmp_path) as program:
        worker = int(program.line().split()[1])
        with watched([worker]):
            program.send(number)
        told = "cloaca: told to end, stopping workflow 'spinning'\n"
        assert program.end() == (128 + number, "Cancelled\nexit handler\n", told)
        assert folders_of(program.pid) == []


TOLD = "cloaca: told to end, stopping workflow 'spinning'\n"
TIDYING_SLOWLY = """
import atexit

def wait_for(gate):
    print("at", gate, flush=True)
    open(gate).close()

def tidying_slowly():
    try:
        print("spinning", flush=True)
        in_python()
    finally:
        wait_for("first gate")

@atexit.register
def end():
    wait_for("second gate")
    print("ended", flush=True)

with cloaca.DefaultRunner(workers=1, grace_seconds=3600) as runner:
    runner.execute("spinning")
"""


def test_a_request_to_end_that_is_repeated_kills_nothing_that_is_being_put_in_order(tmp_path: Path) -> None:
    gates = [pipe(tmp_path / name) for name in ("first gate", "second gate")]
    with Program(spinning("tidying_slowly", TIDYING_SLOWLY), tmp_path) as program:
        assert [program.line().split()[0] for _ in range(2)] == ["spinning"] * 2
        program.send(signal.SIGTERM)
        for gate in gates:
            assert program.line() == f"at {gate.name}"
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGTERM):
                program.send(number)
            gate.open("w").close()
        assert program.end() == (143, "ended\n", TOLD)
        assert folders_of(program.pid) == []


def test_a_request_to_end_after_ctrl_c_hurries_and_counts(tmp_path: Path) -> None:
    rest = """
    try:
        cloaca.DefaultRunner(workers=1, grace_seconds=3600).execute("spinning")
    except SystemExit as leaving:
        print(leaving.code, leaving.result.status)
    """
    with Program(spinning("tidying_for_ever", rest), tmp_path) as program:
        assert [program.line().split()[0] for _ in range(2)] == ["spinning"] * 2
        program.send(signal.SIGINT)
        assert program.line() == "tidied up"
        program.send(signal.SIGTERM)
        assert program.end() == (0, "143 Cancelled\n", INTERRUPTED)


def test_a_request_to_end_after_a_while_is_another_one(tmp_path: Path) -> None:
    rest = """
    from cloaca.running import interrupts

    interrupts.SAME_SECONDS = 0.0
    try:
        cloaca.DefaultRunner(workers=1).execute("spinning")
    except SystemExit:
        print("going on", flush=True)
    in_a_wait()
    """
    with Program(spinning("in_c", rest), tmp_path) as program:
        assert program.line().startswith("spinning")
        program.send(signal.SIGTERM)
        assert program.line() == "going on"
        program.send(signal.SIGTERM)
        assert program.end() == (-signal.SIGTERM, "", TOLD)


STARTING = """
import atexit
import os
import signal

import cloaca

class Loud:
    def __reduce__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        return Loud, ()

with cloaca.WorkflowBuilder("w"):

    @cloaca.task()
    def look(context):
        print("it has begun")

atexit.register(print, "exit handler")
try:
    with cloaca.DefaultRunner(workers=1) as runner:
        runner.execute("w", {"key": Loud()})
finally:
    print("put in order", flush=True)
"""


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_program_that_is_told_to_end_while_an_execution_starts(executor: str, tmp_path: Path) -> None:
    ended = run("-c", STARTING, cwd=tmp_path, CLOACA_EXECUTOR=executor)
    assert (ended.returncode, ended.stdout) == (143, "put in order\nexit handler\n"), ended.stderr


def test_a_program_that_is_told_to_end_while_it_waits_for_results_of_map(tmp_path: Path) -> None:
    rest = """
    import atexit
    atexit.register(print, "exit handler")

    def tidying_up(_):
        try:
            tidying()
        finally:
            open("tidied", "w").close()

    with cloaca.DefaultRunner(workers=1) as runner:
        list(runner.map(tidying_up, [0]))
    """
    with Program(spinning("in_c", rest), tmp_path) as program:
        assert program.line().startswith("spinning")
        program.send(signal.SIGTERM)
        code, printed, _ = program.end()
    assert (code, printed.splitlines()[-1]) == (143, "exit handler")
    assert (tmp_path / "tidied").exists()


def test_a_serial_program_that_is_told_to_end_ends_in_order(tmp_path: Path) -> None:
    rest = """
    import atexit
    atexit.register(print, "exit handler")
    with cloaca.DefaultRunner() as runner:
        runner.execute("spinning")
    """
    with Program(spinning("tidying", rest), tmp_path, CLOACA_EXECUTOR="serial") as program:
        assert [program.line().split()[0] for _ in range(2)] == ["spinning"] * 2
        program.send(signal.SIGTERM)
        assert program.end()[:2] == (143, "tidied up\nexit handler\n")


ALARMED = """
class Late(Exception):
    pass

def late(*_):
    raise Late

signal.signal(signal.SIGALRM, late)
runner = cloaca.DefaultRunner(workers=1, grace_seconds=3600)
try:
    runner.execute("spinning")
except Late:
    print("late", flush=True)

with cloaca.WorkflowBuilder("next"):

    @cloaca.task()
    def quick(context):
        context.set("n", 1)

print(runner.execute("next").status, flush=True)
"""


def test_an_alarm_of_the_program_ends_the_execution_that_it_interrupts(tmp_path: Path) -> None:
    with Program(spinning("tidying", ALARMED), tmp_path) as program:
        assert [program.line().split()[0] for _ in range(2)] == ["spinning"] * 2
        program.send(signal.SIGALRM)
        assert program.end() == (0, "tidied up\nlate\nCompleted\n", "")


DYING = """
import os
import signal

import cloaca

def reap(*_):
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass

signal.signal(signal.SIGCHLD, HANDLER)

with cloaca.WorkflowBuilder("w"):

    @cloaca.task()
    def die(context):
        os.kill(os.getpid(), signal.SIGSEGV)

with cloaca.DefaultRunner(workers=1) as runner:
    error = runner.execute("w").tasks["die"].error
    print(type(error).__name__, error.exit_code, error.signal, error, flush=True)
"""


@pytest.mark.parametrize("handler", ["signal.SIG_IGN", "reap"])
def test_how_a_worker_ended_is_not_guessed_where_nobody_tells(handler: str, tmp_path: Path) -> None:
    ended = run("-c", DYING.replace("HANDLER", handler), cwd=tmp_path)
    told = "WorkerDied None SIGSEGV", "WorkerDied None None"
    assert ended.stdout.startswith(told if handler == "reap" else told[1]), ended.stderr
    assert "SIGSEGV" in ended.stdout or "ignores SIGCHLD" in ended.stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_program_s_own_handler_is_left_alone(number: signal.Signals, tmp_path: Path) -> None:
    rest = f"""
    signal.signal({int(number)}, lambda *_: print("mine", flush=True))
    execution = cloaca.DefaultRunner(workers=1).start("spinning")
    try:
        execution.result(timeout=1000)
    except KeyboardInterrupt:
        print(execution.status, flush=True)
    """
    with Program(spinning("in_python", rest), tmp_path) as program:
        assert program.line().startswith("spinning")
        program.send(number)
        assert program.line() == "mine"
        program.send(signal.SIGINT)
        assert program.end() == (0, "Cancelled\n", INTERRUPTED)


def test_signals_act_as_before_when_nothing_is_waited_for(tmp_path: Path) -> None:
    with Program(SMALL + "input()", tmp_path) as program:
        assert [program.line(), program.line()] == PRINTED.splitlines()
        program.send(signal.SIGTERM)
        assert program.end() == (-signal.SIGTERM, "", "")


def folders_of(pid: int) -> list[Path]:
    """Where large values of a program live."""
    places = (Path(SHARED_MEMORY), Path(tempfile.gettempdir()))
    return [path for place in places for path in place.glob(f"{PREFIX}{pid}-*")]


def test_an_idle_worker_goes_when_its_program_is_killed(tmp_path: Path) -> None:
    rest = "print(result.final_context['pid'], flush=True)\ninput()"
    with Program(SMALL + rest, tmp_path) as program:
        *_, pid = (program.line() for _ in range(3))
        with watched([int(pid)]):
            program.send(signal.SIGKILL)
        assert program.end() == (-signal.SIGKILL, "", "")


def test_workers_go_although_the_thread_that_started_them_has_ended_before(tmp_path: Path) -> None:
    """And stay as long as the program does."""
    rest = """
import threading

thread = threading.Thread(target=runner.execute, args=("small", result.final_context))
thread.start()
thread.join()
print(runner.execute("small", result.final_context).final_context["pid"], flush=True)
input()
"""
    with Program(SMALL + rest, tmp_path) as program:
        *_, pid = (program.line() for _ in range(5))
        with watched([int(pid)]):
            program.send(signal.SIGKILL)
        assert program.end() == (-signal.SIGKILL, "", "")


# ---- programs that fork --------------------------------------------------------------------------------------------

FORKING = (
    SMALL
    + """
child = os.fork()
if not child:
    try:
        runner.execute("small", result.final_context)
    except ValueError as error:
        os.write(1, f"refused: {error}\\n".encode())
"""
)


def test_a_forked_child_is_refused_and_keeps_no_worker_alive(tmp_path: Path) -> None:
    rest = """
    import signal
    os.close(1)
    os.close(2)
    signal.pause()
os.write(1, f"{result.final_context['pid']} {child}\\n".encode())
input()
"""
    with Program(FORKING + rest, tmp_path) as program:
        *_, numbers, refused = sorted((program.line() for _ in range(4)), key=lambda line: line.startswith("refused"))
        worker, child = map(int, numbers.split())
        assert "Create a new one here" in refused
        with watched([worker]):
            program.send(signal.SIGKILL)
        assert program.end() == (-signal.SIGKILL, "", "")
        os.kill(child, signal.SIGKILL)  # it was there all the time


def test_a_forked_child_that_ends_like_a_program_harms_nobody(tmp_path: Path) -> None:
    rest = """
    sys.exit(0)
os.wait()
print(runner.execute("small", result.final_context).status)
"""
    ended = run("-c", FORKING + rest, cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    *before, refused, scaled, completed = ended.stdout.splitlines()
    assert (before, refused[:8], [scaled, completed]) == (PRINTED.splitlines(), "refused:", PRINTED.splitlines())


def test_a_forked_child_may_have_a_runner_of_its_own(tmp_path: Path) -> None:
    rest = """
if not os.fork():
    with cloaca.DefaultRunner(workers=1) as own:
        print("child", own.execute("small", result.final_context).status, flush=True)
    os._exit(0)
os.wait()
print("parent", runner.execute("small", result.final_context).status, flush=True)
"""
    ended = run("-c", SMALL + rest, cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert [line for line in ended.stdout.splitlines() if line.startswith(("child", "parent"))] == [
        "child Completed",
        "parent Completed",
    ]


def test_a_pool_of_multiprocessing_beside_a_runner(tmp_path: Path) -> None:
    rest = """
import multiprocessing

with multiprocessing.get_context("fork").Pool(2) as pool:
    print(pool.map(scale, [1, 2]))
print(runner.execute("small", result.final_context).status)
"""
    ended = run("-c", SMALL + rest, cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines()[2:] == ["[10, 20]", "scaled to 40", "Completed"]


EARLY = """
import os
import signal
from threading import Thread

os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGTERM))

def fork():
    child = os.fork()
    if not child:
        signal.pause()
    _, status = os.waitpid(child, 0)
    print("ended by", os.waitstatus_to_exitcode(status), flush=True)

def in_a_worker(do):
    from cloaca.attempts import termination
    termination.follow()
    do()

def in_a_program_that_waits(do):
    from cloaca.running import interrupts
    with interrupts.raised():
        do()
"""


@pytest.mark.parametrize("handler", ["in_a_worker", "in_a_program_that_waits"])
@pytest.mark.parametrize("thread", ["fork()", "thread = Thread(target=fork); thread.start(); thread.join()"])
def test_a_forked_child_that_is_told_to_end_before_its_first_step_ends(
    handler: str, thread: str, tmp_path: Path
) -> None:
    ended = run("-c", f"{EARLY}{handler}(lambda: exec({thread!r}, globals()))", cwd=tmp_path)
    assert (ended.stdout, ended.returncode, ended.stderr) == ("ended by -15\n", 0, "")


MEANWHILE = """
import os
import signal

os.register_at_fork(WHEN=lambda: os.kill(os.getpid(), signal.SIGTERM))

def fork():
    try:
        child = os.fork()
        if not child:
            os._exit(0)
        print("not told")
    except SystemExit as told:
        print("told", told.code)
        os.wait()

def in_a_worker():
    from cloaca.attempts import termination
    termination.follow()
    fork()

def in_a_program_that_waits():
    from cloaca.running import interrupts
    with interrupts.raised():
        fork()
"""


@pytest.mark.parametrize("place", ["in_a_worker", "in_a_program_that_waits"])
@pytest.mark.parametrize("when", ["before", "after_in_parent"])
def test_who_is_told_to_end_while_it_forks_is_told(place: str, when: str, tmp_path: Path) -> None:
    ended = run("-c", f"{MEANWHILE.replace('WHEN', when)}{place}()", cwd=tmp_path)
    assert (ended.stdout, ended.returncode, ended.stderr) == ("told 143\n", 0, "")


# ---- output that nobody reads --------------------------------------------------------------------------------------

TALKING = """
import cloaca

with cloaca.WorkflowBuilder("talking"):
    for n in range(4):

        @cloaca.task(id=f"talk {n}")
        def talk(context, n=n):
            for line in range(20_000):
                print("a line of some length", line)
            context.set(f"done {n}", True)

with cloaca.DefaultRunner(workers=2) as runner:
    result = runner.execute("talking")
with open("result.txt", "w") as file:
    print(result.status, len(result.final_context), file=file)
"""


@pytest.mark.parametrize("executor", ["processes"])
def test_a_reader_that_has_seen_enough_changes_no_result(executor: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(TALKING)
    ended = subprocess.run(
        ["bash", "-c", '"$0" program.py | head -n 2', sys.executable],
        cwd=tmp_path,
        env=environment(CLOACA_EXECUTOR=executor),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert ended.stdout.count("a line of some length") == 2
    assert (tmp_path / "result.txt").read_text() == "Completed 4\n"


def test_a_program_without_standard_streams(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(TALKING)
    command = ["bash", "-c", '"$0" program.py <&- >&- 2>&-', sys.executable]
    ended = subprocess.run(command, cwd=tmp_path, env=environment(), timeout=PATIENCE, check=False)
    assert ended.returncode == 0
    assert (tmp_path / "result.txt").read_text() == "Completed 4\n"


def test_a_terminal_that_cannot_show_every_character(tmp_path: Path) -> None:
    program = SMALL.replace('print("scaled to", context["scaled"])', 'print("\\u20ac"); print("and then")')
    ended = run("-c", program, cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert ended.returncode == 0
    assert "and then\nCompleted\n" in ended.stdout


# ---- what lives in __main__ ----------------------------------------------------------------------------------------


def test_classes_and_functions_of_main_travel_both_ways(tmp_path: Path) -> None:
    program = """
    import enum
    import logging
    from collections import namedtuple
    from dataclasses import dataclass

    import cloaca

    class Colour(enum.Enum):
        RED = 1

    @dataclass
    class Point:
        x: int
        colour: Colour = Colour.RED
        def moved(self):
            return Point(self.x + step())

    Pair = namedtuple("Pair", "one other")

    class Mine(Exception):
        pass

    def step():
        return STEP

    STEP = 1

    with cloaca.WorkflowBuilder("classes"):

        @cloaca.task()
        def make(context):
            assert isinstance(context["given"], Point) and context["given"].colour is Colour.RED
            context.set("made", [context["given"].moved(), Pair(1, Colour.RED)])

        @cloaca.task(dependencies=["make"])
        def check(context):
            assert isinstance(context["made"][0], Point) and isinstance(context["made"][1], Pair)
            context.set("checked", context["made"][0] == Point(context["given"].x + STEP))
            raise Mine("own")

    logging.disable()
    with cloaca.DefaultRunner(workers=2) as runner:
        for STEP in (1, 5):
            result = runner.execute("classes", cloaca.Context({"given": Point(1)}))
            point, pair = result.final_context["made"]
            print(point, type(point) is Point, point.colour is Colour.RED, type(pair) is Pair)
            print(type(result.tasks["check"].error) is Mine, "checked" in result.final_context)
    """
    ended = run("-c", dedent(program), cwd=tmp_path)
    printed = "".join(f"Point(x={x}, colour=<Colour.RED: 1>) True True True\nTrue False\n" for x in (2, 6))
    assert_clean(ended, printed)


def test_arrays_and_frames_travel_both_ways(tmp_path: Path) -> None:
    program = """
    import numpy as np
    import pandas as pd

    import cloaca

    with cloaca.WorkflowBuilder("frames"):

        @cloaca.task()
        def split(context):
            frame = context["frame"]
            frame["twice"] = 2 * frame["n"]
            context.set("frame", frame)
            array = context["array"]
            array *= 2
            context.set("column", array[:, 1])

        @cloaca.task(dependencies=[split])
        def total(context):
            context.set("totals", (context["frame"]["twice"].sum(), context["column"].sum(), context["array"].sum()))

    frame = pd.DataFrame({"n": range(1000), "text": list("abcde") * 200, "when": pd.Timestamp("2026-01-02")})
    array = np.arange(2_000_000, dtype="float64").reshape(-1, 2)
    with cloaca.DefaultRunner(workers=2) as runner:
        result = runner.execute("frames", cloaca.Context({"frame": frame, "array": array}))
    result.raise_for_status()
    final = result.final_context
    assert list(frame.columns) == ["n", "text", "when"] and array[0, 1] == 1
    pd.testing.assert_frame_equal(final["frame"], frame.assign(twice=2 * frame["n"]))
    np.testing.assert_array_equal(final["column"], 2 * array[:, 1])
    assert final["column"].flags.writeable and final["array"].dtype == array.dtype
    assert final["totals"] == (999000, 2.0 * array[:, 1].sum(), array.sum())
    print([type(number).__name__ for number in final["totals"]])
    """
    assert_clean(run("-c", dedent(program), cwd=tmp_path), "['int64', 'float64', 'float64']\n")


def test_ctrl_c_ends_a_program_whose_output_nobody_reads(tmp_path: Path) -> None:
    script = """
    import os, signal, cloaca

    with cloaca.WorkflowBuilder("noisy"):

        @cloaca.task()
        def noisy(context):
            for _ in range(10_000):
                print("x" * 80)
            os.kill(context["program"], signal.SIGINT)
            signal.pause()

    with cloaca.DefaultRunner(workers=1) as runner:
        try:
            runner.execute("noisy", cloaca.Context({"program": os.getpid()}))
        except KeyboardInterrupt as interrupt:
            os._exit(7 if interrupt.result.status == "Cancelled" else 8)
    """
    (tmp_path / "program.py").write_text(dedent(script))
    with subprocess.Popen(
        [sys.executable, "program.py"], cwd=tmp_path, env=environment(), stdout=subprocess.PIPE
    ) as program:
        try:
            assert program.wait(PATIENCE) == 7
        finally:
            program.kill()


@pytest.mark.parametrize(("number", "end"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 143)])
def test_what_tasks_started_goes_with_a_program_that_is_killed(
    number: signal.Signals, end: int, tmp_path: Path
) -> None:
    script = """
    import os, subprocess, cloaca

    with cloaca.WorkflowBuilder("starting"):

        @cloaca.task()
        def start(context):
            subprocess.run(["sh", "-c", "echo started; exec sleep 1000"])

    cloaca.DefaultRunner(workers=1).execute("starting")
    """
    with Program(dedent(script), tmp_path) as program:
        assert program.line() == "started"
        program.send(number)
        code, rest, _ = program.end()
    assert (code, rest) == (end, "")


@pytest.mark.parametrize("flag", ["-E", "-I", "-O", "-Xdev"])
def test_workers_hash_alike_whatever_the_flags_of_the_interpreter(flag: str, tmp_path: Path) -> None:
    script = f"""
    import sys
    sys.path.insert(0, {environment()["PYTHONPATH"]!r})
    import cloaca

    with cloaca.WorkflowBuilder("hashing", check="off"):
        for n in range(4):
            cloaca.task(id=f"t{{n}}")(lambda context: context.set("letters", "".join({{"a", "b", "c", "d", "e"}})))

    with cloaca.DefaultRunner(workers=2) as runner:
        print(runner.execute("hashing").conflicts)
    """
    ended = run(flag, "-c", dedent(script), cwd=tmp_path)
    assert (ended.stdout, ended.stderr) == ("{}\n", "")
