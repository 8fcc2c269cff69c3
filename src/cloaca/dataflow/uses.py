"""Uses: what is found of the keys that a function touches, while its code is read."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from cloaca.dataflow.symbols import ANY, ANY_KEY, CONTEXT, Symbol, ValueKind, either

Happening = tuple[str, str, Symbol]
Way = frozenset[Happening]
"""What has happened on one way through the code: a key was "read" or "set", and what it "is" by now."""
END: Final[Happening] = ("end", "", ANY)
"""Nothing comes after it."""

_Part = TypeVar("_Part")
_Result = TypeVar("_Result")


def joined(ways: Iterable[Way]) -> Way:
    """What has happened whichever of these ways was taken, of those that go on."""
    going = [way for way in ways if END not in way]
    return going[0].intersection(*going) if going else frozenset([END])


class Uses:
    """The keys, by what is done with them.

    Of `found`, "needs" are read and have to be there; "got" are read by `get`, "missed" those of them of which the code
    can't stand that they aren't there, and "tested" those with which it does something that is not understood; "looks"
    are read with a way out, "asks" only asked about; "loses" are those whose copies are changed, and nobody has them
    afterwards. `values` are set, with all that they are set to. `ends` are the
    ways on which the code comes to an end.
    """

    def __init__(self) -> None:
        self.found: defaultdict[str, set[str]] = defaultdict(set)
        self.values: dict[str, Symbol] = {}
        self.ends: list[Way] = []
        self.lists = False
        self.returns_more = False
        self.way: Way = frozenset()
        self.caught = 0  # so many times what is raised here is caught
        self._changed: set[Symbol] = set()

    # ---- ways through the code -------------------------------------------------------------------------------------

    def one_of(self, read: Callable[[_Part], _Result], *parts: _Part) -> list[_Result]:
        """Read these parts, of which one is run."""
        before, ends, results = self.way, [], []
        for part in parts:
            self.way = before
            results.append(read(part))
            ends.append(self.way)
        self.way = joined(ends)
        return results

    def perhaps(self, read: Callable[[_Part], _Result], part: _Part) -> _Result:
        """Read this part, which is run or not."""
        before = self.way
        result = read(part)
        self.way = joined([before, self.way])
        return result

    # ---- what becomes of values ------------------------------------------------------------------------------------

    def let_go(self, *symbols: Symbol) -> None:
        """They go where nobody knows what is done with them."""
        for symbol in symbols:
            if symbol.role == "tuple":
                self.let_go(*symbol.of)
            elif symbol.leads_to_context:
                self.found["looks"].add(ANY_KEY)
                self.values[ANY_KEY] = ANY
            elif symbol.role == "got":
                self.found["tested"].add(symbol.of)
            elif symbol.role == "pairs":
                self._changed.add(symbol)

    def demand(self, *symbols: Symbol) -> None:
        """They are used in a way that only works where they are there."""
        for symbol in symbols:
            if symbol.leads_to_context:
                self.let_go(symbol)
            elif symbol.role == "got" and not self.caught:
                self.found["missed"].add(symbol.of)
                self.way |= {("read", symbol.of, ANY)}

    def go_through(self, items: Symbol) -> None:
        """All of its items are looked at: those of a context are keys."""
        if items == CONTEXT:
            self.found["looks"].add(ANY_KEY)
            self.lists = True
        else:
            self.demand(items)

    # ---- keys ------------------------------------------------------------------------------------------------------

    def need(self, key: Symbol) -> Symbol:
        """The key is read, and has to be there."""
        self.let_go(key)
        is_sure = not self.caught and key.role != "one of"
        self.found["needs" if is_sure else "looks"].update(key.keys)
        self.way = self.way.union([("read", one, ANY) for one in key.keys if is_sure])
        return Symbol("unknown", "read", key.keys[0]) if len(key.keys) == 1 else ANY

    def get(self, key: Symbol, default: Symbol | None = None) -> Symbol:
        """The key is read where it is there."""
        self.let_go(key)
        is_one = len(key.keys) == 1
        if default is None and is_one:
            self.found["got"].update(key.keys)
            return Symbol("unknown", "got", key.keys[0])
        self.found["looks"].update(key.keys)
        self.let_go(default or ANY)
        kind: ValueKind = default.kind if default and default.kind in ("list", "dict", "number") else "unknown"
        return Symbol(kind, "read", key.keys[0]) if is_one else Symbol(kind)

    def ask(self, key: Symbol) -> None:
        """It is asked whether the key is there."""
        self.let_go(key)
        self.found["asks"].update(key.keys)
        self.lists |= ANY_KEY in key.keys

    def write(self, key: Symbol, value: Symbol) -> None:
        """The key is set to this."""
        self.let_go(key, *([value] if value.role != "pairs" else []))
        if key.role == "one of":
            self.one_of(lambda one: self._write(one, value), *key.keys)
        else:
            for one in key.keys:
                self._write(one, value)

    def _write(self, key: str, value: Symbol) -> None:
        value = value if value.is_constant or value.role == "name" else Symbol(value.kind)
        self.values[key] = either(self.values.get(key, value), value)
        others = [event for event in self.way if event[:2] != ("is", key)]
        self.way = frozenset([*others, ("set", key, ANY), ("is", key, value)])

    def write_all(self, mapping: Symbol) -> None:
        """All keys of a mapping are set."""
        if self._is_known(mapping):
            self._write_pairs(mapping)
            return
        self.demand(mapping)
        self._write(ANY_KEY, ANY)

    def _is_known(self, mapping: Symbol) -> bool:
        """Whether its keys are those with which it was made."""
        return mapping.role == "pairs" and mapping not in self._changed

    def _write_pairs(self, mapping: Symbol) -> None:
        for key, value in mapping.of:
            self._write(key, value)

    def lose(self, key: Symbol) -> None:
        """The copy of its value that was handed out is changed, and gone."""
        self.found["loses"].update(key.keys)

    def end(self, returned: Symbol) -> None:
        """The code ends here, and returns nothing, its context, or keys to set."""
        if self._is_known(returned):
            self._write_pairs(returned)
        elif returned != CONTEXT and returned.role not in ("constant", "each", "one of", "tuple"):
            self.returns_more = True
        self.ends.append(self.way)
        self.way |= {END}
