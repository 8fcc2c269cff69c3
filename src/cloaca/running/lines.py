"""Lines: what stands unfinished on the program's streams, so that texts of two tasks never share a line.

A task's text comes in whole lines, or as the beginning of one that it goes on with. Where something of another task
comes between, or what a handler of logging writes, that starts on a line of its own, and so does the rest. Nothing is
shown twice for that.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import TextIO

_WIPE = "\r\x1b[K"


class Lines:
    """The unfinished ones: whose they are, and on which streams they stand."""

    def __init__(self) -> None:
        self._unfinished: dict[tuple[int, int], TextIO] = {}
        self._bars: set[tuple[int, int]] = set()  # those that write over themselves
        self._parted: set[tuple[int, int]] = set()  # writers whose lines others have ended meanwhile

    def fitted(self, writer: int, target: TextIO, text: str) -> str:
        """The text as it is to be written there, and will be. No text: the writer's line is at its end."""
        own = (writer, id(target))
        if own in self._parted:
            self._parted.remove(own)
            text = text.removeprefix("\n")  # it is there
        if not text:
            is_unfinished = own in self._unfinished
            self._forget(own)
            return "\n" if is_unfinished else ""
        others = [line for line, where in self._unfinished.items() if line != own and _share_a_place(where, target)]
        for line in others:
            self._part(line)
        rest = text.rpartition("\n")[2]
        if _is_wiped(rest) or ("\n" in text and not rest.strip()):
            self._forget(own)
        elif rest.strip():
            self._unfinished[own] = target
            if "\r" in rest:
                self._bars.add(own)
        return _apart(text, target) if others else text

    def parted(self, stream: TextIO) -> Iterator[tuple[TextIO, str]]:
        """What is to be written where, for others to begin a line on that stream: there, all are at their end.

        A bar on a terminal makes room, as its writer will write all of it again.
        """
        for line, where in [*self._unfinished.items()]:
            if _share_a_place(where, stream):
                yield where, _WIPE if line in self._bars and where.isatty() else "\n"
                self._part(line)

    def _part(self, line: tuple[int, int]) -> None:
        """Somebody else writes behind it."""
        self._forget(line)
        self._parted.add(line)

    def _forget(self, line: tuple[int, int]) -> None:
        self._unfinished.pop(line, None)
        self._bars.discard(line)


def _is_wiped(line: str) -> bool:
    """Whether a progress bar has put blanks over itself, and gone back."""
    return line.endswith("\r") and line.rstrip("\r").rpartition("\r")[2].isspace()


def _apart(text: str, target: TextIO) -> str:
    """The text on a line of its own, behind another one. A progress bar takes the place of another bar."""
    if text.startswith("\n"):
        return text
    if text.startswith("\r"):
        return _WIPE + text if target.isatty() else text
    return "\n" + text


def _share_a_place(one: TextIO, other: TextIO) -> bool:
    """Whether both streams lead to the same terminal, file or pipe."""
    with suppress(Exception):  # streams of notebooks and tests have no descriptors, or raise anything
        return one is other or os.path.sameopenfile(one.fileno(), other.fileno())
    return False
