"""Scope: how the tasks of a copy call keys and tasks.

The code of a copy names them as in the workflow that was copied; everywhere else they begin with the copy's prefix.
What comes in is named by the rest, and what has no such name stays outside; what goes out gets its full name.

Whatever else travels with keys or ids in it is translated here.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from cloaca.wire.messages import UNCHANGED, Slice

Ask = Callable[[tuple[str, ...], bool, bool], Slice]
"""Asks for keys, for all the rest, for the outcomes (of these instances); answers with a slice."""

Value = TypeVar("Value")


class Scope:
    """The names under one prefix, which ends with the separator.

    >>> scope = Scope("north.")
    >>> list(scope.inner(["north.rows", "rows"])), scope.left({"total": b"1"})
    (['rows'], {'north.total': b'1'})
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def inner(self, names: Iterable[str]) -> Iterator[str]:
        """What names are called inside; those that stay outside are left out."""
        prefix = self._prefix
        return (name[len(prefix) :] for name in names if name.startswith(prefix))

    def entered(self, given: Slice) -> Slice:
        """A slice as it is seen inside."""
        outcomes = None if given.outcomes is None else Inside(given.outcomes, self._prefix)
        met = None if given.met is None else tuple(self.inner(given.met))
        names = None if given.names is None else tuple(self.inner(given.names))
        return Slice(Inside(given.versions, self._prefix), given.complete, outcomes, met, names)

    def asking(self, ask: Ask) -> Ask:
        """Asks for what is named inside."""

        def asked(keys: tuple[str, ...], rest: bool, outcomes: bool) -> Slice:  # noqa: FBT001 - the shape of Ask
            return self.entered(ask(tuple([self._prefix + key for key in keys]), rest, outcomes))

        return asked

    def left(self, diff: Mapping[str, bytes | None]) -> dict[str, bytes | None]:
        """What was set inside, as it is called outside."""
        return {self._prefix + key: payload for key, payload in diff.items()}


def as_set(diff: Mapping[str, bytes | None]) -> dict[str, bytes | None]:
    """What was set, by the names of keys, also where it was set to what was there.

    >>> as_set({"north.total": b"1", UNCHANGED + "north.rows": b"2"})
    {'north.total': b'1', 'north.rows': b'2'}
    """
    return {key.removeprefix(UNCHANGED): payload for key, payload in diff.items()}


class Inside(Mapping[str, Value]):
    """Those entries of a mapping whose names begin with a prefix, by the rest of their names."""

    def __init__(self, whole: Mapping[str, Value], prefix: str) -> None:
        self._whole = whole
        self._prefix = prefix

    def __getitem__(self, name: str) -> Value:
        return self._whole[self._prefix + name]

    def __iter__(self) -> Iterator[str]:
        return Scope(self._prefix).inner(self._whole)

    def __len__(self) -> int:
        return sum(1 for _ in self)
