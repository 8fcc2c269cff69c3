"""No order in which tasks end changes a result, and runs that share an executor don't touch each other."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from itertools import count
from random import Random

import pytest
from msgspec import msgpack
from tests import invariants
from tests.reference import KEYS, Diff, Graph
from tests.runs import CHAIN

from cloaca.attempts.attempt import TaskFunction
from cloaca.border.surroundings import here
from cloaca.engine.events import Begin, Cancel
from cloaca.engine.run import Run
from cloaca.engine.state import ENDED, State
from cloaca.engine.work import Work
from cloaca.errors import INPUT, InternalError
from cloaca.execution.executor import Executor
from cloaca.execution.serial import SerialExecutor
from cloaca.history.plan import plan
from cloaca.running.coordinator import Coordinator, Job
from cloaca.testing import Action, Choose, Move, ScriptedExecutor, running
from cloaca.values.codec import encode
from cloaca.wire.messages import (
    Assignment,
    Publish,
    Slice,
    Version,
    Wants,
)

# ---- shuffled orders of completion, through the coordinator --------------------------------------------------------


def conclusion(run: Run) -> bytes:
    """How a run ended, as bytes: statuses, and every key with its versions, in order."""
    outcomes = [run.ledger.outcome(rank) for rank in range(len(run.plan.names))]
    final = list(run.history.final().items())
    return msgpack.encode([outcomes, run.attempts, final])


def workload(seed: int) -> tuple[Graph, Mapping[int, TaskFunction]]:
    """25 tasks that read and write few keys, so that they meet; some fail, and what they write tells what they saw."""
    random = Random(seed)
    graph = [
        (f"t{n}", [f"t{m}" for m in random.sample(range(n), min(n, random.choice([0, 1, 2, 2, 3, 7])))])
        for n in range(25)
    ]
    return graph, {rank: a_task(name, random.getrandbits(30)) for rank, name in enumerate(plan("w", graph).names)}


def a_task(name: str, seed: int) -> TaskFunction:
    def function(context):
        random = Random(seed)
        saw = [str(context.to_dict("skip")), sorted(context.conflicts())]
        if random.random() < 0.15:
            raise ValueError(f"{name} saw {saw}")
        for key in random.sample(KEYS, 2):
            context.set(key, random.choice([0, 1, saw]))
        if random.random() < 0.2:
            context.remove(random.choice(KEYS))

    return function


def jobs_of(
    seeds: Sequence[int], numbers: Iterator[int], *, answers: bool
) -> tuple[list[Job[Run]], dict[int, TaskFunction], list[tuple[int, Exception | None]]]:
    """A job for each seed; the list tells which of them ended, in that order."""
    ends: list[tuple[int, Exception | None]] = []
    functions: dict[int, TaskFunction] = {}
    jobs = []
    for seed in seeds:
        graph, own = workload(seed)
        first = len(functions)
        functions |= {first + rank: function for rank, function in own.items()}
        work = [Work(first + rank, ("a",)) for rank in own]
        given = {"a": Version(INPUT, encode(0))}
        run = Run(plan("w", graph), work, given, numbers=numbers, answers=answers)
        publish = [Publish(number.function, b"", number.reads) for number in work]
        jobs.append(Job("w", run, publish, _noting(ends, seed), here()))
    return jobs, functions, ends


def _noting(ends: list[tuple[int, Exception | None]], seed: int) -> Callable[[Exception | None], None]:
    return lambda error: ends.append((seed, error))


def drive(executor: Executor, jobs: Sequence[Job[Run]]) -> None:
    coordinator = Coordinator(executor)
    for job in jobs:
        coordinator.post(job, Begin())
    while not coordinator.is_idle:
        coordinator.step(0)
        for job in jobs:
            invariants.check(job.run)
    executor.close()


def in_order(seed: int) -> bytes:
    """The conclusion of a workload that runs task by task, in this thread."""
    (job,), functions, _ = jobs_of([seed], count(), answers=False)
    drive(SerialExecutor(functions), [job])
    return conclusion(job.run)


def chooser(seed: int) -> Choose:
    return Random(seed).choice


def newest(moves: Sequence[Move]) -> Move:
    return [move for move in moves if move.action is not Action.GIVE_BACK][-1]


def breadth_first(moves: Sequence[Move]) -> Move:
    """Start all, then end them in the reverse order."""
    starts = [move for move in moves if move.action is Action.START]
    return starts[0] if starts else newest(moves)


CHOOSERS = [chooser(1), chooser(2), newest, breadth_first]


@pytest.mark.parametrize("answers", [True, False], ids=["asking", "complete slices"])
@pytest.mark.parametrize("window", [1, 3, 64])
def test_no_order_of_completion_changes_a_byte_of_the_result(window: int, *, answers: bool) -> None:
    for seed in range(4):
        expected = in_order(seed)
        for choose in CHOOSERS:
            (job,), functions, ends = jobs_of([seed], count(), answers=answers)
            drive(ScriptedExecutor(running(functions), choose, window=window, answers=answers), [job])
            assert conclusion(job.run) == expected
            assert ends == [(seed, None)]


def test_the_workloads_have_something_to_get_wrong() -> None:
    """Some tasks fail, some are skipped, and some keys end with several versions."""
    outcomes, _, final = zip(*(msgpack.decode(in_order(seed)) for seed in range(4)), strict=True)
    assert {status for told in outcomes for status, *_ in told} == {"Completed", "Failed", "Skipped"}
    assert any(len(found) > 1 for keys in final for _, found in keys)


def asking_key_by_key(assignment: Assignment) -> Generator[Wants, Slice, Diff]:
    """Reads on demand, one key at a time, while others go on; writes what it saw."""
    saw = []
    for key in KEYS:
        given = yield Wants(assignment.attempt, (key,))
        saw.append([key, given.versions[key]])
    return {KEYS[len(assignment.task) % 3]: msgpack.encode([assignment.task, saw]), assignment.task: b"1"}


@pytest.mark.parametrize("seed", range(4))
def test_what_is_asked_in_the_middle_of_a_task_does_not_depend_on_when(seed: int) -> None:
    conclusions = set()
    for choose in CHOOSERS:
        (job,), _, _ = jobs_of([seed], count(), answers=True)
        drive(ScriptedExecutor(asking_key_by_key, choose, window=5), [job])
        conclusions.add(conclusion(job.run))
    assert len(conclusions) == 1


@pytest.mark.parametrize("seed", range(4))
def test_runs_that_share_an_executor_do_not_touch_each_other(seed: int) -> None:
    seeds = [0, 1, 2, 3]
    jobs, functions, ends = jobs_of(seeds, count(), answers=True)
    drive(ScriptedExecutor(running(functions), chooser(seed), window=4), jobs)
    assert [conclusion(job.run) for job in jobs] == [in_order(each) for each in seeds]
    assert sorted(ends) == [(each, None) for each in seeds], "each is told once"


class Publications(ScriptedExecutor):
    """Remembers what it was told to publish."""

    published: Sequence[int] = ()

    def publish(self, functions: Sequence[Publish]) -> None:
        self.published = [*self.published, *(function.function for function in functions)]
        super().publish(functions)


def test_a_function_is_published_once_however_many_runs_use_it() -> None:
    numbers = count()
    jobs, functions, ends = jobs_of([0], numbers, answers=True)
    run = Run(plan("w", [("again", [])]), [Work(3, ())], {}, numbers=numbers, answers=True)
    executor = Publications(running(functions), chooser(0))
    drive(executor, [*jobs, Job("w", run, [Publish(3, b"", ())], _noting(ends, 1), here())])
    assert sorted(executor.published) == sorted(functions)
    assert len(ends) == 2


@pytest.mark.parametrize("after", [0, 1, 7, 30])
def test_cancelling_one_run_leaves_the_others_alone(after: int) -> None:
    jobs, functions, ends = jobs_of([0, 1, 2], count(), answers=True)
    executor = ScriptedExecutor(running(functions), chooser(after), window=4)
    coordinator = Coordinator(executor)
    for job in jobs:
        coordinator.post(job, Begin())
    for _ in range(after):
        coordinator.step(0)
    coordinator.post(jobs[1], Cancel())
    while not coordinator.is_idle:
        coordinator.step(0)
        invariants.check(jobs[1].run)
    assert [conclusion(jobs[each].run) for each in (0, 2)] == [in_order(each) for each in (0, 2)]
    assert all(state in ENDED for state in jobs[1].run.states)
    assert State.CANCELLED in jobs[1].run.states
    assert sorted(ends) == [(0, None), (1, None), (2, None)]
    assert not executor.moves(), "nothing is left open"
    executor.close()


def test_a_fault_of_one_run_does_not_take_the_others_along() -> None:
    (job,), functions, ends = jobs_of([1], count(), answers=True)
    broken = Broken(plan("w", CHAIN), [], {}, numbers=count(), answers=True)
    drive(ScriptedExecutor(running(functions), chooser(0)), [Job("w", broken, [], _noting(ends, 0), here()), job])
    (first, error), second = ends
    assert first == 0
    assert isinstance(error, InternalError)
    assert second == (1, None)
    assert conclusion(job.run) == in_order(1)


class Broken(Run):
    def handle(self, event, now, time=0.0):
        raise InternalError("broken")


def test_each_reading_of_memory_is_told_once_to_the_runs_under_way() -> None:
    (job,), functions, _ = jobs_of([1], count(), answers=False)
    executor = SerialExecutor(functions)
    told: list[tuple[float, int]] = []
    job.on_memory = told.append
    coordinator = Coordinator(executor)
    coordinator.post(job, Begin())
    readings = [(1.0, 10), (2.0, 10), (3.0, 30)]
    for reading in readings:
        executor.memory = reading
        coordinator.step(0)
        coordinator.step(0)
    assert told == readings
    while not coordinator.is_idle:
        coordinator.step(0)
    executor.memory = (4.0, 40)
    coordinator.step(0)
    assert told == readings
    executor.close()
