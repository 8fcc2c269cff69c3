"""A strand: the history of one value, and what the value is after it.

A key is a strand, and so is each member of a dict that branches changed. `at` finds what a set of writes comes to: a
single one that supersedes all others stands; where several stand side by side, they *join*, on the base of what came
before all of them. How they join is the strand's own affair (`Strand.join`).

Joining may take joins of other strands, those of members, and so on as deep as a value is nested. What waits for them
stands in a list, not on the stack: so no answer depends on how much of that is left.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from typing import Any, TypeAlias

from msgspec import Struct

from cloaca.merge.change import ABSENT
from cloaca.merge.lineage import Lineage, Versions, members

Order = Callable[[int], int]
"""Where a version stands in the merge order, by its number."""


Steps: TypeAlias = Generator[Any, Any, Any]
"""Finds out a value. What it yields are steps, of which it is sent what they have found."""


def BY_NUMBER(number: int) -> int:  # noqa: N802 - a constant: the order that most histories are told in
    """The order in which the numbers are."""
    return number


class Clash(Struct, frozen=True):
    """Stands for a value that isn't one: its writes don't combine.

    `path` leads from the key's value to the member at fault; `tops` are the versions that stand there, `values` what
    they have there, and `base` what was there before. `cause`: the error of a rule, or of a value that can't be
    rebuilt.
    """

    tops: tuple[int, ...] = ()
    values: tuple[Any, ...] = ()
    path: tuple[Any, ...] = ()
    base: Any = ABSENT
    cause: Exception | None = None


class Join(Struct, frozen=True):
    """Where several writes stand side by side.

    `tops` are they; `base` is the value before all of them, made by the writes `before`; `later` are all other writes,
    the tops included. Both lists are in the merge order.
    """

    base: Any
    before: Versions
    tops: list[int]
    later: list[int]


class Strand(ABC):
    """The writes of one value. `wrote` and `saw` give what a version holds, and what its writer saw.

    `known`: what sets of versions came to so far, where their order is that of the numbers.
    """

    def __init__(self, lineage: Lineage, known: dict[Versions, Any] | None = None) -> None:
        self.lineage = lineage
        self._known: dict[Versions, Any] = {} if known is None else known

    @abstractmethod
    def wrote(self, number: int) -> Any:
        """What the version holds here: a value, `ABSENT`, or a `Clash` where that can't be told."""

    @abstractmethod
    def saw(self, number: int) -> Any:
        """What its writer saw here: a value, `ABSENT`, or a `Clash`."""

    @abstractmethod
    def join(self, join: Join, order: Order) -> Steps:
        """What writes that stand side by side come to: a value, `ABSENT`, or a `Clash`."""

    def at(self, versions: Versions, order: Order) -> Any:
        """What a set of writes comes to."""
        ahead, found = [self.steps_to(versions, order)], None
        while ahead:
            try:
                ahead.append(ahead[-1].send(found))
                found = None
            except StopIteration as done:
                ahead.pop()
                found = done.value
        return found

    def steps_to(self, versions: Versions, order: Order) -> Steps:
        """The steps to that. Joins on joins are made from the earliest on.

        What a set came to is remembered, where its order is that of the numbers: in a row of joins that write nothing
        each one then goes on from the one before.
        """
        known = self._known if order is BY_NUMBER else {}
        joins = []
        while versions not in known:
            tops = self.lineage.tops(versions)
            if len(tops) <= 1:
                known[versions] = self.wrote(tops[0]) if tops else ABSENT
                break
            before = self.lineage.before_all(tops, versions)
            joins.append((versions, tops, before))
            versions = before
        value = known[versions]
        for joined, tops, before in reversed(joins):
            later = sorted(members(joined & ~before), key=order)
            value = known[joined] = yield self.join(Join(value, before, sorted(tops, key=order), later), order)
        return value
