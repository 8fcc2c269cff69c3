"""What is done when a module gets imported: once it is there, and without a trace on it."""

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cloaca.border.imports import when_imported

if TYPE_CHECKING:
    from types import ModuleType

NAME = "cloaca_watched"
SOURCE = """
loader_while_it_runs = __spec__.loader
value = 1
"""


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == NAME]:
        del sys.modules[name]


def module_in(folder: Path, source: str = SOURCE, name: str = NAME) -> None:
    (folder / f"{name}.py").write_text(source)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()


def noting(values: list[Any]) -> Any:
    return lambda module: values.append(module.value)


def test_a_loaded_module_gets_it_at_once() -> None:
    found: list[ModuleType] = []
    before = list(sys.meta_path)
    when_imported("os.path", found.append)
    assert found == [sys.modules["os.path"]]
    assert sys.meta_path == before


def test_a_module_gets_it_when_its_code_has_run(tmp_path: Path) -> None:
    module_in(tmp_path)
    values: list[int] = []
    when_imported(NAME, noting(values))
    assert (values, NAME in sys.modules) == ([], False)
    importlib.import_module(NAME)
    importlib.import_module(NAME)
    assert values == [1]


def test_the_module_and_its_code_see_the_loader_that_they_would_see_anyway(tmp_path: Path) -> None:
    module_in(tmp_path)
    when_imported(NAME, lambda module: None)
    module = importlib.import_module(NAME)
    spec = module.__spec__
    assert spec is not None
    assert type(spec.loader) is type(module.__loader__) is type(module.loader_while_it_runs) is SourceFileLoader
    assert spec.loader is module.__loader__ is module.loader_while_it_runs
    assert (spec.name, spec.origin, module.__file__) == (NAME, str(tmp_path / f"{NAME}.py"), spec.origin)


def test_a_reload_gets_it_again(tmp_path: Path) -> None:
    module_in(tmp_path)
    values: list[int] = []
    when_imported(NAME, noting(values))
    module = importlib.import_module(NAME)
    (tmp_path / f"{NAME}.py").write_text("value = 22")
    importlib.invalidate_caches()
    assert importlib.reload(module) is module
    assert values == [1, 22]
    assert type(module.__loader__) is SourceFileLoader


def test_several_actions_for_one_module_are_all_done(tmp_path: Path) -> None:
    module_in(tmp_path)
    values: list[int] = []
    for _ in range(3):
        when_imported(NAME, noting(values))
    importlib.import_module(NAME)
    assert values == [1, 1, 1]


def test_a_submodule_that_its_package_imports(tmp_path: Path) -> None:
    package = tmp_path / NAME
    package.mkdir()
    (package / "__init__.py").write_text(f"from {NAME}.inner import value")
    (package / "inner.py").write_text("value = 5")
    sys.path.insert(0, str(tmp_path))
    values: list[int] = []
    when_imported(f"{NAME}.inner", noting(values))
    assert importlib.import_module(NAME).value == 5
    assert values == [5]


def test_who_only_looks_for_the_module_finds_what_it_asks_for(tmp_path: Path) -> None:
    module_in(tmp_path)
    values: list[int] = []
    when_imported(NAME, noting(values))
    spec = importlib.util.find_spec(NAME)
    assert spec is not None
    loader: Any = spec.loader
    assert loader.get_source(NAME) == SOURCE
    assert loader.path == spec.origin == str(tmp_path / f"{NAME}.py")
    assert values == []
    loaded = importlib.util.module_from_spec(spec)
    loader.exec_module(loaded)
    assert (values, loaded.value) == ([1], 1)


def test_a_module_that_fails_to_load_does_not_get_it(tmp_path: Path) -> None:
    module_in(tmp_path, "value = 1 / 0")
    values: list[int] = []
    when_imported(NAME, noting(values))
    with pytest.raises(ZeroDivisionError):
        importlib.import_module(NAME)
    assert (values, NAME in sys.modules) == ([], False)


def test_a_module_that_does_not_exist_is_missing_as_ever() -> None:
    when_imported(NAME, noting([]))
    with pytest.raises(ModuleNotFoundError, match=f"No module named '{NAME}'"):
        importlib.import_module(NAME)


def test_folders_without_code_are_imported_as_ever(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    sys.path.insert(0, str(tmp_path))
    when_imported(NAME, noting([]))
    assert list(importlib.import_module(NAME).__path__) == [str(tmp_path / NAME)]


def test_finders_of_any_kind_are_asked(tmp_path: Path) -> None:
    class Finder:
        def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
            return importlib.util.spec_from_file_location(name, tmp_path / "elsewhere.py") if name == NAME else None

    class Old:
        pass

    (tmp_path / "elsewhere.py").write_text("value = 7")
    values: list[int] = []
    sys.meta_path.insert(0, Finder())
    sys.meta_path.insert(0, Old())  # type: ignore[arg-type]
    when_imported(NAME, noting(values))
    assert importlib.import_module(NAME).value == 7
    assert values == [7]


def test_other_modules_are_none_of_its_business(tmp_path: Path) -> None:
    module_in(tmp_path, name=f"{NAME}_not")
    values: list[int] = []
    when_imported(NAME, noting(values))
    assert importlib.import_module(f"{NAME}_not").value == 1
    assert values == []
    del sys.modules[f"{NAME}_not"]
