"""How the concurrent versions of a key become one value, or a conflict: pure, and the same in every process.

`settle` is given the versions of a key that stand at a task, in the merge order, and depends on nothing else. It runs
where the key is read, and is the only place that decodes values in order to compare them.

Today's rules: a single version stands; versions that are all equal are taken to agree; anything else is a conflict.
"""

import reprlib
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

from cloaca.errors import MergeConflict
from cloaca.wire.codec import decode, encode
from cloaca.wire.messages import Version

_SHORT = reprlib.Repr()
_SHORT.maxother = _SHORT.maxstring = 60


@dataclass(frozen=True)
class Conflict:
    """A key whose versions don't combine: a value of the context until somebody reads it."""

    key: str
    versions: tuple[Version, ...]

    @cached_property
    def error(self) -> MergeConflict:
        """What reading the key raises."""
        writers = tuple(version.writer for version in self.versions)
        return MergeConflict(self.key, writers, tuple(map(_describe, self.versions)))


def settle(key: str, versions: tuple[Version, ...]) -> Version | Conflict:
    """The version of `key` that stands for all `versions` (at least one), or the conflict that they are in."""
    first, *others = versions
    if all(other.payload == first.payload for other in others):
        return first
    if any(version.payload is None for version in versions):
        return Conflict(key, versions)
    values = [decode(version.payload) for version in versions if version.payload is not None]
    if all(equal(one, other) for one, other in pairwise(values)):
        return first
    return Conflict(key, versions)


def equal(one: Any, other: Any) -> bool:
    """Whether two values agree: the same type and equal all the way down, the order of dicts and sets ignored.

    Arrays and frames agree by dtype, shape and content, NaN with NaN. Other objects are asked (`==`); those that only
    know identity agree where their encoded bytes do.

    >>> equal([1, {"a": float("nan")}], [1, {"a": float("nan")}]), equal(1, True), equal([1], (1,))
    (True, False, False)
    """
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    match one:
        case float() | complex():
            return bool(one == other) or (one != one and other != other)  # noqa: PLR0124 - NaN alone differs from itself
        case str() | bytes() | int():
            return bool(one == other)
        case Mapping() if isinstance(one, dict):
            return _equal_dicts(one, other)
        case list() | tuple():
            return _equal_sequences(one, other)
        case Set() if isinstance(one, set | frozenset):
            return bool(one == other)
    return _equal_objects(one, other)


def _equal_sequences(one: Sequence[Any], other: Sequence[Any]) -> bool:
    return len(one) == len(other) and all(map(equal, one, other))


def _equal_dicts(one: Mapping[Any, Any], other: Mapping[Any, Any]) -> bool:
    if len(one) != len(other):
        return False
    types = {key: type(key) for key in other}
    return all(types.get(key) is type(key) and equal(value, other[key]) for key, value in one.items())


def _equal_objects(one: Any, other: Any) -> bool:
    if hasattr(one, "dtype") and hasattr(one, "shape") and hasattr(one, "tobytes"):
        return _equal_arrays(one, other)
    if hasattr(one, "equals") and (hasattr(one, "dtypes") or hasattr(one, "dtype")):
        return bool(one.equals(other)) and encode(one) == encode(other)
    if type(one).__eq__ is object.__eq__:
        return encode(one) == encode(other)
    return bool(one == other)


def _equal_arrays(one: Any, other: Any) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.dtype.hasobject:
        return _equal_sequences(one.ravel().tolist(), other.ravel().tolist())
    return bool(((one == other) | ((one != one) & (other != other))).all())  # noqa: PLR0124 - NaN alone differs from itself


def _describe(version: Version) -> str:
    if version.payload is None:
        return "nothing (it removed the key)"
    try:
        return _SHORT.repr(decode(version.payload))
    except Exception as error:  # noqa: BLE001 - decoding runs user code, and the conflict must be told all the same
        return f"a value that can't be rebuilt here ({error})"
