"""Results: what `map` returns, an iterator whose results are handed out once each, in the order of the items.

Several threads may share it: who asks while another one gets the next results waits for its turn. Who asks in the
middle of getting them, in a signal handler or where an item is made, would wait for itself, and is told so. It is
collected on any thread, at any moment: then nothing is waited for. In a forked child there is nothing to be had.
"""

import os
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterator
from inspect import GEN_RUNNING, getgeneratorstate
from threading import RLock
from typing import Any, NoReturn, Self

from cloaca.errors import RunnerClosedError
from cloaca.warning import users_line


class Results(Iterator[Any]):
    """The results of `lists`, which come as they are asked for. Whoever lets go of it ends the call."""

    _is_asked = True

    def __init__(self, lists: Generator[list[Any], None, None]) -> None:
        self._ready: deque[Any] = deque()
        self._lists = lists
        self._get_more = map(self._ready.extend, lists).__next__  # in one go: what has come is never on the way here
        self._turn = RLock()
        self._process = os.getpid()
        self._line = users_line()
        self._is_asked = False
        _handles.add(self)

    def __reduce__(self) -> NoReturn:
        raise TypeError("The results of map stay in the program, where they are asked for: send a list(...) of them.")

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        while True:
            ready = self._ready
            try:
                if ready:
                    return ready.popleft()
            except IndexError:
                continue  # another thread was quicker
            self._fetch()

    def _fetch(self) -> None:
        """Wait for more, or for another thread that does."""
        self._is_asked = True
        if self._process != os.getpid():
            raise RunnerClosedError("These results of map belong to the process that forked this one: read them there.")
        with self._turn:
            if getgeneratorstate(self._lists) == GEN_RUNNING:
                raise ValueError(
                    "A result of map was asked for in the middle of getting it: by a signal handler, or to make an "
                    "item of the same call. That would wait for itself."
                )
            if not self._ready:
                self._get_more()

    def __del__(self, warn: Callable[..., None] = warnings.warn_explicit) -> None:
        if not self._is_asked:
            text = (
                "Nobody has asked for the results of runner.map, so it has called nothing: iterate over what it "
                "returns, as in list(runner.map(function, items))."
            )
            warn(text, RuntimeWarning, *self._line)  # at the interpreter's end, the names of this module may be gone


_handles: "weakref.WeakSet[Results]" = weakref.WeakSet()


def _abandon_all() -> None:
    """In a forked child: the results that are there are the program's."""
    for results in list(_handles):
        results._ready.clear()


os.register_at_fork(after_in_child=_abandon_all)
