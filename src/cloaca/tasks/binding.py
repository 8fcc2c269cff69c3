"""Binding: gives a task's function the keys that it is called with, each checked against its annotation.

It travels beside the function, and one serves all functions with the same parameters. A task without parameters or
declared writes is called as it is.
"""

from collections.abc import Callable, Iterable, Mapping, MutableMapping, MutableSequence, MutableSet
from copy import deepcopy
from functools import cached_property, wraps
from typing import Any, Final

from cloaca.errors import MissingKeyError, ParameterError
from cloaca.nearest import nearest
from cloaca.tasks.context import Context, contents_of
from cloaca.tasks.conversion import Conversion, conversion_of
from cloaca.tasks.mismatch import Mismatch
from cloaca.tasks.place import innermost
from cloaca.tasks.signature import UNSAID, Parameter
from cloaca.tasks.watched import Watched

_ABSENT: Final = object()
_CONTAINERS: Final = (MutableSequence, MutableMapping, MutableSet)


class Binding:
    """The parameters of a function: called with a context, it gives the values that the function is called with."""

    def __init__(self, parameters: tuple[Parameter, ...]) -> None:
        self._parameters = [(one.name, one.key, one.is_required, one.annotation) for one in parameters]

    @property
    def optional(self) -> list[str]:
        """The names of those that needn't be there."""
        return [name for name, _, is_required, _ in self._parameters if not is_required]

    def __call__(self, context: Context) -> dict[str, Any]:
        """The values by name. Those that are absent and needn't be there are left out.

        Raises:
            MissingKeyError: one that has to be there is absent.
            ParameterError: one isn't as it is annotated.
        """
        found = {}
        for name, key, is_required, annotation in self._parameters:
            value = context.get(key, _ABSENT)
            if value is not _ABSENT:
                is_fine = annotation is UNSAID or type(value) is annotation
                found[name] = value if is_fine else self._converted(context, name, key, value)
            elif is_required:
                contents = contents_of(context)
                contents.miss(key)
                raise MissingKeyError(contents.writer, key, tuple(nearest(key, context)))
        return found

    @cached_property
    def _conversions(self) -> dict[str, Conversion]:
        return {name: conversion_of(annotation) for name, _, _, annotation in self._parameters}

    def _converted(self, context: Context, name: str, key: str, value: Any) -> Any:
        try:
            return self._conversions[name](value)
        except Mismatch as found:
            raise misfit(contents_of(context).writer, name, key, found) from None

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, to be called without the values."""
        defaults = _changeable(function, self.optional)

        @wraps(function, assigned=(), updated=())
        def call(context: Context, *given: Any) -> Any:
            values = self(context)
            if isinstance(context, Watched):
                context.call_with(values)
            unset = {name: deepcopy(default) for name, default in defaults.items() if name not in values}
            return function(context, *given, **values, **unset)

        return call


def misfit(task: str, name: str, key: str, found: Mismatch) -> ParameterError:
    """The error that the value of a key isn't as the parameter of that name is annotated."""
    return ParameterError(task, key, f"{name}{found.path}: {found.fault}", found.advice)


def bound(
    function: Callable[..., Any], binding: Binding | None, writes: tuple[str, ...] | None, looks: tuple[str, ...] | None
) -> Callable[..., Any]:
    """The function, to be called without what is bound.

    It may set no other keys than `writes`, and look at no other than `looks`, where it has some.
    """
    called = function if binding is None else binding.around(function)
    if writes is None and looks is None:
        return called

    @wraps(function, assigned=(), updated=())
    def call(context: Context, *given: Any) -> Any:
        if writes is not None:
            contents_of(context).limit_writes(writes)
        if looks is not None:
            contents_of(context).limit_reads(looks)
        return called(context, *given)

    return call


def _changeable(function: Callable[..., Any], names: Iterable[str]) -> Mapping[str, Any]:
    """The defaults of these parameters, which go by keyword alone, as far as a task could change them, and copy them.

    Each call is given copies, so no attempt leaves a trace in them.
    """
    defaults = getattr(innermost(function), "__kwdefaults__", None) or {}
    return changeable({name: defaults[name] for name in names if name in defaults})


def changeable(defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Those defaults that a task could change, and copy."""
    return {name: default for name, default in defaults.items() if not _is_marker(default) and _has_copies(default)}


def _is_marker(default: object) -> bool:
    """Whether there is nothing in it: such an object is known by its identity, which a copy hasn't."""
    is_empty = getattr(default, "__dict__", None) == {} and not isinstance(default, _CONTAINERS)
    return is_empty or type(default) is object


def _has_copies(default: object) -> bool:
    try:
        return deepcopy(default) is not default
    except Exception:  # noqa: BLE001 - copying runs user code; what can't be copied is handed out as it is
        return False
