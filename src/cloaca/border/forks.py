"""Forks: what is forked from a process that has set itself handlers ends by signals as any process does.

Python drops a signal that reaches a child between its fork and its first step, where its parent has a handler for it.
Whoever starts processes and ends them soon, as `multiprocessing.Pool` does, would wait for ever for the one that missed
its signal. So signals are held back meanwhile, in the thread that forks.

It also drops what a handler raises in the midst of a fork. So a handler that is called there is called again after it.
"""

import _thread
import os
import signal
from collections.abc import Callable
from functools import partial
from threading import local
from types import FrameType
from typing import Any

_Handler = Callable[[int, FrameType | None], None]


class _Forks(local):
    """One for each thread: its mask of signals before the fork that it makes."""

    def __init__(self, handler: _Handler, numbers: tuple[signal.Signals, ...]) -> None:
        self._handler = handler
        self._numbers = numbers
        self._mask: set[int] = set()

    def hold(self) -> None:
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, self._numbers)

    def let_go(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def begin(self) -> None:
        for number in self._numbers:
            if signal.getsignal(number) is self._handler:
                signal.signal(number, signal.SIG_DFL)
            _put_off[number].clear()
        self.let_go()


_MIDST = frozenset({_Forks.hold.__code__, _Forks.let_go.__code__})
_put_off: dict[int, set[int]] = {}
_interrupt: Callable[[Any], Any] = _thread.interrupt_main


def spare(handler: _Handler, *numbers: signal.Signals) -> None:
    """Have no process that is forked from here take its parent's handler for its own, nor miss a signal for it."""
    forks = _Forks(handler, numbers)
    os.register_at_fork(before=forks.hold, after_in_parent=forks.let_go, after_in_child=forks.begin)
    for number in numbers:  # `max` calls it for what is there, and is C: a hook in Python would be interrupted itself
        put_off = _put_off.setdefault(number, set())
        os.register_at_fork(after_in_parent=partial(max, put_off, key=_interrupt, default=None))


def puts_off(number: int, frame: FrameType | None) -> bool:
    """Whether a handler was called in the midst of a fork: then it is called again where only C is left of that."""
    while frame is not None and frame.f_code not in _MIDST:
        frame = frame.f_back
    if frame is None:
        _put_off[number].clear()
        return False
    _put_off[number].add(number)
    return True
