"""Ancestors: how those of a task ended, for an attempt that has to ask for it."""

from collections.abc import Iterator, Mapping

from cloaca.tasks.scope import Ask
from cloaca.wire.messages import Outcome


class Ancestors(Mapping[str, Outcome]):
    """Their outcomes by name. Those of tasks are asked for at once, those of instances of a mapped one when one is."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._tasks = ask((), False, True).outcomes or {}  # noqa: FBT003 - positions of Ask
        self._instances: dict[str, Outcome] = {}

    def __getitem__(self, name: str) -> Outcome:
        told = self._tasks.get(name)
        if told is not None:
            return told
        if name not in self._instances and name.endswith("]"):
            self._instances.update(self._ask((name,), False, True).outcomes or {})  # noqa: FBT003 - positions of Ask
        return self._instances[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)
