"""Packing: records, codes and headers as bytes, and the numbers by which they are found.

msgpack, then zlib at its lowest level. 10,000 trivial records take 147 bytes each as msgpack, and 33 compressed, where
all run the same code; 51 where each has a code of its own. That costs a microsecond or two per record, on a thread that
doesn't hold up the run; higher levels take longer, and save nothing (`python -m perf.records`). Records of some size
are left as they are: what they hold is mostly numbers, of which each megabyte would take 20 ms, and hardly shrink.
"""

from collections.abc import Iterable, Iterator, Sequence
from zlib import compress, decompress

from msgspec import json, msgpack
from xxhash import xxh3_64_intdigest

from cloaca.store.records import Code, Header, Record, Timed

_LEVEL = 1
_SMALL = 4096
"""Up to how many bytes a record takes, on average, to be worth compressing."""

_MOST = 1 << 24
"""How many bytes of records go together, if one alone doesn't take more: SQLite holds a billion at most."""

_COMPRESSED = 0x78
"""How what zlib has made begins. No array of msgpack begins so."""

_records = msgpack.Decoder(tuple[Record, ...])
_times = msgpack.Decoder(tuple[Timed, ...])
_codes = msgpack.Decoder(tuple[Code, ...])
_header = msgpack.Decoder(Header)


def packed(thing: Header | Sequence[Code]) -> bytes:
    """A header or codes as bytes."""
    return compress(msgpack.encode(thing), _LEVEL)


def packed_batches(records: Sequence[Record]) -> Iterator[bytes]:
    """Records as bytes: mostly in one piece, in several where they are large."""
    data = msgpack.encode(records)
    if len(data) > _MOST and len(records) > 1:
        middle = len(records) // 2
        yield from packed_batches(records[:middle])
        yield from packed_batches(records[middle:])
    elif records:
        yield compress(data, _LEVEL) if len(data) <= _SMALL * len(records) else data


def header_in(data: bytes) -> Header:
    """The header that was packed."""
    return _header.decode(decompress(data))


def records_in(data: bytes) -> tuple[Record, ...]:
    """The records that were packed."""
    return _records.decode(_plain(data))


def times_in(data: bytes) -> tuple[Timed, ...]:
    """What they begin with."""
    return _times.decode(_plain(data))


def _plain(data: bytes) -> bytes:
    return decompress(data) if data[0] == _COMPRESSED else data


def codes_in(data: bytes) -> tuple[Code, ...]:
    """The codes that were packed."""
    return _codes.decode(decompress(data))


def place_of(workflow: str, task: str, code: bytes) -> int:
    """A number for a task with its code: 63 bits, as SQLite has them."""
    return xxh3_64_intdigest(f"{workflow}\0{task}\0".encode("utf-8", "surrogatepass") + code) >> 1


def place_of_code(digest: bytes) -> int:
    """A number for a code."""
    return xxh3_64_intdigest(digest) >> 1


def listed(numbers: Iterable[int]) -> str:
    """Numbers as one argument of a statement, which goes through them by `json_each`: in order, as indexes lie."""
    return json.encode(sorted(numbers)).decode()
