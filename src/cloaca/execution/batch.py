"""What runs for `map`: one function over the items of a batch. An error names the item."""

from collections.abc import Awaitable, Callable, Sequence
from reprlib import repr as shortened
from typing import Any

from cloaca.execution.seeding import of_process
from cloaca.tasks.context import Context, set_unseen
from cloaca.wire.messages import ITEMS, RESULTS


class Awaited:
    """An `async def` function. Each call is awaited in an event loop of its own."""

    def __init__(self, function: Callable[[Any], Awaitable[Any]]) -> None:
        self._function = function

    def __call__(self, item: Any) -> Any:
        """Call it, and wait for what comes of it."""
        from cloaca.execution.coroutines import finish  # asyncio takes longer to load than a worker to start

        return finish(self._function(item))


class Batch:
    """A task function over a batch: the first item's number and the items come in, the list of results goes out."""

    def __init__(self, function: Callable[[Any], Any], seed: int) -> None:
        self._function = function
        self._seed = seed

    def __call__(self, context: Context) -> None:
        """Run as a task."""
        first, items = Context.get(context, ITEMS)  # whoever watches a task's values has no business with these
        set_unseen(context, RESULTS, self.run(first, items))

    def run(self, first: int, items: Sequence[Any]) -> list[Any]:
        """Run the function on each item; the numbers of items are counted from `first`."""
        seeding, function = of_process(), self._function
        try:
            return [function(item) for seeding.number, item in seeding.each(items, first, self._seed)]
        except BaseException as error:
            error.add_note(f"This was item {seeding.number} of map: {shortened(items[seeding.number - first])}")
            raise
        finally:
            seeding.done()
