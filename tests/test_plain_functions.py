"""Plain functions as tasks: what they take are keys, what they return is set, and names make dependencies."""

import asyncio
import functools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import cloudpickle
import pytest
from tests.support import defined, ready, without_places

import cloaca
from cloaca import Context, DefaultRunner, WorkflowBuilder, WorkflowError, WorkflowResult

if TYPE_CHECKING:
    from nowhere import Missing  # type: ignore[import-not-found]

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # as if all this stood in the user's script


@pytest.fixture(scope="module", params=["processes", "threads", "serial"])
def runner(request: pytest.FixtureRequest) -> Iterator[DefaultRunner]:
    with ready(workers=1, executor=request.param) as runner:
        run(runner, lambda: None, {})  # threads are there from here on
        yield runner


def run(runner: DefaultRunner, function: Callable[..., Any], given: dict[str, Any], **options: Any) -> WorkflowResult:
    """A workflow in which one task sets what is given, and the function is the next."""
    with WorkflowBuilder("one", check="off") as builder:
        cloaca.task(id="given")(lambda context: dict(given))
        cloaca.task(function, **{"id": "task", "dependencies": ["given"], "returns": "found", **options})
    return runner.execute(builder)


def found(runner: DefaultRunner, function: Callable[..., Any], given: dict[str, Any], **options: Any) -> Any:
    result = run(runner, function, given, **options)
    assert result.error_message is None
    return result.final_context["found"]


# ---- what a function is called with --------------------------------------------------------------------------------


def add(a: int, b: int = 10) -> int:
    return a + b


def by_place(a: Any, b: Any = 20, c: Any = 30, /, d: Any = 40, *, e: Any = 50) -> list[Any]:
    return [a, b, c, d, e]


def with_more(a: Any, *rest: Any, **named: Any) -> list[Any]:
    return [a, rest, named]


async def waiting(a: int) -> int:
    await asyncio.sleep(0)
    return a + 1


class Scaled:
    def __init__(self, a: int, b: int = 2) -> None:
        self.size = a * b

    def times(self, a: int) -> int:
        return self.size * a

    def __call__(self, a: int) -> int:
        return self.size + a


@dataclass
class Pair:
    a: int
    b: int = 9


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*given: Any, **named: Any) -> Any:
        return function(*given, **named)

    return wrapper


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (add, 11),
        (lambda a, e: [a, e], [1, 5]),
        (by_place, [1, 20, 30, 40, 5]),
        (with_more, [1, (), {}]),
        (waiting, 2),
        (functools.partial(add, 7), 17),
        (functools.partial(by_place, 0, e=7), [0, 20, 30, 40, 7]),
        (Scaled(3).times, 6),
        (Scaled(3), 7),
        (logged(add), 11),
        (functools.lru_cache(add), 11),
        (Pair, Pair(1)),
        (abs, 1),
        (lambda: None, None),
    ],
)
def test_a_function_is_called_with_keys_by_name(runner: DefaultRunner, function: Any, expected: Any) -> None:
    inputs = {"x": "a"} if function is abs else {}
    assert found(runner, function, {"a": 1, "e": 5}, inputs=inputs) == expected


def test_a_default_gives_way_to_the_key(runner: DefaultRunner) -> None:
    assert found(runner, by_place, {"a": 1, "c": 3, "d": 4}) == [1, 20, 3, 4, 50]


def test_parameters_are_renamed(runner: DefaultRunner) -> None:
    assert found(runner, add, {"left": 1, "b": 2}, inputs={"a": "left"}) == 3
    assert found(runner, sum, {"rows": [1, 2]}, inputs={"iterable": "rows"}) == 3
    assert found(runner, with_more, {"a": 1, "x": 2}, inputs={"more": "x"}) == [1, (), {"more": 2}]
    assert found(runner, lambda context: context, {"given": 1}, inputs={"context": "given"}) == 1


def test_what_a_default_is_changed_to_is_lost(runner: DefaultRunner) -> None:
    def collect(a: int, into: list[int] = []) -> list[int]:  # noqa: B006 - it is what is tested
        into.append(a)
        return into

    with WorkflowBuilder("w") as builder:
        for name in ("one", "other"):
            cloaca.task(collect, id=name, returns=name)
    result = runner.execute(builder, {"a": 1})
    assert [result.final_context[name] for name in ("one", "other")] == [[1], [1]]


def test_the_function_stays_as_it_is() -> None:
    with WorkflowBuilder("w"):
        task = cloaca.task(add, returns="found")

        @cloaca.task(returns="other")
        def other(a: int) -> int:
            return a + 1

    assert task is add
    assert other(3) == 4


# ---- what is returned ----------------------------------------------------------------------------------------------


def test_several_keys_take_a_tuple(runner: DefaultRunner) -> None:
    for halves in (lambda a: (a[:1], a[1:]), lambda a: [a[:1], a[1:]]):
        result = run(runner, halves, {"a": "xyz"}, returns=("train", "test"))
        assert (result.final_context["train"], result.final_context["test"]) == ("x", "yz")


def test_one_key_takes_the_value_itself(runner: DefaultRunner) -> None:
    assert found(runner, lambda: (1, 2), {}, returns=["found"]) == (1, 2)
    assert found(runner, lambda: None, {"found": 1}) is None


def test_without_a_key_what_is_returned_is_let_go(runner: DefaultRunner) -> None:
    result = run(runner, lambda a: a, {"a": 1}, returns=())
    assert result.status == "Completed"
    assert result.final_context.to_dict() == {"a": 1}


@pytest.mark.parametrize(
    ("returned", "told"), [((1, 2, 3), "a tuple of 3"), ({"train": 1, "test": 2}, "a dict"), ("ab", "a str")]
)
def test_anything_else_is_an_error(runner: DefaultRunner, returned: Any, told: str) -> None:
    result = run(runner, lambda: returned, {}, returns=("train", "test"))
    assert without_places(result.error_message) == (
        f"Task 'task' failed: TypeError: Task 'task' returned {told}, and its returns= has 2 keys, 'train', 'test': "
        "return a tuple with one value for each."
    )
    assert "test_plain_functions.py:" in (result.error_message or "")


# ---- types ---------------------------------------------------------------------------------------------------------


class Shaped(Protocol):
    size: int


def test_values_are_as_annotated(runner: DefaultRunner) -> None:
    def first(rows: list[Pair]) -> int:
        return rows[0].a

    assert found(runner, first, {"rows": [{"a": 3}]}) == 3
    result = run(runner, first, {"rows": [{"a": "3"}]})
    assert "rows[0].a: expected int, got str. Set key 'rows' so" in (result.error_message or "")
    result = run(runner, first, {"pairs": 3}, inputs={"rows": "pairs"})
    assert "rows: expected list[Pair], got int. Set key 'pairs' so" in without_places(result.error_message)


def test_what_cant_be_checked_isnt(runner: DefaultRunner) -> None:
    def shape(a: Shaped, b: "Missing", c: list[Shaped]) -> list[Any]:
        return [a, b, c]

    assert found(runner, shape, {"a": 1, "b": 2, "c": 3}) == [1, 2, 3]


def test_a_key_that_isnt_there_is_told(runner: DefaultRunner) -> None:
    result = run(runner, add, {"left": 1}, inputs={"a": "lef"})
    assert "MissingKeyError" in (result.error_message or "")
    assert "'left'" in (result.error_message or "")


# ---- mapped tasks --------------------------------------------------------------------------------------------------


def test_a_mapped_task_takes_an_item_and_shared_keys(runner: DefaultRunner) -> None:
    def scale(row: float, factor: int = 2) -> float:
        return row * factor

    with WorkflowBuilder("w", wire=True) as builder:
        cloaca.task(scale, for_each="rows", returns="scaled")
        cloaca.task(sum, id="total", returns="total", inputs={"iterable": "scaled"})
    assert runner.execute(builder, {"rows": [1, 2.5], "factor": 10}).final_context["total"] == 35
    assert runner.execute(builder, {"rows": {"a": 1}}).final_context["scaled"] == {"a": 2}
    assert runner.execute(builder, {"rows": []}).final_context["total"] == 0
    result = runner.execute(builder, {"rows": [1, "2"]})
    assert "Task 'scale[1]' can't be called: row: expected float, got str. Set key 'rows' so" in (
        result.error_message or ""
    )


def test_a_mapped_task_goes_on_with_its_own_item(runner: DefaultRunner) -> None:
    with WorkflowBuilder("w", wire=True) as builder:
        cloaca.task(lambda row: row + 1, id="first", for_each="rows", returns="more")
        cloaca.task(lambda row, more: [row, more], id="second", for_each="rows", returns="both")
    assert runner.execute(builder, {"rows": [1, 2]}).final_context["both"] == [[1, 2], [2, 3]]


# ---- wired ---------------------------------------------------------------------------------------------------------


def dependencies(builder: WorkflowBuilder) -> dict[str, tuple[str, ...]]:
    return {task.id: task.dependencies for task in builder.build().tasks}


def load(year: int) -> list[int]:
    return [year, 1]


def report(total: int, rows: list[int]) -> str:
    return f"{total} of {len(rows)}"


def test_names_make_dependencies(runner: DefaultRunner) -> None:
    with WorkflowBuilder("w", wire=True) as builder:
        cloaca.task(report, returns="report")
        cloaca.task(sum, returns="total", inputs={"iterable": "rows"})
        cloaca.task(load, returns="rows")
        cloaca.task(id="after", dependencies=["report"])(lambda context: None)
    assert dependencies(builder) == {"report": ("sum", "load"), "sum": ("load",), "load": (), "after": ("report",)}
    assert builder.build().topological_sort() == ["load", "sum", "report", "after"]
    assert runner.execute(builder, {"year": 2026}).final_context["report"] == "2027 of 2"


def test_tasks_with_contexts_are_wired_by_what_they_declare() -> None:
    with WorkflowBuilder("w", wire=True, check="off") as builder:
        cloaca.task(id="typed")(lambda context, *, rows: None)
        cloaca.task(id="reads", reads=["rows"])(lambda context: None)
        cloaca.task(id="asks", trigger_rules=cloaca.context_value("rows", "exists"))(lambda context: None)
        cloaca.task(id="each", for_each="rows")(lambda context, item: None)
        cloaca.task(id="code")(lambda context: context["rows"])
        cloaca.task(id="writes", writes=["rows"])(lambda context: context.set("rows", [1]))
    wired = {"typed", "reads", "asks", "each"}
    assert dependencies(builder) == {
        **dict.fromkeys(wired, ("writes",)),
        **dict.fromkeys(("code", "writes"), ()),
    }


def test_copies_are_wired_by_what_they_are_given_and_return(runner: DefaultRunner) -> None:
    with WorkflowBuilder("region", wire=True) as region:
        cloaca.task(sum, id="total", returns="total", inputs={"iterable": "rows"})
        cloaca.task(lambda total: -total, id="negative", returns="negative")
    with WorkflowBuilder("country", wire=True) as country:
        cloaca.task(load, returns="all_rows")
        country.add_workflow(region, prefix="north", inputs={"rows": "all_rows"})
        cloaca.task(lambda one: one, id="report", returns="report", inputs={"one": "north.negative"})
    assert dependencies(country) == {
        "load": (),
        "north.total": ("load",),
        "north.negative": ("north.total",),
        "report": ("north.negative",),
    }
    assert runner.execute(country, {"year": 2026}).final_context["report"] == -2027


def test_a_task_may_return_what_it_takes(runner: DefaultRunner) -> None:
    with WorkflowBuilder("w", wire=True) as builder:
        cloaca.task(load, returns="rows")
        cloaca.task(sorted, returns="rows", inputs={"iterable": "rows"})
        cloaca.task(lambda rows: rows[0], id="first", returns="first", dependencies=["sorted"])
    assert dependencies(builder) == {"load": (), "sorted": ("load",), "first": ("sorted",)}
    assert runner.execute(builder, {"year": 2026}).final_context["first"] == 1


def test_two_who_return_a_key_are_told_apart_where_it_is_taken() -> None:
    def build() -> None:
        with WorkflowBuilder("w", wire=True):
            cloaca.task(load, returns="rows")
            cloaca.task(load, id="again", returns="rows")
            cloaca.task(report, returns="report")

    with pytest.raises(WorkflowError) as caught:
        build()
    (finding,) = caught.value.findings
    assert finding == (
        "Task 'report' takes key 'rows', which tasks 'load' and 'again' return: list the one that is meant in its "
        "dependencies=, let each return another key, or give the key a merge rule."
    )
    line = load.__code__.co_firstlineno
    assert f"(report at tests/test_plain_functions.py:{report.__code__.co_firstlineno}; load at tests/" in str(
        caught.value
    )
    assert f"test_plain_functions.py:{line}" in str(caught.value)


def test_all_who_return_a_key_with_a_rule_are_meant(runner: DefaultRunner) -> None:
    with WorkflowBuilder("w", wire=True, merge={"rows": cloaca.merge.concat}) as builder:
        cloaca.task(load, returns="rows")
        cloaca.task(load, id="again", returns="rows")
        cloaca.task(sum, returns="total", inputs={"iterable": "rows"})
    assert runner.execute(builder, {"year": 1}).final_context["total"] == 4


def test_a_cycle_tells_its_keys() -> None:
    def build() -> None:
        with WorkflowBuilder("w", wire=True):
            cloaca.task(lambda b: b, id="one", returns="a")
            cloaca.task(lambda a: a, id="other", returns="b", dependencies=["third"])
            cloaca.task(lambda a: a, id="third", returns="c")

    with pytest.raises(WorkflowError) as caught:
        build()
    (finding,) = caught.value.findings
    assert finding.endswith(": one -> other -> one (one takes 'b' of other, other takes 'a' of one)")


def test_without_wire_nothing_is_added() -> None:
    with WorkflowBuilder("w", check="off") as builder:
        cloaca.task(load, returns="rows")
        cloaca.task(sum, returns="total", inputs={"iterable": "rows"})
    assert dependencies(builder) == {"load": (), "sum": ()}
    kinds = [finding.kind for finding in cloaca.check(builder.build())]
    assert kinds == ["unordered"]


# ---- what makes no sense -------------------------------------------------------------------------------------------


def yielding(rows: list[int]) -> Iterator[int]:
    yield from rows


@pytest.mark.parametrize(
    ("function", "options", "told"),
    [
        (add, {"returns": "x", "inputs": {"c": "rows"}}, "which is no parameter of the function: it takes (a: int"),
        (report, {"returns": "x", "inputs": {"row": "r"}}, "did you mean 'rows'?"),
        (add, {"returns": "x", "inputs": ["a"]}, "maps parameters of the function to keys"),
        (add, {"returns": "x", "inputs": {"a": ""}}, "maps parameters of the function to keys"),
        (add, {"inputs": {"a": "rows"}}, "is for functions without a context"),
        (add, {"returns": "x", "writes": ["x"], "reads": ["a"]}, "leave out reads= and writes="),
        (add, {"returns": {"x", "y"}}, "in the order of what is returned"),
        (add, {"returns": ["x", "x"]}, "different keys"),
        (add, {"returns": 3}, "takes a list of keys, not 3"),
        (lambda context: None, {"returns": "x"}, "knows no context: leave out returns=, or the parameter"),
        (lambda a, handle: None, {"returns": "x"}, "say inputs={'handle': 'handle'}"),
        (max, {"returns": "x"}, "as in `lambda rows: max(rows)`"),
        (yielding, {"returns": "x"}, "yielding is a generator"),
        (lambda: None, {"returns": "x", "for_each": "rows"}, "the first parameter of a function is the item"),
        (lambda *, row: None, {"returns": "x", "for_each": "rows"}, "This one takes (*, row)"),
        (
            lambda row: None,
            {"returns": "x", "for_each": "rows", "inputs": {"row": "x"}},
            "can't be named by inputs=",
        ),
        (3, {"returns": "x"}, "a task is a function, and this is an int"),
    ],
)
def test_what_makes_no_sense_is_told(function: Any, options: dict[str, Any], told: str) -> None:
    builder = WorkflowBuilder("w")
    with pytest.raises(ValueError) as caught, builder:  # noqa: PT011 - its text is looked at
        cloaca.task(id="task", **options)(function)
    assert told in str(caught.value)


# ---- what else looks at tasks --------------------------------------------------------------------------------------


def test_its_code_tells_how_it_is_called() -> None:
    def code(**options: Any) -> str:
        with WorkflowBuilder("w", check="off") as builder:
            cloaca.task(add, id="task", **options)
        return builder.build().code_of("task")

    codes = [
        code(returns="x"),
        code(returns="y"),
        code(returns=("x", "y")),
        code(returns=("y", "x")),
        code(returns="x", inputs={"a": "c"}),
        code(returns="x", for_each="rows"),
    ]
    assert len(set(codes)) == len(codes)
    assert code(returns="x") == codes[0]


def test_a_changed_argument_is_no_lost_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOACA_DEBUG", "1")

    def grow(rows: list[int]) -> list[int]:
        rows.append(3)
        return rows

    with WorkflowBuilder("w", wire=True) as builder:
        cloaca.task(grow, returns="grown")
        cloaca.task(lambda row: row.append(1), id="each", for_each="lists", returns=())
    with DefaultRunner(executor="serial") as runner:
        result = runner.execute(builder, {"rows": [1], "lists": [[]]})
    assert result.final_context["grown"] == [1, 3]


def test_plain_functions_read_no_keys_in_their_code() -> None:
    scope = defined("def lookup(rows):\n    return [row['price'] for row in rows] + [rows.get('nothing')]\n")
    with WorkflowBuilder("w") as builder:
        cloaca.task(scope["lookup"], returns="prices")
    assert cloaca.check(builder.build(), ["rows"]) == ()


def test_outputs_and_reuse_work(tmp_path: Any) -> None:
    with WorkflowBuilder("w", wire=True, outputs=["total"], reuse=True) as builder:
        cloaca.task(load, returns="rows")
        cloaca.task(sum, returns="total", inputs={"iterable": "rows"})
    with ready(workers=1, database_url=f"sqlite:///{tmp_path}/runs.db") as runner:
        first, second = (runner.execute(builder, Context({"year": 3})) for _ in range(2))
        assert first.final_context.to_dict() == second.final_context.to_dict() == {"total": 4}
        assert [task.status for task in second.tasks.values()] == ["Completed", "Completed"]
        assert all(task.ran_because is None for task in second.tasks.values())
