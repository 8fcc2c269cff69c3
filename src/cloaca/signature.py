"""How a task's function is called: with the context, and with a handle after it where it asks for one.

Plain functions are judged by their code object: `inspect.signature` costs more than everything else in a definition.
"""

import inspect
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import FunctionType
from typing import Final

_HANDLES: Final = frozenset({"handle", "task_handle"})
_FORM: Final = (
    "a task function takes the context as its only argument, like `def load(context): ...`, or a handle beside it, "
    "like `def load(context, handle): ...`"
)
_NOT_PLAIN: Final = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR | inspect.CO_VARARGS
_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True, slots=True)
class Form:
    """What a function is called with, after the context."""

    takes_handle: bool = False

    @property
    def count(self) -> int:
        """How many arguments that makes, with the context."""
        return 1 + self.takes_handle


PLAIN: Final = Form()
WITH_HANDLE: Final = Form(takes_handle=True)


def form_of(task: str, function: Callable[..., object]) -> Form:
    """How `function` is called. Callables that don't tell their signature get the context alone.

    `task` is the task's id, for the message: raises `ValueError` where it can't be called so, saying what would do.
    """
    if type(function) is FunctionType and _takes_one(function):
        return PLAIN
    _refuse_kind(task, function)
    try:
        signature = inspect.signature(function, follow_wrapped=False)
    except ValueError:  # some builtins don't tell
        return PLAIN
    form = WITH_HANDLE if _asks_for_handle(function, signature) else PLAIN
    try:
        signature.bind(*[None] * form.count)
    except TypeError as error:
        raise ValueError(f"Task {task!r}: {_FORM}, and this one takes {signature}.") from error
    return form


def _takes_one(function: FunctionType) -> bool:
    """Recognise the plain cases, `(context)` and `(context, other=default)`; `False` means: look closer."""
    code = function.__code__
    if code.co_kwonlyargcount or code.co_flags & _NOT_PLAIN:
        return False
    count = code.co_argcount
    return count == 1 or (count > 1 == count - len(function.__defaults__ or ()) and code.co_varnames[1] not in _HANDLES)


def _refuse_kind(task: str, function: Callable[..., object]) -> None:
    if isinstance(function, type):
        name = function.__name__
        raise ValueError(
            f"Task {task!r}: {name} is a class, and to call it would only make an instance. Give an instance that can "
            f"be called: task(id={task!r})({name}(...))."
        )
    if not callable(function):
        raise ValueError(f"Task {task!r}: {_FORM}, and this is a {type(function).__name__}.")
    call = function if inspect.isroutine(function) else type(function).__call__
    if any(inspect.isgeneratorfunction(one) or inspect.isasyncgenfunction(one) for one in (function, call)):
        raise ValueError(f"Task {task!r}: {_FORM}, and this is a generator: return from it instead of yielding.")


def _asks_for_handle(function: Callable[..., object], signature: inspect.Signature) -> bool:
    """Whether its second parameter is one for a handle, or that of the function which a decorator passes it on to."""
    if any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in signature.parameters.values()):
        with suppress(ValueError):  # what it passes them on to is a builtin that doesn't tell
            signature = inspect.signature(function)
    second = list(signature.parameters.values())[1:2]
    return any(parameter.name in _HANDLES and parameter.kind in _POSITIONAL for parameter in second)
