"""Spans of OpenTelemetry: of executions, of the tries of their tasks, and of calls of `map`."""

import asyncio
import gc
import logging
import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, cast

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Sampler
from opentelemetry.trace import Status, StatusCode, Tracer

import cloaca
from cloaca import Context, DefaultRunner
from cloaca.retry import RetryPolicy

Executor = Literal["processes", "threads", "serial"]
EXECUTORS: tuple[Executor, ...] = ("processes", "threads", "serial")


class Traced:
    """A tracer, and the spans that came of it."""

    def __init__(self, sampler: Sampler | None = None) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=sampler)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer: Tracer = self.provider.get_tracer("tests")

    @property
    def spans(self) -> list[ReadableSpan]:
        """In the order in which they began."""
        return sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span


@pytest.fixture
def traced() -> Traced:
    return Traced()


def id_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return int(span.context.span_id)


def above(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def told(span: ReadableSpan, *names: str) -> list[Any]:
    return [(span.attributes or {}).get(f"cloaca.{name}") for name in names]


def current() -> tuple[int, int, int]:
    """The current span, as a task sees it: trace, span and flags."""
    seen = trace.get_current_span().get_span_context()
    return seen.trace_id, seen.span_id, int(seen.trace_flags)


# ---- an execution --------------------------------------------------------------------------------------------------


def shop() -> cloaca.WorkflowBuilder:
    with cloaca.WorkflowBuilder("shop") as builder:

        @cloaca.task()
        def load(context: Context) -> None:
            context["seen"] = current()
            context["rows"] = [0, 1, 2]

        @cloaca.task(dependencies=[load], for_each="rows", retry_attempts=2, retry_delay_ms=1)
        def clean(context: Context, row: int) -> None:
            context["ids"] = current()[1]
            if row == 1:
                raise ValueError("bad row")

        @cloaca.task(dependencies=[load, clean])
        def count(context: Context) -> None:
            context["last"] = current()

    return builder


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_task_sees_the_span_of_its_try(traced: Traced, executor: Executor) -> None:
    with DefaultRunner(workers=2, executor=executor, tracer=traced.tracer) as runner:
        found = runner.execute(shop()).final_context
    root = traced.one("workflow shop")
    assert root.context is not None
    assert tuple(found["seen"]) == (
        root.context.trace_id,
        id_of(traced.one("task load")),
        int(root.context.trace_flags),
    )
    assert found["last"][1] == id_of(traced.one("task count"))
    rows = {told(span, "task.item", "status")[0]: id_of(span) for span in traced.named("task clean")}
    assert found["ids"] == [rows[0], None, rows[2]]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_spans_stand_beneath_each_other(traced: Traced, executor: Executor) -> None:
    with (
        DefaultRunner(workers=2, executor=executor, tracer=traced.tracer) as runner,
        traced.tracer.start_as_current_span("caller") as caller,
    ):
        runner.execute(shop())
    root, load, count = map(traced.one, ("workflow shop", "task load", "task count"))
    mapped, *rows = traced.named("task clean")
    assert above(root) == caller.get_span_context().span_id
    assert [above(span) for span in (load, mapped, count)] == [id_of(root)] * 3
    assert {above(row) for row in rows} == {id_of(mapped)}
    assert [
        told(row, "task.item", "task.try", "status") for row in sorted(rows, key=lambda row: told(row, "task.item"))
    ] == [
        [0, 1, "Completed"],
        [1, 1, "Retried"],
        [1, 2, "Failed"],
        [2, 1, "Completed"],
    ]
    assert [[link.context.span_id for link in span.links] for span in (load, mapped, count)] == [
        [],
        [id_of(load)],
        [id_of(load), id_of(mapped)],
    ]


def test_what_failed_tells_the_exception(traced: Traced) -> None:
    with DefaultRunner(workers=1, tracer=traced.tracer) as runner:
        result = runner.execute(shop())
    tries = [span for span in traced.named("task clean") if told(span, "task.item") == [1]]
    for span in tries:
        (event,) = span.events
        attributes = event.attributes or {}
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "ValueError: bad row")
        assert (span.attributes or {})["error.type"] == "ValueError"
        assert (event.name, event.timestamp) == ("exception", span.end_time)
        assert (attributes["exception.type"], attributes["exception.message"]) == ("ValueError", "bad row")
        assert 'raise ValueError("bad row")' in str(attributes["exception.stacktrace"])
    assert len(tries) == 2
    root = traced.one("workflow shop")
    assert (root.status.status_code, root.status.description) == (StatusCode.ERROR, result.error_message)
    assert told(root, "execution.id", "status", "tasks.completed", "tasks.failed") == [
        result.execution_id,
        "Failed",
        2,
        1,
    ]
    assert traced.one("task load").status.status_code is StatusCode.UNSET


def test_a_span_begins_and_ends_with_its_try(traced: Traced) -> None:
    with DefaultRunner(workers=1, tracer=traced.tracer) as runner:
        result = runner.execute(shop())
    load, usage = traced.one("task load"), result.tasks["load"].usage
    assert usage is not None
    assert load.start_time is not None
    assert load.end_time is not None
    assert (load.end_time - load.start_time) / 1e9 == pytest.approx(usage.ended - usage.started, abs=1e-6)
    assert result.tasks["load"].start_time is not None
    root = traced.one("workflow shop")
    assert all(
        (root.start_time or 0) <= (span.start_time or 0) <= (span.end_time or 0) <= (root.end_time or 0)
        for span in traced.spans
    )
    assert told(load, "worker", "cpu_seconds", "bytes_written") == [usage.worker, usage.cpu, usage.bytes_written]
    assert (load.attributes or {})["code.function.name"] == f"{__name__}.shop.<locals>.load"
    assert (load.attributes or {})["code.file.path"] == __file__


def test_many_instances_that_travel_together_have_spans_of_their_own(traced: Traced) -> None:
    with cloaca.WorkflowBuilder("many") as builder:

        @cloaca.task(for_each="numbers")
        def square(context: Context, number: int) -> None:
            context["ids"] = current()[1]

        @cloaca.task(dependencies=[square], for_each="numbers")
        def follow(context: Context, number: int) -> None:
            context["later"] = current()[1]

    with DefaultRunner(workers=1, tracer=traced.tracer) as runner:
        found = runner.execute(builder, {"numbers": [*range(300)]}).final_context
    for name, key in (("task square", "ids"), ("task follow", "later")):
        mapped, *spans = sorted(traced.named(name), key=lambda span: told(span, "task.item")[0] or 0)
        assert told(mapped, "task.instances") == [300] or told(spans[0], "task.instances") == [300]
        ids = {told(span, "task.item")[0]: id_of(span) for span in (mapped, *spans)}
        assert found[key] == [ids[item] for item in range(300)]


def test_a_copys_tasks_are_told_as_the_whole_workflow_names_them(traced: Traced) -> None:
    with cloaca.WorkflowBuilder("part") as part:

        @cloaca.task()
        def step(context: Context) -> None:
            context["id"] = current()[1]

    with cloaca.WorkflowBuilder("whole") as builder:
        builder.add_workflow(part, prefix="one")
    with DefaultRunner(workers=1, tracer=traced.tracer) as runner:
        found = runner.execute(builder).final_context.to_dict()
    ((name, id),) = found.items()
    assert id == id_of(traced.one(f"task {name.removesuffix('id')}step"))


# ---- how tasks end -------------------------------------------------------------------------------------------------


def test_what_a_worker_died_at_is_an_error_from_its_beginning_on(traced: Traced) -> None:
    with cloaca.WorkflowBuilder("deadly") as builder:

        @cloaca.task()
        def dies(context: Context) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        cloaca.task(id="slow", timeout=0.05)(lambda context: signal.pause())

    with DefaultRunner(workers=1, tracer=traced.tracer, grace_seconds=0) as runner:
        runner.execute(builder)
    for name, kind in (("task dies", "WorkerDied"), ("task slow", "TaskTimeout")):
        span = traced.one(name)
        assert span.status.status_code is StatusCode.ERROR
        assert (span.attributes or {})["error.type"] == f"cloaca.errors.{kind}"
        assert told(span, "worker", "status")[1] == "Failed"
        assert (span.start_time or 0) < (span.end_time or 0)


def test_what_never_ran_has_no_span(traced: Traced) -> None:
    with cloaca.WorkflowBuilder("half") as builder:

        @cloaca.task()
        def fails(context: Context) -> None:
            raise ValueError("no")

        cloaca.task(id="behind", dependencies=[fails])(lambda context: None)

    with DefaultRunner(workers=1, tracer=traced.tracer) as runner:
        runner.execute(builder)
    assert [span.name for span in traced.spans] == ["workflow half", "task fails"]
    assert told(traced.one("workflow half"), "tasks.failed", "tasks.skipped") == [1, 1]


def test_what_skips_itself_has_run_and_is_no_error(traced: Traced) -> None:
    with cloaca.WorkflowBuilder("skipping") as builder:

        @cloaca.task()
        def skips(context: Context) -> None:
            raise cloaca.Skip("nothing to do")

        cloaca.task(id="never", trigger_rules=cloaca.context_value("a", "equals", 1))(lambda context: None)

    with DefaultRunner(workers=1, tracer=traced.tracer) as runner:
        runner.execute(builder, {"a": 2})
    assert told(traced.one("workflow skipping"), "status", "tasks.skipped") == ["Completed", 2]
    span = traced.one("task skips")
    assert (told(span, "status"), span.status.status_code) == (["Skipped"], StatusCode.UNSET)
    assert not span.events


def test_what_was_cancelled_is_no_error(traced: Traced, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    os.mkfifo(begun)
    with cloaca.WorkflowBuilder("endless") as builder:

        @cloaca.task()
        def waits(context: Context) -> None:
            begun.write_text("now")
            signal.pause()

    with DefaultRunner(workers=1, tracer=traced.tracer) as runner:
        execution = runner.start(builder)
        begun.read_text()
        execution.cancel()
        execution.result()
    for span in (traced.one("workflow endless"), traced.one("task waits")):
        assert told(span, "status") == ["Cancelled"]
        assert not span.events
        assert span.status.status_code is StatusCode.UNSET


def test_what_a_closed_runner_ended_has_its_span(traced: Traced, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    os.mkfifo(begun)
    with cloaca.WorkflowBuilder("cut") as builder:

        @cloaca.task()
        def waits(context: Context) -> None:
            begun.write_text("now")
            signal.pause()

    runner = DefaultRunner(workers=1, tracer=traced.tracer, grace_seconds=0)
    execution = runner.start(builder)
    begun.read_text()
    runner.shutdown()
    with pytest.raises(cloaca.RunnerClosedError):
        execution.result()
    assert told(traced.one("workflow cut"), "status") == ["Failed"]


def test_what_is_taken_over_has_no_span_in_a_resumed_execution(traced: Traced, tmp_path: Path) -> None:
    mended = tmp_path / "mended"
    with cloaca.WorkflowBuilder("mending") as builder:

        @cloaca.task()
        def load(context: Context) -> None:
            context["rows"] = 3

        @cloaca.task(dependencies=[load])
        def report(context: Context) -> None:
            context["id"] = current()[1]
            if not mended.exists():
                raise ValueError("broken")

    with DefaultRunner(f"sqlite:///{tmp_path}/runs.db", workers=1, tracer=traced.tracer) as runner:
        first = runner.execute(builder)
        mended.touch()
        result = runner.resume(first.execution_id, builder)
    assert [
        told(span, "tasks.completed", "tasks.reused", "tasks.failed") for span in traced.named("workflow mending")
    ] == [
        [1, None, 1],
        [1, 1, None],
    ]
    assert len(traced.named("task load")) == 1
    assert id_of(traced.named("task report")[1]) == result.final_context["id"]
    assert not traced.named("task report")[1].links


# ---- what comes along ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", EXECUTORS)
def test_baggage_and_state_reach_the_task(traced: Traced, executor: Executor) -> None:
    with cloaca.WorkflowBuilder("laden") as builder:

        @cloaca.task()
        def look(context: Context) -> None:
            state = trace.get_current_span().get_span_context().trace_state
            context["found"] = dict(baggage.get_all()), state.to_header()

    state = trace.TraceState([("vendor", "x1")])
    remote = trace.SpanContext(7, 8, is_remote=True, trace_flags=trace.TraceFlags(1), trace_state=state)
    carried = trace.set_span_in_context(trace.NonRecordingSpan(remote))
    token = context.attach(baggage.set_baggage("user", "ada", carried))
    try:
        with DefaultRunner(workers=1, executor=executor, tracer=traced.tracer) as runner:
            result = runner.execute(builder)
    finally:
        context.detach(token)
    assert result.final_context["found"] == ({"user": "ada"}, "vendor=x1")
    root = traced.one("workflow laden")
    assert root.context is not None
    assert (root.context.trace_id, above(root)) == (7, 8)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_what_isnt_sampled_is_told_so_and_leaves_nothing(executor: Executor) -> None:
    traced = Traced(ALWAYS_OFF)
    with DefaultRunner(workers=1, executor=executor, tracer=traced.tracer) as runner:
        result = runner.execute(shop())
    trace_id, span_id, flags = result.final_context["seen"]
    assert trace_id
    assert span_id
    assert not flags & trace.TraceFlags.SAMPLED
    assert traced.spans == []


def test_spans_that_a_task_begins_are_children_of_its_try(traced: Traced) -> None:
    with cloaca.WorkflowBuilder("inner") as builder:

        @cloaca.task()
        def step(context: Context) -> None:
            inner = Traced()
            with inner.tracer.start_as_current_span("own"):
                pass
            own = inner.one("own")
            assert own.context is not None
            context["own"] = own.context.trace_id, above(own)

    with DefaultRunner(workers=1, tracer=traced.tracer) as runner:
        result = runner.execute(builder)
    around = traced.one("task step")
    assert around.context is not None
    assert tuple(result.final_context["own"]) == (around.context.trace_id, id_of(around))


@pytest.mark.parametrize("executor", EXECUTORS)
def test_an_async_task_sees_its_span_where_it_awaits_too(traced: Traced, executor: Executor) -> None:
    async def later() -> int:
        await asyncio.sleep(0)
        return current()[1]

    with cloaca.WorkflowBuilder("awaiting") as builder:

        @cloaca.task()
        async def waits(context: Context) -> None:
            context["ids"] = [current()[1], *await asyncio.gather(later(), later())]

    with DefaultRunner(workers=1, executor=executor, tracer=traced.tracer) as runner:
        found = runner.execute(builder).final_context
    assert found["ids"] == [id_of(traced.one("task waits"))] * 3


def test_nothing_of_a_try_is_seen_in_the_next_one(traced: Traced) -> None:
    with cloaca.WorkflowBuilder("first") as first:
        cloaca.task(id="first")(lambda context: context.set("id", current()[1]))
    with cloaca.WorkflowBuilder("second") as second:
        cloaca.task(id="second")(lambda context: context.set("id", current()[1]))
    with ThreadPoolExecutor(1) as pool:
        for _ in range(2):
            with DefaultRunner(executor=pool, tracer=traced.tracer) as runner:
                assert runner.execute(first).final_context["id"] == id_of(traced.named("task first")[-1])
            with DefaultRunner(executor=pool) as runner:
                assert runner.execute(second).final_context["id"] == 0


def test_callbacks_and_the_program_see_what_they_saw(traced: Traced) -> None:
    seen = []
    with cloaca.WorkflowBuilder("told", on_complete=lambda result: seen.append(current()[1])) as builder:
        cloaca.task(id="one")(lambda context: None)
    with (
        DefaultRunner(executor="serial", tracer=traced.tracer) as runner,
        traced.tracer.start_as_current_span("caller") as caller,
    ):
        runner.execute(builder)
        seen.append(current()[1])
    assert seen == [caller.get_span_context().span_id] * 2


# ---- what a task tells of its span ---------------------------------------------------------------------------------


class Odd:
    def __str__(self) -> str:
        return "odd"


@pytest.mark.parametrize("executor", EXECUTORS)
def test_what_a_task_tells_of_its_span_stands_in_that(traced: Traced, executor: Executor) -> None:
    with cloaca.WorkflowBuilder("telling") as builder:

        @cloaca.task()
        def tells(context: Context) -> None:
            span = trace.get_current_span()
            assert span.is_recording()
            span.set_attribute("rows", 3)
            span.set_attributes(cast("Any", {"names": ["a", "b"], "large": 1 << 70, "odd": Odd(), "raw": b"x"}))
            span.add_event("half", {"of": 0.5}, timestamp=7)
            span.update_name("renamed")
            try:
                os.environ["NONE"]
            except KeyError as error:
                span.record_exception(error, {"more": True})
            span.set_status(StatusCode.OK, "as it is")
            span.set_status(Status(StatusCode.ERROR, "no: it is well"))

        @cloaca.task(dependencies=[tells], for_each="rows")
        def each(context: Context, row: int) -> None:
            trace.get_current_span().set_attribute("row", row)

    with DefaultRunner(workers=1, executor=executor, tracer=traced.tracer) as runner:
        runner.execute(builder, {"rows": [*range(20)]})
    span = traced.one("renamed")
    attributes = dict(span.attributes or {})
    expected = {"rows": 3, "names": ("a", "b"), "large": str(1 << 70), "odd": "odd", "raw": b"x"}
    assert {name: attributes[name] for name in expected} == expected
    assert [event.name for event in span.events] == ["half", "exception"]
    assert (span.events[0].timestamp, dict(span.events[0].attributes or {})) == (7, {"of": 0.5})
    told_of = dict(span.events[1].attributes or {})
    assert (told_of["exception.type"], told_of["exception.message"], told_of["more"]) == ("KeyError", "'NONE'", True)
    assert "KeyError: 'NONE'" in str(told_of["exception.stacktrace"])
    assert span.status.status_code is StatusCode.OK
    rows = [(span.attributes or {}) for span in traced.named("task each")]
    assert sorted((one["cloaca.task.item"], one["row"]) for one in rows if "row" in one) == [(n, n) for n in range(20)]


def test_what_it_told_before_its_worker_died_stands_there_too(traced: Traced) -> None:
    with cloaca.WorkflowBuilder("dying") as builder:

        @cloaca.task()
        def dies(context: Context) -> None:
            trace.get_current_span().set_attribute("so far", 1)
            os.kill(os.getpid(), signal.SIGKILL)

    with DefaultRunner(workers=1, tracer=traced.tracer) as runner:
        runner.execute(builder)
    assert (traced.one("task dies").attributes or {})["so far"] == 1


def test_a_span_takes_so_much_at_most_and_nothing_of_a_forked_process(traced: Traced) -> None:
    with cloaca.WorkflowBuilder("much") as builder:

        @cloaca.task()
        def much(context: Context) -> None:
            span = trace.get_current_span()
            if not os.fork():
                span.set_attribute("forked", True)
                os._exit(0)
            os.wait()
            for number in range(1000):
                span.add_event(str(number))
            context["recording"] = span.is_recording()

    with DefaultRunner(workers=1, tracer=traced.tracer) as runner:
        assert runner.execute(builder).final_context["recording"] is False
    span = traced.one("task much")
    assert [event.name for event in span.events] == [str(number) for number in range(128)]
    assert "forked" not in (span.attributes or {})


def test_what_isnt_sampled_records_nothing() -> None:
    traced = Traced(ALWAYS_OFF)
    with cloaca.WorkflowBuilder("unsampled") as builder:

        @cloaca.task()
        def one(context: Context) -> None:
            span = trace.get_current_span()
            span.set_attribute("a", 1)
            context["recording"] = span.is_recording()

    with DefaultRunner(workers=1, tracer=traced.tracer) as runner:
        assert runner.execute(builder).final_context["recording"] is False


def tell(number: int) -> int:
    trace.get_current_span().set_attribute(f"number {number}", number)
    return number


@pytest.mark.parametrize("executor", EXECUTORS)
def test_what_the_function_of_map_tells_stands_in_the_span_of_the_call(traced: Traced, executor: Executor) -> None:
    with DefaultRunner(workers=2, executor=executor, tracer=traced.tracer) as runner:
        assert [*runner.map(tell, range(10))] == [*range(10)]
    attributes = traced.one("map tell").attributes or {}
    assert [attributes[f"number {number}"] for number in range(10)] == [*range(10)]


# ---- tracers -------------------------------------------------------------------------------------------------------


class _Raising(SpanProcessor):
    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def on_end(self, span: ReadableSpan) -> None:
        if span.name in self._names:
            raise RuntimeError("the collector is on fire")


@pytest.mark.parametrize("executor", EXECUTORS)
def test_what_a_tracer_raises_is_logged_once_and_fails_nothing(
    traced: Traced, executor: Executor, caplog: pytest.LogCaptureFixture
) -> None:
    traced.provider.add_span_processor(_Raising(["task load", "task clean", "workflow shop"]))
    with DefaultRunner(workers=1, executor=executor, tracer=traced.tracer) as runner:
        result = runner.execute(shop())
    assert [result.tasks[name].status for name in ("load", "clean", "count")] == ["Completed", "Failed", "Completed"]
    (record,) = [record for record in caplog.records if "Spans" in record.getMessage()]
    assert record.levelno == logging.ERROR
    assert record.getMessage() == "Spans of workflow 'shop' are lost, as what makes them has raised."
    assert "the collector is on fire" in caplog.text
    assert traced.one("task count").end_time


class _Broken(Tracer):
    """One that begins nothing."""

    def start_span(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("no span today")

    def start_as_current_span(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("nobody calls it")


class _Single(_Broken):
    """One that can't be copied."""

    id_generator = object()

    def __copy__(self) -> "_Single":
        raise RuntimeError("no span today")


@pytest.mark.parametrize("kind", [_Broken, _Single])
def test_a_tracer_that_begins_nothing_leaves_the_run_untraced(
    kind: type[_Broken], caplog: pytest.LogCaptureFixture
) -> None:
    with DefaultRunner(executor="serial", tracer=kind()) as runner:
        assert runner.execute(shop()).final_context["seen"] == (0, 0, 0)
        assert list(runner.map(abs, [-1])) == [1]
    assert caplog.text.count("no span today\n") == 2


class _Foreign(Tracer):
    """One that isn't the SDK's, and gives ids of its own."""

    def __init__(self, tracer: Tracer) -> None:
        self._behind = tracer

    def start_span(self, *arguments: Any, **named: Any) -> Any:
        return self._behind.start_span(*arguments, **named)

    def start_as_current_span(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("nobody calls it")


def test_behind_another_tracer_tasks_see_the_span_of_the_execution(traced: Traced) -> None:
    with DefaultRunner(workers=1, tracer=_Foreign(traced.tracer)) as runner:
        found = runner.execute(shop()).final_context
    root = traced.one("workflow shop")
    mapped, *rows = traced.named("task clean")
    assert found["seen"][1] == found["last"][1] == found["ids"][0] == id_of(root)
    assert {above(row) for row in rows} == {id_of(mapped)}
    assert [link.context.span_id for link in mapped.links] == [id_of(traced.one("task load"))]


def test_a_tracer_from_before_there_was_a_provider_is_as_good(traced: Traced, monkeypatch: pytest.MonkeyPatch) -> None:
    early = trace.ProxyTracerProvider().get_tracer("early")
    with DefaultRunner(workers=1, tracer=early) as runner:
        assert runner.execute(shop()).final_context["seen"] == (0, 0, 0)
        monkeypatch.setattr(trace, "_TRACER_PROVIDER", traced.provider)
        found = runner.execute(shop()).final_context
    assert found["seen"][1] == id_of(traced.one("task load"))


def test_what_is_no_tracer_is_refused(traced: Traced, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"not a provider: give it provider.get_tracer\('shop'\)\.$"):
        DefaultRunner(tracer=cast("Any", traced.provider))
    with pytest.raises(
        ValueError, match=r"tracer is what opentelemetry.trace.get_tracer\('shop'\) returns, not True\.$"
    ):
        DefaultRunner(tracer=cast("Any", True))
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ImportError, match=r"isn't installed here: pip install opentelemetry-api$"):
        DefaultRunner(tracer=traced.tracer)


def test_nothing_of_it_is_loaded_where_nobody_traces() -> None:
    program = """if 1:
        import sys
        import cloaca
        with cloaca.WorkflowBuilder("one") as builder:
            cloaca.task(id="one")(lambda context: context.set("loaded", "opentelemetry" in sys.modules))
        with cloaca.DefaultRunner(executor="serial") as runner:
            assert not runner.execute(builder).final_context["loaded"]
            assert list(runner.map(abs, [-1])) == [1]
        assert not [name for name in sys.modules if "opentelemetry" in name or "cloaca.tracing" in name]
        """
    subprocess.run([sys.executable, "-c", program], check=True)


def test_nothing_is_left_of_a_traced_execution(traced: Traced) -> None:
    gc.disable()
    try:
        with DefaultRunner(executor="serial", tracer=traced.tracer) as runner:
            execution = runner.start(shop())
            spans = weakref.ref(cast("Any", execution)._spans)
            execution.result()
            del execution
        assert spans() is None
    finally:
        gc.enable()


# ---- calls of map --------------------------------------------------------------------------------------------------


def look(number: int) -> int:
    if number < 0:
        raise ValueError(f"{number} is negative")
    return current()[1]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_call_of_map_has_one_span_that_its_function_sees(traced: Traced, executor: Executor) -> None:
    with (
        DefaultRunner(workers=2, executor=executor, tracer=traced.tracer) as runner,
        traced.tracer.start_as_current_span("caller") as caller,
    ):
        found = [*runner.map(look, range(100))]
        assert current()[1] == caller.get_span_context().span_id
    span = traced.one("map look")
    assert {*found} == {id_of(span)}
    assert above(span) == caller.get_span_context().span_id
    assert told(span, "status", "map.results") == ["Completed", 100]
    assert (span.attributes or {})["code.function.name"] == f"{__name__}.look"


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_call_of_map_that_raises_is_an_error(traced: Traced, executor: Executor) -> None:
    policy = RetryPolicy(max_attempts=2, initial_delay=0.001)
    with (
        DefaultRunner(workers=1, executor=executor, tracer=traced.tracer) as runner,
        pytest.raises(ValueError, match=r"-1 is"),
    ):
        list(runner.map(look, [1, -1], retry=policy))
    span = traced.one("map look")
    (event,) = span.events
    assert told(span, "status", "map.results") == ["Failed", 1]
    assert (span.status.status_code, event.name) == (StatusCode.ERROR, "exception")
    assert (event.attributes or {})["exception.type"] == "ValueError"


@pytest.mark.parametrize("executor", EXECUTORS)
def test_who_lets_go_of_the_results_has_ended_the_span(traced: Traced, executor: Executor) -> None:
    with DefaultRunner(workers=1, executor=executor, tracer=traced.tracer) as runner:
        results = runner.map(look, range(1000))
        next(results)
        del results
    assert told(traced.one("map look"), "status") == ["Cancelled"]
    assert traced.one("map look").status.status_code is StatusCode.UNSET
