"""Seats: how much of its named limits a runner has, and who gets what there is. All its runs share them.

A limit of 4 has four seats. An attempt's *share* says how many seats of which limits it takes: one of "gpu", say, and
four of "memory_gb". It takes them when it is submitted, and gives them up when it has ended, however it did, or was
given back. Whoever finds too few stands in one line, a run once for each share that its tasks wait for.

Guarantees
    - No more seats of a limit are taken than there are.
    - No deadlock. An attempt takes all seats of its share at once, or none: who has some never waits for others. No
      share is for more than there is, as runners check. So where nobody has any, the first in line finds its own.
    - No starvation. What those ahead in the line need is kept for them: whoever comes after takes only seats beyond
      that. So of what the first one lacks, nothing is taken until it has been served: when all that is under way has
      ended, it has been at the latest. A large share doesn't wait for a stream of small ones to dry up.
    - Nobody keeps what it doesn't take. A run that could be served, and has more urgent tasks, lets its turn pass.
    - Taking turns. Who was served goes to the end of the line with the next task of that share. So a run with many such
      tasks doesn't keep others waiting for its end.
    - Limits don't know of each other. Who waits for one keeps nobody from seats that it doesn't need itself.

The price: seats stay empty while they are kept for a large share.

Roads not taken
    - To lend such seats to small shares that will have ended by then: nobody knows how long an attempt takes.
    - A line for each limit: a share for two would have to be first in both, and two such would wait for each other.
"""

from collections import Counter
from collections.abc import Mapping

from cloaca.engine.vacancies import Vacancies
from cloaca.wire.messages import Ranges

Share = tuple[tuple[str, int], ...]
"""How many seats an attempt takes of which limits. Each limit is there once."""

Slots = Mapping[str, Ranges]
"""The numbers of the seats that an attempt has, by limit."""


class Seats:
    """The seats of a runner, `sizes` of each limit. A `run` is known by its identity.

    >>> seats, one, other, share = Seats({"db": 1}), object(), object(), (("db", 1),)
    >>> seats.room(share, one), seats.take(share, 7, one), seats.room(share, other)
    (1, {'db': ((0, 1),)}, 0)
    >>> seats.stand_in_line(share, other), seats.free(7), seats.room(share, one), seats.room(share, other)
    (None, None, 0, 1)
    """

    def __init__(self, sizes: Mapping[str, int] | None = None) -> None:
        self.sizes: Mapping[str, int] = dict(sizes or {})
        self._free = dict(self.sizes)
        self._vacancies = {name: Vacancies(size) for name, size in self.sizes.items()}
        self._taken: dict[int, Slots] = {}
        self._line: dict[tuple[object, Share], None] = {}
        self._kinds = Counter[tuple[str, ...]]()  # of limits that shares in the line are of: mostly very few

    @property
    def taken(self) -> Mapping[int, Slots]:
        """The seats of the attempts that have some, by number."""
        return self._taken

    @property
    def line(self) -> list[tuple[object, Share]]:
        """The runs that wait for seats, with the share that each needs; the next one first."""
        return list(self._line)

    def room(self, share: Share, run: object) -> int:
        """How many such shares of the run could be met now, beside all others in line; one, where its turn has come."""
        left, is_next = {name: self._free[name] for name, _ in share}, False
        for waiting, needed in self._line:
            if waiting is run and needed == share:
                is_next = _fits(share, left)
                continue
            for name, count in needed:
                if name in left:
                    left[name] -= count
                    if left[name] <= 0:  # nor can those behind leave any
                        return int(is_next)
        return max(_times(share, left), int(is_next))

    def rooms(self, run: object) -> dict[Share, int]:
        """The same of all with which the run stands in line; those for which there is none are left out."""
        left, met = dict(self._free), list[Share]()
        for waiting, share in self._line:
            if waiting is run and _fits(share, left):
                met.append(share)
            for name, count in share:
                left[name] -= count
            if self._leaves_nothing(left):
                return dict.fromkeys(met, 1)
        return {share: max(1, _times(share, left) + 1) for share in met}

    def take(self, share: Share, attempt: int, run: object) -> Slots:
        """Give the attempt its seats. Its run leaves the line."""
        for name, count in share:
            self._free[name] -= count
        slots = self._taken[attempt] = {name: self._vacancies[name].take(count) for name, count in share}
        if self._line and (run, share) in self._line:
            self._step_out(run, share)
        return slots

    def stand_in_line(self, share: Share, run: object) -> None:
        """The run has a task that waits for such seats. Said again, it keeps its place."""
        if (run, share) not in self._line:
            self._line[run, share] = None
            self._kinds[_limits(share)] += 1

    def let_pass(self, share: Share, run: object) -> None:
        """The run could be served, and has more urgent tasks: it goes to the end of the line with that share."""
        if (run, share) in self._line and self.room(share, run):
            self._line[run, share] = self._line.pop((run, share))

    def leave(self, run: object) -> None:
        """The run waits for no seats any more. Its attempts keep theirs until they have ended."""
        for share in [share for waiting, share in self._line if waiting is run]:
            self._step_out(run, share)

    def free(self, attempt: int) -> None:
        """The attempt has ended, or was given back. Nothing happens where it has no seat."""
        for name, ranges in self._taken.pop(attempt, {}).items():
            self._free[name] += sum([stop - start for start, stop in ranges])
            self._vacancies[name].give_back(ranges)

    def _leaves_nothing(self, left: Mapping[str, int]) -> bool:
        """Whether none of those in line could be met with what is left."""
        for names in self._kinds:
            for name in names:
                if left[name] <= 0:
                    break
            else:
                return False
        return True

    def _step_out(self, run: object, share: Share) -> None:
        del self._line[run, share]
        kind = _limits(share)
        self._kinds[kind] -= 1
        if not self._kinds[kind]:
            del self._kinds[kind]


def _fits(share: Share, left: Mapping[str, int]) -> bool:
    for name, count in share:  # noqa: SIM110 - `all` takes twice as long, and this is asked again and again
        if left[name] < count:
            return False
    return True


def _times(share: Share, left: Mapping[str, int]) -> int:
    """How often what is left meets the share; less than 0 where what is lacking is kept for others."""
    return min([left[name] // count for name, count in share])


def _limits(share: Share) -> tuple[str, ...]:
    """Those of which it takes some."""
    return tuple([name for name, _ in share])
