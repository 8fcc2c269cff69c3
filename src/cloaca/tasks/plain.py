"""Plain functions: those that know nothing of contexts. What they take are keys, and what they return is set.

Each parameter is the key of its name, or the one that `inputs` has for it. Of a mapped task, the first is the item.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from functools import cached_property, partial, wraps
from inspect import isawaitable
from typing import Any, Final

from msgspec.structs import replace

from cloaca.nearest import nearest
from cloaca.pickling.hints import signature
from cloaca.tasks.binding import Binding, changeable, misfit
from cloaca.tasks.context import Context, contents_of
from cloaca.tasks.conversion import Conversion, conversion_of
from cloaca.tasks.mismatch import Mismatch
from cloaca.tasks.signature import UNSAID, Form, Parameter, is_generator
from cloaca.tasks.watched import Watched
from cloaca.wording import a, counted

_ALL_OTHERS: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_BY_PLACE: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_OF_TASKS: Final = ("context", "handle", "task_handle")


# ---- how it is called ----------------------------------------------------------------------------------------------


def plain_form(
    task: str,
    function: Callable[..., object],
    returns: tuple[str, ...],
    inputs: Mapping[str, str],
    items: str | None = None,
) -> Form:
    """How a plain function is called. `task` is the task's id, for the message; `items` the key of its items, if any.

    Raises `ValueError` where it can't be a task, saying what would do.
    """
    _refuse_kind(task, function)
    taken = _taken(task, function, inputs)
    if items is None:
        return Form(parameters=tuple(taken), returns=returns)
    if not taken or not taken[0].is_positional or taken[0].renamed:
        raise ValueError(
            f"Task {task!r}: with for_each=, the first parameter of a function is the item, like `row` in `def "
            f"clean(row, rate): ...`, and can't be named by inputs=. This one takes {signature(function)}."
        )
    return Form(takes_item=True, parameters=tuple(taken[1:]), returns=returns, item=replace(taken[0], renamed=items))


def _refuse_kind(task: str, function: Callable[..., object]) -> None:
    if not callable(function):
        raise ValueError(f"Task {task!r}: a task is a function, and this is {a(type(function).__name__)}.")
    if is_generator(function):
        raise ValueError(
            f"Task {task!r}: {_name_of(function)} is a generator, and what it yields can't be set under a key: return "
            "a list of it."
        )


def _taken(task: str, function: Callable[..., object], inputs: Mapping[str, str]) -> list[Parameter]:
    """The parameters, but for those that a partial gives."""
    try:
        parameters = signature(function).parameters
    except ValueError as error:
        name = _name_of(function)
        raise ValueError(
            f"Task {task!r}: nobody knows which parameters {name} has, as it doesn't tell: name them, as in `lambda "
            f"rows: {name}(rows)`."
        ) from error
    given = function.keywords if isinstance(function, partial) else {}
    names = [name for name, one in parameters.items() if one.kind not in _ALL_OTHERS and name not in given]
    more = _more(parameters.values(), names, inputs)
    if unknown := [name for name in inputs if name not in names and name not in more]:
        close = nearest(unknown[0], names)
        meant = f": did you mean {' or '.join(map(repr, close))}?" if close else f": it takes {signature(function)}."
        raise ValueError(f"Task {task!r}: inputs= names {unknown[0]!r}, which is no parameter of the function{meant}")
    _refuse_contexts(task, names, inputs)
    found = [_parameter(parameters[name], inputs.get(name, "")) for name in names]
    return found + [Parameter(name, renamed=inputs[name]) for name in more]


def _more(parameters: Iterable[inspect.Parameter], names: list[str], inputs: Mapping[str, str]) -> list[str]:
    """What `inputs` names that the function takes among all other keywords."""
    takes_more = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters)
    return [name for name in inputs if name not in names] if takes_more else []


def _parameter(one: inspect.Parameter, renamed: str) -> Parameter:
    return Parameter(one.name, one.default is UNSAID, one.annotation, renamed, one.kind in _BY_PLACE)


def _refuse_contexts(task: str, names: list[str], inputs: Mapping[str, str]) -> None:
    """Most likely somebody has added `returns=` to a function that has a context."""
    for name in _OF_TASKS:
        if name in names and name not in inputs:
            raise ValueError(
                f"Task {task!r}: with returns=, a function is called with the values of keys and knows no {name}: "
                f"leave out returns=, or the parameter. Where a key is called so, say inputs={{{name!r}: {name!r}}}."
            )


def _name_of(function: Callable[..., object]) -> str:
    return getattr(function, "__name__", type(function).__name__)


# ---- calling it ----------------------------------------------------------------------------------------------------


class PlainBinding(Binding):
    """The parameters of a plain function, and the keys that are set to what it returns."""

    def __init__(self, form: Form) -> None:
        super().__init__(form.parameters)
        self._item = form.item
        self._by_place = tuple([one.name for one in form.parameters if one.is_positional])
        self._returns = form.returns or ()

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, to be called with a context, and an item where it takes one. Returns what is to be set."""
        defaults = _defaults(function, self.optional)

        @wraps(function, assigned=(), updated=())
        def call(context: Context, *items: Any) -> Any:
            values = self(context)
            if isinstance(context, Watched):
                context.hand_over()
            for name, default in defaults.items():
                if name not in values:
                    values[name] = deepcopy(default)
            given = [self._as_annotated(context, item) for item in items]
            given += self._placed(values)
            returned = function(*given, **values)
            if isawaitable(returned):
                return self._set_when_there(context, returned)
            return self._set(context, returned)

        return call

    def _placed(self, values: dict[str, Any]) -> Iterator[Any]:
        """Those values that are given by their place, which are taken out: what follows an absent one goes by name."""
        for name in self._by_place:
            if name not in values:
                return
            yield values.pop(name)

    @cached_property
    def _of_item(self) -> Conversion | None:
        return None if self._item is None or self._item.annotation is UNSAID else conversion_of(self._item.annotation)

    def _as_annotated(self, context: Context, item: Any) -> Any:
        if self._item is None or self._of_item is None:
            return item
        try:
            return self._of_item(item)
        except Mismatch as found:
            raise misfit(contents_of(context).writer, self._item.name, self._item.key, found) from None

    async def _set_when_there(self, context: Context, returned: Awaitable[Any]) -> dict[str, Any] | None:
        return self._set(context, await returned)

    def _set(self, context: Context, returned: Any) -> dict[str, Any] | None:
        """What is to be set. Raises `TypeError` where it isn't one value for each key."""
        keys = self._returns
        if len(keys) == 1:
            return {keys[0]: returned}
        if not keys:
            return None
        if isinstance(returned, tuple | list) and len(returned) == len(keys):
            return dict(zip(keys, returned, strict=True))
        what = a(type(returned).__name__)
        what += f" of {len(returned)}" if isinstance(returned, tuple | list) else ""
        raise TypeError(
            f"Task {contents_of(context).writer!r} returned {what}, and its returns= has {counted(len(keys), 'key')}, "
            f"{', '.join(map(repr, keys))}: return a tuple with one value for each."
        )


def _defaults(function: Callable[..., Any], names: list[str]) -> dict[str, Any]:
    """The defaults that a call has to give: those that it could change, and what can't be left out by name."""
    if not names or isinstance(function, type):
        return {}
    parameters = signature(function).parameters
    found = {name: parameters[name].default for name in names if name in parameters}
    by_place = {name: one for name, one in found.items() if parameters[name].kind is inspect.Parameter.POSITIONAL_ONLY}
    return {**by_place, **changeable(found)}
