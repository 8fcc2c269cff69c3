"""Desk: the coordinator's side of an executor, without a run: it submits, answers and collects.

It holds the executor to the order of its events: one end for each attempt, `Started` before `Done`, `Failed`, `Skipped`
and `Lost`, and never with `Unstarted`.
"""

import pickle
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from typing import Any, Self, TypeVar

from cloaca.attempts.attempt import TaskFunction
from cloaca.border.mark import NONE
from cloaca.errors import INPUT
from cloaca.execution.executor import Executor
from cloaca.pickling.functions import capture
from cloaca.testing.demand import demand
from cloaca.triggers.condition import Condition
from cloaca.values.codec import decode, encode
from cloaca.wire.messages import (
    Answer,
    Assignment,
    Done,
    Event,
    Failed,
    Items,
    ItemsDone,
    Logged,
    Lost,
    Noting,
    Outcome,
    Publish,
    Skipped,
    Slice,
    Started,
    Unstarted,
    Version,
    Wants,
)

EndOfAttempt = Done | Failed | Skipped | Lost | Unstarted
Fingerprinted = tuple[int, bytes]
"""The number of the fingerprint, 0 for none, and the digest for which the task isn't run."""

Kind = TypeVar("Kind", bound=Event)


class Desk:
    """Drives an executor, and closes it at the end of a `with` block.

    `world` is the context that every attempt sees, and `outcomes` how tasks before it ended; `answered` tells what was
    asked for.
    """

    def __init__(
        self, executor: Executor, world: Mapping[str, Any] | None = None, outcomes: Mapping[str, Outcome] | None = None
    ) -> None:
        self.executor = executor
        self.ends: dict[int, EndOfAttempt] = {}
        self.events: list[Event] = []
        self.answered: list[Wants] = []
        self._world = versions(world or {})
        self._outcomes = outcomes or {}
        self._started: dict[int, bool] = {}
        self._given: dict[int, Mapping[str, tuple[Version, ...]]] = {}
        self._numbers = count()

    def submit(
        self,
        functions: Iterable[int],
        origin: tuple[int, int] = (0, 0),
        place: int = 0,
        condition: int = 0,
        sent: Items | None = None,
        prefix: str = "",
        recorded: Fingerprinted | None = None,
        **given: Any,
    ) -> list[int]:
        """Submit one attempt for each function at once, all with the values `given`; returns their numbers.

        `origin`: the run's seed, and how many tries of the task have ended; `place`: how urgent they are; `condition`:
        the number of the one that is asked first; `sent`: the item that they are for; `prefix`: of the keys of a copy,
        whose tasks they are; `recorded`: they tell what they look at.
        """
        at_hand = versions(given)
        part = self._slice(at_hand)
        seed, ended = origin
        assignments = [
            Assignment(
                next(self._numbers),
                f"task {n}",
                n,
                part,
                seed=seed,
                ended=ended,
                place=place,
                condition=condition,
                items=sent,
                prefix=prefix,
                noting=None if recorded is None else Noting(*recorded),
            )
            for n in functions
        ]
        attempts = [assignment.attempt for assignment in assignments]
        self._started.update(dict.fromkeys(attempts, False))
        self._given.update(dict.fromkeys(attempts, at_hand))
        self.executor.submit(assignments)
        return attempts

    def run(self, functions: Iterable[int], origin: tuple[int, int] = (0, 0), **given: Any) -> list[EndOfAttempt]:
        """Submit, and wait for the ends, in the order of submission."""
        attempts = self.submit(functions, origin, **given)
        self.collect()
        return [self.ends[attempt] for attempt in attempts]

    def collect(self) -> None:
        """Wait until every open attempt has ended, answering what is asked."""
        while self._started:
            self.step()

    def until(self, kind: type[Kind]) -> Kind:
        """Wait for the next event of a kind; questions are answered, unless it is one that is waited for."""
        while True:
            found = [event for event in self.step(answering=kind is not Wants) if isinstance(event, kind)]
            if found:
                return found[0]

    def step(self, timeout: float | None = None, *, answering: bool = True) -> Sequence[Event]:
        """Wait once."""
        events = self.executor.wait(timeout)
        for event in events:
            self._note(event)
            if answering and isinstance(event, Wants):
                self.answer(event)
        return events

    def answer(self, wants: Wants) -> None:
        """Answer from the world."""
        self.answered.append(wants)
        world = {**self._world, **self._given[wants.attempt]}
        found = world if wants.rest else {key: world.get(key, ()) for key in wants.keys}
        outcomes = self._outcomes if wants.outcomes else None
        self.executor.answer(Answer(wants.attempt, Slice(found, wants.rest, outcomes), wants.question))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.executor.close()

    def _slice(self, given: Mapping[str, tuple[Version, ...]]) -> Slice:
        if self.executor.answers:
            return Slice(given, outcomes=self._outcomes or None)
        return Slice({**self._world, **given}, complete=True, outcomes=self._outcomes)

    def _note(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Logged) and event.attempt == NONE:
            return  # the executor itself said it
        demand(event.attempt in self._started, f"{event} is about an attempt that isn't open")
        match event:
            case Started():
                demand(not self._started[event.attempt], f"{event} came twice")
                self._started[event.attempt] = True
            case Done() | ItemsDone() | Failed() | Skipped() | Lost() | Unstarted():
                has_started = self._started.pop(event.attempt)
                is_in_order = (
                    not has_started if isinstance(event, Unstarted) else has_started or type(event) is not Lost
                )
                demand(is_in_order, f"{event}, and Started: {has_started}")
                self.ends[event.attempt] = event.alone(0) if isinstance(event, ItemsDone) else event
            case _:
                demand(self._started[event.attempt], f"{event} came before Started")


def published(*functions: TaskFunction | Condition) -> list[Publish]:
    """Functions and conditions ready to be sent, numbered by their place."""
    return [Publish(number, _pickled(number, function), ()) for number, function in enumerate(functions)]


def _pickled(number: int, function: TaskFunction | Condition) -> bytes:
    return pickle.dumps(function) if isinstance(function, Condition) else capture(f"task {number}", function).blob


def versions(values: Mapping[str, Any]) -> dict[str, tuple[Version, ...]]:
    """Values as an input that nothing has changed."""
    return {key: (Version(INPUT, encode(value)),) for key, value in values.items()}


def written(end: EndOfAttempt) -> dict[str, Any]:
    """What an attempt that ended well has set; `None` for what it removed."""
    if not isinstance(end, Done):
        raise AssertionError(f"it should have ended well: {end}")
    return {key: None if payload is None else decode(payload) for key, payload in end.diff.items()}
