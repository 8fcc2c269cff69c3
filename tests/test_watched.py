"""`CLOACA_DEBUG=1`: changes of fetched values that are never set are told, and nothing else is."""

import functools
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import cloudpickle
import msgspec
import numpy as np
import pytest

import cloaca
from cloaca import Context, DefaultRunner, LostChangeWarning
from cloaca.tasks.watched import context_kind

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # as if all this stood in the user's script


class Cell:
    """Known by its identity; its bytes depend on the order of a set."""

    def __init__(self) -> None:
        self.tags = {"a", "b", "c"}


class Row(msgspec.Struct):
    price: float


GIVEN: dict[str, Any] = {
    "rows": [1, [2]],
    "tags": {"x", "y", "z"},
    "cell": Cell(),
    "array": np.zeros(20_000),
    "number": 5,
    "table": {"a": 1},
    "priced": [{"price": 1}],
}


@pytest.fixture(params=["processes", "serial"])
def runner(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[DefaultRunner]:
    monkeypatch.setenv("CLOACA_DEBUG", "1")
    with DefaultRunner(workers=1, executor=request.param) as runner:
        yield runner


def told_by(
    runner: DefaultRunner, function: Callable[..., Any], prefixes: tuple[str, ...] = (), **options: Any
) -> list[warnings.WarningMessage]:
    """What is warned of while the task runs that the function is, in a copy of a copy if there are prefixes."""
    with cloaca.WorkflowBuilder("watched", check="off") as builder:
        cloaca.task(id="change", **options)(function)
    for prefix in prefixes:
        part = builder.build()
        with cloaca.WorkflowBuilder("around", check="off") as builder:
            builder.add_workflow(part, prefix=prefix, inputs={key: key for key in GIVEN})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert runner.execute(builder, Context(GIVEN)).status == "Completed"
    return caught


def append(context: Context) -> None:
    context["rows"].append(3)


def change_within(context: Context) -> None:
    context.get("rows")[1].append(3)


def change_in_items(context: Context) -> None:
    for key, value in context.items():
        if key == "table":
            value["b"] = 2


def fetch_set_fetch_change(context: Context) -> None:
    context["rows"] = context["rows"]
    context["rows"].append(4)


def change_one_of_two(context: Context) -> None:
    context["rows"].append(4)
    assert len(context["rows"]) == 2


def change_array(context: Context) -> None:
    context["array"][7] = 1.0


def change_to_what_cannot_be_sent(context: Context) -> None:
    import threading

    context["rows"].append(threading.Lock())


LOST = [
    (append, "rows"),
    (change_within, "rows"),
    (change_in_items, "table"),
    (fetch_set_fetch_change, "rows"),
    (change_one_of_two, "rows"),
    (change_array, "array"),
    (change_to_what_cannot_be_sent, "rows"),
    (lambda context: context["cell"].tags.add("d"), "cell"),
    (lambda context: context["tags"].clear(), "tags"),
]


@pytest.mark.parametrize(("function", "key"), LOST)
def test_a_change_that_is_lost_is_told(runner: DefaultRunner, function: Callable[[Context], Any], key: str) -> None:
    (warning,) = told_by(runner, function)
    assert warning.category is LostChangeWarning
    assert f"Task 'change' fetched the value of key {key!r} here and changed it" in str(warning.message)
    assert f"context.set({key!r}, value)" in str(warning.message)
    assert warning.filename == __file__
    code = function.__code__
    assert code.co_firstlineno <= warning.lineno <= code.co_firstlineno + 4, "the line that fetched it"


PREFIXES = [("north",), ("inner", "outer")]


@pytest.mark.parametrize("prefixes", PREFIXES)
@pytest.mark.parametrize(("function", "key"), LOST)
def test_it_is_told_in_copies_as_their_code_names_it(
    runner: DefaultRunner, prefixes: tuple[str, ...], function: Callable[[Context], Any], key: str
) -> None:
    (warning,) = told_by(runner, function, prefixes)
    task = ".".join((*reversed(prefixes), "change"))
    assert f"Task {task!r} fetched the value of key {key!r} here and changed it" in str(warning.message)
    assert f"context.set({key!r}, value)" in str(warning.message)
    assert warning.filename == __file__


def test_it_is_told_in_copies_with_conditions(runner: DefaultRunner) -> None:
    with cloaca.WorkflowBuilder("part", check="off") as part:
        cloaca.task(id="first")(pass_through)
        cloaca.task(id="change", dependencies=["first"], trigger_rules=cloaca.context_value("rows", "contains", 1))(
            append
        )
    with cloaca.WorkflowBuilder("watched", check="off") as builder:
        builder.add_workflow(part.build(), prefix="north", inputs={"rows": "rows"})
    with pytest.warns(LostChangeWarning, match="Task 'north.change' fetched the value of key 'rows' here"):
        assert runner.execute("watched", Context(GIVEN)).status == "Completed"


def change_in_copy(context: Context) -> None:
    context.copy()["rows"].append(3)


def change_in_returned_copy(context: Context) -> Context:
    copy = context.copy()
    copy["rows"].append(3)
    return copy


def change_what_a_copy_added(context: Context) -> Context:
    copy = context.copy()
    copy["new"] = [1]
    copy["new"].append(2)
    return copy


@pytest.mark.parametrize("prefixes", [(), *PREFIXES])
@pytest.mark.parametrize("function", [change_in_copy, change_in_returned_copy, change_what_a_copy_added])
def test_what_a_copied_context_hands_out_is_watched(
    runner: DefaultRunner, prefixes: tuple[str, ...], function: Callable[[Context], Any]
) -> None:
    (warning,) = told_by(runner, function, prefixes)
    key = "new" if function is change_what_a_copy_added else "rows"
    assert f"the value of key {key!r} here" in str(warning.message)
    assert function.__code__.co_firstlineno < warning.lineno <= function.__code__.co_firstlineno + 3


# ---- what a task is called with ------------------------------------------------------------------------------------


def change_parameter(context: Context, *, rows: list[Any]) -> None:
    rows.append(3)


def change_two_parameters_of_which_one_is_set(context: Context, *, rows: Any, tags: set[str]) -> None:
    rows.append(3)
    tags.add("new")
    context.set("tags", tags)


def change_converted(context: Context, *, priced: list[Row]) -> None:
    priced[0].price = 2.0


def change_with_handle(context: Context, handle: Any, *, rows: list[Any]) -> None:
    rows.append(3)


async def change_later(context: Context, *, rows: list[Any]) -> None:
    rows.append(3)


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*given: Any, **named: Any) -> Any:
        return function(*given, **named)

    return wrapper


@pytest.mark.parametrize("prefixes", [(), *PREFIXES])
@pytest.mark.parametrize(
    ("function", "inner", "key"),
    [
        (change_parameter, change_parameter, "rows"),
        (
            change_two_parameters_of_which_one_is_set,
            change_two_parameters_of_which_one_is_set,
            "rows",
        ),
        (change_converted, change_converted, "priced"),
        (change_with_handle, change_with_handle, "rows"),
        (change_later, change_later, "rows"),
        (logged(change_parameter), change_parameter, "rows"),
        (functools.partial(change_parameter), change_parameter, "rows"),
    ],
)
def test_a_changed_parameter_is_told_at_the_function(
    runner: DefaultRunner, prefixes: tuple[str, ...], function: Any, inner: Any, key: str
) -> None:
    (warning,) = told_by(runner, function, prefixes)
    assert f"changed the value of key {key!r}, with which it is called" in str(warning.message)
    assert f"context.set({key!r}, {key})" in str(warning.message)
    assert (warning.filename, warning.lineno) == (__file__, inner.__code__.co_firstlineno)


def change_item(context: Context, item: Any) -> None:
    if isinstance(item, list):
        item.append(3)


def change_item_with_handle(context: Context, item: Any, handle: Any, *, number: int) -> None:
    change_item(context, item)


@pytest.mark.parametrize("prefixes", [(), *PREFIXES])
@pytest.mark.parametrize("function", [change_item, change_item_with_handle])
def test_an_item_that_is_changed_for_nothing_is_told(
    runner: DefaultRunner, prefixes: tuple[str, ...], function: Any
) -> None:
    (warning,) = told_by(runner, function, prefixes, for_each="rows", writes=[])
    assert "change[1]' changed its item, and set nothing" in str(warning.message)
    assert (warning.filename, warning.lineno) == (__file__, function.__code__.co_firstlineno)


def change_in_instance(context: Context, item: Any) -> None:
    if item == 1:
        context["table"]["b"] = 2


@pytest.mark.parametrize("prefixes", [(), *PREFIXES])
def test_instances_are_watched(runner: DefaultRunner, prefixes: tuple[str, ...]) -> None:
    (warning,) = told_by(runner, change_in_instance, prefixes, for_each="rows")
    assert "change[0]' fetched the value of key 'table' here" in str(warning.message)


def set_changed_item(context: Context, item: Any) -> None:
    change_item(context, item)
    context.set("changed", item)


def read_parameters(context: Context, *, priced: list[Row], tags: set[str], cell: Cell, missing: Any = None) -> None:
    str([priced, tags, cell, missing])


def set_in_returned_copy(context: Context) -> Context:
    rows = context["rows"]
    rows.append(3)
    copy = context.copy()
    copy["rows"] = rows
    return copy


def set_from_copy(context: Context) -> None:
    rows = context.copy()["rows"]
    rows.append(3)
    context["rows"] = rows


@pytest.mark.parametrize("prefixes", [(), *PREFIXES])
@pytest.mark.parametrize(
    ("function", "options"),
    [
        (set_changed_item, {"for_each": "rows", "writes": ["changed"]}),
        (read_parameters, {}),
        (set_in_returned_copy, {}),
        (set_from_copy, {}),
    ],
)
def test_of_what_is_set_or_only_read_nothing_is_told(
    runner: DefaultRunner, prefixes: tuple[str, ...], function: Any, options: dict[str, Any]
) -> None:
    assert told_by(runner, function, prefixes, **options) == []


# ---- what isn't told -----------------------------------------------------------------------------------------------


def set_it(context: Context) -> None:
    rows = context["rows"]
    rows.append(3)
    context.set("rows", rows)


def update_it(context: Context) -> None:
    rows = context["rows"]
    rows.append(3)
    context.update("rows", rows)


def remove_it(context: Context) -> None:
    context["rows"].append(3)
    context.remove("rows")


def delete_it(context: Context) -> None:
    context["rows"].append(3)
    del context["rows"]


def return_it(context: Context) -> Context:
    rows = context["rows"]
    rows.append(3)
    context["rows"] = rows
    return context


def read_all(context: Context) -> None:
    for value in context.values():
        str(value)
    context.get("missing", []).append(1)
    context["array"].sum()


def rebuild_the_set(context: Context) -> None:
    tags = context["tags"]
    for n in range(1000):
        tags.add(n)
    for n in range(1000):
        tags.discard(n)


def change_a_copy(context: Context) -> None:
    rows = [*context["rows"]]
    rows.append(3)


def pass_through(_: Context) -> None:
    return


FINE = [set_it, update_it, remove_it, delete_it, return_it, read_all, rebuild_the_set, change_a_copy, pass_through]


@pytest.mark.parametrize("function", FINE)
def test_nothing_else_is_told(runner: DefaultRunner, function: Callable[[Context], Any]) -> None:
    assert told_by(runner, function) == []


def test_items_of_map_may_be_changed(runner: DefaultRunner) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert list(runner.map(lambda item: item.append(1), [[0], [0]])) == [None, None]
    assert caught == []


def test_a_condition_that_looks_at_a_value_is_no_change(runner: DefaultRunner) -> None:
    with cloaca.WorkflowBuilder("asking", check="off"):
        cloaca.task(id="first")(pass_through)
        cloaca.task(id="second", dependencies=["first"], trigger_rules=cloaca.context_value("rows", "contains", 1))(
            pass_through
        )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert runner.execute("asking", Context(GIVEN)).status == "Completed"
    assert caught == []


def test_where_warnings_are_errors_the_task_fails(runner: DefaultRunner) -> None:
    with cloaca.WorkflowBuilder("strict", check="off"):
        cloaca.task(id="change")(append)
    with warnings.catch_warnings():
        warnings.simplefilter("error", LostChangeWarning)
        result = runner.execute("strict", Context(GIVEN))
    assert isinstance(result.tasks["change"].error, LostChangeWarning)


@pytest.mark.parametrize("value", ["", "0", None])
def test_it_is_off_by_default(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLOACA_DEBUG", raising=False)
    if value is not None:
        monkeypatch.setenv("CLOACA_DEBUG", value)
    assert context_kind() is Context
    with DefaultRunner(workers=1) as runner:
        assert told_by(runner, append) == []
