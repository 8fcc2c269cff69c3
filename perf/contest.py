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
from resource import RUSAGE_CHILDREN, getrusage
from tempfile import TemporaryDirectory, TemporaryFile
from time import perf_counter
from typing import IO, Any

from perf.weight import peak

ROOT = Path(__file__).parents[1]

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""For every contender: workers that each start threads of their own are what a pool is not about."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one process came to: seconds (per task, where the workload counts tasks), and what else it told.

    `cpu`: seconds of all its processes together, from its start to its end. `answer`: a fingerprint of what it found.
    """

    seconds: float
    cpu: float | None = None
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """A process that has ended well: what it printed, how long it took, and what it took of the processors."""

    printed: str
    seconds: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Contender:
    """Python with these arguments, and how its outcome is told once it has ended."""

    arguments: tuple[str, ...]
    told: Callable[[Ended], Outcome]

    def play(self) -> Outcome:
        """Run it, and measure."""
        return self.told(_python(self.arguments, subprocess.Popen.wait)[0])

    def weigh(self) -> int | None:
        """Run it, and look at nothing but the most memory that it has. `None` where the system doesn't tell."""
        return _python(self.arguments, peak)[1]


Round = Mapping[str, Outcome]


def play_round(contenders: Mapping[str, Contender], turn: int) -> Round:
    """Let each contender play once. The order is reversed every other time, so that no place in it is an advantage."""
    order = list(contenders)[:: -1 if turn % 2 else 1]
    outcomes = {name: contenders[name].play() for name in order}
    answers = {name: outcome.answer for name, outcome in outcomes.items()}
    if len(set(answers.values())) > 1:
        raise ValueError(f"Contenders came to different answers: {answers}")
    return outcomes


def weigh(contenders: Mapping[str, Contender]) -> dict[str, int | None]:
    """The memory of each contender, looked at while it runs once more."""
    return {name: contender.weigh() for name, contender in contenders.items()}


def reported(
    module: str, contender: str, *, per: int = 1, warmups: int = 0, repeats: int = 1, **arguments: object
) -> Contender:
    """A contender that measures itself, in `perf/contenders/`; its figure is the median of its repeats, per task."""

    def told(ended: Ended) -> Outcome:
        return Outcome(statistics.median(_last_line(ended)) / per)

    command = ("-m", f"perf.contenders.{module}", contender, str(warmups), str(repeats), json.dumps(arguments))
    return Contender(command, told)


def program(module: str, contender: str) -> Contender:
    """One form of a program in `perf/programs/`: it runs just once, cold, and tells its answer, too."""

    def told(ended: Ended) -> Outcome:
        seconds, answer = _last_line(ended)
        return Outcome(seconds, ended.cpu, answer)

    return Contender(("-m", f"perf.programs.{module}", contender), told)


def clocked(*arguments: str) -> Contender:
    """A contender that is a whole process, `python` with these arguments, from its start to its end."""
    return Contender(arguments, lambda ended: Outcome(ended.seconds))


def charged(*arguments: str) -> Contender:
    """The same; its figure is what it takes of the processors."""
    return Contender(arguments, lambda ended: Outcome(ended.cpu))


def compile_package(package: Path) -> None:
    """Compile a package, as pip does when it installs one.

    From a source tree every process would compile it anew, where `PYTHONDONTWRITEBYTECODE` is set: peers don't have to.
    """
    compileall.compile_dir(package, quiet=1)


def _last_line(ended: Ended) -> Any:
    return json.loads(ended.printed.splitlines()[-1])


def _python(
    arguments: tuple[str, ...], meanwhile: Callable[["subprocess.Popen[bytes]"], int | None]
) -> tuple[Ended, int | None]:
    """Run Python to its end, and take away what it leaves in the folder for temporary files.

    `meanwhile` returns when it has ended; what it found comes with the rest.
    """
    with (
        TemporaryDirectory(prefix="perf-", ignore_cleanup_errors=True) as folder,
        TemporaryFile() as printed,
        TemporaryFile() as complained,
    ):
        environment = {**os.environ, **ONE_THREAD, "TMPDIR": folder}
        cpu, start = _cpu_of_children(), perf_counter()
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=ROOT, env=environment, stdout=printed, stderr=complained
        )
        found = meanwhile(process)
        seconds = perf_counter() - start
        if process.returncode:
            told = f"ended with {process.returncode}, and wrote:\n{_text(complained)}"
            raise RuntimeError(f"python {' '.join(arguments)} {told}")
        return Ended(_text(printed), seconds, _cpu_of_children() - cpu), found


def _cpu_of_children() -> float:
    """Of those that have ended and that somebody has waited for."""
    used = getrusage(RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
