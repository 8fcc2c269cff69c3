"""What the program has set in its own modules is what tasks find; other things that can't be sent are told of."""

import importlib
import sys
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from tests.support import pipe

import cloaca
from cloaca.sending.variables import MANY, Variables

MakeModule = Callable[[str, str], Any]

SETTINGS = """
import dataclasses, datetime, logging, threading
RATE = 1.0
ARGUMENTS = None
CLIENT = None
TABLE = {}
LIST = []
LIMITS = {"a": 1}
SINCE = datetime.date(2020, 1, 1)
LOG, LOCK = logging.getLogger("settings"), threading.Lock()
class Config:
    rate = 1.0
    @classmethod
    def doubled(cls): return 2 * cls.rate
@dataclasses.dataclass
class Options:
    depth: int = 1
OPTIONS = Options()
"""

STEPS = """
import cloaca_settings
import cloaca_settings as s
from cloaca_settings import RATE
LOCAL = "default"
def rate(): return cloaca_settings.RATE
def price(x): return x * rate()
def top(context): context["x"] = [price(1), LOCAL, RATE]
def made():
    def task(context):
        context["x"] = [price(1), LOCAL, RATE, s.Config.doubled()]
    return task
"""


@pytest.fixture
def settings(make_module: MakeModule) -> Any:
    return make_module("cloaca_settings", SETTINGS)


@pytest.fixture
def steps(settings: object, make_module: MakeModule) -> Any:
    return make_module("cloaca_steps", STEPS)


@pytest.fixture
def runner() -> Iterator[cloaca.DefaultRunner]:
    with cloaca.DefaultRunner(workers=1) as runner:
        yield runner


def workflow(function: Callable[[Any], Any]) -> cloaca.Workflow:
    with cloaca.WorkflowBuilder("variables", check="off") as builder:
        cloaca.task(id="t")(function)
    return builder.build()


def outcome(runner: cloaca.DefaultRunner, what: cloaca.Workflow | Callable[[Any], Any]) -> Any:
    result = runner.execute(what if isinstance(what, cloaca.Workflow) else workflow(what))
    result.raise_for_status()
    return result.final_context["x"]


# ---- what is carried ------------------------------------------------------------------------------------------------


def test_what_the_program_has_set_is_what_tasks_find(runner: cloaca.DefaultRunner, settings: Any, steps: Any) -> None:
    settings.RATE, settings.Config.rate, steps.LOCAL = 2.5, 7, "set"
    assert outcome(runner, steps.top) == [2.5, "set", 1.0]
    assert outcome(runner, steps.made()) == [2.5, "set", 1.0, 14]
    assert outcome(runner, lambda context: context.set("x", settings.RATE)) == 2.5
    assert list(runner.map(steps.price, [1, 2])) == [2.5, 5.0]


def test_it_is_read_at_each_execution(runner: cloaca.DefaultRunner, settings: Any, steps: Any) -> None:
    task = workflow(steps.top)
    for rate in (1.0, 2.0, 2.0, 3.0, 1.0):
        settings.RATE = rate
        assert outcome(runner, task) == [rate, "default", 1.0]


def test_runs_that_share_a_worker_each_have_their_own(
    runner: cloaca.DefaultRunner, settings: Any, steps: Any, tmp_path: Path
) -> None:
    gates = [pipe(tmp_path / f"gate {rate}") for rate in (2, 3, 4)]

    def build(name: str, gate: Path) -> cloaca.Workflow:
        with cloaca.WorkflowBuilder(name, check="off") as builder:

            @cloaca.task()
            def wait(context: cloaca.Context) -> None:
                gate.read_text()

            cloaca.task(id="t", dependencies=["wait"])(steps.top)
        return builder.build()

    executions = []
    for rate, gate in enumerate(gates, 2):
        settings.RATE = rate
        executions.append(runner.start(build(f"w{rate}", gate)))
    settings.RATE = 5
    for gate in gates:
        gate.write_text("")
    assert [execution.result().final_context["x"][0] for execution in executions] == [2, 3, 4]


@pytest.mark.parametrize(
    "value",
    [
        None,
        "text",
        (1, [2, {3}], {"k": b"v"}),
        Namespace(rate=3, more=[1]),
        Path("here"),
    ],
)
def test_every_plain_value_goes(runner: cloaca.DefaultRunner, settings: Any, value: object) -> None:
    settings.ARGUMENTS = value
    assert outcome(runner, lambda context: context.set("x", settings.ARGUMENTS)) == value


def test_what_is_in_a_collection_or_an_object_is_looked_at_each_time(
    runner: cloaca.DefaultRunner, settings: Any
) -> None:
    def task(context: cloaca.Context) -> None:
        context["x"] = settings.LIMITS, settings.OPTIONS.depth, settings.TABLE, settings.LIST

    defined = workflow(task)
    for number in range(3):
        settings.LIMITS["a"] = settings.OPTIONS.depth = settings.TABLE[1] = number
        settings.LIST.append(number)
        assert outcome(runner, defined) == ({"a": number}, number, {1: number}, [*range(number + 1)])


def test_a_registry_that_the_program_has_filled(runner: cloaca.DefaultRunner, settings: Any) -> None:
    settings.TABLE["double"] = lambda x: 2 * x
    assert outcome(runner, lambda context: context.set("x", settings.TABLE["double"](4))) == 8


def test_a_large_collection_that_the_program_has_filled(runner: cloaca.DefaultRunner, settings: Any) -> None:
    settings.TABLE.update(dict.fromkeys(range(2 * MANY)))
    assert outcome(runner, lambda context: context.set("x", len(settings.TABLE))) == 2 * MANY


def test_names_that_come_as_text(runner: cloaca.DefaultRunner, settings: Any) -> None:
    settings.RATE, name = 4, "RA" + "TE"
    assert outcome(runner, lambda context: context.set("x", getattr(settings, name))) == 4


def test_modules_that_a_function_imports_itself(runner: cloaca.DefaultRunner, settings: Any) -> None:
    settings.RATE = 6

    def task(context: cloaca.Context) -> None:
        from cloaca_settings import RATE  # type: ignore[import-not-found]

        context["x"] = RATE

    assert outcome(runner, task) == 6


def test_a_name_that_the_program_adds(runner: cloaca.DefaultRunner, settings: Any) -> None:
    task = workflow(lambda context: context.set("x", getattr(settings, "ADDED", "nothing")))
    assert outcome(runner, task) == "nothing"
    settings.ADDED = 5
    assert outcome(runner, task) == 5
    del settings.ADDED
    assert outcome(runner, task) == "nothing"


def test_a_function_that_stands_in_for_another(runner: cloaca.DefaultRunner, steps: Any) -> None:
    task = workflow(steps.top)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "rate", lambda: 10)
        assert outcome(runner, task)[0] == 10
    assert outcome(runner, task)[0] == 1.0


def test_a_method_that_stands_in_for_another(runner: cloaca.DefaultRunner, settings: Any) -> None:
    class Other(settings.Config):  # type: ignore[misc]
        def doubled(self) -> str:
            return "other"

    with mock.patch.object(settings, "Config", Other):
        assert outcome(runner, lambda context: context.set("x", settings.Config().doubled())) == "other"
    assert outcome(runner, lambda context: context.set("x", settings.Config().doubled())) == 2.0


def test_a_merge_rule_uses_it(settings: Any, make_module: MakeModule) -> None:
    rules = make_module(
        "cloaca_rules", "import cloaca_settings\ndef scaled(base, values): return cloaca_settings.RATE * sum(values)"
    )
    settings.RATE = 10
    with cloaca.WorkflowBuilder("ruled", merge={"n": rules.scaled}, check="off") as builder:
        cloaca.task(id="a")(lambda context: context.set("n", 1))
        cloaca.task(id="b")(lambda context: context.set("n", 2))
        cloaca.task(id="c", dependencies=["a", "b"])(lambda context: context.set("x", context["n"]))
    with cloaca.DefaultRunner(workers=1) as runner:
        assert outcome(runner, builder.build()) == 30


def test_an_initializer_finds_it_and_what_it_sets_stays(make_module: MakeModule) -> None:
    model = make_module(
        "cloaca_loading",
        "PATH, MODEL, CACHE = None, None, {}\n"
        "def load():\n global MODEL\n MODEL = 'from ' + PATH\n CACHE['warm'] = 1\n"
        "def use(_): return MODEL, len(CACHE)",
    )
    model.PATH = "here"
    with cloaca.DefaultRunner(workers=1, initializer=model.load) as runner:
        for _ in range(2):
            assert list(runner.map(model.use, [0])) == [("from here", 1)]


def test_what_an_initializer_finds_is_put_back_for_tasks_that_name_nothing_of_it(make_module: MakeModule) -> None:
    module = make_module("cloaca_found", "PATH = None\ndef load(): assert PATH == 'here'")
    module.PATH = "here"
    with cloaca.DefaultRunner(workers=1, initializer=module.load) as runner:
        assert list(runner.map(lambda name: vars(sys.modules[name])["PATH"], ["cloaca_found"])) == [None]


def test_what_a_task_leaves_in_a_module_stays_until_something_else_is_set(
    runner: cloaca.DefaultRunner, make_module: MakeModule
) -> None:
    module = make_module("cloaca_memo", "CACHE = {}\ndef f(x):\n CACHE[x] = 1\n return len(CACHE)")
    assert [list(runner.map(module.f, [number])) for number in range(3)] == [[1], [2], [3]]
    module.CACHE["more"] = 1
    assert list(runner.map(module.f, [5])) == [2]


def test_objects_with_slots_and_records(runner: cloaca.DefaultRunner, make_module: MakeModule) -> None:
    module = make_module(
        "cloaca_slots",
        "import dataclasses, msgspec, typing\n@dataclasses.dataclass(slots=True)\nclass A:\n x: int = 1\n"
        "class B(msgspec.Struct):\n x: int = 1\nclass C(typing.NamedTuple):\n x: int = 1\n"
        "a, b, c = A(), B(), C()\ndef f(_): return a.x, b.x, c.x",
    )
    module.a.x = module.b.x = 2
    module.c = module.C(2)
    assert list(runner.map(module.f, [0])) == [(2, 2, 2)]


def test_a_long_way_through_functions_and_a_large_graph_of_objects(make_module: MakeModule) -> None:
    module = make_module(
        "cloaca_long",
        "VALUE = 1\nclass Node: pass\ndef f0(): return VALUE\n"
        + "".join(f"def f{n}(): return f{n - 1}()\n" for n in range(1, 3000))
        + "FIRST = last = Node()\nfor _ in range(20_000):\n last.next = Node()\n last = last.next\nlast.next = FIRST\n"
        "def task(context): return f2999(), FIRST",
    )
    module.VALUE = 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert {*Variables([module.task], str).contents()["cloaca_long"]} == {"VALUE"}


def test_packages_whose_modules_import_each_other(
    runner: cloaca.DefaultRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cloaca_cyclic"
    folder.mkdir()
    (folder / "__init__.py").write_text("from .options import HOOK, RATE\ndef hook(): return 1\nfrom .work import task")
    (folder / "options.py").write_text("HOOK = None\nRATE = 1")
    (folder / "work.py").write_text(
        "from . import options\ndef at_first(rate=options.RATE): return rate\n"
        "def task(context): context['x'] = options.HOOK(), options.RATE, at_first()"
    )
    monkeypatch.syspath_prepend(tmp_path)
    package: Any = importlib.import_module("cloaca_cyclic")
    try:
        package.options.HOOK, package.options.RATE = package.hook, 2
        assert outcome(runner, package.task) == (1, 2, 1)
    finally:
        for name in [name for name in sys.modules if name.startswith("cloaca_cyclic")]:
            del sys.modules[name]


# ---- what isn't carried ---------------------------------------------------------------------------------------------


def test_what_modules_make_by_themselves_isn_t_sent(settings: Any, steps: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        def task(context: cloaca.Context) -> None:
            with settings.LOCK:
                settings.LOG.info("%s", settings.SINCE)
            steps.top(context)

        found = Variables([task], str).contents()
    assert {*found["cloaca_settings"]} == {"SINCE"}
    assert {*found["cloaca_steps"]} == {"RATE"}, "importing it reads it from the other module"


def test_what_a_condition_sets_isn_t_taken_for_a_constant(make_module: MakeModule) -> None:
    module = make_module("cloaca_either", "import os\nVALUE = os.sep if os.sep else None\ndef f(_): return VALUE")
    module.VALUE = None
    assert Variables([module.f], str).contents().keys() == {"cloaca_either"}


@pytest.mark.parametrize("name", ["cloaca_steps.rate", "cloaca_settings.CLIENT", "time.gmtime"])
def test_a_mock_is_told_once(runner: cloaca.DefaultRunner, settings: Any, steps: Any, name: str) -> None:
    import time

    def task(context: cloaca.Context) -> None:
        assert settings.CLIENT is None
        assert time.gmtime()[0] > 2000
        steps.top(context)

    defined = workflow(task)
    with mock.patch(name, mock.MagicMock(return_value=3)):
        match = rf"Task 't' uses {name}, which the program has set to a MagicMock"
        with pytest.warns(UserWarning, match=match) as told:
            assert outcome(runner, defined) == [1.0, "default", 1.0]
        assert len(told) == 1
        assert outcome(runner, defined) == [1.0, "default", 1.0]


def test_an_object_that_can_t_be_sent_is_told(runner: cloaca.DefaultRunner, settings: Any) -> None:
    settings.CLIENT = sys.stdin if sys.stdin.closed else memoryview(b"")
    with pytest.warns(UserWarning, match="uses cloaca_settings.CLIENT, which the program has set to a memoryview"):
        assert outcome(runner, lambda context: context.set("x", settings.CLIENT)) is None


def test_an_object_that_can_be_sent_goes_where_the_code_says_that_there_was_none(
    runner: cloaca.DefaultRunner, settings: Any
) -> None:
    settings.CLIENT = cloaca.RetryPolicy()
    assert outcome(runner, lambda context: context.set("x", type(settings.CLIENT).__name__)) == "RetryPolicy"


def test_a_registry_of_what_can_t_be_sent_is_not_taken_for_a_change(make_module: MakeModule) -> None:
    module = make_module(
        "cloaca_registry",
        "import threading\ndef make(lock=threading.Lock()):\n def inner(x=lock): return x\n return inner\n"
        "REGISTRY = {'a': make()}\ndef f(_): return len(REGISTRY)",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Variables([module.f], str).now() is None


def test_a_text_in_the_code_is_no_name(settings: Any) -> None:
    settings.CLIENT = memoryview(b"")

    def task(context: cloaca.Context) -> None:
        context["CLIENT"] = settings.RATE

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Variables([task], str).now() is None


def test_nothing_is_published_anew_where_nothing_has_changed(settings: Any, steps: Any) -> None:
    variables = Variables([steps.made()], str)
    settings.LIMITS["more"] = 1
    first = variables.now()
    assert variables.now() is first
    settings.RATE = 5
    assert variables.now() is not first
