"""Statuses: the facts that a run has for conditions: how tasks ended, and nothing of any value."""

from collections.abc import Callable
from dataclasses import dataclass

from cloaca.condition import ContextValue
from cloaca.errors import InternalError


@dataclass(frozen=True, slots=True)
class Statuses:
    """How each task ended, by its id, is told by `status`."""

    status: Callable[[str], str]

    def holds(self, asked: ContextValue) -> bool:
        raise InternalError(f"A run never looks at values, and was asked about {asked.key!r}")

    def told(self, asked: ContextValue) -> str:
        raise InternalError(f"A run never looks at values, and was asked to tell {asked.key!r}")
