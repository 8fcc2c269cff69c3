"""What a function's own code does with its context: which keys it needs, looks for and sets, read from its bytecode.

Only what is certain is told. Whatever isn't a plain use of a constant key (a name that is made up, a context that is
handed on, keys that are listed) makes the answer *open*: then the function may read, or set, any other key as well.

A key may stand in a variable of the module, or of a function around. Those are looked up in each function, as the
functions of a loop share their code: until then such a key is known by the name of its variable.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from types import CodeType, FunctionType, MethodType
from typing import Any, Final

from cloaca.dataflow.callee import DEEPEST, called_by
from cloaca.dataflow.reading import uses_of
from cloaca.dataflow.symbols import DICT, LIST, REMOVED, SET, UNKNOWN, VARIABLE, together

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

    def under(self, prefix: str) -> "Touches":
        """The same with other names for keys: those of a copy of a workflow."""
        if not prefix:
            return self

        def named(keys: Iterable[str]) -> frozenset[str]:
            return frozenset([prefix + key for key in keys])

        values = {prefix + key: value for key, value in self.values.items()}
        needs, looks, sets, asks = named(self.needs), named(self.looks), named(self.sets), named(self.asks)
        surely, makes = named(self.surely), named(self.makes)
        return replace(self, needs=needs, looks=looks, sets=sets, values=values, asks=asks, surely=surely, makes=makes)

    @property
    def leaves_more(self) -> bool:
        """Whether it may leave other keys set."""
        return self.sets_more or self.returns_more

    @property
    def reads(self) -> frozenset[str]:
        """The keys whose values it may read."""
        return self.needs | self.looks


_NOTHING: Final[Any] = object()
OPEN: Final = Touches(reads_more=True, sets_more=True)


def touches_of(function: Callable[..., Any]) -> Touches:
    """What is known of a task function.

    >>> def scale(context):
    ...     context["total"] = context["x"] * context.get("factor", 2)
    >>> found = touches_of(scale)
    >>> [*found.needs], [*found.looks], [*found.sets], found.leaves_more
    (['x'], ['factor'], ['total'], False)
    """
    found = _innermost(function, called_by)
    if found is None or "__wrapped__" in found[0].__dict__:
        return OPEN
    try:
        return _of_function(*found)
    except Exception:  # noqa: BLE001 - code that isn't understood is no reason to end a block
        return OPEN


def keys_set(function: Callable[..., Any]) -> tuple[str, ...]:
    """The keys that a task function sets as far as its code tells, in the order in which it does, each once.

    Asked where a task is to count as one that has set its keys without having run: a mapped task without items. What
    decorators say that they wrap counts as what runs.

    >>> def load(context):
    ...     context["rows"] = [1, 2]
    ...     return {"year": 2026, "count": 2}
    >>> keys_set(load)
    ('rows', 'year', 'count')
    """
    found = _innermost(function, _wrapped_by)
    values = _of_function(*found).values if found is not None else {}
    return tuple([key for key, value in values.items() if value != REMOVED])


def _innermost(function: Any, called: Callable[[Any], tuple[Any, int]]) -> tuple[FunctionType, str] | None:
    """What runs in the end, and what it calls the context, which is the first argument."""
    place = 0
    for _ in range(DEEPEST):
        inner, given = called(function)
        if inner is None:
            is_clear = isinstance(function, FunctionType) and place < function.__code__.co_argcount
            return (function, function.__code__.co_varnames[place]) if is_clear else None
        function = inner
        place += given
    return None


def _wrapped_by(function: Any) -> tuple[Any, int]:
    """What it calls, or else what it says that it wraps."""
    if not isinstance(function, partial | MethodType) and hasattr(function, "__wrapped__"):
        return function.__wrapped__, 0
    return called_by(function)


# ---- keys in variables ---------------------------------------------------------------------------------------------


def _of_function(function: FunctionType, context: str) -> Touches:
    code = function.__code__
    variables, _ = _unnamed(code, context)
    return _answer(code, context, tuple([_held_by(function, variable) for variable in variables]))


def _held_by(function: FunctionType, variable: str) -> Held:
    """What a variable around the function holds at present."""
    code = function.__code__
    if variable in code.co_freevars:
        cell = (function.__closure__ or ())[code.co_freevars.index(variable)]
        value = next(_contents(cell), _NOTHING)
    else:
        value = function.__globals__.get(variable, _NOTHING)
    if type(value) is str:
        return value, repr(value)
    return None, repr(value) if type(value) in _ATOMS else _COLLECTIONS.get(type(value), UNKNOWN)


def _contents(cell: Any) -> Iterator[Any]:
    try:
        yield cell.cell_contents
    except ValueError:  # it is empty
        return


@lru_cache(maxsize=4096)
def _answer(code: CodeType, context: str, held: tuple[Held, ...]) -> Touches:
    """The answer where the variables around the function hold this."""
    variables, touches = _unnamed(code, context)
    if not held:
        return _guarded(touches)
    return _guarded(_named(touches, {f"{VARIABLE}{name}": one for name, one in zip(variables, held, strict=True)}))


@lru_cache(maxsize=4096)
def _unnamed(code: CodeType, context: str) -> tuple[tuple[str, ...], Touches]:
    """The variables that hold keys, or what keys are set to; and the answer in which these stand for that."""
    uses = uses_of(code, context)
    needs = uses.needs | (uses.missed - uses.tested)
    return uses.variables, Touches(
        frozenset(needs),
        frozenset(uses.looks | (uses.got - needs) | (needs if uses.lists else set())),
        frozenset(uses.values),
        uses.reads_more,
        uses.sets_more,
        {key: uses.value(key) for key in uses.values},
        frozenset(uses.asks),
        (uses.surely_read or frozenset()) & needs,
        uses.returns_more,
        frozenset(uses.surely_set or ()),
    )


def _named(touches: Touches, held: Mapping[str, Held]) -> Touches:
    """The same with the keys that variables hold. One that holds none may be any key."""
    done: dict[frozenset[str], frozenset[str]] = {}  # the same keys are needed and read, or set and made

    def named(keys: frozenset[str]) -> frozenset[str]:
        if keys not in done:
            texts = [held[key][0] if key in held else key for key in keys]
            done[keys] = frozenset([text for text in texts if text is not None]) if texts else keys
        return done[keys]

    values: dict[str, str] = {}
    for key, value in touches.values.items():
        name = held[key][0] if key in held else key
        if name is not None:
            kind = held[value][1] if value in held else value
            values[name] = together(values[name], kind) if name in values else kind
    unknown = [key for key, (text, _) in held.items() if text is None]
    return Touches(
        named(touches.needs),
        named(touches.looks),
        named(touches.sets),
        touches.reads_more
        or any(key in keys for key in unknown for keys in (touches.needs, touches.looks, touches.asks)),
        touches.sets_more or any(key in touches.values for key in unknown),
        values,
        named(touches.asks),
        named(touches.surely),
        touches.returns_more,
        named(touches.makes),
    )


def _guarded(touches: Touches) -> Touches:
    """A key that a function looks for elsewhere isn't one that it counts on."""
    guarded = touches.needs & (touches.looks | touches.asks)
    if not guarded:
        return touches
    return replace(
        touches, needs=touches.needs - guarded, looks=touches.looks | guarded, surely=touches.surely - guarded
    )
