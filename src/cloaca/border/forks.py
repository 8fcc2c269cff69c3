"""Forks: what is forked from a process that has set itself handlers ends by signals as any process does.

Python drops a signal that reaches a child between its fork and its first step, where its parent has a handler for it.
Whoever starts processes and ends them soon, as `multiprocessing.Pool` does, would wait for ever for the one that missed
its signal. So signals are held back meanwhile, in the thread that forks.
"""

import os
import signal
from collections.abc import Callable
from threading import local
from types import FrameType

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
        self.let_go()


def spare(handler: _Handler, *numbers: signal.Signals) -> None:
    """Have no process that is forked from here take its parent's handler for its own, nor miss a signal for it."""
    forks = _Forks(handler, numbers)
    os.register_at_fork(before=forks.hold, after_in_parent=forks.let_go, after_in_child=forks.begin)
