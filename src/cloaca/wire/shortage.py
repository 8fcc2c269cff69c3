"""Shortage: what a process lacks for a moment only: descriptors, room for another process, memory.

A busy server is out of descriptors for half a second, and then has some again. Nothing tells when: it is tried again,
and given up in bounded time.
"""

import errno
import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_SECONDS = 2.0
AGAIN_SECONDS = 0.02

_PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM, errno.ENOBUFS})

Value = TypeVar("Value")


def passes(error: OSError) -> bool:
    """Whether the error may be over in a moment."""
    return error.errno in _PASSING


_gave_up = -PATIENCE_SECONDS
"""When that was last, on the monotonic clock: what is asked for right after that isn't waited for once more."""


def patiently(call: Callable[[], Value]) -> Value:
    """What the call returns, once there is no shortage; after `PATIENCE_SECONDS` raises what it raises."""
    global _gave_up  # noqa: PLW0603 - a shortage is the whole process's
    start = time.monotonic()
    until = start if start < _gave_up + PATIENCE_SECONDS else start + PATIENCE_SECONDS
    while True:
        try:
            return call()
        except OSError as error:
            if not passes(error):
                raise
            now = time.monotonic()
            if now >= until:
                _gave_up = now if until > start else _gave_up
                raise
        time.sleep(AGAIN_SECONDS)
