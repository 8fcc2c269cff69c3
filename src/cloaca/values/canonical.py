"""One order for the elements of sets, so that equal sets have equal bytes.

A set is pickled in the order in which it iterates, which depends on the hash seed of the process and on the set's
history. The items of a set, whose order decides on names and seeds, and the bytes of a result follow from the values
alone only if sets have an order of their own.

Done where a value consists of built-in containers and plain values, as a tree: those can be rebuilt without a trace.
"""

from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from cloaca.pickling.bare import AsCall
from cloaca.values.kinds import kinds_in

LEAVES = frozenset({type(None), bool, int, float, complex, str, bytes, Decimal, date, datetime, time, timedelta})
SETS = frozenset({set, frozenset})
CONTAINERS = frozenset({list, dict, tuple, *SETS})
DEEPEST = 100

Encode = Callable[[object], bytes]


def canonical(value: object, encode: Encode) -> object:
    """What to pickle in place of `value`: sets are ordered by the bytes that `encode` gives for their elements."""
    kinds = kinds_in(value, CONTAINERS, LEAVES, DEEPEST) or ()
    return value if all(map(SETS.isdisjoint, kinds)) else _rebuilt(value, encode)


def _rebuilt(value: Any, encode: Encode) -> Any:
    kind = type(value)
    if kind in SETS:
        return AsCall(kind, _rebuilt_all(sorted(value, key=encode), encode))
    if kind is dict:
        return {_rebuilt(key, encode): _rebuilt(item, encode) for key, item in value.items()}
    if kind is tuple:
        return tuple(_rebuilt_all(value, encode))
    return _rebuilt_all(value, encode) if kind is list else value


def _rebuilt_all(values: Iterable[Any], encode: Encode) -> list[Any]:
    return [_rebuilt(value, encode) for value in values]
