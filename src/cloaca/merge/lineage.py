"""Which versions of a key came before which: the order of a key's history, without its values.

A set of versions is an integer, one bit for each: union, intersection and "all that came before" are single operations
on machine words. Bits are numbered so that what comes before has the lower number, whatever the merge order is.

Cost: a set of n versions takes n/8 bytes, and there is one for each version that saw another; where all branches
started from one version, which is the rule, such a set is one word.
"""

from collections.abc import Iterable, Sequence
from graphlib import TopologicalSorter

Versions = int
"""A set of versions."""


class Lineage:
    """The history of one key, from what each version's writer saw: `saw[i]` are places in the same sequence.

    `(-n,)` stands for the first n places.
    """

    def __init__(self, told: Sequence[Sequence[int]]) -> None:
        self.saw = saw = [range(-seen[0]) if seen and seen[0] < 0 else seen for seen in told]
        self.places = _topological(saw)
        self.numbers = [0] * len(saw)
        for number, place in enumerate(self.places):
            self.numbers[place] = number
        self.everything: Versions = (1 << len(saw)) - 1
        self._below: list[Versions] = []
        superseded: set[int] = set()
        for place in self.places:
            self._below.append(self.with_all_below(saw[place]))
            superseded.update(saw[place])
        self._latest = [number for number, place in enumerate(self.places) if place not in superseded]

    def below(self, number: int) -> Versions:
        """All that came before that version."""
        return self._below[number]

    def with_all_below(self, places: Iterable[int]) -> Versions:
        """The versions at these places, and all that came before them."""
        if isinstance(places, range) and isinstance(self.places, range):
            return (1 << len(places)) - 1
        versions = 0
        for place in places:
            number = self.numbers[place]
            versions |= self._below[number] | 1 << number
        return versions

    def tops(self, versions: Versions) -> list[int]:
        """Those of a set that no other of the set supersedes, the highest number first.

        The highest number of all is one of them; what came before it is not; and so on with the rest.
        """
        if versions == self.everything:
            return self._latest[::-1]
        found = []
        while versions:
            number = versions.bit_length() - 1
            found.append(number)
            versions &= ~(self._below[number] | 1 << number)
        return found

    def before_all(self, tops: Sequence[int], versions: Versions) -> Versions:
        """Those of a set that came before each of `tops`."""
        for number in tops:
            versions &= self._below[number]
        return versions


def members(versions: Versions) -> list[int]:
    """The numbers in a set, in order."""
    lowest = (versions & -versions).bit_length() - 1
    return (
        [lowest + place for place, bit in enumerate(reversed(f"{versions >> lowest:b}")) if bit == "1"]
        if versions
        else []
    )


def set_of(numbers: Iterable[int]) -> Versions:
    """The set of these numbers."""
    versions = 0
    for number in numbers:
        versions |= 1 << number
    return versions


def _topological(saw: Sequence[Sequence[int]]) -> Sequence[int]:
    """The places, so that what came before stands first. Mostly they are in such an order already."""
    if all(not seen or _highest(seen) < place for place, seen in enumerate(saw)):
        return range(len(saw))
    return list(TopologicalSorter(dict(enumerate(saw))).static_order())


def _highest(places: Sequence[int]) -> int:
    return places[-1] if isinstance(places, range) else max(places)
