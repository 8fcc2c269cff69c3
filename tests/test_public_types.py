"""Every public name is typed in full, and `typing_surface.py`, which the type checkers read, pins them all."""

import ast
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

import cloaca

SURFACE = Path(__file__).with_name("typing_surface.py")


def test_the_surface_pins_every_public_name() -> None:
    tree = ast.parse(SURFACE.read_text(encoding="utf-8"))
    pinned = {node.attr for node in ast.walk(tree) if _is_of_cloaca(node)}  # type: ignore[attr-defined]
    assert set(cloaca.__all__) - pinned == set()


def _is_of_cloaca(node: ast.AST) -> bool:
    match node:
        case ast.Attribute(value=ast.Name(id="cloaca")):
            return True
        case _:
            return False


def test_the_surface_pins_every_member_of_a_context() -> None:
    _assert_pinned("contexts", cloaca.Context)


@pytest.mark.parametrize(
    ("function", "kind"),
    [("workflows", cloaca.Workflow), ("results", cloaca.TaskResult), ("results", cloaca.WorkflowResult)],
)
def test_the_surface_pins_every_member(function: str, kind: type) -> None:
    _assert_pinned(function, kind)


def _assert_pinned(function: str, kind: type) -> None:
    tree = ast.parse(SURFACE.read_text(encoding="utf-8"))
    (body,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function)
    used = {node.attr for node in ast.walk(body) if isinstance(node, ast.Attribute)}
    assert {name for name in vars(kind) if not name.startswith("_")} - used == set()


def functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every public function, and every method and property of every public class, with where it is found."""
    for name in cloaca.__all__:
        value = getattr(cloaca, name)
        members = vars(value).items() if isinstance(value, type) else [("", value)]
        for member, held in members:
            function = _function(held)
            if function is not None and (member in {"", "__init__", "__call__"} or not member.startswith("_")):
                yield f"{name}.{member}".rstrip("."), function


def _function(held: Any) -> Callable[..., Any] | None:
    match held:
        case FunctionType():
            return held
        case classmethod() | staticmethod():
            return held.__func__
        case property():
            return held.fget
        case _:
            return None


@pytest.mark.parametrize(("where", "function"), [pytest.param(*pair, id=pair[0]) for pair in functions()])
def test_every_argument_and_every_return_has_a_type(where: str, function: Callable[..., Any]) -> None:
    signature = inspect.signature(function)
    parameters = [name for name in signature.parameters if name not in {"self", "cls"}]
    untyped = [name for name in parameters if signature.parameters[name].annotation is inspect.Parameter.empty]
    assert (where, untyped) == (where, [])
    assert signature.return_annotation is not inspect.Signature.empty


def test_there_is_something_to_check() -> None:
    assert {"task", "Context.get", "Context.__init__", "WorkflowResult.final_context"} - dict(functions()).keys() <= {
        "WorkflowResult.final_context"  # a cached property
    }


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(cloaca.__file__).parent / "py.typed").exists()
