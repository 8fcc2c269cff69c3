"""A report: one HTML file that needs nothing else, and may fetch and run nothing else. What users named is escaped.

All of it can be read without the script, which zooms, searches, and shows the details of what is pointed at.
"""

import os
import platform
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import sha256
from heapq import nlargest
from html import escape
from os import PathLike

from cloaca.account.account import Account
from cloaca.account.memory import heights
from cloaca.account.spans import Span
from cloaca.account.told import duration, share, size
from cloaca.report.curves import filled, risen, running
from cloaca.report.graph import GraphNode, drawn, nodes_of
from cloaca.report.lanes import chosen, lane, lanes
from cloaca.report.markup import folded, section, table
from cloaca.report.story import KeyTraffic, Story
from cloaca.report.told import HEAD, row, told

_LISTED = 50
_LARGEST = 10
_TICKS = 5
_CURVE = 60
_OUTCOMES = (
    ("completed", "completed"),
    ("failed", "failed"),
    ("skipped", "skipped"),
    ("cancelled", "cancelled"),
    ("taken-over", "taken over"),
    ("path", "on the critical path"),
)
_KINDS = (("ran", "ran"), ("path", "on the critical path"), ("failed", "failed, in this try"), ("cancelled", "cut off"))
_GRAPH_KEYS = "Keys: + and - zoom, 0 shows all, n and p go from node to node, arrows scroll."
_TIME_KEYS = (
    "Keys: + and - zoom, arrows move, 0 shows all, n and p go from task to task. The wheel zooms after a click, or "
    "with Ctrl; dragging moves."
)


def save(path: str | PathLike[str], story: Story) -> None:
    """Write the report. Raises `OSError` where the file can't be written."""
    page = "".join(_page(story))  # first of all: what can't be told leaves a file of before as it was
    try:
        with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(page)
    except OSError as error:
        raise OSError(error.errno, f"The report can't be written: {error.strerror}", os.fspath(path)) from None


def _page(story: Story) -> Iterator[str]:
    style, script = _part("style.css"), _part("page.js")
    allowed = f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'"
    account = story.account
    nodes, spans = nodes_of(account, story.groups, story.origins), chosen(account)
    yield '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
    yield f"<meta http-equiv=\"Content-Security-Policy\" content=\"{allowed}; base-uri 'none'; form-action 'none'\">"
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{escape(story.title)}</title><style>{style}</style></head><body><main>"
    yield from _head(story)
    yield from _sections(story, nodes, spans)
    facts = {**story.facts, "report written with": f"Python {platform.python_version()}"}
    yield from section("The execution", table(("what", ""), facts.items()))
    facts_of_marks = told(spans, nodes, [task.name for task in account.tasks], account.seconds, _notes(story))
    yield f'</main><script type="application/json" id="told">{facts_of_marks}</script>'
    yield f"<script>{script}</script></body></html>\n"


def _part(name: str) -> str:
    with open(os.path.join(os.path.dirname(__file__), name), encoding="utf-8") as file:
        return file.read()


def _digest(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def _head(story: Story) -> Iterator[str]:
    yield f"<h1>{escape(story.title)}: {escape(story.status)}</h1>"
    yield '<div id="search" hidden><label for="query">Search</label> <input id="query" type="search" autocomplete="off"'
    yield ' placeholder="names of tasks"> <output id="count" for="query"></output><ul id="matches"></ul></div>'
    yield f"<pre>{escape(story.message)}</pre>" if story.message else ""
    yield from section("Where the time went", f"<pre>{escape(story.summary)}</pre>")


def _sections(story: Story, nodes: Sequence[GraphNode], spans: Sequence[Span]) -> Iterator[str]:
    yield from section("Failures", *folded(_failures(story)), _more(story.left_out))
    yield from section("The workflow", _key(_OUTCOMES), _tools("workflow", _GRAPH_KEYS), *_graph(nodes))
    yield from _times(story.account, spans)
    yield from _bytes(story)
    yield from section("How values were merged", *folded(story.explanations.items()))
    skipped = [*folded(story.skipped[:_LISTED])]
    yield from section("Skipped tasks", *skipped, _more(len(story.skipped) - len(skipped)))
    yield from _reuse(story)


def _more(count: int) -> str:
    return f"<p>... and {count:,} more.</p>" if count > 0 else ""


def _left_out(count: int) -> str:
    return f"<p>{count:,} short ones aren't shown one by one, but in how busy workers were.</p>" if count else ""


def _failures(story: Story) -> Iterator[tuple[str, str]]:
    for one in story.failures:
        read = f"It read {', '.join(map(repr, one.read))}.\n\n" if one.read else ""
        yield f"{one.name}: {one.message}", read + one.traceback


# ---- pictures ------------------------------------------------------------------------------------------------------


def _key(kinds: Sequence[tuple[str, str]]) -> str:
    return "<p>" + ", ".join(f'<span class="key {kind}">&#9632;</span> {said}' for kind, said in kinds) + "</p>"


def _tools(of: str, keys: str) -> str:
    """The buttons of a picture, which the script shows."""
    buttons = (("-", "Zoom out", "&minus;"), ("+", "Zoom in", "+"), ("0", "Show all", "all"))
    told = "".join(f'<button data-key="{key}" aria-label="{said}">{sign}</button>' for key, said, sign in buttons)
    return f'<div class="tools" data-for="{of}" hidden>{told} <small>{keys}</small></div>'


def _graph(nodes: Sequence[GraphNode]) -> Iterator[str]:
    yield f'<div id="workflow" class="scrolled" tabindex="0">{"".join(drawn(nodes))}</div>'


def _times(account: Account, spans: Sequence[Span]) -> Iterator[str]:
    if not account.spans:
        yield "<h2>What ran when</h2><p>No times are on record: no task ran in this execution.</p>"
        return
    yield from section("What ran when", *_time(account, spans))
    path = account.critical_path
    longest = {span.unit for span in nlargest(_LISTED, path.spans, key=_seconds)}
    rows = [
        (span.name, duration(span.seconds), share(span.seconds, path.seconds), duration(span.started))
        for span in path.spans
        if span.unit in longest
    ]
    yield from section(
        "Critical path",
        f"<p>{len(path.spans):,} tasks, each waiting for the one before, took {duration(path.seconds)} of "
        f"{duration(account.seconds)}. No number of workers makes that shorter.</p>",
        table(("task", "took", "of the path", "started after"), rows, "tasks"),
        _more(len(path.spans) - len(rows)),
    )
    yield from section("Slowest tasks", table(HEAD, map(row, nlargest(_LISTED, account.spans, key=_seconds)), "tasks"))


def _time(account: Account, shown: Sequence[Span]) -> Iterator[str]:
    """All that is over time: lanes, and curves beneath them."""
    seconds, workers = account.seconds, account.workers
    yield _key(_KINDS)
    yield _left_out(len(account.spans) + len(account.failed_spans) - len(shown))
    yield _tools("time", _TIME_KEYS)
    yield '<div id="time" tabindex="0" role="group" aria-label="What ran when">'
    ticks = "".join(f"<span>{duration(seconds * tick / (_TICKS - 1))}</span>" for tick in range(_TICKS))
    yield f'<div class="lane"><span></span><div class="axis">{ticks}</div></div>'
    yield from lanes(account, shown)
    most = max(workers, account.most_at_once)
    shape = filled(running(account.moments, seconds, most), _CURVE)
    yield lane(f"running, of {most:,}", [shape], _CURVE)
    readings = [*heights(account.spans)]
    if readings:
        highest = max(value for _, value in readings)
        shape = filled(risen(readings, seconds, highest), _CURVE)
        yield lane(f"memory, up to {size(highest)}", [shape], _CURVE)
    yield "</div>"


# ---- tables --------------------------------------------------------------------------------------------------------


def _bytes(story: Story) -> Iterator[str]:
    spans = story.account.spans
    read, mapped, written = (
        sum([getattr(span, name) for span in spans]) for name in ("bytes_read", "bytes_mapped", "bytes_written")
    )
    if not (read or written):
        return
    readers = Counter(key for span in spans for key in span.read)
    keys = nlargest(_LARGEST, story.traffic, key=_size)
    rows = [(one.key, f"{one.writes:,}", size(one.size), f"{readers[one.key]:,}") for one in keys]
    largest = [span for span in nlargest(_LARGEST, spans, key=_moved) if _moved(span)]
    yield from section(
        "Bytes moved",
        f"<p>Tasks set {size(written)} and read {size(read)}, of which {size(mapped)} were mapped, not sent.</p>",
        table(("key", "times set", "bytes set", "tasks that read it"), rows) if rows else "",
        table(
            ("task", "set", "read", "mapped"),
            [(one.name, size(one.bytes_written), size(one.bytes_read), size(one.bytes_mapped)) for one in largest],
            "tasks",
        ),
    )


def _reuse(story: Story) -> Iterator[str]:
    origins = Counter(story.origins.values()).items()
    whys = Counter(story.reasons.values()).items()
    yield from section(
        "What was taken over, and why the rest ran",
        table(("taken over from the execution", "tasks"), [(one, f"{count:,}") for one, count in origins])
        if origins
        else "",
        table(("why it ran", "tasks"), [(why, f"{count:,}") for why, count in whys]) if whys else "",
    )


def _notes(story: Story) -> dict[str, dict[str, str]]:
    """What there is to say of some tasks more than of others."""
    notes: dict[str, dict[str, str]] = {one.name: {"error": one.message} for one in story.failures}
    for kind, told_of in (
        ("skipped, as", dict(story.skipped)),
        ("taken over from", story.origins),
        ("ran because", story.reasons),
    ):
        for name, text in told_of.items():
            notes.setdefault(name, {})[kind] = text
    return notes


def _seconds(span: Span) -> float:
    return span.seconds


def _moved(span: Span) -> int:
    return span.bytes_written + span.bytes_read


def _size(traffic: KeyTraffic) -> int:
    return traffic.size
