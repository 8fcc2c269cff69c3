"""The version: the same wherever nothing that matters differs, and another one where something does."""

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cloaca.workflows.version import version

if TYPE_CHECKING:
    from collections.abc import Callable

BASE = """
    import functools
    from dataclasses import dataclass

    RATE = 3

    def helper(x):
        return twice(x) + 1

    def twice(x):
        return x * 2 if x < 9 else helper(x - 9)

    @functools.cache
    def cached(x):
        return x + 100

    class Rule:
        limit = 5

        @staticmethod
        def apply(x):
            return x > Rule.limit

    def make(factor):
        def scaled(context):
            return factor * len(context)
        return scaled

    def load(context, names=("a", "b"), *, deep=True):
        if context.get("kind") in {"x", "y", "z", "long", "longer"}:
            context.set("rows", helper(3))
        return {k: cached(v) for k, v in context.items() if Rule.apply(v)}

    registry = [helper]
    registry.append(registry)

    TASKS = [
        ("load", [], load),
        ("scaled", ["load"], make(7)),
        ("partial", ["load"], functools.partial(load, names=registry)),
        ("last", ["scaled", "partial"], lambda context: context.set("seen", frozenset("abcdef"))),
    ]
"""


def version_of(source: str) -> str:
    namespace: dict[str, object] = {"__name__": "somewhere"}
    exec(textwrap.dedent(source), namespace)
    return version(namespace["TASKS"])  # type: ignore[arg-type]


def test_it_has_16_hex_digits() -> None:
    assert len(version_of(BASE)) == 16
    assert int(version_of(BASE), 16) >= 0


@pytest.mark.parametrize("seed", ["0", "1", "4242"])
def test_it_is_the_same_in_every_process(seed: str, tmp_path: Path) -> None:
    script = tmp_path / "somewhere.py"
    script.write_text(textwrap.dedent(BASE) + "\nfrom cloaca.workflows.version import version\n")
    again = "import somewhere; print(somewhere.version(somewhere.TASKS))"
    runs = [
        subprocess.run(
            [sys.executable, "-c", again],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join([str(tmp_path), *sys.path])},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        for _ in range(2)  # compiled from the text, then loaded from the bytecode file
    ]
    assert [run.stdout.strip() for run in runs] == [version_of(BASE)] * 2
    assert list(tmp_path.glob("__pycache__/somewhere*.pyc"))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('("load", [], load)', '("loading", [], load)'),
        ('["scaled", "partial"]', '["partial", "scaled"]'),
        ('("scaled", ["load"]', '("scaled", []'),
        ('names=("a", "b")', 'names=("a", "c")'),
        ("deep=True", "deep=1"),
        ("make(7)", "make(8)"),
        ('"rows", helper(3)', '"rows", helper(4)'),
        ("helper(x - 9)", "helper(x - 8)"),
        ("x + 100", "x + 101"),
        ('"longer"}', '"longest"}'),
        ('frozenset("abcdef")', 'frozenset("abcdeg")'),
        ("limit = 5", "limit = 6"),
        ("x > Rule.limit", "x >= Rule.limit"),
        ("@staticmethod", "@classmethod"),
        ("registry = [helper]", "registry = [twice]"),
        ("names=registry", "names=None"),
        ("@dataclass", "@functools.lru_cache"),
    ],
)
def test_it_changes_with(before: str, after: str) -> None:
    source = BASE if before in BASE else BASE.replace("class Rule", f"{before}\n    class Rule")
    assert version_of(source) != version_of(source.replace(before, after))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("def helper", "# a remark\n\n\n    def helper"),
        ("RATE = 3", "RATE = 4"),
        ("return twice(x) + 1", "return (\n            twice(x) + 1\n        )"),
        ("RATE = 3", "def unused(x):\n        return 1"),
    ],
)
def test_it_does_not_change_with(before: str, after: str) -> None:
    assert version_of(BASE) == version_of(BASE.replace(before, after))


def test_a_class_inside_a_task_counts_without_its_line() -> None:
    inner = """
    def load(context):
        class Row:
            width = 3
            def area(self):
                self.seen = self.width
        return Row.width
    TASKS = [("load", [], load)]
    """
    assert len({version_of("\n" * lines + inner) for lines in range(5)}) == 1
    assert version_of(inner) != version_of(inner.replace("width = 3", "width = 4"))


def test_values_without_a_text_of_their_own_count_by_type() -> None:
    def captured(value: object) -> str:
        return version([("t", [], lambda context: context.set("x", value))])

    assert captured(object()) == captured(object())
    assert captured(object()) != captured(ValueError())
    assert captured({"a": {1, 2}, "b": 1.5}) == captured({"b": 1.5, "a": {2, 1}})
    assert captured(1) != captured(True)
    assert captured([1, [2]]) != captured([[1], 2])
    assert captured("\ud800") != captured("\ud801")
    assert captured(10**5000) != captured(10**5000 + 1)


def test_a_long_chain_of_helpers_does_not_recurse() -> None:
    chain = "\n".join(f"def f{i}(x): return f{i + 1}(x)" for i in range(5000))
    tail = "\ndef f5000(x): return {}\nTASKS = [('t', [], f0)]"
    assert version_of(chain + tail.format(1)) != version_of(chain + tail.format(2))


def test_nested_values_do_not_recurse() -> None:
    nested: tuple[object, ...] = ()
    for _ in range(5000):
        nested = (nested,)
    assert version([("t", [], lambda context: nested)]) != version([("t", [], lambda context: nested[0])])


def test_callables_of_every_kind_have_a_version() -> None:
    class Add:
        def __call__(self, context):
            return None

        def method(self, context):
            return None

    kinds: list[Callable[..., object]] = [Add(), Add().method, Add, print, len, "".join]
    versions = [version([("t", [], kind)]) for kind in kinds]
    assert len(set(versions)) == len(kinds)


def test_that_somebody_reads_annotations_changes_nothing() -> None:
    class Row:
        price: float

    def task(context: dict[str, Row]) -> None:
        context["row"] = Row()

    before = version([("task", [], task)])
    assert Row.__annotations__ == {"price": float}
    assert version([("task", [], task)]) == before
