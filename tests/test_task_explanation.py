"""What a result tells of a task: why it ran, or didn't, what it saw and what it left."""

import pickle
from collections.abc import Callable
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.reference import Graph, Model, deterministic, graphs
from tests.support import without_places

import cloaca
from cloaca import Context
from cloaca.errors import INPUT
from cloaca.triggers.rules import RULES
from cloaca.wire.messages import Version


def told(builder: cloaca.WorkflowBuilder, given: dict[str, Any] | None = None) -> cloaca.WorkflowResult:
    with cloaca.DefaultRunner(executor="serial") as runner:
        return runner.execute(builder, given)


def failing(_context: Context) -> None:
    raise ValueError("no")


@given(graphs(most=8), st.sampled_from([{}, {"log": [INPUT]}]), st.sampled_from([None, ["log"], ["t0"]]))
@settings(deterministic, max_examples=60)
def test_it_tells_who_wrote_what_a_task_read_and_what_it_wrote(
    graph: Graph, given: dict[str, Any], outputs: list[str] | None
) -> None:
    """Whatever the workflow is asked for in the end, and also from a pickle."""
    model = Model(graph, {"log": Version(INPUT, b"")} if given else {})
    with cloaca.WorkflowBuilder("random", check="off", outputs=outputs) as builder:
        for name, above in graph:

            @cloaca.task(id=name, dependencies=above)
            def add(context: Context, name: str = name) -> None:
                context.set(name, [context.get(other) for other in context if other != "log"])
                if name == "t2" and "t0" in context:
                    context.delete("t0")
                if name != "t1":
                    context.set("log", [*context.get("log", []), name])

    result = told(builder, given)
    assert result.status == "Completed"
    for task in TopologicalSorter(dict(graph)).static_order():
        log = {} if task == "t1" else {"log": task.encode()}
        model.record(task, {task: task.encode(), **log, **({"t0": None} if task == "t2" else {})})
    for known in (result, pickle.loads(pickle.dumps(result))):
        for name, above in graph:
            explanation = known.explain_task(name)
            assert (explanation.waited_for, explanation.place == "") == (
                dict.fromkeys(above, "Completed"),
                known is not result,
            )
            for key, writers in explanation.read.items():
                assert writers == tuple(version.writer for version in model.candidates(name, key)), key
            assert {*explanation.wrote} == {*model.writes[name]}
            removed = {key for key, version in model.writes[name].items() if version.payload is None}
            assert {key for key, count in explanation.wrote.items() if count is None} == removed


def sales() -> cloaca.WorkflowBuilder:
    with cloaca.WorkflowBuilder("sales", check="off") as builder:

        @cloaca.task()
        def load(context: Context) -> None:
            context["rows"], context["old"] = [1, 2, 3], "x" * 40

        cloaca.task(id="broken", dependencies=[load])(failing)

        @cloaca.task(dependencies=[load, "broken"])
        def total(context: Context) -> None:
            context["total"] = sum(context["rows"]) + context["more"]
            context.delete("old")

        cloaca.task(id="strict", dependencies=[load, "broken"], trigger_rule="all_success")(lambda _: None)
        cloaca.task(id="behind", dependencies=["strict"])(lambda _: None)
        large = cloaca.context_value("total", ">", 100)
        cloaca.task(id="large", dependencies=[total], trigger_rules=large)(lambda _: None)
    return builder


def test_it_is_told_as_a_text() -> None:
    result = told(sales(), {"more": 4})
    texts = {id: without_places(str(result.explain_task(id))).splitlines() for id in result.tasks}
    heads = {id: lines[0].partition(" after ")[0] for id, lines in texts.items()}
    assert heads["load"] == "Task 'load' ended well"
    assert texts["broken"][0].endswith(": ValueError: no")
    assert texts["load"][1:3] == ["It depends on no other task.", "It left:"]
    assert {*texts["load"][3:]} == {"  'rows', 4 bytes", "  'old', 42 bytes"}
    assert texts["total"][1:] == [
        "It waited for its dependencies: 'load' ended well, 'broken' failed.",
        "By the default rule all_done_min_one_success, at least one of these has to end well.",
        "It read:",
        "  'rows', set by 'load'",
        "  'more', given by the input",
        "  'old', set by 'load'",
        "It left:",
        "  'total', 1 byte",
        "  'old', which it removed",
    ]
    assert texts["strict"] == [
        "Task 'strict' was skipped: not all of its dependencies ended well: 'broken' failed",
        "It waited for its dependencies: 'load' ended well, 'broken' failed.",
        "By its rule all_success, all of these have to end well.",
    ]
    assert texts["behind"][0] == "Task 'behind' was skipped: none of its dependencies ended well: 'strict' was skipped"
    assert heads["large"] == "Task 'large' was skipped"
    assert texts["large"][-3:] == [
        "Its condition: context_value('total', 'greater_than', 100).",
        "It read:",
        "  'total', set by 'total'",
    ]
    assert repr(result.explain_task("strict")) == str(result.explain_task("strict"))


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_says_what_it_demands(rule: Any) -> None:
    with cloaca.WorkflowBuilder("ruled") as builder:
        cloaca.task(id="good")(lambda _: None)
        cloaca.task(id="bad")(failing)
        cloaca.task(id="after", dependencies=["good", "bad"], trigger_rule=rule)(lambda _: None)
    result = told(builder)
    for known in (result, pickle.loads(pickle.dumps(result))):
        explanation = known.explain_task("after")
        assert (explanation.rule, explanation.condition) == (rule, "")
        assert f"rule {rule}, {RULES[rule].demand}." in str(explanation)


def test_tries_are_told_with_what_they_failed_with() -> None:
    with cloaca.WorkflowBuilder("tried") as builder:

        @cloaca.task(retry_attempts=3, retry_delay_ms=1)
        def flaky(_context: Context) -> None:
            raise OSError("away")

    result = told(builder)
    explanation = result.explain_task("flaky")
    assert [(one.nth, one.error_message) for one in explanation.tries] == [(n, "OSError: away") for n in (1, 2, 3)]
    head, _, first, second = str(explanation).splitlines()
    assert ", in try 3: OSError: away" in head
    assert first.startswith("Try 1 failed: OSError: away; the next one waited ")
    assert second.startswith("Try 2 failed: OSError: away; the next one waited ")


def test_mapped_tasks_and_their_instances() -> None:
    with cloaca.WorkflowBuilder("mapped") as builder:

        @cloaca.task()
        def load(context: Context) -> None:
            context["step"] = 10

        @cloaca.task(for_each="rows", dependencies=[load])
        def each(context: Context, row: int) -> None:
            context["got"] = row // (row - 2) + context["step"]

        @cloaca.task(for_each="rows", dependencies=[each])
        def again(context: Context, row: int) -> None:
            context["more"] = row + context["got"]

    result = told(builder, {"rows": [1, 2, 3]})
    each_told = result.explain_task("each")
    assert each_told.instances == {"Completed": 2, "Failed": 1}
    assert "It was to run once for each item: 2 Completed, 1 Failed." in str(each_told).splitlines()
    assert (each_told.read, [*each_told.wrote]) == ({"rows": (INPUT,), "step": ("load",)}, ["got"])
    assert result.explain_task("each[1]").why.startswith("ZeroDivisionError")
    assert result.explain_task("again[0]").waited_for == {"each[0]": "Completed"}
    assert result.explain_task("again[1]").waited_for == {"each[1]": "Failed"}
    assert result.explain_task("again[2]").read == {"rows": (INPUT,), "got": ("each",)}


def test_what_is_passed_in_to_a_copy_is_told_by_whom_it_was_written() -> None:
    with cloaca.WorkflowBuilder("inner", check="off") as inner:

        @cloaca.task()
        def first(context: Context) -> None:
            context["sum"] = sum(context["rows"])

        @cloaca.task(dependencies=[first])
        def second(context: Context) -> None:
            context["rows"] = [*context["rows"], context["sum"]]

    with cloaca.WorkflowBuilder("outer", check="off") as outer:

        @cloaca.task()
        def load(context: Context) -> None:
            context["northern"] = [1, 2]

        outer.add_workflow(inner, prefix="n", inputs={"rows": "northern"}, dependencies=[load])
        outer.add_workflow(inner, prefix="s", inputs={"rows": "southern"}, dependencies=[load])
    result = told(outer, {"southern": [3]})
    for known in (result, pickle.loads(pickle.dumps(result))):
        assert known.explain_task("n.first").read == {"n.rows": ("load",)}
        assert known.explain_task("n.second").read == {"n.rows": ("load",), "n.sum": ("n.first",)}
        assert known.explain_task("s.first").read == {"s.rows": (INPUT,)}
        assert [*known.explain_task("load").wrote] == ["northern"]
        assert [*known.explain_task("n.second").wrote] == ["n.rows"]


def test_an_unknown_task_is_told_with_the_nearest_ids() -> None:
    with pytest.raises(KeyError, match=r"No task of this workflow has the id 'totl'\. The nearest ids are 'total'"):
        told(sales(), {"more": 4}).explain_task("totl")


def test_what_was_taken_over_and_why_the_rest_ran(tmp_path: Path) -> None:
    def workflow(function: Callable[[Context], Any]) -> cloaca.WorkflowBuilder:
        with cloaca.WorkflowBuilder("stored", check="off") as builder:
            cloaca.task(id="load")(lambda context: context.set("rows", [1]))
            cloaca.task(id="total", dependencies=["load"], trigger_rule="all_done")(function)
        return builder

    with cloaca.DefaultRunner(f"sqlite:///{tmp_path}/runs.db", executor="serial") as runner:
        before = runner.execute(workflow(lambda context: context.set("total", sum(context["rows"]))))
        result = runner.execute(workflow(lambda context: context.set("total", max(context["rows"]))), reuse=True)
        past = runner.execution(result.execution_id).result
    lines = str(result.explain_task("load")).splitlines()
    assert lines[1] == f"It wasn't run: an attempt of execution {before.execution_id!r} stands for it."
    explanation = result.explain_task("total")
    assert (explanation.reused_from, explanation.ran_because) == (None, result.tasks["total"].ran_because)
    assert f"It ran, and wasn't taken over: {explanation.ran_because}." in str(explanation).splitlines()
    assert past.explain_task("total").rule == "all_done"
    assert past.explain_task("total").read == {"rows": ("load",)}


def test_a_failure_that_is_allowed_and_a_skip_of_its_own() -> None:
    with cloaca.WorkflowBuilder("allowed") as builder:
        cloaca.task(id="may", allow_failure=True)(failing)

        @cloaca.task(allow_failure=True)
        def idle(_context: Context) -> None:
            raise cloaca.Skip("nothing to do")

    result = told(builder)
    may, idle_told = result.explain_task("may"), result.explain_task("idle")
    assert (may.handled, idle_told.handled, result.status) == (True, False, "Completed")
    assert str(may).splitlines()[1] == "It may fail (allow_failure), so the execution hasn't failed by that."
    assert (idle_told.status, idle_told.why) == ("Skipped", "nothing to do")


def test_long_lists_are_cut() -> None:
    names = [f"t{number}" for number in range(50)]
    with cloaca.WorkflowBuilder("wide", check="off") as builder:
        for name in names:
            cloaca.task(id=name)(lambda context, name=name: context.set(name, 1))

        @cloaca.task(dependencies=names)
        def total(context: Context) -> None:
            context["total"] = sum(context[name] for name in names)

    result = told(builder)
    lines = str(result.explain_task("total")).splitlines()
    assert lines[1].endswith("'t19' ended well and 30 more.")
    assert "  ... and 30 more" in lines
    assert len(result.explain_task("total").read) == 50
