"""An attempt at instances of a mapped task: what they have in common is done once, and all else for each.

An instance is run as it would be alone, and sees nothing that another one has left: its context is its own, and so are
its seed, its context variables, and what is put back when its function has ended.
"""

from collections.abc import Callable
from typing import Any

from cloaca.attempts.attempt import TaskFunction, changes_of, failed, own_variables, take_over
from cloaca.attempts.meter import Meter
from cloaca.attempts.seeding import of_process
from cloaca.border.tally import ItemEnd
from cloaca.merge.rules import Rules
from cloaca.tasks.contents import Contents
from cloaca.tasks.context import Context, over
from cloaca.tasks.scope import Ask
from cloaca.tasks.shelf import Shelf
from cloaca.tasks.watched import Watched
from cloaca.wire.messages import Assignment, Failed


class Series:
    """The instances of one assignment.

    What is given is what `attempt.run` is given. The meter was started when an instance is run.
    """

    def __init__(
        self,
        assignment: Assignment,
        load: Callable[[int], Any],
        reads: frozenset[str],
        meter: Meter,
        folders: tuple[str, ...],
        left: Callable[[BaseException | None], None],
        kind: type[Context],
    ) -> None:
        if assignment.items is None:
            raise AssertionError("without items, there is nothing to run through")
        self._assignment = assignment
        self._attempt, self._slice = assignment.attempt, assignment.slice
        self._seed, self._ended = self._origin = assignment.seed, assignment.ended
        self._items, self._prefix = assignment.items, assignment.prefix
        self._names = assignment.names()
        self._load = load
        self._reads = reads
        self._meter = meter
        self._folders = folders
        self._left = left
        self._kind = kind
        self._seeding = of_process()
        self._loaded: tuple[Rules, TaskFunction] | None = None
        self._is_plain = kind is not Watched and not self._prefix and self._items.overlays is None

    def run(self, place: int, ask: Ask) -> ItemEnd | Failed:
        """Run the instance at that place; whatever it raises becomes a `Failed`."""
        name = self._names[place]
        shelf = Shelf(self._folders, self._attempt, place) if self._folders else None
        contents = None
        try:
            rules, function = self._loaded or self._loading()
            slice_ = self._slice if self._is_plain else self._assignment.seen(place)
            contents = Contents(slice_, name, rules, self._reads, ask, shelf, None, self._origin)
            if self._prefix:
                contents.enter(self._prefix)
            context = over(contents, self._kind)
            self._seeding.begin(self._seed, name, self._ended)
            variables = own_variables()
            value = contents.item(self._items, place)
            if not self._is_plain and isinstance(context, Watched):
                context.call_with_item(value, self._items.payloads[place])
            returned = variables.run(function, context, value)
            if returned is not None and returned is not context:
                take_over(context, returned, variables)
            self._left(None)
            diff = contents.changes if self._is_plain else changes_of(context, self._assignment, function)
            traffic, values = contents.traffic, (*diff.values(),)
            if shelf is not None and shelf.written:
                shelf.keep(values)
            return (*diff,), values, (*traffic.keys,), self._meter.figures(traffic, values)
        except BaseException as error:  # noqa: BLE001 - sys.exit and Ctrl-C of a task end the task, not the worker
            return failed(self._attempt, error, contents, shelf, self._meter, self._left, place)

    def _loading(self) -> tuple[Rules, TaskFunction]:
        """The rules and the function. What can't be loaded fails each instance."""
        assignment = self._assignment
        rules = self._load(assignment.rules) if assignment.rules else Rules()
        self._loaded = rules, self._load(assignment.function)
        return self._loaded
