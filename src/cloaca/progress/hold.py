"""Hold: that this program is the one that draws on a terminal. Two would write over each other."""

import fcntl
import os
from typing import TextIO


class Hold:
    """On the terminal that a stream leads to; where that has no name, nobody else finds it.

    Raises `BlockingIOError` where another program has it. It goes with the program, however that ends.
    """

    def __init__(self, stream: TextIO) -> None:
        self._file: int | None = None
        try:
            file = os.open(os.ttyname(stream.fileno()), os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
        except (OSError, ValueError):  # a terminal without a name here, as in a container; a stream without a file
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            raise
        except OSError:  # one on which there are no locks
            os.close(file)
            return
        self._file = file

    def let_go(self) -> None:
        """Others may draw. Idempotent."""
        file, self._file = self._file, None
        if file is not None:
            fcntl.flock(file, fcntl.LOCK_UN)  # a process that was forked meanwhile has the file, too
            os.close(file)
