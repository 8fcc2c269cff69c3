"""Uses: what a function's bytecode does with its context, key by key."""

import dis
from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache
from math import inf
from types import CodeType
from typing import Final

from cloaca.dataflow.steps import ATTRIBUTES, CALLS, JUMPS, Steps, begin, loaded, loads, returned, steps_of
from cloaca.dataflow.values import REMOVED, UNKNOWN, Values, together

_NEEDING: Final = frozenset({"update"})
_ASKING: Final = frozenset({"insert", "remove", "delete"})
_SETTING: Final = frozenset({"set", "insert", "update", "remove", "delete"})
_KEYED: Final = _SETTING | {"get"}
_RETURNING_NONE: Final = frozenset({"set", "insert", "update"})
_HARMLESS: Final = frozenset({"seed", "item_key", "outcome", "conflicts"})
_LISTING: Final = frozenset({"keys", "values", "items", "to_dict", "to_json"})
_RETURNS: Final = frozenset({"RETURN_VALUE", "RETURN_CONST"})
_CLOSING: Final = frozenset({"LOAD_CLOSURE", "LOAD_FAST"})  # they hand a variable on to a function inside
_SUBSCRIPTS: Final = frozenset({"BINARY_SUBSCR", "STORE_SUBSCR", "DELETE_SUBSCR"})
_TESTS: Final = ("POP_JUMP", "JUMP_IF", "IS_OP", "UNARY_NOT", "TO_BOOL", "COPY", "POP_TOP")
_COMPARING: Final = frozenset({"IS_OP", "CONTAINS_OP"})
_CATCHES: Final = frozenset({"CHECK_EXC_MATCH", "CHECK_EG_MATCH"})
_VARIABLE: Final = "\0"  # a key begins with it that is known by its variable


class Uses:
    """The keys that were found, by what is done with them. `values`: what those that it sets are set to."""

    def __init__(self) -> None:
        self.needs: set[str] = set()
        self.looks: set[str] = set()
        self.asks: set[str] = set()
        self.surely: set[str] = set()
        self.values: dict[str, str] = {}
        self.reads_more = self.sets_more = self.returns_more = False

    def write(self, key: str, value: str) -> None:
        """It sets the key to that, or to what it sets it to elsewhere."""
        self.values[key] = together(self.values.get(key, value), value)

    def open(self) -> None:
        """It may do anything."""
        self.reads_more = self.sets_more = True

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """The variables that hold keys."""
        keys = sorted(self.needs | self.looks | self.asks | self.values.keys())
        return tuple([key.removeprefix(_VARIABLE) for key in keys if key.startswith(_VARIABLE)])

    def named(self, texts: Mapping[str, str | None]) -> "Uses":
        """The same with the keys that variables hold. One that holds none may be any key."""
        named, keys = Uses(), {_VARIABLE + name: text for name, text in texts.items()}
        for mine, its in zip(self._reads, named._reads, strict=True):
            its.update(text for key in mine if (text := keys.get(key, key)) is not None)
        for key, value in self.values.items():
            if (text := keys.get(key, key)) is not None:
                named.write(text, value)
        unknown = {key for key, text in keys.items() if text is None}
        named.reads_more = self.reads_more or not unknown.isdisjoint(self.needs | self.looks | self.asks)
        named.sets_more = self.sets_more or not unknown.isdisjoint(self.values)
        named.returns_more = self.returns_more
        return named

    @property
    def _reads(self) -> "tuple[set[str], ...]":
        return self.needs, self.looks, self.asks, self.surely


@lru_cache(maxsize=4096)
def uses_of(code: CodeType, context: str) -> Uses:
    """What the code does with its context, which is the variable of that name."""
    found = Uses()
    reader = _look_through(code, context, found)
    for place, step in enumerate(reader.steps):
        if step.opname in _RETURNS:
            reader.returned(place)
    return found


def _look_through(code: CodeType, context: str, found: Uses) -> "_Reader":
    reader, joined = _Reader(code, context, found), 0.0
    for place, step in enumerate(reader.steps):
        joined = max(joined, _joins_at(step, joined))
        if step.opname in _CLOSING and step.argval in (*code.co_cellvars, *code.co_freevars):
            continue
        if loads(step, context):
            needs = set(found.needs)
            reader.read(place)
            found.surely |= found.needs - needs if step.offset >= joined else set()
        elif context == step.argval:
            found.open()  # it is bound anew, or loaded in a way that isn't clear
    for inner in code.co_consts:
        if isinstance(inner, CodeType) and context in inner.co_freevars:
            _look_within(inner, context, found)
    return reader


def _joins_at(step: dis.Instruction, joined: float) -> float:
    """From which offset on the code runs whatever this step decides: never, where a branch returns."""
    if "JUMP_IF" in step.opname or "JUMP_FORWARD" in step.opname:
        return float(step.argval)
    return inf if step.opname in _RETURNS and step.offset < joined else 0.0


def _look_within(inner: CodeType, context: str, found: Uses) -> None:
    """A function inside may never be called: its keys are looked for."""
    needs = set(found.needs)
    _look_through(inner, context, found)
    found.looks |= found.needs - needs


class _Reader:
    """Reads the uses of the context in one piece of code."""

    def __init__(self, code: CodeType, context: str, found: Uses) -> None:
        self.steps = steps_of(code)
        self._context = context
        self._found = found
        self._values = Values(self.steps)
        self._free = code.co_freevars
        self._guarded = [*_guarded(code, self.steps)]
        self._tested = {loaded(step) for place, step in enumerate(self.steps) if self._is_test(place + 1)} - {None}

    def read(self, place: int) -> None:
        """One use of the context, which `steps[place]` has put on the stack."""
        first, second = (*self.steps[place + 1 : place + 3], None, None)[:2]
        if first is None or first.opname == "RETURN_VALUE":
            return
        if first.opname in ATTRIBUTES:
            self._method(place + 1, first.argval)
        elif first.opname == "CONTAINS_OP" and place and (key := self._key(place - 1)) is not None:
            self._found.asks.add(key)
        elif (key := self._key(place + 1)) is not None and second is not None and _is_subscript(second):
            self._subscript(place, key, second)
        else:
            self._made_up(place)

    def _subscript(self, place: int, key: str, step: dis.Instruction) -> None:
        if step.opname == "STORE_SUBSCR":
            self._found.write(key, self._values.before(place))
            return
        self._need(place, key)
        if step.opname == "DELETE_SUBSCR":
            self._found.write(key, REMOVED)
        elif step.opname == "COPY":
            self._found.write(key, self._changed(place))

    def _changed(self, place: int) -> str:
        """What `context["key"] += ...` sets."""
        end = next(at for at in range(place, len(self.steps)) if self.steps[at].opname == "STORE_SUBSCR")
        return self._values.before(end - 2) if self.steps[end - 3].opname == "BINARY_OP" else UNKNOWN

    def _made_up(self, place: int) -> None:
        """Another use of the context. `context[...]` reads a key, or sets one, whatever it is called."""
        end = self._consumer(place)
        name = self.steps[end].opname if end is not None else ""
        if name == "BINARY_SUBSCR" or (end is not None and self.steps[end].argrepr == "[]"):
            self._found.reads_more = True
        elif name == "STORE_SUBSCR":
            self._found.sets_more = True
        else:
            self._found.open()

    def _consumer(self, place: int) -> int | None:
        """The step that takes the context from the stack, with an expression that follows it."""
        depth = 1
        for at in range(place + 1, len(self.steps)):
            step = self.steps[at]
            if step.opcode in JUMPS:
                return None
            before, depth = depth, depth + dis.stack_effect(step.opcode, step.arg)
            if depth <= 1:
                return at if before > 1 else None
        return None

    def _method(self, place: int, name: str) -> None:
        found = self._found
        if name in _HARMLESS:
            return
        if name in _LISTING:
            found.reads_more = True
            return
        first = next((at for at in range(place + 1, len(self.steps)) if self.steps[at].opname != "PUSH_NULL"), place)
        key = self._key(first)
        if name not in _KEYED or key is None or not self._is_argument(first):
            found.reads_more |= name != "set"
            found.sets_more |= name != "get"
            return
        if name in _NEEDING:
            self._need(place, key)
        if name == "get":
            self._got(first, key)
        if name in _ASKING:
            found.asks.add(key)
        if name in _SETTING:
            found.write(key, self._value(first) if name in _RETURNING_NONE else REMOVED)

    def _got(self, place: int, key: str) -> None:
        """A key that is asked for by `get`: it is counted on where nothing is done about its absence."""
        has_default = self.steps[place + 1].opname not in CALLS
        after = place + (3 if self.steps[place + 1].opname == "PRECALL" else 2)
        variable = self.steps[after].argval if self.steps[after].opname.startswith("STORE") else None
        if has_default or self._is_test(after) or variable in self._tested:
            self._found.looks.add(key)
        else:
            self._need(place, key)

    def _need(self, place: int, key: str) -> None:
        """A key that is counted on, unless the failure is caught."""
        offset = self.steps[place].offset
        is_guarded = any(start <= offset < end for start, end in self._guarded)
        (self._found.looks if is_guarded else self._found.needs).add(key)

    def _is_test(self, place: int) -> bool:
        """Whether what is on the stack before that place is only tested there, or compared."""
        first, second = (*self.steps[place : place + 2], None, None)[:2]
        if first is None or first.opname.startswith(_TESTS):
            return first is not None
        return second is not None and first.opname.startswith("LOAD") and _compares(second)

    # ---- keys and values -------------------------------------------------------------------------------------------

    def _key(self, place: int) -> str | None:
        """The key that is put on the stack there, where it is a constant, or in a variable that was set outside."""
        step = self.steps[place]
        if step.opname == "LOAD_CONST":
            return step.argval if isinstance(step.argval, str) else None
        if step.opname == "LOAD_GLOBAL" or (step.opname == "LOAD_DEREF" and step.argval in self._free):
            return f"{_VARIABLE}{step.argval}"
        return None

    def _is_argument(self, key: int) -> bool:
        """Whether what is there is an argument as it is, and not a part of one."""
        return self.steps[key + 1].opname != "COPY" and self._end_of_call(key) is not None

    def _end_of_call(self, key: int) -> int | None:
        """Where the call begins whose first argument is at `key`; `None` where that is part of another one.

        Where the way there isn't clear, it is the place where that begins.
        """
        depth = 1
        for place in range(key + 1, len(self.steps)):
            step = self.steps[place]
            if step.opcode in JUMPS or (step.opname in CALLS and step.arg in (depth, depth - 1)):
                return place if step.opcode not in JUMPS or depth > 1 else None
            depth += dis.stack_effect(step.opcode, step.arg)
            if depth < 1 or (depth == 1 and place > key + 1):
                return None
        return None

    def _value(self, key: int) -> str:
        """What the second argument comes to, where the first one is at `key`."""
        end = self._end_of_call(key)
        if end is None:
            return UNKNOWN
        if self.steps[end].opcode not in JUMPS:
            return self._values.before(end)
        return self._values.within(key, next(at for at in range(end, len(self.steps)) if self._is_call(at)))

    def _is_call(self, place: int) -> bool:
        return self.steps[place].opname in CALLS or place == len(self.steps) - 1

    # ---- what is returned ------------------------------------------------------------------------------------------

    def returned(self, place: int) -> None:
        """What a task returns: nothing, its context, or keys to set."""
        step = self.steps[place]
        before = self.steps[place - 1] if step.opname == "RETURN_VALUE" and place else step
        if before.opname in {"LOAD_CONST", "RETURN_CONST"} and before.argval is None:
            return
        if loads(before, self._context):
            return
        keys = [*returned(self.steps[:place])]
        if before.opname in {"BUILD_MAP", "BUILD_CONST_KEY_MAP"} and len(keys) == before.arg:
            for key, end in keys:
                self._found.write(key, self._values.before(end))
        elif not self._is_none(place):
            self._found.returns_more = True

    def _is_none(self, place: int) -> bool:
        """Whether what is returned is that of `context.set(...)` and the like."""
        start = begin(self.steps, place) if self.steps[place - 1].opname in CALLS else None
        if start is None or not loads(self.steps[start], self._context):
            return False
        method = self.steps[start + 1]
        return method.opname in ATTRIBUTES and method.argval in _RETURNING_NONE


def _is_subscript(step: dis.Instruction) -> bool:
    is_read = step.opname == "BINARY_OP" and step.argrepr == "[]"
    is_changed = step.opname == "COPY" and step.arg == 2  # noqa: PLR2004 - the context and the key are kept for later
    return is_read or is_changed or step.opname in _SUBSCRIPTS


def _compares(step: dis.Instruction) -> bool:
    is_equality = step.opname == "COMPARE_OP" and ("==" in step.argrepr or "!=" in step.argrepr)
    return is_equality or step.opname in _COMPARING


def _guarded(code: CodeType, steps: Steps) -> Iterator[tuple[int, int]]:
    """From where to where, as offsets, a failure is caught. `finally` and `with` don't, `suppress` does."""
    if not code.co_exceptiontable:
        return
    places = {step.offset: place for place, step in enumerate(steps)}
    for entry in vars(dis.Bytecode(code))["exception_entries"]:
        handler = steps[places.get(entry.target, len(steps)) :][:10]
        if handler and handler[0].opname == "PUSH_EXC_INFO" and _catches(handler[1:], code):
            yield entry.start, entry.end


def _catches(handler: Steps, code: CodeType) -> bool:
    for step in handler:
        if step.opname == "WITH_EXCEPT_START":
            return "suppress" in code.co_names
        if step.opname in _CATCHES:
            return True
        if not step.opname.startswith(("LOAD", "BUILD_TUPLE", "PUSH_NULL")):
            return step is handler[0] and step.opname == "POP_TOP"
    return False
