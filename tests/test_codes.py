"""The code of a task: which edits count, and which don't, and that it is the same in every process."""

import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from threading import Lock, RLock
from types import ModuleType
from typing import Any, NamedTuple
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.edits import CASES
from tests.support import defined

import cloaca
from cloaca.store.records import Code
from cloaca.workflows.codes import PYTHON, Codes, changed
from cloaca.workflows.packages import packages
from cloaca.workflows.workflow import Task

PROGRAM = """
import importlib, json, sys
from cloaca.workflows.codes import Codes
from cloaca.workflows.packages import packages
from cloaca.workflows.workflow import Task
found = {}
before = {*sys.modules}
for case in sorted(json.load(sys.stdin)):
    sys.path.insert(0, case)
    importlib.invalidate_caches()
    try:
        steps = importlib.import_module("steps")
        code = Codes().of(getattr(steps, "TASK", None) or Task("task", steps.task))
        found[case] = [code.digest.hex(), {name: part.hex() for name, part in code.parts.items()}]
    except BaseException as error:
        raise RuntimeError(case) from error
    sys.path.remove(case)
    own = [name for name, module in sys.modules.items() if case in (getattr(module, "__file__", None) or "")]
    for name in own:
        del sys.modules[name]
json.dump(found, sys.stdout)
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, list[Any]]:
    """What each program comes to: twice, compiled and from files of bytecode, with other hash seeds."""
    top = tmp_path_factory.mktemp("codes")
    sources = dict.fromkeys(source for edit, _ in CASES.values() for source in (edit.source, edit.result))
    folders = {source: str(top / str(number)) for number, source in enumerate(sources)}
    for source, folder in folders.items():
        _write(Path(folder), source)
    runs = [_run([*folders.values()], seed) for seed in ("1", "22")]
    return {source: [run[folder] for run in runs] for source, folder in folders.items()}


def _write(folder: Path, source: str) -> None:
    _, *parts = re.split(r"^# (\S+\.py)$", source, flags=re.MULTILINE)
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def _run(cases: list[str], seed: str) -> dict[str, Any]:
    path = ":".join(one for one in sys.path if one)
    run = subprocess.run(
        [sys.executable, "-W", "error::SyntaxWarning", "-c", PROGRAM],
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": ""},
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    came: dict[str, Any] = json.loads(run.stdout)
    return came


@pytest.mark.timeout(300)  # the first one runs them all
@pytest.mark.parametrize("case", CASES)
def test_an_edit_counts_where_it_changes_what_the_code_does(case: str, found: Mapping[str, Any]) -> None:
    edit, counts = CASES[case]
    assert edit.old in edit.source
    (before, again), (after, after_again) = found[edit.source], found[edit.result]
    assert before == again
    assert after == after_again
    assert (before[0] != after[0]) is counts, f"{edit.old} -> {edit.new}"
    assert (before[1] != after[1]) is counts


SCRIPT = """
import multiprocessing
from random import randint, random as draw
import cloaca
RATE = 1
class Row:
    size = 2
def helper(x):
    return x + RATE
with cloaca.WorkflowBuilder("w", check="off") as builder:
    @cloaca.task()
    def task(context):
        return helper(Row.size), draw(), randint
def told(_):
    return builder.build().code_of("task")
if __name__ == "__main__":
    print(told(0))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(*pool.map(told, [0]))
"""


def test_a_script_has_the_code_that_it_has_in_its_processes(tmp_path: Path) -> None:
    def told(source: str) -> str:
        script = tmp_path / "script.py"
        script.write_text(source)
        run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
        here, there = run.stdout.split()
        assert here == there
        return here

    assert (
        told(SCRIPT) == told(SCRIPT.replace("RATE = 1", "# a remark\n\nRATE = 1")) != told(SCRIPT.replace("= 1", "= 3"))
    )


def test_to_run_code_changes_nothing() -> None:
    namespace = defined(
        "def helper(x): return x * 2.0\ndef task(context): return [helper(i) + i for i in range(context)]"
    )
    before = code_of(namespace["task"])
    namespace["task"](5000)  # the interpreter specialises it
    sys.settrace(lambda *_: None)
    namespace["task"](10)
    sys.settrace(None)
    assert code_of(namespace["task"]) == before
    assert code_of(defined("task = copy", copy=namespace["task"])["task"]) == before


# ---- random programs ------------------------------------------------------------------------------------------------

MODULES = ("cloaca_random_a", "cloaca_random_b", "cloaca_random_c")
PLACES = [(module, name) for module in MODULES for name in ("f", "g", "h")]
CONSTANTS = [(module, name) for module in MODULES for name in ("A", "B")]
places, constants = st.sampled_from(PLACES), st.sampled_from(CONSTANTS)


class Function(NamedTuple):
    """A function of a random program: what matters of it, and what doesn't."""

    number: int
    calls: tuple[tuple[str, str], ...]
    reads: tuple[tuple[str, str], ...]
    imports_itself: bool
    docstring: str
    local: str
    lines: int


functions = st.builds(
    Function,
    st.integers(0, 3),
    st.lists(places, max_size=2).map(tuple),
    st.lists(constants, max_size=1).map(tuple),
    st.booleans(),
    st.sampled_from(["", "'one'", "'''two\n    lines'''"]),
    st.sampled_from(["x", "total"]),
    st.integers(0, 3),
)


class Program(NamedTuple):
    """A random program. The first function is the task's."""

    functions: Mapping[tuple[str, str], Function]
    constants: Mapping[tuple[str, str], int]
    order: tuple[int, ...]

    def source(self, module: str) -> str:
        defined = [(name, self.functions[module, name]) for name in ("f", "g", "h")]
        parts = [_text(module, *defined[number]) for number in self.order]
        values = [f"{name} = {self.constants[module, name]}" for name in ("A", "B")]
        return "\n".join([*[f"import {other}" for other in MODULES], *parts, *values])

    def reached(self) -> set[object]:
        """What the task comes to, said naively: all that it reaches, as far as it matters."""
        found: set[object] = set()
        waiting = [PLACES[0]]
        while waiting:
            place = waiting.pop()
            function = self.functions[place]
            what = place, function[:4]
            if what not in found:
                found.add(what)
                waiting += function.calls
                found |= {(constant, self.constants[constant]) for constant in function.reads}
        return found


def _text(module: str, name: str, function: Function) -> str:
    local = function.local
    lines = [f"    {function.docstring}"] if function.docstring else []
    lines += ["    # nothing"] * function.lines
    lines += [f"    {local} = {function.number}"]
    for number, (home, called) in enumerate(function.calls):
        if function.imports_itself:
            lines += [f"    from {home} import {called} as called{number}", f"    {local} += called{number}(1)"]
        else:
            lines += [f"    {local} += {called if home == module else f'{home}.{called}'}({local})"]
    lines += [f"    {local} += {read if home == module else f'{home}.{read}'}" for home, read in function.reads]
    return "\n".join([f"def {name}(context):", *lines, f"    return {local}"])


programs = st.builds(
    Program,
    st.fixed_dictionaries(dict.fromkeys(PLACES, functions)),
    st.fixed_dictionaries(dict.fromkeys(CONSTANTS, st.integers(0, 2))),
    st.permutations([0, 1, 2]).map(tuple),
)


@st.composite
def edits(draw: st.DrawFn) -> tuple[Program, Program]:
    """A program, and what becomes of it by one or two edits."""
    before = draw(programs)
    defined, values = dict(before.functions), dict(before.constants)
    for _ in range(draw(st.integers(1, 2))):
        if draw(st.booleans()):
            values[draw(constants)] = draw(st.integers(0, 2))
        else:
            place, other = draw(places), draw(functions)
            kept = draw(st.integers(0, len(other)))
            defined[place] = Function._make((*defined[place][:kept], *other[kept:]))
    return before, Program(defined, values, draw(st.permutations([0, 1, 2]).map(tuple)))


def digest_of(program: Program) -> bytes:
    with pytest.MonkeyPatch.context() as patch:
        made = {name: ModuleType(name) for name in MODULES}
        for name, module in made.items():
            patch.setitem(sys.modules, name, module)
        for name, module in made.items():
            exec(program.source(name), vars(module))
        return Codes().of(Task("task", vars(made[MODULES[0]])["f"])).digest


@given(edits())
def test_the_digest_differs_where_something_differs_that_is_reached(pair: tuple[Program, Program]) -> None:
    before, after = pair
    assert (digest_of(before) == digest_of(after)) is (before.reached() == after.reached())


# ---- tasks of many kinds --------------------------------------------------------------------------------------------


def code_of(function: Any, **said: Any) -> Code:
    return Codes().of(Task("task", function, **said))


def test_tasks_of_one_function_share_one_code_and_closures_have_their_own() -> None:
    def make(number):
        return lambda context: number

    codes = Codes()
    made = [codes.of(Task(str(number), make(number))) for number in range(3)]
    assert len({code.digest for code in made}) == 3
    assert codes.of(Task("again", make(1))) == made[1]
    assert [*made[0].parts][:2] == ["function <lambda> in tests/test_codes.py", "what it closes over: number"]


def test_what_many_tasks_reach_is_looked_at_once() -> None:
    looked: list[object] = []

    class Seen:
        def __reduce__(self):
            looked.append(self)
            return Seen, ()

    module = ModuleType("cloaca_shared")
    module.SEEN = Seen()  # type: ignore[attr-defined]
    exec("def use(): return SEEN", vars(module))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "cloaca_shared", module)
        codes = Codes()
        for number in range(3):
            codes.of(Task("t", eval(f"lambda context: use() + {number}", vars(module))))
    assert len(looked) == 1


def test_a_function_without_a_module_counts_with_what_it_names() -> None:
    def made(helper):
        return defined(f"def helper(x): return x + {helper}\ndef task(context): return helper(1)")["task"]

    assert code_of(made(1)).digest == code_of(made(1)).digest != code_of(made(2)).digest


def test_a_long_chain_and_a_deep_value_do_not_recurse() -> None:
    chain = "\n".join(f"def f{i}(x): return f{i + 1}(x)" for i in range(3000))
    ends = [defined(f"{chain}\ndef f3000(x): return {end}")["f0"] for end in (1, 2)]
    assert len({code_of(end).digest for end in ends}) == 2
    deep: tuple[object, ...] = ()
    for _ in range(3000):
        deep = (deep, [])
    assert code_of(lambda context: deep).digest != code_of(lambda context: deep[0]).digest


def test_builtins_and_what_is_installed_are_known_by_name() -> None:
    assert code_of(print).digest != code_of(len).digest
    assert code_of("".join).digest != code_of("a".join).digest
    assert [*code_of(textwrap.dedent).parts] == ["function dedent in textwrap.py", PYTHON]
    assert any(name.startswith("package pytest ") for name in code_of(lambda context: pytest.approx(1)).parts)


def test_what_has_no_content_counts_by_its_type() -> None:
    def holding(value):
        return code_of(lambda context: value).digest

    assert holding(Lock()) == holding(Lock()) != holding(RLock())
    assert holding(Mock()) == holding(Mock())
    assert holding({"a": Lock(), "b": 1}) != holding({"a": Lock(), "b": 2})
    assert holding(iter([1])) != holding(iter([2]))  # which pickle can make


def test_shared_lists_and_the_attributes_of_objects_count_by_content() -> None:
    class Held:
        pass

    def holding(value):
        held = Held()
        held.value = value  # type: ignore[attr-defined]
        return code_of(lambda context: held).digest

    assert holding([1, Lock()]) == holding([1, Lock()]) != holding([2, Lock()])
    assert holding([1]) != holding((1,))
    part = [1]
    assert holding([part, part]) == holding([part, part]) != holding([part, [2]])


def test_a_proxy_is_not_asked_what_it_is() -> None:
    class Proxy:
        @property  # type: ignore[misc]
        def __class__(self):
            raise RuntimeError("there is nothing behind it yet")

        def __getattr__(self, name):
            raise RuntimeError("nor is there here")

        def __reduce_ex__(self, protocol):
            raise RuntimeError("nor does it say")

    namespace = defined("def task(context): return PROXY", PROXY=Proxy())
    held = namespace["PROXY"]
    assert code_of(namespace["task"]) == code_of(namespace["task"])
    assert code_of(lambda context: held).digest != code_of(lambda context: [held]).digest


def test_objects_that_lead_to_each_other_through_sets_count_by_content() -> None:
    class Node:
        def __init__(self, name):
            self.name, self.others = name, set()

    def network(*names):
        nodes = [Node(name) for name in names]
        for node in nodes:
            node.others.update(nodes)
        return code_of(lambda context: nodes[0]).digest

    assert network(*"abcdefgh") == network(*"abcdefgh") != network(*"abcdefgx")


def test_fields_of_classes_of_libraries_count() -> None:
    source = """
import attrs, msgspec
@attrs.define
class A:
    x: int = {a}
class B(msgspec.Struct):
    y: int = {b}
def task(context): return A(), B()
"""
    made = [code_of(defined(source.format(a=a, b=b))["task"]).digest for a, b in ((1, 2), (1, 2), (3, 2), (1, 4))]
    assert made[0] == made[1]
    assert len(set(made)) == 3


def test_the_types_of_parameters_count() -> None:
    def typed(kind):
        def task(context, *, year):
            return year

        task.__annotations__["year"] = kind
        with cloaca.WorkflowBuilder("typed", check="off") as builder:
            cloaca.task()(task)
        return builder.build().code_of("task")

    assert typed(int) == typed(int) != typed(str)
    assert typed(list[int]) != typed(list[str])


def test_a_merge_rule_has_a_code() -> None:
    codes = Codes()
    assert codes.code_of_rule(cloaca.merge.sum) != codes.code_of_rule(cloaca.merge.max)
    assert codes.code_of_rule(lambda base, values: 1) != codes.code_of_rule(lambda base, values: 2)
    assert len(codes.code_of_rule(cloaca.merge.sum)) == 16


def test_packages_are_found_by_what_their_installers_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lists = {
        "Some_Thing-1.0.dist-info/RECORD": "some/part.py,sha256=1,2\nother.py,,\n_fast.abi3.so,,\n../../bin/tool,,\n",
        "old-2.1-py3.11.egg-info/top_level.txt": "ancient\nolder\n",
        "bare-3.0+local.egg-info": "Name: bare",
        "second/some_thing-0.9.dist-info/RECORD": "some/part.py,,\n",
    }
    for name, text in lists.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(sys, "path", [str(tmp_path), str(tmp_path / "second"), str(tmp_path / "gone")])
    assert packages(["some", "json", "cloaca", "unknown"]) == ["some-thing 1.0"]
    assert packages(["other", "_fast", "ancient", "bare"]) == ["bare 3.0+local", "old 2.1", "some-thing 1.0"]


def test_packages_are_those_that_python_tells_of() -> None:
    told = {top: [metadata.version(name) for name in names] for top, names in metadata.packages_distributions().items()}
    for top in ("attr", "numpy", "pandas", "pytest"):
        assert [package.rpartition(" ")[2] for package in packages([top])] == told[top]


# ---- what users are told --------------------------------------------------------------------------------------------


def test_a_workflow_tells_the_code_of_a_task_and_knows_near_ids() -> None:
    with cloaca.WorkflowBuilder("told", check="off") as builder:
        cloaca.task(id="clean")(lambda context: None)
    workflow = builder.build()
    assert workflow.code_of("clean") == Codes().of(workflow.tasks[0]).digest.hex()
    with pytest.raises(ValueError, match=r"Workflow 'told' has no task 'claen': did you mean 'clean'\?"):
        workflow.code_of("claen")


def test_what_has_changed_is_told() -> None:
    def code(**parts: int) -> Code:
        return Code(
            b"", {name.replace("_", " ").replace("DOT", "."): bytes([number]) for name, number in parts.items()}
        )

    def told(old: Code, new: Code) -> str:
        return changed(old, new).removeprefix("its code changed: ")

    f, g, h, i = (f"function_{name}_in_stepsDOTpy" for name in "fghi")
    assert told(code(**{f: 1, g: 1}), code(**{f: 2, g: 1})) == "function `f` in steps.py"
    assert told(code(**{f: 1}), code(**{f: 2, g: 1})) == "function `f` in steps.py, function `g` in steps.py (new)"
    assert told(code(**{f: 1, g: 1}), code(**{f: 1})) == "function `g` in steps.py (gone)"
    assert told(code(package_numpy_2DOT1=1), code(package_numpy_2DOT2=2)) == "package numpy 2.2 (was 2.1)"
    assert told(code(Python_3DOT11=1), code(Python_3DOT12=2)) == "Python 3.12 (was 3.11)"
    assert told(code(its_settings=1), code(its_settings=2)) == "its settings"
    many = [dict.fromkeys((f, g, h, i), number) for number in (1, 2)]
    assert told(code(**many[0]), code(**many[1])).endswith("function `h` in steps.py and 1 more")
    assert changed(Code(b"1"), Code(b"2")) == "its code changed"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", CASES)
def test_parts_have_names_that_people_know(name: str, found: Mapping[str, Any]) -> None:
    for part in found[CASES[name][0].result][0][1]:
        assert re.fullmatch(
            r"(function|class|constant|variable|object) [\w.<>]+ in [\w/.]+\.py|module [\w/.]+\.py|"
            r"its (default arguments|settings|fingerprint|cache_version)|"
            r"what it (closes over: \w+|is given beforehand)|"
            r"the object that it is called on|package [\w.-]+ [\w.+]+|Python 3\.\d+",
            part,
        ), part
