"""Ledger: how everything stands that has attempts in a run. Tasks are entered by rank, instances after them by unit."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from msgspec.structs import replace

from cloaca.engine.fan import Fan
from cloaca.engine.state import State
from cloaca.errors import InternalError
from cloaca.loss import error_of
from cloaca.wire.messages import Failed, Lost, Outcome, Usage

End = Usage | Failed | Lost | None

_TOO_WIDE = (
    "Its {size:,} instances set too many keys: each is collected as a list or dict of {size:,} places, and their names "
    "seem to be made of the items. Set the same key in each instance, like context.set('result', ...)."
)

_OUTCOMES = {state: Outcome(state.name.capitalize()) for state in State}


class Ledger:
    """The entries of one run. `names` and `ranks` are the plan's; `fans` are the mapped tasks that were expanded."""

    def __init__(self, names: Sequence[str], ranks: Mapping[str, int]) -> None:
        self.names = names
        self.states = [State.WAITING] * len(names)
        self.attempts = [0] * len(names)
        self.ends: list[End] = [None] * len(names)
        self.fans: dict[int, Fan] = {}
        self._ranks = ranks
        self._by_unit: list[Fan] = []
        self._places: dict[int, Mapping[str, int]] = {}

    def __len__(self) -> int:
        return len(self.states)

    def add(self, fan: Fan, state: State) -> None:
        """Enter a fan, and its instances in that state."""
        size = len(fan.labels)
        self.fans[fan.rank] = fan
        self._by_unit += [fan] * size
        self.states[fan.rank] = State.EXPANDED
        self.states += [state] * size
        self.attempts += [0] * size
        self.ends += [None] * size

    def fan_of(self, unit: int) -> Fan:
        """The fan to which an instance belongs."""
        return self._by_unit[unit - len(self.names)]

    def name(self, unit: int) -> str:
        """The id of a task, or what an instance is called."""
        if unit < len(self.names):
            return self.names[unit]
        fan = self.fan_of(unit)
        return fan.name(unit - fan.first)

    def seen_from(self, unit: int) -> int:
        """The task at which the context is what a task, or an instance, sees."""
        if unit < len(self.names):
            return self.fans[unit].head.rank if unit in self.fans else unit
        return self.fan_of(unit).head.rank

    def outcome(self, unit: int) -> Outcome:
        """How a task or an instance ended, as `context.outcome` tells it."""
        state = self.states[unit]
        if state is State.FAILED:
            return Outcome("Failed", self._failure(unit))
        if state is State.SKIPPED and unit >= len(self.names):
            return Outcome("Skipped", self._reason(unit))
        return _OUTCOMES[state]

    def error_name(self, unit: int) -> tuple[str, int]:
        """Whose the error of a failed entry is, and of which try: a task has that of its first instance that failed."""
        failed = self._first_failed(unit)
        return self.name(failed), self.attempts[failed]

    def end_of(self, fan: Fan, state: State) -> End:
        """How the task of a fan ended, whose instances have."""
        if fan.is_too_wide:
            return Failed(-1, "ValueError", _TOO_WIDE.format(size=len(fan.labels)), "", None, fan.usage)
        if state is not State.FAILED or fan.first_failed is None:
            return fan.usage if state is State.COMPLETED else None
        end = self.ends[fan.first + fan.first_failed]
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
        units = range(fan.first, fan.first + len(fan.labels))
        return list(islice((unit for unit in units if self.states[unit] is State.FAILED), most))

    def _first_failed(self, unit: int) -> int:
        fan = self.fans.get(unit)
        return unit if fan is None or fan.first_failed is None else fan.first + fan.first_failed

    def _failure(self, unit: int) -> str:
        name, nth = self.error_name(unit)
        match self.ends[unit]:
            case Lost() as lost:
                error = error_of(lost, name, nth)
                text = f"{type(error).__name__}: {error}"
            case Failed(type_name=type_name, text=message):
                text = f"{type_name}: {message}"
            case _:
                raise InternalError(f"Task {name!r} failed and nothing tells why")
        fan = self.fans.get(unit)
        if fan is None or fan.is_too_wide:
            return text
        return f"{fan.counted(State.FAILED)} of {len(fan.labels)} instances failed, the first of them {name}: {text}"

    def _reason(self, unit: int) -> str:
        """Why an instance was skipped."""
        fan = self.fan_of(unit)
        if fan.leader is None:
            raise InternalError(f"Instance {self.name(unit)!r} was skipped and follows none")
        before = fan.leader.first + unit - fan.first
        how = "failed" if self.states[before] is State.FAILED else f"was {self.states[before].name.lower()}"
        return f"{self.name(before)} {how}"

    # ---- by name ---------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[str]:
        """The ids of all tasks in the order of the plan, each followed by its instances."""
        for rank, name in enumerate(self.names):
            yield name
            fan = self.fans.get(rank)
            if fan is not None:
                yield from map(fan.name, range(len(fan.labels)))

    def find(self, id: object) -> int | None:
        """The rank or unit of what has that name, if anything has."""
        if not isinstance(id, str):
            return None
        rank = self._ranks.get(id)
        return self._instance(id) if rank is None else rank

    def _instance(self, id: str) -> int | None:
        for fan in self.fans.values():
            if id.startswith(f"{fan.task}[") and id.endswith("]"):
                index = self._places_in(fan).get(id[len(fan.task) + 1 : -1])
                if index is not None:
                    return fan.first + index
        return None

    def _places_in(self, fan: Fan) -> Mapping[str, int]:
        places = self._places.get(fan.head.rank)
        if places is None:
            places = self._places[fan.head.rank] = {label: index for index, label in enumerate(fan.labels)}
        return places
