"""Which workflow is executed: one that is given as itself, as its builder, or by a name of the process."""

import importlib
import os
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from types import ModuleType
from typing import Any

import pytest

import cloaca
from cloaca import DefaultRunner, WorkflowBuilder

STEP = """
import cloaca

def build(name):
    with cloaca.WorkflowBuilder(name) as builder:
        cloaca.task(id="one")(lambda context: context.set("by", {value}))
    return builder

build("daily")
"""


def telling(value: object) -> WorkflowBuilder:
    with WorkflowBuilder("telling") as builder:
        cloaca.task(id="tell")(lambda context: context.set("value", value))
    return builder


def value_of(runner: DefaultRunner, workflow: Any, *given: Any) -> Any:
    return runner.execute(workflow, *given).final_context["value"]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module that has defined a workflow when it was imported."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "daily_module.py").write_text(STEP.format(value="'first'"))
    monkeypatch.delitem(sys.modules, "daily_module", raising=False)
    return importlib.import_module("daily_module")


# ---- what execute takes --------------------------------------------------------------------------------------------


def test_a_workflow_its_builder_and_its_name(runner: DefaultRunner) -> None:
    first, second = telling(1), telling(2)
    assert [value_of(runner, given) for given in (first, first.build(), second, "telling")] == [1, 1, 2, 2]
    assert value_of(runner, first.build(), {"x": 1}) == 1
    assert runner.start(first).result().final_context["value"] == 1
    assert runner.execute(workflow_name=first, context={}).status == "Completed"


def test_a_dict_serves_as_the_context(runner: DefaultRunner) -> None:
    given = {"rows": [1, 2], "year": 2026}
    final = runner.execute(telling(0), given).final_context
    assert final.to_dict() == {**given, "value": 0}
    assert given == {"rows": [1, 2], "year": 2026}
    with pytest.raises(TypeError, match="A context key is a str, not int: 1"):
        runner.execute("telling", {1: 2})  # type: ignore[dict-item]


@pytest.mark.parametrize("given", [["rows"], "rows", 3])
def test_what_is_no_context_is_refused(runner: DefaultRunner, given: Any) -> None:
    expected = f"execute takes a dict or a cloaca.Context of first values, not an? {type(given).__name__}"
    with pytest.raises(TypeError, match=expected):
        runner.execute(telling(0), given)


@pytest.mark.parametrize("given", [None, 3, telling, ["telling"]])
def test_what_is_no_workflow_is_refused(runner: DefaultRunner, given: Any) -> None:
    with pytest.raises(TypeError, match=rf"execute takes a workflow, its builder or its name.*{type(given).__name__}"):
        runner.execute(given)


def test_a_builder_whose_block_has_not_ended_is_refused(runner: DefaultRunner) -> None:
    fresh = WorkflowBuilder("fresh")
    with pytest.raises(ValueError, match="block of workflow 'fresh' hasn't ended"):
        runner.execute(fresh)
    with WorkflowBuilder("open") as builder:
        cloaca.task(id="one")(lambda context: None)
        with pytest.raises(ValueError, match="block of workflow 'open' hasn't ended"):
            runner.execute(builder)
        assert runner.execute(builder.build()).status == "Completed"
    assert runner.execute(builder).status == "Completed"


def test_a_builder_whose_block_has_raised_is_refused(runner: DefaultRunner) -> None:
    builder = WorkflowBuilder("torn")
    with pytest.raises(ValueError, match="can't be a part of itself"), builder:
        builder.add_workflow(builder, prefix="in")
    with pytest.raises(ValueError, match="or has raised"):
        runner.execute(builder)


def test_each_request_gets_its_own_answer(runner: DefaultRunner) -> None:
    def answer(request: int) -> bool:
        return bool(value_of(runner, telling(request)) == request)

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(answer, range(60)))


# ---- names ---------------------------------------------------------------------------------------------------------


def test_a_name_that_is_defined_again_elsewhere_is_warned_of() -> None:
    def sales() -> None:
        with WorkflowBuilder("etl"):
            cloaca.task(id="one")(lambda context: None)

    def people() -> None:
        with WorkflowBuilder("etl"):
            cloaca.task(id="one")(lambda context: None)

    first, second = (function.__code__.co_firstlineno + 1 for function in (sales, people))
    sales()
    with pytest.warns(
        UserWarning, match=rf"'etl' is defined again, at .*:{second}, .* defined at .*:{first}\."
    ) as told:
        people()
    assert (told[0].filename, told[0].lineno) == (__file__, second)


def test_two_blocks_of_one_function_are_two_places() -> None:
    def both() -> None:
        with WorkflowBuilder("etl"):
            cloaca.task(id="one")(lambda context: None)
        with WorkflowBuilder("etl"):
            cloaca.task(id="one")(lambda context: None)

    with pytest.warns(UserWarning, match="'etl' is defined again"):
        both()


def test_a_block_that_is_entered_again_goes_on_with_its_workflow() -> None:
    builder = WorkflowBuilder("in two parts")
    with builder:
        cloaca.task(id="one")(lambda context: None)
    with builder:
        cloaca.task(id="two")(lambda context: None)
    assert builder.build().get_roots() == ["one", "two"]


def test_a_loop_and_a_function_that_is_called_again_are_one_place() -> None:
    for value in range(3):
        telling(value)


def test_a_builder_that_is_added_to_in_several_blocks_is_one_place() -> None:
    builder = telling(1)
    with builder:
        cloaca.task(id="more")(lambda context: None)
    assert builder.build().topological_sort() == ["tell", "more"]


def test_a_module_that_is_reloaded_is_one_place(module: ModuleType, own_runner: DefaultRunner) -> None:
    importlib.reload(module)
    source = Path(module.__file__ or "")
    source.write_text("# a line more\n\n" + STEP.format(value="'second'"))
    os.utime(source, (1, 1))  # whatever the clock's resolution, it isn't the file that was compiled
    importlib.reload(module)
    assert own_runner.execute("daily").final_context["by"] == "second"


@pytest.mark.parametrize("names", [("<stdin>", "<stdin>"), ("/nowhere/cell-1.py", "/nowhere/cell-2.py")])
def test_a_cell_that_is_edited_and_run_again_is_one_place(names: tuple[str, str]) -> None:
    for source, name in zip((STEP, "\n\n" + STEP), names, strict=True):
        exec(compile(source.format(value=name.count("/")), name, "exec"), {"__name__": "__main__"})


def test_a_constructor_registers_what_its_builder_has_registered() -> None:
    def constructor() -> cloaca.Workflow:
        return telling(0).build()

    cloaca.register_workflow_constructor("telling", constructor)
    cloaca.register_workflow_constructor("telling", constructor)


def test_threads_that_define_one_name_at_one_line_get_their_own(runner: DefaultRunner) -> None:
    meeting = Barrier(2, timeout=20)

    def ask(value: int) -> Any:
        telling(value)
        meeting.wait()
        return value_of(runner, "telling")

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with ThreadPoolExecutor(2) as threads:
            assert list(threads.map(ask, range(2))) == [0, 1]
    assert ["Several threads define workflow 'telling'" in str(one.message) for one in told] == [True]
