"""What every contender's process does: run its work a few times, and report seconds and memory as JSON."""

import json
import sys
from collections.abc import Callable, Generator
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import TypeVar

Answer = TypeVar("Answer")
Figures = Generator[float, None, None]
"""The seconds of one repeat after the other; workers live until it is closed."""


def main(*contenders: Callable[..., Figures]) -> None:
    """Run the contender that the command line names: NAME WARMUPS REPEATS ARGUMENTS, the last one in JSON."""
    name, warmups, repeats, arguments = sys.argv[1:]
    chosen = {contender.__name__: contender for contender in contenders}[name]
    figures = chosen(**json.loads(arguments))
    seconds = list(islice(figures, int(warmups) + int(repeats)))[int(warmups) :]
    peak = peak_memory()
    figures.close()
    print(json.dumps({"seconds": seconds, "peak": peak}))


def timed(run: Callable[[], Answer], is_right: Callable[[Answer], bool]) -> Figures:
    """Run it for ever, and yield the seconds of each time; the answer is checked off the clock."""
    while True:
        yield _once(run, is_right)


def _once(run: Callable[[], Answer], is_right: Callable[[Answer], bool]) -> float:
    start = perf_counter()
    answer = run()
    seconds = perf_counter() - start
    if not is_right(answer):
        raise ValueError(f"A contender came to a wrong answer: {answer!r}")
    return seconds


def peak_memory() -> int:
    """Bytes: this process's peak and those of its living descendants, added up.

    Not `ru_maxrss`: it survives `exec`, so a small process that a large one starts inherits the large one's peak. Pages
    that forked processes share are counted in each.
    """
    import psutil  # after the measuring: a contender's imports are its own

    me = psutil.Process()
    return sum(_peak(process.pid) for process in (me, *me.children(recursive=True)))


def _peak(pid: int) -> int:
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        import psutil

        return int(psutil.Process(pid).memory_info().rss)  # no peak to be had here: what it holds now
    (kibibytes,) = (line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(kibibytes) * 1024
