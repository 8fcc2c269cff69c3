"""Keys that a task is called with, by name, and keys that it declares to write."""

import collections
import enum
import functools
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Protocol, TypedDict

import cloudpickle
import msgspec
import numpy as np
import pytest
from tests.support import ready

import cloaca
from cloaca import Context, DefaultRunner, MissingKeyError, ParameterError, UndeclaredWriteError, WorkflowResult
from cloaca.tasks.signature import Parameter, form_of

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # as if all this stood in the user's script


class Row(msgspec.Struct):
    price: float


class Special(Row):
    pass


@dataclass
class Point:
    x: float


class Shape(TypedDict):
    sides: int


class Color(enum.Enum):
    RED = 1


class Own:
    pass


class Plain(Protocol):
    size: int


@pytest.fixture(scope="module", params=["processes", "serial"])
def runner(request: pytest.FixtureRequest) -> Iterator[DefaultRunner]:
    with ready(workers=1, executor=request.param) as runner:
        yield runner


def run(runner: DefaultRunner, function: Callable[..., Any], given: dict[str, Any], **options: Any) -> WorkflowResult:
    with cloaca.WorkflowBuilder("w", check="off" if "writes" in options else "warn"):
        cloaca.task(id="task", **options)(function)
    return runner.execute("w", Context(given))


def run_after(
    runner: DefaultRunner, function: Callable[..., Any], given: dict[str, Any], **options: Any
) -> WorkflowResult:
    """The same where a task sets what is given, so that nobody looks at it before."""
    with cloaca.WorkflowBuilder("w", check="off") as builder:
        cloaca.task(id="given")(lambda context: dict(given))
        cloaca.task(id="task", dependencies=["given"], **options)(function)
    return runner.execute(builder)


def found(runner: DefaultRunner, function: Callable[..., Any], **given: Any) -> Any:
    result = run(runner, function, given)
    assert result.error_message is None
    return result.final_context["found"]


# ---- what a function is called with --------------------------------------------------------------------------------


def plain(context: Context, *, year: Any, rows: Any) -> None:
    context.set("found", [year, rows])


def with_default(context: Context, *, year: int, factor: int = 3) -> None:
    context.set("found", [year, factor])


def with_handle(context: Context, handle: Any, *, year: int) -> None:
    context.set("found", [year, handle.is_slot_held()])


async def waiting(context: Context, *, year: int) -> None:
    context.set("found", year)


async def waiting_with_handle(context: Context, handle: Any, *, year: int) -> None:
    await handle.defer_until(lambda: True, 1)
    context.set("found", year)


class Counting:
    def method(self, context: Context, *, year: int) -> None:
        context.set("found", year)

    def __call__(self, context: Context, *, year: int) -> None:
        context.set("found", year)


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*given: Any, **named: Any) -> Any:
        return function(*given, **named)

    return wrapper


def bound_before(number: int, context: Context, *, year: int, more: int) -> None:
    context.set("found", [number, year, more])


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (plain, [2026, [1, 2]]),
        (with_default, [2026, 3]),
        (with_handle, [2026, True]),
        (waiting, 2026),
        (waiting_with_handle, 2026),
        (Counting(), 2026),
        (Counting().method, 2026),
        (logged(with_default), [2026, 3]),
        (functools.partial(bound_before, 5, more=6), [5, 2026, 6]),
        (lambda context, *, year: {"found": year}, 2026),
    ],
)
def test_a_function_is_called_with_keys(runner: DefaultRunner, function: Any, expected: Any) -> None:
    assert found(runner, function, year=2026, rows=[1, 2], more="not this") == expected


def test_a_default_gives_way_to_the_key(runner: DefaultRunner) -> None:
    assert found(runner, with_default, year=1, factor=9) == [1, 9]


MARKER: Any = object()


class Settings:
    def __init__(self) -> None:
        self.seen: list[int] = []


def collecting(
    context: Context,
    *,
    rows: list[int] = [],  # noqa: B006 - what this is about
    counts: Counter[str] = Counter(),  # noqa: B006
    settings: Any = Settings(),  # noqa: B008
    marker: Any = MARKER,
    more: Any = (1, [2]),
) -> None:
    rows.append(1)
    counts["rows"] += 1
    settings.seen.append(1)
    more[1].append(3)
    context.set("found", [rows, counts["rows"], settings.seen, marker is MARKER, more])


@pytest.mark.parametrize("function", [collecting, logged(collecting), functools.partial(collecting, marker=MARKER)])
def test_defaults_that_can_be_changed_are_handed_out_as_copies(runner: DefaultRunner, function: Any) -> None:
    for _ in range(2):
        assert found(runner, function) == [[1], 1, [1], True, (1, [2, 3])]
    defaults = collecting.__kwdefaults__ or {}
    assert (defaults["rows"], defaults["settings"].seen) == ([], [])


def test_what_a_partial_gives_goes_before_a_default(runner: DefaultRunner) -> None:
    assert found(runner, functools.partial(collecting, more=(7, []))) == [[1], 1, [1], True, (7, [3])]


def test_a_default_that_cannot_be_copied_is_handed_out_as_it_is() -> None:
    def tell(context: Context, *, lock: Any = Lock()) -> None:  # noqa: B008
        context.set("found", type(lock).__name__)

    with DefaultRunner(executor="serial") as runner:
        assert found(runner, tell) == "lock"


def test_what_a_partial_gives_is_not_asked_for() -> None:
    form = form_of("t", functools.partial(bound_before, 5, more=6))
    assert form.parameters == (Parameter("year", annotation=int),)


def test_instances_are_called_with_keys(runner: DefaultRunner) -> None:
    def price(context: Context, item: int, *, rate: float) -> None:
        context.set("found", item * rate)

    result = run(runner, price, {"rows": [1, 2], "rate": 2.0}, for_each="rows")
    assert result.final_context["found"] == [2.0, 4.0]


def test_functions_of_one_kind_share_a_binding(runner: DefaultRunner) -> None:
    def adding(n: int) -> Callable[..., Any]:
        def add(context: Context, *, rows: list[Row]) -> None:
            context.set(f"n{n}", n + rows[0].price)

        return add

    with cloaca.WorkflowBuilder("kind"):
        for n in range(5):
            cloaca.task(id=str(n))(adding(n))
    for _ in range(2):
        result = runner.execute("kind", Context({"rows": [{"price": 1}]}))
        assert [result.final_context[f"n{n}"] for n in range(5)] == [1, 2, 3, 4, 5]


def test_parameters_are_sent_along(runner: DefaultRunner) -> None:
    def read(context: Context, *, year: int) -> None:
        context.set("found", year)

    assert run(runner, read, {"year": 1}, reads=["other"]).tasks["task"].keys_read == ("year",)


def test_another_worker_is_told_of_the_parameters_too(tmp_path: Path) -> None:
    mark = tmp_path / "begun"

    def fragile(context: Context, *, rows: list[Row]) -> None:
        if not mark.exists():
            mark.touch()
            os._exit(1)
        context.set("found", rows[0].price)

    with DefaultRunner(workers=1) as pool:
        result = run(pool, fragile, {"rows": [{"price": 1}]}, retry_attempts=2, retry_delay_ms=1, writes=["found"])
    assert (result.final_context["found"], result.tasks["task"].attempts) == (1.0, 2)


# ---- what doesn't fit ----------------------------------------------------------------------------------------------


def test_an_absent_key_fails_the_task_with_near_names(runner: DefaultRunner) -> None:
    with pytest.warns(cloaca.DataflowWarning, match="did it mean 'rovs'"):
        result = run(runner, lambda context, *, rows: None, {"rovs": 1})
    error = result.tasks["task"].error
    assert isinstance(error, MissingKeyError)
    assert (error.task, error.key, error.close) == ("task", "rows", ("rovs",))


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (list[Row], [{"price": 1}], [Row(1.0)]),
        (list[Row], [Row(1.0)], [Row(1.0)]),
        (list[Row], [Special(1.0)], [Special(1.0)]),
        (Row, Special(2.0), Special(2.0)),
        (dict[str, Point], {"a": {"x": 1}}, {"a": Point(1.0)}),
        (Shape, {"sides": 3}, {"sides": 3}),
        (Color, Color.RED, Color.RED),
        (list[Color], [Color.RED], [Color.RED]),
        (dict[str, tuple[Color, ...]], {"a": (Color.RED,)}, {"a": (Color.RED,)}),
        (float, 3, 3.0),
        (int | None, None, None),
        (int | Own, 3, 3),
        (Row | Point, Point(1.0), Point(1.0)),
        (Any, "x", "x"),
        (list[Row], [Special(1.0), {"price": 2}], [Special(1.0), Row(2.0)]),
        (list[Row], (Special(1.0),), [Special(1.0)]),
        (dict[str, int], collections.Counter("aab"), collections.Counter("aab")),
        (Sequence[int], (1, 2), (1, 2)),
        (Shape, {"sides": 3, "naem": "typo"}, {"sides": 3, "naem": "typo"}),
        (int, np.int64(3), 3),
        (float, np.float32(0.5), 0.5),
        (bool, np.bool_(True), True),
        ("list[Row]", [{"price": 1}], [Row(1.0)]),
    ],
)
def test_values_come_as_annotated(runner: DefaultRunner, annotation: Any, value: Any, expected: Any) -> None:
    def read(context: Context, *, key: Any) -> None:
        context.set("found", key)

    read.__annotations__["key"] = annotation
    result = found(runner, read, key=value)
    assert (result, type(result)) == (expected, type(expected))


def test_an_array_comes_as_it_is(runner: DefaultRunner) -> None:
    def read(context: Context, *, key: np.ndarray) -> None:
        context.set("found", key)

    assert found(runner, read, key=np.arange(3)).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("annotation", "value", "fault"),
    [
        (list[Row], [{"price": 1}, {"price": "2"}], "key[1].price: expected float, got str"),
        (dict[str, list[Row]], {"a": [{"price": "2"}]}, "key['a'][0].price: expected float, got str"),
        (int, "3", "key: expected int, got str"),
        (int, 3.5, "key: expected int, got float"),
        (Own, 3, "key: expected Own, got int"),
        (np.ndarray, [1], "key: expected ndarray, got list"),
        (Row | Point, 3, "key: expected Row | Point, got int"),
        (list[int], np.zeros(2), "key: expected list[int], got ndarray"),
        (int, None, "key: expected int, got None"),
        (dict[int, str], {"a": "b"}, "key key 'a': expected int, got str"),
        (list[Row], [Special(1.0), {"price": "2"}], "key[1].price: expected float, got str"),
        (list[Color], [Color.RED, 7], "key[1]: invalid enum value 7"),
        (dict, np.zeros(2), "key: expected dict, got ndarray"),
        (dict[str, int], np.zeros(2), "key: expected dict[str, int], got ndarray"),
    ],
)
def test_a_mismatch_names_the_way_there(runner: DefaultRunner, annotation: Any, value: Any, fault: str) -> None:
    def read(context: Context, *, key: Any) -> None:
        raise AssertionError("it isn't called")

    read.__annotations__["key"] = annotation
    error = run_after(runner, read, {"key": value}).tasks["task"].error
    assert isinstance(error, ParameterError)
    assert (error.task, error.key, error.fault) == ("task", "key", fault)


ON_DEMAND = """
import cloaca
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from decimal import Decimal

def take(context: Decimal, handle: Decimal = None, *rest: Decimal) -> Decimal: context["taken"] = 1
def add(base: Decimal, values: list[Decimal]) -> Decimal: return 1
def told(name: Decimal, context: Decimal) -> Decimal: pass
def complete(result: Decimal) -> Decimal: pass
def prepare() -> Decimal: pass
def priced(context, *, price: Decimal, number: list[Later] = ()): context["priced"] = price
class Later: pass
"""


@pytest.mark.skipif(sys.version_info < (3, 14), reason="since Python 3.14")
def test_annotations_that_python_cannot_evaluate_are_nobodys_business_unless_they_say_what_to_check() -> None:
    names: dict[str, Any] = {"__name__": __name__}
    exec(ON_DEMAND, names)
    with cloaca.WorkflowBuilder("w", merge={"key": names["add"]}, on_complete=names["complete"]) as builder:
        cloaca.task(on_success=names["told"])(names["take"])
    with cloaca.DefaultRunner(workers=1, initializer=names["prepare"]) as runner:
        assert runner.execute(builder).final_context["taken"] == 1
    with (
        pytest.raises(ValueError, match=r"annotation 'Decimal' of parameter 'price' .* `if TYPE_CHECKING:`"),
        cloaca.WorkflowBuilder("priced"),
    ):
        cloaca.task()(names["priced"])


def test_a_class_that_is_defined_anew_after_the_block(runner: DefaultRunner) -> None:
    def read(context: Context, *, rows: list[Row]) -> None:
        raise AssertionError("it isn't called")

    anew = msgspec.defstruct("Row", [("price", float)], module=__name__)
    error = run_after(runner, read, {"rows": [anew(1.0)]}).tasks["task"].error
    assert str(error) == (
        "Task 'task' can't be called: rows[0]: expected Row, got an instance of another class of that name. Row was "
        "probably defined anew after the block ended: run the block again."
    )


def wants_another_type(context: Context, *, year: str) -> None:
    raise AssertionError("it isn't called")


def wants_another_key(context: Context, *, yaer: int) -> None:
    raise AssertionError("it isn't called")


def writes_another_key(context: Context) -> None:
    context.set("totl", 1)


@pytest.mark.parametrize(
    ("function", "kind", "options"),
    [
        (wants_another_type, ParameterError, {}),
        (wants_another_key, MissingKeyError, {}),
        (writes_another_key, UndeclaredWriteError, {"writes": ["total"]}),
    ],
)
def test_what_would_fail_again_is_not_tried_again(
    runner: DefaultRunner, function: Any, kind: type[Exception], options: dict[str, Any]
) -> None:
    ended = run_after(runner, function, {"year": 1}, retry_attempts=5, retry_delay_ms=60_000, **options).tasks["task"]
    assert isinstance(ended.error, kind)
    assert ended.attempts == 1


@pytest.mark.parametrize(
    ("annotation", "fault"),
    [
        (Plain, "parameter 'key' is annotated with Plain, which can't be checked"),
        (Plain | int, "parameter 'key' is annotated with .*Plain | int, which can't be checked"),
        (dict[str, list[Plain]], r"parameter 'key' is annotated with dict\[str, .*Plain\]\], which can't be checked"),
        ("Nowhere", r"the annotation 'Nowhere' of parameter 'key' can't be resolved \(NameError"),
        ("Nowhere", r".* `if TYPE_CHECKING:` isn't there when the program runs: import it at run time, or leave the"),
        ("list[", r"the annotation 'list\[' of parameter 'key' can't be resolved .*: name what the function's module"),
        (3, "parameter 'key' is annotated with 3, which can't be checked"),
    ],
)
def test_what_cannot_be_checked_is_told_when_the_block_ends(annotation: Any, fault: str) -> None:
    def read(context: Context, *, key: Any) -> None:
        pass

    read.__annotations__["key"] = annotation
    builder = cloaca.WorkflowBuilder("w")
    with pytest.raises(cloaca.WorkflowError, match=f"Task 'read': {fault}"), builder:
        cloaca.task(read)


@pytest.mark.parametrize("function", [lambda context, year: None, lambda context, year, *, rows: None])
def test_keys_go_after_an_asterisk(function: Any) -> None:
    with (
        pytest.raises(ValueError, match=r"keys go after an asterisk, like `def load\(context, \*, year\)"),
        cloaca.WorkflowBuilder("w"),
    ):
        cloaca.task(id="t")(function)


def test_the_version_knows_what_is_taken_and_written() -> None:
    def version(annotation: Any, writes: Any = None) -> str:
        def read(context: Context, *, key: Any) -> None:
            pass

        read.__annotations__["key"] = annotation
        with cloaca.WorkflowBuilder("w", check="off") as builder:
            cloaca.task(writes=writes)(read)
        return builder.build().version

    assert version(list[Row]) == version(list[Row])
    assert len({version(list[Row]), version(list[Point]), version(int), version(int, []), version(int, ["a"])}) == 5


# ---- declared writes -----------------------------------------------------------------------------------------------


def returning_a_copy(context: Context) -> Context:
    copy = context.copy()
    copy.set("total", 3)
    return copy


@pytest.mark.parametrize(
    "function",
    [
        lambda context: context.set("total", 3),
        lambda context: {"total": 3},
        lambda context: context.update_from_dict({"total": 3}),
        returning_a_copy,
    ],
)
@pytest.mark.parametrize("writes", [["total"], ("total", "other"), {"total"}])
def test_a_declared_write_is_one(runner: DefaultRunner, function: Any, writes: Any) -> None:
    assert run(runner, function, {"year": 1}, writes=writes).final_context.to_dict() == {"year": 1, "total": 3}


def returning_too_much(context: Context) -> Context:
    copy = returning_a_copy(context)
    copy.set("totl", 4)
    return copy


@pytest.mark.parametrize(
    ("function", "key"),
    [
        (lambda context: context.set("totl", 3), "totl"),
        (lambda context: context.set("totl", b"x" * 100_000), "totl"),
        (lambda context: context.insert("totl", 3), "totl"),
        (lambda context: context.update("year", 3), "year"),
        (lambda context: context.remove("year"), "year"),
        (lambda context: context.__delitem__("year"), "year"),
        (lambda context: {"totl": 3}, "totl"),
        (returning_too_much, "totl"),
    ],
)
def test_another_write_fails_the_task(runner: DefaultRunner, function: Any, key: str) -> None:
    error = run(runner, function, {"year": 1}, writes=["total"]).tasks["task"].error
    assert isinstance(error, UndeclaredWriteError)
    assert (error.task, error.key) == ("task", key)
    assert error.close == (("total",) if key == "totl" else ())


def test_a_mapped_task_without_items_has_set_what_it_declares(runner: DefaultRunner) -> None:
    def price(context: Context, item: int) -> None:
        context.set("not declared", 1)

    result = run(runner, price, {"rows": []}, for_each="rows", writes=["price"])
    assert result.final_context.to_dict() == {"rows": [], "price": []}


@pytest.mark.parametrize("writes", ["a", 5, [5], {"a": 1}, ["\udc80"]])
def test_writes_that_make_no_sense(writes: Any) -> None:
    with pytest.raises(ValueError, match=r"task\(writes=...\) takes (a list of )?keys"):
        cloaca.task(writes=writes)
