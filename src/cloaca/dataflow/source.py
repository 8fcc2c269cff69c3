"""Source: the syntax tree of a function, found by its code in the source from which that was compiled."""

import __future__

import ast
import linecache
from collections import defaultdict
from collections.abc import Mapping, Sequence
from types import CodeType
from typing import Any, Final

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

_MOST_LINES: Final = 100_000
_MOST_FILES: Final = 16
_REWRITTEN: Final = "@pytest_ar"
"""Stands in code of which pytest has rewritten the assertions."""

_LEAVES: Final = frozenset({ast.Load, ast.Store, ast.Name, ast.Constant})

_Functions = Mapping[tuple[int, str], Sequence[FunctionNode]]
_files: dict[str, tuple[list[str], _Functions]] = {}


def node_of(code: CodeType) -> FunctionNode | None:
    """The function of that code, if its source is there and still is what the code was made from."""
    linecache.checkcache(code.co_filename)
    lines = linecache.getlines(code.co_filename)
    if code.co_filename not in _files or _files[code.co_filename][0] is not lines:
        if len(_files) >= _MOST_FILES:
            _files.clear()
        _files[code.co_filename] = lines, _functions(lines)
    _, functions = _files[code.co_filename]
    nodes = functions.get((code.co_firstlineno, code.co_name), ())
    return next((node for node in nodes if _REWRITTEN in code.co_names or _is_of(node, code)), None)


def _functions(lines: list[str]) -> _Functions:
    """The functions of a file, by the line on which they begin and their name."""
    functions: dict[tuple[int, str], list[FunctionNode]] = defaultdict(list)
    try:
        tree = ast.parse("".join(lines if len(lines) < _MOST_LINES else []))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return functions
    nodes: list[ast.AST] = [tree]
    for node in nodes:  # grows meanwhile: four times as fast as `ast.walk`
        for part in vars(node).values():
            if isinstance(part, list):
                nodes += [one for one in part if isinstance(one, ast.AST)]
            elif isinstance(part, ast.AST) and part.__class__ not in _LEAVES:
                nodes.append(part)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.decorator_list[0] if node.decorator_list else node
            functions[first.lineno, node.name].append(node)
        elif isinstance(node, ast.Lambda):
            functions[node.lineno, "<lambda>"].append(node)
    return functions


def _is_of(node: FunctionNode, code: CodeType) -> bool:
    """Whether the function is compiled to code that names and holds the same things in the same order."""
    module = ast.Module([ast.copy_location(ast.Expr(node), node) if isinstance(node, ast.Lambda) else node], [])
    if code.co_freevars:
        around: Any = ast.parse(f"def around({', '.join(code.co_freevars)}): ...")
        around.body[0].body = module.body
        module = around
    flags = code.co_flags & __future__.annotations.compiler_flag
    outer = compile(module, code.co_filename, "exec", flags, dont_inherit=True)
    codes = _codes_in(_codes_in(outer)[0] if code.co_freevars else outer)
    return any(one.co_name == code.co_name and _named(one) == _named(code) for one in codes)


def _named(code: CodeType) -> Sequence[Any]:
    held = [_named(one) if isinstance(one, CodeType) else one for one in code.co_consts]
    return code.co_names, code.co_varnames, code.co_cellvars, code.co_freevars, held


def _codes_in(code: CodeType) -> list[CodeType]:
    return [constant for constant in code.co_consts if isinstance(constant, CodeType)]
