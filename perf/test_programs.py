"""The programs that people write, each beside what they are written for today: `python -m pytest perf -k programs`."""

from collections.abc import Callable

import pytest
from perf.catalogue import PROGRAMS, Program
from perf.workloads import Workload

pytestmark = pytest.mark.timeout(7200)  # it takes as long as it takes


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.module)
def test_program(play: Callable[[Workload], None], program: Program) -> None:
    play(program.workload())
