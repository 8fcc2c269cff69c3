"""What a task says that it reads, and what is said of very large values."""

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support import ready

import cloaca
from cloaca import Context, DefaultRunner

BIG = b"x" * 100_000


@pytest.fixture(scope="module")
def runner() -> Iterator[DefaultRunner]:
    with ready(workers=1, warn_above=50_000) as runner:
        yield runner


def define(**tasks: Any) -> None:
    with cloaca.WorkflowBuilder("sizes"):
        for name, function in tasks.items():
            cloaca.task(id=name)(function)


def test_a_large_value_is_told_of_once_with_its_key_and_size(runner: DefaultRunner) -> None:
    define(load=lambda context: context.set("rows", BIG))
    with pytest.warns(UserWarning, match=r"Task 'load' set key 'rows' to a value of 0\.1 MB") as told:
        runner.execute("sizes")
    assert len(told) == 1
    assert told[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        runner.execute("sizes")


def test_values_up_to_the_limit_are_not_told_of(runner: DefaultRunner) -> None:
    define(load=lambda context: context.set("rows", BIG[:49_000]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert runner.execute("sizes").status == "Completed"


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "1 GB"])
def test_a_limit_that_makes_no_sense(size: Any) -> None:
    with pytest.raises(ValueError, match="warn_above, a number of bytes, is a whole number, 1 or more"):
        DefaultRunner(warn_above=size)


@pytest.mark.parametrize("reads", [None, [], ["a"], ["a", "b"], ("b",), {"b", "a"}, ["nowhere"]])
def test_what_a_task_says_to_read_changes_nothing_that_it_finds(runner: DefaultRunner, reads: Any) -> None:
    with cloaca.WorkflowBuilder("sizes"):

        @cloaca.task(reads=reads)
        def add(context: Context) -> None:
            context.set("sum", context["a"] + context.get("B".lower()) + context.get("nowhere", 0))

    result = runner.execute("sizes", Context({"a": 1, "b": 2}))
    assert result.final_context["sum"] == 3
    assert result.tasks["add"].keys_read == ("a", "b")


@pytest.mark.parametrize("reads", ["a", 5, [5], {"a": 1}, ["\udc80"]])
def test_reads_that_make_no_sense(reads: Any) -> None:
    with cloaca.WorkflowBuilder("sizes"):
        with pytest.raises(ValueError, match=r"task\(reads=...\) takes (a list of )?keys"):
            cloaca.task(reads=reads)
        cloaca.task(id="a")(lambda context: None)
