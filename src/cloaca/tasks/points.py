"""Points: what a sweep runs for, each a dict with a value for each axis, under a name that tells them."""

import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from cloaca.tasks.labels import label, untaken
from cloaca.wording import a

_MOST = 1_000_000
_TEXTS = (str, bytes, bytearray, memoryview)

_NamedPoint = tuple[str, Mapping[str, Any]]


def product(*points: Mapping[str, Mapping[str, Any]], **axes: Collection[Any]) -> dict[str, dict[str, Any]]:
    """Each value of each axis with each one of the others: a dict for a task with `for_each`, which runs once for each.

    Arguments:
        points: points that are there already, as of `zipped` or of another product, to be combined with the axes.
        axes: lists of values, by the names of the axes.

    Returns:
        The points, dicts with a value for each axis, by their names. The last axis changes first.

    Raises:
        TypeError: an axis isn't a list, or something like one.
        ValueError: there is no axis, one is there twice, or it comes to more than a million points.

    >>> product(alpha=[0.1, 0.2], depth=[4])
    {'alpha=0.1, depth=4': {'alpha': 0.1, 'depth': 4}, 'alpha=0.2, depth=4': {'alpha': 0.2, 'depth': 4}}
    """
    parts = {f"its argument {number}": _given(number, part) for number, part in enumerate(points)}
    parts |= {f"{name}=": _along("product", name, axis) for name, axis in axes.items()}
    if not parts:
        raise ValueError("product takes axes, as in product(alpha=[0.1, 0.2], depth=[1, 2, 4]).")
    _check_names(parts)
    _check_count("product", {part: len(points) for part, points in parts.items()})
    return _joined(itertools.product(*parts.values()))


def zipped(**axes: Collection[Any]) -> dict[str, dict[str, Any]]:
    """The first values of all axes, the second values, and so on: axes that change together.

    Arguments:
        axes: lists of values, all of one length, by the names of the axes.

    Returns:
        The points, dicts with a value for each axis, by their names.

    Raises:
        TypeError: an axis isn't a list, or something like one.
        ValueError: there is no axis, they differ in length, or have more than a million values.

    >>> zipped(width=[1, 2], height=[3, 4])
    {'width=1, height=3': {'width': 1, 'height': 3}, 'width=2, height=4': {'width': 2, 'height': 4}}
    """
    parts = {name: _along("zipped", name, axis) for name, axis in axes.items()}
    if not parts:
        raise ValueError("zipped takes axes, as in zipped(width=[1, 2], height=[3, 4]).")
    if len(set(map(len, parts.values()))) > 1:
        lengths = ", ".join([f"{name} has {len(part):,}" for name, part in parts.items()])
        raise ValueError(f"zipped takes axes with as many values each, but {lengths}.")
    return _joined(zip(*parts.values(), strict=True))


def _given(number: int, points: Mapping[str, Mapping[str, Any]]) -> list[_NamedPoint]:
    is_named = isinstance(points, Mapping) and all(
        isinstance(name, str) and isinstance(point, Mapping) for name, point in points.items()
    )
    if not is_named:
        raise TypeError(
            f"The argument {number} of product isn't a dict of points, which are dicts: name the axis of a list, as in "
            "product(alpha=[0.1, 0.2])."
        )
    return [*points.items()]


def _along(function: str, name: str, axis: Collection[Any]) -> list[_NamedPoint]:
    """The points of one axis."""
    is_list = isinstance(axis, Collection) and getattr(axis, "shape", None) != ()
    if not is_list or isinstance(axis, _TEXTS) or hasattr(axis, "isdisjoint") or hasattr(axis, "keys"):  # sets, frames
        raise TypeError(
            f"{function} takes a list of values for the axis {name!r}, not {a(type(axis).__name__)}: {name}=[...], or "
            "list(...) or sorted(...) of what has values."
        )
    _check_count(function, {f"{name}=": len(axis)})
    return [(f"{name}={_shown(value, number)}", {name: value}) for number, value in enumerate(axis)]


def _shown(value: Any, number: int) -> str:
    """A value in the name of a point. Scalars of NumPy print in several ways, by its version."""
    if getattr(value, "shape", None) == () and callable(getattr(value, "item", None)):
        value = value.item()
    return label(value, number)


def _check_names(parts: Mapping[str, Sequence[_NamedPoint]]) -> None:
    homes: dict[str, str] = {}
    for part, points in parts.items():
        for name in dict.fromkeys(itertools.chain.from_iterable([point for _, point in points])):
            if name in homes:
                raise ValueError(
                    f"product has the axis {name!r} twice, by {homes[name]} and by {part}: rename one of them."
                )
            homes[name] = part


def _check_count(function: str, lengths: Mapping[str, int]) -> None:
    count = math.prod(lengths.values())
    if count > _MOST:
        each = ", ".join([f"{length:,} by {part}" for part, length in lengths.items()])
        raise ValueError(
            f"{function} comes to {count:,} points ({each}), and may come to {_MOST:,}: take fewer values, or have the "
            "task go through one axis itself."
        )


def _joined(rows: Iterable[Sequence[_NamedPoint]]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    taken: set[str] = set()
    for number, row in enumerate(rows):
        name = untaken(", ".join([name for name, _ in row]), number, taken)
        found[name] = {axis: value for _, point in row for axis, value in point.items()}
    return found
