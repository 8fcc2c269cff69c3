"""What runs first for a mapped task: it cuts the collection into items, each of which an instance will be sent.

The engine, which opens no value, is told them one by one, in their order; where they are those of a dict, with its
keys, and with the *labels* by which instances are called.
"""

from collections import UserString
from collections.abc import Iterable, Iterator, Mapping, Sized
from collections.abc import Set as AbstractSet
from types import FunctionType, ModuleType
from typing import Any

from cloaca.pickling.referents import referents
from cloaca.tasks.context import Context, contents_of
from cloaca.values.canonical import LEAVES
from cloaca.values.codec import encode, encode_each
from cloaca.wire.text import encodable
from cloaca.wording import a, clipped

_LONGEST = 80
_NO_PARTS = (type, ModuleType, FunctionType)
_TEXTS = (str, bytes, bytearray, memoryview, UserString)

_ROWS = {
    "pandas": "frame.to_dict('records'), or [group for _, group in frame.groupby(...)]",
    "modin": "frame.to_dict('records'), or [group for _, group in frame.groupby(...)]",
    "cudf": "frame.to_pandas().to_dict('records')",
    "polars": "frame.to_dicts(), or frame.partition_by(...)",
    "pyarrow": "table.to_pylist()",
}
"""What to set in place of a frame, by its package: who goes through one gets its columns, or their names."""


class Expansion:
    """A task function that expands the collection under `key`, for the mapped task of that id."""

    def __init__(self, task: str, key: str) -> None:
        self._task = task
        self._key = key

    def __call__(self, context: Context) -> None:
        """Run as a task."""
        collection, contents = self._checked(self._found(context)), contents_of(context)
        if isinstance(collection, Mapping):
            keys = list(collection)
            contents.find_items(self._key, list(collection.values()), [*_labels(keys)], encode_each(keys))
        else:
            items = sorted(collection, key=encode) if isinstance(collection, AbstractSet) else list(collection)
            contents.find_items(self._key, items, None, None)

    def _found(self, context: Context) -> Any:
        try:
            return context[self._key]
        except KeyError as error:
            raise KeyError(f"{self._lead}, which isn't there: set it in a task before. {error.args[0]}") from None

    def _checked(self, collection: Any) -> Any:
        """The collection, where it is one whose items can be told apart and counted."""
        kind = type(collection).__name__
        if isinstance(collection, _TEXTS):
            raise TypeError(f"{self._lead}, which is {a(kind)}: set a list, as in [value] or value.split().")
        rows = _rows_of(type(collection))
        if rows is not None and hasattr(collection, "columns"):
            raise TypeError(f"{self._lead}, which is {a(kind)}, of which the items are columns: set a list, {rows}.")
        if rows is not None:
            raise TypeError(f"{self._lead}, which is {a(kind)}: set a list, as in list(...), or of a frame {rows}.")
        if not isinstance(collection, Iterable) or not _is_sized(collection):
            how = f"set list(...) of the {kind}" if isinstance(collection, Iterable) else "set a list or a dict"
            raise TypeError(f"{self._lead}, which is {a(kind)}, of which nobody knows how many items it has: {how}.")
        return collection

    @property
    def _lead(self) -> str:
        return f"Task {self._task!r} runs for each item of key {self._key!r}"


def _rows_of(kind: type) -> str | None:
    """What to set in place of a frame, or of a column, of that class; `None` where it is neither."""
    packages = (base.__module__.partition(".")[0] for base in kind.__mro__)
    return next((_ROWS[package] for package in packages if package in _ROWS), None)


def _is_sized(collection: Any) -> bool:
    if not isinstance(collection, Sized):
        return False
    try:
        return len(collection) >= 0
    except TypeError:  # an array without dimensions has no length
        return False


def _labels(keys: Iterable[Any]) -> Iterator[str]:
    """What instances are called by: the keys as they print, shortened, each one different."""
    taken: set[str] = set()
    for number, key in enumerate(keys):
        label = _label(key, number)
        while label in taken:
            label = f"{label}, {number}"
        taken.add(label)
        yield label


def _label(key: Any, number: int) -> str:
    text = encodable(_text(key))
    if not text or " at 0x" in text:  # an address: another one in each process
        return f"{type(key).__name__} {number}"
    return clipped(text, _LONGEST)


def _text(key: Any) -> str:
    """A key as it prints, but with sets sorted; nothing where an object holds one, as nobody knows how that prints."""
    kind = type(key)
    if kind not in (tuple, frozenset) or not key:
        return "" if _holds_a_set(key) else repr(key)
    parts = list(map(_text, key))
    if not all(parts):
        return ""
    if kind is tuple:
        return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
    return f"frozenset({{{', '.join(sorted(parts))}}})"


def _holds_a_set(key: Any) -> bool:
    """Whether a set is a part of it, which prints in another order with each hash seed."""
    ahead, seen = [key] if type(key) not in LEAVES else [], set()
    while ahead:
        part = ahead.pop()
        if isinstance(part, AbstractSet) and part:
            return True
        if id(part) not in seen and not isinstance(part, _NO_PARTS):
            seen.add(id(part))
            ahead += referents(part)
    return False
