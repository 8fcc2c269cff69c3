"""What a task changes of its process holds until it ends, and the next task in that worker finds it as before."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.support import Desk, published, written

import cloaca
from cloaca import Context
from cloaca.execution import workforce
from cloaca.execution.attempt import TaskFunction
from cloaca.execution.pool import Pool
from cloaca.execution.surroundings import here
from cloaca.wire.messages import Done, Failed, Lost

DeskOf = Callable[..., Desk]
Change = Callable[[], Any]
Look = Callable[[], Any]


@pytest.fixture
def desk_of() -> Iterator[DeskOf]:
    """Makes a desk at a pool of one worker that knows the functions given, by their place."""
    with ExitStack() as stack:

        def make(*functions: TaskFunction) -> Desk:
            pool = Pool(1, {"FROM_THE_POOL": "1"})
            stack.callback(pool.close)
            pool.publish(published(*functions))
            return Desk(pool)

        yield make


# ---- the table -----------------------------------------------------------------------------------------------------


def handlers() -> list[Any]:
    return [str(signal.getsignal(number)) for number in sorted(signal.valid_signals())]


def timers() -> list[bool]:
    return [signal.getitimer(timer) == (0.0, 0.0) for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL)]


def wakeup_fd() -> int:
    current = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(current)
    return current


def wake_up_by_a_pipe() -> None:
    writer = os.pipe()[1]
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)


def mask() -> set[int]:
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, []))


def umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def unset_all() -> None:
    os.environ.clear()


def gc_is_enabled() -> bool:
    import gc

    return gc.isenabled()


def disable_gc() -> None:
    import gc

    gc.disable()


def precision() -> int:
    import decimal

    return decimal.getcontext().prec


def set_precision() -> None:
    import decimal

    decimal.getcontext().prec = 3


def hour() -> int:
    return time.localtime(0).tm_hour


def go_east() -> None:
    os.environ["TZ"] = "XXX-9"
    time.tzset()


def toggle_writing_of_bytecode() -> None:
    sys.dont_write_bytecode = not sys.dont_write_bytecode


CHANGES: dict[str, tuple[Look, Change]] = {
    "a variable": (lambda: dict(os.environb), lambda: os.environ.__setitem__("NEW", "1")),
    "a variable of bytes": (lambda: dict(os.environb), lambda: os.environb.__setitem__(b"N\xff", b"\xfe")),
    "a variable that is gone": (lambda: dict(os.environb), lambda: os.environ.__delitem__("PATH")),
    "a variable of the pool": (lambda: os.environ["FROM_THE_POOL"], lambda: os.environ.update(FROM_THE_POOL="2")),
    "all variables": (lambda: dict(os.environb), unset_all),
    "the time zone": (hour, go_east),
    "a handler": (handlers, lambda: signal.signal(signal.SIGTERM, lambda *_: None)),
    "an ignored signal": (handlers, lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN)),
    "the handler of Ctrl-C": (handlers, lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)),
    "an alarm": (timers, lambda: signal.alarm(60)),
    "a timer": (timers, lambda: signal.setitimer(signal.ITIMER_VIRTUAL, 60, 60)),
    "the wake-up descriptor": (wakeup_fd, wake_up_by_a_pipe),
    "blocked signals": (mask, lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1])),
    "the umask": (umask, lambda: os.umask(0o123)),
    "the recursion limit": (sys.getrecursionlimit, lambda: sys.setrecursionlimit(5000)),
    "how many digits may be text": (sys.get_int_max_str_digits, lambda: sys.set_int_max_str_digits(0)),
    "the switch interval": (sys.getswitchinterval, lambda: sys.setswitchinterval(0.007)),
    "whether bytecode is written": (lambda: sys.dont_write_bytecode, toggle_writing_of_bytecode),
    "the garbage collector": (gc_is_enabled, disable_gc),
    "decimal's precision": (precision, set_precision),
    "the directory": (os.getcwd, lambda: os.chdir("/")),
    "sys.path": (lambda: list(sys.path), lambda: sys.path.append("/elsewhere")),
}


@pytest.mark.parametrize(("look", "change"), CHANGES.values(), ids=CHANGES.keys())
def test_it_holds_within_the_task_and_is_put_back_after_it(desk_of: DeskOf, look: Look, change: Change) -> None:
    def alter(context: Context) -> None:
        before = look()
        change()
        context.set("seen", (before, look()))

    def fail_then(context: Context) -> None:
        change()
        raise LookupError

    desk = desk_of(alter, fail_then, lambda context: context.set("seen", look()))
    ends = desk.run([2, 0, 2, 1, 2])
    first, (before, changed), after, after_failure = (written(ends[place])["seen"] for place in (0, 1, 2, 4))
    assert isinstance(ends[3], Failed)
    assert changed != before == first == after == after_failure


# ---- signals that a task leaves behind -----------------------------------------------------------------------------


def leave_a_pending_signal(_: Context) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    os.kill(os.getpid(), signal.SIGUSR1)


def leave_a_hail_of_alarms(_: Context) -> None:
    def raise_it(*_: object) -> None:
        raise TimeoutError("an alarm")

    signal.signal(signal.SIGALRM, raise_it)
    signal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)


def fail_in_a_hail_of_alarms(context: Context) -> None:
    leave_a_hail_of_alarms(context)
    while True:
        pass


def leave_an_alarm_that_kills(_: Context) -> None:
    signal.setitimer(signal.ITIMER_REAL, 1e-3)


@pytest.mark.parametrize("ending", [leave_a_pending_signal, leave_an_alarm_that_kills])
def test_a_signal_that_is_under_way_harms_nobody(desk_of: DeskOf, ending: TaskFunction) -> None:
    desk = desk_of(ending, lambda context: context.set("n", sum(range(100_000))))
    assert [type(end) for end in desk.run([0, 1] * 10)] == [Done, Done] * 10


@pytest.mark.parametrize("ending", [leave_a_hail_of_alarms, fail_in_a_hail_of_alarms])
def test_a_hail_of_alarms_ends_with_its_task(desk_of: DeskOf, ending: TaskFunction) -> None:
    desk = desk_of(ending, lambda context: context.set("pid", os.getpid()))
    ends = desk.run([0, 1] * 20)
    assert {type(end) for end in ends[::2]} <= {Done, Failed}
    assert len({written(end)["pid"] for end in ends[1::2]}) == 1


def test_a_request_to_end_that_a_task_has_blocked_is_heard_when_it_has_ended(desk_of: DeskOf) -> None:
    def block_it(_: Context) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        os.kill(os.getpid(), signal.SIGTERM)

    (end,) = desk_of(block_it).run([0])
    assert isinstance(end, Lost)
    assert end.signal == "SIGTERM"


def test_a_worker_s_functions_of_signals_are_like_python_s(desk_of: DeskOf) -> None:
    from signal import alarm, setitimer, sigwait
    from signal import signal as handle

    def use(context: Context) -> None:
        from threading import Thread

        caught: list[str] = []

        def handle_in_a_thread() -> None:
            try:
                handle(signal.SIGUSR1, signal.SIG_IGN)
            except ValueError as error:
                caught.append(str(error))

        thread = Thread(target=handle_in_a_thread)
        thread.start()
        thread.join()
        context.set("caught", caught)
        context.set("returned", (alarm(50), alarm(0), setitimer(signal.ITIMER_REAL, 0)))
        context.set("functions", (handle, alarm, setitimer, sigwait, os.umask, signal.pthread_sigmask))
        context.set("child", os.waitpid(os.fork() or os._exit(handle(signal.SIGTERM, signal.SIG_DFL) != 0), 0)[1])

    found = written(desk_of(use).run([0])[0])
    assert "main thread" in found["caught"][0]
    assert found["returned"] == (0, 50, (0.0, 0.0))
    assert found["functions"] == (handle, alarm, setitimer, sigwait, os.umask, signal.pthread_sigmask)
    assert found["child"] == 0


# ---- the program's own changes -------------------------------------------------------------------------------------


def test_tasks_find_the_environment_and_the_limits_that_the_program_has_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with cloaca.WorkflowBuilder("tell"):

        @cloaca.task()
        def tell(context):
            limits = sys.getrecursionlimit(), sys.get_int_max_str_digits(), sys.getswitchinterval()
            variables = os.environ.get("NEWS"), os.environb.get(b"B\xff")
            context.set("seen", (os.getpid(), *variables, *limits, sys.dont_write_bytecode))

    limit, digits, interval = sys.getrecursionlimit(), sys.get_int_max_str_digits(), sys.getswitchinterval()
    own = limit, digits, interval, sys.dont_write_bytecode
    with cloaca.DefaultRunner(workers=1, executor="processes") as runner:

        def seen() -> Any:
            return runner.execute("tell").final_context["seen"]

        pid, *before = seen()
        with monkeypatch.context() as patch:
            patch.setenv("NEWS", "today")
            patch.setattr(sys, "dont_write_bytecode", not sys.dont_write_bytecode)
            os.environb[b"B\xff"] = b"\xfe"
            sys.setrecursionlimit(limit + 100)
            sys.set_int_max_str_digits(0)
            sys.setswitchinterval(0.000_029_1)
            during, changed = seen(), (sys.getswitchinterval(), sys.dont_write_bytecode)
        del os.environb[b"B\xff"]
        sys.setrecursionlimit(limit)
        sys.set_int_max_str_digits(digits)
        sys.setswitchinterval(interval)
        assert before == [None, None, *own]
        assert during == (pid, "today", b"\xfe", limit + 100, 0, *changed)
        assert seen() == (pid, *before)


def test_a_worker_starts_in_the_environment_that_the_program_has_then(
    desk_of: DeskOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = desk_of(lambda context: context.set("seen", Path("/proc/self/environ").read_bytes()))
    monkeypatch.setenv("NEWS", "today")
    desk.executor.surround(here())
    variables = written(desk.run([0])[0])["seen"].split(b"\0")
    assert {b"NEWS=today", b"FROM_THE_POOL=1"} <= set(variables)


# ---- the end of a worker -------------------------------------------------------------------------------------------


def test_threads_that_tasks_leave_hold_up_no_end(
    desk_of: DeskOf, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "trace"

    def leave(_: Context) -> None:
        import atexit
        import threading
        from concurrent.futures import ThreadPoolExecutor

        threading.Thread(target=threading.Event().wait).start()
        ThreadPoolExecutor().submit(threading.Event().wait)
        atexit.register(trace.touch)
        atexit.register(print, "good", "bye", end="")
        atexit.register(lambda: 1 / 0)

    monkeypatch.setattr(workforce, "GRACE_SECONDS", 3600.0)  # who waits for the threads, waits too long
    desk = desk_of(leave)
    desk.run([0])
    desk.executor.close()
    assert trace.exists()
    told = capfd.readouterr()
    assert told.out == "good bye\n"
    assert "ZeroDivisionError" in told.err


def test_the_exit_function_of_multiprocessing_runs(desk_of: DeskOf, tmp_path: Path) -> None:
    trace = tmp_path / "trace"

    def register(_: Context) -> None:
        from multiprocessing.util import Finalize

        Finalize(None, trace.touch, exitpriority=1)

    desk = desk_of(register)
    desk.run([0])
    desk.executor.close()
    assert trace.exists()
