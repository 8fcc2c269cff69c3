"""Arguments that users give, checked where they give them.

Each function takes what the argument is, for the message, and what was given. It returns that, and raises `ValueError`
telling both what was given and what is expected. A bool is no number here, and neither is NaN or infinity.
"""

import inspect
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any, NamedTuple, TypeVar

from cloaca.pickling.hints import signature
from cloaca.wire.text import is_encodable
from cloaca.wording import a

_T = TypeVar("_T")


def whole(what: str, value: object, least: int = 0) -> int:
    """A whole number from `least` on."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{what} is a whole number, {least} or more, not {value!r}.")
    return int(value)


def amount(what: str, value: object) -> int:
    """How much of something there is, or is taken: a whole number from 1 on."""
    if isinstance(value, float):
        raise ValueError(
            f"{what} is a whole number, 1 or more, not {value!r}: count in a smaller unit, as in memory_mb rather than "
            "memory_gb, where the runner says what there is and where tasks say what they take."
        )
    return whole(what, value, least=1)


def not_negative(what: str, value: object) -> float:
    """A finite number from 0 on."""
    number = _finite(value)
    if number is None or number < 0:
        raise ValueError(f"{what} is a finite number, 0 or more, not {value!r}.")
    return number


def positive(what: str, value: object) -> float:
    """A finite number above 0."""
    number = _finite(value)
    if number is None or number <= 0:
        raise ValueError(f"{what} is a finite number above 0, not {value!r}.")
    return number


def _finite(value: object) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:  # an int beyond all floats
        return None
    return number if isfinite(number) else None


def switch(what: str, value: object) -> bool:
    """True or False, and nothing that is merely taken for it."""
    if not isinstance(value, bool):
        raise ValueError(f"{what} is True or False, not {value!r}.")
    return value


def choice(what: str, value: object, choices: Mapping[str, _T]) -> _T:
    """What one of the names in `choices` stands for."""
    if not isinstance(value, str) or value not in choices:
        from difflib import get_close_matches  # only where something is wrong

        close = get_close_matches(value, choices, n=1, cutoff=0.75) if isinstance(value, str) else []
        meant = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"{what} is one of {', '.join(map(repr, choices))}, not {value!r}.{meant}")
    return choices[value]


def instance(what: str, value: Any, kind: type[_T], example: str) -> _T:
    """An instance of `kind`; `example` shows how to make one."""
    if not isinstance(value, kind):
        raise ValueError(f"{what} is {a(kind.__name__)}, as in {example}, not {value!r}.")
    return value


def keys(what: str, listed: Any) -> tuple[str, ...]:
    """Keys of the context, in the order in which they are listed."""
    if not isinstance(listed, list | tuple | set | frozenset) or not all(isinstance(key, str) for key in listed):
        raise ValueError(f"{what} takes a list of keys, not {listed!r}.")
    if unspeakable := [key for key in listed if not is_encodable(key)]:
        raise ValueError(f"{what} takes keys that UTF-8 can carry, and {unspeakable[0]!r} has lone surrogates.")
    return tuple(sorted(listed)) if isinstance(listed, set | frozenset) else tuple(listed)


def function(what: str, value: object, *given: str) -> Callable[..., object]:
    """Something that can be called with what is `given`."""
    form = f"{what} is a function that can be called with ({', '.join(given)})"
    if not callable(value):
        raise ValueError(f"{form}, not {value!r}.")
    if misfit := misfit_of(value, *given):
        raise ValueError(f"{form}, and {value!r} takes {misfit.takes}.") from misfit.error
    return value


class Misfit(NamedTuple):
    """What a function takes, and why it can't be called so."""

    takes: inspect.Signature
    error: TypeError


def misfit_of(function: Callable[..., Any], /, *given: object, **named: object) -> Misfit | None:
    """Why a function can't be called with that, if it can't. Some builtins don't tell."""
    try:
        takes = signature(function)
    except (ValueError, TypeError):
        return None
    try:
        takes.bind(*given, **named)
    except TypeError as error:
        return Misfit(takes, error)
    return None


def callback(what: str, value: object, *given: str) -> Callable[..., object]:
    """A function that can be called with what is `given`, and needn't be awaited, as nobody does."""
    called = function(what, value, *given)
    if is_awaited(called):
        raise ValueError(f"{what} is called, and nobody would await {value!r}: make it a plain `def`.")
    return called


def of_items(value: Any, count: int, shared: Mapping[str, Any], place: str) -> Any:
    """A function that is called with an item of each of `count` iterables, and by name with what is shared.

    A call of it does what is to do. `place` is where it stands, for messages.
    """
    if not callable(value):
        raise ValueError(f"map calls a function with each item; {value!r} can't be called.")
    if any(inspect.isgeneratorfunction(one) or inspect.isasyncgenfunction(one) for one in _codes(value)):
        raise ValueError(
            f"map calls a function with each item; {value!r} is a generator, of which a call runs nothing: return from "
            "it instead of yielding."
        )
    if misfit := misfit_of(value, *[object()] * count, **shared):
        unknown = next((name for name in shared if name not in misfit.takes.parameters), None)
        if unknown is not None:
            raise ValueError(
                f"map passes {unknown!r} by name, as it is shared, and {value!r} ({place}) takes {misfit.takes}. Give "
                f"it such a parameter, as in def f(item, *, {unknown}), or leave {unknown!r} out of what is shared."
            ) from misfit.error
        passed = "one item, as the only argument" if count == 1 else f"{count} items, one of each iterable"
        named = f", and by name {', '.join(map(repr, shared))}" if shared else ""
        raise ValueError(
            f"map passes {passed}{named}, and {value!r} takes {misfit.takes}. Take the item apart in the function, or "
            "give an iterable for each argument, as in map(f, a, b); what stays the same is given by the name of its "
            "parameter, as in shared={'prices': prices}."
        ) from misfit.error
    return value


def shared(value: Any) -> Mapping[str, Any]:
    """Values by the names of parameters."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"shared tells values by the names of parameters, as in {{'prices': prices}}, not {value!r}.")
    return value


def is_awaited(function: Callable[..., object]) -> bool:
    """Whether what a call returns is to be awaited."""
    return any(map(inspect.iscoroutinefunction, _codes(function)))


def _codes(function: Callable[..., object]) -> tuple[object, ...]:
    return function, type(function).__call__
