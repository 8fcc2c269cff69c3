"""A report: one HTML file that needs nothing else, and may fetch and run nothing else. What users named is escaped.

All of it can be read without the script, which zooms, searches, and shows the details of what is pointed at.
"""

import os
import platform
from base64 import b64encode
from collections.abc import Iterator, Sequence
from hashlib import sha256
from html import escape
from os import PathLike

from cloaca.account.spans import Span
from cloaca.report import tables
from cloaca.report.graph import GraphNode, nodes_of, workflow
from cloaca.report.lanes import chosen
from cloaca.report.marks import told_of_marks
from cloaca.report.markup import folded, section, table
from cloaca.report.story import Story
from cloaca.report.times import what_ran_when


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
    told = told_of_marks(spans, nodes, [task.name for task in account.tasks], account.seconds, _notes(story))
    yield f'</main><script type="application/json" id="told">{told}</script>'
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
    yield from tables.failures(story)
    yield from workflow(nodes)
    yield from what_ran_when(story.account, spans)
    yield from tables.critical_path(story.account)
    yield from tables.slowest(story.account)
    yield from tables.bytes_moved(story)
    yield from section("How values were merged", *folded(story.explanations.items()))
    yield from tables.skipped(story)
    yield from tables.reuse(story)


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
