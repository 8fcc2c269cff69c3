"""Comparison: what the operators of `context_value` say of two values.

As Python compares them, with one exception: where `==` answers for each element, arrays and frames are equal as
wholes, by type, shape and content (see `cloaca.merge.equality`). So are containers that hold such values.
"""

from collections.abc import Callable
from typing import Any

from cloaca.merge.equality import equal
from cloaca.triggers.condition import Operator

_OF_PARTS = frozenset({list, tuple, dict})


def compares(value: Any, operator: Operator, other: Any) -> bool:
    """Whether `value` compares so with `other`. Raises whatever comparing them raises.

    >>> compares(3, "equals", 3.0), compares([1, 2], "contains", 2), compares("b", "greater_than", "a")
    (True, True, True)
    """
    return _COMPARE[operator](value, other)


def of_absent(operator: Operator) -> bool:
    """What the operator says of a key that is absent: only what is said in the negative holds.

    >>> of_absent("equals"), of_absent("not_equals")
    (False, True)
    """
    return operator.startswith("not_")


def _equals(value: Any, other: Any) -> bool:
    if _is_array(value) or _is_array(other):
        return equal(value, other)
    try:
        return bool(value == other)
    except ValueError:
        if type(value) in _OF_PARTS:  # its members don't answer with yes or no
            return equal(value, other)
        raise


def _is_array(value: Any) -> bool:
    """Whether its `==` answers for each element. One without dimensions answers for itself."""
    return hasattr(value, "__array__") and getattr(value, "ndim", 0) > 0


_COMPARE: dict[Operator, Callable[[Any, Any], bool]] = {
    "equals": _equals,
    "not_equals": lambda value, other: not _equals(value, other),
    "greater_than": lambda value, other: bool(value > other),
    "less_than": lambda value, other: bool(value < other),
    "contains": lambda value, other: other in value,
    "not_contains": lambda value, other: other not in value,
    "exists": lambda _value, _other: True,
    "not_exists": lambda _value, _other: False,
}
