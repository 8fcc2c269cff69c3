"""Outcomes: how all ended that came before a task or an instance, by name, as `context.outcome` tells it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property

from cloaca.engine.ledger import Ledger
from cloaca.history.history import History
from cloaca.wire.messages import Outcome


class Outcomes(Mapping[str, Outcome]):
    """Listed are tasks. Instances of mapped ones are found by their names, and not listed: they may be many.

    `history`: that of the run, seen from the task of rank `seen_from`. `followed`: the instances that an instance goes
    after, by the ids of their tasks. They stand for these; of their siblings nothing is told, as those needn't have
    ended.
    """

    def __init__(
        self, ledger: Ledger, history: Callable[[], History], seen_from: int, followed: Mapping[str, int]
    ) -> None:
        self._ledger = ledger
        self._history = history
        self._seen_from = seen_from
        self._followed = followed

    def __getitem__(self, name: str) -> Outcome:
        unit = self._unit(name)
        if unit is None:
            raise KeyError(name)
        return self._ledger.outcome(unit)

    def __contains__(self, name: object) -> bool:
        return self._unit(name) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._units)

    def __len__(self) -> int:
        return len(self._units)

    def of_instances(self, names: Iterable[str]) -> dict[str, Outcome]:
        """Those of the instances with these names, and of their siblings: who asks for one asks for others, too."""
        ledger = self._ledger
        found = [unit for name in names if (unit := self._among_siblings(self._ledger.find(name))) is not None]
        units = {sibling: None for unit in found for sibling in self._beside(unit)}
        return {ledger.name(unit): ledger.outcome(unit) for unit in units}

    def nearest(self) -> Iterator[str]:
        """Those that are listed, the dependencies first, then theirs, and so on."""
        yield from self._followed
        names = (self._ledger.names[task] for task in self._history().ancestors_nearest_first(self._seen_from))
        yield from (name for name in names if name not in self._followed)

    @cached_property
    def _units(self) -> dict[str, int]:
        tasks = self._history().ancestors(self._seen_from)
        return {**{self._ledger.names[task]: task for task in tasks}, **self._followed}

    def _unit(self, name: object) -> int | None:
        """The task or instance of that name, if it came before."""
        if name in self._followed:
            return self._followed[str(name)]
        unit = self._ledger.find(name)
        if unit is None or unit >= len(self._ledger.names):
            return self._among_siblings(unit)
        return unit if self._history().ancestry.is_above(unit, self._seen_from) else None

    def _among_siblings(self, unit: int | None) -> int | None:
        """The instance, if it came before."""
        return unit if unit is not None and unit in self._beside(unit) else None

    def _beside(self, unit: int) -> range:
        """Of the instances of its task those that came before; none where it is no instance."""
        if unit < len(self._ledger.names):
            return range(0)
        fan = self._ledger.fan_of(unit)
        told = self._unit(fan.task)
        if told == fan.rank:
            return range(fan.first, fan.first + fan.size)
        return range(0) if told is None else range(told, told + 1)
