"""Initializer: what a runner has every worker call once, before its first task.

It runs as an attempt does, with a number that no attempt has: under the program's surroundings, seeded alike
everywhere, and what it raises becomes a report.
"""

import pickle
from collections.abc import Callable
from functools import partial

from msgspec import Struct

from cloaca.attempts.variables import Wanted, of_process
from cloaca.border.mark import NONE
from cloaca.errors import InitializerError, RemoteTraceback
from cloaca.pickling.loading import load
from cloaca.wire.messages import Assignment, Failed, Publish, Slice, Unfit
from cloaca.wording import summary


class Initializer:
    """The program's function, as a task function: the context that it is given is of no use to it."""

    def __init__(self, function: Callable[[], object]) -> None:
        self._function = function

    def __call__(self, _context: object) -> None:
        """Call the function. What it returns is of no interest."""
        self._function()


class Prepared:
    """A captured initializer, which is loaded and called once modules have what the program has set in them."""

    def __init__(self, name: str, blob: bytes, wanted: Wanted) -> None:
        self.__qualname__ = name
        self._blob = blob
        self._wanted = wanted

    def __call__(self) -> None:
        """Load and call it."""
        of_process().want(self._wanted)
        function = load(self._blob)
        of_process().complete()
        function()


class Equipment(Struct, frozen=True):
    """An initializer as workers get it: its name, and the function to publish."""

    name: str
    function: Publish


def equipment(name: str, number: int, blob: bytes, wanted: Wanted) -> Equipment:
    """The initializer of that name, captured under a number."""
    return Equipment(name, Publish(number, pickle.dumps(Prepared(name, blob, wanted)), ()))


def name_of(function: object) -> str:
    """What a function is called, in messages."""
    while isinstance(function, partial):
        function = function.func
    return str(getattr(function, "__qualname__", type(function).__qualname__))


def initializing(number: int) -> Assignment:
    """What a worker runs before its first task: the function that was published under that number.

    Nothing in it is of a run, so that what it draws is the same in every worker.
    """
    return Assignment(NONE, "initializer", number, Slice({}, complete=True, outcomes={}))


def rejection(name: str, failed: Failed | Unfit) -> InitializerError:
    """What users see of an initializer that raised. Nothing of the exception is opened here."""
    error = InitializerError(name, f"raised {summary(failed.type_name, failed.text)}")
    error.__cause__ = RemoteTraceback(failed.traceback)
    return error
