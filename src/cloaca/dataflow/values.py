"""Values: what the expressions in a function's code come to, as far as it matters where two tasks set one key.

There are constants, other numbers and texts, and what is put together by its parts: lists and dicts. Where it isn't
clear, a list or dict anywhere near counts as one.
"""

from collections.abc import Iterable
from dis import Instruction
from functools import reduce
from typing import Any, Final

from cloaca.dataflow.steps import ATTRIBUTES, CALLS, Steps, begin, loaded

MADE: Final = "made"
"""A number or a text, but not known which."""
PARTS: Final = "parts"
"""A list or a dict: what two tasks make of it is merged part by part."""
UNKNOWN: Final = "unknown"
REMOVED: Final = "removed"
"""No value: the key is taken away."""

_VAGUE: Final = frozenset({MADE, PARTS, UNKNOWN})
_NUMBERS: Final = frozenset({"len", "int", "float", "str", "bool", "round", "sum", "abs"})
_COLLECTIONS: Final = frozenset({"list", "dict", "sorted", "defaultdict", "Counter", "OrderedDict"})
_COLLECTING: Final = frozenset({"tolist", "to_dict", "split", "splitlines", "fromkeys"})
_CHANGING: Final = frozenset(
    {"append", "extend", "insert", "update", "setdefault", "sort", "items", "values", "keys", "pop"}
)
_MEMBERS: Final = frozenset({"STORE_SUBSCR", "DELETE_SUBSCR"})
_BUILDING: Final = frozenset(
    """
    BUILD_LIST BUILD_MAP BUILD_CONST_KEY_MAP LIST_EXTEND LIST_APPEND DICT_UPDATE DICT_MERGE MAP_ADD
    """.split()  # noqa: SIM905 - as a list, one string a line, it would fill a page
)
_BEFORE_CALLS: Final = frozenset({"PRECALL", "KW_NAMES"})
_AFTER_LOOPS: Final = frozenset({"STORE_FAST", "POP_TOP", "END_FOR", "SWAP"})  # a comprehension that is no function
_WITH_DEFAULT: Final = 2
_COMPREHENSIONS: Final = frozenset({"<listcomp>", "<dictcomp>"})
_PLAIN: Final = frozenset(
    """
    BUILD_STRING FORMAT_VALUE FORMAT_SIMPLE FORMAT_WITH_SPEC COMPARE_OP CONTAINS_OP IS_OP UNARY_NOT
    """.split()  # noqa: SIM905 - the same
)


def together(one: str, other: str) -> str:
    """What a value is that is this or that."""
    if one == other:
        return one
    kinds = {kind if kind in _VAGUE else MADE for kind in (one, other)}
    return next(kind for kind in (PARTS, UNKNOWN, MADE) if kind in kinds)


class Values:
    """What the expressions come to in these steps."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._variables: dict[Any, str] = {None: UNKNOWN}

    def before(self, end: int) -> str:
        """What was put on the stack last before `steps[end]`: a constant's repr, or one of the kinds above."""
        if end < 1:
            return UNKNOWN
        last = self._steps[end - 1]
        if self._steps[end].is_jump_target or last.opname in _AFTER_LOOPS:
            return self._near(end)
        if last.opname == "LOAD_CONST":
            return repr(last.argval)
        if last.opname in _BUILDING or last.opname in _PLAIN:
            return PARTS if last.opname in _BUILDING else MADE
        if last.opname == "BINARY_OP":
            return self._combined(end)
        return self._called(end) if last.opname in CALLS else self._variable(loaded(last))

    def within(self, start: int, end: int) -> str:
        """What an expression comes to that branches, or loops."""
        return PARTS if any(step.opname in _BUILDING for step in self._steps[start:end]) else UNKNOWN

    def _near(self, end: int) -> str:
        """The same for what ends there, as far as the line goes on which it stands."""
        start, line = end, _line(self._steps[end])
        while start and _line(self._steps[start - 1]) >= line:
            start -= 1
        return self.within(start, end)

    def _combined(self, end: int) -> str:
        """Of an operation. A number that is added says that the other one is some as well; so does a text."""
        start = begin(self._steps, end - 1)
        if start is None:
            return UNKNOWN
        kinds = {self.before(start), self.before(end - 1)}
        if PARTS in kinds:
            return PARTS
        return UNKNOWN if kinds == {UNKNOWN} else MADE

    def _called(self, end: int) -> str:
        """Of what a call returns."""
        start = begin(self._steps, end)
        if start is None:
            return UNKNOWN
        if getattr(self._steps[start].argval, "co_name", None) in _COMPREHENSIONS:
            return PARTS
        count = self._steps[end - 1].arg or 0
        arguments = end - 1
        while self._steps[arguments - 1].opname in _BEFORE_CALLS:
            arguments -= 1
        place = arguments - (self._steps[end - 1].opname == "CALL_KW")
        for _ in range(count):
            place = begin(self._steps, place) or 0
        while place and self._steps[place - 1].opname == "PUSH_NULL":
            place -= 1
        return self._made_by(self._steps[place - 1], count, arguments) if place > start else UNKNOWN

    def _made_by(self, callee: Instruction, count: int, end: int) -> str:
        """What a function or method of that name makes, of so many arguments: a default says what else it may be."""
        is_method = callee.opname in ATTRIBUTES
        if callee.argval in _COLLECTIONS or (is_method and callee.argval in _COLLECTING):
            return PARTS
        if not is_method:
            return MADE if callee.argval in _NUMBERS else UNKNOWN
        default = self.before(end) if callee.argval == "get" and count == _WITH_DEFAULT else UNKNOWN
        return default if default in _VAGUE else UNKNOWN if default == "None" else MADE

    def _variable(self, name: Any) -> str:
        if name not in self._variables:
            self._variables[name] = UNKNOWN  # as long as it is worked out: it may be made of itself
            kinds = [*self._assigned(name), *self._shown(name)]
            self._variables[name] = reduce(together, kinds) if kinds else UNKNOWN
        return self._variables[name]

    def _assigned(self, name: str) -> Iterable[str]:
        """What the variable is set to, wherever it is."""
        for place, step in enumerate(self._steps):
            if step.opname == "STORE_FAST" and step.argval == name:
                yield self.before(place)

    def _shown(self, name: str) -> Iterable[str]:
        """What the uses of a variable tell: lists and dicts have methods, and members that are set."""
        for place, step in enumerate(self._steps):
            if step.opname in ATTRIBUTES and step.argval in _CHANGING:
                end: int | None = place
            else:
                end = begin(self._steps, place) if step.opname in _MEMBERS else None
            if end and self._variable_of(end) == name:
                yield PARTS

    def _variable_of(self, end: int) -> object:
        """The variable that is on the stack there, or something in it."""
        start = begin(self._steps, end)
        if start is None or any(step.opname in ATTRIBUTES for step in self._steps[start:end]):
            return None
        return loaded(self._steps[start])


def _line(step: Instruction) -> int:
    positions = step.positions
    return (positions.lineno if positions is not None else None) or 0
