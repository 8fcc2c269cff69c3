"""One order for the elements of sets, so that equal sets have equal bytes.

A set is pickled in the order in which it iterates, which depends on the hash seed of the process and on the set's
history. The items of a set, whose order decides on names and seeds, and the bytes of a result follow from the values
alone only if sets have an order of their own.

Done where a value consists of built-in containers and plain values, as a tree: those can be rebuilt without a trace.
"""

import gc
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from cloaca.pickling.bare import AsCall

LEAVES = frozenset({type(None), bool, int, float, complex, str, bytes, Decimal, date, datetime, time, timedelta})
SETS = frozenset({set, frozenset})
CONTAINERS = frozenset({list, dict, tuple, *SETS})
DEEPEST = 100

Encode = Callable[[object], bytes]


def canonical(value: object, encode: Encode) -> object:
    """What to pickle in place of `value`: sets are ordered by the bytes that `encode` gives for their elements."""
    return _rebuilt(value, encode) if _has_sets_in_a_tree(value) else value


def _has_sets_in_a_tree(value: object) -> bool:
    level: list[object] = [value]
    seen: set[int] = set()
    kinds: set[type] = set()
    for _ in range(DEEPEST):
        kinds.update(map(type, level))
        if not kinds <= LEAVES | CONTAINERS:
            return False
        inner = [item for item in level if type(item) in CONTAINERS]
        if not inner:
            return not kinds.isdisjoint(SETS)
        before = len(seen)
        seen.update(map(id, inner))
        if len(seen) != before + len(inner):
            return False
        level = gc.get_referents(*inner)
    return False


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
