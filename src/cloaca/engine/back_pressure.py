"""Back-pressure: what to do while there is no room for large values, in shared memory or the temporary folder.

    Failed, lacking room          values were let go of, as many bytes as it lacked
    ---------------------> HELD_UP -------------------------------------------------> READY
                              |
                              | nobody else is under way, nor may begin
                              +------------------------------------------> tried *alone*: then it fails like any other

An attempt that found no room for a value is made once more, and doesn't count as a try. Until then nothing begins that
comes later in the order, unless it is to use a large value: that one may let go of it. An attempt that is made alone
has all the room that there will be, as nobody could free more. So with each of these something gets on, or fails.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from cloaca.engine.fan import Fan
from cloaca.engine.ledger import Ledger
from cloaca.errors import INPUT
from cloaca.history.history import History
from cloaca.values.blobs import references_in, size_of

_LISTED = 5


class BackPressure:
    """The attempts of one run that are held up: tasks and instances, and how many bytes each found no room for.

    `places`: those of tasks in the order, by rank. `alone` is the one that is tried alone.
    """

    def __init__(self, places: Sequence[int], ledger: Ledger) -> None:
        self._places = places
        self._ledger = ledger
        self._lacking: dict[int, int] = {}
        self._freed = 0
        self._gone: set[bytes] = set()
        self.alone: int | None = None

    def __bool__(self) -> bool:
        return bool(self._lacking)

    def __iter__(self) -> Iterator[int]:
        return iter(self._lacking)

    def hold_up(self, unit: int, lacking: int) -> None:
        """Its attempt found no room for so many bytes."""
        if not self._lacking:
            self._freed = 0
        self._lacking[unit] = lacking

    @property
    def first_place(self) -> int:
        """Where the first one stands in the order."""
        return min(map(self._place, self._lacking))

    def let_go(self, payloads: Iterable[bytes]) -> list[int]:
        """These values were let go of; returns those that may go on."""
        payloads = list(payloads)
        self._gone.update(payloads)
        if not self._lacking:
            return []
        self._freed += sum(map(size_of, payloads))
        found: list[int] = []
        for unit in sorted(self._lacking, key=self._place):
            if self._lacking[unit] > self._freed:
                break
            self._freed -= self._lacking.pop(unit)
            found.append(unit)
        return found

    def try_alone(self) -> int:
        """The first one: it is to be tried alone."""
        self.alone = min(self._lacking, key=self._place)
        del self._lacking[self.alone]
        return self.alone

    def _place(self, unit: int) -> int:
        return self._places[unit if unit < len(self._places) else self._ledger.fan_of(unit).rank]

    def clear(self) -> None:
        """The run was stopped."""
        self._lacking.clear()

    # ---- what holds the room ---------------------------------------------------------------------------------------

    def told(self, history: History) -> str:
        """What holds the room: the largest values of the run, by key and writer."""
        held = {payload: (key, writer) for key, writer, payload in _values(history, self._ledger.fans)}
        sizes = sorted(((size_of(one), *held[one]) for one in held if one not in self._gone), key=lambda one: -one[0])
        if not sizes:
            return "No value of this execution holds any of it: other executions, results or programs do."
        listed = [f"{key!r} of {_named(writer)} ({size:,} bytes)" for size, key, writer in sizes[:_LISTED]]
        more = f", and {len(sizes) - _LISTED} more" if len(sizes) > _LISTED else ""
        return f"What holds the room: {', '.join(listed)}{more}; {sum(one[0] for one in sizes):,} bytes in all."


def _named(writer: str) -> str:
    return writer if writer == INPUT else f"task {writer!r}"


def _values(history: History, fans: Mapping[int, Fan]) -> Iterable[tuple[str, str, bytes]]:
    """The large values that a run has had: the key, who wrote it, and the reference."""
    for key, write in history.writes():
        for payload in references_in(write.version.payload or b""):
            yield key, write.version.writer, payload
    for fan in fans.values():
        for key, index, payload in fan.values():
            for reference in references_in(payload):
                yield key, fan.name(index) if index is not None else fan.task, reference
