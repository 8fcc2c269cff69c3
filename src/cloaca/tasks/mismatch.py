"""Mismatch: a value isn't as it is annotated. Told in Python's words, with the way that leads there."""

import re
from collections.abc import Mapping
from reprlib import repr as short
from types import MappingProxyType
from typing import Any, Final, Literal, get_args, get_origin

import msgspec

from cloaca.tasks.signature import named

_AT: Final = " - at `$"
_KINDS: Final = re.compile("Expected `[^`]+`, got `[^`]+`")
_FIELD: Final = re.compile("Object (missing required|contains unknown) field `(.*)`")
_PYTHON: Final[Mapping[str, str]] = MappingProxyType({"array": "list", "object": "dict", "null": "None"})


class Mismatch(Exception):  # noqa: N818 - told as a ParameterError in the end
    """What is wrong with a value: the `fault`, and what to do (`advice`) where that is known.

    `path` leads there from the value that was looked at, in `depth` steps.
    """

    def __init__(self, fault: str, *, path: str = "", advice: str = "") -> None:
        super().__init__(fault)
        self.fault = fault
        self.path = path
        self.depth = 0
        self.advice = advice

    def enter(self, step: str) -> None:
        """The value is a part of another one, to which `step` leads."""
        self.path = step + self.path
        self.depth += 1


def mismatch(annotation: Any, value: object) -> Mismatch:
    """The value is something else than what is annotated."""
    kind = type(value)
    name, got = named(annotation), "None" if value is None else named(kind)
    if isinstance(annotation, type) and _full(annotation) in map(_full, kind.__mro__):
        advice = f"{name} was probably defined anew after the block ended: run the block again."
        return Mismatch(f"expected {name}, got an instance of another class of that name", advice=advice)
    if isinstance(annotation, type) and name == got:
        name, got = _full(annotation), _full(kind)
    return Mismatch(f"expected {name}, got {got}")


def told_by_msgspec(error: msgspec.ValidationError, annotation: Any, value: object) -> Mismatch:
    """What msgspec found wrong with the value."""
    found, _, path = str(error).partition(_AT)
    if get_origin(annotation) is Literal:
        return Mismatch(f"expected {' or '.join(map(repr, get_args(annotation)))}, got {short(value)}")
    if not path and _KINDS.fullmatch(found):
        return mismatch(annotation, value)
    if field := _FIELD.fullmatch(found):
        return missing(field[2]) if field[1] == "missing required" else Mismatch(f"field {field[2]!r} is unknown")
    words = re.sub("`(.*?)`", lambda quoted: _PYTHON.get(quoted[1], quoted[1]), found)
    return Mismatch(words[:1].lower() + words[1:], path=path.rstrip("`"))


def missing(field: str) -> Mismatch:
    """A dict lacks what is asked for."""
    return Mismatch(f"field {field!r} is missing")


def _full(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
