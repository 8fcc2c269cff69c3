"""The source of a function is found by its code, and only where it still is what the code was made from."""

import ast
import functools
import importlib.util
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.support import defined

from cloaca.dataflow.source import node_of
from cloaca.dataflow.touches import OPEN, touches_of


def deco(_key: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda function: function


def asserting(context: Any) -> None:
    assert context["a"] != 3


@deco(lambda context: context["not this one"])
@deco(
    lambda context: context["nor this one"],
)
def decorated(context: Any) -> None:
    context.set("a", 1)


class Tasks:
    def method(self, context: Any) -> str:
        context.set("a", 1)
        return super().__repr__()

    async def waiting(self, context: Any) -> None:
        context.set("a", [one async for one in context["a"]])


def made(key: str) -> Callable[[Any], None]:
    def task(context: Any) -> None:
        def inner() -> None:
            task(key)

        context.set(key, inner)

    return task


FIRST, SECOND = (lambda context: context["a"]), (lambda context: context["b"])
DIGITS = [lambda context, n=n: context.set("n", n) for n in range(2)]


@pytest.mark.parametrize(
    "function",
    [asserting, decorated, Tasks.method, Tasks.waiting, made("k"), FIRST, SECOND, *DIGITS, functools.wraps(deco)(made)],
)
def test_every_function_of_a_file_is_found(function: Any) -> None:
    node = node_of(function.__code__)
    assert node is not None
    name = function.__code__.co_name
    assert (name == "<lambda>") == isinstance(node, ast.Lambda)
    assert isinstance(node, ast.Lambda) or node.name == name


def test_functions_on_one_line_are_told_apart() -> None:
    assert [[*touches_of(function).needs] for function in (FIRST, SECOND)] == [["a"], ["b"]]


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TASK = "def task(context):\n    context.set('a', context['b'])\n"


@pytest.mark.parametrize(
    "changed",
    [
        TASK.replace("'a'", "'c'"),
        TASK.replace("'a'", "'b'").replace("['b']", "['a']"),
        TASK.replace("set", "insert"),
        TASK + "    context.set('more', 1)\n",
        TASK.replace("task", "other"),
        "\n" + TASK,
        "def task(context):\n    context.set('a', \n",
        "",
    ],
)
def test_a_source_that_has_changed_tells_nothing(tmp_path: Path, changed: str) -> None:
    path = tmp_path / "tasks.py"
    path.write_text(TASK)
    task = loaded(path).task
    path.write_text(changed)
    assert touches_of(task) == OPEN


def test_comments_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "tasks.py"
    path.write_text(TASK)
    task = loaded(path).task
    path.write_text(TASK.replace(":\n", ":  # says more\n"))
    assert set(touches_of(task).needs) == {"b"}


def test_a_module_that_is_loaded_again_has_its_new_source(tmp_path: Path) -> None:
    path = tmp_path / "tasks.py"
    for key in ("b", "longer"):
        path.write_text(TASK.replace("'b'", repr(key)))
        assert set(touches_of(loaded(path).task).needs) == {key}


def test_without_a_source_nothing_is_told() -> None:
    scope: dict[str, Any] = {}
    exec(TASK, scope)
    assert touches_of(scope["task"]) == OPEN


def test_a_cell_of_a_notebook_has_a_source() -> None:
    assert set(touches_of(defined(TASK)["task"]).needs) == {"b"}
    assert set(touches_of(defined("from __future__ import annotations\n" + TASK)["task"]).needs) == {"b"}


def test_a_module_in_an_archive_has_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("tasks_of_the_archive.py", TASK)
    monkeypatch.syspath_prepend(tmp_path / "all.zip")
    task = importlib.import_module("tasks_of_the_archive").task
    del sys.modules["tasks_of_the_archive"]
    assert set(touches_of(task).needs) == {"b"}
