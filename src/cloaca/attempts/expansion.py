"""What runs first for a mapped task: it cuts the collection into items, each of which an instance will be sent.

The engine, which opens no value, is told them one by one, in their order; where they are those of a dict, with its
keys, and with the *labels* by which instances are called.
"""

from collections import UserString
from collections.abc import Iterable, Mapping, Sized
from collections.abc import Set as AbstractSet
from typing import Any

from cloaca.tasks.context import Context, contents_of
from cloaca.tasks.labels import labels
from cloaca.values.codec import encode, encode_each
from cloaca.wording import a

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
            contents.find_items(self._key, list(collection.values()), [*labels(keys)], encode_each(keys))
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
