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
from tests.test_growth import lines

import cloaca
from cloaca import Context, DataflowWarning, DefaultRunner, Finding, Workflow, WorkflowBuilder, WorkflowError
from cloaca.engine.plan import plan
from cloaca.flow import Flow
from cloaca.wire.touches import Touches

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # as if all this stood in the user's script

Given = tuple[Callable[..., Any], list[str]]


@pytest.fixture(params=["processes", "serial"])
def runner(request: pytest.FixtureRequest) -> Iterator[DefaultRunner]:
    with DefaultRunner(workers=1, executor=request.param) as runner:
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
    scope: dict[str, Any] = {"value": [1] if value is None else value}
    exec(f"def task(context):\n    context.set({key!r}, value)", scope)
    return scope["task"]  # type: ignore[no-any-return]


def reads(key: str, also: str = "") -> Callable[..., Any]:
    scope: dict[str, Any] = {}
    exec(f"def task(context):\n    context[{key!r}]\n    {also}", scope)
    return scope["task"]  # type: ignore[no-any-return]


def constant(key: str, value: Any) -> Callable[..., Any]:
    scope: dict[str, Any] = {}
    exec(f"def task(context):\n    context.set({key!r}, {value!r})", scope)
    return scope["task"]  # type: ignore[no-any-return]


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
        cloaca.task(id="look", reads=["rows"], writes=[])(lambda context: context.get("rows"))
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
        {"load": (sets("rows"), []), "total": (lambda context: context.get("rows"), [])},
        {"load": (sets("rows"), []), "total": (lambda context: "rows" in context and context["rows"] and None, [])},
        {"load": (sets("rows"), []), "total": (lambda context, *, rows=3: None, [])},
        {"a": (lambda context: context.update_from_dict({}), []), "b": (reads("rows"), ["a"]), "c": (sets("rows"), [])},
        {"a": (reads("n", "context['n'] = 1"), []), "b": (reads("n", "context['n'] = 1"), [])},
        {"a": (reads("n", "context.set('n', 2)"), []), "total": (reads("n"), [])},
    ],
    ids=str,
)
def test_nothing_is_said(tasks: dict[str, Given]) -> None:
    assert cloaca.check(workflow(None, **tasks)) == ()


# ---- keys that come from two sides ---------------------------------------------------------------------------------


def diamond(left: Any, right: Any, join: Any = None, **options: Any) -> Workflow:
    return workflow(
        options,
        root=(lambda context: None, []),
        left=(left, ["root"]),
        right=(right, ["root"]),
        join=(join or reads("k"), ["left", "right"]),
    )


def test_two_writers_of_a_key_that_a_third_task_reads() -> None:
    (found,) = cloaca.check(diamond(constant("k", 1), constant("k", "x")))
    assert (found.kind, found.key, {found.task, *found.others}) == ("ambiguous", "k", {"left", "right", "join"})
    assert "merge={'k': cloaca.merge.last}" in found.message


@pytest.mark.parametrize(
    "made",
    [
        lambda: diamond(constant("k", 1), constant("k", 1)),
        lambda: diamond(constant("k", 1), sets("k")),
        lambda: diamond(constant("k", 1), lambda context: context.set("k", [1])),
        lambda: diamond(constant("k", 1), constant("k", 2), merge={"k": cloaca.merge.last}),
        lambda: diamond(constant("k", 1), constant("k", 2), on_conflict="first"),
        lambda: diamond(constant("k", 1), constant("k", 2), lambda context: context.set("k", 3)),
        lambda: diamond(constant("k", 1), constant("k", 2), lambda context: context.set("is there", "k" in context)),
        lambda: diamond(constant("k", 1), constant("k", 2), trigger_rule="all_success"),
    ],
)
def test_two_writers_that_may_agree(made: Callable[[], Workflow]) -> None:
    assert [finding for finding in cloaca.check(made()) if finding.kind == "ambiguous"] == []


def test_a_writer_between_settles_it() -> None:
    settled = workflow(
        a=(constant("k", 1), []),
        b=(constant("k", 2), []),
        c=(constant("k", 3), ["a", "b"]),
        d=(reads("k"), ["c", "a"]),
    )
    assert cloaca.check(settled) == ()


# ---- for information -----------------------------------------------------------------------------------------------


def test_a_declared_write_that_the_code_does_not_make() -> None:
    with WorkflowBuilder("w", check="error") as builder:
        cloaca.task(id="a", writes=["x", "y"])(constant("x", 1))
        cloaca.task(id="b", writes=["x"])(lambda context: context.update_from_dict({}))
    assert kinds(cloaca.check(builder.build())) == [("unmade", "a", "y")]


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
    touched = [Touches(sets=frozenset({"k"}), plain={"k": str(n)}) for n in range(size)]
    compiled = plan("w", [*((branch, []) for branch in branches), ("join", branches)])
    flow = Flow(compiled, [*touched, Touches(frozenset({"k"}))], frozenset())
    assert [key for key, *_ in flow.clashes(frozenset())] == ["k"]


@pytest.mark.parametrize(
    "case", [chain_that_reads_the_root, ladder_that_reads_what_is_far_above, fan_in_of_plain_writes]
)
def test_twice_the_size_is_twice_the_cost(case: Callable[[int], None]) -> None:
    small, large = lines(lambda: case(200)), lines(lambda: case(400))
    assert large < 2.3 * small
