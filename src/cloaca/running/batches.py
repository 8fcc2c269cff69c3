"""Batches: what a call of `map` has made of its items, and what has come of them, until it is handed out in order.

    items --> taken --> under way --> early --> handed out
                ^           |           |  ^
                |           |           +--+ tried again: an item that failed, in a batch of its own
                +- given back: what a batch hadn't begun when it had taken too long, or its worker died

Everything goes by the number of its first item. A few batches are under way beyond the results that were asked for.
While the next one is waited for, later items are taken as well, so that no worker stands still behind a long one: until
the results that wait come to `MOST_EARLY_ITEMS` or `MOST_EARLY_BYTES`.
"""

from collections.abc import Iterator
from itertools import islice
from operator import attrgetter
from typing import Any, NamedTuple

from msgspec import Struct, field

from cloaca.count import Count
from cloaca.engine.events import Deliver, Supply
from cloaca.failure import error_of, raised
from cloaca.item import of_item, of_result, unreadable_item
from cloaca.terms import Terms
from cloaca.values.blobs import LARGE, size_of
from cloaca.values.codec import decode, encode_unseen
from cloaca.values.elements import decode_list, encode_apart, encode_list
from cloaca.values.holder import Holder
from cloaca.values.storage import Leases
from cloaca.wire.messages import FAILURE, FAILURES, REACHED, RESULTS, Done, Failed, Lost

BATCH_SECONDS = 0.02
"""How long a batch should take: much longer than its way to a worker and back."""

LONGEST_SECONDS = 5 * BATCH_SECONDS
"""What a batch hasn't begun by then it gives back."""

LARGEST_BATCH = 50_000
MOST_GROWTH = 8
NEWEST_WEIGHT = 0.3
"""How far a batch of shorter items counts. One of longer items counts at once: the safe side is a small batch."""

MOST_EARLY_ITEMS = 100_000
MOST_EARLY_BYTES = 1 << 26

_NONE = encode_unseen({})


class Sizes:
    """How many items the next batch should have: `fixed`, or by the durations of earlier ones.

    >>> sizes = Sizes(None)
    >>> sizes.next, sizes.measured(1, 0.0001), sizes.next, sizes.measured(8, 0.08), sizes.next
    (1, None, 8, None, 2)
    """

    def __init__(self, fixed: int | None) -> None:
        self.next = fixed or 1
        self._is_fixed = fixed is not None
        self._each = 0.0

    @property
    def longest(self) -> float:
        """After how many seconds a batch is to give back what it hasn't begun."""
        return float("inf") if self._is_fixed else LONGEST_SECONDS

    def measured(self, items: int, seconds: float) -> None:
        """So many items of a batch took so long."""
        if not self._is_fixed:
            each = max(seconds / items, 1e-12)
            self._each = max(each, self._each + NEWEST_WEIGHT * (each - self._each))
            fitting = int(BATCH_SECONDS / self._each)
            self.next = max(1, min(fitting, MOST_GROWTH * items, LARGEST_BATCH))


class _Batch(NamedTuple):
    """Items by their numbers, and the payload that holds them, perhaps among others. The lease keeps its file.

    `is_part`: the payload holds others, too. `tries` are those that its item had, of which `ended` by themselves.
    """

    numbers: range
    payload: bytes
    lease: object = None
    is_part: bool = False
    tries: int = 0
    ended: int = 0

    @property
    def first(self) -> int:
        return self.numbers.start

    def supply(self, delay: float = 0.0) -> Supply:
        first, stop = self.numbers.start, self.numbers.stop
        part = encode_unseen((first, stop, self.ended)) if self.is_part else None
        name = f"map, item {first}" if stop == first + 1 else f"map, items {first} to {stop - 1}"
        return Supply(first, name, self.payload, part, delay)

    def part(self, start: int, stop: int) -> "_Batch":
        """Some of its items."""
        return self._replace(numbers=range(start, stop), is_part=True)


class _Fate(NamedTuple):
    """What came of an item that didn't end well at once, in the last of so many `tries`."""

    end: Done | Failed | Lost | BaseException
    tries: int = 1


class _Early(Struct):
    """What has come of items, and how many bytes it takes.

    `delivery` has their results; `fates` are what came of those that have none there, by number: those in `awaited` are
    tried again.
    """

    numbers: range
    delivery: Deliver | None = None
    size: int = 0
    fates: dict[int, _Fate] = field(default_factory=dict)
    awaited: set[int] = field(default_factory=set)


class Batches:
    """Those of one call; `most` may be under way, or have come and not been handed out.

    `count` is brought up to date.
    """

    def __init__(
        self,
        items: Iterator[Any],
        sizes: Sizes,
        holder: Holder,
        most: int,
        terms: Terms | None = None,
        count: Count | None = None,
    ) -> None:
        self._items = items
        self._sizes = sizes
        self._holder = holder
        self._most = most
        self._terms = terms or Terms()
        self._count = count or Count()
        self._under_way: dict[int, _Batch] = {}
        self._given_back: list[_Batch] = []  # the first one at the end
        self._early: dict[int, _Early] = {}
        self._retries: list[Supply] = []  # that are to be supplied
        self._retried: dict[int, tuple[_Batch, _Early]] = {}  # and those that were, by the number of their item
        self._early_bytes = self._taken = self._handed_out = 0
        self._takes_more = True
        self._error: BaseException | None = None

    @property
    def awaits(self) -> bool:
        """Whether the results that come next aren't here yet."""
        return bool(self._under_way or self._given_back or self._retried) and self._next_one() is None

    def _next_one(self) -> int | None:
        """Where what is handed out next begins, if it is here."""
        if self._terms.in_order:
            early = self._early.get(self._handed_out)
            return None if early is None or early.awaited else self._handed_out
        return next((first for first, early in self._early.items() if not early.awaited), None)

    @property
    def have_ended(self) -> bool:
        """Whether all results are out. An error may come after them."""
        return not (self._under_way or self._given_back or self._early)

    def next(self) -> Supply | None:
        """A batch that is to begin now. What is tried again, or was given back, comes before new items."""
        if self._retries:
            return self._retries.pop()
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
            return self._encoded_apart(elements) if self._terms.goes_on else self._encoded(elements)
        except Exception as error:  # noqa: BLE001 - as above
            self._stop(error)
            return None

    def _encoded(self, elements: list[Any]) -> _Batch | None:
        payload, length, error = encode_list(elements)
        numbers = range(self._taken, self._taken + length - 1)
        if error is not None:
            self._stop(of_item(error, numbers.stop, elements[length]))
        return self._taking(numbers, payload) if numbers else None

    def _encoded_apart(self, elements: list[Any]) -> _Batch | None:
        """Those up to the first one that can't be sent; what comes after it is for later."""
        payload, errors = encode_apart(elements)
        batch = self._taking(range(self._taken, self._taken + len(elements) - 1), payload)
        start = batch.first
        for place, error in errors.items():
            number = batch.first + place - 1
            fate = _Fate(of_item(error, number, elements[place]))
            self._early[number] = _Early(range(number, number + 1), fates={number: fate})
            self._count_failure()
            self._takes_more = self._takes_more and self._terms.yields_errors
            self._give_back(batch, start, number)
            start = number + 1
        if not errors:
            return batch
        self._give_back(batch, start, batch.numbers.stop)
        return self._again() if self._given_back else None

    def _taking(self, numbers: range, payload: bytes) -> _Batch:
        self._taken = numbers.stop
        return _Batch(numbers, *self._holder.put(payload)) if len(payload) >= LARGE else _Batch(numbers, payload)

    def _stop(self, error: BaseException) -> None:
        """No more items are taken: an error comes after those that were."""
        self._error, self._takes_more = error, False

    def _give_back(self, batch: _Batch, start: int, stop: int) -> None:
        """Some items of a batch are to begin later, if there are any."""
        if start < stop:
            self._put_back([batch.part(start, stop)])

    def _put_back(self, batches: list[_Batch]) -> None:
        self._given_back += batches
        self._given_back.sort(key=attrgetter("first"), reverse=True)

    # ---- what has come ---------------------------------------------------------------------------------------------

    def arrived(self, delivery: Deliver) -> None:
        """Take in what has come of a batch."""
        if delivery.first in self._retried:
            self._take_retry(*self._retried.pop(delivery.first), delivery.end)
        elif self._terms.goes_on:
            self._take_all(self._under_way.pop(delivery.first), delivery)
        else:
            self._take_until_error(self._under_way.pop(delivery.first), delivery)

    def _take_until_error(self, batch: _Batch, delivery: Deliver) -> None:
        end = delivery.end
        numbers = self._done(batch, end)
        if not isinstance(end, Done) or FAILURE in end.diff:
            self._takes_more = False  # nobody gets what comes after an error
        else:
            self._sizes.measured(len(numbers), end.usage.ended - end.usage.started)
            self._count.done += len(numbers)
        self._keep(numbers, delivery)

    def _take_all(self, batch: _Batch, delivery: Deliver) -> None:
        match delivery.end:
            case Done() as end:
                numbers = self._done(batch, end)
                self._sizes.measured(len(numbers), end.usage.ended - end.usage.started)
                early = self._keep(numbers, delivery)
                failures: dict[int, Failed] = decode(end.diff.get(FAILURES) or _NONE)
                self._count.done += len(numbers) - len(failures)
                for number, failed in failures.items():
                    self._judge(batch.part(number, number + 1), early, failed)
            case Failed() as end:
                early = self._keep(batch.numbers)
                for number in batch.numbers:
                    self._judge(batch.part(number, number + 1), early, end)
            case Lost() as end:
                self._take_loss(batch, end)

    def _take_loss(self, batch: _Batch, lost: Lost) -> None:
        """A worker's death is the end of the item that it ran. The others of the batch begin once more."""
        numbers = batch.numbers
        item = numbers.start if len(numbers) == 1 else lost.item
        if item is None or item not in numbers:  # which one it was will show where each is alone
            self._put_back([batch.part(number, number + 1) for number in numbers])
            return
        self._give_back(batch, numbers.start, item)
        self._give_back(batch, item + 1, numbers.stop)
        one = batch.part(item, item + 1)
        self._judge(one, self._keep(one.numbers), lost)

    def _take_retry(self, batch: _Batch, early: _Early, end: Done | Failed | Lost) -> None:
        number = batch.first
        failures: dict[int, Failed] = decode(end.diff.get(FAILURES) or _NONE) if isinstance(end, Done) else {}
        end = failures.get(number, end)
        if not isinstance(end, Done):
            self._judge(batch, early, end)
            return
        early.awaited.discard(number)
        early.fates[number] = _Fate(end)
        self._count.done += 1

    def _judge(self, batch: _Batch, early: _Early, end: Failed | Lost) -> None:
        """An item has failed: it is tried again, or that is what comes of it."""
        number, nth = batch.first, batch.tries + 1
        delay = self._terms.delay(number, nth, end)
        if delay is None:
            early.awaited.discard(number)
            early.fates[number] = _Fate(end, nth)
            self._count_failure()
            self._takes_more = self._takes_more and self._terms.yields_errors
            return
        self._count.retried += nth == 1
        batch = batch._replace(tries=nth, ended=batch.ended + isinstance(end, Failed))
        early.awaited.add(number)
        self._retried[number] = batch, early
        self._retries.append(batch.supply(delay))

    def _count_failure(self) -> None:
        if self._terms.yields_errors:
            self._count.done += 1
            self._count.failed += 1

    def _done(self, batch: _Batch, end: Done | Failed | Lost) -> range:
        """The items of a batch that were done; the rest is given back."""
        reached = end.diff.get(REACHED) if isinstance(end, Done) else None
        if reached is None:
            return batch.numbers
        stop = decode(reached)
        self._give_back(batch, stop, batch.numbers.stop)
        return range(batch.first, stop)

    def _keep(self, numbers: range, delivery: Deliver | None = None) -> _Early:
        size = 0
        if delivery is not None and isinstance(delivery.end, Done):
            size = sum(size_of(payload) for payload in delivery.end.diff.values() if payload is not None)
        early = self._early[numbers.start] = _Early(numbers, delivery, size)
        self._early_bytes += size
        return early

    # ---- what is handed out ----------------------------------------------------------------------------------------

    def results(self, leases: Leases) -> list[Any]:
        """Those that come next. With an error among them, they are the last ones."""
        first = self._next_one()
        early = self._early.pop(self._handed_out if first is None else first)
        self._early_bytes -= early.size
        self._handed_out += len(early.numbers)
        if self._terms.goes_on:
            results, error = self._put_together(early, leases)
        else:
            results, error = _up_to_error(early, leases)
        if error is not None:
            self._stop(error)
            for others in (self._under_way, self._given_back, self._early, self._retries, self._retried):
                others.clear()
        return results

    def _put_together(self, early: _Early, leases: Leases) -> tuple[list[Any], BaseException | None]:
        """The results of a batch, with what came of those items in it that failed at first."""
        first = early.numbers.start
        results: list[Any] = [None] * len(early.numbers)
        errors: dict[int, BaseException] = {}
        if early.delivery is not None and isinstance(early.delivery.end, Done):
            results, errors = _read(early.delivery.end, first, leases)
            self._count.failed += len(errors) if self._terms.yields_errors else 0
        for number, (end, tries) in early.fates.items():
            if isinstance(end, Done):
                (results[number - first],), unread = _read(end, number, leases)
                errors |= unread
                self._count.failed += len(unread) if self._terms.yields_errors else 0
            else:
                errors[number] = end if isinstance(end, BaseException) else _error(end, f"map, item {number}", tries)
        for number in sorted(errors):
            if not self._terms.yields_errors:
                return results[: number - first], errors[number]
            results[number - first] = errors[number]
        return results, None

    def end(self) -> None:
        """All results are out: raise the error that comes after them, if there is one."""
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
        finally:
            del error  # its traceback leads here: it would keep the runner until the garbage collector came


def _up_to_error(early: _Early, leases: Leases) -> tuple[list[Any], BaseException | None]:
    """The results of a batch up to the first error, and that error, if there is one."""
    delivery = early.delivery
    end = None if delivery is None else delivery.end
    if not isinstance(end, Done):
        return [], None if delivery is None or end is None else _error(end, delivery.name, 1)
    first = early.numbers.start
    results, errors = _read(end, first, leases)
    if errors:
        number = min(errors)
        return results[: number - first], errors[number]
    failure = end.diff.get(FAILURE)
    return results, None if failure is None else raised(decode(failure))


def _read(done: Done, first: int, leases: Leases) -> tuple[list[Any], dict[int, BaseException]]:
    """The results of items, and by their numbers the errors of those that can't be rebuilt."""
    unread: dict[int, Exception]
    try:
        results, unread = decode_list(done.diff.get(RESULTS) or b"")
    except Exception as error:  # noqa: BLE001 - what came isn't what the batch has made
        results, unread = [None], {0: error}
    finally:
        _let_go(done, leases)
    return results, {first + at: of_result(unreadable_item(error), first + at) for at, error in unread.items()}


def _let_go(done: Done, leases: Leases) -> None:
    for payload in done.diff.values():
        leases.pop(payload or b"", None)


def _error(end: Failed | Lost, name: str, nth: int) -> BaseException:
    return raised(end) if isinstance(end, Failed) else error_of(end, name, nth)
