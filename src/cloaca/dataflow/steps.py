"""Steps: the instructions of a function's code, as those who read them need them."""

import dis
import re
from collections.abc import Iterator, Sequence
from types import CodeType
from typing import Any, Final

ATTRIBUTES: Final = frozenset({"LOAD_METHOD", "LOAD_ATTR"})
CALLS: Final = frozenset({"PRECALL", "CALL", "CALL_KW"})
JUMPS: Final = frozenset({*dis.hasjrel, *dis.hasjabs})
_LOADS = ("LOAD_FAST", "LOAD_DEREF")
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


def loads(step: dis.Instruction, variable: str) -> bool:
    """Whether it leaves the variable on top of the stack."""
    return bool(loaded(step) == variable)


def loaded(step: dis.Instruction) -> Any:
    """The variable that it leaves on top of the stack, or `None`."""
    return step.argval if step.opname.startswith(_LOADS) else None


def begin(steps: Steps, end: int) -> int | None:
    """Where the expression begins that leaves one value on the stack at `end`; `None` where that isn't clear."""
    depth = 0
    for place in range(end - 1, -1, -1):
        step = steps[place]
        if step.opcode in JUMPS:
            return None
        depth += dis.stack_effect(step.opcode, step.arg)
        if depth == 1:
            return place
    return None


def returned(steps: Steps) -> Iterator[tuple[str, int]]:
    """The keys of the dict that is returned, where these steps end by making it of constant keys.

    Each comes with the place where its value is on the stack.
    """
    last = steps[-1]
    if last.opname == "BUILD_CONST_KEY_MAP":
        places = [end for _, end in _begins(steps, len(steps) - 2, last.arg or 0)]
        places += [0] * ((last.arg or 0) - len(places))
        for key, place in zip(steps[-2].argval, reversed(places), strict=True):
            if isinstance(key, str):
                yield key, place
    elif last.opname == "BUILD_MAP":
        yield from reversed([*_built(steps, last.arg or 0)])


def _built(steps: Steps, count: int) -> Iterator[tuple[str, int]]:
    """The constant keys of so many pairs that were put on the stack, the last one first."""
    ends = [*_begins(steps, len(steps) - 1, 2 * count)]
    for (key, behind), (_, end) in zip(ends[1::2], ends[::2], strict=False):
        if steps[key].opname == "LOAD_CONST" and key == behind - 1 and isinstance(steps[key].argval, str):
            yield steps[key].argval, end


def _begins(steps: Steps, end: int, count: int) -> Iterator[tuple[int, int]]:
    """Where so many values begin and end that were put on the stack, the last one first, as far as it is clear."""
    for _ in range(count):
        start = begin(steps, end)
        if start is None:
            return
        yield start, end
        end = start
