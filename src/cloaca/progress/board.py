"""Board: one display for all that is shown at once in this program, on a thread of its own.

Purpose
    To show how far executions and calls of `map` are, at most some times a second, however many there are.

Guarantees
    - Nothing that is shown is waited for by those that run: the board looks at them, and takes at most 0.4 % of a
      core. A look that takes long makes the next one come later. How long it is kept waiting, as others have the
      core, doesn't count, nor does the first look, which loads what draws.
    - All that is shown at once stands in one display: two would write over each other.
    - Whatever goes wrong with the display costs the display: it is given up, and that is logged once.
    - When `settle` returns, the last state of what has ended is shown, unless nobody reads the terminal.

Roads not taken
    - To have the run tell: for tiny tasks, telling takes longer than they do.
    - A display for each execution: terminals have one last line.
"""

import atexit
import logging
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from threading import Event, RLock, Thread, current_thread
from time import thread_time
from typing import Protocol

from cloaca.progress.progress import Progress
from cloaca.progress.terminal import Terminal, leads_to_terminal

PATIENCE_SECONDS = 1.0
"""How long the end of an execution waits for its last state to be shown."""

_MOST = 0.004
"""Which part of a core looking and drawing may take."""

_IN_LINES = "cloaca: another program shows its progress on this terminal, so this one tells of its own in lines\n"

_logger = logging.getLogger("cloaca")


class Screen(Protocol):
    """Where it is shown."""

    interval: float
    """How many seconds there are between two looks at least."""

    def show(self, under_way: list[Progress]) -> None:
        """So far are those that are under way."""
        ...

    def leave(self, progress: Progress) -> None:
        """This one has ended: it stays where it is, above the others."""
        ...

    def close(self) -> None:
        """Nothing more will be shown."""
        ...


class Showing:
    """What is shown on the board: whatever `look` tells. `settle` waits for the end to be shown."""

    def __init__(self, look: Callable[[], Progress], board: "Board") -> None:
        self.look = look
        self.is_over = Event()
        self._board = board

    def settle(self) -> None:
        """It has ended: wait, a moment at most, until that is shown."""
        self._board.settle(self)

    def drop(self) -> None:
        """It never began: show it no more."""
        self._board.drop(self)


class Board:
    """Shows, on a `screen` that is made when there is something to be shown."""

    def __init__(self, screen: Callable[[], Screen]) -> None:
        self._make = screen
        self._shown: list[Showing] = []
        self._lock = RLock()
        self._news = Event()
        self._thread: Thread | None = None
        self._is_at_work = False
        self._has_failed = False

    def show(self, look: Callable[[], Progress]) -> Showing:
        """Show what it tells from now on, until its status is no longer "Running"."""
        showing = Showing(look, self)
        with self._lock:
            if self._has_failed:
                showing.is_over.set()
                return showing
            self._shown.append(showing)
            if not self._is_at_work:
                self._begin()
        return showing

    def _begin(self) -> None:
        self._join()  # the thread before takes its display away
        self._is_at_work = True
        try:
            screen = self._make()
        except Exception as error:  # noqa: BLE001 - the terminal, the program's streams, a notebook: anything may fail
            self._give_up(error)
            return
        self._thread = Thread(target=self._work, args=(screen,), name="cloaca progress", daemon=True)
        self._thread.start()

    def settle(self, showing: Showing) -> None:
        """Wait, a moment at most, until the last state of it is shown, and the thread has ended if it was the last."""
        self._news.set()
        showing.is_over.wait(PATIENCE_SECONDS)
        if not self._is_at_work:
            self._join()

    def drop(self, showing: Showing) -> None:
        """Show it no more."""
        with self._lock:
            self._shown = [one for one in self._shown if one is not showing]
        showing.is_over.set()
        self._news.set()
        if not self._shown:
            self._join()

    def _join(self) -> None:
        thread = self._thread
        if thread is not None and thread is not current_thread():
            thread.join(PATIENCE_SECONDS)

    def close(self) -> None:
        """The program ends: leave the terminal as it was."""
        for showing in [*self._shown]:
            self.drop(showing)

    def _work(self, screen: Screen) -> None:
        try:
            self._show_all(screen)
        except Exception as error:  # noqa: BLE001 - as above
            self._give_up(error)

    def _show_all(self, screen: Screen) -> None:
        try:
            pause, goes_on = screen.interval, self._look(screen)
            while goes_on:
                self._news.wait(pause)
                began = thread_time()
                goes_on = self._look(screen)
                pause = max(screen.interval, (thread_time() - began) / _MOST)
        finally:
            screen.close()

    def _look(self, screen: Screen) -> bool:
        """Show all as it is now; returns whether there is to be another look."""
        self._news.clear()
        seen = [(showing, showing.look()) for showing in [*self._shown]]
        over = [(showing, progress) for showing, progress in seen if progress.status != "Running"]
        for _, progress in over:
            screen.leave(progress)
        screen.show([progress for _, progress in seen if progress.status == "Running"])
        gone = {id(showing) for showing, _ in over}
        with self._lock:
            self._shown = [showing for showing in self._shown if id(showing) not in gone]
            self._is_at_work = goes_on = bool(self._shown)
        for showing, _ in over:
            showing.is_over.set()
        return goes_on

    def _give_up(self, error: Exception) -> None:
        with self._lock:
            self._has_failed, self._is_at_work = True, False
            shown, self._shown = self._shown, []
        for showing in shown:
            showing.is_over.set()
        _logger.warning("Progress isn't shown any more: %s: %s", type(error).__name__, error)


_boards: dict[int, Board] = {}


def board() -> Board:
    """The one of this process."""
    known = _boards.get(os.getpid())
    if known is None:
        known = _boards.setdefault(os.getpid(), Board(_Screens().next))
        atexit.register(known.close)
    return known


class _Screens:
    """Makes a display where there is a terminal or a notebook, and lines elsewhere."""

    def __init__(self) -> None:
        self._has_told = False

    def next(self) -> Screen:
        """One for what is to be shown now: the program's streams, and who else draws on them, may have changed."""
        if _is_notebook():
            from cloaca.progress.notebook import Notebook

            return Notebook()
        if sys.stderr is not None and leads_to_terminal(sys.stderr) and _can_be_drawn_on(os.environ):
            with suppress(BlockingIOError):
                return Terminal()
            self._tell()
        from cloaca.progress.plain import Plain

        return Plain()

    def _tell(self) -> None:
        if not self._has_told:
            self._has_told = True
            sys.stderr.write(_IN_LINES)


def _can_be_drawn_on(environment: Mapping[str, str]) -> bool:
    """Whether a terminal shows what is drawn, rather than keep all that is written, as logs of builds do."""
    return environment.get("TERM", "") not in ("dumb", "") and environment.get("CI", "") in ("", "0", "false")


def _is_notebook() -> bool:
    """Whether this is a kernel that shows what it is sent, beside what is printed."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"
