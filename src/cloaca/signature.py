"""What a task function looks like: a callable that can be called with the context alone.

Plain functions are judged by their code object: `inspect.signature` costs more than everything else in a definition.
"""

import inspect
from collections.abc import Callable
from types import FunctionType

from cloaca.errors import NotSupportedYetError

_HANDLES = frozenset({"handle", "task_handle"})
_FORM = "a task function takes the context as its only argument, like `def load(context): ...`"


def check_signature(task: str, function: Callable[..., object]) -> None:
    """Raise `ValueError` where `function` can't be called with the context alone, saying what would do.

    `task` is the task's id, for the message. Callables that don't tell their signature pass. Raises
    `NotSupportedYetError` for `async def` functions and for those that ask for a handle.
    """
    if type(function) is FunctionType and _takes_one(function):
        return
    if not callable(function):
        raise ValueError(f"Task {task!r}: {_FORM}, and this is a {type(function).__name__}.")
    _refuse_kind(task, function)
    try:
        signature = inspect.signature(function, follow_wrapped=False)
    except ValueError:  # some builtins don't tell
        return
    _refuse_handle(task, signature)
    try:
        signature.bind(None)
    except TypeError as error:
        raise ValueError(f"Task {task!r}: {_FORM}, and this one takes {signature}.") from error


def _takes_one(function: FunctionType) -> bool:
    """Recognise the plain cases, `(context)` and `(context, other=default)`; `False` means: look closer."""
    code = function.__code__
    if code.co_kwonlyargcount or code.co_flags & (
        inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
    ):
        return False
    count = code.co_argcount
    return count == 1 or (count > 1 == count - len(function.__defaults__ or ()) and code.co_varnames[1] not in _HANDLES)


def _refuse_kind(task: str, function: Callable[..., object]) -> None:
    call = type(function).__call__ if not inspect.isroutine(function) else function
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call):
        raise NotSupportedYetError(f"Task {task!r} is an `async def`, which can't run yet: make it a plain `def`.")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ValueError(f"Task {task!r}: {_FORM}, and this is a generator: return from it instead of yielding.")


def _refuse_handle(task: str, signature: inspect.Signature) -> None:
    second = list(signature.parameters.values())[1:2]
    if any(parameter.name in _HANDLES for parameter in second):
        raise NotSupportedYetError(
            f"Task {task!r} asks for a task handle, which doesn't exist yet: let it take the context alone."
        )
