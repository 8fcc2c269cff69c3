"""Composites: a list or dict made of payloads without opening them. What the instances of a mapped task set, collected.

Where it can be done, what comes out are the very bytes that encoding the list or dict would give. Otherwise it is a
payload of its own kind, which holds those of its elements: pickles, and references to files.
"""

from collections.abc import Iterator, Sequence

from msgspec import Struct, msgpack

MARK = b"\xc1\xff\xff\xff\xff"
"""How a composite begins. A pickled payload begins so too, but never has that many parts."""

_PICKLED = MARK[0]
_FIX = 16
_SHORT = 1 << 16
LIST_HEADS = {**dict.fromkeys(range(0x90, 0xA0), 1), 0xDC: 3, 0xDD: 5}
DICT_HEADS = {**dict.fromkeys(range(0x80, 0x90), 1), 0xDE: 3, 0xDF: 5}
"""How many bytes of a list or a dict in msgpack come before what is in it, by the first of them."""

_HEADS: dict[type, tuple[int, int, int]] = {list: (0x90, 0xDC, 0xDD), dict: (0x80, 0xDE, 0xDF)}


class Composite(Struct, frozen=True, array_like=True, gc=False):
    """What a composite holds: its elements' payloads, and for a dict as many of its keys; `None`: an empty place."""

    elements: Sequence[bytes | None]
    keys: Sequence[bytes] | None = None

    def entries(self) -> Iterator[tuple[bytes, bytes]]:
        """The keys and elements of a dict, without empty places."""
        for key, element in zip(self.keys or (), self.elements, strict=True):
            if element is not None:
                yield key, element


_decode = msgpack.Decoder(Composite).decode


def is_composite(payload: bytes | memoryview) -> bool:
    """Whether a payload is one that holds payloads."""
    return payload[: len(MARK)] == MARK


def composite_of(payload: bytes | memoryview) -> Composite:
    """What a composite holds."""
    return _decode(memoryview(payload)[len(MARK) :])


def collected(payloads: Sequence[bytes | None], keys: Sequence[bytes] | None = None) -> bytes:
    """The payload of a list of these values, or of a dict where there are `keys`, as many of them.

    `None` stands for a place that is empty: it is `None` in a list, and no entry in a dict.

    >>> from cloaca.values.codec import decode, encode
    >>> collected([encode(1), None, encode("x")]) == encode([1, None, "x"])
    True
    >>> decode(collected([encode((1, 2)), None], [encode("north"), encode("south")]))
    {'north': (1, 2)}
    """
    made = Composite(payloads, keys)
    if keys is not None:
        parts = [part for entry in made.entries() for part in entry]
        head = head_of(dict, len(parts) // 2)
    else:
        parts = [b"\xc0" if payload is None else payload for payload in payloads]
        head = head_of(list, len(parts))
    if any(part[0] == _PICKLED for part in parts):
        return MARK + msgpack.encode(made)
    return head + b"".join(parts)


def head_of(kind: type, count: int) -> bytes:
    """How msgpack begins a list or dict of so many."""
    fixed, short, long = _HEADS[kind]
    if count < _FIX:
        return bytes([fixed | count])
    if count < _SHORT:
        return bytes([short]) + count.to_bytes(2, "big")
    return bytes([long]) + count.to_bytes(4, "big")
