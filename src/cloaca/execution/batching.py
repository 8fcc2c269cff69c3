"""How many assignments a worker may hold: pure arithmetic on the durations measured so far.

Tiny tasks travel many to a message, long ones one at a time. A batch is never more than half of an even share of what
is pending (guided self-scheduling, Polychronopoulos and Kuck, 1987): batches shrink towards the end, so that no worker
sits on a queue while another one is idle.
"""

BATCH_SECONDS = 0.001
"""At most this much work may wait at a busy worker."""

LARGEST_BATCH = 64
NEWEST_WEIGHT = 0.2


class Batching:
    """Learns durations. The mean follows a long task at once and forgets it slowly: the safe side is a small batch."""

    def __init__(self) -> None:
        self._mean = BATCH_SECONDS

    def measured(self, seconds: float) -> None:
        """Take note of the duration of one attempt."""
        self._mean += NEWEST_WEIGHT * (seconds - self._mean)

    def size(self, share: int) -> int:
        """How many assignments a worker may hold when half of an even share is `share`; at least one.

        >>> batching = Batching()
        >>> batching.size(1000)
        1
        >>> for _ in range(50):
        ...     batching.measured(0.000_01)
        >>> batching.size(1000), batching.size(10)
        (64, 10)
        """
        fitting = int(BATCH_SECONDS / max(self._mean, BATCH_SECONDS / LARGEST_BATCH))
        return max(1, min(fitting, share))
