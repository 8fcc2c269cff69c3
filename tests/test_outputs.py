"""Outputs: a workflow that says which keys are wanted at the end, and what that means for all others."""

import gc
import pickle
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cloaca
from cloaca import Context, DataflowWarning, DefaultRunner, UndeclaredReadError, WorkflowBuilder, WorkflowError
from cloaca.values import storage
from cloaca.values.blobs import LARGE
from cloaca.values.folder import LOCK

LENGTH = LARGE // 8 + 10
EXECUTORS = pytest.mark.parametrize("executor", ["processes", "serial"])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where large values are. In the end there is nothing in it."""
    monkeypatch.setattr(storage, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    gc.collect()
    assert [*tmp_path.iterdir()] == []


def values_in(folder: str) -> int:
    """How many values are in files there. For tests and tasks alike."""
    others = (LOCK, "modules.")
    return sum(not path.name.startswith(others) for path in Path(folder).glob("cloaca-*/*.*"))


def array() -> Any:
    return np.ones(LENGTH)


def setting(key: str) -> Callable[[Context], None]:
    def load(context: Context) -> None:
        context[key] = array()

    return load


def summing(key: str, total: str) -> Callable[[Context], None]:
    def reduce(context: Context) -> None:
        context[total] = float(context[key].sum())

    return reduce


def counting(folder: Path, key: str) -> Callable[[Context], None]:
    """A task that counts the values that there are while it runs. It looks at none of them."""
    place = str(folder)

    def count(context: Context) -> None:
        context[key] = values_in(place)

    return count


# ---- the result ----------------------------------------------------------------------------------------------------


def two_keys(**options: Any) -> WorkflowBuilder:
    with WorkflowBuilder("two", **options) as builder:

        @cloaca.task()
        def both(context: Context) -> None:
            context["total"] = 3
            context["rows"] = [1, 2]

    return builder


@EXECUTORS
def test_the_result_has_the_outputs_alone(executor: Any) -> None:
    with DefaultRunner(workers=1, executor=executor) as runner:
        result = runner.execute(two_keys(outputs=["total"]), {"year": 2026})
    context = result.final_context
    assert context.to_dict() == {"total": 3}
    assert ("rows" in context, "year" in context, len(context), [*context]) == (False, False, 1, ["total"])
    for copy in (result, pickle.loads(pickle.dumps(result))):
        with pytest.raises(KeyError, match=r"Key not found: rows. It is not among the outputs: \['total'\]. Name it"):
            copy.final_context["rows"]


@EXECUTORS
def test_an_input_may_be_an_output_and_there_may_be_none(executor: Any) -> None:
    with DefaultRunner(workers=1, executor=executor) as runner:
        assert runner.execute(two_keys(outputs=["year"]), {"year": 2026}).final_context.to_dict() == {"year": 2026}
        assert runner.execute(two_keys(outputs=[]), {"year": 2026}).final_context.to_dict() == {}


def test_an_output_that_a_failed_task_would_have_set_is_explained_as_ever() -> None:
    with WorkflowBuilder("fails", outputs=["total"]) as builder:

        @cloaca.task()
        def total(context: Context) -> None:
            context["total"] = 1 // len("")

    with DefaultRunner(workers=1) as runner:
        result = runner.execute(builder)
    with pytest.raises(KeyError, match=r"Task 'total', which sets it, failed: ZeroDivisionError"):
        result.final_context["total"]


def test_conflicts_and_merges_are_told_of_outputs_alone() -> None:
    def side(key: str, value: object) -> Callable[[Context], None]:
        def write(context: Context) -> None:
            context[key] = value

        return write

    def run(outputs: list[str]) -> Any:
        with WorkflowBuilder("sides", outputs=outputs, check="off") as builder:
            for name in ("left", "right"):
                cloaca.task(id=f"{name} split")(side("split", name))
                cloaca.task(id=f"{name} merged")(side("merged", {name: 1}))
        with DefaultRunner(workers=1) as runner:
            return runner.execute(builder)

    assert ({*run(["split"]).conflicts}, run(["split"]).merges) == ({"split"}, {})
    assert (run(["merged"]).conflicts, run(["merged"]).merges) == ({}, {"merged": "dict"})


def test_outputs_count_in_the_version() -> None:
    built = [two_keys().build(), *(two_keys(outputs=[*keys]).build() for keys in ("a", "ab", "ba", ""))]
    versions = [workflow.version for workflow in built]
    assert versions[2] == versions[3]
    assert len({*versions}) == len(versions) - 1
    assert built[2].outputs == ("a", "b")
    assert built[0].outputs is None


def test_the_outputs_of_a_workflow_that_is_added_do_not_count() -> None:
    inner = two_keys(outputs=["total"])
    with WorkflowBuilder("outer") as outer:
        outer.add_workflow(inner, prefix="north")
    with WorkflowBuilder("narrow", outputs=["north.rows"]) as narrow:
        narrow.add_workflow(inner, prefix="north")
    with DefaultRunner(workers=1) as runner:
        assert {*runner.execute(outer).final_context} == {"north.total", "north.rows"}
        assert {*runner.execute(narrow).final_context} == {"north.rows"}


@pytest.mark.parametrize("outputs", ["total", [1], {"total": 1}, ["\ud800"]])
def test_outputs_are_a_list_of_keys(outputs: Any) -> None:
    with pytest.raises(ValueError, match=r"WorkflowBuilder\(outputs=...\) takes"):
        WorkflowBuilder("w", outputs=outputs)


# ---- outputs that never come ---------------------------------------------------------------------------------------


def test_a_slip_in_the_outputs_is_found_when_the_block_ends() -> None:
    with pytest.warns(DataflowWarning, match="The output 'totl' is set by no task, .* did it mean 'total'"):
        two_keys(outputs=["totl"])
    with pytest.raises(WorkflowError, match="The output 'totl'"):
        two_keys(outputs=["totl"], check="error")


def test_an_output_that_neither_tasks_nor_the_input_set_is_found_when_an_execution_starts() -> None:
    builder = two_keys(outputs=["year"], check="error")
    with DefaultRunner(workers=1) as runner:
        runner.execute(builder, {"year": 2026})
        with pytest.raises(WorkflowError, match="The output 'year' is set by no task, and the input lacks it"):
            runner.execute(builder)


def test_nothing_is_said_where_a_task_may_set_any_key() -> None:
    with WorkflowBuilder("open", outputs=["anything"], check="error") as builder:

        @cloaca.task()
        def fill(context: Context) -> None:
            context["any" + "thing"] = 1

    with DefaultRunner(workers=1) as runner:
        assert runner.execute(builder).final_context["anything"] == 1


# ---- what goes, and when -------------------------------------------------------------------------------------------


def counted(builder: WorkflowBuilder, given: dict[str, Any] | None = None) -> dict[str, Any]:
    with DefaultRunner(workers=1) as runner:
        result = runner.execute(builder, given)
        result.raise_for_status()
        return result.final_context.to_dict()


@pytest.mark.parametrize(("outputs", "left"), [(None, 4), (["n", "sum0"], 0), (["n", "big1"], 1)])
def test_what_nobody_reads_any_more_goes(folder: Path, outputs: list[str] | None, left: int) -> None:
    with WorkflowBuilder("w", outputs=outputs) as builder:
        for n in range(4):
            cloaca.task(id=f"load{n}")(setting(f"big{n}"))
            cloaca.task(id=f"reduce{n}", dependencies=[f"load{n}"])(summing(f"big{n}", f"sum{n}"))
        cloaca.task(id="count", dependencies=[f"reduce{n}" for n in range(4)])(counting(folder, "n"))
    assert counted(builder)["n"] == left


def test_a_value_stays_for_a_reader_far_away(folder: Path) -> None:
    with WorkflowBuilder("w", outputs=["before", "after", "total"]) as builder:
        cloaca.task(id="load")(setting("big"))
        cloaca.task(id="near", dependencies=["load"])(summing("big", "sum"))
        cloaca.task(id="before", dependencies=["near"])(counting(folder, "before"))
        cloaca.task(id="far", dependencies=["before"])(summing("big", "total"))
        cloaca.task(id="after", dependencies=["far"])(counting(folder, "after"))
    assert counted(builder) == {"before": 1, "after": 0, "total": float(LENGTH)}


def test_what_the_input_gives_goes_too(folder: Path) -> None:
    with WorkflowBuilder("w", outputs=["before", "after"]) as builder:
        cloaca.task(id="before")(counting(folder, "before"))
        cloaca.task(id="reduce", dependencies=["before"])(summing("big", "sum"))
        cloaca.task(id="after", dependencies=["reduce"])(counting(folder, "after"))
    given = {"big": array()}
    assert counted(builder, given) == {"before": 1, "after": 0}


def may_read_anything(context: Context) -> None:
    context["seen"] = sum(1 for _ in context.values())


def test_a_task_that_may_read_anything_keeps_all_that_it_may_see(folder: Path) -> None:
    with WorkflowBuilder("w", outputs=["seen", "before", "after"]) as builder:
        cloaca.task(id="load")(setting("big"))
        cloaca.task(id="reduce", dependencies=["load"])(summing("big", "sum"))
        cloaca.task(id="before", dependencies=["reduce"])(counting(folder, "before"))
        cloaca.task(id="any", dependencies=["before"], writes=["seen"])(may_read_anything)
        cloaca.task(id="after", dependencies=["any"])(counting(folder, "after"))
    assert counted(builder) == {"before": 1, "seen": 3, "after": 0}


def test_a_task_beside_it_that_may_read_anything_keeps_nothing(folder: Path) -> None:
    with WorkflowBuilder("w", outputs=["n"]) as builder:
        cloaca.task(id="load")(setting("big"))
        cloaca.task(id="reduce", dependencies=["load"])(summing("big", "sum"))
        cloaca.task(id="count", dependencies=["reduce"])(counting(folder, "n"))
        cloaca.task(id="start")(setting("other"))
        cloaca.task(id="any", dependencies=["start"], writes=["seen"])(may_read_anything)
    assert counted(builder)["n"] <= 1


def test_a_callback_sees_what_its_task_saw(folder: Path) -> None:
    seen: list[float] = []

    def look(_task: str, context: Context) -> None:
        seen.append(float(context["big"].sum()))

    with WorkflowBuilder("w", outputs=["n"]) as builder:
        cloaca.task(id="load")(setting("big"))
        cloaca.task(id="reduce", dependencies=["load"], on_success=look)(summing("big", "sum"))
        cloaca.task(id="plain", dependencies=["reduce"], on_success=look)(counting(folder, "n"))
    counted(builder)
    assert seen == [float(LENGTH)] * 2


def test_a_condition_reads_its_key(folder: Path) -> None:
    condition = cloaca.context_value("big", "exists")
    with WorkflowBuilder("w", outputs=["before", "n"]) as builder:
        cloaca.task(id="load")(setting("big"))
        cloaca.task(id="before", dependencies=["load"])(counting(folder, "before"))
        cloaca.task(id="asks", dependencies=["before"], trigger_rules=condition)(counting(folder, "n"))
    assert counted(builder) == {"before": 1, "n": 1}


def collects(context: Context, n: int) -> None:
    context["parts"] = np.full(LENGTH, n)


def adds(context: Context) -> None:
    context["total"] = float(sum(part.sum() for part in context["parts"]))


def test_what_a_mapped_task_collects_goes_after_its_last_reader(folder: Path) -> None:
    with WorkflowBuilder("w", outputs=["total", "before", "after"]) as builder:
        cloaca.task(id="each", for_each="numbers")(collects)
        cloaca.task(id="before", dependencies=["each"])(counting(folder, "before"))
        cloaca.task(id="add", dependencies=["before"])(adds)
        cloaca.task(id="after", dependencies=["add"])(counting(folder, "after"))
    assert counted(builder, {"numbers": [1, 2, 3]}) == {"total": 6.0 * LENGTH, "before": 3, "after": 0}


@pytest.mark.parametrize("outputs", [["before", "after", "in.sum"], ["before", "after", "in.big"]])
def test_what_is_passed_in_to_a_copy_stays_for_its_readers(folder: Path, outputs: list[str]) -> None:
    with WorkflowBuilder("inner") as inner:
        cloaca.task(id="reduce")(summing("big", "sum"))
        cloaca.task(id="change", dependencies=["reduce"])(change)
    with WorkflowBuilder("outer", outputs=outputs) as outer:
        cloaca.task(id="load")(setting("source"))
        cloaca.task(id="before", dependencies=["load"])(counting(folder, "before"))
        outer.add_workflow(inner, prefix="in", inputs={"big": "source"}, dependencies=["before"])
        cloaca.task(id="after", dependencies=["in.change"])(counting(folder, "after"))
    found = counted(outer)
    assert found["before"] == 1
    assert found["after"] == (0 if "in.sum" in outputs else 2)


def change(context: Context) -> None:
    context["big"] = context["big"] + 1


# ---- tasks that declare what they read -----------------------------------------------------------------------------


def of_number(n: int) -> Callable[[Context], None]:
    def reduce(context: Context) -> None:
        context["sum"] = float(context[f"big{n}"].sum())

    return reduce


def test_what_a_task_declares_says_how_long_values_are_kept(folder: Path) -> None:
    with WorkflowBuilder("w", outputs=["n"]) as builder:
        cloaca.task(id="load")(setting("big1"))
        cloaca.task(id="reduce", dependencies=["load"], reads=["big1"])(of_number(1))
        cloaca.task(id="count", dependencies=["reduce"])(counting(folder, "n"))
    assert counted(builder) == {"n": 0}


READS_ANOTHER: list[Callable[[Context], object]] = [
    lambda context: context["big" + "2"],
    lambda context: context.get("big" + "2", 0),
    lambda context: ("big" + "2") in context,
    lambda context: context.copy()["big" + "2"],
    lambda context: context.remove("big" + "2"),
]


@EXECUTORS
@pytest.mark.parametrize("reads", READS_ANOTHER)
def test_such_a_task_looks_at_no_other_key(executor: Any, reads: Callable[[Context], object]) -> None:
    def look(context: Context) -> None:
        reads(context)

    with WorkflowBuilder("w", outputs=["x"], check="off") as builder:
        cloaca.task(id="load")(two_arrays)
        cloaca.task(id="look", dependencies=["load"], reads=["big1"], writes=["x"])(look)
    with DefaultRunner(workers=1, executor=executor) as runner:
        error = runner.execute(builder).tasks["look"].error
    assert isinstance(error, UndeclaredReadError)
    assert (error.task, error.key, error.close) == ("look", "big2", ("big1",))


def two_arrays(context: Context) -> None:
    context["big1"] = context["big2"] = array()


@EXECUTORS
def test_such_a_task_sees_what_it_declares_and_nothing_else(executor: Any) -> None:
    def look(context: Context) -> None:
        absent = context.get("big" + "3"), context.get("big" + "3", 7), ("big" + "3") in context
        context["x"] = [*context], len(context), float(context["big" + "1"].sum()), absent

    with WorkflowBuilder("w", outputs=["x"], check="off") as builder:
        cloaca.task(id="load")(two_arrays)
        cloaca.task(id="look", dependencies=["load"], reads=["big1"], writes=["x"])(look)
    with DefaultRunner(workers=1, executor=executor) as runner:
        found = runner.execute(builder).final_context["x"]
    assert found == (["big1"], 1, float(LENGTH), (None, 7, False))


def test_without_outputs_nothing_is_refused() -> None:
    with WorkflowBuilder("w", check="off") as builder:
        cloaca.task(id="load")(two_arrays)
        cloaca.task(id="look", dependencies=["load"], reads=["big1"])(of_number(2))
    with DefaultRunner(workers=1) as runner:
        assert runner.execute(builder).final_context["sum"] == float(LENGTH)
