"""Constants: values of which nothing can be changed, whoever has them."""

from functools import cache
from typing import Any

from cloaca.values.codec import SCALARS

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
