"""Launch: how a worker's interpreter is started.

It is a fresh one, in a session of its own: so it has no terminal, and what asks there hears of it at once, where a
process of the terminal's background would be stopped. What may be long, or is no text (`sys.path`), doesn't stand on
the command line: it is the first that comes on the worker's socket.
"""

import os
import subprocess
import sys
from collections.abc import Mapping

from cloaca.border.inheritance import BEGUN_AS_WORKER
from cloaca.border.naming import name_of
from cloaca.errors import WorkersUnavailableError
from cloaca.wire.messages import Surroundings

_BOOT = (
    "import gc; collects = gc.isenabled(); gc.disable(); "  # what is loaded stays: nothing of it is worth looking for
    "import socket, sys; "
    "numbers = [*map(int, sys.argv[1].split())]; "
    "program = socket.socket(fileno=numbers[0]); "
    "size = int.from_bytes(program.recv(8, socket.MSG_WAITALL), 'little'); "
    "path = program.recv(size, socket.MSG_WAITALL).decode('utf-8', 'surrogatepass'); "
    "sys.path[:] = path.split('\\0'); "
    "from cloaca.worker.worker import main; "
    "collects and gc.enable(); "
    "main(program, *numbers[1:])"
)
"""Run with `-c`: `-m` costs more at every start, and would make a second module of `cloaca.worker.worker`."""

_LONG = 1 << 16
"""From how many bytes on a variable is left out: Linux takes 128 KiB. It is set with the others before a task runs."""


def check_interpreter() -> None:
    """Raise `WorkersUnavailableError` where workers can't be started as `sys.executable` is no Python interpreter."""
    if BEGUN_AS_WORKER in os.environ:
        raise WorkersUnavailableError(
            f"This process was started to be a worker, as sys.executable ({sys.executable}) was taken for a Python "
            f"interpreter; but it runs a program. {_ADVICE}"
        )
    if getattr(sys, "frozen", False) or not sys.executable:
        raise WorkersUnavailableError(
            "Worker processes can't be started: they need a Python interpreter, and sys.executable is "
            f"{'this program itself, which is frozen' if sys.executable else 'not set'}. {_ADVICE}"
        )


_ADVICE = 'Use executor="serial" (or CLOACA_EXECUTOR=serial) there, which runs tasks in the program itself.'


def letter(surroundings: Surroundings) -> bytes:
    """What a worker reads first: where it finds modules."""
    path = b"\0".join(surroundings.path)
    return len(path).to_bytes(8, "little") + path


class WorkerProcess(subprocess.Popen[bytes]):
    """A process whose end may be told to somebody else: a program that ignores SIGCHLD, or waits for all children."""

    is_untold = False

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        """What `wait` calls: it takes an end that nobody tells any more for exit code 0."""
        try:
            return os.waitpid(self.pid, wait_flags)
        except ChildProcessError:
            self.is_untold = True
            return self.pid, 0


def launch(number: int, descriptors: tuple[int, ...], initializer: int, surroundings: Surroundings) -> WorkerProcess:
    """Start the worker of that number, with these descriptors: its socket, life-line, mark and permits."""
    name = name_of(number)
    code = f"'{name} of process {os.getpid()}'; {_BOOT}"  # what it is stands first where command lines are listed
    return WorkerProcess(
        [sys.executable, *_flags(), "-c", code, " ".join(map(str, (*descriptors, initializer, number)))],
        env=_seen(surroundings.environment),
        stdin=subprocess.DEVNULL,
        pass_fds=descriptors,
        start_new_session=True,
    )


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
