"""How one task ended: TaskResult."""

from collections.abc import Sequence
from functools import cached_property

from cloaca.dataflow.finding import Finding
from cloaca.engine.ends import End, FailedTry
from cloaca.results.tries import Try, failed_try
from cloaca.wire.messages import Outcome, Usage
from cloaca.wording import shortened


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
        failed_tries: Sequence[FailedTry] = (),
        cut_off: tuple[float | None, float | None] = (None, None),
    ) -> None:
        self.id = id
        self.reused = reused_from is not None
        self.reused_from = reused_from
        self.ran_because = ran_because
        self.status = outcome.status
        self.error_message = outcome.error
        self.reason = outcome.reason
        self.attempts = attempts
        self._clock = clock
        self._last = Try(*(failed or (id, attempts)), end, clock, outcome.error, span=cut_off, findings=findings)
        self._failed_tries = failed_tries

    @property
    def error(self) -> BaseException | None:
        """The exception that the task raised, with the worker's traceback as its cause; `None` where it didn't fail."""
        return self._last.error

    @cached_property
    def tries(self) -> tuple[Try, ...]:
        """All tries of this execution that have begun, in order: those that failed (the latest ten), and the last.

        A mapped task has those that found its items; those of its instances stand in their results.
        """
        if self.reused:
            return ()
        failed = [failed_try(self.id, one, self._clock) for one in self._failed_tries]
        before = failed[-1].nth if failed else 0
        return (*failed, self._last) if self.attempts > before else tuple(failed)

    @property
    def usage(self) -> Usage | None:
        """Times on the monotonic clock, CPU seconds and peak memory; `None` where no attempt reported."""
        return self._last.usage

    @property
    def start_time(self) -> str | None:
        """When the attempt began, as an RFC 3339 string; `None` where that isn't known."""
        return self._last.start_time

    @property
    def end_time(self) -> str | None:
        """When the attempt ended, as an RFC 3339 string; `None` where that isn't known."""
        return self._last.end_time

    @property
    def duration(self) -> float | None:
        """Seconds that the attempt took, also of one that was cut off; `None` where that isn't known."""
        return self._last.duration

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

    def __repr__(self) -> str:
        why = "".join(
            f", {name}={shortened(text)!r}"
            for name, text in (("error", self.error_message), ("reason", self.reason))
            if text
        )
        return f"TaskResult({self.id!r}, {self.status!r}, attempts={self.attempts}{why})"
