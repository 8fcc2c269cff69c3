"""Calls: what the methods of a context do with keys, and what other functions make of their arguments."""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from cloaca.dataflow.symbols import (
    ANY,
    ATTRIBUTE,
    DICT,
    GOT,
    LIST,
    NAME,
    NOTHING,
    NUMBER,
    PARTS,
    READ,
    REMOVED,
    SET,
    TEXT,
    Symbol,
    value_of,
)
from cloaca.dataflow.uses import Uses

INTOLERANT: Final = frozenset(
    "len sum sorted list tuple set dict iter reversed enumerate int float abs round range min max".split()  # noqa: SIM905
)
"""Functions that can't do anything with `None`, as their first argument."""

_LISTING: Final = frozenset({"keys", "values", "items", "to_dict", "to_json"})
_HARMLESS: Final = frozenset({"outcome", "conflicts"})
_PARAMETERS: Final[Mapping[str, tuple[str, ...]]] = {
    "get": ("key", "default"),
    **dict.fromkeys(("set", "insert", "update"), ("key", "value")),
    **dict.fromkeys(("remove", "delete"), ("key",)),
}
_MADE: Final[Mapping[str, str]] = {
    **dict.fromkeys(("len", "int", "float", "bool", "round", "sum", "abs"), NUMBER),
    **dict.fromkeys(("str", "repr", "tuple"), TEXT),
    **dict.fromkeys(("list", "sorted", "tolist", "split", "splitlines"), LIST),
    **dict.fromkeys(("dict", "defaultdict", "Counter", "OrderedDict", "to_dict", "fromkeys"), DICT),
    **dict.fromkeys(("set", "frozenset"), SET),
}
_OF_TEXT: Final = frozenset({"join", "format"})


class Reading(Protocol):
    """What a call tells of what it does with keys and values."""

    def key(self, symbol: Symbol) -> str | None:
        """The key that it is."""

    def need(self, symbol: Symbol) -> Symbol:
        """It is read; returns what stands for its value."""
        ...

    def ask(self, symbol: Symbol) -> None:
        """It is asked whether it is there."""

    def write(self, symbol: Symbol, value: Symbol) -> None:
        """It is set."""

    def let_go(self, *symbols: Symbol) -> None:
        """Nobody knows what is done with them."""

    def show(self, symbol: Symbol, kind: str) -> None:
        """It is used as that kind."""


def of_context(
    reading: Reading, found: Uses, method: str, given: Sequence[Symbol], named: Mapping[str, Symbol]
) -> Symbol:
    """A method of the context is called; returns what it returns."""
    if method in _LISTING:
        found.list_keys()
    if method in _LISTING or method in _HARMLESS:
        reading.let_go(*given, *named.values())
        return ANY
    parameters = _PARAMETERS.get(method, ())
    arguments = {**dict(zip(parameters, given, strict=False)), **named}
    if "key" not in arguments or len(given) > len(parameters) or not arguments.keys() <= {*parameters}:
        reading.let_go(*given, *named.values())
        found.open()
        return ANY
    key, value = arguments["key"], arguments.get("value", ANY)
    if method == "get":
        return _got(reading, found, key, arguments.get("default"))
    if method == "update":
        reading.need(key)
    elif method != "set":
        reading.ask(key)
    is_removed = method in ("remove", "delete")
    reading.write(key, Symbol(REMOVED) if is_removed else value)
    return ANY if is_removed else NOTHING


def _got(reading: Reading, found: Uses, key: Symbol, default: Symbol | None) -> Symbol:
    name = reading.key(key)
    if name is None:
        reading.let_go(key)
        found.reads_more = True
        return ANY
    if default is None:
        found.got.add(name)
        return Symbol(GOT, name)
    found.looks.add(name)
    reading.let_go(default)
    read = Symbol(READ, name)
    kind = value_of(default)
    if kind in PARTS:
        reading.show(read, kind)
    return Symbol(NUMBER) if kind[:1].isdigit() else read


def result(callee: Symbol) -> Symbol:
    """What a function or method of that name returns."""
    if callee.kind == NAME:
        return NOTHING if callee.of == "print" else Symbol(_MADE[callee.of]) if callee.of in _MADE else ANY
    if callee.kind != ATTRIBUTE:
        return ANY
    name, holder = callee.of
    if name in _OF_TEXT and holder[:1] in "'\"":
        return Symbol(TEXT)
    return Symbol(_MADE[name]) if _MADE.get(name) in PARTS else ANY
