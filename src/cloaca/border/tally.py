"""Tally: what a worker has done of the items it was given, in memory that it shares with the coordinator.

Tiny items are reported many at a time. Until then, what came of each stands here, and so outlives the worker: a death
costs the item that was running, and none that has ended.

    word: how many entries, and how many bytes they take | the place of the first one | the attempt | figures | entries

An entry counts once the word says so, which is written last, in one go. Where all begins anew, the word is written
first. So whoever reads this at any moment, the worker being alive, dead or in the middle of writing, finds whole
entries; where it is alive they count only if it is still at the same attempt, and the same place, after they were read.
"""

import struct
from mmap import ALLOCATIONGRANULARITY, mmap

from msgspec import msgpack

from cloaca.wire.messages import FIGURES, Done, Entry, Tallied, Usage, figures_of

MOST = 1024
"""How many items may be reported at once."""

_HEAD = struct.Struct("<Qqq")
_WORD = struct.Struct("<Q")
_COUNT = 40  # bits of the word are for the bytes
_FIGURES = _HEAD.size
_ENTRIES = _FIGURES + MOST * FIGURES.size
_CAPACITY = 1 << 18
SIZE = _ENTRIES + _CAPACITY

_put_figures, _put_word = FIGURES.pack_into, _WORD.pack_into
_encode = msgpack.Encoder().encode


def list_head(count: int) -> bytes:
    """How the encoded list of so many entries begins."""
    return b"\xdd" + count.to_bytes(4, "big")


class Tally:
    """Both sides' view of it; `descriptor` is that of the mark, behind which it stands."""

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap(descriptor, SIZE, offset=ALLOCATIONGRANULARITY)
        self._keys: tuple[str, ...] | None = None
        self._read: tuple[str, ...] | None = None

    # ---- the worker's side -----------------------------------------------------------------------------------------

    @property
    def count(self) -> int:
        """How many entries there are."""
        word: int = _WORD.unpack_from(self._memory)[0]
        return word >> _COUNT

    def reached(self, attempt: int) -> int | None:
        """The place of the first item of the attempt that hasn't ended; `None`: this is about another one."""
        word, place, current = _HEAD.unpack_from(self._memory)
        return place + (word >> _COUNT) if current == attempt else None

    @property
    def since(self) -> float:
        """When the first of these items was begun."""
        started: float = FIGURES.unpack_from(self._memory, _FIGURES)[0]
        return started

    def begin(self, attempt: int, place: int = 0) -> None:
        """Begin anew, at that place of that attempt."""
        self._keys = self._read = None
        _HEAD.pack_into(self._memory, 0, 0, place, attempt)

    def add(self, usage: Usage, diff: dict[str, bytes | None]) -> bool:
        """The next item has ended so. Returns whether there was room for it."""
        keys, read = tuple(diff), usage.read
        is_alike = keys == self._keys and read == self._read
        data = _encode(Entry(tuple(diff.values())) if is_alike else Entry(tuple(diff.values()), keys, read))
        word: int = _WORD.unpack_from(self._memory)[0]
        count, length = word >> _COUNT, word & ((1 << _COUNT) - 1)
        if count == MOST or length + len(data) > _CAPACITY:
            return False
        start = _ENTRIES + length
        self._memory[start : start + len(data)] = data
        _put_figures(self._memory, _FIGURES + count * FIGURES.size, *figures_of(usage))
        if is_alike:
            _put_word(self._memory, 0, (count + 1) << _COUNT | (length + len(data)))
            return True
        self._keys = self._read = None  # where this is interrupted, the next one tells its own
        _put_word(self._memory, 0, (count + 1) << _COUNT | (length + len(data)))
        self._keys, self._read = keys, read
        return True

    # ---- both sides ------------------------------------------------------------------------------------------------

    def read(self) -> Tallied:
        """What stands here."""
        while True:
            word, place, attempt = head = _HEAD.unpack_from(self._memory)
            count, length = word >> _COUNT, word & ((1 << _COUNT) - 1)
            figures = self._memory[_FIGURES : _FIGURES + count * FIGURES.size]
            entries = self._memory[_ENTRIES : _ENTRIES + length]
            if _HEAD.unpack_from(self._memory)[1:] == head[1:]:
                return Tallied(attempt, place, figures, list_head(count) + entries)

    def close(self) -> None:
        self._memory.close()


def one_tallied(place: int, done: Done) -> Tallied:
    """The report of one item, for which there is no room."""
    entry = Entry(tuple(done.diff.values()), tuple(done.diff), done.usage.read)
    return Tallied(done.attempt, place, FIGURES.pack(*figures_of(done.usage)), list_head(1) + _encode(entry))
