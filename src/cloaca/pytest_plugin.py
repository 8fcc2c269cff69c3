"""For pytest: the fixture `cloaca_runner`, a runner for tests of workflows. Before it is used, nothing else is loaded.

    def test_the_report_adds_up(cloaca_runner):
        result = cloaca_runner.execute(sales, {"rows": [1, 2, 3]}, raise_on_failure=True)
        assert result.final_context["total"] == 6

With `--cloaca-executor=serial` (or `cloaca_executor = "serial"` in the configuration of pytest) tasks run in the
test's own process, for debuggers, coverage and mocks.
"""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloaca.runner import DefaultRunner

_EXECUTORS = ("processes", "threads", "serial")
_WORKERS = 2


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option, and what configures it."""
    told = "where the tasks of cloaca_runner run: processes (the default), threads or serial"
    parser.getgroup("cloaca").addoption("--cloaca-executor", choices=_EXECUTORS, help=told)
    parser.addini("cloaca_executor", f"{told}.", default="processes")


@pytest.fixture
def cloaca_runner(pytestconfig: pytest.Config) -> "Iterator[DefaultRunner]":
    """A runner with two workers, which start with the first task. It is shut down after the test."""
    executor = pytestconfig.getoption("cloaca_executor") or pytestconfig.getini("cloaca_executor")
    if executor not in _EXECUTORS:
        raise pytest.UsageError(f"cloaca_executor is one of {', '.join(_EXECUTORS)}, not {executor!r}.")
    from cloaca.runner import DefaultRunner

    with DefaultRunner(workers=_WORKERS, executor=executor) as runner:
        yield runner
