"""Plain functions as tasks: what they take are keys, what they return is set, and names make dependencies."""

import asyncio
import contextlib
import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NewType, Protocol, TypedDict, TypeVar

import cloudpickle
import numpy as np
import pytest
from tests.support import defined, ready, without_places

import cloaca
from cloaca import Context, DefaultRunner, WorkflowBuilder, WorkflowError, WorkflowResult
from cloaca.dataflow.annotations import never_fits
from cloaca.tasks.conversion import conversion_of
from cloaca.tasks.mismatch import Mismatch
from cloaca.tasks.place import place_of

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
    with WorkflowBuilder("plain function", check="off") as builder:
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


# ---- annotations are compared ----------------------------------------------------------------------------------------


class Frame:
    pass


class Wide(Frame):
    pass


class Mixed:
    pass


class Both(Frame, Mixed):
    pass


class Kind(Enum):
    ONE = 1


class Fields(TypedDict):
    a: int


class Deciding(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return True


class Anything(metaclass=Deciding):
    pass


Number = NewType("Number", int)
T = TypeVar("T")


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        (int, str),
        (str, int),
        (list[int], Frame),
        (list, Frame),
        (Frame, list[int]),
        (dict[str, int], list[int]),
        (None, list),
        (int | None, str),
        (int, str | list[int]),
        (bool, str),
        (Pair, int),
        (str, Pair),
        (int, Sequence[int]),
        (Number, str),
        (Annotated[int, "note"], str),
        (Literal["a"], int),
        (str, Literal[1, 2]),
        (str, Fields),
        (Fields, list),
        (bytes, str),
        (str, Path),
        (list[int], date),
        (Frame, int),
    ],
)
def test_what_never_fits(given: Any, asked: Any) -> None:
    assert never_fits(given, asked)
    assert not never_fits(given, given)
    assert not never_fits(asked, asked)


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        (Any, int),
        (int, Any),
        (object, int),
        (int, object),
        (int, float),
        (float, int),
        (int, bool),
        (int, complex),
        (int, Decimal),
        (str, date),
        (str, Decimal),
        (str, bytes),
        (int, Kind),
        (Kind, str),
        (int | str, int),
        (int, int | str),
        (str | None, str),
        (list[int], list[str]),
        (list[int], set[int]),
        (set[int], Sequence[int]),
        (list[Pair], tuple[int, ...]),
        (dict[str, int], Pair),
        (dict[str, int], Fields),
        (list[int], Pair),
        (Fields, dict[str, int]),
        (Frame, Wide),
        (Wide, Frame),
        (Frame, Mixed),
        (Frame, Pair),
        (int, Shaped),
        (Shaped, int),
        (T, int),
        (int, T),
        (Number, float),
        (Literal["a", 1], int),
        (Iterator[int], list[int]),
        (Pair, dict),
        ("Missing", int),
        (int, Anything),
        (int, "Missing"),
        (np.int64, int),
        (np.float64, float),
    ],
)
def test_what_may_fit(given: Any, asked: Any) -> None:
    assert not never_fits(given, asked)


VALUES: Sequence[Any] = [
    1, 1.5, True, 2j, "a", "2026-01-01", b"a", None, [1], (1,), {1}, frozenset([1]), {"a": 1}, Pair(1), Frame(), Wide(),
    Both(), Kind.ONE, date(2026, 1, 1), Decimal(1), Path("a"), np.float64(1), np.arange(2), np.int64(1),
]  # fmt: skip
ANNOTATIONS: Sequence[Any] = [
    int, float, bool, complex, str, bytes, None, list[int], list, tuple[int, ...], set[int], dict[str, int], dict, Pair,
    Frame, Wide, Mixed, Kind, date, Decimal, Path, np.ndarray, Sequence[int], Mapping[str, int], Iterable[int], Fields,
    int | str, Literal["a", 1],
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_what_is_converted_is_never_said_not_to_fit(value: Any) -> None:
    for annotation in ANNOTATIONS:
        with contextlib.suppress(Mismatch):
            conversion_of(annotation)(value)
            assert not never_fits(type(value), annotation), annotation


def findings(*tasks: tuple[Callable[..., Any], dict[str, Any]]) -> list[cloaca.Finding]:
    with WorkflowBuilder("w", wire=True, check="off") as builder:
        for function, options in tasks:
            cloaca.task(function, **options)
    return [finding for finding in cloaca.check(builder.build()) if finding.kind == "mistyped"]


def framed(rows: Frame) -> str:
    return str(rows)


def texts(rows: list[str]) -> None: ...


def one_text(row: str) -> str:
    return row


def maybe(year: int) -> list[int] | None:
    return [year] if year else None


def halves(rows: list[int]) -> tuple[int, int]:
    return rows[0], rows[1]


def test_annotations_that_dont_fit_are_told_with_both_places() -> None:
    (finding,) = findings((load, {"returns": "rows"}), (framed, {"returns": "text"}))
    assert (finding.task, finding.key, finding.others) == ("framed", "rows", ("load",))
    assert without_places(finding.message).startswith(
        "Task 'framed' takes key 'rows' for Frame (rows), and task 'load', which sets it, returns list[int]: let one "
        "return what the other takes, or correct what is annotated"
    )
    assert finding.places == tuple(
        [f"tests/test_plain_functions.py:{one.__code__.co_firstlineno}" for one in (framed, load)]
    )


def test_types_of_items_of_each_key_and_of_classes_are_compared() -> None:
    assert findings((load, {"returns": "rows"}), (one_text, {"for_each": "rows", "returns": "x"}))
    assert findings((halves, {"returns": ("a", "b")}), (framed, {"returns": "x", "inputs": {"rows": "b"}}))
    assert findings((Pair, {"returns": "rows"}), (framed, {"returns": "x"}))
    assert findings((load, {"returns": "rows"}), (framed, {"returns": "x"}), (texts, {"returns": ()}))
    (wrong,) = findings((halves, {"returns": ("a", "b", "c")}), (load, {"returns": ("d", "e")}))
    assert "annotated to return a tuple of 2, and its returns= has 'a', 'b', 'c'" in wrong.message
    (wrong,) = findings((framed, {"returns": ("a", "b")}))
    assert "annotated to return no tuple, and its returns= has 'a', 'b'" in wrong.message


def test_nothing_is_said_of_what_may_be() -> None:
    assert not findings((maybe, {"returns": "rows"}), (texts, {"returns": ()}))
    assert not findings((load, {"returns": "rows"}), (texts, {"returns": ()}))
    assert not findings((load, {"returns": "rows", "for_each": "years"}), (framed, {"returns": "x"}))
    assert not findings((logged(load), {"returns": "rows", "id": "load"}), (framed, {"returns": "x"}))
    two = [(load, {"returns": "rows", "id": name}) for name in ("one", "other")]
    assert not findings(*two, (framed, {"returns": "x", "dependencies": ["one", "other"]}))
    assert not findings((framed, {"returns": "x"}))


def test_a_finding_stops_an_execution_where_it_is_to() -> None:
    def build() -> None:
        with WorkflowBuilder("w", wire=True, check="error"):
            cloaca.task(load, returns="rows")
            cloaca.task(framed, returns="text")

    with pytest.raises(WorkflowError, match="takes key 'rows' for Frame"):
        build()


# ---- types of the input --------------------------------------------------------------------------------------------


def test_types_of_the_input_are_told_when_an_execution_starts(runner: DefaultRunner) -> None:
    with WorkflowBuilder("w", wire=True) as builder:
        cloaca.task(sum, id="first", returns="sum", inputs={"iterable": "numbers"})
        cloaca.task(add, returns="found", inputs={"a": "year"}, dependencies=["first"])
    with pytest.raises(cloaca.ParameterError) as caught:
        runner.execute(builder, {"year": "2026", "numbers": [1]})
    assert str(caught.value) == (
        "Task 'add' can't be called: a: expected int, got str. Give key 'year' so in the input, or annotate the "
        f"parameter with what it holds (add at tests/test_plain_functions.py:{add.__code__.co_firstlineno})."
    )
    assert (caught.value.task, caught.value.key) == ("add", "year")
    with pytest.raises(cloaca.ParameterError, match="b: expected int, got str"):
        runner.execute(builder, {"year": 2026, "b": "1", "numbers": [1]})
    assert runner.execute(builder, {"year": 2026, "numbers": [1]}).final_context["found"] == 2036


def test_of_a_copy_the_key_outside_is_told(runner: DefaultRunner) -> None:
    with WorkflowBuilder("part") as part:
        cloaca.task(add, returns="found")
    with WorkflowBuilder("w") as builder:
        builder.add_workflow(part, prefix="north", inputs={"a": "year"})
    with pytest.raises(cloaca.ParameterError, match="Give key 'year' so in the input"):
        runner.execute(builder, {"year": "2026"})
    assert runner.execute(builder, {"year": 2026}).final_context["north.found"] == 2036


def test_only_what_is_surely_read_is_looked_at(runner: DefaultRunner) -> None:
    with WorkflowBuilder("w", check="off") as builder:
        cloaca.task(lambda: 3, id="sets", returns="a")
        cloaca.task(add, returns="found", dependencies=["sets"])
        cloaca.task(add, id="perhaps", returns="x", inputs={"a": "z"}, trigger_rules=cloaca.context_value("z", ">", 3))
        cloaca.task(add, id="after", returns="y", inputs={"a": "z"}, dependencies=["perhaps"])
    result = runner.execute(builder, {"a": "text", "z": 1})
    assert result.final_context["found"] == 13
    builder = WorkflowBuilder("v", check="off")
    with builder:
        cloaca.task(id="open")(lambda context: context.update(dict.fromkeys(("a",), 3)))
        cloaca.task(add, returns="found", dependencies=["open"])
    assert runner.execute(builder, {"a": "text"}).final_context["found"] == 13


def test_large_values_of_the_input_are_left_to_their_readers(runner: DefaultRunner) -> None:
    def size(rows: list[int]) -> int:
        return len(rows)

    with WorkflowBuilder("w", wire=True) as builder:
        cloaca.task(size, returns="size")
    with pytest.raises(cloaca.ParameterError):
        runner.execute(builder, {"rows": np.zeros(10)})
    result = runner.execute(builder, {"rows": np.zeros(1 << 20)})
    assert "expected list[int], got ndarray" in (result.error_message or "")


def test_of_a_builtin_the_line_is_told_where_it_is_made_a_task() -> None:
    with WorkflowBuilder("w", check="off") as builder:
        cloaca.task(load, returns="rows")
        line = sys._getframe().f_lineno + 1
        cloaca.task(sum, returns="total", inputs={"iterable": "rows"})
    (finding,) = cloaca.check(builder.build())
    assert finding.kind == "unordered"
    assert f"(sum at tests/test_plain_functions.py:{line}, load at " in finding.message


def test_of_a_class_its_line_is_told() -> None:
    assert place_of(Pair, str(Path.cwd())).startswith("tests/test_plain_functions.py:")
    assert place_of(Frame) == place_of(Frame, "elsewhere")


# ---- what they have returned ---------------------------------------------------------------------------------------


def split(rows: list[int]) -> tuple[list[int], list[int]]:
    return rows[:1], rows[1:]


def largest(rows: list[int]) -> int:
    return max(rows)


def doubled(row: int) -> int:
    return 2 * row


def test_what_a_task_has_returned_is_asked_for_by_its_id() -> None:
    with cloaca.WorkflowBuilder("parts") as inner:
        cloaca.task(split, returns=("train", "test"))
        cloaca.task(largest, returns="top")
        cloaca.task(doubled, for_each="rows", returns="doubles")
        cloaca.task(largest, id="let_go", returns=())
        cloaca.task(id="other")(lambda context: None)
    with cloaca.WorkflowBuilder("outer") as builder:
        builder.add_workflow(inner, prefix="north", inputs={"rows": "rows"})
    with cloaca.DefaultRunner(executor="serial") as runner:
        result = runner.execute(inner, {"rows": [3, 1]})
        copied = runner.execute(builder, {"rows": [3, 1]})
    assert [result.value(id) for id in ("split", "largest", "doubled", "let_go")] == [([3], [1]), 3, [6, 2], None]
    assert copied.value("north.split") == ([3], [1])
    with pytest.raises(ValueError, match=r"Task 'other' says by no returns= what it returns"):
        result.value("other")
    with pytest.raises(KeyError, match=r"No task of this workflow has the id 'spilt'. The nearest ids are 'split'"):
        result.value("spilt")


def test_what_is_no_more_what_a_task_has_returned_is_told() -> None:
    with cloaca.WorkflowBuilder("twice") as builder:
        cloaca.task(largest, id="first", returns="top")
        cloaca.task(lambda top: top + 1, id="second", dependencies=["first"], returns="top")
        cloaca.task(lambda top: top.missing, id="third", dependencies=["second"], returns="last")
    with cloaca.DefaultRunner(executor="serial") as runner:
        result = runner.execute(builder, {"rows": [3, 1]})
    assert result.value("second") == result["top"] == 4
    with pytest.raises(ValueError, match=r"key 'top' was set by 'second', too. result\['top'\] is its value"):
        result.value("first")
    with pytest.raises(ValueError, match=r"Task 'third' has returned nothing: Failed, AttributeError"):
        result.value("third")
