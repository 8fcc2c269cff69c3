"""Batches: what a call of `map` has made of its items, and what has come of them, until it is handed out in order.

    items --> taken --> under way --> early --> handed out
                ^           |
                +- given back: what a batch hadn't begun when it had taken too long

Everything goes by the number of its first item. A few batches are under way beyond the results that were asked for.
While the next one is waited for, later items are taken as well, so that no worker stands still behind a long one: until
the results that wait come to `MOST_EARLY_ITEMS` or `MOST_EARLY_BYTES`.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from operator import attrgetter
from typing import Any, NamedTuple

from cloaca.engine.events import Deliver, Supply
from cloaca.failure import error_of, raised
from cloaca.item import of_item, of_result, unreadable_item
from cloaca.values.blobs import LARGE, size_of
from cloaca.values.codec import decode, encode_unseen
from cloaca.values.elements import decode_list, encode_list
from cloaca.values.storage import Leases, Storage
from cloaca.wire.messages import FAILURE, REACHED, RESULTS, Done, Failed, Lost

BATCH_SECONDS = 0.02
"""How long a batch should take: much longer than its way to a worker and back."""

LONGEST_SECONDS = 5 * BATCH_SECONDS
"""What a batch hasn't begun by then it gives back."""

LARGEST_BATCH = 50_000
MOST_GROWTH = 8
MOST_EARLY_ITEMS = 100_000
MOST_EARLY_BYTES = 1 << 26


class Sizes:
    """How many items the next batch should have: `fixed`, or by the durations of earlier ones.

    >>> sizes = Sizes(None)
    >>> sizes.next, sizes.measured(1, 0.0001), sizes.next, sizes.measured(8, 0.08), sizes.next
    (1, None, 8, None, 2)
    """

    def __init__(self, fixed: int | None) -> None:
        self.next = fixed or 1
        self._is_fixed = fixed is not None

    @property
    def longest(self) -> float:
        """After how many seconds a batch is to give back what it hasn't begun."""
        return float("inf") if self._is_fixed else LONGEST_SECONDS

    def measured(self, items: int, seconds: float) -> None:
        """So many items of a batch took so long."""
        if not self._is_fixed:
            fitting = int(items * BATCH_SECONDS / max(seconds, 1e-9))
            self.next = max(1, min(fitting, MOST_GROWTH * items, LARGEST_BATCH))


class _Batch(NamedTuple):
    """Items by their numbers, and the payload that holds them, perhaps among others. The lease keeps its file."""

    numbers: range
    payload: bytes
    lease: object = None
    is_part: bool = False

    @property
    def first(self) -> int:
        return self.numbers.start

    def supply(self) -> Supply:
        first, stop = self.numbers.start, self.numbers.stop
        part = encode_unseen((first, stop)) if self.is_part else None
        return Supply(first, f"map, items {first} to {stop - 1}", self.payload, part)


class _Early(NamedTuple):
    """What has come of items, and how many bytes it takes."""

    numbers: range
    delivery: Deliver
    size: int


class Batches:
    """Those of one call; `most` may be under way, or have come and not been handed out."""

    def __init__(self, items: Iterator[Any], sizes: Sizes, storage: Storage, most: int) -> None:
        self._items = items
        self._sizes = sizes
        self._storage = storage
        self._most = most
        self._under_way: dict[int, _Batch] = {}
        self._given_back: list[_Batch] = []  # the first one at the end
        self._early: dict[int, _Early] = {}
        self._early_bytes = self._taken = self._handed_out = 0
        self._takes_more = True
        self._error: BaseException | None = None

    @property
    def awaits(self) -> bool:
        """Whether the results that come next aren't here yet."""
        return bool(self._under_way or self._given_back) and self._handed_out not in self._early

    @property
    def have_ended(self) -> bool:
        """Whether all results are out. An error may come after them."""
        return not (self._under_way or self._given_back or self._early)

    def next(self) -> Supply | None:
        """A batch that is to begin now. What was given back comes before new items."""
        if not self._has_room():
            return None
        batch = self._again() if self._given_back else self._new()
        if batch is None:
            return None
        self._under_way[batch.first] = batch
        return batch.supply()

    def _has_room(self) -> bool:
        if len(self._under_way) + len(self._early) < self._most:
            return True
        if len(self._under_way) >= self._most or not self.awaits:
            return False
        is_near = self._taken - self._handed_out < MOST_EARLY_ITEMS and self._early_bytes < MOST_EARLY_BYTES
        return is_near or bool(self._given_back)

    def _again(self) -> _Batch:
        batch = self._given_back.pop()
        numbers, rest = batch.numbers[: self._sizes.next], batch.numbers[self._sizes.next :]
        if rest:
            self._given_back.append(batch._replace(numbers=rest))
        return batch._replace(numbers=numbers)

    def _new(self) -> _Batch | None:
        if not self._takes_more:
            return None
        elements: list[Any] = [self._taken]
        try:
            elements.extend(islice(self._items, self._sizes.next))
        except Exception as error:  # noqa: BLE001 - raised once all results before it are out
            self._stop(error)
        if len(elements) == 1:
            return None
        try:
            return self._encoded(elements)
        except Exception as error:  # noqa: BLE001 - as above
            self._stop(error)
            return None

    def _encoded(self, elements: list[Any]) -> _Batch | None:
        payload, length, error = encode_list(elements)
        numbers = range(self._taken, self._taken + length - 1)
        if error is not None:
            self._stop(of_item(error, numbers.stop, elements[length]))
        if not numbers:
            return None
        self._taken = numbers.stop
        return _Batch(numbers, *self._storage.put(payload)) if len(payload) >= LARGE else _Batch(numbers, payload)

    def _stop(self, error: BaseException) -> None:
        """No more items are taken: an error comes after those that were."""
        self._error, self._takes_more = error, False

    def arrived(self, delivery: Deliver) -> None:
        """Take in what has come of a batch."""
        batch, end = self._under_way.pop(delivery.first), delivery.end
        diff = end.diff if isinstance(end, Done) else {}
        numbers = batch.numbers
        if (reached := diff.get(REACHED)) is not None:
            numbers = range(batch.first, decode(reached))
            self._given_back.append(batch._replace(numbers=range(numbers.stop, batch.numbers.stop), is_part=True))
            self._given_back.sort(key=attrgetter("first"), reverse=True)
        if not isinstance(end, Done) or FAILURE in diff:
            self._takes_more = False  # nobody gets what comes after an error
        else:
            self._sizes.measured(len(numbers), end.usage.ended - end.usage.started)
        size = sum(size_of(payload) for payload in diff.values() if payload is not None)
        self._early[batch.first] = _Early(numbers, delivery, size)
        self._early_bytes += size

    def results(self, leases: Leases) -> list[Any]:
        """Those that come next. With an error among them, they are the last ones."""
        early = self._early.pop(self._handed_out)
        self._early_bytes -= early.size
        self._handed_out = early.numbers.stop
        results, error = _outcome(early.delivery, early.numbers.start, leases)
        if error is not None:
            self._stop(error)
            for others in (self._under_way, self._given_back, self._early):
                others.clear()
        return results

    def end(self) -> None:
        """All results are out: raise the error that comes after them, if there is one."""
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
        finally:
            del error  # its traceback leads here: it would keep the runner until the garbage collector came


def _outcome(delivery: Deliver, first: int, leases: Leases) -> tuple[list[Any], BaseException | None]:
    """The results of a batch up to the first error, and that error, if there is one."""
    match delivery.end:
        case Done(diff=diff):
            try:
                return _reported(diff, first)
            finally:
                for payload in diff.values():
                    leases.pop(payload or b"", None)
        case Failed() as failed:
            return [], raised(failed)
        case Lost() as lost:
            return [], error_of(lost, delivery.name, 1)


def _reported(diff: Mapping[str, bytes | None], first: int) -> tuple[list[Any], BaseException | None]:
    try:
        results, unread = decode_list(diff.get(RESULTS) or b"")
    except Exception as error:  # noqa: BLE001 - what came isn't what the batch has made
        results, unread = [], error
    if unread is not None:
        return results, of_result(unreadable_item(unread), first + len(results))
    failure = diff.get(FAILURE)
    return results, None if failure is None else raised(decode(failure))
