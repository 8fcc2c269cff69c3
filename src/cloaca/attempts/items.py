"""An attempt at instances of a mapped task: what they have in common is done once, and all else for each.

An instance is run as it would be alone, and sees nothing that another one has left: its context is its own, and so are
its seed, its context variables, and what is put back when its function has ended. Nothing is looked for to be put back
where the function can change nothing, as long as it meets plain data alone.
"""

from collections.abc import Callable
from typing import Any

from cloaca.attempts.attempt import (
    TaskFunction,
    broken_off,
    changes_of,
    contents_kind,
    given_for,
    held,
    is_held,
    own_variables,
    refusal,
    take_over,
    unnoted,
)
from cloaca.attempts.meter import Meter
from cloaca.attempts.seeding import of_process
from cloaca.border.tally import ItemEnd
from cloaca.merge.rules import Rules
from cloaca.tasks.contents import Contents
from cloaca.tasks.context import Context, over
from cloaca.tasks.scope import Ask
from cloaca.tasks.shelf import Shelf
from cloaca.tasks.watched import Watched
from cloaca.values.codec import PICKLED
from cloaca.wire.messages import Assignment, Done, Failed, Skipped, SpanNote


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
        note: Callable[[SpanNote], None] = unnoted,
    ) -> None:
        if assignment.items is None:
            raise AssertionError("without items, there is nothing to run through")
        self._assignment = assignment
        self._attempt, self._slice = assignment.attempt, assignment.slice
        self._seed, self._ended = self._origin = assignment.seed, assignment.ended
        self._items, self._prefix = assignment.items, assignment.prefix
        self._is_traced, self._note = assignment.traced is not None, note
        self._slots = assignment.slots
        self._names = assignment.names()
        self._load = load
        self._reads = reads
        self._meter = meter
        self._folders = folders
        self._left = left
        self._kind = kind
        self._seeding = of_process()
        self._loaded: tuple[Rules, TaskFunction] | None = None
        self.is_harmless = False
        """Whether the next one is taken to change nothing of its process."""
        self._made, self._is_recorded = contents_kind(assignment), assignment.noting is not None
        self._is_plain = kind is not Watched and not self._prefix and self._items.overlays is None

    def run(self, place: int, ask: Ask) -> ItemEnd | Failed | Skipped | Done:
        """Run the instance at that place; whatever it raises becomes a `Failed`, what is held a `Done`."""
        name = self._names[place]
        shelf = Shelf(self._folders, self._attempt, place) if self._folders else None
        contents, was_harmless = None, self.is_harmless
        try:
            rules, function = self._loaded or self._loading()
            slice_ = self._slice if self._is_plain else self._assignment.seen(place)
            contents = self._made(slice_, name, rules, self._reads, ask, shelf, None, self._origin)
            contents.slots = self._slots
            reason = None if self._is_plain else self._entered(contents)
            if reason is not None:
                self._left(None)
                return Skipped(self._attempt, reason, self._meter.stop(contents.traffic))
            context = over(contents, self._kind)
            if self._assignment.fingerprint and is_held(self._assignment, self._load, contents, self._seeding, place):
                self._left(None)
                return held(self._attempt, contents, self._meter, self._seeding)
            self._seeding.begin(self._seed, name, self._ended)
            variables = own_variables()
            if self._is_traced:
                from cloaca.attempts.span import enter  # few are

                variables.run(enter, self._assignment, self._note, place)
            if self._is_plain:
                returned = variables.run(function, context, contents.item(self._items, place))
            else:
                returned = variables.run(function, context, *given_for(context, self._items, place))
            if returned is not None and returned is not context:
                take_over(context, returned, variables)
            if not was_harmless or not self._has_met_plain_data(place, contents, returned):
                self._left(None)
            diff = contents.changes if self._is_plain else changes_of(context, self._assignment, function)
            traffic, values = contents.traffic, (*diff.values(),)
            if shelf is not None and shelf.written:
                shelf.keep(values)
            looked = contents.looked(has_drawn=self._seeding.has_drawn) if self._is_recorded else None
            meter = self._meter
            return (*diff,), values, (*traffic.keys,), meter.figures(traffic, values), looked, meter.phases
        except BaseException as error:  # noqa: BLE001 - sys.exit and Ctrl-C of a task end the task, not the worker
            return broken_off(self._attempt, error, contents, shelf, self._meter, self._left, place)

    def _entered(self, contents: Contents) -> str | None:
        """Ask what is asked before an instance begins, and let it see what it may; returns why it isn't to begin."""
        assignment = self._assignment
        reason = refusal(assignment, self._load, contents, of_process) if assignment.condition else None
        if assignment.agreed:
            contents.demand_agreement(assignment.agreed)
        if self._prefix:
            contents.enter(self._prefix)
        return reason

    def _loading(self) -> tuple[Rules, TaskFunction]:
        """The rules and the function. What can't be loaded fails each instance."""
        assignment = self._assignment
        rules = self._load(assignment.rules) if assignment.rules else Rules()
        function = self._load(assignment.function)
        self._loaded = rules, function
        if self._is_plain and assignment.size > 1 and not assignment.fingerprint:
            from cloaca.attempts.harmless import is_harmless  # most tasks aren't mapped

            self.is_harmless = is_harmless(function)
        return self._loaded

    def _has_met_plain_data(self, place: int, contents: Contents, returned: object) -> bool:
        """Whether the function has been called with such, has read nothing else, and left nothing to be done.

        If not, it will do so again.
        """
        has_read = len(contents.traffic.keys) > 1 or contents.settled
        is_done = returned is None or type(returned) is dict
        self.is_harmless = is_done and not has_read and self._items.payloads[place][0] != PICKLED
        return self.is_harmless
