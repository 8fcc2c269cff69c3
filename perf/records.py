"""What it costs to record trivial tasks: `python -m perf.records [FOLDER]` prints a table.

FOLDER is on the disk that is measured, by default the one of temporary files.
"""

import os
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from msgspec import msgpack
from xxhash import xxh3_128_digest

from cloaca.engine.looks import Looks
from cloaca.store.records import Code, Header, Record, TaskRow
from cloaca.store.sqlite import Durability, SqliteStore

COUNT = 10_000
LARGE = 200_000_000


def main(folder: str | None) -> None:
    for codes in (1, COUNT):
        records = [_record(n, codes) for n in range(COUNT)]
        print(f"\n{COUNT:,} trivial records, {codes:,} codes: per record")
        for level in (0, 1, 6):
            _compress(records, level)
        for size in (100, 1000):
            for durability in ("normal", "full"):
                _append(records, size, durability, folder)
    _put(folder)


def _record(n: int, codes: int) -> Record:
    began = 1.79e9 + n * 7.7e-5 + (n * 7919 % 1009) * 1e-8
    figures = (
        began,
        1e-8 * (n * 31 % 977),
        1e-8 * (n * 17 % 983),
        12345 + n % 2,
        40_000_000 + 4096 * (n % 50),
        0,
        0,
        0,
    )
    looks = Looks({"rows": xxh3_128_digest(b"rows")})
    code = xxh3_128_digest(b"%d" % (n % codes))
    return Record(n, None, "Completed", 1, began, 1, figures, ("rows",), {f"k{n}": msgpack.encode(n)}, code, looks)


def _compress(records: list[Record], level: int) -> None:
    packed = [msgpack.encode(records[start : start + 1000]) for start in range(0, COUNT, 1000)]
    seconds, sizes = _timed(lambda: sum(len(zlib.compress(one, level)) for one in packed))
    print(f"  zlib, level {level}             {sizes / COUNT:6.1f} bytes  {seconds / COUNT * 1e6:6.2f} us")


def _append(records: list[Record], size: int, durability: Durability, folder: str | None) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        path = f"{place}/runs.db"
        with closing(SqliteStore(path, durability=durability)) as store:
            rows = tuple(TaskRow(f"task_{n}", (n // 2,)) for n in range(COUNT))
            claim = store.create(Header("a", "trivial", 1.0, 1, {}, rows, "3.11"))

            def append() -> None:
                for start in range(0, COUNT, size):
                    batch = records[start : start + size]
                    known = {one.code: Code(one.code, {"function 'f' in steps.py": one.code}) for one in batch}
                    store.append(claim, batch, known.values())

            appending, _ = _timed(append)
            reading, _ = _timed(lambda: [*store.records("a")])
            codes = {f"task_{n}": one.code for n, one in enumerate(records)}
            finding, _ = _timed(lambda: [*store.holding("trivial", codes)])
            store.end(claim, "Completed", 2.0)
        print(
            f"  {size:5,} a commit, {durability:6}   {os.path.getsize(path) / COUNT:6.1f} bytes  "
            f"{appending / COUNT * 1e6:6.2f} us to append, {reading / COUNT * 1e6:.2f} to read, "
            f"{finding / COUNT * 1e6:.2f} to find again"
        )


def _put(folder: str | None) -> None:
    source = Path("/dev/shm/perf-records")
    source.write_bytes(os.urandom(1_000_000) * (LARGE // 1_000_000))
    try:
        with tempfile.TemporaryDirectory(dir=folder) as place, closing(SqliteStore(f"{place}/runs.db")) as store:
            claim = store.create(Header("a", "trivial", 1.0, 1, {}, (), "3.11"))
            first, _ = _timed(lambda: store.put_file(claim, str(source), b"1" * 16))
            again, _ = _timed(lambda: store.put_file(claim, str(source), b"1" * 16))
            content = b"v" * 65536
            small, _ = _timed(lambda: [store.put(claim, [content], n.to_bytes(16)) for n in range(300)])
        print(f"\n200 MB from shared memory: {first:.3f} s; when it is there: {again * 1e6:.0f} us")
        print(f"a value of 64 KiB: {small / 300 * 1e6:.0f} us")
    finally:
        source.unlink()


def _timed(act: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = act()
    return time.perf_counter() - began, result


if __name__ == "__main__":
    main(*sys.argv[1:2] or [None])
