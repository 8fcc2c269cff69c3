"""Uses: what was found of the keys that a function touches, while its code is read."""

from collections.abc import Mapping

from cloaca.dataflow.state import joined
from cloaca.dataflow.symbols import VARIABLE, Symbol, together, value_of


class Uses:
    """The keys, by what is done with them.

    `needs` are read and have to be there; `got` are read by `get`, `missed` those of them of which the code can't stand
    that they aren't there, and `tested` those with which it does something that is not understood; `looks` are read
    with a way out, `asks` only asked about; `values` are set, with all that they are set to. `surely_read` and
    `surely_set`: on every way through the code, with what is set in the end.
    """

    def __init__(self) -> None:
        self.needs: set[str] = set()
        self.got: set[str] = set()
        self.missed: set[str] = set()
        self.tested: set[str] = set()
        self.looks: set[str] = set()
        self.asks: set[str] = set()
        self.values: dict[str, str] = {}
        self.surely_read: frozenset[str] | None = None
        self.surely_set: dict[str, str] | None = None
        self.kinds: dict[Symbol, str] = {}  # what the values of keys are used as
        self.changed: set[Symbol] = set()
        self.reads_more = self.sets_more = self.returns_more = self.lists = False

    def open(self) -> None:
        """It may do anything."""
        self.reads_more = self.sets_more = True

    def list_keys(self) -> None:
        """It looks at all keys: so it may find out which ones are there."""
        self.reads_more = self.lists = True

    def write(self, key: str, value: str) -> None:
        """It sets the key to that, among other things."""
        self.values[key] = together(self.values.get(key, value), value)

    def end(self, read: frozenset[str], written: Mapping[str, str]) -> None:
        """The code may end here."""
        self.surely_read = read if self.surely_read is None else self.surely_read & read
        self.surely_set = dict(written) if self.surely_set is None else joined(self.surely_set, written)

    def take_over(self, later: "Uses") -> None:
        """A function inside does this, if it is ever called. What it returns is no task's answer."""
        self.looks |= later.needs | later.got | later.looks
        self.asks |= later.asks
        for key, value in later.values.items():
            self.write(key, value)
        self.reads_more |= later.reads_more
        self.sets_more |= later.sets_more
        self.lists |= later.lists

    @property
    def variables(self) -> tuple[str, ...]:
        """The variables that hold keys, or what keys are set to."""
        values = map(self.value, self.values)
        keys = sorted({*self.needs, *self.got, *self.looks, *self.asks, *self.values, *values})
        return tuple([key.removeprefix(VARIABLE) for key in keys if key.startswith(VARIABLE)])

    def value(self, key: str) -> str:
        """What the key is set to in the end."""
        return (self.surely_set or {}).get(key, self.values[key])


def used_as(uses: Uses, symbol: Symbol) -> str:
    """What a key is set to that is set to this, after all that was seen of how it is used."""
    return uses.kinds.get(symbol) or value_of(symbol)
