"""Ledger: how everything stands that has attempts in a run, and why some of it was never begun.

Tasks are entered by rank, instances after them by unit.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice

from msgspec.structs import replace

from cloaca.engine.ends import AllEnds, End, FailedTry
from cloaca.engine.fan import Fan
from cloaca.engine.seats import Share
from cloaca.engine.state import State
from cloaca.engine.statuses import Statuses
from cloaca.engine.work import Work
from cloaca.errors import InternalError
from cloaca.failure import error_of, loss_told
from cloaca.history.plan import Plan
from cloaca.triggers import rules, verdict
from cloaca.triggers.condition import Condition
from cloaca.wire.messages import Failed, Lost, Outcome, Skipped
from cloaca.wording import summary, summary_of

_TOO_WIDE = (
    "Its {size:,} instances set too many keys: each is collected as a list or dict of {size:,} places, and their names "
    "seem to be made of the items. Set the same key in each instance, like context.set('result', ...)."
)

MOST_TRIES = 10
"""How many failed tries of a task or an instance are kept, the latest ones: each holds an exception."""

_EXPLAINED = frozenset({State.FAILED, State.SKIPPED})
_COUNTED = (State.COMPLETED, State.FAILED, State.SKIPPED, State.CANCELLED)
_OUTCOMES = {state: Outcome(state.name.capitalize()) for state in State}


class Ledger:
    """The entries of one run. `work` is that of each entry; `fans` are the mapped tasks that were expanded.

    `failed_tries` are those that were followed by others. Of last tries that were cut off, and so tell no times,
    `cut_off` has from when they ran, and when the run learned that they don't any more.
    """

    def __init__(self, plan: Plan, work: Sequence[Work]) -> None:
        names = plan.names
        self.names = names
        self.states = [State.WAITING] * len(names)
        self.attempts = [0] * len(names)
        self.ends = AllEnds(len(names))
        self.failed_tries: dict[int, list[FailedTry]] = {}
        self.cut_off: dict[int, tuple[float, float]] = {}
        self.fans: dict[int, Fan] = {}
        self._ranks = plan.rank
        self.predecessors = plan.predecessors
        self._work = work
        self._by_unit: list[Fan] = []
        self._places: dict[int, Mapping[str, int]] = {}

    def __len__(self) -> int:
        return len(self.states)

    def add(self, fan: Fan, state: State) -> None:
        """Enter a fan, and its instances in that state."""
        size = fan.size
        self.fans[fan.rank] = fan
        self._by_unit += [fan] * size
        self.states[fan.rank] = State.EXPANDED
        self.states += [state] * size
        self.attempts += [0] * size
        self.ends.grow(size)

    def keep_try(self, unit: int, failed: FailedTry) -> None:
        """Keep a try that has failed, and isn't the last one."""
        tries = self.failed_tries.setdefault(unit, [])
        tries.append(failed)
        del tries[:-MOST_TRIES]

    def share(self, unit: int) -> Share:
        """The seats that each of its attempts takes."""
        return self._work[unit].share

    def allows_failure(self, unit: int) -> bool:
        """Whether it may fail without making the run count as failed."""
        return self._work[unit].allow_failure

    def fan_of(self, unit: int) -> Fan:
        """The fan to which an instance belongs."""
        return self._by_unit[unit - len(self.names)]

    def name(self, unit: int) -> str:
        """The id of a task, or what an instance is called."""
        if unit < len(self.names):
            return self.names[unit]
        fan = self.fan_of(unit)
        return fan.name(unit - fan.first)

    def place(self, unit: int) -> tuple[str, int | None]:
        """The id of a task; of an instance with the number of its item."""
        if unit < len(self.names):
            return self.names[unit], None
        fan = self.fan_of(unit)
        return fan.task, unit - fan.first

    def unit(self, task: str, item: int | None) -> int:
        """The rank or unit of what has that place."""
        rank = self._ranks[task]
        return rank if item is None else self.fans[rank].first + item

    def followed(self, unit: int) -> dict[str, int]:
        """The instances that an instance goes after, by the ids of their tasks."""
        if unit < len(self.names):
            return {}
        fan = self.fan_of(unit)
        return {above.task: above.first + unit - fan.first for above in fan.above}

    def seen_from(self, unit: int) -> int:
        """The task at which the context is what a task, or an instance, sees."""
        if unit < len(self.names):
            return self.fans[unit].head.rank if unit in self.fans else unit
        return self.fan_of(unit).head.rank

    def outcome(self, unit: int) -> Outcome:
        """How a task or an instance ended, as `context.outcome` tells it: the same in each run."""
        return self._outcome(unit, self._plain_text_of)

    def outcome_in_full(self, unit: int) -> Outcome:
        """The same as the result tells it: with what was measured."""
        return self._outcome(unit, self.text_of)

    def outcomes_in_full(self) -> list[Outcome]:
        """That of each task, by rank."""
        states = self.states[: len(self.names)]
        return [
            self.outcome_in_full(rank) if state in _EXPLAINED else _OUTCOMES[state] for rank, state in enumerate(states)
        ]

    def _outcome(self, unit: int, text_of: Callable[[int, Failed | Lost], str]) -> Outcome:
        state = self.states[unit]
        if state is State.FAILED:
            return Outcome("Failed", self._failure(unit, text_of))
        return Outcome("Skipped", reason=self.reason(unit)) if state is State.SKIPPED else _OUTCOMES[state]

    def error_name(self, unit: int) -> tuple[str, int]:
        """Whose the error of a failed entry is, and of which try: a task has that of its first instance that failed."""
        failed = self.first_failed(unit)
        return self.name(failed), self.attempts[failed]

    def end_of(self, fan: Fan, state: State) -> End:
        """How the task of a fan ended, whose instances have."""
        if fan.is_too_wide:
            return Failed(-1, "ValueError", _TOO_WIDE.format(size=fan.size), "", None, fan.usage)
        failed = fan.first_that(State.FAILED)
        if state is not State.FAILED or failed is None:
            return fan.usage if state is State.COMPLETED else None
        end = self.ends[fan.first + failed]
        return replace(end, usage=fan.usage) if isinstance(end, Failed) else end

    def failures(self, rank: int) -> int:
        """How many failed, of a task that did: the task itself, or its instances."""
        fan = self.fans.get(rank)
        return 1 if fan is None or fan.is_too_wide else fan.counted(State.FAILED)

    def failed(self, rank: int, most: int) -> list[int]:
        """Which ones, the first ones."""
        fan = self.fans.get(rank)
        if fan is None or fan.is_too_wide:
            return [rank]
        units = range(fan.first, fan.first + fan.size)
        return list(islice((unit for unit in units if self.states[unit] is State.FAILED), most))

    def first_failed(self, unit: int) -> int:
        """The first instance that failed, of a mapped task; anything else itself."""
        fan = self.fans.get(unit)
        failed = None if fan is None else fan.first_that(State.FAILED)
        return unit if fan is None or failed is None else fan.first + failed

    def _failure(self, unit: int, text_of: Callable[[int, Failed | Lost], str]) -> str:
        failed, end, fan = self.first_failed(unit), self.ends[unit], self.fans.get(unit)
        name = self.name(failed)
        if not isinstance(end, Failed | Lost):
            raise InternalError(f"Task {name!r} failed and nothing tells why")
        text = text_of(failed, end)
        if fan is None or fan.is_too_wide:
            return text
        return f"{fan.counted(State.FAILED)} of {fan.size} instances failed, the first of them {name}: {text}"

    def text_of(self, unit: int, end: Failed | Lost) -> str:
        """What an attempt failed with, in words."""
        if isinstance(end, Failed):
            return summary(end.type_name, end.text)
        error = error_of(end, self.name(unit), self.attempts[unit])
        return summary_of(error)

    def _plain_text_of(self, unit: int, end: Failed | Lost) -> str:
        return summary(end.type_name, end.text) if isinstance(end, Failed) else loss_told(end, self.name(unit))

    # ---- what was never begun --------------------------------------------------------------------------------------

    def reason(self, unit: int) -> str:
        """Why a task or an instance was skipped."""
        end = self.ends[unit]
        if isinstance(end, Skipped):
            return end.reason
        if unit >= len(self.names):
            return self._reason(unit)
        reason = self.refusal(unit) or self._leader_refusal(unit)
        if reason is None:
            raise InternalError(f"Task {self.names[unit]!r} was skipped and nothing tells why")
        return reason

    def refusal(self, rank: int) -> str | None:
        """Why the task isn't to start now that all before it has ended; `None`: it is to start."""
        work = self._work[rank]
        ends = [end for task in self.predecessors[rank] for end in self._ends(task)]
        if work.inner is not None:
            return rules.refusal(rules.DEFAULT, ends)
        refusal = rules.refusal(work.rule or rules.DEFAULT, ends)
        if refusal is not None or work.trigger is None or work.condition:
            return refusal
        return verdict.refusal(work.trigger, Statuses(self._status))

    def refusal_of_instance(self, unit: int) -> str | None:
        """The same of an instance, now that those that it follows have ended."""
        work, fan = self._work[unit], self.fan_of(unit)
        before = [leader.first + unit - fan.first for leader in fan.leaders]
        ends = [(self.name(one), _OUTCOMES[self.states[one]].status) for one in before]
        refusal = rules.refusal(work.rule or rules.DEFAULT, ends) if ends else None
        if refusal is not None or work.trigger is None or work.condition:
            return refusal
        return verdict.refusal(work.trigger, Statuses(lambda task: self._status_before(unit, task)))

    def _status_before(self, unit: int, task: str) -> str:
        """How a task ended, seen from an instance: of one that it follows, its own instance counts."""
        before = self.followed(unit).get(task)
        return self._status(task) if before is None else _OUTCOMES[self.states[before]].status

    def named_outcomes(self, unit: int, trigger: Condition | None) -> dict[str, Outcome]:
        """How the tasks ended that a condition names, seen from where it is asked."""
        tasks = () if trigger is None else trigger.tasks
        return {task: Outcome(self._status_before(unit, task)) for task in tasks if isinstance(task, str)}

    def _status(self, task: str) -> str:
        return _OUTCOMES[self.states[self._ranks[task]]].status

    def _ends(self, rank: int) -> list[tuple[str, str]]:
        """Who ended how, of a dependency. A mapped task whose instances ended differently counts once for each way."""
        fan, state = self.fans.get(rank), self.states[rank]
        if fan is None or fan.is_too_wide or fan.counted(state) == fan.size:
            return [(self.names[rank], _OUTCOMES[state].status)]
        firsts = [(one, fan.first_that(one)) for one in _COUNTED]
        return [(fan.name(index), _OUTCOMES[one].status) for one, index in firsts if index is not None]

    def _leader_refusal(self, rank: int) -> str | None:
        """Why a task was skipped as a whole that was to follow another one item by item, or all of whose items were."""
        fan = self.fans.get(rank)
        if fan is not None:
            return f"all of its instances were skipped, the first as {self.reason(fan.first)}"
        each = self._work[rank].each
        before = None if each is None else each.head(rank)
        return None if before is None else rules.told(self.names[before], _OUTCOMES[self.states[before]].status)

    def _reason(self, unit: int) -> str:
        """Why an instance was skipped."""
        leader = self.fan_of(unit).leader
        if leader is not None and leader.inner is None:
            before = leader.first + unit - self.fan_of(unit).first
            return rules.told(self.name(before), _OUTCOMES[self.states[before]].status)
        refusal = self.refusal_of_instance(unit)
        if refusal is None:
            raise InternalError(f"Instance {self.name(unit)!r} was skipped and nothing tells why")
        return refusal

    # ---- by name ---------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[str]:
        """The ids of all tasks in the order of the plan, each followed by its instances."""
        for rank, name in enumerate(self.names):
            yield name
            fan = self.fans.get(rank)
            if fan is not None:
                yield from map(fan.name, range(fan.size))

    def find(self, id: object) -> int | None:
        """The rank or unit of what has that name, if anything has."""
        if not isinstance(id, str):
            return None
        rank = self._ranks.get(id)
        return self._instance(id) if rank is None else rank

    def _instance(self, id: str) -> int | None:
        brackets = (place for place, sign in enumerate(id) if sign == "[") if id.endswith("]") else ()
        for place in brackets:
            fan = self.fans.get(self._ranks.get(id[:place], -1))
            index = None if fan is None else self._places_in(fan).get(id[place + 1 : -1])
            if fan is not None and index is not None:
                return fan.first + index
        return None

    def _places_in(self, fan: Fan) -> Mapping[str, int]:
        places = self._places.get(fan.head.rank)
        if places is None:
            places = self._places[fan.head.rank] = {fan.label(index): index for index in range(fan.size)}
        return places
