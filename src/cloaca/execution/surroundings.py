"""Where tasks run: the program's working directory, `sys.path`, environment and so on, as an execution finds them.

Workers live longer than any of these, and a task may change them for itself: each attempt starts where the program was.
What the program has set of logging and warnings travels along; `logbook` and `notices` see to that.
"""

import gc
import os
import sys
import time
from collections.abc import Mapping

from msgspec.structs import replace

from cloaca.execution.logbook import loggers_here
from cloaca.execution.notices import filters_here
from cloaca.wire.frames import encodable
from cloaca.wire.messages import Limits, Surroundings

_variables: dict[bytes, bytes] = os.environ._data  # type: ignore[attr-defined]  # as the system has them: compared by C


def here() -> Surroundings:
    """Those of this process as they are now."""
    directory = _directory() or os.sep  # where the program's directory was removed under it
    path = tuple(entry or directory for entry in sys.path if isinstance(entry, str))
    return Surroundings(
        directory,
        path,
        environment=dict(_variables),
        limits=_limits(),
        loggers=loggers_here(),
        filters=filters_here(),
        arguments=tuple([encodable(one) for one in sys.argv if isinstance(one, str)]),
    )


def enter(surroundings: Surroundings) -> None:
    """Make them those of this process. Costs next to nothing where they are."""
    if _directory() != surroundings.directory:
        try:
            os.chdir(surroundings.directory)
        except FileNotFoundError:
            os.chdir(os.sep)
    if tuple(sys.path) != surroundings.path:
        sys.path[:] = surroundings.path
    if _variables != surroundings.environment:
        _set_variables(surroundings.environment)
    if _limits() != surroundings.limits:
        _limit(surroundings.limits)
    if tuple(sys.argv) != surroundings.arguments:
        sys.argv[:] = surroundings.arguments
    if not gc.isenabled():
        gc.enable()


def recognised(surroundings: Surroundings) -> Surroundings:
    """The same, made of the very objects that this process's environment holds: `enter` then compares identities."""
    own = {variable: variable for variable in _variables.items()}
    return replace(surroundings, environment=dict(own.get(item, item) for item in surroundings.environment.items()))


def _limits() -> Limits:
    return Limits(
        sys.getrecursionlimit(), sys.get_int_max_str_digits(), sys.getswitchinterval(), not sys.dont_write_bytecode
    )


def _limit(limits: Limits) -> None:
    sys.setrecursionlimit(limits.recursion)
    sys.set_int_max_str_digits(limits.digits)
    sys.setswitchinterval(limits.switch_interval + 1e-9)  # it would be cut off, to one microsecond less
    sys.dont_write_bytecode = not limits.writes_bytecode


def _set_variables(environment: Mapping[bytes, bytes]) -> None:
    changed = dict(environment.items() - _variables.items())
    surplus = _variables.keys() - environment.keys()
    for name in surplus:
        del os.environb[name]
    os.environb.update(changed)
    if b"TZ" in surplus or b"TZ" in changed:
        time.tzset()


def _directory() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 - for each attempt: making a Path would take longer than the call
    except FileNotFoundError:
        return None
