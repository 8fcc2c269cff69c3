"""Where functions stand."""

import operator
from functools import partial, wraps
from pathlib import Path
from typing import Any

import pytest

from cloaca.tasks.place import place_of

HERE = str(Path(__file__).parent)


def task(context: Any) -> None: ...


def decorated(function: Any) -> Any:
    @wraps(function)
    def wrapper(context: Any) -> None: ...

    return wrapper


class Callable:
    def __call__(self, context: Any) -> None: ...

    def method(self, context: Any) -> None: ...


@pytest.mark.parametrize(
    ("function", "code"),
    [
        (task, task),
        (partial(partial(task), context=1), task),
        (decorated(task), task),
        (Callable(), Callable.__call__),
        (Callable().method, Callable.method),
        (partial(decorated(task)), task),
    ],
)
def test_the_place_is_that_of_the_code_that_runs(function: Any, code: Any) -> None:
    line = code.__code__.co_firstlineno
    assert place_of(function, HERE) == f"test_place.py:{line}"
    assert place_of(function) == f"{__file__}:{line}"


@pytest.mark.parametrize("function", [print, operator.itemgetter(1), partial(print)])
def test_what_has_no_code_has_no_place(function: Any) -> None:
    assert place_of(function) == ""


def test_a_directory_is_no_prefix_of_a_name() -> None:
    assert place_of(task, HERE[:-1]) == f"{__file__}:{task.__code__.co_firstlineno}"
