"""`context.lazy`: of a list or dict only those places are decoded that are looked at."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import cloaca
from cloaca import Context, DecodeError, DefaultRunner, MergeConflict
from cloaca.values.blobs import LARGE

VALUES: list[Any] = [
    [],
    [1, "x", None, [1, [2]], {"a": [3]}],
    {},
    {"a": 1, "b": [2], 3: {"c": None}},
    [(1, 2), {3}],
    {"t": (1, 2), (3, 4): [5]},
    ["x" * 100] * (LARGE // 50),
    {f"{n}": [n] * 100 for n in range(LARGE // 100)},
    [np.arange(3), 1],
    Counter("abca"),
]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_the_places_are_those_of_the_value(value: Any) -> None:
    view = Context({"k": value}).lazy("k")
    assert len(view) == len(value)
    assert [*map(repr, view)] == [*map(repr, value)]
    if isinstance(value, dict):
        assert all(repr(view[key]) == repr(member) and key in view for key, member in value.items())
    else:
        assert [repr(view[place]) for place in range(-len(value), len(value))] == [*map(repr, [*value, *value])]
        assert repr(view[1:]) == repr(value[1:])


def test_what_is_not_there_raises_as_ever() -> None:
    context = Context({"rows": [1, 2], "by name": {"a": 1}, "year": 2026})
    rows, by_name = context.lazy("rows"), context.lazy("by name")
    for place in (2, -3):
        with pytest.raises(IndexError):
            rows[place]
    with pytest.raises(KeyError):
        by_name["b"]
    assert "b" not in by_name
    with pytest.raises(KeyError, match=r"Key not found: row\. The nearest names are 'rows'"):
        context.lazy("row")
    with pytest.raises(TypeError, match="takes the key of a list or dict, and 'year' holds an int"):
        context.lazy("year")


def test_what_was_looked_at_is_the_callers_own() -> None:
    context = Context({"rows": [[1], [2]]})
    rows = context.lazy("rows")
    rows[0].append(3)
    assert rows[0] == [1, 3]
    assert (context["rows"], [*context.lazy("rows")]) == ([[1], [2]], [[1], [2]])
    assert repr(rows) == "<list of 2 in the context, 1 decoded>"
    assert repr(Context({"d": {"a": 1}}).lazy("d")) == "<dict of 1 in the context, 0 decoded>"


def executed(executor: Any, *tasks: Callable[..., object], **given: Any) -> Any:
    before: list[Callable[..., object]] = []
    with cloaca.WorkflowBuilder("places", check="off") as builder:
        for task in tasks:
            takes_item = task.__code__.co_argcount > 1
            cloaca.task(dependencies=before, for_each="items" if takes_item else None)(task)
            before = [task]
    with DefaultRunner(workers=1, executor=executor) as runner:
        return runner.execute(builder, given)


class Broken:
    """Can be sent, and not be rebuilt."""

    def __reduce__(self) -> Any:
        return int, ("no number",)


@pytest.mark.parametrize("executor", ["processes", "serial"])
@pytest.mark.parametrize("items", [[0, 1, 2], {"a": 0, "b": 1, "c": 2}])
def test_of_what_was_collected_one_place_is_read(executor: Any, items: Any) -> None:
    def collect(context: Context, item: int) -> None:
        context["parts"] = Broken() if item == 1 else (np.full(LARGE, item), "x")

    def read(context: Context) -> None:
        parts = context.lazy("parts")
        context["sum"] = int(parts[context["last"]][0].sum())
        with pytest.raises(DecodeError, match="key 'parts'"):
            parts[context["broken"]]

    given = {"last": 2, "broken": 1} if isinstance(items, list) else {"last": "c", "broken": "b"}
    result = executed(executor, collect, read, items=items, **given)
    result.raise_for_status()
    assert result.final_context["sum"] == 2 * LARGE
    task = result.tasks["read"]
    assert set(task.keys_read) >= {"parts", "last"}
    assert 8 * LARGE <= task.bytes_read < 12 * LARGE


def test_empty_places_are_none() -> None:
    def collect(context: Context, item: int) -> None:
        if item:
            context["parts"] = (item,)

    result = executed("processes", collect, items=[0, 1])
    assert [*result.final_context.lazy("parts")] == [None, (1,)]


def test_a_conflict_is_raised() -> None:
    def setting(value: Any) -> Callable[[Context], None]:
        def side(context: Context) -> None:
            context["x"] = value

        return side

    with cloaca.WorkflowBuilder("split", check="off") as builder:
        for value in (1, 2):
            cloaca.task(id=f"{value}")(setting(value))
    with DefaultRunner(workers=1) as runner:
        context = runner.execute(builder).final_context
    with pytest.raises(MergeConflict):
        context.lazy("x")


def test_it_counts_as_reading_the_key() -> None:
    def report(context: Context) -> None:
        context["first"] = context.lazy("rows")[0]

    def load(context: Context) -> None:
        context["rows"] = [1]

    with cloaca.WorkflowBuilder("w", check="off") as builder:
        cloaca.task()(report)
        cloaca.task()(load)
    (found,) = cloaca.check(builder.build())
    assert (found.kind, found.task, found.key) == ("unordered", "report", "rows")
