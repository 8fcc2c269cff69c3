"""Every kind of callable is a task, in a worker as in this process."""

import functools
import operator
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

import cloaca
from cloaca import Context, DefaultRunner
from cloaca.tasks.signature import PLAIN, WITH_HANDLE, form_of

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # as if all this stood in the user's script


# ---- kinds ---------------------------------------------------------------------------------------------------------


class Doubling:
    """An object that is called, with a factor of its own; and methods of each kind."""

    factor = 2

    def __init__(self, factor: int = 2) -> None:
        self.factor = factor

    def __call__(self, context: Context) -> None:
        context.set("y", self.factor * context["x"])

    def method(self, context: Context) -> None:
        self(context)

    @classmethod
    def of_class(cls, context: Context) -> None:
        context.set("y", cls.factor * context["x"])

    @staticmethod
    def of_none(context: Context) -> None:
        context.set("y", 2 * context["x"])

    async def waiting(self, context: Context) -> None:
        self(context)


class AsyncDoubling:
    async def __call__(self, context: Context) -> dict[str, int]:
        return {"y": 2 * context["x"]}


def double(context: Context) -> dict[str, int]:
    return {"y": 2 * context["x"]}


async def async_double(context: Context) -> dict[str, int]:
    return double(context)


def multiply(factor: int, context: Context) -> dict[str, int]:
    return {"y": factor * context["x"]}


async def async_multiply(context: Context, *, factor: int) -> dict[str, int]:
    return multiply(factor, context)


def closure(factor: int) -> Callable[[Context], dict[str, int]]:
    def task(context: Context) -> dict[str, int]:
        return {"y": factor * context["x"]}

    return task


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*arguments: Any, **named: Any) -> Any:
        return function(*arguments, **named)

    return wrapper


class Recursive:
    """An instance whose class is defined in a function, and refers to itself."""

    @staticmethod
    def make() -> Any:
        class Local:
            def __call__(self, context: Context) -> dict[str, int]:
                assert isinstance(self, Local)
                return {"y": 2 * context["x"]}

        return Local()


KINDS: dict[str, Callable[..., Any]] = {
    "function": double,
    "async function": async_double,
    "lambda": lambda context: context.set("y", 2 * context["x"]),
    "lambda that returns a coroutine": lambda context, *_: async_double(context),
    "default argument": lambda context, factor=2: context.set("y", factor * context["x"]),
    "closure": closure(2),
    "partial": functools.partial(multiply, 2),
    "partial of a partial": functools.partial(functools.partial(multiply), 2),
    "partial of an async function": functools.partial(async_multiply, factor=2),
    "callable object": Doubling(),
    "async callable object": AsyncDoubling(),
    "bound method": Doubling().method,
    "async bound method": Doubling().waiting,
    "bound __call__": Doubling().__call__,
    "partial of a bound method": functools.partial(Doubling().method),
    "class method": Doubling.of_class,
    "static method": Doubling.of_none,
    "static method as it stands in a class": vars(Doubling)["of_none"],
    "decorated": logged(double),
    "decorated async function": logged(async_double),
    "instance of a local class": Recursive.make(),
    "builtin": operator.methodcaller("update_from_dict", {"y": 6}),
}


@pytest.mark.parametrize("function", KINDS.values(), ids=KINDS.keys())
def test_every_kind_of_callable_is_a_task(function: Callable[..., Any], runner: DefaultRunner) -> None:
    with cloaca.WorkflowBuilder("kinds") as builder:
        assert cloaca.task(id="task")(function) is function
    result = runner.execute("kinds", Context({"x": 3}))
    assert (result.error_message, result.final_context.get("y")) == (None, 6)
    assert len(builder.build().version) == 16


def test_a_builtin_takes_the_context(runner: DefaultRunner, capsys: pytest.CaptureFixture[str]) -> None:
    with cloaca.WorkflowBuilder("kinds"):
        cloaca.task(id="print")(print)
        cloaca.task(id="length")(len)
    result = runner.execute("kinds", Context({"x": 3}))
    assert capsys.readouterr().out == "Context({'x': 3})\n"
    assert "not int" in (result.tasks["length"].error_message or ""), "its length is nothing that a task returns"


def test_one_function_under_several_ids(runner: DefaultRunner) -> None:
    def append(context: Context) -> None:
        context.set("names", [*context.get("names", []), "x"])

    with cloaca.WorkflowBuilder("several"):
        for number in range(3):
            cloaca.task(id=str(number), dependencies=[str(number - 1)] if number else [])(append)
    assert runner.execute("several").final_context["names"] == ["x", "x", "x"]


def test_what_a_loop_closes_over_is_read_when_it_executes(runner: DefaultRunner) -> None:
    """The trap that loops set everywhere in Python, and the two ways around it."""
    with cloaca.WorkflowBuilder("loop", merge={"late": cloaca.merge.by_task}):
        for number in range(3):
            cloaca.task(id=f"late {number}")(lambda context: context.set("late", number))  # noqa: B023
            cloaca.task(id=f"default {number}")(lambda context, n=number: context.set(f"default {n}", n))
            cloaca.task(id=f"factory {number}")(setting(f"factory {number}", number))
    found = runner.execute("loop").final_context.to_dict()
    assert set(found.pop("late").values()) == {2}
    assert found == {f"{kind} {number}": number for kind in ("default", "factory") for number in range(3)}


def setting(key: str, value: Any) -> Callable[[Context], None]:
    return lambda context: context.set(key, value)


class Counting:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, context: Context) -> None:
        self.calls += 1
        context.set("calls", self.calls)


def test_what_an_object_changes_of_itself_stays_in_its_worker() -> None:
    counting = Counting()
    with DefaultRunner(workers=1, executor="processes") as runner:
        with cloaca.WorkflowBuilder("counting"):
            cloaca.task(id="count")(counting)
        runner.execute("counting").raise_for_status()
    assert counting.calls == 0


def test_in_serial_it_is_the_object_itself() -> None:
    counting = Counting()
    with cloaca.WorkflowBuilder("counting"):
        cloaca.task(id="count")(counting)
    DefaultRunner(executor="serial").execute("counting")
    assert counting.calls == 1


# ---- how they are called -------------------------------------------------------------------------------------------


def with_handle(context: Context, handle: Any) -> None: ...


class Handled:
    def __call__(self, context: Context, task_handle: Any) -> None: ...

    async def method(self, context: Context, handle: Any = None) -> None: ...


@pytest.mark.parametrize(
    ("function", "form"),
    [
        (double, PLAIN),
        (async_double, PLAIN),
        (lambda context, handles: None, None),
        (lambda handle: None, PLAIN),
        (lambda context, other=1, handle=None: None, PLAIN),
        (with_handle, WITH_HANDLE),
        (lambda context, /, handle: None, WITH_HANDLE),
        (lambda context, handle, other=1: None, WITH_HANDLE),
        (lambda context, task_handle=None: None, WITH_HANDLE),
        (Handled(), WITH_HANDLE),
        (Handled().method, WITH_HANDLE),
        (functools.partial(lambda n, context, handle: None, 3), WITH_HANDLE),
        (functools.partial(with_handle, handle=3), PLAIN),
        (logged(with_handle), WITH_HANDLE),
        (logged(logged(with_handle)), WITH_HANDLE),
        (logged(double), PLAIN),
        (logged(type.__call__), PLAIN),
        (logged(dict.pop), PLAIN),
        (lambda *given: None, PLAIN),
        (lambda context, handle, more: None, None),
        (lambda context, *, handle: None, None),
        (print, PLAIN),
    ],
)
def test_how_a_function_is_called(function: Callable[..., Any], form: Any) -> None:
    if form is not None:
        assert form_of("t", function) == form
        return
    with pytest.raises(ValueError, match=r"Task 't': a task function takes the context .*, or a handle beside it"):
        form_of("t", function)


@pytest.mark.parametrize("kind", [Doubling, dict, Path, type])
def test_a_class_is_refused(kind: type) -> None:
    with (
        pytest.raises(ValueError, match=rf"Task 't': {kind.__name__} is a class.*task\(id='t'\)\({kind.__name__}\("),
        cloaca.WorkflowBuilder("w"),
    ):
        cloaca.task(id="t")(kind)


def test_a_class_method_as_it_stands_in_a_class_is_no_function() -> None:
    with pytest.raises(ValueError, match="this is a classmethod"), cloaca.WorkflowBuilder("w"):
        cloaca.task(id="t")(vars(Doubling)["of_class"])
