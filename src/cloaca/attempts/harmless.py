"""Which functions can change nothing of their process, as far as their code tells.

To find out whether an item has left anything changed takes longer than the shortest of them do. What names nothing but
builtin functions that change nothing, methods of builtin types, constants, and other functions of the kind, and is
called with plain values, needn't be looked after: all that it meets is of builtin types, and mostly its own.
"""

import math
from collections.abc import Iterator
from opcode import opmap
from types import BuiltinFunctionType, CodeType, FunctionType
from typing import Any

from cloaca.values.kinds import is_constant

# fmt: off
_FUNCTIONS: frozenset[Any] = frozenset({
    abs, all, any, bool, bytes, chr, complex, dict, divmod, enumerate, filter, float, frozenset, hash, hex, int,
    isinstance, iter, len, list, map, max, min, next, ord, pow, range, repr, reversed, round, set, slice, sorted, str,
    sum, tuple, zip, ArithmeticError, AssertionError, Exception, IndexError, KeyError, LookupError, OverflowError,
    TypeError, ValueError, ZeroDivisionError,
})
# fmt: on
_KINDS = (bool, bytes, complex, dict, float, frozenset, int, list, range, set, str, tuple)
_NAMES = {function.__name__ for function in _FUNCTIONS}.union(
    name for kind in (*_KINDS, math) for name in dir(kind) if not name.startswith("_")
)
_STORING = {opmap[f"{what}_{where}"] for what in ("STORE", "DELETE") for where in ("ATTR", "GLOBAL")}
_REBINDING = {opmap[f"{what}_DEREF"] for what in ("STORE", "DELETE")}


def is_harmless(function: Any) -> bool:
    """Whether it changes nothing of its process, if it is called with plain values, and with a context.

    >>> is_harmless(lambda text: abs(text.count("a")) ** 2), is_harmless(lambda text: print(text))
    (True, False)
    """
    if not isinstance(function, FunctionType):
        return isinstance(function, (type, BuiltinFunctionType)) and function in _FUNCTIONS
    return _is_harmless(function, set())


def _is_harmless(function: FunctionType, met: set[int]) -> bool:
    """`met` are those that are looked at already: functions may call each other."""
    if id(function) in met:
        return True
    met.add(id(function))
    codes = [*_codes(function.__code__)]
    operations = {operation for code in codes for operation in code.co_code[::2]}
    if not operations.isdisjoint(_STORING) or (function.__closure__ and not operations.isdisjoint(_REBINDING)):
        return False
    named = {name: function.__globals__.get(name, _NOTHING) for code in codes for name in code.co_names}
    held = [value for value in named.values() if value is not _NOTHING]
    held += [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    held += map(_content, function.__closure__ or ())
    is_known = all(value is not _NOTHING or name in _NAMES for name, value in named.items())
    return is_known and all(_is_safe(value, met) for value in held)


_NOTHING = object()


def _is_safe(value: Any, met: set[int]) -> bool:
    return value is math or (_is_harmless(value, met) if isinstance(value, FunctionType) else is_constant(value))


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # it is empty
        return cell


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)
