"""Annotations of parameters: resolved and checked when a workflow is built."""

import inspect
import typing
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import SimpleNamespace, UnionType
from typing import Any, Final, ForwardRef, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec.structs import replace

from cloaca.tasks.place import innermost
from cloaca.tasks.signature import UNSAID, Form, Parameter
from cloaca.wording import summary_of

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
        advice = _IMPORT_IT if isinstance(error, NameError) else _NAME_IT
        raise ValueError(
            f"the annotation {_source(parameter.annotation)!r} of parameter {parameter.name!r} can't be resolved "
            f"({summary_of(error)}): {advice}"
        ) from error


def _source(annotation: Any) -> Any:
    """What the source has for it, as text."""
    return annotation.__forward_arg__ if isinstance(annotation, ForwardRef) else annotation


_NAME_IT: Final = "name what the function's module defines, or leave it out."
_IMPORT_IT: Final = (
    "name what the function's module defines. A name that is imported under `if TYPE_CHECKING:` isn't there when the "
    "program runs: import it at run time, or leave the annotation out."
)


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
    """The annotation, as the source has it.

    >>> named(dict[str, list[int] | None])
    'dict[str, list[int] | None]'
    """
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin in _UNIONS:
        return " | ".join(map(named, parts))
    if annotation is type(None) or annotation is Ellipsis:
        return "None" if annotation is not Ellipsis else "..."
    if parts and isinstance(origin, type):
        return f"{origin.__qualname__}[{', '.join(map(named, parts))}]"
    return annotation.__qualname__ if isinstance(annotation, type) else str(annotation)


def described(annotation: Any) -> tuple[Any, ...]:
    """The annotation as a tuple of classes and texts."""
    parts = get_args(annotation)
    if not parts:
        return (annotation if isinstance(annotation, type) else repr(annotation),)
    return repr(get_origin(annotation)), *map(described, parts)
