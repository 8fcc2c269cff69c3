"""What tasks start themselves: pools of processes and threads, and native ones, which share the cores with workers."""

import math
import multiprocessing
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

import cloaca
from cloaca import Context, DefaultRunner
from cloaca.machine import cores

NUMBERS = [1, 4, 9]


def in_an_executor(make: Any, context: Context) -> None:
    executor: Executor
    with make(2) as executor:
        context.set("roots", list(executor.map(math.sqrt, NUMBERS)))


def in_a_pool(method: str, context: Context) -> None:
    with multiprocessing.get_context(method).Pool(2) as pool:
        context.set("roots", pool.map(math.sqrt, NUMBERS))


def forking(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork"))


@pytest.mark.parametrize(
    "task",
    [
        partial(in_an_executor, ThreadPoolExecutor),
        partial(in_an_executor, forking),
        partial(in_a_pool, "fork"),
        partial(in_a_pool, "spawn"),
        partial(in_a_pool, "forkserver"),
    ],
    ids=["threads", "executor", "fork", "spawn", "forkserver"],
)
def test_a_pool_inside_a_task_works_and_leaves_nothing(task: Any) -> None:
    with cloaca.WorkflowBuilder("nested", check="off"):
        for name in ("left", "right"):
            cloaca.task(id=name)(task)
    with DefaultRunner(workers=2) as runner:
        for _ in range(2):
            result = runner.execute("nested")
            assert (result.status, result.error_message) == ("Completed", None)
            assert result.final_context["roots"] == 2 * [1.0, 2.0, 3.0]  # the additions of both


def test_native_thread_pools_take_their_share_of_the_cores() -> None:
    pytest.importorskip("threadpoolctl")

    def look(context: Context) -> None:
        import numpy as np
        from threadpoolctl import threadpool_info

        np.ones((2, 2)) @ np.ones((2, 2))
        context.set("threads", [pool["num_threads"] for pool in threadpool_info()])

    with cloaca.WorkflowBuilder("native"):
        cloaca.task(id="look")(look)
    with DefaultRunner(workers=1) as alone, DefaultRunner(workers=cores.usable()) as many:
        shares = [runner.execute("native").final_context["threads"] for runner in (alone, many)]
    assert set(shares[0]) == {cores.usable()}
    assert set(shares[1]) == {1}
