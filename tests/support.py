"""What the tests of processes share: programs as users start them, named pipes, runners."""

import linecache
import os
import re
import resource
import select
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, Self

import psutil

import cloaca
from cloaca import Context, DefaultRunner
from cloaca.testing.desk import EndOfAttempt
from cloaca.wire.messages import Lost

PATIENCE = 20.0  # seconds after which something that should come is given up: never what a test measures


# ---- code that has a source ---------------------------------------------------------------------------------------

_cells = count()


def defined(source: str, **scope: Any) -> dict[str, Any]:
    """What a piece of source defines, as a cell of a notebook would: the source can be looked up."""
    name = f"<defined {next(_cells)}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    exec(compile(source, name, "exec"), scope)
    return scope


# ---- executors without a run ----------------------------------------------------------------------------------------


def killer_of(end: EndOfAttempt) -> str | None:
    """The signal that ended the worker of an attempt that was lost."""
    assert isinstance(end, Lost), end
    return end.signal


# ---- meeting points ------------------------------------------------------------------------------------------------


def without_places(message: str | None) -> str:
    """An error message without the files and lines that it names in brackets."""
    return re.sub(r" \([^()\n]+\.py:\d+\)", "", message or "")


def pipe(path: Path) -> Path:
    """A named pipe: who opens it to read and who opens it to write wait for each other."""
    os.mkfifo(path)
    return path


@contextmanager
def watched(processes: Iterable[int]) -> Iterator[None]:
    """In the end every one of these processes has ended. (A process that nobody has waited for counts as ended.)"""
    descriptors = [os.pidfd_open(pid) for pid in processes]
    assert descriptors, "there is no process to watch"
    try:
        yield
        alive = [descriptor for descriptor in descriptors if not select.select([descriptor], [], [], PATIENCE)[0]]
        assert not alive, f"{len(alive)} of {len(descriptors)} processes live on"
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


# ---- what lacks -----------------------------------------------------------------------------------------------------


@contextmanager
def no_descriptors() -> Iterator[Callable[[], None]]:
    """This process can open nothing, until the block ends or what is given is called."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    held: list[int] = []
    with ExitStack() as undo:
        undo.callback(lambda: deque(map(os.close, held), 0))
        undo.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (max(int(path.name) for path in Path("/dev/fd").iterdir()) + 1, limits[1])
        )
        with suppress(OSError):
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        yield undo.close


# ---- runners that tests share ----------------------------------------------------------------------------------------


@contextmanager
def ready(
    *, workers: int = 1, executor: Literal["processes", "serial"] = "processes", **options: Any
) -> Iterator[DefaultRunner]:
    """A runner all of whose workers are there, for tests that share it: none of them may end one."""
    with DefaultRunner(workers=workers, executor=executor, **options) as runner:
        if executor == "processes":
            with TemporaryDirectory() as folder:
                runner.execute(_meeting([pipe(Path(folder) / f"{number}") for number in range(1, workers)]))
        yield runner


def _meeting(pipes: Sequence[Path]) -> cloaca.Workflow:
    """Tasks that all run at once, one more than there are pipes: one holds them all open, each other one reads one."""

    def hold(_: Context) -> None:
        with ExitStack() as held:
            for path in pipes:
                held.enter_context(path.open("w"))

    with cloaca.WorkflowBuilder("all workers meet") as builder:
        cloaca.task(id="hold")(hold)
        for number, path in enumerate(pipes):
            cloaca.task(id=f"read {number}")(lambda _, path=path: path.read_text())
    return builder.build()


# ---- workflows -----------------------------------------------------------------------------------------------------


def in_a_row(name: str, *tasks: Any) -> str:
    """Define a workflow of these functions, one after another. Returns its name."""
    with cloaca.WorkflowBuilder(name):
        for n, task in enumerate(tasks):
            cloaca.task(id=f"{task.__name__} {n}", dependencies=[f"{tasks[n - 1].__name__} {n - 1}"] if n else [])(task)
    return name


# ---- programs ------------------------------------------------------------------------------------------------------


def environment(**more: str) -> dict[str, str]:
    """The environment of a user's program that finds cloaca where the tests found it, and whose lines come at once.

    Python 3.12 and newer warn of every fork in a program that has a second thread: that is what the tests are about.
    """
    assert cloaca.__file__ is not None
    inherited = {name: value for name, value in os.environ.items() if name not in ("CI", "CLOACA_EXECUTOR")}
    return {
        **inherited,
        "PYTHONPATH": str(Path(cloaca.__file__).parents[1]),
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore:This process:DeprecationWarning",
        **more,
    }


def run(*arguments: str, cwd: Path, given: str = "", **more: str) -> "subprocess.CompletedProcess[str]":
    """Run `python` with these arguments to its end, and that of all its workers: they hold the same pipes."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment(**more),
        input=given,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def output_of(*arguments: str) -> str:
    """What `python` prints with these arguments. It ends well, in an environment that has nothing but cloaca."""
    path = {"PYTHONPATH": environment()["PYTHONPATH"]}
    run = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=path, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


class Program:
    """A script that is running, in a session of its own: its lines as they come, and its end.

    Workers hold the standard output of their program. So its end of file means that all of them have gone.
    """

    def __init__(self, script: str, folder: Path, **more: str) -> None:
        path = folder / "program.py"
        path.write_text(script, encoding="utf-8")
        self._errors = folder / "errors.txt"
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                [sys.executable, str(path)],
                cwd=folder,
                env=environment(**more),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def line(self) -> str:
        """The next line that it prints."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().rstrip("\n")

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the program alone."""
        self._process.send_signal(number)

    def enter(self) -> None:
        """Answer the program's `input()`."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def complains(self, text: str) -> None:
        """Wait until that stands among its errors."""
        deadline = time.monotonic() + PATIENCE
        while text not in self._errors.read_text(encoding="utf-8"):
            assert time.monotonic() < deadline, f"{text!r} was never said"
            time.sleep(0.01)

    def end(self) -> tuple[int, str, str]:
        """Wait until it has ended with all its workers; its exit code, the rest of its output, and all its errors."""
        assert self._process.stdout is not None
        rest = self._process.stdout.read()
        return self._process.wait(), rest, self._errors.read_text(encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pid in _session(self._process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.communicate()


def _session(leader: int) -> list[int]:
    """The processes of a session."""

    def belongs(pid: int) -> bool:
        with suppress(ProcessLookupError):
            return os.getsid(pid) == leader
        return False

    return [pid for pid in psutil.pids() if belongs(pid)]
