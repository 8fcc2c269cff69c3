"""Outcomes: how all ended that came before a task or an instance, by name, as `context.outcome` tells it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property

from cloaca.engine.ledger import Ledger
from cloaca.wire.messages import Outcome


class Outcomes(Mapping[str, Outcome]):
    """Listed are tasks. Instances of mapped ones are found by their names, and not listed: they may be many.

    `ancestors` tells who came before, by rank. `followed`: the instances that an instance goes after, by the ids of
    their tasks. They stand for these; of their siblings nothing is told, as those needn't have ended.
    """

    def __init__(self, ledger: Ledger, ancestors: Callable[[], Iterable[int]], followed: Mapping[str, int]) -> None:
        self._ledger = ledger
        self._ancestors = ancestors
        self._followed = followed

    def __getitem__(self, name: str) -> Outcome:
        unit = self._units.get(name)
        if unit is None:
            unit = self._instance(name)
        if unit is None:
            raise KeyError(name)
        return self._ledger.outcome(unit)

    def __iter__(self) -> Iterator[str]:
        return iter(self._units)

    def __len__(self) -> int:
        return len(self._units)

    def of_instances(self, names: Iterable[str]) -> dict[str, Outcome]:
        """Those of the instances with these names, and of their siblings: who asks for one asks for others, too."""
        ledger = self._ledger
        found = [unit for name in names if (unit := self._instance(name)) is not None]
        units = {sibling: None for unit in found for sibling in self._beside(unit)}
        return {ledger.name(unit): ledger.outcome(unit) for unit in units}

    @cached_property
    def _units(self) -> dict[str, int]:
        return {**{self._ledger.names[task]: task for task in self._ancestors()}, **self._followed}

    def _instance(self, name: str) -> int | None:
        """The instance of that name, if it came before."""
        unit = self._ledger.find(name)
        return unit if unit is not None and unit in self._beside(unit) else None

    def _beside(self, unit: int) -> range:
        """Of the instances of its task those that came before; none where it is no instance."""
        if unit < len(self._ledger.names):
            return range(0)
        fan = self._ledger.fan_of(unit)
        told = self._units.get(fan.task)
        if told == fan.rank:
            return range(fan.first, fan.first + len(fan.labels))
        return range(0) if told is None else range(told, told + 1)
