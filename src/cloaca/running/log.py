"""Log: what happens in an execution, as records of the logger "cloaca", for those who ask for that level.

    INFO     a task failed, or failed and is tried again; the execution has ended
    DEBUG    all else: it began, a task runs on which worker, waits for room, was expanded, has ended

Each has the fields `execution`, `workflow`, and those of `task`, `item`, `attempt`, `worker`, `seconds`, `status` and
`error` that it is about. No value of a context is told.
"""

import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, TextIO

from cloaca import argument
from cloaca.engine.facts import (
    Fact,
    RunBegan,
    TaskExpanded,
    TaskFact,
    TaskFinished,
    TaskPutBack,
    TaskRetried,
    TaskStarted,
)

VARIABLE = "CLOACA_LOG"
"""The variable of the environment that names a level, from which on records are written to standard error."""

_LEVELS = {name: getattr(logging, name.upper()) for name in ("debug", "info", "warning", "error", "critical")}

_logger = logging.getLogger("cloaca")


class Remarked(NamedTuple):
    """What is to be said of a fact: a level, a text with what stands in it, and the fields."""

    level: int
    text: str
    values: tuple[object, ...]
    fields: dict[str, Any]


class Log:
    """The records of one execution, made as its facts come. `have_logged` calls what logs, in order, elsewhere."""

    def __init__(self, execution: str, workflow: str, have_logged: Callable[[Callable[[], None]], None]) -> None:
        self._shared = {"execution": execution, "workflow": workflow}
        self._have_logged = have_logged

    @staticmethod
    def is_wanted() -> bool:
        """Whether anybody would see what is logged of facts."""
        return _logger.isEnabledFor(logging.INFO)

    def follow(self, facts: Sequence[Fact]) -> None:
        """These have happened."""
        for fact in facts:
            for remarked in _remarks_on(fact):
                if _logger.isEnabledFor(remarked.level):
                    self._tell(remarked)

    def end(self, level: int, text: str, *values: object, status: str, seconds: float) -> None:
        """The execution has ended, whoever asks for records of it."""
        if _logger.isEnabledFor(level):
            self._tell(Remarked(level, text, values, {"status": status, "seconds": seconds}))

    def _tell(self, remarked: Remarked) -> None:
        level, text, values, fields = remarked
        self._have_logged(partial(_logger.log, level, text, *values, extra={**self._shared, **fields}))


def _remarks_on(fact: Fact) -> Iterator[Remarked]:
    match fact:
        case TaskStarted():
            where = f"worker {fact.worker}" if fact.worker else "the program itself"
            fields = {**_fields(fact), "worker": fact.worker}
            yield Remarked(logging.DEBUG, "Task %s runs on %s, try %d.", (_name(fact), where, fact.nth), fields)
        case TaskRetried():
            fields = {**_fields(fact), "status": "Retried", "error": fact.error, "seconds": fact.delay}
            text = "Task %s failed in its try %d, and is tried again in %.3g s: %s"
            yield Remarked(logging.INFO, text, (_name(fact), fact.nth, fact.delay, fact.error), fields)
        case TaskPutBack():
            text = "Task %s found no room for %s bytes, and waits until others have let go of values."
            yield Remarked(logging.DEBUG, text, (_name(fact), f"{fact.lacking:,}"), _fields(fact))
        case TaskExpanded():
            yield Remarked(logging.DEBUG, "Task %s has %d instances.", (_name(fact), fact.size), _fields(fact))
        case TaskFinished():
            yield _on_end(fact)
        case RunBegan():
            yield Remarked(logging.DEBUG, "It begins.", (), {})
        case _:
            pass


def _on_end(fact: TaskFinished) -> Remarked:
    outcome, usage = fact.outcome, fact.usage
    seconds = None if usage is None else usage.ended - usage.started
    fields = {
        **_fields(fact),
        "status": outcome.status,
        "worker": fact.worker,
        "seconds": seconds,
        "error": outcome.error,
    }
    if outcome.status == "Failed":
        return Remarked(logging.INFO, "Task %s failed: %s", (_name(fact), outcome.error), fields)
    if outcome.status == "Skipped":
        return Remarked(logging.DEBUG, "Task %s was skipped: %s", (_name(fact), outcome.reason), fields)
    if fact.reused:
        return Remarked(logging.DEBUG, "Task %s is taken over from an earlier execution.", (_name(fact),), fields)
    where = f" on worker {fact.worker}" if fact.worker else ""
    took = "" if seconds is None else f"{where} after {seconds:.6f} s"
    return Remarked(logging.DEBUG, "Task %s: %s%s.", (_name(fact), outcome.status, took), fields)


def _fields(fact: TaskFact) -> dict[str, Any]:
    return {"task": fact.task, "item": fact.item, "attempt": fact.nth}


def _name(fact: TaskFact) -> str:
    return repr(fact.task) if fact.item is None else f"{fact.task!r} (item {fact.item})"


# ---- asked for by the environment ----------------------------------------------------------------------------------


class _ToStandardError(logging.StreamHandler[TextIO]):
    """Writes to what is standard error at that moment."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(workflow)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record."""
        self.stream = sys.stderr
        record.workflow = getattr(record, "workflow", "-")
        super().emit(record)


def configure() -> None:
    """Let records be written from the level on that the environment names.

    Raises `ValueError` where that is no level.
    """
    _logger.setLevel(argument.choice(VARIABLE, os.environ[VARIABLE].lower(), _LEVELS))
    if not any(isinstance(handler, _ToStandardError) for handler in _logger.handlers):
        _logger.addHandler(_ToStandardError())
