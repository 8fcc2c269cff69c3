"""Holder: where the values of one runner lie that are too large to be sent along, and who lets go of them."""

from typing import Protocol

from cloaca.values.blobs import Content
from cloaca.values.storage import Lease


class Holder(Protocol):
    """Keeps large values apart, and hands out references in their place.

    What is kept stays as long as anybody has the `Lease`. How it is read follows from the reference (`values/blobs`).
    """

    folders: tuple[str, ...]
    """Where attempts put what they write; with none, they send it."""

    def renew(self) -> tuple[str, ...]:
        """Have another look at where values may be put; returns `folders`."""
        ...

    def has(self, payload: bytes) -> bool:
        """Whether it is a reference to what is kept here."""
        ...

    def put(self, payload: Content, what: str = "program") -> tuple[bytes | Content, Lease | None]:
        """Keep a payload that the program has; returns what to send in its place, and the lease, if it is kept."""
        ...

    def take_over(self, attempt: int, payload: bytes) -> Lease | None:
        """The lease on what that attempt has put here; `None` where it was here before, or isn't here."""
        ...

    def discard(self, attempt: int, item: int | None = None) -> None:
        """Let go of what an attempt put here that can't tell any more; of several items, the one at that place."""
        ...

    def close(self) -> None:
        """Let go of everything. What results still read stays readable. Idempotent."""
        ...


class Nowhere:
    """Keeps nothing apart: values of every size are sent along. Where tasks run in the program, that costs nothing."""

    folders: tuple[str, ...] = ()

    def renew(self) -> tuple[str, ...]:
        """There are no folders."""
        return ()

    def has(self, payload: bytes) -> bool:  # noqa: ARG002 - nothing is here
        """Nothing is here."""
        return False

    def put(
        self,
        payload: Content,
        what: str = "program",  # noqa: ARG002 - it has no name
    ) -> tuple[bytes | Content, Lease | None]:
        """The payload itself."""
        return payload, None

    def take_over(self, attempt: int, payload: bytes) -> Lease | None:  # noqa: ARG002 - nothing is here
        """Nothing is here."""
        return None

    def discard(self, attempt: int, item: int | None = None) -> None:
        """Nothing is here."""

    def close(self) -> None:
        """Nothing is here."""
