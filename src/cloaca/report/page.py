"""A report: one HTML file that needs nothing else. It has no script, and what users named is escaped."""

import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from os import PathLike
from typing import NamedTuple

from cloaca.account.account import Account
from cloaca.account.spans import Span
from cloaca.account.told import duration, size
from cloaca.report.lanes import lanes, running

_SLOWEST = 50
_HEAD = ("task", "status", "took", "started after", "CPU", "worker", "try", "read", "set", "peak of the worker")


class Failure(NamedTuple):
    """A task that failed: with what, where, and what it had read."""

    name: str
    message: str
    traceback: str
    read: tuple[str, ...]


class Story(NamedTuple):
    """What a report tells. `left_out`: how many failures more there are. `keys`: how values came to be, by key."""

    title: str
    status: str
    facts: Mapping[str, str]
    message: str | None
    summary: str
    account: Account
    failures: Sequence[Failure]
    left_out: int
    keys: Mapping[str, str]
    reasons: Mapping[str, int]


def save(path: str | PathLike[str], story: Story) -> None:
    """Write the report. Raises `OSError` where the file can't be written."""
    told = "".join(_page(story))  # first of all: what can't be told leaves a file of before as it was
    with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(told)


def _page(story: Story) -> Iterator[str]:
    with open(os.path.join(os.path.dirname(__file__), "style.css"), encoding="utf-8") as file:
        style = file.read()
    yield '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
    yield "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{escape(story.title)}</title><style>{style}</style></head><body><main>"
    yield f"<h1>{escape(story.title)}: {escape(story.status)}</h1>"
    yield f"<pre>{escape(story.message)}</pre>" if story.message else ""
    yield f"<h2>Where the time went</h2><pre>{escape(story.summary)}</pre>"
    yield from _times(story.account)
    yield from _failures(story)
    yield from _folded("How values were merged", story.keys.items())
    yield from _reasons(story.reasons)
    facts = {**story.facts, "report written with": f"Python {platform.python_version()}"}
    yield f"<h2>The execution</h2>{_table(('what', ''), facts.items())}</main></body></html>\n"


def _times(account: Account) -> Iterator[str]:
    spans, seconds = account.spans, account.seconds
    if not spans:
        yield "<h2>What ran when</h2><p>No times are on record: no task ran in this execution.</p>"
        return
    on_path = {span.unit for span in account.critical_path.spans}
    kinds = (("ran", "ran"), ("path", "on the critical path"), ("failed", "failed"))
    keys = ", ".join(f'<span class="key {kind}">&#9632; {said}</span>' for kind, said in kinds)
    yield f"<h2>What ran when</h2><p>{keys}; {duration(seconds)} from left to right. Of each task, the last try.</p>"
    yield from lanes(spans, seconds, on_path)
    yield f"<h2>How many ran at once</h2>{running(account.moments, seconds, account.workers)}"
    slowest = sorted(spans, key=lambda span: -span.seconds)[:_SLOWEST]
    yield f"<h2>Slowest tasks</h2>{_table(_HEAD, map(_row, slowest))}"


def _row(span: Span) -> tuple[str, ...]:
    began, worker = duration(max(span.started, 0)), str(span.worker or "program")
    sizes = map(size, (span.bytes_read, span.bytes_written, span.peak_memory))
    return span.name, span.status, duration(span.seconds), began, duration(span.cpu), worker, str(span.nth), *sizes


def _failures(story: Story) -> Iterator[str]:
    told = [(f"{one.name}: {one.message}", _reading(one.read) + one.traceback) for one in story.failures]
    yield from _folded("Failures", told)
    yield f"<p>... and {story.left_out} more.</p>" if story.left_out else ""


def _reading(keys: tuple[str, ...]) -> str:
    return f"It read {', '.join(map(repr, keys))}.\n\n" if keys else ""


def _folded(title: str, parts: Iterable[tuple[str, str]]) -> Iterator[str]:
    """A section of parts that open, if there are any."""
    told = [f"<details><summary>{escape(head)}</summary><pre>{escape(text)}</pre></details>" for head, text in parts]
    yield f"<section><h2>{title}</h2>{''.join(told)}</section>" if told else ""


def _reasons(reasons: Mapping[str, int]) -> Iterator[str]:
    rows = [(why, str(count)) for why, count in reasons.items()]
    yield f"<h2>Why tasks ran</h2>{_table(('why', 'tasks'), rows)}" if rows else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    titles = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f'<div class="scrolled" tabindex="0"><table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>'
    )
