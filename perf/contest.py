"""Contest: the contenders of a workload, each in a fresh process, in turn, round by round."""

import compileall
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one process came to: seconds (per task, where the workload counts tasks), and peak memory in bytes."""

    seconds: float
    peak: int | None = None


Play = Callable[[], Outcome]
Round = Mapping[str, Outcome]


def play_round(contenders: Mapping[str, Play], turn: int) -> Round:
    """Let each contender play once. The order is reversed every other time, so that no place in it is an advantage."""
    order = list(contenders)[:: -1 if turn % 2 else 1]
    return {name: contenders[name]() for name in order}


def reported(
    module: str, contender: str, *, per: int = 1, warmups: int = 0, repeats: int = 1, **arguments: object
) -> Play:
    """A contender that measures itself, in `perf/contenders/`; its figure is the median of its repeats, per task."""
    command = ["-m", f"perf.contenders.{module}", contender, str(warmups), str(repeats), json.dumps(arguments)]

    def play() -> Outcome:
        report = json.loads(_python(*command).splitlines()[-1])
        return Outcome(statistics.median(report["seconds"]) / per, report["peak"])

    return play


def clocked(*arguments: str) -> Play:
    """A contender that is a whole process, `python` with these arguments, from its start to its end."""

    def play() -> Outcome:
        start = perf_counter()
        _python(*arguments)
        return Outcome(perf_counter() - start)

    return play


def compile_package(package: Path) -> None:
    """Compile a package, as pip does when it installs one.

    From a source tree every process would compile it anew, where `PYTHONDONTWRITEBYTECODE` is set: peers don't have to.
    """
    compileall.compile_dir(package, quiet=1)


def _python(*arguments: str) -> str:
    """Run Python to its end, and take away what it leaves in the folder for temporary files."""
    with TemporaryDirectory(prefix="perf-", ignore_cleanup_errors=True) as folder:
        run = subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": folder},
            capture_output=True,
            text=True,
            check=False,
        )
    if run.returncode:
        raise RuntimeError(f"python {' '.join(arguments)} ended with {run.returncode}, and wrote:\n{run.stderr}")
    return run.stdout
