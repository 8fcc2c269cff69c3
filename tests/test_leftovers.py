"""What a task changes of its process holds until it ends, and the next task in that worker finds it as before."""

import cProfile
import gc
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import cloaca
from cloaca import Context
from cloaca.attempts.attempt import TaskFunction
from cloaca.border.surroundings import here
from cloaca.pool import workforce
from cloaca.pool.pool import Pool
from cloaca.testing.desk import Desk, published, written
from cloaca.wire.messages import Done, Failed, Lost, Said

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


def collector() -> Any:
    import gc

    return gc.isenabled(), gc.get_threshold(), gc.get_debug(), gc.get_freeze_count() > 0


def set_collector() -> None:
    import gc

    gc.disable()
    gc.set_threshold(1, 2, 3)
    gc.freeze()


def tracers() -> Any:
    return sys.gettrace(), sys.getprofile(), threading.gettrace(), threading.getprofile()


def ignore(*_: Any) -> None:
    """A tracer, a profiler, a hook."""


def set_tracers() -> None:
    for put in (threading.settrace, threading.setprofile, sys.setprofile, sys.settrace):
        put(ignore)


def hooks() -> list[str]:
    own = (sys.excepthook, sys.displayhook, sys.unraisablehook, sys.breakpointhook, sys.stdin, threading.excepthook)
    return [repr(hook) for hook in own]


def set_hooks() -> None:
    sys.excepthook = sys.displayhook = sys.unraisablehook = sys.breakpointhook = threading.excepthook = ignore
    sys.stdin = io.StringIO("text")


def of_interpreter() -> Any:
    hooks = [str(hook) for hook in sys.get_asyncgen_hooks()]
    return hooks, sys.get_coroutine_origin_tracking_depth(), sys.getdlopenflags()


def set_up_interpreter() -> None:
    sys.set_asyncgen_hooks(ignore, ignore)
    sys.set_coroutine_origin_tracking_depth(5)
    sys.setdlopenflags(1)


def limits() -> Any:
    import resource

    return [
        resource.getrlimit(number) for number in (resource.RLIMIT_AS, resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE)
    ]


def set_limits() -> None:
    import resource

    for number in (resource.RLIMIT_AS, resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE):
        resource.setrlimit(number, (3, resource.getrlimit(number)[1]))


def set_hard_limit() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (30, 30))


def scheduling() -> Any:
    return os.sched_getaffinity(0), os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0)


def pin() -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def language() -> str:
    import locale

    return locale.setlocale(locale.LC_ALL)


def set_language() -> None:
    import locale

    locale.setlocale(locale.LC_NUMERIC, "C" if "LC_NUMERIC=C.U" in language() else "C.UTF-8")


def traps() -> Any:
    import decimal

    return decimal.getcontext().traps[decimal.Inexact], decimal.getcontext().rounding


def set_traps() -> None:
    import decimal

    decimal.getcontext().traps[decimal.Inexact] = True
    decimal.getcontext().rounding = decimal.ROUND_UP


def is_tracing_faults() -> bool:
    import faulthandler

    return faulthandler.is_enabled()


def toggle_tracing_of_faults() -> None:
    import faulthandler

    (faulthandler.disable if faulthandler.is_enabled() else faulthandler.enable)()
    faulthandler.register(signal.SIGUSR2)


def patience_of_sockets() -> Any:
    import socket

    return socket.getdefaulttimeout()


def set_patience_of_sockets() -> None:
    import socket

    socket.setdefaulttimeout(7)


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
    "the garbage collector": (collector, set_collector),
    "tracers and profilers": (tracers, set_tracers),
    "hooks": (hooks, set_hooks),
    "the interpreter": (of_interpreter, set_up_interpreter),
    "limits of resources": (limits, set_limits),
    "a hard limit": (limits, set_hard_limit),
    "cores and scheduling": (scheduling, pin),
    "niceness": (scheduling, lambda: os.nice(3)),
    "the locale": (language, set_language),
    "decimal's traps": (traps, set_traps),
    "the faulthandler": (is_tracing_faults, toggle_tracing_of_faults),
    "how long sockets wait": (patience_of_sockets, set_patience_of_sockets),
    "the size of stacks": (threading.stack_size, lambda: threading.stack_size(1 << 20)),
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


# ---- settings of the process ---------------------------------------------------------------------------------------


def test_what_a_library_sets_as_it_is_imported_is_put_back(
    desk_of: DeskOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By calls of C, that is, which nobody sees."""
    code = "import ctypes, os\nctypes.CDLL(None).setpriority(0, 0, os.getpriority(0, 0) + 5)\n"
    (tmp_path / "native_tuning.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)

    def use(_: Context) -> None:
        __import__("native_tuning")

    desk = desk_of(use, lambda context: context.set("seen", os.getpriority(0, 0)))
    ends = desk.run([1, 0, 1])
    assert written(ends[0]) == written(ends[2])


def test_a_hook_may_be_deleted(desk_of: DeskOf) -> None:
    def delete(_: Context) -> None:
        del sys.excepthook, threading.excepthook

    desk = desk_of(delete, lambda context: context.set("seen", hooks()))
    ends = desk.run([1, 0, 1])
    assert written(ends[0]) == written(ends[2])


def test_what_can_not_be_put_back_is_the_end_of_the_worker_and_of_nothing_else(desk_of: DeskOf) -> None:
    def ruin(context: Context) -> None:
        context.set("pid", os.getpid())
        context.set("large", b"x" * 100_000)
        sys.modules.clear()

    desk = desk_of(ruin, lambda context: context.set("pid", os.getpid()))
    ends = desk.run([0, 0, 0, 0, 1, 0, 1, 1])
    ruined, others = (
        [written(end)["pid"] for end in ends if ("large" in written(end)) is is_ruined] for is_ruined in (True, False)
    )
    assert len({*ruined}) == 5
    assert {type(end) for end in ends} == {Done}
    assert others[0] == ruined[4]  # it was whole until then
    assert others[1] == others[2] not in ruined


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may")
def test_another_user_and_another_root_end_with_their_task(desk_of: DeskOf) -> None:
    def leave(_: Context) -> None:
        os.setgid(12345)
        os.setuid(12345)

    def go_to_jail(_: Context) -> None:
        os.chroot("/usr")

    desk = desk_of(leave, go_to_jail, lambda context: context.set("seen", (os.getuid(), sorted(Path("/").iterdir()))))
    first, *_, third, _, fifth = (end for end in desk.run([2, 0, 2, 1, 2]))
    assert written(first) == written(third) == written(fifth)


def test_what_the_initializer_has_set_is_what_tasks_find_again_and_again() -> None:
    def prepare() -> None:
        import gc
        import socket

        gc.set_threshold(5000, 20, 20)
        socket.setdefaulttimeout(1.5)
        sys.excepthook = ignore

    def look(_: int) -> Any:
        import gc
        import socket

        seen = gc.get_threshold(), socket.getdefaulttimeout(), sys.excepthook.__name__
        gc.set_threshold(1, 1, 1)
        socket.setdefaulttimeout(3)
        sys.excepthook = sys.__excepthook__
        return seen

    with cloaca.DefaultRunner(workers=1, executor="processes", initializer=prepare) as runner:
        seen = list(runner.map(look, range(4), chunksize=1))
    assert seen == [((5000, 20, 20), 1.5, "ignore")] * 4


def test_a_detached_stream_costs_nothing(desk_of: DeskOf) -> None:
    def detach(context: Context) -> None:
        assert isinstance(sys.stdout, io.TextIOWrapper)
        assert isinstance(sys.stderr, io.TextIOWrapper)
        sys.stdout = io.TextIOWrapper(sys.stdout.detach(), encoding="utf-8")
        sys.stderr.detach()
        print("text")
        context.set("done", True)

    desk = desk_of(detach, lambda _: print("more"))
    ends = desk.run([0, 1, 0, 1])
    assert {type(end) for end in ends} == {Done}
    said = "".join(event.text for event in desk.events if isinstance(event, Said))
    assert sorted(said.split()) == ["more", "more", "text", "text"]


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
    signal.setitimer(signal.ITIMER_REAL, 0.2)  # long after this task has ended, and before those after it have


@pytest.mark.parametrize("ending", [leave_a_pending_signal, leave_an_alarm_that_kills])
def test_a_signal_that_is_under_way_harms_nobody(desk_of: DeskOf, ending: TaskFunction) -> None:
    desk = desk_of(ending, lambda context: context.set("n", sum(range(1_000_000))))
    assert {type(end) for end in desk.run([0] + [1] * 40)} == {Done}


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


def test_a_worker_that_reads_and_writes_values_has_no_setting_to_put_back() -> None:
    """The settings of the garbage collector are read where something may have changed: here nothing has."""

    def count(_: Context) -> None:
        def counting() -> int:
            gc.looks += 1  # type: ignore[attr-defined]
            return look()

        gc.looks, look = 0, gc.get_debug  # type: ignore[attr-defined]
        gc.get_debug = counting

    with cloaca.WorkflowBuilder("reading and writing") as builder:
        cloaca.task(id="first")(count)
        for number in range(3):
            append = lambda context: context.set("values", [*context["values"], {"of": (1, 2)}])  # noqa: E731
            cloaca.task(id=f"append {number}", dependencies=[f"append {number - 1}" if number else "first"])(append)
        tell = lambda context: context.set("looks", gc.looks)  # type: ignore[attr-defined]  # noqa: E731
        cloaca.task(id="last", dependencies=["append 2"])(tell)
    with cloaca.DefaultRunner(workers=1, executor="processes") as runner:
        runner.execute(builder, {"values": []})
        assert runner.execute(builder, {"values": []}).final_context["looks"] == 0


def start_profiler() -> None:
    """It is made in C: before Python 3.12, it is what `sys.getprofile` returns, and nothing to be called."""
    cloaca.worker_state.profiler = cProfile.Profile()
    cloaca.worker_state.profiler.enable()


def test_a_profiler_that_is_on_before_tasks_fails_none() -> None:
    with cloaca.WorkflowBuilder("profiled") as builder:

        @cloaca.task()
        def fail(context: Context) -> None:
            raise ValueError("as it says itself")

        @cloaca.task(dependencies=[fail], trigger_rule="all_done")
        def displace(context: Context) -> None:
            sys.setprofile(ignore)

        @cloaca.task(dependencies=[displace])
        def last(context: Context) -> None:
            context.set("profiler", repr(sys.getprofile()))

    with cloaca.DefaultRunner(workers=1, initializer=start_profiler) as runner:
        result = runner.execute(builder)
    assert (result.error_message or "").startswith("Task 'fail' failed: ValueError: as it says itself")
    assert [result.tasks[task].status for task in ("displace", "last")] == ["Completed", "Completed"]
    assert "ignore" not in result.final_context["profiler"]
