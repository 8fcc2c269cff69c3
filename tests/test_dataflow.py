"""Keys that are read and never come, or come from two sides, are found before anything runs."""

import gc
import pickle
import sys
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cloudpickle
import pytest
from tests.support import defined, ready
from tests.test_growth import lines

import cloaca
from cloaca import Context, DataflowWarning, DefaultRunner, Finding, Workflow, WorkflowBuilder, WorkflowError
from cloaca.dataflow.flow import Flow
from cloaca.dataflow.symbols import symbol_of
from cloaca.dataflow.touches import Touches
from cloaca.history.plan import plan

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # as if all this stood in the user's script

Given = tuple[Callable[..., Any], list[str]]


@pytest.fixture(scope="module", params=["processes", "serial"])
def runner(request: pytest.FixtureRequest) -> Iterator[DefaultRunner]:
    with ready(workers=1, executor=request.param) as runner:
        yield runner


def workflow(options: dict[str, Any] | None = None, /, **tasks: Given) -> Workflow:
    with WorkflowBuilder("w", **{"check": "off", **(options or {})}) as builder:
        for name, (function, dependencies) in tasks.items():
            cloaca.task(id=name, dependencies=dependencies)(function)
    return builder.build()


def kinds(found: Sequence[Finding]) -> list[tuple[str, str, str]]:
    return [(finding.kind, finding.task, finding.key) for finding in found]


def sets(key: str, value: Any = None) -> Callable[..., Any]:
    """A function of known code that sets one key to a value of which nothing is known."""
    source = f"def task(context):\n    context.set({key!r}, made())"
    return defined(source, made=lambda: [1] if value is None else value)["task"]  # type: ignore[no-any-return]


def reads(key: str, also: str = "") -> Callable[..., Any]:
    return defined(f"def task(context):\n    context[{key!r}]\n    {also}")["task"]  # type: ignore[no-any-return]


def constant(key: str, value: Any) -> Callable[..., Any]:
    return defined(f"def task(context):\n    context.set({key!r}, {value!r})")["task"]  # type: ignore[no-any-return]


# ---- keys that don't come ------------------------------------------------------------------------------------------


def test_a_forgotten_dependency_is_found_when_the_block_ends() -> None:
    found = cloaca.check(workflow(load=(sets("rows"), []), total=(reads("rows"), [])))
    assert kinds(found) == [("unordered", "total", "rows")]
    assert found[0].others == ("load",)
    assert "add 'load' to the dependencies of 'total'" in found[0].message
    assert len(found[0].places) == 2
    assert all(place in found[0].message for place in found[0].places)


def test_what_a_task_says_that_it_reads_counts_as_read_by_its_code() -> None:
    def total(context: Context) -> None:
        for name in ("rows", "more"):
            print(context[name])

    with WorkflowBuilder("w", check="off") as builder:
        cloaca.task(id="load")(sets("rows"))
        cloaca.task(id="total", reads=["rows"], writes=[])(total)
        cloaca.task(id="look", reads=["rows"], writes=[])(lambda context: print(context.get("rows", 3)))
    assert kinds(cloaca.check(builder.build())) == [("unordered", "total", "rows")]


def test_a_key_set_too_late_is_found_when_the_input_is_known() -> None:
    late = workflow(total=(reads("rows"), []), load=(sets("rows"), ["total"]))
    assert cloaca.check(late) == ()
    assert cloaca.check(late, ["rows"]) == ()
    assert kinds(cloaca.check(late, [])) == [("late", "total", "rows")]


def test_a_misspelling_is_found_when_the_input_is_known() -> None:
    misspelt = workflow(load=(sets("rows"), []), total=(reads("rovs"), []), year=(reads("yaer"), []))
    assert cloaca.check(misspelt) == ()
    found = cloaca.check(misspelt, ["year"])
    assert kinds(found) == [("missing", "total", "rovs"), ("missing", "year", "yaer")]
    assert "did it mean 'rows'?" in found[0].message
    assert "did it mean 'year'?" in found[1].message
    assert cloaca.check(misspelt, ["rovs", "yaer"]) == ()


def test_a_name_that_only_a_branch_reads_is_no_misspelling() -> None:
    def total(context: Context) -> None:
        if context["year"] > 2000:
            context.set("total", context["yaer"])

    assert cloaca.check(workflow(total=(total, [])), ["year"]) == ()


def test_what_a_parameter_takes_is_missed_without_a_name_like_it() -> None:
    taking = workflow(total=(lambda context, *, rows, rate=3: None, []))
    assert kinds(cloaca.check(taking, ["year"])) == [("missing", "total", "rows")]


@pytest.mark.parametrize(
    "tasks",
    [
        {"load": (sets("rows"), []), "total": (reads("rows"), ["load"])},
        {"load": (sets("rows"), []), "b": (reads("rows"), ["load"]), "total": (reads("rows"), ["b"])},
        {"load": (sets("rows"), []), "total": (lambda context: print(context.get("rows", [])), [])},
        {"load": (sets("rows"), []), "total": (lambda context: print(context.get("rows") or []), [])},
        {"load": (sets("rows"), []), "total": (lambda context: print(context["rows" if dir() else ""]), [])},
        {"load": (sets("rows"), []), "total": (lambda context: "rows" in context and context["rows"] and None, [])},
        {"load": (sets("rows"), []), "total": (lambda context, *, rows=3: None, [])},
        {"a": (lambda context: context.update_from_dict({}), []), "b": (reads("rows"), ["a"]), "c": (sets("rows"), [])},
        {"a": (reads("n", "context['n'] = 1"), []), "b": (reads("n", "context['n'] = 1"), [])},
        {"a": (reads("n", "context.set('n', 2)"), []), "total": (reads("n"), [])},
        {"a": (lambda context: context.set("n", context.get("n", 0) + 1), []), "total": (reads("n"), [])},
    ],
    ids=str,
)
def test_nothing_is_said(tasks: dict[str, Given]) -> None:
    assert cloaca.check(workflow(None, **tasks)) == ()


def in_a_try(context: Context) -> None:
    try:
        print(context["rows"])
    except KeyError:
        print("none")


def after_a_look(context: Context) -> None:
    if "rows" not in context:
        raise ValueError
    print(context["rows"])


LOOKING: list[Callable[..., Any]] = [
    lambda context: print(context.get("rows", [])),
    lambda context: print(context.get("rows") or []),
    lambda context: context.set("all", {"rows": context.get("rows")}),
    lambda context: context.set("all", f"{context.get('rows')}"),
    lambda context: context.set("is there", "rows" in context),
    lambda context: context.set("all", sorted("ab", key=lambda row: context.get("rows")[row])),
    lambda context: print(context["rows" if dir() else "old"]),
    lambda context, *, rows=3: None,
    in_a_try,
    after_a_look,
]


@pytest.mark.parametrize("function", LOOKING)
def test_a_key_that_is_looked_for_in_vain_is_found_when_the_input_is_known(function: Callable[..., Any]) -> None:
    forgotten = workflow(load=(sets("rows"), []), more=(sets("rows"), ["load"]), total=(function, []))
    assert cloaca.check(forgotten) == ()
    (found,) = [finding for finding in cloaca.check(forgotten, ["year"]) if finding.kind != "ambiguous"]
    assert (found.kind, found.task, found.key, found.others) == ("unordered", "total", "rows", ("load",))
    assert "looks for key 'rows', which only tasks set that don't come before it: add 'load' to" in found.message
    assert "or give 'rows' in the input" in found.message
    assert cloaca.check(forgotten, ["rows"]) == ()
    assert cloaca.check(workflow(load=(sets("rows"), []), total=(function, ["load"])), []) == ()


def step(context: Context) -> None:
    for name in ("rows", "model"):
        if name in context:
            print(context[name])
    print(context.get("report", "no report yet"))


def counting(context: Context) -> None:
    context.set("n", context.get("n", 0) + 1)


@pytest.mark.parametrize(
    "tasks",
    [
        {"start": (lambda context: print(context.get("state", {})), []), "save": (sets("state"), ["start"])},
        {"a": (counting, []), "b": (counting, []), "total": (lambda context: print(context.get("n", 0)), [])},
        {
            "load": (sets("rows"), []),
            "loaded": (step, ["load"]),
            "train": (sets("model"), ["load"]),
            "trained": (step, ["train"]),
            "write": (sets("report"), ["train"]),
            "written": (step, ["write"]),
        },
        {"a": (lambda context: context.update_from_dict({}), []), "b": (LOOKING[0], ["a"]), "c": (sets("rows"), [])},
        {"a": (lambda context: context.get("rows", context.keys()), []), "b": (sets("other"), [])},
        {"a": (lambda context: context.remove("rows"), []), "b": (LOOKING[0], ["a"])},
    ],
    ids=str,
)
def test_a_key_that_may_be_looked_for_in_vain_on_purpose(tasks: dict[str, Given]) -> None:
    made = workflow({"merge": {"n": cloaca.merge.sum}}, **tasks)
    assert [finding for finding in cloaca.check(made, []) if finding.kind != "unread"] == []


def part(**options: Any) -> Workflow:
    with WorkflowBuilder("part", **{"check": "off", **options}) as builder:
        cloaca.task(id="a")(reads("rows"))
    return builder.build()


@pytest.mark.parametrize(
    ("inputs", "dependencies", "expected"),
    [
        (
            {"rows": "q"},
            [],
            ("unordered", "x.a", "q", "add 'load' to add_workflow(..., prefix='x', dependencies=[...])"),
        ),
        ({"rows": "qq"}, ["load"], ("missing", "x.a", "qq", "reads key 'qq' (passed in as 'x.rows')")),
        ({"row": "q"}, ["load"], ("missing", "x.a", "x.rows", "did it mean 'x.row'?")),
        ({"rows": "q"}, ["load"], None),
        ({"rows": "year"}, [], None),
    ],
)
def test_what_is_passed_in_to_a_copy(inputs: dict[str, str], dependencies: list[str], expected: Any) -> None:
    with WorkflowBuilder("w", check="off") as builder:
        cloaca.task(id="load")(sets("q"))
        builder.add_workflow(part(), prefix="x", inputs=inputs, dependencies=dependencies)
    found = [finding for finding in cloaca.check(builder.build(), ["year"]) if finding.kind != "unread"]
    assert kinds(found) == ([] if expected is None else [expected[:3]])
    assert all(expected[3] in finding.message for finding in found)


def test_names_in_a_copy_are_not_alike_for_their_prefix() -> None:
    with WorkflowBuilder("w", check="off") as builder:
        cloaca.task(id="load")(sets("region_of_the_north.total"))
        builder.add_workflow(part(), prefix="region_of_the_north")
    assert cloaca.check(builder.build(), ["region_of_the_north.year"]) == ()


def test_keys_that_conditions_look_at() -> None:
    for condition, expected in [
        (cloaca.context_value("flag", "==", 1), [("unordered", "x", "flag")]),
        (cloaca.context_value("flga", ">", 1), [("missing", "x", "flga")]),
        (
            cloaca.any_of(cloaca.context_value("flag", "exists"), cloaca.context_value("flag", "==", 1)),
            [("unordered", "x", "flag")],
        ),
        (cloaca.context_value("flga", "not_exists"), []),
    ]:
        with WorkflowBuilder("w", check="off") as builder:
            cloaca.task(id="a")(sets("flag"))
            cloaca.task(id="x", trigger_rules=condition)(lambda context: None)
        assert kinds(cloaca.check(builder.build(), [])) == expected


@pytest.mark.parametrize("keys", ["year", [1], 5])
def test_input_keys_that_are_none(keys: Any) -> None:
    with pytest.raises(TypeError):
        cloaca.check(part(), keys)


# ---- keys that come from two sides ---------------------------------------------------------------------------------


def diamond(left: Any, right: Any, join: Any = None, **options: Any) -> Workflow:
    return workflow(
        options,
        root=(lambda context: None, []),
        left=(left, ["root"]),
        right=(right, ["root"]),
        join=(join or reads("k"), ["left", "right"]),
    )


def removes(context: Context) -> None:
    context.remove("k")


def counts(context: Context) -> None:
    context["k"] = context["k"] + 1


def appends(context: Context) -> None:
    rows = context.get("k", [])
    rows.append(1)
    context.set("k", rows)


def collects(context: Context) -> None:
    rows = [0]
    rows.extend(context["rows"])
    context.set("k", rows)


@pytest.mark.parametrize(
    ("left", "right", "rule"),
    [
        (constant("k", 1), constant("k", "x"), "merge={'k': cloaca.merge.last}),"),
        (sets("k"), sets("k"), "merge={'k': cloaca.merge.last}, or .by_structure for lists and dicts),"),
        (sets("k"), constant("k", 1), "or .by_structure"),
        (constant("k", (1,)), constant("k", (2,)), ".last"),
        (constant("k", 1), removes, ".last"),
        (constant("k", None), constant("k", [1]), "or .by_structure"),
        (counts, counts, "merge={'k': cloaca.merge.sum}),"),
        (constant("k", [1]), constant("k", [1]), "merge={'k': cloaca.merge.concat}, which keeps the items of both),"),
        (collects, constant("k", [2]), "merge={'k': cloaca.merge.concat}, which keeps the items of both),"),
    ],
)
def test_two_writers_of_a_key_that_a_third_task_reads(left: Any, right: Any, rule: str) -> None:
    (found,) = cloaca.check(diamond(left, right, trigger_rule="all_success"), ["k", "rows"])
    assert (found.kind, found.key, {found.task, *found.others}) == ("ambiguous", "k", {"left", "right", "join"})
    assert rule in found.message
    assert "task 'join' reads it" in found.message


def test_two_writers_whose_values_meet_in_the_result() -> None:
    for join in (lambda context: context.set("is there", "k" in context), lambda context: None):
        (found,) = cloaca.check(diamond(sets("k"), sets("k"), join))[:1]
        assert (found.kind, found.key, {found.task, *found.others}) == ("ambiguous", "k", {"left", "right"})
        assert "the result has both" in found.message
    apart = workflow(a=(constant("k", 1), []), b=(constant("k", 2), []), c=(constant("x", 1), ["a"]))
    assert kinds([found for found in cloaca.check(apart) if found.kind != "unread"]) == [("ambiguous", "a", "k")]


def test_two_writers_of_which_only_one_may_write() -> None:
    def slow(context: Context) -> None:
        if context["mode"] != "fast":
            context["k"] = "slow"

    def fast(context: Context) -> None:
        if context["mode"] == "fast":
            context["k"] = "fast"

    assert cloaca.check(diamond(slow, fast), ["mode"]) == ()
    assert [finding.kind for finding in cloaca.check(diamond(slow, constant("k", 1)), ["mode"])] == ["ambiguous"]


def test_what_tasks_declare_to_write_counts_too() -> None:
    with WorkflowBuilder("w", check="off") as builder:
        for name in "ab":
            cloaca.task(id=name, writes=["k"])(lambda context: context.update_from_dict({}))
    assert kinds(cloaca.check(builder.build())) == [("ambiguous", "a", "k")]


@pytest.mark.parametrize(
    "made",
    [
        lambda: diamond(constant("k", 1), constant("k", 1)),
        lambda: diamond(removes, removes),
        lambda: diamond(appends, appends),
        lambda: diamond(constant("k", [1]), appends),
        lambda: diamond(constant("k", [1]), constant("k", [1]), merge={"k": cloaca.merge.concat}),
        lambda: diamond(constant("k", [1]), constant("k", [1]), merge={"k": cloaca.merge.by_structure}),
        lambda: diamond(constant("k", {"a": 1}), sets("k")),
        lambda: diamond(sets("k"), sets("k"), merge={"k": cloaca.merge.by_structure}),
        lambda: diamond(sets("k"), sets("k"), lambda context: context.update_from_dict({})),
        lambda: diamond(constant("k", 1), constant("k", 2), merge={"k": cloaca.merge.last}),
        lambda: diamond(constant("k", 1), constant("k", 2), on_conflict="first"),
        lambda: diamond(constant("k", 1), constant("k", 2), lambda context: context.set("k", 3)),
        lambda: diamond(constant("k", 1), constant("k", 2), lambda context: context.set("k", "k" in context)),
        lambda: diamond(constant("k", 1), constant("k", 2), trigger_rule="one_failed"),
    ],
)
def test_two_writers_that_may_agree(made: Callable[[], Workflow]) -> None:
    assert [finding for finding in cloaca.check(made()) if finding.kind == "ambiguous"] == []


def test_a_key_that_merges_by_structure_on_purpose_has_no_rule() -> None:
    made = diamond(sets("k"), sets("k"), merge={"k": cloaca.merge.by_structure, "n": cloaca.merge.sum})
    assert (set(made.merge), set(made.structured)) == ({"n"}, {"k"})
    with WorkflowBuilder("whole", check="error") as whole:
        whole.add_workflow(made, prefix="in")
    assert whole.build().structured == {"in.k"}
    with WorkflowBuilder("another", merge={"in.k": cloaca.merge.by_structure}) as whole:
        whole.add_workflow(diamond(sets("k"), sets("k"), on_conflict=None), prefix="in")


def test_a_rule_here_and_none_there() -> None:
    made = diamond(sets("k"), sets("k"), merge={"k": cloaca.merge.by_structure})
    whole = WorkflowBuilder("whole", merge={"in.k": cloaca.merge.sum})
    with (
        pytest.raises(WorkflowError, match=r"'in\.k' has a merge rule here, and one of the workflow that was added"),
        whole,
    ):
        whole.add_workflow(made, prefix="in")


def test_a_writer_between_settles_it() -> None:
    settled = workflow(
        a=(constant("k", 1), []),
        b=(constant("k", 2), []),
        c=(constant("k", 3), ["a", "b"]),
        d=(reads("k"), ["c", "a"]),
    )
    assert cloaca.check(settled) == ()


# ---- what is declared ----------------------------------------------------------------------------------------------


def test_a_declared_write_that_the_code_does_not_make() -> None:
    with WorkflowBuilder("w", check="off") as builder:
        cloaca.task(id="a", writes=["x", "y"])(constant("x", 1))
        cloaca.task(id="b", writes=["z"])(lambda context: context.update_from_dict({}))
    (found,) = cloaca.check(builder.build())
    assert (found.kind, found.task, found.key) == ("unmade", "a", "y")
    assert "declares key 'y', and its code never sets it: set it, or take it out of writes=" in found.message


def test_a_write_that_is_not_declared() -> None:
    with WorkflowBuilder("w", check="off") as builder:
        cloaca.task(id="a", writes=["total"])(constant("totl", 1))
        cloaca.task(id="b", writes=[])(constant("year", 1))
    found = cloaca.check(builder.build())
    assert kinds(found) == [("undeclared", "a", "totl"), ("undeclared", "b", "year")]
    assert "its writes= doesn't name: did it mean 'total'?" in found[0].message
    assert "add 'year' there, or leave the key as it is" in found[1].message


def helped(context: Context, item: int) -> None:
    counting(context)


def renamed(context: Context, item: int) -> None:
    context.set(f"result {item}", item)


def clear(context: Context, item: int) -> Any:
    put = context.set
    if item:
        put("out", [context.get("x"), context.seed])
        return {"more": item}
    print(item, sorted([item]), [context["y"] for _ in range(3)])
    return None


@pytest.mark.parametrize(
    ("function", "options", "is_clear"),
    [
        (helped, {}, False),
        (helped, {"writes": ["n"]}, True),
        (renamed, {}, False),
        (lambda context, item: {"k": item, **item}, {}, False),
        (max, {}, False),
        (clear, {}, True),
        (lambda context, item: None, {}, True),
    ],
)
def test_a_mapped_task_whose_code_does_not_tell_what_it_sets(function: Any, options: Any, is_clear: bool) -> None:  # noqa: FBT001 - a parameter of the table
    with WorkflowBuilder("w", check="off") as builder:
        cloaca.task(id="a", for_each="items", **options)(function)
    found = cloaca.check(builder.build())
    assert kinds(found) == ([] if is_clear else [("unclear", "a", "items")])
    assert all("declare writes=[...] with all of them" in finding.message for finding in found)


# ---- for information -----------------------------------------------------------------------------------------------


def test_a_task_of_which_nobody_reads_anything() -> None:
    unread = workflow({"check": "error"}, a=(constant("x", 1), []), b=(constant("y", 1), ["a"]))
    assert kinds(cloaca.check(unread)) == [("unread", "a", "x")]


# ---- how it is told ------------------------------------------------------------------------------------------------


def test_it_is_told_once_where_the_block_and_the_execution_stand(runner: DefaultRunner) -> None:
    with pytest.warns(DataflowWarning, match=r"Workflow 'w': Task 'total' reads key 'rows'") as told:
        workflow({"check": "warn"}, load=(sets("rows"), []), total=(reads("rows"), []), old=(reads("yaer"), []))
    assert [warning.filename for warning in told] == [__file__]
    with pytest.warns(DataflowWarning, match="did it mean 'year'") as told:
        runner.execute("w", Context({"year": 1}))
    assert [warning.filename for warning in told] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert runner.execute("w", Context({"year": 1})).status == "Failed"


def test_what_is_found_whatever_the_input_is_is_told_at_the_end_of_the_block() -> None:
    with pytest.warns(DataflowWarning) as told:
        diamond(sets("k"), sets("k"), check="warn")
    with pytest.warns(DataflowWarning) as told_too, WorkflowBuilder("other"):
        cloaca.task(id="a", writes=["total"])(constant("totl", 1))
    assert ["both set key 'k'" in str(told[0].message), "'totl'" in str(told_too[0].message)] == [True, True]
    assert (len(told), len(told_too)) == (1, 1)


def test_an_error_at_the_end_of_the_block() -> None:
    with pytest.raises(WorkflowError, match="add 'load' to the dependencies of 'total'"):
        workflow({"check": "error"}, load=(sets("rows"), []), total=(reads("rows"), []))


def test_an_error_where_the_execution_starts(runner: DefaultRunner) -> None:
    workflow({"check": "error"}, total=(reads("yaer"), []))
    with pytest.raises(WorkflowError, match="did it mean 'year'"):
        runner.execute("w", Context({"year": 1}))
    assert runner.execute("w", Context({"yaer": 1})).status == "Completed"


def test_the_error_of_a_task_that_fails_so_leads_with_it(runner: DefaultRunner) -> None:
    with pytest.warns(DataflowWarning):
        workflow({"check": "warn"}, load=(sets("rows"), []), total=(reads("rows"), []), bad=(lambda context: 1 / 0, []))
    result = runner.execute("w")
    assert (result.error_message or "").startswith("Task 'total' reads key 'rows', which task 'load' sets")
    error, unrelated = result.tasks["total"].error, result.tasks["bad"].error
    assert error is not None
    assert unrelated is not None
    assert "add 'load'" in error.__notes__[0]
    assert not hasattr(unrelated, "__notes__")
    assert pickle.loads(pickle.dumps(result)).error_message == result.error_message


@pytest.mark.parametrize(
    "function",
    [
        lambda context: [*context.get("rows")],
        lambda context: context.get("rows").append(1),
        lambda context: context.get("rows")[0],
    ],
)
def test_so_does_the_error_of_a_task_that_fails_of_the_none_that_it_got(runner: DefaultRunner, function: Any) -> None:
    with pytest.warns(DataflowWarning, match="add 'load'"):
        workflow({"check": "warn"}, load=(sets("rows"), []), total=(function, []))
    result = runner.execute("w")
    assert (result.error_message or "").startswith("Task 'total' reads key 'rows', which task 'load' sets")


@pytest.mark.parametrize("check", ["loud", True, None])
def test_a_check_that_makes_no_sense(check: Any) -> None:
    with pytest.raises(ValueError, match=r"WorkflowBuilder\(check=...\) is one of 'error', 'warn', 'off'"):
        WorkflowBuilder("w", check=check)


def test_what_is_no_workflow() -> None:
    with pytest.raises(TypeError, match="takes a workflow, as builder"):
        cloaca.check("w")  # type: ignore[arg-type]


def test_an_analysis_goes_with_its_workflow() -> None:
    made = workflow(total=(reads("yaer"), []))
    cloaca.check(made, ["year"])
    gone = weakref.ref(made)
    workflow(other=(reads("x"), []))  # takes its place in the registry
    del made
    gc.collect()
    assert gone() is None


# ---- what it costs -------------------------------------------------------------------------------------------------


def chain_that_reads_the_root(size: int) -> None:
    touched = [Touches(frozenset({"root"}), sets=frozenset({f"k{n}"})) for n in range(1, size)]
    compiled = plan("w", [("t0", []), *((f"t{n}", [f"t{n - 1}"]) for n in range(1, size))])
    flow = Flow(compiled, [Touches(sets=frozenset({"root"})), *touched], frozenset())
    assert flow.unmet == {}


def ladder_that_reads_what_is_far_above(size: int) -> None:
    """Two tasks on each rung, each after both above: each reads a key of its own, set ten rungs above."""
    tasks: list[tuple[str, list[str]]] = []
    touched = []
    for n in range(size):
        tasks += [(f"{side}{n}", [f"l{n - 1}", f"r{n - 1}"] if n else []) for side in "rl"]
        needs = frozenset({f"k{n - 10}"} if n >= 10 else ())
        touched += [Touches(needs, sets=frozenset({f"k{n}"})), Touches(needs)]
    assert Flow(plan("w", tasks), touched, frozenset()).unmet == {}


def fan_in_of_plain_writes(size: int) -> None:
    branches = [f"t{n}" for n in range(size)]
    touched = [Touches(sets=frozenset({"k"}), values={"k": symbol_of(n)}, makes=frozenset({"k"})) for n in range(size)]
    compiled = plan("w", [*((branch, []) for branch in branches), ("join", branches)])
    flow = Flow(compiled, [*touched, Touches(frozenset({"k"}))], frozenset())
    assert [key for key, *_ in flow.clashes(frozenset())] == ["k"]


def branches_that_meet_at_the_end(size: int) -> None:
    touched = [Touches(sets=frozenset({"k", f"own{n}"}), makes=frozenset({"k"})) for n in range(size)]
    flow = Flow(plan("w", [(f"t{n}", []) for n in range(size)]), touched, frozenset())
    assert [key for key, *_ in flow.clashes(frozenset())] == ["k"]


def keys_that_nobody_sets(size: int) -> None:
    """More of them than are told. No names are like theirs, and for most of them nobody looks for any."""
    tasks = {f"t{n}": (reads(f"lost {n}", f"context.set('z{n}', 1)"), list[str]()) for n in range(size)}
    assert cloaca.check(workflow(**tasks), ["given"]) == ()


@pytest.mark.parametrize(
    "case",
    [
        chain_that_reads_the_root,
        ladder_that_reads_what_is_far_above,
        fan_in_of_plain_writes,
        branches_that_meet_at_the_end,
        keys_that_nobody_sets,
    ],
)
def test_twice_the_size_is_twice_the_cost(case: Callable[[int], None]) -> None:
    small, large = lines(lambda: case(200)), lines(lambda: case(400))
    assert large < 2.3 * small


# ---- changes of copies ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        'context["rows"].append(1)',
        'context["rows"].sort()',
        'context["rows"][0] = 1',
        'context["rows"][0] += 1',
        'context["rows"][0]["year"] = 1',
        'del context["rows"][0]',
        'context.get("rows", []).extend([1])',
        'context.setdefault("rows", []).append(1)',
        'alias = context; alias["rows"].insert(0, 1)',
        'if context.get("a"):\n        context["rows"].reverse()',
    ],
)
def test_a_change_of_a_copy_that_nobody_has_is_told(line: str) -> None:
    (found,) = cloaca.check(workflow(a=(defined(f"def task(context):\n    {line}")["task"], [])))
    assert (found.kind, found.task, found.key) == ("lost", "a", "rows")
    assert found.message.startswith(
        "Task 'a' changes the value of key 'rows' where it fetches it, and the change is lost"
    )


@pytest.mark.parametrize(
    "line",
    [
        'rows = context["rows"]; rows.append(1); context["rows"] = rows',
        'context["total"] = context["rows"].pop()',
        'context["rows"].send(1)',
        'context["rows"].update(a=1)',
        'other = {}; other["rows"].append(1)',
        'context = {}; context["rows"].append(1)',
        'return context["rows"].append',
    ],
)
def test_what_may_be_meant_is_no_change_of_a_copy(line: str) -> None:
    found = cloaca.check(workflow(a=(defined(f"def task(context):\n    {line}")["task"], [])))
    assert [one for one in found if one.kind == "lost"] == []


def test_a_change_of_a_copy_is_told_by_the_name_that_the_code_says() -> None:
    inner = workflow(a=(defined('def task(context):\n    context["rows"].append(1)')["task"], []))
    with WorkflowBuilder("outer", check="off") as builder:
        builder.add_workflow(inner, prefix="north")
    (found,) = cloaca.check(builder.build())
    assert (found.kind, found.task, found.key) == ("lost", "north.a", "north.rows")
    assert "context['rows']" in found.message
