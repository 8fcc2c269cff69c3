"""Queue: what of a run is ready, in its order. What waits for a seat stands aside, and costs nothing there."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from heapq import heappop, heappush

from cloaca.engine.fan import Fan
from cloaca.engine.ledger import Ledger
from cloaca.engine.priority import Priority
from cloaca.engine.ready import Guarded, ReadyTasks
from cloaca.engine.seats import Seats, Share, Slots
from cloaca.engine.work import Work


class Queue:
    """The ready tasks by their places in `priority`. A mapped task stands here, once, while any instance is ready.

    `work` is that of each task and instance; its `share` says which of the runner's `seats` an attempt takes.
    """

    def __init__(self, priority: Priority, work: Sequence[Work], ledger: Ledger, seats: Seats) -> None:
        self._places = priority.places
        self._ranks = priority.ranks
        self._ready = ReadyTasks(priority) if priority.is_longest_first else Guarded(priority)
        self.add = self._ready.add
        """The task is ready: itself, or the first of its instances."""
        self._work = work
        self._ledger = ledger
        self._seats = seats
        self._aside: dict[Share, list[int]] = {}  # places by share, each a heap
        self._called: dict[Share, None] = {}  # up from there, to compete again
        self._may_begin: Callable[[int], bool] | None = None
        self._held_back: list[int] = []

    @property
    def size(self) -> int:
        """How many tasks and instances could be submitted now."""
        size = len(self._ready)
        if self._aside:
            size += sum(self._callable().values())
        fans = self._ledger.fans
        if fans:
            size += sum(fan.ready - 1 for fan in fans.values() if fan.ready and self._finds_seat(fan.rank))
        return size

    @property
    def seats(self) -> Mapping[str, int]:
        """How many there are of each limit."""
        return self._seats.sizes

    @property
    def is_waiting(self) -> bool:
        """Whether any waits for seats, or has been called up."""
        return bool(self._aside or self._called)

    @property
    def is_any_seated(self) -> bool:
        """Whether any attempt has seats, of whatever run, or of one that was ended by a fault."""
        return bool(self._seats.taken)

    def __iter__(self) -> Iterator[int]:
        """The ranks of all that are ready, whether or not there is a seat."""
        yield from self._ready
        yield from (self._ranks[place] for waiting in self._aside.values() for place in waiting)
        yield from self._held_back

    def fill(self, ranks: Sequence[int]) -> None:
        """These are ready at the start."""
        self._ready.fill(ranks)

    def offer(self, fan: Fan, unit: int) -> None:
        """An instance is ready, again or at last."""
        fan.offer(unit)
        if fan.ready == 1:  # or its task stands here already
            self.add(fan.rank)

    def offer_all(self, fan: Fan, units: Iterable[int]) -> None:
        """These instances are ready at last."""
        was_here = bool(fan.ready)
        for unit in units:
            fan.offer(unit)
        if fan.ready and not was_here:
            self.add(fan.rank)

    def call_up(self) -> None:
        """Let those that waited for seats which are free now compete with all that are ready.

        Those that were called up before, and had to let more urgent ones go first, let other runs go first, too.
        """
        for share in self._called:
            self._seats.let_pass(share, self)
        for share, number in self._callable().items():
            waiting = self._aside[share]
            for _ in range(number):
                self._ready.add(self._ranks[heappop(waiting)])
                self._called[share] = None
            if not waiting:
                del self._aside[share]

    def take(self, width: int, most: int = 1) -> range | None:
        """Take out the first one for which there is a seat, or that needs none; `None` where there is none.

        Of a mapped task, it may be `most` instances that stand side by side. `width`: how many attempts can be under
        way at once.
        """
        while (rank := self._ready.take(width)) is not None:
            if self._may_begin is not None and not self._may_begin(rank):
                self._ready.expect(rank, 1)
                self._held_back.append(rank)
                continue
            share = self._work[rank].share
            if share and not self._seats.room(share, self):
                self._put_aside(share, rank)
                continue
            fan = self._ledger.fans.get(rank)
            return range(rank, rank + 1) if fan is None else self._taken(fan, most)
        return None

    def take_all(self) -> list[int]:
        """Take out all that is ready, whether or not there is a seat."""
        taken: list[int] = []
        while (rank := self._ready.take(1)) is not None:
            taken += self._taken(self._ledger.fans[rank], 1) if rank in self._ledger.fans else [rank]
        return taken

    def hold_back(self, may_begin: Callable[[int], bool] | None) -> None:
        """From here on take only tasks that may begin; `None`: all may."""
        self._may_begin = may_begin
        for rank in self._held_back:
            self._ready.add(rank)
        self._held_back.clear()

    def expect(self, unit: int, number: int) -> None:
        """So many more attempts are to begin than was thought: of a task, or of that to which an instance belongs."""
        rank = unit if unit < len(self._places) else self._ledger.fan_of(unit).rank
        self._ready.expect(rank, number)

    def seat(self, share: Share, number: int) -> Slots:
        """Give the attempt its seats. Where others of the run wait for the same, it stands in line again."""
        slots = self._seats.take(share, number, self)
        self._called.pop(share, None)
        if share in self._aside:
            self._seats.stand_in_line(share, self)
        return slots

    def unseat(self, number: int) -> None:
        """The attempt needs its seats no more."""
        self._seats.free(number)

    def clear(self) -> None:
        """Nothing is ready any more, nor waits for a seat."""
        self._ready.clear()
        self._aside.clear()
        self._called.clear()
        self._held_back.clear()
        self._may_begin = None
        self._seats.leave(self)
        for fan in self._ledger.fans.values():
            fan.withdraw()

    def _taken(self, fan: Fan, most: int) -> range:
        """Some of the fan's instances. Its task stays here as long as others are ready."""
        units = fan.take(most if self._may_begin is None else 1, self._ledger.attempts)
        self._ready.expect(fan.rank, 1 - len(units))
        if fan.ready:
            self.add(fan.rank)
        return units

    def _finds_seat(self, rank: int) -> bool:
        """Whether nobody waits for seats as the task needs them, or they are there."""
        share = self._work[rank].share
        return share not in self._aside or self._seats.room(share, self) > 0

    def _callable(self) -> dict[Share, int]:
        """How many of those that wait would find their seats, by share."""
        rooms, aside = self._seats.rooms(self), self._aside
        return {share: min(len(aside[share]), room) for share, room in rooms.items() if share in aside}

    def _put_aside(self, share: Share, rank: int) -> None:
        """Let the task wait for its seats. What doesn't need them goes on."""
        self._ready.expect(rank, 1)
        self._called.pop(share, None)
        heappush(self._aside.setdefault(share, []), self._places[rank])
        self._seats.stand_in_line(share, self)
