"""ElsewhereExecutor: runs assignments in other processes, by any executor that calls there what it is handed.

Nothing is known of those processes but that they call a function and send back what it returns. So all that an attempt
needs travels with it, large values too; and it can't ask: it is given all that it may look at. Which one has begun
isn't told: so no more are handed over than there are processes, and what is handed over counts as begun.

When a process dies, such executors say only that they are broken: then all that was handed over is lost.
"""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from msgspec.structs import replace

from cloaca.attempts import errand
from cloaca.attempts.initializer import Equipment
from cloaca.errors import InitializerError
from cloaca.execution.futures import FuturesExecutor, Letter
from cloaca.execution.provider import Provider
from cloaca.wire.messages import Answer, Assignment, Lost, Publish, Slice
from cloaca.wording import summary_of


class ElsewhereExecutor(FuturesExecutor):
    """Runs assignments as `provider` does, so many `workers` at a time."""

    answers = False
    calls_objects = False
    place = "process"

    def __init__(self, provider: Provider, workers: int, equipment: Equipment | None = None) -> None:
        super().__init__(provider, workers)
        self._equipment = equipment
        self._name = os.urandom(8).hex()
        self._functions: dict[int, Publish] = {}

    def publish(self, functions: Sequence[Publish]) -> None:
        """Keep them: they go along with each attempt that names them."""
        self._functions.update((function.function, function) for function in functions)

    def retire(self, functions: Sequence[int]) -> None:
        """Forget them here. Processes forget by themselves."""
        for number in functions:
            self._functions.pop(number, None)

    def answer(self, answer: Answer) -> None:
        """Never called: slices are complete."""
        raise AssertionError(f"Attempt {answer.attempt} didn't ask")

    @property
    def most(self) -> int:
        return self.free

    def handed(self, assignment: Assignment) -> tuple[Future[Any], bool]:
        future = self.provider.submit(errand.run, self._errand(assignment))
        future.add_done_callback(partial(self._end, assignment.attempt))
        return future, True

    def _end(self, number: int, future: Future[Any]) -> None:
        """Called on any thread, also where it was cancelled: here, or by whoever else has the executor."""
        self.mail.put(_letter(number, future))

    def _errand(self, assignment: Assignment) -> errand.Errand:
        """The attempt with all that it takes. What is made as it is looked at is made now."""
        named = (
            assignment.function,
            assignment.rules,
            assignment.condition,
            assignment.variables,
            assignment.fingerprint,
        )
        functions = self._with_needs(named)
        given = assignment.slice
        whole = Slice(dict(given.versions), complete=True, outcomes=dict(given.outcomes or {}))
        return errand.Errand(self._name, self._equipment, [*functions.values()], replace(assignment, slice=whole))

    def _with_needs(self, named: Iterable[int]) -> dict[int, Publish]:
        """Those functions by number, and all that they need."""
        found: dict[int, Publish] = {}
        left = [*named]
        while left:
            number = left.pop()
            if number in self._functions and number not in found:
                found[number] = self._functions[number]
                left += found[number].needs
        return found


def _letter(number: int, future: Future[Any]) -> Letter:
    """What an attempt has come to."""
    if future.cancelled():
        return Lost(number, None, None, "it was cancelled in the executor of the runner")
    error = future.exception()
    if isinstance(error, InitializerError):  # nothing can run
        return error
    report: Letter = future.result() if error is None else Lost(number, None, None, summary_of(error))
    return report
