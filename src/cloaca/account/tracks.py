"""Tracks: where spans stand beside each other."""

from collections.abc import Sequence
from heapq import heappop, heappush

from cloaca.account.spans import Span


def tracks_of(spans: Sequence[Span]) -> list[int]:
    """On which track each of them stands: that of its worker. The threads of the program have 0 and below."""
    tracks = [span.worker for span in spans]
    free: list[tuple[float, int]] = []  # a heap: since when a thread is, and its track
    for place in sorted(range(len(spans)), key=[span.started for span in spans].__getitem__):
        if not tracks[place]:
            tracks[place] = heappop(free)[1] if free and free[0][0] <= spans[place].started else -len(free)
            heappush(free, (spans[place].ended, tracks[place]))
    return tracks


def name_of(track: int) -> str:
    """What a track is called."""
    return f"worker {track}" if track > 0 else f"thread {1 - track} of the program"
