"""A task's whole context as read-only mappings that look up only what is asked.

For executors that can't ask in the middle of a task because they run it on the coordinator's own thread: the slice
that they are given is complete, and costs nothing until it is read.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import TypeVar

from cloaca.history.history import History
from cloaca.wire.messages import Version

Value = TypeVar("Value")


class ContextView(Mapping[str, tuple[Version, ...]]):
    """The versions of every key that a task sees."""

    def __init__(self, history: History, rank: int) -> None:
        self._history = history
        self._rank = rank

    def __getitem__(self, key: str) -> tuple[Version, ...]:
        versions = self._history.versions(self._rank, key)
        if not versions:
            raise KeyError(key)
        return versions

    def __iter__(self) -> Iterator[str]:
        return iter(self._history.whole(self._rank))

    def __len__(self) -> int:
        return len(self._history.whole(self._rank))


class Overlaid(Mapping[str, tuple[Version, ...]]):
    """The versions of keys, some of them replaced by others; without versions, a key is absent."""

    def __init__(self, beneath: Mapping[str, tuple[Version, ...]], overlay: Mapping[str, tuple[Version, ...]]) -> None:
        self._beneath = beneath
        self._overlay = overlay

    def __getitem__(self, key: str) -> tuple[Version, ...]:
        versions = self._overlay.get(key)
        if versions is None:
            return self._beneath[key]
        if not versions:
            raise KeyError(key)
        return versions

    def __iter__(self) -> Iterator[str]:
        yield from (key for key in self._beneath if key not in self._overlay)
        yield from (key for key, versions in self._overlay.items() if versions)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class DeferredMapping(Mapping[str, Value]):
    """A mapping that is made when it is first looked into."""

    def __init__(self, make: Callable[[], Mapping[str, Value]]) -> None:
        self._make = make

    @cached_property
    def _made(self) -> Mapping[str, Value]:
        return self._make()

    def __getitem__(self, key: str) -> Value:
        return self._made[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)
