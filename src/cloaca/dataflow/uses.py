"""Uses: what was found of the keys that a function touches, while its code is read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cloaca.dataflow.symbols import Symbol, together


class Way:
    """One way through the code: the keys that were read on it, and those that were set, with what they were set to."""

    __slots__ = ("is_over", "read", "written")

    def __init__(self, read: frozenset[str] = frozenset(), written: Mapping[str, str] | None = None) -> None:
        self.read = read
        self.written = dict(written or {})
        self.is_over = False

    def copy(self) -> "Way":
        """One that goes on elsewhere from here on."""
        return Way(self.read, self.written)


def joined(ways: Sequence[Way]) -> Way:
    """What holds whichever of these ways was taken, of those that aren't over."""
    going = [way for way in ways if not way.is_over] or ways[:1]
    first, *others = going
    for other in others:
        written = {key: together(one, other.written[key]) for key, one in first.written.items() if key in other.written}
        first = Way(first.read & other.read, written)
    return first


@dataclass
class Uses:
    """The keys, by what is done with them.

    `needs` are read and have to be there; `got` are read by `get`, `missed` those of them of which the code can't stand
    that they aren't there, and `tested` those with which it does something that is not understood; `looks` are read
    with a way out, `asks` only asked about; `values` are set, with all that they are set to. `ends` are the ways on
    which the code comes to an end.
    """

    needs: set[str] = field(default_factory=set)
    got: set[str] = field(default_factory=set)
    missed: set[str] = field(default_factory=set)
    tested: set[str] = field(default_factory=set)
    looks: set[str] = field(default_factory=set)
    asks: set[str] = field(default_factory=set)
    values: dict[str, str] = field(default_factory=dict)
    ends: list[Way] = field(default_factory=list)
    kinds: dict[Symbol, str] = field(default_factory=dict)  # what the values of keys are used as
    changed: set[Symbol] = field(default_factory=set)
    reads_more: bool = False
    sets_more: bool = False
    returns_more: bool = False
    lists: bool = False
