"""The names, arguments and messages that existing scripts rely on, walked through as such scripts use them."""

import re
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import cloudpickle
import pytest
from tests.test_config import DEFAULTS

import cloaca
from cloaca import (
    BackoffStrategy,
    Context,
    DefaultRunner,
    DefaultRunnerConfig,
    RetryCondition,
    RetryPolicy,
    TaskNamespace,
    WorkflowBuilder,
    WorkflowContext,
)

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # as if all this stood in the user's script


@pytest.fixture(params=["processes", "serial"])
def runner(request: pytest.FixtureRequest) -> Iterator[DefaultRunner]:
    with DefaultRunner("sqlite://:memory:", workers=2, executor=request.param) as runner:
        yield runner


# ---- Context -------------------------------------------------------------------------------------------------------


def test_the_members_of_a_context() -> None:
    context = Context({"a": 1, "none": None})
    assert (context.get("a"), context.get("b"), context.get("b", 2), context.get("none", 2)) == (1, None, 2, None)
    assert context.set("b", [1]) is None  # type: ignore[func-returns-value]
    assert context.insert("c", 3) is None  # type: ignore[func-returns-value]
    assert context.update("c", 4) is None  # type: ignore[func-returns-value]
    assert (context.remove("c"), context.remove("c"), context.delete("c")) == (4, None, None)
    context["d"] = 4
    assert (context["d"], len(context), "none" in context, "e" in context) == (4, 4, True, False)
    del context["d"]
    context.update_from_dict({"e": 5})
    assert context.to_dict() == {"a": 1, "none": None, "b": [1], "e": 5}
    assert repr(Context({"a": 1})) == "Context({'a': 1})"
    assert Context.from_json(context.to_json()) == context
    assert (list(context), context.copy() == context) == (["a", "none", "b", "e"], True)
    assert (list(context.keys()), list(Context({"a": 1}).values()), dict(context.items())["e"]) == ([*context], [1], 5)
    assert context.conflicts() == {}


def test_values_are_copies() -> None:
    context = Context({"rows": [1]})
    context.get("rows").append(2)
    context["rows"].append(2)
    context.to_dict()["rows"].append(2)
    assert context.get("rows") == [1]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Context([1]), TypeError, "dict"),  # type: ignore[arg-type]
        (lambda: Context({1: 1}), TypeError, "1"),  # type: ignore[dict-item]
        (lambda: Context({"k": 1}).insert("k", 2), ValueError, "Key already exists: k"),
        (lambda: Context().update("k", 2), KeyError, "Key not found: k"),
        (lambda: Context()["k"], KeyError, "Key not found: k"),
        (lambda: Context().__delitem__("k"), KeyError, "Key not found: k"),
        (lambda: Context.from_json("{"), ValueError, "line 1"),
        (lambda: Context.from_json("[1]"), ValueError, "list"),
        (lambda: Context({"k": {1}}).to_json(), TypeError, "'k'"),
    ],
)
def test_what_a_context_refuses(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        call()


# ---- task ----------------------------------------------------------------------------------------------------------


def test_every_argument_of_task_together(runner: DefaultRunner) -> None:
    told: list[tuple[str, ...]] = []

    def succeeded(task_id: str, context: Context) -> None:
        told.append(("succeeded", task_id, str(context["x"])))

    def failed(task_id: str, error: str, context: Context) -> None:
        told.append(("failed", task_id, error, str("x" in context)))

    with WorkflowBuilder("arguments"):

        @cloaca.task(
            id="load",
            dependencies=[],
            retry_attempts=2,
            retry_backoff="fixed",
            retry_delay_ms=0,
            retry_max_delay_ms=10,
            retry_condition="all",
            retry_jitter=False,
            on_success=succeeded,
            on_failure=failed,
        )
        def first(context):
            context.set("x", 1)

        @cloaca.task(
            dependencies=("load",),
            retry=RetryPolicy.builder().max_attempts(2).initial_delay(0).build(),
            on_success=succeeded,
            on_failure=failed,
        )
        def second(context):
            raise TimeoutError("too late")

    result = runner.execute("arguments", Context())
    assert result.status == "Failed"
    failure = ("failed", "second", "TimeoutError: too late", "True")
    assert told == [("succeeded", "load", "1"), failure, failure]


def test_forward_references_and_functions_are_dependencies(runner: DefaultRunner) -> None:
    with WorkflowBuilder("forward") as builder:

        @cloaca.task(dependencies=["late"])
        def early(context):
            context.set("order", [*context["order"], "early"])

        @cloaca.task(id="late")
        def other_name(context):
            context.set("order", ["late"])

        @cloaca.task(dependencies=[other_name, early])
        def last(context):
            context.set("order", [*context["order"], "last"])

    assert builder.build().topological_sort() == ["late", "early", "last"]
    assert runner.execute("forward", Context()).final_context["order"] == ["late", "early", "last"]


@pytest.mark.parametrize("name", ["handle", "task_handle"])
def test_a_second_parameter_of_that_name_gets_a_handle(name: str, runner: DefaultRunner) -> None:
    functions: dict[str, Any] = {}
    exec(f"def wait(context, {name}): context.set('held', ({name}.is_slot_held(), type({name}).__name__))", functions)
    with WorkflowBuilder("handles"):
        cloaca.task()(functions["wait"])
    assert runner.execute("handles", Context()).final_context["held"] == (True, "TaskHandle")


def nothing(context: Context) -> None: ...


class Nameless:
    def __call__(self, context: Context) -> None: ...


def empty_block() -> None:
    with WorkflowBuilder("empty"):
        pass


def missing_dependency() -> None:
    with WorkflowBuilder("w"):
        cloaca.task(dependencies=["nowhere"])(nothing)


BOTH = "not both"
OUTSIDE = "No workflow context available. Tasks must be defined within a WorkflowBuilder context manager."
NO_DEPENDENCY = "Dependency 1 must be either a string or a function object with __name__ attribute"
NO_TASK = "Task must be either a string task ID or a function object with __name__ attribute"
NOT_FOUND = "Task 'x' not found in registry. Make sure it was decorated with @task."


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cloaca.task(retry=RetryPolicy.default(), retry_attempts=2), BOTH),
        (lambda: cloaca.task(retry=RetryPolicy.default(), retry_jitter=True), "retry_jitter="),
        (lambda: cloaca.task(dependencies=["a", 3]), NO_DEPENDENCY),  # type: ignore[list-item]
        (lambda: cloaca.task(retry_backoff="quadratic"), "fixed"),
        (lambda: cloaca.task(retry_condition="sometimes"), "transient"),
        (lambda: cloaca.task(on_success=3), "on_success"),  # type: ignore[call-overload]
        (lambda: cloaca.task()(nothing), OUTSIDE),
        (empty_block, "Workflow cannot be empty"),
        (missing_dependency, "nowhere"),
        (lambda: WorkflowBuilder("w").add_task("x"), NOT_FOUND),
        (lambda: WorkflowBuilder("w").add_task(3), NO_TASK),  # type: ignore[arg-type]
        (lambda: WorkflowBuilder("w").add_task(Nameless()), NO_TASK),
        (lambda: cloaca.register_workflow_constructor("w", lambda: 1 // 0), "Failed to call workflow constructor: "),  # type: ignore[arg-type,return-value]
        (lambda: TaskNamespace.from_string("a::b"), "a::b"),
        (lambda: DefaultRunner("postgres://localhost/x"), "postgres://"),
        (lambda: DefaultRunnerConfig(max_concurrent_tasks=0), "Invalid configuration: "),
        (lambda: DefaultRunnerConfig(task_timeout_seconds=-1), "Invalid configuration: "),
    ],
)
def test_what_is_a_value_error(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


@pytest.mark.parametrize("attempts", [0, 1])
def test_no_try_and_one_try_are_one(attempts: int, runner: DefaultRunner) -> None:
    with WorkflowBuilder("once"):
        cloaca.task(id="fail", retry_attempts=attempts)(lambda context: context["missing"])
        cloaca.task(id="without")(lambda context: context["missing"])
    result = runner.execute("once", Context())
    assert (result.tasks["fail"].attempts, result.tasks["without"].attempts) == (1, 1)


def test_only_keywords_and_parentheses_or_none() -> None:
    with WorkflowBuilder("w") as builder:
        assert cloaca.task(nothing) is nothing
        assert cloaca.task(id="other")(nothing) is nothing
        with pytest.raises(TypeError):
            cloaca.task("id")  # type: ignore[call-overload]
    assert builder.build().topological_sort() == ["nothing", "other"]


# ---- retry values --------------------------------------------------------------------------------------------------


def test_a_retry_policy_is_built_in_steps() -> None:
    plain = RetryPolicy.builder()
    built = (
        plain.max_attempts(5)
        .initial_delay(0.5)
        .max_delay(3)
        .backoff_strategy(BackoffStrategy.linear(2))
        .retry_condition(RetryCondition.transient_only())
        .with_jitter(False)
        .build()
    )
    assert (built.max_attempts, built.initial_delay, built.max_delay, built.with_jitter) == (5, 0.5, 3, False)
    assert [built.calculate_delay(n) for n in (1, 2, 3, 4)] == [1, 2, 3, 3]
    assert [built.should_retry(n, "TimeoutError") for n in (1, 4, 5)] == [True, True, False]
    assert not built.should_retry(1, "ValueError")
    assert plain.build() == RetryPolicy.default(), "each step makes a new builder"
    with pytest.raises(AttributeError):
        built.max_attempts = 3  # type: ignore[misc]


def test_the_default_policy() -> None:
    policy = RetryPolicy.default()
    assert (policy.max_attempts, policy.initial_delay, policy.max_delay, policy.with_jitter) == (3, 1, 60, True)
    assert policy.should_retry(1, "ValueError")
    assert all(0.75 <= policy.calculate_delay(1) <= 1.25 for _ in range(20))


@pytest.mark.parametrize(
    ("strategy", "delays"),
    [
        (BackoffStrategy.fixed(), [1, 1, 1]),
        (BackoffStrategy.linear(3), [3, 6, 9]),
        (BackoffStrategy.exponential(2), [1, 2, 4]),
        (BackoffStrategy.exponential(3, multiplier=2), [2, 6, 18]),
        (BackoffStrategy.exponential(3, None), [1, 3, 9]),
    ],
)
def test_delays(strategy: BackoffStrategy, delays: list[float]) -> None:
    policy = RetryPolicy.builder().backoff_strategy(strategy).with_jitter(False).build()
    assert [policy.calculate_delay(n) for n in (1, 2, 3)] == delays


def test_conditions() -> None:
    for condition, retried in [
        (RetryCondition.never(), False),
        (RetryCondition.all_errors(), True),
        (RetryCondition.transient_only(), False),
        (RetryCondition.error_pattern(["value"]), True),
        (RetryCondition.error_pattern(["disk"]), False),
    ]:
        policy = RetryPolicy.builder().retry_condition(condition).build()
        assert policy.should_retry(1, "ValueError") is retried, condition


# ---- WorkflowBuilder, Workflow, namespaces -------------------------------------------------------------------------


def test_a_builder_and_its_workflow() -> None:
    with WorkflowBuilder("sales", tenant="acme", package="etl", workflow="daily") as builder:
        builder.description("Totals")
        builder.tag("team", "analytics")

        @cloaca.task()
        def load(context): ...

        @cloaca.task(dependencies=["load"])
        def north(context): ...

        @cloaca.task(dependencies=["load"])
        def south(context): ...

        builder.add_task("load")
        builder.add_task(north)

    workflow = builder.build()
    assert (workflow.name, workflow.description, dict(workflow.tags)) == ("sales", "Totals", {"team": "analytics"})
    assert re.fullmatch("[0-9a-f]{16}", workflow.version)
    assert workflow.topological_sort() == ["load", "north", "south"], "added by name or not"
    assert workflow.get_execution_levels() == [["load"], ["north", "south"]]
    assert (workflow.get_roots(), workflow.get_leaves()) == (["load"], ["north", "south"])
    assert workflow.validate() is None  # type: ignore[func-returns-value]
    assert str(builder.namespace.task_namespace("load")) == "acme::etl::daily::load"


def test_build_inside_the_block_may_be_returned(runner: DefaultRunner) -> None:
    def make() -> cloaca.Workflow:
        with WorkflowBuilder("inner") as builder:

            @cloaca.task()
            def only(context):
                context.set("x", 1)

            return builder.build()

    workflow = make()
    assert workflow.description == ""
    cloaca.register_workflow_constructor("registered", make)
    assert runner.execute("registered", Context()).final_context["x"] == 1
    assert runner.execute(workflow.name, Context()).final_context["x"] == 1


def test_namespaces() -> None:
    task = TaskNamespace("t", "p", "w", "a")
    assert task == TaskNamespace.from_string("t::p::w::a")
    assert hash(task) == hash(TaskNamespace.from_string("t::p::w::a"))
    assert str(task) == "t::p::w::a"
    context = WorkflowContext("t", "p", "w")
    assert context == WorkflowContext("t", "p", "w")
    assert context.task_namespace("a") == context.resolve_dependency("a") == task
    assert task.parent() == context.workflow_namespace()
    assert context.contains_namespace(task)
    assert task.is_child_of(task.parent())
    assert task.is_sibling_of(context.task_namespace("b"))
    assert (task.tenant_id, task.package_name, task.workflow_id, task.task_id) == ("t", "p", "w", "a")


# ---- runners, configurations, results ------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["sqlite://", "sqlite://:memory:", ":memory:", "file::memory:?cache=shared"])
def test_urls_of_memory(url: str) -> None:
    DefaultRunner(url).shutdown()


@pytest.mark.parametrize(
    "url", ["sqlite:///tmp/x.db", "sqlite://x.db", "file:x", "x.db", "x.sqlite", "x.sqlite3", "./folder/x", "/tmp/x"]
)
def test_urls_of_files(url: str) -> None:
    DefaultRunner(url).shutdown()


def test_a_runner_from_its_making_to_its_end(runner: DefaultRunner) -> None:
    given = Context({"x": 1})
    with WorkflowBuilder("after the runner"):
        cloaca.task(id="add")(lambda context: context.set("x", context["x"] + 1))
    result = runner.execute("after the runner", given)
    assert (given["x"], result.final_context["x"]) == (1, 2)
    with pytest.raises(ValueError, match=r"Workflow not found in registry: after the runer.*after the runner"):
        runner.execute("after the runer", given)
    runner.shutdown()
    runner.shutdown()
    with pytest.raises(ValueError, match="shut down"):
        runner.execute("after the runner", given)


def test_a_configuration() -> None:
    assert DefaultRunnerConfig().to_dict() == DefaultRunnerConfig.default().to_dict() == DEFAULTS
    assert DefaultRunnerConfig(*DEFAULTS.values()).to_dict() == DefaultRunnerConfig(**DEFAULTS).to_dict() == DEFAULTS
    config = DefaultRunnerConfig(max_concurrent_tasks=2)
    config.task_timeout_seconds = 7
    assert (config.max_concurrent_tasks, config.task_timeout_seconds) == (2, 7)
    with DefaultRunner.with_config("sqlite://:memory:", config) as runner, WorkflowBuilder("configured"):
        assert "workers=2" in repr(runner)
        cloaca.task()(nothing)


def test_a_result(runner: DefaultRunner) -> None:
    with WorkflowBuilder("good"):
        cloaca.task(id="a")(lambda context: context.set("x", 1))
    good = runner.execute("good", Context())
    assert (good.status, good.error_message, good.final_context.to_dict()) == ("Completed", None, {"x": 1})
    assert datetime.fromisoformat(good.start_time) <= datetime.fromisoformat(good.end_time)
    assert good.duration >= 0
    assert good.execution_id != runner.execute("good", Context()).execution_id
    assert runner.execute("good", Context(), seed=good.seed).seed == good.seed
    good.raise_for_status()
    with WorkflowBuilder("bad"):
        cloaca.task(id="a")(lambda context: context["missing"])
    bad = runner.execute("bad", Context())
    assert bad.status == "Failed"
    assert "Task 'a' failed: KeyError" in (bad.error_message or "")
    assert bad.tasks["a"].status == "Failed"
    with pytest.raises(cloaca.WorkflowFailedError):
        bad.raise_for_status()
