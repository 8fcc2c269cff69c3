"""Results: what `map` returns, an iterator whose results are handed out once each, in the order of the items.

It is `itertools.chain` over what has come, and then over one step that waits for more: nothing of ours is called for a
result that is here. Several threads may share it: who asks while another one gets the next results waits for its turn.
Who asks in the middle of getting them, in a signal handler or where an item is made, would wait for itself, and is told
so. An exception that strikes while results are waited for leaves them where they are: asking goes on from there. It is
collected on any thread, at any moment: then nothing is waited for. In a forked child there is nothing to be had.

What makes a chain safe here, where it isn't by itself: threads that meet in it may put its current iterator in place of
another one, or drop it. Both are the same one, which is held here until it is empty, so nothing is lost by it. And
raising is left to the step, never to what gives the iterators: a chain forgets who raised there, and has ended.
"""

import os
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterator
from inspect import GEN_RUNNING, getgeneratorstate
from itertools import chain
from operator import length_hint
from threading import RLock
from typing import Any, NoReturn

from cloaca.errors import RunnerClosedError
from cloaca.warning import users_line


def results_of(lists: Generator[list[Any], None, None]) -> Iterator[Any]:
    """The results in some lists, which come as they are asked for. Whoever lets go of it ends the call."""
    return Results.from_iterable(_Feed(lists))


class Results(chain[Any]):
    """What `map` returns. All that it does is done by the chain."""

    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        raise TypeError("The results of map stay in the program, where they are asked for: send a list(...) of them.")


class _Feed(Iterator[Iterator[Any]]):
    """Gives what has come, if there is any of it left, else the step that gets more."""

    _is_asked = True

    def __init__(self, lists: Generator[list[Any], None, None]) -> None:
        self._ready: deque[Iterator[Any]] = deque(maxlen=1)
        self._lists = lists
        self._get_more = map(self._ready.append, map(iter, lists)).__next__  # in one go: none is ever on the way here
        self._turn = RLock()
        self._have_ended = False
        self._process = os.getpid()
        self._line = users_line()
        self._is_asked = False
        _handles.add(self)

    def __next__(self) -> Iterator[Any]:
        self._is_asked = True
        results = self._left()
        if results is not None:
            return results
        if self._have_ended:
            raise StopIteration
        return _Step(self)

    def _left(self) -> Iterator[Any] | None:
        """What has come and isn't handed out yet, if there is any of it."""
        return next((results for results in tuple(self._ready) if length_hint(results)), None)

    def fetch(self) -> None:
        """Wait for more, or for another thread that does."""
        if self._process != os.getpid():
            raise RunnerClosedError("These results of map belong to the process that forked this one: read them there.")
        with self._turn:
            if getgeneratorstate(self._lists) == GEN_RUNNING:
                raise ValueError(
                    "A result of map was asked for in the middle of getting it: by a signal handler, or to make an "
                    "item of the same call. That would wait for itself."
                )
            if self._left() is not None:
                return
            try:
                self._get_more()
            except StopIteration:
                self._have_ended = True

    def drop(self) -> None:
        """Hand out none of those that have come."""
        for results in self._ready:
            deque(results, maxlen=0)

    def __del__(self, warn: Callable[..., None] = warnings.warn_explicit) -> None:
        if not self._is_asked:
            text = (
                "Nobody has asked for the results of runner.map, so it has called nothing: iterate over what it "
                "returns, as in list(runner.map(function, items))."
            )
            warn(text, RuntimeWarning, *self._line)  # at the interpreter's end, the names of this module may be gone


class _Step(Iterator[Any]):
    """No results of its own: whoever comes to it waits for more."""

    def __init__(self, results: _Feed) -> None:
        self._results = results

    def __next__(self) -> NoReturn:
        self._results.fetch()
        raise StopIteration


_handles: "weakref.WeakSet[_Feed]" = weakref.WeakSet()


def _abandon_all() -> None:
    """In a forked child: the results that are there are the program's."""
    for results in list(_handles):
        results.drop()


os.register_at_fork(after_in_child=_abandon_all)
