"""Trigger rules: by name and as conditions, in the workflow that has them and in runs, on both executors."""

import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import partial
from itertools import count
from typing import Any

import numpy as np
import pytest
from tests.runs import CHAIN, DIAMOND, done, failed, states, tell
from tests.support import without_places

import cloaca
from cloaca import (
    ConditionError,
    Context,
    DefaultRunner,
    MergeConflict,
    TaskTimeout,
    WorkerDied,
    Workflow,
    WorkflowBuilder,
    WorkflowError,
    WorkflowResult,
    all_of,
    always,
    any_of,
    context_value,
    none_of,
    task,
    task_failed,
    task_skipped,
    task_success,
)
from cloaca.engine.events import Begin, Cancel, Ended, Room, Withdraw
from cloaca.engine.run import Run
from cloaca.engine.timers import GRACE_SECONDS
from cloaca.engine.work import Work
from cloaca.history.plan import plan
from cloaca.pool.pool import Pool
from cloaca.retry import RetryPolicy
from cloaca.testing import NO_USAGE
from cloaca.triggers.condition import Condition
from cloaca.triggers.rules import DEFAULT, RULES, Ends, refusal
from cloaca.wire.messages import Publish, Skipped, Started

OnBoth = Callable[..., WorkflowResult]


def fine(context): ...


def fail(context):
    raise ValueError("no rows")


# ---- rules by name -------------------------------------------------------------------------------------------------

MIXED = Ends(1, 1, 1)
HOLDS = {  # of (succeeded, failed, skipped)
    "all_success": [Ends(2, 0, 0)],
    "all_done": [Ends(2, 0, 0), Ends(0, 2, 0), Ends(0, 0, 2), Ends(1, 1, 0), Ends(1, 0, 1), Ends(0, 1, 1), MIXED],
    "one_success": [Ends(2, 0, 0), Ends(1, 1, 0), Ends(1, 0, 1), MIXED],
    "one_failed": [Ends(0, 2, 0), Ends(1, 1, 0), Ends(0, 1, 1), MIXED],
    "all_failed": [Ends(0, 2, 0)],
    "none_failed": [Ends(2, 0, 0), Ends(0, 0, 2), Ends(1, 0, 1)],
    "none_skipped": [Ends(2, 0, 0), Ends(0, 2, 0), Ends(1, 1, 0)],
    "none_failed_min_one_success": [Ends(2, 0, 0), Ends(1, 0, 1)],
    "all_done_min_one_success": [Ends(2, 0, 0), Ends(1, 1, 0), Ends(1, 0, 1), MIXED],
}


@pytest.mark.parametrize("name", RULES)
def test_a_rule_is_a_test_on_how_many_ended_how(name: str) -> None:
    every = HOLDS["all_done"]
    assert [ends for ends in every if RULES[name].holds(ends)] == [ends for ends in every if ends in HOLDS[name]]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("all_success", "not all of its dependencies ended well: 'b' failed, 'c' was skipped"),
        ("all_failed", "not all of its dependencies failed: 'a' ended well, 'c' was skipped"),
        ("none_failed", "some of its dependencies failed: 'b' failed"),
        ("none_skipped", "some of its dependencies were skipped: 'c' was skipped"),
        (
            "none_failed_min_one_success",
            "some of its dependencies failed, or none ended well: 'b' failed, 'c' was skipped",
        ),
        ("one_failed", None),
        ("all_done", None),
        (DEFAULT, None),
    ],
)
def test_a_refusal_names_the_dependencies_that_are_at_fault(name: str, why: str | None) -> None:
    assert refusal(name, [("a", "Completed"), ("b", "Failed"), ("c", "Skipped")]) == why


def test_a_refusal_names_ten_dependencies_at_most() -> None:
    why = refusal(DEFAULT, [(f"t{n}", "Failed") for n in range(1000)])
    assert why is not None
    assert why.endswith("'t8' failed, 't9' failed, ...")


@pytest.mark.parametrize("name", RULES)
def test_a_task_without_dependencies_starts(name: str) -> None:
    assert refusal(name, []) is None


# ---- in a workflow -------------------------------------------------------------------------------------------------


def test_an_unknown_rule_is_refused_with_all_there_are() -> None:
    names = ", ".join(map(repr, RULES))
    makers: dict[str, Callable[..., Any]] = {"task": task, "WorkflowBuilder": partial(WorkflowBuilder, "w")}
    for owner, make in makers.items():
        with pytest.raises(ValueError, match=rf"{owner}\(trigger_rule=\.\.\.\) is one of {names}, not 'sometimes'"):
            make(trigger_rule="sometimes")


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("all_done", r"is a condition, as in .*, not 'all_done'; a rule by name is trigger_rule='all_done'"),
        ([always()], r"takes one condition: combine several by all_of\(...\)"),
        (True, "not True"),
    ],
)
def test_what_is_no_condition_is_refused(rules: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        task(trigger_rules=rules)


def test_the_builders_rule_is_that_of_tasks_that_say_nothing() -> None:
    with WorkflowBuilder("w", trigger_rule="all_success") as builder:
        task(id="quiet")(fine)
        task(id="named", trigger_rule="all_done")(fine)
        task(id="asking", trigger_rules=always())(fine)
        task(id="both", trigger_rules=BIG)(fine)
        task(id="mapped", for_each="rows")(_each)
        task(id="follower", for_each="rows", dependencies=["mapped"])(_each)
    assert {one.id: (one.rule, one.trigger_rules) for one in builder.build().tasks} == {
        "quiet": ("all_success", None),
        "named": ("all_done", None),
        "asking": ("all_done", always()),
        "both": ("all_success", BIG),
        "mapped": ("all_success", None),
        "follower": (DEFAULT, None),
    }


def test_functions_in_a_condition_are_known_by_their_ids() -> None:
    with WorkflowBuilder("w") as builder:
        task(id="first")(fine)
        task(id="last", dependencies=[fine], trigger_rules=any_of(task_failed(fine), task_success("first")))(fail)
    assert builder.build().tasks[1].trigger_rules == any_of(task_failed("first"), task_success("first"))


def _each(_context, _item): ...


BIG = context_value("n", ">", 10)


def findings(define: Callable[[], None]) -> tuple[str, ...]:
    with pytest.raises(WorkflowError) as caught, WorkflowBuilder("w"):
        define()
    return caught.value.findings


def test_all_faults_of_conditions_are_found_at_the_end_of_the_block() -> None:
    def twice(context): ...

    def define() -> None:
        task(id="load")(fine)
        task(id="one")(twice)
        task(id="two")(twice)
        task(
            id="report", dependencies=["load", "clean"], trigger_rules=all_of(task_failed("laod"), task_success(fail))
        )(lambda _: None)
        task(id="other", trigger_rules=task_success(twice))(lambda _: None)

    assert findings(define) == (
        (
            "The rule of task 'report' names the function 'fail', which is no task of this block: decorate it here "
            "with @task, or give the id of a task."
        ),
        (
            "The rule of task 'other' names the function 'twice', which has several ids here ('one', 'two'): give the "
            "id that is meant."
        ),
        "The rule of task 'report' names 'laod', which is no task of this workflow: did you mean 'load'?",
        "Task 'report' depends on 'clean', which is no task of this workflow.",
    )


def test_a_condition_names_only_tasks_that_come_before() -> None:
    def define() -> None:
        task(id="load")(fine)
        task(id="beside")(fine)
        task(id="report", dependencies=["load"], trigger_rules=task_failed("beside"))(fine)
        task(id="after", dependencies=["report"])(fine)
        task(id="early", trigger_rules=any_of(task_failed("early"), task_failed("after")))(fine)

    assert findings(define) == (
        (
            "The rule of task 'report' names 'beside', which needn't have ended when it is asked: add 'beside' to the "
            "dependencies of 'report'."
        ),
        "The rule of task 'early' names the task itself, which can't have ended before it starts.",
        (
            "The rule of task 'early' names 'after', which needn't have ended when it is asked: add 'after' to the "
            "dependencies of 'early'."
        ),
    )


@pytest.mark.parametrize("seed", range(20))
def test_who_comes_before_is_told_in_every_graph(seed: int) -> None:
    """Every pair of tasks of a graph at random, as the condition of the later one on the earlier."""
    rng = random.Random(seed)
    graph = {f"t{n}": rng.sample([f"t{m}" for m in range(n)], min(n, rng.randint(0, 3))) for n in range(14)}
    above: dict[str, set[str]] = {}
    for name, dependencies in graph.items():
        above[name] = {*dependencies, *(far for near in dependencies for far in above[near])}
    for name, owner in ((one, other) for one in graph for other in graph if one < other):

        def define(name: str = name, owner: str = owner) -> None:
            for each, dependencies in graph.items():
                rules = task_success(name) if each == owner else None
                task(id=each, dependencies=dependencies, trigger_rules=rules)(fine)

        if name in above[owner]:
            with WorkflowBuilder("w"):
                define()
        else:
            assert len(findings(define)) == 1


def with_rule(**options: Any) -> Workflow:
    with WorkflowBuilder("w") as builder:
        task(id="load")(fine)
        task(id="report", dependencies=["load"], **options)(fine)
    return builder.build()


def test_the_version_follows_from_the_rules() -> None:
    different: list[dict[str, Any]] = [
        {},
        {"trigger_rule": "all_done"},
        {"trigger_rule": "all_success"},
        {"trigger_rules": always()},
        {"trigger_rules": task_success("load")},
        {"trigger_rules": task_failed("load")},
        {"trigger_rules": all_of(task_failed("load"))},
        {"trigger_rules": any_of(task_failed("load"))},
        {"trigger_rules": context_value("k", ">", 1)},
        {"trigger_rules": context_value("k", ">", 2)},
        {"trigger_rules": context_value("k", ">", 2.0)},
        {"trigger_rules": context_value("k", "<", 2)},
        {"trigger_rules": context_value("k", "==", {"a", "b"})},
        {"trigger_rules": context_value("k", "==", {"a", "c"})},
        {"trigger_rules": context_value("k", "exists")},
        {"trigger_rules": context_value("k", "exists"), "trigger_rule": "all_done"},
        {"trigger_rules": always(), "trigger_rule": DEFAULT},
    ]
    assert len({with_rule(**options).version for options in different}) == len(different)
    assert with_rule(trigger_rule=DEFAULT).version == with_rule().version
    assert with_rule(trigger_rule="all_done", trigger_rules=always()).version == with_rule(**different[3]).version
    assert with_rule(trigger_rules=context_value("k", "gt", 1)).version == with_rule(**different[8]).version
    by_function = with_rule(trigger_rules=none_of(task_success("load")))
    assert by_function.version == with_rule(trigger_rules=none_of(task_success("load"))).version


def test_pictures_show_the_rules() -> None:
    workflow = with_rule(trigger_rules=context_value("score", ">", 10))
    assert "    t1[\"report<br>context_value('score', 'greater_than', 10)\"]" in workflow.to_mermaid().splitlines()
    assert "    t1 [label=\"report\\ncontext_value('score', 'greater_than', 10)\"];" in workflow.to_dot().splitlines()
    long = any_of(*(context_value(f"key {n}", "exists") for n in range(100)))
    assert len(with_rule(trigger_rules=long).to_mermaid()) < 250
    assert '    t1["report<br>all_done"]' in with_rule(trigger_rule="all_done").to_mermaid().splitlines()
    both = with_rule(trigger_rule="one_failed", trigger_rules=always()).to_mermaid()
    assert '    t1["report<br>one_failed and always()"]' in both.splitlines()
    assert '    t1["report"]' in with_rule(trigger_rule=DEFAULT).to_mermaid().splitlines()


# ---- in a run, event by event --------------------------------------------------------------------------------------

ON_VALUE = context_value("k", "exists")


def a_run(graph: Sequence[tuple[str, Sequence[str]]], **work: Work) -> Run:
    compiled = plan("w", graph)
    return Run(compiled, [work.get(name, Work(0, ())) for name in compiled.names], {}, numbers=count(), answers=True)


def test_a_skipped_attempt_ends_the_task_and_is_not_retried() -> None:
    policy = RetryPolicy.builder().max_attempts(5).build()
    run = a_run(CHAIN, b=Work(0, (), retry=policy, trigger=ON_VALUE, condition=9))
    tell(run, Begin(), Room(1), done(0), Room(1))
    assert tell(run, Skipped(1, "it is small", NO_USAGE)) == [Ended()]
    assert states(run) == {"a": "COMPLETED", "b": "SKIPPED", "c": "SKIPPED"}
    assert run.ledger.reason(1) == "it is small"
    assert run.ledger.reason(2) == "none of its dependencies ended well: 'b' was skipped"
    assert run.attempts == [1, 1, 0]


def test_an_attempt_that_is_skipped_after_the_cancel_is_skipped() -> None:
    run = a_run(CHAIN, a=Work(0, (), trigger=ON_VALUE, condition=9))
    tell(run, Begin(), Room(1), Started(0))
    assert tell(run, Cancel()) == [Withdraw(0, GRACE_SECONDS)]
    assert tell(run, Skipped(0, "it is small", NO_USAGE)) == [Ended()]
    assert states(run) == {"a": "SKIPPED", "b": "CANCELLED", "c": "CANCELLED"}


def test_a_rule_is_asked_when_the_last_dependency_has_ended_and_no_sooner() -> None:
    run = a_run(DIAMOND, join=Work(0, (), rule="one_failed"))
    tell(run, Begin(), Room(1), done(0), Room(2), failed(1))
    assert states(run)["join"] == "WAITING", "though it is sure to start"
    tell(run, done(2))
    assert states(run)["join"] == "READY"


def test_a_task_may_be_skipped_where_others_start() -> None:
    run = a_run(
        DIAMOND, left=Work(0, (), rule="all_done", trigger=task_failed("root")), join=Work(0, (), rule="one_failed")
    )
    tell(run, Begin(), Room(1), done(0))
    assert states(run)["left"] == "SKIPPED"
    assert run.ledger.reason(1) == "its rule task_failed('root') doesn't hold: 'root' ended well"
    assert tell(run, Room(1), done(1))[-1:] == [Ended()]
    assert run.ledger.reason(3) == "none of its dependencies failed: 'left' was skipped, 'right' ended well"


# ---- on both executors ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runner() -> Iterator[DefaultRunner]:
    """A runner whose worker is there. No test that uses it kills it."""
    with DefaultRunner(workers=1) as runner:
        with WorkflowBuilder("warm"):
            task(fine)
        runner.execute("warm").raise_for_status()
        yield runner


@pytest.fixture(params=["processes", "serial"])
def execute(request: pytest.FixtureRequest, runner: DefaultRunner) -> OnBoth:
    """Executes the workflow "w" with the values given."""
    on = runner if request.param == "processes" else DefaultRunner(executor="serial")
    return lambda **values: on.execute("w", Context(values))


def statuses(result: WorkflowResult) -> dict[str, str]:
    return {name: one.status for name, one in result.tasks.items()}


def branches() -> None:
    """A score decides between two ways, which join."""
    with WorkflowBuilder("w"):

        @task
        def score(context):
            context["score"] = context["n"] ** 2
            context["way"] = "none"

        @task(dependencies=[score], trigger_rules=context_value("score", "greater_than", 50))
        def premium(context):
            context["way"] = "premium"

        @task(dependencies=[score], trigger_rules=none_of(context_value("score", "greater_than", 50)))
        def standard(context):
            context["way"] = "standard"

        @task(dependencies=[premium, standard])
        def join(context):
            context["told"] = [context["way"], *(context.outcome(name) for name in ("premium", "standard"))]


def test_the_branch_runs_whose_condition_holds_and_the_join_goes_on_with_it(execute: OnBoth) -> None:
    branches()
    for n, way, other in ((10, "premium", "standard"), (5, "standard", "premium")):
        result = execute(n=n)
        assert (result.status, result.error_message) == ("Completed", None)
        assert statuses(result) == {"score": "Completed", way: "Completed", other: "Skipped", "join": "Completed"}
        chosen, *outcomes = result.final_context["told"]
        assert chosen == way
        assert {outcome.status for outcome in outcomes} == {"Completed", "Skipped"}
        (why,) = [outcome.reason for outcome in outcomes if outcome.status == "Skipped"]
        assert why == result.tasks[other].reason
        assert why is not None
        assert why.endswith(f"doesn't hold: 'score' is {n * n}")
        assert result.tasks[other].keys_read == ("score",)


def test_contexts_flow_past_a_task_that_is_skipped(execute: OnBoth) -> None:
    with WorkflowBuilder("w"):
        task(id="first")(lambda context: context.set("k", 1))
        task(id="idle", dependencies=["first"], trigger_rules=context_value("k", ">", 1))(
            lambda context: context.set("k", 2)
        )
        task(id="last", dependencies=["idle"], trigger_rule="all_done")(
            lambda context: context.set("seen", context["k"])
        )
    assert execute().final_context.to_dict() == {"k": 1, "seen": 1}


def test_a_condition_of_a_task_without_dependencies_looks_at_the_input(execute: OnBoth) -> None:
    with WorkflowBuilder("w"):
        task(id="full", trigger_rules=context_value("mode", "equals", "full"))(fine)
        task(id="quick", trigger_rules=context_value("mode", "not_equals", "full"))(fine)
        task(id="never", trigger_rules=none_of(always()))(fine)
        task(id="always", trigger_rules=always())(fine)
    assert statuses(execute(mode="full")) == {
        "full": "Completed",
        "quick": "Skipped",
        "never": "Skipped",
        "always": "Completed",
    }
    result = execute()
    assert statuses(result) == {"full": "Skipped", "quick": "Completed", "never": "Skipped", "always": "Completed"}
    assert result.tasks["full"].reason == (
        "its rule context_value('mode', 'equals', 'full') doesn't hold: 'mode' is absent"
    )
    assert result.tasks["never"].reason == "its rule none_of(always()) doesn't hold"


@pytest.mark.parametrize(
    "rule",
    [
        always(),
        all_of(always(), context_value("k", "not_exists")),
        task_failed("load"),
        any_of(context_value("k", "exists"), task_failed("load")),
        "all_done",
        "one_failed",
        "all_failed",
    ],
    ids=str,
)
def test_a_given_rule_replaces_the_default(execute: OnBoth, rule: Any) -> None:
    """So a task may start though all of its dependencies failed."""
    with WorkflowBuilder("w"):
        task(id="load")(fail)
        named = {"trigger_rules": rule} if isinstance(rule, Condition) else {"trigger_rule": rule}
        task(id="clean_up", dependencies=["load"], **named)(fine)
    result = execute()
    assert (result.status, statuses(result)["clean_up"]) == ("Failed", "Completed")
    assert without_places(result.error_message) == "Task 'load' failed: ValueError: no rows"


class Strict:
    """Compared with anything, it would fail the task that asks."""

    def __eq__(self, _other: object) -> bool:
        raise AssertionError("nobody should have asked")

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("before", [{}, {"trigger_rules": context_value("n", "not_exists")}], ids=["failed", "skipped"])
@pytest.mark.parametrize(
    "condition",
    [
        context_value("given", "==", 1),
        none_of(context_value("given", "==", 2)),
        any_of(context_value("given", "==", 1), context_value("n", "exists")),
    ],
    ids=str,
)
def test_a_condition_of_values_is_not_asked_behind_failures_and_skips(
    execute: OnBoth, before: dict[str, Any], condition: Condition
) -> None:
    with WorkflowBuilder("w"):
        task(id="load", **before)(fail)
        task(id="deploy", dependencies=["load"], trigger_rules=condition)(fine)
        task(id="after", dependencies=["deploy"], trigger_rules=condition)(fine)
    result = execute(given=Strict(), n=1)
    how = "was skipped" if before else "failed"
    assert statuses(result) == {"load": "Skipped" if before else "Failed", "deploy": "Skipped", "after": "Skipped"}
    assert result.tasks["deploy"].reason == f"none of its dependencies ended well: 'load' {how}"


@pytest.mark.parametrize(
    ("rule", "condition", "n", "why"),
    [
        ("all_success", BIG, 11, "not all of its dependencies ended well: 'bad' failed"),
        ("one_failed", BIG, 11, None),
        ("one_failed", BIG, 10, f"its rule {BIG} doesn't hold: 'n' is 10"),
        ("all_done", BIG, 10, f"its rule {BIG} doesn't hold: 'n' is 10"),
        ("none_failed", task_failed("bad"), 0, "some of its dependencies failed: 'bad' failed"),
        ("one_failed", task_failed("good"), 0, "its rule task_failed('good') doesn't hold: 'good' ended well"),
        ("one_failed", task_failed("bad"), 0, None),
        ("all_success", always(), 0, "not all of its dependencies ended well: 'bad' failed"),
        ("all_success", all_of(task_failed("bad"), BIG), 11, "not all of its dependencies ended well: 'bad' failed"),
    ],
    ids=str,
)
def test_a_rule_and_a_condition_have_to_hold_both_and_the_one_that_refused_is_told(
    execute: OnBoth, rule: Any, condition: Condition, n: int, why: str | None
) -> None:
    with WorkflowBuilder("w"):
        task(id="good")(fine)
        task(id="bad")(fail)
        task(id="last", dependencies=["good", "bad"], trigger_rule=rule, trigger_rules=condition)(fine)
    assert execute(n=n).tasks["last"].reason == why


def test_the_builders_rule_goes_with_a_condition_of_values_and_gives_way_to_others(execute: OnBoth) -> None:
    with WorkflowBuilder("part", trigger_rule="all_success") as part:
        task(id="good")(fine)
        task(id="bad")(fail)
        task(id="plain", dependencies=["good", "bad"])(fine)
        task(id="valued", dependencies=["good", "bad"], trigger_rules=none_of(BIG))(fine)
        task(id="named", dependencies=["good", "bad"], trigger_rules=all_of(task_success("good"), none_of(BIG)))(fine)
        task(id="own", dependencies=["good", "bad"], trigger_rules=none_of(BIG), trigger_rule="one_failed")(fine)
    with WorkflowBuilder("w", trigger_rule="all_failed") as whole:
        whole.add_workflow(part, prefix="x")
    expected = {"plain": "Skipped", "valued": "Skipped", "named": "Completed", "own": "Completed"}
    found = statuses(execute())
    assert {name: found[f"x.{name}"] for name in expected} == expected


def test_a_condition_may_ask_for_tasks_far_above_and_for_values_at_once(execute: OnBoth) -> None:
    rule = all_of(task_failed("bad"), task_skipped("idle"), context_value("k", "contains", 2))
    with WorkflowBuilder("w"):
        task(id="good")(lambda context: context.set("k", [1, 2]))
        task(id="bad", dependencies=["good"])(fail)
        task(id="idle", dependencies=["bad"])(fine)
        task(id="between", dependencies=["idle", "good"])(fine)

        @task(dependencies=["between"], trigger_rules=rule)
        def last(context):
            context["told"] = [context.outcome(name).status for name in ("good", "bad", "idle", "between")]
            context["errors"] = context.outcome("bad").error

    final = execute().final_context
    assert final["told"] == ["Completed", "Failed", "Skipped", "Completed"]
    assert final["errors"] == "ValueError: no rows", "a task is told all of it, whatever its condition asked for"


def test_values_of_every_kind_are_asked_for(execute: OnBoth) -> None:
    values = {"array": np.arange(100_000), "money": Decimal("0.1"), "day": (2026, 1, 1), "nothing": None}
    with WorkflowBuilder("w"):
        task(id="first")(lambda context: context.update_from_dict(values))
        rules = [context_value(key, "equals", value) for key, value in values.items()]
        task(id="last", dependencies=["first"], trigger_rules=all_of(*rules, context_value("nothing", "exists")))(fine)
    assert statuses(execute())["last"] == "Completed"


def test_a_condition_sees_what_merging_comes_to(execute: OnBoth) -> None:
    with WorkflowBuilder("w", merge={"total": cloaca.merge.sum, "notes": cloaca.merge.by_task}):
        for name in ("left", "right"):
            task(id=name)(lambda context: context.update_from_dict({"total": 2, "notes": 1}))
        rules = all_of(context_value("total", "equals", 4), context_value("notes", "contains", "left"))
        task(id="join", dependencies=["left", "right"], trigger_rules=rules)(fine)
    assert statuses(execute())["join"] == "Completed"


def conflicting(on_conflict: Any = None, **options: Any) -> None:
    with WorkflowBuilder("w", on_conflict=on_conflict, check="off"):
        for name in ("left", "right"):
            task(id=name)(lambda context, name=name: context.set("way", name))
        task(id="join", dependencies=["left", "right"], **options)(fine)


def test_a_condition_on_a_key_in_conflict_fails_the_task_and_is_not_retried(execute: OnBoth) -> None:
    conflicting(trigger_rules=context_value("way", "equals", "left"), retry_attempts=3)
    result = execute()
    error = result.tasks["join"].error
    assert isinstance(error, ConditionError)
    assert (error.task, error.key, error.condition) == ("join", "way", "context_value('way', 'equals', 'left')")
    assert "Looking at key 'way' raised MergeConflict: Key 'way' has 2 concurrent values" in str(error)
    assert (result.tasks["join"].status, result.tasks["join"].attempts) == ("Failed", 1)


def test_a_key_in_conflict_is_there(execute: OnBoth) -> None:
    conflicting(trigger_rules=context_value("way", "not_exists"))
    assert execute().tasks["join"].reason == (
        "its rule context_value('way', 'not_exists') doesn't hold: 'way' is in conflict"
    )
    conflicting(trigger_rules=context_value("way", "exists"))
    assert execute().status == "Completed"


def test_a_task_that_is_skipped_needs_no_agreement(execute: OnBoth) -> None:
    conflicting("fail", trigger_rules=context_value("mode", "equals", "full"))
    assert statuses(execute())["join"] == "Skipped"
    assert isinstance(execute(mode="full").tasks["join"].error, MergeConflict)


def test_a_value_that_can_not_be_compared_fails_the_task(execute: OnBoth) -> None:
    with WorkflowBuilder("w"):
        task(id="only", trigger_rules=context_value("score", ">", 10), retry_attempts=3)(fine)
    result = execute(score="high")
    assert without_places(result.error_message) == (
        "Task 'only' failed: ConditionError: Task 'only' can't begin: nobody can tell whether "
        "context_value('score', 'greater_than', 10) holds. Looking at key 'score' raised TypeError: '>' not supported "
        "between instances of 'str' and 'int'. Let the tasks before it set 'score' to something that can be compared "
        "so, or change the rule."
    )
    assert result.tasks["only"].attempts == 1
    assert isinstance(result.tasks["only"].error, ConditionError)


class Unreadable:
    """Is sent, and can't be rebuilt."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _refuse, ()


def _refuse() -> None:
    raise OSError("no licence")


def test_a_value_that_can_not_be_rebuilt_fails_the_task_where_it_is_looked_at(execute: OnBoth) -> None:
    with WorkflowBuilder("w"):
        task(id="first")(lambda context: context.set("k", Unreadable()))
        task(id="looking", dependencies=["first"], trigger_rules=context_value("k", "equals", 1))(fine)
        task(id="counting", dependencies=["first"], trigger_rules=context_value("k", "exists"))(fine)
    result = execute()
    assert statuses(result) == {"first": "Completed", "looking": "Failed", "counting": "Completed"}
    assert "DecodeError" in str(result.tasks["looking"].error)


class Drawn:
    """Its answer is drawn."""

    def __eq__(self, other: object) -> bool:
        return random.random() < 0.5

    __hash__ = None  # type: ignore[assignment]


def test_what_a_comparison_draws_follows_from_the_seed(runner: DefaultRunner) -> None:
    with WorkflowBuilder("w"):
        for n in range(20):
            task(id=f"t{n}", trigger_rules=context_value("k", "equals", n))(fine)
    everywhere = (runner, DefaultRunner(executor="serial"), runner)
    found = [statuses(one.execute("w", Context({"k": Drawn()}), seed=7)) for one in everywhere]
    assert set(found[0].values()) == {"Completed", "Skipped"}
    assert found[0] == found[1] == found[2]


def test_a_skipped_task_is_no_failure_to_a_run_that_is_to_fail_fast(runner: DefaultRunner) -> None:
    branches()
    assert runner.execute("w", Context({"n": 1}), fail_fast=True).status == "Completed"


# ---- partial failure -----------------------------------------------------------------------------------------------


def test_a_task_that_aggregates_goes_on_without_the_batch_that_failed(execute: OnBoth) -> None:
    def batch(number: int) -> Callable[[Context], None]:
        def process(context: Context) -> None:
            if number == 2:
                raise ValueError("row 7 has no amount")
            context.set(f"total_{number}", 10 * number)

        return process

    with WorkflowBuilder("w"):
        for number in (1, 2, 3):
            task(id=f"batch_{number}")(batch(number))

        @task(dependencies=["batch_1", "batch_2", "batch_3"])
        def aggregate(context):
            names = [f"total_{number}" for number in (1, 2, 3)]
            context["total"] = sum(context[name] for name in names if name in context)
            context["missing"] = [name for name in names if name not in context]
            context["why"] = context.outcome("batch_2")

    result = execute()
    final = result.final_context
    assert (final["total"], final["missing"]) == (40, ["total_2"])
    assert (final["why"].status, final["why"].error) == ("Failed", "ValueError: row 7 has no amount")
    assert result.status == "Failed"
    assert without_places(result.error_message) == "Task 'batch_2' failed: ValueError: row 7 has no amount"
    with pytest.raises(cloaca.WorkflowFailedError) as caught:
        result.raise_for_status()
    assert isinstance(caught.value.__cause__, ValueError)


# ---- in worker processes -------------------------------------------------------------------------------------------


class Deadly:
    def __eq__(self, other: object) -> bool:
        os.abort()

    __hash__ = None  # type: ignore[assignment]


class Endless:
    def __eq__(self, other: object) -> bool:
        while True:
            pass

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("value", "options", "error"), [(Deadly(), {}, WorkerDied), (Endless(), {"timeout": 0.1}, TaskTimeout)]
)
def test_a_comparison_that_kills_or_hangs_costs_its_attempt(
    value: object, options: Mapping[str, Any], error: type[Exception]
) -> None:
    with WorkflowBuilder("w"):
        task(id="asking", trigger_rules=context_value("k", "equals", 1), **options)(fine)
        task(id="beside")(fine)
        task(id="after", dependencies=["asking"], trigger_rules=task_failed("asking"))(fine)
    with DefaultRunner(workers=1, grace_seconds=0.01) as runner:
        result = runner.execute("w", Context({"k": value}))
    assert isinstance(result.tasks["asking"].error, error)
    assert statuses(result) == {"asking": "Failed", "beside": "Completed", "after": "Completed"}


def test_a_condition_is_published_once_for_all_tasks_and_executions(
    runner: DefaultRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    published: list[int] = []
    publish = Pool.publish

    def note(pool: Pool, sent: Sequence[Publish]) -> None:
        published.extend(one.function for one in sent)
        publish(pool, sent)

    monkeypatch.setattr(Pool, "publish", note)
    with WorkflowBuilder("shared"):
        for n in range(50):
            task(id=f"t{n}", trigger_rules=context_value("k", ">", 1))(fine)
    for _ in range(3):
        assert set(statuses(runner.execute("shared", Context({"k": 1}))).values()) == {"Skipped"}
    most = 1 + 1 + 50 + 3  # a condition, what the functions share, the functions, each run's merge rules
    assert len(published) == len(set(published)) <= most


def test_the_condition_of_one_workflow_outlives_that_of_another(runner: DefaultRunner) -> None:
    """Defined again, a workflow brings its own, and the old one is retired."""
    for limit in (1, 5, 1):
        with WorkflowBuilder("again"):
            task(id="only", trigger_rules=context_value("k", ">", limit))(fine)
        for k in (0, 3, 9):
            expected = "Completed" if k > limit else "Skipped"
            assert statuses(runner.execute("again", Context({"k": k}))) == {"only": expected}
