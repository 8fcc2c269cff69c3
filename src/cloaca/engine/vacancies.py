"""Vacancies: the numbers of those seats of a limit that nobody has, as ranges: there may be as many as megabytes."""

from bisect import bisect

from cloaca.wire.messages import Ranges


class Vacancies:
    """The vacant seats of one limit of that `size`.

    >>> vacancies = Vacancies(4)
    >>> vacancies.take(1), vacancies.take(2)
    (((0, 1),), ((1, 3),))
    >>> vacancies.give_back(((0, 1),))
    >>> vacancies.take(2)
    ((0, 1), (3, 4))
    """

    def __init__(self, size: int) -> None:
        self._ranges = [(0, size)]

    def take(self, count: int) -> Ranges:
        """Take so many, the lowest ones. There are as many."""
        taken: list[tuple[int, int]] = []
        while count:
            start, stop = self._ranges[0]
            cut = min(stop, start + count)
            taken.append((start, cut))
            count -= cut - start
            self._ranges[:1] = [(cut, stop)] if cut < stop else []
        return tuple(taken)

    def give_back(self, ranges: Ranges) -> None:
        """Nobody has these any more."""
        for given_start, given_stop in ranges:
            start, stop, kept = given_start, given_stop, self._ranges
            place = bisect(kept, (start, stop))
            if place < len(kept) and kept[place][0] == stop:
                stop = kept.pop(place)[1]
            if place and kept[place - 1][1] == start:
                place -= 1
                start = kept.pop(place)[0]
            kept.insert(place, (start, stop))
