"""What every contender's process does: run its work a few times, and report seconds and memory as JSON."""

import json
import sys
from collections.abc import Callable, Generator
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import TypeVar

Answer = TypeVar("Answer")
Made = TypeVar("Made")
Figures = Generator[float, None, None]
"""The seconds of one repeat after the other; workers live until it is closed."""


def main() -> None:
    """Run the function of the program that the command line names: NAME WARMUPS REPEATS ARGUMENTS (in JSON)."""
    name, warmups, repeats, arguments = sys.argv[1:]
    figures: Figures = getattr(sys.modules["__main__"], name)(**json.loads(arguments))
    seconds = list(islice(figures, int(warmups) + int(repeats)))[int(warmups) :]
    peak = peak_memory()
    figures.close()
    print(json.dumps({"seconds": seconds, "peak": peak}))


def timed(run: Callable[[], Answer], is_right: Callable[[Answer], bool]) -> Figures:
    """Run it for ever, and yield the seconds of each time; the answer is checked off the clock."""
    while True:
        yield _once(run, is_right)


def timed_anew(
    prepare: Callable[[], Made], run: Callable[[Made], Answer], is_right: Callable[[Answer], bool]
) -> Figures:
    """The same for what is remembered once it has run: each time, another one is made off the clock."""
    while True:
        yield _once(partial(run, prepare()), is_right)


def _once(run: Callable[[], Answer], is_right: Callable[[Answer], bool]) -> float:
    start = perf_counter()
    answer = run()
    seconds = perf_counter() - start
    if not is_right(answer):
        raise ValueError(f"A contender came to a wrong answer: {repr(answer)[:1000]}")
    return seconds


def peak_memory() -> int:
    """Bytes: this process's peak and those of its living descendants, added up.

    Not `ru_maxrss`: it survives `exec`, so a small process that a large one starts inherits the large one's peak. Pages
    that forked processes share are counted in each.
    """
    import psutil  # after the measuring: a contender's imports are its own

    me = psutil.Process()
    peak = _peak if Path("/proc/self/status").exists() else _memory_now
    total = 0
    for process in (me, *me.children(recursive=True)):
        with suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):  # it has just gone
            total += peak(process.pid)
    return total


def _peak(pid: int) -> int:
    """A process that has ended, and that nobody has waited for, has no memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    return sum(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


def _memory_now(pid: int) -> int:
    """Where there is no peak to be had."""
    import psutil

    return int(psutil.Process(pid).memory_info().rss)
