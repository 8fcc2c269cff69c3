"""Naming: what a worker is called, in lists of processes and in log records, so that people find the one they mean."""

import logging
from contextlib import suppress
from itertools import count
from typing import Any

_MAIN = "MainProcess"  # as `logging` has it, where `multiprocessing` has given the process no other name
_SHOWN = 15  # characters, of a name in the kernel's list

_numbers = count(1)


def next_number() -> int:
    """The number of the next worker that this program starts, from 1."""
    return next(_numbers)


def name_of(number: int) -> str:
    """What the worker of that number is called."""
    return f"cloaca-worker-{number}"


def bear(name: str) -> None:
    """Have this process called so. What shows its command line shows the name as well: `launch` has put it there."""
    shown = name if len(name) <= _SHOWN else name.rpartition("-")[0]
    with suppress(OSError), open("/proc/self/comm", "w") as file:
        file.write(shown)
    make = logging.getLogRecordFactory()

    def named(*args: Any, **more: Any) -> logging.LogRecord:
        record = make(*args, **more)
        if record.processName == _MAIN:
            record.processName = name
        return record

    logging.setLogRecordFactory(named)
