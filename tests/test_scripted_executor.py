"""The scripted executor keeps its contract, and its caller to it."""

from collections.abc import Callable

import pytest
from tests.runs import done, lost

from cloaca.testing import Action, Move, Play, ScriptedExecutor, telling
from cloaca.wire.messages import (
    Answer,
    Assignment,
    Failed,
    Lost,
    Publish,
    Slice,
    Started,
    Unstarted,
    Wants,
)

# ---- the scripted executor keeps its contract, and its caller to it ------------------------------------------------


def executor_with(play: Play | None = None, *, answers: bool = True) -> ScriptedExecutor:
    executor = ScriptedExecutor(play, answers=answers)
    executor.publish([Publish(0, b"", ())])
    executor.submit([Assignment(n, f"t{n}", 0, Slice({}, complete=not answers)) for n in range(2)])
    return executor


def test_a_test_decides_every_step() -> None:
    executor = executor_with()
    assert sorted(executor.held) == [0, 1]
    executor.start(1)
    executor.ask(Wants(1, ("k",)))
    executor.answer(Answer(1, Slice({"k": ()})))
    assert executor.answer_to(1) == Slice({"k": ()})
    executor.give_back(0)
    executor.report(done(1, k=b"1"))
    assert executor.wait(None) == [Started(1), Wants(1, ("k",)), Unstarted(0), done(1, k=b"1")]
    assert executor.wait(None) == []
    assert not executor.held
    assert not executor.running


def test_a_play_that_raises_fails_its_attempt() -> None:
    def play(assignment):
        yield Wants(assignment.attempt, ("k",))
        raise KeyError("k")

    executor = executor_with(play)
    executor.start(0)
    executor.go_on(0)
    executor.answer(Answer(0, Slice({})))
    executor.go_on(0)
    *_, report = executor.wait(None)
    assert isinstance(report, Failed)
    assert (report.type_name, report.text) == ("KeyError", "'k'")


def test_the_cancelled_may_be_lost_or_win_the_race() -> None:
    executor = executor_with(telling(lost_attempt))
    executor.start(0)
    assert [move.action.value for move in executor.moves()] == ["go on", "start", "give back"]
    executor.cancel([0, 1, 7], 0)
    assert [move.action.value for move in executor.moves()] == ["go on", "lose", "start", "give back"]
    executor.perform(Move(Action.LOSE, 0, "t0"))
    executor.start(1)
    executor.go_on(1)
    assert executor.wait(None) == [Started(0), lost(0), Started(1), lost(1)]


def lost_attempt(assignment: Assignment) -> Lost:
    return lost(assignment.attempt)


@pytest.mark.parametrize(
    ("breach", "said"),
    [
        (lambda executor: executor.go_on(0), "not running"),
        (lambda executor: executor.report(done(0)), "not running"),
        (lambda executor: executor.lose(0), "not running"),
        (lambda executor: executor.start(5), "not held"),
        (lambda executor: (executor.start(0), executor.give_back(0)), "not held"),
        (lambda executor: (executor.start(0), executor.ask(Wants(0)), executor.go_on(0)), "waits for an answer"),
        (lambda executor: (executor.start(0), executor.report(done(0)), executor.report(done(0))), "not running"),
        (lambda executor: executor.answer(Answer(0, Slice({}))), "without having asked"),
        (lambda executor: executor.submit([Assignment(1, "t", 0, Slice({}))]), "submitted before"),
        (lambda executor: executor.submit([Assignment(2, "t", 9, Slice({}))]), "never published"),
        (lambda executor: (executor.retire([0]), executor.submit([Assignment(2, "t", 0, Slice({}))])), "published"),
        (lambda executor: (executor.close(), executor.submit([Assignment(2, "t", 0, Slice({}))])), "closed"),
    ],
)
def test_what_the_contract_rules_out_is_refused(breach: Callable[[ScriptedExecutor], object], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        breach(executor_with())


def test_an_executor_that_never_asks_needs_complete_slices() -> None:
    executor = executor_with(answers=False)
    with pytest.raises(AssertionError, match="incomplete"):
        executor.submit([Assignment(2, "t", 0, Slice({}))])
    executor.start(0)
    with pytest.raises(AssertionError, match="never do"):
        executor.ask(Wants(0))
