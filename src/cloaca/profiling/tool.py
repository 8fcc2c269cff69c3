"""Tool: what is expected of a profiler, and which ones there are. Each is loaded where it is first used."""

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Literal, Protocol, cast, get_args

ProfilerName = Literal["cprofile", "pyinstrument", "memray"]
PROFILERS: tuple[str, ...] = get_args(ProfilerName)
_HOMES = {"cprofile": "cProfile", "pyinstrument": "pyinstrument", "memray": "memray"}


class Probe(Protocol):
    """Profiles the calls of one function in one process, one at a time."""

    def prepared(self) -> Callable[[], object]:
        """What begins it, to be called where the function is called, by the caller of the caller of this.

        This, and that, raise `RuntimeError` or `ValueError` where another profiler is active.
        """
        ...

    def has_begun(self) -> None:
        """Give way from here on to whoever wants to profile something else."""
        ...

    def end(self) -> str:
        """End, if it has begun. Returns what is to be said of the profile, if anything is."""
        ...

    def taken(self) -> bytes | None:
        """Give away what there is since this was asked for last, if that is anything."""
        ...


class Tool(Protocol):
    """A profiler. What it has recorded is bytes, for whoever doesn't look into it."""

    writers: Mapping[str, Callable[[bytes, str], None]]
    """What writes it to a file, by how the file's name ends."""

    def probe(self) -> Probe:
        """What records."""
        ...

    def combined(self, parts: Sequence[bytes]) -> bytes:
        """Several recordings as one."""
        ...

    def text(self, recorded: bytes) -> str:
        """It as text, for a terminal."""
        ...

    def opened(self, recorded: bytes) -> object:
        """It as the profiler itself has it."""
        ...


def checked_profiler(what: str, name: object) -> ProfilerName:
    """The name of a profiler that is installed. Raises `ValueError` or `ModuleNotFoundError` where it is none."""
    if name not in PROFILERS:
        raise ValueError(f"{what} is one of {', '.join(map(repr, PROFILERS))}, not {name!r}.")
    known = cast("ProfilerName", name)
    if find_spec(_HOMES[known]) is None:
        raise ModuleNotFoundError(f"{what} needs {known}, which isn't installed: pip install {known}", name=known)
    return known


def tool_of(name: str) -> Tool:
    """The profiler of that name."""
    match name:
        case "pyinstrument":
            from cloaca.profiling.pyinstrument import Pyinstrument

            return Pyinstrument()
        case "memray":
            from cloaca.profiling.memray import Memray

            return Memray()
        case _:
            from cloaca.profiling.cprofile import CProfile

            return CProfile()
