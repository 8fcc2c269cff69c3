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

from cloaca.wire.messages import FIGURES, Entry, Figures, Looked, Phases, Tallied

MOST = 1024
"""How many items may be reported at once."""

_HEAD = struct.Struct("=Qqq")
_COUNT = 40  # bits of the word are for the bytes
_ONE = 1 << _COUNT
_LENGTH = _ONE - 1
_FIGURES = _HEAD.size
_ENTRIES = _FIGURES + MOST * FIGURES.size
_CAPACITY = 1 << 18
SIZE = _ENTRIES + _CAPACITY

_put_figures = FIGURES.pack_into
_encode = msgpack.Encoder().encode


ItemEnd = tuple[tuple[str, ...], tuple[bytes | None, ...], tuple[str, ...], Figures, Looked | None, Phases | None]
"""Which keys an item has set (to these payloads) and removed (`None`), which ones it has read, and what it cost.

Where its run is recorded, what it has looked at; and its phases, if they are worth a word.
"""


def list_head(count: int) -> bytes:
    """How the encoded list of so many entries begins."""
    return b"\xdd" + count.to_bytes(4, "big")


class Tally:
    """Both sides' view of it; `descriptor` is that of the mark, behind which it stands."""

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap(descriptor, SIZE, offset=ALLOCATIONGRANULARITY)
        self._view = memoryview(self._memory)[: _HEAD.size]
        self._words = self._view.cast("Q")
        self._keys: tuple[str, ...] | None = None
        self._read: tuple[str, ...] | None = None
        self._looked: Looked | None = None

    # ---- the worker's side -----------------------------------------------------------------------------------------

    @property
    def count(self) -> int:
        """How many entries there are."""
        return self._words[0] >> _COUNT

    def reached(self, attempt: int) -> int | None:
        """The place of the first item of the attempt that hasn't ended; `None`: this is about another one."""
        word, place, current = _HEAD.unpack_from(self._memory)
        return place + (word >> _COUNT) if current == attempt else None

    def begin(self, attempt: int, place: int = 0) -> None:
        """Begin anew, at that place of that attempt."""
        self._keys = self._read = None
        _HEAD.pack_into(self._memory, 0, 0, place, attempt)

    def add(self, place: int, end: ItemEnd) -> bool:
        """The item at that place has ended so; adding it again changes nothing. Returns whether there was room."""
        keys, values, read, figures, looked, phases = end
        memory, words = self._memory, self._words
        word = words[0]
        count = word >> _COUNT
        if words[1] + count != place:
            return True
        if keys == self._keys and read == self._read and looked == self._looked:
            data = _encode((values,) if phases is None else (values, None, None, None, phases))
        else:
            self._keys = self._read = None  # where this is interrupted, the next one tells its own
            data = _encode((values, keys, read, looked, phases))
        start = _ENTRIES + (word & _LENGTH)
        past = start + len(data)
        if count == MOST or past > SIZE:
            return False
        memory[start:past] = data
        _put_figures(memory, _FIGURES + count * FIGURES.size, *figures)
        words[0] = word + _ONE + len(data)  # at once, as a whole: `struct` would write a zero first
        self._keys, self._read, self._looked = keys, read, looked
        return True

    # ---- both sides ------------------------------------------------------------------------------------------------

    def read(self) -> Tallied:
        """What stands here."""
        while True:
            word, place, attempt = head = _HEAD.unpack_from(self._memory)
            count, length = word >> _COUNT, word & _LENGTH
            figures = self._memory[_FIGURES : _FIGURES + count * FIGURES.size]
            entries = self._memory[_ENTRIES : _ENTRIES + length]
            if _HEAD.unpack_from(self._memory)[1:] == head[1:]:
                return Tallied(attempt, place, figures, list_head(count) + entries)

    def close(self) -> None:
        self._words.release()
        self._view.release()
        self._memory.close()


def one_tallied(attempt: int, place: int, end: ItemEnd) -> Tallied:
    """The report of one item, for which there is no room."""
    keys, values, read, figures, looked, phases = end
    entry = Entry(values, keys, read, looked, phases)
    return Tallied(attempt, place, FIGURES.pack(*figures), list_head(1) + _encode(entry))
