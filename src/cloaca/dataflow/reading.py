"""Reading: a function's code is read as a whole, with the functions inside."""

import dis
from collections.abc import Iterator, Mapping
from types import CodeType
from typing import Final

from cloaca.dataflow.reader import Reader
from cloaca.dataflow.symbols import CONTEXT, NAME, Symbol
from cloaca.dataflow.uses import Uses

LONGEST: Final = 100_000
"""How many bytes of code are read: longer code may do anything."""
_DEEPEST: Final = 20
_STORE_GLOBAL: Final = dis.opmap["STORE_GLOBAL"]


def uses_of(code: CodeType, context: str) -> Uses:
    """What the code does with its context, which is the parameter of that name."""
    found = Uses()
    codes = [*_codes(code)]
    if sum(len(one.co_code) for one in codes) > LONGEST:
        found.open()
        return found
    unsteady = frozenset(name for one in codes for name in _stored_outside(one))
    around = {name: Symbol(NAME, name) for name in code.co_freevars if name not in unsteady}
    _read(code, {context: CONTEXT}, found, around, unsteady, 0)
    return found


def _read(
    code: CodeType,
    parameters: Mapping[str, Symbol],
    found: Uses,
    around: Mapping[str, Symbol],
    unsteady: frozenset[str],
    depth: int,
) -> None:
    reader = Reader(code, found, around, unsteady)
    reader.read(parameters)
    for inner, known in reader.inner():
        if CONTEXT not in known.values():
            continue
        if depth == _DEEPEST:
            found.open()
            return
        later = Uses()
        _read(inner, {}, later, known, unsteady, depth + 1)
        found.take_over(later)


def _codes(code: CodeType) -> Iterator[CodeType]:
    """The code of a function, and of those inside."""
    codes = [code]
    for one in codes:  # grows meanwhile
        codes += [constant for constant in one.co_consts if isinstance(constant, CodeType)]
    return iter(codes)


def _stored_outside(code: CodeType) -> Iterator[str]:
    """The variables around the code that it sets itself."""
    if not code.co_freevars and _STORE_GLOBAL not in code.co_code[::2]:
        return
    for step in dis.get_instructions(code):
        if step.opname == "STORE_GLOBAL" or (step.opname == "STORE_DEREF" and step.argval in code.co_freevars):
            yield step.argval
