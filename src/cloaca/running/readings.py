"""Readings: what was read again and again while a run was under way, in so many places at most, evenly spread."""

from operator import itemgetter

MOST = 2048
"""An even number."""

Reading = tuple[float, int]
"""A moment, and how much it was then."""

_much = itemgetter(1)


class Readings:
    """The readings of one run. Where there is no room for more, of each two beside each other the higher one stays.

    >>> readings = Readings(most=4)
    >>> for moment, much in enumerate((1, 5, 2, 2, 3, 3, 9)):
    ...     readings.note((moment, much))
    >>> readings.kept
    [(1, 5), (2, 2), (4, 3), (6, 9)]
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._places: list[Reading] = []
        self._apart = 1  # how many stand in one place
        self._last: list[Reading] = []  # those of the place that is open

    def note(self, reading: Reading) -> None:
        """The next one."""
        self._last.append(reading)
        if len(self._last) < self._apart:
            return
        self._places.append(max(self._last, key=_much))
        self._last = []
        if len(self._places) == self._most:
            pairs = zip(self._places[::2], self._places[1::2], strict=True)
            self._places = [max(pair, key=_much) for pair in pairs]
            self._apart *= 2

    @property
    def kept(self) -> list[Reading]:
        """What is left of them, in order."""
        return self._places + ([max(self._last, key=_much)] if self._last else [])
