"""Annotations of parameters: resolved and checked when a workflow is built, applied to values when a task begins.

msgspec does the converting, strictly: no text becomes a number. A value that already is what is asked for passes as it
is, also where msgspec would only take the plain data that it could be made of: members of enums, instances of
subclasses.
"""

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from types import SimpleNamespace, UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

import msgspec

from cloaca.tasks.place import innermost
from cloaca.tasks.signature import UNSAID, Form, Parameter

_UNIONS: Final = (Union, UnionType)


def typed(function: Callable[..., object], form: Form) -> Form:
    """The form, with types in place of annotations that are text.

    Raises `ValueError` where one can't be resolved, or can't be checked, saying what would do.
    """
    parameters = tuple([_typed(function, parameter) for parameter in form.parameters])
    return form if parameters == form.parameters else replace(form, parameters=parameters)


def _typed(function: Callable[..., object], parameter: Parameter) -> Parameter:
    if parameter.annotation is UNSAID:
        return parameter
    annotation = _resolved(function, parameter)
    if fault := _fault(annotation):
        raise ValueError(
            f"parameter {parameter.name!r} is annotated with {named(annotation)}, which can't be checked ({fault}): "
            "annotate it with a class, or with what msgspec can convert to, or not at all."
        )
    return parameter if annotation is parameter.annotation else replace(parameter, annotation=annotation)


def _resolved(function: Callable[..., object], parameter: Parameter) -> Any:
    """The type that the annotation stands for, as seen from the function's module."""
    inner = innermost(function)
    try:
        names = getattr(inner, "__globals__", {})
        holder: Any = SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
        return get_type_hints(holder, names, _enclosing(inner), include_extras=True)[parameter.name]
    except Exception as error:
        raise ValueError(
            f"the annotation {parameter.annotation!r} of parameter {parameter.name!r} can't be resolved "
            f"({type(error).__name__}: {error}): name what the function's module defines, or leave it out."
        ) from error


def _enclosing(function: Any) -> Mapping[str, Any]:
    """What the function closes over, by name."""
    return inspect.getclosurevars(function).nonlocals if inspect.isfunction(function) else {}


def _fault(annotation: Any) -> str | None:
    """Why values can't be checked against the annotation; `None` where they can."""
    try:
        return _known_fault(annotation)
    except TypeError:  # it has no hash
        return _known_fault.__wrapped__(annotation)


@lru_cache(maxsize=1024)
def _known_fault(annotation: Any) -> str | None:
    try:
        msgspec.convert(_NOTHING, annotation)
    except msgspec.ValidationError:
        pass
    except Exception as error:  # noqa: BLE001 - asks classes, which are the user's
        if get_origin(annotation) not in _UNIONS:
            return str(error)
    return next(filter(None, map(_fault, _parts(annotation))), None)


def _parts(annotation: Any) -> tuple[Any, ...]:
    """The types that a type is made of: msgspec looks at them only where a value has got so far."""
    match get_origin(annotation):
        case typing.Literal:
            return ()
        case typing.Annotated:
            return get_args(annotation)[:1]
        case _:
            return tuple([part for part in get_args(annotation) if isinstance(part, type) or get_origin(part)])


_NOTHING: Final = object()


def named(annotation: Any) -> str:
    """The annotation, as the source has it."""
    return annotation.__qualname__ if isinstance(annotation, type) and not get_args(annotation) else str(annotation)


def described(annotation: Any) -> tuple[Any, ...]:
    """The annotation as a tuple of classes and texts."""
    parts = get_args(annotation)
    if not parts:
        return (annotation if isinstance(annotation, type) else repr(annotation),)
    return repr(get_origin(annotation)), *map(described, parts)


# ---- values --------------------------------------------------------------------------------------------------------


def converted(value: Any, annotation: Any) -> Any:
    """The value as annotated. Raises `msgspec.ValidationError` where it isn't and can't be made so."""
    if isinstance(annotation, type) and _is_of_class(value, annotation):
        return value
    try:
        return msgspec.convert(value, annotation, strict=True)
    except msgspec.ValidationError:
        if _is_instance(value, annotation):
            return value
        raise
    except TypeError:  # a union that msgspec takes apart no further
        return _converted_to_one(value, get_args(annotation))


def _converted_to_one(value: Any, annotations: tuple[Any, ...]) -> Any:
    """The value as the first of several annotations that it fits: such that it is already come first."""
    for annotation in sorted(annotations, key=lambda one: not _is_instance(value, one)):
        try:
            return converted(value, annotation)
        except msgspec.ValidationError:
            continue
    expected = " | ".join(map(named, annotations))
    raise msgspec.ValidationError(f"Expected `{expected}`, got `{type(value).__name__}`")


def _is_of_class(value: Any, kind: Any) -> bool:
    try:
        return isinstance(value, kind)
    except TypeError:  # one that doesn't tell, as TypedDict and Any
        return False


def _is_instance(value: Any, annotation: Any) -> bool:
    """Whether the value is as annotated already, all the way down."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if annotation is Any:
        return True
    if origin is None:
        return value is None if annotation is None else _is_of_class(value, annotation)
    if origin in _UNIONS:
        return any(_is_instance(value, part) for part in parts)
    if not isinstance(origin, type) or not isinstance(value, origin):
        return False
    if isinstance(value, Mapping):
        return all(_is_instance(key, parts[0]) and _is_instance(one, parts[1]) for key, one in value.items())
    if isinstance(value, tuple) and parts[-1] is not Ellipsis:
        return len(value) == len(parts) and all(map(_is_instance, value, parts))
    return isinstance(value, list | set | frozenset | tuple) and all(_is_instance(one, parts[0]) for one in value)
