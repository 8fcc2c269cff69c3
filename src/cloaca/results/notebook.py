"""What notebooks show of a result: its summary, what went wrong, its picture, and its tasks.

That is plain HTML without scripts, which looks as the page around it, with the picture as SVG. Where that can't be
drawn, it is Markdown, in which JupyterLab draws the picture by Mermaid.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import islice

from cloaca.results.task import TaskResult
from cloaca.wording import shortened

_MANY = 20_000
_ROWS = 50
_HEAD = ("task", "status", "attempts", "seconds", "why")


def is_much(tasks: Mapping[str, TaskResult]) -> bool:
    """Whether their summary takes so long that who wants it may say so: what is merely shown doesn't keep waiting."""
    return len(tasks) > _MANY


def in_short(line: str) -> str:
    """In place of a summary."""
    return f"<p>{escape(line)}</p><p><code>result.summary()</code> tells where the time went.</p>"


def shown(
    summary: str, message: str | None, picture: Mapping[str, str], tasks: Mapping[str, TaskResult]
) -> dict[str, str]:
    """By MIME type. `summary` is HTML; `picture` is by MIME type, too."""
    above = summary + (f"<pre>{escape(message)}</pre>" if message else "")
    beneath = _folded(tasks)
    if "image/svg+xml" in picture:
        drawn = picture["image/svg+xml"]
        scrolled = f'<div style="overflow-x:auto">{drawn[drawn.index("<svg") :]}</div>'
        return {"text/html": f"<div>{above}{scrolled}{beneath}</div>"}
    drawn = f"```mermaid\n{picture['text/vnd.mermaid']}```"
    return {"text/markdown": f"{_in_markdown(above)}\n\n{drawn}\n\n{_in_markdown(beneath)}\n"}


def _in_markdown(html: str) -> str:
    """On one line: with an empty one, HTML would be over, and Markdown begin."""
    return html.replace("\n", "&#10;")


def _folded(tasks: Mapping[str, TaskResult]) -> str:
    """The tasks as a table that is opened by a click."""
    table = table_of(_HEAD, [_row_of(tasks[id]) for id in islice(tasks, _ROWS)])
    rest = f", of which the first {_ROWS} stand here" if len(tasks) > _ROWS else ""
    size = "1 task" if len(tasks) == 1 else f"{len(tasks):,} tasks"
    return f"<details><summary>{size}{rest}</summary>{table}</details>"


def table_of(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows under a head, escaped.

    >>> table_of(["task"], [["a<b"]])
    '<table><tr><th>task</th></tr><tr><td>a&lt;b</td></tr></table>'
    """
    return f"<table>{_row('th', head)}{''.join(_row('td', row) for row in rows)}</table>"


def _row(kind: str, cells: Iterable[str]) -> str:
    return f"<tr>{''.join(f'<{kind}>{escape(cell)}</{kind}>' for cell in cells)}</tr>"


def _row_of(task: TaskResult) -> tuple[str, ...]:
    seconds = "" if task.duration is None else f"{task.duration:.3f}"
    why = shortened(task.error_message or task.reason or "")
    return task.id, task.status, str(task.attempts), seconds, why
