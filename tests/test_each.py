"""A workflow that runs for each item: each copy does what the workflow does, and all is gathered in order."""

from collections.abc import Callable
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.reference import Tale, deterministic, tales
from tests.runs import assigned, done, failed, found, tell
from tests.test_merge_properties import KEY, on_conflict_of, perform, read, rule_of

import cloaca
from cloaca import Context, DefaultRunner, WorkflowBuilder, WorkflowError, WorkflowResult, task
from cloaca.engine.events import AttemptEvent, Begin, Room
from cloaca.engine.fan import Each
from cloaca.engine.pairing import in_copies
from cloaca.engine.run import Run
from cloaca.engine.work import Work
from cloaca.errors import INPUT
from cloaca.history.plan import plan
from cloaca.values.codec import decode, encode
from cloaca.wire.messages import UNCHANGED, Assignment, Started, Version

_names = (f"each {number}" for number in count())


def builder(**options: Any) -> WorkflowBuilder:
    return WorkflowBuilder(next(_names), **{"check": "off", **options})


# ---- what one is made of -------------------------------------------------------------------------------------------


def region(fails: Callable[[list[int]], bool] = lambda _: False) -> WorkflowBuilder:
    """A diamond: both branches count."""
    with builder(merge={"n": cloaca.merge.sum}) as made:

        @task()
        def clean(context: Context) -> None:
            context["rows"] = [row for row in context["region"] if row > 0]

        @task(dependencies=[clean])
        def low(context: Context) -> None:
            if fails(context["region"]):
                raise ValueError("low")
            context["low"] = min(context["rows"])
            context["n"] = context["n"] + 1

        @task(dependencies=[clean])
        def high(context: Context) -> None:
            context["high"] = max(context["rows"])
            context["n"] = context["n"] + 10
            context["start"] = context["start"]

        @task(dependencies=[low, high])
        def span(context: Context) -> None:
            context["span"] = context["high"] - context.get("low", 0)

    return made


def country(fails: Callable[[list[int]], bool] = lambda _: False, **options: Any) -> WorkflowBuilder:
    with builder(**options) as whole:

        @task()
        def begin(context: Context) -> None:
            context["start"] = 100

        copy = whole.add_workflow(
            region(fails),
            prefix="region",
            for_each="regions",
            item="region",
            dependencies=[begin],
            inputs={"n": "start", "start": "start"},
        )

        @task(dependencies=[*copy.leaves])
        def report(context: Context) -> None:
            context["report"] = context["region.span"]

    return whole


ROWS = [[1, -2, 5], [3, 4], [7, 9, 11]]
EXPECTED = {
    "regions": ROWS,
    "start": 100,
    "region.rows": [[1, 5], [3, 4], [7, 9, 11]],
    "region.low": [1, 3, 7],
    "region.n": [111, 111, 111],
    "region.high": [5, 4, 11],
    "region.span": [4, 1, 4],
    "region.start": [100, 100, 100],
    "report": [4, 1, 4],
}


def test_what_copies_leave_is_gathered_in_the_order_of_the_items(runner: DefaultRunner) -> None:
    result = runner.execute(country(), Context({"regions": ROWS}))
    assert result.final_context.to_dict() == EXPECTED
    assert [*result.tasks] == [
        "begin",
        *[
            name
            for inner in ("region.clean", "region.low", "region.high", "region.span", "region")
            for name in (inner, *(f"{inner}[{place}]" for place in range(3)))
        ],
        "report",
    ]
    assert {one.status for one in result.tasks.values()} == {"Completed"}


def test_of_a_dict_it_is_a_dict_and_a_copy_that_fails_is_not_there(runner: DefaultRunner) -> None:
    with builder() as other:

        @task()
        def look(context: Context) -> None:
            context["seen"] = context.item_key, context["one"]
            if context["one"] == 2:
                raise ValueError("two")

    with builder() as whole:
        copy = whole.add_workflow(other, prefix="x", for_each="all", item="one")
        task(id="after", dependencies=[*copy.leaves])(lambda context: context.set("after", len(context["x.seen"])))
    result = runner.execute(whole, Context({"all": {"a": 1, "b": 2, "c": 3}}))
    assert result.final_context["x.seen"] == {"a": ("a", 1), "c": ("c", 3)}
    assert (result.status, result.final_context["after"]) == ("Failed", 2)
    assert (result.tasks["x['b']"].status, result.tasks["x.look['b']"].status) == ("Skipped", "Failed")
    assert result.tasks["x['b']"].reason == "none of its dependencies ended well: \"x.look['b']\" failed"


def _sum(twice: list[int]) -> int:
    return sum(twice)


def test_names_make_dependencies_of_copies_too(runner: DefaultRunner) -> None:
    with builder() as other:
        task(id="double", returns="twice")(lambda each: 2 * each)
    with builder(wire=True) as whole:
        task(id="begin", returns="all")(lambda: [1, 2, 3])
        whole.add_workflow(other, prefix="x", for_each="all", item="each")
        task(id="end", returns="sum", inputs={"twice": "x.twice"})(_sum)
    tasks = {one.id: one.dependencies for one in whole.build().tasks}
    assert tasks == {"begin": (), "x.double": ("begin",), "x": ("x.double",), "end": ("x",)}
    assert runner.execute(whole).final_context["sum"] == 12


def test_where_there_are_no_items_each_key_is_there(runner: DefaultRunner) -> None:
    result = runner.execute(country(), Context({"regions": []}))
    assert {key: value for key, value in result.final_context.items() if key.startswith("region.")} == {
        f"region.{key}": [] for key in ("rows", "low", "n", "high", "start", "span")
    }
    assert result.status == "Completed"


def test_where_it_never_begins_all_of_it_is_skipped(runner: DefaultRunner) -> None:
    with builder() as whole:

        @task()
        def broken(context: Context) -> None:
            raise ValueError("broken")

        with_two_roots = builder()
        with with_two_roots:
            task(id="one")(lambda context: context.set("one", 1))
            task(id="two")(lambda context: context.set("two", 2))
        whole.add_workflow(with_two_roots, prefix="x", for_each="all", item="each", dependencies=[broken])
    result = runner.execute(whole, Context({"all": [1]}))
    assert [one.status for one in result.tasks.values()] == ["Failed", "Skipped", "Skipped", "Skipped"]
    absent = runner.execute(whole, Context({}))
    assert absent.status == "Failed"


def test_a_key_in_conflict_at_the_end_of_a_copy_fails_that_copy(runner: DefaultRunner) -> None:
    with builder() as other:
        task(id="one")(lambda context: context.set("k", 1))
        task(id="two")(lambda context: context.set("k", context["each"]))
    with builder() as whole:
        whole.add_workflow(other, prefix="x", for_each="all", item="each")
    result = runner.execute(whole, Context({"all": [1, 2, 1]}))
    assert result.final_context["x.k"] == [1, None, 1]
    assert isinstance(result.tasks["x[1]"].error, cloaca.MergeConflict)
    assert "'x.two[1]'" in str(result.tasks["x[1]"].error)


def test_a_copy_goes_on_before_others_begin() -> None:
    begun: list[str] = []
    with builder() as other:
        task(id="one")(lambda context: begun.append(f"one {context['each']}"))
        task(id="beside")(lambda context: begun.append(f"beside {context['each']}"))
        task(id="two", dependencies=["one", "beside"])(lambda context: begun.append(f"two {context['each']}"))
    with builder() as whole:
        whole.add_workflow(other, prefix="x", for_each="all", item="each")
    with DefaultRunner(executor="serial") as serial:
        serial.execute(whole, Context({"all": [0, 1, 2]}))
    assert begun == [f"{name} {item}" for item in range(3) for name in ("one", "beside", "two")]


def test_large_values_that_a_copy_does_not_leave_are_let_go_of(tmp_path: Path) -> None:
    with builder() as other:

        @task()
        def make(context: Context) -> None:
            context["array"] = np.full(1 << 18, context["each"])

        @task(dependencies=[make])
        def use(context: Context) -> None:
            context["sum"] = int(context["array"].sum())
            del context["array"]

    with builder() as whole:
        copy = whole.add_workflow(other, prefix="x", for_each="all", item="each")

        @task(dependencies=[*copy.leaves])
        def look(context: Context) -> None:
            folders = [Path("/dev/shm"), tmp_path]
            sizes = [one.stat().st_size for folder in folders for one in folder.rglob("*") if one.is_file()]
            context["held"] = sum(size >= 1 << 21 for size in sizes)

    with DefaultRunner(workers=2) as two:
        result = two.execute(whole, Context({"all": list(range(20))}))
    assert result.final_context["x.sum"] == [n << 18 for n in range(20)]
    assert result.final_context["held"] < 10


def a_run_of_copies(items: int) -> Run:
    """Both branches set `r.k`, which nothing after them does."""
    graph = [("r.a", []), ("r.b", ["r.a"]), ("r.c", ["r.a"]), ("r.d", ["r.b", "r.c"]), ("r", ["r.d"])]
    compiled = plan("w", graph)
    inner = in_copies(compiled, ["r."] * len(graph), ["r.item"] * len(graph))
    work = [
        Work(rank, (), each=Each("items", 100 + rank, inner=one), prefix="r.", rule="all_done" if rank == 3 else None)
        for rank, one in inner.items()
    ]
    run = Run(compiled, work, {"items": Version(INPUT, b"")}, numbers=count(), answers=True)
    tell(run, Begin())
    ((attempt, _),) = assigned(tell(run, Room(1)))
    tell(run, Started(attempt), found(attempt, [encode(item) for item in range(items)]))
    return run


def report_of(one: Assignment) -> AttemptEvent:
    """What an attempt comes to: that follows from its name alone."""
    task, _, item = one.task.partition("[")
    if (task, item) in {("r.b", "1]"), ("r.a", "3]"), ("r.d", "4]")}:
        return failed(one.attempt)
    own = {task: encode(one.task)}
    if task == "r":
        told = one.slice.versions["r.k"]
        return done(one.attempt, **{f"{UNCHANGED}r.k": encode([version.writer for version in told])})
    return done(one.attempt, **own, **({"r.k": encode(one.task)} if task in {"r.b", "r.c"} else {}))


@pytest.mark.parametrize("seed", range(10))
def test_the_order_of_ends_leaves_no_trace(seed: int) -> None:
    run, random = a_run_of_copies(6), Random(seed)
    opened: list[Assignment] = []
    while run.ready or opened:
        commands = tell(run, Room(random.randint(0, 3)))
        opened += [command for command in commands if isinstance(command, Assignment)]
        if opened:
            tell(run, report_of(opened.pop(random.randrange(len(opened)))))
    final = {key: decode(version.payload or b"") for key, (version,) in run.history.final().items() if key != "items"}
    assert [*final] == ["r.a", "r.b", "r.k", "r.c", "r.d"]
    assert final["r.b"] == ["r.b[0]", None, "r.b[2]", None, None, "r.b[5]"]
    assert final["r.k"] == [
        ["r.b[0]", "r.c[0]"],
        "r.c[1]",
        ["r.b[2]", "r.c[2]"],
        None,
        None,
        ["r.b[5]", "r.c[5]"],
    ]
    assert final["r.d"] == ["r.d[0]", "r.d[1]", "r.d[2]", "r.d[3]", None, "r.d[5]"]


# ---- on record -----------------------------------------------------------------------------------------------------


def test_of_a_copy_that_failed_what_had_completed_is_not_run_again(tmp_path: Path) -> None:
    mended = tmp_path / "mended"

    def fails(rows: list[int]) -> bool:
        return rows[0] == 3 and not mended.exists()

    with DefaultRunner(f"sqlite:///{tmp_path}/runs.db", executor="serial") as recorded:
        whole = country(fails)
        result = recorded.execute(whole, Context({"regions": ROWS}))
        assert result.status == "Failed"
        past = recorded.execution(result.execution_id)
        assert past.final_context.to_dict() == result.final_context.to_dict()
        assert past.before("region.span", 0)["region.rows"] == [1, 5]
        assert past.after("region.high", 0)["region.start"] == 100
        assert recorded.replay(result.execution_id, "region.span", item=2)["span"] == 4
        mended.touch()
        resumed = recorded.resume(result.execution_id)
        assert resumed.final_context.to_dict() == EXPECTED
        ran = [name for name, one in resumed.tasks.items() if not one.reused and "[" in name]
        assert ran == ["region.low[1]", "region.span[1]", "region[1]"]


def test_only_copies_of_new_items_run_where_others_stand_for_them(tmp_path: Path) -> None:
    with DefaultRunner(f"sqlite:///{tmp_path}/runs.db", executor="serial") as recorded:
        whole = country()
        recorded.execute(whole, Context({"regions": ROWS}))
        result = recorded.execute(whole, Context({"regions": [[8, 9], *ROWS[::-1]]}), reuse=True)
        assert result.final_context["region.span"] == [1, 4, 1, 4]
        ran = [name for name, one in result.tasks.items() if "[" in name and not one.reused]
        assert {name.partition("[")[2] for name in ran} == {"0]"}


# ---- what is refused -----------------------------------------------------------------------------------------------


def test_what_cannot_run_for_each_item_is_said_when_the_block_ends() -> None:
    with builder() as inner:
        task(id="x")(lambda context: None)
    with builder(merge={"k": cloaca.merge.by_task}) as other:
        task(id="rows", for_each="rows")(lambda context, item: None)
        other.add_workflow(inner, prefix="in", inputs={"a": "b"})
    with builder() as whole:
        task(id="before")(lambda context: None)
    whole.add_workflow(other, prefix="r", for_each="all", item="one")
    with pytest.raises(WorkflowError) as caught:
        _depend_on(whole, "r.rows")
    lead = f"The workflow {other.name!r} runs for each item of 'all', and"
    assert [finding.partition(":")[0] for finding in caught.value.findings] == [
        f"{lead} its task 'r.rows' for each item of 'rows'",
        f"{lead} inputs are passed in to its copy 'in'",
        f"{lead} its key 'k' is kept by task, which can't be gathered",
        "Task 'after' depends on 'r.rows', which is a task of each copy",
    ]


def _depend_on(whole: WorkflowBuilder, name: str) -> None:
    with whole:
        task(id="after", dependencies=[name])(lambda context: None)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"for_each": "all"}, "item=None is none"),
        ({"item": "one"}, "for_each=None is none"),
        ({"for_each": "r.all", "item": "one"}, "a key of the copies themselves"),
        ({"for_each": "all", "item": "one", "inputs": {"one": "two"}}, "which is the key of the item"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(said: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        builder().add_workflow(region(), prefix="r", **said)


def test_a_target_is_all_of_it() -> None:
    with DefaultRunner(executor="serial") as serial, pytest.raises(ValueError, match="name 'region'"):
        serial.execute(country(), Context({"regions": ROWS}), targets=["region.low"])
    with DefaultRunner(executor="serial") as serial:
        result = serial.execute(country(), Context({"regions": ROWS}), targets=["region"])
    assert result.final_context["region.span"] == [4, 1, 4]


# ---- as if each copy had been added by itself ----------------------------------------------------------------------

ITEMS = 3
RULES = ("all_success", "all_done", "one_success", "one_failed", "all_failed", "none_failed")


def told(tale: Tale, rules: list[int], failing: set[tuple[str, int]]) -> WorkflowBuilder:
    """The tale as a workflow, in which each item goes another way; its tasks also tell what they see."""
    names = [name for name, _ in tale.graph]

    def function(place: int, name: str) -> Callable[[Context], None]:
        def run(context: Context) -> None:
            item = context["item"]
            context[f"seen by {name}"] = str(read(context)), list(context), list(context.conflicts())
            context[f"after {name}"] = {one: context.outcome(one).status for one in names[:place] if one in ended[name]}
            if (name, item) in failing:
                raise ValueError(name)
            action = tale.actions.get(names[(place + item) % len(names)])
            if action:
                perform(action, context)

        return run

    ended = {name: set(dependencies) for name, dependencies in tale.graph}
    rule = rule_of(tale)
    with builder(merge={KEY: rule} if rule else {}, on_conflict=on_conflict_of(tale)) as other:
        for place, (name, dependencies) in enumerate(tale.graph):
            options: dict[str, Any] = {}
            chosen = rules[place % len(rules)]
            if dependencies and chosen < len(RULES):
                options["trigger_rule"] = RULES[chosen]
            elif chosen == len(RULES):
                options["trigger_rules"] = cloaca.context_value("item", "greater_than", 0)
            elif dependencies and chosen == len(RULES) + 1:
                options["trigger_rules"] = cloaca.any_of(
                    cloaca.task_failed(dependencies[0]), cloaca.task_success(dependencies[-1])
                )
            task(id=name, dependencies=list(dependencies), **options)(function(place, name))
    return other


def sources(tale: Tale, whole: WorkflowBuilder) -> list[str]:
    """Tasks that leave what the tale is given, each its own value; and the items."""

    def function(value: Any) -> Callable[[Context], None]:
        return lambda context: context.set(KEY, value)

    def items(context: Context) -> None:
        context["items"] = list(range(ITEMS))
        for item in range(ITEMS):
            context[f"item {item}"] = item

    task(id="items")(items)
    for number, value in enumerate(tale.given):
        task(id=f"source {number}")(function(value))
    return ["items", *(f"source {number}" for number in range(len(tale.given)))]


def alone(tale: Tale, other: WorkflowBuilder) -> WorkflowBuilder:
    """Each copy is added by itself, and after it comes a task that takes what it has left."""

    def gathering(prefix: str) -> Callable[[Context], None]:
        def gather(context: Context) -> None:
            found = {key.removeprefix(prefix): context[key] for key in context if key.startswith(prefix)}
            context[f"{prefix}left"] = found

        return gather

    with builder(on_conflict=on_conflict_of(tale)) as whole:
        before = sources(tale, whole)
        for item in range(ITEMS):
            copy = whole.add_workflow(
                other, prefix=f"c{item}", dependencies=before, inputs={KEY: KEY, "item": f"item {item}"}
            )
            task(id=f"end {item}", dependencies=[*copy.leaves])(gathering(copy.prefix))
    return whole


def for_each(tale: Tale, other: WorkflowBuilder) -> WorkflowBuilder:
    with builder(on_conflict=on_conflict_of(tale)) as whole:
        before = sources(tale, whole)
        whole.add_workflow(other, prefix="x", dependencies=before, inputs={KEY: KEY}, for_each="items", item="item")
    return whole


def statuses(result: WorkflowResult, names: Callable[[str], str], other: WorkflowBuilder) -> dict[str, str]:
    return {name: result.tasks[names(name)].status for name in other.build().topological_sort()}


@given(
    tales(),
    st.lists(st.integers(0, len(RULES) + 4), min_size=1, max_size=10),
    st.sets(st.tuples(st.sampled_from([f"t{place}" for place in range(10)]), st.integers(0, ITEMS - 1)), max_size=4),
)
@settings(parent=deterministic, max_examples=40)
def test_it_is_as_if_each_copy_was_added_by_itself(tale: Tale, rules: list[int], failing: set[tuple[str, int]]) -> None:
    if tale.rule == "by_task":
        return
    other = told(tale, rules, failing)
    with DefaultRunner(executor="serial") as serial:
        expected, found = serial.execute(alone(tale, other)), serial.execute(for_each(tale, other))
    gathered = found.final_context.to_dict(conflicts="skip")
    for item in range(ITEMS):
        of_items = statuses(found, lambda name, item=item: f"x.{name}[{item}]", other)  # type: ignore[misc]
        assert of_items == statuses(expected, lambda name, item=item: f"c{item}.{name}", other)  # type: ignore[misc]
        end = expected.tasks[f"end {item}"]
        assert found.tasks[f"x[{item}]"].status == end.status
        left = expected.final_context[f"c{item}.left"] if end.status == "Completed" else {}
        here = {key.removeprefix("x."): column[item] for key, column in gathered.items() if key.startswith("x.")}
        for key, value in left.items():
            assert (key, here.get(key)) == (key, value)
        for key in here.keys() - left.keys():
            assert here[key] is None or (key == KEY and here[key] in tale.given and end.status == "Completed")
