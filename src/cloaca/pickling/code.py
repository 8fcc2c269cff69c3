"""What cloudpickle leaves out of a function's code: some globals that it uses, and the file where it stands.

cloudpickle looks for `LOAD_GLOBAL`; the body of a class loads its globals by other instructions, so a class defined
inside a task would arrive without them (its annotations, for a start). And from 3.1.3 on it hides the name of the file,
so that a traceback of a worker couldn't show the user's lines.
"""

import dis
from collections.abc import Iterator
from inspect import CO_OPTIMIZED
from types import CodeType
from typing import Any

from cloudpickle import cloudpickle

_HIDDEN = "<dynamic-code>"
_IN_CLASSES = frozenset({"LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
"""What loads globals in the body of a class, and in the code of its annotations (since Python 3.12)."""


def global_names(code: CodeType) -> tuple[str, ...]:
    """The names, in a fixed order. The dict that cloudpickle keeps for this code is completed, so it finds them too."""
    names: dict[str, None] = cloudpickle._extract_code_globals(code)
    names.update(dict.fromkeys(_names_in_class_bodies(code)))
    return tuple(names)


def reduce_code(code: CodeType) -> tuple[Any, ...]:
    """Code as cloudpickle reduces it, with the name of its file."""
    kind, arguments = cloudpickle._code_reduce(code)
    if _FILE is None:
        return kind, arguments
    shown = "".join(code.co_filename)  # a string of its own, as interned ones make for other bytes
    return kind, (*arguments[:_FILE], shown, *arguments[_FILE + 1 :])


def _place_of_file() -> int | None:
    """Where among the arguments that make code the name of its file is hidden, if it is."""
    arguments: tuple[Any, ...] = cloudpickle._code_reduce(_place_of_file.__code__)[1]
    return next((place for place, part in enumerate(arguments) if isinstance(part, str) and part == _HIDDEN), None)


_FILE = _place_of_file()


def _names_in_class_bodies(code: CodeType) -> Iterator[str]:
    for inner in _inside(code):
        yield from _names_in_class_bodies(inner) if inner.co_flags & CO_OPTIMIZED else _names_in_class(inner)


def _names_in_class(code: CodeType) -> Iterator[str]:
    yield from (step.argval for step in dis.get_instructions(code) if step.opname in _IN_CLASSES)
    for inner in _inside(code):
        yield from _names_in_class(inner)


def _inside(code: CodeType) -> Iterator[CodeType]:
    return (constant for constant in code.co_consts if isinstance(constant, CodeType))
