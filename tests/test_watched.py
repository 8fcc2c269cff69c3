"""`CLOACA_DEBUG=1`: changes of fetched values that are never set are told, and nothing else is."""

import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import cloudpickle
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


GIVEN: dict[str, Any] = {
    "rows": [1, [2]],
    "tags": {"x", "y", "z"},
    "cell": Cell(),
    "array": np.zeros(20_000),
    "number": 5,
    "table": {"a": 1},
}


@pytest.fixture(params=["processes", "serial"])
def runner(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[DefaultRunner]:
    monkeypatch.setenv("CLOACA_DEBUG", "1")
    with DefaultRunner(workers=1, executor=request.param) as runner:
        yield runner


def told_by(runner: DefaultRunner, function: Callable[[Context], Any]) -> list[warnings.WarningMessage]:
    """What is warned of while the task runs that the function is."""
    with cloaca.WorkflowBuilder("watched"):
        cloaca.task(id="change")(function)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert runner.execute("watched", Context(GIVEN)).status == "Completed"
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
    with cloaca.WorkflowBuilder("asking"):
        cloaca.task(id="first")(pass_through)
        cloaca.task(id="second", dependencies=["first"], trigger_rules=cloaca.context_value("rows", "contains", 1))(
            pass_through
        )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert runner.execute("asking", Context(GIVEN)).status == "Completed"
    assert caught == []


def test_where_warnings_are_errors_the_task_fails(runner: DefaultRunner) -> None:
    with cloaca.WorkflowBuilder("strict"):
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
