"""A run in the trace event format of Chrome, which Perfetto (https://ui.perfetto.dev) opens, and `chrome://tracing`.

Each worker is a track, each try a slice on it, and what went by beside its function slices within that: loading and
waiting at its beginning, encoding at its end, each as long as it was all in all. Arrows lead from tasks to those that
depend on them, of a mapped task from the instance that ended last, and from tries to the next ones. Counters tell how
many ran, how many were ready and did not, what was written, and how much memory workers had.
The format: "Trace Event Format", Google, 2016.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count, islice, pairwise
from os import PathLike
from typing import Any, BinaryIO

from msgspec import json

from cloaca.account.account import Account
from cloaca.account.spans import Span
from cloaca.account.tracks import name_of, tracks_of

_PROGRAM = 1_000_000
"""The number of the process that all tracks belong to: of no worker, as that would be taken for its main thread."""

_BATCH = 1000
_MOST_ARROWS = 20_000
"""More than that nobody can follow, and viewers take long to load."""

_TICK = 1
"""Of the clock of the trace, in microseconds."""

TraceEvent = dict[str, Any]


def save(path: str | PathLike[str], title: str, account: Account, error_of: Callable[[Span], str | None]) -> None:
    """Write the trace. `error_of` tells what a try failed with.

    Raises `OSError` where the file can't be written.
    """
    with open(path, "wb") as file:
        file.write(b'{"displayTimeUnit":"ms","traceEvents":[\n')
        _write(file, events(title, account, error_of))
        file.write(b"\n]}\n")


def _write(file: BinaryIO, found: Iterable[TraceEvent]) -> None:
    """As many at once as fit into memory easily: there may be millions."""
    encode, batch, separator = json.Encoder().encode, list[bytes](), b""
    for event in found:
        batch.append(encode(event))
        if len(batch) == _BATCH:
            file.write(separator + b",\n".join(batch))
            batch, separator = [], b",\n"
    file.write(separator + b",\n".join(batch) if batch else b"")


def events(title: str, account: Account, error_of: Callable[[Span], str | None]) -> Iterator[TraceEvent]:
    """All of it: what is within a slice comes after that, and else there is no order, as viewers sort it by time."""
    spans = [*account.failed_spans, *account.spans]
    tracks = tracks_of(spans)
    yield _described("process_name", 0, name=title)
    for track in sorted({*tracks}):
        yield _described("thread_name", track, name=name_of(track))
        yield _described("thread_sort_index", track, sort_index=abs(track))
    for span, track in zip(spans, tracks, strict=True):
        yield _slice(span, track, error_of(span) or span.error)
        yield from _phases(span, track)
    yield from _arrows(account, spans, tracks)
    yield from _counters(account, spans)


def _described(what: str, track: int, **told: str | int) -> TraceEvent:
    return {"ph": "M", "name": what, "pid": _PROGRAM, "tid": track, "args": told}


def _slice(span: Span, track: int, error: str) -> TraceEvent:
    told: dict[str, Any] = {
        "status": span.status,
        "try": span.nth,
        "cpu ms": round(span.cpu * 1e3, 3),
        "keys read": [*span.read],
        "bytes read": span.bytes_read,
        "bytes mapped": span.bytes_mapped,
        "bytes written": span.bytes_written,
        "peak memory": span.peak_memory,
    }
    if span.imported:
        told["packages imported"] = [*span.imported]
    found = _lasting(span.name, span.task, track, _us(span.started), _us(span.ended), told)
    if error:
        told["error"] = error
        found["cname"] = "terrible" if span.status == "Failed" else "bad"
    return found


def _phases(span: Span, track: int) -> Iterator[TraceEvent]:
    """What went by beside the function, inside of the slice. Rounding makes none of them stick out of it."""
    at, end = _us(span.started), _us(span.ended)
    for name, seconds in (("loading", span.loading), ("waiting for values", span.waiting)):
        past = min(end, at + _us(seconds))
        if past > at:
            yield _lasting(name, "phase", track, at, past)
        at = past
    begin = max(at, end - _us(span.encoding))
    if begin < end and span.encoding:
        yield _lasting("encoding", "phase", track, begin, end)


def _lasting(name: str, kind: str, track: int, at: int, end: int, told: dict[str, Any] | None = None) -> TraceEvent:
    place = {"ph": "X", "name": name, "cat": kind, "pid": _PROGRAM, "tid": track, "ts": at, "dur": end - at}
    return place if told is None else {**place, "args": told}


def _arrows(account: Account, spans: Sequence[Span], tracks: Sequence[int]) -> Iterator[TraceEvent]:
    """From just before the end of a slice to the beginning of another: pairs of events with numbers of their own."""
    placed = sorted(zip(spans, tracks, strict=True), key=_by_try)
    numbers = count()
    for one, then in pairwise(placed):
        if one[0].unit == then[0].unit:
            yield from _arrow("retry", next(numbers), one, then)
    firsts = {span.unit: (span, track) for span, track in reversed(placed)}
    lasts = {span.unit: (span, track) for span, track in placed}
    for above, below in islice(account.edges, _MOST_ARROWS):
        yield from _arrow("dependency", next(numbers), lasts[above], firsts[below])


def _arrow(what: str, number: int, one: tuple[Span, int], other: tuple[Span, int]) -> Iterator[TraceEvent]:
    shared = {"name": what, "cat": what, "id": number, "pid": _PROGRAM}
    (above, track), (below, track_below) = one, other
    yield {**shared, "ph": "s", "tid": track, "ts": max(_us(above.started), _us(above.ended) - _TICK)}
    yield {**shared, "ph": "f", "bp": "e", "tid": track_below, "ts": _us(below.started)}


def _by_try(placed: tuple[Span, int]) -> tuple[int, int]:
    return placed[0].unit, placed[0].nth


def _counters(account: Account, spans: Sequence[Span]) -> Iterator[TraceEvent]:
    for moment in account.moments:
        yield _counter("tasks", moment.at, {"running": moment.running, "ready": moment.ready})
    written = 0
    for span in sorted(spans, key=_ended):
        if span.bytes_written:
            written += span.bytes_written
            yield _counter("bytes", span.ended, {"written": written})
    for at, much in account.memory:
        yield _counter("memory", at, {"of workers": much})


def _counter(name: str, at: float, values: dict[str, int]) -> TraceEvent:
    return {"ph": "C", "name": name, "pid": _PROGRAM, "tid": 0, "ts": _us(at), "args": values}


def _us(seconds: float) -> int:
    """As nanoseconds are rarely right, and whole numbers are short."""
    return round(seconds * 1e6)


def _ended(span: Span) -> float:
    return span.ended
