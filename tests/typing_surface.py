"""The public types, as type checkers see them from outside. Nothing here runs: checking it is the test.

Each `type: ignore` marks what a checker has to refuse: one that isn't needed is an error too.
"""

from collections.abc import Awaitable, Callable, ItemsView, Iterator, KeysView, Mapping, Sequence, ValuesView
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, assert_type

from opentelemetry import trace

import cloaca
from cloaca.history.plan import Plan

Status = Literal["Completed", "Failed", "Cancelled"]
ProfilerName = Literal["cprofile", "pyinstrument", "memray"]


def contexts(context: cloaca.Context) -> None:
    cloaca.Context()
    cloaca.Context({"a": 1})
    cloaca.Context([1])  # type: ignore[arg-type]
    assert_type(context.get("a"), Any)
    assert_type(context.get("a", 1), Any)
    context.get(1)  # type: ignore[arg-type]
    context.set("a", 1)
    context.insert("a", 1)
    context.update("a", 1)
    context.update({"a": 1})
    assert_type(context.remove("a"), Any)
    assert_type(context.delete("a"), Any)
    assert_type((context.pop("a"), context.setdefault("a", 1)), tuple[Any, Any])
    assert_type(context["a"], Any)
    context["a"] = 1
    del context["a"]
    assert_type("a" in context, bool)
    assert_type(len(context), int)
    assert_type(iter(context), Iterator[str])
    assert_type(context.keys(), KeysView[str])
    assert_type(context.values(), ValuesView[Any])
    assert_type(context.items(), ItemsView[str, Any])
    assert_type(context.to_dict(), dict[str, Any])
    assert_type(context.to_dict(conflicts="skip"), dict[str, Any])
    context.to_dict(conflicts="first")  # type: ignore[arg-type]
    context.update_from_dict({"a": 1})
    assert_type(context.to_json(), str)
    assert_type(cloaca.Context.from_json("{}"), cloaca.Context)
    assert_type(context.copy(), cloaca.Context)
    assert_type(context.seed, int | None)
    assert_type(context.item_key, Any)
    assert_type(context.slots, Mapping[str, tuple[int, ...]])
    assert_type(context.lazy("a"), Any)
    assert_type(context.conflicts(), dict[str, cloaca.MergeConflict])
    assert_type(context.outcome("load").status, str)
    assert_type(context.outcome("load").error, str | None)
    assert_type(context.outcome("load").reason, str | None)


def print_progress(task: str, context: cloaca.Context) -> None: ...


def length(text: str) -> int: ...  # type: ignore[empty-body]


def tasks() -> None:
    @cloaca.task
    def bare(context: cloaca.Context) -> None: ...

    @cloaca.task()
    def called(context: cloaca.Context) -> dict[str, int]: ...  # type: ignore[empty-body]

    @cloaca.task(id="other", dependencies=["bare", called])
    async def given(context: cloaca.Context) -> None: ...

    @cloaca.task(returns=("train", "test"), inputs={"frame": "rows"})
    def split(frame: list[int], at: int = 1) -> tuple[list[int], list[int]]: ...  # type: ignore[empty-body]

    assert_type(split([1]), tuple[list[int], list[int]])
    assert_type(cloaca.task(length, returns="length")("abc"), int)
    assert_type(cloaca.task(length, for_each="texts", returns=["length"])("abc"), int)
    cloaca.task(sum, id="total", returns="total", inputs={"iterable": "rows"})
    cloaca.task(length, id="named")
    cloaca.task(length, returns=1)  # type: ignore[call-overload]
    cloaca.task(length, inputs=["rows"])  # type: ignore[call-overload]
    cloaca.WorkflowBuilder("w", wire=True)
    cloaca.WorkflowBuilder("w", wire="yes")  # type: ignore[arg-type]
    assert_type(bare(cloaca.Context()), None)
    assert_type(called(cloaca.Context()), dict[str, int])
    cloaca.task(retry=cloaca.RetryPolicy.default(), timeout=30)
    cloaca.task(retry_attempts=3, retry_backoff="fixed", retry_delay_ms=1, retry_max_delay_ms=2.5, retry_jitter=False)
    cloaca.task(on_success=print_progress, on_failure=lambda task, error, context: print(task, error.upper()))
    cloaca.task(on_failure=print_progress)  # type: ignore[arg-type]
    cloaca.task(retry=3)  # type: ignore[call-overload]
    cloaca.task(timeout="30")  # type: ignore[call-overload]
    cloaca.task(limits={"gpu": 1, "memory_gb": 4}, priority=10)
    cloaca.task(priority="high")  # type: ignore[call-overload]
    cloaca.task(limits={"gpu": "1"})  # type: ignore[dict-item]
    cloaca.task(for_each="rows")
    cloaca.task(for_each=["rows"])  # type: ignore[call-overload]
    cloaca.task(reuse=False, fingerprint=lambda context: 1, cache_version=3, accept="ab12")
    cloaca.task(for_each="rows", fingerprint=lambda context, item: 1, cache_version="b", accept=["ab12"])
    cloaca.task(profile=True)
    cloaca.task(profile="memray")
    cloaca.task(profile="perf")  # type: ignore[call-overload]
    cloaca.task(fingerprint=1)  # type: ignore[call-overload]
    cloaca.task(name="x")  # type: ignore[call-overload]
    cloaca.task("x")  # type: ignore[call-overload]
    cloaca.task(dependencies="x")  # a str is a sequence of them: refused when it runs


def rules() -> None:
    condition = cloaca.context_value("score", ">", 10)
    assert_type(condition, cloaca.Condition)
    assert_type(cloaca.context_value("score", "exists"), cloaca.Condition)
    assert_type(cloaca.task_success("load"), cloaca.Condition)
    assert_type(cloaca.all_of(condition, cloaca.none_of(cloaca.task_failed(tasks))), cloaca.Condition)
    assert_type(cloaca.any_of(cloaca.task_skipped("load"), cloaca.always()), cloaca.Condition)
    assert_type(condition.keys, tuple[str, ...])
    cloaca.task(trigger_rules=condition)
    cloaca.task(trigger_rule="all_done")
    cloaca.task(trigger_rules="all_done")  # type: ignore[call-overload]
    cloaca.task(trigger_rule="sometimes")  # type: ignore[call-overload]
    cloaca.task_success(1)  # type: ignore[arg-type]
    cloaca.all_of("load")  # type: ignore[arg-type]
    cloaca.context_value(1, "exists")  # type: ignore[arg-type]
    cloaca.WorkflowBuilder("w", trigger_rule="all_success")
    cloaca.WorkflowBuilder("w", trigger_rule="sometimes")  # type: ignore[arg-type]


def handles(handle: cloaca.TaskHandle) -> None:
    assert_type(handle.defer_until(lambda: True), Awaitable[None])
    handle.defer_until(lambda: True, poll_interval_ms=0.5)
    handle.defer_until(True)  # type: ignore[arg-type]
    assert_type(handle.is_slot_held(), bool)

    @cloaca.task()
    def waits(context: cloaca.Context, handle: cloaca.TaskHandle) -> None: ...


def retries(policy: cloaca.RetryPolicy, builder: cloaca.RetryPolicyBuilder) -> None:
    assert_type(cloaca.RetryPolicy.default(), cloaca.RetryPolicy)
    assert_type(cloaca.RetryPolicy.builder(), cloaca.RetryPolicyBuilder)
    assert_type(cloaca.RetryPolicy(max_attempts=5), cloaca.RetryPolicy)
    cloaca.RetryPolicy(5)  # type: ignore[call-arg]
    assert_type(policy.max_attempts, int)
    assert_type((policy.initial_delay, policy.max_delay), tuple[float, float])
    assert_type(policy.with_jitter, bool)
    assert_type(policy.backoff_strategy, cloaca.BackoffStrategy)
    assert_type(policy.retry_condition, cloaca.RetryCondition)
    policy.max_attempts = 5  # type: ignore[misc]
    assert_type(policy.should_retry(1, "TimeoutError"), bool)
    assert_type(policy.should_retry(1, TimeoutError), bool)
    assert_type(policy.should_retry(1, TimeoutError()), bool)
    assert_type(policy.calculate_delay(1), float)
    assert_type(builder.max_attempts(5).initial_delay(1).max_delay(2.5), cloaca.RetryPolicyBuilder)
    assert_type(builder.with_jitter(False), cloaca.RetryPolicyBuilder)
    assert_type(builder.backoff_strategy(cloaca.BackoffStrategy.fixed()), cloaca.RetryPolicyBuilder)
    assert_type(builder.retry_condition(cloaca.RetryCondition.never()), cloaca.RetryPolicyBuilder)
    assert_type(builder.build(), cloaca.RetryPolicy)
    builder.max_attempts("5")  # type: ignore[arg-type]
    builder.backoff_strategy("fixed")  # type: ignore[arg-type]
    assert_type(cloaca.BackoffStrategy.linear(2), cloaca.BackoffStrategy)
    assert_type(cloaca.BackoffStrategy.exponential(2, multiplier=3), cloaca.BackoffStrategy)
    assert_type(cloaca.RetryCondition.transient_only(), cloaca.RetryCondition)
    assert_type(cloaca.RetryCondition.all_errors(), cloaca.RetryCondition)
    assert_type(cloaca.RetryCondition.error_pattern(["rate limit"]), cloaca.RetryCondition)
    assert_type(cloaca.RetryCondition.error_types(ConnectionError, cloaca.TaskError), cloaca.RetryCondition)
    cloaca.RetryCondition.error_types("ConnectionError")  # type: ignore[arg-type]


def best(base: int | None, values: Sequence[int]) -> int:
    return max(values)


def workflows(builder: cloaca.WorkflowBuilder) -> None:
    with cloaca.WorkflowBuilder("w", tenant="t", package="p", workflow="w") as entered:
        assert_type(entered, cloaca.WorkflowBuilder)
    cloaca.WorkflowBuilder("w", merge={"total": cloaca.merge.sum, "best": best}, on_conflict="first")
    cloaca.WorkflowBuilder("w", merge={"total": "sum"})  # type: ignore[dict-item]
    cloaca.WorkflowBuilder("w", on_conflict="never")  # type: ignore[arg-type]
    cloaca.WorkflowBuilder("w", on_complete=lambda result: print(result.status))
    cloaca.WorkflowBuilder("w", on_complete=print_progress)  # type: ignore[arg-type]
    assert_type(cloaca.testing.check_merge_rule(best, [1, 2, 3]), tuple[str, ...])
    assert_type(builder.description("text").tag("key", "value"), cloaca.WorkflowBuilder)
    assert_type(builder.add_task("load"), cloaca.WorkflowBuilder)
    workflow = builder.build()
    assert_type(workflow, cloaca.Workflow)
    assert_type((workflow.reuse, workflow.code_of("load")), tuple[bool, str])
    assert_type(workflow.copies[0].prefix, str)
    assert_type(workflow.name, str)
    assert_type(workflow.description, str)
    assert_type(workflow.tags, Mapping[str, str])
    assert_type(workflow.tasks, tuple[cloaca.Task, ...])
    assert_type(workflow.tasks[0].id, str)
    assert_type(workflow.tasks[0].function, Callable[..., Any])
    assert_type(workflow.tasks[0].dependencies, tuple[str, ...])
    assert_type(workflow.tasks[0].reads, tuple[str, ...] | None)
    assert_type(workflow.tasks[0].retry, cloaca.RetryPolicy | None)
    assert_type(workflow.tasks[0].timeout, float | None)
    assert_type(workflow.tasks[0].trigger_rule, str | None)
    assert_type(workflow.tasks[0].trigger_rules, cloaca.Condition | None)
    assert_type(workflow.tasks[0].on_success, Callable[..., object] | None)
    assert_type(workflow.tasks[0].on_failure, Callable[..., object] | None)
    assert_type(workflow.tasks[0].for_each, str | None)
    assert_type(workflow.tasks[0].limits, tuple[tuple[str, int], ...])
    assert_type(workflow.tasks[0].prefix, str)
    assert_type(workflow.plan, Plan)
    assert_type(workflow.version, str)
    assert_type(workflow.merge, Mapping[str, Callable[[Any, list[Any]], Any]])
    assert_type(workflow.on_conflict, Literal["first", "last", "fail"] | None)
    assert_type(workflow.check, Literal["error", "warn", "off"])
    assert_type(workflow.structured, frozenset[str])
    assert_type(workflow.outputs, tuple[str, ...] | None)
    assert_type(workflow.on_complete, Callable[..., object] | None)
    assert_type(workflow.topological_sort(), list[str])
    assert_type(workflow.get_execution_levels(), list[list[str]])
    assert_type(workflow.get_roots(), list[str])
    assert_type((workflow.reuse, workflow.tasks[0].reuse), tuple[bool, bool | None])
    assert_type(workflow.get_leaves(), list[str])
    assert_type((workflow.to_mermaid("LR"), workflow.to_dot(direction="LR"), workflow.to_svg()), tuple[str, str, str])
    workflow.to_dot("down", most=None)  # type: ignore[arg-type]
    workflow.validate()
    workflow.name = "other"  # type: ignore[misc]
    cloaca.register_workflow_constructor("w", builder.build)
    cloaca.register_workflow_constructor("w", workflow)  # type: ignore[arg-type]


def copies(builder: cloaca.WorkflowBuilder, workflow: cloaca.Workflow) -> None:
    copy = builder.add_workflow(workflow, prefix="north", dependencies=["load", best], inputs={"rows": "all"})
    builder.add_workflow("other", prefix="south", dependencies=[*copy.leaves])
    builder.add_workflow(builder, prefix="east")
    builder.add_workflow(workflow, for_each="regions", item="region")
    builder.add_workflow(workflow, for_each=3, item="region")  # type: ignore[arg-type]
    builder.add_workflow(3, prefix="west")  # type: ignore[arg-type]
    builder.add_workflow(workflow, prefix="west", inputs={"rows": 3})  # type: ignore[dict-item]
    assert_type(copy, cloaca.Copy)
    assert_type(copy.prefix, str)
    assert_type((copy.ids, copy.roots, copy.leaves), tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]])
    assert_type(copy.inputs, Mapping[str, str])
    copy = workflow.copies[0]
    copy.ids = ()  # type: ignore[misc]


def namespaces() -> None:
    task = cloaca.TaskNamespace.from_string("a::b::c::d")
    assert_type(task, cloaca.TaskNamespace)
    assert_type(task.tenant_id, str)
    assert_type(task.parent(), cloaca.TaskNamespace)
    assert_type(task.is_child_of(task), bool)
    assert_type(task.is_sibling_of(task), bool)
    workflow = cloaca.WorkflowContext("a", "b", "c")
    assert_type(workflow.task_namespace("d"), cloaca.TaskNamespace)
    assert_type(workflow.resolve_dependency("d"), cloaca.TaskNamespace)
    assert_type(workflow.workflow_namespace(), cloaca.TaskNamespace)
    assert_type(workflow.contains_namespace(task), bool)


def configurations() -> None:
    config = cloaca.DefaultRunnerConfig(2, 100, enable_recovery=False, db_pool_size=None)
    assert_type(cloaca.DefaultRunnerConfig.default(), cloaca.DefaultRunnerConfig)
    assert_type(config.max_concurrent_tasks, int)
    assert_type(config.enable_recovery, bool)
    assert_type(config.given("max_concurrent_tasks"), int | None)
    assert_type(config.to_dict(), dict[str, Any])
    config.max_concurrent_tasks = 3
    config.max_concurrent_tasks = "3"  # type: ignore[assignment]
    config.max_concurrent_task = 3  # type: ignore[attr-defined]
    cloaca.DefaultRunnerConfig(max_concurrent_task=3)  # type: ignore[call-arg]
    cloaca.DefaultRunnerConfig("2")  # type: ignore[arg-type]


async def wait_for(name: str) -> float:
    return float(len(name))


def scaled(number: int, *, by: float) -> float:
    return number * by


def tracers() -> None:
    cloaca.DefaultRunner(tracer=trace.get_tracer("shop"))
    cloaca.DefaultRunner(tracer=True)  # type: ignore[arg-type]


def sweeps() -> None:
    assert_type(cloaca.zipped(width=[1, 2], height=range(2)), dict[str, dict[str, Any]])
    assert_type(cloaca.product({"a": {"b": 1}}, alpha=(0.1, 0.2)), dict[str, dict[str, Any]])
    cloaca.product([1])  # type: ignore[arg-type]
    cloaca.product(alpha=iter([0.1]))  # type: ignore[arg-type]


def runners(context: cloaca.Context, builder: cloaca.WorkflowBuilder) -> None:
    cloaca.DefaultRunner("sqlite://:memory:", workers=2, executor="serial")
    cloaca.DefaultRunner(memory_limit=2**30, grace_seconds=0.5)
    cloaca.DefaultRunner(task_timeout_seconds=30, workflow_timeout_seconds=2.5)
    cloaca.DefaultRunner(initializer=lambda: 1, limits={"db": 2})
    cloaca.DefaultRunner(initializer=len)  # type: ignore[arg-type]
    cloaca.DefaultRunner(limits={"db": "2"})  # type: ignore[dict-item]
    assert_type(cloaca.worker_state.model, Any)
    cloaca.worker_state.model = 1
    cloaca.DefaultRunner(executor="fibres")  # type: ignore[arg-type]
    cloaca.DefaultRunner(executor="threads")
    cloaca.DefaultRunner(executor=ThreadPoolExecutor(2))
    cloaca.DefaultRunner("sqlite://:memory:", 2)  # type: ignore[call-arg]
    cloaca.DefaultRunner.with_config("sqlite://:memory:", cloaca.DefaultRunnerConfig())
    with cloaca.DefaultRunner() as runner:
        assert_type(runner, cloaca.DefaultRunner)
        assert_type(runner.execute("w"), cloaca.WorkflowResult)
        assert_type(runner.execute("w", context), cloaca.WorkflowResult)
        assert_type(runner.execute("w", context, fail_fast=True), cloaca.WorkflowResult)
        assert_type(runner.map(len, ["a", "b"], chunksize=2, seed=5), Iterator[int])
        assert_type(runner.map(wait_for, ["a"]), Iterator[float])
        assert_type(runner.map(isinstance, [2], [int], retry_attempts=2), Iterator[bool])
        assert_type(runner.map(len, ["a"], on_error="return", timeout=2.5), Iterator[int | BaseException])
        runner.map(len, [1, 2])  # type: ignore[arg-type]
        assert_type(runner.map(scaled, [1, 2], shared={"by": 2.5}), Iterator[float])
        assert_type(runner.map(scaled, [1], shared={"by": 2}, on_error="return"), Iterator[float | BaseException])
        runner.map(scaled, [1, 2], shared=2.5)  # type: ignore[call-overload]
        assert_type(runner.execute(builder, {"a": 1}), cloaca.WorkflowResult)
        assert_type(runner.execute(builder.build(), context), cloaca.WorkflowResult)
        assert_type(runner.start(builder, {"a": 1}, progress=True), cloaca.Execution)
        told = runner.start(builder).progress()
        assert_type(told, cloaca.Progress)
        assert_type((told.name, told.status), tuple[str, str])
        assert_type((told.total, told.done, told.running, told.reused), tuple[int, int, int, int])
        assert_type((told.fraction, told.rate, told.left), tuple[float, float, float | None])
        assert_type([(one.task, one.done, one.total) for one in told.mapped], list[tuple[str, int, int]])
        assert_type([(one.worker, one.task, one.seconds) for one in told.busy], list[tuple[int, str, float]])
        runner.execute("w", {1: 1})  # type: ignore[dict-item]
        runner.execute("w", [1])  # type: ignore[arg-type]
        runner.execute(1)  # type: ignore[arg-type]
        runner.execute("w", context, True)  # type: ignore[call-arg]
        runner.execute("w", context, seed=7)
        execution = runner.start("w", context, seed=7)
        assert_type(execution, cloaca.Execution)
        assert_type(execution.done(), bool)
        assert_type(execution.id, str)
        assert_type(execution.status, str)
        assert_type(execution.result(timeout=1.5), cloaca.WorkflowResult)
        execution.cancel()
        runner.shutdown()


def past(runner: cloaca.DefaultRunner) -> None:
    assert_type(runner.resume("0123"), cloaca.WorkflowResult)
    assert_type(runner.executions("w", status="Failed"), list[cloaca.PastExecution])
    assert_type(runner.prune(keep=3), int)
    assert_type(runner.replay("0123", "load", 2), cloaca.Context)
    assert_type(runner.plan("w", {"a": 1}, targets=["load"]), cloaca.RunPlan)
    planned: cloaca.PlannedTask = runner.plan("w")["load"]
    assert_type(planned.because, str)
    past = runner.execution("0123")
    assert_type((past.id, past.workflow, past.status, past.seed), tuple[str, str, str, int])
    assert_type((past.start_time, past.end_time, past.duration), tuple[str, str | None, float | None])
    assert_type((past.input, past.final_context), tuple[cloaca.Context, cloaca.Context])
    assert_type((past.before("load"), past.after("load", 2)), tuple[cloaca.Context, cloaca.Context])
    assert_type(past.tasks, Mapping[str, cloaca.TaskResult])
    assert_type(past.result, cloaca.WorkflowResult)
    assert_type(past.error_message, str | None)


def stores(
    claimed: cloaca.ExecutionClaimedError,
    unknown: cloaca.UnknownExecutionError,
    lost: cloaca.ValueLostError,
    changed: cloaca.ExecutionChangedError,
    error: cloaca.StoreError,
    fingerprint: cloaca.FingerprintError,
) -> None:
    assert_type((fingerprint.task, fingerprint.reason), tuple[str, str])
    assert_type(cloaca.Skip("no new files").reason, str)
    assert_type((claimed.execution, claimed.owner, claimed.silent), tuple[str, str, float])
    assert_type((unknown.execution, unknown.close), tuple[str, tuple[str, ...]])
    assert_type((lost.file, error.path), tuple[str, str | None])
    assert_type((changed.execution, changed.workflow, changed.findings), tuple[str, str, tuple[str, ...]])


def profiles(runner: cloaca.DefaultRunner, result: cloaca.WorkflowResult, error: cloaca.NoProfileError) -> None:
    assert_type(runner.start("w", {"a": 1}, profile="memray"), cloaca.Execution)
    assert_type(runner.resume("0123", profile="pyinstrument"), cloaca.WorkflowResult)
    runner.execute("w", profile="perf")  # type: ignore[arg-type]
    profile = result.profile("load", "total")
    assert_type((profile, result.profile()), tuple[cloaca.Profile, cloaca.Profile])
    assert_type((profile.profiler, profile.tasks, profile.calls), tuple[ProfilerName, tuple[str, ...], int])
    assert_type(profile.notes, tuple[str, ...])
    assert_type(profile.opened(), Any)
    profile.save("load.prof")
    assert_type(error.args, tuple[Any, ...])


def task_explanations(told: cloaca.TaskExplanation) -> None:
    assert_type((told.task, told.place, told.status, told.why), tuple[str, str, str, str])
    assert_type((told.rule, told.condition, told.waited_for), tuple[str, str, Mapping[str, str]])
    assert_type((told.read, told.wrote), tuple[Mapping[str, tuple[str, ...]], Mapping[str, int | None]])
    assert_type((told.tries, told.instances), tuple[tuple[cloaca.Try, ...], Mapping[str, int]])
    assert_type((told.handled, told.reused_from, told.ran_because), tuple[bool, str | None, str | None])


def results(result: cloaca.WorkflowResult) -> None:
    assert_type(result.profile(), cloaca.Profile)
    assert_type(result.status, Status)
    assert_type(result.execution_id, str)
    assert_type((result.seed, result.handled), tuple[int, tuple[str, ...]])
    assert_type((result.start_time, result.end_time), tuple[str, str])
    assert_type(result.duration, float)
    assert_type(result.final_context, cloaca.Context)
    assert_type(result.error_message, str | None)
    assert_type(result.conflicts, dict[str, cloaca.MergeConflict])
    assert_type(result.merges, dict[str, str])
    assert_type(result.tasks, Mapping[str, cloaca.TaskResult])
    assert_type((result.raise_for_status()["report"], result.value("load")), tuple[Any, Any])
    summary = result.summary()
    assert_type(summary, cloaca.Summary)
    assert_type((summary.seconds, summary.work, summary.cpu), tuple[float, float, float])
    assert_type((summary.speed_up, summary.bound, summary.idle.seconds), tuple[float, float, float])
    assert_type((summary.critical_path, summary.critical_path_seconds), tuple[tuple[str, ...], float])
    assert_type(summary.to_html(), str)
    assert_type((summary.slowest, summary.advice), tuple[tuple[tuple[str, float], ...], tuple[str, ...]])
    result.save_trace("run.json")
    result.save_report("run.html")
    assert_type((result.to_mermaid("LR"), result.to_dot(most=None), result.to_svg(most=20)), tuple[str, str, str])
    explanation = result.explain("total")
    assert_type(explanation, cloaca.Explanation)
    assert_type((explanation.key, explanation.how, explanation.value), tuple[str, str, str])
    assert_type((explanation.rule, explanation.why), tuple[str, str])
    assert_type([(one.task, one.place, one.saw) for one in explanation.writes], list[tuple[str, str, tuple[str, ...]]])
    assert_type(result.explain_task("load"), cloaca.TaskExplanation)
    task = result.tasks["load"]
    assert_type(task.id, str)
    assert_type(task.status, str)
    assert_type(task.attempts, int)
    assert_type(task.tries, tuple[cloaca.Try, ...])
    (one, *_) = task.tries
    assert_type((one.nth, one.error, one.error_message), tuple[int, BaseException | None, str | None])
    assert_type((one.start_time, one.end_time), tuple[str | None, str | None])
    assert_type((one.duration, one.delay, one.worker), tuple[float | None, float | None, int | None])
    assert_type(task.error, BaseException | None)
    assert_type(task.error_message, str | None)
    assert_type(task.reason, str | None)
    assert_type(task.start_time, str | None)
    assert_type(task.end_time, str | None)
    assert_type(task.duration, float | None)
    assert_type(task.cpu_seconds, float | None)
    assert_type(task.peak_memory, int | None)
    assert_type(task.keys_read, tuple[str, ...])
    assert_type((task.bytes_read, task.bytes_mapped), tuple[int | None, int | None])
    assert_type(task.bytes_written, int | None)
    if task.usage is not None:
        assert_type((task.usage.started, task.usage.ended, task.usage.cpu), tuple[float, float, float])


def dataflow(workflow: cloaca.Workflow, finding: cloaca.Finding) -> None:
    assert_type(cloaca.check(workflow), tuple[cloaca.Finding, ...])
    assert_type(cloaca.check(workflow, ["year"]), tuple[cloaca.Finding, ...])
    assert_type((finding.task, finding.key, finding.message), tuple[str, str, str])
    assert_type((finding.others, finding.places), tuple[tuple[str, ...], tuple[str, ...]])
    assert_type(
        finding.kind,
        Literal[
            "unordered", "late", "missing", "ambiguous", "undeclared", "unmade", "unclear", "lost", "mistyped", "unread"
        ],
    )
    cloaca.WorkflowBuilder("w", check="error")
    cloaca.WorkflowBuilder("w", check="loud")  # type: ignore[arg-type]


def reuse(task: cloaca.Task) -> None:
    assert_type(task.fingerprint, Callable[..., object] | None)
    assert_type((task.cache_version, task.accept), tuple[str, tuple[str, ...]])


WARNING: type[UserWarning] = cloaca.DataflowWarning


def exceptions(
    workflow: cloaca.WorkflowError,
    capture: cloaca.CaptureError,
    encode: cloaca.EncodeError,
    decode: cloaca.DecodeError,
    conflict: cloaca.MergeConflict,
    condition: cloaca.ConditionError,
    full: cloaca.StorageFullError,
    task: cloaca.TaskError,
    died: cloaca.WorkerDied,
    timeout: cloaca.TaskTimeout,
    memory: cloaca.MemoryLimitExceeded,
    initializer: cloaca.InitializerError,
    missing: cloaca.MissingKeyError,
    parameter: cloaca.ParameterError,
    undeclared: cloaca.UndeclaredWriteError,
    unread: cloaca.UndeclaredReadError,
    module: cloaca.ModuleChangedError,
    fingerprint: cloaca.FingerprintError,
) -> None:
    assert_type(workflow.findings, tuple[str, ...])
    assert_type((capture.task, capture.variable, capture.type_name), tuple[str | None, str, str])
    assert_type((capture.key, capture.initializer), tuple[str | None, str | None])
    assert_type((initializer.initializer, initializer.reason), tuple[str, str])
    assert_type((encode.key, encode.path, encode.type_name), tuple[str | None, str, str])
    assert_type((decode.key, decode.writer), tuple[str | None, str | None])
    assert_type((conflict.key, conflict.writers), tuple[str, tuple[str, ...]])
    assert_type((conflict.places, conflict.path, conflict.reason), tuple[tuple[str, ...], str, str | None])
    assert_type((condition.task, condition.condition, condition.key), tuple[str, str, str])
    assert_type((module.module, module.file), tuple[str, str | None])
    assert_type((fingerprint.task, fingerprint.reason), tuple[str, str])
    assert_type((full.task, full.key, full.size), tuple[str | None, str | None, int])
    assert_type(full.folders, tuple[tuple[str, int], ...])
    assert_type(full.unusable, tuple[tuple[str, str], ...])
    assert_type(decode.is_lost, bool)
    assert_type((missing.task, missing.key, missing.close), tuple[str, str, tuple[str, ...]])
    assert_type((parameter.task, parameter.key, parameter.fault), tuple[str, str, str])
    assert_type((undeclared.task, undeclared.key, undeclared.close), tuple[str, str, tuple[str, ...]])
    assert_type((unread.task, unread.key, unread.close), tuple[str, str, tuple[str, ...]])
    assert_type(task.type_name, str)
    assert_type((died.task, died.exit_code, died.signal), tuple[str, int | None, str | None])
    assert_type((died.attempt, died.seconds, died.is_oom), tuple[int, float | None, bool])
    assert_type((died.memory, died.available), tuple[int | None, int | None])
    assert_type((timeout.task, timeout.attempt, timeout.timeout), tuple[str, int, float])
    assert_type((memory.task, memory.memory, memory.limit), tuple[str, int, int])
    assert_type((timeout.seconds, memory.seconds), tuple[float | None, float | None])


OTHER_EXCEPTIONS: list[type[cloaca.CloacaError]] = [
    cloaca.InternalError,
    cloaca.NestedExecutionError,
    cloaca.RunnerClosedError,
    cloaca.UnknownWorkflowError,
    cloaca.WorkersUnavailableError,
    cloaca.WorkflowFailedError,
]
NO_ERROR_OF_CLOACA: type[Exception] = cloaca.RemoteTraceback


WARNINGS: list[type[UserWarning]] = [cloaca.LostChangeWarning]


def hooks() -> None:
    @cloaca.on_run
    def notify(event: cloaca.ExecutionEvent) -> None:
        assert_type((event.execution, event.workflow, event.status), tuple[str, str, str])
        assert_type((event.time, event.seconds, event.error), tuple[float, float | None, str | None])
        assert_type(event.result, cloaca.WorkflowResult | None)

    def measure(event: cloaca.TaskEvent) -> None:
        assert_type((event.execution, event.workflow, event.task, event.status), tuple[str, str, str, str])
        assert_type((event.item, event.attempts, event.time), tuple[int | None, int, float])
        assert_type((event.seconds, event.instances), tuple[float | None, int | None])
        assert_type((event.error, event.reason), tuple[str | None, str | None])

    assert_type(notify, cloaca.Hook[cloaca.ExecutionEvent])
    assert_type((notify.is_on, notify.name), tuple[bool, str])
    notify.remove()
    with cloaca.on_task(measure) as hook:
        assert_type(hook, cloaca.Hook[cloaca.TaskEvent])
    cloaca.on_task(notify)  # type: ignore[arg-type]
    cloaca.on_run(print)
