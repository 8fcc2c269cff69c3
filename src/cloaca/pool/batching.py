"""How many assignments a worker may hold: pure arithmetic on the durations measured so far.

Tiny tasks travel many to a message, long ones one at a time. A batch is never more than half of an even share of what
is pending (guided self-scheduling, Polychronopoulos and Kuck, 1987): batches shrink towards the end, so that no worker
sits on a queue while another one is idle. More may wait of items: they are reported some at a time, so that a worker
has come to the end of few before the next ones are there, and what waits of them is recalled one by one.
"""

from cloaca.pool.reports import WorkerReport
from cloaca.values.blobs import LARGE
from cloaca.wire.messages import FIGURES, Failed

BATCH_SECONDS = 0.001
"""At most this much work may wait at a busy worker."""

LARGEST_BATCH = 256
WINDOW_BATCHES = 4
OF_ITEMS = 8
"""How many times as much of items may wait, in time."""

NEWEST_WEIGHT = 0.2


class Batching:
    """Learns durations. The mean follows a long task at once and forgets it slowly: the safe side is a small batch."""

    def __init__(self) -> None:
        self._mean = BATCH_SECONDS
        self._most = 1

    def measured(self, seconds: float, written: int = 0) -> None:
        """Take note of one attempt. One that wrote much counts as long: what is to use that shall come next."""
        if written >= LARGE:
            seconds += BATCH_SECONDS * written / LARGE
        self._mean += NEWEST_WEIGHT * (seconds - self._mean)
        self._most = 1

    def broken_off(self, report: WorkerReport) -> None:
        """The same of one that left nothing. What it found no room for counts as written: more would find none."""
        usage, lacking = report.usage, report.lacking if isinstance(report, Failed) else 0
        self.measured(usage.ended - usage.started, max(usage.bytes_written, lacking))

    def tallied(self, figures: bytes) -> None:
        """Take note of items that have ended one after the other, by their `FIGURES`."""
        fields, count = memoryview(figures), len(figures) // FIGURES.size
        moments, written = fields.cast("d"), fields.cast("q")[6::8].tolist()
        seconds = sum(moments[1::8]) - sum(moments[0::8])
        seconds += BATCH_SECONDS * sum([size for size in written if size >= LARGE]) / LARGE
        self._mean += (1 - (1 - NEWEST_WEIGHT) ** count) * (seconds / count - self._mean)
        self._most = OF_ITEMS

    @property
    def _fitting(self) -> int:
        return max(1, int(self._most * BATCH_SECONDS / max(self._mean, BATCH_SECONDS / LARGEST_BATCH)))

    @property
    def window(self) -> int:
        """How many assignments there should be for each worker: what it may hold, and what fills it up again.

        Where tasks aren't tiny, that is the one that it runs. Which one comes next is decided when that has ended.
        """
        fitting = self._fitting
        return 1 if fitting == 1 else WINDOW_BATCHES * fitting

    def size(self, share: int) -> int:
        """How many assignments a worker may hold when half of an even share is `share`; at least one.

        >>> batching = Batching()
        >>> batching.size(1000), batching.window
        (1, 1)
        >>> for _ in range(50):
        ...     batching.measured(0.000_001)
        >>> batching.size(1000), batching.size(10), batching.window
        (256, 10, 1024)
        """
        return max(1, min(self._fitting, share))
