"""What the tests of processes share: a coordinator's desk without a run, programs as users start them, named pipes."""

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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, Self, TypeVar

import psutil

import cloaca
from cloaca import Context, DefaultRunner
from cloaca.attempts.attempt import TaskFunction
from cloaca.border.mark import NONE
from cloaca.errors import INPUT
from cloaca.execution.executor import Executor
from cloaca.pickling.functions import capture
from cloaca.values.codec import decode, encode
from cloaca.wire.messages import (
    Answer,
    Assignment,
    Done,
    Event,
    Failed,
    Item,
    Logged,
    Lost,
    Outcome,
    Publish,
    Skipped,
    Slice,
    Started,
    Unstarted,
    Version,
    Wants,
)

PATIENCE = 20.0  # seconds after which something that should come is given up: never what a test measures

End = Done | Failed | Skipped | Lost | Unstarted
Kind = TypeVar("Kind", bound=Event)


# ---- code that has a source ---------------------------------------------------------------------------------------

_cells = count()


def defined(source: str, **scope: Any) -> dict[str, Any]:
    """What a piece of source defines, as a cell of a notebook would: the source can be looked up."""
    name = f"<defined {next(_cells)}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    exec(compile(source, name, "exec"), scope)
    return scope


# ---- an executor without a run -------------------------------------------------------------------------------------


class Desk:
    """The coordinator's side of an executor: submits, answers, collects, and holds it to the order of its events.

    `world` is the context that every attempt sees; `answered` tells what was asked for.
    """

    def __init__(
        self, executor: Executor, world: Mapping[str, Any] | None = None, outcomes: Mapping[str, Outcome] | None = None
    ) -> None:
        self.executor = executor
        self.ends: dict[int, End] = {}
        self.events: list[Event] = []
        self.answered: list[Wants] = []
        self._world = versions(world or {})
        self._outcomes = outcomes or {}
        self._started: dict[int, bool] = {}
        self._given: dict[int, Mapping[str, tuple[Version, ...]]] = {}
        self._numbers = count()

    def submit(
        self,
        functions: Iterable[int],
        origin: tuple[int, int] = (0, 0),
        place: int = 0,
        condition: int = 0,
        sent: Item | None = None,
        prefix: str = "",
        **given: Any,
    ) -> list[int]:
        """Submit one attempt for each function at once, all with the values `given`; returns their numbers.

        `origin`: the run's seed, and how many tries of the task have ended; `place`: how urgent they are; `condition`:
        the number of the one that is asked first; `sent`: the item that they are for; `prefix`: of the keys of a copy,
        whose tasks they are.
        """
        at_hand = versions(given)
        part = self._slice(at_hand)
        seed, ended = origin
        assignments = [
            Assignment(
                next(self._numbers),
                f"task {n}",
                n,
                part,
                seed=seed,
                ended=ended,
                place=place,
                condition=condition,
                item=sent,
                prefix=prefix,
            )
            for n in functions
        ]
        attempts = [assignment.attempt for assignment in assignments]
        self._started.update(dict.fromkeys(attempts, False))
        self._given.update(dict.fromkeys(attempts, at_hand))
        self.executor.submit(assignments)
        return attempts

    def run(self, functions: Iterable[int], origin: tuple[int, int] = (0, 0), **given: Any) -> list[End]:
        """Submit, and wait for the ends, in the order of submission."""
        attempts = self.submit(functions, origin, **given)
        self.collect()
        return [self.ends[attempt] for attempt in attempts]

    def collect(self) -> None:
        """Wait until every open attempt has ended, answering what is asked."""
        while self._started:
            self.step()

    def until(self, kind: type[Kind]) -> Kind:
        """Wait for the next event of a kind; questions are answered, unless it is one that is waited for."""
        while True:
            found = [event for event in self.step(answering=kind is not Wants) if isinstance(event, kind)]
            if found:
                return found[0]

    def step(self, timeout: float | None = None, *, answering: bool = True) -> Sequence[Event]:
        """Wait once."""
        events = self.executor.wait(timeout)
        for event in events:
            self._note(event)
            if answering and isinstance(event, Wants):
                self.answer(event)
        return events

    def answer(self, wants: Wants) -> None:
        """Answer from the world."""
        self.answered.append(wants)
        world = {**self._world, **self._given[wants.attempt]}
        found = world if wants.rest else {key: world.get(key, ()) for key in wants.keys}
        outcomes = self._outcomes if wants.outcomes else None
        self.executor.answer(Answer(wants.attempt, Slice(found, wants.rest, outcomes), wants.question))

    def _slice(self, given: Mapping[str, tuple[Version, ...]]) -> Slice:
        if self.executor.answers:
            return Slice(given, outcomes=self._outcomes or None)
        return Slice({**self._world, **given}, complete=True, outcomes=self._outcomes)

    def _note(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Logged) and event.attempt == NONE:
            return  # the executor itself said it
        assert event.attempt in self._started, f"{event} is about an attempt that isn't open"
        match event:
            case Started():
                assert not self._started[event.attempt], f"{event} came twice"
                self._started[event.attempt] = True
            case Done() | Failed() | Skipped() | Lost() | Unstarted():
                has_started = self._started.pop(event.attempt)
                may_be = {Unstarted: (False,), Lost: (True,)}.get(type(event), (True, False))
                assert has_started in may_be, f"{event}, and Started: {has_started}"
                self.ends[event.attempt] = event
            case _:
                assert self._started[event.attempt], f"{event} came before Started"


def killer_of(end: End) -> str | None:
    """The signal that ended the worker of an attempt that was lost."""
    assert isinstance(end, Lost), end
    return end.signal


def published(*functions: TaskFunction) -> list[Publish]:
    """Functions ready to be sent, numbered by their place."""
    return [Publish(number, capture(f"task {number}", function).blob, ()) for number, function in enumerate(functions)]


def versions(values: Mapping[str, Any]) -> dict[str, tuple[Version, ...]]:
    """Values as an input that nothing has changed."""
    return {key: (Version(INPUT, encode(value)),) for key, value in values.items()}


def written(end: End) -> dict[str, Any]:
    """What an attempt that ended well has set; `None` for what it removed."""
    assert isinstance(end, Done), end
    return {key: None if payload is None else decode(payload) for key, payload in end.diff.items()}


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


# ---- programs ------------------------------------------------------------------------------------------------------


def environment(**more: str) -> dict[str, str]:
    """The environment of a program that finds cloaca where the tests found it, and whose lines come at once.

    Python 3.12 and newer warn of every fork in a program that has a second thread: that is what the tests are about.
    """
    assert cloaca.__file__ is not None
    inherited = {name: value for name, value in os.environ.items() if name != "CLOACA_EXECUTOR"}
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
