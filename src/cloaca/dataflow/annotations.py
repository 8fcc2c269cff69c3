"""Annotations: whether a value of one type can be what a parameter asks for, as far as that is certain.

A parameter takes what it is annotated with, and what is converted to that (see `tasks/conversion`). Whatever isn't
known for certain may fit: protocols, type variables, elements of containers, which may be empty.
"""

import dataclasses
import inspect
import typing
from abc import ABCMeta
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin
from uuid import UUID

from msgspec import Struct

from cloaca.tasks.conversion import bare
from cloaca.tasks.signature import UNSAID, returned_by
from cloaca.workflows.workflow import Task

_UNIONS: Final = (Union, UnionType)
_NUMBERS: Final = (int, float, complex)
_ARRAYS: Final = (list, tuple, set, frozenset)
_ALONE: Final = (*_NUMBERS, str, bytes, NoneType)
_USUAL: Final = (type.__instancecheck__, ABCMeta.__instancecheck__)
"""How it is found out whether something is an instance, unless a class has ideas of its own."""
_PLAIN: Final = (*_ALONE, *_ARRAYS, dict)
_WRITTEN: Final = (date, time, timedelta, UUID, Decimal, Fraction)
"""What is made of texts and numbers."""


def returned(task: Task) -> dict[str, Any]:
    """The types of what a plain function returns, by key, as far as it is annotated."""
    keys = task.form.returns or ()
    if not keys or task.for_each is not None:
        return {}
    annotation = returned_by(task.function)
    if len(keys) == 1:
        return {keys[0]: annotation}
    places = get_args(annotation) if get_origin(annotation) is tuple else ()
    return dict(zip(keys, places, strict=True)) if len(places) == len(keys) and Ellipsis not in places else {}


def fault_of(task: Task) -> str | None:
    """What is surely wrong with the annotation of what a plain function returns, where it has several keys."""
    count = len(task.form.returns or ())
    if count <= 1:
        return None
    annotation = returned_by(task.function)
    places = get_args(annotation) if get_origin(annotation) is tuple else ()
    if places and Ellipsis not in places:
        return None if len(places) == count else f"a tuple of {len(places)}"
    return "no tuple" if never_fits(annotation, tuple) and never_fits(annotation, list) else None


def never_fits(given: Any, asked: Any) -> bool:
    """Whether a value of one type can surely not be given where the other one is asked for.

    >>> never_fits(str, int), never_fits(int, float), never_fits(int | None, str | list[int])
    (True, False, True)
    >>> never_fits(list[int], list[str]), never_fits(Any, int), never_fits(str, date)
    (False, False, False)
    """
    ways = _ways(given)
    asked_for = _ways(asked)
    return bool(ways and asked_for) and all(_is_apart(one, other) for one in ways for other in asked_for)


def element_of(annotation: Any) -> Any:
    """What a collection of that type has for items, where that is known: `Any` otherwise."""
    parts = get_args(annotation)
    if get_origin(annotation) in (list, set, frozenset):
        return parts[0]
    return parts[1] if get_origin(annotation) is dict else Any


def _ways(annotation: Any) -> list[type]:
    """The classes of which a value is one; none where nobody knows."""
    annotation = bare(annotation)
    origin = get_origin(annotation)
    if origin is typing.Annotated:
        return _ways(annotation.__origin__)
    if origin is Literal:
        return [type(one) for one in get_args(annotation)]
    if origin in _UNIONS:
        parts = [_ways(part) for part in get_args(annotation)]
        return [one for part in parts for one in part] if all(parts) else []
    kind = NoneType if annotation is None else origin or annotation
    return [kind] if isinstance(kind, type) and _is_telling(kind) else []


def _is_telling(kind: type) -> bool:
    return kind not in (UNSAID, object, Any) and not getattr(kind, "_is_protocol", False)


def _is_apart(given: type, asked: type) -> bool:
    if typing.is_typeddict(given):
        given = dict
    if given not in _PLAIN and (inspect.isabstract(given) or issubclass(given, Enum)):
        return False
    if typing.is_typeddict(asked):
        return not _is_made_of(asked, given)
    if type(asked).__instancecheck__ not in _USUAL:
        return False
    try:
        if issubclass(given, asked) or issubclass(asked, given) or _has_both(given, asked):
            return False
        return not _is_made_of(asked, given)
    except TypeError:  # a class that doesn't tell
        return False


def _has_both(given: type, asked: type) -> bool:
    """Whether there is a class that is both."""
    ahead, met = [given], {given}
    for kind in ahead:  # grows meanwhile
        if issubclass(kind, asked):
            return True
        found = [one for one in type.__subclasses__(kind) if one not in met]
        met.update(found)
        ahead += found
    return False


def _is_made_of(asked: type, given: type) -> bool:
    """Whether a value of what is asked for may be made of one that is given."""
    if asked in (bool, *_NUMBERS):
        return issubclass(given, _NUMBERS) or hasattr(given, "__index__") or hasattr(given, "__float__")
    if asked in _ARRAYS or inspect.isabstract(asked):
        return issubclass(given, _ARRAYS)
    if asked is str:
        return issubclass(given, _WRITTEN)
    if asked is bytes:
        return given is str or given not in _PLAIN
    if asked is dict:
        return given not in _PLAIN
    if asked is NoneType:
        return given not in _PLAIN
    if issubclass(asked, Enum):
        return True
    if issubclass(asked, _WRITTEN):
        return given in (*_NUMBERS, str) or given not in _PLAIN
    if issubclass(asked, Struct) or dataclasses.is_dataclass(asked) or typing.is_typeddict(asked):
        return given not in _ALONE
    return False
