"""Record: a whole run as a file, and how another run differs from it."""

import os
import platform
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psutil
from perf.peers import version_of, versions
from perf.score import Score

import cloaca

NOTABLE = 0.15
"""A ratio that changed by more than this is marked; below, it is most likely noise."""


@dataclass(frozen=True, slots=True)
class Record:
    """The conditions of a run, and its scores.

    `workloads` says what each one does; `left_out` which peers and workloads there are no scores of, and why.
    """

    conditions: dict[str, str]
    scores: list[Score]
    workloads: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """A score's ratio in two runs; `None` where a run doesn't have that score."""

    name: str
    old: float | None
    new: float | None

    @property
    def relative(self) -> float | None:
        """The change as a fraction of the old ratio: 0.1 says that cloaca is ten percent faster than it was."""
        return None if self.old is None or self.new is None else self.new / self.old - 1

    @property
    def is_notable(self) -> bool:
        """Whether it is more than noise."""
        return self.relative is not None and abs(self.relative) > NOTABLE

    @property
    def is_loss(self) -> bool:
        """Whether cloaca has become notably slower, beside this peer."""
        return self.is_notable and (self.relative or 0) < 0


def changes(old: Iterable[Score], new: Iterable[Score]) -> list[Change]:
    """What became of each ratio: the new scores in their order, then those that only the old run has."""
    before = {score.name: score.ratio.median for score in old}
    after = {score.name: score.ratio.median for score in new}
    return [Change(name, before.get(name), after.get(name)) for name in {**after, **before}]


def conditions() -> dict[str, str]:
    """Where and with what this process measures."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": _processor(),
        "cores": str(_usable_cores()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "load": f"{os.getloadavg()[0]:.1f}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "cloaca": cloaca.__version__,
        **{package: version_of(package) for package in ("msgspec", "cloudpickle", "psutil", "numpy", "pandas")},
        **versions(),
    }


def save(record: Record, path: Path) -> None:
    """Write the record as JSON."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(record)) + b"\n")


def load(path: Path) -> Record:
    """Read a record. Raises `OSError` or `msgspec.ValidationError`, which tell what is wrong with the file."""
    return msgspec.json.decode(path.read_bytes(), type=Record)


def _processor() -> str:
    """The processor's name, where Linux tells it."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
