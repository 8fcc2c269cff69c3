"""Mapped tasks as a program sees them: one instance for each item, and what becomes of what they set."""

import os
import pickle
import random
import signal
import sys
from collections import OrderedDict, UserString, deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import pytest
from tests.support import pipe, without_places

import cloaca
from cloaca import Context, DefaultRunner, TaskTimeout, WorkerDied, WorkflowError, WorkflowResult
from cloaca.attempts.expansion import Expansion
from cloaca.values.blobs import LARGE

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # as if all this stood in the user's script


@pytest.fixture
def pool() -> Iterator[DefaultRunner]:
    with DefaultRunner(workers=2, executor="processes") as runner:
        yield runner


Tasks = tuple[Callable[..., Any], dict[str, Any]]


def workflow(*tasks: Tasks, **options: Any) -> str:
    """Each function is a task of its own name."""
    with cloaca.WorkflowBuilder("mapped", **options):
        for function, given in tasks:
            cloaca.task(**given)(function)
    return "mapped"


def mapped(function: Callable[..., Any], *dependencies: str, over: str = "items", **options: Any) -> Tasks:
    return function, {"for_each": over, "dependencies": list(dependencies), **options}


def run(runner: DefaultRunner, *tasks: Tasks, seed: int | None = None, **given: Any) -> WorkflowResult:
    return runner.execute(workflow(*tasks), Context(given), seed=seed)


def double(context: Context, item: Any) -> None:
    context.set("out", item * 2)


def finish(context: Context) -> None:
    context.set("seen", context["out"])


after_double: Tasks = (finish, {"dependencies": ["double"]})


# ---- writing them down ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["", 3, ["rows"], "\ud800"])
def test_a_key_that_is_none_is_refused_at_once(key: Any) -> None:
    with pytest.raises(ValueError, match=r"task\(for_each=\.\.\.\) takes the key of the context that holds the items"):
        cloaca.task(for_each=key)


@pytest.mark.parametrize(
    "function", [lambda context: None, lambda: None, lambda context, item, other: None, lambda context, *, item: None]
)
def test_the_function_takes_the_context_and_an_item(function: Callable[..., Any]) -> None:
    with (
        pytest.raises(ValueError, match=r"with for_each=, a task function takes the context and an item, like `def p"),
        cloaca.WorkflowBuilder("w"),
    ):
        cloaca.task(id="a", for_each="items")(function)


@pytest.mark.parametrize(
    "function",
    [lambda context, item, other=1: None, lambda *arguments: None, partial(lambda year, context, item: None, 3), max],
)
def test_other_arguments_may_have_defaults(function: Callable[..., Any]) -> None:
    with cloaca.WorkflowBuilder("w") as builder:
        cloaca.task(id="a", for_each="items", writes=[])(function)
    assert builder.build().tasks[0].for_each == "items"


def test_the_version_and_the_pictures_tell_a_mapped_task() -> None:
    def built(**options: Any) -> cloaca.Workflow:
        with cloaca.WorkflowBuilder("w") as builder:
            cloaca.task(**options)(lambda context, item=None: None)
        return builder.build()

    workflows = [built(id="a"), built(id="a", for_each="x"), built(id="a", for_each="y")]
    assert len({workflow.version for workflow in workflows}) == 3
    assert '[["a"]]' in workflows[1].to_mermaid()
    assert "[[" not in workflows[0].to_mermaid()
    assert "peripheries=2" in workflows[1].to_dot()


def nothing(context: Context, item: Any = None) -> None: ...


def test_what_a_follower_depends_on_comes_before_the_one_that_it_follows() -> None:
    plain: list[Tasks] = [(nothing, {"id": "a"}), (nothing, {"id": "late", "dependencies": ["first"]})]
    first = mapped(nothing, id="first")
    followers = mapped(nothing, "first", "a", id="second"), mapped(nothing, "first", "late", id="third")
    with pytest.raises(WorkflowError) as caught:
        workflow(*plain, first, *followers)
    second, third = caught.value.findings
    assert second.endswith("depends on 'a' too, which must come before both: let 'first' depend on 'a'.")
    assert third.endswith("comes after all of 'first': let 'third' depend on 'late' without 'first'.")


def test_no_task_is_called_like_an_instance() -> None:
    with pytest.raises(WorkflowError, match=r"'a\[0\]' is called like an instance of the mapped task 'a': rename it"):
        workflow(mapped(nothing, id="a"), (nothing, {"id": "a[0]"}))


# ---- items of every kind -------------------------------------------------------------------------------------------


def tell(context: Context, item: Any) -> None:
    context.set("got", (item, context.item_key))


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([1, "two", (3,)], [1, "two", (3,)]),
        ((1, 2), [1, 2]),
        (range(3), [0, 1, 2]),
        (deque("ab"), ["a", "b"]),
        ({3, 1, 2}, [1, 2, 3]),
        ([None, None], [None, None]),
    ],
    ids=str,
)
def test_the_items_of_a_collection(runner: DefaultRunner, items: Any, expected: list[Any]) -> None:
    result = run(runner, mapped(tell), items=items)
    assert result.final_context["got"] == [(item, None) for item in expected]
    assert list(result.tasks) == ["tell", *(f"tell[{n}]" for n in range(len(expected)))]


def test_the_items_of_an_array_are_its_rows(runner: DefaultRunner) -> None:
    result = run(runner, mapped(double), items=np.arange(6).reshape(3, 2))
    assert np.array_equal(result.final_context["out"], [[0, 2], [4, 6], [8, 10]])


def test_the_items_of_a_dict_come_with_their_keys(runner: DefaultRunner) -> None:
    items = OrderedDict([("north", 1), (2, "two"), ((3, "x"), None), (None, 4)])
    result = run(runner, mapped(tell), items=items)
    got = result.final_context["got"]
    assert got == {key: (item, key) for key, item in items.items()}
    assert list(got) == list(items)
    assert list(result.tasks)[1:] == ["tell['north']", "tell[2]", "tell[(3, 'x')]", "tell[None]"]


class Anonymous:
    """Its repr is another one in each process."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Anonymous) and self.number == other.number

    def __hash__(self) -> int:
        return self.number


def test_labels_are_short_different_and_the_same_each_time(runner: DefaultRunner) -> None:
    items = {"x" * 200 + "1": 1, "x" * 200 + "2": 2, Anonymous(1): 3}
    result = run(runner, mapped(tell), items=items)
    first, second, third = list(result.tasks)[1:]
    assert second == first.replace("...", "..., 1")
    assert len(first) < 100
    assert third == "tell[Anonymous 2]"
    assert result.tasks[second].status == "Completed"


def test_outside_a_mapped_task_there_is_no_item_key() -> None:
    assert Context({"a": 1}).item_key is None


class OfPandas(pd.DataFrame):
    """A class of one's own."""


FRAME = pd.DataFrame({"n": [1, 2]})


def test_a_frame_of_polars_is_told_what_polars_has_for_rows() -> None:
    frame = type("DataFrame", (list,), {"__module__": "polars.dataframe.frame", "columns": ["n"]})
    with pytest.raises(TypeError, match=r"of which the items are columns: set a list, frame.to_dicts\(\), or"):
        Expansion("double", "items")(Context({"items": frame([1])}))


@pytest.mark.parametrize(
    ("items", "error", "said"),
    [
        ("text", TypeError, "which is a str: set a list, as in"),
        (b"bytes", TypeError, "which is a bytes: set a list, as in"),
        (7, TypeError, "which is an int, of which nobody knows how many items it has: set a list or a dict"),
        (iter([1]), TypeError, "which is a list_iterator, .*: set list"),
        (np.array(3), TypeError, "which is a ndarray, "),
        (UserString("text"), TypeError, "which is a UserString: set a list, as in"),
        (FRAME, TypeError, r"which is a DataFrame, of which the items are columns: .* frame.to_dict\('records'\), or"),
        (OfPandas(FRAME), TypeError, "which is an OfPandas, of which the items are columns: set a list, frame"),
        (FRAME["n"], TypeError, r"which is a Series: set a list, as in list\(...\)"),
        (FRAME.index, TypeError, r"which is a RangeIndex: set a list, as in list\(...\)"),
        (FRAME.groupby("n"), TypeError, r"which is a DataFrameGroupBy: .* \[group for _, group in frame.groupby"),
        (FRAME["n"].astype("category").array, TypeError, r"which is a Categorical: set a list, as in list\(...\)"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_items_fails_the_task(runner: DefaultRunner, items: Any, error: type, said: str) -> None:
    result = run(runner, mapped(double, retry_attempts=3), after_double, items=items)
    assert result.status == "Failed"
    with pytest.raises(error, match=rf"Task 'double' runs for each item of key 'items', {said}"):
        raise result.tasks["double"].error or AssertionError
    assert result.tasks["double"].attempts == 1
    assert result.tasks["finish"].status == "Skipped"
    assert list(result.tasks) == ["double", "finish"]


def test_a_key_that_is_not_there_fails_the_task_and_near_names_are_told(runner: DefaultRunner) -> None:
    with pytest.warns(cloaca.DataflowWarning, match="did it mean 'itmes'"):
        result = run(runner, mapped(double), itmes=[1])
    error = result.tasks["double"].error
    assert isinstance(error, KeyError)
    assert "runs for each item of key 'items', which isn't there: set it in a task before." in str(error)
    assert "The nearest names are 'itmes'" in str(error)


# ---- what they are given -------------------------------------------------------------------------------------------


def test_an_instance_is_sent_its_item_and_may_read_the_collection(pool: DefaultRunner) -> None:
    def look(context: Context, item: int) -> None:
        context.set("all", context["items"] if item == 1 else None)
        context.set("other", context["rehto"[::-1]])

    result = run(pool, mapped(look), items=[1, 2, 3], other="more")
    assert result.final_context["all"] == [[1, 2, 3], None, None]
    assert result.final_context["other"] == ["more"] * 3
    assert result.tasks["look[0]"].keys_read == ("items", "other")
    assert (result.tasks["look[2]"].bytes_read or 0) < 8


def test_an_instance_sees_what_its_task_sees(runner: DefaultRunner) -> None:
    def split(context: Context) -> None:
        context.set("items", {"x": 1, "y": 2})

    def look(context: Context, item: int) -> None:
        context.set("keys", sorted(context))
        context.set("how", context.outcome("split").status)

    result = run(runner, (split, {}), mapped(look, "split"), given=0)
    assert result.final_context["keys"] == {key: ["given", "items"] for key in "xy"}
    assert result.final_context["how"] == dict.fromkeys("xy", "Completed")


def test_a_copy_of_the_context_knows_the_item_key_and_brings_only_what_was_set(runner: DefaultRunner) -> None:
    def look(context: Context, _item: int) -> Context:
        copy = context.copy()
        copy.set("key", copy.item_key)
        return copy

    result = run(runner, mapped(look, writes=["key"]), items={"x": 1}, large=bytes(2 * LARGE))
    assert result.final_context["key"] == {"x": "x"}
    assert result.final_context["items"] == {"x": 1}
    assert result.final_context["large"] == bytes(2 * LARGE)


# ---- what they set is collected ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 70_000])
def test_lists_of_every_length_are_as_if_set_at_once(pool: DefaultRunner, size: int) -> None:
    result = run(pool, mapped(double), after_double, items=[*range(size)])
    assert result.final_context["seen"] == [2 * n for n in range(size)]
    assert result.tasks["finish"].keys_read == ("out",)


@pytest.mark.parametrize(
    "make",
    [lambda n: n, lambda n: (n,), lambda n: {n}, lambda n: [n] * LARGE, lambda n: np.full(LARGE, n), lambda n: None],
    ids=["plain", "tuple", "set", "large list", "large array", "none"],
)
@pytest.mark.parametrize("in_dict", [False, True])
def test_values_of_every_kind_are_collected(
    runner: DefaultRunner,
    make: Callable[[int], Any],
    in_dict: bool,  # noqa: FBT001 - a parameter of the table
) -> None:
    def set_it(context: Context, item: int) -> None:
        context.set("out", make(item))

    def read(context: Context) -> None:
        context.set("again", context["out"])

    items = {(n,): n for n in range(3)} if in_dict else [*range(3)]
    result = run(runner, mapped(set_it), (read, {"dependencies": ["set_it"]}), items=items)
    for context in (result.final_context, pickle.loads(pickle.dumps(result)).final_context):
        for key in ("out", "again"):
            found = context[key]
            assert list(found) == (list(items) if in_dict else found)
            values = found.values() if in_dict else found
            assert all(np.array_equal(value, make(n)) for n, value in enumerate(values))
            assert {type(value) for value in values} == {type(make(0))}


def test_collected_values_outlive_the_runner_and_go_into_another_run() -> None:
    def set_it(context: Context, item: int) -> None:
        context.set("out", np.full(LARGE, item))

    def look(context: Context, item: Any) -> None:
        context.set("sum", int(item.sum()))

    with DefaultRunner(workers=1) as runner:
        result = run(runner, mapped(set_it), items=[1, 2])
        again = runner.execute(workflow(mapped(look, over="out")), result.final_context)
    assert [array[0] for array in result.final_context["out"]] == [1, 2]
    with DefaultRunner(workers=1) as runner:
        later = runner.execute(workflow(mapped(look, over="out")), result.final_context)
    assert again.final_context["sum"] == later.final_context["sum"] == [LARGE, 2 * LARGE]


def test_an_empty_place_is_none_in_a_list_and_no_entry_in_a_dict(runner: DefaultRunner) -> None:
    def some(context: Context, item: int) -> None:
        if item > 1:
            context.set("out", item)
        if item == 3:
            context.remove("out")
        context.remove("gone")

    for items, out in (([1, 2, 3], [None, 2, None]), ({"a": 1, "b": 2, "c": 3}, {"b": 2})):
        result = run(runner, mapped(some), items=items, gone=1)
        assert result.final_context.to_dict() == {"items": items, "out": out}


def test_what_was_there_already_counts_where_an_instance_sets_it(runner: DefaultRunner) -> None:
    """Also where branches met, and merging came to that very value."""

    def left(context: Context) -> None:
        context.set("k", [1])

    def right(context: Context) -> None:
        context.set("k", [2])

    def same(context: Context, item: bool) -> dict[str, Any] | None:  # noqa: FBT001 - an item
        return {"k": [1, 2]} if item else None

    result = run(runner, (left, {}), (right, {}), mapped(same, "left", "right"), items=[True, False])
    assert result.final_context["k"] == [[1, 2], None]


def test_collected_values_are_merged_with_those_of_other_branches(runner: DefaultRunner) -> None:
    def set_it(context: Context, item: int) -> None:
        context.set("out", (item,))

    def beside(context: Context) -> None:
        context.set("out", {"c": (3,)})

    def read(context: Context) -> None:
        context.set("seen", context["out"])

    join: Tasks = (read, {"dependencies": ["set_it", "beside"]})
    result = run(runner, mapped(set_it), (beside, {}), join, items={"a": 1, "b": 2})
    assert result.final_context["seen"] == {"a": (1,), "b": (2,), "c": (3,)}


def test_a_collected_value_that_is_handed_on_unchanged_stays(runner: DefaultRunner) -> None:
    def set_it(context: Context, item: int) -> None:
        context.set("out", bytes(LARGE) + bytes([item]))

    def hand_on(context: Context) -> Context:
        return context.copy()

    result = run(runner, mapped(set_it), (hand_on, {"dependencies": ["set_it"]}), items=[1, 2])
    assert [value[-1] for value in result.final_context["out"]] == [1, 2]


@pytest.mark.parametrize("make", [lambda n: n, lambda n: (n,)], ids=["plain", "tuples"])
def test_a_long_list_of_small_values_is_stored_once_and_mapped(pool: DefaultRunner, make: Callable[[int], Any]) -> None:
    def set_it(context: Context, item: int) -> None:
        context.set("out", make(item))

    def read(context: Context) -> None:
        context.set("again", len(context["out"]))

    count = LARGE // 2
    result = run(pool, mapped(set_it), (read, {"dependencies": ["set_it"]}), items=range(count))
    assert result.final_context["again"] == count
    assert (result.tasks["read"].bytes_mapped or 0) > LARGE
    pool.shutdown()
    assert result.final_context["out"] == [make(n) for n in range(count)]


def files_of_the_runner(context: Context) -> None:
    """How many large values are stored now, beyond those that were when it was asked first."""
    folders = Path("/dev/shm").glob(f"cloaca-{os.getppid()}-*")
    count = sum(
        not file.name.startswith(("cloaca.lock", "modules.")) for folder in folders for file in folder.iterdir()
    )
    context.set("files", count - context.get("files", 0))


@pytest.mark.parametrize("follows", [False, True])
def test_large_items_are_freed_as_their_instances_end_those_that_follow_too(
    pool: DefaultRunner,
    follows: bool,  # noqa: FBT001 - a parameter of the table
) -> None:
    def measure(context: Context, item: bytes) -> None:
        context.set("size", len(item))

    def again(context: Context, item: bytes) -> None:
        context.set("same", len(item) == context["size"])

    first: Tasks = (files_of_the_runner, {"id": "first"})
    tasks = [mapped(measure, "first"), *([mapped(again, "measure")] if follows else [])]
    last: Tasks = (files_of_the_runner, {"dependencies": ["again" if follows else "measure"]})
    result = run(pool, first, *tasks, last, items=[bytes(LARGE)] * 3)
    assert result.final_context["size"] == [LARGE] * 3
    assert result.final_context["files"] == 0


def test_a_key_for_each_of_many_items_is_refused_in_the_end(pool: DefaultRunner) -> None:
    def own(context: Context, item: int) -> None:
        context.set(f"result {item}", item)

    with pytest.warns(cloaca.DataflowWarning, match="declare writes="):
        result = run(pool, mapped(own), (nothing, {"dependencies": ["own"]}), items=range(4_500))
    assert result.status == "Failed"
    assert (result.error_message or "").startswith(
        "Task 'own' failed: ValueError: Its 4,500 instances set too many keys"
    )
    assert "Set the same key in each instance" in str(result.tasks["own"].error)
    assert result.tasks["own[7]"].status == "Completed"
    assert result.tasks["nothing"].status == "Skipped"
    assert "result 7" not in result.final_context
    with pytest.warns(cloaca.DataflowWarning, match="declare writes="):
        few = run(pool, mapped(own), items=range(50))
    assert few.final_context["result 7"] == [None] * 7 + [7] + [None] * 42


# ---- no items ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("items", "empty"), [([], []), ({}, {}), (set(), [])])
def test_without_items_dependents_see_empty_collections(runner: DefaultRunner, items: Any, empty: Any) -> None:
    def split(context: Context, item: Any) -> dict[str, Any]:
        context.set("out", item)
        context["other"] = item
        return {"third": item}

    def read(context: Context) -> None:
        context.set("seen", [context["out"], context["other"], context["third"]])

    result = run(runner, mapped(split), (read, {"dependencies": ["split"]}), items=items)
    assert result.status == "Completed"
    assert result.final_context["seen"] == [empty] * 3
    assert list(result.tasks) == ["split", "read"]
    assert result.tasks["split"].usage is not None


# ---- failure -------------------------------------------------------------------------------------------------------


def put(context: Context, item: int) -> None:
    context.set("out", item)


def hidden(context: Context, item: int) -> None:
    """What it sets its code doesn't tell."""
    if item < 0:
        raise ValueError("negative")
    put(context, item)


def picky(context: Context, item: int) -> None:
    if item < 0:
        raise ValueError(f"{item} is negative")
    context.set("out", item)


def test_what_others_set_is_collected_where_some_failed(runner: DefaultRunner) -> None:
    join: Tasks = (finish, {"dependencies": ["picky"]})
    result = run(runner, mapped(picky), join, items=[1, -2, 3, -4])
    assert result.status == "Failed"
    assert result.final_context["seen"] == result.final_context["out"] == [1, None, 3, None]
    assert without_places(result.error_message).split("\n") == [
        "Task 'picky[1]' failed: ValueError: -2 is negative",
        "Task 'picky[3]' failed: ValueError: -4 is negative",
    ]
    task = result.tasks["picky"]
    assert task.status == "Failed"
    assert task.error_message == "2 of 4 instances failed, the first of them picky[1]: ValueError: -2 is negative"
    assert isinstance(task.error, ValueError)
    assert (result.tasks["picky[1]"].status, result.tasks["picky[2]"].status) == ("Failed", "Completed")
    with pytest.raises(cloaca.WorkflowFailedError) as caught:
        result.raise_for_status()
    assert isinstance(caught.value.__cause__, ValueError)


def test_where_all_failed_dependents_are_skipped_and_few_lines_tell(runner: DefaultRunner) -> None:
    join: Tasks = (finish, {"dependencies": ["picky"]})
    result = run(runner, mapped(picky), join, items=[-1] * 50)
    assert result.tasks["finish"].status == "Skipped"
    lines = without_places(result.error_message).split("\n")
    assert lines[9:] == [
        "Task 'picky[9]' failed: ValueError: -1 is negative",
        "... and 40 more failed",
        "Task 'finish' was skipped: none of its dependencies ended well: 'picky' failed",
    ]


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("declared", [False, True])
def test_where_all_failed_the_places_are_there_and_empty(
    runner: DefaultRunner,
    keyed: bool,  # noqa: FBT001 - a parameter of the table
    declared: bool,  # noqa: FBT001 - a parameter of the table
) -> None:
    """Of those that follow item by item, and so were skipped, as well."""

    def after(context: Context, item: int) -> None:
        context.set("after", item)

    first = mapped(hidden, id="first", writes=["out"]) if declared else mapped(picky, id="first")
    join: Tasks = (finish, {"dependencies": ["after"], "trigger_rule": "all_done"})
    items = {"a": -1, "b": -2} if keyed else [-1, -2]
    result = run(runner, first, mapped(after, "first"), join, items=items, out="older", after="older")
    final = result.final_context
    empty: Any = {} if keyed else [None, None]
    assert final["seen"] == final["out"] == final["after"] == empty
    assert [result.tasks[task].status for task in ("first", "after", "finish")] == ["Failed", "Skipped", "Completed"]


def test_a_declared_key_that_nobody_sets_stays_as_it_was_where_an_instance_completed(runner: DefaultRunner) -> None:
    def mind(context: Context, item: int) -> None:
        if item < 0:
            raise ValueError(item)
        if item > 100:
            context.set("out", item)

    def nothing(_context: Context) -> None: ...

    task, last = mapped(mind, writes=["out"]), (nothing, {"dependencies": ["mind"]})
    assert run(runner, task, last, items=[1, -1], out="older").final_context["out"] == "older"
    assert run(runner, task, last, items=[101, -1], out="older").final_context["out"] == [101, None]
    assert run(runner, task, last, items=[-1, -1], out="older").final_context["out"] == [None, None]
    assert run(runner, task, last, items=[], out="older").final_context["out"] == []


def test_of_what_code_does_not_tell_nothing_is_left_without_items_and_the_error_says_what_to_do(
    runner: DefaultRunner,
) -> None:
    join: Tasks = (finish, {"dependencies": ["hidden"], "trigger_rule": "all_done"})
    with pytest.warns(cloaca.DataflowWarning, match=r"declare writes=\[\.\.\.\]"):
        name = workflow(mapped(hidden), join)
    no_items: list[int] = []
    for items in (no_items, [-1]):
        result = runner.execute(name, Context({"items": items}))
        assert result.tasks["finish"].status == "Failed"
        advice = (
            "No instance of task 'hidden' completed, and its code doesn't tell for certain which keys it sets: declare"
        )
        assert advice in (result.error_message or "")
        with pytest.raises(KeyError, match=advice):
            result.final_context["out"]


def test_an_unknown_instance_is_told_with_near_names(runner: DefaultRunner) -> None:
    result = run(runner, mapped(double), items=[1, 2])
    assert "double[1]" in result.tasks
    for id in ("double[2]", "double[01]", "double[", "double]", 3):
        assert id not in result.tasks
    with pytest.raises(KeyError, match=r"double\[1\]"):
        result.tasks["double[2]"]


def outcome(context: Context, name: str) -> str:
    try:
        return context.outcome(name).status
    except KeyError as error:
        return str(error.args[0])


@pytest.mark.parametrize("prefix", ["", "part."])
def test_tasks_after_it_are_told_how_each_instance_ended(runner: DefaultRunner, prefix: str) -> None:
    """So an item that failed is told apart from one that set `None`."""
    with cloaca.WorkflowBuilder("part", check="off"):

        @cloaca.task(for_each="items")
        def first(context: Context, item: int) -> None:
            if item < 0:
                raise ValueError(f"{item} is negative")
            context.set("out", None)

        @cloaca.task(for_each="items", dependencies=["first"])
        def second(context: Context, item: int) -> None:
            near = [outcome(context, name) for name in ("first", f"first['{context.item_key}']")]
            context.set("near", [*near, outcome(context, "first['b']" if item == 1 else "first['a']")])

        @cloaca.task(dependencies=["second"])
        def join(context: Context) -> None:
            context.set("told", [outcome(context, f"{task}['{key}']") for task in ("first", "second") for key in "abc"])
            context.set("error", context.outcome("first['b']").error)
            context.set("reason", context.outcome("second['b']").reason)
            context.set(
                "unknown", [outcome(context, name) for name in ("first['d']", "first[0]", "join['a']", "first[")]
            )

        @cloaca.task(for_each="others", dependencies=["join"])
        def other(context: Context, item: str) -> None:
            context.set("seen", outcome(context, f"first['{item}']"))

    with cloaca.WorkflowBuilder("whole", check="off") as whole:
        whole.add_workflow("part", prefix="part", inputs={"items": "items", "others": "others"})

    given = {"items": {"a": 1, "b": -2, "c": 3}, "others": ["a", "b"]}
    final = runner.execute("whole" if prefix else "part", given).final_context
    assert final[f"{prefix}told"] == ["Completed", "Failed", "Completed", "Completed", "Skipped", "Completed"]
    assert final[f"{prefix}error"] == "ValueError: -2 is negative"
    assert final[f"{prefix}reason"] == f"\"{prefix}first['b']\" failed"
    assert all(text.startswith("No task before this one has the id ") for text in final[f"{prefix}unknown"])
    told = final[f"{prefix}near"]
    assert told["a"][:2] == told["c"][:2] == ["Completed", "Completed"], "its own leader"
    assert all(one[2].startswith("No task before this one has the id \"first['") for one in told.values()), "others'"
    assert final[f"{prefix}seen"] == ["Completed", "Failed"]


def test_of_many_instances_each_can_be_asked_about() -> None:
    def many(context: Context, item: int) -> None:
        if item % 1000 == 0:
            raise ValueError(item)

    def join(context: Context) -> None:
        context.set("failed", [n for n in range(3_000) if context.outcome(f"many[{n}]").status == "Failed"])

    with DefaultRunner(workers=1, executor="processes") as pool:
        result = run(pool, mapped(many), (join, {"dependencies": ["many"]}), items=range(3_000))
    assert result.final_context["failed"] == [0, 1000, 2000]


def test_usage_of_the_task_is_that_of_its_instances(runner: DefaultRunner) -> None:
    result = run(runner, mapped(double), items=[bytes(10)] * 3)
    task, parts = result.tasks["double"], [result.tasks[f"double[{n}]"] for n in range(3)]
    assert task.bytes_written == (parts[0].bytes_written or 0) * 3 + len(parts) * 12
    ends = [part.usage.ended for part in parts if part.usage is not None]
    assert task.usage is not None
    assert task.usage.ended == max(ends)


def test_an_item_of_a_class_that_unpickles_once_names_key_and_writer(pool: DefaultRunner) -> None:
    result = run(pool, mapped(double), items=[Fragile()])
    assert str(result.tasks["double"].error).startswith(
        "The value of key 'items', written by task 'double', can't be rebuilt here"
    )


class Fragile:
    """Can be rebuilt once: in the expansion."""

    def __init__(self, times: int = 0) -> None:
        self.times = times

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuilt, (self.times + 1,)


def rebuilt(times: int) -> Fragile:
    if times > 1:
        raise RuntimeError("no more")
    return Fragile(times)


# ---- tries, limits, seeds ------------------------------------------------------------------------------------------


def flaky(folder: Path) -> Callable[[Context, int], None]:
    """Each item fails once."""

    def flaky(context: Context, item: int) -> None:
        context.set("drawn", random.random())
        if not (folder / str(item)).exists():
            (folder / str(item)).touch()
            raise ConnectionError(f"item {item}")
        context.set("out", item)

    return flaky


def test_each_instance_has_its_own_tries_and_its_own_seed(runner: DefaultRunner, tmp_path: Path) -> None:
    task = mapped(flaky(tmp_path), retry_attempts=2, retry_delay_ms=1)
    result = run(runner, task, items=[1, 2, 3], seed=7)
    assert result.final_context["out"] == [1, 2, 3]
    assert [result.tasks[f"flaky[{n}]"].attempts for n in range(3)] == [2, 2, 2]
    assert result.tasks["flaky"].attempts == 1
    drawn = result.final_context["drawn"]
    assert len(set(drawn)) == 3
    again = run(runner, task, items=[1, 2, 3], seed=7)
    assert again.final_context["drawn"] != drawn  # of the first tries

    for file in tmp_path.iterdir():
        file.unlink()
    assert run(runner, task, items=[1, 2, 3], seed=7).final_context["drawn"] == drawn


def test_a_worker_that_dies_costs_one_instance(pool: DefaultRunner) -> None:
    def die(context: Context, item: int) -> None:
        if item == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        context.set("out", item)

    result = run(pool, mapped(die), (finish, {"dependencies": ["die"]}), items=[1, 2, 3])
    assert result.final_context["seen"] == [1, None, 3]
    error = result.tasks["die[1]"].error
    assert isinstance(error, WorkerDied)
    assert error.task == "die[1]"
    assert isinstance(result.tasks["die"].error, WorkerDied)
    assert result.tasks["die"].error.task == "die[1]"


def test_the_time_limit_is_that_of_one_instance(pool: DefaultRunner) -> None:
    def hang(context: Context, item: int) -> None:
        if item == 2:
            signal.pause()
        context.set("out", item)

    result = run(pool, mapped(hang, timeout=0.5), items=[1, 2, 3])
    assert result.final_context["out"] == [1, None, 3]
    assert isinstance(result.tasks["hang[1]"].error, TaskTimeout)


def test_a_run_that_is_cancelled_keeps_what_ended(pool: DefaultRunner, tmp_path: Path) -> None:
    meeting = pipe(tmp_path / "meeting")

    def hang(context: Context, item: int) -> None:
        context.set("out", item)
        if item == 1:
            meeting.write_text("")
        if item:  # whichever worker comes to the last one, it doesn't end
            signal.pause()

    execution = pool.start(workflow(mapped(hang), (finish, {"dependencies": ["hang"]})), Context({"items": [0, 1, 2]}))
    meeting.read_text()
    execution.cancel()
    result = execution.result()
    assert result.status == "Cancelled"
    assert [result.tasks[name].status for name in ("hang", "hang[1]", "finish")] == ["Cancelled"] * 3
    assert result.final_context["out"] == [0, None, None]


def test_the_first_failure_of_an_instance_ends_a_run_that_is_to_fail_fast(own_runner: DefaultRunner) -> None:
    """And with it, perhaps, a worker that is at an instance."""
    name = workflow(mapped(picky), (finish, {"dependencies": ["picky"]}))
    result = own_runner.execute(name, Context({"items": [-1, *range(1000)]}), fail_fast=True)
    assert result.status == "Failed"
    assert without_places(result.error_message).startswith("Task 'picky[0]' failed: ValueError: -1 is negative\n")
    assert "instances of 'picky' were cancelled" in (result.error_message or "")
    assert result.tasks["picky[999]"].status == "Cancelled"


# ---- item by item --------------------------------------------------------------------------------------------------


def clean(context: Context, item: int) -> None:
    if item < 0:
        raise ValueError("negative")
    context.set("cleaned", item + 1)
    context.set("items", item * 10)


def score(context: Context, item: int) -> None:
    context.set("score", (item, context["cleaned"], context.outcome("clean").status, context.item_key))


def rank(context: Context, item: int) -> None:
    context.set("rank", (item, *context["score"]))


@pytest.mark.parametrize("keyed", [False, True])
def test_a_mapped_task_goes_item_by_item_after_one_over_the_same_key(
    runner: DefaultRunner,
    keyed: bool,  # noqa: FBT001 - a parameter of the table
) -> None:
    items = {"a": 1, "b": -2, "c": 3} if keyed else [1, -2, 3]
    result = run(runner, mapped(clean), mapped(score, "clean"), mapped(rank, "score"), items=items)
    assert result.status == "Failed"
    key_of = (lambda key: key) if keyed else (lambda _: None)
    one, three = (10, 10, 2, "Completed", key_of("a")), (30, 30, 4, "Completed", key_of("c"))
    ranks = result.final_context["rank"]
    assert ranks == ({"a": one, "c": three} if keyed else [one, None, three])
    name = "['b']" if keyed else "[1]"
    assert [result.tasks[f"{task}{name}"].status for task in ("clean", "score", "rank")] == [
        "Failed",
        "Skipped",
        "Skipped",
    ]
    assert result.tasks[f"score{name}"].reason == f"{f'clean{name}'!r} failed"
    assert result.tasks[f"rank{name}"].reason == f"{f'score{name}'!r} was skipped"
    assert [result.tasks[task].status for task in ("clean", "score", "rank")] == ["Failed", "Completed", "Completed"]


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize(
    ("rule", "why", "why_where_one_failed"),
    [
        (
            "all_success",
            "not all of its dependencies ended well: 'second[1]' was skipped",
            "not all of its dependencies ended well: 'second[2]' failed, 'second[1]' was skipped",
        ),
        ("none_skipped", *["some of its dependencies were skipped: 'second[1]' was skipped"] * 2),
        ("none_failed", None, "some of its dependencies failed: 'second[2]' failed"),
        (
            "one_failed",
            "none of its dependencies failed: 'second[0]' ended well, 'second[1]' was skipped",
            None,
        ),
        ("one_success", None, None),
        (None, None, None),
    ],
)
def test_a_mapped_task_counts_for_rules_once_for_each_way_in_which_its_instances_ended(
    runner: DefaultRunner,
    rule: Any,
    why: str | None,
    why_where_one_failed: str | None,
    fails: bool,  # noqa: FBT001 - a parameter of the table
) -> None:
    """Of three instances one was skipped, after the one that it follows had failed; and one has failed, or none."""

    def first(_context: Context, item: int) -> None:
        if item == 2:
            raise ValueError(item)

    def second(_context: Context, item: int) -> None:
        if item == 3 and fails:
            raise ValueError(item)

    def after(_context: Context) -> None: ...

    last: Tasks = (after, {"dependencies": ["second"], "trigger_rule": rule})
    result = run(runner, mapped(first), mapped(second, "first"), last, items=[1, 2, 3])
    assert result.tasks["second"].status == ("Failed" if fails else "Completed")
    assert result.tasks["after"].reason == (why_where_one_failed if fails else why)


def test_what_the_instance_before_removed_is_gone(runner: DefaultRunner) -> None:
    def strip(context: Context, item: int) -> None:
        if item == 1:
            context.remove("shared")

    def look(context: Context, _item: int) -> None:
        context.set("has", ("shared" in context, sorted(context), context.get("".join("shared"))))

    result = run(runner, mapped(strip), mapped(look, "strip"), items=[1, 2], shared=5)
    assert result.final_context["has"] == [(False, ["items"], None), (True, ["items", "shared"], 5)]


def made_up(*parts: object) -> str:
    """A name that doesn't stand in the code of who asks for it."""
    return "".join(map(str, parts))


def _by_name(context: Context) -> object:
    return context["num1"]


def _by_a_made_up_name(context: Context) -> object:
    return context[made_up("num", 1)]


def _with_a_default(context: Context) -> object:
    return context.get(made_up("num", 1), "absent") if made_up("num", 1) in context else "absent"


def _among_all(context: Context) -> object:
    return dict(context.items())[made_up("num", 1)]


def _in_a_copy(context: Context) -> object:
    return context.copy().to_dict().get(made_up("num", 1))


def _beside_a_neighbour(context: Context) -> object:
    context.get(made_up("oth", "er"))  # what it is answered brings along what stands nearby
    return _by_a_made_up_name(context)


@pytest.mark.parametrize(
    "look", [_by_name, _by_a_made_up_name, _with_a_default, _among_all, _in_a_copy, _beside_a_neighbour]
)
@pytest.mark.parametrize("prefix", ["", "part."])
def test_whatever_way_a_follower_looks_it_sees_what_its_own_leaders_set(
    runner: DefaultRunner, look: Callable[[Context], object], prefix: str
) -> None:
    """In later executions too, in which it is sent what it had to ask for in the first one."""
    with cloaca.WorkflowBuilder("part", check="off"):

        @cloaca.task()
        def split(context: Context) -> None:
            context.set("other", 0)
            context.set("num1", "outer")

        @cloaca.task(dependencies=[split], for_each="items")
        def first(context: Context, item: int) -> None:
            context.set("num1", item + 1)

        @cloaca.task(dependencies=[first], for_each="items")
        def between(context: Context, item: int) -> None:
            if item == 2:
                context.remove("num1")

        @cloaca.task(dependencies=[between], for_each="items")
        def follow(context: Context, item: int) -> None:
            context.set("seen", "removed" if item == 2 else look(context))

    with cloaca.WorkflowBuilder("whole", check="off") as whole:
        whole.add_workflow("part", prefix="part", inputs={"items": "items"})

    for _ in range(3):
        result = runner.execute("whole" if prefix else "part", Context({"items": [1, 2, 3]}))
        result.raise_for_status()
        assert result.final_context[f"{prefix}seen"] == [2, "removed", 4]


def test_what_a_follower_had_to_ask_for_is_told_of_each_instance_from_then_on() -> None:
    """Within one run: the first instance that asks teaches what the others are sent."""

    def leave(context: Context, item: int) -> None:
        context.set("num1", item)

    def ask(context: Context, _item: int) -> None:
        context.set("seen", context.get(made_up("num", 1), "absent"))

    items = list(range(1_000))
    with DefaultRunner(workers=1, executor="processes") as pool:
        result = run(pool, mapped(leave), mapped(ask, "leave"), items=items)
    assert result.final_context["seen"] == items


def test_a_follower_starts_before_all_of_its_leader_has_ended(pool: DefaultRunner, tmp_path: Path) -> None:
    meeting = pipe(tmp_path / "meeting")

    def first(context: Context, item: int) -> None:
        context.set("met", meeting.read_text() if item == 0 else "")

    def second(_context: Context, item: int) -> None:
        if item == 1:
            meeting.write_text("hello")

    result = run(pool, mapped(first), mapped(second, "first"), items=[0, 1])
    assert result.final_context["met"] == ["hello", ""]


def test_with_another_key_it_waits_for_the_whole(runner: DefaultRunner) -> None:
    def total(context: Context, item: int) -> None:
        context.set("total", (item, sum(context["out"])))

    result = run(runner, mapped(double), mapped(total, "double", over="out"), items=[1, 2])
    assert result.final_context["total"] == [(2, 6), (4, 6)]


def test_a_follower_of_a_task_without_items_has_none(runner: DefaultRunner) -> None:
    result = run(runner, mapped(clean), mapped(score, "clean"), items=[])
    assert result.status == "Completed"
    assert result.final_context.to_dict() == {"items": [], "cleaned": [], "score": []}


def test_a_follower_is_skipped_where_its_leader_was_never_expanded(runner: DefaultRunner) -> None:
    def start(context: Context) -> None:
        context.set("started", True)

    result = run(runner, (start, {}), mapped(clean, "start"), mapped(score, "start", "clean"), items=3)
    assert result.tasks["score"].status == "Skipped"


def test_a_large_value_that_was_replaced_is_there_for_those_who_follow(pool: DefaultRunner) -> None:
    """The first instance replaces a large value: the second one's follower sees the old one, long after."""

    def load(context: Context) -> None:
        context.set("large", bytes(2 * LARGE))

    def first(context: Context, item: int) -> None:
        if item == 0:
            context.set("large", b"small")

    def second(context: Context, _item: int) -> None:
        context.set("size", len(context["".join("large")]))

    result = run(pool, (load, {}), mapped(first, "load"), mapped(second, "first"), items=[0, 1])
    assert result.final_context["size"] == [5, 2 * LARGE]


# ---- whatever the order --------------------------------------------------------------------------------------------


def test_the_answer_is_the_same_with_any_number_of_workers() -> None:
    def jumble(context: Context, item: int) -> None:
        keys = ["a", "b", "c", "d"]
        random.shuffle(keys)
        for key in keys:
            context.set(key, (item, random.random()))

    tasks = mapped(jumble, writes=["a", "b", "c", "d"]), mapped(partial(rank_all), "jumble", id="rank_all")
    runners = [*(DefaultRunner(workers=n, executor="processes") for n in (1, 2, 4)), DefaultRunner(executor="serial")]
    found = []
    for runner in runners:
        with runner:
            result = run(runner, *tasks, items=[*range(40)], seed=11)
            found.append(list(result.final_context.items()))
    assert all(one == found[0] for one in found)


def rank_all(context: Context, item: int) -> None:
    context.set("e", (item, context["a"], random.random()))


# ---- rules and callbacks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [{"trigger_rule": "all_done"}, {"trigger_rules": cloaca.always()}])
def test_what_goes_item_by_item_has_no_rule_of_its_own(rule: dict[str, Any]) -> None:
    with pytest.raises(WorkflowError, match=r"'picky' goes item by item after 'double'.* Leave out its trigger rule"):
        workflow(mapped(double), mapped(picky, "double", **rule))


@pytest.mark.parametrize(
    ("rule", "items", "status"),
    [
        ("all_success", [1, 2], "Completed"),
        ("all_success", [1, -2], "Skipped"),
        ("one_failed", [1, -2], "Completed"),
        ("one_failed", [1, 2], "Skipped"),
        ("all_failed", [-1, -2], "Completed"),
        ("all_failed", [1, -2], "Skipped"),
        ("none_failed", [], "Completed"),
        (None, [1, -2], "Completed"),
        (None, [-1, -2], "Skipped"),
        (None, [], "Completed"),
    ],
)
def test_rules_count_what_became_of_instances(runner: DefaultRunner, rule: Any, items: list[int], status: str) -> None:
    def after(context: Context) -> None: ...

    result = run(runner, mapped(picky), (after, {"dependencies": ["picky"], "trigger_rule": rule}), items=items)
    assert result.tasks["after"].status == status


def test_a_condition_on_values_is_asked_before_the_items_are_looked_at(runner: DefaultRunner) -> None:
    condition = cloaca.context_value("items", "not_exists")
    result = run(runner, (picky, {"for_each": "items", "trigger_rules": condition}), items=[1])
    assert result.tasks["picky"].status == "Skipped"
    assert [*result.tasks] == ["picky"]


def test_callbacks_are_told_of_each_instance_and_not_of_the_whole(runner: DefaultRunner) -> None:
    told: list[tuple[object, ...]] = []
    options = {
        "for_each": "items",
        "on_success": lambda task, context: told.append((task, context.to_dict())),
        "on_failure": lambda task, error, context: told.append((task, error, context.to_dict())),
    }
    run(runner, (double, options), items=[1, 2])
    given = {"items": [1, 2]}
    assert sorted(told, key=repr) == [("double[0]", {**given, "out": 2}), ("double[1]", {**given, "out": 4})]
    told.clear()
    run(runner, (picky, options), items=[-1])
    assert told == [("picky[0]", "ValueError: -1 is negative", {"items": [-1]})]


def test_a_callback_of_an_instance_sees_what_the_one_before_it_set(runner: DefaultRunner) -> None:
    told: list[tuple[object, ...]] = []

    def note(task: str, context: Context) -> None:
        told.append((task, context.get("clean"), context.outcome("clean").status))

    def score(context: Context, item: int) -> None: ...

    def clean(context: Context, item: int) -> None:
        context.set("clean", 10 * item)

    run(runner, mapped(clean), mapped(score, "clean", on_success=note), items=[1, 2])
    assert sorted(told) == [("score[0]", 10, "Completed"), ("score[1]", 20, "Completed")]


def test_a_large_value_that_instances_set_as_they_found_it_is_their_own(runner: DefaultRunner) -> None:
    """What they found goes when what they set has taken its place."""
    with cloaca.WorkflowBuilder("large") as whole:

        @cloaca.task()
        def fill(context: Context) -> None:
            context["items"], context["array"] = [1, 2], np.arange(1 << 18)

        @cloaca.task(dependencies=[fill], for_each="items")
        def keep(context: Context, item: int) -> None:
            context["array"] = context["array"]

        @cloaca.task(dependencies=[keep])
        def wait(context: Context) -> None:
            context["waited"] = True

        @cloaca.task(dependencies=[wait])
        def look(context: Context) -> None:
            context["last"] = [int(array[-1]) for array in context["array"]]

    assert runner.execute(whole).final_context["last"] == [(1 << 18) - 1] * 2
