"""Markup: parts of a page, in which all text is escaped."""

import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape

_CLASSES = re.compile(r'class="([^"]*)"')


def section(title: str, *parts: str) -> Iterator[str]:
    """A part of the page, if there is anything in it."""
    if any(parts):
        yield f"<section><h2>{title}</h2>{''.join(parts)}</section>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """A table, which scrolls where it is too wide. `kind` are its classes: rows of "tasks" are searched by their names.

    >>> table(("why", "tasks"), [])
    ''
    """
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    if not body:
        return ""
    titles = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    named = f' class="{kind}"' if kind else ""
    inner = f"<table{named}><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scrolled" tabindex="0">{inner}</div>'


def folded(parts: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Parts that open, each a line and a text."""
    for head, text in parts:
        yield f"<details><summary>{escape(head)}</summary><pre>{escape(text)}</pre></details>"


def more(count: int) -> str:
    """That there are so many more."""
    return f"<p>... and {count:,} more.</p>" if count > 0 else ""


def key(kinds: Iterable[tuple[str, str]], picture: str) -> str:
    """What the colours of a picture stand for: of these classes, with a word on each, those that are in it."""
    there = {one for classes in _CLASSES.findall(picture) for one in classes.split()}
    told = [f'<span class="key {kind}">&#9632;</span>&nbsp;{said}' for kind, said in kinds if kind in there]
    return f"<p>{', '.join(told)}</p>"


def tools(of: str, keys: str) -> str:
    """The buttons of the picture of that id, which the script shows, and a word on its keys."""
    buttons = (("-", "Zoom out", "&minus;"), ("+", "Zoom in", "+"), ("0", "Show all", "all"))
    told = "".join(f'<button data-key="{one}" aria-label="{said}">{sign}</button>' for one, said, sign in buttons)
    return f'<div class="tools" data-for="{of}" hidden>{told} <small>{keys}</small></div>'
