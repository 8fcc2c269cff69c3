"""What a function's own code does with its context: which keys it needs, looks for and sets, read from its source.

Only what is certain is told. Whatever isn't a plain use of a constant key (a name that is made up, a context that is
handed on, keys that are listed) makes the answer *open*: then the function may read, or set, any other key as well. So
does a source that isn't there, or isn't any more what the function was made from.

A key may stand in a variable of the module, or of a function around. Those are looked up in each function, as the
functions of a loop share their code: until then such a key is known by the name of its variable.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from linecache import lazycache
from string import Formatter
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, Final, NamedTuple

from cloaca.dataflow.reader import uses_of
from cloaca.dataflow.source import node_of
from cloaca.dataflow.symbols import ANY, ANY_KEY, VARIABLE, Symbol, either, symbol_of
from cloaca.dataflow.uses import joined
from cloaca.workflows.workflow import Task

_DEEPEST: Final = 100
"""How many callables around a function are looked through."""
_KEYS: Final = ("needs", "looks", "sets", "asks", "surely", "makes", "loses")


class Touches(NamedTuple):
    """`needs`: keys that it counts on; `looks`: keys that it reads otherwise; `sets`: those that it may set.

    `asks`: keys of which it only wants to know whether they are there. `surely`: of the keys needed, those that it
    reads on every way through its code; `makes`: those that it sets on every way.

    `reads_more`, `sets_more`: it may read, or set, others; `returns_more`: what it returns may set others. `values`:
    what each key is set to (see `dataflow/symbols`). `loses`: keys of whose values it changes a copy that is gone after
    that.
    """

    needs: frozenset[str] = frozenset()
    looks: frozenset[str] = frozenset()
    sets: frozenset[str] = frozenset()
    reads_more: bool = False
    sets_more: bool = False
    values: Mapping[str, Symbol] = {}
    asks: frozenset[str] = frozenset()
    surely: frozenset[str] = frozenset()
    returns_more: bool = False
    makes: frozenset[str] = frozenset()
    loses: frozenset[str] = frozenset()

    def renamed(self, name: Callable[[str], str | None]) -> "Touches":
        """The same with other names for keys, without those that get none."""
        keys = (*self.needs, *self.looks, *self.asks, *self.values, *self.sets, *self.loses)
        names = {key: name(key) for key in keys}

        def named(keys: frozenset[str]) -> frozenset[str]:
            return frozenset([text for key in keys if (text := names[key]) is not None])

        values: dict[str, Symbol] = {}
        for key, value in self.values.items():
            text = names[key]
            if text is not None:
                values[text] = either(values.get(text, value), value)
        fields: dict[str, Any] = {field: named(held) for field in _KEYS if (held := getattr(self, field))}
        return self._replace(values=values, **fields)

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
    if not isinstance(inner, FunctionType) or hasattr(inner, "__wrapped__"):
        return OPEN
    code = inner.__code__
    if place >= code.co_argcount:
        return OPEN
    try:
        return _of_function(inner, code.co_varnames[place])
    except Exception:  # noqa: BLE001 - code that isn't understood is no reason to end a block
        return OPEN


def touched_by(task: Task) -> Touches:
    """What is known of the code of a task: a plain function has no context, so nothing is done with keys there."""
    return Touches() if task.form.is_plain else touches_of(task.function)


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
    return tuple([key for key, value in touched.values.items() if value.kind != "removed"])


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
    """The answer where the variables around the function hold what they hold at present."""
    code = function.__code__
    lazycache(code.co_filename, function.__globals__)  # its module may know how to load its source
    variables, _ = _unnamed(code, code.co_filename, context)
    return _answer(code, code.co_filename, context, tuple([_held_by(function, variable) for variable in variables]))


def _held_by(function: FunctionType, variable: str) -> Symbol:
    """What a variable holds, or what a text is that has such variables in it, if they hold texts and whole numbers."""
    if "{" not in variable:
        return symbol_of(_value_of(function, variable))
    names = {name for _, name, _, _ in Formatter().parse(variable) if name}
    values = {name: _value_of(function, name) for name in names}
    is_known = all(type(value) in (str, int) for value in values.values())
    return symbol_of(variable.format_map(values)) if is_known else ANY


def _value_of(function: FunctionType, variable: str) -> Any:
    """What a variable around the function holds, or an attribute of a class or module that it holds."""
    code = function.__code__
    name, *attributes = variable.split(".")
    value = function.__globals__.get(name, ...)
    if name in code.co_freevars:
        try:
            value = (function.__closure__ or ())[code.co_freevars.index(name)].cell_contents
        except ValueError:  # it is empty
            return ...
    for attribute in attributes:
        value = inspect.getattr_static(value, attribute, ...) if isinstance(value, type | ModuleType) else ...
    return value


@lru_cache(maxsize=1024)
def _answer(code: CodeType, file: str, context: str, held: tuple[Symbol, ...]) -> Touches:
    """The answer where the variables around the function hold this. One that holds no text may be any key."""
    variables, unnamed = _unnamed(code, file, context)
    symbols = dict(zip(variables, held, strict=True))
    keys = {VARIABLE + name: symbol.of[0] if symbol.role == "each" else None for name, symbol in symbols.items()}
    keys[ANY_KEY] = None
    unknown = {key for key, text in keys.items() if text is None}
    touches = unnamed.renamed(lambda key: keys.get(key, key))
    guarded = touches.needs & (touches.looks | touches.asks)  # it looks for them elsewhere, so it can do without
    if guarded:
        touches = touches._replace(
            needs=touches.needs - guarded, looks=touches.looks | guarded, surely=touches.surely - guarded
        )
    return touches._replace(
        values={key: symbols[one.of] if one.role == "name" else one for key, one in touches.values.items()},
        reads_more=not unknown.isdisjoint(unnamed.reads | unnamed.asks),
        sets_more=not unknown.isdisjoint(unnamed.sets),
    )


@lru_cache(maxsize=4096)
def _unnamed(code: CodeType, _file: str, context: str) -> tuple[tuple[str, ...], Touches]:
    """The variables that hold keys, or what keys are set to; and the answer in which these stand for that.

    Code of several files may be equal, where one of them has a source and another has none.
    """
    node = node_of(code)
    if node is None:
        return (), Touches(looks=frozenset([ANY_KEY]), sets=frozenset([ANY_KEY]))
    uses = uses_of(node, context)
    found, end = uses.found, joined(uses.ends)
    needs = frozenset(found["needs"] | (found["missed"] - found["tested"]))
    values = {**uses.values, **{key: value for event, key, value in end if event == "is"}}
    touches = Touches(
        needs,
        frozenset(found["looks"] | (found["got"] - needs) | (needs if uses.lists else set())),
        frozenset(values),
        values=values,
        asks=frozenset(found["asks"]),
        surely=frozenset([key for event, key, _ in end if event == "read" and key in needs]),
        returns_more=uses.returns_more,
        makes=frozenset([key for event, key, _ in end if event == "set"]),
        loses=frozenset(found["loses"]),
    )
    names = {value.of for value in values.values() if value.role == "name"}
    keys = {*touches.reads, *touches.asks, *values} - {ANY_KEY}
    names |= {key.removeprefix(VARIABLE) for key in keys if key.startswith(VARIABLE)}
    return tuple(sorted(names)), touches
