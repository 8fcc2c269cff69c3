"""Kinds of values: those of which nothing can be changed, whoever has them; and those that a value consists of."""

from collections.abc import Set as AbstractSet
from functools import cache
from typing import Any

from cloaca.pickling.referents import referents

SCALARS = frozenset({type(None), bool, int, float, str, bytes})
CONTAINERS = frozenset({list, dict})

_KINDS = {
    "builtins": {"complex", "ellipsis", "range"},
    "datetime": {"date", "datetime", "time", "timedelta", "timezone"},
    "decimal": {"Decimal"},
    "fractions": {"Fraction"},
    "uuid": {"UUID"},
}
"""By module and name: to import them takes longer than most need them."""


def is_constant(value: Any) -> bool:
    """Whether nothing of it can be changed. Of kinds that aren't known that isn't said.

    >>> is_constant((1, "a", frozenset({2.0}))), is_constant((1, []))
    (True, False)
    """
    kind: Any = type(value)
    if kind in SCALARS:
        return True
    if kind is tuple or kind is frozenset:
        try:
            return all(map(is_constant, value))
        except RecursionError:
            return False
    module = kind.__module__
    return kind.__qualname__ in _KINDS.get(module, ()) or (module.startswith("numpy") and _is_of_numpy(kind))


@cache
def _is_of_numpy(kind: type) -> bool:
    """Whether it is a kind of numbers, or tells of one. Records may be changed."""
    names = {one.__name__ for one in kind.__mro__}
    return not names.isdisjoint({"number", "bool_", "bool", "dtype", "datetime64", "timedelta64"})


def kinds_in(
    value: object, containers: AbstractSet[type], leaves: AbstractSet[type], deepest: int
) -> list[set[type]] | None:
    """The kinds of what there is on each level of a tree of these: each container is met once.

    `None`: it is none, or too deep a one. It is looked through level by level, which is the work of C.

    Tuples that hold no containers may be met more than once: they are as good as leaves. To tell takes the longest.

    >>> kinds_in([[1], "a"], {list}, {int, str}, 10) == [{list}, {list, str}, {int}]
    True
    >>> part = []
    >>> kinds_in([part, part], {list}, set(), 10), kinds_in([(1,)], {list}, {int}, 10)
    (None, None)
    """
    level, tuples, known = [value], list[object](), containers | leaves
    seen, count = set[int](), 0
    found: list[set[type]] = []
    for _ in range(deepest + 1):
        kinds = set(map(type, level))
        found.append(kinds)
        if not kinds <= known:
            return None
        if kinds.isdisjoint(containers):
            return found
        inner = level if kinds <= containers else [one for one in level if type(one) in containers]
        met, tuples = (tuples, inner) if kinds & containers == {tuple} else (tuples + inner, [])
        count += len(met)
        seen.update(map(id, met))
        if len(seen) != count:
            return None
        level = referents(*inner)
    return None
