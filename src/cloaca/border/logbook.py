"""Logbook: what tasks log in a worker goes to the program, which hands it to its own handlers.

At the program's levels: what it wouldn't log isn't sent, and `isEnabledFor` says in a task what it says in the program.
One handler stands wherever the program has some, which are its own to call: a module that adds some when it is imported
has added them there, too. And it is what `logging` turns to where there are none: so a task that configures logging, as
by `basicConfig`, finds what it would find in the program.

cloudpickle imports `logging` in every process. So it costs a worker nothing that this module does.
"""

import logging
import sys
from collections.abc import Callable, Iterator
from functools import partial

from cloaca.border.mark import NONE
from cloaca.values.records import encode_record
from cloaca.wire.messages import Logged, Loggers
from cloaca.wire.strike import is_strike
from cloaca.wire.text import encodable

_BUILT_IN = frozenset({"CRITICAL", "FATAL", "ERROR", "WARNING", "WARN", "INFO", "DEBUG", "NOTSET"})
_LARGEST = 2**63 - 1
_SENT = "is_sent"
_SENTINEL = "<cloaca>"

Speaker = tuple[int, str, int]
"""Of what a process begun last: the number of the attempt, the task or instance, and which try of it that is."""


def loggers_here() -> Loggers:
    """What is set of this process's loggers now."""
    chosen = {name: logger for name, logger in _loggers() if logger.level or logger.disabled or _handles(logger)}
    named = [(name, level) for name, level in logging.getLevelNamesMapping().items() if name not in _BUILT_IN]
    return Loggers(
        {name: _bounded(logger.level) for name, logger in chosen.items() if logger.level},
        tuple(name for name, logger in chosen.items() if logger.disabled),
        tuple(name for name, logger in chosen.items() if _handles(logger)),
        tuple(name for name, logger in chosen.items() if type(logger) is not logging.Logger),
        {encodable(name): _bounded(level) for name, level in named},
        root=_bounded(logging.root.level),
        root_handles=_handles(logging.root),
        threshold=_bounded(logging.root.manager.disable),
        tells_errors=bool(logging.raiseExceptions),
    )


def _loggers() -> Iterator[tuple[str, logging.Logger]]:
    """All but the root, by name."""
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger):
            yield encodable(name), logger


def _handles(logger: logging.Logger) -> bool:
    return any(type(handler) is not logging.NullHandler for handler in logger.handlers)


def _bounded(level: int) -> int:
    """The level as what a message can carry. An attribute may hold anything."""
    return max(-_LARGEST, min(int(level), _LARGEST)) if isinstance(level, int) else logging.NOTSET


class Logbook:
    """A worker's logging. `send` takes what goes to the program; `speaker` tells of what was begun last."""

    def __init__(self, send: Callable[[Logged], None], speaker: Callable[[], Speaker]) -> None:
        self._relay = _Relay(send, speaker)
        self._handlers: list[logging.Handler] = [self._relay]
        self._root_handlers: list[logging.Handler] = []
        self._kept: tuple[int | None, list[logging.Handler] | None] = None, None
        self._given = Loggers()
        self._levels: list[tuple[logging.Logger, int]] = []
        self._disabled: list[logging.Logger] = []
        self._handled: list[logging.Logger] = []
        self.is_complete = True
        """Whether all loggers are there of which the program has set something."""
        self.sentinel = logging.getLogger(_SENTINEL)
        """No configuration names it: it is disabled where all are."""

    @property
    def loggers(self) -> list[logging.Logger]:
        """Those of which the program has set something, beside the root."""
        return [*(logger for logger, _ in self._levels[1:]), *self._disabled, *self._handled]

    def adopt(self, given: Loggers) -> None:
        """Log as the program would, whatever a task has changed."""
        if given is not self._given:
            self._take(given)
        self.restore()

    def restore(self) -> None:
        """Make the loggers what the program's are, whatever a task or an import did. Cheap where they are."""
        relay, root = self._relay, logging.root
        if not self.is_complete:
            self._resolve(self._given)
        if self.sentinel.disabled:
            self._enable()
        if root.handlers != self._root_handlers or logging.lastResort is not relay:
            root.handlers, logging.lastResort = list(self._root_handlers), relay
        if root.manager.disable != self._given.threshold:
            logging.disable(self._given.threshold)
        for logger, level in self._levels:
            if logger.level != level:
                logger.setLevel(level)
        for logger in self._disabled:
            logger.disabled = True
        for logger in self._handled:
            if logger.handlers != self._handlers:
                logger.handlers = list(self._handlers)

    def keep(self) -> None:
        """What the root is now, by the runner's initializer, it is for tasks."""
        level, handlers = logging.root.level, logging.root.handlers
        self._kept = (
            None if level == self._given.root else level,
            None if handlers == self._root_handlers else list(handlers),
        )
        self._resolve(self._given)

    def lose_program(self) -> None:
        """In a forked child: nothing can be sent any more."""
        self._relay.is_fork = True

    def _take(self, given: Loggers) -> None:
        for logger, _ in self._levels:
            logger.setLevel(logging.NOTSET)
        for logger in self._disabled:
            logger.disabled = False
        for logger in self._handled:
            logger.handlers = []
        for name, level in given.names.items():
            logging.addLevelName(level, name)
        logging.raiseExceptions = given.tells_errors
        self._resolve(given)
        self._given = given  # last: by that it is seen that all this was done

    def _resolve(self, given: Loggers) -> None:
        """Find the loggers by their names. Those of a class of their own may come later."""
        existing = dict(_loggers())
        here = {
            name: logging.getLogger(name)
            for name in (*given.levels, *given.disabled, *given.handled)
            if name not in given.custom or name in existing
        }
        level, handlers = self._kept
        self._root_handlers = (self._handlers if given.root_handles else []) if handlers is None else handlers
        self._levels = [(logging.root, given.root if level is None else level)]
        self._levels += [(here[name], level) for name, level in given.levels.items() if name in here]
        self._disabled = [here[name] for name in given.disabled if name in here]
        self._handled = [here[name] for name in given.handled if name in here]
        self.is_complete = existing.keys() | here.keys() >= set(given.custom)

    def _enable(self) -> None:
        """After `dictConfig` or the like, which disables every logger that it doesn't know."""
        for _, logger in _loggers():
            logger.disabled = False


class _Relay(logging.Handler):
    """The handler that sends."""

    def __init__(self, send: Callable[[Logged], None], speaker: Callable[[], Speaker]) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter(logging.BASIC_FORMAT))
        self.is_fork = False
        self._speaker = speaker
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        """Send the record, once, however many loggers it comes past."""
        if hasattr(record, _SENT):
            return
        try:
            self._tell(record)
        finally:
            setattr(record, _SENT, True)

    def _tell(self, record: logging.LogRecord) -> None:
        """Send the record. A message that can't be put together is told on standard error, as by any handler."""
        if self.is_fork:
            sys.stderr.write(self.format(record) + "\n")
            return
        attempt, task, nth = self._speaker()
        try:
            told = {} if attempt == NONE else {"task": task, "attempt": nth}
            payload = encode_record(record, **told)
        except Exception as error:  # whatever the user's own objects raise
            if is_strike(error, partial(encode_record, record)):
                raise
            self.handleError(record)
            return
        self._send(Logged(attempt, payload))
