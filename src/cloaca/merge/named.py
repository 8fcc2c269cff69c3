"""The merge rules that have names.

Each is a function of the base and the values, as users' own rules are. Called like that, `sum`, `concat` and `union`
take every value as a change of the base. In a run they are told more, so that each write counts once, and only with
what it changed: `combined` has the functions that are given what every writer saw.

No rule changes an argument. NumPy and pandas are never imported here: what has + and - is asked to use them.
"""

import builtins
import operator
import reprlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from datetime import timedelta
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, DecimalException, Inexact, InvalidOperation
from itertools import chain
from typing import Any, Final, NoReturn

from cloaca.merge.change import ABSENT, Change
from cloaca.merge.equality import is_found_by_hash, same

# ---- rules that count changes --------------------------------------------------------------------------------------


def sum(base: Any, values: Sequence[Any]) -> Any:  # noqa: A001 - read as cloaca.merge.sum
    """The base plus what each write added to it.

    For whatever has + and -: numbers, `timedelta`, `Counter`, arrays and frames of one shape. Where there was nothing
    before, a write counts in full; a removal takes away what was there. Exact for int, Decimal and Fraction; floats
    are added in the order of the tasks. A bool counts as an int.

    A `Counter` keeps negative counts; an element that comes to 0 stays only if the base has it.

    >>> sum(10, [11, 12]), sum(None, [1, 2])
    (13, 3)
    """
    return _sum(*_against_base("sum", base, values))


def concat(base: Any, values: Sequence[Any]) -> Any:
    """The base followed by what each write appended to it: lists, tuples, texts or bytes.

    Raises `ValueError` where a write did more than append.

    >>> concat(["a"], [["a", "b"], ["a", "c"]])
    ['a', 'b', 'c']
    """
    return _concat(*_against_base("concat", base, values))


def union(base: Any, values: Sequence[Any]) -> Any:
    """The base with what was added to it, and without what was removed: sets or frozensets, whichever the base is.

    Each element counts by itself. Where one write adds an element and another, not knowing of it, removes it, it is in.

    >>> sorted(union({1, 2}, [{1, 2, 3}, {2}]))
    [2, 3]
    """
    if not values:
        raise ValueError("union needs at least one value.")
    kind = kind_of_set([part for part in (base, *values) if part is not None])
    old = frozenset() if base is None else base
    return kind(frozenset().union(old, *values) - (old - frozenset.intersection(*map(frozenset, values))))


def _against_base(rule: str, base: Any, values: Sequence[Any]) -> tuple[Any, list[Change]]:
    if not values:
        raise ValueError(f"{rule} needs at least one value.")
    saw = ABSENT if base is None else base
    return saw, [Change(saw, value) for value in values]


# ---- rules that choose ---------------------------------------------------------------------------------------------


def max(base: Any, values: Sequence[Any]) -> Any:  # noqa: A001, ARG001 - read as cloaca.merge.max; the shape of a rule
    """The largest of the values that were written side by side; of equal ones the first.

    The base doesn't count: an untouched value never beats a changed one. Nor does NaN, unless there is nothing else.

    >>> max(10, [3, 5])
    5
    """
    return _extreme("max", builtins.max, values)


def min(base: Any, values: Sequence[Any]) -> Any:  # noqa: A001, ARG001 - read as cloaca.merge.min; the shape of a rule
    """The smallest of the values that were written side by side; of equal ones the first.

    The base doesn't count: an untouched value never beats a changed one. Nor does NaN, unless there is nothing else.

    >>> min(1, [3, 5])
    3
    """
    return _extreme("min", builtins.min, values)


def first(base: Any, values: Sequence[Any]) -> Any:  # noqa: ARG001 - the shape of a rule
    """The value of the task that is listed first; a removal too.

    >>> first(None, ["draft", "final"])
    'draft'
    """
    return values[0]


def last(base: Any, values: Sequence[Any]) -> Any:  # noqa: ARG001 - the shape of a rule
    """The value of the task that is listed last; a removal too.

    >>> last(None, ["draft", "final"])
    'final'
    """
    return values[-1]


def by_task(base: Any, values: Sequence[Any]) -> NoReturn:  # noqa: ARG001 - the shape of a rule
    """A dict of what each task wrote, by task; also where only one did.

    The input's value must be a dict too, if there is one: the entries are added to it. Removing the key removes the
    entries that the task saw.

    It needs to know who wrote, and so can only be given to a workflow:

    >>> by_task(None, [1, 2])
    Traceback (most recent call last):
    TypeError: by_task can't be called: it needs to know who wrote. Give it to a workflow, as the rule of a key.
    """
    raise TypeError("by_task can't be called: it needs to know who wrote. Give it to a workflow, as the rule of a key.")


# ---- no rule, on purpose -------------------------------------------------------------------------------------------


def by_structure(base: Any, values: Sequence[Any]) -> NoReturn:  # noqa: ARG001 - the shape of a rule
    """No rule, on purpose: lists are put together, dicts key by key, and equal values agree; all else is in conflict.

    That is how a key without a rule is merged. Saying so settles what the data-flow check would ask about.

    >>> by_structure(None, [[1], [2]])
    Traceback (most recent call last):
    TypeError: by_structure can't be called: it says that a key has no rule. Give it to a workflow.
    """
    raise TypeError("by_structure can't be called: it says that a key has no rule. Give it to a workflow.")


def _extreme(rule: str, choose: Callable[[Iterable[Any]], Any], values: Sequence[Any]) -> Any:
    if not values:
        raise ValueError(f"{rule} needs at least one value.")
    try:
        return choose([value for value in values if not _is_nan(value)] or values[:1])
    except (TypeError, ValueError) as error:
        raise TypeError(f"{rule} needs values that < can order, not {_found(rule, values)}.") from error


def _is_nan(value: Any) -> bool:
    return bool(value != value)  # noqa: PLR0124 - only NaN differs from itself


# ---- sum -----------------------------------------------------------------------------------------------------------

_BUILT_IN: Final = frozenset({int, bool, float, complex, timedelta})
_NUMBERS: Final = _BUILT_IN | {Decimal}
_EXACT: Final = Context(prec=100_000, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[Inexact, InvalidOperation])
"""Never rounds: a sum of Decimals that takes more digits raises `Inexact`."""


def _sum(base: Any, changes: Sequence[Change]) -> Any:
    parts = _parts(base, changes)
    add_up = _counts if any(issubclass(kind, Counter) for kind in set(map(type, parts))) else _total
    try:
        total = add_up(base, changes)
    except DecimalException as error:
        rounded = f"this one is no number, or takes over {_EXACT.prec:,} digits"
        raise ValueError(f"sum never rounds Decimals: {rounded}.") from error
    except TypeError as error:
        raise TypeError(f"sum needs values with + and -, not {_found('sum', parts)}.") from error
    is_lent = type(total) not in _NUMBERS and any(total is part for part in parts)
    return deepcopy(total) if is_lent else total


def _total(base: Any, changes: Sequence[Change]) -> Any:
    total = base if base is ABSENT else _begun(base)
    for saw, wrote in changes:
        total = _plus(total, _own_change(saw, wrote))
    return total


def _own_change(saw: Any, wrote: Any) -> Any:
    if saw is ABSENT:
        return wrote
    return _negative(saw) if wrote is ABSENT else _apply(operator.sub, _EXACT.subtract, wrote, saw)


def _plus(total: Any, change: Any) -> Any:
    if change is ABSENT:
        return total
    return _begun(change) if total is ABSENT else _apply(operator.add, _EXACT.add, total, change)


def _apply(operation: Callable[[Any, Any], Any], exactly: Callable[[Any, Any], Any], one: Any, other: Any) -> Any:
    if type(one) in _BUILT_IN and type(other) in _BUILT_IN:
        return operation(one, other)
    if type(one) is Decimal or type(other) is Decimal:
        return exactly(one, other)
    one, other = _without_bools(one), _without_bools(other)
    if _shape(one) != _shape(other):
        raise ValueError(f"sum needs values of one shape, not {_shape(one)} and {_shape(other)}.")
    result = operation(one, other)
    if _shape(result) != _shape(one):  # pandas aligns: it adds a row for each label that only one of the two has
        raise ValueError("sum needs values with the same labels; here some stand in one value only.")
    return result


def _begun(value: Any) -> Any:
    """The value, to start a sum with. Raises where it lacks + or -: with + alone, texts would be strung together."""
    if type(value) in _NUMBERS:
        return +value if type(value) is bool else value
    value = _without_bools(value)
    if _dtype_kind(value) not in tuple("iufc"):
        operator.add(operator.sub(value, value), value)
    return value


def _negative(value: Any) -> Any:
    return _EXACT.minus(value) if isinstance(value, Decimal) else -_without_bools(value)


def _without_bools(value: Any) -> Any:
    """For an array of bools + is "or", and there is no -: it counts as one of ints."""
    return value + 0 if _dtype_kind(value) == "b" else value


def _dtype_kind(value: Any) -> object:
    return getattr(getattr(value, "dtype", None), "kind", None)


def _shape(value: Any) -> object:
    return getattr(value, "shape", ())


def _counts(base: Any, changes: Sequence[Change]) -> Any:
    """Counters, element by element: their own + and - drop what isn't positive."""
    kept = _elements(base)
    total = dict(kept)
    for saw, wrote in changes:
        before, after = _elements(saw), _elements(wrote)
        for element in {**after, **before}:
            change = _own_change(before.get(element, ABSENT), after.get(element, ABSENT))
            total[element] = _plus(total.get(element, ABSENT), change)
    counter = type(_parts(base, changes)[0])()
    counter.update({element: count for element, count in total.items() if count or element in kept})
    return counter


def _elements(value: Any) -> Mapping[Any, Any]:
    if value is ABSENT:
        return {}
    if not isinstance(value, Counter):
        raise TypeError(f"a Counter has nothing in common with a value of type {type(value).__name__}")
    if not all(map(is_found_by_hash, value)):
        raise ValueError("sum counts elements that are equal to their copies: neither NaN nor objects without __eq__")
    return value


# ---- concat --------------------------------------------------------------------------------------------------------

_SEQUENCES: Final[Mapping[type, Callable[[Iterable[Any]], Any]]] = {
    list: lambda parts: list(chain.from_iterable(parts)),
    tuple: lambda parts: tuple(chain.from_iterable(parts)),
    str: "".join,
    bytes: b"".join,
}


def _concat(base: Any, changes: Sequence[Change]) -> Any:
    parts = _parts(base, changes)
    kind = type(parts[0])
    if kind not in _SEQUENCES or any(type(part) is not kind for part in parts):
        raise TypeError(f"concat needs lists, tuples, texts or bytes, all of one type, not {_found('concat', parts)}.")
    start = [] if base is ABSENT else [base]
    return _SEQUENCES[kind]([*start, *(_appended(saw, wrote) for saw, wrote in changes)])


def _appended(saw: Any, wrote: Any) -> Any:
    if wrote is ABSENT:
        raise ValueError("concat takes writes that only append, and one removed the key: remove it after the join.")
    if saw is ABSENT:
        return wrote
    size = len(saw)
    if same(saw, wrote[:size]):
        return wrote[size:]
    raise ValueError(f"concat takes writes that only append, and one changed what was there: {_change(saw, wrote)}.")


def _change(saw: Any, wrote: Any) -> str:
    pairs = enumerate(zip(saw, wrote, strict=False))
    place = next((place for place, (one, other) in pairs if not same(one, other)), None)
    if place is None:
        return f"{len(saw)} items became {len(wrote)}"
    return f"item {place} was {reprlib.repr(saw[place])} and became {reprlib.repr(wrote[place])}"


combined: Final[Mapping[Callable[..., Any], Callable[[Any, Sequence[Change]], Any]]] = {sum: _sum, concat: _concat}
"""The rules that are made of changes, as functions of the base (or `ABSENT`) and the changes, in order.

They raise where the rule doesn't fit the values: the message says what was found, and what to use instead.
"""


# ---- what rules need -----------------------------------------------------------------------------------------------

_BY_KIND: Final[Mapping[type, str]] = {
    **dict.fromkeys([*_NUMBERS, Counter], "sum"),
    **dict.fromkeys(_SEQUENCES, "concat"),
    **dict.fromkeys([set, frozenset], "union"),
}


def kind_of_set(values: Sequence[Any]) -> type[set[Any]] | type[frozenset[Any]]:
    """The type of the union of these sets: that of the first. Raises `TypeError` where one of them is no set."""
    if not all(type(value) in (set, frozenset) for value in values):
        raise TypeError(f"union needs sets or frozensets, not {_found('union', values)}.")
    return set if type(values[0]) is set else frozenset


def _parts(base: Any, changes: Sequence[Change]) -> list[Any]:
    """All values that take part, the base first."""
    return [part for part in chain([base], *((wrote, saw) for saw, wrote in changes)) if part is not ABSENT]


def _found(rule: str, parts: Sequence[Any]) -> str:
    """What kinds of values a rule found that it isn't for, and what to do."""
    kinds = list(dict.fromkeys(map(type, parts)))
    names = " and ".join(kind.__name__ for kind in kinds)
    return f"{names}: {'write values of one type' if len(kinds) > 1 else _instead(rule, kinds[0])}"


def _instead(rule: str, kind: type) -> str:
    if kind is dict:
        return "give the key no rule, and dicts are merged key by key"
    better = _BY_KIND.get(kind, rule)
    return "give the key a function (base, values) of your own" if better == rule else f"use cloaca.merge.{better}"
