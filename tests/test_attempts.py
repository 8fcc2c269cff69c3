"""Several tries of one task, time limits and early ends of a run, as lists of events. Time is an argument."""

from collections.abc import Sequence
from itertools import count
from typing import Any

import pytest
from msgspec.structs import replace
from tests import invariants
from tests.reference import Graph
from tests.runs import DIAMOND, assigned, done, failed, lost, states

from cloaca.engine.events import AttemptEvent, Begin, Cancel, Command, Ended, Room, RunEvent, Tick, Withdraw
from cloaca.engine.run import Run
from cloaca.engine.state import Stop
from cloaca.engine.timers import GRACE_SECONDS, Timers
from cloaca.engine.work import Limits, Work
from cloaca.history.plan import plan
from cloaca.retry import BackoffStrategy, RetryCondition, RetryPolicy
from cloaca.wire.messages import Assignment, Failed, Lost, Started, Unstarted, Vitals

PLAIN = RetryPolicy.builder().max_attempts(3).initial_delay(10).backoff_strategy(BackoffStrategy.fixed())
FIXED = PLAIN.with_jitter(False).build()
ALONE: Graph = [("a", [])]
SIDE_BY_SIDE: Graph = [("a", []), ("b", []), ("c", ["a"])]


def a_run(
    graph: Graph,
    *,
    retry: RetryPolicy | None = None,
    timeout: float | None = None,
    limits: Limits | None = None,
    seed: int = 0,
) -> Run:
    compiled = plan("w", graph)
    work = [Work(rank, (), timeout, retry) for rank in range(len(compiled.names))]
    return Run(compiled, work, {}, numbers=count(), answers=True, limits=limits, seed=seed)


def tell(run: Run, *events: RunEvent | AttemptEvent, at: float = 0.0) -> list[Command]:
    commands: list[Command] = []
    for event in events:
        commands += run.handle(event, at)
        invariants.check(run)
    return commands


def conflict(attempt: int) -> Failed:
    return replace(failed(attempt), type_name="MergeConflict", kinds=("cloaca.errors.MergeConflict", "Exception"))


def of_kind(attempt: int, *kinds: str) -> Failed:
    return replace(failed(attempt), type_name=kinds[0], kinds=kinds)


def assignments(commands: Sequence[Command]) -> list[Assignment]:
    return [command for command in commands if isinstance(command, Assignment)]


# ---- retries -------------------------------------------------------------------------------------------------------


def test_a_failed_task_is_tried_again_when_its_delay_is_over() -> None:
    run = a_run(ALONE, retry=FIXED)
    assert tell(run, Begin(), Room(1), Started(0), at=1.0) != []
    assert tell(run, failed(0), at=2.0) == []
    assert (states(run), run.due) == ({"a": "BACKING_OFF"}, 12.0)
    assert tell(run, Room(1), Tick(), at=11.9) == []
    assert tell(run, Tick(), at=12.0) == []
    assert assigned(tell(run, Room(1), at=12.0)) == [(1, "a")]
    assert tell(run, Started(1), done(1), at=13.0) == [Ended()]
    assert (run.attempts, states(run), run.due) == ([2], {"a": "COMPLETED"}, None)


def test_the_last_try_is_the_last() -> None:
    run = a_run(ALONE, retry=FIXED)
    tell(run, Begin())
    for attempt in range(3):
        ended = tell(run, Tick(), Room(1), Started(attempt), failed(attempt), at=100.0 * attempt)[-1:] == [Ended()]
        assert ended is (attempt == 2)
    assert (run.attempts, states(run)) == ([3], {"a": "FAILED"})


def test_a_task_without_a_policy_is_tried_once() -> None:
    run = a_run(ALONE)
    assert tell(run, Begin(), Room(1), Started(0), failed(0))[-1:] == [Ended()]


def test_dependents_wait_for_the_last_try() -> None:
    run = a_run(SIDE_BY_SIDE, retry=FIXED)
    tell(run, Begin(), Room(2), Started(0), failed(0))
    assert states(run)["c"] == "WAITING"
    tell(run, Tick(), Room(1), Started(2), done(2), at=10.0)
    assert states(run)["c"] == "READY"


def test_other_tasks_go_on_while_one_backs_off() -> None:
    run = a_run(SIDE_BY_SIDE, retry=FIXED)
    tell(run, Begin(), Room(1), Started(0), failed(0))
    assert assigned(tell(run, Room(5))) == [(1, "b")]


def test_an_assignment_says_which_try_it_is_and_how_many_the_task_itself_ended() -> None:
    run = a_run(ALONE, retry=FIXED, seed=5)
    tell(run, Begin())
    tries = []
    ends: list[Failed | Lost] = [lost(0), failed(1), failed(2)]
    for attempt, end in enumerate(ends):
        tries += assignments(tell(run, Tick(), Room(1), at=100.0 * attempt))
        tell(run, Started(attempt), end, at=100.0 * attempt)
    assert [(assignment.nth, assignment.ended, assignment.seed) for assignment in tries] == [
        (1, 0, 5),
        (2, 0, 5),
        (3, 1, 5),
    ]


def test_what_was_given_back_is_no_try() -> None:
    run = a_run(ALONE, retry=FIXED)
    (again,) = assignments(tell(run, Begin(), Room(1), Unstarted(0), Room(1)))[1:]
    assert (again.nth, again.ended) == (1, 0)


def test_a_conflict_is_never_retried() -> None:
    run = a_run(ALONE, retry=FIXED)
    assert tell(run, Begin(), Room(1), Started(0), conflict(0))[-1:] == [Ended()]


@pytest.mark.parametrize(
    ("end", "is_retried"),
    [
        (of_kind(0, "ConnectionResetError", "ConnectionError", "OSError"), True),
        (of_kind(0, "ValueError"), False),
        (lost(0), True),
    ],
)
def test_the_condition_is_asked_by_the_kinds_of_the_error(end: Failed | Lost, *, is_retried: bool) -> None:
    run = a_run(ALONE, retry=PLAIN.retry_condition(RetryCondition.transient_only()).build())
    tell(run, Begin(), Room(1), Started(0), end)
    assert (states(run)["a"] == "BACKING_OFF") is is_retried


def test_jitter_follows_from_the_run_s_seed() -> None:
    def dues(seed: int) -> list[float | None]:
        run = a_run(SIDE_BY_SIDE, retry=PLAIN.build(), seed=seed)
        tell(run, Begin(), Room(2), Started(0), Started(1), failed(0))
        first = run.due
        tell(run, failed(1), Tick(), at=first or 0.0)
        return [first, run.due]

    assert dues(1) == dues(1) != dues(2)
    assert all(due is not None and 7.5 <= due <= 25.0 for due in dues(1))
    assert len(set(dues(1))) == 2, "siblings that fail together don't come back together"


def test_a_retry_sees_what_the_first_try_saw() -> None:
    run = a_run([("root", []), ("a", ["root"])], retry=FIXED)
    tell(run, Begin(), Room(1), Started(0), done(0, k=b"1"))
    (first,) = assignments(tell(run, Room(1)))
    (second,) = assignments(tell(run, Started(1), failed(1))) or assignments(tell(run, Tick(), Room(1), at=10.0))
    assert first.slice == second.slice


def test_a_late_report_of_an_earlier_try_is_dropped() -> None:
    run = a_run(ALONE, retry=FIXED)
    tell(run, Begin(), Room(1), Started(0), lost(0), Tick(), at=0.0)
    tell(run, Tick(), Room(1), Started(1), at=10.0)
    assert tell(run, done(0, k=b"late"), at=10.0) == []
    assert (states(run), run.late) == ({"a": "RUNNING"}, 1)


# ---- time limits ---------------------------------------------------------------------------------------------------


def test_an_attempt_that_takes_too_long_is_withdrawn() -> None:
    run = a_run(ALONE, timeout=5.0, limits=Limits(grace=0.5))
    tell(run, Begin(), Room(1), at=0.0)
    assert run.due is None, "its time doesn't run before it has started"
    tell(run, Started(0), at=100.0)
    assert run.due == 105.0
    assert tell(run, Tick(), at=104.9) == []
    assert tell(run, Tick(), at=105.0) == [Withdraw(0, 0.5)]
    assert run.due is None
    assert tell(run, lost(0), at=105.1) == [Ended()]
    error = run.ledger.outcome_in_full(0).error
    assert error is not None
    assert error.startswith("TaskTimeout: Task 'a' (try 1) took longer than its time limit of 5 s")


def test_a_time_limit_counts_from_the_moment_at_which_the_attempt_began() -> None:
    run = a_run(ALONE, timeout=5.0)
    tell(run, Begin(), Room(1), at=0.0)
    tell(run, Started(0, moment=97.5), at=100.0)
    assert run.due == 102.5


def test_one_that_is_done_before_it_was_stopped_counts() -> None:
    run = a_run(ALONE, timeout=5.0)
    tell(run, Begin(), Room(1), Started(0), at=0.0)
    assert tell(run, Tick(), done(0), at=6.0) == [Withdraw(0, GRACE_SECONDS), Ended()]
    assert states(run) == {"a": "COMPLETED"}


def test_one_that_ended_in_time_rings_no_more() -> None:
    run = a_run(SIDE_BY_SIDE, timeout=5.0)
    tell(run, Begin(), Room(1), Started(0), done(0), at=0.0)
    assert run.due is None
    assert tell(run, Tick(), at=50.0) == []


def test_a_death_in_time_is_a_death() -> None:
    run = a_run(ALONE, timeout=5.0)
    tell(run, Begin(), Room(1), Started(0), lost(0), at=0.0)
    assert (run.ledger.outcome(0).error or "").startswith("WorkerDied: ")


def test_a_timeout_is_transient_and_the_next_try_has_all_its_time() -> None:
    policy = PLAIN.with_jitter(False).retry_condition(RetryCondition.transient_only()).build()
    run = a_run(ALONE, timeout=5.0, retry=policy)
    tell(run, Begin(), Room(1), Started(0), at=0.0)
    tell(run, Tick(), lost(0), at=5.0)
    assert (states(run), run.due) == ({"a": "BACKING_OFF"}, 15.0)
    tell(run, Tick(), Room(1), Started(1), at=20.0)
    assert run.due == 25.0


def test_memory_over_the_limit_is_not_transient() -> None:
    run = a_run(ALONE, retry=PLAIN.retry_condition(RetryCondition.transient_only()).build())
    over = Lost(0, None, "SIGKILL", None, Vitals(1.0, 3_000_000), memory_limit=2_000_000)
    assert tell(run, Begin(), Room(1), Started(0), over)[-1:] == [Ended()]
    assert (run.ledger.outcome_in_full(0).error or "").startswith(
        "MemoryLimitExceeded: Task 'a' (try 1) was stopped after 1 s"
    )


def test_a_run_that_takes_too_long_is_stopped() -> None:
    run = a_run(SIDE_BY_SIDE, limits=Limits(timeout=60.0))
    tell(run, Begin(), Room(1), Started(0), at=1.0)
    assert run.due == 61.0
    assert tell(run, Tick(), at=61.0) == [Withdraw(0, GRACE_SECONDS)]
    assert run.stopped is Stop.OUT_OF_TIME
    assert run.due is None
    assert tell(run, lost(0), at=61.5) == [Ended()]
    assert set(states(run).values()) == {"CANCELLED"}


@pytest.mark.parametrize(("startup", "due"), [(100.0, 71.0), (5.0, 66.0)])
def test_the_time_of_a_run_counts_from_its_first_task_if_that_starts_soon_enough(startup: float, due: float) -> None:
    run = a_run(SIDE_BY_SIDE, limits=Limits(timeout=60.0, startup=startup))
    tell(run, Begin(), Room(2), at=1.0)
    assert run.due == 61.0 + startup, "also where none ever starts"
    tell(run, Started(0, 11.0), at=12.0)
    assert run.due == due
    tell(run, Started(1, 13.0), at=13.0)
    assert run.due == due


def test_a_task_that_starts_in_a_run_that_was_stopped_gives_it_no_time() -> None:
    run = a_run(SIDE_BY_SIDE, limits=Limits(timeout=60.0, startup=10.0))
    tell(run, Begin(), Room(1), Cancel(), Started(0))
    assert run.due is None


def test_a_stopped_run_tries_nothing_again() -> None:
    run = a_run(SIDE_BY_SIDE, retry=FIXED)
    tell(run, Begin(), Room(2), Started(0), Started(1), failed(0), Cancel())
    assert states(run)["a"] == "CANCELLED"
    assert tell(run, failed(1)) == [Ended()]
    assert states(run)["b"] == "FAILED"


def test_an_attempt_that_was_out_of_time_before_the_run_was_stopped_failed_by_that() -> None:
    run = a_run(ALONE, timeout=5.0, retry=FIXED)
    tell(run, Begin(), Room(1), Started(0), at=0.0)
    tell(run, Tick(), Cancel(), lost(0), at=5.0)
    assert (run.ledger.outcome(0).error or "").startswith("TaskTimeout: ")


# ---- early ends ----------------------------------------------------------------------------------------------------


def test_fail_fast_cancels_the_rest_at_the_first_failure() -> None:
    run = a_run(DIAMOND, limits=Limits(fail_fast=True))
    tell(run, Begin(), Room(1), Started(0), done(0), Room(2), Started(1), Started(2))
    assert tell(run, failed(1)) == [Withdraw(2, GRACE_SECONDS)]
    assert run.stopped is Stop.FAILED_FAST
    assert tell(run, lost(2)) == [Ended()]
    assert states(run) == {"root": "COMPLETED", "left": "FAILED", "right": "CANCELLED", "join": "CANCELLED"}


def test_fail_fast_waits_for_the_last_try() -> None:
    run = a_run(SIDE_BY_SIDE, retry=FIXED, limits=Limits(fail_fast=True))
    tell(run, Begin(), Room(2), Started(0), failed(0))
    assert run.stopped is None


def test_fail_fast_with_nothing_left_to_cancel() -> None:
    run = a_run(ALONE, limits=Limits(fail_fast=True))
    assert tell(run, Begin(), Room(1), Started(0), failed(0))[-1:] == [Ended()]
    assert run.stopped is None


def test_cancelling_again_may_hurry() -> None:
    run = a_run(ALONE)
    tell(run, Begin(), Room(1), Started(0))
    assert tell(run, Cancel(), Cancel(0.0)) == [Withdraw(0, GRACE_SECONDS), Withdraw(0, 0.0)]


# ---- timers --------------------------------------------------------------------------------------------------------


def test_timers_that_never_ring_leave_nothing_behind() -> None:
    timers = Timers()
    for number in range(100_000):
        timers.set(number, 1000.0 + number)
        timers.drop(number)
    assert len(vars(timers)["_heap"]) < 100
    assert timers.due is None


def test_timers_ring_in_order_of_their_moments_then_numbers() -> None:
    timers = Timers()
    for number, moment in [(3, 2.0), (1, 2.0), (2, 1.0), (4, 9.0)]:
        timers.set(number, moment)
    timers.drop(9)
    assert list(timers.ring(2.0)) == [2, 1, 3]
    assert (list(timers.ring(8.9)), timers.due, list(timers)) == ([], 9.0, [4])


def test_a_timer_that_is_set_again_rings_once_at_its_new_moment() -> None:
    timers = Timers()
    timers.set(1, 1.0)
    timers.set(1, 3.0)
    assert (list(timers.ring(2.0)), timers.due) == ([], 3.0)
    timers.set(1, 2.5)
    assert list(timers.ring(5.0)) == [1]
    assert timers.due is None


@pytest.mark.parametrize(
    ("timeout", "end", "told"),
    [
        (5.0, {}, "TaskTimeout: Task 'a' took longer than its time limit of 5 s, and was stopped."),
        (None, {"signal": "SIGKILL"}, "WorkerDied: The worker that ran task 'a' died: killed by SIGKILL."),
        (None, {"exit_code": 3}, "WorkerDied: The worker that ran task 'a' died: exited with code 3."),
        (None, {"reason": "its socket closed"}, "WorkerDied: The worker that ran task 'a' died: its socket closed."),
        (
            None,
            {"memory_limit": 10},
            "MemoryLimitExceeded: Task 'a' was stopped: its worker had more memory for itself than its limit.",
        ),
    ],
)
@pytest.mark.parametrize("vitals", [None, Vitals(1.25, 3_000_000, 5, is_oom=True)])
def test_what_other_tasks_are_told_of_a_lost_attempt_was_not_measured(
    timeout: float | None, end: dict[str, Any], told: str, vitals: Vitals | None
) -> None:
    run = a_run(ALONE, timeout=timeout)
    tell(run, Begin(), Room(1), Started(0), at=7.0)
    tell(run, Tick(), at=20.0)
    tell(run, Lost(0, end.get("exit_code"), end.get("signal"), end.get("reason"), vitals, end.get("memory_limit")))
    assert run.ledger.outcome(0).error == told
