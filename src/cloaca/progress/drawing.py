"""What a display of progress looks like, as `rich` draws it: a bar for each execution, and below it what matters."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cloaca.progress.progress import Progress
from cloaca.progress.words import how_much, rest, span

_MAPPED = 3
_BUSY = 4
_LONG_SECONDS = 1.0
_STYLES = {"Completed": "green", "Failed": "red", "Cancelled": "yellow"}


class Bar(NamedTuple):
    """A line that is a bar, between what it is for and how far that is."""

    label: str
    done: int
    total: int
    said: str
    style: str


class Caption(NamedTuple):
    """A line of text."""

    text: str
    style: str = "dim"


Scene = tuple[Bar | Caption, ...]
"""What a display shows, from above. Where two are equal, nothing has to be drawn again."""


def scene(under_way: Sequence[Progress], memory: str = "", most: int = 100) -> Scene:
    """All of them, at most so many, and a word on memory where it is short."""
    lines = [line for progress in under_way[:most] for line in _of_one(progress)]
    if len(under_way) > most:
        lines.append(Caption(f"and {len(under_way) - most} more"))
    if memory:
        lines.append(Caption(memory, "yellow"))
    return (*lines,)


def drawn(shown: Scene) -> RenderableType:
    """The scene, as `rich` takes it."""
    groups = [(are_bars, [*lines]) for are_bars, lines in groupby(shown, key=_is_bar)]
    return Group(*[part for are_bars, lines in groups for part in ([_bars(lines)] if are_bars else map(_text, lines))])


def ended(progress: Progress) -> Text:
    """One that has ended, on a line."""
    how = progress.status, _STYLES.get(progress.status, "")
    return Text.assemble((progress.name, "bold"), " ", how, f" {how_much(progress)}, {rest(progress)}")


def _of_one(progress: Progress) -> Iterator[Bar | Caption]:
    yield Bar(progress.name, progress.done, progress.total, how_much(progress), "")
    for mapped in progress.mapped[:_MAPPED]:
        yield Bar(f"  {mapped.task}", mapped.done, mapped.total, f"{mapped.done:,} of {mapped.total:,}", "dim")
    yield Caption(f"  {rest(progress)}")
    if len(progress.mapped) > _MAPPED:
        yield Caption(f"  and {len(progress.mapped) - _MAPPED} more mapped tasks")
    long = [busy for busy in progress.busy if busy.seconds >= _LONG_SECONDS]
    for busy in long[:_BUSY]:
        where = f"worker {busy.worker}" if busy.worker else "here"
        yield Caption(f"  {where}: {busy.task}, for {span(int(busy.seconds))}")
    if len(long) > _BUSY:
        yield Caption(f"  and {len(long) - _BUSY} more that run for a second or longer")


def _is_bar(line: Bar | Caption) -> bool:
    return isinstance(line, Bar)


def _text(line: Any) -> Text:
    return Text(line.text, style=line.style, no_wrap=True, overflow="ellipsis")


def _bars(bars: Iterable[Any]) -> Table:
    """Bars that follow each other: they are of one length."""
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(ratio=2, no_wrap=True, overflow="ellipsis")
    table.add_column(ratio=3)
    table.add_column(no_wrap=True)
    for bar in bars:
        drawn_bar = ProgressBar(total=bar.total, completed=bar.done)
        table.add_row(Text(bar.label, style="" if bar.style else "bold"), drawn_bar, Text(bar.said, style=bar.style))
    return table
