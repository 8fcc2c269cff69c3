"""The contract of `cloaca.execution.executor`, checked on every executor.

`Desk` checks the order of events in each of these tests: one end per attempt, `Started` before `Done`, `Failed`,
`Skipped` and `Lost`, and never with `Unstarted`.
"""

import os
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from tests.support import Desk, killer_of, pipe, published, written

from cloaca import Context
from cloaca.attempts.attempt import TaskFunction
from cloaca.execution.executor import Executor
from cloaca.execution.futures import QUEUED, FuturesExecutor
from cloaca.execution.serial import SerialExecutor
from cloaca.pool.pool import Pool
from cloaca.testing import ScriptedExecutor, running
from cloaca.triggers.condition import Condition, all_of, context_value, task_skipped, task_success
from cloaca.values.codec import decode, encode
from cloaca.wire.messages import Done, Failed, Item, Outcome, Publish, Said, Skipped, Started, Unstarted, Wants

Functions = Mapping[int, TaskFunction]


def on_threads(workers: int, functions: Functions) -> Executor:
    """An executor on so many threads."""
    pool = ThreadPoolExecutor(workers)
    return FuturesExecutor(pool, workers, functions, close_pool=pool.shutdown)


DeskOf = Callable[..., Desk]

POOLS: dict[str, Callable[[Functions], Executor]] = {
    "pool of 1": lambda _: Pool(1, {}),
    "pool of 2": lambda _: Pool(2, {}),
}
THREADS: dict[str, Callable[[Functions], Executor]] = {
    "a thread": lambda functions: on_threads(1, functions),
    "threads": lambda functions: on_threads(2, functions),
}
REAL = {"serial": SerialExecutor, **POOLS, **THREADS}
EXECUTORS = {**REAL, "scripted": lambda functions: ScriptedExecutor(running(functions), lambda moves: moves[0])}

LARGE = 5_000_000


@pytest.fixture(params=list(EXECUTORS.values()), ids=list(EXECUTORS))
def desk_of(request: pytest.FixtureRequest) -> Iterator[DeskOf]:
    """Makes a desk at an executor that knows the functions given, by their place."""
    with ExitStack() as stack:

        def make(*functions: TaskFunction, publish: Sequence[Publish] | None = None, **facts: Any) -> Desk:
            executor = request.param(dict(enumerate(functions)))
            stack.callback(executor.close)
            executor.publish(published(*functions) if publish is None else publish)
            return Desk(executor, **facts)

        yield make


on_real_executors = pytest.mark.parametrize("desk_of", REAL.values(), ids=REAL.keys(), indirect=True)
on_those_that_start_later = pytest.mark.parametrize(
    "desk_of", [SerialExecutor, *POOLS.values()], ids=["serial", *POOLS], indirect=True
)
on_pools = pytest.mark.parametrize("desk_of", POOLS.values(), ids=POOLS.keys(), indirect=True)


def setting(n: int) -> TaskFunction:
    """A function of its own that sets `n`."""
    return lambda context: context.set("n", n)


# ---- one end for each attempt --------------------------------------------------------------------------------------


def test_an_attempt_starts_and_then_is_done(desk_of: DeskOf) -> None:
    desk = desk_of(lambda context: context.set("answer", 42))
    (attempt,) = desk.submit([0])
    desk.collect()
    told = [type(event) for event in desk.events if not isinstance(event, Wants)]
    assert told in ([Started, Done], [Done]), "a start that is known with the end needn't be told"
    assert written(desk.ends[attempt]) == {"answer": 42}


def test_many_small_assignments_in_one_submit_each_end_once(desk_of: DeskOf) -> None:
    desk = desk_of(lambda context: context.set("twice", 2 * context["n"]))
    attempts = [desk.submit([0], n=n)[0] for n in range(50)] + desk.submit([0] * 500, n=50)
    desk.collect()
    assert [written(desk.ends[attempt])["twice"] for attempt in attempts] == [2 * min(n, 50) for n in range(550)]


def test_a_function_is_called_with_the_item_that_its_attempt_is_for(desk_of: DeskOf) -> None:
    desk = desk_of(lambda context, *items: context.set("got", (items, context.item_key)))
    sent = [Item(encode({"x": (1, 2)}), encode("north"), "rows", "split"), Item(encode(None)), None]
    attempts = [desk.submit([0], sent=item)[0] for item in sent]
    desk.collect()
    got = [written(desk.ends[attempt])["got"] for attempt in attempts]
    assert got == [(({"x": (1, 2)},), "north"), ((None,), None), ((), None)]


def test_functions_are_published_once_and_used_by_many(desk_of: DeskOf) -> None:
    desk = desk_of(*map(setting, range(5)))
    ends = desk.run([0, 1, 2, 3, 4] * 10)
    assert [written(end)["n"] for end in ends] == [0, 1, 2, 3, 4] * 10


def test_functions_may_be_published_later(desk_of: DeskOf) -> None:
    first, *later = published(*map(setting, range(4)))
    desk = desk_of(*map(setting, range(4)), publish=[first])
    desk.run([0])
    desk.executor.publish(later)
    assert [written(end)["n"] for end in desk.run([3, 0, 1])] == [3, 0, 1]


def test_what_is_reported_stays_as_it_was_reported(desk_of: DeskOf) -> None:
    """Reports don't look into a buffer that is used again."""
    desk = desk_of(lambda context: context.set("copy", context["text"]))
    texts = [letter * 10_000 for letter in "abcdefgh"]
    attempts = [desk.submit([0], text=text)[0] for text in texts]
    desk.collect()
    assert [written(desk.ends[attempt])["copy"] for attempt in attempts] == texts


def test_an_attempt_that_fails_tells_how(desk_of: DeskOf) -> None:
    def fail(context: Context) -> None:
        context.set("unseen", 1)
        raise LookupError("not here")

    (end,) = desk_of(fail).run([0])
    assert isinstance(end, Failed)
    assert (end.type_name, end.text) == ("LookupError", "not here")
    assert 'raise LookupError("not here")' in end.traceback
    assert end.error is not None
    assert repr(decode(end.error)) == "LookupError('not here')"


def test_a_failure_costs_one_attempt(desk_of: DeskOf) -> None:
    desk = desk_of(lambda context: context.set("n", 1), lambda context: context["nothing"])
    kinds = [type(end) for end in desk.run([0, 1, 0, 1, 0])]
    assert kinds == [Done, Failed, Done, Failed, Done]


def test_a_diff_holds_what_was_set_and_removed_and_nothing_else(desk_of: DeskOf) -> None:
    def change(context: Context) -> None:
        context["read"].append(2)
        context.set("new", (1, 2))
        context.remove("old")
        context.remove("never there")

    (end,) = desk_of(change, world={"read": [1], "old": 1, "untouched": 0}).run([0])
    assert written(end) == {"new": (1, 2), "old": None}


# ---- conditions ----------------------------------------------------------------------------------------------------


def desk_with(desk_of: DeskOf, condition: Condition, *functions: TaskFunction, **facts: Any) -> Desk:
    """A desk at which the condition has the number after those of the functions."""
    sent = Publish(len(functions), pickle.dumps(condition), ())
    known: Any = (*functions, condition)
    return desk_of(*known, publish=[*published(*functions), sent], **facts)


def test_an_attempt_begins_only_if_its_condition_holds(desk_of: DeskOf, tmp_path: Path) -> None:
    trace = tmp_path / "trace"

    def leave_a_trace(context: Context) -> None:
        with trace.open("a") as file:
            file.write(f"{context['n']} ")

    desk = desk_with(desk_of, context_value("n", ">", 1), leave_a_trace)
    attempts = [desk.submit([0], condition=1, n=n)[0] for n in (0, 2, 1)]
    desk.collect()
    assert [type(desk.ends[attempt]) for attempt in attempts] == [Skipped, Done, Skipped]
    assert trace.read_text() == "2 "


def test_an_attempt_that_is_skipped_tells_why(desk_of: DeskOf) -> None:
    condition = all_of(task_success("before"), context_value("n", "equals", 1))
    desk = desk_with(desk_of, condition, lambda _: None, outcomes={"before": Outcome("Completed")})
    (attempt,) = desk.submit([0], condition=1, n=2)
    desk.collect()
    end = desk.ends[attempt]
    assert isinstance(end, Skipped)
    assert end.reason == f"its rule {condition} doesn't hold: 'n' is 2"
    assert end.usage.read == ("n",)


def test_a_condition_is_told_how_tasks_ended(desk_of: DeskOf) -> None:
    desk = desk_with(desk_of, task_skipped("before"), setting(1), outcomes={"before": Outcome("Skipped")})
    (attempt,) = desk.submit([0], condition=1)
    desk.collect()
    assert written(desk.ends[attempt]) == {"n": 1}


def test_a_key_that_a_condition_names_and_that_was_not_sent_is_absent(desk_of: DeskOf) -> None:
    desk = desk_with(desk_of, context_value("n", "not_exists"), setting(1))
    (attempt,) = desk.submit([0], condition=1)
    desk.collect()
    assert written(desk.ends[attempt]) == {"n": 1}
    assert all(wants.rest for wants in desk.answered), "nothing was asked for but by executors that ask for all"


def test_a_condition_that_can_not_be_evaluated_fails_its_attempt(desk_of: DeskOf) -> None:
    desk = desk_with(desk_of, context_value("n", "less_than", 3), setting(1))
    wrong, right = desk.submit([0], condition=1, n="two"), desk.submit([0], condition=1, n=2)
    desk.collect()
    end = desk.ends[wrong[0]]
    assert isinstance(end, Failed)
    assert end.type_name == "ConditionError"
    assert written(desk.ends[right[0]]) == {"n": 1}


# ---- copies ----------------------------------------------------------------------------------------------------------


def test_a_task_of_a_copy_calls_keys_and_tasks_by_the_rest_of_their_names(desk_of: DeskOf) -> None:
    def read(context: Context) -> None:
        found = context["a"], context.get("b"), "c" in context, context.get("n")
        everything, ended = context.to_dict(), context.outcome("before").status
        context.set("seen", (found, everything, ended))
        context.remove("a")

    outcomes = {"before": Outcome("Failed", "boom"), "x.before": Outcome("Completed")}
    desk = desk_of(read, world={"a": 0, "x.a": 1, "c": 3, "x.b": 2}, outcomes=outcomes)
    (attempt,) = desk.submit([0], prefix="x.", n=4)
    desk.collect()
    end = desk.ends[attempt]
    assert written(end) == {"x.seen": ((1, 2, False, None), {"a": 1, "b": 2}, "Completed"), "x.a": None}
    assert isinstance(end, Done)
    assert end.usage.read == ("x.a", "x.b")


# ---- reading on demand ---------------------------------------------------------------------------------------------


def test_a_task_reads_single_keys_all_keys_and_outcomes(desk_of: DeskOf) -> None:
    def read(context: Context) -> None:
        found = context["a"], context.get("b"), context.get("absent"), "c" in context
        everything, ended = context.to_dict(), context.outcome("before").status
        context.set("seen", (found, everything, ended))

    world: dict[str, Any] = {"a": 1, "b": [2], "c": {"d": 3}}
    desk = desk_of(read, world=world, outcomes={"before": Outcome("Failed", "boom")})
    assert written(desk.run([0])[0])["seen"] == ((1, [2], None, True), world, "Failed")


def test_each_attempt_gets_the_answers_to_its_own_questions(desk_of: DeskOf) -> None:
    world = {f"key {n}": n for n in range(300)}

    def read(context: Context) -> None:
        context.set("seen", [context[f"key {context['n'] + i}"] for i in range(3)])

    desk = desk_of(read, world=world)
    attempts = [desk.submit([0], n=n)[0] for n in range(200)]
    desk.collect()
    assert [written(desk.ends[attempt])["seen"] for attempt in attempts] == [[n, n + 1, n + 2] for n in range(200)]


def test_an_executor_that_does_not_answer_never_asks(desk_of: DeskOf) -> None:
    desk = desk_of(lambda context: context.set("seen", (context["a"], len(context))), world={"a": 1, "b": 2})
    assert written(desk.run([0])[0]) == {"seen": (1, 2)}
    assert bool(desk.answered) is desk.executor.answers


@on_pools
def test_an_answer_for_an_attempt_that_has_ended_is_dropped(desk_of: DeskOf) -> None:
    desk = desk_of(lambda context: context["a"], lambda context: context.set("n", 1), world={"a": {}})
    desk.submit([0])
    wants = desk.until(Wants)
    desk.executor.cancel([wants.attempt], 0)
    desk.collect()
    desk.answer(wants)
    assert written(desk.run([1])[0]) == {"n": 1}


# ---- cancelling ----------------------------------------------------------------------------------------------------


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


def test_every_cancelled_attempt_ends_once_however_far_it_was(desk_of: DeskOf) -> None:
    desk = desk_of(lambda context: context.set("n", 1))
    attempts = desk.submit([0] * 100)
    desk.until(Done)
    desk.executor.cancel(attempts, 0)
    desk.collect()
    assert sorted(desk.ends) == attempts


# ---- the rest of the calls -----------------------------------------------------------------------------------------


def test_functions_that_were_retired_leave_the_others_alone(desk_of: DeskOf) -> None:
    desk = desk_of(*map(setting, range(4)))
    desk.run([0, 1])
    desk.executor.retire([0, 2])
    assert [written(end)["n"] for end in desk.run([1, 3, 1])] == [1, 3, 1]


def test_waiting_ends_without_events_when_nothing_happens(desk_of: DeskOf) -> None:
    desk = desk_of(lambda _: None)
    assert list(desk.executor.wait(0)) == []
    desk.run([0])
    assert list(desk.executor.wait(0.01)) == []


def test_waking_from_another_thread_ends_the_wait(desk_of: DeskOf) -> None:
    desk = desk_of(lambda _: None)
    thread = Thread(target=desk.executor.wake)
    thread.start()
    assert list(desk.executor.wait(None)) == []
    thread.join()


def test_waking_beforehand_ends_the_next_wait_however_often(desk_of: DeskOf) -> None:
    desk = desk_of(lambda _: None)
    for _ in range(100_000):  # more than a pipe holds
        desk.executor.wake()
    assert list(desk.executor.wait(None)) == []
    assert isinstance(desk.run([0])[0], Done)


def test_closing_with_work_under_way_leaves_nothing_and_may_be_repeated(desk_of: DeskOf) -> None:
    desk = desk_of(lambda _: None)
    desk.submit([0] * 1000)
    desk.step()
    for _ in range(2):
        desk.executor.close()


def test_an_executor_that_was_never_used_closes(desk_of: DeskOf) -> None:
    desk_of(lambda _: None).executor.close()


def test_large_values_pass_in_both_directions_at_once(desk_of: DeskOf) -> None:
    """Two sides that each wait for the other to read would never end."""
    world = {"asked": b"x" * LARGE}
    desk = desk_of(lambda context: context.set("back", context["asked"] + context["given"]), world=world)
    attempts = [desk.submit([0], given=bytes([n]) * LARGE)[0] for n in range(6)]
    desk.collect()
    for n, attempt in enumerate(attempts):
        back = written(desk.ends[attempt])["back"]
        assert (len(back), back[:1], back[-1]) == (2 * LARGE, b"x", n)


def test_a_window_is_a_positive_number_of_attempts(desk_of: DeskOf) -> None:
    assert desk_of(lambda _: None).executor.window >= 1


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
        case FuturesExecutor():
            return executor.window == 1 + QUEUED
        case _:
            return True
