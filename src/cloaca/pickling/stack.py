"""Room for what is nested deeply: how deep a value may be doesn't depend on where the caller stands."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from threading import Lock, Thread
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

MARGIN = 100
"""How many frames a fresh stack has more than Python allows: those of this package, and of the thread."""

_if_there_is_room = suppress(RecursionError)

_changing = Lock()
os.register_at_fork(after_in_child=_changing._at_fork_reinit)  # type: ignore[attr-defined]


def with_room(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What the function returns or raises; called again in a thread of its own, where the stack here has no room."""
    with _if_there_is_room:
        return function(*args, **kwargs)
    return on_its_own(function, *args, **kwargs)


def on_its_own(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What the function returns or raises in a thread of its own."""
    context = copy_context()
    returned: list[T] = []
    raised: list[BaseException] = []

    def call() -> None:
        for variable, value in context.items():  # `context.run` would take some of the room
            variable.set(value)
        _allow(MARGIN)
        try:
            returned.append(function(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - raised below, in the caller's thread
            raised.append(error)
        finally:
            _allow(-MARGIN)

    thread = Thread(target=call)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
    return returned[0]


def _allow(frames: int) -> None:
    with _changing:
        sys.setrecursionlimit(sys.getrecursionlimit() + frames)
