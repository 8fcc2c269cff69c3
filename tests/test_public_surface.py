"""The names that users import: all there, each once, documented, and cheap to load."""

import ast
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import FunctionType

import pytest

import cloaca

HOME: dict[str, str] = vars(cloaca)["_HOME"]
SOURCE = Path(__file__).parents[1] / "src"

OF_DEFINITIONS = 55
OF_A_WORKER = 79
"""How many modules of cloaca are loaded at most: each takes a third of a millisecond."""


def test_all_is_the_lazy_table() -> None:
    assert sorted(cloaca.__all__) == sorted(HOME)
    assert set(cloaca.__all__) <= set(dir(cloaca))


def test_type_checkers_are_told_the_same_names() -> None:
    """They can't read the table: for them the names stand under `if TYPE_CHECKING`."""
    tree = ast.parse((SOURCE / "cloaca" / "__init__.py").read_text(encoding="utf-8"))
    imports = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    told = [alias.name for node in imports if (node.module or "").startswith("cloaca") for alias in node.names]
    assert sorted(told) == sorted(HOME)


def test_no_object_has_two_names() -> None:
    objects = Counter(id(getattr(cloaca, name)) for name in cloaca.__all__)
    assert [name for name in cloaca.__all__ if objects[id(getattr(cloaca, name))] > 1] == []


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        getattr(cloaca, "no_such_name")  # noqa: B009 - so that type checkers let it pass


@pytest.mark.parametrize("name", HOME)
def test_a_public_name_is_defined_where_the_table_says(name: str) -> None:
    value = getattr(cloaca, name)
    if isinstance(value, type | FunctionType):
        assert value.__module__ == f"cloaca.{HOME[name]}"


@pytest.mark.parametrize("name", HOME)
def test_a_public_name_has_a_docstring_of_its_own(name: str) -> None:
    value = getattr(cloaca, name)
    doc = vars(value).get("__doc__") if isinstance(value, type) else value.__doc__
    assert doc
    assert not doc.startswith(f"{name}("), "the one that dataclass makes up"


def test_importing_cloaca_imports_nothing_costly() -> None:
    program = (
        "import sys; before = set(sys.modules); import cloaca, json; print(json.dumps([*sys.modules.keys() - before]))"
    )
    imported = json.loads(_run(program))
    assert "cloaca" in imported
    costly = {"asyncio", "cloudpickle", "logging", "msgspec", "multiprocessing", "numpy", "pandas", "psutil"}
    assert costly.isdisjoint(imported)
    assert [name for name in imported if name.startswith("cloaca.")] == []


def test_who_defines_workflows_loads_nothing_of_what_runs_them() -> None:
    program = """
import json
import sys
before = {*sys.modules}
from cloaca import DefaultRunner, WorkflowBuilder, task
print(json.dumps([*sys.modules.keys() - before]))
"""
    loaded = set(json.loads(_run(program)))
    costly = {"cloudpickle", "concurrent.futures", "dataclasses", "logging", "socket", "subprocess", "tempfile"}
    runs = {"cloaca.runs", "cloaca.engine.run", "cloaca.pickling.classes", "cloaca.pool.pool", "cloaca.tasks.context"}
    assert loaded.isdisjoint(costly | runs)
    assert len([name for name in loaded if name.startswith("cloaca.")]) <= OF_DEFINITIONS


@pytest.mark.parametrize("call", ["[*runner.map(loaded, [0])][0]", "runner.execute(workflow).final_context['loaded']"])
def test_a_worker_loads_nothing_that_a_plain_function_does_without(call: str) -> None:
    program = f"""
import json
import sys
import cloaca

def loaded(_):
    return [*sys.modules]

with cloaca.WorkflowBuilder("w") as workflow:
    @cloaca.task()
    def loading(context):
        context["loaded"] = [*sys.modules]

with cloaca.DefaultRunner(workers=1) as runner:
    print(json.dumps({call}))
"""
    found = set(json.loads(_run(program)))
    writing = {"cloudpickle", "cloaca.pickling.classes", "cloaca.pickling.functions", "cloaca.values.pickles"}
    merging = {"cloaca.merge.named", "cloaca.merge.settle", "cloaca.merge.conflict"}
    assert found.isdisjoint({"typing_extensions"} | writing | merging)
    if "random" in found:  # whatever has loaded that here, as what measures coverage does: it is seeded
        found.discard("cloaca.seed")
    assert len([name for name in found if name.startswith("cloaca.")]) <= OF_A_WORKER


@pytest.mark.parametrize("state", ["enable", "disable"])
def test_loading_a_name_leaves_the_collector_as_it_was(state: str) -> None:
    found = subprocess.run(
        [sys.executable, "-c", f"import gc, cloaca; gc.{state}(); cloaca.Context; print(gc.isenabled())"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == str(state == "enable")


def test_what_existing_scripts_bring_along_is_loaded_where_it_is_used() -> None:
    program = """
import sys
from cloaca import DefaultRunner, WorkflowBuilder, task

with WorkflowBuilder("w") as builder:
    task()(print)
builder.build()
DefaultRunner().shutdown()
print([name for name in sys.modules if name.startswith("cloaca.compat")])
builder.namespace
print("cloaca.compat.namespace" in sys.modules)
"""
    assert _run(program).splitlines() == ["[]", "True"]


def test_a_program_that_maps_loads_nothing_of_what_workers_run_nor_of_workflows() -> None:
    program = """
import sys
import cloaca

with cloaca.DefaultRunner(workers=1) as runner:
    print(list(runner.map(abs, [-1])))
print([name for name in sys.modules if name.startswith("cloaca.worker")])
print(sys.modules.keys() & {"cloaca.engine.run", "cloaca.executions", "cloaca.results.result"})
"""
    assert _run(program).splitlines() == ["[1]", "[]", "set()"]


def _run(program: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    run = subprocess.run(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return run.stdout
