"""What a task has declared: of its writes, a dict of changes that takes no other key; of its reads, who it asks."""

from collections.abc import Collection

from msgspec.structs import replace

from cloaca.errors import UndeclaredReadError, UndeclaredWriteError
from cloaca.nearest import nearest
from cloaca.tasks.scope import Ask
from cloaca.wire.messages import Slice


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


def asking_for(reads: Collection[str], task: str, ask: Ask) -> Ask:
    """Asks for these keys; another one that is there is an `UndeclaredReadError`, and none of the rest."""

    def asked(keys: tuple[str, ...], rest: bool, outcomes: bool) -> Slice:  # noqa: FBT001 - the shape of Ask
        answer = ask(keys, rest, outcomes)
        for key in keys if not outcomes else ():
            if key not in reads and answer.versions.get(key):
                raise UndeclaredReadError(task, key, tuple(nearest(key, reads)))
        return replace(answer, versions={key: told for key, told in answer.versions.items() if key in reads})

    return asked
