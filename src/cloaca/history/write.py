"""One write of one key, and what it superseded."""

from collections.abc import Iterable

from msgspec import Struct

from cloaca.wire.messages import Version

INPUT_RANK = -1
"""The rank of what a run was given: before every task."""


class Write(Struct, frozen=True, eq=False, gc=False):
    """One write of one key: the writer's rank, its version as a reader is told it, and what its writer saw of the key.

    The version stands in a tuple that is made once: a reader of ten thousand keys is told ten thousand of them.
    """

    rank: int
    told: tuple[Version]
    seen: "tuple[Write, ...]"

    @property
    def version(self) -> Version:
        """What was written, and by whom."""
        return self.told[0]

    def __repr__(self) -> str:
        return f"Write({self.version.writer!r}, {self.version.payload!r})"


def unsuperseded(writes: Iterable[Write]) -> tuple[Write, ...]:
    """Those of `writes` (of one key) that none of the others supersedes, in the order given."""
    writes = tuple(writes)
    if len(writes) < 2:  # noqa: PLR2004 - one write stands by itself
        return writes
    floor = min(write.rank for write in writes)
    superseded = _beneath(writes, floor)
    return tuple(write for write in writes if write not in superseded)


def _beneath(writes: Iterable[Write], floor: int) -> set[Write]:
    """Every write that one of `writes` supersedes, down to the rank `floor`."""
    beneath: set[Write] = set()
    ahead = [seen for write in writes for seen in write.seen]
    while ahead:
        write = ahead.pop()
        if write.rank >= floor and write not in beneath:
            beneath.add(write)
            ahead.extend(write.seen)
    return beneath
