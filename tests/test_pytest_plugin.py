"""The fixture for suites of users, as they run it: by pytest, in a process of its own."""

from importlib.metadata import entry_points
from pathlib import Path

import pytest
from tests.support import run

PLUGIN = "cloaca.pytest_plugin"
IS_INSTALLED = any(one.value == PLUGIN for one in entry_points(group="pytest11"))

SUITE = """
import os
import sys

import cloaca

with cloaca.WorkflowBuilder("sales") as sales:

    @cloaca.task()
    def total(context):
        context["total"] = sum(context["rows"])
        context["process"] = os.getpid()


def test_the_total(cloaca_runner):
    result = cloaca_runner.execute(sales, {"rows": [1, 2, 3]}, raise_on_failure=True)
    assert result.final_context["total"] == 6
    print("here" if result.final_context["process"] == os.getpid() else "elsewhere")
"""


def printed_by(folder: Path, *arguments: str, suite: str = SUITE) -> list[str]:
    """What pytest prints of a suite. The plugin is named where it isn't installed, as where only the sources are."""
    (folder / "test_suite.py").write_text(suite, encoding="utf-8")
    plugin = () if IS_INSTALLED else ("-p", PLUGIN)
    return run("-m", "pytest", "-q", "-s", *plugin, *arguments, cwd=folder).stdout.splitlines()


@pytest.mark.parametrize(
    ("arguments", "where"),
    [((), "elsewhere"), (("--cloaca-executor=serial",), "here"), (("--cloaca-executor=threads",), "here")],
)
def test_a_suite_has_a_runner(tmp_path: Path, arguments: tuple[str, ...], where: str) -> None:
    lines = printed_by(tmp_path, *arguments)
    assert lines[0].startswith(where)
    assert lines[-1].startswith("1 passed")


def test_the_configuration_says_where_tasks_run(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\ncloaca_executor = serial\n", encoding="utf-8")
    assert printed_by(tmp_path)[0].startswith("here")
    (tmp_path / "pytest.ini").write_text("[pytest]\ncloaca_executor = clowns\n", encoding="utf-8")
    told = "cloaca_executor is one of processes, threads, serial, not 'clowns'."
    assert any(told in line for line in printed_by(tmp_path))


def test_a_suite_that_does_not_ask_loads_nothing_of_cloaca(tmp_path: Path) -> None:
    suite = """
import sys

def test_nothing():
    print([name for name in sys.modules if name.startswith("cloaca.") and name != "cloaca.pytest_plugin"])
"""
    assert printed_by(tmp_path, suite=suite)[0].startswith("[]")
