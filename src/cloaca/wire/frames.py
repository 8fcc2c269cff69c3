"""Messages on a byte stream: eight bytes of length, then MessagePack. Both ends of a worker's socket use it."""

import struct
from collections.abc import Callable, Iterator
from socket import socket
from typing import Generic, TypeVar

import msgspec

from cloaca.wire.messages import Down, Up

_LENGTH = struct.Struct("<Q")
_CAPACITY = 1 << 18
_LARGEST = 1 << 40

Message = TypeVar("Message")


class HungUp(EOFError):  # noqa: N818 - no fault: so an idle worker learns that it isn't needed any more
    """The other side has closed the stream, or sends what makes no sense."""


_encode = msgspec.msgpack.Encoder().encode
decode_down = msgspec.msgpack.Decoder(list[Down]).decode
decode_up = msgspec.msgpack.Decoder(Up).decode


def frame(message: Up | list[Down]) -> bytes:
    """One message (down: several) as bytes, ready to be sent."""
    body = _encode(message)
    return _LENGTH.pack(len(body)) + body


def needed(start: bytes) -> int:
    """How many bytes a frame takes that begins with these, as far as they tell."""
    return _LENGTH.size + (_LENGTH.unpack_from(start)[0] if len(start) >= _LENGTH.size else 0)


def messages_in(data: bytes) -> tuple[list[Down], bytes]:
    """What the frames say that are there as a whole, and the rest. Raises `HungUp` where they make no sense."""
    view, found, start = memoryview(data), list[Down](), 0
    try:
        while (body := start + _LENGTH.size) <= len(data):
            past = body + _LENGTH.unpack_from(data, start)[0]
            if past > len(data):
                break
            found += decode_down(view[body:past])
            start = past
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise HungUp from error
    return found, data[start:]


def encodable(text: str) -> str:
    """The text with what UTF-8 can't carry (lone surrogates, from file names mostly) written as escapes."""
    return text.encode(errors="backslashreplace").decode()


def is_encodable(text: str) -> bool:
    """Whether UTF-8 can carry the text: without lone surrogates. No key, name or message has any."""
    return text.isascii() or text == text.encode(errors="replace").decode()


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
            HungUp: the other side has closed the stream, or sends what makes no sense.
            BlockingIOError: the socket doesn't block, and has nothing.
        """
        received = self._socket.recv_into(self._view[self._end :])
        if not received:
            raise HungUp
        self._end += received
        decode, view, start, end = self._decode, self._view, self._start, self._end
        while (body := start + _LENGTH.size) <= end:
            past = body + _LENGTH.unpack_from(view, start)[0]
            if past - body > _LARGEST:
                raise HungUp
            if past > end:
                break
            self._start = start = past
            try:
                message = decode(view[body:past])
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise HungUp from error
            yield message
        self._make_room()

    def _make_room(self) -> None:
        """Have space for the rest of the unfinished frame behind it, or for a fresh one."""
        rest = self._view[self._start : self._end]
        needed = _LENGTH.size
        if len(rest) >= needed:
            needed += _LENGTH.unpack_from(rest)[0]
        wanted = max(_CAPACITY, needed)
        if wanted == len(self._view) and self._start + needed <= wanted and self._end < wanted:
            return
        if wanted != len(self._view) or rest:
            self._view = memoryview(bytearray(wanted))
            self._view[: len(rest)] = rest
        self._start, self._end = 0, len(rest)
