"""What a display of progress looks like, as `rich` draws it: a bar for each execution, and below it what matters."""

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cloaca.progress.progress import Progress
from cloaca.progress.words import counts, how_much, pace, span, time

_MAPPED = 3
_BUSY = 4
_LONG_SECONDS = 1.0
_STYLES = {"Completed": "green", "Failed": "red", "Cancelled": "yellow"}


def drawn(under_way: Sequence[Progress], memory: str = "", most: int = 100) -> RenderableType:
    """All of them, at most so many, and a word on memory where it is short."""
    parts: list[RenderableType] = [part for progress in under_way[:most] for part in _of_one(progress)]
    if len(under_way) > most:
        parts.append(Text(f"and {len(under_way) - most} more", style="dim"))
    if memory:
        parts.append(Text(memory, style="yellow"))
    return Group(*parts)


def ended(progress: Progress) -> Text:
    """One that has ended, on a line."""
    said = ", ".join([how_much(progress), *counts(progress), pace(progress), time(progress)])
    return Text.assemble(
        (progress.name, "bold"),
        " ",
        (progress.status, _STYLES.get(progress.status, "")),
        f" {said}",
        overflow="ellipsis",
    )


def _of_one(progress: Progress) -> Iterator[RenderableType]:
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(ratio=2, no_wrap=True, overflow="ellipsis")
    table.add_column(ratio=3)
    table.add_column(no_wrap=True)
    bar = ProgressBar(total=progress.total, completed=progress.done)
    table.add_row(Text(progress.name, style="bold"), bar, Text(how_much(progress)))
    for mapped in progress.mapped[:_MAPPED]:
        part = ProgressBar(total=mapped.total, completed=mapped.done)
        table.add_row(Text(f"  {mapped.task}"), part, Text(f"{mapped.done:,} of {mapped.total:,}", style="dim"))
    yield table
    yield _line(", ".join([*counts(progress), pace(progress), time(progress)]))
    if len(progress.mapped) > _MAPPED:
        yield _line(f"and {len(progress.mapped) - _MAPPED} more mapped tasks")
    long = [busy for busy in progress.busy if busy.seconds >= _LONG_SECONDS]
    for busy in long[:_BUSY]:
        where = f"worker {busy.worker}" if busy.worker else "here"
        yield _line(f"{where}: {busy.task}, for {span(busy.seconds)}")
    if len(long) > _BUSY:
        yield _line(f"and {len(long) - _BUSY} more that run for a second or longer")


def _line(text: str) -> Text:
    return Text(f"  {text}", style="dim", no_wrap=True, overflow="ellipsis")
