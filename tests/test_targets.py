"""Only what a target needs: its ancestors, which see and leave what they do in the whole workflow."""

import re
from random import Random
from typing import Any

import pytest

import cloaca
from cloaca.workflows.targets import restricted
from cloaca.workflows.workflow import Workflow


def left_by(workflow: Workflow, given: dict[str, Any] | None = None) -> dict[str, Any]:
    """What each task that has run tells of what it saw, by id."""
    with cloaca.DefaultRunner(executor="serial") as runner:
        result = runner.execute(workflow, given or {})
    result.raise_for_status()
    final = result.final_context.to_dict(conflicts="skip")
    return {key: value for key, value in final.items() if key.startswith("saw ")}


def seen(context: cloaca.Context) -> list[tuple[str, Any]]:
    """All that a task can see, but for what others have told: that they tell themselves."""
    return [(key, value) for key, value in context.to_dict(conflicts="skip").items() if not key.startswith("saw ")]


def woven(seed: int) -> Workflow:
    """Tasks made by chance that add to each other's keys, of which some are merged by rules."""
    random = Random(seed)
    with cloaca.WorkflowBuilder("woven", merge={"a": cloaca.merge.sum, "b": cloaca.merge.by_task}) as builder:
        for n in range(10):
            before = random.sample(range(n), min(n, random.choice([0, 1, 2, 3])))
            keys = random.sample("abc", random.choice([1, 2]))

            def run(context: cloaca.Context, name: str = f"t{n}", keys: list[str] = keys) -> None:
                context.set(f"saw {name}", seen(context))
                for key in keys:
                    context.set(key, name if key != "a" else context.get(key, 0) + 1)

            cloaca.task(id=f"t{n}", dependencies=[f"t{m}" for m in before])(run)
    return builder.build()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_what_is_run_for_a_target_sees_what_it_sees_in_the_whole_workflow(seed: int) -> None:
    workflow, random = woven(seed), Random(seed)
    whole = left_by(workflow, {"a": 1})
    for count in (1, 2):
        targets = random.sample(workflow.topological_sort(), count)
        part = restricted(workflow, targets)
        left = left_by(part, {"a": 1})
        assert left == {f"saw {task}": whole[f"saw {task}"] for task in part.topological_sort()}
        assert set(targets) <= set(part.topological_sort())
        assert {task for task in part.get_leaves() if task not in targets} == set()


def region() -> Workflow:
    with cloaca.WorkflowBuilder("region") as builder:

        @cloaca.task(id="load")
        def load(context: cloaca.Context) -> None:
            context.set("got", context.get("rows"))

        @cloaca.task(id="other")
        def other(context: cloaca.Context) -> None:
            context.set("more", context.get("rows"))

        @cloaca.task(dependencies=["load"], for_each="got", id="square")
        def square(context: cloaca.Context, item: int) -> None:
            context.set("squares", item * item)

        @cloaca.task(dependencies=["square"], for_each="got", id="add")
        def add(context: cloaca.Context, item: int) -> None:
            context.set("sums", context.get("squares") + item)

        @cloaca.task(dependencies=["add", "other"], id="total")
        def total(context: cloaca.Context) -> None:
            context.set("total", sum(context.get("sums")))

    return builder.build()


def regions() -> Workflow:
    with cloaca.WorkflowBuilder("regions") as builder:

        @cloaca.task(id="read")
        def read(context: cloaca.Context) -> None:
            context.update_from_dict({"north_rows": [1, 2], "south_rows": [3, 4, 5]})

        north = builder.add_workflow(region(), prefix="north", dependencies=["read"], inputs={"rows": "north_rows"})
        builder.add_workflow(region(), prefix="south", dependencies=["read"], inputs={"rows": "south_rows"})

        @cloaca.task(dependencies=north.leaves, id="report")
        def report(context: cloaca.Context) -> None:
            context.set("report", context.get("north.total"))

    return builder.build()


def executed(workflow: Workflow) -> cloaca.WorkflowResult:
    with cloaca.DefaultRunner(executor="serial") as runner:
        return runner.execute(workflow)


def test_a_target_in_a_copy_is_given_the_inputs_of_that() -> None:
    part = restricted(regions(), ["south.add"])
    assert part.topological_sort() == ["read", "south.load", "south.square", "south.add"]
    assert [copy.prefix for copy in part.copies] == ["south."]
    assert part.copies[0].roots == ("south.load",)
    assert executed(part).final_context.get("south.sums") == [12, 20, 30]
    assert executed(restricted(regions(), ["south.other"])).final_context.get("south.more") == [3, 4, 5]


def test_instances_of_what_is_left_follow_each_other() -> None:
    result = executed(restricted(regions(), ["report"]))
    assert result.final_context.get("report") == 8
    assert result.tasks["north.add"].status == "Completed"
    assert "south.load" not in result.tasks


def test_a_target_may_be_a_function() -> None:
    with cloaca.WorkflowBuilder("w") as builder:

        @cloaca.task()
        def one(context: cloaca.Context) -> None: ...

        @cloaca.task()
        def two(context: cloaca.Context) -> None: ...

        cloaca.task(id="again")(two)
    workflow = builder.build()
    assert restricted(workflow, [one]).topological_sort() == ["one"]
    with pytest.raises(ValueError, match="2 tasks have the function"):
        restricted(workflow, [two])
    with pytest.raises(ValueError, match="no task has the function"):
        restricted(workflow, [print])


def test_where_all_is_needed_the_workflow_is_as_it_was() -> None:
    workflow = region()
    assert restricted(workflow, ["total"]) is workflow


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (["nroth.total"], "Workflow 'regions' has no task 'nroth.total', which is a target: did you mean"),
        (["south.add[2]"], "which is a target: name 'south.add', with all of its instances."),
        ("report", "targets= is a list of ids of tasks"),
        ([], "targets= is a list of ids of tasks"),
    ],
)
def test_a_target_that_is_none_is_told(targets: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        restricted(regions(), targets)
