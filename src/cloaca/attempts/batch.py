"""What runs for `map`: one function over the items of a batch, up to the first error, which names its item."""

import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import islice
from time import monotonic
from typing import Any, NamedTuple

from cloaca.attempts import leaving
from cloaca.attempts.attempt import failure, own_variables
from cloaca.attempts.harmless import is_harmless
from cloaca.attempts.seeding import Seeding, Unseeded, of_process
from cloaca.attempts.termination import Terminated
from cloaca.border.mark import NONE, come_to
from cloaca.errors import EncodeError
from cloaca.item import of_item, of_result, raisable, unreadable_item
from cloaca.tasks.context import Context, contents_of
from cloaca.values.codec import decode, encode_unseen
from cloaca.values.elements import ListWriter, decode_list
from cloaca.values.kinds import SCALARS, is_constant
from cloaca.wire.messages import FAILURE, FAILURES, ITEMS, PART, REACHED, RESULTS, Failed, Usage

_LOOKS = 64
"""How often the clock is looked at in a batch: at each item costs more than the shortest of them."""


class Spread:
    """A function of several arguments, which come as one item."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.called = function

    def __call__(self, item: tuple[Any, ...]) -> Any:
        """Call it with what the item holds."""
        return self.called(*item)


class Awaited:
    """An `async def` function. Each call is awaited in an event loop of its own."""

    def __init__(self, function: Callable[[Any], Awaitable[Any]]) -> None:
        self._function = function

    def __call__(self, item: Any) -> Any:
        """Call it, and wait for what comes of it."""
        from cloaca.attempts.coroutines import finish  # asyncio takes longer to load than a worker to start

        return finish(self._function(item))


class BatchOutcome(NamedTuple):
    """The results up to the first error in the order of the items, as a payload; and that error, if there is one.

    `reached` is the number of the first item that is still to be done: there may be some after a moment.
    """

    results: bytes
    error: BaseException | None
    reached: int | None = None


class BatchFunction:
    """A task function over a batch: the first item's number and the items come in, the list of results goes out.

    What hasn't begun after so many `seconds` is given back. `seeding` gives what seeds the process.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        seed: int,
        seconds: float,
        seeding: Callable[[], Seeding | Unseeded] = of_process,
    ) -> None:
        self._function = function
        self._seed = seed
        self._seconds = seconds
        self._seeding = seeding

    def __call__(self, context: Context) -> None:
        """Run as a task. It ends well where the function has raised, too: there are results before that."""
        contents = contents_of(context)
        results, error, reached = self.outcome(contents.payload(ITEMS) or b"", contents.payload(PART))
        contents.set_unseen(RESULTS, results)
        if error is not None:
            contents.set_unseen(FAILURE, encode_unseen(as_failed(error)))
        elif reached is not None:
            contents.set_unseen(REACHED, encode_unseen(reached))

    def outcome(self, payload: bytes, part: bytes | None = None) -> BatchOutcome:
        """What comes of the items in a payload, or of those that `part` tells."""
        (start, *items), unread = decode_list(payload)
        end = start + min(unread, default=len(items) + 1) - 1
        first, stop, ended = (start, end + 1, 0) if part is None else decode(part)
        items = items[first - start : min(stop, end) - start]
        results = ListWriter()
        error = self._run(first, items, ended, results)
        reached = first + len(results)
        if error is None and unread and reached == end < stop:
            error = of_item(unreadable_item(unread[end - start + 1]), end)
        return BatchOutcome(results.payload(), error, reached if reached < first + len(items) else None)

    def _run(self, first: int, items: Sequence[Any], ended: int, results: ListWriter) -> BaseException | None:
        """Add the results of those items that there is time for. Returns what has ended that, if anything."""
        seeding, process = self._seeding(), os.getpid()
        call = self._call_all if self._is_harmless(items) else self._call_each
        try:
            call(seeding.each(items, first, self._seed, ended), len(items), results)
        except Terminated:
            raise
        except _UnsentError as unsent:
            return of_result(unsent.error, first + len(results))
        except BaseException as error:  # sys.exit and Ctrl-C end the call of map, where they come
            if os.getpid() != process:
                raise  # a process that the function forked: it ends with that
            done = len(results)
            return of_item(raisable(error), first + done, *items[done : done + 1])
        finally:
            seeding.done()
        return None

    def _is_harmless(self, items: Sequence[Any]) -> bool:
        """Whether calling the function with them can change nothing, so that no item has to do with another one."""
        function = self._function.called if isinstance(self._function, Spread) else self._function
        return is_harmless(function) and (SCALARS.issuperset(map(type, items)) or all(map(is_constant, items)))

    def _call_all(self, items: Iterator[Any], count: int, results: ListWriter) -> None:
        function, until = self._function, monotonic() + self._seconds
        others = max(0, count // _LOOKS - 1)
        made: list[Any] = []
        try:
            for item in items:
                made.append(function(item))
                made += map(function, islice(items, others))  # what there is when it raises counts
                if monotonic() > until:
                    break
        finally:
            _add(made, results)

    def _call_each(self, items: Iterator[Any], count: int, results: ListWriter) -> None:
        """The same where one of them may change something: that ends with it, and its result is taken as it is then."""
        until = monotonic() + self._seconds
        for item in items:
            made = own_variables().run(self._function, item)
            goes_on = count > 1 and leaving.has_ended()
            _add([made], results)
            if not goes_on or monotonic() > until:
                break
            results.own()


class _UnsentError(Exception):
    """A result can't be sent, for this reason."""

    def __init__(self, error: EncodeError) -> None:
        super().__init__()
        self.error = error


def _add(made: Sequence[Any], results: ListWriter) -> None:
    try:
        results.add_all(made)
    except EncodeError as error:
        raise _UnsentError(error) from None


class UnbrokenBatch(BatchFunction):
    """The same, but what an item fails with ends that item only: it is left by the item's number.

    The process's mark tells which item runs, so the death of a worker is that item's end.
    """

    def __call__(self, context: Context) -> None:
        contents = contents_of(context)
        (start, *items), unread = decode_list(contents.payload(ITEMS) or b"")
        part = contents.payload(PART)
        first, stop, ended = (start, start + len(items), 0) if part is None else decode(part)
        failures = {
            start + place - 1: as_failed(of_item(unreadable_item(error), start + place - 1))
            for place, error in unread.items()
        }
        results = ListWriter()
        self._call_unbroken(items[first - start : stop - start], first, ended, failures, results)
        reached = first + len(results)
        failures = {number: failed for number, failed in failures.items() if first <= number < reached}
        contents.set_unseen(RESULTS, results.payload())
        if failures:
            contents.set_unseen(FAILURES, encode_unseen(failures))
        if reached < stop:
            contents.set_unseen(REACHED, encode_unseen(reached))

    def _call_unbroken(
        self, items: Sequence[Any], first: int, ended: int, failures: dict[int, Failed], results: ListWriter
    ) -> None:
        """Add what comes of the items that there is time for: `None` in the places of those that fail."""
        seeding, until = self._seeding(), monotonic() + self._seconds
        try:
            for number, item in enumerate(seeding.each(items, first, self._seed, ended), first):
                come_to(number)
                result, failed = None, failures.get(number)
                if failed is None:
                    result, failed = self._called(number, item)
                goes_on = len(items) > 1 and leaving.has_ended()
                failed = failed or _kept(number, result, results)
                if failed is not None:
                    failures[number] = failed
                    results.add_apart(None)
                if not goes_on or monotonic() > until:
                    break
                results.own()
        finally:
            seeding.done()

    def _called(self, number: int, item: Any) -> tuple[Any, Failed | None]:
        """What the function returns; or what it has failed with."""
        process = os.getpid()
        try:
            return own_variables().run(self._function, item), None
        except Terminated:
            raise
        except BaseException as error:  # sys.exit ends the item, not the worker
            if os.getpid() != process:
                raise  # a process that the function forked: it ends with that
            return None, as_failed(of_item(raisable(error), number, item))


def _kept(number: int, result: Any, results: ListWriter) -> Failed | None:
    """Take the result of an item; returns why it can't be sent, where that is so."""
    try:
        results.add_apart(result)
    except EncodeError as error:
        return as_failed(of_result(error, number))
    return None


def as_failed(error: BaseException) -> Failed:
    """The error as it is sent."""
    return failure(NONE, error, Usage(0, 0, 0, 0))
