"""Merging as a program meets it: rules given to a workflow, on worker processes and in the calling thread alike."""

import copy
import functools
import math
import os
import pickle
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.support import PATIENCE

import cloaca
import cloaca.engine.run
from cloaca import CaptureError, Context, DefaultRunner, MergeConflict, WorkflowResult
from cloaca.merge.equality import equal
from cloaca.tasks.context import contents_of
from cloaca.wire.messages import Wants

Task = tuple[str, list[str], Callable[[Context], Any]]
Execute = Callable[..., WorkflowResult]


@pytest.fixture
def execute(runner: DefaultRunner) -> Execute:
    def execute(*tasks: Task, given: Context | dict[str, Any] | None = None, **options: Any) -> WorkflowResult:
        define(*tasks, **options)
        return runner.execute("merging", given if isinstance(given, Context) else Context(given))

    return execute


def define(*tasks: Task, **options: Any) -> None:
    with cloaca.WorkflowBuilder("merging", check="off", **options):
        for task, dependencies, function in tasks:
            cloaca.task(id=task, dependencies=dependencies)(function)


def changing(key: str, change: Callable[[Any], Any]) -> Callable[[Context], None]:
    """A task that sets a key to what `change` makes of it."""
    return lambda context: context.set(key, change(context.get(key)))


def setting(key: str, value: Any) -> Callable[[Context], None]:
    return lambda context: context.set(key, value)


def adding(number: int) -> Callable[[Context], None]:
    return changing("total", lambda total: total + number)


def removing(context: Context) -> None:
    context.remove("total")


def nothing(context: Context) -> None:
    """Writes nothing."""


# ---- rules ---------------------------------------------------------------------------------------------------------


def test_a_count_is_exact_along_every_path(execute: Execute) -> None:
    result = execute(
        ("a", [], adding(1)),
        ("b", [], adding(10)),
        ("c", ["a"], adding(100)),
        ("join", ["c", "b"], adding(1000)),
        ("d", ["b"], adding(10_000)),
        given={"total": 5},
        merge={"total": cloaca.merge.sum},
    )
    assert result.final_context["total"] == 11_116
    assert result.merges == {"total": "sum"}


def test_a_rule_may_be_a_closure_and_sees_the_base(execute: Execute) -> None:
    factor = 100

    def spread(base: int, values: list[int]) -> list[int]:
        return [factor * (value - base) for value in values]

    result = execute(
        ("a", [], adding(1)),
        ("b", [], adding(2)),
        ("reader", ["b", "a"], changing("seen", lambda _: 0)),
        ("join", ["b", "a"], lambda context: context.set("seen", context["total"])),
        given={"total": 5},
        merge={"total": spread, "seen": cloaca.merge.last},
    )
    assert result.final_context["seen"] == [200, 100]
    assert result.final_context["total"] == [200, 100]


def test_what_a_rule_uses_is_read_when_execute_is_called(execute: Execute) -> None:
    settings = {"unit": 1}
    tasks: list[Task] = [("a", [], adding(1)), ("b", [], adding(2))]
    rules = {"total": lambda _base, values: sum(values) * settings["unit"]}
    assert execute(*tasks, given={"total": 0}, merge=rules).final_context["total"] == 3
    settings["unit"] = 10
    assert execute(*tasks, given={"total": 0}, merge=rules).final_context["total"] == 30


def test_a_result_is_merged_by_the_rules_as_they_were(execute: Execute) -> None:
    settings = {"unit": 1}
    tasks: list[Task] = [("a", [], setting("total", 1)), ("b", [], setting("total", 2))]
    result = execute(
        *tasks,
        ("join", ["a", "b"], lambda context: context.set("seen", context["total"])),
        merge={"total": lambda _base, values: sum(values) * settings["unit"]},
    )
    settings["unit"] = 100
    assert (result.final_context["seen"], result.final_context["total"]) == (3, 3)


class Keys(StrEnum):
    TOTAL = "total"


def test_a_key_may_be_a_member_of_an_enum(execute: Execute) -> None:
    tasks: list[Task] = [("a", [], adding(1)), ("b", [], adding(2))]
    assert execute(*tasks, given={"total": 4}, merge={Keys.TOTAL: cloaca.merge.sum}).final_context["total"] == 7


def test_a_copy_that_is_returned_writes_nothing_that_it_did_not_set(execute: Execute) -> None:
    def copying(context: Context) -> Context:
        mine = context.copy()
        mine.set("done", True)
        return mine

    result = execute(
        ("a", [], setting("took", 1)),
        ("b", [], setting("took", 2)),
        ("join", ["a", "b"], copying),
        merge={"took": cloaca.merge.by_task},
    )
    assert result.final_context["took"] == {"a": 1, "b": 2}
    assert result.final_context["done"]


@pytest.mark.parametrize("twin", [Context.copy, copy.copy, copy.deepcopy])
def test_what_was_removed_in_a_copy_that_is_returned_is_removed(execute: Execute, twin: Any) -> None:
    def copying(context: Context) -> Context:
        mine: Context = twin(context)
        del mine["gone"]
        mine.set("set and gone", 1)
        mine.remove("set and gone")
        mine.set("done", True)
        context.set("kept", 2)
        return mine

    result = execute(("a", [], copying), given={"gone": 1, "stays": 1})
    assert result.final_context.to_dict() == {"stays": 1, "kept": 2, "done": True}


def test_a_copy_that_is_returned_may_remove_only_what_the_task_declares(runner: DefaultRunner) -> None:
    def copying(context: Context) -> Context:
        mine = context.copy()
        del mine["gone"]
        return mine

    for writes, status in ((["gone"], "Completed"), (["other"], "Failed")):
        with cloaca.WorkflowBuilder("declared", check="off"):
            cloaca.task(id="a", writes=writes)(copying)
        assert runner.execute("declared", Context({"gone": 1})).status == status


def test_one_error_for_several_conflicts_has_all_of_the_first(execute: Execute) -> None:
    result = execute(("a", [], setting("total", {"x": 1})), ("b", [], setting("total", {"x": 2})))
    with pytest.raises(MergeConflict) as caught:
        result.final_context.to_dict()
    assert (caught.value.path, caught.value.places) == ("['x']", result.conflicts["total"].places)


def test_what_other_keys_met_costs_no_question(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks under a join that set keys by computed names ask for them only where branches met in them."""
    asked: list[Any] = []
    answer = vars(cloaca.engine.run.Run)["_answer"]

    def noting(self: Any, attempt: Any, event: Wants) -> Any:
        asked.append(event)
        return answer(self, attempt, event)

    transitions = vars(cloaca.engine.run)["_TRANSITIONS"]
    monkeypatch.setitem(transitions, (cloaca.engine.state.State.RUNNING, Wants), noting)
    define(
        ("a", [], setting("log", [1])),
        ("b", [], setting("log", [2])),
        ("join", ["a", "b"], lambda context: context.set("OUT".lower(), 1)),
    )
    with DefaultRunner(workers=1) as runner:
        assert runner.execute("merging").status == "Completed"
    assert asked == []


def test_a_failed_branch_leaves_no_trace(execute: Execute) -> None:
    def fail(context: Context) -> None:
        context.set("total", 999)
        raise ValueError("no")

    result = execute(
        ("a", [], adding(1)),
        ("b", [], fail),
        ("c", [], adding(2)),
        ("join", ["a", "b", "c"], lambda context: context.set("seen", context["total"])),
        given={"total": 0},
        merge={"total": cloaca.merge.sum},
    )
    assert result.status == "Failed"
    assert (result.final_context["total"], result.final_context["seen"]) == (3, 3)


def test_by_task_holds_every_task_that_wrote(execute: Execute) -> None:
    result = execute(
        ("a", [], setting("took", 1)),
        ("b", ["a"], lambda context: context.set("took", len(context["took"]))),
        ("c", ["a"], nothing),
        ("d", ["b", "c"], lambda context: context.set("seen", context["took"])),
        merge={"took": cloaca.merge.by_task},
    )
    assert result.final_context["seen"] == result.final_context["took"] == {"a": 1, "b": 1}
    assert result.merges == {"took": "by_task"}


def test_by_task_of_one_writer_is_a_dict_too_and_a_removal_clears_it(execute: Execute) -> None:
    one: Task = ("a", [], setting("took", 1))
    assert execute(one, merge={"took": cloaca.merge.by_task}).final_context["took"] == {"a": 1}
    clear: Task = ("b", ["a"], lambda context: context.remove("took"))
    result = execute(one, clear, merge={"took": cloaca.merge.by_task})
    assert "took" not in result.final_context


def test_a_rule_that_raises_fails_only_who_reads_the_key(execute: Execute) -> None:
    result = execute(
        ("a", [], adding(1)),
        ("b", [], adding(2)),
        ("reads", ["a", "b"], lambda context: context["total"]),
        ("settles", ["a", "b"], lambda context: context.set("other", len(context))),
        given={"total": 0},
        merge={"total": lambda _base, values: int("nine")},
    )
    assert (result.tasks["reads"].status, result.tasks["settles"].status) == ("Failed", "Completed")
    error = result.tasks["reads"].error
    assert isinstance(error, MergeConflict)
    assert error.reason == "ValueError: invalid literal for int() with base 10: 'nine'"
    assert isinstance(result.conflicts["total"].__cause__, ValueError)


class Unbuildable:
    """Can be pickled, and not rebuilt in a worker."""

    def __init__(self, process: int) -> None:
        self.process = process

    def __reduce__(self) -> tuple[Any, ...]:
        return _only_in, (self.process,)


def _only_in(process: int) -> Unbuildable:
    if os.getpid() != process:
        raise OSError("no licence for this process")
    return Unbuildable(process)


def test_a_rule_that_cannot_be_rebuilt_in_a_worker_is_told_where_the_key_is_read() -> None:
    licence = Unbuildable(os.getpid())
    define(
        ("a", [], setting("total", 1)),
        ("b", [], setting("total", 2)),
        ("blind", ["a", "b"], setting("other", 1)),
        ("reads", ["a", "b"], lambda context: context["total"]),
        merge={"total": lambda _base, values: (licence.process, values)},
    )
    with DefaultRunner(workers=1) as runner:
        result = runner.execute("merging")
    assert result.tasks["blind"].status == "Completed"
    assert "OSError: no licence for this process" in str(result.tasks["reads"].error)
    assert result.final_context["total"] == (os.getpid(), [1, 2])


def test_a_rule_that_cannot_be_sent_is_told_before_anything_runs(tmp_path: Path) -> None:
    lock = Lock()
    define(
        ("a", [], lambda context: (tmp_path / "ran").touch()),
        merge={"total": lambda _base, values: (lock, values)},
    )
    with DefaultRunner(workers=1) as runner, pytest.raises(CaptureError, match=r"merge rule of key 'total'") as caught:
        runner.execute("merging")
    assert (caught.value.task, caught.value.key, caught.value.variable) == (None, "total", "lock")
    assert not (tmp_path / "ran").exists()


def test_a_key_is_merged_once_in_each_process(runner: DefaultRunner, tmp_path: Path) -> None:
    notes = tmp_path / "notes"

    def noting(base: int, values: list[int]) -> int:
        with notes.open("a") as file:
            file.write(f"{os.getpid()}\n")
        return sum(values)

    def reader(n: int) -> Task:
        return f"r{n}", ["join"], lambda context: context.set(f"seen{n}", context["total"])

    define(
        ("a", [], adding(1)),
        ("b", [], adding(2)),
        ("join", ["a", "b"], nothing),
        *map(reader, range(20)),
        merge={"total": noting},
    )
    for _ in range(2):
        result = runner.execute("merging", Context({"total": 0}))
        assert [result.final_context[f"seen{n}"] for n in range(20)] == [3] * 20
        assert result.final_context["total"] == 3
        assert result.merges == {"total": "noting"}
        processes = notes.read_text().split()
        assert len(processes) == len(set(processes))
        assert str(os.getpid()) in processes
        notes.unlink()


# ---- what counts as a write ----------------------------------------------------------------------------------------


def blind(context: Context) -> None:
    context.set("total", 3)


def blind_by_a_computed_name(context: Context) -> None:
    context.set("TOTAL".lower(), 3)


def reading(context: Context) -> None:
    context.set("total", context["total"])


def reading_by_a_computed_name(context: Context) -> None:
    context.update("TOTAL".lower(), context.get("TOTAL".lower()))


@pytest.mark.parametrize("rewrite", [blind, blind_by_a_computed_name, reading, reading_by_a_computed_name])
def test_writing_what_merging_came_to_leaves_no_trace(execute: Execute, rewrite: Callable[[Context], Any]) -> None:
    """The rule counts candidates: two where branches meet first, three in the end, and two if the join had written."""
    result = execute(
        ("a", [], setting("total", 1)),
        ("b", [], setting("total", 2)),
        ("join", ["a", "b"], rewrite),
        ("c", [], setting("total", 5)),
        ("end", ["join", "c"], nothing),
        merge={"total": lambda _base, values: 3 if len(values) == 2 else sorted(values)},
    )
    assert result.status == "Completed"
    assert result.final_context["total"] == [1, 2, 5]


def test_writing_what_one_branch_wrote_settles_a_conflict(execute: Execute) -> None:
    result = execute(
        ("a", [], setting("total", 1)),
        ("b", [], setting("total", 2)),
        ("join", ["a", "b"], setting("total", 1)),
    )
    assert result.final_context["total"] == 1
    assert result.conflicts == {}


def test_removing_what_merging_came_to_is_a_write_and_removing_nothing_is_none(execute: Execute) -> None:
    tasks: list[Task] = [(name, [], removing) for name in "ab"]
    result = execute(*tasks, ("join", ["a", "b"], setting("found", 0)), given={"total": 1})
    assert "total" not in result.final_context
    result = execute(
        ("a", [], setting("total", [1])),
        ("b", [], setting("total", [2])),
        ("join", ["a", "b"], removing),
    )
    assert "total" not in result.final_context


# ---- conflicts -----------------------------------------------------------------------------------------------------


def test_a_conflict_tells_where_each_writer_stands(execute: Execute) -> None:
    result = execute(("north", [], setting("total", 1)), ("south", [], setting("total", 2)))
    error = result.conflicts["total"]
    line = setting.__code__.co_firstlineno + 1
    assert error.places == (f"{error.places[0].rpartition(':')[0]}:{line}",) * 2
    assert error.places[0].startswith(("tests/test_merging.py:", __file__))


@pytest.mark.parametrize(("on_conflict", "value"), [("first", 2), ("last", 1)])
def test_a_workflow_may_settle_by_order(execute: Execute, on_conflict: str, value: int) -> None:
    result = execute(
        ("a", [], setting("total", 1)),
        ("b", [], setting("total", 2)),
        ("join", ["b", "a"], lambda context: context.set("seen", context["total"])),
        on_conflict=on_conflict,
    )
    assert result.final_context["seen"] == value
    assert result.final_context["total"] == value
    assert result.merges == {}
    assert result.conflicts == {}


def test_a_workflow_may_fail_where_branches_meet_in_conflict(execute: Execute, tmp_path: Path) -> None:
    result = execute(
        ("a", [], setting("total", 1)),
        ("b", [], setting("total", 2)),
        ("c", [], setting("other", 2)),
        ("join", ["a", "b"], lambda context: (tmp_path / "ran").touch()),
        ("after", ["join"], nothing),
        ("fine", ["a", "c"], setting("fine", 1)),
        on_conflict="fail",
    )
    assert {name: task.status for name, task in result.tasks.items()} == {
        "a": "Completed",
        "b": "Completed",
        "c": "Completed",
        "join": "Failed",
        "fine": "Completed",
        "after": "Skipped",
    }
    assert isinstance(result.tasks["join"].error, MergeConflict)
    assert not (tmp_path / "ran").exists()
    assert list(result.conflicts) == ["total"]


# ---- from one run to the next --------------------------------------------------------------------------------------


def test_a_final_context_brings_values_into_the_next_run_and_conflicts_stay(execute: Execute) -> None:
    first = execute(
        ("a", [], lambda context: context.update_from_dict({"total": 1, "mode": "x"})),
        ("b", [], lambda context: context.update_from_dict({"total": 2, "mode": "y"})),
        merge={"total": cloaca.merge.sum},
    )
    again = execute(
        ("a", [], adding(10)),
        ("b", [], lambda context: context.set("seen", sorted(context.conflicts()))),
        given=first.final_context,
        merge={"total": cloaca.merge.sum},
    )
    assert again.final_context["total"] == 13
    assert again.final_context["seen"] == ["mode"]
    assert again.conflicts["mode"].writers == ("a", "b")
    settled = execute(("a", [], setting("mode", "z")), given=again.final_context)
    assert settled.final_context["mode"] == "z"


def test_a_result_can_be_pickled_whatever_its_rules_are(execute: Execute) -> None:
    lock = Lock()
    tasks: list[Task] = [("a", [], setting("mode", "x")), ("b", [], setting("mode", "y"))]
    result = execute(*tasks, ("c", [], setting("n", 1)), ("d", [], setting("n", 2)), merge={"n": cloaca.merge.sum})
    vars(contents_of(result.final_context).rules)["lock"] = lock
    twin = pickle.loads(pickle.dumps(result))
    assert (twin.merges, list(twin.conflicts)) == ({"n": "sum"}, ["mode"])
    assert twin.final_context["n"] == 3


# ---- what makes no sense -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("merge", "message"),
    [
        ({"total": "sum"}, "write cloaca.merge.sum, without quotes"),
        ({"total": sum}, "Python's own sum: write cloaca.merge.sum"),
        ({"total": max}, "Python's own max: write cloaca.merge.max"),
        ({"total": lambda values: values}, "doesn't take two arguments"),
        ({"total": 5}, "a function of the base and the values, not 5"),
        ({5: cloaca.merge.sum}, "5 is no string"),
        (cloaca.merge.sum, "maps keys to rules"),
    ],
)
def test_rules_that_make_no_sense(merge: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        cloaca.WorkflowBuilder("w", merge=merge)


@pytest.mark.parametrize("on_conflict", ["never", "First", 1, ["first"]])
def test_on_conflict_that_makes_no_sense(on_conflict: Any) -> None:
    with pytest.raises(ValueError, match=r'on_conflict= is "first", "last", "fail" or None'):
        cloaca.WorkflowBuilder("w", on_conflict=on_conflict)


def test_the_version_of_a_workflow_tells_of_its_rules() -> None:
    def version(**options: Any) -> str:
        with cloaca.WorkflowBuilder("w", **options) as builder:
            cloaca.task(id="a")(nothing)
        return builder.build().version

    versions = [
        version(),
        version(merge={"a": cloaca.merge.sum}),
        version(merge={"a": cloaca.merge.max}),
        version(merge={"b": cloaca.merge.sum}),
        version(merge={"a": lambda _base, values: values[0]}),
        version(merge={"a": lambda _base, values: values[1]}),
        version(on_conflict="first"),
    ]
    assert len(set(versions)) == len(versions)
    assert version() == version(merge={})
    both = {"a": cloaca.merge.sum, "b": cloaca.merge.max}
    assert version(merge=both) == version(merge=dict(reversed(both.items())))


def test_the_input_is_no_task() -> None:
    with pytest.raises(ValueError, match="'the input' stands for what a run is given"), cloaca.WorkflowBuilder("w"):
        cloaca.task(id="the input")(nothing)


# ---- lists that nobody saw -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [(0.5, 0.6, 0.7), (0.5, 0.5, 0.8), (0.5, 0.5, 0.5)])
def test_no_addition_is_lost_because_another_one_is_equal(execute: Execute, values: tuple[float, ...]) -> None:
    def adding(value: float) -> Callable[[Context], None]:
        return lambda context: context.set("scores", [*context.get("scores", []), value])

    folds: list[Task] = [(f"fold {n}", [], adding(value)) for n, value in enumerate(values)]
    join: Task = ("join", [name for name, _, _ in folds], lambda context: context.set("seen", context["scores"]))
    result = execute(*folds, join)
    assert result.final_context["seen"] == result.final_context["scores"] == list(values)
    assert result.merges == {"scores": "list"}


def test_lists_that_mapped_tasks_collect_under_one_key_are_all_there(runner: DefaultRunner) -> None:
    with cloaca.WorkflowBuilder("mapped", check="off"):
        for name in ("one", "two"):
            cloaca.task(id=name, for_each="items")(lambda context, item: context.set("found", 0))
    assert runner.execute("mapped", Context({"items": [1, 2, 3]})).final_context["found"] == [0] * 6


def test_a_list_in_a_dict_that_nobody_saw_is_a_value_and_the_message_says_what_would_settle_it(
    execute: Execute,
) -> None:
    def putting(row: int) -> Callable[[Context], None]:
        return changing("total", lambda total: {**(total or {}), "north": {"rows": [row]}})

    result = execute(("a", [], putting(1)), ("b", [], putting(2)))
    assert "don't combine, at ['north']['rows']:" in str(result.conflicts["total"])
    assert "put a list (an empty one will do) there in a task before all of them" in str(result.conflicts["total"])
    assert execute(("a", [], putting(1)), ("b", [], putting(1))).final_context["total"] == {"north": {"rows": [1]}}


# ---- the order of an OrderedDict -----------------------------------------------------------------------------------


def moving(member: str) -> Callable[[Context], None]:
    def move(context: Context) -> None:
        total = context["total"]
        total.move_to_end(member)
        context["total"] = total

    return move


@pytest.mark.parametrize(
    ("other", "members"),
    [
        (changing("total", lambda total: OrderedDict(total, d=4)), "bcad"),
        (changing("total", lambda total: OrderedDict(total, a=9)), "bca"),
        (changing("total", lambda _: OrderedDict(a=1, c=3)), "ca"),
        (moving("a"), "bca"),
        (moving("b"), None),
    ],
)
def test_members_that_one_branch_put_in_another_order_are_in_that_order(
    execute: Execute, other: Callable[[Context], None], members: str | None
) -> None:
    result = execute(("a", [], moving("a")), ("b", [], other), given={"total": OrderedDict(a=1, b=2, c=3)})
    if members is None:
        assert list(result.conflicts) == ["total"]
    else:
        assert "".join(result.final_context["total"]) == members


# ---- the end of a run is a task after all sinks --------------------------------------------------------------------


def beginning(value: Any) -> Callable[[Context], None]:
    return nothing if value is None else setting("total", value)


@pytest.mark.parametrize(
    ("options", "start", "change"),
    [
        pytest.param({}, ["base"], lambda value, name: [*value, name], id="list"),
        pytest.param({}, None, lambda _, name: [name], id="list from nothing"),
        pytest.param({"merge": {"total": cloaca.merge.first}}, None, lambda _, name: name, id="first"),
        pytest.param({"merge": {"total": cloaca.merge.last}}, None, lambda _, name: name, id="last"),
        pytest.param({"merge": {"total": cloaca.merge.concat}}, None, lambda _, name: name, id="concat"),
        pytest.param({"merge": {"total": cloaca.merge.by_task}}, None, lambda _, name: name, id="by_task"),
        pytest.param(
            {"merge": {"total": cloaca.merge.sum}},
            1e16,
            lambda value, name: value + {"a": 1.0, "b": -1e16}[name],
            id="floats",
        ),
        pytest.param(
            {"merge": {"total": lambda _base, values: list(values)}}, None, lambda _, name: name, id="a rule of users"
        ),
        pytest.param({"on_conflict": "first"}, None, lambda _, name: name, id="on_conflict first"),
        pytest.param({"on_conflict": "last"}, None, lambda _, name: name, id="on_conflict last"),
        pytest.param({}, {}, lambda value, name: {**value, name: 1}, id="members"),
        pytest.param({}, None, lambda _, name: name, id="conflict"),
    ],
)
def test_the_only_sink_a_task_after_a_copy_and_the_final_context_agree(
    runner: DefaultRunner, options: dict[str, Any], start: Any, change: Callable[[Any, str], Any]
) -> None:
    def look(context: Context, key: str) -> str:
        try:
            return repr(list(context[key].items()) if isinstance(context[key], dict) else context[key])
        except MergeConflict as conflict:
            return repr([writer.removeprefix("x.") for writer in conflict.writers])

    with cloaca.WorkflowBuilder("alone", check="off", **options) as part:
        cloaca.task(id="begin")(beginning(start))
        for name in "ab":
            cloaca.task(id=name, dependencies=["begin"])(
                lambda context, name=name: context.set("total", change(context.get("total"), name))
            )
        cloaca.task(id="sink", dependencies=["b", "a"])(lambda context: context.set("seen", look(context, "total")))
    with cloaca.WorkflowBuilder("whole", check="off", on_conflict=options.get("on_conflict")) as whole:
        copied = whole.add_workflow(part, prefix="x")
        after = cloaca.task(id="after", dependencies=[*copied.leaves])
        after(lambda context: context.set("seen", look(context, "x.total")))
    final = runner.execute("alone").final_context
    around = runner.execute("whole").final_context
    assert {look(final, "total"), look(around, "x.total"), around["seen"], around["x.seen"]} == {final["seen"]}


def test_a_completed_task_before_a_failed_one_is_a_sink(execute: Execute) -> None:
    """`gone` would have listed `b` first; nothing of it counts, its listing neither."""

    def failing(context: Context) -> None:
        raise RuntimeError("no")

    result = execute(
        ("a", [], setting("total", ["a"])), ("b", [], setting("total", ["b"])), ("gone", ["b", "a"], failing)
    )
    assert result.final_context["total"] == ["a", "b"]


# ---- whether a write is one ----------------------------------------------------------------------------------------


@dataclass
class Column:
    name: str
    unit: str


@dataclass
class Model:
    score: float
    tags: set[str]


class Plain:
    """It has no `__eq__`."""

    def __init__(self, score: float, tags: set[str]) -> None:
        self.score = score
        self.tags = tags

    @property
    def better(self) -> "Plain":
        return Plain(self.score + 1, self.tags)


NAMES = {"red", "green", "blue", "black", "white"}

UNCHANGED: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "every other element": (lambda: np.arange(10)[::2], lambda value: value + 1),
    "a column": (lambda: np.arange(12.0).reshape(4, 3)[:, 1], lambda value: value + 1),
    "a large column": (lambda: np.zeros((13_000, 3))[:, 1], lambda value: value + 1),
    "a transposed matrix": (lambda: np.zeros((200, 100)).T, lambda value: value + 1),
    "a field of records": (lambda: np.zeros(3, dtype=[("a", int), ("b", float)])["a"], lambda value: value + 1),
    "every other row": (lambda: pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0]})[::2], lambda value: value + 1),
    "text that is a name": (lambda: Column("name", "m"), lambda _: Column("other", "m")),
    "a set in an object": (lambda: Model(1.0, set(NAMES)), lambda value: Model(2.0, value.tags)),
    "a set in an object without equality": (lambda: Plain(1.0, set(NAMES)), lambda value: value.better),
    "a set beside an object": (lambda: [Plain(1.0, set()), set(NAMES)], lambda value: [value[0].better, value[1]]),
    "a large list of tuples": (lambda: [(n, str(n)) for n in range(5000)], lambda value: value[1:]),
    "a shared list": (lambda: [[1], [1]], lambda value: value[1:]),
    "zero": (lambda: 0.0, lambda _: 1.0),
    "not a number": (lambda: [math.nan], lambda _: [1.0]),
    "a dict": (lambda: {"b": 1, "a": {"d": 2, "c": 3}}, lambda value: {"b": 1, "a": 4}),
}
EQUAL: dict[str, Callable[[Any], Any]] = {  # where what is set isn't what was fetched
    "zero": lambda value: -value,
    "not a number": lambda value: [-value[0]],
    "a dict": lambda value: {"a": dict(reversed(value["a"].items())), "b": value["b"]},
    "a shared list": lambda value: [value[0]] * 2,
}


@pytest.mark.parametrize("on_conflict", [None, "last"])
@pytest.mark.parametrize("case", UNCHANGED)
def test_to_set_what_is_there_is_no_write_however_it_is_encoded(execute: Execute, case: str, on_conflict: Any) -> None:
    make, change = UNCHANGED[case]
    keep = EQUAL.get(case, lambda value: value)
    result = execute(
        ("start", [], setting("total", make())),
        ("edit", ["start"], changing("total", change)),
        ("keep", ["start"], changing("total", keep)),
        on_conflict=on_conflict,
    )
    assert list(result.conflicts) == []
    assert equal(result.final_context["total"], change(make()))


@pytest.mark.parametrize("value", [0.0, [0.0], {"a": 1, "b": 2}, (1, 2), "text", 7], ids=repr)
@pytest.mark.parametrize("others", [0, 100])
def test_who_sets_a_computed_key_without_a_look_is_not_asked_to_know(execute: Execute, value: Any, others: int) -> None:
    """Few keys or many: what is set there equals what is there."""
    equal_to_it = dict(reversed(value.items())) if isinstance(value, dict) else value
    result = execute(
        *((f"other {n}", [], setting(f"other {n}", n)) for n in range(others)),
        ("start", [f"other {n}" for n in range(others)], setting("total", value)),
        ("edit", ["start"], setting("total", "edited")),
        ("keep", ["start"], lambda context: context.set("total ".strip(), equal_to_it)),
    )
    assert list(result.conflicts) == []
    assert result.final_context["total"] == "edited"


@pytest.mark.parametrize("make", [lambda item: item, lambda item: (item, item), np.arange, lambda item: "x" * 40_000])
def test_what_a_mapped_task_collected_and_another_hands_on_is_no_write(
    runner: DefaultRunner, make: Callable[[int], Any]
) -> None:
    with cloaca.WorkflowBuilder("mapped", check="off"):
        cloaca.task(id="each", for_each="items")(lambda context, item: context.set("out", make(item)))
        cloaca.task(id="edit", dependencies=["each"])(lambda context: context.set("out", ["edited"]))
        cloaca.task(id="keep", dependencies=["each"])(lambda context: context.set("out", context["out"]))
    result = runner.execute("mapped", Context({"items": [1, 2, 3]}))
    assert list(result.conflicts) == []
    assert result.final_context["out"] == ["edited"]


def test_the_hash_seed_decides_nothing() -> None:
    script = f"""
import cloaca, sys
class Plain:
    def __init__(self, score, tags):
        self.score, self.tags = score, tags
with cloaca.WorkflowBuilder("w", check="off"):
    @cloaca.task()
    def improve(context): context.set("model", Plain(2.0, {{"better"}}))
    @cloaca.task()
    def publish(context): context.set("model", context["model"])
    @cloaca.task(for_each="items")
    def draw(context, item): context.set("seed", context.seed)
for options in ({{"executor": "serial"}}, {{"workers": 1}}):
    with cloaca.DefaultRunner(**options) as runner:
        items = {{frozenset({NAMES!r}): 1, (1, frozenset({NAMES!r})): 2}}
        result = runner.execute("w", {{"model": Plain(1.0, {NAMES!r}), "items": items}}, seed=1)
        print(list(result.conflicts), list(result.tasks), list(result.final_context["seed"].values()))
"""
    told = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE,
        ).stdout
        for seed in range(3)
    }
    (lines,) = told
    assert len(set(lines.splitlines())) == 1


# ---- depth ---------------------------------------------------------------------------------------------------------


def within(frames: int, function: Callable[[], Any]) -> Any:
    return function() if frames == 0 else within(frames - 1, function)


@pytest.mark.parametrize("depth", [20, 200, 480])
def test_a_deep_dict_is_merged_wherever_its_reader_stands(execute: Execute, depth: int) -> None:
    def nested(leaf: dict[str, int]) -> dict[str, Any]:
        return functools.reduce(lambda inner, _: {"in": inner}, range(depth), leaf)

    def changing_a_leaf(name: str) -> Callable[[Context], None]:
        def change(context: Context) -> None:
            whole = context["total"]
            leaf(whole)[name] = 1
            context["total"] = whole

        return change

    def leaf(value: Any) -> Any:
        return functools.reduce(lambda outer, _: outer["in"], range(depth), value)

    result = execute(
        ("left", [], changing_a_leaf("left")),
        ("right", [], changing_a_leaf("right")),
        ("join", ["left", "right"], lambda context: context.set("seen", within(800, lambda: leaf(context["total"])))),
        given={"total": nested({"left": 0, "right": 0})},
    )
    assert result.final_context["seen"] == {"left": 1, "right": 1}
    assert within(800, lambda: leaf(result.final_context["total"])) == {"left": 1, "right": 1}
