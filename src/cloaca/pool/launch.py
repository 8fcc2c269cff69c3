"""Launch: how a worker's interpreter is started.

It is a fresh one, in a session of its own: so it has no terminal, and what asks there hears of it at once, where a
process of the terminal's background would be stopped. What may be long, or is no text (`sys.path`), doesn't stand on
the command line: it is the first that comes on the worker's socket.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

from cloaca.border.inheritance import BEGUN_AS_WORKER
from cloaca.border.naming import NURSERY, headline, name_of
from cloaca.pool.child import ChildProcess

_BOOT = (
    "import gc; collects = gc.isenabled(); gc.disable(); "  # what is loaded stays: nothing of it is worth looking for
    "import socket, sys; "
    "numbers = [*map(int, sys.argv[1].split())]; "
    "program = socket.socket(fileno=numbers[0]); "
)
_OF_WORKER = (
    "size = int.from_bytes(program.recv(8, socket.MSG_WAITALL), 'little'); "
    "path = program.recv(size, socket.MSG_WAITALL).decode('utf-8', 'surrogatepass'); "
    "sys.path[:] = path.split('\\0'); "
    "from cloaca.worker.worker import main; "
    "collects and gc.enable(); "
    "main(program, *numbers[1:])"
)
_OF_NURSERY = (
    "hook = sys.excepthook; sys.excepthook = lambda *_: None; "  # what lacks here lacks in workers, which tell of it
    "sys.path[:] = program.recv(1 << 18).decode('utf-8', 'surrogatepass').split('\\0'); "
    "from cloaca.worker.nursery import main; "
    "sys.excepthook = hook; "
    "collects and gc.enable(); "
    "main(program, *numbers[1:])"
)
"""Run with `-c`: `-m` costs more at every start, and would make a second module of `cloaca.worker.worker`."""

_LONG = 1 << 16
"""From how many bytes on a variable is left out: Linux takes 128 KiB. It is set with the others before a task runs."""


def letter(path: Sequence[bytes]) -> bytes:
    """What a worker reads first: where it finds modules."""
    joined = b"\0".join(path)
    return len(joined).to_bytes(8, "little") + joined


def launch(
    number: int, descriptors: tuple[int, ...], initializer: int, environment: Mapping[bytes, bytes]
) -> ChildProcess:
    """Start the worker of that number, with these descriptors: its socket, life-line, mark and permits."""
    return _started(name_of(number), _OF_WORKER, descriptors, environment, initializer, number)


def launch_nursery(descriptors: tuple[int, ...], environment: Mapping[bytes, bytes]) -> ChildProcess:
    """Start what workers are forked from, with its socket and its life-line."""
    return _started(NURSERY, _OF_NURSERY, descriptors, environment)


def _started(
    name: str, rest: str, descriptors: tuple[int, ...], environment: Mapping[bytes, bytes], *numbers: int
) -> ChildProcess:
    code = headline(name, os.getpid()) + _BOOT + rest  # what it is stands first where command lines are listed
    started = subprocess.Popen(
        [sys.executable, *_flags(), "-c", code, " ".join(map(str, (*descriptors, *numbers)))],
        env=_seen(environment),
        stdin=subprocess.DEVNULL,
        pass_fds=descriptors,
        start_new_session=True,
    )
    started.returncode = 0  # whatever it will be: it isn't waited for there
    return ChildProcess(started.pid)


def _flags() -> list[str]:
    """Those of this interpreter, but for the ones that would hide the hash seed from a worker."""
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing does
    return [flag for flag in flags if flag not in ("-E", "-I")] + ["-s"] * bool(sys.flags.isolated)


def _seen(environment: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
    """What a worker's interpreter sees as it starts: no `PYTHON...` variable that this one was told to ignore.

    It finds no modules in its working directory. To say that by a flag wouldn't do: where a profiler has put itself in
    the interpreter's place, it doesn't know the flag.
    """
    hides = sys.flags.ignore_environment
    return {
        **{
            name: value
            for name, value in environment.items()
            if len(name) + len(value) < _LONG and not (hides and name.startswith(b"PYTHON") and name != _HASH_SEED)
        },
        b"PYTHONSAFEPATH": b"1",
        BEGUN_AS_WORKER.encode(): b"1",
    }


_HASH_SEED = b"PYTHONHASHSEED"
