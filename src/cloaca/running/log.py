"""Log: what happens in an execution, as records of the logger "cloaca", for those who ask for that level.

    INFO     a task failed, or failed and is tried again; the execution has ended
    DEBUG    all else: it began, a task runs on which worker, waits for room, was expanded, has ended; a worker was
             lost; which keys were merged; what was taken over, why the rest was not, and how much is on record

Each has the fields `execution`, `workflow`, and those of `task`, `item`, `attempt`, `worker`, `seconds`, `status` and
`error` that it is about. No value of a context is told.
"""

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    TryFact,
)
from cloaca.wire.messages import Lost

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

    def __init__(
        self,
        execution: str,
        workflow: str,
        have_logged: Callable[[int, Callable[[], None]], None],
        reasons: Mapping[tuple[str, int | None], str],
    ) -> None:
        self._shared = {"execution": execution, "workflow": workflow}
        self._have_logged = have_logged
        self._reasons = reasons

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
            if isinstance(fact, TaskFinished) and _logger.isEnabledFor(logging.DEBUG):
                self._tell_reason(fact)

    def keep(self, count: int) -> None:
        """So many tries of the execution are in the store. This is logged at once, by the thread that waits for it."""
        _logger.debug("It is on record, with %d tries of tasks and instances.", count, extra=self._shared)

    def end(self, level: int, text: str, *values: object, status: str, seconds: float) -> None:
        """The execution has ended, whoever asks for records of it."""
        if _logger.isEnabledFor(level):
            self._tell(Remarked(level, text, values, {"status": status, "seconds": seconds}))

    def _tell_reason(self, fact: TaskFinished) -> None:
        """Tell why nothing on record stands for it, if that was asked. What it is may have to be looked up there."""
        place = fact.task, fact.item
        if place in self._reasons:
            extra, reasons = {**self._shared, **_fields(fact)}, self._reasons
            told = partial(_log_reason, lambda: reasons[place], _name(fact), extra)
            self._have_logged(logging.DEBUG, told)

    def _tell(self, remarked: Remarked) -> None:
        level, text, values, fields = remarked
        self._have_logged(level, partial(_logger.log, level, text, *values, extra={**self._shared, **fields}))


def _log_reason(why: Callable[[], str], name: str, extra: dict[str, Any]) -> None:
    _logger.debug("Task %s was not taken over: %s.", name, why(), extra=extra)


def _remarks_on(fact: Fact) -> Iterator[Remarked]:
    match fact:
        case TaskStarted():
            where = f"worker {fact.worker}" if fact.worker else "the program itself"
            fields = {**_fields(fact), "worker": fact.worker}
            yield Remarked(logging.DEBUG, "Task %s runs on %s, try %d.", (_name(fact), where, fact.nth), fields)
        case TaskRetried():
            yield from _on_loss(fact)
            fields = {**_fields(fact), "status": "Retried", "error": fact.error, "seconds": fact.delay}
            text = "Task %s failed in its try %d, and is tried again in %.3g s: %s"
            yield Remarked(logging.INFO, text, (_name(fact), fact.nth, fact.delay, fact.error), fields)
        case TaskPutBack():
            text = "Task %s found no room for %s bytes, and waits until others have let go of values."
            yield Remarked(logging.DEBUG, text, (_name(fact), f"{fact.lacking:,}"), _fields(fact))
        case TaskExpanded():
            yield Remarked(logging.DEBUG, "Task %s has %d instances.", (_name(fact), fact.size), _fields(fact))
        case TaskFinished():
            yield from _on_loss(fact)
            yield _on_end(fact)
            if fact.settled:
                keys = ", ".join(map(repr, fact.settled))
                text = "Task %s found several versions of %s, and has merged them."
                yield Remarked(logging.DEBUG, text, (_name(fact), keys), _fields(fact))
        case RunBegan():
            yield Remarked(logging.DEBUG, "It begins.", (), {})
        case _:
            pass


def _on_loss(fact: TryFact) -> Iterator[Remarked]:
    """A try that was cut off has cost its worker."""
    if isinstance(fact.end, Lost):
        lost = fact.end
        how = f"was killed by {lost.signal}" if lost.signal else f"exited with code {lost.exit_code}"
        text = "Worker %d %s while it ran task %s. Another one takes its place."
        yield Remarked(logging.DEBUG, text, (lost.worker, how, _name(fact)), {**_fields(fact), "worker": lost.worker})


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
        origin = fact.origin or "what had ended before"
        return Remarked(logging.DEBUG, "Task %s is taken over from %s.", (_name(fact), origin), fields)
    where = f" on worker {fact.worker}" if fact.worker else ""
    took = "" if seconds is None else f"{where} after {seconds:.6f} s"
    return Remarked(logging.DEBUG, "Task %s: %s%s.", (_name(fact), outcome.status, took), fields)


def _fields(fact: TaskFact) -> dict[str, Any]:
    return {"task": fact.task, "item": fact.item, "attempt": fact.nth}


def _name(fact: TaskFact) -> str:
    return repr(fact.task) if fact.item is None else f"{fact.task!r} (item {fact.item})"


# ---- asked for by the environment ----------------------------------------------------------------------------------


class _ToStandardError(logging.Handler):
    """Writes to what is standard error at that moment."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(workflow)s: %(message)s"))

    @property
    def stream(self) -> TextIO:
        """Where it writes to."""
        return sys.stderr

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record."""
        record.workflow = getattr(record, "workflow", "-")
        try:
            self.stream.write(f"{self.format(record)}\n")
            self.stream.flush()
        except Exception:  # noqa: BLE001 - as the handlers of Python do
            self.handleError(record)


def configure() -> None:
    """Let records be written from the level on that the environment names.

    Raises `ValueError` where that is no level.
    """
    _logger.setLevel(argument.choice(VARIABLE, os.environ[VARIABLE].lower(), _LEVELS))
    if not any(isinstance(handler, _ToStandardError) for handler in _logger.handlers):
        _logger.addHandler(_ToStandardError())
