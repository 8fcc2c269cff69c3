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
    """The history of one key, from what each version's writer saw: `told[i]` are places in the same sequence.

    `-n` at the beginning stands for the first n places.
    """

    def __init__(self, told: Sequence[Sequence[int]]) -> None:
        self._told = told
        self.places = _topological(told)
        self.numbers = [0] * len(told)
        for number, place in enumerate(self.places):
            self.numbers[place] = number
        self.everything: Versions = (1 << len(told)) - 1
        self._below: list[Versions] = []
        superseded: set[int] = set()
        for place in self.places:
            self._below.append(self._with_all_below(told[place]))
            superseded.update(told[place])
        first = -min(superseded, default=0)
        self._latest = [
            number for number, place in enumerate(self.places) if place >= first and place not in superseded
        ]

    def saw(self, number: int) -> Sequence[int]:
        """The places of what that version's writer saw, in its order."""
        told = self._told[self.places[number]]
        first = range(_first(told))
        return (*first, *told[1:]) if first and len(told) > 1 else first or told

    def saw_several(self, number: int) -> bool:
        """Whether they are more than one."""
        told = self._told[self.places[number]]
        return len(told) > 1 or _first(told) > 1

    def below(self, number: int) -> Versions:
        """All that came before that version."""
        return self._below[number]

    def _with_all_below(self, told: Sequence[int]) -> Versions:
        """The versions at these places, and all that came before them."""
        first = _first(told)
        in_order = isinstance(self.places, range)
        versions = (1 << first) - 1 if in_order else 0
        for place in (*(() if in_order else range(first)), *told[bool(first) :]):
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


def _topological(told: Sequence[Sequence[int]]) -> Sequence[int]:
    """The places, so that what came before stands first. Mostly they are in such an order already."""
    if all(not seen or (max(seen) < place and _first(seen) <= place) for place, seen in enumerate(told)):
        return range(len(told))
    graph = {place: (*range(_first(seen)), *seen[bool(_first(seen)) :]) for place, seen in enumerate(told)}
    return list(TopologicalSorter(graph).static_order())


def _first(told: Sequence[int]) -> int:
    """How many of the first places are among these."""
    return -told[0] if told and told[0] < 0 else 0
