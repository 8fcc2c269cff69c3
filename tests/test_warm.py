"""A runner that was made ready: its workers have loaded what tasks call, and none of these has run."""

import json
import os
import re
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.support import pipe, run

import cloaca
from cloaca import Context, DefaultRunner, InitializerError
from cloaca.testing import warm

ROOT = Path(__file__).parents[1]
MakeModule = Callable[[str, str], ModuleType]

NOTING = """
import os
with open({path!r}, "a") as notes:
    notes.write(f"{{os.getpid()}}\\n")

def called(context):
    context.set("pid", os.getpid())
"""


def noted(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()]


@pytest.fixture
def imports(tmp_path: Path, make_module: MakeModule) -> tuple[ModuleType, Path]:
    """A module that notes each process that imports it."""
    path = tmp_path / "imports"
    module = make_module("cloaca_noting", NOTING.format(path=str(path)))
    path.write_text("")
    return module, path


def workflow_of(*functions: Any, **options: Any) -> cloaca.WorkflowBuilder:
    with cloaca.WorkflowBuilder("warm", check="off") as builder:
        for number, function in enumerate(functions):
            cloaca.task(id=f"task {number}", **options)(function)
    return builder


def test_all_workers_have_loaded_what_tasks_call(imports: tuple[ModuleType, Path]) -> None:
    module, path = imports
    with DefaultRunner(workers=3) as runner:
        warm(runner, workflow := workflow_of(module.called))
        pids = noted(path)
        assert len({*pids}) == len(pids) == 3
        result = runner.execute(workflow)
        assert result.final_context["pid"] in pids
        assert noted(path) == pids
        warm(runner, workflow)
        assert noted(path) == pids


class Noting:
    """Notes each process in which it is rebuilt. It is not to be called."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        path.write_text("")

    def __reduce__(self) -> Any:
        return rebuilt, (self.path,)

    def __call__(self, *_: Any) -> None:
        pytest.fail("it was called")


def rebuilt(path: str) -> Any:
    with open(path, "a", encoding="utf-8") as notes:
        notes.write(f"{os.getpid()}\n")
    return print


def test_tasks_that_are_called_otherwise_are_loaded_too(tmp_path: Path) -> None:
    held = Noting(tmp_path / "loaded")
    with cloaca.WorkflowBuilder("all kinds", check="off") as builder:
        cloaca.task(id="mapped", for_each="rows")(lambda context, item: held(item))
        cloaca.task(id="keys")(lambda context, *, year, held=held: held(year))
        cloaca.task(id="conditional", trigger_rules=cloaca.context_value("go", "exists"))(lambda context: held())
        cloaca.task(id="asked", fingerprint=lambda context: held())(lambda context: None)
    with DefaultRunner(workers=2) as runner:
        warm(runner, builder)
    assert sorted(Counter(noted(tmp_path / "loaded")).values()) == [4, 4]


def test_it_runs_no_task_and_leaves_no_trace(own_runner: DefaultRunner, tmp_path: Path) -> None:
    def run(context: Context) -> None:
        (tmp_path / "has run").touch()

    workflow = workflow_of(run, on_success=lambda *_: pytest.fail("it was called"))
    warm(own_runner, workflow)
    assert not (tmp_path / "has run").exists()


@pytest.mark.parametrize("executor", ["processes", "threads", "serial"])
def test_the_initializer_has_run(executor: Any, tmp_path: Path) -> None:
    notes = tmp_path / "initialized"
    notes.write_text("")

    def initialize() -> None:
        with notes.open("a") as file:
            file.write(f"{os.getpid()}\n")

    with DefaultRunner(workers=2, executor=executor, initializer=initialize) as runner:
        warm(runner, workflow_of(lambda context: None))
        assert len({*noted(notes)}) == len(noted(notes)) == (2 if executor == "processes" else 1)
        assert runner.execute("warm").status == "Completed"


def test_processes_of_others_are_made_ready_too(tmp_path: Path) -> None:
    held = Noting(tmp_path / "loaded")
    workflow = workflow_of(lambda context: print(held))
    with ProcessPoolExecutor(2, get_context("fork")) as pool, DefaultRunner(executor=pool) as runner:
        warm(runner, workflow)
        assert len({*noted(tmp_path / "loaded")}) == 2
        assert runner.execute(workflow).status == "Completed"
        assert len(noted(tmp_path / "loaded")) == 2


def test_workers_that_dont_come_are_told(tmp_path: Path) -> None:
    gate = pipe(tmp_path / "gate")
    with DefaultRunner(workers=2) as runner:
        under_way = runner.start(workflow_of(lambda context: gate.read_text() or None))
        with cloaca.WorkflowBuilder("other") as other:
            cloaca.task(id="only")(lambda context: None)
        with pytest.raises(TimeoutError, match="Not all workers were there in time"):
            warm(runner, other, timeout=0.2)
        gate.write_text("")
        assert under_way.result().status == "Completed"
        warm(runner, other)


class Broken:
    def __reduce__(self) -> Any:
        return int, ("no number",)


def test_what_cant_be_loaded_is_raised() -> None:
    held = Broken()
    with DefaultRunner(workers=2) as runner, pytest.raises(ValueError, match="no number"):
        warm(runner, workflow_of(lambda context: print(held)))


def test_bad_input_is_told(own_runner: DefaultRunner) -> None:
    with pytest.raises(ValueError, match="timeout, in seconds, is a finite number above 0, not 0"):
        warm(own_runner, workflow_of(lambda context: None), timeout=0)
    with pytest.raises(cloaca.UnknownWorkflowError):
        warm(own_runner, "nowhere")
    with DefaultRunner(initializer=lambda: 1 / 0) as broken, pytest.raises(InitializerError):
        warm(broken, "warm")


@pytest.mark.skipif(find_spec("pytest_benchmark") is None, reason="NOT TESTED: pytest-benchmark isn't installed")
def test_the_documented_benchmark_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"```py\n(.*?)```", (ROOT / "docs" / "profiling.md").read_text(), re.DOTALL)
    (block,) = [block for block in blocks if "benchmark.pedantic" in block]
    (tmp_path / "test_speed.py").write_text(block)
    (tmp_path / "sales.py").write_text(
        "import cloaca\n"
        "with cloaca.WorkflowBuilder('sales') as sales:\n"
        "    cloaca.task(id='only')(lambda context: context.set('total', 1))\n"
    )
    told = run("-m", "pytest", "-q", "-p", "no:cacheprovider", "--benchmark-json=told.json", cwd=tmp_path)
    assert told.returncode == 0, told.stdout
    (benchmark,) = json.loads((tmp_path / "told.json").read_text())["benchmarks"]
    assert benchmark["stats"]["rounds"] == 30
