"""The parts of a report that are tables and texts."""

from collections import Counter
from collections.abc import Iterable, Iterator
from heapq import nlargest

from cloaca.account.account import Account
from cloaca.account.spans import Span
from cloaca.account.told import duration, share, size
from cloaca.report.marks import HEAD, row
from cloaca.report.markup import folded, more, section, table
from cloaca.report.story import KeyTraffic, Story

_LISTED = 50
_LARGEST = 10


def failures(story: Story) -> Iterator[str]:
    """Which tasks failed, what they had waited for and read, and their tracebacks."""
    told = [(f"{one.name}: {one.message}", f"{one.explanation}\n\n{one.traceback}") for one in story.failures]
    yield from section("Failures", *folded(told), more(story.left_out))


def critical_path(account: Account) -> Iterator[str]:
    """The longest tasks on it."""
    path = account.critical_path
    if not path.spans:
        return
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
        more(len(path.spans) - len(rows)),
    )


def slowest(account: Account) -> Iterator[str]:
    """Those that took longest, with all their figures."""
    yield from section("Slowest tasks", table(HEAD, map(row, nlargest(_LISTED, account.spans, key=_seconds)), "tasks"))


def bytes_moved(story: Story) -> Iterator[str]:
    """In total, by key, and by task."""
    spans = story.account.spans
    written = sum([span.bytes_written for span in spans])
    read = sum([span.bytes_read for span in spans])
    mapped = sum([span.bytes_mapped for span in spans])
    if not (read or written):
        return
    readers = Counter(key for span in spans for key in span.read)
    keys = nlargest(_LARGEST, story.traffic, key=_size)
    largest = [span for span in nlargest(_LARGEST, spans, key=_moved) if _moved(span)]
    yield from section(
        "Bytes moved",
        f"<p>Tasks set {size(written)} and read {size(read)}, of which {size(mapped)} were mapped, not sent.</p>",
        table(
            ("key", "times set", "bytes set", "tasks that read it"),
            [(one.key, f"{one.writes:,}", size(one.size), f"{readers[one.key]:,}") for one in keys],
        ),
        table(
            ("task", "set", "read", "mapped"),
            [(one.name, size(one.bytes_written), size(one.bytes_read), size(one.bytes_mapped)) for one in largest],
            "tasks",
        ),
    )


def skipped(story: Story) -> Iterator[str]:
    """Which tasks were, and why."""
    told = table(("task", "why"), story.skipped[:_LISTED], "tasks why")
    yield from section("Skipped tasks", told, more(len(story.skipped) - _LISTED))


def reuse(story: Story) -> Iterator[str]:
    """From where tasks were taken over, and why the others ran all the same."""
    yield from section(
        "What was taken over, and why the rest ran",
        table(("taken over from the execution", "tasks"), _counted(story.origins.values())),
        table(("why it ran", "tasks"), _counted(story.reasons.values())),
    )


def _counted(told: Iterable[str]) -> list[tuple[str, str]]:
    return [(text, f"{count:,}") for text, count in Counter(told).most_common(_LISTED)]


def _seconds(span: Span) -> float:
    return span.seconds


def _moved(span: Span) -> int:
    return span.bytes_written + span.bytes_read


def _size(traffic: KeyTraffic) -> int:
    return traffic.size
