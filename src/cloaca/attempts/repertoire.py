"""Repertoire: what a process was sent to call, by number. Each is loaded when it is first asked for, and then kept."""

import sys
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from cloaca.attempts import variables
from cloaca.border.mark import NONE
from cloaca.errors import DecodeError
from cloaca.pickling.loading import load
from cloaca.values.blobs import Part, content_of
from cloaca.wire.messages import Profiling, Publish
from cloaca.wording import summary_of

if TYPE_CHECKING:
    from cloaca.profiling.task import Profilers

_as_set = lru_cache(maxsize=1024)(frozenset[str])  # functions of one code mostly read the same

LONG = 0.05
"""Seconds that loading a function takes at least to be looked at for what was imported with it."""

_NO_HEAD = Publish(0, b"", ())


class Repertoire:
    """What was published, merge rules and conditions too.

    `on_load` is told whenever one was loaded: in how many seconds, and which packages were imported with it, if it took
    long.

    What is interrupted can be done again.
    """

    def __init__(self, on_load: Callable[[float, Sequence[str]], object] = lambda _seconds, _imported: None) -> None:
        self._on_load = on_load
        self._sent: dict[int, Publish] = {}
        self._reads: dict[int, frozenset[str]] = {}
        self._loaded: dict[int, Any] = {}
        self._wanted = NONE  # an initializer may have wanted some
        self.profilers: Profilers | None = None
        """Those of functions that were loaded, where any of these are to be profiled."""

    def __contains__(self, number: int) -> bool:
        """Whether it was published."""
        return number in self._sent or number in self._loaded

    def __len__(self) -> int:
        """How many were published."""
        return len(self._sent) + len(self._loaded)

    def learn(self, function: Publish) -> None:
        """Take in what was published."""
        self._sent[function.function] = function
        if function.reads:
            self._reads[function.function] = _as_set(function.reads)

    def clear(self) -> None:
        """Let go of all."""
        self.forget([*self._sent, *self._loaded])

    def forget(self, numbers: Iterable[int]) -> None:
        """Let go of what nobody will ask for again."""
        for number in numbers:
            for table in (self._sent, self._reads, self._loaded):
                table.pop(number, None)

    def reads(self, number: int) -> frozenset[str]:
        """The keys that a slice for the function always covers."""
        return self._reads.get(number, frozenset())

    def under(self, variables: int) -> Callable[[int], Any]:
        """What loads them, once modules have the variables of that number."""
        return self.load if variables == self._wanted else partial(self._load_under, variables)

    def load(self, number: int) -> Any:
        """The function itself. Raises whatever importing what it refers to raises."""
        function = self._loaded.get(number)
        if function is None:
            sent = self._sent[number]
            function = self._loaded[sent.function] = self._made(sent)  # by one number, not one of each message
            self._sent.pop(number, None)
        return function

    def _load_under(self, wanted: int, number: int) -> Any:
        if wanted != self._wanted:
            variables.of_process().want(self.load(wanted) if wanted else {})
            self._wanted = wanted
        return self.load(number)

    def _profiled(self, profiling: Profiling) -> Any:
        """A function under a profiler, which is there before anything is that may take something from it."""
        from cloaca.attempts.profiled import profiled  # few runs are profiled
        from cloaca.profiling.task import Profilers

        if self.profilers is None:
            self.profilers = Profilers()
        profiler = self.profilers.new(profiling)
        return profiled(self.load(profiling.function), profiler)

    def _made(self, sent: Publish) -> Any:
        for other in sent.along:
            self.load(other)
        if sent.profiling is not None:
            return self._profiled(sent.profiling)
        binding = self.load(sent.binding) if sent.binding else None
        began, modules = monotonic(), len(sys.modules)
        made = self._rebuilt(sent)
        seconds = monotonic() - began
        self._on_load(seconds, () if seconds < LONG else _packages([*sys.modules][modules:]))
        if not sent.binding and sent.writes is None and sent.looks is None:
            return made
        from cloaca.tasks.binding import bound  # most tasks declare nothing

        return bound(made, binding, sent.writes, sent.looks)

    def _rebuilt(self, sent: Publish) -> Any:
        head = self._sent[sent.head] if sent.head else _NO_HEAD
        buffers = (_content(buffer) for part in (head, sent) for buffer in part.attached)
        made = load(_content(sent.blob), _content(head.blob), buffers)
        if not sent.takes_handle:
            return made
        from cloaca.tasks.handle import with_handle  # few tasks do

        return with_handle(made)


def _packages(modules: Sequence[str]) -> Sequence[str]:
    """Those among them that stand by themselves, but for Python's own."""
    return [name for name in modules if "." not in name and name not in sys.stdlib_module_names and name[0] != "_"]


def _content(part: bytes) -> Part:
    """A part of a function, or what it refers to."""
    try:
        return content_of(part)
    except OSError as error:
        raise DecodeError(None, None, f"what a function takes along: {summary_of(error)}", is_lost=True) from error
