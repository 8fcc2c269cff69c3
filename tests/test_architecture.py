"""The architecture, kept by reading the imports of every module, lazy ones and those for type checkers included.

Each rule is a function from sources to findings. It is run on cloaca, and on small made-up trees that break it.
"""

import ast
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

import pytest

CLOACA = Path(__file__).parents[1] / "src" / "cloaca"
CONTRACT = "cloaca.execution.executor"

# Processes, sockets, clocks, logs, chance and files: what decides a run is given such facts as arguments.
IMPURE = frozenset(
    """
    _thread asyncio concurrent contextvars ctypes datetime fcntl io logging mmap multiprocessing os pathlib psutil pty
    queue random resource sched secrets select selectors shutil signal socket socketserver subprocess sys tempfile
    threading time uuid warnings
    """.split()  # noqa: SIM905 - as a list, one string a line, it would fill a page
)

Imports = Mapping[str, Mapping[str, int]]  # module -> imported module -> line


@dataclass(frozen=True)
class Sources:
    """The modules of one package: name -> syntax tree."""

    trees: Mapping[str, ast.Module]
    packages: frozenset[str]

    @classmethod
    def read(cls, package: Path) -> "Sources":
        paths = {_module_name(path, package): path for path in sorted(package.rglob("*.py"))}
        return cls(
            {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in paths.items()},
            frozenset(name for name, path in paths.items() if path.stem == "__init__"),
        )

    @cached_property
    def imports(self) -> Imports:
        return {name: dict(self._imported(name)) for name in self.trees}

    def chains(self, start: str) -> Iterator[tuple[str, ...]]:
        """The shortest chain of imports from a module to each module of the package that it reaches."""
        seen = {start}
        waiting: deque[tuple[str, ...]] = deque([(start,)])
        while waiting:
            chain = waiting.popleft()
            reached = [name for name in self.imports[chain[-1]] if name in self.trees and name not in seen]
            seen.update(reached)
            waiting.extend((*chain, name) for name in reached)
            yield from ((*chain, name) for name in reached)

    def _imported(self, here: str) -> Iterator[tuple[str, int]]:
        package = here if here in self.packages else here.rpartition(".")[0]
        for node in ast.walk(self.trees[here]):
            match node:
                case ast.Import(names=aliases, lineno=line):
                    yield from ((alias.name, line) for alias in aliases)
                case ast.ImportFrom(module=module, names=aliases, level=level, lineno=line):
                    source = resolve_name("." * level + (module or ""), package)
                    inner = [f"{source}.{alias.name}" for alias in aliases]
                    yield from ((name if name in self.trees else source, line) for name in inner)
                case ast.Call(
                    func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                    args=[ast.Constant(value=str(name)), *_],
                    lineno=line,
                ):
                    yield resolve_name(name, package), line
                case _:
                    pass


def _module_name(path: Path, package: Path) -> str:
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _within(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def _wall(sources: Sources, inside: str, allowed: Callable[[str], bool]) -> list[str]:
    """The chains of imports that lead from inside to what is not allowed there."""
    return [
        " -> ".join(chain)
        for name in sources.trees
        if _within(name, inside)
        for chain in sources.chains(name)
        if not allowed(chain[-1]) and all(map(allowed, chain[:-1]))
    ]


# ---- the rules -----------------------------------------------------------------------------------------------------


def engine_knows_no_execution(sources: Sources) -> list[str]:
    return _wall(sources, "cloaca.engine", lambda name: not _within(name, "cloaca.execution", "cloaca.running"))


def execution_knows_no_workflows(sources: Sources) -> list[str]:
    return _wall(sources, "cloaca.execution", lambda name: not _within(name, "cloaca.engine", "cloaca.workflows"))


def wire_knows_only_errors_and_warnings(sources: Sources) -> list[str]:
    return _wall(sources, "cloaca.wire", lambda name: _within(name, "cloaca.wire", "cloaca.errors", "cloaca.warning"))


def dataflow_knows_nothing_that_runs(sources: Sources) -> list[str]:
    running = ("cloaca.execution", "cloaca.running", "cloaca.runner", "cloaca.engine.run")
    return _wall(sources, "cloaca.dataflow", lambda name: not _within(name, *running))


def merge_knows_only_values(sources: Sources) -> list[str]:
    inside = ("cloaca.merge", "cloaca.wire", "cloaca.errors", "cloaca.warning")
    return _wall(sources, "cloaca.merge", lambda name: _within(name, *inside))


def compat_stands_on_the_ground(sources: Sources) -> list[str]:
    return _wall(sources, "cloaca.compat", lambda name: _within(name, "cloaca.compat", "cloaca.warning"))


def engine_is_pure(sources: Sources) -> list[str]:
    return [
        f"{name}:{line} imports {imported}"
        for name, imports in sources.imports.items()
        if _within(name, "cloaca.engine")
        for imported, line in imports.items()
        if imported.partition(".")[0] in IMPURE
    ]


def imports_form_no_cycle(sources: Sources) -> list[str]:
    try:
        TopologicalSorter({name: [*imports] for name, imports in sources.imports.items()}).prepare()
    except CycleError as error:
        return [" <- ".join(error.args[1])]
    return []


def packages_form_no_cycle(sources: Sources) -> list[str]:
    """Neither do the folders: what stands in the package itself counts as one of them."""
    tree: dict[str, set[str]] = defaultdict(set)
    for name, imports in sources.imports.items():
        if name not in sources.packages:
            tree[_room(name)].update(_room(other) for other in imports if other in sources.trees)
    try:
        TopologicalSorter({room: sorted(rooms - {room}) for room, rooms in tree.items()}).prepare()
    except CycleError as error:
        return [" <- ".join(error.args[1])]
    return []


def _room(module: str) -> str:
    """The folder of the package in which a module stands, or else the module."""
    return ".".join(module.split(".")[:2])


def only_the_runner_knows_both_sides(sources: Sources) -> list[str]:
    """The contract of executors belongs to both sides; who fulfils it is known to the runner alone."""
    return [
        f"{name} imports {', '.join(deciding)} and {', '.join(doing)}"
        for name, imports in sources.imports.items()
        if name != "cloaca.runner"
        and (deciding := [other for other in imports if _within(other, "cloaca.engine", "cloaca.running.coordinator")])
        and (doing := [other for other in imports if _within(other, "cloaca.execution") and other != CONTRACT])
    ]


def nothing_inside_uses_the_public_face(sources: Sources) -> list[str]:
    """A name taken from `cloaca` itself would be loaded through its lazy table: an import that nobody sees."""
    return [f"{name}:{imports['cloaca']}" for name, imports in sources.imports.items() if "cloaca" in imports]


def private_names_stay_in_their_module(sources: Sources) -> list[str]:
    homes = defaultdict(set)
    for module, tree in sources.trees.items():
        for name in _private_definitions(tree):
            homes[name].add(module)
    return [
        f"{module}:{line} uses {name} of {', '.join(sorted(homes[name]))}"
        for module, tree in sources.trees.items()
        for name, line in _private_uses(tree)
        if name in homes and module not in homes[name]
    ]


def no_type_has_the_name_of_another(sources: Sources) -> list[str]:
    """Neither a class nor an alias: one word for one thing. Type variables stand for any."""
    homes = defaultdict(list)
    for module, tree in sources.trees.items():
        for name in _type_definitions(tree):
            homes[name.lstrip("_")].append(module)
    return [f"{name}: {', '.join(modules)}" for name, modules in homes.items() if len(modules) > 1]


def _type_definitions(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        match node:
            case ast.ClassDef(name=name):
                yield name
            case ast.Assign(value=ast.Call(func=ast.Name(id="TypeVar"))):
                pass
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                if name.lstrip("_")[:1].isupper() and not name.isupper():
                    yield name
            case _:
                pass


def _private_definitions(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case (
                ast.FunctionDef(name=name)
                | ast.AsyncFunctionDef(name=name)
                | ast.ClassDef(name=name)
                | ast.Name(id=name, ctx=ast.Store())
                | ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store())
            ) if _private(name):
                yield name
            case _:
                pass


def _private_uses(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=name, lineno=line) if _private(name):
                yield name, line
            case ast.ImportFrom(names=aliases, lineno=line):
                yield from ((alias.name, line) for alias in aliases if _private(alias.name))
            case _:
                pass


def _private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name != "_"


# ---- the rules kept, and broken ------------------------------------------------------------------------------------

RULES = [
    engine_knows_no_execution,
    execution_knows_no_workflows,
    wire_knows_only_errors_and_warnings,
    dataflow_knows_nothing_that_runs,
    merge_knows_only_values,
    compat_stands_on_the_ground,
    engine_is_pure,
    imports_form_no_cycle,
    packages_form_no_cycle,
    only_the_runner_knows_both_sides,
    nothing_inside_uses_the_public_face,
    private_names_stay_in_their_module,
    no_type_has_the_name_of_another,
]

Rule = Callable[[Sources], list[str]]
Files = dict[str, str]

BREACHES: list[tuple[Rule, Files, list[str]]] = [
    (
        engine_knows_no_execution,
        {"engine/run.py": "def f():\n    from ..running.coordinator import loop", "running/coordinator.py": ""},
        ["cloaca.engine.run -> cloaca.running.coordinator"],
    ),
    (
        engine_knows_no_execution,
        {
            "engine/run.py": "from cloaca import retry",
            "retry.py": "import cloaca.pool.pool",
            "pool/pool.py": "from cloaca.execution import executor",
            "execution/executor.py": "",
        },
        ["cloaca.engine.run -> cloaca.retry -> cloaca.pool.pool"],
    ),
    (
        execution_knows_no_workflows,
        {
            "pool/pool.py": "import typing\nif typing.TYPE_CHECKING:\n    from cloaca.workflows.workflow import W",
            "workflows/workflow.py": "",
        },
        ["cloaca.pool.pool -> cloaca.workflows.workflow"],
    ),
    (
        wire_knows_only_errors_and_warnings,
        {
            "values/codec.py": "from cloaca.errors import E\nfrom cloaca.context import C",
            "errors.py": "",
            "context.py": "",
        },
        ["cloaca.values.codec -> cloaca.context"],
    ),
    (
        dataflow_knows_nothing_that_runs,
        {
            "dataflow/check.py": "from cloaca.history.plan import plan\nfrom cloaca import workflow",
            "history/plan.py": "",
            "workflow.py": "from cloaca.runner import R",
            "runner.py": "",
        },
        ["cloaca.dataflow.check -> cloaca.workflow -> cloaca.runner"],
    ),
    (
        merge_knows_only_values,
        {
            "merge/settle.py": "from cloaca.values.codec import decode\nfrom cloaca.context import C",
            "values/codec.py": "",
            "context.py": "",
        },
        ["cloaca.merge.settle -> cloaca.context"],
    ),
    (
        compat_stands_on_the_ground,
        {"compat/config.py": "from cloaca.running.settings import Settings", "running/settings.py": ""},
        ["cloaca.compat.config -> cloaca.running.settings"],
    ),
    (
        engine_is_pure,
        {
            "engine/run.py": "import math\ndef f():\n    import os.path\n    from time import time",
            "retry.py": "import os",
        },
        ["cloaca.engine.run:3 imports os.path", "cloaca.engine.run:4 imports time"],
    ),
    (
        imports_form_no_cycle,
        {
            "a.py": "from . import b",
            "b.py": "import importlib\ndef f():\n    importlib.import_module('cloaca.c')",
            "c.py": "def f():\n    from cloaca.a import x",
        },
        ["cloaca.a <- cloaca.c <- cloaca.b <- cloaca.a"],
    ),
    (
        packages_form_no_cycle,
        {
            "tasks/context.py": "from cloaca.merge.settle import settle",
            "merge/settle.py": "from cloaca.values.codec import decode",
            "merge/rules.py": "from cloaca import errors",
            "values/codec.py": "from cloaca.merge import rules",
            "errors.py": "",
        },
        ["cloaca.merge <- cloaca.wire <- cloaca.merge"],
    ),
    (
        only_the_runner_knows_both_sides,
        {
            "runner.py": "import cloaca.running.coordinator, cloaca.pool.pool",
            "result.py": "from .execution.pool import Pool\nfrom .engine import run",
            "running/coordinator.py": "import cloaca.engine.run, cloaca.execution.executor",
            "engine/run.py": "",
            "pool/pool.py": "",
            "execution/executor.py": "",
        },
        ["cloaca.result imports cloaca.engine.run and cloaca.pool.pool"],
    ),
    (
        nothing_inside_uses_the_public_face,
        {"result.py": "from cloaca import context\nfrom cloaca import Context", "context.py": ""},
        ["cloaca.result:2"],
    ),
    (
        private_names_stay_in_their_module,
        {
            "context.py": "class C:\n    def __init__(self): self._known = {}\ndef f(c): return c._known",
            "merge.py": "def f(c): return c._known, c.__class__, c._asdict()",
            "result.py": "from cloaca.merge import _pick",
            "rules.py": "from cloaca.context import C\nfrom cloaca.merge import f\n_pick = 1",
        },
        ["cloaca.merge:1 uses _known of cloaca.context", "cloaca.result:1 uses _pick of cloaca.rules"],
    ),
    (
        no_type_has_the_name_of_another,
        {
            "merge.py": "Told = tuple[str, ...]\nMANY = 3\nclass _Copy: pass\nItem = TypeVar('Item')",
            "messages.py": "Told: TypeAlias = str\nMANY = 4\nItem = TypeVar('Item')",
            "workflow.py": "class Copy:\n    class Inner: pass",
        },
        ["Told: cloaca.merge, cloaca.messages", "Copy: cloaca.merge, cloaca.workflow"],
    ),
]


@pytest.fixture(scope="module")
def cloaca_sources() -> Sources:
    return Sources.read(CLOACA)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_cloaca_keeps_the_rule(rule: Rule, cloaca_sources: Sources) -> None:
    assert rule(cloaca_sources) == []


@pytest.mark.parametrize(("rule", "files", "findings"), BREACHES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_breach_is_found(rule: Rule, files: Files, findings: list[str], tmp_path: Path) -> None:
    assert rule(_made_up(tmp_path, files)) == findings


def test_every_rule_has_a_breach() -> None:
    assert {rule for rule, _, _ in BREACHES} == set(RULES)


def test_the_walls_enclose_something(cloaca_sources: Sources) -> None:
    names = {
        "cloaca.engine.run",
        "cloaca.pool.pool",
        "cloaca.values.codec",
        "cloaca.runner",
        "cloaca.running.coordinator",
    }
    assert names <= set(cloaca_sources.trees)


def test_the_tour_names_every_module(cloaca_sources: Sources) -> None:
    tour = (CLOACA.parents[1] / "ARCHITECTURE.md").read_text(encoding="utf-8")
    modules = set(cloaca_sources.trees) - cloaca_sources.packages
    assert sorted(name for name in modules if f"`{name.rpartition('.')[2]}`" not in tour) == []


def _made_up(folder: Path, files: Files) -> Sources:
    package = folder / "cloaca"
    for name, text in ({"__init__.py": ""} | files).items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(text)
    return Sources.read(package)
