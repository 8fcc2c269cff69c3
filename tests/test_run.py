"""One run as a list of events: its course, failures, races, and what an attempt is given."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace
from tests.runs import CHAIN, DIAMOND, a_run, answered, assigned, done, failed, lost, states, tell

from cloaca.engine.events import AttemptEvent, Begin, Cancel, Ended, Room, Withdraw
from cloaca.engine.sight import FIRST_PREFETCH
from cloaca.engine.timers import GRACE_SECONDS
from cloaca.engine.work import Merging
from cloaca.errors import INPUT, InternalError
from cloaca.history.history import LITTLE
from cloaca.testing import NO_USAGE
from cloaca.wire.messages import (
    Answer,
    Assignment,
    Done,
    Failed,
    Lost,
    Outcome,
    Slice,
    Started,
    Unstarted,
    Version,
    Wants,
)

# ---- the course of a run -------------------------------------------------------------------------------------------


def test_a_run_from_beginning_to_end() -> None:
    run = a_run(DIAMOND)
    assert tell(run, Begin()) == []
    assert assigned(tell(run, Room(5))) == [(0, "root")]
    assert tell(run, Started(0), done(0)) == []
    assert assigned(tell(run, Room(5))) == [(1, "left"), (2, "right")]
    assert tell(run, Started(2), Started(1), done(2), done(1)) == []
    assert assigned(tell(run, Room(5))) == [(3, "join")]
    assert tell(run, Started(3), done(3)) == [Ended()]
    assert set(states(run).values()) == {"COMPLETED"}
    assert run.attempts == [1, 1, 1, 1]


def test_room_is_never_exceeded_and_the_smallest_rank_goes_first() -> None:
    run = a_run([(name, []) for name in "dcba"])
    assert tell(run, Begin(), Room(0)) == []
    assert assigned(tell(run, Room(3))) == [(0, "d"), (1, "c"), (2, "b")]
    assert run.ready == 1
    assert assigned(tell(run, Unstarted(1), Room(2))) == [(3, "c"), (4, "a")]


def test_nothing_is_submitted_before_the_run_begins() -> None:
    run = a_run(CHAIN)
    assert tell(run, Room(3)) == []
    assert assigned(tell(run, Begin(), Room(3))) == [(0, "a")]


def test_what_is_given_back_is_submitted_again_under_a_new_number() -> None:
    run = a_run(CHAIN)
    tell(run, Begin(), Room(1), Unstarted(0))
    assert run.attempts == [0, 0, 0], "only what started counts as a try"
    assert assigned(tell(run, Room(1))) == [(1, "a")]
    tell(run, Started(1), done(1))
    assert run.attempts == [1, 0, 0]


def test_an_end_that_is_known_as_soon_as_the_start_comes_alone() -> None:
    run = a_run([("a", []), ("b", [])])
    tell(run, Begin(), Room(2))
    assert tell(run, done(0, k=b"1"), failed(1)) == [Ended()]
    assert (states(run), run.attempts) == ({"a": "COMPLETED", "b": "FAILED"}, [1, 1])


# ---- failure -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [failed, lost])
def test_a_failing_task_skips_all_that_wait_for_it_alone(end: Callable[[int], Failed | Lost]) -> None:
    run = a_run(CHAIN)
    assert tell(run, Begin(), Room(1), Started(0), end(0))[-1:] == [Ended()]
    assert states(run) == {"a": "FAILED", "b": "SKIPPED", "c": "SKIPPED"}
    assert (run.ledger.outcome(0).error or "").startswith(
        "ValueError: no" if end is failed else "WorkerDied: The worker that "
    )
    assert run.ledger.outcome(1) == Outcome("Skipped", reason="none of its dependencies ended well: 'a' failed")


def test_a_join_with_one_failed_dependency_runs() -> None:
    run = a_run(DIAMOND)
    tell(run, Begin(), Room(1), Started(0), done(0, k=b"0"), Room(2), Started(1), Started(2))
    assert tell(run, failed(1), done(2)) == []
    (join,) = tell(run, Room(1))
    assert isinstance(join, Assignment)
    assert join.task == "join"
    keys, outcomes = tell(run, Started(3), Wants(3, ("k",)), Wants(3, outcomes=True))
    assert isinstance(keys, Answer)
    assert keys.slice.versions == {"k": (Version("root", b"0"),)}, "as it was before the failed task"
    assert isinstance(outcomes, Answer)
    assert outcomes.slice.outcomes == {
        "root": Outcome("Completed"),
        "left": Outcome("Failed", "ValueError: no"),
        "right": Outcome("Completed"),
    }


def test_a_join_none_of_whose_dependencies_completed_is_skipped() -> None:
    run = a_run([*DIAMOND, ("after", ["join"]), ("beside", ["join", "root"])])
    tell(run, Begin(), Room(1), Started(0), done(0), Room(2), Started(1), Started(2), failed(1), failed(2))
    assert states(run)["join"] == "SKIPPED"
    assert states(run)["after"] == "SKIPPED"
    assert states(run)["beside"] == "READY", "the root ended well"


def test_the_trigger_rule_is_asked_when_the_last_dependency_has_ended_not_before() -> None:
    run = a_run(DIAMOND)
    tell(run, Begin(), Room(1), Started(0), done(0), Room(2), Started(1), Started(2), failed(1))
    assert states(run)["join"] == "WAITING"
    tell(run, failed(2))
    assert states(run)["join"] == "SKIPPED"


def test_each_question_is_answered_by_its_number_however_often_the_same_is_asked() -> None:
    """The task may have been interrupted while it waited, and ask again."""
    run = a_run([("a", [])])
    answers = tell(run, Begin(), Room(1), Started(0), Wants(0, ("k",), question=1), Wants(0, ("k",), question=2))
    assert [answer for answer in answers if isinstance(answer, Answer)] == [
        Answer(0, Slice({"k": ()}), 1),
        Answer(0, Slice({"k": ()}), 2),
    ]


# ---- races ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", [Started(0), Wants(0, ("k",)), done(0, k=b"late"), failed(0), lost(0), Unstarted(0)])
@pytest.mark.parametrize("end", [done(0), failed(0), lost(0)])
def test_a_late_report_is_dropped(end: AttemptEvent, event: AttemptEvent) -> None:
    run = a_run([("a", []), ("b", [])])
    tell(run, Begin(), Room(1), Started(0), end)
    before = states(run), list(run.ends), run.history.final()
    assert tell(run, event) == []
    assert (states(run), list(run.ends), run.history.final()) == before
    assert run.late == 1


def test_a_late_report_of_what_was_given_back_does_not_touch_the_next_attempt() -> None:
    run = a_run(CHAIN)
    tell(run, Begin(), Room(1), Unstarted(0), Room(1))
    assert tell(run, Started(0), done(0, k=b"late")) == []
    assert states(run)["a"] == "SUBMITTED"
    assert run.late == 2


def test_cancel_before_anything_was_submitted_ends_the_run() -> None:
    run = a_run(DIAMOND)
    assert tell(run, Begin(), Cancel()) == [Ended()]
    assert set(states(run).values()) == {"CANCELLED"}
    assert tell(run, Room(4)) == []
    assert tell(run, Cancel()) == []


def test_cancel_before_the_run_began_leaves_nothing_to_begin() -> None:
    run = a_run(DIAMOND)
    assert tell(run, Cancel(), Begin(), Room(4)) == [Ended()]
    assert set(states(run).values()) == {"CANCELLED"}


def test_cancel_after_the_end_changes_nothing() -> None:
    run = a_run([("a", [])])
    assert tell(run, Begin(), Room(1), Started(0), done(0))[-1:] == [Ended()]
    assert tell(run, Cancel()) == []
    assert run.stopped is None


def test_cancel_withdraws_what_is_open_and_cancels_the_rest() -> None:
    run = a_run([("a", []), ("b", []), ("c", []), ("d", ["a"])])
    tell(run, Begin(), Room(2), Started(0))
    assert tell(run, Cancel()) == [Withdraw(0, GRACE_SECONDS), Withdraw(1, GRACE_SECONDS)]
    assert states(run) == {"a": "RUNNING", "b": "SUBMITTED", "c": "CANCELLED", "d": "CANCELLED"}


def test_unstarted_while_cancelling_is_cancelled_not_repeated() -> None:
    run = a_run([("a", []), ("b", ["a"])])
    tell(run, Begin(), Room(1))
    assert tell(run, Cancel(), Unstarted(0)) == [Withdraw(0, GRACE_SECONDS), Ended()]
    assert states(run) == {"a": "CANCELLED", "b": "CANCELLED"}
    assert run.attempts == [0, 0]


def test_done_after_cancel_counts_and_starts_nothing() -> None:
    run = a_run([("a", []), ("b", ["a"])])
    tell(run, Begin(), Room(1), Started(0), Cancel())
    assert tell(run, done(0, k=b"1")) == [Ended()]
    assert states(run) == {"a": "COMPLETED", "b": "CANCELLED"}
    assert run.history.final()["k"] == (Version("a", b"1"),)


def test_lost_after_cancel_is_cancelled() -> None:
    run = a_run([("a", [])])
    tell(run, Begin(), Room(1), Started(0), Cancel())
    assert tell(run, lost(0)) == [Ended()]
    assert states(run) == {"a": "CANCELLED"}
    assert run.ledger.outcome(0).status == "Cancelled"


def test_failed_after_cancel_is_failed() -> None:
    run = a_run([("a", []), ("b", ["a"])])
    tell(run, Begin(), Room(1), Started(0), Cancel())
    assert tell(run, failed(0)) == [Ended()]
    assert states(run) == {"a": "FAILED", "b": "CANCELLED"}


def test_an_attempt_that_starts_after_the_cancel_may_still_be_answered() -> None:
    run = a_run([("a", [])], {"k": b"0"})
    tell(run, Begin(), Room(1), Cancel(), Started(0))
    assert [type(command) for command in tell(run, Wants(0, ("k",)), lost(0))] == [Answer, Ended]


IMPOSSIBLE = [
    *[([], event) for event in (Wants(0), lost(0))],
    *[([Started(0)], event) for event in (Started(0), Unstarted(0))],
]


@pytest.mark.parametrize(("before", "event"), IMPOSSIBLE)
def test_what_cannot_happen_raises_and_tells_how_the_task_is(before: list[AttemptEvent], event: AttemptEvent) -> None:
    run = a_run([("other", []), ("clean", [])])
    tell(run, Begin(), Room(2), Started(1), *before)
    with pytest.raises(InternalError) as caught:
        run.handle(event, 1.5)
    message = str(caught.value)
    state = "RUNNING" if before else "SUBMITTED"
    assert f"'other' is {state}, and attempt 0 reported {type(event).__name__}" in message
    assert f"{len(before)} of its tries have begun, 0 have failed" in message


# ---- what an attempt is given --------------------------------------------------------------------------------------


def test_a_slice_holds_the_keys_that_are_read_where_they_exist() -> None:
    run = a_run([("a", [])], {"x": b"0", "y": b"0"}, reads="xz")
    (assignment,) = tell(run, Begin(), Room(1))
    assert isinstance(assignment, Assignment)
    assert assignment.slice == Slice({"x": (Version(INPUT, b"0"),)}, names=("x", "y"))


def test_a_slice_for_an_executor_that_never_asks_is_complete() -> None:
    run = a_run(DIAMOND, {"x": b"0"}, answers=False)
    tell(run, Begin(), Room(1), Started(0), done(0, y=b"1"))
    first, second = tell(run, Room(2))
    assert isinstance(first, Assignment)
    assert isinstance(second, Assignment)
    tell(run, Started(1), done(1, y=b"2", x=None))
    assert dict(second.slice.versions) == {"x": (Version(INPUT, b"0"),), "y": (Version("root", b"1"),)}
    assert second.slice.complete
    assert second.slice.outcomes == {"root": Outcome("Completed")}


def test_each_answer_brings_twice_as_many_keys_from_nearby() -> None:
    run = a_run([("a", [])], {f"x{n:04}": b"0" for n in range(1000)})
    tell(run, Begin(), Room(1), Started(0))
    keys: set[str] = set()
    for prefetch in (FIRST_PREFETCH, 2 * FIRST_PREFETCH, 4 * FIRST_PREFETCH):
        found = answered(tell(run, Wants(0, ("x0999",)))).versions
        assert len(found.keys() - keys - {"x0999"}) == prefetch
        assert found["x0999"] == (Version(INPUT, b"0"),)
        keys |= found.keys() - {"x0999"}


def test_a_key_that_does_not_exist_is_answered_as_known_to_be_absent() -> None:
    run = a_run([("a", [])])
    tell(run, Begin(), Room(1), Started(0))
    assert answered(tell(run, Wants(0, ("missing",)))) == Slice({"missing": ()})


def test_the_rest_is_complete_and_in_order() -> None:
    run = a_run(CHAIN, {"x": b"0", "y": b"0"})
    tell(run, Begin(), Room(1), Started(0), done(0, z=b"1", x=b"1"), Room(1), Started(1))
    rest = answered(tell(run, Wants(1, rest=True)))
    assert rest.complete
    assert list(rest.versions) == ["y", "z", "x"]
    assert rest.outcomes is None


def test_outcomes_alone_bring_no_keys() -> None:
    run = a_run(CHAIN, {"x": b"0"})
    tell(run, Begin(), Room(1), Started(0), done(0), Room(1), Started(1))
    assert answered(tell(run, Wants(1, outcomes=True))) == Slice({}, outcomes={"a": Outcome("Completed")})


def done_after_reading(*keys: str) -> Done:
    return replace(done(0), usage=replace(NO_USAGE, read=keys))


def test_a_task_is_sent_what_it_had_to_ask_for_in_an_earlier_run() -> None:
    habits: dict[int, tuple[str, ...]] = {}
    run = a_run(CHAIN, {"x": b"0", "far": b"1"}, habits=habits)
    tell(run, Begin(), Room(1), Started(0), Wants(0, ("x",)), done_after_reading("x", "y"))
    again = a_run(CHAIN, {"x": b"2", "far": b"1"}, habits=habits)
    (assignment,) = tell(again, Begin(), Room(1))
    assert isinstance(assignment, Assignment)
    assert assignment.slice.versions == {"x": (Version(INPUT, b"2"),), "y": ()}, "y is known to be absent"


def test_what_a_task_asked_for_to_compare_is_sent_along_too() -> None:
    """It set a key that it never read: whether that is a write, only what was there tells."""
    habits: dict[int, tuple[str, ...]] = {}
    run = a_run(CHAIN, {"x": b"0"}, habits=habits)
    tell(run, Begin(), Room(1), Started(0), Wants(0, ("set",)), done_after_reading("x"))
    assert habits == {0: ("x", "set")}


def test_what_is_kept_by_task_is_not_learnt() -> None:
    habits: dict[int, tuple[str, ...]] = {}
    by_task = Merging(collected=frozenset({"log"}), ruled=frozenset({"log"}))
    run = a_run(CHAIN, {"x": b"0"}, habits=habits, merging=by_task)
    tell(
        run,
        Begin(),
        Room(1),
        Started(0),
        Wants(0, ("log",)),
        done_after_reading("log", "x"),
    )
    assert habits == {0: ("x",)}


def test_a_task_whose_code_names_no_key_is_sent_the_little_that_its_dependencies_left() -> None:
    run = a_run(CHAIN, {"x": b"0"})
    tell(run, Begin(), Room(1), Started(0), done(0, y=b"1", long=b"1" * (LITTLE + 1), gone=None))
    (assignment,) = tell(run, Room(1))
    assert isinstance(assignment, Assignment)
    assert assignment.slice == Slice({"y": (Version("a", b"1"),)}, names=("x", "y", "long"))


def test_where_the_code_names_keys_nothing_else_is_sent() -> None:
    run = a_run(CHAIN, {"x": b"0"}, reads="x")
    tell(run, Begin(), Room(1), Started(0), done(0, y=b"1"))
    (assignment,) = tell(run, Room(1))
    assert isinstance(assignment, Assignment)
    assert assignment.slice == Slice({"x": (Version(INPUT, b"0"),)}, names=("x", "y"))
