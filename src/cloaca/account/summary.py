"""Summary: what an execution comes to, on a dozen lines."""

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from heapq import nlargest
from html import escape

from cloaca.account.account import Account
from cloaca.account.advice import advice
from cloaca.account.cores import Idle
from cloaca.account.overhead import Overhead
from cloaca.account.spans import Span
from cloaca.account.told import duration, names, share, size
from cloaca.wording import clipped, counted

_LISTED = 5
_LONGEST_NAME = 60
_WORTH_TELLING = 0.01
"""Which part of a whole is worth a word."""

_WORTH_A_LINE = 1 << 16
"""How many bytes a task sets at least to be told among those that set much."""


class Summary:
    """Where the time of an execution went. `result.summary()` gives it; printed, it is a text.

    Attributes:
        seconds: how long the execution took.
        work: how many seconds its tasks took, all together; cpu: for how many of these they computed.
        speed_up: `work / seconds`.
        workers: how many there were.
        critical_path: the names of the tasks, one depending on the other, that took longest together.
        critical_path_seconds: how long. No number of workers makes the execution shorter.
        bound: what `speed_up` could be at most: with these workers, and by the critical path.
        idle: how long workers had nothing to do, in seconds of all workers together, and why.
        overhead: how much of their time went by beside the functions of tasks, and with what.
        counts: how many tasks ended how; of a mapped task, its instances count.
        reused: how many of these were taken over.
        slowest: the names of the tasks that took longest, with their seconds.
        largest: those that set most, with the bytes.
        retried: those that were tried again most often, with how often.
        advice: what would make it shorter, a sentence each.
    """

    def __init__(self, workflow: str, status: str, account: Account, reused: int = 0) -> None:
        self._workflow = workflow
        self._status = status
        self._account = account
        self.seconds = account.seconds
        self.work = account.work
        self.cpu = account.cpu
        self.workers = account.workers
        self.counts: Mapping[str, int] = dict(account.counts)
        self.reused = reused

    @property
    def speed_up(self) -> float:
        """How many times as long one worker would have taken that has nothing to do but these tasks."""
        return self._account.speed_up

    @property
    def critical_path(self) -> tuple[str, ...]:
        """The names of the tasks on it."""
        return tuple([span.name for span in self._account.critical_path.spans])

    @property
    def critical_path_seconds(self) -> float:
        """How long these took."""
        return self._account.critical_path.seconds

    @property
    def bound(self) -> float:
        """What the speed-up could be at most."""
        longest = self.critical_path_seconds
        return min(self.workers, self.work / longest) if longest else float(self.workers)

    @property
    def idle(self) -> Idle:
        """What workers waited for."""
        return self._account.idle

    @property
    def overhead(self) -> Overhead:
        """What went by beside the functions."""
        return self._account.overhead

    @cached_property
    def slowest(self) -> tuple[tuple[str, float], ...]:
        """Those that took longest."""
        found = nlargest(_LISTED, self._account.spans, key=_seconds)
        return tuple([(span.name, span.seconds) for span in found])

    @cached_property
    def largest(self) -> tuple[tuple[str, int], ...]:
        """Those that set most."""
        found = nlargest(_LISTED, self._account.spans, key=_bytes_written)
        return tuple([(span.name, span.bytes_written) for span in found if span.bytes_written])

    @cached_property
    def retried(self) -> tuple[tuple[str, int], ...]:
        """Those that were tried again most often."""
        return tuple(Counter([span.name for span in self._account.failed_spans]).most_common(_LISTED))

    @cached_property
    def advice(self) -> tuple[str, ...]:
        """What the figures say should be changed."""
        return tuple(advice(self._account))

    def __str__(self) -> str:
        rows = [*self._rows()]
        width = max((len(head) for head, _ in rows), default=0)
        lines = [f"  {head:<{width}}  {text}" for head, text in rows]
        return "\n".join([self._head(), *lines, *(f"- {one}" for one in self.advice)])

    def __repr__(self) -> str:
        return str(self)

    def to_html(self) -> str:
        """The same text as HTML, which looks as the page around it."""
        rows = "".join(map(_row_of, self._rows()))
        said = "".join(f"<li>{escape(one)}</li>" for one in self.advice)
        return f"<div><p>{escape(self._head())}</p><table>{rows}</table>{f'<ul>{said}</ul>' if said else ''}</div>"

    def _repr_html_(self) -> str:
        return self.to_html()

    def _head(self) -> str:
        total = sum(self.counts.values())
        others = [f"{count:,} {status.lower()}" for status, count in self.counts.items() if status != "Completed"]
        others += [f"{self.reused:,} taken over"] if self.reused else []
        told = f" ({', '.join(others)})" if others else ""
        tasks = "1 task" if total == 1 else f"{total:,} tasks"
        return f"{self._workflow}: {self._status}, {tasks}{told} in {duration(self.seconds)}"

    def _rows(self) -> Iterator[tuple[str, str]]:
        if not self._account.spans:
            yield "times", "no task of this execution has reported any"
            return
        workers = counted(self.workers, "worker")
        yield (
            "speed-up",
            (
                f"{self.speed_up:.2f} on {workers}, of {self.bound:.2f} that is possible: "
                f"{duration(self.work)} of work, {duration(self.cpu)} of it computing"
            ),
        )
        path = self._account.critical_path
        yield "critical path", f"{duration(path.seconds)}: {names(path.spans)}"
        yield "idle", self._idle()
        if self.overhead.seconds >= _WORTH_TELLING * self.workers * self.seconds:
            yield "overhead", self._overhead()
        yield "slowest", ", ".join(f"{clipped(name, _LONGEST_NAME)} {duration(one)}" for name, one in self.slowest)
        large = [(name, written) for name, written in self.largest if written >= _WORTH_A_LINE]
        if self.retried:
            yield "tries", self._tries()
        if large:
            yield "set most", ", ".join(f"{clipped(name, _LONGEST_NAME)} {size(written)}" for name, written in large)

    def _overhead(self) -> str:
        overhead = self.overhead
        reasons = (
            (overhead.loading, "loading functions and values"),
            (overhead.waiting, "waiting for values"),
            (overhead.encoding, "encoding values"),
            (overhead.handing_over, "handing tasks over"),
        )
        told = [f"{duration(part)} {what}" for part, what in reasons if part >= _WORTH_TELLING * overhead.seconds]
        each = duration(overhead.seconds / len(self._account.spans))
        return f"{duration(overhead.seconds)}, {each} a task: {', '.join(told)}"

    def _tries(self) -> str:
        failed = self._account.failed_spans
        wasted, again = duration(sum([span.seconds for span in failed])), "was" if len(failed) == 1 else "were"
        most = ", ".join(f"{clipped(name, _LONGEST_NAME)} {count:,}" for name, count in self.retried)
        return f"{len(failed):,} failed after {wasted} and {again} made again: {most}"

    def _idle(self) -> str:
        idle, whole = self.idle, self.workers * self.seconds
        reasons = (
            (idle.nothing_ready, "nothing was ready"),
            (idle.limited, "limits were reached"),
            (idle.backing_off, "a task was to be tried again"),
            (idle.handing_over, "tasks were on their way"),
            (idle.starting, "before the first task"),
            (idle.ending, "after the last one"),
        )
        told = [f"{share(part, whole)} {why}" for part, why in reasons if part >= 0.005 * whole]
        return f"{share(idle.seconds, whole)} of the workers' time" + (f": {', '.join(told)}" if told else "")


def _seconds(span: Span) -> float:
    return span.seconds


def _bytes_written(span: Span) -> int:
    return span.bytes_written


def _row_of(row: tuple[str, str]) -> str:
    head, text = map(escape, row)
    return f'<tr><th>{head}</th><td style="text-align:left">{text}</td></tr>'
