"""Which functions of `map` needn't be looked after: those that can change nothing, whatever constants they get."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from cloaca.attempts.harmless import is_harmless

CALLS = [0]


class Called:
    def __call__(self, number: int) -> int:
        return number


def closing_over(held: Any) -> Callable[[int], Any]:
    return lambda number: (held, number)


def shadowing(names: str) -> Callable[[int], Any]:
    """A function of a module that has something else under the name of a builtin function."""
    variables: dict[str, Any] = {}
    exec(f"{names}\ndef function(number): return len([number])", variables)
    function: Callable[[int], Any] = variables["function"]
    return function


def with_default(number: int, calls: list[int] = [0]) -> list[int]:  # noqa: B006 - that is what is asked
    calls[0] += number
    return calls


def with_keyword(number: int, *, calls: list[int] = [0]) -> list[int]:  # noqa: B006 - as above
    calls[0] += number
    return calls


def counting(number: int) -> int:
    CALLS[0] += 1
    return number


def counting_apart() -> Callable[[int], int]:
    calls = 0

    def count(number: int) -> int:
        nonlocal calls
        calls += number
        return calls

    return count


def noting(number: int) -> None:
    noting.count = number  # type: ignore[attr-defined]


def calling(number: int) -> int:
    return counting(number)


def tripled(text: str) -> str:
    parts = []
    parts.append(text * 3)
    return "".join(parts)


def factorial(number: int) -> int:
    if number < 0:
        raise ValueError(number)
    return number * factorial(number - 1) if number else 1


def reaching(text: str) -> Any:
    return text.__class__


def importing(number: int) -> int:
    import os

    return len(os.sep) * number


@pytest.mark.parametrize(
    "function",
    [
        lambda number: number * 2 + 1,
        lambda number: [abs(one) for one in range(number)],
        lambda number: sorted([number, 1], key=lambda one: -one),
        lambda number, scale=3, *, places=(1, 2): (number * scale, places),
        closing_over((1, "a")),
        shadowing(""),
        closing_over(closing_over),
        lambda text: text.upper(),
        lambda context, item: context.set("out", {item.count("a"): tripled(item)}),
        lambda number: math.sqrt(number) + math.pi,
        factorial,
        *(len, abs, str),
    ],
)
def test_it_can_change_nothing(function: Any) -> None:
    assert is_harmless(function)


@pytest.mark.parametrize(
    "function",
    [
        *(with_default, with_keyword, counting, importing, noting, calling, counting_apart(), reaching),
        closing_over([1]),
        shadowing("len = print"),
        lambda number: sorted([number], key=lambda one: CALLS[one]),
        *(print, setattr, Called(), Called, CALLS.append, partial(max, 1)),
    ],
)
def test_nobody_knows(function: Any) -> None:
    assert not is_harmless(function)
