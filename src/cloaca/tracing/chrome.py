"""A run in the trace event format of Chrome, which Perfetto (https://ui.perfetto.dev) opens, and `chrome://tracing`.

Each worker is a track, each attempt a slice on it; arrows lead from tasks to those that depend on them, of a mapped
task from the instance that ended last. Counters tell how many ran, how many were ready and did not, what was written,
and how much memory the workers had.
The format: "Trace TraceEvent Format", Google, 2016.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from os import PathLike
from typing import Any, BinaryIO

from msgspec import json

from cloaca.account.account import Account
from cloaca.account.spans import Span
from cloaca.account.tracks import name_of, tracks_of

_PROGRAM = 1
"""The number of the process that all tracks belong to."""

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
    """All of it, in no order: viewers sort it by time."""
    tracks = dict(zip((span.unit for span in account.spans), tracks_of(account.spans), strict=True))
    yield {"ph": "M", "name": "process_name", "pid": _PROGRAM, "tid": 0, "args": {"name": title}}
    for track in sorted({*tracks.values()}):
        yield {"ph": "M", "name": "thread_name", "pid": _PROGRAM, "tid": track, "args": {"name": name_of(track)}}
        yield {
            "ph": "M",
            "name": "thread_sort_index",
            "pid": _PROGRAM,
            "tid": track,
            "args": {"sort_index": abs(track)},
        }
    for span in account.spans:
        yield _slice(span, tracks[span.unit], error_of(span))
    yield from _arrows(account, tracks)
    yield from _counters(account)


def _slice(span: Span, track: int, error: str | None) -> TraceEvent:
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
    found: TraceEvent = {
        "ph": "X",
        "name": span.name,
        "cat": span.task,
        "pid": _PROGRAM,
        "tid": track,
        "ts": _us(span.started),
        "dur": _us(span.ended) - _us(span.started),
        "args": told,
    }
    if error is not None:
        told["error"] = error
        found["cname"] = "terrible"
    return found


def _arrows(account: Account, tracks: Mapping[int, int]) -> Iterator[TraceEvent]:
    """From just before the end of a slice to the begin of another: each a pair of events with a number of its own."""
    by_unit = {span.unit: span for span in account.spans}
    for number, (above, below) in enumerate(account.edges[:_MOST_ARROWS]):
        one, other = by_unit[above], by_unit[below]
        shared = {"name": "dependency", "cat": "dependency", "id": number, "pid": _PROGRAM}
        yield {**shared, "ph": "s", "tid": tracks[above], "ts": max(_us(one.started), _us(one.ended) - _TICK)}
        yield {**shared, "ph": "f", "bp": "e", "tid": tracks[below], "ts": _us(other.started)}


def _counters(account: Account) -> Iterator[TraceEvent]:
    for moment in account.moments:
        yield _counter("tasks", moment.at, {"running": moment.running, "ready": moment.ready})
    written = 0
    for span in sorted(account.spans, key=_ended):
        if span.bytes_written:
            written += span.bytes_written
            yield _counter("bytes written", span.ended, {"bytes": written})
    for at, much in account.memory:
        yield _counter("memory of the workers", at, {"bytes": much})


def _counter(name: str, at: float, values: dict[str, int]) -> TraceEvent:
    return {"ph": "C", "name": name, "pid": _PROGRAM, "tid": 0, "ts": _us(at), "args": values}


def _us(seconds: float) -> int:
    """As nanoseconds are rarely right, and whole numbers are short."""
    return round(seconds * 1e6)


def _ended(span: Span) -> float:
    return span.ended
