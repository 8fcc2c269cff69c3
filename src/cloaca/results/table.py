"""A table for notebooks: plain HTML without colours or scripts, so that it looks as the page around it."""

from collections.abc import Iterable, Sequence
from html import escape


def table_of(name: str, said: str, message: str | None, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """What there is to say of a name, a message if there is one, and rows under a head, all escaped.

    >>> table_of("a<b", "Completed", None, ["task"], [["load"]])
    '<div><p><strong>a&lt;b</strong>: Completed</p><table><tr><th>task</th></tr><tr><td>load</td></tr></table></div>'
    """
    told = f"<p><strong>{escape(name)}</strong>: {escape(said)}</p>"
    told += f"<pre>{escape(message)}</pre>" if message else ""
    return f"<div>{told}<table>{_row('th', head)}{''.join(_row('td', row) for row in rows)}</table></div>"


def _row(kind: str, cells: Iterable[str]) -> str:
    return f"<tr>{''.join(f'<{kind}>{escape(cell)}</{kind}>' for cell in cells)}</tr>"
