"""Terms: what a call of `map` says of items that fail: whether they are tried again, and what comes in their place."""

from typing import NamedTuple

from cloaca.failure import error_of
from cloaca.retry import RetryPolicy
from cloaca.seed import fraction
from cloaca.wire.messages import Failed, Lost
from cloaca.wording import kinds_of, summary, summary_of


class Terms(NamedTuple):
    """Those of one call: the `retry` policy, and the `seed` of its delays.

    `yields_errors`: an exception comes in the place of the result, and others after it. `in_order`: results come in the
    order of the items.
    """

    retry: RetryPolicy | None = None
    seed: int = 0
    yields_errors: bool = False
    in_order: bool = True

    @property
    def goes_on(self) -> bool:
        """Whether the rest of a batch is done after an item that failed."""
        return self.yields_errors or self.retry is not None

    def delay(self, number: int, nth: int, end: Failed | Lost) -> float | None:
        """How many seconds to wait before try `nth + 1` of an item; `None`: there is none."""
        if self.retry is None:
            return None
        name = f"item {number}"
        if isinstance(end, Failed):
            kinds, text = end.kinds, summary(end.type_name, end.text)
        else:
            error = error_of(end, name, nth)
            kinds, text = kinds_of(type(error)), summary_of(error)
        is_retried = self.retry.retries(nth, kinds, text)
        return self.retry.delay(nth, fraction(self.seed, name, nth)) if is_retried else None
