"""The nursery's side: a process that has loaded what workers consist of, and forks one whenever it is asked to.

It is a fresh interpreter, has one thread, runs nothing of the user's, and holds nothing but its connection: so what is
forked from it is what a fresh interpreter would be that has loaded the same. If it has anything more (what Python runs
at its start may leave a thread or a file behind) it is unfit, and says nothing: its end does.

What it forks is the program's child, not its own (see `cloaca.worker.sibling`). A worker says itself that it is born,
once it is a session of its own: what is done to its process group before that would miss it. The nursery ends with its
connection, or with the program (see `cloaca.border.lifeline`); workers have life-lines of their own, and outlive it.
"""

import errno
import gc
import os
import sys
from collections.abc import Iterable
from importlib import import_module
from socket import MSG_CMSG_CLOEXEC, MSG_WAITALL, recv_fds, socket
from typing import NamedTuple, NoReturn
from warnings import catch_warnings

from cloaca.attempts.nesting import become_worker
from cloaca.border import inheritance, lifeline, naming
from cloaca.border.birth import BORN, DESCRIPTORS, FIT, FORKED, LOAD, LONGEST, REFUSED, TOLD, WANTED
from cloaca.worker import worker
from cloaca.worker.sibling import Siblings

_OF_FIRST_TASKS = (
    "cloaca.attempts.batch",
    "cloaca.attempts.harmless",
    "cloaca.values.kinds",
    "cloaca.values.elements",
)
"""What workers load when they are given the first task of some kind: here it is loaded once for all."""

_DESCRIPTORS = 5
"""How many descriptors it has: the standard streams, its connection and its life-line."""


class _Birth(NamedTuple):
    """A worker that is asked for."""

    number: int
    initializer: int
    descriptors: list[int]


class _UnfitError(Exception):
    """What would be forked from here wouldn't be what a fresh interpreter is."""


def main(connection: socket, lifeline_descriptor: int) -> NoReturn:
    """Serve until the connection is closed. What is forked meanwhile gets here, too, and is a worker from then on."""
    become_worker()
    lifeline.follow(lifeline_descriptor)
    inheritance.become_new()
    naming.show(naming.NURSERY)
    connection.set_inheritable(False)
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.flush()  # or each worker would write what Python's start has left there
    try:
        _live(*Births(connection, lifeline_descriptor).serve())
    except (OSError, _UnfitError):  # or the program has gone, or there is no room for a worker to begin
        os._exit(1)


def _live(wanted: _Birth, coordinator: int) -> NoReturn:
    """Be that worker, of the program with that process id. What it reads first is where it finds modules."""
    try:
        program = socket(fileno=wanted.descriptors[0])
        size = int.from_bytes(program.recv(8, MSG_WAITALL), "little")
        sys.path[:] = program.recv(size, MSG_WAITALL).decode("utf-8", "surrogatepass").split("\0")
        sys.path_importer_cache.clear()
        naming.show_headline(naming.name_of(wanted.number), coordinator)
        lifeline_descriptor, mark, permits = wanted.descriptors[1:]
        worker.main(program, lifeline_descriptor, mark, permits, wanted.initializer, wanted.number)
    except BaseException as error:  # noqa: BLE001 - what ends an interpreter is shown; nothing else of the nursery's is done
        sys.excepthook(type(error), error, error.__traceback__)
    finally:
        os._exit(1)


class Births:
    """What is asked for on the connection, and forked. Raises `OSError` where there can't be one."""

    def __init__(self, connection: socket, lifeline_descriptor: int) -> None:
        self._siblings = Siblings()
        self._connection = connection
        self._lifeline = lifeline_descriptor
        self._program = os.getppid()

    def serve(self) -> tuple[_Birth, int]:
        """Fork what is asked for. Returns in each that was forked, with the program's process id."""
        self._load(_OF_FIRST_TASKS)
        while True:
            told, descriptors, _, _ = recv_fds(self._connection, LONGEST, DESCRIPTORS, MSG_CMSG_CLOEXEC)
            if told.startswith(LOAD):
                self._load(told.removeprefix(LOAD).decode().split())
            elif len(told) < WANTED.size or len(descriptors) < DESCRIPTORS or not _is_alone():
                raise _UnfitError
            elif self._has_forked(wanted := _birth(told, descriptors)):
                return wanted, self._program

    def _load(self, names: Iterable[str]) -> None:
        """Load modules: what they warn of, the program was told when it loaded them."""
        collects = gc.isenabled()
        gc.disable()  # what is loaded stays
        try:
            with catch_warnings(action="ignore"):
                for name in names:
                    import_module(name)
        except Exception as error:  # whatever it is, workers meet it, and tell of it, where the module is needed
            raise _UnfitError from error
        if collects:
            gc.enable()
        self._tell_fit()

    def _tell_fit(self) -> None:
        own = {0, 1, 2, self._connection.fileno(), self._lifeline}
        if not _is_alone() or len(own) < _DESCRIPTORS or _descriptors() != own:
            raise _UnfitError  # also where standard streams are closed: what a worker is given would take their places
        gc.freeze()  # to look for garbage among what all workers share would copy it
        self._tell(FIT)

    def _has_forked(self, wanted: _Birth) -> bool:
        """Whether this is what was forked."""
        try:
            pid = self._siblings.fork()
        except OSError as error:
            self._tell(REFUSED, wanted.number, error.errno or 0)
        else:
            if not pid:
                self._begin(wanted)
                return True
            self._tell(FORKED, wanted.number, pid)
        for descriptor in wanted.descriptors:
            os.close(descriptor)
        return False

    def _begin(self, wanted: _Birth) -> None:
        """Be none of this, and say so."""
        if os.getppid() != self._program:  # it has gone; or this is no such system as it seems
            self._tell(REFUSED, wanted.number, errno.ENOSYS)
            raise _UnfitError
        os.setsid()
        os.close(self._lifeline)
        self._tell(BORN, wanted.number, os.getpid())
        self._connection.close()

    def _tell(self, what: int, number: int = 0, how: int = 0) -> None:
        self._connection.sendall(TOLD.pack(what, number, how))


def _birth(told: bytes, descriptors: list[int]) -> _Birth:
    number, initializer = WANTED.unpack(told)
    return _Birth(number, initializer, descriptors)


def _is_alone() -> bool:
    """Whether this process has one thread."""
    return len(os.listdir("/proc/self/task")) == 1


def _descriptors() -> set[int]:
    """All but the one with which they are listed."""
    return {number for number in map(int, os.listdir("/proc/self/fd")) if _counts(number)}


def _counts(descriptor: int) -> bool:
    """Whether it is more than the one with which they were listed, or that of a library: it is mapped, not read."""
    try:
        return ".so" not in os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))
    except OSError:
        return False
