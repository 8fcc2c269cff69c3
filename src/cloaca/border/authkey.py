"""Authkey: by which the processes of `multiprocessing` know each other. Workers are given that of the program.

So a task can talk to a manager that the program has started, through the proxies that it captures or is given.
"""

import sys
from types import ModuleType

from cloaca.border.imports import when_imported

_HOME = "multiprocessing.process"


def authkey_here() -> bytes:
    """That of this process; none where nothing of it has used `multiprocessing`."""
    module = sys.modules.get(_HOME)
    return b"" if module is None else bytes(module.current_process().authkey)


class Authkey:
    """The program's, in a worker: set as soon as `multiprocessing` is loaded."""

    def __init__(self) -> None:
        self._given = b""

    def take(self, given: bytes) -> None:
        """From here on, this is the program's."""
        if given == self._given:
            return
        is_first, self._given = not self._given, given
        if is_first:
            when_imported(_HOME, self._set)
        elif _HOME in sys.modules:
            self._set(sys.modules[_HOME])

    def _set(self, module: ModuleType) -> None:
        module.current_process().authkey = self._given
