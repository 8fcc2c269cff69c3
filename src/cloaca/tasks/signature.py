"""How a task's function is called: with the context, an item where it is mapped, a handle and keys if it asks for them.

Keyword-only parameters are keys of the context: `def total(context, *, year)` is given the value of `year`.

Plain functions are judged by their code object: `inspect.signature` costs more than everything else in a definition.
Annotations of keys are resolved and checked when a workflow is built.
"""

import inspect
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache, partial
from types import FunctionType, SimpleNamespace, UnionType
from typing import Any, Final, ForwardRef, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from cloaca.pickling import hints
from cloaca.tasks.place import innermost
from cloaca.wording import a, summary_of

_HANDLES: Final = frozenset({"handle", "task_handle"})
_ALONE: Final = (
    "a task function takes the context as its only argument, like `def load(context): ...`, or a handle beside it, "
    "like `def load(context, handle): ...`; keys go after an asterisk, like `def load(context, *, year): ...`"
)
_WITH_ITEM: Final = (
    "with for_each=, a task function takes the context and an item, like `def process(context, item): ...`, or a "
    "handle beside them, like `def process(context, item, handle): ...`; keys go after an asterisk, like "
    "`def process(context, item, *, year): ...`"
)
_NOT_PLAIN: Final = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR | inspect.CO_VARARGS
_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


UNSAID: Final = inspect.Parameter.empty
"""The annotation of a parameter that has none."""


class Parameter(Struct, frozen=True):
    """A key of the context that a function is called with, by name. One that isn't required may be absent.

    `annotation` is what the function says of its type, or `UNSAID`. `renamed`: the key, where that is called otherwise.
    `is_positional`: it is given by its place.
    """

    name: str
    is_required: bool = True
    annotation: Any = UNSAID
    renamed: str = ""
    is_positional: bool = False

    @property
    def key(self) -> str:
        """The key of the context."""
        return self.renamed or self.name


class Form(Struct, frozen=True):
    """What a function is called with, after the context. The `parameters` are keys.

    `returns`: of a plain function (see `tasks/plain`), which isn't given the context, the keys that are set to what it
    returns. `item`: the parameter that it has for an item.
    """

    takes_handle: bool = False
    takes_item: bool = False
    parameters: tuple[Parameter, ...] = ()
    returns: tuple[str, ...] | None = None
    item: Parameter | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it is that of a plain function."""
        return self.returns is not None

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that the function is called with."""
        return tuple([parameter.key for parameter in self.parameters])

    @property
    def count(self) -> int:
        """How many arguments that makes by position, with the context."""
        return 1 + self.takes_item + self.takes_handle


_FORMS: Final = {
    (takes_handle, takes_item): Form(takes_handle, takes_item)
    for takes_handle in (False, True)
    for takes_item in (False, True)
}
PLAIN: Final = _FORMS[False, False]
WITH_HANDLE: Final = _FORMS[True, False]


def form_of(task: str, function: Callable[..., object], *, with_item: bool = False) -> Form:
    """How `function` is called, in any case `with_item` if it is mapped. One that doesn't tell gets no handle.

    `task` is the task's id, for the message: raises `ValueError` where it can't be called so, saying what would do.
    """
    form = _FORMS[False, with_item]
    if type(function) is FunctionType and _takes(function, form.count):
        return form
    what = _WITH_ITEM if with_item else _ALONE
    _refuse_kind(task, function, what)
    try:
        signature = hints.signature(function, follow_wrapped=False)
    except ValueError:  # some builtins don't tell
        return form
    takes_handle = _asks_for_handle(function, signature, form.count)
    parameters = tuple(_declared(function, signature))
    form = Form(takes_handle, with_item, parameters) if parameters else _FORMS[takes_handle, with_item]
    try:
        signature.bind(*[None] * form.count, **{one.name: None for one in parameters})
    except TypeError as error:
        raise ValueError(f"Task {task!r}: {what}, and this one takes {signature}.") from error
    return form


def _takes(function: FunctionType, given: int) -> bool:
    """Recognise the plain cases, `(context)` and `(context, other=default)`; `False` means: look closer."""
    code = function.__code__
    if code.co_kwonlyargcount or code.co_flags & _NOT_PLAIN:
        return False
    count = code.co_argcount
    if count == given:
        return True
    return count > given == count - len(function.__defaults__ or ()) and code.co_varnames[given] not in _HANDLES


def _refuse_kind(task: str, function: Callable[..., object], what: str) -> None:
    if isinstance(function, type):
        name = function.__name__
        raise ValueError(
            f"Task {task!r}: {name} is a class, and to call it would only make an instance. Give an instance that can "
            f"be called: task(id={task!r})({name}(...)). Where the instance is what "
            f"is wanted, say under which key: task({name}, returns=...)."
        )
    if not callable(function):
        raise ValueError(f"Task {task!r}: {what}, and this is {a(type(function).__name__)}.")
    if is_generator(function):
        raise ValueError(f"Task {task!r}: {what}, and this is a generator: return from it instead of yielding.")


def is_generator(function: Callable[..., object]) -> bool:
    """Whether to call it makes a generator."""
    call = function if inspect.isroutine(function) else type(function).__call__
    return any(inspect.isgeneratorfunction(one) or inspect.isasyncgenfunction(one) for one in (function, call))


def _asks_for_handle(function: Callable[..., object], signature: inspect.Signature, count: int) -> bool:
    """Whether the parameter after the first `count` is a handle's, or that of what a decorator passes it on to."""
    if any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in signature.parameters.values()):
        with suppress(ValueError):  # what it passes them on to is a builtin that doesn't tell
            signature = hints.signature(function)
    following = list(signature.parameters.values())[count : count + 1]
    return any(parameter.name in _HANDLES and parameter.kind in _POSITIONAL for parameter in following)


def _declared(function: Callable[..., object], signature: inspect.Signature) -> Iterator[Parameter]:
    """The parameters that are keys: those that go by keyword alone, also of what a decorator passes keywords on to.

    What a partial gives by keyword isn't asked for any more.
    """
    if not hasattr(innermost(function), "__code__"):  # what builtins take by keyword is no key
        return
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in signature.parameters.values()):
        with suppress(ValueError):  # what it passes them on to is a builtin that doesn't tell
            signature = hints.signature(function)
    given = function.keywords if isinstance(function, partial) else {}
    for name, parameter in signature.parameters.items():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and name not in _HANDLES and name not in given:
            yield Parameter(name, parameter.default is UNSAID, parameter.annotation)


# ---- annotations ---------------------------------------------------------------------------------------------------

_UNIONS: Final = (Union, UnionType)


def typed(function: Callable[..., object], form: Form) -> Form:
    """The form, with types in place of annotations that are text.

    Raises `ValueError` where one can't be resolved, or can't be checked, saying what would do. A plain function wasn't
    written for this: what can't be checked of it isn't.
    """
    kind = _typed_if_possible if form.is_plain else _typed
    parameters = tuple([kind(function, parameter) for parameter in form.parameters])
    item = form.item and kind(function, form.item)
    is_same = parameters == form.parameters and item == form.item
    return form if is_same else replace(form, parameters=parameters, item=item)


def _typed_if_possible(function: Callable[..., object], parameter: Parameter) -> Parameter:
    try:
        return _typed(function, parameter)
    except ValueError:
        return replace(parameter, annotation=UNSAID)


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
        names = getattr(inner, "__globals__", None) or _names_around(function)
        holder: Any = SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
        return get_type_hints(holder, names, _enclosing(inner), include_extras=True)[parameter.name]
    except Exception as error:
        advice = _IMPORT_IT if isinstance(error, NameError) else _NAME_IT
        raise ValueError(
            f"the annotation {_source(parameter.annotation)!r} of parameter {parameter.name!r} can't be resolved "
            f"({summary_of(error)}): {advice}"
        ) from error


def _names_around(function: Callable[..., object]) -> dict[str, Any]:
    """What the module has in which a class, or what else has no code of its own, is defined."""
    return vars(sys.modules.get(getattr(function, "__module__", None) or "", typing))


def returned_by(function: Callable[..., object]) -> Any:
    """What a function is annotated to return; `UNSAID` where it doesn't say, or it can't be resolved."""
    if isinstance(function, type):
        return function
    if hasattr(function, "__wrapped__"):  # what it says is said of another function
        return UNSAID
    try:
        said = hints.signature(function).return_annotation
        return said if said is UNSAID else _resolved(function, Parameter("return", annotation=said))
    except (ValueError, TypeError):
        return UNSAID


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


def described_plain(form: Form) -> tuple[Any, ...]:
    """What there is to say of how a plain function is called, beside its parameters, as tuples of classes and texts."""
    return form.returns, form.keys, None if form.item is None else described(form.item.annotation)


def described(annotation: Any) -> tuple[Any, ...]:
    """The annotation as a tuple of classes and texts."""
    parts = get_args(annotation)
    if not parts:
        return (annotation if isinstance(annotation, type) else repr(annotation),)
    return repr(get_origin(annotation)), *map(described, parts)
