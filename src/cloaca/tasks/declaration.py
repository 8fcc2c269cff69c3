"""The changes of a task that has declared what it writes: a dict that takes no other key."""

from collections.abc import Collection

from cloaca.errors import UndeclaredWriteError
from cloaca.nearest import nearest


class Declared(dict[str, bytes | None]):
    """What a task has set and removed, by key. `writes` are all the keys that may be among them."""

    __slots__ = ("_task", "_writes")

    def __init__(self, task: str, writes: Collection[str]) -> None:
        super().__init__()
        self._task = task
        self._writes = writes

    def __setitem__(self, key: str, payload: bytes | None) -> None:
        if key not in self._writes:
            raise UndeclaredWriteError(self._task, key, tuple(nearest(key, self._writes)))
        super().__setitem__(key, payload)
