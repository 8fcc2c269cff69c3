"""pyinstrument: where the time went, by looking a thousand times a second. A profile is how often each stack was seen.

Stacks begin where the task's function was called. When each was seen is forgotten: a task may run for hours, and many
times, and takes no more room then.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import Struct, msgpack

if TYPE_CHECKING:  # there is none for the newest Python: so that this can be loaded, it is imported where it is used
    from pyinstrument.session import Session

Stack = tuple[str, ...]

_OWN = os.path.dirname(__file__) + os.sep
_HEADING = "tasks of cloaca"
_ROOT = "tasks\x00<cloaca>\x000"


class StackSamples(Struct):
    """The seconds for which each stack was seen, and how many samples that were; when it began, and how long it was."""

    stacks: list[tuple[Stack, float]]
    count: int
    began: float
    seconds: float
    cpu: float


class _SamplesProbe:
    def __init__(self) -> None:
        self._seconds: dict[Stack, float] = {}
        self._count = 0
        self._began = self._duration = self._cpu = 0.0
        from pyinstrument import Profiler

        self._new = Profiler
        self._profiler: Profiler | None = None

    def prepared(self) -> Callable[[], object]:
        self._stop()
        other = sys.getprofile()
        if other is not None and not _is_pyinstruments(other):
            raise ValueError(getattr(other, "__name__", type(other).__name__))
        # By its way of following coroutines it would stand in the way of a task that uses pyinstrument itself.
        self._profiler = profiler = self._new(async_mode="disabled")
        return partial(profiler.start, sys._getframe(2))

    def has_begun(self) -> None:
        """It stands in nobody's way."""

    def end(self) -> str:
        self._stop()
        return ""

    def taken(self) -> bytes | None:
        if not self._duration:
            return None
        told = StackSamples([*self._seconds.items()], self._count, self._began, self._duration, self._cpu)
        self._seconds = {}
        self._count = 0
        self._began = self._duration = self._cpu = 0.0
        return _encode(told)

    def _stop(self) -> None:
        profiler, self._profiler = self._profiler, None
        if profiler is None or not profiler.is_running:
            return
        session = profiler.stop()
        depth = len(session.start_call_stack)
        for frames, seconds in session.frame_records:
            stack = tuple(frames[depth:])
            if stack and _OWN not in stack[0]:
                self._seconds[stack] = self._seconds.get(stack, 0.0) + seconds
                self._count += 1
        self._began = self._began or session.start_time
        self._duration += session.duration
        self._cpu += session.cpu_time


def _is_pyinstruments(profiler: object) -> bool:
    return type(profiler).__module__.startswith("pyinstrument")


class Pyinstrument:
    """Looks at the stack every millisecond: next to no slower, and blind to what takes less."""

    def __init__(self) -> None:
        self.writers: Mapping[str, Callable[[bytes, str], None]] = {
            ".json": _write_speedscope,
            ".html": _write_html,
            ".pyisession": _write_session,
        }

    def probe(self) -> _SamplesProbe:
        """What records."""
        return _SamplesProbe()

    def combined(self, parts: Sequence[bytes]) -> bytes:
        """Seconds are added up, stack by stack."""
        if len(parts) == 1:
            return parts[0]
        samples = [*map(_decode, parts)]
        seconds: dict[Stack, float] = {}
        for one in samples:
            for stack, some in one.stacks:
                seconds[stack] = seconds.get(stack, 0.0) + some
        return _encode(
            StackSamples(
                [*seconds.items()],
                sum(one.count for one in samples),
                min(one.began for one in samples),
                sum(one.seconds for one in samples),
                sum(one.cpu for one in samples),
            )
        )

    def text(self, recorded: bytes) -> str:
        """The tree of calls, without what took next to no time."""
        shown = _rendered("ConsoleRenderer", recorded, unicode=True)
        return shown.partition(_HEADING)[2].strip("\n")

    def opened(self, recorded: bytes) -> "Session":
        """As pyinstrument has it."""
        return _opened(recorded)


_encode = msgpack.Encoder().encode
_decode = msgpack.Decoder(StackSamples).decode


def _opened(recorded: bytes) -> "Session":
    from pyinstrument.session import Session

    samples = _decode(recorded)
    session: Session = Session.from_json(
        {
            "frame_records": [([_ROOT, *stack], seconds) for stack, seconds in samples.stacks],
            "start_time": samples.began,
            "duration": samples.seconds,
            "sample_count": samples.count,
            "start_call_stack": [_ROOT],
            "target_description": _HEADING,
            "cpu_time": samples.cpu,
            "sys_path": sys.path,
        }
    )
    return session


def _rendered(kind: str, recorded: bytes, **options: Any) -> str:
    from pyinstrument import renderers

    told: str = getattr(renderers, kind)(**options).render(_opened(recorded))
    return told


def _write_speedscope(recorded: bytes, path: str) -> None:
    _write(_rendered("SpeedscopeRenderer", recorded), path)


def _write_html(recorded: bytes, path: str) -> None:
    _write(_rendered("HTMLRenderer", recorded), path)


def _write_session(recorded: bytes, path: str) -> None:
    _write(json.dumps(_opened(recorded).to_json()), path)


def _write(text: str, path: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
