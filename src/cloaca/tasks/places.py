"""Places: a list or dict of the context of which each place is decoded when it is first looked at.

What has been looked at stays with the object, and is the task's own, as a value that `get` has handed out.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, overload

from msgspec import Raw, msgpack

from cloaca.values.blobs import Part, content_of
from cloaca.values.codec import decode
from cloaca.values.composite import DICT_HEADS, LIST_HEADS, composite_of, is_composite

_elements = msgpack.Decoder(list[Raw]).decode
_entries = msgpack.Decoder(dict[Any, Raw]).decode


def payloads_in(payload: Part) -> list[Part] | dict[Any, Part] | None:
    """The payloads of the elements of a list or dict, by key; `None` where it can only be decoded as a whole."""
    content = memoryview(content_of(payload))
    if is_composite(content):
        held = composite_of(content)
        if held.keys is not None:
            return {decode(key): element for key, element in held.entries()}
        return [b"\xc0" if element is None else element for element in held.elements]
    if content[0] in LIST_HEADS:
        return [memoryview(element) for element in _elements(content)]
    if content[0] in DICT_HEADS:
        return {key: memoryview(element) for key, element in _entries(content).items()}
    return None


class LazyList(Sequence[Any]):
    """The elements of a list. A slice is a list. It can't be changed; `list(...)` makes a list that can."""

    def __init__(self, load: Callable[[int], Any], length: int) -> None:
        self._load = load
        self._length = length
        self._known: dict[int, Any] = {}

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[place] for place in range(len(self))[index]]
        place = range(len(self))[index]
        if place not in self._known:
            self._known[place] = self._load(place)
        return self._known[place]

    def __len__(self) -> int:
        return self._length

    def __repr__(self) -> str:
        return f"<list of {len(self)} in the context, {len(self._known)} decoded>"


class LazyDict(Mapping[Any, Any]):
    """The entries of a dict. It can't be changed; `dict(...)` makes a dict that can."""

    def __init__(self, load: Callable[[Any], Any], keys: Collection[Any]) -> None:
        self._load = load
        self._keys = keys
        self._known: dict[Any, Any] = {}

    def __getitem__(self, key: Any) -> Any:
        if key not in self._known:
            self._known[key] = self._load(key)
        return self._known[key]

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def __iter__(self) -> Iterator[Any]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return f"<dict of {len(self)} in the context, {len(self._known)} decoded>"
