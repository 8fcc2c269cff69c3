"""Reuse: attempts of other executions, which may stand for those that a run would make."""

from collections.abc import Iterable
from typing import Protocol

from cloaca.engine.looks import Looks
from cloaca.wire.messages import Done


class Candidate(Protocol):
    """An attempt of the same code that has completed, of the execution `origin`.

    `looks`: what it has found where it looked. `nth` of its tries it was, of which `ended` had ended by themselves.
    """

    @property
    def looks(self) -> Looks: ...
    @property
    def nth(self) -> int: ...
    @property
    def ended(self) -> int: ...
    @property
    def origin(self) -> str: ...

    def report(self) -> Done | None:
        """What it has ended with, of whichever number; `None`: that can't be loaded any more."""
        ...


class Reuse(Protocol):
    """What a run may take over."""

    def candidates(self, task: str, item: int | None, item_digest: bytes) -> Iterable[Candidate]:
        """Those for a task, or its instance for an item with that digest (see `Looks.item`), the best ones first."""
        ...

    def why_none(self, task: str, item: int | None) -> str:
        """Why there are none for it, in words: "its code changed: function `clean` in steps.py", "never ran"."""
        ...
