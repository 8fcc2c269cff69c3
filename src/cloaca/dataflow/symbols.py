"""Symbols: what stands for a value while code is read instead of run."""

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

ValueKind = Literal["number", "text", "list", "dict", "collected", "set", "added", "removed", "unknown"]
"""A tuple counts as a text: what is added to either is appended. "collected" is what a mapped task leaves, a list or a
dict; "added" is what something was added to that a key held."""

Role = Literal["", "constant", "each", "one of", "name", "tuple", "pairs", "read", "got", "method", "context", "maybe"]

VARIABLE: Final = "\0"
"""A key begins with it that is known by the variable which holds it, or by a template of such."""
ANY_KEY: Final = f"{VARIABLE}?"
"""What stands for the keys that nobody knows, as no variable has that name."""


class Symbol(NamedTuple):
    """A value of that `kind`. `of` tells more of it, by its `role`.

    The repr of a "constant"; "each" text that it is, one after the other, or those of which it is "one of"; the "name"
    of a variable around the function, perhaps with attributes ("keys.TOTAL"); the members of a "tuple"; the "pairs" of
    which a dict was made; the key whose value was "read", or "got" if it is there; that of a "method" of the context.
    """

    kind: ValueKind
    role: Role = ""
    of: Any = None

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that it is, or of which it is one."""
        if self.role == "name":
            return (f"{VARIABLE}{self.of}",)
        return self.of if self.role in ("each", "one of") else (ANY_KEY,)

    @property
    def leads_to_context(self) -> bool:
        """Whether a task's context can be had from it."""
        return self.role in ("context", "maybe", "method") or (
            self.role == "tuple" and any(member.leads_to_context for member in self.of)
        )

    @property
    def is_constant(self) -> bool:
        """Whether the very value is known."""
        match self.role:
            case "tuple":
                return all(member.is_constant for member in self.of)
            case "each":
                return not any(text.startswith(VARIABLE) for text in self.of)
            case role:
                return role == "constant"


ANY: Final = Symbol("unknown")
CONTEXT: Final = Symbol("unknown", "context")
MAYBE: Final = Symbol("unknown", "maybe")

_CONSTANTS: Final[Mapping[type, ValueKind]] = {bool: "number", int: "number", float: "number", bytes: "text"}
_COLLECTIONS: Final[Mapping[type, ValueKind]] = {list: "list", dict: "dict", set: "set"}


def symbol_of(value: Any) -> Symbol:
    """What stands for a value that is known."""
    if type(value) is str:
        return Symbol("text", "each", (value,))
    if type(value) in _CONSTANTS or value is None:
        return Symbol(_CONSTANTS.get(type(value), "unknown"), "constant", repr(value))
    return Symbol(_COLLECTIONS.get(type(value), "unknown"))


def either(one: Symbol, other: Symbol) -> Symbol:
    """What stands for a value that is this or that."""
    if one == other:
        return one
    if one.leads_to_context or other.leads_to_context:
        return MAYBE
    kinds = {one.kind, other.kind}
    kind = one.kind if len(kinds) == 1 else "list" if "list" in kinds else "dict" if "dict" in kinds else "unknown"
    if one[1:] == other[1:]:
        return one._replace(kind=kind)
    if {one.role, other.role} <= {"each", "one of"}:
        return Symbol("text", "one of", tuple(sorted({*one.of, *other.of})))
    return Symbol(kind)
