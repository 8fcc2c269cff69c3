"""Values as bytes, and back: equal, and of the same type.

msgpack where a value is exactly plain data, a pickle for the rest. `encode` checks which it is, as msgspec would turn a
tuple or a set into a list without a word, write a shared list once per mention, and follow a cycle for ever.

Format: a payload whose first byte is `PICKLED` (a byte that msgpack never uses) holds, after it, the number n of parts,
their n lengths, and the parts: the pickle, and its out-of-band buffers, each at a multiple of `ALIGNMENT`. With no
parts it is a reference to a file that holds the payload; with 2**32 - 1 it is a composite, which holds the payloads of
its elements (see `values/composite`). Any other payload is msgpack.
"""

import struct
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from gc import disable, enable, isenabled  # as they are: a worker notes who looks them up, and puts settings back
from pickle import dumps, loads
from typing import Any

from msgspec import msgpack

from cloaca.pickling.stack import on_its_own
from cloaca.values.blobs import LARGE, Blob, Part, blob_of, is_reference, opened
from cloaca.values.composite import DICT_HEADS, LIST_HEADS, collected, composite_of, is_composite
from cloaca.values.kinds import CONTAINERS, SCALARS, kinds_in

PICKLED = 0xC1
MAX_DEPTH = 500

ALIGNMENT = 64
"""Where buffers begin in a payload, in bytes: what the widest machine instructions like."""

Put = Callable[[Sequence[Part], bool, str | None], bytes]
"""Stores a large payload, given in parts; returns its reference. It is told if merging may look in, and the key."""

STRUCTURES = frozenset({list, dict, OrderedDict, defaultdict, Counter})
"""What merging looks into."""

_FLOAT = 0xCB

_head = struct.Struct("<BI")
_ALONE = _head.pack(PICKLED, 1)
"""How what was pickled without buffers begins: its length follows, and it itself."""

_pack = msgpack.Encoder().encode
_unpack = msgpack.Decoder().decode


def encode(value: object, key: str | None = None, put: Put | None = None) -> bytes:
    """The bytes of a value. `key` is the context key that the value is for, if any: errors name it.

    With `put`, a large value is stored: its bytes then are a reference.

    Raises:
        EncodeError: the value holds something that can't be pickled, and the error's `path` leads to it.

    >>> decode(encode({"ids": (1, 2)}))
    {'ids': (1, 2)}
    """
    packed = _flat(value) if type(value) is tuple else plainly(value)
    if packed is not None and (put is None or len(packed) < LARGE):
        payload = packed
    else:
        with _Parts([packed] if packed is not None else _pickle(value, key, encode)) as parts:
            is_large = put is not None and sum(map(len, parts)) >= LARGE
            payload = put(parts, type(value) in STRUCTURES, key) if put is not None and is_large else b"".join(parts)
    return payload


def _flat(value: tuple[object, ...]) -> bytes | None:
    """What any pickle of a short tuple of plain values is. To make a pickler of our own takes thirty times as long."""
    if not SCALARS.issuperset(map(type, value)):
        return None
    pickled = dumps(value, 5)
    return _ALONE + len(pickled).to_bytes(8, "little") + pickled if len(pickled) < LARGE else None


def is_telling(payload: bytes) -> bool:
    """Whether no other bytes stand for an equal value: a text, a number that isn't 0.0 nor NaN, and the like."""
    if payload[0] == _FLOAT:
        value = decode(payload)
        return bool(value and value == value)  # noqa: PLR0124 - NaN
    return payload[0] != PICKLED and payload[0] not in LIST_HEADS and payload[0] not in DICT_HEADS


def encode_each(values: list[Any], key: str | None = None, put: Put | None = None) -> list[bytes]:
    """What `encode` gives for each of the values. That all are plain is found out at once, where they are."""
    with undisturbed():
        if not is_plain(values):
            return [encode(value, key, put) for value in values]
        return [_small(value) or encode(value, key, put) for value in values]


def plainly(value: object) -> bytes | None:
    """The bytes of a value in msgpack, where that carries it exactly."""
    return _packed(value) if type(value) in SCALARS or is_plain(value) else None


def _packed(plain: object) -> bytes | None:
    try:
        return _pack(plain)
    except (ValueError, OverflowError, RecursionError):  # a lone surrogate, an int beyond 64 bits, no stack left
        return None


def _small(plain: object) -> bytes | None:
    packed = _packed(plain)
    return packed if packed is not None and len(packed) < LARGE else None


def encode_unseen(value: object) -> bytes:
    """The bytes of a value that nobody compares with another's: always a pickle, without looking through it first."""
    return b"".join(_pickle(value, None, None))


def decode(payload: Part) -> Any:
    """A value from its bytes. It is the caller's own, and shares no memory with the payload.

    Raises whatever importing or rebuilding the value's classes raises; `FileNotFoundError` where the payload refers to
    a file that has been removed.
    """
    try:
        return _unpack(payload) if payload[0] != PICKLED else _decoded(payload)
    except RecursionError:
        return on_its_own(_decoded, payload)


def _decoded(payload: Part) -> Any:
    if payload[0] != PICKLED:
        return _unpack(payload)
    if payload[: len(_ALONE)] == _ALONE:
        return loads(memoryview(payload)[len(_ALONE) + 8 :])
    if is_reference(payload):
        return _filed(blob_of(payload))
    return _composed(payload) if is_composite(payload) else _unpickle(memoryview(payload), bytearray)


def _filed(blob: Blob) -> Any:
    """A value from a file."""
    from cloaca.values import originals  # what reads no files does without

    with undisturbed():
        copy = originals.copy_of(blob.path)
        if copy is not None:
            return copy
        content = opened(blob)
        value = decode_content(content)
        return originals.given(blob.path, blob.size, value, is_plain=content[0] != PICKLED)


def inlined(payload: bytes) -> bytes:
    """The payload with all its bytes: those of the files, where it is a reference or holds some."""
    if is_reference(payload):
        return bytes(opened(blob_of(payload)))
    if not is_composite(payload):
        return payload
    held = composite_of(payload)
    return collected([None if element is None else inlined(element) for element in held.elements], held.keys)


def decode_content(content: memoryview) -> Any:
    """A value from a mapped payload, which is the caller's own: arrays share its memory."""
    with undisturbed():
        if content[0] != PICKLED:
            return _unpack(content)
        return _composed(content) if is_composite(content) else _unpickle(content, as_it_is)


def _composed(payload: Part) -> Any:
    """The list or dict of a composite's elements."""
    held = composite_of(payload)
    if held.keys is None:
        return [None if element is None else decode(element) for element in held.elements]
    return {decode(key): decode(element) for key, element in held.entries()}


@contextmanager
def undisturbed() -> Generator[None, None, None]:
    """Without the garbage collector, which would look through all that a large value is made of, again and again."""
    if not isenabled():
        yield
        return
    try:
        disable()
        yield
    finally:
        enable()


def is_plain(value: object) -> bool:
    """Whether msgpack carries the value exactly: plain types only, a tree, and no deeper than `MAX_DEPTH`."""
    return kinds_in(value, CONTAINERS, SCALARS, MAX_DEPTH) is not None


class _Parts:
    """The parts of a payload. They are views of the value's own memory, and are let go in the end."""

    def __init__(self, parts: list[Part]) -> None:
        self._parts = parts

    def __enter__(self) -> list[Part]:
        return self._parts

    def __exit__(self, *_: object) -> None:
        for part in self._parts:
            if isinstance(part, memoryview):
                part.release()


def _pickle(value: object, key: str | None, of_elements: Callable[[object], bytes] | None) -> list[Part]:
    from cloaca.values.pickles import pickled  # most values are plain, and it takes long to load

    return framed(pickled(value, key, of_elements))


def framed(parts: Sequence[Part]) -> list[Part]:
    """The parts of a pickled payload with what stands before and between them."""
    lengths = struct.pack(f"<{len(parts)}Q", *map(len, parts))
    head, *others = parts
    framed: list[Part] = [_head.pack(PICKLED, len(parts)) + lengths, head]
    end = len(framed[0]) + len(head)
    for part in others:
        framed += [bytes(-end % ALIGNMENT), part]
        end += -end % ALIGNMENT + len(part)
    return framed


def _unpickle(payload: memoryview, buffer: Callable[[memoryview], Any]) -> Any:
    pickled, *buffers = parts_of(payload)
    return loads(pickled, buffers=map(buffer, buffers))


def parts_of(payload: memoryview) -> Iterator[memoryview]:
    """The parts of a pickled payload: the pickle, and its buffers; or what else was framed."""
    _, count = _head.unpack_from(payload)
    lengths = struct.unpack_from(f"<{count}Q", payload, _head.size)
    return _cut(payload, _head.size + 8 * count, lengths)


def _cut(payload: memoryview, start: int, lengths: Iterable[int]) -> Iterator[memoryview]:
    for length in lengths:
        yield payload[start : start + length]
        start += length + -(start + length) % ALIGNMENT


def as_it_is(part: memoryview) -> memoryview:
    """What the buffers of a mapped payload are made into."""
    return part
