"""Attached: what is large of the functions of one workflow, or one call of `map`, lies in files that workers map.

A buffer is put there once, however many of the functions have hold of it. In the next execution it is compared with its
file, byte by byte, as nobody tells whether the program has written to it meanwhile: that takes no longer than to write
it anew, and workers keep what they have loaded. Where there is no room, it is sent along with the function.
"""

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from cloaca.errors import StorageFullError
from cloaca.pickling.functions import Captured
from cloaca.values.blobs import LARGE, Part, blob_of, is_content, place_of
from cloaca.values.holder import Holder

if TYPE_CHECKING:
    from cloaca.values.storage import Leases


class Attached:
    """What functions take along apart, as they are pickled now. `leases` keep what stands there, by reference."""

    def __init__(self, holder: Holder, leases: "Leases") -> None:
        self._holder = holder
        self._leases = leases
        self._met: dict[tuple[int, int], tuple[memoryview, bytes | None]] = {}  # which keeps an address what it is

    def buffer(self, content: memoryview, before: bytes) -> bytes | None:
        """The reference to a buffer; `None` where it is small, or there is no room."""
        if len(content) < LARGE:
            return None
        place = place_of(content), len(content)
        if place not in self._met:
            self._met[place] = content, self._put(content, before)
        return self._met[place][1]

    def blob(self, content: bytes, before: bytes) -> bytes:
        """The reference to a blob, or itself where it is small, or there is no room."""
        return content if len(content) < LARGE else self._put(content, before) or content

    def _put(self, content: Part, before: bytes) -> bytes | None:
        if before in self._leases and self._holder.has(before) and is_content(blob_of(before), [content]):
            return before
        with suppress(StorageFullError):
            put, lease = self._holder.put(content, "function")
            if lease is not None:
                self._leases[bytes(put)] = lease
                return bytes(put)
        return None


def still_held(leases: "Leases", captured: Iterable[Captured]) -> "Leases":
    """Those of the leases on what functions take along as they were captured last."""
    if not leases:
        return leases
    held = {part for one in captured for part in (*one.attached, one.blob)}
    return {put: lease for put, lease in leases.items() if put in held}
