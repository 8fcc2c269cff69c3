"""Statuses: the facts that a run has for conditions: how tasks ended, and nothing of any value."""

from collections.abc import Callable

from cloaca.errors import InternalError
from cloaca.triggers.condition import ContextValue


class Statuses:
    """How each task ended is told by `status_of`, by its id."""

    def __init__(self, status_of: Callable[[str], str]) -> None:
        self._status_of = status_of

    def status(self, task: str) -> str:
        return self._status_of(task)

    def holds(self, asked: ContextValue) -> bool:
        raise InternalError(f"A run never looks at values, and was asked about {asked.key!r}")

    def told(self, asked: ContextValue) -> str:
        raise InternalError(f"A run never looks at values, and was asked to tell {asked.key!r}")
