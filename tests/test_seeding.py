"""Random numbers: the same seed gives the same ones, wherever they are drawn, and whenever what draws is imported."""

import os
import pickle
import random
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.support import run

import cloaca
from cloaca import Context, DefaultRunner
from cloaca.attempts.attempt import TaskFunction
from cloaca.execution.serial import SerialExecutor
from cloaca.pickling.functions import capture
from cloaca.pickling.kin import FunctionCache
from cloaca.pickling.loading import load
from cloaca.pool.pool import Pool
from cloaca.seed import LIMIT, derived
from cloaca.testing import ScriptedExecutor, running
from cloaca.testing.desk import Desk, published, written
from cloaca.values.codec import decode, encode

EXECUTORS: dict[str, dict[str, Any]] = {
    "serial": {"executor": "serial"},
    "1 worker": {"executor": "processes", "workers": 1},
    "2 workers": {"executor": "processes", "workers": 2},
}
DeskOf = Callable[..., Desk]
Draw = Callable[[], list[float]]

SCRIPT = """
import random as plain
import numpy as np
from random import gauss, randint, random
from random import choice as pick

from numpy.random import normal, rand

def draw():
    return [randint(0, 10**18), random(), gauss(), pick(range(10**18)), normal(), rand()]

def draw_with_random():
    return [plain.random() for _ in range(5)]

def draw_with_numpy():
    return list(np.random.rand(5))

def draw_from_the_seed(context):
    return [plain.Random(context.seed).random(), np.random.default_rng(context.seed).random()]

def seed(number):
    plain.seed(number)
    np.random.seed(number)
"""


@pytest.fixture
def script() -> SimpleNamespace:
    """What a program that no other process can import has made."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(SCRIPT, namespace)
    return SimpleNamespace(**namespace)


@pytest.fixture
def desk_of() -> Iterator[DeskOf]:
    """Makes a desk at a pool of one worker, or at an executor in this process, that knows the functions given."""
    with ExitStack() as stack:

        def make(*functions: TaskFunction, here: type[SerialExecutor] | None = None) -> Desk:
            pool = here(dict(enumerate(functions))) if here else Pool(1, {})
            stack.callback(pool.close)
            pool.publish(published(*functions))
            return Desk(pool)

        yield make


def importing_late(name: str) -> Draw:
    """A function that imports what it draws with."""

    def draw() -> list[float]:
        from importlib import import_module

        module: Any = import_module(name)
        return [module.random() for _ in range(5)]

    return draw


DRAWS = {"random": importing_late("random"), "numpy": importing_late("numpy.random")}
each_way = pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS.keys())


# ---- a run ---------------------------------------------------------------------------------------------------------


def drawing(script: SimpleNamespace) -> str:
    """A workflow of 12 tasks, each of which draws in several ways; one joins them."""

    def draw(context: Context, key: str) -> None:
        ways = (script.draw(), script.draw_with_random(), script.draw_with_numpy(), script.draw_from_the_seed(context))
        context.set(key, [number for way in ways for number in way])

    with cloaca.WorkflowBuilder("drawing"):
        for n in range(12):
            cloaca.task(id=f"draw {n}")(lambda context, n=n: draw(context, f"drawn {n}"))
        cloaca.task(id="join", dependencies=[f"draw {n}" for n in range(12)])(lambda context: draw(context, "joined"))
    return "drawing"


def test_a_seed_gives_the_same_numbers_everywhere_and_each_task_its_own(script: SimpleNamespace) -> None:
    name = drawing(script)

    def drawn(seed: int, **how: Any) -> dict[str, Any]:
        with DefaultRunner(**how) as runner:
            result = runner.execute(name, seed=seed)
            result.raise_for_status()
            assert result.seed == seed
            return result.final_context.to_dict()

    first = drawn(7, **EXECUTORS["serial"])
    assert first == drawn(7, **EXECUTORS["1 worker"]) == drawn(7, **EXECUTORS["2 workers"])
    others = [drawn(seed, **EXECUTORS["2 workers"]) for seed in (0, 8, LIMIT - 1)]
    numbers = [number for values in (first, *others) for drawn in values.values() for number in drawn]
    assert len(set(numbers)) == len(numbers) == 4 * 13 * 18


@pytest.mark.parametrize("how", EXECUTORS.values(), ids=EXECUTORS.keys())
def test_a_run_that_is_given_no_seed_draws_one_and_tells_it(how: dict[str, Any]) -> None:
    draw = DRAWS["random"]
    with cloaca.WorkflowBuilder("drawing once"):
        cloaca.task(id="draw")(lambda context: context.set("drawn", (draw(), context.seed)))
    with DefaultRunner(**how) as runner:
        results = [runner.execute("drawing once") for _ in range(2)]
        results += [runner.start("drawing once", seed=results[0].seed).result()]
    first, second, again = results
    assert first.final_context["drawn"] == again.final_context["drawn"] != second.final_context["drawn"]
    assert first.seed == again.seed == pickle.loads(pickle.dumps(again)).seed != second.seed
    assert all(0 <= result.seed < LIMIT for result in results)
    assert first.final_context["drawn"][1] == derived(first.seed, "draw", 0)


@pytest.mark.parametrize("seed", [-1, 2**63, True, 1.0, "1"])
def test_a_seed_that_makes_no_sense_is_refused(seed: Any) -> None:
    with cloaca.WorkflowBuilder("nothing"):
        cloaca.task(id="nothing")(lambda _: None)
    runner = DefaultRunner(executor="serial")
    with pytest.raises(ValueError, match=r"seed is a whole number from 0 to below 2\*\*63.*not " + repr(seed)):
        runner.execute("nothing", seed=seed)


def test_a_context_has_a_seed_in_a_task_alone() -> None:
    seen: list[Any] = []
    with cloaca.WorkflowBuilder("look"):
        cloaca.task(id="look")(lambda context: seen.extend([context.seed, context.copy().seed]))
    result = DefaultRunner(executor="serial").execute("look", seed=3)
    assert seen == [derived(3, "look", 0)] * 2
    assert (Context({"a": 1}).seed, result.final_context.seed) == (None, None)
    with pytest.raises(AttributeError):
        Context().seed = 1  # type: ignore[misc]


# ---- an attempt ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("here", [None, SerialExecutor], ids=["pool", "serial"])
@each_way
def test_a_retry_draws_anew_and_a_lost_attempt_the_same_again(
    desk_of: DeskOf, draw: Draw, here: type[SerialExecutor] | None
) -> None:
    desk = desk_of(lambda context: context.set("drawn", (draw(), context.seed)), here=here)
    first, again, retry, other_run = (
        written(end)["drawn"] for origin in ((5, 0), (5, 0), (5, 1), (6, 0)) for end in desk.run([0], origin)
    )
    assert first == again
    assert len({str(first), str(retry), str(other_run)}) == 3
    assert first[1] == derived(5, "task 0", 0)


@pytest.mark.parametrize(("end", "is_same"), [("raise", False), ("die", True)])
def test_a_run_tries_again_with_other_numbers_unless_the_first_try_was_lost(
    tmp_path: Path,
    end: str,
    is_same: bool,  # noqa: FBT001 - a column of the table
) -> None:
    draw, trace = DRAWS["random"], tmp_path / "trace"

    def draw_twice(context: Context) -> None:
        drawn = repr(draw())
        if trace.exists():
            context.set("both", (trace.read_text(), drawn))
            return
        trace.write_text(drawn)
        if end == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        raise LookupError

    with cloaca.WorkflowBuilder("twice"):
        cloaca.task(id="draw", retry_attempts=2, retry_delay_ms=0)(draw_twice)
    with DefaultRunner(workers=1, executor="processes") as runner:
        first, second = runner.execute("twice").final_context["both"]
    assert (first == second) is is_same


@each_way
def test_an_import_within_the_task_changes_nothing(desk_of: DeskOf, draw: Draw) -> None:
    def was_loaded_before_it_drew(context: Context) -> None:
        modules = {"random", "numpy.random.mtrand"} & sys.modules.keys()
        context.set("drawn", (len(modules), draw()))

    desk = desk_of(was_loaded_before_it_drew)
    (none, late), (some, early) = (written(desk.run([0])[0])["drawn"] for _ in range(2))
    assert none == 0 < some
    assert late == early


def test_what_an_attempt_has_drawn_is_no_part_of_the_next_one(desk_of: DeskOf) -> None:
    draw = DRAWS["random"]
    desk = desk_of(lambda context: context.set("drawn", [draw() for _ in range(context["times"])]))
    once, often, again = (written(desk.run([0], times=times)[0])["drawn"] for times in (1, 10, 1))
    assert once == again == often[:1]


def test_a_worker_that_draws_nothing_loads_nothing_for_it(desk_of: DeskOf) -> None:
    desk = desk_of(
        lambda context: context.set("loaded", {"random", "hashlib", "numpy", "cloaca.seed"} & sys.modules.keys())
    )
    desk.run([0])
    assert written(desk.run([0])[0])["loaded"] == set()


# ---- the program's own numbers -------------------------------------------------------------------------------------


def in_order(functions: dict[int, TaskFunction]) -> ScriptedExecutor:
    return ScriptedExecutor(running(functions), lambda moves: moves[0])


@pytest.mark.parametrize("here", [SerialExecutor, in_order], ids=["serial", "scripted"])
@pytest.mark.parametrize("ending", [None, LookupError, SystemExit, KeyboardInterrupt])
def test_the_program_s_own_numbers_go_on_as_if_no_task_had_drawn(
    desk_of: DeskOf, script: SimpleNamespace, here: Any, ending: type[BaseException] | None
) -> None:
    def draw_and_end(context: Context) -> None:
        context.set("drawn", script.draw())
        if ending is not None:
            raise ending

    desk = desk_of(draw_and_end, here=here)
    script.seed(1)
    undisturbed = script.draw()
    script.seed(1)
    try:
        desk.run([0])
    except KeyboardInterrupt:
        assert ending is KeyboardInterrupt
    assert script.draw() == undisturbed


def test_a_program_that_loads_numpy_in_a_task_draws_by_chance_later(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        dedent("""
        import sys
        import cloaca

        with cloaca.WorkflowBuilder("late"):

            @cloaca.task()
            def late(context):
                import numpy as np

                context.set("drawn", np.random.rand())

        assert "numpy" not in sys.modules
        runner = cloaca.DefaultRunner(executor="serial")
        first, second = (runner.execute("late", seed=1).final_context["drawn"] for _ in range(2))
        assert first == second
        import numpy as np
        print(first, np.random.rand())
        """)
    )
    (seeded, chance), (same, other) = (run("program.py", cwd=tmp_path).stdout.split() for _ in range(2))
    assert seeded == same
    assert chance != other


# ---- generators that a function captured ---------------------------------------------------------------------------


def test_functions_of_the_generator_travel_by_reference(script: SimpleNamespace) -> None:
    blob = capture("t", script.draw).blob
    assert len(blob) < 2_000
    rebuilt = load(blob)
    script.seed(5)
    here = script.draw()
    script.seed(5)
    assert rebuilt() == here
    for name in ("randint", "random", "gauss", "pick", "normal", "rand"):
        assert decode(encode(getattr(script, name))) == getattr(script, name)


def test_a_generator_of_one_s_own_travels_by_value() -> None:
    own = random.Random(3)
    other = decode(encode(own))
    assert other is not own
    assert other.random() == own.random()
    numbers = np.random.RandomState(3)
    assert decode(encode(numbers)).rand() == numbers.rand()


def test_captured_functions_of_the_generator_are_not_pickled_again(
    script: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = FunctionCache()
    first = cache.capture_all(["t"], [script.draw])[0]
    script.draw()
    monkeypatch.setattr("cloaca.pickling.kin.is_watched", None)
    assert cache.capture_all(["t"], [script.draw])[0] is first


# ---- what an importable module does --------------------------------------------------------------------------------


def test_a_module_that_draws_when_it_is_imported_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "drawing_module.py").write_text(
        "import random\nrandom.seed(1)\n[random.random() for _ in range(3)]\n"
        "def draw(context):\n    context.set('drawn', random.random())\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import drawing_module  # type: ignore[import-not-found]

    with cloaca.WorkflowBuilder("module"):
        for n in range(2):
            cloaca.task(id=f"draw {n}", dependencies=["draw 0"] * n)(drawing_module.draw)
    with DefaultRunner(workers=1, executor="processes") as runner:
        results = [runner.execute("module", seed=1).final_context["drawn"] for _ in range(2)]
    assert results[0] == results[1] == random.Random(1 << 64 | derived(1, "draw 1", 0)).random()
