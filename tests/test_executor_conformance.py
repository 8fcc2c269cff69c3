"""Every executor keeps the contract of `cloaca.execution.executor`; and what some promise beyond that."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.support import PATIENCE, killer_of, pipe

from cloaca import Context
from cloaca.attempts.attempt import TaskFunction
from cloaca.execution.executor import Executor
from cloaca.execution.futures import QUEUED
from cloaca.execution.provider import Provider
from cloaca.execution.serial import SerialExecutor
from cloaca.execution.threads import ThreadsExecutor
from cloaca.pool.pool import Pool
from cloaca.testing import ScriptedExecutor, running
from cloaca.testing.conformance import Conformance
from cloaca.testing.desk import Desk, published, written
from cloaca.wire.messages import Done, Event, Said, Started, Unstarted, Wants

Functions = Mapping[int, Any]


def on_threads(workers: int, functions: Functions) -> Executor:
    """An executor on so many threads."""
    return ThreadsExecutor(Provider(partial(ThreadPoolExecutor, workers)), workers, functions)


POOLS: dict[str, Callable[[Functions], Executor]] = {
    "pool of 1": lambda _: Pool(1, {}),
    "pool of 2": lambda _: Pool(2, {}),
}
THREADS: dict[str, Callable[[Functions], Executor]] = {
    "a thread": lambda functions: on_threads(1, functions),
    "threads": lambda functions: on_threads(2, functions),
}
REAL = {"serial": SerialExecutor, **POOLS, **THREADS}


# ---- the contract --------------------------------------------------------------------------------------------------


class TestSerial(Conformance):
    def executor(self, functions: Functions) -> Executor:
        return SerialExecutor(functions)


class TestOneProcess(Conformance):
    def executor(self, functions: Functions) -> Executor:
        return Pool(1, {})


class TestProcesses(Conformance):
    def executor(self, functions: Functions) -> Executor:
        return Pool(2, {})


class TestOneThread(Conformance):
    def executor(self, functions: Functions) -> Executor:
        return on_threads(1, functions)


class TestThreads(Conformance):
    def executor(self, functions: Functions) -> Executor:
        return on_threads(2, functions)


class TestScripted(Conformance):
    def executor(self, functions: Functions) -> Executor:
        return ScriptedExecutor(running(functions), lambda moves: moves[0])


# ---- what breaks it is found ---------------------------------------------------------------------------------------


class Faulty(SerialExecutor):
    """Tells something else than what has happened."""

    def __init__(self, functions: Functions, tell: Callable[[Event], list[Event]]) -> None:
        super().__init__(functions)
        self._tell = tell

    def wait(self, timeout: float | None) -> list[Event]:
        return [told for event in super().wait(timeout) for told in self._tell(event)]


def twice(event: Event) -> list[Event]:
    return [event, event]


def given_back(event: Event) -> list[Event]:
    return [event, Unstarted(event.attempt)] if isinstance(event, Started) else [event]


def asking(event: Event) -> list[Event]:
    return [Wants(event.attempt), event]


def forgetful(event: Event) -> list[Event]:
    return [Done(event.attempt, {}, event.usage)] if isinstance(event, Done) else [event]


def mistaken(event: Event) -> list[Event]:
    return [Started(event.attempt + 1)] if isinstance(event, Started) else [event]


@pytest.mark.parametrize(
    ("tell", "found"),
    [
        (twice, "came twice"),
        (given_back, "and Started: True"),
        (asking, "came before Started"),
        (forgetful, "what came out is"),
        (mistaken, "isn't open"),
    ],
)
def test_an_executor_that_breaks_the_contract_is_found(tell: Callable[[Event], list[Event]], found: str) -> None:
    class Broken(Conformance):
        def executor(self, functions: Functions) -> Executor:
            return Faulty(functions, tell)

    with pytest.raises(AssertionError, match=found):
        Broken().test_an_attempt_starts_and_then_is_done()


def test_the_contract_needs_no_pytest() -> None:
    script = "import sys; sys.modules['pytest'] = None; import cloaca.testing.conformance"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=PATIENCE)


# ---- beyond the contract -------------------------------------------------------------------------------------------

DeskOf = Callable[..., Desk]


@pytest.fixture
def desk_of(request: pytest.FixtureRequest) -> Iterator[DeskOf]:
    """Makes a desk at an executor that knows the functions given, by their place."""
    with ExitStack() as stack:

        def make(*functions: TaskFunction, **facts: Any) -> Desk:
            desk = stack.enter_context(Desk(request.param(dict(enumerate(functions))), **facts))
            desk.executor.publish(published(*functions))
            return desk

        yield make


on_real_executors = pytest.mark.parametrize("desk_of", REAL.values(), ids=REAL.keys(), indirect=True)
on_those_that_start_later = pytest.mark.parametrize(
    "desk_of", [SerialExecutor, *POOLS.values()], ids=["serial", *POOLS], indirect=True
)
on_pools = pytest.mark.parametrize("desk_of", POOLS.values(), ids=POOLS.keys(), indirect=True)


@on_pools
def test_an_answer_for_an_attempt_that_has_ended_is_dropped(desk_of: DeskOf) -> None:
    desk = desk_of(lambda context: context["a"], lambda context: context.set("n", 1), world={"a": {}})
    desk.submit([0])
    wants = desk.until(Wants)
    desk.executor.cancel([wants.attempt], 0)
    desk.collect()
    desk.answer(wants)
    assert written(desk.run([1])[0]) == {"n": 1}


@on_those_that_start_later
def test_cancelling_what_has_not_started_gives_it_back(desk_of: DeskOf, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    desk = desk_of(lambda _: trace.touch(), lambda context: context.set("n", 1))
    attempts = desk.submit([0, 1, 0])
    desk.executor.cancel([attempts[0], attempts[2]], 0)
    desk.collect()
    assert [type(desk.ends[attempt]) for attempt in attempts] == [Unstarted, Done, Unstarted]
    assert not trace.exists()


@on_pools
def test_cancelling_what_runs_loses_it_and_nothing_else(desk_of: DeskOf, tmp_path: Path) -> None:
    started = pipe(tmp_path / "started")

    def hang(_: Context) -> None:
        started.write_text("I run")
        while True:
            pass

    desk = desk_of(hang, lambda context: context.set("n", 1))
    hanging, *others = desk.submit([0, *[1] * 20])
    desk.until(Started)
    assert started.read_text() == "I run"
    desk.executor.cancel([hanging], 0)
    desk.collect()
    assert killer_of(desk.ends[hanging]) == "SIGKILL"
    assert all(written(desk.ends[attempt]) == {"n": 1} for attempt in others)


@on_pools
def test_output_of_an_attempt_comes_between_its_start_and_its_end(desk_of: DeskOf) -> None:
    desk = desk_of(lambda _: print("one\ntwo", end=""))
    desk.run([0] * 3)
    said = [(event.attempt, event.stream, event.text) for event in desk.events if isinstance(event, Said)]
    assert sorted(said) == [(n, "stdout", text) for n in range(3) for text in ("", "one\n", "two")]


@on_real_executors
def test_attempts_run_in_the_order_of_submission_where_one_runs_at_a_time(desk_of: DeskOf, tmp_path: Path) -> None:
    trace = os.fspath(tmp_path / "trace")

    def note(context: Context) -> None:
        descriptor = os.open(trace, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, f"{context['n']}\n".encode())
        os.close(descriptor)

    desk = desk_of(note)
    for n in range(100):
        desk.submit([0], n=n)
    desk.collect()
    order = [int(line) for line in Path(trace).read_text().split()]
    assert sorted(order) == list(range(100))
    if is_one_at_a_time(desk.executor):
        assert order == list(range(100))


def is_one_at_a_time(executor: Executor) -> bool:
    """Whether it runs one attempt after the other."""
    match executor:
        case Pool():
            return len(executor.pids) == 1
        case ThreadsExecutor():
            return executor.window == 1 + QUEUED
        case _:
            return True
