"""What runs for `map`: one function over the items of a batch, up to the first error, which names its item."""

import os
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from time import monotonic
from typing import Any, NamedTuple

from cloaca.attempts.attempt import failure
from cloaca.attempts.seeding import Seeding, Unseeded, of_process
from cloaca.attempts.termination import Terminated
from cloaca.border.mark import NONE, come_to
from cloaca.item import of_item, of_result, raisable, unreadable_item
from cloaca.tasks.context import Context, contents_of
from cloaca.values.codec import decode, encode_unseen
from cloaca.values.elements import decode_apart, decode_list, encode_apart, encode_list
from cloaca.wire.messages import FAILURE, FAILURES, ITEMS, PART, REACHED, RESULTS, Failed, Usage

_LOOKS = 64
"""How often the clock is looked at in a batch: at each item costs more than the shortest of them."""


class Spread:
    """A function of several arguments, which come as one item."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, item: tuple[Any, ...]) -> Any:
        """Call it with what the item holds."""
        return self._function(*item)


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
        end = start + len(items)
        first, stop, ended = (start, end + 1, 0) if part is None else decode(part)
        items = items[first - start : stop - start]
        results, error = self._run(first, items, ended)
        reached = first + len(results)
        if error is None and unread is not None and reached == end < stop:
            error = of_item(unreadable_item(unread), end)
        encoded = encode_list(results)
        if encoded.error is not None:
            error = of_result(encoded.error, first + encoded.length)
        return BatchOutcome(encoded.payload, error, reached if reached < first + len(items) else None)

    def _run(self, first: int, items: Sequence[Any], ended: int) -> tuple[list[Any], BaseException | None]:
        seeding, function, process = self._seeding(), self._function, os.getpid()
        count, until = max(1, len(items) // _LOOKS), monotonic() + self._seconds
        results: list[Any] = []
        try:
            rest = seeding.each(items, first, self._seed, ended)
            for item in rest:
                results.append(function(item))
                for near in islice(rest, count - 1):
                    results.append(function(near))  # noqa: PERF401 - what there is when it raises counts
                if monotonic() > until:
                    break
        except Terminated:
            raise
        except BaseException as error:  # sys.exit and Ctrl-C end the call of map, where they come
            if os.getpid() != process:
                raise  # a process that the function forked: it ends with that
            done = len(results)
            return results, of_item(raisable(error), first + done, *items[done : done + 1])
        finally:
            seeding.done()
        return results, None


class UnbrokenBatch(BatchFunction):
    """The same, but what an item fails with ends that item only: it is left by the item's number.

    The process's mark tells which item runs, so the death of a worker is that item's end.
    """

    def __call__(self, context: Context) -> None:
        contents = contents_of(context)
        (start, *items), unread = decode_apart(contents.payload(ITEMS) or b"")
        part = contents.payload(PART)
        first, stop, ended = (start, start + len(items), 0) if part is None else decode(part)
        failures = {
            start + place - 1: as_failed(of_item(unreadable_item(error), start + place - 1))
            for place, error in unread.items()
        }
        results = self._results(items[first - start : stop - start], first, ended, failures)
        payload, unsent = encode_apart(results)
        for place, error in unsent.items():
            failures[first + place] = as_failed(of_result(error, first + place))
        reached = first + len(results)
        failures = {number: failed for number, failed in failures.items() if first <= number < reached}
        contents.set_unseen(RESULTS, payload)
        if failures:
            contents.set_unseen(FAILURES, encode_unseen(failures))
        if reached < stop:
            contents.set_unseen(REACHED, encode_unseen(reached))

    def _results(self, items: Sequence[Any], first: int, ended: int, failures: dict[int, Failed]) -> list[Any]:
        """What comes of the items that there is time for: `None` in the places of those that fail."""
        seeding, until, process = self._seeding(), monotonic() + self._seconds, os.getpid()
        results: list[Any] = []
        try:
            for number, item in enumerate(seeding.each(items, first, self._seed, ended), first):
                come_to(number)
                try:
                    results.append(None if number in failures else self._function(item))
                except Terminated:
                    raise
                except BaseException as error:  # sys.exit ends the item, not the worker
                    if os.getpid() != process:
                        raise  # a process that the function forked: it ends with that
                    failures[number] = as_failed(of_item(raisable(error), number, item))
                    results.append(None)
                if monotonic() > until:
                    break
        finally:
            seeding.done()
        return results


def as_failed(error: BaseException) -> Failed:
    """The error as it is sent."""
    return failure(NONE, error, Usage(0, 0, 0, 0))
