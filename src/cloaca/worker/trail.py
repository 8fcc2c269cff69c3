"""Trail: what those of a chain have left so far, over what the first of them saw: so the next one sees it.

It is what the program would tell the next one, to the letter: a write that leaves a key as it was is none. Of a key
that the slice doesn't tell, that can't be seen here. Then it isn't told either, and is asked for where it is read.
"""

from collections.abc import Mapping

from msgspec.structs import replace

from cloaca.wire.messages import Slice, Version


class Trail:
    """The last write of each key. To add the same once more changes nothing."""

    def __init__(self) -> None:
        self._left: dict[str, tuple[Version, ...]] = {}
        self._changed: set[str] = set()  # what was set to something else on the way: these are writes for certain

    def begin(self) -> None:
        """A chain begins, or something else: nothing was left."""
        if self._left:
            self._left.clear()
            self._changed.clear()

    def add(self, task: str, diff: Mapping[str, bytes | None]) -> None:
        """This is what the next one has left, as it is reported."""
        for key, payload in diff.items():
            before = self._left.get(key)
            if before is None:
                self._left[key] = (Version(task, payload),)
            elif before[0].payload != payload:
                self._changed.add(key)
                self._left[key] = (Version(task, payload),)

    def over(self, slice_: Slice) -> Slice:
        """What the one after them sees, whose slice tells what the first of them saw."""
        versions, names = dict(slice_.versions), slice_.names
        for key, told in self._left.items():
            if key in self._changed or _is_write(
                told[0].payload, versions.get(key), is_new=names is not None and key not in names
            ):
                versions[key] = told
        return replace(slice_, versions=versions, names=None if names is None else (*names, *self._left))


def _is_write(payload: bytes | None, seen: tuple[Version, ...] | None, *, is_new: bool) -> bool:
    """Whether it was something else before, for certain."""
    if seen is None:
        return is_new and payload is not None
    if len(seen) != 1:
        return bool(seen) or payload is not None
    return seen[0].payload != payload or bool(seen[0].rivals)
