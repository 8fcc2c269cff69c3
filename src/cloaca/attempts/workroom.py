"""Workroom: where the tasks of a serial runner find `worker_state`. With processes, every worker is one by itself."""

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from threading import Lock

from cloaca.attempts import attempt, child, termination
from cloaca.attempts.initializer import Initializer, initializing, name_of, rejection
from cloaca.attempts.meter import Meter
from cloaca.attempts.seeding import of_process
from cloaca.tasks.scratch import Space, inside
from cloaca.wire.messages import Failed


class Workroom:
    """The room of one runner, which its `initializer` sets up once. Without one it is the whole program."""

    def __init__(self, initializer: Callable[[], object] | None = None) -> None:
        self._initializer = initializer
        self._lock = Lock()
        self._space: Space | None = None

    @contextmanager
    def entered(self) -> Generator[None, None, None]:
        """Be in the room, once it is set up. Raises `InitializerError` where that fails; the next one tries again."""
        if self._initializer is None:
            yield
            return
        with inside(self._set_up(self._initializer)):
            yield

    def _set_up(self, initializer: Callable[[], object]) -> Space:
        with self._lock:
            if self._space is None:
                space = Space()
                with inside(space), of_process().kept():
                    _call(initializer)
                self._space = space
            return self._space


def _call(initializer: Callable[[], object]) -> None:
    function = Initializer(initializer)
    left = partial(child.end_unless_in, os.getpid())
    report = attempt.run(initializing(1), lambda _: function, frozenset(), attempt.never_asked, Meter(), left=left)
    meant = termination.meant_for_program(report)
    if meant is not None:
        raise meant
    if isinstance(report, Failed):
        raise rejection(name_of(initializer), report)
