"""Symbols: what stands for a value while code is read instead of run, and what a key is said to be set to."""

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
"""A key, or what one is set to, begins with it where it is known by the variable that holds it."""


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


# ---- what is on the stack, and in variables ------------------------------------------------------------------------


class Symbol(NamedTuple):
    """`of` tells more: the text or repr of a constant, the name of a variable, the key of a value, members."""

    kind: str
    of: Any = None


CONTEXT: Final = Symbol("context")
MAYBE: Final = Symbol("maybe the context")
NULL: Final = Symbol("null")
ANY: Final = Symbol(UNKNOWN)
NOTHING: Final = Symbol("constant", "None")

LITERAL: Final = "literal"  # a text that stands in the code
CONSTANT: Final = "constant"
NAME: Final = "name"  # of a variable around the function
READ: Final = "read"  # the value of a key
GOT: Final = "got"  # the same, or None
MEMBER: Final = "member"  # something in the value of a key
METHOD: Final = "method"  # of the context
ATTRIBUTE: Final = "attribute"
TUPLE: Final = "tuple"
MAPPING: Final = "mapping"  # a dict that was made of these pairs
CODE: Final = "code"


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
        case "tuple":
            return TEXT
        case kind:
            return kind if kind in KINDS else UNKNOWN
