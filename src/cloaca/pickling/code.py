"""Code of functions: which names it uses, and how it travels: marshalled, once for all functions that have it."""

import dis
import marshal
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType
from typing import Any

_PLAIN = 2
"""The newest version of the format whose bytes don't depend on who else refers to a constant. It lacks slices."""

_OF_GLOBALS = frozenset({"LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
"""The last two stand in the body of a class, and in the code of its annotations (since Python 3.12)."""


@lru_cache
def global_names(code: CodeType) -> tuple[str, ...]:
    """The names of the globals that code may use, that of inner functions and classes included, in a fixed order."""
    return tuple(dict.fromkeys(_names_in(code)))


@lru_cache
def attribute_names(code: CodeType) -> frozenset[str]:
    """All names that code mentions, of attributes as well as of globals."""
    return frozenset(code.co_names).union(*map(attribute_names, _inside(code)))


def reduce_code(code: CodeType) -> tuple[Any, ...]:
    """Code as its bytes. cloudpickle would hide where it stands: a traceback couldn't show the user's lines."""
    return load_code, (_marshalled(code, code.co_filename, code.co_qualname),)


@lru_cache
def load_code(marshalled: bytes) -> CodeType:
    """The code of these bytes: functions that share it do so here, too."""
    code: CodeType = marshal.loads(marshalled)  # noqa: S302 - in a pickle, which could run anything as well
    return code


@lru_cache
def _marshalled(code: CodeType, *_: str) -> bytes:
    """Equal code may stand in different files."""
    try:
        return marshal.dumps(code, _PLAIN)
    except ValueError:
        return marshal.dumps(code)


def _names_in(code: CodeType) -> Iterator[str]:
    for step in dis.get_instructions(code):
        if step.opname in _OF_GLOBALS:
            yield step.argval
    for inner in _inside(code):
        yield from _names_in(inner)


def _inside(code: CodeType) -> Iterator[CodeType]:
    return (constant for constant in code.co_consts if isinstance(constant, CodeType))
