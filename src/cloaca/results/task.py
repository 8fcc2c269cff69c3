"""How one task ended: TaskResult. The exception is rebuilt when asked for."""

from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from cloaca.dataflow.finding import Finding
from cloaca.engine.ends import End, cost_of
from cloaca.failure import error_of, raised
from cloaca.wire.messages import Failed, Lost, Outcome, Usage
from cloaca.wording import add_note, shortened


class TaskResult:
    """How one task ended.

    `status` is "Completed", "Failed", "Skipped" or "Cancelled"; `attempts` counts the tries that have begun.
    `error_message` says how it failed, `reason` why it was skipped. (A rule that looks at values is asked in a worker:
    that counts as a try.) `reused`: it wasn't run, as an attempt stands for it that was recorded before, in the
    execution `reused_from`; `ran_because` tells, where an execution was asked to reuse, why this one ran all the same.

    Each instance of a mapped task has a result, too (`result.tasks["process[3]"]`). The task itself has the error of
    its first instance that failed; its times run from the first begin to the last end, and its costs are summed.
    """

    def __init__(
        self,
        id: str,
        outcome: Outcome,
        attempts: int,
        end: End,
        clock: float,
        failed: tuple[str, int] | None = None,
        findings: tuple[Finding, ...] = (),
        reused_from: str | None = None,
        ran_because: str | None = None,
    ) -> None:
        self.id = id
        self.reused = reused_from is not None
        self.reused_from = reused_from
        self.ran_because = ran_because
        self.status = outcome.status
        self.error_message = outcome.error
        self.reason = outcome.reason
        self.attempts = attempts
        self._end = end
        self._clock = clock
        self._failed = failed or (id, attempts)
        self._findings = findings

    @cached_property
    def error(self) -> BaseException | None:
        """The exception that the task raised, with the worker's traceback as its cause; `None` where it didn't fail."""
        match self._end:
            case Failed() as failed:
                error = raised(failed)
                for finding in self._findings:
                    add_note(error, finding.message)
                return error
            case Lost() as lost if self.status == "Failed":
                return error_of(lost, *self._failed)
            case _:
                return None

    @property
    def usage(self) -> Usage | None:
        """Times on the monotonic clock, CPU seconds and peak memory; `None` where no attempt reported."""
        return cost_of(self._end)

    @property
    def start_time(self) -> str | None:
        """When the attempt began, as an RFC 3339 string; `None` where none reported."""
        return None if self.usage is None else rfc3339(self._clock + self.usage.started)

    @property
    def end_time(self) -> str | None:
        """When the attempt ended, as an RFC 3339 string; `None` where none reported."""
        return None if self.usage is None else rfc3339(self._clock + self.usage.ended)

    @property
    def duration(self) -> float | None:
        """Seconds that the attempt took; `None` where none reported."""
        return None if self.usage is None else self.usage.ended - self.usage.started

    @property
    def cpu_seconds(self) -> float | None:
        """CPU seconds of the attempt, over all threads; `None` where none reported."""
        return None if self.usage is None else self.usage.cpu

    @property
    def keys_read(self) -> tuple[str, ...]:
        """The keys whose values the attempt looked at, in that order; none where no attempt reported."""
        return () if self.usage is None else self.usage.read

    @property
    def bytes_read(self) -> int | None:
        """How many bytes those values took, encoded; `None` where none reported."""
        return None if self.usage is None else self.usage.bytes_read

    @property
    def bytes_mapped(self) -> int | None:
        """How many of the bytes read were mapped from shared memory, not sent; `None` where none reported."""
        return None if self.usage is None else self.usage.bytes_mapped

    @property
    def bytes_written(self) -> int | None:
        """How many bytes the values take that the attempt set; `None` where none reported."""
        return None if self.usage is None else self.usage.bytes_written

    @property
    def peak_memory(self) -> int | None:
        """The highest memory, in bytes, that the worker had ever used when the attempt ended; `None` as above."""
        return None if self.usage is None else self.usage.peak_memory

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the rebuilt exception, which pickle may not be able to take: what was sent is kept."""
        return {name: value for name, value in vars(self).items() if name != "error"}

    def __repr__(self) -> str:
        why = "".join(
            f", {name}={shortened(text)!r}"
            for name, text in (("error", self.error_message), ("reason", self.reason))
            if text
        )
        return f"TaskResult({self.id!r}, {self.status!r}, attempts={self.attempts}{why})"


def rfc3339(seconds: float) -> str:
    """A moment, in seconds since 1970, as text."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()
