"""Values as bytes, and back: equal, and of the same type.

msgpack where a value is exactly plain data, a pickle for the rest. `encode` checks which it is, as msgspec would turn a
tuple or a set into a list without a word, write a shared list once per mention, and follow a cycle for ever.

Format: a payload whose first byte is `PICKLED` (a byte that msgpack never uses) holds, after it, the number n of parts,
their n lengths, and the parts: the pickle and its out-of-band buffers. Any other payload is msgpack.
"""

import gc
import struct
from io import BytesIO
from itertools import accumulate, pairwise
from pickle import PickleBuffer, loads
from typing import Any

from msgspec import msgpack

from cloaca.errors import EncodeError
from cloaca.wire import culprit
from cloaca.wire.canonical import canonical
from cloaca.wire.classes import Pickler

PICKLED = 0xC1
MAX_DEPTH = 500

LARGEST = 2**32 - 1
"""What one field of a message can carry, in bytes."""

SCALARS = frozenset({type(None), bool, int, float, str, bytes})
CONTAINERS = frozenset({list, dict})
PLAIN = SCALARS | CONTAINERS

_head = struct.Struct("<BI")
_pack = msgpack.Encoder().encode
_unpack = msgpack.Decoder().decode


def encode(value: object, key: str | None = None) -> bytes:
    """The bytes of a value. `key` is the context key that the value is for, if any: errors name it.

    Raises:
        EncodeError: the value holds something that can't be pickled, and the error's `path` leads to it; or it takes
            over 4 GiB.

    >>> decode(encode({"ids": (1, 2)}))
    {'ids': (1, 2)}
    """
    try:
        payload = _pack(value) if type(value) in SCALARS or is_plain(value) else _pickle(value, key)
    except (ValueError, OverflowError, RecursionError):  # a lone surrogate, an int beyond 64 bits, no stack left
        payload = _pickle(value, key)
    if len(payload) > LARGEST:
        raise EncodeError(key, key or "value", type(value).__name__, f"it takes {len(payload):,} bytes, over 4 GiB")
    return payload


def decode(payload: bytes | memoryview) -> Any:
    """A value from its bytes. It shares no memory with the payload, and is the caller's own.

    Raises whatever importing or rebuilding the value's classes raises.
    """
    return _unpickle(memoryview(payload)) if payload[0] == PICKLED else _unpack(payload)


def is_plain(value: object) -> bool:
    """Whether msgpack carries the value exactly: plain types only, a tree, and no deeper than `MAX_DEPTH`."""
    level, containers = [value], 0
    seen: set[int] = set()
    for _ in range(MAX_DEPTH + 1):
        kinds = set(map(type, level))
        if not kinds <= PLAIN:
            return False
        if kinds.isdisjoint(CONTAINERS):
            return True
        inner = level if kinds <= CONTAINERS else [item for item in level if type(item) in CONTAINERS]
        containers += len(inner)
        seen.update(map(id, inner))
        if len(seen) != containers:
            return False
        level = gc.get_referents(*inner)
    return False


def _pickle(value: object, key: str | None) -> bytes:
    buffers: list[PickleBuffer] = []
    with BytesIO() as file:
        try:
            Pickler(file, buffers.append).dump(canonical(value, encode))
        except Exception as error:
            found = culprit.find(value, "value" if key is None else key, error)
            raise EncodeError(key, found.path, found.type_name, found.reason) from error
        return _frame([file.getbuffer(), *(buffer.raw() for buffer in buffers)])


def _frame(parts: list[memoryview]) -> bytes:
    lengths = struct.pack(f"<{len(parts)}Q", *map(len, parts))
    frame = b"".join([_head.pack(PICKLED, len(parts)), lengths, *parts])
    for part in parts:
        part.release()
    return frame


def _unpickle(payload: memoryview) -> Any:
    _, count = _head.unpack_from(payload)
    lengths = struct.unpack_from(f"<{count}Q", payload, _head.size)
    start = _head.size + 8 * count
    pickled, *buffers = (payload[a:b] for a, b in pairwise(accumulate(lengths, initial=start)))
    return loads(pickled, buffers=map(bytearray, buffers))
