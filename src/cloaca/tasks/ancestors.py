"""Ancestors: how those of a task ended, for an attempt that has to ask for it."""

from collections.abc import Iterator, Mapping

from cloaca.tasks.scope import Ask
from cloaca.wire.frames import is_encodable
from cloaca.wire.messages import Outcome


class Ancestors(Mapping[str, Outcome]):
    """Their outcomes by name, asked for one by one: each answer brings more that may be wanted. Listed are tasks."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._known: dict[str, Outcome] = {}
        self._tasks: Mapping[str, Outcome] | None = None

    def __getitem__(self, name: str) -> Outcome:
        if name not in self._known and isinstance(name, str) and is_encodable(name):
            self._known.update(self._ask((name,), False, True).outcomes or {})  # noqa: FBT003 - positions of Ask
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> Mapping[str, Outcome]:
        if self._tasks is None:
            self._tasks = self._ask((), False, True).outcomes or {}  # noqa: FBT003 - positions of Ask
        return self._tasks
