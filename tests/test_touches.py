"""What a function's own code does with its context."""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from cloaca.wire.touches import MADE, OPEN, Touches, touches_of

other: Any = None
KEY = "k"


def reading(context: Any) -> None:
    context.set("sum", sum(context["a"]) + context.get("b", 3) + context.get(key="c"))
    if "d" in context:
        context.set("d", context["d"])


def setting(context: Any) -> Any:
    context["one"] = 1
    context["two"] = f"{context.seed}"
    context.insert("three", other(context.get("x", 3), [1, 2]))
    context.update("four", len([1]))
    context["five"] += 1
    if other:
        context.set("one", 2)
        return {"six": 6, "seven": [7]}
    return context


def removing(context: Any) -> None:
    context.remove("a")
    context.delete("b")
    del context["c"]


def catching(context: Any) -> None:
    try:
        context.set("x", context["a"])
    except KeyError:
        context.set("x", None)


def inside(context: Any) -> None:
    def later() -> Any:
        return context["a"]

    context.set("f", later() if other else "")


def unfolding(context: Any) -> None:
    for row in context["rows"]:
        other(row, context["limit"])


async def waiting(context: Any) -> None:
    await other(context["a"])
    context["b"] = str(context["a"])


class Callables:
    def __call__(self, context: Any) -> None:
        context.set("call", context["a"])

    def method(self, context: Any, *, year: int) -> None:
        context.set("method", year)


def late(_year: int, context: Any) -> None:
    context.set("late", context["a"])


def branching(context: Any) -> None:
    context["a"]
    if other:
        context["b"]
    for row in context["c"]:
        other(row and context["d"], context["e"])
    if other:
        context["f"]
        return
    context["g"]


def touches(needs: str = "", looks: str = "", asks: str = "", sets: str = "", **plain: str) -> Touches:
    needed, looked, asked, is_set = (frozenset(keys.split()) for keys in (needs, looks, asks, sets))
    return Touches(needed, looked, is_set, plain=plain, asks=asked)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (reading, touches("a", "b c d", "d", "sum d")),
        (
            setting,
            touches("four five", "x", "three", "one two three four five six seven", one=MADE, two=MADE, four=MADE),
        ),
        (removing, touches("c", "", "a b", "a b c")),
        (catching, touches("", "a", "", "x")),
        (inside, touches("", "a", "", "f")),
        (unfolding, touches("rows limit")),
        (Callables(), touches("a", "", "", "call")),
        (Callables().method, touches("", "", "", "method")),
        (functools.partial(late, 3), touches("a", "", "", "late")),
        (lambda context: context.set("k", 1), touches("", "", "", "k", k="1")),
        (lambda context: {"k": context["v"]}, touches("v", "", "", "k")),
        (lambda context: None, touches()),
    ],
)
def test_constant_keys_are_told(function: Callable[..., Any], expected: Touches) -> None:
    found = touches_of(function)
    if function is catching:
        assert found.plain.keys() <= {"x"}
        expected = touches("", "a", "", "x", **found.plain)
    assert replace(found, surely=frozenset()) == expected


def test_a_coroutine_reads_what_it_reads() -> None:
    """From Python 3.12 on it catches exceptions, as far as its code tells."""
    found = touches_of(waiting)
    assert ([*found.reads], [*found.sets], found.sets_more) == (["a"], ["b"], False)


def test_what_is_read_outside_of_branches() -> None:
    found = touches_of(branching)
    assert (sorted(found.needs), sorted(found.surely)) == ([*"abcdefg"], [*"ace"])


def aliased(context: Any) -> None:
    alias = context
    alias.set("a", 1)


def bound_anew(context: Any) -> None:
    context = context.copy()
    context["a"]


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(context: Any) -> Any:
        context.set("more", 1)
        return function(context)

    return wrapper


@pytest.mark.parametrize(
    "function",
    [
        lambda context: context[KEY],
        lambda context: context.get(KEY),
        lambda context: context.set("a" + KEY, 1),
        lambda context: context.set("a".upper(), 1),
        lambda context: context.set("%s" % KEY, 1),  # noqa: UP031 - what is tested
        lambda context: context.set(f"a{KEY}", 1),
        lambda context: context.set("a" if other else "b", 1),
        lambda context: other(context, 1),
        lambda context: [*context],
        lambda context: context.update_from_dict(other),
        lambda *contexts: contexts[0].set("a", 1),
        aliased,
        bound_anew,
        wrapped(reading),
        print,
        7,
    ],
)
def test_other_uses_leave_it_open(function: Any) -> None:
    found = touches_of(function)
    assert (found.reads_more, found.sets_more) == (OPEN.reads_more, OPEN.sets_more)


def test_what_is_returned_may_set_anything() -> None:
    assert touches_of(lambda context: other).sets_more
    assert touches_of(lambda context: {**other}).sets_more
    assert touches_of(lambda context: {"a": 1, KEY: 2}).sets_more


def test_listing_keys_reads_them_all_and_sets_none() -> None:
    found = touches_of(lambda context: context.set("a", len(context.keys())))
    assert (found.reads_more, found.sets_more) == (True, False)
