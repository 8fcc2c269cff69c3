"""What every contender's process does: run its work a few times, and report the seconds as JSON."""

import json
import sys
from collections.abc import Callable, Generator
from functools import partial
from itertools import islice
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
    figures.close()
    print(json.dumps(seconds))


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
