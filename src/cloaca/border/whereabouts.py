"""Whereabouts: the program's working directory, `sys.path` and environment, as what is started now is given them."""

import os
import sys
from collections.abc import Mapping

from cloaca.wire.text import raw

_OWN = os.path.dirname(os.__file__)
_LIBRARY = frozenset({_OWN, f"{_OWN}{os.sep}lib-dynload"})

variables: dict[bytes, bytes] = os.environ._data  # type: ignore[attr-defined]  # as the system has them: compared by C


def directory_here() -> bytes | None:
    """The working directory; `None` where it was removed under this process."""
    try:
        return os.getcwdb()
    except OSError:
        return None


def path_here() -> tuple[bytes, ...]:
    """`sys.path`, with all that begins in the working directory (as "" does) behind Python's own library.

    The program has imported that before it went there. A worker imports it now, and may not find `socket.py` of a
    folder of data.
    """
    directory = os.fsdecode(directory_here() or os.sep)
    entries = [entry for entry in sys.path if isinstance(entry, str)]
    own = max([place for place, entry in enumerate(entries, 1) if entry in _LIBRARY], default=0)
    before = [entry for entry in entries[:own] if not _is_local(entry)]
    moved = [entry for entry in entries[:own] if _is_local(entry)]
    ordered = *before, *moved, *entries[own:]
    return tuple([raw(_joined(directory, entry) if _is_local(entry) else entry) for entry in ordered])


def widened(environment: Mapping[bytes, bytes], more: Mapping[str, str]) -> dict[bytes, bytes]:
    """An environment with more variables in it."""
    return {**environment, **{os.fsencode(name): os.fsencode(value) for name, value in more.items()}}


def _is_local(entry: str) -> bool:
    return not entry or (not os.path.isabs(entry) and os.path.isdir(entry))


def _joined(directory: str, entry: str) -> str:
    return os.path.join(directory, entry) if entry else directory
