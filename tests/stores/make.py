"""Makes the store of this version that `tests/test_store_versions.py` opens with later ones.

    python tests/stores/make.py

Run once for each version of the layout (`cloaca.store.schema`), before it is released. What stands in the folder for an
earlier one is never made again.
"""

import shutil
from contextlib import closing
from pathlib import Path

from cloaca.store.records import Code
from cloaca.store.schema import VERSION
from cloaca.store.sqlite import SqliteStore
from cloaca.testing.stores import TASKS, header, record

HERE = Path(__file__).parent

VALUE = b"a large value " * 5_000


def make(folder: Path) -> None:
    """One execution that has ended, with two records, two codes and a value; and one that was interrupted."""
    with closing(SqliteStore(str(folder / "runs.db"))) as store:
        claim = store.create(header("ended", 1.0))
        codes = [Code(task.encode() * 3, {f"function {task!r} in steps.py": b"part" * 4}) for task in TASKS[:2]]
        store.put(claim, [VALUE], b"digest" * 3)
        store.append(claim, [record(task, code.digest) for task, code in zip(TASKS, codes, strict=False)], codes)
        store.end(claim, "Failed", 2.0)
        store.append(store.create(header("interrupted", 3.0)), [record(TASKS[0])])


if __name__ == "__main__":
    place = HERE / f"version_{VERSION}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    make(place)
