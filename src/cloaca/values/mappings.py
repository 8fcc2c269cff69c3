"""Mappings: files in the memory of this process, copy-on-write, and the one that the next reader may take over.

A mapping holds no descriptor (`mmap.mmap` would keep one). How many a process may have is limited, and its own memory
needs some: beyond `MOST_MAPPINGS` there is none to be had.

Of a fresh mapping each page is met anew, and given back in the end: of a large array that takes longer than to sum it
up. So a worker keeps the last one that was let go of, *spare*, for a task that reads the same value next. Nobody can
have changed it: nobody has a reference to it any more, and the kernel tells that no page of it was written to (such a
page is no page of the file any more). Where that can't be told it goes. So it does when a task begins that isn't sent
the value, and when the worker has nothing to do: a spare one never keeps the memory of a file that was removed.

Roads not taken: to have the kernel fill a fresh mapping at once (`MADV_POPULATE_READ`) takes as long as meeting its
pages; pages of 2 MB are mostly not to be had in shared memory. What was decoded can't be kept so, as nobody can tell
whether an object was changed: see `values/originals`.
"""

import os
import sys
import weakref
from collections.abc import Container
from functools import cache
from typing import Any

MOST_MAPPINGS = 1 << 14
"""A quarter of what Linux gives a process, for all that it does."""

WORTH = 1 << 22
"""How many bytes a spare mapping has at least: with fewer, it is soon made anew."""

_PROT_READ, _PROT_WRITE = 1, 2
_FAILED = 2 * sys.maxsize + 1
"""-1 as an address."""
_MAP_PRIVATE = 2
_MAP_NORESERVE = 0x4000 if os.uname().sysname == "Linux" else 0x40

_PAGES = "/proc/self/pagemap"
_ENTRY = 8
"""How many bytes tell of a page; the last of them has the flags."""
_UNTOUCHED = b"\x00\xa0\xa1"
"""A page that was never met, or is there and belongs to a file; mapped here alone, or by others too."""

_all: set[int] = set()
"""Where those of this process begin."""
_spare: dict[str, tuple[int, int]] = {}
"""The spare one, by the path of its file: where it begins, and its size."""
_keeps = False


def mapped(path: str, descriptor: int, size: int) -> memoryview | None:
    """An open file, mapped; `None` where there is no mapping to be had. It goes with the last one who uses it."""
    if len(_all) >= MOST_MAPPINGS:
        return None
    address = libc().mmap(None, size, _PROT_READ | _PROT_WRITE, _MAP_PRIVATE | _MAP_NORESERVE, descriptor, 0)
    if address == _FAILED:
        return None
    _all.add(address)
    return _view(path, address, size)


def taken_over(path: str, size: int) -> memoryview | None:
    """The spare mapping, if it is one of that file."""
    found = _spare.pop(path, None) if _spare else None
    if found is None:
        return None
    view = _view(path, *found)
    return view if len(view) == size else None


def keep_spare() -> None:
    """Keep one from here on. For a process that lets go of it in time."""
    global _keeps  # noqa: PLW0603 - a fact about this process
    _keeps = True


def is_spare() -> bool:
    """Whether there is a spare one."""
    return bool(_spare)


def drop_spare(needed: Container[str] = ()) -> None:
    """Let go of the spare one, unless it is of one of these files."""
    for path in [path for path in _spare if path not in needed]:
        found = _spare.pop(path, None)
        if found is not None:
            _unmap(*found)


def _view(path: str, address: int, size: int) -> memoryview:
    import ctypes  # takes long to load, and is needed for large values alone

    content = (ctypes.c_ubyte * size).from_address(address)
    weakref.finalize(content, _let_go, path, address, size).atexit = False
    return memoryview(content).cast("B")


def _let_go(path: str, address: int, size: int) -> None:
    """Nobody uses it any more."""
    if _keeps and size >= WORTH and _is_untouched(address, size):
        drop_spare()
        mine = address, size
        if _spare.setdefault(path, mine) is mine:
            return
    _unmap(address, size)


def _unmap(address: int, size: int) -> None:
    _all.discard(address)
    libc().munmap(address, size)


def _is_untouched(address: int, size: int) -> bool:
    """Whether nothing was written there, as far as the kernel tells."""
    page = os.sysconf("SC_PAGE_SIZE")
    length = -(-size // page) * _ENTRY
    try:
        descriptor = os.open(_PAGES, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        told = os.pread(descriptor, length, address // page * _ENTRY)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return len(told) == length and not told[_ENTRY - 1 :: _ENTRY].translate(None, _UNTOUCHED)


@cache
def libc() -> Any:
    """What maps, and compares."""
    import ctypes  # as above

    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_longlong)
    libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    libc.memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
    return libc


def _forked() -> None:
    """A child of a task may live for long, and doesn't let go in time."""
    global _keeps  # noqa: PLW0603 - as above
    _keeps = False
    drop_spare()


os.register_at_fork(after_in_child=_forked)
