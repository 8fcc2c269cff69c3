"""What a function's own code does with its context: which keys it needs, looks for and sets, read from its source.

Only what is certain is told. Whatever isn't a plain use of a constant key (a name that is made up, a context that is
handed on, keys that are listed) makes the answer *open*: then the function may read, or set, any other key as well. So
does a source that isn't there, or isn't any more what the function was made from.

A key may stand in a variable of the module, or of a function around. Those are looked up in each function, as the
functions of a loop share their code: until then such a key is known by the name of its variable.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from linecache import lazycache
from string import Formatter
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, Final

from cloaca.dataflow.reader import uses_of
from cloaca.dataflow.source import node_of
from cloaca.dataflow.symbols import DICT, LIST, REMOVED, SET, TEXT, UNKNOWN, VARIABLE, together
from cloaca.dataflow.uses import Way, joined

_DEEPEST: Final = 100
"""How many callables around a function are looked through."""
_ATOMS: Final = (str, int, float, bool, bytes, type(None))
_COLLECTIONS: Final[Mapping[type, str]] = {list: LIST, dict: DICT, set: SET}

Held = tuple[str | None, str]
"""Of a variable: the text that it holds, if it does, and what a key is set to that is set to it."""


@dataclass(frozen=True, slots=True)
class Touches:
    """`needs`: keys that it counts on; `looks`: keys that it reads otherwise; `sets`: those that it may set.

    `asks`: keys of which it only wants to know whether they are there. `surely`: of the keys needed, those that it
    reads on every way through its code; `makes`: those that it sets on every way.

    `reads_more`, `sets_more`: it may read, or set, others; `returns_more`: what it returns may set others. `values`:
    what each key is set to (see `dataflow/symbols`).
    """

    needs: frozenset[str] = frozenset()
    looks: frozenset[str] = frozenset()
    sets: frozenset[str] = frozenset()
    reads_more: bool = False
    sets_more: bool = False
    values: Mapping[str, str] = field(default_factory=dict)
    asks: frozenset[str] = frozenset()
    surely: frozenset[str] = frozenset()
    returns_more: bool = False
    makes: frozenset[str] = frozenset()

    def renamed(self, name: Callable[[str], str | None]) -> "Touches":
        """The same with other names for keys, without those that get none."""
        done: dict[frozenset[str], frozenset[str]] = {}  # the same keys are needed and read, or set and made

        def named(keys: frozenset[str]) -> frozenset[str]:
            if keys not in done:
                done[keys] = frozenset([text for text in map(name, keys) if text is not None])
            return done[keys]

        values: dict[str, str] = {}
        for key, value in self.values.items():
            text = name(key)
            if text is not None:
                values[text] = together(values[text], value) if text in values else value
        return Touches(
            named(self.needs),
            named(self.looks),
            named(self.sets),
            self.reads_more,
            self.sets_more,
            values,
            named(self.asks),
            named(self.surely),
            self.returns_more,
            named(self.makes),
        )

    def under(self, prefix: str) -> "Touches":
        """The same with the names that keys have in a copy of a workflow."""
        return self.renamed(prefix.__add__) if prefix else self

    @property
    def leaves_more(self) -> bool:
        """Whether it may leave other keys set."""
        return self.sets_more or self.returns_more

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
    >>> [*found.needs], [*found.looks], [*found.sets], found.leaves_more
    (['x'], ['factor'], ['total'], False)
    """
    inner, place = function, 0
    for _ in range(_DEEPEST):
        called, given = _called_by(inner)
        if called is None:
            break
        inner, place = called, place + given
    if not isinstance(inner, FunctionType) or "__wrapped__" in inner.__dict__:
        return OPEN
    code = inner.__code__
    if place >= code.co_argcount:
        return OPEN
    try:
        return _of_function(inner, code.co_varnames[place])
    except Exception:  # noqa: BLE001 - code that isn't understood is no reason to end a block
        return OPEN


def keys_set(function: Callable[..., Any]) -> tuple[str, ...] | None:
    """The keys that a task function sets, each once, in the order of its code; `None` where that isn't certain.

    Asked where a task is to count as one that has set its keys without having run: a mapped task without items.

    >>> def load(context):
    ...     context["rows"] = [1, 2]
    ...     return {"year": 2026, "count": 2}
    >>> keys_set(load)
    ('rows', 'year', 'count')
    >>> keys_set(lambda context: load(context)) is None
    True
    """
    touched = touches_of(function)
    if touched.leaves_more:
        return None
    return tuple([key for key, value in touched.values.items() if value != REMOVED])


def _called_by(function: Any) -> tuple[Any, int]:
    """What a callable calls, and how many arguments it gives before those that it is given; nothing for a function.

    As Python calls it: what a decorator says of the function that it wraps doesn't count.
    """
    match function:
        case FunctionType():
            return None, 0
        case partial():
            return function.func, len(function.args)
        case MethodType():
            return function.__func__, 1
        case _:
            call = inspect.getattr_static(type(function), "__call__", None)
            return (call, 1) if isinstance(call, FunctionType) else (None, 0)


# ---- keys in variables ---------------------------------------------------------------------------------------------


def _of_function(function: FunctionType, context: str) -> Touches:
    code = function.__code__
    lazycache(code.co_filename, function.__globals__)  # its module may know how to load its source
    variables, _ = _unnamed(code, code.co_filename, context)
    return _answer(code, code.co_filename, context, tuple([_held_by(function, variable) for variable in variables]))


def _held_by(function: FunctionType, variable: str) -> Held:
    """What a variable around the function holds at present, or what a text is that has such variables in it."""
    if "{" in variable:
        return _formatted(function, variable), TEXT
    value = _value_of(function, variable)
    if type(value) is str:
        return value, repr(value)
    return None, repr(value) if type(value) in _ATOMS else _COLLECTIONS.get(type(value), UNKNOWN)


def _formatted(function: FunctionType, template: str) -> str | None:
    """The text, where what it takes is text and whole numbers."""
    text = ""
    for literal, name, spec, _ in Formatter().parse(template):
        value = "" if name is None else _value_of(function, name)
        if type(value) not in (str, int):
            return None
        text += literal + format(value, spec or "")
    return text


def _value_of(function: FunctionType, variable: str) -> Any:
    """What a variable around the function holds, or an attribute of a class or module that it holds."""
    code = function.__code__
    name, *attributes = variable.split(".")
    if name in code.co_freevars:
        value = _contents((function.__closure__ or ())[code.co_freevars.index(name)])
    else:
        value = function.__globals__.get(name, ...)
    for attribute in attributes:
        value = inspect.getattr_static(value, attribute, ...) if isinstance(value, type | ModuleType) else ...
    return value


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # it is empty
        return ...


@lru_cache(maxsize=4096)
def _answer(code: CodeType, file: str, context: str, held: tuple[Held, ...]) -> Touches:
    """The answer where the variables around the function hold this."""
    variables, touches = _unnamed(code, file, context)
    if variables:
        marked = {VARIABLE + variable: one for variable, one in zip(variables, held, strict=True)}
        touches = _with_keys(touches, marked)
    guarded = touches.needs & (touches.looks | touches.asks)  # it looks for them elsewhere, so it can do without
    if not guarded:
        return touches
    needs, looks, surely = touches.needs - guarded, touches.looks | guarded, touches.surely - guarded
    return replace(touches, needs=needs, looks=looks, surely=surely)


def _with_keys(touches: Touches, held: Mapping[str, Held]) -> Touches:
    """The same with the keys that variables hold. One that holds none may be any key."""
    named = touches.renamed(lambda key: held[key][0] if key in held else key)
    unknown = [key for key, (text, _) in held.items() if text is None]
    values = {key: held[value][1] if value in held else value for key, value in named.values.items()}
    reads_more = any(key in keys for key in unknown for keys in (touches.needs, touches.looks, touches.asks))
    sets_more = any(key in touches.sets for key in unknown)
    return replace(
        named, values=values, reads_more=named.reads_more or reads_more, sets_more=named.sets_more or sets_more
    )


@lru_cache(maxsize=4096)
def _unnamed(code: CodeType, _file: str, context: str) -> tuple[tuple[str, ...], Touches]:
    """The variables that hold keys, or what keys are set to; and the answer in which these stand for that.

    Code of several files may be equal, where one of them has a source and another has none.
    """
    node = node_of(code)
    if node is None:
        return (), OPEN
    uses = uses_of(node, context)
    end = joined(uses.ends) if uses.ends else Way()
    needs = frozenset(uses.needs | (uses.missed - uses.tested))
    values = {**uses.values, **end.written}
    touches = Touches(
        needs,
        frozenset(uses.looks | (uses.got - needs) | (needs if uses.lists else set())),
        frozenset(values),
        uses.reads_more,
        uses.sets_more,
        values,
        frozenset(uses.asks),
        end.read & needs,
        uses.returns_more,
        frozenset(end.written),
    )
    keys = {*touches.reads, *touches.asks, *values, *values.values()}
    return tuple(sorted([key.removeprefix(VARIABLE) for key in keys if key.startswith(VARIABLE)])), touches
