"""Whether two values agree: the question that merging asks.

Guarantees
    Same type and equal, all the way down; the order of dicts and sets is ignored, NaN agrees with NaN. It never raises,
    whatever a class's own `__eq__` does (but a strike passes), and ends for every value: what has still to be compared
    waits in a list, not on the stack, and no two objects are compared twice, so neither depth, nor cycles, nor sharing
    matter.

How
    Which comparison applies is told by the `__eq__` that a type uses: a class that defines its own is asked, one that
    inherits a container's is opened, and where only identity is known what it is encoded from decides: its class, and
    its state, which are compared alike, so that no order of a set in there counts. NumPy and pandas are never imported
    here: a value of theirs can only be met where they were.
"""

import builtins
import copyreg
import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable
from enum import Enum
from typing import Any

from cloaca.errors import EncodeError
from cloaca.pickling.stack import with_room
from cloaca.values.codec import encode
from cloaca.values.kinds import SCALARS
from cloaca.wire.strike import is_strike

_FOUND = frozenset({str, int, bytes, bool, type(None)})
_MADE_BY_A_CLASS_STATEMENT = 1 << 9  # among the flags of a type: it is no part of the interpreter
_BEGINNING = 1 << 10

Pairs = Iterable[tuple[Any, Any]]
"""What has to agree so that two values do."""

Compare = Callable[[Any, Any], Pairs | None]
"""The pairs that two values of one type come down to: none where they agree already, `None` where they differ."""


def equal(one: Any, other: Any) -> bool:
    """Whether two values agree.

    >>> equal([1, {"a": float("nan")}], [1, {"a": float("nan")}]), equal(1, True), equal([1], (1,))
    (True, False, False)
    """
    try:
        return with_room(_agree, one, other)
    except Exception as error:  # the values' own `__eq__` and `__hash__` run: without an answer they don't agree
        if is_strike(error, lambda: with_room(_agree, one, other)):
            raise
        return False


def same(one: Any, other: Any) -> bool:
    """What `equal` says, sooner where values are plain or have the same bytes."""
    if one is other:
        return True
    kind = type(one)
    if kind is not type(other):
        return False
    if kind in SCALARS:
        return bool(one == other or (kind is float and one != one and other != other))  # noqa: PLR0124 - NaN
    return _have_same_bytes(one, other) or equal(one, other)


def is_found_by_hash(value: Any) -> bool:
    """Whether a dict or a set finds a copy of the value: not NaN, nor what is known by its identity alone."""
    kind = type(value)
    if kind in _FOUND:
        return True
    if kind is float:
        return bool(value == value)  # noqa: PLR0124 - NaN
    if kind in (tuple, frozenset):
        return all(map(is_found_by_hash, value))
    return isinstance(value, Enum) or getattr(kind, "__eq__", None) is not vars(object)["__eq__"]


def are_found_by_hash(values: Collection[Any]) -> bool:
    """Whether that is so for each of them."""
    return set(map(type, values)) <= _FOUND or all(map(is_found_by_hash, values))


def _have_same_bytes(one: Any, other: Any) -> bool:
    try:
        return encode(one) == encode(other)
    except EncodeError:
        return False


def _agree(one: Any, other: Any) -> bool:
    ahead = [(one, other)]
    seen: dict[tuple[int, int], tuple[Any, Any]] = {}  # holds the objects too: an id may be reused once they are gone
    while ahead:
        a, b = ahead.pop()
        ids = id(a), id(b)
        if a is b or ids in seen:
            continue
        inner = _compare(a)(a, b) if type(a) is type(b) else None
        if inner is None:
            return False
        if inner:
            seen[ids] = a, b
            ahead.extend(inner)
    return True


def _compare(value: Any) -> Compare:
    compare = _BY_EQUALITY.get(type(value).__eq__)
    if compare is not None:
        return compare
    for module, name, compare in _BY_LIBRARY:
        kind = getattr(sys.modules.get(module), name, None)
        if kind is not None and isinstance(value, kind):
            return compare
    return _ask


def _verdict(agreed: Any) -> Pairs | None:
    return () if agreed else None


# ---- plain values and containers -----------------------------------------------------------------------------------


def _atoms(one: Any, other: Any) -> Pairs | None:
    return _verdict(one == other)


def _floats(one: float, other: float) -> Pairs | None:
    return _verdict(one == other or (one != one and other != other))  # noqa: PLR0124 - only NaN differs from itself


def _complexes(one: complex, other: complex) -> Pairs | None:
    return (one.real, other.real), (one.imag, other.imag)


def _sequences(one: Any, other: Any) -> Pairs | None:
    return zip(one, other, strict=True) if len(one) == len(other) else None


def _ordered(one: Any, other: Any) -> Pairs | None:
    return (list(one), list(other)), (list(one.values()), list(other.values()))


def _dicts(one: Any, other: Any) -> Pairs | None:
    keys = _partners(one, other)
    return None if keys is None else [*keys, *((one[a], other[b]) for a, b in keys)]


def _partners(one: Collection[Any], other: Collection[Any]) -> list[tuple[Any, Any]] | None:
    """Each element with its partner: by hash, and what no hash finds (NaN, identity) in the order of its bytes."""
    if len(one) != len(other):
        return None
    rest = {element: element for element in other}
    pairs = [(element, rest.pop(element)) for element in one if element in rest]
    if not rest:
        return pairs
    found = {id(element) for element, _ in pairs}
    alone = [element for element in one if id(element) not in found]
    return [*pairs, *zip(sorted(alone, key=encode), sorted(rest, key=encode), strict=True)]


def _objects(one: Any, other: Any) -> Pairs | None:
    """What instances of a program's classes are rebuilt from; of all else that has no equality its bytes."""
    if not _is_opened(type(one)):
        return _encoded(one, other)
    return ((one.__reduce_ex__(5)[1:3], other.__reduce_ex__(5)[1:3]),)


def _is_opened(kind: Any) -> bool:
    if not kind.__flags__ & _MADE_BY_A_CLASS_STATEMENT or issubclass(kind, type) or kind in copyreg.dispatch_table:
        return False
    return kind.__reduce_ex__ is object.__reduce_ex__ and kind.__reduce__ is object.__reduce__


def _encoded(one: Any, other: Any) -> Pairs | None:
    return _verdict(encode(one) == encode(other))


def _ask(one: Any, other: Any) -> Pairs | None:
    """The answer of the class itself. An array of answers is none; a kind of NaN (Decimal's) agrees by its bytes."""
    answer = one == other
    if hasattr(answer, "__len__"):
        return None
    if not answer and one != one and other != other:  # noqa: PLR0124 - only NaN differs from itself
        return _encoded(one, other)
    return _verdict(answer)


# ---- arrays and frames ---------------------------------------------------------------------------------------------


def _arrays(one: Any, other: Any) -> Pairs | None:
    if one.dtype != other.dtype or one.shape != other.shape:
        return None
    if one.dtype.names:
        return [(one[name], other[name]) for name in one.dtype.names]
    if one.dtype.hasobject:
        return zip(one.ravel().tolist(), other.ravel().tolist(), strict=True)
    if one.dtype.kind == "c":
        return (one.real, other.real), (one.imag, other.imag)
    if one.size > _BEGINNING and not _have_same_elements(one.flat[:_BEGINNING], other.flat[:_BEGINNING]):
        return None
    return _verdict(_have_same_elements(one, other))


def _have_same_elements(one: Any, other: Any) -> bool:
    return bool(((one == other) | ((one != one) & (other != other))).all())  # noqa: PLR0124 - NaN, NaT


def _masked(one: Any, other: Any) -> Pairs | None:
    return (one.dtype, other.dtype), (one.shape, other.shape), (one.tolist(), other.tolist())


def _frames(one: Any, other: Any) -> Pairs | None:
    if one.shape != other.shape:
        return None
    columns = ((_content(one.iloc[:, i]), _content(other.iloc[:, i])) for i in range(one.shape[1]))
    return [(_axis(one.columns), _axis(other.columns)), (_axis(one.index), _axis(other.index)), *columns]


def _series(one: Any, other: Any) -> Pairs | None:
    return (one.name, other.name), (_axis(one.index), _axis(other.index)), (_content(one), _content(other))


def _indexes(one: Any, other: Any) -> Pairs | None:
    return ((_axis(one), _axis(other)),)


def _extensions(one: Any, other: Any) -> Pairs | None:
    return _verdict(one.equals(other))


def _axis(index: Any) -> list[Any]:
    levels = (index.get_level_values(level) for level in range(index.nlevels))
    return [*index.names, *map(_content, levels)]


def _content(column: Any) -> Any:
    """The values of a Series or an Index: a NumPy array, or the array of a type of pandas' own."""
    return column.to_numpy() if hasattr(column.dtype, "hasobject") else column.array


_BY_EQUALITY: dict[object, Compare] = {
    int.__eq__: _atoms,
    str.__eq__: _atoms,
    bytes.__eq__: _atoms,
    float.__eq__: _floats,
    complex.__eq__: _complexes,
    list.__eq__: _sequences,
    tuple.__eq__: _sequences,
    deque.__eq__: _sequences,
    dict.__eq__: _dicts,
    getattr(builtins, "frozendict", dict).__eq__: _dicts,  # since Python 3.15
    OrderedDict.__eq__: _ordered,
    set.__eq__: _partners,
    frozenset.__eq__: _partners,
    object.__eq__: _objects,
}

_BY_LIBRARY: tuple[tuple[str, str, Compare], ...] = (
    ("numpy.ma", "MaskedArray", _masked),
    ("numpy", "ndarray", _arrays),
    ("numpy", "generic", _arrays),
    ("pandas", "DataFrame", _frames),
    ("pandas", "Series", _series),
    ("pandas", "Index", _indexes),
    ("pandas.api.extensions", "ExtensionArray", _extensions),
)
