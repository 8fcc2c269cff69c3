"""Try: one of the tries of a task, and what it failed with. The exception is rebuilt when asked for."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from cloaca.dataflow.finding import Finding
from cloaca.engine.ends import End, FailedTry, cost_of
from cloaca.failure import failure_of
from cloaca.wire.messages import Lost, Usage
from cloaca.wording import add_note, shortened


class Try:
    """One try of a task, or of an instance of a mapped one: `result.tasks[id].tries` has them.

    `nth` counts from 1. `error_message` says what it failed with; `None`: it didn't. `delay`: how many seconds the next
    one waited, after that; `None`: there was none, or that isn't known (of an execution that was gone on with).
    """

    def __init__(
        self,
        task: str,
        nth: int,
        end: End,
        clock: float,
        error_message: str | None = None,
        *,
        span: tuple[float | None, float | None] = (None, None),
        delay: float | None = None,
        findings: Sequence[Finding] = (),
    ) -> None:
        self.nth = nth
        self.error_message = error_message
        self.delay = delay
        self._task = task
        self._end = end
        self._clock = clock
        self._span = span
        self._findings = findings

    @cached_property
    def error(self) -> BaseException | None:
        """The exception that the task raised, with the worker's traceback as its cause; `None` where it didn't fail."""
        if self.error_message is None:
            return None
        error = failure_of(self._end, self._task, self.nth)
        if error is not None and not isinstance(self._end, Lost):
            for finding in self._findings:
                add_note(error, finding.message)
        return error

    @property
    def usage(self) -> Usage | None:
        """Times on the monotonic clock, CPU seconds and peak memory; `None` where it didn't report."""
        return cost_of(self._end)

    @property
    def worker(self) -> int | None:
        """The number of the worker on which it ran, from 1; 0: in the program itself; `None` where that isn't known."""
        if isinstance(self._end, Lost):
            return self._end.worker or None
        return None if self.usage is None else self.usage.worker

    @property
    def start_time(self) -> str | None:
        """When it began, as an RFC 3339 string; `None` where that isn't known."""
        return self._told(self._span[0] if self.usage is None else self.usage.started)

    @property
    def end_time(self) -> str | None:
        """When it ended, as an RFC 3339 string; `None` where that isn't known."""
        return self._told(self._span[1] if self.usage is None else self.usage.ended)

    @property
    def duration(self) -> float | None:
        """Seconds that it took; `None` where that isn't known."""
        began, ended = self._span if self.usage is None else (self.usage.started, self.usage.ended)
        return None if began is None or ended is None else ended - began

    def _told(self, moment: float | None) -> str | None:
        return None if moment is None else rfc3339(self._clock + moment)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the rebuilt exception, which pickle may not be able to take: what was sent is kept."""
        return {name: value for name, value in vars(self).items() if name != "error"}

    def __repr__(self) -> str:
        why = f", error={shortened(self.error_message)!r}" if self.error_message else ""
        return f"Try({self._task!r}, {self.nth}{why})"


def failed_try(task: str, failed: FailedTry, clock: float) -> Try:
    """One after which there was to be another one."""
    span = failed.began, failed.ended
    return Try(task, failed.nth, failed.end, clock, failed.error, span=span, delay=failed.delay)


def rfc3339(seconds: float) -> str:
    """A moment, in seconds since 1970, as text."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()
