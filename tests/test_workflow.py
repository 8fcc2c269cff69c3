"""Authoring: what a block defines, what it refuses, and what leaving it registers."""

import functools
import threading
from collections.abc import Callable, Iterator
from math import inf, nan
from typing import Any

import pytest

from cloaca.authoring import registry
from cloaca.authoring.builder import WorkflowBuilder, current_builder
from cloaca.authoring.decorator import task
from cloaca.authoring.registry import find, register_workflow_constructor
from cloaca.compat.namespace import TaskNamespace, WorkflowContext
from cloaca.errors import UnknownWorkflowError, WorkflowError
from cloaca.retry import BackoffStrategy, RetryCondition, RetryPolicy
from cloaca.triggers.condition import always
from cloaca.workflows.workflow import Task, Workflow


def nothing(context):
    return None


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "_entries", {})
    yield
    assert current_builder() is None, "a block stayed open"


def diamond() -> Workflow:
    with WorkflowBuilder("diamond") as builder:
        builder.description("four tasks").tag("team", "analytics").tag("level", "1")

        @task()
        def load(context):
            return None

        @task(id="north", dependencies=["load"])
        def total_north(context):
            return None

        @task(dependencies=(load,))
        def south(context):
            return None

        @task(dependencies=[total_north, "south"])
        def report(context):
            return None

    return builder.build()


def findings(builder: WorkflowBuilder) -> tuple[str, ...]:
    with pytest.raises(WorkflowError) as caught:
        builder.build()
    return caught.value.findings


# ---- the workflow --------------------------------------------------------------------------------------------------


def test_a_workflow_tells_what_it_is_made_of() -> None:
    workflow = diamond()
    assert workflow.name == "diamond"
    assert workflow.description == "four tasks"
    assert dict(workflow.tags) == {"team": "analytics", "level": "1"}
    assert [(task.id, task.dependencies) for task in workflow.tasks] == [
        ("load", ()),
        ("north", ("load",)),
        ("south", ("load",)),
        ("report", ("north", "south")),
    ]
    assert workflow.topological_sort() == ["load", "north", "south", "report"]
    assert workflow.get_execution_levels() == [["load"], ["north", "south"], ["report"]]
    assert workflow.get_roots() == ["load"]
    assert workflow.get_leaves() == ["report"]
    assert len(workflow.version) == 16
    assert "'diamond'" in repr(workflow)
    workflow.validate()


def test_a_workflow_does_not_change() -> None:
    workflow = diamond()
    with pytest.raises(AttributeError):
        workflow.name = "other"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        workflow.tasks[0].id = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        workflow.tags["team"] = "other"  # type: ignore[index]
    workflow.topological_sort().clear()
    assert len(workflow.topological_sort()) == 4


def test_the_same_text_has_the_same_version() -> None:
    assert diamond().version == diamond().version


def test_roots_and_leaves_come_in_order_of_definition() -> None:
    with WorkflowBuilder("backwards") as builder:
        task(id="end", dependencies=["middle"])(nothing)
        task(id="other")(nothing)
        task(id="middle", dependencies=["start"])(nothing)
        task(id="start")(nothing)
    workflow = builder.build()
    assert workflow.topological_sort() == ["other", "start", "middle", "end"]
    assert workflow.get_roots() == ["other", "start"]
    assert workflow.get_leaves() == ["end", "other"]
    assert [task.id for task in workflow.tasks] == ["end", "other", "middle", "start"]


# ---- the block -----------------------------------------------------------------------------------------------------


def test_leaving_the_block_registers_the_workflow_and_replaces_an_older_one() -> None:
    first = diamond()
    assert find("diamond") is first
    second = diamond()
    assert find("diamond") is second


def test_building_inside_the_block_gives_what_is_registered() -> None:
    def make() -> Workflow:
        with WorkflowBuilder("inside") as builder:
            task(id="only")(nothing)
            return builder.build()

    assert make() is find("inside")


def test_building_inside_the_block_is_no_obstacle_to_more() -> None:
    with WorkflowBuilder("grows") as builder:
        task(id="a")(nothing)
        before = builder.build()
        task(id="b")(nothing)
        builder.tag("k", "v")
    assert before.topological_sort() == ["a"]
    assert find("grows").topological_sort() == ["a", "b"]
    assert dict(find("grows").tags) == {"k": "v"}


def test_what_the_block_raises_passes_untouched_and_registers_nothing() -> None:
    class OwnError(Exception):
        pass

    error = OwnError()

    def half_of_it() -> None:
        task(id="a")(nothing)
        raise error

    with pytest.raises(OwnError) as caught, WorkflowBuilder("broken"):
        half_of_it()
    assert caught.value is error
    assert error.__context__ is None
    with pytest.raises(UnknownWorkflowError):
        find("broken")


def test_a_faulty_workflow_leaves_the_older_one_in_place() -> None:
    first = diamond()
    with pytest.raises(WorkflowError, match="missing"), WorkflowBuilder("diamond"):
        task(id="a", dependencies=["missing"])(nothing)
    assert find("diamond") is first


def test_an_empty_block() -> None:
    with pytest.raises(ValueError, match="Workflow cannot be empty"), WorkflowBuilder("empty"):
        pass


def test_blocks_nest() -> None:
    with WorkflowBuilder("outer"):
        task(id="before")(nothing)
        with WorkflowBuilder("inner"):
            task(id="within")(nothing)
        task(id="after", dependencies=["before"])(nothing)
    assert find("outer").topological_sort() == ["before", "after"]
    assert find("inner").topological_sort() == ["within"]


def test_blocks_of_different_threads_do_not_meet() -> None:
    inside = threading.Barrier(4)

    def define(name: str) -> None:
        with WorkflowBuilder(name):
            for i in range(50):
                inside.wait(timeout=10)
                task(id=f"{name}-{i}")(nothing)

    threads = [threading.Thread(target=define, args=(f"w{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(4):
        assert find(f"w{i}").topological_sort() == [f"w{i}-{k}" for k in range(50)]


def test_all_faults_are_told_in_one_error() -> None:
    def stranger(context):
        return None

    builder = WorkflowBuilder("faulty")
    builder.define(Task("a", nothing), ["b", stranger])
    builder.define(Task("b", nothing), ["a", "missing"])
    builder.define(Task("c", nothing), [nothing])
    builder.define(Task("c", nothing))
    words = ["'stranger', which is no task", "several ids here ('a', 'b', 'c')", "2 tasks", "'missing'", "a -> b"]
    found = findings(builder)
    assert len(found) == len(words)
    assert all(word in finding for word, finding in zip(words, found, strict=True))


# ---- dependencies --------------------------------------------------------------------------------------------------


def test_a_function_stands_for_the_id_under_which_it_was_registered() -> None:
    class Source:
        def load(self, context):
            return None

    source, call = Source(), functools.partial(nothing)
    with WorkflowBuilder("kinds") as builder:
        task(id="forward", dependencies=["end"])(nothing)
        task(id="method")(source.load)
        task(id="partial", dependencies=[source.load])(call)
        task(id="end", dependencies=[call])(lambda context: None)
    assert [task.dependencies for task in builder.build().tasks] == [("end",), (), ("method",), ("partial",)]


def test_a_function_of_another_block_is_no_dependency() -> None:
    with WorkflowBuilder("first"):
        task()(nothing)
    builder = WorkflowBuilder("second")
    builder.define(Task("report", diamond), [nothing])
    (finding,) = findings(builder)
    assert "'report'" in finding
    assert "'nothing'" in finding


def test_a_dependency_that_is_neither_id_nor_function() -> None:
    with pytest.raises(ValueError, match="Dependency 1 must be either a string or a function object with __name__ att"):
        task(dependencies=["a", 7])  # type: ignore[list-item]


def test_a_single_string_is_no_list_of_dependencies() -> None:
    with pytest.raises(ValueError, match="takes a list"):
        task(dependencies="load")


def test_add_task_confirms_what_the_block_has() -> None:
    with WorkflowBuilder("w") as builder:

        @task(id="first")
        def load(context):
            return None

        assert builder.add_task("first").add_task(load) is builder
        with pytest.raises(
            ValueError, match=r"^Task 'x' not found in registry. Make sure it was decorated with @task.$"
        ):
            builder.add_task("x")
        with pytest.raises(ValueError, match="Task 'nothing' not found in registry"):
            builder.add_task(nothing)
        with pytest.raises(ValueError, match="Task must be either a string task ID or a function object with __name__"):
            builder.add_task(7)  # type: ignore[arg-type]
    assert builder.build().topological_sort() == ["first"]


# ---- the decorator -------------------------------------------------------------------------------------------------


def test_task_returns_the_function_itself() -> None:
    with WorkflowBuilder("w"):
        assert task(nothing) is nothing
        assert task(id="again")(nothing) is nothing
    assert find("w").topological_sort() == ["nothing", "again"]


def test_outside_a_block() -> None:
    with pytest.raises(
        ValueError, match=r"No workflow context available\. Tasks must be defined within a WorkflowBuild"
    ):
        task()(nothing)


async def awaited(context):
    """A function that would have to be awaited."""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"retry": RetryPolicy(), "retry_attempts": 2, "retry_jitter": True},
            "retry_attempts=, retry_jitter=, not both",
        ),
        (
            {"trigger_rule": always()},
            r"is the name of a rule; a condition is given as task\(trigger_rules=always\(\)\)",
        ),
        ({"trigger_rule": "all_sucess"}, r"not 'all_sucess'\. Did you mean 'all_success'\?"),
        ({"retry": 3}, r"task\(retry=\.\.\.\) is a RetryPolicy, as in RetryPolicy\.builder\(\).*, not 3"),
        (
            {"retry": RetryPolicy.builder()},
            r"task\(retry=\.\.\.\) is a RetryPolicy, .*build\(\), not RetryPolicyBuilder",
        ),
        ({"retry_attempts": -1}, r"task\(retry_attempts=\.\.\.\) is a whole number, 0 or more, not -1"),
        ({"retry_attempts": 2.0}, "a whole number, 0 or more, not 2.0"),
        ({"retry_attempts": True}, "a whole number, 0 or more, not True"),
        ({"retry_backoff": "quadratic"}, "'fixed', 'linear', 'exponential'"),
        ({"retry_backoff": ["fixed"]}, r"task\(retry_backoff=\.\.\.\) is one of .*, not \['fixed'\]"),
        (
            {"retry_delay_ms": -5},
            r"task\(retry_delay_ms=\.\.\.\), in milliseconds, is a finite number, 0 or more, not -5",
        ),
        ({"retry_delay_ms": nan}, "a finite number, 0 or more, not nan"),
        ({"retry_max_delay_ms": inf}, r"task\(retry_max_delay_ms=\.\.\.\), in milliseconds, .*, not inf"),
        ({"retry_max_delay_ms": 10**400}, "a finite number"),
        ({"retry_condition": "some"}, "'never', 'transient', 'all'"),
        ({"retry_condition": RetryCondition.never()}, r"not RetryCondition\.never\(\)"),
        ({"retry_jitter": 1}, r"task\(retry_jitter=\.\.\.\) is True or False, not 1"),
        ({"timeout": 0}, r"task\(timeout=\.\.\.\), in seconds, is a finite number above 0, not 0"),
        ({"timeout": -1.5}, "above 0, not -1.5"),
        ({"timeout": nan}, "above 0, not nan"),
        ({"timeout": inf}, "above 0, not inf"),
        ({"timeout": True}, "above 0, not True"),
        ({"timeout": "30"}, "above 0, not '30'"),
        ({"id": ""}, "id is a string"),
        ({"id": 3}, "id is a string"),
        ({"reuse": 1}, r"task\(reuse=\.\.\.\) is True or False, not 1"),
        ({"fingerprint": 3}, r"task\(fingerprint=\.\.\.\) is a function that can be called with \(context\), not 3"),
        (
            {"fingerprint": len, "for_each": "rows"},
            r"can be called with \(context, item\), and <built-in .* takes \(obj",
        ),
        ({"fingerprint": awaited}, "nobody would await"),
        (
            {"cache_version": True},
            "is a text that isn't empty, or a whole number, not True",
        ),
        ({"cache_version": ""}, "a whole number, not ''"),
        ({"cache_version": 1.5}, "a whole number, not 1.5"),
        ({"accept": 5}, r"task\(accept=\.\.\.\) takes the digest of a task's earlier code, or a list of some, not 5"),
        ({"accept": ["ab" * 16, "xyz"]}, r"takes 32 hex digits, as workflow\.code_of\(id\) tells them, not 'xyz'"),
        ({"accept": "x" * 32}, "not 'xxx"),
        ({"accept": ""}, "takes 32 hex digits, .*, not ''"),
    ],
)
def test_arguments_that_make_no_sense(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        task(**options)  # type: ignore[call-overload]


def test_what_a_task_says_of_being_used_again() -> None:
    with WorkflowBuilder("w", reuse=True) as builder:
        task(id="first", reuse=False, fingerprint=len, cache_version=7, accept="AB" * 16)(nothing)
        task(id="second", cache_version="b", accept=["ab" * 16, "cd" * 16])(nothing)
        task(id="third")(nothing)
    workflow = builder.build()
    said = [(one.reuse, one.fingerprint, one.cache_version, one.accept) for one in workflow.tasks]
    assert said == [(False, len, "7", ("ab" * 16,)), (None, None, "b", ("ab" * 16, "cd" * 16)), (None, None, "", ())]
    assert workflow.reuse
    with pytest.raises(ValueError, match=r"WorkflowBuilder\(reuse=\.\.\.\) is True or False, not 'yes'"):
        WorkflowBuilder("w", reuse="yes")  # type: ignore[arg-type]


DEFAULT = RetryPolicy.default()


@pytest.mark.parametrize(
    ("options", "policy"),
    [
        ({}, None),
        ({"timeout": 3}, None),
        ({"retry": DEFAULT}, DEFAULT),
        ({"retry_attempts": 0}, RetryPolicy(max_attempts=0)),
        ({"retry_attempts": 5}, RetryPolicy(max_attempts=5)),
        ({"retry_backoff": "fixed"}, RetryPolicy(backoff_strategy=BackoffStrategy.fixed())),
        ({"retry_backoff": "linear"}, RetryPolicy(backoff_strategy=BackoffStrategy.linear(1))),
        ({"retry_backoff": "exponential"}, DEFAULT),
        ({"retry_delay_ms": 250}, RetryPolicy(initial_delay=0.25)),
        ({"retry_max_delay_ms": 0}, RetryPolicy(max_delay=0)),
        ({"retry_condition": "never"}, RetryPolicy(retry_condition=RetryCondition.never())),
        ({"retry_condition": "transient"}, RetryPolicy(retry_condition=RetryCondition.transient_only())),
        ({"retry_condition": "all"}, DEFAULT),
        ({"retry_jitter": False}, RetryPolicy(with_jitter=False)),
        (
            {"retry_attempts": 2, "retry_delay_ms": 1.5, "retry_max_delay_ms": 10, "retry_jitter": False},
            RetryPolicy(max_attempts=2, initial_delay=0.0015, max_delay=0.01, with_jitter=False),
        ),
    ],
)
def test_retry_arguments_make_a_policy(options: dict[str, Any], policy: RetryPolicy | None) -> None:
    with WorkflowBuilder("w") as builder:
        task(id="t", **options)(nothing)
    assert builder.build().tasks[0].retry == policy


def test_a_timeout_is_in_seconds() -> None:
    with WorkflowBuilder("w") as builder:
        task(id="patient", timeout=3)(nothing)
        task(id="endless")(nothing)
    patient, endless = builder.build().tasks
    assert (patient.timeout, type(patient.timeout)) == (3.0, float)
    assert endless.timeout is None


def test_the_version_tells_how_tasks_are_tried() -> None:
    def version(**options: Any) -> str:
        with WorkflowBuilder("w") as builder:
            task(id="t", **options)(nothing)
        return builder.build().version

    said: list[dict[str, Any]] = [
        {},
        {"timeout": 3},
        {"timeout": 3, "retry_attempts": 3},
        {"retry_attempts": 3},
        {"retry_attempts": 4},
        {"retry_backoff": "linear"},
        {"retry_condition": "transient"},
        {"retry": RetryPolicy(retry_condition=RetryCondition.error_types(OSError))},
        {"retry": RetryPolicy(retry_condition=RetryCondition.error_pattern(["OSError"]))},
    ]
    assert len({version(**options) for options in said}) == len(said)
    assert version(retry_attempts=3) == version(retry=DEFAULT)
    assert version(timeout=3) == version(timeout=3.0)


def test_an_unknown_argument() -> None:
    with pytest.raises(TypeError, match="'dependency'"):
        task(dependency=["load"])  # type: ignore[call-overload]


def test_an_id_given_without_its_name() -> None:
    with pytest.raises(TypeError, match="task\\(id='load'\\)"):
        task("load")  # type: ignore[call-overload]


class Callable1:
    def __call__(self, context):
        return None


class Callable2:
    def __call__(self, context, rows):
        return None

    async def wait(self, context):
        return None


class AsyncCallable:
    async def __call__(self, context):
        return None


@functools.wraps(lambda first, second: None)
def wrapper(*args, **kwargs):
    return None


async def waits(context):
    return None


def yields(context):
    yield 1


async def yields_asynchronously(context):
    yield 1


class Yielding:
    def __call__(self, context):
        yield 1


@pytest.mark.parametrize(
    "function",
    [
        nothing,
        lambda context, n=3: None,
        lambda *contexts: None,
        lambda context=None: None,
        lambda context, *, deep=True: None,
        lambda context, **options: None,
        functools.partial(lambda n, context: None, 3),
        Callable1(),
        Callable1().__call__,
        wrapper,
        print,
        waits,
        Callable2().wait,
        AsyncCallable(),
        functools.partial(waits),
        lambda context, handle: None,
        lambda context, task_handle=None: None,
        functools.partial(lambda n, context, handle: None, 3),
    ],
)
def test_what_can_be_called_with_the_context_is_a_task(function: Callable[..., object]) -> None:
    with WorkflowBuilder("w") as builder:
        task(id="t")(function)
    assert builder.build().tasks[0].function is function


@pytest.mark.parametrize(
    "function",
    [
        lambda: None,
        lambda context, rows: None,
        lambda **options: None,
        functools.partial(nothing, None),
        Callable2(),
        Callable2().__call__,
        lambda context, *, handle: None,
        yields,
        yields_asynchronously,
        Yielding(),
        7,
    ],
)
def test_what_can_not_be_called_with_the_context_is_refused(function: Callable[..., object]) -> None:
    with (
        pytest.raises(ValueError, match=r"Task 't': a task function takes the context as its only argument"),
        WorkflowBuilder("w"),
    ):
        task(id="t")(function)


def test_a_callable_without_a_name_needs_an_id() -> None:
    with pytest.raises(ValueError, match=r"write task\(id="), WorkflowBuilder("w"):
        task()(functools.partial(nothing))


@pytest.mark.parametrize("name", ["", None, 3])
def test_a_workflow_needs_a_name(name: object) -> None:
    with pytest.raises(ValueError, match="workflow's name"):
        WorkflowBuilder(name)  # type: ignore[arg-type]


# ---- the registry --------------------------------------------------------------------------------------------------


def test_an_unknown_workflow_is_told_with_the_nearest_names() -> None:
    diamond()
    with pytest.raises(
        UnknownWorkflowError, match=r"Workflow not found in registry: dimond\. Did you mean 'diamond'\?"
    ):
        find("dimond")


def test_an_unknown_workflow_where_there_is_none() -> None:
    with pytest.raises(ValueError, match=r"Workflow not found in registry: x\. None is defined yet"):
        find("x")


def test_a_constructor_is_called_and_its_workflow_registered() -> None:
    register_workflow_constructor("other name", diamond)
    assert find("other name") is find("diamond")


def test_a_constructor_that_raises() -> None:
    with pytest.raises(ValueError, match="Failed to call workflow constructor: division by zero") as caught:
        register_workflow_constructor("w", lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_constructor_that_returns_something_else() -> None:
    with pytest.raises(ValueError, match=r"Failed to call workflow constructor: .* returned a NoneType"):
        register_workflow_constructor("w", lambda: None)  # type: ignore[arg-type, return-value]


# ---- pictures ------------------------------------------------------------------------------------------------------


def test_pictures_of_a_plain_workflow() -> None:
    workflow = diamond()
    assert workflow.to_mermaid().splitlines() == [
        "flowchart TD",
        '    t0["load"]',
        '    t1["north"]',
        '    t2["south"]',
        '    t3["report"]',
        "    t0 --> t1",
        "    t0 --> t2",
        "    t1 --> t3",
        "    t2 --> t3",
    ]
    assert workflow.to_dot().splitlines() == [
        'digraph "diamond" {',
        '    t0 [label="load"];',
        '    t1 [label="north"];',
        '    t2 [label="south"];',
        '    t3 [label="report"];',
        "    t0 -> t1;",
        "    t0 -> t2;",
        "    t1 -> t3;",
        "    t2 -> t3;",
        "}",
    ]


def test_a_picture_goes_from_left_to_right_where_that_is_asked_for() -> None:
    workflow = diamond()
    assert workflow.to_mermaid("LR").splitlines()[0] == "flowchart LR"
    assert workflow.to_mermaid("LR").splitlines()[1:] == workflow.to_mermaid().splitlines()[1:]
    head, way, *rest = workflow.to_dot("LR").splitlines()
    assert (way, [head, *rest]) == ("    rankdir=LR;", workflow.to_dot().splitlines())
    with pytest.raises(ValueError, match="direction"):
        workflow.to_dot("down")  # type: ignore[arg-type]


def test_pictures_of_ids_with_every_kind_of_mark() -> None:
    with WorkflowBuilder('a "b" \\') as builder:
        task(id='say "é"];\nend\\N & #35; <b>`')(nothing)
    workflow = builder.build()
    mermaid, dot = workflow.to_mermaid().splitlines(), workflow.to_dot().splitlines()
    assert mermaid[1:] == [
        '    t0["say #34;é#34;#93;#59;#10;end#92;N #38; #35;35#59; #60;b#62;#96;"]',
    ]
    assert dot == [
        'digraph "a \\"b\\" \\\\" {',
        '    t0 [label="say \\"é\\"];\\nend\\\\N &amp; #35; <b>`"];',
        "}",
    ]


# ---- namespaces ----------------------------------------------------------------------------------------------------


def test_a_builder_knows_its_namespace() -> None:
    assert WorkflowBuilder("sales").namespace == WorkflowContext("public", "embedded", "sales")
    builder = WorkflowBuilder("sales", tenant="acme", package="etl", workflow="daily")
    assert str(builder.namespace) == "acme::etl::daily"


def test_namespaces_are_taken_apart_and_compared() -> None:
    load = TaskNamespace.from_string("acme::etl::daily::load")
    report = TaskNamespace("acme", "etl", "daily", "report")
    other = TaskNamespace("acme", "etl", "weekly", "load")
    assert (load.tenant_id, load.package_name, load.workflow_id, load.task_id) == ("acme", "etl", "daily", "load")
    assert str(load) == "acme::etl::daily::load"
    assert {load: 1}[TaskNamespace.from_string(str(load))] == 1
    assert TaskNamespace.from_string(str(load.parent())) == load.parent()
    assert load.is_child_of(report.parent())
    assert not load.is_child_of(other.parent())
    assert not load.is_child_of(report)
    assert not load.parent().is_child_of(load.parent())
    assert load.is_sibling_of(report)
    assert not load.is_sibling_of(load)
    assert not load.is_sibling_of(other)
    assert not load.is_sibling_of(load.parent())


def test_a_workflow_context_completes_names() -> None:
    daily = WorkflowContext.from_string("acme::etl::daily")
    load = TaskNamespace("acme", "etl", "daily", "load")
    assert (
        daily.task_namespace("load") == daily.resolve_dependency("load") == daily.resolve_dependency(str(load)) == load
    )
    assert daily.workflow_namespace() == load.parent()
    assert daily.contains_namespace(load)
    assert not daily.contains_namespace(TaskNamespace("acme", "etl", "weekly", "load"))
    assert str(daily) == "acme::etl::daily"


@pytest.mark.parametrize("text", ["", "a::b::c", "a::b::c::d::e", "a::::c::d", "::b::c::d", "load"])
def test_a_malformed_namespace(text: str) -> None:
    with pytest.raises(ValueError, match="tenant::package::workflow::task"):
        TaskNamespace.from_string(text)


# ---- where faulty tasks stand --------------------------------------------------------------------------------------


def build(**dependencies: list[str]) -> None:
    with WorkflowBuilder("faulty"):
        for name, listed in dependencies.items():
            task(id=name.removesuffix("_"), dependencies=listed)(lambda context: None)


@pytest.mark.parametrize(
    ("dependencies", "told"),
    [
        ({"a": ["lod"]}, "is no task of this workflow. (a at {})"),
        ({"a": [], "a_": []}, "give each its own. (a at {})"),
        ({"a": ["b"], "b": ["a"]}, "a -> b -> a (a at {0}; b at {0})"),
        ({"a": ["a"]}, "Task 'a' depends on itself. (a at {})"),
        (
            {"b": [], "a": ["b[0]"]},
            "depend on 'b', which has ended when all of its instances have. (a at {0}; b at {0})",
        ),
    ],
)
def test_an_error_of_ids_and_dependencies_tells_where_the_tasks_stand(
    dependencies: dict[str, list[str]], told: str
) -> None:
    with pytest.raises(WorkflowError) as caught:
        build(**dependencies)
    assert told.format(f"tests/test_workflow.py:{build.__code__.co_firstlineno + 3}") in str(caught.value)
    assert not caught.value.findings[0].endswith(")")


def test_a_lambda_has_no_name_of_its_own() -> None:
    told = r"The lambda at .*test_workflow.py:\d+ has no name .*: write task\(id"
    with pytest.raises(ValueError, match=told), WorkflowBuilder("nameless"):
        task(lambda context: None)
