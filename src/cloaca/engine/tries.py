"""Tries: how many of each task and instance have failed, how long one may take, and when the next one begins."""

from cloaca.engine.ledger import Ledger
from cloaca.engine.timers import Timers
from cloaca.engine.work import Work
from cloaca.failure import error_of
from cloaca.seed import fraction
from cloaca.wire.messages import Failed, Lost
from cloaca.wording import kinds_of


class Tries:
    """The tries of one run. `work` and `ledger` grow with it. What is drawn for a backoff follows from `seed`.

    `failures`: how many tries of each have ended badly by themselves, and not because they were cut off.
    """

    def __init__(self, work: list[Work], ledger: Ledger, seed: int) -> None:
        self._work = work
        self._ledger = ledger
        self._seed = seed
        self.failures = [0] * len(work)
        self.deadlines = Timers()
        """Of attempts, by number."""
        self.backoffs = Timers()
        """Of tasks and instances."""

    @property
    def due(self) -> float | None:
        """When the next time limit is reached, or the next backoff over."""
        deadline, backoff = self.deadlines.due, self.backoffs.due
        return backoff if deadline is None else deadline if backoff is None else min(deadline, backoff)

    def delay(self, unit: int, event: Failed | Lost) -> float | None:
        """How many seconds to wait before the next try; `None`: there is none."""
        work = self._work[unit]
        is_expansion = work.each is not None and unit < len(self._ledger.names)
        if work.retry is None or (is_expansion and isinstance(event, Failed)):
            return None  # what expands a mapped task is tried again only where it was cut off
        nth, name = self._ledger.attempts[unit], self._ledger.name(unit)
        kinds = event.kinds if isinstance(event, Failed) else kinds_of(type(error_of(event, name, nth)))
        is_retried = work.retry.retries(nth, kinds, self._ledger.text_of(unit, event))
        return work.retry.delay(nth, fraction(self._seed, name, nth)) if is_retried else None
