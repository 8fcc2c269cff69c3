"""The keys that a function sets for certain, as its own code tells."""

from collections.abc import Callable
from functools import lru_cache, partial, wraps
from typing import Any

import pytest

from cloaca.dataflow.touches import keys_set

other: Any = None


def setting(context: Any, item: Any) -> None:
    context.set("a", item)
    context.insert("b", [context.get("not read"), 1])
    context.update("c", other(item, key="no"))
    if item:
        context["d"] = item * 2
    context.set("a", 3)


def returning(context: Any, item: Any) -> Any:
    if item:
        return {"one": other(item, key=1)}
    return {"two": [1, 2], "three": item.attribute["x"], "four": {"no": 1}["no"]}


def inside(context: Any, item: Any) -> None:
    def inner(more: Any) -> None:
        context.set("inner", more)

    for context["loop"] in item:
        inner(1)


def unknowable(context: Any, item: Any) -> Any:
    name = "no"
    context.set(name, 1)
    context[f"{item}"] = 1
    del context["no"]
    context.remove("no")
    other.set("no", 1)
    other["no"] = 1
    context.get("no")
    return dict(no=1)  # noqa: C408 - what is tested


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def wrapper(*arguments: Any) -> Any:
        return function(*arguments)

    return wrapper


class Callables:
    def __call__(self, context: Any, item: Any) -> None:
        context.set("call", item)

    def method(self, context: Any, item: Any) -> None:
        context.set("method", item)


def late(year: int, context: Any, _item: Any) -> None:
    context.set("late", year)


def shadowed(values: Any, item: Any) -> None:
    values.set("k", item)


@pytest.mark.parametrize(
    ("function", "keys"),
    [
        (setting, ("a", "b", "c", "d")),
        (returning, ("one", "two", "three", "four")),
        (inside, ("inner", "loop")),
        (unknowable, None),
        (shadowed, ("k",)),
        (decorated(setting), None),
        (lru_cache(setting), None),
        (decorated(partial(late, 3)), None),
        (partial(partial(late, 3)), ("late",)),
        (Callables(), ("call",)),
        (Callables().method, ("method",)),
        (lambda context, item: context.set("k", item), ("k",)),
        (lambda context, item: {"k": item}, ("k",)),
        (lambda context, item: {"k": item, **item}, None),
        (lambda: None, None),
        (max, None),
        (str, None),
    ],
)
def test_the_keys_that_a_function_sets(function: Callable[..., Any], keys: tuple[str, ...] | None) -> None:
    assert keys_set(function) == keys
