"""Strike: an exception that comes from outside what is being done, and is no answer to it.

An alarm that bounds a task's time goes off wherever the task is: while a value is rebuilt, compared or merged, too.
Whoever reports what a value's own code raises must let it pass: it says nothing about the value.
"""

import signal
from collections.abc import Callable
from functools import partial
from types import CodeType, TracebackType
from typing import Any


def is_strike(error: BaseException, again: Callable[[], object]) -> bool:
    """Whether the error is a strike: a signal's handler raised it, or it isn't raised `again`.

    >>> is_strike(ZeroDivisionError(), lambda: 1 / 0), is_strike(TimeoutError(), lambda: 1)
    (False, True)
    """
    if _is_of_handler(error.__traceback__):
        return True
    try:
        again()
    except Exception as second:  # noqa: BLE001 - that is the question
        return type(second) is not type(error) or _is_of_handler(second.__traceback__)
    return True


def _is_of_handler(traceback: TracebackType | None) -> bool:
    handlers = {_code(signal.getsignal(number)) for number in signal.valid_signals()} - {None}
    while traceback is not None and traceback.tb_frame.f_code not in handlers:
        traceback = traceback.tb_next
    return traceback is not None


def _code(handler: Any) -> CodeType | None:
    """The code of a handler: of a function, a method, a partial, or an object that can be called."""
    while isinstance(handler, partial):
        handler = handler.func
    function = getattr(handler, "__func__", handler)
    call = vars(type(function)).get("__call__")
    return getattr(function, "__code__", None) or getattr(call, "__code__", None)
