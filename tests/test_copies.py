"""A workflow as part of another: names, keys passed in, rules; and that a copy does what the workflow does alone."""

import pickle
from collections.abc import Callable, Mapping
from itertools import count
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.reference import CONFLICT, Tale, deterministic, tales
from tests.test_merge_properties import KEY, Lowest, agree, on_conflict_of, perform, read, rule_of

import cloaca
from cloaca import (
    Context,
    DefaultRunner,
    EncodeError,
    MergeConflict,
    UnknownWorkflowError,
    Workflow,
    WorkflowBuilder,
    WorkflowError,
    WorkflowResult,
    task,
)
from cloaca.history.history import History
from cloaca.merge.rules import Rules
from cloaca.sending.captures import Captures
from cloaca.tasks.contents import Contents
from cloaca.tasks.context import of_versions, over
from cloaca.tasks.scope import Scope
from cloaca.values.holder import Nowhere
from cloaca.wire.messages import Slice
from cloaca.workflows.passed import homes, passing

_names = (f"reuse {number}" for number in count())


def builder(name: str = "", **options: Any) -> WorkflowBuilder:
    """Some workflows here have mistakes on purpose: nobody is warned of them."""
    return WorkflowBuilder(name or next(_names), **{"check": "off", **options})


def execute(runner: DefaultRunner, whole: WorkflowBuilder, /, seed: int | None = None, **inputs: Any) -> WorkflowResult:
    return runner.execute(whole.name, Context(inputs), seed=seed)


def region(**options: Any) -> Workflow:
    """Counts rows, and sums them up; two branches in between."""
    with builder("region", **options) as made:

        @task()
        def load(context: Context) -> None:
            context["count"] = len(context["rows"])

        @task(dependencies=[load])
        def double(context: Context) -> None:
            context["rows"] = [*context["rows"], 2]

        @task(dependencies=[load])
        def treble(context: Context) -> None:
            context["rows"] = [*context["rows"], 3]

        @task(dependencies=[double, treble])
        def total(context: Context) -> None:
            context["total"] = sum(context["rows"])
            context["began"] = context.outcome("load").status
            context["keys"] = sorted(context)

    return made.build()


# ---- names ---------------------------------------------------------------------------------------------------------


def test_two_copies_have_tasks_and_keys_of_their_own(runner: DefaultRunner) -> None:
    with builder() as whole:
        north = whole.add_workflow(region(), prefix="north", inputs={"rows": "north_rows"})
        south = whole.add_workflow(region(), prefix="south", inputs={"rows": "south_rows"})

        @task(dependencies=[*north.leaves, "south.total"])
        def report(context: Context) -> None:
            context["report"] = context["north.total"] + context["south.total"]

    result = execute(runner, whole, north_rows=[10], south_rows=[100, 200])
    assert result.status == "Completed"
    assert result.final_context.to_dict() == {
        "north_rows": [10],
        "south_rows": [100, 200],
        "north.count": 1,
        "north.rows": [10, 2, 3],
        "north.total": 15,
        "north.began": "Completed",
        "north.keys": ["began", "count", "rows", "total"],
        "south.count": 2,
        "south.rows": [100, 200, 2, 3],
        "south.total": 305,
        "south.began": "Completed",
        "south.keys": ["began", "count", "rows", "total"],
        "report": 320,
    }
    assert [*result.tasks] == [*north.ids, *south.ids, "report"]
    assert result.tasks["north.double"].keys_read == ("north.rows",)
    assert result.merges == {"north.rows": "list", "south.rows": "list"}
    assert (north.roots, north.leaves) == (("north.load",), ("north.total",))


def test_a_copy_is_named_in_three_ways() -> None:
    other = region()
    with builder() as open_one:
        task(id="only")(_nothing)
    with builder() as whole:
        copies = [whole.add_workflow(other, prefix="a"), whole.add_workflow("region", prefix="b")]
        copies.append(whole.add_workflow(open_one, prefix="c"))
    assert [copy.ids for copy in copies] == [
        ("a.load", "a.double", "a.treble", "a.total"),
        ("b.load", "b.double", "b.treble", "b.total"),
        ("c.only",),
    ]
    assert [one.id for one in whole.build().tasks] == [id_ for copy in copies for id_ in copy.ids]


def test_what_is_returned_never_changes() -> None:
    copy = builder().add_workflow(region(), prefix="north")
    with pytest.raises(AttributeError):
        copy.ids = ()  # type: ignore[misc]
    assert {copy: 1}[copy] == 1


def test_a_copy_may_be_added_before_what_it_depends_on(runner: DefaultRunner) -> None:
    with builder() as whole:
        whole.add_workflow(region(), prefix="north", dependencies=["fetch"], inputs={"rows": "fetched"})

        @task()
        def fetch(context: Context) -> None:
            context["fetched"] = [1]

    assert execute(runner, whole).final_context["north.total"] == 6
    assert whole.build().topological_sort()[0] == "fetch"


def test_a_copy_in_a_copy(runner: DefaultRunner) -> None:
    with builder() as middle:
        inner = middle.add_workflow(region(), prefix="in", inputs={"rows": "given"})

        @task(dependencies=[*inner.leaves])
        def close(context: Context) -> None:
            context["closed"] = context["in.total"], context.outcome("in.load").status, sorted(context)

    with builder() as whole:

        @task()
        def fetch(context: Context) -> None:
            context["fetched"] = [7]

        outer = whole.add_workflow(middle, prefix="out", dependencies=[fetch], inputs={"given": "fetched"})

    result = execute(runner, whole)
    keys = ["given", "in.began", "in.count", "in.keys", "in.rows", "in.total"]
    assert result.final_context["out.closed"] == (12, "Completed", keys)
    assert result.final_context["out.in.keys"] == ["began", "count", "rows", "total"]
    assert outer.ids == ("out.in.load", "out.in.double", "out.in.treble", "out.in.total", "out.close")
    assert [copy.prefix for copy in whole.build().copies] == ["out.", "out.in."]


def test_what_is_passed_in_goes_before_what_a_copy_passes_on(runner: DefaultRunner) -> None:
    with builder() as middle:
        middle.add_workflow(region(), prefix="in", inputs={"rows": "given"})
    with builder() as whole:
        whole.add_workflow(middle, prefix="out", inputs={"given": "a", "in.rows": "b"})
    assert execute(runner, whole, a=[1], b=[2]).final_context["out.in.total"] == 7
    assert execute(runner, whole, a=[1]).final_context["out.in.total"] == 6


# ---- what a copy sees ----------------------------------------------------------------------------------------------


def test_a_copy_sees_no_other_key_and_no_other_task(runner: DefaultRunner) -> None:
    with builder() as other:

        @task()
        def look(context: Context) -> None:
            context["seen"] = (sorted(context), context.get("rows"), "rows" in context, len(context), str(context))
            try:
                context.outcome("fetch")
            except KeyError as error:
                context["outcome"] = error.args[0]

    with builder() as whole:

        @task()
        def fetch(context: Context) -> None:
            context["rows"] = [1]

        whole.add_workflow(other, prefix="north", dependencies=[fetch])

    result = execute(runner, whole, more=1)
    assert result.final_context["north.seen"] == ([], None, False, 0, "Context({})")
    assert result.final_context["north.outcome"] == "No task before this one has the id 'fetch'"


def test_a_key_under_the_prefix_is_a_key_of_the_copy(runner: DefaultRunner) -> None:
    """Whoever set it: the input, or a task before it. It goes before what is passed in."""
    with builder() as whole:
        whole.add_workflow(region(), prefix="north", inputs={"rows": "unused"})
    result = runner.execute(whole.name, Context({"north.rows": [5], "unused": [6]}))
    assert result.final_context["north.total"] == 10


def test_a_missing_key_is_named_as_the_code_names_it_and_in_full(runner: DefaultRunner) -> None:
    with builder() as other:

        @task()
        def first(context: Context) -> None:
            context["total"] = 1

        @task(dependencies=[first])
        def second(context: Context) -> None:
            context["totl"]

    with builder() as whole:
        whole.add_workflow(other, prefix="north")
    assert execute(runner, whole).tasks["north.second"].error_message == (
        "KeyError: \"Key not found: totl. The nearest names are 'total'. In the whole workflow it is 'north.totl'; "
        'add_workflow(inputs=...) passes keys in."'
    )


def test_every_way_to_change_a_context_ends_under_the_prefix(runner: DefaultRunner) -> None:
    with builder() as other:

        @task()
        def first(context: Context) -> Mapping[str, int]:
            context.update_from_dict({"a": 1, "b": 2, "c": 3, "gone": 4})
            context.update("a", 10)
            context.insert("d", 5)
            context.delete("gone")
            return {"e": 6}

        @task(dependencies=[first])
        def second(context: Context) -> Context:
            twin = context.copy()
            twin["f"] = 7
            del twin["b"]
            twin["pickled"] = pickle.loads(pickle.dumps(context)).to_dict()
            del context["c"]
            return twin

    with builder() as whole:
        whole.add_workflow(other, prefix="north")
    assert execute(runner, whole).final_context.to_dict() == {
        **{f"north.{key}": value for key, value in {"a": 10, "d": 5, "e": 6}.items()},
        "north.c": 3,  # it is set again by what is returned
        "north.f": 7,
        "north.pickled": {"a": 10, "b": 2, "c": 3, "d": 5, "e": 6},
    }


def test_reads_are_sent_along_whether_said_or_not(runner: DefaultRunner) -> None:
    with builder() as other:

        @task()
        def put(context: Context) -> None:
            context.update_from_dict({f"k{number}": number for number in range(40)})

        @task(dependencies=[put], reads=["k1", "k2"])
        def told(context: Context) -> None:
            context["told"] = sum(context[f"k{number}"] for number in (1, 2, 3))

        @task(dependencies=[told])
        def computed(context: Context) -> None:
            context["computed"] = sum(context[f"k{number}"] for number in range(40)) + context["told"]

    with builder() as whole:
        whole.add_workflow(other, prefix="north")
    for _ in range(3):  # later on, what was asked for comes along
        assert execute(runner, whole).final_context["north.computed"] == 786
    assert whole.build().tasks[1].reads == ("north.k1", "north.k2")


def test_the_keys_that_code_mentions_are_sent_along_under_their_full_names() -> None:
    with builder() as whole:
        whole.add_workflow(region(), prefix="x")
    captured = Captures(whole.build(), frozenset(), None, lambda task: task).now(Nowhere())
    assert captured.work[0].reads == ("x.rows", "x.count")
    assert captured.work[0].prefix == "x."


def test_what_a_slice_covers_and_lacks_is_absent() -> None:
    asked: list[tuple[str, ...]] = []

    def ask(keys: tuple[str, ...], _rest: bool, _outcomes: bool) -> Slice:  # noqa: FBT001 - the shape of Ask
        asked.append(keys)
        return Slice({})

    contents = Contents(Slice({}), covered=frozenset({"x.a", "b"}), ask=ask)
    contents.enter("x.")
    context = over(contents)
    assert [context.get(key) for key in ("a", "b", "x.a")] == [None] * 3
    assert asked == [("x.b",), ("x.x.a",)]


def test_a_value_that_cannot_be_sent_is_told_under_the_name_in_the_code(runner: DefaultRunner) -> None:
    with builder() as other:

        @task()
        def fail(context: Context) -> None:
            context["numbers"] = (number for number in range(3))

    with builder() as whole:
        whole.add_workflow(other, prefix="north")
    error = execute(runner, whole).tasks["north.fail"].error
    assert isinstance(error, EncodeError)
    assert error.key == "numbers"


# ---- what is passed in ---------------------------------------------------------------------------------------------


def test_what_is_passed_in_stays_what_it_was_where_the_copy_began(runner: DefaultRunner) -> None:
    with builder() as other:

        @task()
        def begin(context: Context) -> None:
            context["began"] = True

        @task(dependencies=[begin])
        def late(context: Context) -> None:
            context["late"] = context["rows"]

    with builder() as whole:

        @task()
        def fetch(context: Context) -> None:
            context["fetched"] = [1]

        @task(dependencies=[fetch])
        def aside(context: Context) -> None:
            context["fetched"] = [2]

        north = whole.add_workflow(other, prefix="north", dependencies=[fetch], inputs={"rows": "fetched"})
        south = whole.add_workflow(other, prefix="south", dependencies=[aside], inputs={"rows": "fetched"})

        @task(dependencies=[*north.leaves, *south.leaves])
        def after(context: Context) -> None:
            context["after"] = context["north.late"], context["south.late"], context["fetched"], "north.rows" in context

    assert execute(runner, whole).final_context["after"] == ([1], [2], [2], False)


def test_a_copy_that_sets_or_removes_what_is_passed_in_changes_its_own_key(runner: DefaultRunner) -> None:
    with builder() as other:

        @task()
        def change(context: Context) -> None:
            context["a"] = context["a"] + 1
            context["same"] = context["same"]
            context.remove("b")

        @task(dependencies=[change])
        def look(context: Context) -> None:
            context["seen"] = context.to_dict()

    with builder() as whole:
        whole.add_workflow(other, prefix="x", inputs={"a": "a", "b": "b", "same": "same", "c": "c", "none": "none"})
    result = execute(runner, whole, a=1, b=2, same=3, c=4)
    assert result.final_context["x.seen"] == {"a": 2, "same": 3, "c": 4}
    assert result.final_context.to_dict() == {
        "a": 1,
        "b": 2,
        "same": 3,
        "c": 4,
        "x.a": 2,
        "x.seen": {"a": 2, "same": 3, "c": 4},
    }


def test_what_several_tasks_left_is_passed_in_merged_by_the_rule_of_its_own_key(runner: DefaultRunner) -> None:
    with builder(merge={"n": cloaca.merge.sum, "m": cloaca.merge.max}) as other:

        @task()
        def one(context: Context) -> None:
            context["n"] = context["n"] + 1

        @task()
        def two(context: Context) -> None:
            context["n"] = context["n"] + 2

        @task(dependencies=[one, two])
        def look(context: Context) -> None:
            context["seen"] = context["n"], context["parts"]

    with builder(merge={"all": cloaca.merge.max, "parts": cloaca.merge.by_task}) as whole:

        @task()
        def low(context: Context) -> None:
            context["all"] = context["parts"] = 10

        @task()
        def high(context: Context) -> None:
            context["all"] = context["parts"] = 20

        copy = whole.add_workflow(other, prefix="x", dependencies=[low, high], inputs={"n": "all", "parts": "parts"})

        @task(dependencies=[*copy.leaves])
        def after(context: Context) -> None:
            context["all"] = 0
            context["after"] = context["x.n"]

    result = execute(runner, whole)
    assert result.final_context["x.seen"] == (23, {"low": 10, "high": 20})
    assert result.final_context["x.n"] == result.final_context["after"] == 23


def test_a_conflict_is_passed_in_and_settled_inside(runner: DefaultRunner) -> None:
    with builder() as other:

        @task()
        def look(context: Context) -> None:
            context["conflict"] = sorted(context.conflicts()["n"].writers)
            context["n"] = 3

        @task()
        def fail(context: Context) -> None:
            context["n"]

    with builder() as whole:

        @task()
        def one(context: Context) -> None:
            context["all"] = 1

        @task()
        def two(context: Context) -> None:
            context["all"] = 2

        whole.add_workflow(other, prefix="x", dependencies=[one, two], inputs={"n": "all"})

    result = execute(runner, whole)
    error = result.tasks["x.fail"].error
    assert isinstance(error, MergeConflict)
    assert (error.key, error.writers) == ("n", ("one", "two"))
    assert result.final_context["x.conflict"] == ["one", "two"]
    assert result.final_context["x.n"] == 3
    assert list(result.conflicts) == ["all"]


def test_large_values_are_passed_in_without_a_copy_and_outlive_what_supersedes_them() -> None:
    with builder() as other:

        @task()
        def begin(context: Context) -> None:
            context["began"] = int(context["table"][0])

        @task(dependencies=[begin])
        def replace(context: Context) -> None:
            context["table"] = context["table"] + 1

        @task(dependencies=[replace])
        def end(context: Context) -> None:
            context["ended"] = int(context["table"][0])

    with builder() as whole:

        @task()
        def fetch(context: Context) -> None:
            context["array"] = np.ones(50_000)

        @task(dependencies=[fetch])
        def aside(context: Context) -> None:
            context["array"] = np.zeros(50_000)

        one = whole.add_workflow(other, prefix="one", dependencies=[fetch], inputs={"table": "array"})
        two = whole.add_workflow(other, prefix="two", dependencies=[*one.leaves, aside], inputs={"table": "array"})

        @task(dependencies=[*two.leaves])
        def after(context: Context) -> None:
            context["sums"] = [float(context[key].sum()) for key in ("array", "one.table", "two.table")]

    with DefaultRunner(workers=2, executor="processes") as runner:
        result = execute(runner, whole)
    assert result.final_context["sums"] == [0, 100_000, 50_000]
    assert (result.final_context["one.ended"], result.final_context["two.ended"]) == (2, 1)
    assert result.tasks["one.begin"].bytes_written is not None
    assert result.tasks["one.begin"].bytes_written < 1000  # not the array


def test_large_values_that_several_tasks_left_are_held_by_the_result() -> None:
    with builder() as other:

        @task()
        def one(context: Context) -> None:
            context["table"] = {**context["table"], "one": 1}

        @task()
        def two(context: Context) -> None:
            context["table"] = {**context["table"], "two": 2}

    with builder() as whole:

        @task()
        def left(context: Context) -> None:
            context["tables"] = {"left": np.ones(50_000)}

        @task()
        def right(context: Context) -> None:
            context["tables"] = {"right": np.ones(50_000)}

        copy = whole.add_workflow(other, prefix="x", dependencies=[left, right], inputs={"table": "tables"})

        @task(dependencies=[*copy.leaves])
        def drop(context: Context) -> None:
            context["tables"] = None

    with DefaultRunner(workers=2, executor="processes") as runner:
        result = execute(runner, whole)
    assert sorted(result.final_context["x.table"]) == ["left", "one", "right", "two"]


def _two_lists(whole: WorkflowBuilder, key: str) -> list[str]:
    """Two tasks that leave a list of two."""
    with whole:
        for number in (1, 2):
            task(id=f"{key} {number}")(lambda context, number=number: context.set(key, [number]))
    return [f"{key} 1", f"{key} 2"]


def test_to_set_what_was_passed_in_is_no_write_also_where_nobody_looked(runner: DefaultRunner) -> None:
    with builder() as other:

        @task()
        def same(context: Context) -> None:
            context["rows ".strip()] = [1, 2]

    whole = builder()
    before = _two_lists(whole, "lists")
    whole.add_workflow(other, prefix="x", dependencies=before, inputs={"rows": "lists"})
    with whole:
        pass
    assert execute(runner, whole).final_context.to_dict() == {"lists": [1, 2]}


def test_to_set_what_was_merged_is_no_write_also_where_nobody_looked(runner: DefaultRunner) -> None:
    other = builder()
    before = _two_lists(other, "rows")
    with other:

        @task(dependencies=before)
        def same(context: Context) -> None:
            context["rows ".strip()] = [1, 2]

    with builder() as whole:
        whole.add_workflow(other, prefix="x")
    assert execute(runner, whole).merges == {"x.rows": "list"}


def test_copies_that_get_several_values_each_merge_their_own(runner: DefaultRunner) -> None:
    with builder() as other:

        @task()
        def look(context: Context) -> None:
            context["seen"] = context["rows"]

    whole = builder()
    before = [*_two_lists(whole, "a"), *_two_lists(whole, "b")]
    with whole:
        task(id="c", dependencies=["b 2"])(lambda context: context.set("b", [*context["b"], 3]))
        whole.add_workflow(other, prefix="x", dependencies=before, inputs={"rows": "a"})
        whole.add_workflow(other, prefix="y", dependencies=[*before, "c"], inputs={"rows": "b"})
    final = execute(runner, whole).final_context
    assert (final["x.seen"], final["y.seen"]) == ([1, 2], [1, 2, 3])


def test_what_is_kept_by_task_is_passed_in_so_even_from_one(runner: DefaultRunner) -> None:
    with builder() as other:

        @task()
        def look(context: Context) -> None:
            context["seen"] = context["given"]

    with builder(merge={"parts": cloaca.merge.by_task}) as whole:

        @task()
        def one(context: Context) -> None:
            context["parts"] = 1

        whole.add_workflow(other, prefix="x", dependencies=[one], inputs={"given": "parts"})
    assert execute(runner, whole).final_context["x.seen"] == {"one": 1}


# ---- rules, conditions, options ------------------------------------------------------------------------------------


def test_merge_rules_come_along_and_tasks_keep_their_names_in_them(runner: DefaultRunner) -> None:
    with builder(merge={"n": cloaca.merge.sum, "parts": cloaca.merge.by_task}) as other:

        @task()
        def one(context: Context) -> None:
            context["n"] = context["parts"] = 1

        @task()
        def two(context: Context) -> None:
            context["n"] = context["parts"] = 2

        @task(dependencies=[one, two])
        def look(context: Context) -> None:
            context["seen"] = context["n"], context["parts"]["one"]

    with builder(merge={"all": cloaca.merge.sum}) as whole:
        whole.add_workflow(other, prefix="x")
        whole.add_workflow(other, prefix="y")
    result = execute(runner, whole)
    assert result.final_context["x.seen"] == (3, 1)
    assert result.final_context["y.parts"] == {"one": 1, "two": 2}
    assert [*whole.build().merge] == ["all", "x.n", "x.parts", "y.n", "y.parts"]


def test_what_settles_a_conflict_that_was_passed_in(runner: DefaultRunner) -> None:
    def reading(context: Context) -> None:
        context["seen"] = context["rows"]

    def whole(**options: Any) -> WorkflowBuilder:
        with builder("part", check="off") as part:
            cloaca.task(id="a")(reading)
        with builder("whole", check="off", **options) as made:
            cloaca.task(id="one")(lambda context: context.set("q", 1))
            cloaca.task(id="two")(lambda context: context.set("q", 2))
            made.add_workflow(part, prefix="x", inputs={"rows": "q"}, dependencies=["one", "two"])
        return made

    error = execute(runner, whole()).tasks["x.a"].error
    assert "Key 'rows' has 2 concurrent values" in str(error)
    assert "passed in from key 'q' of the whole workflow" in str(error)
    assert "merge={'q': cloaca.merge.sum}" in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert execute(runner, whole(merge={"q": cloaca.merge.sum})).final_context["x.seen"] == 3


@pytest.mark.parametrize("on_conflict", [None, "first", "last"])
def test_what_is_in_conflict_whatever_on_conflict_says_is_so_in_a_copy(runner: DefaultRunner, on_conflict: Any) -> None:
    """Also in a copy of the copy, and where a branch in there has set it."""

    def picky(base: Any, values: Any) -> Any:
        raise ValueError("no")

    with builder(on_conflict=on_conflict) as innermost:
        task(id="look")(lambda context: context.set("seen", context["rows"]))
    with builder(on_conflict=on_conflict) as part:
        task(id="look")(lambda context: context.set("seen", context["rows"]))
        task(id="change")(lambda context: context.set("rows", 3))
        task(id="other")(lambda context: context.set("rows", 4))
        task(id="join", dependencies=["change", "other"])(lambda context: context.set("joined", context["rows"]))
        part.add_workflow(innermost, prefix="y", inputs={"rows": "rows"})
    with builder(on_conflict=on_conflict, merge={"q": picky}) as whole:
        task(id="one")(lambda context: context.set("q", 1))
        task(id="two")(lambda context: context.set("q", 2))
        whole.add_workflow(part, prefix="x", inputs={"rows": "q"}, dependencies=["one", "two"])
    result = execute(runner, whole)
    assert set(result.conflicts) == ({"q", "x.rows"})
    for task_id in ("x.look", "x.y.look"):
        assert "combine (ValueError: no)" in str(result.tasks[task_id].error)
    assert result.tasks["x.join"].status == "Failed"


def test_a_task_outside_that_is_called_like_one_inside_has_an_entry_of_its_own(runner: DefaultRunner) -> None:
    with builder(merge={"score": cloaca.merge.by_task}) as part:
        task(id="clean")(lambda context: context.set("score", 1))
        task(id=".clean")(lambda context: context.set("score", 2))
    with builder() as whole:
        task(id="clean")(lambda context: context.set("x.score", 3))
        task(id="other")(lambda context: context.set("x.score", 4))
        whole.add_workflow(part, prefix="x", dependencies=["clean", "other"])
    assert execute(runner, whole).final_context["x.score"] == {"clean": 1, ".clean": 2, "..clean": 3, "other": 4}


def test_a_conflict_inside_is_named_as_the_code_names_it_and_in_full_outside(runner: DefaultRunner) -> None:
    with builder() as other:

        @task()
        def one(context: Context) -> None:
            context["n"] = 1

        @task()
        def two(context: Context) -> None:
            context["n"] = 2

        @task(dependencies=[one, two])
        def look(context: Context) -> None:
            context["n"]

    with builder() as whole:
        whole.add_workflow(other, prefix="x")
    result = execute(runner, whole)
    error = result.tasks["x.look"].error
    assert isinstance(error, MergeConflict)
    assert (error.key, error.writers) == ("n", ("x.one", "x.two"))
    assert list(result.conflicts) == ["x.n"]


def test_the_first_tasks_of_a_copy_fail_where_branches_disagree_before_it(runner: DefaultRunner) -> None:
    with builder(on_conflict="fail") as other:
        task(id="only")(_nothing)
    with builder(on_conflict="fail") as whole:

        @task()
        def one(context: Context) -> None:
            context["n"] = 1

        @task()
        def two(context: Context) -> None:
            context["n"] = 2

        whole.add_workflow(other, prefix="x", dependencies=[one, two])
    error = execute(runner, whole).tasks["x.only"].error
    assert isinstance(error, MergeConflict)
    assert error.key == "n"


def test_conditions_come_along(runner: DefaultRunner) -> None:
    with builder() as other:

        @task()
        def score(context: Context) -> None:
            context["score"] = context["base"] + 1

        is_high = cloaca.context_value("score", ">", 10)

        @task(dependencies=[score], trigger_rules=cloaca.all_of(cloaca.task_success(score), is_high))
        def high(context: Context) -> None:
            context["is"] = "high"

        @task(dependencies=[score], trigger_rules=cloaca.context_value("base", "less_than", 10))
        def low(context: Context) -> None:
            context["is"] = "low"

        @task(dependencies=[high, low], trigger_rules=cloaca.any_of(cloaca.task_skipped(high)))
        def end(context: Context) -> None:
            context["skipped"] = context.outcome("high").reason

    with builder() as whole:
        whole.add_workflow(other, prefix="x", inputs={"base": "low"})
        whole.add_workflow(other, prefix="y", inputs={"base": "high"})
    result = execute(runner, whole, low=1, high=20)
    reason = (
        "its rule all_of(task_success('x.score'), context_value('x.score', 'greater_than', 10)) doesn't hold: "
        "'x.score' is 2"
    )
    assert (result.final_context["x.is"], result.final_context["y.is"]) == ("low", "high")
    assert result.tasks["x.high"].reason == result.final_context["x.skipped"] == reason
    assert result.tasks["y.end"].status == "Skipped"


def test_the_rule_for_all_tasks_is_that_of_the_workflow_that_was_added() -> None:
    with builder(trigger_rule="all_done") as other:
        task(id="one")(_nothing)
    with builder() as plain:
        task(id="one")(_nothing)
    with builder(trigger_rule="all_success") as whole:
        whole.add_workflow(other, prefix="x")
        whole.add_workflow(plain, prefix="y")
    assert [one.trigger_rule for one in whole.build().tasks] == ["all_done", None]


def test_retries_and_limits_come_along(runner: DefaultRunner) -> None:
    with builder() as other:

        @task(retry_attempts=2, retry_delay_ms=0, timeout=30)
        def fail(context: Context) -> None:
            raise ValueError("no")

    with builder() as whole:
        whole.add_workflow(other, prefix="x")
    assert execute(runner, whole).tasks["x.fail"].attempts == 2
    assert whole.build().tasks[0].timeout == 30


def test_copies_draw_numbers_of_their_own(runner: DefaultRunner) -> None:
    with builder() as other:

        @task()
        def draw(context: Context) -> None:
            import random

            context["drawn"] = random.random(), context.seed

    with builder() as whole:
        whole.add_workflow(other, prefix="x")
        whole.add_workflow(other, prefix="y")
    one, again = (execute(runner, whole, seed=1).final_context for _ in range(2))
    assert one == again
    assert one["x.drawn"] != one["y.drawn"]


# ---- what doesn't go together --------------------------------------------------------------------------------------


def _nothing(context: Context) -> None: ...


BAD: dict[str, tuple[Mapping[str, Any], str]] = {
    "no prefix": ({"prefix": ""}, "prefix=...) is a string that isn't empty, and '' is not"),
    "no text": ({"prefix": 3}, "prefix=...) is a string that isn't empty, and 3 is not"),
    "lone surrogates": ({"prefix": "\ud800"}, "prefix=...) is a string"),
    "separator": ({"prefix": "a.b"}, "has no '.' in it, as that stands between"),
    "no mapping": ({"inputs": ["rows"]}, "maps keys to keys"),
    "no key": ({"inputs": {3: "rows"}}, "maps keys, which are strings, to keys; 3 is none"),
    "no source": ({"inputs": {"rows": None}}, "to keys; None is none"),
    "own key": ({"inputs": {"rows": "x.total"}}, "reads 'rows' from 'x.total', a key of the copy itself"),
    "one dependency": ({"dependencies": "load"}, "add_workflow(dependencies=...) takes a list of ids or functions"),
    "no dependency": ({"dependencies": [3]}, "Dependency 0 must be"),
    "no workflow": ({"other": 3}, "add_workflow takes a workflow, its builder or its name, not 3"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_an_argument_that_makes_no_sense_is_refused_at_once(arguments: Mapping[str, Any], message: str) -> None:
    whole = builder()
    given_ = {"other": region(), "prefix": "x", **arguments}
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the text is what is tested
        whole.add_workflow(given_.pop("other"), **given_)
    assert message in str(raised.value)


def test_a_workflow_is_no_part_of_itself() -> None:
    whole = builder("whole")
    with pytest.raises(ValueError, match=r"^The workflow 'whole' can't be a part of itself\.$"):
        whole.add_workflow(whole, prefix="x")


def test_a_name_that_is_not_registered_is_told_with_near_ones() -> None:
    region()
    with pytest.raises(UnknownWorkflowError, match="Did you mean 'region'"):
        builder().add_workflow("regoin", prefix="x")


def test_a_prefix_is_taken_once() -> None:
    whole = builder()
    whole.add_workflow(region(), prefix="x")
    with pytest.raises(ValueError, match=r"^A workflow was added with the prefix 'x' already: give each its own\.$"):
        whole.add_workflow(region(), prefix="x")


def _named(*ids: str) -> Callable[[WorkflowBuilder], None]:
    def add(whole: WorkflowBuilder) -> None:
        with whole:
            for id_ in ids:
                task(id=id_)(_nothing)

    return add


@pytest.mark.parametrize(
    ("options", "more", "finding"),
    [
        ({}, _named("x"), "The workflow 'region', added as 'x', and task 'x' get in each other's way: rename one."),
        ({}, _named("x.y"), "The workflow 'region', added as 'x', and task 'x.y' get in each other's way: rename one."),
        ({}, _named("x.load"), "2 tasks have the id 'x.load': give each its own."),
        (
            {"on_conflict": "last"},
            _named("a"),
            (
                "The workflow 'region', added as 'x', says on_conflict=None, and this one 'last': one rule holds for "
                "the whole workflow, so let them agree."
            ),
        ),
        (
            {"merge": {"x.total": cloaca.merge.sum}},
            _named("a"),
            "Key 'x.total' has a merge rule here, and one of the workflow that was added: leave one out.",
        ),
    ],
)
def test_what_does_not_go_together_is_found_when_the_block_ends(
    options: Mapping[str, Any], more: Callable[[WorkflowBuilder], None], finding: str
) -> None:
    whole = builder(**options)
    whole.add_workflow(region(merge={"total": cloaca.merge.max}), prefix="x")
    with pytest.raises(WorkflowError) as raised:
        more(whole)
    assert finding in raised.value.findings


def test_a_dependency_that_is_not_there_is_found_when_the_block_ends() -> None:
    whole = builder()
    whole.add_workflow(region(), prefix="north", dependencies=["fetsh", _nothing])
    with pytest.raises(WorkflowError) as raised:
        _named("fetch", "n")(whole)
    assert [finding.partition(":")[0] for finding in raised.value.findings] == [
        "Task 'north.load' depends on the function '_nothing', which has several ids here ('fetch', 'n')",
        "Task 'north.load' depends on 'fetsh', which is no task of this workflow",
    ]


def test_tasks_of_the_workflow_are_no_copies_by_their_names(runner: DefaultRunner) -> None:
    with builder() as whole:

        @task(id="north.load")
        def load(context: Context) -> None:
            context["rows"] = 1

    assert execute(runner, whole).final_context.to_dict() == {"rows": 1}


# ---- version, pictures ---------------------------------------------------------------------------------------------


def _whole(prefix: str, inputs: Mapping[str, str] | None = None) -> Workflow:
    whole = builder("whole")
    whole.add_workflow(region(), prefix=prefix, inputs=inputs)
    return whole.build()


def test_the_version_tells_prefixes_and_what_is_passed_in() -> None:
    assert _whole("x").version == _whole("x").version
    assert len({_whole("x").version, _whole("y").version, _whole("x", {"rows": "a"}).version, region().version}) == 4
    by_hand = builder("whole")
    for one in _whole("x").tasks:
        by_hand.define(one, one.dependencies)
    assert by_hand.build().version != _whole("x").version


def test_a_picture_shows_copies_as_boxes() -> None:
    with builder() as inner:
        task(id="a")(_nothing)
    with builder() as middle:
        middle.add_workflow(inner, prefix="i")
        task(id="b")(_nothing)
    with builder("pictured") as whole:
        whole.add_workflow(middle, prefix="m")
        whole.add_workflow(inner, prefix="n", dependencies=["m.b"])
        task(id="c")(_nothing)
    assert whole.build().to_mermaid().splitlines() == [
        "flowchart TD",
        '    t3["c"]',
        '    subgraph b0["m"]',
        '        t1["m.b"]',
        '        subgraph b1["m.i"]',
        '            t0["m.i.a"]',
        "        end",
        "    end",
        '    subgraph b2["n"]',
        '        t2["n.a"]',
        "    end",
        "    t1 --> t2",
    ]
    assert whole.build().to_dot().splitlines() == [
        'digraph "pictured" {',
        '    t3 [label="c"];',
        '    subgraph cluster0 { label="m";',
        '        t1 [label="m.b"];',
        '        subgraph cluster1 { label="m.i";',
        '            t0 [label="m.i.a"];',
        "        }",
        "    }",
        '    subgraph cluster2 { label="n";',
        '        t2 [label="n.a"];',
        "    }",
        "    t1 -> t2;",
        "}",
    ]


# ---- a copy does what the workflow does ----------------------------------------------------------------------------


def told(tale: Tale) -> WorkflowBuilder:
    """The tale as a workflow, whose tasks also tell what they see."""

    def function(name: str) -> Callable[[Context], None]:
        def run(context: Context) -> None:
            context[f"seen by {name}"] = str(read(context)), list(context), list(context.conflicts())
            action = tale.actions.get(name)
            if action:
                perform(action, context)

        return run

    rule = rule_of(tale)
    with builder(merge={KEY: rule} if rule else {}, on_conflict=on_conflict_of(tale)) as other:
        for name, dependencies in tale.graph:
            task(id=name, dependencies=list(dependencies))(function(name))
    return other


def sources(tale: Tale, whole: WorkflowBuilder) -> list[str]:
    """Tasks that leave what the tale is given, each its own value."""

    def function(value: Any) -> Callable[[Context], None]:
        return lambda context: context.set(KEY, value)

    for number, value in enumerate(tale.given):
        task(id=f"source {number}")(function(value))
    return [f"source {number}" for number in range(len(tale.given))]


def left(context: Context) -> dict[str, Any]:
    """The values of all keys, and of those in conflict that they are."""
    return {key: CONFLICT if key in context.conflicts() else context[key] for key in context}


@given(tales())
@settings(parent=deterministic, max_examples=100)
def test_a_copy_leaves_under_its_prefix_what_the_workflow_leaves(tale: Tale) -> None:
    other = told(tale)
    with builder(on_conflict=on_conflict_of(tale)) as before:
        task(id="nothing")(_nothing)
        sources(tale, before)
    with builder(on_conflict=on_conflict_of(tale)) as whole:
        given_ = sources(tale, whole)
        whole.add_workflow(other, prefix="x", dependencies=given_, inputs={KEY: KEY})
    with DefaultRunner(executor="serial") as serial:
        input_ = serial.execute(before.name).final_context
        alone, copied = serial.execute(other.name, input_), serial.execute(whole.name)
    expected, found = left(alone.final_context), left(copied.final_context)
    under = {key.removeprefix("x."): value for key, value in found.items() if key.startswith("x.")}
    if KEY not in under and KEY in expected and KEY in found:
        under[KEY] = found[KEY]  # nobody has set it
    if KEY in under and KEY not in expected:
        pytest.fail("it was removed, and is there")
    assert under.keys() == expected.keys()
    assert {key: (under[key], value) for key, value in expected.items() if not agree(under[key], value)} == {}
    assert [copied.tasks[f"x.{name}"].status for name in alone.tasks] == [one.status for one in alone.tasks.values()]


class Recorded:
    """One run of a workflow, in the order of chance: what its history tells of everything."""

    def __init__(self, workflow: Workflow, random: Random) -> None:
        self.plan = workflow.plan
        self.tasks = [workflow.tasks[place] for place in workflow.plan.defined]
        self.rules = Rules(workflow.merge, workflow.on_conflict, homes(workflow))
        self.history = History(
            self.plan,
            {},
            collected=self.rules.collected,
            ruled=frozenset(workflow.merge),
            passing=passing(workflow),
        )
        ended: set[int] = set()
        while len(ended) < len(self.tasks):
            ready = [rank for rank, before in enumerate(self.plan.predecessors) if ended.issuperset(before)]
            rank = random.choice([rank for rank in ready if rank not in ended])
            self._run(rank)
            ended.add(rank)

    def _run(self, rank: int) -> None:
        prefix = self.tasks[rank].prefix
        slice_ = Slice(self.history.whole(rank), complete=True, outcomes={}, met=self.history.met(rank))
        contents = Contents(slice_, self.plan.names[rank], self.rules, ask=_unasked)
        if prefix:
            contents.enter(prefix)
        self.tasks[rank].function(over(contents))
        diff = contents.diff()
        self.history.record(rank, Scope(prefix).left(diff) if prefix else diff)

    def told(self) -> object:
        ranks = range(len(self.tasks))
        return [self.history.whole(rank) for rank in ranks], self.history.final()


def _unasked(*question: object) -> Slice:
    raise AssertionError(question)


@given(tales(), st.randoms(use_true_random=False))
@deterministic
def test_the_order_in_which_tasks_end_leaves_no_trace(tale: Tale, random: Random) -> None:
    other = told(tale)
    with builder(on_conflict=on_conflict_of(tale)) as whole:
        given_ = sources(tale, whole)
        copy = whole.add_workflow(other, prefix="x", dependencies=given_, inputs={KEY: KEY})
        whole.add_workflow(other, prefix="y", dependencies=[*given_, copy.ids[0]], inputs={KEY: f"x.{KEY}"})
    by_chance, lowest = Recorded(whole.build(), random), Recorded(whole.build(), Lowest())
    assert by_chance.told() == lowest.told()
    final = by_chance.history.final()
    assert of_versions(final, by_chance.rules).keys() == of_versions(final, lowest.rules).keys()


# ---- beside what else tasks can be ---------------------------------------------------------------------------------


def test_a_mapped_task_of_a_copy_and_one_after_it_item_by_item(runner: DefaultRunner) -> None:
    with cloaca.WorkflowBuilder("region") as other:

        @cloaca.task()
        def split(context: Context) -> None:
            context.set("rows", {"a": [1, 2], "b": [3]})

        @cloaca.task(dependencies=[split], for_each="rows")
        def add(context: Context, item: list[int]) -> None:
            context.set("total", sum(item))

        @cloaca.task(dependencies=[add], for_each="rows")
        def name(context: Context, item: list[int]) -> None:
            context.set("title", f"{context.item_key}: {context['total']} of {len(item)}")

    told: list[tuple[str, Any]] = []
    with cloaca.WorkflowBuilder("whole") as whole:
        copy = whole.add_workflow(other, prefix="north")

        @cloaca.task(dependencies=[*copy.leaves], on_success=lambda task, context: told.append((task, context["all"])))
        def report(context: Context) -> None:
            context.set("all", [context["north.total"], context["north.title"]])

    result = runner.execute("whole")
    expected = [{"a": 3, "b": 3}, {"a": "a: 3 of 2", "b": "b: 3 of 1"}]
    assert result.final_context["all"] == expected, result.error_message
    assert told == [("report", expected)]
    assert result.tasks["north.add['a']"].status == "Completed"


def test_a_default_rule_doesn_t_stand_in_the_way_of_a_mapped_task_of_a_copy(runner: DefaultRunner) -> None:
    with builder("inner", trigger_rule="all_success") as inner:

        @cloaca.task(for_each="xs")
        def first(context: Context, item: int) -> None:
            context["xs"] = item + 1

        @cloaca.task(dependencies=[first], for_each="xs")
        def second(context: Context, item: int) -> None:
            context["squares"] = item**2

    with builder("outer") as outer:
        outer.add_workflow(inner, prefix="in", inputs={"xs": "xs"})
    assert execute(runner, outer, xs=[1, 2]).final_context["in.squares"] == [4, 9]


def test_an_empty_mapped_task_of_a_copy_leaves_empty_collections(runner: DefaultRunner) -> None:
    with cloaca.WorkflowBuilder("region") as other:

        @cloaca.task(for_each="rows")
        def add(context: Context, item: int) -> None:
            context.set("total", item)

    with cloaca.WorkflowBuilder("whole") as whole:
        whole.add_workflow(other, prefix="north", inputs={"rows": "rows"})
    assert runner.execute("whole", Context({"rows": []})).final_context["north.total"] == []


def test_a_callback_of_a_copy_names_keys_as_the_task_does(runner: DefaultRunner) -> None:
    told: list[tuple[str, dict[str, Any]]] = []
    with cloaca.WorkflowBuilder("region") as other:

        @cloaca.task(on_success=lambda task, context: told.append((task, context.to_dict())))
        def count(context: Context) -> None:
            context.set("count", len(context["rows"]))

    with cloaca.WorkflowBuilder("whole") as whole:
        whole.add_workflow(other, prefix="north", inputs={"rows": "rows"})
    runner.execute("whole", Context({"rows": [1, 2]}))
    assert told == [("north.count", {"rows": [1, 2], "count": 2})]


def test_the_data_flow_is_checked_by_full_names(runner: DefaultRunner) -> None:
    with builder() as other:

        @cloaca.task()
        def count(context: Context, *, rows: list[int]) -> None:
            context.set("count", len(rows))

        @cloaca.task(dependencies=[count], writes=["twice"])
        def double(context: Context) -> None:
            context.set("twice", 2 * context["count"])

    with builder(check="error") as whole:
        whole.add_workflow(other, prefix="north", inputs={"rows": "rows"})
    assert execute(runner, whole, rows=[1, 2]).final_context["north.twice"] == 4
    assert cloaca.check(whole.build(), ["rows"]) == ()
    with builder(check="error") as apart:
        apart.add_workflow(other, prefix="north")
    with pytest.raises(cloaca.WorkflowError, match=r"'north.count' reads key 'north.rows', which no task sets"):
        execute(runner, apart, rows=[1, 2])
