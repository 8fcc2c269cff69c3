"""The benchmarks, one for each workload. `perf/README.md` tells how to run and read them."""

from collections.abc import Callable

import pytest
from perf import workloads
from perf.contenders.cpu import loops_for
from perf.workloads import Workload

Play = Callable[[Workload], None]
TASK_SECONDS = 0.027

pytestmark = pytest.mark.timeout(7200)  # it takes as long as it takes


def test_trivial(play: Play) -> None:
    play(workloads.trivial())


def test_chain(play: Play) -> None:
    play(workloads.chain())


def test_layers(play: Play) -> None:
    play(workloads.layers())


def test_map(play: Play) -> None:
    play(workloads.mapping())


def test_cpu(play: Play) -> None:
    play(workloads.cpu(loops_for(TASK_SECONDS)))


def test_sleepers(play: Play) -> None:
    play(workloads.sleepers())


def test_merge(play: Play) -> None:
    play(workloads.merge())


def test_array(play: Play) -> None:
    play(workloads.array())


def test_records(play: Play) -> None:
    play(workloads.records())


def test_cold(play: Play) -> None:
    play(workloads.cold())


def test_import(play: Play) -> None:
    play(workloads.imports())


def test_customers(play: Play) -> None:
    play(workloads.customers())
