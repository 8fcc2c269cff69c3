"""Markup: tables and folded parts, in which all text is escaped."""

from collections.abc import Iterable, Iterator, Sequence
from html import escape


def table(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """A table, which scrolls where it is too wide. `kind` is its class: rows of "tasks" are searched by their names."""
    titles = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    named = f' class="{kind}"' if kind else ""
    inner = f"<table{named}><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scrolled" tabindex="0">{inner}</div>'


def folded(parts: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Parts that open, each a line and a text."""
    for head, text in parts:
        yield f"<details><summary>{escape(head)}</summary><pre>{escape(text)}</pre></details>"


def section(title: str, *parts: str) -> Iterator[str]:
    """A part of the page, if there is anything in it."""
    if any(parts):
        yield f"<section><h2>{title}</h2>{''.join(parts)}</section>"
