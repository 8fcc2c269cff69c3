"""What an attempt does beside calling its function is measured where it is worth a word, and told in its span."""

import sys
from pathlib import Path
from typing import Any, Literal

import pytest

import cloaca
from cloaca.account.spans import Span

Executor = Literal["processes", "serial"]

SLOW = """
import time

until = time.monotonic() + 0.1
while time.monotonic() < until:
    pass


def work(context):
    context["a"] = 1
"""


def spans(builder: cloaca.WorkflowBuilder, executor: Executor = "processes", **given: Any) -> dict[str, Span]:
    with cloaca.DefaultRunner(executor=executor, workers=1) as runner:
        result = runner.execute(builder, given)
    result.raise_for_status()
    return {span.name: span for span in result._account.spans}


@pytest.mark.parametrize("executor", ["processes", "serial"])
def test_to_encode_and_to_rebuild_large_values_is_measured(executor: Executor) -> None:
    with cloaca.WorkflowBuilder("large") as builder:

        @cloaca.task()
        def load(context: cloaca.Context) -> None:
            context["rows"] = [{"n": n, "name": str(n)} for n in range(100_000)]

        @cloaca.task(dependencies=[load])
        def read(context: cloaca.Context) -> None:
            context["count"] = len(context["rows"])

    found = spans(builder, executor)
    assert 0 < found["load"].encoding < found["load"].seconds
    assert 0 < found["read"].loading < found["read"].seconds
    assert found["read"].encoding == 0


def test_those_of_a_try_that_failed_are_told_too() -> None:
    with cloaca.WorkflowBuilder("retried") as builder:

        @cloaca.task(retry_attempts=2, retry_condition="all", retry_delay_ms=0)
        def load(context: cloaca.Context) -> None:
            context["rows"] = [{"n": n} for n in range(100_000)]
            raise ConnectionError("no answer")

    with cloaca.DefaultRunner(executor="serial") as runner:
        account = runner.execute(builder)._account
    for span in (*account.failed_spans, *account.spans):
        assert 0 < span.encoding < span.seconds
    assert [span.status for span in account.failed_spans] == ["Retried"]


def test_those_of_items_are_measured_too() -> None:
    with cloaca.WorkflowBuilder("items") as builder:

        @cloaca.task(for_each="sizes")
        def make(context: cloaca.Context, size: int) -> None:
            context["rows"] = [{"n": n} for n in range(size)]

    found = spans(builder, sizes=[1, 100_000, 1])
    assert found["make[0]"].encoding == found["make[2]"].encoding == 0
    assert 0 < found["make[1]"].encoding < found["make[1]"].seconds


def test_to_wait_for_what_was_not_sent_is_measured() -> None:
    with cloaca.WorkflowBuilder("asking") as builder:

        @cloaca.task()
        def load(context: cloaca.Context) -> None:
            for number in range(200):
                context[f"rows_{number}"] = [number] * 1000

        @cloaca.task(dependencies=[load])
        def read(context: cloaca.Context) -> None:
            context["total"] = sum(sum(context[name]) for name in [f"rows_{number}" for number in range(200)])

    found = spans(builder)
    assert 0 < found["read"].waiting < found["read"].seconds


def test_packages_that_come_with_a_function_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slowly_imported.py").write_text(SLOW, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    import slowly_imported  # type: ignore[import-not-found]

    with cloaca.WorkflowBuilder("importing") as builder:
        cloaca.task(id="work")(slowly_imported.work)
    try:
        (span,) = spans(builder).values()
    finally:
        sys.modules.pop("slowly_imported")
    assert span.imported == ("slowly_imported",)
    assert 0.1 <= span.loading <= span.seconds


def test_a_short_attempt_has_none() -> None:
    with cloaca.WorkflowBuilder("trivial") as builder:

        @cloaca.task()
        def greet(context: cloaca.Context) -> None:
            context["greeting"] = "Hello"

    with cloaca.DefaultRunner(executor="serial") as runner:
        usage = runner.execute(builder).tasks["greet"].usage
    assert usage is not None
    assert usage.phases is None
