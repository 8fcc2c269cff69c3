"""Steps: the instructions of a function's code, as those who read them need them."""

import dis
import re
from collections.abc import Iterator, Sequence
from types import CodeType
from typing import Final

JUMPS: Final = frozenset({*dis.hasjrel, *dis.hasjabs})
_VARIABLES = re.compile(r"(?:LOAD|STORE)_FAST")
_SILENT = frozenset({"CACHE", "EXTENDED_ARG", "NOP", "RESUME", "COPY_FREE_VARS", "MAKE_CELL"})

Steps = Sequence[dis.Instruction]


def steps_of(code: CodeType) -> Steps:
    """What the code does, without what has no effect of its own, and with a step for each variable."""
    steps = [step for step in dis.get_instructions(code) if step.opname not in _SILENT]
    return [part for step in steps for part in (_parted(step) if isinstance(step.argval, tuple) else (step,))]


def _parted(step: dis.Instruction) -> Iterator[dis.Instruction]:
    """Some versions of Python load or store two variables at once."""
    names = _VARIABLES.findall(step.opname)
    if len(names) < len(step.argval) or "FAST" not in step.opname:
        yield step
        return
    for name, variable in zip(names, step.argval, strict=True):
        yield step._replace(opname=name, opcode=dis.opmap[name], arg=0, argval=variable)
