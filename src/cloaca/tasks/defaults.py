"""Defaults of parameters that a task could change: each call is given copies, so no attempt leaves a trace in them."""

from collections.abc import Callable, Iterable, Mapping, MutableMapping, MutableSequence, MutableSet
from copy import deepcopy
from typing import Any

from cloaca.tasks.place import innermost

_CONTAINERS = (MutableSequence, MutableMapping, MutableSet)


def changeable(function: Callable[..., Any], names: Iterable[str]) -> Mapping[str, Any]:
    """The defaults of these parameters, which go by keyword alone, as far as they can be changed, and copied."""
    defaults = getattr(innermost(function), "__kwdefaults__", None) or {}
    found = {name: defaults[name] for name in names if name in defaults}
    return {name: default for name, default in found.items() if not _is_marker(default) and _has_copies(default)}


def _is_marker(default: object) -> bool:
    """Whether there is nothing in it: such an object is known by its identity, which a copy hasn't."""
    is_empty = getattr(default, "__dict__", None) == {} and not isinstance(default, _CONTAINERS)
    return is_empty or type(default) is object


def _has_copies(default: object) -> bool:
    try:
        return deepcopy(default) is not default
    except Exception:  # noqa: BLE001 - copying runs user code; what can't be copied is handed out as it is
        return False
