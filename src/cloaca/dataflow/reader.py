"""Reader: reads the code of a function step by step, with symbols in place of values, and takes down the uses of keys.

An abstract interpretation in one pass: where ways meet, what they have in common is kept, and a variable that a loop
sets anew is unknown in it. Anything that isn't understood takes what it was given for known to all: a context that goes
there may be used in any way, and a value that goes there may be looked at in any way.
"""

import dis
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from types import CodeType
from typing import Any, Final, NamedTuple

from cloaca.dataflow import calls
from cloaca.dataflow.guards import Guards
from cloaca.dataflow.state import State
from cloaca.dataflow.steps import JUMPS, Steps, steps_of
from cloaca.dataflow.symbols import (
    ADDED,
    ANY,
    ATTRIBUTE,
    CODE,
    CONTEXT,
    DICT,
    GOT,
    LIST,
    MAPPING,
    MAYBE,
    MEMBER,
    METHOD,
    NAME,
    NULL,
    NUMBER,
    READ,
    REMOVED,
    SET,
    TEXT,
    TUPLE,
    UNKNOWN,
    Symbol,
    constant,
    kind_of,
    value_of,
)
from cloaca.dataflow.uses import Uses, used_as

_ENDS: Final = frozenset({"RETURN_VALUE", "RETURN_CONST", "RAISE_VARARGS", "RERAISE"})
_SHOWING: Final = {"append": LIST, "extend": LIST, "setdefault": DICT, "popitem": DICT, "update": DICT}
_HARMLESS: Final = frozenset({"seed", "item_key"})
_KINDS: Final[Mapping[str, str]] = {"<listcomp>": LIST, "<dictcomp>": DICT, "<setcomp>": SET}
_GROWN: Final[Mapping[str, str]] = {
    **dict.fromkeys(("LIST_EXTEND", "LIST_APPEND"), LIST),
    **dict.fromkeys(("SET_UPDATE", "SET_ADD"), SET),
    **dict.fromkeys(("DICT_UPDATE", "DICT_MERGE", "MAP_ADD"), DICT),
}
_EQUALITY: Final = ("==", "!=")
_STORES: Final = frozenset({"STORE_FAST", "STORE_DEREF", "DELETE_FAST", "LOAD_FAST_AND_CLEAR"})
_NULL_FIRST: Final = sys.version_info < (3, 13)
_HAS_METHOD_BIT: Final = sys.version_info >= (3, 12)


class _Exit(NamedTuple):
    """Where a loop over items ends: the state that waits there, what was read before it, and each time."""

    after: int
    state: State
    before: frozenset[str]
    reads: list[frozenset[str]]


class Reader:
    """Reads one piece of code. `around` says what the variables are that it has from functions around it.

    Names in `unsteady` are set somewhere in the function, so what they hold before says nothing.
    """

    def __init__(self, code: CodeType, found: Uses, around: Mapping[str, Symbol], unsteady: frozenset[str]) -> None:
        self.steps: Steps = steps_of(code)
        self._code = code
        self._found = found
        self._around = around
        self._unsteady = unsteady
        self._cells = {*code.co_cellvars, *code.co_freevars}
        self._guards = Guards(code, self.steps)
        self._offsets = [step.offset for step in self.steps]
        self._waiting: dict[int, State] = {}
        self._loops = _variables_in_loops(self.steps)
        self._exits: dict[int, _Exit] = {}
        self._starts: dict[int, tuple[frozenset[str], dict[str, str]]] = {}
        self._state = State()
        self._offset = 0
        self._keywords: tuple[str, ...] = ()
        self._steady: dict[str, Symbol] = {}

    def read(self, variables: Mapping[str, Symbol]) -> None:
        """Read it from its start, where its parameters are these."""
        state: State | None = State(variables=variables)
        self._steady = {name: held for name, held in variables.items() if not self._is_stored(name)}
        if any(name in self._cells for name in variables.keys() - self._steady.keys()):
            self._found.open()  # a function inside sees the context, or what takes its place
        for step in self.steps:
            state = self._arrive(step, state)
            if state is None:
                continue
            self._state, self._offset = state, step.offset
            self._starts.update(dict.fromkeys(self._guards.begun(step.offset), (state.read, dict(state.written))))
            state = self._go_on(step)

    # ---- ways ------------------------------------------------------------------------------------------------------

    def _arrive(self, step: dis.Instruction, state: State | None) -> State | None:
        """The state before a step, with what comes there from elsewhere."""
        waiting = self._waiting.pop(step.offset, None)
        if waiting is None and state is None:
            depth = self._guards.depth(step.offset)
            if depth is None:
                return None
            read, written = self._starts.get(step.offset, (frozenset(), {}))
            waiting = State([ANY] * depth, self._steady, read, written)
        if waiting is not None:
            state = waiting if state is None else state.join(waiting)
        if state is not None and step.offset in self._loops:
            for name in self._loops[step.offset] & state.variables.keys():
                state.variables[name] = MAYBE if state.variables[name] == CONTEXT else ANY
        return state

    def _go_on(self, step: dis.Instruction) -> State | None:
        """Do what the step does; returns the state after it, if the code goes on there."""
        if step.opname in _ENDS:
            if step.opname.startswith("RETURN"):
                self._return(constant(step.argval) if step.opname == "RETURN_CONST" else self._state.pop(1)[0])
            return None
        if step.opcode in JUMPS:
            return self._jump(step)
        depth = len(self._state.stack)
        do = _STEPS.get(step.opname)
        if do is not None:
            do(self, step)
            return self._state
        effect = dis.stack_effect(step.opcode, step.arg)
        self.let_go(*self._state.pop(min(max(1, 1 - effect), depth)))
        self._state.adjust(depth + effect)
        return self._state

    def _jump(self, step: dis.Instruction) -> State | None:
        """Where the code may go on elsewhere, that state waits there."""
        state, target = self._state, step.argval
        depth = len(state.stack)
        is_certain = "IF" not in step.opname and step.opname not in ("FOR_ITER", "SEND")
        if "IF" in step.opname and state.stack:
            self._test(state.stack[-1])
        if target <= step.offset:
            self._loop_back(target)
        else:
            there = state.copy()
            there.adjust(depth + dis.stack_effect(step.opcode, step.arg, jump=True))
            self._wait(target, there)
            if step.opname == "FOR_ITER":
                self._exits[step.offset] = _Exit(self._next(target), there, there.read, [])
        if is_certain:
            return None
        state.adjust(depth + dis.stack_effect(step.opcode, step.arg, jump=False))
        return state

    def _wait(self, target: int, state: State) -> None:
        offset = self._next(target)
        waiting = self._waiting.get(offset)
        self._waiting[offset] = state if waiting is None else waiting.join(state)

    def _next(self, target: int) -> int:
        """The offset of the first step from there on that has an effect."""
        place = bisect_left(self._offsets, target)
        return self._offsets[place] if place < len(self._offsets) else -1

    def _loop_back(self, target: int) -> None:
        """A loop over items most likely has some: what is read each time counts as read after it."""
        place = bisect_left(self._offsets, target)
        exit_ = self._exits.get(self._offsets[place]) if place < len(self._offsets) else None
        if exit_ is not None and self._waiting.get(exit_.after) is exit_.state:
            exit_.reads.append(self._state.read)
            exit_.state.read = exit_.before | frozenset.intersection(*exit_.reads)

    def _return(self, answer: Symbol) -> None:
        """What a task returns: nothing, its context, or keys to set."""
        written = dict(self._state.written)
        if answer.kind == MAPPING and answer not in self._found.changed and None not in dict(answer.of):
            for key, symbol in answer.of:
                self._found.write(key, value_of(symbol))
                written[key] = value_of(symbol)
        elif answer != CONTEXT and answer.kind not in ("constant", "literal"):
            self._found.returns_more = True
            self._found.sets_more |= answer == MAYBE
        self._found.end(self._state.read, written)

    # ---- what becomes of values ------------------------------------------------------------------------------------

    def let_go(self, *symbols: Symbol) -> None:
        """They go where nobody knows what is done with them."""
        for symbol in symbols:
            if symbol in (CONTEXT, MAYBE) or symbol.kind == METHOD:
                self._found.open()
            elif symbol.kind == TUPLE:
                self.let_go(*symbol.of)
            else:
                self._test(symbol)
                self._found.changed.add(symbol)

    def _test(self, symbol: Symbol) -> None:
        """Whether it is there is found out."""
        if symbol.kind == GOT:
            self._found.tested.add(symbol.of)

    def demand(self, symbol: Symbol) -> None:
        """It is used in a way that only works where it is there."""
        if symbol in (CONTEXT, MAYBE):
            self._found.open()
        if symbol.kind == GOT and not self._guards.is_caught(self._offset):
            self._found.missed.add(symbol.of)
            self._state.read |= {symbol.of}

    def show(self, symbol: Symbol, kind: str) -> None:
        """It is used as if it were of that kind."""
        if symbol.kind in (READ, GOT):
            self._found.kinds.setdefault(symbol, kind)
        elif symbol.kind == MEMBER:
            self._found.kinds.setdefault(symbol.of, DICT)

    # ---- keys ------------------------------------------------------------------------------------------------------

    def key(self, symbol: Symbol) -> str | None:
        """The key that it is, where that is a constant, or stands in a variable around the function."""
        if symbol.kind == "literal":
            return str(symbol.of)
        return value_of(symbol) if symbol.kind == NAME else None

    def need(self, symbol: Symbol) -> Symbol:
        """The key is read, and has to be there."""
        key = self.key(symbol)
        if key is None:
            self.let_go(symbol)
            self._found.reads_more = True
            return ANY
        if self._guards.is_caught(self._offset):
            self._found.looks.add(key)
        else:
            self._found.needs.add(key)
            self._state.read |= {key}
        return Symbol(READ, key)

    def ask(self, symbol: Symbol) -> None:
        """It is asked whether the key is there."""
        key = self.key(symbol)
        if key is None:
            self._found.list_keys()
        else:
            self._found.asks.add(key)

    def write(self, symbol: Symbol, value: Symbol) -> None:
        """The key is set to this."""
        key = self.key(symbol)
        self._test(value)
        if value in (CONTEXT, MAYBE):
            self._found.open()
        if key is None:
            self.let_go(symbol)
            self._found.sets_more = True
            return
        kind = used_as(self._found, value)
        self._found.write(key, kind)
        self._state.written[key] = kind

    # ---- steps -----------------------------------------------------------------------------------------------------

    def push(self, *symbols: Symbol) -> None:
        """Put them on the stack."""
        self._state.stack += symbols

    def _load_constant(self, step: dis.Instruction) -> None:
        is_code = isinstance(step.argval, CodeType)
        self.push(Symbol(CODE, step.argval.co_name) if is_code else constant(step.argval))

    def _load_fast(self, step: dis.Instruction) -> None:
        if step.argval in self._cells:  # the cell itself, to be closed over
            self.push(ANY)
        else:
            self.push(self._state.variables.get(step.argval, ANY))

    def _load_and_clear(self, step: dis.Instruction) -> None:
        self.push(self._state.variables.pop(step.argval, ANY))

    def _load_closed(self, step: dis.Instruction) -> None:
        name = step.argval
        if name in self._unsteady:
            self.push(MAYBE if CONTEXT in (self._around.get(name), self._state.variables.get(name)) else ANY)
        else:
            self.push(self._around.get(name) or self._state.variables.get(name, ANY))

    def _load_closed_in_class(self, step: dis.Instruction) -> None:
        self._state.pop(1)
        self._load_closed(step)

    def _load_global(self, step: dis.Instruction) -> None:
        name = ANY if step.argval in self._unsteady else Symbol(NAME, step.argval)
        with_null = step.arg is not None and step.arg & 1
        if not with_null:
            self.push(name)
        elif _NULL_FIRST:
            self.push(NULL, name)
        else:
            self.push(name, NULL)

    def _store(self, step: dis.Instruction) -> None:
        (value,) = self._state.pop(1)
        if step.argval in self._cells and value in (CONTEXT, MAYBE):
            self._found.open()
        if step.argval in self._code.co_freevars:
            self.let_go(value)
        else:
            self._state.variables[step.argval] = value

    def _load_attribute(self, step: dis.Instruction) -> None:
        (holder,) = self._state.pop(1)
        is_method = step.opname == "LOAD_METHOD" or (_HAS_METHOD_BIT and bool(step.arg is not None and step.arg & 1))
        name = step.argval
        if holder == CONTEXT:
            found = ANY if name in _HARMLESS else Symbol(METHOD, name)
        else:
            self.demand(holder)
            if name in _SHOWING:
                self.show(holder, _SHOWING[name])
            self._found.changed.add(holder)
            found = Symbol(ATTRIBUTE, (name, value_of(holder)))
        self.push(found, *([ANY] if is_method else []))

    def _subscript(self, _step: dis.Instruction) -> None:
        holder, key = self._state.pop(2)
        if holder == CONTEXT:
            self.push(self.need(key))
            return
        self.demand(holder)
        self.let_go(key)
        root = holder.of if holder.kind == MEMBER else holder
        self.push(Symbol(MEMBER, root) if root.kind in (READ, GOT) else ANY)

    def _store_subscript(self, _step: dis.Instruction) -> None:
        value, holder, key = self._state.pop(3)
        if holder == CONTEXT:
            self.write(key, value)
        else:
            self._change_member(holder, key, value)

    def _delete_subscript(self, _step: dis.Instruction) -> None:
        holder, key = self._state.pop(2)
        if holder == CONTEXT:
            self.need(key)
            self.write(key, Symbol(REMOVED))
        else:
            self._change_member(holder, key)

    def _change_member(self, holder: Symbol, *given: Symbol) -> None:
        self.demand(holder)
        self.let_go(*given)
        self.show(holder, DICT)
        self._found.changed.add(holder)

    def _operation(self, step: dis.Instruction) -> None:
        if step.argrepr == "[]":
            self._subscript(step)
            return
        one, other = self._state.pop(2)
        self.demand(one)
        self.demand(other)
        self.push(Symbol(_combined(one, other, used_as(self._found, one), used_as(self._found, other))))

    def _compare(self, step: dis.Instruction) -> None:
        for symbol in self._state.pop(2):
            if any(sign in step.argrepr for sign in _EQUALITY) or step.opname == "IS_OP":
                self._test(symbol)
            else:
                self.demand(symbol)
        self.push(Symbol(NUMBER))

    def _contains(self, _step: dis.Instruction) -> None:
        item, container = self._state.pop(2)
        if container == CONTEXT:
            self.ask(item)
        else:
            self.demand(container)
        self.let_go(item)
        self.push(Symbol(NUMBER))

    def _iterate(self, _step: dis.Instruction) -> None:
        (items,) = self._state.pop(1)
        self.go_through(items)
        self.push(ANY)

    def go_through(self, items: Symbol) -> None:
        """All of its items are looked at."""
        if items == CONTEXT:
            self._found.list_keys()
        else:
            self.demand(items)

    def _extend(self, step: dis.Instruction) -> None:
        (items,) = self._state.pop(1)
        self.go_through(items)
        self._grow(step)

    def _append(self, step: dis.Instruction) -> None:
        self.let_go(*self._state.pop(2 if step.opname == "MAP_ADD" else 1))
        self._grow(step)

    def _grow(self, step: dis.Instruction) -> None:
        """What is so far down on the stack has more members now."""
        place = -(step.arg or 1)
        if len(self._state.stack) >= -place:
            self._state.stack[place] = Symbol(_GROWN[step.opname])

    def _build_tuple(self, step: dis.Instruction) -> None:
        self.push(Symbol(TUPLE, tuple(self._state.pop(step.arg or 0))))

    def _build(self, step: dis.Instruction) -> None:
        members = self._state.pop(step.arg or 0)
        self.let_go(*members)
        self.push(Symbol({"BUILD_LIST": LIST, "BUILD_SET": SET}.get(step.opname, TEXT)))

    def _build_map(self, step: dis.Instruction) -> None:
        members = self._state.pop(2 * (step.arg or 0))
        self.let_go(*members)
        keys = map(self.key, members[::2])
        self.push(Symbol(MAPPING, tuple(zip(keys, members[1::2], strict=True))))

    def _build_map_of(self, step: dis.Instruction) -> None:
        *members, _keys = self._state.pop((step.arg or 0) + 1)
        self.let_go(*members)
        keys = [key if isinstance(key, str) else None for key in self._names_before(step)]
        self.push(
            Symbol(MAPPING, tuple(zip(keys, members, strict=True))) if len(keys) == len(members) else Symbol(DICT)
        )

    def _names_before(self, step: dis.Instruction) -> tuple[Any, ...]:
        """The constant keys of a dict, or the names of keywords, which stand in the step before."""
        before = self.steps[max(0, bisect_left(self._offsets, step.offset) - 1)].argval
        return before if isinstance(before, tuple) else ()

    def _format(self, step: dis.Instruction) -> None:
        with_spec = step.opname == "FORMAT_WITH_SPEC" or (step.opname == "FORMAT_VALUE" and (step.arg or 0) & 4)
        for symbol in self._state.pop(2 if with_spec else 1):
            if symbol in (CONTEXT, MAYBE):
                self._found.list_keys()
        self.push(Symbol(TEXT))

    def _not(self, _step: dis.Instruction) -> None:
        self._test(self._state.pop(1)[0])
        self.push(Symbol(NUMBER))

    def _to_bool(self, _step: dis.Instruction) -> None:
        self._test(self._state.stack[-1] if self._state.stack else ANY)

    def _copy(self, step: dis.Instruction) -> None:
        place = step.arg or 1
        self.push(self._state.stack[-place] if len(self._state.stack) >= place else ANY)

    def _swap(self, step: dis.Instruction) -> None:
        stack, place = self._state.stack, step.arg or 1
        if len(stack) >= place:
            stack[-1], stack[-place] = stack[-place], stack[-1]

    def _unpack(self, step: dis.Instruction) -> None:
        (packed,) = self._state.pop(1)
        count = step.arg or 0
        if packed.kind == TUPLE and len(packed.of) == count:
            self.push(*reversed(packed.of))
            return
        self.go_through(packed)
        self.push(*[ANY] * count)

    def _enclose(self, step: dis.Instruction) -> None:
        flags = step.arg or 0 if step.opname == "MAKE_FUNCTION" else 0
        (code,) = self._state.pop(1)
        for _ in range(flags.bit_count()):
            self.let_go(*self._state.pop(1))
        self.push(code)

    def _set_function_part(self, _step: dis.Instruction) -> None:
        part, function = self._state.pop(2)
        self.let_go(part)
        self.push(function)

    def _discard(self, step: dis.Instruction) -> None:
        self._state.adjust(len(self._state.stack) + dis.stack_effect(step.opcode, step.arg))

    def _nothing(self, _step: dis.Instruction) -> None:
        """It changes nothing that matters."""

    def _push_null(self, _step: dis.Instruction) -> None:
        self.push(NULL)

    def _push_any(self, _step: dis.Instruction) -> None:
        self.push(ANY)

    def _pass_through(self, _step: dis.Instruction) -> None:
        self.demand(self._state.pop(1)[0])
        self.push(ANY)

    def _note_keywords(self, step: dis.Instruction) -> None:
        self._keywords = self._code.co_consts[step.arg or 0]

    def _call(self, step: dis.Instruction) -> None:
        keywords, self._keywords = self._keywords, ()
        if step.opname == "CALL_KW":
            self._state.pop(1)
            keywords = self._names_before(step)
        given = self._state.pop(step.arg or 0)
        first, second = self._state.pop(2)
        callee, itself = (second, NULL) if first == NULL else (first, second)
        positional = given[: len(given) - len(keywords)]
        named = dict(zip(keywords, given[len(positional) :], strict=False))
        if callee.kind == METHOD:
            self.push(calls.of_context(self, self._found, callee.of, positional, named))
            return
        if callee in (CONTEXT, MAYBE) or itself in (CONTEXT, MAYBE):
            self._found.open()
        self.push(self._called(callee, positional, [*named.values()]))

    def _called(self, callee: Symbol, given: list[Symbol], named: list[Symbol]) -> Symbol:
        """What any other function returns."""
        if callee.kind == NAME and callee.of in calls.INTOLERANT and given:
            self.go_through(given[0])
            given = given[1:]
        self.let_go(*given, *named)
        if callee.kind == CODE:
            return Symbol(_KINDS[callee.of]) if callee.of in _KINDS else ANY
        return calls.result(callee)

    # ---- functions inside ------------------------------------------------------------------------------------------

    def inner(self) -> Iterator[tuple[CodeType, dict[str, Symbol]]]:
        """The functions inside, with what is known of the variables that they close over."""
        for code in self._code.co_consts:
            if isinstance(code, CodeType):
                yield code, {name: self._closed(name) for name in code.co_freevars}

    def _closed(self, name: str) -> Symbol:
        return self._around.get(name) or self._steady.get(name, ANY)

    def _is_stored(self, name: str) -> bool:
        return any(step.argval == name and step.opname in _STORES for step in self.steps)


_Step = Callable[[Reader, dis.Instruction], None]

_STEPS: Final[Mapping[str, _Step]] = {
    **dict.fromkeys(("LOAD_CONST", "LOAD_SMALL_INT"), Reader._load_constant),
    **dict.fromkeys(("LOAD_FAST", "LOAD_FAST_CHECK", "LOAD_FAST_BORROW"), Reader._load_fast),
    "LOAD_FAST_AND_CLEAR": Reader._load_and_clear,
    **dict.fromkeys(("LOAD_DEREF", "LOAD_CLASSDEREF"), Reader._load_closed),
    "LOAD_FROM_DICT_OR_DEREF": Reader._load_closed_in_class,
    "LOAD_GLOBAL": Reader._load_global,
    **dict.fromkeys(("LOAD_CLOSURE", "LOAD_NAME", "LOAD_BUILD_CLASS", "LOAD_ASSERTION_ERROR"), Reader._push_any),
    "RETURN_GENERATOR": Reader._push_any,
    "PUSH_NULL": Reader._push_null,
    **dict.fromkeys(("STORE_FAST", "STORE_DEREF"), Reader._store),
    **dict.fromkeys(("LOAD_ATTR", "LOAD_METHOD"), Reader._load_attribute),
    "BINARY_SUBSCR": Reader._subscript,
    "STORE_SUBSCR": Reader._store_subscript,
    "DELETE_SUBSCR": Reader._delete_subscript,
    "BINARY_OP": Reader._operation,
    **dict.fromkeys(("COMPARE_OP", "IS_OP"), Reader._compare),
    "CONTAINS_OP": Reader._contains,
    "GET_ITER": Reader._iterate,
    **dict.fromkeys(("LIST_EXTEND", "SET_UPDATE", "DICT_UPDATE", "DICT_MERGE"), Reader._extend),
    **dict.fromkeys(("LIST_APPEND", "SET_ADD", "MAP_ADD"), Reader._append),
    "BUILD_TUPLE": Reader._build_tuple,
    **dict.fromkeys(("BUILD_LIST", "BUILD_SET", "BUILD_STRING"), Reader._build),
    "BUILD_MAP": Reader._build_map,
    "BUILD_CONST_KEY_MAP": Reader._build_map_of,
    **dict.fromkeys(("FORMAT_VALUE", "FORMAT_SIMPLE", "FORMAT_WITH_SPEC", "CONVERT_VALUE"), Reader._format),
    "UNARY_NOT": Reader._not,
    "TO_BOOL": Reader._to_bool,
    "COPY": Reader._copy,
    "SWAP": Reader._swap,
    "UNPACK_SEQUENCE": Reader._unpack,
    "MAKE_FUNCTION": Reader._enclose,
    "SET_FUNCTION_ATTRIBUTE": Reader._set_function_part,
    **dict.fromkeys(("POP_TOP", "POP_EXCEPT", "END_FOR"), Reader._discard),
    **dict.fromkeys(("PRECALL", "DELETE_FAST", "DELETE_DEREF", "CALL_INTRINSIC_1"), Reader._nothing),
    "KW_NAMES": Reader._note_keywords,
    **dict.fromkeys(("CALL", "CALL_KW"), Reader._call),
    **dict.fromkeys(("GET_AWAITABLE", "UNARY_NEGATIVE", "UNARY_INVERT", "UNARY_POSITIVE"), Reader._pass_through),
}
"""What steps do. All others take what they take off the stack for known to all."""


def _combined(one: Symbol, other: Symbol, first: str, second: str) -> str:
    """What an operation makes of two values that are used as these kinds."""
    kinds = {kind_of(first), kind_of(second)}
    for kind in (LIST, DICT, SET, TEXT):
        if kind in kinds:
            return kind
    if NUMBER in kinds:
        return NUMBER
    return ADDED if READ in (one.kind, other.kind) or ADDED in kinds else UNKNOWN


def _variables_in_loops(steps: Steps) -> dict[int, frozenset[str]]:
    """For the offset at which each loop begins, the variables that it sets."""
    offsets = [step.offset for step in steps]
    loops: dict[int, frozenset[str]] = {}
    for place, step in enumerate(steps):
        if step.opcode in JUMPS and step.argval <= step.offset:
            start = bisect_left(offsets, step.argval)
            stored = frozenset([one.argval for one in steps[start:place] if one.opname in _STORES])
            loops[offsets[start]] = loops.get(offsets[start], frozenset()) | stored
    return loops
