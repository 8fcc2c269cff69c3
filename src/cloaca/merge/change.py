"""What merging is told of one write: what its writer saw, and what it wrote."""

from typing import Any, Final, NamedTuple


class Absent:
    """The type of `ABSENT`, which stands for no value: the key was never written, or was removed."""

    def __repr__(self) -> str:
        return "nothing"


ABSENT: Final = Absent()


class Change(NamedTuple):
    """One write: the value that its writer saw, and the one that it wrote; `ABSENT` where there was none."""

    saw: Any
    wrote: Any
