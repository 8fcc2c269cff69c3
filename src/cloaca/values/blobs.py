"""Large values in files that processes map instead of sending them around.

A large value is written to a file once, by the process that made it; what travels in its place is a *reference*, a few
dozen bytes. Who reads the value maps the file copy-on-write: arrays come out without a copy, writable, and what is
written to them is seen by nobody else. A file holds exactly the bytes that the payload would have been.

A file is never changed once its reference has been given away, nor cut short: a mapping stays good after the file has
been removed. Where there is no mapping to be had (see `cloaca.values.mappings`), files are read.

A folder that can't be used, whatever the reason, is one of many: the next one serves. Where none can, values are sent.

When files go is not decided here: see `cloaca.values.storage` and `cloaca.history.lifetimes`.
"""

import errno
import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from msgspec import MsgspecError, Struct, msgpack

from cloaca.errors import DecodeError, StorageFullError
from cloaca.values import mappings
from cloaca.values.composite import composite_of, is_composite
from cloaca.wire.shortage import passes, patiently
from cloaca.wording import summary_of

SMALL = 1 << 12
"""How many bytes a value takes at least for the time to be looked at that it takes to make or to rebuild it."""

LARGE = 1 << 16
"""How many bytes a value takes to be worth a file: below, it is quicker to send it."""

MOST_SENT = 2**32 - 1
"""How many bytes of a value a message can carry: a larger one needs a file."""

MARK = b"\xc1\0\0\0\0"
REFERS = MARK[:1]
_FIRST = MARK[0]
_LENGTH = len(MARK)
"""How a reference begins. A pickled payload begins so too, but never has no parts."""

_PIECES = 512
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

Part = bytes | memoryview
Content = TypeVar("Content", bound=Part)
_Found = TypeVar("_Found")


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


def references_among(payloads: Iterable[bytes | None]) -> list[bytes]:
    """Those of the payloads that refer to files."""
    return [payload for payload in payloads if payload is not None and payload[:_LENGTH] == MARK]


def reference(blob: Blob) -> bytes:
    """The payload that refers to a file."""
    return MARK + msgpack.encode(blob)


def blob_of(payload: Part) -> Blob:
    """What a reference says."""
    return msgpack.decode(memoryview(payload)[len(MARK) :], type=Blob)


def size_of(payload: Part) -> int:
    """How many bytes the value takes, here or in files."""
    if not payload or payload[0] != _FIRST:
        return len(payload)
    if is_composite(payload):
        return len(payload) + sum(blob_of(held).size for held in references_in(payload))
    return blob_of(payload).size if is_reference(payload) else len(payload)


def is_small(payload: Part) -> bool:
    """Whether to make or rebuild the value takes so little that it isn't worth a look at the clock."""
    return len(payload) < SMALL and payload[:1] != REFERS


def references_in(payload: Part) -> Iterator[bytes]:
    """The references that a payload is or holds."""
    if is_reference(payload):
        yield bytes(payload)
    elif is_composite(payload):
        elements = composite_of(payload).elements
        yield from (element for element in elements if element is not None and is_reference(element))


def is_sound(payload: bytes) -> bool:
    """Whether a payload is what it seems to be, as far as anybody but its reader looks at it."""
    try:
        return bool(payload) and size_of(payload) >= 0
    except (MsgspecError, ValueError):
        return False


# ---- writing -------------------------------------------------------------------------------------------------------


class NoFolderError(Exception):
    """No folder can be used for large values: each is gone, can't be written to, and so on."""


def write(folders: Sequence[str], name: str, parts: Sequence[Part]) -> tuple[str, int]:
    """Write the parts, one after the other, to a new file in the first folder with room; returns its path and size.

    Raises:
        StorageFullError: no folder has room, of those that can be used; or the value can't be sent instead.
        NoFolderError: none can be used.
    """
    size = sum(len(part) for part in parts)
    full: list[tuple[str, int]] = []
    unusable: list[tuple[str, str]] = []
    for folder in folders:
        path, room = f"{folder}/{name}", 0
        try:
            room = _room(folder)
            if room > size:
                write_file(path, parts)
                return path, size
            full.append((folder, room))
        except OSError as error:
            if error.errno in _FULL:
                full.append((folder, room))
            else:
                unusable.append((folder, error.strerror or str(error)))
    if full or size > MOST_SENT:
        raise StorageFullError(size, tuple(full), unusable=tuple(unusable))
    raise NoFolderError(*unusable)


def _room(folder: str) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def write_file(path: str, parts: Sequence[Part]) -> None:
    """Write a file. Where that fails, nothing is left of it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        left = [memoryview(part) for part in parts if len(part)]
        while left:
            _drop(left, os.writev(descriptor, left[:_PIECES]))
    except BaseException:
        with suppress(OSError):
            os.unlink(path)
        raise
    finally:
        os.close(descriptor)


def _drop(left: list[memoryview], count: int) -> None:
    """Take `count` bytes off the front."""
    while left and count >= len(left[0]):
        count -= len(left.pop(0))
    if count:
        left[0] = left[0][count:]


# ---- reading -------------------------------------------------------------------------------------------------------


def content_of(payload: Part) -> Part:
    """The bytes of a payload: those of the file, in memory of the caller's own, where it refers to one."""
    return opened(blob_of(payload)) if is_reference(payload) else payload


def opened(blob: Blob) -> memoryview:
    """The bytes of a file, in memory of the caller's own that lasts as long as anybody uses it.

    Raises:
        FileNotFoundError: the file has been removed, and wasn't preserved.
        OSError: it can't be read.
    """
    try:
        return _content(blob, _read)
    except OSError as error:
        kept = _preserved.get(blob.path)
        if kept is not None and kept.content is not None:
            return memoryview(bytearray(kept.content))
        if not passes(error):
            raise
    return patiently(partial(_content, blob, _read))


def _content(blob: Blob, unmapped: Callable[[int, Blob], _Found]) -> memoryview | _Found:
    """The file, mapped; what `unmapped` finds in it, where there is no mapping to be had."""
    spare = mappings.taken_over(blob.path, blob.size)
    if spare is not None:
        return spare
    descriptor = os.open(blob.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        if size != blob.size:  # a mapping of what isn't there would end the process that looks at it
            raise OSError(errno.EIO, f"{size:,} bytes, of {blob.size:,} that were written", blob.path)
        mapped = mappings.mapped(blob.path, descriptor, size)
        return unmapped(descriptor, blob) if mapped is None else mapped
    finally:
        os.close(descriptor)


def _read(descriptor: int, blob: Blob) -> memoryview:
    """The file, read."""
    content = memoryview(bytearray(blob.size))
    left = content
    while left:
        count = os.readv(descriptor, [left])
        if not count:
            raise OSError(errno.EIO, f"{len(left):,} of {blob.size:,} bytes are missing", blob.path)
        left = left[count:]
    return content


def unreadable(key: str, writer: str, payload: Part, error: Exception) -> DecodeError:
    """What tells that reading the value of a key raised that."""
    is_lost = isinstance(error, OSError) and error.filename in {blob_of(held).path for held in references_in(payload)}
    told = DecodeError(key, writer, summary_of(error), is_lost=is_lost)
    told.__cause__ = error
    return told


def preserve(blob: Blob) -> object:
    """Keep the bytes of a file readable in this process, after its removal too, as long as what is returned lives.

    A mapping does that. Where there is none to be had, the bytes are read when the file's folder goes (`secure`).
    """
    kept = _preserved.get(blob.path)
    if kept is None:
        kept = _preserved[blob.path] = _Kept(blob, _mapped_file(blob))
    return kept


def secure(folder: str) -> None:
    """Read what is to outlive the folder and isn't mapped. Each file goes then, so that nothing is there twice."""
    for kept in list(_preserved.values()):
        if kept.content is None and kept.blob.path.startswith(f"{folder}/"):
            with suppress(OSError, MemoryError):  # then reading the value tells
                kept.content = patiently(partial(_content, kept.blob, _read))
                os.unlink(kept.blob.path)


def _mapped_file(blob: Blob) -> memoryview | None:
    with suppress(OSError):
        return _content(blob, lambda _descriptor, _blob: None)
    return None


class _Kept:
    """The bytes of a file that may have been removed."""

    def __init__(self, blob: Blob, content: memoryview | None) -> None:
        self.blob = blob
        self.content = content


_preserved: "weakref.WeakValueDictionary[str, _Kept]" = weakref.WeakValueDictionary()


def is_content(blob: Blob, parts: Sequence[Part]) -> bool:
    """Whether the parts, one after the other, are the bytes of a file. One that can't be read says nothing."""
    if blob.size != sum(map(len, parts)):
        return False
    try:
        there = opened(blob)
    except OSError:
        return False
    start = 0
    for part in parts:
        if not same_bytes(there[start : start + len(part)], part):
            return False
        start += len(part)
    return True


def same_bytes(one: Part, other: Part) -> bool:
    """Whether two buffers of one length hold the same bytes. Comparing memory views would look at each in turn."""
    return bool(mappings.libc().memcmp(_address(one), _address(other), len(one)) == 0)


def _address(part: Part) -> Any:
    if isinstance(part, bytes):
        return part
    import ctypes  # as above

    return ctypes.byref(ctypes.c_char.from_buffer(part)) if len(part) and not part.readonly else part.tobytes()


def place_of(content: memoryview) -> int:
    """Where some bytes lie that may be written to; of others, what stands for the object that has them."""
    if content.readonly:
        return id(content.obj)
    import ctypes  # as above

    return ctypes.addressof(ctypes.c_char.from_buffer(content))
