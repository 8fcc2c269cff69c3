"""What a function's own code does with its context: which keys it needs, looks for and sets, read from its bytecode.

Only what is certain is told. Whatever isn't a plain use of a constant key (a name that is made up, a context that is
handed on, keys that are listed) makes the answer *open*: then the function may read, or set, any other key as well.

A key may stand in a variable of the module, or of a function around. Those are looked up in each function, as the
functions of a loop share their code: until then such a key is known by the name of its variable.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any, Final

from cloaca.dataflow.callee import DEEPEST, called_by
from cloaca.dataflow.uses import Uses, uses_of


@dataclass(frozen=True, slots=True)
class Touches:
    """`needs`: keys that it counts on; `looks`: keys that it reads otherwise; `sets`: those that it may set.

    `asks`: keys of which it only wants to know whether they are there. `surely`: of the keys needed, those that it
    reads outside of branches.

    `reads_more`, `sets_more`: it may read, or set, others; `returns_more`: what it returns may set others. `values`:
    what each key is set to (see `dataflow/values`).
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

    def under(self, prefix: str) -> "Touches":
        """The same with other names for keys: those of a copy of a workflow."""
        if not prefix:
            return self

        def named(keys: Iterable[str]) -> frozenset[str]:
            return frozenset([prefix + key for key in keys])

        values = {prefix + key: value for key, value in self.values.items()}
        needs, looks, sets, asks = named(self.needs), named(self.looks), named(self.sets), named(self.asks)
        return replace(self, needs=needs, looks=looks, sets=sets, values=values, asks=asks, surely=named(self.surely))

    @property
    def leaves_more(self) -> bool:
        """Whether it may leave other keys set."""
        return self.sets_more or self.returns_more

    @property
    def reads(self) -> frozenset[str]:
        """The keys whose values it may read."""
        return self.needs | self.looks


_NONE: Final[frozenset[str]] = frozenset()
OPEN: Final = Touches(reads_more=True, sets_more=True)


def touches_of(function: Callable[..., Any]) -> Touches:
    """What is known of a task function.

    >>> def scale(context):
    ...     context["total"] = context["x"] * context.get("factor", 2)
    >>> found = touches_of(scale)
    >>> [*found.needs], [*found.looks], [*found.sets], found.leaves_more
    (['x'], ['factor'], ['total'], False)
    """
    place, called = 0, function
    for _ in range(DEEPEST):
        if isinstance(called, FunctionType):
            code = called.__code__
            is_clear = "__wrapped__" not in called.__dict__ and place < code.co_argcount
            return _of_function(called, code.co_varnames[place]) if is_clear else OPEN
        called, given = called_by(called)
        if called is None:
            return OPEN
        place += given
    return OPEN


def _of_function(function: FunctionType, context: str) -> Touches:
    code = function.__code__
    variables = uses_of(code, context).variables
    return _answer(code, context, tuple([_text_in(function, variable) for variable in variables]))


def _text_in(function: FunctionType, variable: str) -> str | None:
    """The text that a variable around the function holds at present, if it is one."""
    code, value = function.__code__, None
    if variable in code.co_freevars:
        cell = (function.__closure__ or ())[code.co_freevars.index(variable)]
        value = next(iter(_contents(cell)), None)
    elif variable in code.co_names:
        value = function.__globals__.get(variable)
    return value if type(value) is str else None


def _contents(cell: Any) -> Iterator[Any]:
    try:
        yield cell.cell_contents
    except ValueError:  # it is empty
        return


@lru_cache(maxsize=4096)
def _answer(code: CodeType, context: str, texts: tuple[str | None, ...]) -> Touches:
    """The answer where the variables that hold keys hold these texts."""
    uses = uses_of(code, context)
    return _touches(uses.named(dict(zip(uses.variables, texts, strict=True))) if texts else uses)


def _touches(uses: Uses) -> Touches:
    """A key that a function asks about elsewhere isn't one that it counts on."""
    guarded = uses.needs & (uses.looks | uses.asks)
    needs = _frozen(uses.needs - guarded)
    return Touches(
        needs,
        _frozen(uses.looks | guarded),
        _frozen(uses.values),
        uses.reads_more,
        uses.sets_more,
        uses.values,
        _frozen(uses.asks),
        needs if needs == uses.surely else _frozen(uses.surely - guarded),
        uses.returns_more,
    )


def _frozen(keys: Collection[str]) -> frozenset[str]:
    return frozenset(keys) if keys else _NONE
