"""The executor protocol: a completion queue between the coordinator and whatever runs assignments.

The contract, which one conformance suite checks on every executor:
    - For every submitted attempt exactly one of `Done`, `Failed`, `Skipped`, `Lost`, `Unstarted` comes out of `wait`,
      sooner or later; `Started` comes before `Lost`, and before `Done`, `Failed` and `Skipped` unless these are known
      within milliseconds; never with `Unstarted`. An attempt at several items ends item by item: `ItemsDone` tells of
      the next ones, `Failed` and `Lost` of the next one, and `Unstarted` of the last ones.
    - `Said`, `Logged` and `Warned` come in the order in which a worker told them, before the report of their attempt;
      those of a thread that a task has left behind may come later. So do `Profiled` and `SpanNote`.
    - How it ended tells the number of the worker, and so does `Started`: 0 where that is the calling thread, or isn't
      known yet. No two workers have the same one.
    - An attempt that comes `after` another one is submitted right behind that, and begins once that is `Done`. Where it
      ends otherwise, all that come after it are `Unstarted`, the last one first, and that is told before.
    - An attempt runs at most once. An executor never retries.
    - No payload, blob or error is opened on the coordinator's side.
    - All calls come from one thread, except `wake`. None blocks, except `wait`.
    - `wait` raises only where nothing can be run any more.
"""

from collections.abc import Sequence
from typing import Protocol

from cloaca.wire.messages import Answer, Assignment, Event, Publish, Surroundings


class Executor(Protocol):
    """Runs assignments."""

    @property
    def window(self) -> int:
        """How many open attempts keep it busy: submitting more gains nothing. It may change with what they are like.

        One at several items of a mapped task counts as so many.
        """
        ...

    def grain(self, ready: int) -> int:
        """How many items one attempt may be at, where so many are ready. An executor that takes no such attempts: 1."""
        ...

    lanes: int
    """How many workers share the window, where it takes attempts that come right `after` others, in a chain; else 0."""

    calls_objects: bool
    """Whether it calls the program's own objects. Otherwise they are published."""

    memory: tuple[float, int] | None
    """When the memory of the workers was last read, and how many bytes they have for themselves; `None`: never."""

    answers: bool
    """Whether it asks (`Wants`) for what a slice lacks in the middle of a task. Otherwise it needs complete slices."""

    def surround(self, surroundings: Surroundings) -> None:
        """Run what is submitted from here on in that working directory and with that `sys.path`."""
        ...

    def publish(self, functions: Sequence[Publish]) -> None:
        """Make functions known, before the first assignment that names them."""
        ...

    def retire(self, functions: Sequence[int]) -> None:
        """Forget functions that no assignment will name again."""
        ...

    def submit(self, assignments: Sequence[Assignment]) -> None:
        """Take on attempts, the most urgent first."""
        ...

    def answer(self, answer: Answer) -> None:
        """Pass on what an attempt asked for."""
        ...

    def cancel(self, attempts: Sequence[int], grace: float, item: int | None = None) -> None:
        """Give back attempts that haven't started (`Unstarted`), stop those that run (`Lost`).

        A task that runs is told to end, and has `grace` seconds for it. Said again, it may shorten that. `item`: of
        attempts at several, only while they haven't come to the end of the one at that place.
        """
        ...

    def wait(self, timeout: float | None) -> Sequence[Event]:
        """Return what has happened; wait for something to happen, for at most `timeout` seconds."""
        ...

    def shown(self, count: int) -> None:
        """Take note that so many more of what was told (`Said`, `Logged`, `Warned`) have been shown, in that order.

        Who tells more than is shown may be made to wait: so the backlog has a limit.
        """
        ...

    def wake(self) -> None:
        """Make a `wait` that is going on, or the next one, return. From any thread."""
        ...

    def close(self) -> None:
        """End everything, and leave nothing behind. Idempotent. `wait` then returns at once what is left to be told."""
        ...


class InProgram:
    """What nobody needs to be told of who calls the program's own objects, where the program runs."""

    calls_objects = True
    lanes = 0
    memory: tuple[float, int] | None = None

    def grain(self, ready: int) -> int:  # noqa: ARG002 - nothing is sent, so nothing is saved
        """An attempt is at one item."""
        return 1

    def surround(self, surroundings: Surroundings) -> None:
        """Tasks run where the program runs."""

    def publish(self, functions: Sequence[Publish]) -> None:
        """The objects are here."""

    def retire(self, functions: Sequence[int]) -> None:
        """The objects belong to the program."""

    def shown(self, count: int) -> None:
        """Nothing waits for that: tasks print by themselves."""
