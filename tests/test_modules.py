"""Modules of the user's own: workers run the code that the program has loaded, wherever it had that from."""

import importlib
import importlib.util
import os
import sys
import textwrap
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import cloudpickle
import psutil
import pytest
from tests.support import pipe, run

import cloaca
from cloaca.errors import ModuleChangedError, StorageFullError
from cloaca.pickling.functions import capture
from cloaca.pickling.loading import load
from cloaca.pickling.modules import LoadedModules, by_reference
from cloaca.sending.modules import Modules
from cloaca.values.blobs import Content, is_reference
from cloaca.values.storage import Lease, Storage

MakeModule = Callable[[str, str], ModuleType]


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    before = set(sys.modules)
    yield
    for name in [name for name in sys.modules if name.startswith("cloaca_") and name not in before]:
        del sys.modules[name]


@pytest.fixture
def runner() -> Iterator[cloaca.DefaultRunner]:
    with cloaca.DefaultRunner(workers=2) as runner:
        yield runner


def outcome(runner: cloaca.DefaultRunner, function: Callable[[Any], Any]) -> Any:
    """What a task of that function leaves under "x"."""
    with cloaca.WorkflowBuilder("modules", check="off"):
        cloaca.task(id="t")(function)
    result = runner.execute("modules")
    result.raise_for_status()
    return result.final_context["x"]


def at_path(file: Path, source: str, name: str = "cloaca_plugin") -> Any:
    """A module loaded as the documentation of importlib shows it: no finder would find it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(textwrap.dedent(source))
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PLUGIN = """
import threading
LOCK, SEEN = threading.Lock(), []

class Point:
    def __init__(self, x): self.x = x

def add(x):
    with LOCK:
        SEEN.append(x)

def task(context):
    add(1)
    context["x"] = Point(len(SEEN))

def task_made():
    def made(context):
        add(1)
        context["x"] = len(SEEN)
    return made
"""


# ---- modules that no finder finds -----------------------------------------------------------------------------------


def test_a_module_loaded_from_a_path_is_imported_as_the_program_has_it(
    runner: cloaca.DefaultRunner, tmp_path: Path
) -> None:
    plugin = at_path(tmp_path / "plugin.py", PLUGIN)
    point = outcome(runner, plugin.task)
    assert (type(point), point.x) == (plugin.Point, 1)
    (tmp_path / "plugin.py").unlink()
    with cloaca.DefaultRunner(workers=1) as later:
        assert list(later.map(lambda x: plugin.Point(x).x, [1])) == [1]


def test_modules_find_each_other_however_they_were_found(
    runner: cloaca.DefaultRunner, tmp_path: Path, make_module: MakeModule
) -> None:
    at_path(tmp_path / "elsewhere" / "plugin.py", "VALUE = 7")
    user = make_module("cloaca_user", "import cloaca_plugin\ndef task(context): context['x'] = cloaca_plugin.VALUE")
    assert outcome(runner, user.task) == 7


def test_a_package_loaded_from_a_path_brings_its_modules(runner: cloaca.DefaultRunner, tmp_path: Path) -> None:
    folder = tmp_path / "anywhere"
    folder.mkdir()
    (folder / "late.py").write_text("def value(): return 5")
    package = at_path(folder / "__init__.py", "def task(context):\n from . import late\n context['x'] = late.value()")
    assert outcome(runner, package.task) == 5


def test_a_place_that_was_added_to_a_package(
    runner: cloaca.DefaultRunner, tmp_path: Path, make_module: MakeModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "added.py").write_text("def task(context): context['x'] = 6")
    package: Any = at_path(tmp_path / "cloaca_package" / "__init__.py", "", "cloaca_package")
    assert list(runner.map(lambda _: package.__name__, [0])) == ["cloaca_package"]
    package.__path__.append(str(tmp_path / "more"))
    added: Any = importlib.import_module("cloaca_package.added")
    assert outcome(runner, added.task) == 6


def test_a_namespace_package(runner: cloaca.DefaultRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("one", "two"):
        folder = tmp_path / part / "cloaca_space"
        folder.mkdir(parents=True)
        (folder / f"{part}.py").write_text(f"def task(context): context['x'] = {part!r}")
        monkeypatch.syspath_prepend(tmp_path / part)
    modules: list[Any] = [importlib.import_module(f"cloaca_space.{part}") for part in ("one", "two")]
    assert [outcome(runner, module.task) for module in modules] == ["one", "two"]


def test_a_namespace_package_that_is_found_in_more_places_is_no_reload(
    runner: cloaca.DefaultRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ("three", "four"):
        (tmp_path / part / "cloaca_growing").mkdir(parents=True)
    (tmp_path / "three" / "cloaca_growing" / "part.py").write_text("import os\ndef pid(_): return os.getpid()")
    monkeypatch.syspath_prepend(tmp_path / "three")
    module: Any = importlib.import_module("cloaca_growing.part")
    (before,) = runner.map(module.pid, [0])
    monkeypatch.syspath_prepend(tmp_path / "four")
    (after,) = runner.map(module.pid, [0])
    assert after == before


def test_a_module_in_packages_that_were_made_by_hand(runner: cloaca.DefaultRunner, tmp_path: Path) -> None:
    """pytest's `--import-mode=importlib` makes such."""
    for name in ("cloaca_tests", "cloaca_tests.unit"):
        sys.modules[name] = ModuleType(name)
    module = at_path(tmp_path / "test_a.py", PLUGIN, "cloaca_tests.unit.test_a")
    assert outcome(runner, module.task).x == 1


def test_a_module_in_a_package_that_isn_t_there_travels_by_value(runner: cloaca.DefaultRunner, tmp_path: Path) -> None:
    module = at_path(tmp_path / "b.py", "def f(): return 2\ndef task(context): context['x'] = f()", "cloaca_no.b")
    assert outcome(runner, module.task) == 2


def test_a_zip_file(runner: cloaca.DefaultRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "lib.zip", "w") as archive:
        archive.writestr("cloaca_zipped.py", "def task(context): context['x'] = 8")
    monkeypatch.syspath_prepend(tmp_path / "lib.zip")
    zipped: Any = importlib.import_module("cloaca_zipped")
    assert outcome(runner, zipped.task) == 8


class InMemory:
    """A finder and loader of modules that are in no file."""

    def __init__(self, **sources: str) -> None:
        self.sources = sources

    def find_spec(self, name: str, _path: Sequence[str] | None = None, _target: object = None) -> ModuleSpec | None:
        return ModuleSpec(name, self, origin="memory") if name in self.sources else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        exec(self.sources[module.__name__], module.__dict__)


class Telling(InMemory):
    """One that can be asked for the code."""

    def get_code(self, name: str) -> CodeType:
        return compile(self.sources[name], "memory", "exec")


@pytest.mark.parametrize("kind", [InMemory, Telling])
def test_a_finder_of_the_program_s_own(runner: cloaca.DefaultRunner, kind: type[InMemory]) -> None:
    source = "def helper(): return Value(9)\nclass Value:\n def __init__(self, x): self.x = x\n"
    finder: Any = kind(cloaca_memory=source + "def task(context): context['x'] = helper()")
    sys.meta_path.append(finder)
    memory: Any = importlib.import_module("cloaca_memory")
    value = outcome(runner, memory.task)
    assert (type(value), value.x) == (memory.Value, 9)
    assert outcome(runner, lambda context: context.set("x", memory.helper().x)) == 9


def test_a_module_that_was_made_by_hand_travels_by_value(runner: cloaca.DefaultRunner) -> None:
    made: Any = ModuleType("cloaca_made")
    sys.modules["cloaca_made"] = made
    exec("N = 3\ndef n(): return N\ndef task(context): context['x'] = n()", made.__dict__)
    assert outcome(runner, made.task) == 3
    assert outcome(runner, lambda context: context.set("x", made.n())) == 3


def test_a_module_that_is_to_travel_by_value_does(runner: cloaca.DefaultRunner, make_module: MakeModule) -> None:
    module: Any = make_module("cloaca_by_value", "N = 1\ndef n(): return N\ndef task(context): context['x'] = n()")
    assert outcome(runner, module.task) == 1
    cloudpickle.register_pickle_by_value(module)
    try:
        module.N = 2
        assert outcome(runner, module.task) == 2
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def test_what_a_package_loads_when_it_is_asked_for_travels_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cloaca_lazy"
    folder.mkdir()
    (folder / "core.py").write_text("class Late: pass\nLate.__module__ = 'cloaca_lazy.late'")
    (folder / "late.py").write_text("from .core import Late")
    (folder / "__init__.py").write_text("from .core import Late")
    monkeypatch.syspath_prepend(tmp_path)
    late = vars(importlib.import_module("cloaca_lazy"))["Late"]
    assert "cloaca_lazy.late" not in sys.modules
    assert by_reference(late)


def test_a_script_in_a_spawned_process(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    source = """
        import multiprocessing, cloaca

        class Point:
            def __init__(self, x): self.x = x

        def moved(point): return Point(point.x + 1)

        def work(queue):
            with cloaca.DefaultRunner(workers=1) as runner:
                queue.put([point.x for point in runner.map(moved, [Point(1)])])

        if __name__ == "__main__":
            context = multiprocessing.get_context("spawn")
            queue = context.SimpleQueue()
            process = context.Process(target=work, args=(queue,))
            process.start()
            print(queue.get())
            process.join()
    """
    script.write_text(textwrap.dedent(source))
    assert run(str(script), cwd=tmp_path).stdout == "[2]\n"


# ---- versions -------------------------------------------------------------------------------------------------------


def changed(module: ModuleType, source: str) -> None:
    """As an editor or a deployment does it, while time goes on."""
    file = Path(module.__file__ or "")
    later = file.stat().st_mtime + 5
    file.write_text(source)
    os.utime(file, (later, later))
    importlib.invalidate_caches()


def test_what_is_changed_on_disk_doesn_t_reach_a_run(runner: cloaca.DefaultRunner, make_module: MakeModule) -> None:
    module: Any = make_module("cloaca_deployed", "def f(): return 'old'")
    between: Any = make_module("cloaca_between", "import cloaca_deployed\ndef g(): return cloaca_deployed.f()")

    def both(_: int) -> tuple[str, str]:
        return module.f(), between.g()

    with cloaca.DefaultRunner(workers=2) as made_before:
        changed(module, "def f(): return 'new'")
        for one in (made_before, runner):
            assert set(one.map(both, range(12), chunksize=1)) == {("old", "old")}


@pytest.mark.parametrize("version", ["def f(): return 'new'", "f = 'new'.format", "g = f = str"])
def test_what_was_changed_before_a_runner_met_it_is_sent_along_or_refused(
    runner: cloaca.DefaultRunner, make_module: MakeModule, version: str
) -> None:
    module: Any = make_module("cloaca_changed", "def f(): return 'old'")
    between: Any = make_module("cloaca_asking", "import cloaca_changed\ndef g(_): return cloaca_changed.f()")
    changed(module, f"\n{version}")
    assert list(runner.map(lambda _: module.f(), range(1))) == ["old"]
    with pytest.raises(ModuleChangedError, match=r"'cloaca_changed' .*cloaca_changed.py was changed") as caught:
        list(runner.map(between.g, range(1)))
    assert caught.value.module == "cloaca_changed"
    importlib.reload(module)
    assert list(runner.map(between.g, range(1))) == [module.f()]


def test_after_a_reload_the_same_runner_runs_the_new_code(
    runner: cloaca.DefaultRunner, make_module: MakeModule
) -> None:
    module: Any = make_module("cloaca_edited", "def f(): return 1")
    between: Any = make_module("cloaca_above", "import cloaca_edited\ndef g(_): return cloaca_edited.f()")
    for number in (1, 2, 3):
        if number > 1:
            changed(module, f"def f(): return {number}")
            importlib.reload(module)
        assert list(runner.map(lambda _: module.f(), range(3), chunksize=1)) == [number] * 3
        assert list(runner.map(between.g, range(3), chunksize=1)) == [number] * 3


def test_a_function_that_a_reload_has_left_is_no_change(runner: cloaca.DefaultRunner, make_module: MakeModule) -> None:
    module: Any = make_module("cloaca_renamed", "def f(): return 1\ndef before(): return 1")
    between: Any = make_module("cloaca_caller", "import cloaca_renamed\ndef g(_): return cloaca_renamed.f()")
    assert list(runner.map(between.g, [0])) == [1]
    changed(module, "def f(): return 2\ndef after(): return 2")
    importlib.reload(module)
    assert hasattr(module, "before")
    assert list(runner.map(between.g, [0])) == [2]


def test_functions_that_were_changed_in_place_as_the_file_was(
    runner: cloaca.DefaultRunner, make_module: MakeModule
) -> None:
    """As `%autoreload` does it from IPython 9 on."""
    module: Any = make_module("cloaca_patched", "RATE = 1\ndef f(): return RATE")
    between: Any = make_module("cloaca_using", "from cloaca_patched import f\ndef g(_): return f()")
    assert list(runner.map(between.g, [0])) == [1]
    source = "RATE = 1\ndef f(): return RATE + 1000"
    changed(module, source)
    namespace: dict[str, Any] = {}
    exec(source, namespace)
    module.f.__code__ = namespace["f"].__code__
    assert (module.f(), list(runner.map(between.g, [0]))) == (1001, [1001])
    assert list(runner.map(lambda _: module.f(), [0])) == [1001]


def test_what_is_installed_into_a_folder_isn_t_the_user_s_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cloaca_vendored").mkdir()
    for file in ("cloaca_vendored/__init__.py", "cloaca_single.py", "cloaca_mine.py"):
        (tmp_path / file).write_text("")
    (tmp_path / "vendored-1.0.dist-info").mkdir()
    (tmp_path / "vendored-1.0.dist-info" / "RECORD").write_text("cloaca_vendored/__init__.py,,\ncloaca_single.py,,\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("cloaca_vendored", "cloaca_single", "cloaca_mine"):
        importlib.import_module(name)
    given = LoadedModules().now()
    assert [name for name in given if name.startswith(("cloaca_v", "cloaca_s", "cloaca_m"))] == ["cloaca_mine"]


def test_a_reload_while_something_runs_is_said(
    runner: cloaca.DefaultRunner, make_module: MakeModule, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    module: Any = make_module("cloaca_meanwhile", "def f(): return 1")
    begun, gate = pipe(tmp_path / "begun"), pipe(tmp_path / "gate")
    with cloaca.WorkflowBuilder("waits", check="off"):

        @cloaca.task()
        def wait(context: cloaca.Context) -> None:
            begun.write_text("")
            gate.read_text()

    execution = runner.start("waits")
    begun.read_text()
    changed(module, "def f(): return 2")
    importlib.reload(module)
    assert list(runner.map(lambda _: module.f(), range(1))) == [2]
    assert "Modules were reloaded while tasks are under way" in caplog.text
    gate.write_text("")
    execution.result().raise_for_status()


def test_a_module_that_was_replaced_by_another_of_its_name(runner: cloaca.DefaultRunner, tmp_path: Path) -> None:
    for number in (1, 2):
        plugin = at_path(tmp_path / str(number) / "plugin.py", f"def task(context): context['x'] = {number}")
        assert outcome(runner, plugin.task) == number


def test_without_room_for_files_the_code_is_sent() -> None:
    class Full(Storage):
        def put(self, payload: Content, what: str = "program") -> tuple[bytes | Content, Lease | None]:
            raise StorageFullError(len(payload), ())

    storage = Full()
    try:
        assert not is_reference(Modules().now(storage).payload)
    finally:
        storage.close()


def test_modules_are_looked_at_again_only_where_something_was_loaded(make_module: MakeModule) -> None:
    modules = LoadedModules()
    make_module("cloaca_first", "def f(): pass")
    first = modules.now()
    assert modules.now() is first
    make_module("cloaca_second", "def f(): pass")
    second = modules.now()
    assert "cloaca_second" in second
    assert second["cloaca_first"] is first["cloaca_first"]


def test_what_is_installed_isn_t_sent() -> None:
    given = LoadedModules().now()
    assert not [name for name in given if name.partition(".")[0] in {"json", "pytest", "cloaca", "msgspec", "__main__"}]
    assert __name__ in given


@pytest.mark.parametrize(
    "source",
    [
        "import functools\n@functools.cache\ndef f(): pass\n@functools.wraps(f)\ndef g(): pass",
        "from dataclasses import dataclass\n@dataclass\nclass A:\n x: int\n @property\n def y(self): return 1",
        "def f(): return 1\ndef f(): return 2",
        "def f(): return 1\ng = f\ndel f",
        "import contextlib\n@contextlib.contextmanager\ndef f(): yield\nclass A:\n @staticmethod\n def f(): pass",
    ],
)
def test_a_module_that_is_as_its_file_says_travels_by_name(make_module: MakeModule, source: str) -> None:
    assert by_reference(make_module("cloaca_as_it_is", source))


def test_a_profiler_s_functions_don_t_count_as_a_change(
    make_module: MakeModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    module: Any = make_module("cloaca_profiled", "def f(): pass")
    module.f.__code__ = module.f.__code__.replace(co_stacksize=50, co_consts=(1,))
    monkeypatch.setattr(psutil.Process, "create_time", lambda _: time.time() + 1000)
    assert by_reference(module.f)


def test_looking_at_modules_loads_none(tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text("raise AssertionError")
    spec = importlib.util.spec_from_file_location("cloaca_late", tmp_path / "late.py")
    assert spec is not None
    assert spec.loader is not None
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = sys.modules["cloaca_late"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert "cloaca_late" not in LoadedModules().now()


# ---- functions that modules make ------------------------------------------------------------------------------------


def test_a_function_made_in_a_module_shares_its_variables(
    runner: cloaca.DefaultRunner, make_module: MakeModule
) -> None:
    shop: Any = make_module(
        "cloaca_shop",
        """
import functools, threading
SEEN, COUNT, LOCK = [], 0, threading.Lock()
def add(x): SEEN.append(x)
def counted(function):
    @functools.wraps(function)
    def call(context):
        global COUNT
        COUNT += 1
        return function(context)
    return call
def local():
    def task(context):
        with LOCK:
            add(1)
            context["x"] = SEEN == [1], len(SEEN)
    return task
def local_class():
    class Task:
        def __call__(self, context):
            add(1)
            context["x"] = SEEN == [1], len(SEEN)
    return Task()
decorated = counted(lambda context: context.set("x", (COUNT == 1, COUNT)))
""",
    )
    for function in (shop.local(), shop.local_class(), shop.decorated):
        with cloaca.DefaultRunner(workers=1) as own:
            assert outcome(own, function) == (True, 1)
    assert (shop.SEEN, shop.COUNT) == ([], 0)


def test_a_function_that_uses_nothing_of_its_module_doesn_t_import_it(make_module: MakeModule) -> None:
    module: Any = make_module("cloaca_unneeded", "import json\ndef make(): return lambda: json.dumps(len([1]))")
    blob = capture("t", module.make()).blob
    del sys.modules["cloaca_unneeded"]
    assert load(blob)() == "1"
    assert "cloaca_unneeded" not in sys.modules


def test_an_initializer_sets_variables_of_a_module(make_module: MakeModule) -> None:
    module: Any = make_module(
        "cloaca_model",
        "MODEL = None\ndef load():\n global MODEL\n MODEL = {'good': 1}\ndef score(word): return MODEL[word]",
    )
    with cloaca.DefaultRunner(workers=2, initializer=module.load) as runner:
        assert list(runner.map(module.score, ["good"] * 4, chunksize=1)) == [1] * 4


def test_finders_that_watch_for_a_module_see_it_come(make_module: MakeModule, runner: cloaca.DefaultRunner) -> None:
    make_module("cloaca_sourced", "VALUE = 1\ndef f(): return 1")

    def seen(_: int) -> tuple[str, str, bool]:
        import inspect

        import cloaca_sourced  # type: ignore[import-not-found]

        spec = cloaca_sourced.__spec__
        return Path(cloaca_sourced.__file__).name, inspect.getsource(cloaca_sourced.f), spec.has_location

    assert list(runner.map(seen, [0])) == [("cloaca_sourced.py", "def f(): return 1\n", True)]
    assert PathFinder.find_spec("cloaca_sourced") is not None
