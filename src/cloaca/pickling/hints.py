"""What annotations mean, found out where the names are that they mention.

    from __future__ import annotations

    class Node:
        kids: list[Node]
        day: date

Whoever reads them looks for the names in the module of the class. A process that can't import the module has none of
them, and one with the same name for something else would have the wrong ones: so the types travel, not the text, nor
the code that makes them on demand (since Python 3.14). What can't be resolved stays text: who reads it fails in the
program, too.
"""

import gc
import inspect
import sys
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from types import CodeType, FunctionType, NoneType
from typing import Annotated, Any, ForwardRef, Literal, get_args, get_origin, get_type_hints

from cloaca.wire.strike import is_strike

_NAMING = frozenset({CodeType, NoneType, str})
_plain_parts = attrgetter("__globals__", "__builtins__", "__defaults__", "__kwdefaults__", "__closure__")

if sys.version_info >= (3, 14):
    from annotationlib import Format, get_annotations

    def unresolved(thing: type | FunctionType) -> dict[str, Any]:
        """The annotations of a class or function itself, as text as far as that is to be had."""
        return get_annotations(thing, format=Format.STRING)

    def _as_far_as_known(thing: type | FunctionType) -> dict[str, Any]:
        texts, known = unresolved(thing), get_annotations(thing, format=Format.FORWARDREF)
        return {name: texts[name] if mentions_text(one) else one for name, one in known.items()}

    def signature(function: Callable[..., object], *, follow_wrapped: bool = True) -> inspect.Signature:
        """The signature. Annotations that Python can't evaluate are forward references in it."""
        return inspect.signature(function, follow_wrapped=follow_wrapped, annotation_format=Format.FORWARDREF)

else:
    signature = inspect.signature

    def unresolved(thing: type | FunctionType) -> dict[str, Any]:
        """The annotations of a class or function itself, as text as far as that is to be had."""
        return inspect.get_annotations(thing)

    _as_far_as_known = unresolved


def meant(cls: type) -> dict[str, Any]:
    """The annotations of a class itself, as types. Those that can't be resolved are text."""
    return _resolved(cls, written(cls))


def written(thing: type | FunctionType) -> dict[str, Any]:
    """The annotations of a class or function itself: as they are, and as text what Python can't evaluate."""
    try:
        return inspect.get_annotations(thing)
    except Exception as error:  # since Python 3.14, this evaluates what somebody wrote
        if is_strike(error, partial(inspect.get_annotations, thing)):
            raise
        return _as_far_as_known(thing)


def is_plain(function: FunctionType) -> bool:
    """Whether it has neither annotations nor attributes. Where it has none, to ask for these makes dicts that stay."""
    known = [*map(id, _plain_parts(function))]
    return not [one for one in gc.get_referents(function) if type(one) not in _NAMING and id(one) not in known]


def are_readable(function: FunctionType) -> bool:
    """Whether Python can evaluate the annotations of a function. If so, they are the same each time."""
    try:
        return function.__annotations__ is not None
    except Exception as error:  # since Python 3.14, this evaluates what somebody wrote
        if is_strike(error, lambda: function.__annotations__):
            raise
        return False


def readable(function: FunctionType) -> dict[str, Any]:
    """The annotations of a function, if only as text."""
    return function.__annotations__ if are_readable(function) else written(function)


def _resolved(cls: type, annotations: dict[str, Any]) -> dict[str, Any]:
    texts = {name: annotation for name, annotation in annotations.items() if mentions_text(annotation)}
    if not texts:
        return annotations
    names = _names(cls)
    return {name: _meaning(one, names) if name in texts else one for name, one in annotations.items()}


def mentions_text(annotation: Any) -> bool:
    if isinstance(annotation, str | ForwardRef):
        return True
    if isinstance(annotation, list):  # the arguments of a Callable
        return any(map(mentions_text, annotation))
    origin = get_origin(annotation)
    parts = () if origin is Literal else get_args(annotation)
    return any(map(mentions_text, parts[:1] if origin is Annotated else parts))


def _names(cls: type) -> dict[str, Any]:
    """What `typing.get_type_hints` and msgspec know by name where they read a class."""
    module = sys.modules.get(cls.__module__)
    parameters: tuple[Any, ...] = getattr(cls, "__type_params__", ())
    return {**vars(cls), **(vars(module) if module else {}), **{one.__name__: one for one in parameters}}


def _meaning(annotation: Any, names: dict[str, Any]) -> Any:
    holder: Any = type("Holder", (), {"__annotations__": {"it": annotation}})
    try:
        return get_type_hints(holder, names, {}, include_extras=True)["it"]
    except Exception:  # noqa: BLE001 - evaluates what somebody wrote: it may be no type at all
        return annotation
