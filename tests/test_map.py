"""`runner.map`: one function over many items, in order, lazily, with errors that name the item."""

import asyncio
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from operator import length_hint
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import RLock
from typing import Any, Literal

import cloudpickle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.runs import done, failed, lost
from tests.support import pipe

import cloaca
from cloaca import CaptureError, DefaultRunner, EncodeError, NestedExecutionError, WorkerDied
from cloaca.attempts.batch import BatchFunction
from cloaca.engine.batches import BatchRun
from cloaca.engine.events import Begin, Cancel, Command, Deliver, Ended, Room, Supply, Tick, Withdraw
from cloaca.errors import RemoteTraceback
from cloaca.running.batches import Sizes
from cloaca.running.mapping import AHEAD_PER_WORKER
from cloaca.values.codec import encode_unseen
from cloaca.values.elements import decode_list, encode_list
from cloaca.wire.messages import Answer, Assignment, Started, Unstarted, Wants

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # as if all this stood in the user's script


@pytest.fixture
def processes() -> Iterator[DefaultRunner]:
    """A new one for each test: who stops iterating stops workers, and others take their places in a later test."""
    with DefaultRunner(workers=2, executor="processes") as runner:
        yield runner


@pytest.fixture(params=["processes", "serial"])
def on(request: pytest.FixtureRequest) -> Iterator[DefaultRunner]:
    with DefaultRunner(workers=2, executor=request.param) as runner:
        yield runner


def square(number: int) -> int:
    return number * number


# ---- what comes out ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunksize", [None, 1, 7, 5000])
@pytest.mark.parametrize("number", [0, 1, 2, 1000])
def test_results_come_in_the_order_of_the_items(on: DefaultRunner, number: int, chunksize: int | None) -> None:
    assert list(on.map(square, range(number), chunksize=chunksize)) == [square(n) for n in range(number)]


@pytest.mark.parametrize("value", [None, (1, (2,)), {3, 4}, {"a": [1]}, 10**100, float("inf")], ids=str)
def test_values_keep_their_types(on: DefaultRunner, value: Any) -> None:
    assert list(on.map(lambda item: (item, type(item)), [value] * 3)) == [(value, type(value))] * 3


def test_instances_of_the_program_s_classes_go_both_ways(on: DefaultRunner) -> None:
    class Point:
        def __init__(self, x: int) -> None:
            self.x = x

    results = list(on.map(lambda point: Point(point.x + 1), [Point(1), Point(2)]))
    assert [type(result) for result in results] == [Point, Point]
    assert [result.x for result in results] == [2, 3]


def test_large_items_and_results_pass_and_their_files_go(processes: DefaultRunner) -> None:
    def files() -> list[Path]:
        folders = processes._runs.running_loop().holder.folders
        return [path for folder in folders for path in Path(folder).glob("[0-9p]*.*")]

    blobs = [bytes([n]) * 200_000 for n in range(20)]
    assert list(processes.map(len, blobs[:1])) == [200_000]
    before = files()  # the code of this program's modules
    assert list(processes.map(lambda blob: blob[::-1] + b"x", blobs)) == [blob + b"x" for blob in blobs]
    assert files() == before


def test_both_workers_take_part(processes: DefaultRunner, tmp_path: Path) -> None:
    meeting = pipe(tmp_path / "meeting")

    def meet(place: int) -> str:
        return meeting.read_text() if place else str(meeting.write_text("here"))

    assert list(processes.map(meet, [0, 1], chunksize=1)) == ["4", "here"]


def test_a_map_beside_an_execution(processes: DefaultRunner) -> None:
    with cloaca.WorkflowBuilder("beside"):
        cloaca.task(id="a")(lambda context: context.set("a", 1))
    results = processes.map(square, range(100))
    first = next(results)
    assert processes.execute("beside").status == "Completed"
    assert [first, *results] == [square(n) for n in range(100)]


# ---- laziness ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", ["processes", "serial"])
def test_input_may_be_endless_and_is_taken_as_results_are_asked_for(executor: Any) -> None:
    taken: list[int] = []

    def numbers() -> Iterator[int]:
        for number in count():
            taken.append(number)
            yield number

    with DefaultRunner(workers=1, executor=executor) as runner:  # of one worker, no results come early
        results = runner.map(square, numbers(), chunksize=5)
        assert [next(results) for _ in range(12)] == [square(n) for n in range(12)]
    assert len(taken) <= 5 * (AHEAD_PER_WORKER + 3), "some batches ahead, and no more"


def counted(taken: list[int], until: int, gate: Path) -> Iterator[int]:
    """Numbers without end; once so many were taken, the gate opens."""
    for number in count():
        taken.append(number)
        if len(taken) == until:
            gate.write_text("open")
        yield number


def behind(gate: Path, value: object) -> Callable[[int], object]:
    """What the first item waits for, others not."""
    return lambda number: value if number else gate.read_text()


@pytest.mark.parametrize("chunksize", [None, 1])
def test_workers_go_on_behind_a_long_item(processes: DefaultRunner, tmp_path: Path, chunksize: int | None) -> None:
    gate, taken = pipe(tmp_path / "gate"), list[int]()
    results = processes.map(behind(gate, None), counted(taken, 2000, gate), chunksize=chunksize)
    assert [next(results) for _ in range(3000)] == ["open", *[None] * 2999]


@pytest.mark.parametrize(("limit", "most", "result"), [("ITEMS", 50, None), ("BYTES", 50 * 100_000, bytes(100_000))])
def test_how_far_they_go_is_bounded_by_count_and_by_bytes(
    processes: DefaultRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, most: int, result: Any
) -> None:
    monkeypatch.setattr(f"cloaca.running.batches.MOST_EARLY_{limit}", most)
    gate, taken = pipe(tmp_path / "gate"), list[int]()
    assert next(processes.map(behind(gate, result), counted(taken, 50, gate), chunksize=1)) == "open"
    assert 50 <= len(taken) <= 50 + AHEAD_PER_WORKER * 2


def test_nothing_new_is_begun_after_an_error_that_came_early(processes: DefaultRunner, tmp_path: Path) -> None:
    gate, taken = pipe(tmp_path / "gate"), list[int]()

    def fail(number: int) -> str:
        if number:
            gate.write_text("others have failed")
            raise LookupError(number)
        return gate.read_text()

    results = processes.map(fail, counted(taken, 10**6, gate), chunksize=1)
    assert "others have failed" in next(results)  # several may have said so
    with pytest.raises(LookupError):
        next(results)
    assert len(taken) < 10**6


def test_nothing_is_taken_before_the_first_result_is_asked_for(on: DefaultRunner) -> None:
    items = iter(range(5))
    results = on.map(square, items)
    assert length_hint(items) == 5
    assert list(results) == [0, 1, 4, 9, 16]


def test_letting_go_of_the_results_ends_the_call(tmp_path: Path) -> None:
    started = pipe(tmp_path / "started")

    def hang(number: int) -> int:
        if number:
            started.write_text("I hang")
            signal.pause()
        return number

    with DefaultRunner(workers=1) as runner:
        results = runner.map(hang, range(3), chunksize=1)
        assert next(results) == 0
        assert started.read_text() == "I hang"
        del results
        assert list(runner.map(square, range(3))) == [0, 1, 4], "the worker that hung was replaced"


def test_results_keep_their_runner_going() -> None:
    assert list(DefaultRunner(workers=1, executor="processes").map(square, range(5))) == [0, 1, 4, 9, 16]


# ---- errors --------------------------------------------------------------------------------------------------------


def test_an_error_names_the_item_and_comes_in_its_place(on: DefaultRunner) -> None:
    def check(number: int) -> int:
        if number == 5:
            raise LookupError("five")
        return number

    results = on.map(check, range(100), chunksize=1)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(LookupError, match="five") as caught:
        next(results)
    assert caught.value.__notes__ == ["This was item 5 of map: 5"]
    assert next(results, "no more") == "no more"


def test_an_error_brings_the_traceback_of_the_worker(processes: DefaultRunner) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        list(processes.map(lambda number: 1 // number, [1, 0]))
    assert isinstance(caught.value.__cause__, RemoteTraceback)
    assert "1 // number" in str(caught.value.__cause__)


def test_a_death_names_the_items_of_the_batch() -> None:
    def die(number: int) -> int:
        if number == 12:
            os._exit(3)
        return number

    with DefaultRunner(workers=2) as runner:
        with pytest.raises(WorkerDied, match="items 10 to 14") as caught:
            list(runner.map(die, range(100), chunksize=5))
        assert caught.value.exit_code == 3
        assert list(runner.map(square, range(3))) == [0, 1, 4]


def test_what_cannot_be_sent_is_told(on: DefaultRunner) -> None:
    with pytest.raises(EncodeError, match="lock"):
        list(on.map(square, [__import__("threading").Lock()]))
    with pytest.raises(EncodeError, match="lock"):
        list(on.map(lambda _: __import__("threading").Lock(), [1]))


def test_an_error_in_the_input_passes_through(on: DefaultRunner) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise LookupError("no more input")

    with pytest.raises(LookupError, match="no more input"):
        list(on.map(square, items()))


class Doubling:
    async def __call__(self, number: int) -> int:
        await asyncio.sleep(0)
        return 2 * number


@pytest.mark.parametrize("function", [Doubling(), Doubling().__call__])
def test_calls_of_coroutine_functions_are_awaited(on: DefaultRunner, function: Any) -> None:
    assert list(on.map(function, range(4))) == [0, 2, 4, 6]


def counting(number: int) -> Iterator[int]:
    yield number


@pytest.mark.parametrize("function", [3, None, counting])
def test_what_cannot_be_called_with_an_item_is_told_at_once(on: DefaultRunner, function: Any) -> None:
    with pytest.raises(ValueError, match="map calls a function with each item"):
        on.map(function, [1])


@pytest.mark.parametrize("function", [lambda a, b: (a, b), lambda: 1, lambda a, *, b: (a, b), pow])
def test_a_function_of_more_than_an_item_is_told_at_once(on: DefaultRunner, function: Any) -> None:
    with pytest.raises(ValueError, match=r"map passes one item, .* takes \(.*\)\. Take the item apart"):
        on.map(function, [(1, 2)])


@pytest.mark.parametrize("function", [int, abs, lambda *items: items[0], lambda item, *, more=0: item + more])
def test_a_function_that_can_do_with_an_item_is_called(on: DefaultRunner, function: Any) -> None:
    assert list(on.map(function, [3])) == [3]


class Pipeline:
    """Has its runner at hand, as many a program's objects do."""

    def __init__(self, runner: DefaultRunner) -> None:
        self.runner = runner

    def double(self, item: Any) -> Any:
        return 2 * item

    def mapped(self) -> None:
        list(self.runner.map(self.double, [1]))

    def executed(self) -> None:
        with cloaca.WorkflowBuilder("pipeline") as builder:
            cloaca.task(id="double")(self.double)
        self.runner.execute(builder)


@pytest.mark.parametrize(("call", "owner"), [(Pipeline.mapped, "map"), (Pipeline.executed, "task 'double'")])
def test_a_runner_that_would_be_sent_is_named(
    processes: DefaultRunner, call: Callable[[Pipeline], None], owner: str
) -> None:
    with pytest.raises(CaptureError) as caught:
        call(Pipeline(processes))
    assert str(caught.value).startswith(f"The function of {owner} can't be sent to a worker: it uses ")
    assert "double.__self__.runner (a cloaca.runner.DefaultRunner). A runner stays in the program" in str(caught.value)
    assert caught.value.variable == "double.__self__.runner"


def test_results_and_executions_that_would_be_sent_are_named(processes: DefaultRunner) -> None:
    with cloaca.WorkflowBuilder("small") as builder:
        cloaca.task(id="t")(lambda _: None)
    results, execution = processes.map(abs, [1]), processes.start(builder)
    for one, told in [(results, "results of map stay"), (execution, "execution stays"), (processes, "runner stays")]:
        with pytest.raises(CaptureError, match=f"{told} in the program"):
            processes.map(partial(max, one), [1])
        with pytest.raises(EncodeError, match=f"{told} in the program"):
            cloaca.Context({"one": one})
    assert list(results) == [1]
    execution.result()


def test_a_function_that_cannot_be_sent_is_told_at_once(processes: DefaultRunner) -> None:
    lock = __import__("threading").Lock()
    with pytest.raises(CaptureError, match="lock"):
        processes.map(lambda number: (lock, number), [1])


@pytest.mark.parametrize("chunksize", [0, -1, 1.5, True, "2"])
def test_a_chunk_size_that_makes_no_sense(on: DefaultRunner, chunksize: Any) -> None:
    with pytest.raises(ValueError, match="chunksize is a whole number, 1 or more"):
        on.map(square, [1], chunksize=chunksize)


def test_a_task_cannot_map(on: DefaultRunner) -> None:
    def nested(_: int) -> None:
        list(DefaultRunner().map(square, [1]))

    with pytest.raises(NestedExecutionError):
        list(on.map(nested, [1]))


# ---- random numbers ------------------------------------------------------------------------------------------------


def draw(_: int) -> float:
    return random.random()


def draw_late(number: int) -> float:
    import random as late

    return late.random() + 0 * number


@pytest.mark.parametrize("function", [draw, draw_late])
def test_what_is_drawn_follows_from_the_seed_and_the_item(
    on: DefaultRunner, processes: DefaultRunner, function: Callable[[int], float]
) -> None:
    drawn = list(processes.map(function, range(50), seed=5))
    assert len(set(drawn)) == 50
    assert list(on.map(function, range(50), seed=5, chunksize=3)) == drawn
    assert list(on.map(function, range(50), seed=6)) != drawn
    assert list(on.map(function, range(50))) != list(on.map(function, range(50)))


def test_a_module_that_is_imported_in_the_middle_of_a_batch_is_seeded_for_its_item() -> None:
    def late(number: int) -> float:
        if number < 3:
            return 0.0
        import random as late

        return late.random()

    def drawn(chunksize: int) -> list[float]:
        with DefaultRunner(workers=1) as runner:
            return list(runner.map(late, range(8), seed=5, chunksize=chunksize))

    assert drawn(1) == drawn(8)


def test_a_batch_that_ends_where_a_module_was_imported_leaves_nothing_to_the_next_one() -> None:
    def late(fate: str) -> float:
        import random as late

        if fate:
            raise LookupError("early end")
        return late.random()

    with DefaultRunner(workers=1, executor="processes") as runner, DefaultRunner(workers=1) as fresh:
        with pytest.raises(LookupError):
            list(runner.map(late, ["fails", "", ""], chunksize=3))
        drawn = [list(one.map(late, [""] * 4, seed=5, chunksize=4)) for one in (runner, fresh)]
    assert drawn[0] == drawn[1]


# ---- items that fail -----------------------------------------------------------------------------------------------

AT_ONCE = cloaca.RetryPolicy.builder().max_attempts(3).initial_delay(0).build()
MOST = 200


class Unbuildable:
    def __reduce__(self) -> tuple[Any, ...]:
        return _refuse, ()


def _refuse() -> None:
    raise ZeroDivisionError("not here")


def picky(number: int) -> Any:
    if number % 7 == 3:
        raise LookupError(number)
    if number % 7 == 5:
        return RLock()  # can't be sent
    return Unbuildable() if number % 7 == 6 else (number,)


@pytest.mark.parametrize("chunksize", [None, 1, 50])
def test_errors_come_in_the_places_of_results(on: DefaultRunner, chunksize: int | None) -> None:
    kinds = {3: LookupError, 5: EncodeError, 6: cloaca.DecodeError}
    found = list(on.map(picky, range(MOST), chunksize=chunksize, on_error="return"))
    assert [type(one) for one in found] == [kinds.get(number % 7, tuple) for number in range(MOST)]
    assert [one for one in found if isinstance(one, tuple)] == [(n,) for n in range(MOST) if n % 7 not in kinds]
    third = found[3]
    assert isinstance(third, LookupError)
    assert third.__notes__ == ["This was item 3 of map: 3"]


@pytest.mark.parametrize("chunksize", [None, 50])
def test_items_that_cannot_be_sent_have_errors_in_their_places(on: DefaultRunner, chunksize: int | None) -> None:
    items: list[Any] = [1, Unbuildable(), 2, RLock(), RLock(), (3,), Unbuildable(), 4]
    found = on.map(lambda item: item, items, chunksize=chunksize, on_error="return")
    assert [one if isinstance(one, int | tuple) else "error" for one in found] == [
        1, "error", 2, "error", "error", (3,), "error", 4,
    ]  # fmt: skip


def test_what_the_input_raises_ends_the_call_all_the_same(on: DefaultRunner) -> None:
    def numbers() -> Iterator[int]:
        yield 3
        yield 1
        raise OSError("no more")

    results = on.map(picky, numbers(), on_error="return")
    assert isinstance(next(results), LookupError)
    assert next(results) == (1,)
    with pytest.raises(OSError, match="no more"):
        next(results)


def first_tries_fail(place: Path, number: int) -> tuple[int, float]:
    tries = place / str(number)
    with tries.open("a") as file:
        file.write("x")
    if number % 10 == 4 and tries.stat().st_size < 3:
        raise LookupError(number)
    return number, random.random()


@pytest.mark.parametrize("chunksize", [None, 25])
def test_an_item_that_fails_is_tried_again_with_a_seed_of_its_own(
    on: DefaultRunner, tmp_path: Path, chunksize: int | None
) -> None:
    found = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        tried = partial(first_tries_fail, tmp_path / name)
        found.append(list(on.map(tried, range(60), chunksize=chunksize, seed=3, retry=AT_ONCE)))
        sizes = [(tmp_path / name / str(number)).stat().st_size for number in range(60)]
        assert sizes == [3 if number % 10 == 4 else 1 for number in range(60)]
    assert found[0] == found[1]
    assert [number for number, _ in found[0]] == list(range(60))
    with DefaultRunner(executor="serial") as serial:
        (tmp_path / "three").mkdir()
        assert (
            list(serial.map(partial(first_tries_fail, tmp_path / "three"), range(60), seed=3, retry=AT_ONCE))
            == (found[0])
        )


def test_the_last_try_s_error_is_raised_in_its_place(on: DefaultRunner) -> None:
    results = on.map(picky, range(10), retry=AT_ONCE, chunksize=10)
    assert [next(results) for _ in range(3)] == [(0,), (1,), (2,)]
    with pytest.raises(LookupError) as info:
        next(results)
    assert info.value.__notes__ == ["This was item 3 of map: 3"]
    assert list(results) == []


def test_tries_wait_and_others_go_on_meanwhile(processes: DefaultRunner, tmp_path: Path) -> None:
    slow = cloaca.RetryPolicy.builder().max_attempts(3).initial_delay(0.05).with_jitter(False).build()
    found = processes.map(partial(first_tries_fail, tmp_path), range(300), retry=slow)
    assert [number for number, _ in found] == list(range(300))


def dies_once(place: Path, number: int) -> int:
    if number == 17:
        try:
            (place / "died").touch(exist_ok=False)
        except FileExistsError:
            return number
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_a_death_costs_the_item_that_ran(processes: DefaultRunner, tmp_path: Path) -> None:
    found = list(processes.map(partial(dies_once, tmp_path), range(60), chunksize=30, on_error="return"))
    assert isinstance(found[17], WorkerDied)
    assert "map, item 17" in str(found[17])
    assert found[:17] + found[18:] == [*range(17), *range(18, 60)]


def test_after_a_death_the_item_is_tried_again(processes: DefaultRunner, tmp_path: Path) -> None:
    assert list(processes.map(partial(dies_once, tmp_path), range(60), chunksize=30, retry=AT_ONCE)) == [*range(60)]


def hangs_at_three(number: int) -> int:
    while number == 3:
        pass
    return number


def test_a_time_limit_is_that_of_one_item() -> None:
    with DefaultRunner(workers=2, executor="processes", grace_seconds=0) as runner:
        *found, late = sorted(runner.map(hangs_at_three, range(30), timeout=0.5, on_error="return"), key=type_name)
    assert found == [number for number in range(30) if number != 3]
    assert isinstance(late, cloaca.TaskTimeout)
    with (
        DefaultRunner(workers=2, executor="processes", grace_seconds=0) as runner,
        pytest.raises(cloaca.TaskTimeout, match="item"),
    ):
        list(runner.map(hangs_at_three, range(30), timeout=0.5))


def type_name(value: object) -> tuple[bool, int]:
    return (False, value) if isinstance(value, int) else (True, 0)


def test_without_an_order_results_come_as_they_are_there(processes: DefaultRunner, tmp_path: Path) -> None:
    def waits_for_the_others(number: int) -> int:
        if number:
            (tmp_path / str(number)).touch()
        while not number and not all((tmp_path / str(other)).exists() for other in range(1, 20)):
            pass
        return number

    found = list(processes.map(waits_for_the_others, range(20), chunksize=1, ordered=False))
    assert sorted(found) == list(range(20))
    assert found[0] != 0


def test_a_limit_holds_for_batches() -> None:
    def together(folder: Path, number: int) -> int:
        with (folder / "log").open("a") as log:
            log.write("(")
            log.flush()
            os.sched_yield()
            log.write(")")
        return number

    with TemporaryDirectory() as folder, DefaultRunner(workers=2, executor="processes", limits={"one": 1}) as runner:
        found = list(runner.map(partial(together, Path(folder)), range(100), chunksize=1, limit="one"))
        assert found == list(range(100))
        assert (Path(folder) / "log").read_text() == "()" * 100
        assert list(runner.map(square, range(3), limit="one")) == [0, 1, 4], "the seats are free again"


def test_the_function_is_called_with_an_item_of_each_iterable(on: DefaultRunner) -> None:
    async def added(one: int, other: int) -> int:
        return one + other

    assert list(on.map(pow, count(), [2, 3, 2])) == [0, 1, 4]
    assert list(on.map(added, range(3), range(3))) == [0, 2, 4]
    with pytest.raises(ZeroDivisionError) as info:
        list(on.map(divmod, [1, 2], [1, 0]))
    assert info.value.__notes__ == ["This was item 1 of map: (2, 0)"]
    with pytest.raises(ValueError, match="map passes 2 items, one of each iterable"):
        on.map(square, [1], [2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"retry": AT_ONCE, "retry_attempts": 3}, "either retry= or retry_attempts="),
        ({"retry": 3}, "retry is a RetryPolicy"),
        ({"retry_attempts": -1}, "retry_attempts is a whole number"),
        ({"timeout": 0}, "timeout, in seconds, is a finite number above 0"),
        ({"timeout": 1, "chunksize": 2}, "items travel one by one: leave out chunksize=2"),
        ({"ordered": 1}, "ordered is True or False"),
        ({"on_error": "ignore"}, "on_error is one of 'raise', 'return'"),
        ({"limit": "db"}, r"limit is the name of one of the runner's limits, not 'db'. It has no limits"),
    ],
)
def test_options_that_make_no_sense(on: DefaultRunner, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        on.map(square, [1], **options)


# ---- what items have to do with each other -------------------------------------------------------------------------


class Visits:
    def __init__(self) -> None:
        self.count = 0


BUFFER = [0]
COLUMN = bytearray(1 << 17)


def visited(visits: Visits) -> int:
    visits.count += 1
    return visits.count


def in_place(number: int) -> tuple[list[int], bytearray]:
    BUFFER[0] = COLUMN[0] = number
    return BUFFER, COLUMN


@pytest.mark.parametrize("on_error", ["raise", "return"])
@pytest.mark.parametrize("chunksize", [None, 7])
def test_each_item_and_each_result_is_a_copy_of_its_own(
    on: DefaultRunner, chunksize: int | None, on_error: Literal["raise", "return"]
) -> None:
    """Whichever of them travel together. The function may use the same room for each of its results."""
    assert [*on.map(visited, [Visits()] * 50, chunksize=chunksize, on_error=on_error)] == [1] * 50
    results: list[Any] = [*on.map(in_place, range(50), chunksize=chunksize, on_error=on_error)]
    assert [(numbers[0], column[0]) for numbers, column in results] == [(number, number) for number in range(50)]
    assert len({id(one) for result in results for one in result}) == 100


def change_the_process(number: int) -> tuple[object, ...]:
    import decimal
    import resource
    import warnings

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = (
        os.environ.get("LEFT"),
        os.getcwd(),
        decimal.getcontext().prec,
        warnings.filters[0][0],
        signal.getsignal(signal.SIGUSR1),
        sys.getrecursionlimit(),
        sys.stdout.closed,
        hard,
    )
    os.environ["LEFT"] = str(number)
    os.chdir("/")
    decimal.getcontext().prec = 5 + number
    warnings.simplefilter("error")
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    sys.setrecursionlimit(5000 + number)
    if number % 10 == 3:
        sys.stdout.close()
    if number == 20:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, hard - 1), hard - 1))
    return found


@pytest.mark.parametrize("on_error", ["raise", "return"])
@pytest.mark.parametrize("chunksize", [None, 25])
def test_what_an_item_changes_of_its_process_the_next_ones_do_not_see(
    processes: DefaultRunner, chunksize: int | None, on_error: Literal["raise", "return"]
) -> None:
    """Whichever of them travel together; where it can't be put back, another worker goes on behind it."""
    found = [*processes.map(change_the_process, range(50), chunksize=chunksize, on_error=on_error)]
    assert found == [found[0]] * 50


def set_going(number: int) -> int:
    if number == 3:
        signal.signal(signal.SIGUSR1, lambda *_: sys.exit("it has come"))
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        os.kill(os.getpid(), signal.SIGUSR1)
    if number == 4 and os.fork() == 0:
        return number
    return number


@pytest.mark.parametrize("on_error", ["raise", "return"])
def test_what_an_item_has_set_going_strikes_no_other(
    processes: DefaultRunner, on_error: Literal["raise", "return"]
) -> None:
    found = [*processes.map(set_going, range(10), chunksize=10, on_error=on_error)]
    assert found == [*range(10)]


# ---- sizes of batches ----------------------------------------------------------------------------------------------


@given(st.floats(1e-7, 10.0), st.integers(1, 30))
def test_batches_come_to_take_the_time_that_they_should(seconds_per_item: float, rounds: int) -> None:
    sizes = Sizes(None)
    before = sizes.next
    for _ in range(rounds):
        before = sizes.next
        sizes.measured(before, before * seconds_per_item)
        assert 1 <= sizes.next <= 8 * before
    assert sizes.next * seconds_per_item <= 0.021 or sizes.next == 1


def test_what_a_batch_has_not_begun_in_time_it_gives_back() -> None:
    payload, _, _ = encode_list([100, *range(8)])
    outcome = BatchFunction(square, 0, seconds=0.0).outcome(payload)
    assert (decode_list(outcome.results)[0], outcome.reached) == ([0], 101)
    outcome = BatchFunction(square, 0, seconds=1e9).outcome(payload, encode_unseen((103, 106, 0)))
    assert (decode_list(outcome.results)[0], outcome.reached) == ([9, 16, 25], None)


# ---- the state machine ---------------------------------------------------------------------------------------------


def a_call(*supplies: Supply) -> BatchRun:
    run = BatchRun(9, numbers=count(), grace=1.5)
    tell(run, Begin(), *supplies)
    return run


def tell(run: BatchRun, *events: Any) -> list[Command]:
    return [command for event in events for command in run.handle(event, 0.0)]


def supply(index: int) -> Supply:
    return Supply(index, f"items {index}", b"%d" % index)


def test_batches_are_submitted_in_order_as_there_is_room() -> None:
    run = a_call(supply(0), supply(1), supply(2))
    assert run.ready == 3
    commands = tell(run, Room(2))
    assert [(command.attempt, command.task) for command in commands if isinstance(command, Assignment)] == [
        (0, "items 0"),
        (1, "items 1"),
    ]
    assert (run.ready, run.due) == (1, None)


@pytest.mark.parametrize("end", [done(0), failed(0), lost(0)])
def test_every_end_is_delivered_with_its_place(end: Any) -> None:
    run = a_call(supply(7))
    tell(run, Room(1), Started(0))
    assert tell(run, end) == [Deliver(7, "items 7", end)]
    assert tell(run, end) == [], "a late report is dropped"


def test_what_was_given_back_is_submitted_again() -> None:
    run = a_call(supply(0), supply(1))
    tell(run, Room(1), Unstarted(0))
    (again,) = tell(run, Room(1))
    assert isinstance(again, Assignment)
    assert (again.attempt, again.task) == (1, "items 0")


def test_cancelling_withdraws_what_is_open_and_ends_when_it_has_ended() -> None:
    run = a_call(supply(0), supply(1))
    tell(run, Room(1), Started(0))
    assert tell(run, Cancel()) == []
    assert tell(run, supply(2), Room(5)) == []
    assert (run.due, tell(run, Tick())) == (1.5, [])
    assert run.handle(Tick(), 1.5) == [Withdraw(0, 1.5)]
    assert run.due is None
    assert tell(run, lost(0))[-1:] == [Ended()]


def test_cancelling_takes_back_what_has_not_begun_and_lets_the_rest_come_to_its_end() -> None:
    run = a_call(supply(0), supply(1))
    tell(run, Room(2), Started(0))
    assert tell(run, Cancel()) == [Withdraw(1, 1.5)]
    assert tell(run, Unstarted(1)) == []
    assert tell(run, done(0))[-1:] == [Ended()]
    assert run.due is None


def test_cancelling_with_nothing_open_ends_at_once() -> None:
    assert tell(a_call(supply(0)), Cancel(0.0)) == [Ended()]


def test_a_batch_that_asks_for_more_is_told_that_there_is_none() -> None:
    run = a_call(supply(0))
    tell(run, Room(1), Started(0))
    (answer,) = tell(run, Wants(0, ("other",)))
    assert isinstance(answer, Answer)
    assert (answer.slice.versions, answer.slice.complete) == ({}, True)
