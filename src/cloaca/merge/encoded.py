"""Whether two encoded values are equal, told sooner than decoding both would tell.

The same bytes are a quick yes, and other ones a quick no where no others stand for the value. Of plain data, another
length is a quick no: neither the order of a dict, nor the sign of a zero, nor a NaN changes how many bytes there are.
All else is decoded; of a list only elements with other bytes.
"""

from functools import partial
from typing import Any

from msgspec import Raw, msgpack

from cloaca.merge.equality import equal
from cloaca.pickling.stack import with_room
from cloaca.values.blobs import Part, content_of, is_reference, same_bytes
from cloaca.values.codec import PICKLED, decode, decode_content, is_telling, undisturbed
from cloaca.values.composite import LIST_HEADS
from cloaca.wire.strike import is_strike

_split = msgpack.Decoder(list[Raw]).decode


def are_equal(one: bytes, other: bytes) -> bool:
    """Whether two payloads are of equal values. What can't be rebuilt here equals nothing but its own bytes.

    >>> from cloaca.values.codec import encode
    >>> are_equal(encode({"a": 1, "b": 2}), encode({"b": 2, "a": 1})), are_equal(encode([1]), encode([True]))
    (True, False)
    """
    if one == other:
        return True
    if (is_telling(one) or is_telling(other)) and not (is_reference(one) or is_reference(other)):
        return False
    try:
        return _are_equal(one, other)
    except Exception as error:  # rebuilding a value runs user code; reading the key tells what it raised
        if is_strike(error, partial(_are_equal, one, other)):
            raise
        return False


def _are_equal(one: bytes, other: bytes) -> bool:
    a, b = content_of(one), content_of(other)
    with undisturbed():
        return equal(_value(a), _value(b)) if PICKLED in (a[0], b[0]) else _are_equal_plain(a, b)


def _are_equal_plain(one: Part, other: Part) -> bool:
    if len(one) != len(other):
        return False
    if same_bytes(one, other):
        return True
    if one[0] not in LIST_HEADS or other[0] not in LIST_HEADS:
        return _are_equal_values(one, other)
    some, others = _split(one), _split(other)
    return len(some) == len(others) and all(map(_are_equal_elements, some, others))


def _are_equal_elements(one: Raw, other: Raw) -> bool:
    if one == other:
        return True
    a, b = memoryview(one), memoryview(other)
    return len(a) == len(b) and _are_equal_values(a, b)


def _are_equal_values(one: Part, other: Part) -> bool:
    a, b = _value(one), _value(other)
    return not _has_other_members(a, b) and equal(a, b)


def _has_other_members(one: Any, other: Any) -> bool:
    """Whether two plain dicts surely differ: Python's own answer tells which members are worth a look."""
    if type(one) is not dict or type(other) is not dict:
        return False
    try:
        return any(key in other and value != other[key] and not equal(value, other[key]) for key, value in one.items())
    except RecursionError:
        return False


def _value(content: Part) -> Any:
    return with_room(decode_content, content) if isinstance(content, memoryview) else decode(content)
