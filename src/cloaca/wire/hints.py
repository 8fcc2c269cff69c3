"""What annotations of a class that are text mean, found out where the names are that they mention.

    from __future__ import annotations

    class Node:
        kids: list[Node]
        day: date

Whoever reads them looks for the names in the module of the class. A process that can't import the module has none of
them, and one with the same name for something else would have the wrong ones: so the types travel, not the text. Text
that can't be resolved stays what it is: who reads it fails in the program, too.
"""

import sys
from typing import Annotated, Any, ForwardRef, Literal, get_args, get_origin, get_type_hints


def resolved(cls: type, annotations: dict[str, Any]) -> dict[str, Any]:
    """The annotations of a class, with types in place of text."""
    texts = {name: annotation for name, annotation in annotations.items() if _mentions_text(annotation)}
    if not texts:
        return annotations
    names = _names(cls)
    return {name: _meaning(one, names) if name in texts else one for name, one in annotations.items()}


def _mentions_text(annotation: Any) -> bool:
    if isinstance(annotation, str | ForwardRef):
        return True
    if isinstance(annotation, list):  # the arguments of a Callable
        return any(map(_mentions_text, annotation))
    origin = get_origin(annotation)
    parts = () if origin is Literal else get_args(annotation)
    return any(map(_mentions_text, parts[:1] if origin is Annotated else parts))


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
