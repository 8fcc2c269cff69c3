"""Symbols: what stands for a value while code is read instead of run, and what a key is said to be set to."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

# ---- what a key is set to: the repr of a constant, a variable's name behind VARIABLE, or one of these ---------------

NUMBER: Final = "number"
TEXT: Final = "text"
"""A text or a tuple: what is added to it is appended."""
LIST: Final = "list"
DICT: Final = "dict"
COLLECTED: Final = "collected"
"""A list or a dict: it depends on the items of a mapped task."""
SET: Final = "set"
ADDED: Final = "added"
"""Something was added to what the key held."""
REMOVED: Final = "removed"
UNKNOWN: Final = "unknown"

PARTS: Final = frozenset({LIST, DICT})
"""What is merged part by part."""
KINDS: Final = frozenset({NUMBER, TEXT, LIST, DICT, COLLECTED, SET, ADDED, REMOVED, UNKNOWN})
VARIABLE: Final = "\0"
"""A key, or what one is set to, begins with it where it is known by the variable that holds it, or by a template."""


def kind_of(value: str) -> str:
    """What kind of value it is that a key is set to, also where it is a constant."""
    if value in KINDS:
        return value
    if value[:1] in "'\"(" or value[:2] in ("b'", 'b"'):
        return TEXT
    return NUMBER if value[:1].isdigit() or value[:1] == "-" or value in ("True", "False") else UNKNOWN


def together(one: str, other: str) -> str:
    """What a value is that is this or that."""
    if one == other:
        return one
    kinds = {kind_of(one), kind_of(other)}
    return kinds.pop() if len(kinds) == 1 else next((kind for kind in (LIST, DICT) if kind in kinds), UNKNOWN)


# ---- what expressions and variables stand for ----------------------------------------------------------------------


_MADE: Final[Mapping[str, str]] = {
    **dict.fromkeys(("len", "int", "float", "bool", "round", "sum", "abs"), NUMBER),
    **dict.fromkeys(("str", "repr", "tuple", "join", "format"), TEXT),
    **dict.fromkeys(("list", "sorted", "tolist", "split", "splitlines"), LIST),
    **dict.fromkeys(("dict", "defaultdict", "Counter", "OrderedDict", "to_dict", "fromkeys"), DICT),
    **dict.fromkeys(("set", "frozenset"), SET),
}
"""What functions and methods of that name return."""


class Symbol(NamedTuple):
    """`of` tells more: the text or repr of a constant, the name of a variable, the key of a value, members."""

    kind: str
    of: Any = None


CONTEXT: Final = Symbol("context")
MAYBE: Final = Symbol("maybe the context")
ANY: Final = Symbol(UNKNOWN)
NOTHING: Final = Symbol("constant", "None")

LITERAL: Final = "literal"  # a text that stands in the code
CONSTANT: Final = "constant"
NAME: Final = "name"  # of a variable around the function, perhaps with attributes, as in "keys.TOTAL"
TEMPLATE: Final = "template"  # a text with such variables in it, as in "total {region}"
READ: Final = "read"  # the value of a key
GOT: Final = "got"  # the same, or None
MEMBER: Final = "member"  # something in the value of a key
METHOD: Final = "method"  # of the context
ATTRIBUTE: Final = "attribute"
TUPLE: Final = "tuple"
ONE_OF: Final = "one of"  # these texts
EACH_OF: Final = "each of"  # these texts, in turn
MAPPING: Final = "mapping"  # a dict that was made of these pairs


def constant(value: Any) -> Symbol:
    """What stands for a constant."""
    return Symbol(LITERAL, value) if type(value) is str else Symbol(CONSTANT, repr(value))


def value_of(symbol: Symbol) -> str:
    """What a key is set to that is set to this."""
    match symbol.kind:
        case "literal":
            return repr(symbol.of)
        case "constant":
            return str(symbol.of)
        case "name":
            return f"{VARIABLE}{symbol.of}"
        case "mapping":
            return DICT
        case "one of" | "each of":
            return TEXT
        case "template":
            return TEXT
        case "tuple":
            return repr_of(symbol) or TEXT
        case kind:
            return kind if kind in KINDS else UNKNOWN


def repr_of(symbol: Symbol) -> str:
    """The repr of a constant, or of a tuple of such; "" of anything else."""
    if symbol.kind != TUPLE:
        return value_of(symbol) if symbol.kind in (LITERAL, CONSTANT) else ""
    members = [repr_of(member) for member in symbol.of]
    return f"({', '.join(members)}{',' * (len(members) == 1)})" if all(members) else ""


def keys_of(symbol: Symbol) -> Sequence[str]:
    """The keys of which it is one, where those are constants, or stand in variables around the function."""
    if symbol.kind in (NAME, TEMPLATE):
        return (f"{VARIABLE}{symbol.of}",)
    if symbol.kind == LITERAL:
        return (symbol.of,)
    return symbol.of if symbol.kind in (ONE_OF, EACH_OF) else ()


def result_of(callee: Symbol) -> Symbol:
    """What stands for what a function or method of that name returns."""
    if callee.kind not in (NAME, ATTRIBUTE):
        return ANY
    if callee.of == "print":
        return NOTHING
    name = callee.of.rpartition(".")[2]
    kind = _MADE.get(name, UNKNOWN)
    return Symbol(kind) if name == callee.of or kind in PARTS or callee.of[:1] in ("'", '"') else ANY


def either(one: Symbol, other: Symbol) -> Symbol:
    """What stands for a value that is this or that."""
    if one == other:
        return one
    if CONTEXT in (one, other) or MAYBE in (one, other):
        return MAYBE
    if {one.kind, other.kind} <= {LITERAL, ONE_OF, EACH_OF}:
        return Symbol(ONE_OF, tuple(sorted({*keys_of(one), *keys_of(other)})))
    return Symbol(together(value_of(one), value_of(other)))
