"""Lists as payloads, up to the first element that can't be sent, or not be rebuilt; and cut into their elements.

A list is encoded and decoded in one go. Only where that fails, or where just some of its elements are asked for, they
are looked at one by one.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from io import BytesIO
from pickle import Unpickler
from typing import Any, NamedTuple

from msgspec import Raw, msgpack

from cloaca.errors import EncodeError
from cloaca.values.blobs import Part, content_of
from cloaca.values.codec import decode, encode, encode_unseen, parts_of
from cloaca.values.composite import DICT_HEADS, LIST_HEADS, collected, composite_of, is_composite
from cloaca.wire.strike import is_strike

_LIST = b"\x80\x05]\x94."
_STOP = b"."

_elements = msgpack.Decoder(list[Raw]).decode
_entries = msgpack.Decoder(dict[Any, Raw]).decode


class Encoded(NamedTuple):
    """The payload of a list of `length` elements; `error` tells why the one after them isn't there, if there is one."""

    payload: bytes
    length: int
    error: EncodeError | None


class Decoded(NamedTuple):
    """The elements; `error` is what rebuilding the one after them raised, if it did."""

    elements: list[Any]
    error: Exception | None


def encode_list(elements: list[Any]) -> Encoded:
    """The bytes of a list that nobody compares with another.

    >>> decode_list(encode_list([1, (2,)]).payload).elements
    [1, (2,)]
    """
    try:
        return Encoded(encode_unseen(elements), len(elements), None)
    except EncodeError:
        payloads: list[bytes] = []
    for element in elements:
        try:
            payloads.append(encode_unseen(element))
        except EncodeError as error:
            return Encoded(collected(payloads), len(payloads), error)
    return Encoded(collected(payloads), len(payloads), None)


def decode_list(payload: bytes) -> Decoded:
    """A list from its bytes. Raises `FileNotFoundError` where the payload refers to a file that has been removed."""
    try:
        return Decoded(decode(payload), None)
    except Exception as error:  # unpickling runs user code; what it raises is seen again below, in its place
        if is_strike(error, partial(decode, payload)):
            raise
        elements: list[Any] = []
    for load in _loads(payload):
        try:
            elements.append(load())
        except Exception as error:  # noqa: BLE001 - as above
            return Decoded(elements, error)
    return Decoded(elements, None)


def encode_apart(elements: list[Any]) -> tuple[bytes, dict[int, EncodeError]]:
    """The bytes of a list, and by place what could not be sent: it is `None` there.

    Other than those of `encode_list`, each element can be rebuilt whatever happens to those before it.

    >>> payload, errors = encode_apart([1, (2,)])
    >>> decode_apart(payload), errors
    (([1, (2,)], {}), {})
    """
    payloads: list[bytes | None] = []
    errors: dict[int, EncodeError] = {}
    with suppress(EncodeError):  # which ones they are shows below
        payload = encode(elements)
        if payload[0] in LIST_HEADS:
            return payload, errors
    for place, element in enumerate(elements):
        try:
            payloads.append(encode_unseen(element))
        except EncodeError as error:
            errors[place] = error
            payloads.append(None)
    return collected(payloads), errors


def decode_apart(payload: bytes) -> tuple[list[Any], dict[int, Exception]]:
    """A list from the bytes that `encode_apart` gave, and by place what rebuilding an element raised."""
    content = memoryview(content_of(payload))
    if not is_composite(content):
        return decode(payload), {}
    elements: list[Any] = []
    errors: dict[int, Exception] = {}
    for place, element in enumerate(composite_of(content).elements):
        load = partial(decode, b"\xc0" if element is None else element)
        try:
            elements.append(load())
        except Exception as error:  # unpickling runs user code
            if is_strike(error, load):
                raise
            errors[place] = error
            elements.append(None)
    return elements, errors


def elements_of(payload: Part) -> list[Part] | dict[Any, Part] | None:
    """The payloads of the elements of a list or dict, by key; `None` where it can only be decoded as a whole."""
    content = memoryview(content_of(payload))
    if is_composite(content):
        held = composite_of(content)
        if held.keys is not None:
            return {decode(key): element for key, element in held.entries()}
        return [b"\xc0" if element is None else element for element in held.elements]
    if content[0] in LIST_HEADS:
        return [memoryview(element) for element in _elements(content)]
    if content[0] in DICT_HEADS:
        return {key: memoryview(element) for key, element in _entries(content).items()}
    return None


def _loads(payload: bytes) -> Sequence[Callable[[], Any]]:
    """What gives the elements of a list, to be called in this order."""
    content = memoryview(content_of(payload))
    if is_composite(content):
        return [partial(decode, element) for element in composite_of(content).elements if element is not None]
    pickled, *buffers = parts_of(content)
    pickles = _cut(bytes(pickled))
    unpickler = Unpickler(BytesIO(_LIST + b"".join(pickles)), buffers=map(bytearray, buffers))
    unpickler.load()  # the list itself has the first place in the memo
    return [unpickler.load] * len(pickles)


def _cut(pickled: bytes) -> list[bytes]:
    """Pickles of the elements of a pickled list, to be loaded one after the other by one unpickler, after a list.

    An element begins with the last instruction that was met when there were only the elements before it on the stack.
    """
    from pickletools import genops, markobject  # a large module that is hardly ever needed

    file, code, end = BytesIO(pickled), bytearray(), 0
    depths = [0]  # of the stack, and of what lies on it from each mark on
    begins: dict[tuple[int, int], int] = {}  # by how many marks there are, and how deep it is from the last one on
    pickles: list[bytes] = []
    for instruction, _, _ in genops(file):
        start, end = end, file.tell()
        if instruction.name == "FRAME":  # its length won't be right any more
            continue
        here = begins[len(depths), depths[-1]] = len(code)
        code += pickled[start:end]
        popped, pushed = instruction.stack_before, instruction.stack_after
        count = 0
        if markobject in popped:
            count = depths.pop()
            popped = popped[: popped.index(markobject)]
        if pushed == [markobject]:
            depths.append(0)
            continue
        depths[-1] += len(pushed) - len(popped)
        if depths == [1] and instruction.name in {"APPEND", "APPENDS"}:
            edges = [begins[2, place] for place in range(count)] if count else [begins[1, 1]]
            spans = zip(edges, [*edges[1:], here], strict=True)
            pickles += [bytes(code[begin:past]) + _STOP for begin, past in spans]
    return pickles
