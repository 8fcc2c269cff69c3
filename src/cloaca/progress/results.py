"""The results of a call of `map`, counted as they come."""

from collections.abc import Callable, Generator
from contextlib import closing
from time import monotonic
from typing import Any

from cloaca.count import Count
from cloaca.progress.board import Showing
from cloaca.progress.progress import Busy, Progress

Running = Callable[[], list[tuple[int, str, float]]]
"""What runs now: on which worker, what it is called, and since when."""


class Counted:
    """How many results of a call have come, of a `total`; `None`: that isn't known. `show` begins to show it.

    What is `running`, whoever makes the call says, and has the `count` brought up to date.
    """

    def __init__(self, name: str, total: int | None, show: Callable[[Callable[[], Progress]], Showing]) -> None:
        self.count = Count()
        self.running: Running = list
        self._name = name
        self._total = total
        self._show = show
        self._handed_out = 0
        self._status = "Running"
        self._began = self._ended = monotonic()

    def progress(self) -> Progress:
        """How far it is. Where the total isn't known, what has come stands for it.

        While it runs, what has come counts before it is handed out: a long item may stand before it.
        """
        is_running, count, now = self._status == "Running", self.count, monotonic()
        failed, handed_out = count.failed, self._handed_out  # before what is done, as they are told after that
        come = max(handed_out, count.done) if is_running else handed_out
        total, seconds = max(come, self._total or 0), (now if is_running else self._ended) - self._began
        busy = [Busy(worker, name.removeprefix("map, "), now - began) for worker, name, began in self.running()]
        return Progress(
            self._name,
            self._status,
            total,
            come - failed,
            failed,
            0,
            0,
            len(busy) if is_running else 0,
            count.retried,
            seconds,
            seconds * (total - come) / come if is_running and come and self._total is not None else None,
            busy=tuple(sorted(busy, key=_seconds, reverse=True)) if is_running else (),
        )

    def through(self, lists: Generator[list[Any], None, None]) -> Generator[list[Any], None, None]:
        """The same lists of results. It is shown from when the first is asked for; who stops asking has ended it."""
        self._began = monotonic()
        showing = self._show(self.progress)
        status = "Cancelled"
        try:
            with closing(lists):
                for results in lists:
                    self._handed_out += len(results)
                    yield results
            status = "Completed"
        except Exception:
            status = "Failed"
            raise
        finally:
            self._ended, self._status = monotonic(), status
            if status != "Cancelled":  # else nobody waits: it is collected, anywhere
                showing.settle()


def _seconds(busy: Busy) -> float:
    return busy.seconds
