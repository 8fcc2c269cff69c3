"""Which functions can change nothing of their process, as far as their code tells.

To find out whether an item of `map` has left anything changed takes longer than the shortest of them do. What names
nothing but builtin functions that change nothing, and is called with constants, needn't be looked after.
"""

from collections.abc import Iterator
from types import BuiltinFunctionType, CodeType, FunctionType
from typing import Any

from cloaca.values.constants import is_constant

# fmt: off
_FUNCTIONS: frozenset[Any] = frozenset({
    abs, all, any, bool, bytes, chr, complex, dict, divmod, enumerate, float, frozenset, int, len, list, max, min, ord,
    pow, range, repr, reversed, round, set, slice, sorted, str, sum, tuple, zip,
})
# fmt: on
_NAMES = {function.__name__ for function in _FUNCTIONS}


def is_harmless(function: Any) -> bool:
    """Whether it changes nothing of its process, if it is called with constants.

    >>> is_harmless(lambda number: abs(number) ** 2), is_harmless(lambda text: print(text))
    (True, False)
    """
    if not isinstance(function, FunctionType):
        return isinstance(function, (type, BuiltinFunctionType)) and function in _FUNCTIONS
    known = function.__defaults__, *(function.__kwdefaults__ or {}).values(), *map(_content, function.__closure__ or ())
    names = {name for code in _codes(function.__code__) for name in code.co_names}
    return names <= _NAMES and names.isdisjoint(function.__globals__) and all(map(is_constant, known))


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
