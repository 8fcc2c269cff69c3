"""Notices: warnings of tasks in a worker go to the program, which issues them anew.

What the program's filters ignore isn't sent, and what they make an error is raised, here in the task. Anything else is
sent, once per attempt and place: whether it is shown once or always is decided by the program, which sees all workers.
"""

import logging
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from cloaca.border.logbook import Speaker
from cloaca.errors import EncodeError
from cloaca.values.codec import encode
from cloaca.wire.messages import Filter, Warned
from cloaca.wire.text import encodable

_settings: Any = warnings
_DECIDED_HERE = frozenset({"ignore", "error"})


def filters_here() -> tuple[Filter, ...]:
    """This process's filters as they are now. Any that are of no usual form are left out."""
    taken = (_taken(*given) for given in list(warnings.filters) if len(given) == 5)  # noqa: PLR2004 - what a filter is
    return tuple(found for found in taken if found is not None)


def _taken(action: Any, message: Any, category: Any, module: Any, line: Any) -> Filter | None:
    try:
        return Filter(encodable(action), _pattern(message), _name(category), _pattern(module), int(line))
    except (AttributeError, TypeError, ValueError):
        return None


def _pattern(given: Any) -> tuple[str, int] | str | None:
    if given is None:
        return None
    return (encodable(given.pattern), given.flags) if isinstance(given, re.Pattern) else encodable(given)


def _name(category: type) -> str:
    return encodable(f"{category.__module__}.{category.__qualname__}")


class _ByName(type):
    """The type of categories that are known by name: what is called so is one, or inherits from it.

    So a worker needn't import pytest because the program has a filter for one of its warnings.
    """

    name: str

    def __subclasscheck__(cls, category: Any) -> bool:
        return any(_name(base) == cls.name for base in category.__mro__)


def _rebuilt(given: Filter) -> tuple[Any, ...]:
    """The filter as `warnings` has it. What would depend on what this worker has done before, always holds."""
    action = given.action if given.action in _DECIDED_HERE else "always"
    category = _ByName(given.category, (Warning,), {"name": given.category})
    return (action, _compiled(given.message), category, _compiled(given.module), given.line)


def _compiled(pattern: tuple[str, int] | str | None) -> Any:
    return re.compile(*pattern) if isinstance(pattern, tuple) else pattern


class Notices:
    """A worker's warnings. `send` takes what goes to the program; `speaker` tells of what was begun last."""

    def __init__(self, send: Callable[[Warned], None], speaker: Callable[[], Speaker]) -> None:
        self._send = send
        self._speaker = speaker
        self._sent_of: Speaker | None = None
        self._given: tuple[Filter, ...] | None = None
        self._filters: Sequence[Any] = ()
        self._sent: set[tuple[object, ...]] = set()
        self._is_fork = False
        self._shown_before = warnings.showwarning
        self._hook = warnings.showwarning = self._show

    def adopt(self, given: tuple[Filter, ...]) -> None:
        """Warn as the program would, whatever a task has changed."""
        if given is not self._given:
            self._given, self._filters = given, [_rebuilt(each) for each in given]
        if warnings.filters != self._filters or _settings.defaultaction != "always":
            self._restore_filters()
        if warnings.showwarning is not self._hook:
            self._restore_hook()

    def lose_program(self) -> None:
        """In a forked child: nothing can be sent any more."""
        self._is_fork = True

    def _restore_filters(self) -> None:
        _settings.defaultaction = "always"
        with warnings.catch_warnings():
            """Entering tells the interpreter to forget what it had found out by the old ones."""
        _settings.filters = list(self._filters)  # last: by them it is seen that all this was done

    def _restore_hook(self) -> None:
        logging.captureWarnings(capture=False)
        warnings.showwarning = self._hook

    def _show(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        """What `warnings.showwarning` is in a worker."""
        if self._is_fork or file is not None:
            self._shown_before(message, category, filename, lineno, file, line)
            return
        speaker = self._speaker()
        if speaker != self._sent_of:
            self._sent_of = speaker
            self._sent.clear()
        place = (category, str(message), filename, lineno)
        if place in self._sent:
            return
        self._sent.add(place)
        self._send(
            Warned(
                speaker[0],
                _encoded(message),
                encodable(category.__name__),
                encodable(str(message)),
                encodable(filename),
                lineno,
                _module(filename),
            )
        )


def _encoded(message: Warning | str) -> bytes | None:
    try:
        return encode(message) if isinstance(message, Warning) else None
    except EncodeError:  # its text and the name of its category travel all the same
        return None


def _module(filename: str) -> str:
    """The name of the module of which code in that file runs: the hook isn't told, and filters may ask for it.

    Where none does, it is what Python makes of the file's name.
    """
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code.co_filename == filename:
            return encodable(str(frame.f_globals.get("__name__")))
    return encodable(filename).removesuffix(".py") or "<unknown>"
