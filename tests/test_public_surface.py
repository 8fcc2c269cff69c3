"""The names that users import: all there, each once, documented, and cheap to load."""

import inspect
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

import cloaca

HOME: dict[str, str] = vars(cloaca)["_HOME"]
SOURCE = Path(__file__).parents[1] / "src"


def test_all_is_the_lazy_table() -> None:
    assert Counter(cloaca.__all__) == Counter(HOME)
    assert set(cloaca.__all__) <= set(dir(cloaca))


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
        assert value.__module__ == HOME[name]


@pytest.mark.parametrize("name", HOME)
def test_a_public_name_has_a_docstring_of_its_own(name: str) -> None:
    value = getattr(cloaca, name)
    if not isinstance(value, type | FunctionType | ModuleType):
        value = type(value)
    doc = vars(value).get("__doc__") or ""
    assert inspect.cleandoc(doc)
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


def _run(program: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    run = subprocess.run(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return run.stdout
