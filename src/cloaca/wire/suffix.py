"""What one encoded list has beyond another one, told from the bytes: what both have is not decoded."""

from cloaca.wire.codec import decode

_HEADS = {**dict.fromkeys(range(0x90, 0xA0), 1), 0xDC: 3, 0xDD: 5}
"""How many bytes of a list in msgpack come before its elements, by the first of them."""


def added(before: bytes, after: bytes) -> list[object] | None:
    """The elements of the list `after` that follow those of the list `before`.

    `None` where it doesn't start with them byte for byte, or one of the two is no list in msgpack.

    >>> from cloaca.wire.codec import encode
    >>> added(encode([1, 2]), encode([1, 2, 3]))
    [3]
    """
    head, longer_head = _HEADS.get(before[0]), _HEADS.get(after[0])
    if head is None or longer_head is None or not after.startswith(before[head:], longer_head):
        return None
    count = _count(after, longer_head) - _count(before, head)
    found: list[object] = decode(b"\xdd" + count.to_bytes(4, "big") + after[longer_head + len(before) - head :])
    return found


def _count(payload: bytes, head: int) -> int:
    return payload[0] & 0x0F if head == 1 else int.from_bytes(payload[1:head], "big")
