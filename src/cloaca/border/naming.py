"""Naming: what a worker is called, in lists of processes and in log records, so that people find the one they mean."""

import logging
from contextlib import suppress
from itertools import count
from typing import Any

NURSERY = "cloaca-nursery"
"""What the process is called from which workers are forked."""

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
    """Have this process called so."""
    show(name)
    make = logging.getLogRecordFactory()

    def named(*args: Any, **more: Any) -> logging.LogRecord:
        record = make(*args, **more)
        if record.processName == _MAIN:
            record.processName = name
        return record

    logging.setLogRecordFactory(named)


def show(name: str) -> None:
    """Have it so in lists of processes. Those of command lines show it anyway, but for what a nursery has forked."""
    shown = name if len(name) <= _SHOWN else name.rpartition("-")[0]
    with suppress(OSError), open("/proc/self/comm", "w") as file:
        file.write(shown)


def headline(name: str, program: int) -> str:
    """What stands first in the code that a process is started with. It does nothing, and may be written over."""
    return f"'{name} of process {program}'; ".ljust(_HEADLINE)


def show_headline(name: str, program: int) -> None:
    """Have that in command lines of a process which was started under another name."""
    with suppress(OSError), open("/proc/self/stat", "rb") as stat:
        start = int(stat.read().rpartition(b") ")[2].split()[_ARGUMENTS])
        with open("/proc/self/cmdline", "rb") as line:
            place = line.read().find(f"'{NURSERY} of".encode())
        if place >= 0:
            with open("/proc/self/mem", "r+b", buffering=0) as memory:
                memory.seek(start + place)
                memory.write(headline(name, program).encode())


_HEADLINE = 64
_ARGUMENTS = 45  # of what follows the name: where the arguments begin
