"""Lanes: what each worker ran when, as SVG of a size that doesn't grow with the run.

A lane shows how busy the worker was, and before that the spans that are worth a piece of their own. Those that are too
short to be seen wait in groups, by how much nearer one has to look: the script shows them then.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from heapq import nlargest
from html import escape
from math import ceil, log

from cloaca.account.account import Account
from cloaca.account.spans import Span
from cloaca.account.tracks import name_of, tracks_of
from cloaca.report.curves import WIDTH, filled, spread

_MOST = 10_000
"""How many spans have a piece of their own: those that failed, those on the critical path, and the longest."""

_HEIGHT = 20
_FOOT = 7
_LEAST = 0.7
_NEARER = 4
_NEAREST = 8


def chosen(account: Account) -> list[Span]:
    """The spans that are shown one by one, in the order in which they began."""
    spans = [*account.spans, *account.failed_spans]
    if len(spans) > _MOST:
        on_path = {span.unit for span in account.critical_path.spans}
        spans = nlargest(_MOST, spans, key=lambda span: (_kind(span, on_path) != "ran", span.seconds))
    return sorted(spans, key=_started)


def lanes(account: Account, shown: Sequence[Span]) -> Iterator[str]:
    """A lane for each track. `shown`: the spans that are shown one by one; marks have their places."""
    numbers = {(span.unit, span.nth): number for number, span in enumerate(shown)}
    spans = [*account.spans, *account.failed_spans]
    by_track: defaultdict[int, list[Span]] = defaultdict(list)
    for span, track in zip(spans, tracks_of(spans), strict=True):
        by_track[track].append(span)
    on_path = {span.unit for span in account.critical_path.spans}
    for track, own in sorted(by_track.items(), key=lambda entry: (entry[0] <= 0, abs(entry[0]))):
        pieces = _pieces(own, account.seconds, on_path, numbers)
        yield lane(name_of(track), [_busy(own, account.seconds), *pieces], _HEIGHT)


def lane(name: str, pieces: Sequence[str], height: int) -> str:
    """A row of the page, over the time of the run: what it is called, and a picture."""
    box = f'viewBox="0 0 {WIDTH} {height}" height="{height}" preserveAspectRatio="none" role="img"'
    name = escape(name)
    return f'<div class="lane"><span>{name}</span><svg {box} aria-label="{name}">{"".join(pieces)}</svg></div>'


def _busy(spans: Sequence[Span], seconds: float) -> str:
    shares = [0.0] * WIDTH
    for span in spans:
        spread(shares, span.started, span.ended, seconds, 1)
    return filled([min(share, 1) for share in shares], _HEIGHT)


def _pieces(
    spans: Sequence[Span], seconds: float, on_path: Collection[int], numbers: Mapping[tuple[int, int], int]
) -> Iterator[str]:
    by_level: defaultdict[int, list[str]] = defaultdict(list)
    for span in spans:
        number = numbers.get((span.unit, span.nth))
        if number is not None:
            kind = _kind(span, on_path)
            x, width = (WIDTH * at / seconds if seconds else 0.0 for at in (span.started, span.seconds))
            level = 0 if kind == "failed" else _level(width)
            by_level[level] += [_piece(kind, number, x, width), *_parts(span, seconds)]
    for level, pieces in sorted(by_level.items()):
        hidden = f' data-level="{level}" class="near"' if level else ""
        yield f"<g{hidden}>{''.join(pieces)}</g>"


def _parts(span: Span, seconds: float) -> Iterator[str]:
    """Which part of it went by beside its function, at its foot. How it was spread over the time isn't known."""
    begins = {
        "loading": span.started,
        "waiting": span.started + span.loading,
        "encoding": span.ended - span.encoding,
    }
    for (kind, begin), long in zip(begins.items(), (span.loading, span.waiting, span.encoding), strict=True):
        if long and seconds:
            x, width = WIDTH * begin / seconds, WIDTH * long / seconds
            yield f'<rect class="part {kind}" x="{x:.4f}" y="{_HEIGHT - _FOOT}" width="{width:.4f}" height="{_FOOT}"/>'


def _kind(span: Span, on_path: Collection[int]) -> str:
    if span.status in ("Failed", "Retried"):
        return "failed"
    if span.status == "Cancelled":
        return "cancelled"
    return "path" if span.unit in on_path else "ran"


def _level(width: float) -> int:
    """How much nearer one has to look to see it: so many times as near as the steps of the script are."""
    if width >= _LEAST:
        return 0
    return min(ceil(log(_LEAST / width, _NEARER)), _NEAREST) if width > 0 else _NEAREST


def _piece(kind: str, number: int, x: float, width: float) -> str:
    return (
        f'<rect class="task {kind}" data-of="task" data-n="{number}" x="{x:.4f}" width="{width:.4f}" '
        f'height="{_HEIGHT}"/>'
    )


def _started(span: Span) -> float:
    return span.started
