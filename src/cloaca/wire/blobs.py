"""Large values in files that processes map instead of sending them around.

A large value is written to a file once, by the process that made it; what travels in its place is a *reference*, a few
dozen bytes. Who reads the value maps the file copy-on-write: arrays come out without a copy, writable, and what is
written to them is seen by nobody else. A file holds exactly the bytes that the payload would have been.

A file is never changed once its reference has been given away, nor cut short: a mapping stays good after the file has
been removed. Mappings hold no descriptor (`mmap.mmap` would keep one each).

When files go is not decided here: see `cloaca.running.storage` and `cloaca.engine.lifetimes`.
"""

import ctypes
import errno
import os
import weakref
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from msgspec import MsgspecError, Struct, msgpack

from cloaca.errors import StorageFullError
from cloaca.wire.composite import composite_of, is_composite

LARGE = 1 << 16
"""How many bytes a value takes to be worth a file: below, it is quicker to send it."""

MARK = b"\xc1\0\0\0\0"
"""How a reference begins. A pickled payload begins so too, but never has no parts."""

_PIECES = 512
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_PROT_READ, _PROT_WRITE = 1, 2
_MAP_PRIVATE = 2
_MAP_NORESERVE = 0x4000 if os.uname().sysname == "Linux" else 0x40

Part = bytes | memoryview


class Blob(Struct, frozen=True, array_like=True, gc=False):
    """What a reference says: the file, its size in bytes, and whether merging may look into the value.

    Only lists and dicts are merged by their structure: of any other value that was superseded, nobody needs the bytes.
    """

    path: str
    size: int
    is_structure: bool


def is_reference(payload: Part) -> bool:
    """Whether a payload refers to a file."""
    return payload[: len(MARK)] == MARK


def reference(blob: Blob) -> bytes:
    """The payload that refers to a file."""
    return MARK + msgpack.encode(blob)


def blob_of(payload: Part) -> Blob:
    """What a reference says."""
    return msgpack.decode(memoryview(payload)[len(MARK) :], type=Blob)


def size_of(payload: bytes) -> int:
    """How many bytes the value takes, here or in files."""
    if is_composite(payload):
        return len(payload) + sum(blob_of(held).size for held in references_in(payload))
    return blob_of(payload).size if is_reference(payload) else len(payload)


def references_in(payload: bytes) -> Iterator[bytes]:
    """The references that a payload is or holds."""
    if is_reference(payload):
        yield payload
    elif is_composite(payload):
        elements = composite_of(payload).elements
        yield from (element for element in elements if element is not None and is_reference(element))


def is_sound(payload: bytes) -> bool:
    """Whether a payload is what it seems to be, as far as anybody but its reader looks at it."""
    if payload and payload[0] != MARK[0]:
        return True
    try:
        return bool(payload) and size_of(payload) >= 0
    except (MsgspecError, ValueError):
        return False


# ---- writing -------------------------------------------------------------------------------------------------------


def write(folders: Sequence[str], name: str, parts: Sequence[Part]) -> tuple[str, int]:
    """Write the parts, one after the other, to a new file in the first folder with room; returns its path and size.

    Raises:
        StorageFullError: no folder has room.
    """
    size = sum(len(part) for part in parts)
    for folder in folders:
        path = f"{folder}/{name}"
        if _has_room(folder, size) and _written(path, parts):
            return path, size
    raise StorageFullError(size, tuple((folder, _room(folder)) for folder in folders))


def _has_room(folder: str, size: int) -> bool:
    return _room(folder) > size


def _room(folder: str) -> int:
    try:
        found = os.statvfs(folder)
    except OSError:
        return 0
    return found.f_bavail * found.f_frsize


def _written(path: str, parts: Sequence[Part]) -> bool:
    """Write a file; `False` where the folder turned out to be full, and nothing is left of it."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in _FULL:
            return False
        raise
    try:
        left = [memoryview(part) for part in parts if len(part)]
        while left:
            _drop(left, os.writev(descriptor, left[:_PIECES]))
    except BaseException as error:
        os.unlink(path)  # noqa: PTH108 - a string from here to there
        if isinstance(error, OSError) and error.errno in _FULL:
            return False
        raise
    finally:
        os.close(descriptor)
    return True


def _drop(left: list[memoryview], count: int) -> None:
    """Take `count` bytes off the front."""
    while left and count >= len(left[0]):
        count -= len(left.pop(0))
    if count:
        left[0] = left[0][count:]


# ---- reading -------------------------------------------------------------------------------------------------------


def opened(blob: Blob) -> memoryview:
    """The bytes of a file, in a mapping of the caller's own that lasts as long as anybody uses it.

    Raises:
        FileNotFoundError: the file has been removed, and wasn't preserved.
    """
    try:
        descriptor = os.open(blob.path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        kept = _preserved.get(blob.path)
        if kept is None:
            raise
        return memoryview(bytearray(kept.content))
    try:
        address = _libc().mmap(None, blob.size, _PROT_READ | _PROT_WRITE, _MAP_PRIVATE | _MAP_NORESERVE, descriptor, 0)
    finally:
        os.close(descriptor)
    if address == _FAILED:
        number = ctypes.get_errno()
        raise OSError(number, f"{os.strerror(number)}, mapping {blob.size:,} bytes", blob.path)
    content = (ctypes.c_ubyte * blob.size).from_address(address)
    weakref.finalize(content, _libc().munmap, address, blob.size).atexit = False
    return memoryview(content).cast("B")


def preserve(blob: Blob) -> object:
    """Keep the bytes of a file readable in this process, after its removal too, as long as what is returned lives."""
    kept = _preserved.get(blob.path)
    if kept is None:
        kept = _preserved[blob.path] = _Kept(opened(blob))
    return kept


class _Kept:
    """The bytes of a file that may have been removed."""

    def __init__(self, content: memoryview) -> None:
        self.content = content


_preserved: "weakref.WeakValueDictionary[str, _Kept]" = weakref.WeakValueDictionary()


def is_content(blob: Blob, parts: Sequence[Part]) -> bool:
    """Whether the parts, one after the other, are the bytes of a file."""
    if blob.size != sum(map(len, parts)):
        return False
    there = opened(blob)
    start = 0
    for part in parts:
        if not same_bytes(there[start : start + len(part)], part):
            return False
        start += len(part)
    return True


def same_bytes(one: Part, other: Part) -> bool:
    """Whether two buffers of one length hold the same bytes. Comparing memory views would look at each in turn."""
    return bool(_libc().memcmp(_address(one), _address(other), len(one)) == 0)


def _address(part: Part) -> Any:
    if isinstance(part, bytes):
        return part
    return ctypes.byref(ctypes.c_char.from_buffer(part)) if len(part) and not part.readonly else part.tobytes()


_FAILED = ctypes.c_void_p(-1).value


@cache
def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_longlong,
    )
    libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    libc.memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
    return libc
