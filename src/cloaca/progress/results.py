"""The results of a call of `map`, counted as they come."""

from collections.abc import Callable, Generator
from contextlib import closing
from time import monotonic
from typing import Any

from cloaca.progress.board import Showing
from cloaca.progress.progress import Progress


class Counted:
    """How many results of a call have come, of a `total`; `None`: that isn't known. `show` begins to show it."""

    def __init__(self, name: str, total: int | None, show: Callable[[Callable[[], Progress]], Showing]) -> None:
        self._name = name
        self._total = total
        self._show = show
        self._come = 0
        self._status = "Running"
        self._began = self._ended = monotonic()

    def progress(self) -> Progress:
        """How far it is. Where the total isn't known, what has come stands for it."""
        come, total = self._come, max(self._come, self._total or 0)
        seconds = (monotonic() if self._status == "Running" else self._ended) - self._began
        left = seconds * (total - come) / come if come and self._total is not None else None
        return Progress(self._name, self._status, total, come, 0, 0, 0, 0, 0, seconds, left)

    def through(self, lists: Generator[list[Any], None, None]) -> Generator[list[Any], None, None]:
        """The same lists of results. It is shown from when the first is asked for; who stops asking has ended it."""
        self._began = monotonic()
        showing = self._show(self.progress)
        status = "Cancelled"
        try:
            with closing(lists):
                for results in lists:
                    self._come += len(results)
                    yield results
            status = "Completed"
        except Exception:
            status = "Failed"
            raise
        finally:
            self._ended, self._status = monotonic(), status
            if status != "Cancelled":  # else nobody waits: it is collected, anywhere
                showing.settle()
