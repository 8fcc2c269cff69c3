"""`runner.map` where something fails: all results before it, then the error, on whatever it runs."""

import gc
import os
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, product
from pathlib import Path
from threading import Event, Lock
from typing import Any, NamedTuple
from unittest.mock import patch

import cloudpickle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloaca import DecodeError, DefaultRunner, EncodeError, TaskError, WorkerDied
from cloaca.attempts.batch import BatchFunction
from cloaca.border.surroundings import here
from cloaca.engine.batches import BatchRun
from cloaca.engine.events import Deliver
from cloaca.execution.serial import SerialExecutor
from cloaca.running.batches import Sizes
from cloaca.running.coordinator import Job
from cloaca.running.loop import Loop
from cloaca.running.mapping import mapped, unseen
from cloaca.terms import Terms
from cloaca.values.storage import Storage
from cloaca.wire.messages import Assignment
from cloaca.wire.messages import Event as AnyEvent

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # as if all this stood in the user's script


class Unsendable:
    def __reduce__(self) -> str | tuple[Any, ...]:
        raise LookupError("not this one")

    def __repr__(self) -> str:
        return "Unsendable()"


class Unreadable:
    def __reduce__(self) -> str | tuple[Any, ...]:
        return int, ("not here",)


class LockedError(Exception):
    """Can't be sent."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.lock = Lock()


@dataclass(frozen=True)
class FrozenError(Exception):
    """Can't be changed: neither a note nor a cause can be set in the ordinary way."""

    number: int


class NotedError(Exception):
    """Has notes that are none."""

    __notes__ = 5  # type: ignore[assignment]


class Item(NamedTuple):
    """What becomes of it is told by `fate`; `baggage` is what it holds."""

    number: int
    fate: str = ""
    baggage: object = None


BAGGAGE = {"unsendable item": Unsendable, "unreadable item": Unreadable}
MADE = {"unsendable result": Unsendable, "unreadable result": Unreadable}
RAISED: dict[str, Callable[[int], BaseException]] = {
    "raises": ValueError,
    "raises what can't be sent": LockedError,
    "exits": SystemExit,
    "is interrupted": KeyboardInterrupt,
    "stops": StopIteration,
    "raises what is frozen": FrozenError,
    "raises what has odd notes": NotedError,
}
INPUT_FAILS = "input fails"
FATES = [*BAGGAGE, *MADE, *RAISED, INPUT_FAILS]

ITEM = "This was item {0} of map: Item(number={0}, fate={1!r}, baggage={2})"
RESULT = "This was the result of item {0} of map."
EXPECTED: dict[str, tuple[type[BaseException], str | None]] = {
    "unsendable item": (EncodeError, ITEM),
    "unreadable item": (DecodeError, "This was item {0} of map."),
    "unsendable result": (EncodeError, RESULT),
    "unreadable result": (DecodeError, RESULT),
    "raises": (ValueError, ITEM),
    "raises what can't be sent": (TaskError, ITEM),
    "exits": (SystemExit, ITEM),
    "is interrupted": (KeyboardInterrupt, ITEM),
    "raises what is frozen": (FrozenError, ITEM),
    "raises what has odd notes": (NotedError, ITEM),
    "stops": (RuntimeError, ITEM),  # no iterator may raise `StopIteration` for anything but its end
    INPUT_FAILS: (LookupError, None),
}


def suffer(item: Item) -> Any:
    if item.fate in RAISED:
        raise RAISED[item.fate](item.number)
    return MADE[item.fate]() if item.fate in MADE else item.number


def items_of(fates: Sequence[str]) -> Iterator[Item]:
    for number, fate in enumerate(fates):
        if fate == INPUT_FAILS:
            raise LookupError(f"no item {number}")
        yield Item(number, fate, BAGGAGE[fate]() if fate in BAGGAGE else None)


class Outcome(NamedTuple):
    results: list[Any]
    kind: type[BaseException] | None = None
    text: str = ""
    notes: Sequence[str] = ()


def outcome(results: Iterator[Any]) -> Outcome:
    came: list[Any] = []
    try:
        came.extend(results)
    except BaseException as error:  # noqa: BLE001 - exits and interrupts are among what is tried
        assert next(results, None) is None, "nothing comes after an error"
        return Outcome(came, type(error), str(error), tuple(getattr(error, "__notes__", ())))
    return Outcome(came)


def assert_is_right(found: Outcome, fates: Sequence[str]) -> None:
    at = next((number for number, fate in enumerate(fates) if fate), None)
    assert found.results == list(range(len(fates) if at is None else at))
    if at is None:
        assert found.kind is None
        return
    expected, note = EXPECTED[fates[at]]
    baggage = "Unsendable()" if fates[at] == "unsendable item" else "None"
    shown = note and note.format(at, fates[at], baggage)
    assert found.kind is expected
    assert found.notes == (() if shown is None else (shown,)) or _is_shortened(found.notes, at)


def _is_shortened(notes: Sequence[str], at: int) -> bool:
    """Long items are cut in the middle."""
    return len(notes) == 1 and notes[0].startswith(f"This was item {at} of map: Item(number") and "..." in notes[0]


# ---- without processes ---------------------------------------------------------------------------------------------


class Backwards(SerialExecutor):
    """Runs, of what it is given at once, the last batch first. With nothing to do it waits: its loop goes on and on."""

    window = 6

    def __init__(self, functions: dict[int, BatchFunction]) -> None:
        super().__init__(functions)
        self._woken = Event()

    def wait(self, timeout: float | None) -> Sequence[AnyEvent]:
        found = super().wait(0)
        if found:
            return found
        self._woken.wait(timeout)
        self._woken.clear()
        return super().wait(0)

    def wake(self) -> None:
        self._woken.set()

    def submit(self, assignments: Sequence[Assignment]) -> None:
        super().submit(assignments[::-1])


class Desk:
    """Calls of `map` on a loop whose executor works in this process."""

    def __init__(self) -> None:
        self._functions: dict[int, BatchFunction] = {}
        self._loop = Loop(Backwards(self._functions), Storage())
        self._numbers = count()

    def map(self, items: Iterable[Item], chunksize: int | None, workers: int, seconds: float) -> Outcome:
        number, has_ended = next(self._numbers), Event()
        self._functions[number] = BatchFunction(suffer, 0, seconds)
        run = BatchRun(number, numbers=self._numbers, grace=0.0)

        def job(on_delivery: Callable[[Deliver], None], on_end: Callable[[Exception | None], None]) -> Job[BatchRun]:
            def ended(error: Exception | None) -> None:
                on_end(error)
                has_ended.set()

            return Job("", run, (), ended, here(), on_delivery=on_delivery)

        found = outcome(mapped(self, self._loop, job, items, Sizes(chunksize), workers, Terms(), unseen))
        has_ended.wait()
        return found

    def close(self) -> None:
        self._loop.stop()


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.close()


@pytest.fixture(scope="module")
def serial() -> DefaultRunner:
    return DefaultRunner(executor="serial")


@given(
    st.lists(st.sampled_from(["", "", "", "", *FATES]), max_size=40),
    st.integers(0, 40),
    st.none() | st.integers(1, 45),
    st.sampled_from([1, 2]),
    st.sampled_from([0.0, 1e9]),
    st.sampled_from([1, 5, 10**9]),
)
def test_results_come_up_to_the_first_error(
    desk: Desk,
    serial: DefaultRunner,
    fates: list[str],
    quiet: int,
    chunksize: int | None,
    workers: int,
    longest: float,
    most: int,
) -> None:
    fates = [""] * quiet + fates
    with patch.multiple("cloaca.running.batches", MOST_EARLY_ITEMS=most, MOST_EARLY_BYTES=10 * most):
        found = desk.map(items_of(fates), chunksize, workers, longest)
    assert_is_right(found, fates)
    assert outcome(serial.map(suffer, items_of(fates), chunksize=chunksize)) == found


def test_what_is_too_large_for_a_message_comes_before_the_error_too(desk: Desk, serial: DefaultRunner) -> None:
    blobs = [bytes([number]) * 70_000 for number in range(5)]

    def pick(item: Item) -> object:
        return suffer(item) if item.fate else blobs[item.number]

    items = [Item(number, "unsendable result" if number == 4 else "", blobs[number]) for number in range(5)]
    with DefaultRunner(workers=1, executor="processes") as runner:
        found = outcome(runner.map(pick, items, chunksize=5))
        assert found == outcome(serial.map(pick, items))
        assert found.results == blobs[:4]
        assert list(runner.map(abs, [-1])) == [1]  # the loop holds what it was given last
        loop = runner._runs.running_loop()
        assert [path for folder in loop.holder.folders for path in Path(folder).glob("[0-9p]*.*")] == []


# ---- with processes ------------------------------------------------------------------------------------------------


@pytest.fixture(params=[1, 2])
def processes(request: pytest.FixtureRequest) -> Iterator[DefaultRunner]:
    with DefaultRunner(workers=request.param, executor="processes") as runner:
        yield runner


def test_workers_give_the_same_results_and_errors_as_the_serial_executor(
    processes: DefaultRunner, serial: DefaultRunner
) -> None:
    for fate, chunksize in product(FATES, [None, 7, 100]):
        fates = [""] * 50 + [fate] + ["raises"] * 5
        found = outcome(processes.map(suffer, items_of(fates), chunksize=chunksize))
        assert_is_right(found, fates)
        assert found == outcome(serial.map(suffer, items_of(fates)))


def test_an_error_in_the_middle_of_many_items(processes: DefaultRunner) -> None:
    def check(number: int) -> int:
        if number == 50_000:
            raise LookupError(number)
        return number

    found = outcome(processes.map(check, range(100_000)))
    assert found == Outcome(list(range(50_000)), LookupError, "50000", ("This was item 50000 of map: 50000",))


def test_a_batch_stops_at_the_item_that_raises(processes: DefaultRunner) -> None:
    reached: list[int] = []

    def check(number: int) -> list[int]:
        reached.append(number)
        if number == 3:
            raise LookupError(reached)
        return list(reached)

    found = outcome(processes.map(check, range(10), chunksize=10))
    assert found.results == [[0], [0, 1], [0, 1, 2]]
    assert found.text == "[0, 1, 2, 3]"


def test_a_death_costs_its_batch_and_nothing_before() -> None:
    def die(number: int) -> int:
        if number == 12:
            os._exit(3)
        return number

    with DefaultRunner(workers=2, executor="processes") as runner:
        found = outcome(runner.map(die, range(100), chunksize=5))
    assert (found.results, found.kind) == (list(range(10)), WorkerDied)
    assert "map, items 10 to 14" in found.text


def test_the_traceback_begins_in_the_user_s_code(processes: DefaultRunner) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        list(processes.map(lambda number: 1 // number, [0]))
    told = str(caught.value.__cause__)
    assert "1 // number" in told
    assert "batch.py" not in told
    assert "This was item 0 of map: 0" in told


def test_an_item_that_cannot_be_shown_does_not_hide_the_error(serial: DefaultRunner) -> None:
    class Hidden:
        def __reduce__(self) -> Any:
            return Hidden, ()

        def __repr__(self) -> str:
            raise LookupError("not shown")

        @property  # type: ignore[misc]  # as a proxy whose object has gone
        def __class__(self) -> Any:
            raise LookupError("not even what it is")

    def refuse(_: object) -> None:
        raise LookupError("here")

    found = outcome(serial.map(refuse, [Hidden()]))
    assert (found.kind, found.notes) == (LookupError, ("This was item 0 of map: <Hidden>",))


@pytest.mark.parametrize("executor", ["processes", "serial"])
def test_an_error_that_was_let_go_keeps_nothing(executor: Any) -> None:
    def fail(_: int) -> None:
        raise LookupError("here")

    runner = DefaultRunner(workers=1, executor=executor)
    gone = weakref.ref(runner)
    gc.disable()
    try:
        assert outcome(runner.map(fail, [1])).kind is LookupError
        del runner
        assert gone() is None
    finally:
        gc.enable()


def test_nothing_is_lost_where_two_modules_that_can_be_seeded_are_loaded_in_a_batch() -> None:
    def load(number: int) -> int:
        if number == 2:
            import random  # noqa: F401
        if number == 5:
            import numpy.random  # noqa: F401
        return number

    with DefaultRunner(workers=1, executor="processes") as runner:
        assert list(runner.map(load, range(10), chunksize=10)) == list(range(10))
