"""Guards: which parts of the code are in a `try` that catches, and where its handlers begin."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dis import Bytecode, Instruction
from types import CodeType
from typing import Any, Final

_CATCHES: Final = frozenset({"CHECK_EXC_MATCH", "CHECK_EG_MATCH"})
_LEADING: Final = ("LOAD", "BUILD", "PUSH", "COPY", "SWAP", "CALL", "PRECALL")
_DEEPEST: Final = 50


class Guards:
    """The exception table of a piece of code. `finally` and `with` don't catch, `contextlib.suppress` does."""

    def __init__(self, code: CodeType, steps: Sequence[Instruction]) -> None:
        self._entries: list[Any] = [*vars(Bytecode(code))["exception_entries"]] if code.co_exceptiontable else []
        self._starts = [entry.start for entry in self._entries]
        self._suppresses = "suppress" in code.co_names
        self._steps = steps
        places = {step.offset: place for place, step in enumerate(steps)} if self._entries else {}
        self._catching = {entry.target: self._catches(places.get(entry.target)) for entry in self._entries}
        self._depths = {entry.target: entry.depth + entry.lasti + 1 for entry in self._entries}
        self._begun: dict[int, list[int]] = defaultdict(list)
        for entry in self._entries:
            self._begun[entry.start].append(entry.target)

    def is_caught(self, offset: int) -> bool:
        """Whether what is raised there is caught, further outside perhaps."""
        for _ in range(_DEEPEST):
            target = self._target(offset)
            if target is None or self._catching[target]:
                return target is not None
            offset = target
        return True

    def begun(self, offset: int) -> Sequence[int]:
        """The handlers of what begins there, by where they begin."""
        return self._begun.get(offset, ())

    def depth(self, offset: int) -> int | None:
        """How much is on the stack where a handler begins that may go on after it; `None` where there is none."""
        return self._depths[offset] if self._catching.get(offset) else None

    def _target(self, offset: int) -> int | None:
        place = bisect_right(self._starts, offset) - 1
        if place < 0 or offset >= self._entries[place].end:
            return None
        return int(self._entries[place].target)

    def _catches(self, place: int | None) -> bool:
        """Whether the handler that begins there catches anything."""
        if place is None or self._steps[place].opname != "PUSH_EXC_INFO":
            return False
        for number, step in enumerate(self._steps[place + 1 : place + 1 + _DEEPEST]):
            if step.opname == "WITH_EXCEPT_START":
                return self._suppresses
            if step.opname in _CATCHES:
                return True
            if not step.opname.startswith(_LEADING):
                return number == 0 and step.opname == "POP_TOP"
        return False
