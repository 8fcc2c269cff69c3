"""Where tasks run: the program's working directory, `sys.path`, environment and so on, as an execution finds them.

Workers live longer than any of these, and a task may change them for itself: each attempt starts where the program was.
What the program has set of logging and warnings travels along; `logbook` and `notices` see to that.
"""

import os
import sys
import time
from collections.abc import Mapping
from typing import NamedTuple

from cloaca.border.authkey import authkey_here
from cloaca.border.logbook import loggers_here
from cloaca.border.notices import filters_here
from cloaca.border.whereabouts import directory_here, path_here, variables
from cloaca.wire.messages import InterpreterLimits, Surroundings
from cloaca.wire.text import raw, text_of


class Bearings(NamedTuple):
    """Surroundings as a worker compares them with its own: texts where it has texts, and the objects that it has."""

    directory: bytes
    path: list[str]
    arguments: list[str]
    environment: Mapping[bytes, bytes]
    limits: InterpreterLimits


def here() -> Surroundings:
    """Those of this process as they are now."""
    return Surroundings(
        directory_here() or os.fsencode(os.sep),  # where the program's directory was removed under it
        path_here(),
        environment=dict(variables),
        limits=_limits(),
        loggers=loggers_here(),
        filters=filters_here(),
        arguments=tuple([raw(one) for one in sys.argv if isinstance(one, str)]),
        authkey=authkey_here(),
    )


def bearings(surroundings: Surroundings) -> Bearings:
    """How to get there. Of the environment it has the very objects of this process: to compare these is quick."""
    own = {variable: variable for variable in variables.items()}
    return Bearings(
        surroundings.directory,
        [text_of(entry) for entry in surroundings.path],
        [text_of(one) for one in surroundings.arguments],
        dict(own.get(item, item) for item in surroundings.environment.items()),
        surroundings.limits,
    )


def enter(bearings: Bearings) -> None:
    """Make them those of this process. Costs next to nothing where they are."""
    if directory_here() != bearings.directory:
        try:
            os.chdir(bearings.directory)
        except OSError:
            os.chdir(os.sep)
    if sys.path != bearings.path:
        sys.path[:] = bearings.path
    if variables != bearings.environment:
        _set_variables(bearings.environment)
    if not _are_here(bearings.limits):
        _limit(bearings.limits)
    if sys.argv != bearings.arguments:
        sys.argv[:] = bearings.arguments


def is_in(bearings: Bearings) -> bool:
    """Whether this process is in their directory, whoever went there: libraries do so past Python's own functions."""
    return directory_here() == bearings.directory


MOVES = {
    "posix": ("chdir", "fchdir", "putenv", "unsetenv"),
    "sys": ("setrecursionlimit", "set_int_max_str_digits", "setswitchinterval"),
}
"""The functions that change what isn't just set, by their modules."""


def _limits() -> InterpreterLimits:
    return InterpreterLimits(
        sys.getrecursionlimit(), sys.get_int_max_str_digits(), sys.getswitchinterval(), not sys.dont_write_bytecode
    )


def _are_here(limits: InterpreterLimits) -> bool:
    """Whether they are those of this process, without making a record of these."""
    return (
        sys.getrecursionlimit() == limits.recursion
        and sys.get_int_max_str_digits() == limits.digits
        and sys.getswitchinterval() == limits.switch_interval
        and sys.dont_write_bytecode != limits.writes_bytecode
    )


def _limit(limits: InterpreterLimits) -> None:
    sys.setrecursionlimit(limits.recursion)
    sys.set_int_max_str_digits(limits.digits)
    sys.setswitchinterval(limits.switch_interval + 1e-9)  # it would be cut off, to one microsecond less
    sys.dont_write_bytecode = not limits.writes_bytecode


def _set_variables(environment: Mapping[bytes, bytes]) -> None:
    changed = dict(environment.items() - variables.items())
    surplus = variables.keys() - environment.keys()
    for name in surplus:
        del os.environb[name]
    os.environb.update(changed)
    if b"TZ" in surplus or b"TZ" in changed:
        time.tzset()
