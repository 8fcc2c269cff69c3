"""Memory: what the workers of a run had used at most by each moment, by what they told with each task."""

from collections.abc import Iterator, Sequence

from cloaca.account.spans import Span


def peaks(spans: Sequence[Span]) -> Iterator[tuple[float, int]]:
    """When it was told, in order, and the highest memory of each worker up to then, all together, in bytes."""
    of_worker: dict[int, int] = {}
    total = 0
    for span in sorted(spans, key=_ended):
        before = of_worker.get(span.worker, 0)
        if span.peak_memory > before:
            of_worker[span.worker] = span.peak_memory
            total += span.peak_memory - before
            yield span.ended, total


def _ended(span: Span) -> float:
    return span.ended
