"""Messages on a byte stream: eight bytes of head, then MessagePack. Both ends of a worker's socket use it.

A head is a length of five bytes, and three that are the same in all. What is written to the socket by mistake, as by a
library that goes on using a descriptor that it has closed, so shows at once, wherever in the stream it stands.
"""

import struct
from collections.abc import Callable, Iterator
from socket import socket
from typing import Generic, TypeVar

import msgspec

from cloaca.wire.messages import Down, Up

_HEAD = struct.Struct("<Q")
_SIGN = 0xC10ACA << 40
_LONGEST = (1 << 40) - 1
_CAPACITY = 1 << 18
_SHOWN = 24  # bytes of what makes no sense

Message = TypeVar("Message")


class HungUp(EOFError):  # noqa: N818 - no fault: so an idle worker learns that it isn't needed any more
    """The other side has closed the stream."""


class Garbled(Exception):  # noqa: N818 - what has come, rather than what was done wrong
    """What the other side sends makes no sense; the text says what came."""


_encode = msgspec.msgpack.Encoder().encode
decode_down = msgspec.msgpack.Decoder(list[Down]).decode
decode_up = msgspec.msgpack.Decoder(Up).decode


def frame(message: Up | list[Down]) -> bytes:
    """One message (down: several) as bytes, ready to be sent."""
    body = _encode(message)
    return _HEAD.pack(len(body) | _SIGN) + body


def needed(data: bytes | memoryview, start: int = 0) -> int:
    """How many bytes a frame takes that begins there, as far as they tell. Raises `Garbled`."""
    if len(data) - start < _HEAD.size:
        return _HEAD.size
    length: int = _HEAD.unpack_from(data, start)[0] ^ _SIGN
    if length > _LONGEST:
        raise Garbled(f"no message begins with {bytes(data[start : start + _SHOWN])!r}")
    return _HEAD.size + length


def messages_in(data: bytes) -> tuple[list[Down], bytes]:
    """What the frames say that are there as a whole, and the rest. Raises `Garbled` where they make no sense."""
    view, found, start = memoryview(data), list[Down](), 0
    while (past := start + needed(data, start)) <= len(data):
        body = view[start + _HEAD.size : past]
        try:
            found += decode_down(body)
        except msgspec.MsgspecError as error:  # and nothing else: an alarm of a task may strike here
            raise _no_message(body, error) from error
        start = past
    return found, data[start:]


def _no_message(body: memoryview, error: Exception) -> Garbled:
    return Garbled(f"{bytes(body[:_SHOWN])!r} is no message: {error}")


class FrameReader(Generic[Message]):
    """Cuts what a socket delivers into frames, and reads their bodies with `decode`."""

    def __init__(self, socket: socket, decode: Callable[[memoryview], Message]) -> None:
        self._socket = socket
        self._decode = decode
        self._view = memoryview(bytearray(_CAPACITY))
        self._start = self._end = 0

    def receive(self) -> Iterator[Message]:
        """Receive once, and yield what is complete.

        Raises:
            HungUp: the other side has closed the stream.
            Garbled: it sends what makes no sense, or a message that takes more memory than there is.
            BlockingIOError: the socket doesn't block, and has nothing.
        """
        received = self._socket.recv_into(self._view[self._end :])
        if not received:
            raise HungUp
        self._end += received
        decode, view, start, end = self._decode, self._view, self._start, self._end
        while (body := start + _HEAD.size) <= end:
            past = body + (_HEAD.unpack_from(view, start)[0] ^ _SIGN)
            if past > end:
                break
            self._start = start = past
            try:
                message = decode(view[body:past])
            except Exception as error:
                raise _no_message(view[body:past], error) from error
            yield message
        if start == self._end and len(view) == _CAPACITY:
            self._start = self._end = 0
        else:
            self._make_room()

    def _make_room(self) -> None:
        """Have space for what comes next. Of a large frame it is as much as has come of it: a length is only a word."""
        rest = self._view[self._start : self._end]
        wanted = needed(rest)
        if wanted > _CAPACITY:
            fits = self._start == 0 and self._end < len(self._view)
        else:
            fits = len(self._view) == _CAPACITY and self._start + wanted <= _CAPACITY and self._end < _CAPACITY
        if fits:
            return
        try:
            self._view = memoryview(bytearray(max(_CAPACITY, min(wanted, 2 * len(rest)))))
        except MemoryError as error:
            raise Garbled(f"a message of {wanted:,} bytes, for which there is no memory") from error
        self._view[: len(rest)] = rest
        self._start, self._end = 0, len(rest)
