"""Errand: one attempt for a process of which cloaca knows nothing but that it calls what it is handed, and answers.

All that it takes travels along, as nothing was published there. What was loaded for one errand is kept for the next:
the functions of a runner, and that its initializer was called.
"""

import os
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import TypeVar

from msgspec import Struct

from cloaca.attempts import attempt, child, variables
from cloaca.attempts.initializer import Equipment
from cloaca.attempts.meter import Meter
from cloaca.attempts.nesting import inside_task
from cloaca.attempts.repertoire import Repertoire
from cloaca.attempts.workroom import Workroom
from cloaca.border.mark import NONE
from cloaca.pickling.loading import load
from cloaca.tasks.watched import context_kind
from cloaca.wire.messages import Assignment, Done, Failed, Publish, Skipped, Slice

Given = TypeVar("Given")

_RUNNERS, _FUNCTIONS = 8, 10_000  # of how many a process keeps what it has loaded


class Errand(Struct, frozen=True):
    """An attempt of a `runner`, which has a name, with all the functions that it names and their heads."""

    runner: str
    equipment: Equipment | None
    functions: Sequence[Publish]
    assignment: Assignment


PROBE = Errand("", None, (), Assignment(NONE, "probe", 0, Slice({})))
"""Shows whether a process can be handed such a thing, and gives it back."""


class _Station:
    """What a process keeps of a runner."""

    def __init__(self, equipment: Equipment | None) -> None:
        self.repertoire = Repertoire(self._has_loaded)
        self.meter = Meter(worker=os.getpid())
        self.workroom = Workroom(None if equipment is None else load(equipment.function.blob))

    def _has_loaded(self, seconds: float, imported: Sequence[str]) -> None:
        variables.of_process().complete()  # what was loaded may have imported modules
        self.meter.loaded(seconds, imported)


@lru_cache(_RUNNERS)
def _station(_runner: str, equipment: Equipment | None) -> _Station:
    return _Station(equipment)


def run(errand: Errand) -> Done | Failed | Skipped:
    """Run it here. Raises `InitializerError` where the runner's initializer does."""
    station, assignment = _station(errand.runner, errand.equipment), errand.assignment
    repertoire = station.repertoire
    if len(repertoire) > _FUNCTIONS:
        repertoire.clear()
    for function in errand.functions:
        if function.function not in repertoire:
            repertoire.learn(function)
    with inside_task(), station.workroom.entered():
        return attempt.run(
            assignment,
            repertoire.under(assignment.variables),
            repertoire.reads(assignment.function),
            attempt.never_asked,
            station.meter,
            left=partial(child.end_unless_in, os.getpid()),
            kind=context_kind(),
        )


def echo(given: Given) -> Given:
    """What is given: the very same object, if this is the same process."""
    return given
