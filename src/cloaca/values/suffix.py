"""What one encoded list or dict has beyond another one, told from the bytes: what both have is not decoded."""

from collections.abc import Iterable
from typing import Any

from cloaca.values.codec import decode
from cloaca.values.composite import DICT_HEADS, LIST_HEADS, head_of


def added(before: bytes, after: bytes) -> Any:
    """What follows in the list or dict `after` what is in `before`, as one of its kind.

    `None` where it doesn't start with that byte for byte, or they are not both lists, or both dicts, in msgpack.

    >>> from cloaca.values.codec import encode
    >>> added(encode([1, 2]), encode([1, 2, 3])), added(encode({"a": 1}), encode({"a": 1, "b": 2}))
    ([3], {'b': 2})
    """
    suffix = _suffix(before, after)
    if suffix is None:
        return None
    count, content = suffix
    return decode(head_of(_kind(before), count) + content)


def extended(before: bytes, afters: Iterable[bytes]) -> tuple[bytes, list[Any]] | None:
    """The list or dict `before` with what follows it in each of `afters`: encoded, and what each has beyond it.

    `None` where one of them doesn't start with it. Whether dicts add the same members is not looked at.
    """
    suffixes = []
    for after in afters:
        suffix = _suffix(before, after)
        if suffix is None:
            return None
        suffixes.append(suffix)
    kind, head = _kind(before), _head(before)
    counts, contents = zip(*suffixes, strict=True)
    whole = head_of(kind, _count(before, head) + sum(counts)) + before[head:] + b"".join(contents)
    return whole, [decode(head_of(kind, count) + content) for count, content in suffixes]


def _suffix(before: bytes, after: bytes) -> tuple[int, bytes] | None:
    """How many elements or members `after` has beyond `before`, and their bytes."""
    heads = LIST_HEADS if before[0] in LIST_HEADS else DICT_HEADS
    head, longer_head = heads.get(before[0]), heads.get(after[0])
    if head is None or longer_head is None or not after.startswith(before[head:], longer_head):
        return None
    return _count(after, longer_head) - _count(before, head), after[longer_head + len(before) - head :]


def _kind(payload: bytes) -> type:
    return list if payload[0] in LIST_HEADS else dict


def _head(payload: bytes) -> int:
    return LIST_HEADS.get(payload[0]) or DICT_HEADS[payload[0]]


def _count(payload: bytes, head: int) -> int:
    return payload[0] & 0x0F if head == 1 else int.from_bytes(payload[1:head], "big")
