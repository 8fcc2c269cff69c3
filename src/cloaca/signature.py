"""What a task function looks like: a callable that can be called with the context alone, or with an item, too.

Plain functions are judged by their code object: `inspect.signature` costs more than everything else in a definition.
"""

import inspect
from collections.abc import Callable, Mapping
from types import FunctionType

from cloaca.errors import NotSupportedYetError

_HANDLES = frozenset({"handle", "task_handle"})

ALONE = ("context",)
"""What a task function is called with."""

WITH_ITEM = ("context", "item")
"""What the function of a mapped task is called with."""

_FORMS: Mapping[tuple[str, ...], str] = {
    ALONE: "a task function takes the context as its only argument, like `def load(context): ...`",
    WITH_ITEM: "with for_each=, a task function takes the context and an item, like `def process(context, item): ...`",
}


def check_signature(task: str, function: Callable[..., object], given: tuple[str, ...] = ALONE) -> None:
    """Raise `ValueError` where `function` can't be called with what is `given`, saying what would do.

    `task` is the task's id, for the message. Callables that don't tell their signature pass. Raises
    `NotSupportedYetError` for `async def` functions and for those that ask for a handle.
    """
    if type(function) is FunctionType and _takes(function, len(given)):
        return
    form = _FORMS[given]
    if not callable(function):
        raise ValueError(f"Task {task!r}: {form}, and this is a {type(function).__name__}.")
    _refuse_kind(task, function, form)
    try:
        signature = inspect.signature(function, follow_wrapped=False)
    except ValueError:  # some builtins don't tell
        return
    _refuse_handle(task, signature, len(given))
    try:
        signature.bind(*given)
    except TypeError as error:
        raise ValueError(f"Task {task!r}: {form}, and this one takes {signature}.") from error


def _takes(function: FunctionType, given: int) -> bool:
    """Recognise the plain cases, `(context)` and `(context, other=default)`; `False` means: look closer."""
    code = function.__code__
    if code.co_kwonlyargcount or code.co_flags & (
        inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
    ):
        return False
    count = code.co_argcount
    if count == given:
        return True
    return count > given == count - len(function.__defaults__ or ()) and code.co_varnames[given] not in _HANDLES


def _refuse_kind(task: str, function: Callable[..., object], form: str) -> None:
    call = type(function).__call__ if not inspect.isroutine(function) else function
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call):
        raise NotSupportedYetError(f"Task {task!r} is an `async def`, which can't run yet: make it a plain `def`.")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ValueError(f"Task {task!r}: {form}, and this is a generator: return from it instead of yielding.")


def _refuse_handle(task: str, signature: inspect.Signature, given: int) -> None:
    following = list(signature.parameters.values())[given : given + 1]
    if any(parameter.name in _HANDLES for parameter in following):
        raise NotSupportedYetError(
            f"Task {task!r} asks for a task handle, which doesn't exist yet: let it take the context alone."
        )
