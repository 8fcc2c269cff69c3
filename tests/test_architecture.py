"""The architecture, kept by reading the imports of every module, lazy ones and those for type checkers included.

Each rule is a function from sources to findings. It is run on cloaca, and on small made-up trees that break it.
"""

import ast
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

import pytest

CLOACA = Path(__file__).parents[1] / "src" / "cloaca"

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


# ---- the rules -----------------------------------------------------------------------------------------------------


GROUND = frozenset(
    {
        "count",
        "errors",
        "lasting",
        "warning",
        "nearest",
        "seed",
        "item",
        "retry",
        "argument",
        "failure",
        "terms",
        "wording",
    }
)
"""Modules that stand in no room, and that all may import."""

ROOMS = {
    "wire": "",
    "pickling": "wire",
    "values": "pickling wire",
    "merge": "values pickling wire",
    "triggers": "merge values wire",
    "history": "values wire",
    "engine": "history triggers values wire",
    "store": "engine values wire",
    "tasks": "merge values pickling wire",
    "workflows": "store tasks history triggers merge pickling wire",
    "dataflow": "workflows tasks history triggers values wire",
    "border": "values wire",
    "profiling": "wire",
    "attempts": "profiling border tasks triggers merge values pickling wire",
    "worker": "profiling attempts border tasks values pickling wire",
    "machine": "",
    "pool": "machine attempts border values pickling wire",
    "execution": "machine pool profiling attempts border tasks values wire",
    "sending": "profiling attempts dataflow workflows engine history tasks triggers merge values pickling wire",
    "account": "engine history wire",
    "tracing": "account attempts workflows engine tasks wire",
    "report": "account",
    "results": "profiling report tracing account dataflow workflows engine history triggers tasks merge values wire",
    "progress": "engine history",
    "compat": "",
    "authoring": "compat results profiling dataflow workflows engine history tasks triggers merge wire",
    "running": "profiling progress results execution attempts border dataflow workflows engine tasks merge values wire",
    "recording": "running sending workflows triggers merge engine history values store wire",
    "recorded": "recording store workflows engine history tasks values wire",
    "runs": (
        "recorded recording store running sending execution attempts border workflows engine tasks values pickling wire"
    ),
    "prepared": "runs sending attempts merge pickling values wire workflows",
    "planned": "recorded recording workflows engine merge wire",
    "executions": (
        "planned recorded prepared runs running profiling progress authoring results tracing sending execution "
        "dataflow workflows engine tasks merge"
    ),
    "calls": "runs running progress tracing sending execution attempts engine tasks values pickling wire",
    "past": ("runs recorded recording store authoring results sending attempts workflows engine merge tasks values"),
    "runner": (
        "planned past store calls executions runs running profiling authoring compat results execution attempts "
        "workflows engine tasks values wire"
    ),
    "warming": "prepared runs running sending attempts engine merge pickling wire workflows",
    "pytest_plugin": "runner",
    "testing": (
        "runner warming authoring workflows store engine execution attempts border tasks triggers merge values "
        "pickling wire"
    ),
}
"""From the ground up: what the modules of each room may import, beside its own and the ground."""

DOING = frozenset(
    "border attempts worker machine pool execution sending running runs calls executions runner".split()  # noqa: SIM905
)
"""What a run is done by. What it is decided by doesn't reach these, on no way."""

ON_THE_GROUND = {
    "argument": "wording pickling wire",
    "errors": "lasting wording",
    "failure": "errors values wire wording",
    "retry": "argument errors wording",
    "item": "errors wording",
    "terms": "failure retry seed wire wording",
}
"""Those of the modules on the ground that import anything of cloaca's, and what."""


def rooms_know_only_what_is_drawn(sources: Sources) -> list[str]:
    return [
        f"{name}:{line} imports {other}"
        for name, imports in sources.imports.items()
        if "." in name
        for other, line in imports.items()
        if other in sources.trees and not _is_drawn(_room(name), _room(other))
    ]


def _is_drawn(room: str, other: str) -> bool:
    if room in ON_THE_GROUND or room in GROUND:
        return other in (room, *ON_THE_GROUND.get(room, "").split())
    return other in (room, *ROOMS.get(room, "").split(), *GROUND)


def _room(module: str) -> str:
    """The folder of the package in which a module stands, or else the module."""
    return module.split(".")[1]


def engine_is_pure(sources: Sources) -> list[str]:
    return [
        f"{name}:{line} imports {imported}"
        for name, imports in sources.imports.items()
        if _within(name, "cloaca.engine", "cloaca.history")
        for imported, line in imports.items()
        if imported.partition(".")[0] in IMPURE
    ]


def imports_form_no_cycle(sources: Sources) -> list[str]:
    try:
        TopologicalSorter({name: [*imports] for name, imports in sources.imports.items()}).prepare()
    except CycleError as error:
        return [" <- ".join(error.args[1])]
    return []


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
    rooms_know_only_what_is_drawn,
    engine_is_pure,
    imports_form_no_cycle,
    nothing_inside_uses_the_public_face,
    private_names_stay_in_their_module,
    no_type_has_the_name_of_another,
]

Rule = Callable[[Sources], list[str]]
Files = dict[str, str]

BREACHES: list[tuple[Rule, Files, list[str]]] = [
    (
        rooms_know_only_what_is_drawn,
        {
            "engine/run.py": "from cloaca import retry\ndef f():\n    from ..running.coordinator import loop",
            "running/coordinator.py": "from cloaca.engine import run",
            "retry.py": "import cloaca.argument",
            "argument.py": "import typing\nif typing.TYPE_CHECKING:\n    from cloaca.running.coordinator import C",
            "unheard_of/part.py": "from cloaca.wire import frames",
            "wire/frames.py": "",
        },
        [
            "cloaca.argument:3 imports cloaca.running.coordinator",
            "cloaca.engine.run:3 imports cloaca.running.coordinator",
            "cloaca.unheard_of.part:1 imports cloaca.wire.frames",
        ],
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


def test_arrows_lead_down_alone() -> None:
    above = [*ROOMS]
    for place, (room, others) in enumerate(ROOMS.items()):
        assert set(others.split()) <= set(above[:place]), room


def test_what_decides_never_reaches_what_does() -> None:
    reached = {"engine", "dataflow"}
    while (more := reached.union(*(ROOMS[room].split() for room in reached))) != reached:
        reached = more
    assert reached.isdisjoint(DOING)


def test_every_arrow_that_is_drawn_is_there(cloaca_sources: Sources) -> None:
    there = {
        (_room(name), _room(other))
        for name, imports in cloaca_sources.imports.items()
        if name.count(".")
        for other in imports
        if other.startswith("cloaca.")
    }
    drawn = {(room, other) for room, others in (ROOMS | ON_THE_GROUND).items() for other in others.split()}
    assert drawn <= there


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
