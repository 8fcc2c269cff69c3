"""What the process of a program does: run one form of it, once and cold, and report seconds and its answer as JSON.

A form is a generator that yields once. What comes before is what a script does anyhow: it imports what it needs, and
has its data. What comes after is on the clock, from starting the tool to having ended it. It returns the answer.
"""

import hashlib
import json
import sys
from collections.abc import Generator
from time import perf_counter
from typing import Any

WORKERS = 2
Script = Generator[None, None, Any]


def main() -> None:
    """Run the form of the program that the command line names."""
    seconds, answer = run(getattr(sys.modules["__main__"], sys.argv[1])())
    print(json.dumps([seconds, fingerprint(answer)]))


def run(script: Script) -> tuple[float, Any]:
    """The seconds that the script takes after its `yield`, and its answer.

    >>> def sums():
    ...     numbers = range(10)
    ...     yield
    ...     return sum(numbers)
    >>> run(sums())[1]
    45
    """
    next(script)
    start = perf_counter()
    try:
        next(script)
    except StopIteration as end:
        return perf_counter() - start, end.value
    raise RuntimeError("A script yields once, where the clock starts")


def fingerprint(answer: Any) -> str:
    """The same for equal answers: arrays by their bytes, the rest as it is shown."""
    content = answer.tobytes() if hasattr(answer, "tobytes") else repr(answer).encode()
    return hashlib.sha256(content).hexdigest()[:12]
