"""Leaving: of several items that one function is called with, none finds what one before it has changed.

Where an attempt is a single call, whoever runs it puts back afterwards what that has left. Here it is asked for after
each item. Where nobody is there to do so (in the program, or where attempts share a process), nothing is put back.
"""

from collections.abc import Callable

_put_back: list[Callable[[], bool]] = []


def look_after(put_back: Callable[[], bool]) -> None:
    """From here on, call this after each item of this process. It tells whether that may take another one."""
    _put_back[:] = [put_back]


def has_ended() -> bool:
    """An item has ended. Returns whether this process may take another one."""
    return all(put_back() for put_back in _put_back)
