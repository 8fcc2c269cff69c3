"""What a result tells of how the value of a key came to be: it is what merging has done."""

import pickle
from graphlib import TopologicalSorter
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.reference import Graph, Model, deterministic, graphs
from tests.support import without_places

import cloaca
from cloaca import Context
from cloaca.errors import INPUT
from cloaca.wire.messages import Version


def told(builder: cloaca.WorkflowBuilder, given: dict[str, Any] | None = None) -> cloaca.WorkflowResult:
    with cloaca.DefaultRunner(executor="serial") as runner:
        return runner.execute(builder, given)


def gathered(base: Any, values: list[Any]) -> Any:
    """A merge rule that shows what it was called with."""
    return ["merged", base, *values]


@pytest.mark.parametrize("seed", range(30))
def test_the_order_and_the_base_are_those_that_the_rule_was_given(seed: int) -> None:
    """Tasks at random set a key to a name of their own: what the rule made of them shows which, and in which order."""
    chance = Random(seed)
    names = [f"t{number}" for number in range(8)]
    chance.shuffle(names)
    with cloaca.WorkflowBuilder("random", merge={"key": gathered}, check="off") as builder:
        for place, name in enumerate(names):
            above = chance.sample(names[:place], min(place, chance.randrange(3)))

            @cloaca.task(id=name, dependencies=above)
            def write(context: Context, name: str = name, chosen: int = chance.randrange(10)) -> None:
                if chosen < 7:
                    context.set("key", name)

    result = told(builder, {"key": "given"})
    explanation = result.explain("key")
    standing = [written for written in explanation.writes if written.stands]
    value = result.final_context["key"]
    if explanation.how == "merged":
        assert [one.value for one in standing] == [repr(one) for one in value[2:]]
        before = {one.value for one in explanation.writes if not one.stands}
        assert isinstance(value[1], list) or repr(value[1]) in before
    else:
        assert [one.value for one in standing] == [repr(value)]
    assert all({*one.saw} <= {other.task for other in explanation.writes} for one in explanation.writes)


@given(graphs(most=8), st.sampled_from([{}, {"log": [INPUT]}]))
@settings(deterministic, max_examples=40)
def test_all_writers_are_told_in_the_order_of_merging_with_what_each_saw(graph: Graph, given: dict[str, Any]) -> None:
    """Each task adds its name to a list: what was added since the last common point stands there as it is told."""
    model = Model(graph, {"log": Version(INPUT, b"")} if given else {})
    with cloaca.WorkflowBuilder("random", check="off") as builder:
        for name, above in graph:

            @cloaca.task(id=name, dependencies=above)
            def add(context: Context, name: str = name) -> None:
                if name != "t1":
                    context.set("log", [*context.get("log", []), name])

    result = told(builder, given)
    for task in TopologicalSorter(dict(graph)).static_order():
        model.record(task, {} if task == "t1" else {"log": task.encode()})
    for known in (result, pickle.loads(pickle.dumps(result))):
        writes = known.explain("log").writes
        told_tasks = [one.task for one in writes]
        assert sorted(told_tasks) == sorted(result.final_context.get("log", []))
        standing = [one.writer for one in model.final().get("log", ())]
        assert [one.task for one in writes if one.stands] == standing
        later = [one for one in told_tasks if not all(one in (INPUT, *model.orders.get(top, ())) for top in standing)]
        assert told_tasks[len(told_tasks) - len(later) :] == later
        assert result.final_context.get("log", [])[len(told_tasks) - len(later) :] == later
        assert {one.task: one.saw for one in writes if one.task != INPUT} == {
            task: tuple(seen.writer for seen in model.candidates(task, "log")) for task in model.completed - {"t1"}
        }


def test_what_was_merged_on_the_way_is_told_down_to_the_input() -> None:
    """Also where it was merged by those that went on from it, or was seen and replaced by one task."""
    with cloaca.WorkflowBuilder("levels", check="off") as builder:
        above: list[str] = []
        for level in range(3):
            for side in "ns":

                @cloaca.task(id=f"{side}{level}", dependencies=above)
                def add(context: Context, name: str = f"{side}{level}") -> None:
                    context.set("log", [*context["log"], name])
                    context.set("title", name)

            above = [f"n{level}", f"s{level}"]

        @cloaca.task(dependencies=above)
        def entitle(context: Context) -> None:
            context.set("title", "levels")

    result = told(builder, {"log": []})
    explanation = result.explain("log")
    assert [(one.task, one.saw) for one in explanation.writes] == [
        (INPUT, ()),
        *[("n0", (INPUT,)), ("s0", (INPUT,))],
        *[("n1", ("n0", "s0")), ("s1", ("n0", "s0"))],
        *[("n2", ("n1", "s1")), ("s2", ("n1", "s1"))],
    ]
    assert (explanation.how, explanation.rule) == ("merged", "list")
    assert without_places(str(result.explain("title"))) == (
        "'title' is 'levels': task 'entitle' set 'levels', having seen 'n2', 's2'."
    )
    assert len(result.explain("title").writes) == 7


def test_values_that_merging_does_not_need_are_told_by_their_size() -> None:
    with cloaca.WorkflowBuilder("large", check="off") as builder:

        @cloaca.task()
        def load(context: Context) -> None:
            context.set("key", bytes(200_000))

        for name in ("north", "south"):
            cloaca.task(id=name, dependencies=[load])(lambda context: context.set("key", 1))

    first, *_ = told(builder).explain("key").writes
    assert (first.task, first.value[:17]) == ("load", "a value of 200,00")


def sales() -> cloaca.WorkflowBuilder:
    with cloaca.WorkflowBuilder("sales", merge={"total": cloaca.merge.sum}, check="off") as builder:

        @cloaca.task()
        def load(context: Context) -> None:
            context["total"], context["price"], context["large"] = 100, 1, bytes(100_000)

        @cloaca.task(dependencies=[load])
        def north(context: Context) -> None:
            context["total"] += 3
            context["price"] = 2
            context["only"] = 5

        @cloaca.task(dependencies=[load])
        def south(context: Context) -> None:
            context["total"] += 4
            context["price"] = 3

        @cloaca.task(dependencies=[south])
        def bad(context: Context) -> None:
            if context["total"]:
                raise ValueError("no")
            context["never"] = 1

    return builder


def test_what_was_merged_is_told_with_its_rule_its_order_and_what_it_went_on_from() -> None:
    result = told(sales())
    assert without_places(str(result.explain("total"))).splitlines() == [
        "'total' is 107, merged by sum of what 2 tasks left side by side, in this order:",
        "  task 'north' set 103, having seen 'load'",
        "  task 'south' set 104, having seen 'load'",
        "What these went on from:",
        "  task 'load' set 100",
    ]
    assert f"({Path(__file__).name}:" in result.explain("total").writes[1].place.join("()").replace("tests/", "")


def test_what_one_task_set_or_the_input_gave_is_told_on_a_line() -> None:
    result = told(sales(), {"given": 3})
    assert repr(result.explain("only")) == str(result.explain("only")) == "'only' is 5: task 'north' set 5."
    assert str(result.explain("given")) == "'given' is 3, as the input gave it: no task has set it."
    assert result.explain("large").value.startswith("a value of 100,0")


def test_a_conflict_is_told_as_reading_it_would() -> None:
    result = told(sales())
    explanation = result.explain("price")
    assert (explanation.how, str(explanation)) == ("conflict", str(result.conflicts["price"]))
    assert [written.task for written in explanation.writes if written.stands] == ["north", "south"]


def test_of_an_absent_key_it_is_told_why_it_is() -> None:
    result = told(sales())
    assert without_places(str(result.explain("never"))) == (
        "'never' is absent. Task 'bad', which sets it, failed: ValueError: no."
    )
    assert str(result.explain("totl")).endswith("Did you mean 'total'?")
    assert result.explain("totl").how == "absent"


def test_a_pickled_result_tells_what_it_has() -> None:
    loaded = pickle.loads(pickle.dumps(told(sales())))
    assert without_places(str(loaded.explain("total"))).splitlines() == [
        "'total' is 107, merged by sum of what 2 tasks left side by side, in this order:",
        "  task 'north' set a value of 1 byte, having seen 'load'",
        "  task 'south' set a value of 1 byte, having seen 'load'",
        "What these went on from:",
        "  task 'load' set a value of 1 byte",
    ]
    assert str(loaded.explain("only")) == "'only' is 5: task 'north' set 5."
    assert loaded.explain("price").how == "conflict"


def test_a_recorded_execution_is_explained_as_well(tmp_path: Path) -> None:
    with cloaca.DefaultRunner(f"{tmp_path}/runs.db", workers=1) as runner:
        result = runner.execute(sales())
        past = runner.execution(result.execution_id).result
    first, second = result.explain("total"), past.explain("total")
    assert [(one.task, one.value, one.saw) for one in first.writes] == [
        (one.task, one.value, one.saw) for one in second.writes
    ]


def test_of_a_key_that_was_removed_it_is_told_by_whom() -> None:
    with cloaca.WorkflowBuilder("removed", check="off") as builder:
        cloaca.task(id="load")(lambda context: context.set("key", 1))

        @cloaca.task(dependencies=["load"])
        def clear(context: Context) -> None:
            context.remove("key")

    explanation = told(builder).explain("key")
    assert without_places(str(explanation)) == "'key' is absent. Task 'clear' removed it, having seen 'load'."
    assert [one.value for one in explanation.writes][:1] == ["a value of 1 byte"]


def test_what_is_kept_by_task_is_told_as_made_of_all_that_was_written() -> None:
    with cloaca.WorkflowBuilder("kept", merge={"score": cloaca.merge.by_task}, check="off") as builder:
        cloaca.task(id="south")(lambda context: context.set("score", 1))
        cloaca.task(id="repair", dependencies=["south"])(lambda context: context.set("score", 2))
    assert without_places(str(told(builder).explain("score"))).splitlines() == [
        "'score' is {'repair': 2, 'south': 1}, made by by_task of all that was written:",
        "  task 'south' set 1",
        "  task 'repair' set 2, having seen 'south'",
    ]
