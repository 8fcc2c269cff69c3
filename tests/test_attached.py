"""What functions take along: large parts of it are put into files once, and mapped; and nothing is left of them."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
from tests.support import PATIENCE

import cloaca
from cloaca.merge.equality import equal
from cloaca.values import blobs, storage
from cloaca.values.blobs import LARGE

NUMBERS = 100_000


@pytest.fixture
def numbers() -> Any:
    return np.arange(1.0 * NUMBERS)


@pytest.fixture
def pool() -> Iterator[cloaca.DefaultRunner]:
    with cloaca.DefaultRunner(workers=2) as runner:
        yield runner


def files() -> list[str]:
    """What functions of this program have in files."""
    return sorted(path.name for path in Path(storage.SHARED_MEMORY).glob(f"cloaca-{os.getpid()}-*/function.*"))


def files_soon(count: int) -> list[str]:
    """The files, once they are so many: those of what has ended go when the program's other thread has heard of it."""
    deadline = time.monotonic() + PATIENCE
    while len(files()) != count and time.monotonic() < deadline:
        time.sleep(0.01)
    return files()


def workflow_of(*functions: Callable[..., object], **options: Any) -> cloaca.Workflow:
    with cloaca.WorkflowBuilder("attached", check="off") as builder:
        for place, function in enumerate(functions):
            cloaca.task(id=f"t{place}", **options)(function)
    return builder.build()


def summing(key: str, numbers: Any) -> Callable[[cloaca.Context], None]:
    def task(context: cloaca.Context) -> None:
        context[key] = float(numbers.sum())

    return task


def last_of(key: str, numbers: Any) -> Callable[[cloaca.Context], None]:
    def task(context: cloaca.Context) -> None:
        context[key] = float(numbers[-1])

    return task


# ---- once ----------------------------------------------------------------------------------------------------------


def test_what_many_functions_take_along_is_put_there_once(pool: cloaca.DefaultRunner, numbers: Any) -> None:
    functions = [summing("sum", numbers), summing("again", numbers), last_of("last", numbers)]
    result = pool.execute(workflow_of(*functions), raise_on_failure=True)
    expected = numbers.sum()
    assert result.final_context.to_dict() == {"sum": expected, "again": expected, "last": NUMBERS - 1.0}
    assert len(files()) == 1


def test_mapped_tasks_and_defaults_count_too(pool: cloaca.DefaultRunner, numbers: Any) -> None:
    def task(context: cloaca.Context, item: int, table: Any = numbers) -> None:
        context["found"] = float(table[item])

    result = pool.execute(workflow_of(task, for_each="items"), {"items": [5, 7]}, raise_on_failure=True)
    assert result.final_context["found"] == [5.0, 7.0]
    assert len(files()) == 1


def test_what_is_the_same_is_not_put_there_again_and_what_has_changed_is(
    pool: cloaca.DefaultRunner, numbers: Any
) -> None:
    workflow = workflow_of(summing("sum", numbers))
    before = numbers.sum()
    assert pool.execute(workflow).final_context["sum"] == before
    first = files()
    assert pool.execute(workflow).final_context["sum"] == before
    assert files() == first
    numbers[7] += 1
    assert pool.execute(workflow).final_context["sum"] == before + 1
    (now,) = files_soon(1)
    assert [now] != first


def test_small_ones_stay_in_the_function(pool: cloaca.DefaultRunner) -> None:
    assert pool.execute(workflow_of(summing("sum", np.ones(LARGE // 16)))).final_context["sum"] == LARGE // 16
    assert files() == []


# ---- what it is there ----------------------------------------------------------------------------------------------

KINDS: dict[str, Callable[[], Any]] = {
    "array": lambda: np.arange(1.0 * NUMBERS),
    "fortran": lambda: np.asfortranarray(np.arange(1.0 * NUMBERS).reshape(2, -1)),
    "slice": lambda: np.arange(3.0 * NUMBERS)[::3],
    "read-only": lambda: np.frombuffer(bytes(8 * NUMBERS), "f8"),
    "frame": lambda: pd.DataFrame({"i": range(NUMBERS), "f": np.arange(NUMBERS) / 3}),
    "bytes": lambda: bytes(range(256)) * 1000,
    "bytearray": lambda: bytearray(range(256)) * 1000,
    "text": lambda: "häß€" * 20_000,
    "dict": lambda: {"a": np.arange(NUMBERS), "b": list(range(30_000))},
}


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_what_it_was(pool: cloaca.DefaultRunner, kind: str) -> None:
    value = KINDS[kind]()
    again = [value, value]

    def hand_back(context: cloaca.Context) -> None:
        context["value"], context["is_one"] = value, again[0] is again[1] is value

    context = pool.execute(workflow_of(hand_back), raise_on_failure=True).final_context
    assert type(context["value"]) is type(value)
    assert context["is_one"]
    assert equal(context["value"], value)
    assert files()


def test_what_is_written_to_it_is_seen_by_nobody_else(pool: cloaca.DefaultRunner, numbers: Any) -> None:
    view = numbers[:]

    def write(context: cloaca.Context) -> None:
        numbers[:] = -1.0
        context["seen"] = float(view[3])

    result = pool.execute(workflow_of(write, last_of("last", numbers)), raise_on_failure=True)
    assert result.final_context.to_dict() == {"seen": 3.0, "last": NUMBERS - 1.0}
    assert numbers[3] == 3.0
    assert list(pool.map(lambda place: float(numbers[place]), [1, 2])) == [1.0, 2.0]


# ---- how long it stays ---------------------------------------------------------------------------------------------


def test_when_a_call_of_map_is_over_it_goes(pool: cloaca.DefaultRunner, numbers: Any) -> None:
    results = pool.map(lambda place: float(numbers[place]), range(100))
    assert next(results) == 0.0
    assert len(files()) == 1
    assert list(results) == list(map(float, range(1, 100)))
    assert files_soon(0) == []


def test_when_nobody_wants_the_results_it_goes(pool: cloaca.DefaultRunner, numbers: Any) -> None:
    results = pool.map(lambda place: float(numbers[place]), range(1_000_000))
    assert next(results) == 0.0
    del results
    assert files_soon(0) == []


def test_when_the_function_raises_it_goes(pool: cloaca.DefaultRunner, numbers: Any) -> None:
    with pytest.raises(IndexError):
        list(pool.map(lambda place: float(numbers[place]), [NUMBERS]))
    assert files_soon(0) == []


def test_who_comes_after_a_death_maps_it_again(pool: cloaca.DefaultRunner, numbers: Any, tmp_path: Path) -> None:
    mark = tmp_path / "died"

    def task(context: cloaca.Context) -> None:
        if not mark.exists():
            mark.touch()
            os._exit(1)
        context["sum"] = float(numbers.sum())

    result = pool.execute(workflow_of(task, retry_attempts=2), raise_on_failure=True)
    assert result.final_context["sum"] == numbers.sum()
    assert len(files()) == 1


def test_with_its_runner_it_goes(numbers: Any) -> None:
    with cloaca.DefaultRunner(workers=1) as runner:
        runner.execute(workflow_of(summing("sum", numbers)), raise_on_failure=True)
        assert files()
    assert files() == []


# ---- what is shared -------------------------------------------------------------------------------------------------


def entry(place: int, *, numbers: Any) -> float:
    return float(numbers[place])


def entry_of_sum(one: int, other: int, numbers: Any) -> float:
    return entry(one + other, numbers=numbers)


async def awaited_entry(place: int, *, numbers: Any) -> float:
    return entry(place, numbers=numbers)


def test_what_is_shared_is_given_by_name(own_runner: cloaca.DefaultRunner, numbers: Any) -> None:
    shared = {"numbers": numbers}
    assert list(own_runner.map(entry, [3, 5], shared=shared)) == [3.0, 5.0]
    assert list(own_runner.map(awaited_entry, [3, 5], shared=shared)) == [3.0, 5.0]
    assert list(own_runner.map(entry_of_sum, [3, 5], [1, 2], shared=shared)) == [4.0, 7.0]
    assert list(own_runner.map(abs, [-3], shared={})) == [3]


def test_what_is_shared_lies_in_one_file_until_the_call_is_over(pool: cloaca.DefaultRunner, numbers: Any) -> None:
    results = pool.map(entry, range(NUMBERS), shared={"numbers": numbers})
    assert next(results) == 0.0
    assert len(files()) == 1
    del results
    assert files_soon(0) == []


def test_what_is_shared_is_as_large_as_it_is(pool: cloaca.DefaultRunner) -> None:
    assert list(pool.map(entry, [7], shared={"numbers": list(range(500_000))})) == [7.0]  # and nothing is warned of


def test_shared_without_such_a_parameter_tells_where_the_function_stands(pool: cloaca.DefaultRunner) -> None:
    line = entry.__code__.co_firstlineno
    with pytest.raises(ValueError, match=rf"passes 'number' by name.*test_attached\.py:{line}.*\(item, \*, number\)"):
        pool.map(entry, [1], shared={"number": 1})
    with pytest.raises(ValueError, match="by name 'place'"):
        pool.map(entry, [1], shared={"place": 1})
    with pytest.raises(ValueError, match=r"shared=\{'prices': prices\}"):
        pool.map(entry, [1])  # type: ignore[arg-type]


@pytest.mark.parametrize("shared", [5, [("numbers", 1)], {1: 2}])
def test_shared_is_by_name(pool: cloaca.DefaultRunner, shared: Any) -> None:
    with pytest.raises(ValueError, match="by the names of parameters"):
        pool.map(entry, [1], shared=shared)


def test_shared_that_cannot_be_sent_tells_its_name(pool: cloaca.DefaultRunner) -> None:
    with pytest.raises(cloaca.CaptureError, match=r"entry\.keywords\['numbers'\]"):
        pool.map(entry, [1], shared={"numbers": threading.Lock()})


# ---- where it can't be put there -----------------------------------------------------------------------------------


def test_where_there_is_no_room_it_is_sent(
    pool: cloaca.DefaultRunner, numbers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blobs, "_room", lambda _: 0)
    workflow = workflow_of(summing("sum", numbers))
    assert pool.execute(workflow).final_context["sum"] == numbers.sum()
    assert list(pool.map(lambda place: float(numbers[place]), [1])) == [1.0]
    assert files() == []
    monkeypatch.undo()
    assert pool.execute(workflow).final_context["sum"] == numbers.sum()
    assert len(files()) == 1


def test_what_somebody_has_removed_is_put_there_again(pool: cloaca.DefaultRunner) -> None:
    data = bytes(range(256)) * 1000

    def task(context: cloaca.Context) -> None:
        context["length"] = len(data)

    workflow = workflow_of(task)
    for _ in range(2):
        assert pool.execute(workflow).final_context["length"] == len(data)
        for path in Path(storage.SHARED_MEMORY).glob(f"cloaca-{os.getpid()}-*/function.*"):
            path.unlink()


def test_where_somebody_removes_it_meanwhile_the_error_says_so(pool: cloaca.DefaultRunner, numbers: Any) -> None:
    def remove(_: cloaca.Context) -> None:
        for path in Path(storage.SHARED_MEMORY).glob(f"cloaca-{os.getppid()}-*/function.*"):
            path.unlink()

    with cloaca.WorkflowBuilder("attached", check="off") as builder:
        cloaca.task(remove)
        cloaca.task(id="sum", dependencies=[remove])(summing("sum", numbers))
    error = pool.execute(builder).tasks["sum"].error
    assert isinstance(error, cloaca.DecodeError)
    assert "what a function takes along: FileNotFoundError" in str(error)
    assert "Nothing else may remove" in str(error)


@pytest.mark.parametrize("executor", ["serial", "threads"])
def test_in_the_program_it_needs_no_files(executor: Literal["serial", "threads"], numbers: Any) -> None:
    with cloaca.DefaultRunner(workers=1, executor=executor) as runner:
        assert runner.execute(workflow_of(last_of("last", numbers))).final_context["last"] == NUMBERS - 1.0
        assert list(runner.map(lambda place: float(numbers[place]), [1])) == [1.0]
        assert files() == []
