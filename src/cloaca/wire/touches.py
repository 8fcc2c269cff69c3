"""What a function's own code does with its context: which keys it needs, looks for and sets, read from its bytecode.

Only what is certain is told. Whatever isn't a plain use of a constant key (a name that is made up, a context that is
handed on, keys that are listed) makes the answer *open*: then the function may read, or set, any other key as well.
"""

import dis
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import inf
from types import CodeType, FunctionType
from typing import Any, Final

from cloaca.wire.effects import ATTRIBUTES, DEEPEST, JUMPS, SILENT, begin, called_by, loads, returned

_Steps = Sequence[dis.Instruction]

_NEEDING: Final = frozenset({"update"})
_ASKING: Final = frozenset({"insert", "remove", "delete"})
_SETTING: Final = frozenset({"set", "insert", "update", "remove", "delete"})
_KEYED: Final = _SETTING | {"get"}
_RETURNING_NONE: Final = frozenset({"set", "insert", "update"})
_HARMLESS: Final = frozenset({"seed", "item_key", "outcome", "conflicts"})
_LISTING: Final = frozenset({"keys", "values", "items", "to_dict", "to_json"})
_NUMBERS: Final = frozenset({"len", "int", "float", "str", "bool", "round", "sum"})
_CALLS: Final = frozenset({"PRECALL", "CALL", "CALL_KW"})
_TEXTS: Final = frozenset({"BUILD_STRING", "FORMAT_VALUE", "FORMAT_SIMPLE"})
_RETURNS: Final = frozenset({"RETURN_VALUE", "RETURN_CONST"})
_CLOSING: Final = frozenset({"LOAD_CLOSURE", "LOAD_FAST"})  # they hand a variable on to a function inside
_SUBSCRIPTS: Final = frozenset({"BINARY_SUBSCR", "COPY", "DELETE_SUBSCR"})

MADE: Final = "made"
"""Stands for the value that a key is set to, where it is known to be a number or a text, but not which."""


@dataclass(frozen=True, slots=True)
class Touches:
    """`needs`: keys whose absence fails it; `looks`: keys that it reads otherwise; `sets`: those that it may set.

    `asks`: keys of which it only wants to know whether they are there. `surely`: of the keys needed, those that it
    reads outside of branches.

    `reads_more`, `sets_more`: it may read, or set, others. `plain`: of keys that it only sets to numbers and texts,
    the repr of the one value, or `MADE`.
    """

    needs: frozenset[str] = frozenset()
    looks: frozenset[str] = frozenset()
    sets: frozenset[str] = frozenset()
    reads_more: bool = False
    sets_more: bool = False
    plain: Mapping[str, str] = field(default_factory=dict)
    asks: frozenset[str] = frozenset()
    surely: frozenset[str] = frozenset()

    def under(self, prefix: str) -> "Touches":
        """The same with other names for keys: those of a copy of a workflow."""
        if not prefix:
            return self

        def named(keys: Iterable[str]) -> frozenset[str]:
            return frozenset([prefix + key for key in keys])

        plain = {prefix + key: value for key, value in self.plain.items()}
        needs, looks, sets = named(self.needs), named(self.looks), named(self.sets)
        return Touches(needs, looks, sets, self.reads_more, self.sets_more, plain, named(self.asks), named(self.surely))

    @property
    def reads(self) -> frozenset[str]:
        """The keys whose values it may read."""
        return self.needs | self.looks


OPEN: Final = Touches(reads_more=True, sets_more=True)


def touches_of(function: Callable[..., Any]) -> Touches:
    """What is known of a task function.

    >>> def scale(context):
    ...     context["total"] = context["x"] * context.get("factor", 2)
    >>> found = touches_of(scale)
    >>> [*found.needs], [*found.looks], [*found.sets], found.sets_more
    (['x'], ['factor'], ['total'], False)
    """
    place, called = 0, function
    for _ in range(DEEPEST):
        if isinstance(called, FunctionType):
            code = called.__code__
            is_clear = "__wrapped__" not in called.__dict__ and place < code.co_argcount
            return _found(code, code.co_varnames[place]) if is_clear else OPEN
        called, given = called_by(called)
        if called is None:
            return OPEN
        place += given
    return OPEN


class _Finds:
    """What was found so far."""

    def __init__(self) -> None:
        self.needs: set[str] = set()
        self.looks: set[str] = set()
        self.asks: set[str] = set()
        self.sets: set[str] = set()
        self.surely: set[str] = set()
        self.plain: dict[str, str | None] = {}
        self.reads_more = self.sets_more = False

    def set(self, key: str, value: str | None) -> None:
        self.sets.add(key)
        self.plain[key] = value if self.plain.get(key, value) == value else value and self.plain[key] and MADE

    def open(self) -> None:
        self.reads_more = self.sets_more = True


@lru_cache(maxsize=4096)
def _found(code: CodeType, context: str) -> Touches:
    finds = _Finds()
    _look_through(code, context, finds)
    guarded = finds.needs & (finds.looks | finds.asks)
    return Touches(
        frozenset(finds.needs - guarded),
        frozenset(finds.looks | guarded),
        frozenset(finds.sets),
        finds.reads_more,
        finds.sets_more,
        {key: value for key, value in finds.plain.items() if value is not None},
        frozenset(finds.asks),
        frozenset(finds.surely - guarded),
    )


def _look_through(code: CodeType, context: str, finds: _Finds) -> None:
    steps = [step for step in dis.get_instructions(code) if step.opname not in SILENT]
    before, joined = set(finds.needs), 0.0
    for place, step in enumerate(steps):
        joined = max(joined, _joins_at(step, joined))
        if step.opname in _CLOSING and step.argval in (*code.co_cellvars, *code.co_freevars):
            continue
        if loads(step, context):
            needs = set(finds.needs)
            _use(steps, place, finds)
            finds.surely |= finds.needs - needs if step.offset >= joined else set()
        elif context == step.argval or (isinstance(step.argval, tuple) and context in step.argval):
            finds.open()  # it is bound anew, or loaded in a way that isn't clear
        elif step.opname in _RETURNS:
            _return(steps, place, context, finds)
    for inner in code.co_consts:
        if isinstance(inner, CodeType) and context in inner.co_freevars:
            _look_within(inner, context, finds)
    if code.co_exceptiontable:  # what is missing may be caught
        finds.looks |= finds.needs - before


def _joins_at(step: dis.Instruction, joined: float) -> float:
    """From which offset on the code runs whatever this step decides: never, where a branch returns."""
    if "JUMP_IF" in step.opname or "JUMP_FORWARD" in step.opname:
        return float(step.argval)
    return inf if step.opname in _RETURNS and step.offset < joined else 0.0


def _look_within(inner: CodeType, context: str, finds: _Finds) -> None:
    """A function inside may never be called: its keys are looked for. What it returns is no task's answer."""
    needs, sets_more = set(finds.needs), finds.sets_more
    _look_through(inner, context, finds)
    finds.looks |= finds.needs - needs
    steps = [step for step in dis.get_instructions(inner) if loads(step, context)]
    finds.sets_more = sets_more or (bool(steps) and finds.reads_more)


# ---- uses of the context -------------------------------------------------------------------------------------------


def _use(steps: _Steps, place: int, finds: _Finds) -> None:
    """One use of the context, which `steps[place]` has put on the stack."""
    first, second = (*steps[place + 1 : place + 3], None, None)[:2]
    if first is None or first.opname == "RETURN_VALUE":
        return
    if first.opname == "LOAD_CONST" and isinstance(first.argval, str) and second is not None:
        _subscript(steps, place, first.argval, second, finds)
    elif first.opname in ATTRIBUTES:
        _method(steps, place + 1, first.argval, finds)
    elif first.opname == "CONTAINS_OP" and place and _text(steps[place - 1]) is not None:
        finds.asks.add(steps[place - 1].argval)
    else:
        finds.open()


def _subscript(steps: _Steps, place: int, key: str, step: dis.Instruction, finds: _Finds) -> None:
    if step.opname == "STORE_SUBSCR":
        finds.set(key, _plain(steps, place))
    elif step.opname in _SUBSCRIPTS or (step.opname == "BINARY_OP" and step.argrepr == "[]"):
        finds.needs.add(key)
        if step.opname != "BINARY_SUBSCR" and step.argrepr != "[]":
            finds.set(key, None)
    else:
        finds.open()


def _method(steps: _Steps, place: int, name: str, finds: _Finds) -> None:
    if name in _HARMLESS:
        return
    if name in _LISTING:
        finds.reads_more = True
        return
    key = next((at for at in range(place + 1, len(steps)) if steps[at].opname != "PUSH_NULL"), place)
    end = _end_of_call(steps, key) if name in _KEYED and _text(steps[key]) is not None else None
    if end is None:
        finds.open()
        return
    if name in _NEEDING:
        finds.needs.add(steps[key].argval)
    if name == "get":
        finds.looks.add(steps[key].argval)
    if name in _ASKING:
        finds.asks.add(steps[key].argval)
    if name in _SETTING:
        finds.set(steps[key].argval, _plain(steps, end) if name in _RETURNING_NONE else None)


def _text(step: dis.Instruction) -> str | None:
    return step.argval if step.opname == "LOAD_CONST" and isinstance(step.argval, str) else None


def _end_of_call(steps: _Steps, key: int) -> int | None:
    """Where the call begins whose first argument is the constant at `key`; `None` where it is part of another one.

    Where the way there isn't clear, it is the place where that begins.
    """
    depth = 1
    for place in range(key + 1, len(steps)):
        step = steps[place]
        if step.opcode in JUMPS or (step.opname in _CALLS and step.arg in (depth, depth - 1)):
            return place if step.opcode not in JUMPS or depth > 1 else None
        depth += dis.stack_effect(step.opcode, step.arg)
        if depth < 1 or (depth == 1 and place > key + 1):
            return None
    return None


def _plain(steps: _Steps, end: int) -> str | None:
    """The value that was put on the stack before `end`: its repr, or `MADE`; `None` where it may be anything."""
    last = steps[end - 1]
    if last.opname == "LOAD_CONST":
        return repr(last.argval) if isinstance(last.argval, str | bytes | int | float | None) else None
    if last.opname in _TEXTS:
        return MADE
    start = begin(steps, end) if last.opname in _CALLS else None
    called = () if start is None else steps[start : start + 2]
    is_number = any(step.opname == "LOAD_GLOBAL" and step.argval in _NUMBERS for step in called)
    return MADE if is_number else None


# ---- what is returned ----------------------------------------------------------------------------------------------


def _return(steps: _Steps, place: int, context: str, finds: _Finds) -> None:
    """What a task returns: nothing, its context, or keys to set."""
    before = steps[place - 1] if steps[place].opname == "RETURN_VALUE" and place else steps[place]
    if before.opname in {"LOAD_CONST", "RETURN_CONST"} and before.argval is None:
        return
    if loads(before, context):
        return
    keys = list(returned(steps[:place]))
    if before.opname in {"BUILD_MAP", "BUILD_CONST_KEY_MAP"} and len(keys) == before.arg:
        for key in keys:
            finds.set(key, None)
    elif not _is_none(steps, place, context):
        finds.sets_more = True


def _is_none(steps: _Steps, place: int, context: str) -> bool:
    """Whether what is returned is that of `context.set(...)` and the like."""
    start = begin(steps, place) if steps[place - 1].opname in _CALLS else None
    if start is None or not loads(steps[start], context):
        return False
    method = steps[start + 1]
    return method.opname in ATTRIBUTES and method.argval in _RETURNING_NONE
