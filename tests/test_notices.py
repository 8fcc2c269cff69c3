"""Warnings of tasks are warnings of the program: of the same kind, at the same place, through its filters."""

import contextlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from tests.support import in_a_row, pipe, run

import cloaca
from cloaca import Context, DefaultRunner
from cloaca.border.notices import filters_here
from cloaca.border.surroundings import here
from cloaca.pool.pool import Pool
from cloaca.running.console import Console
from cloaca.wire.frames import decode_down, frame
from cloaca.wire.messages import Warned

EXECUTORS = ("processes", "serial")


define = partial(in_a_row, "warning")


@pytest.fixture(scope="module")
def runner() -> Iterator[DefaultRunner]:
    """A runner whose one worker is there. It warns once of a thing: each test has its own texts."""
    with DefaultRunner(workers=1, executor="processes") as runner:
        runner.execute(define(lambda context: None)).raise_for_status()
        yield runner


@pytest.fixture
def on(request: pytest.FixtureRequest, runner: DefaultRunner) -> DefaultRunner:
    return runner if request.param == "processes" else DefaultRunner(executor="serial")


on_both = pytest.mark.parametrize("on", EXECUTORS, indirect=True)


def texts(caught: list[warnings.WarningMessage]) -> list[str]:
    return [str(warning.message) for warning in caught]


@contextlib.contextmanager
def caught(action: Any = "always") -> Iterator[list[warnings.WarningMessage]]:
    """What arrives with a filter for everything."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter(action)
        yield found


class OwnWarning(UserWarning):
    def __init__(self, text: str, level: int) -> None:
        super().__init__(text, level)
        self.level = level

    def __str__(self) -> str:
        return f"{self.args[0]} at level {self.level}"


# ---- what arrives --------------------------------------------------------------------------------------------------


@on_both
def test_a_warning_arrives_as_what_it_is(on: DefaultRunner) -> None:
    def work(context):
        warnings.warn("odd", RuntimeWarning, stacklevel=1)

    with pytest.warns(RuntimeWarning, match=r"^odd$") as found:
        on.execute(define(work)).raise_for_status()
    (warning,) = found
    assert (type(warning.message), warning.category) == (RuntimeWarning, RuntimeWarning)
    assert (warning.filename, warning.lineno) == (__file__, work.__code__.co_firstlineno + 1)


@on_both
def test_a_warning_of_a_class_of_the_program_arrives_as_what_it_is(on: DefaultRunner) -> None:
    class Local(OwnWarning):
        pass

    def work(context):
        warnings.warn(OwnWarning("odd", 3), stacklevel=1)
        warnings.warn(Local("odder", 4), stacklevel=1)

    with caught() as found:
        on.execute(define(work)).raise_for_status()
    assert [(type(warning.message), str(warning.message)) for warning in found] == [
        (OwnWarning, "odd at level 3"),
        (Local, "odder at level 4"),
    ]


def test_a_warning_that_cannot_travel_arrives_as_its_text(runner: DefaultRunner) -> None:
    class Bound(UserWarning):
        def __reduce__(self):
            raise TypeError("it stays here")

    def work(context):
        warnings.warn(Bound("text"), stacklevel=1)
        warnings.warn("\udc80 is no text", stacklevel=1)

    with caught() as found:
        runner.execute(define(work)).raise_for_status()
    assert texts(found) == ["Bound: text", "\udc80 is no text"]
    assert [warning.category for warning in found] == [UserWarning, UserWarning]


@pytest.mark.parametrize("payload", [b"\xc1 is nothing", b"\xa4text"])
def test_a_warning_that_cannot_be_read_arrives_as_its_text(payload: bytes) -> None:
    with caught() as found:
        Console().show(Warned(0, payload, "Odd", "text", "file.py", 3, "module"))
    assert texts(found) == ["Odd: text"]


@on_both
def test_warnings_of_numpy_arrive(on: DefaultRunner) -> None:
    import numpy as np

    def work(context):
        context.set("product", float(np.float64(1e308) * 10))

    with pytest.warns(RuntimeWarning, match="overflow encountered") as found:
        on.execute(define(work)).raise_for_status()
    assert [(warning.filename, warning.lineno) for warning in found] == [(__file__, work.__code__.co_firstlineno + 1)]


@on_both
def test_threads_of_a_task_warn_too(on: DefaultRunner) -> None:
    def work(context):
        thread = Thread(target=lambda: warnings.warn("from a thread", stacklevel=1))
        thread.start()
        thread.join()

    with caught() as found:
        on.execute(define(work)).raise_for_status()
    assert texts(found) == ["from a thread"]


def test_what_a_child_of_a_task_warns_of_is_written_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    def work(context):
        child = os.fork()
        if not child:
            warnings.warn("child", stacklevel=1)
            os._exit(0)
        context.set("ended", os.waitpid(child, 0)[1])

    with caught() as found, DefaultRunner(workers=1, executor="processes") as runner:
        assert runner.execute(define(work)).final_context["ended"] == 0
    assert found == []
    assert "UserWarning: child\n" in capfd.readouterr().err


def test_lines_records_and_warnings_keep_their_order(runner: DefaultRunner, capsys: pytest.CaptureFixture[str]) -> None:
    def work(context):
        for n in range(3):
            print("printed", n, file=sys.stderr)
            warnings.warn(f"warned {n}", stacklevel=1)

    with caught():
        warnings.showwarning = lambda message, *_: print(message, file=sys.stderr)
        runner.execute(define(work)).raise_for_status()
    assert capsys.readouterr().err.splitlines() == [f"{how} {n}" for n in range(3) for how in ("printed", "warned")]


# ---- the program's filters -----------------------------------------------------------------------------------------


@on_both
def test_what_the_program_makes_an_error_fails_the_task(on: DefaultRunner) -> None:
    def work(context):
        warnings.warn("grave", stacklevel=1)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        error = on.execute(define(work)).tasks["work 0"].error
    assert (type(error), str(error)) == (UserWarning, "grave")


@on_both
@pytest.mark.parametrize(
    ("matching", "fails"),
    [
        ({"message": "gr.ve"}, True),
        ({"message": "GRAVE"}, True),
        ({"message": "rave"}, False),
        ({"category": OwnWarning}, True),
        ({"category": UserWarning}, True),
        ({"category": DeprecationWarning}, False),
        ({"category": pytest.PytestWarning}, False),
        ({"module": __name__}, True),
        ({"module": "elsewhere"}, False),
        ({"lineno": 1}, False),
    ],
)
def test_filters_match_in_tasks_what_they_match_in_the_program(
    on: DefaultRunner, matching: dict[str, Any], fails: Any
) -> None:
    def work(context):
        warnings.warn(OwnWarning("grave", 1), stacklevel=1)

    with caught("ignore"):
        warnings.filterwarnings("error", **matching)
        result = on.execute(define(work))
    assert (result.status == "Failed") is fails


def test_filters_of_unusual_form_are_left_out() -> None:
    settings: Any = warnings
    with warnings.catch_warnings():
        warnings.resetwarnings()
        warnings.simplefilter("ignore", UserWarning)
        usual = filters_here()
        settings.filters += [
            ("ignore", None, (UserWarning, RuntimeWarning), None, 0),
            ("ignore",),
            ("ignore", 5, 5, 5, 5),
        ]
        assert filters_here() == usual


def test_surroundings_with_filters_of_every_kind_can_be_sent() -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="\udc80", module="[a-z]+")
        warnings.simplefilter("once", OwnWarning)
        warnings.simplefilter("default", lineno=3)
        surroundings = here()
    assert decode_down(frame([surroundings])[8:]) == [surroundings]


def test_what_the_program_ignores_is_not_sent(runner: DefaultRunner) -> None:
    def work(context):
        for n in range(3):
            warnings.warn(f"boring {n}", stacklevel=1)

    sent: list[Warned] = []
    with caught("ignore"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Console, "show", lambda _, told: sent.append(told))
        runner.execute(define(work)).raise_for_status()
        assert sent == []
        warnings.simplefilter("always")
        runner.execute(define(work)).raise_for_status()
    assert [told.text for told in sent] == ["boring 0", "boring 1", "boring 2"]


# ---- how often -----------------------------------------------------------------------------------------------------


def repeating(context):
    for _ in range(100):
        warnings.warn("again and again", stacklevel=1)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(("action", "times"), [("always", 8), ("default", 1), ("module", 1), ("once", 1)])
def test_how_often_a_warning_is_shown_does_not_depend_on_the_workers(
    workers: int, action: Any, times: int, tmp_path: Path
) -> None:
    """Once per attempt, or once in all. Where there are two workers, both warn."""
    meeting = pipe(tmp_path / "meeting")

    def left(context):
        if workers > 1:
            meeting.write_text("")
        repeating(context)

    def right(context):
        if workers > 1:
            meeting.read_text()
        repeating(context)

    with cloaca.WorkflowBuilder("warning often") as builder:
        cloaca.task(left)
        cloaca.task(right)
        for n in range(2):
            cloaca.task(id=f"more {n}", dependencies=[left, right])(repeating)
    with caught(action) as found, DefaultRunner(workers=workers, executor="processes") as runner:
        for _ in range(2):
            runner.execute(builder).raise_for_status()
    assert texts(found) == ["again and again"] * times


@on_both
@pytest.mark.parametrize("action", ["default", "module", "once", None])
def test_a_warning_is_new_where_the_filters_are(on: DefaultRunner, action: Any) -> None:
    """A worker doesn't know what the program has forgotten by then: it must send it again."""

    def work(context):
        warnings.warn("new again", stacklevel=1)

    name = define(work, work)
    for _ in range(2):
        with caught() as found:
            warnings.resetwarnings()
            if action is not None:
                warnings.simplefilter(action)
            vars(warnings)["onceregistry"].clear()
            on.execute(name).raise_for_status()
        assert texts(found) == ["new again"]


def test_the_same_text_elsewhere_is_another_warning(runner: DefaultRunner) -> None:
    def work(context):
        warnings.warn("of two lines", stacklevel=1)
        warnings.warn("of two lines", stacklevel=1)

    with caught("default") as found:
        runner.execute(define(work, work)).raise_for_status()
    assert texts(found) == ["of two lines"] * 2


# ---- what tasks do to warnings -------------------------------------------------------------------------------------


@on_both
def test_a_task_may_catch_its_own(on: DefaultRunner) -> None:
    def work(context):
        with warnings.catch_warnings(record=True) as inside:
            warnings.simplefilter("always")
            warnings.warn("inside", stacklevel=1)
        warnings.warn("outside", stacklevel=1)
        context.set("inside", [str(warning.message) for warning in inside])

    with caught() as found:
        assert on.execute(define(work)).final_context["inside"] == ["inside"]
    assert texts(found) == ["outside"]


def test_what_a_task_changes_ends_with_it(runner: DefaultRunner, caplog: pytest.LogCaptureFixture) -> None:
    def silence(context):
        warnings.simplefilter("ignore")
        warnings.showwarning = lambda *_: None

    def log(context):
        logging.captureWarnings(True)
        warnings.warn("logged", stacklevel=1)
        warnings.filters = ()

    def work(context):
        warnings.warn("loud", stacklevel=1)

    tasks = [silence, work, log, work, log, work]
    with caught() as found:
        runner.execute(define(*tasks)).raise_for_status()
    assert texts(found) == ["loud"] * 3
    logged = [record.getMessage() for record in caplog.records if record.name == "py.warnings"]
    assert ["UserWarning: logged" in message for message in logged] == [True, True]


def test_what_was_warned_of_by_a_task_s_own_filters_is_forgotten_with_them(runner: DefaultRunner) -> None:
    def work(context):
        if context["own filters"]:
            warnings.simplefilter("default")
        for _ in range(2):
            warnings.warn("in any case", stacklevel=1)

    name = define(work)
    with caught() as found:
        runner.execute(name, Context({"own filters": True})).raise_for_status()
        runner.execute(name, Context({"own filters": False})).raise_for_status()
    assert texts(found) == ["in any case"] * 2


def test_a_task_that_shows_a_warning_in_a_file_of_its_own(runner: DefaultRunner) -> None:
    def work(context):
        file = io.StringIO()
        warnings.showwarning("text", UserWarning, "file.py", 3, file)
        context.set("shown", file.getvalue())

    with caught() as found:
        assert runner.execute(define(work)).final_context["shown"] == "file.py:3: UserWarning: text\n"
    assert found == []


def test_a_program_that_logs_warnings_logs_those_of_tasks(
    runner: DefaultRunner, caplog: pytest.LogCaptureFixture
) -> None:
    def work(context):
        warnings.warn("to be logged", stacklevel=1)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        try:
            runner.execute(define(work)).raise_for_status()
        finally:
            logging.captureWarnings(False)
    (record,) = (record for record in caplog.records if record.name == "py.warnings")
    assert "UserWarning: to be logged" in record.getMessage()


def test_a_warning_that_has_become_an_error_is_shown_and_breaks_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        console.show(Warned(0, None, "Odd", "text", "file.py", 3, "module"))
    assert capsys.readouterr().err == "file.py:3: Odd: text\n"


# ---- programs ------------------------------------------------------------------------------------------------------

SCRIPT = """
import warnings
import cloaca
import helper

with cloaca.WorkflowBuilder("w"):
    @cloaca.task()
    def old(context):
        warnings.warn("of the script", DeprecationWarning)
        helper.help()

    @cloaca.task(dependencies=[old])
    def new(context):
        warnings.warn("for users")

runner = cloaca.DefaultRunner(workers=1)
for _ in range(2):
    print(runner.execute("w").status)
"""

HELPER = """
import warnings

def help():
    warnings.warn("of a library", DeprecationWarning)
"""


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize(
    ("options", "statuses", "expected"),
    [
        ([], "Completed", ["of the script", "for users"]),
        (["-W", "ignore"], "Completed", []),
        (["-W", "error::UserWarning"], "Failed", ["of the script"]),
        (["-W", "always"], "Completed", ["of the script", "of a library", "for users"] * 2),
    ],
)
def test_a_program_sees_what_it_would_see_without_workers(
    tmp_path: Path, executor: str, options: list[str], statuses: str, expected: list[str]
) -> None:
    (tmp_path / "program.py").write_text(SCRIPT)
    (tmp_path / "helper.py").write_text(HELPER)
    ended = run(*options, "program.py", cwd=tmp_path, CLOACA_EXECUTOR=executor, PYTHONWARNINGS="")
    lines = [line for line in ended.stderr.splitlines() if not line.startswith("Workflow 'w' failed.")]
    shown = [line.partition("Warning: ")[2] for line in lines if "Warning: " in line]
    assert (ended.returncode, ended.stdout, shown) == (0, f"{statuses}\n" * 2, expected)
    assert "  warnings.warn(" in ended.stderr or not expected


FILTERING = """
import sys
import warnings
import cloaca
import costly

with cloaca.WorkflowBuilder("w"):
    @cloaca.task()
    def look(context):
        loaded = "costly" in sys.modules
        import costly as there
        warnings.warn("cheap")
        warnings.warn("dear", there.CostlyWarning)
        context.set("loaded", loaded)

warnings.filterwarnings("ignore", category=costly.CostlyWarning)
print(cloaca.DefaultRunner(workers=1).execute("w").final_context["loaded"])
"""


def test_a_filter_for_the_category_of_a_module_does_not_load_the_module(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(FILTERING)
    (tmp_path / "costly.py").write_text("class CostlyWarning(UserWarning): pass")
    ended = run("program.py", cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (0, "False\n")
    assert ("cheap" in ended.stderr, "dear" in ended.stderr) == (True, False)


def test_a_warning_of_no_line_that_runs_arrives_too(runner: DefaultRunner) -> None:
    def work(context):
        warnings.warn_explicit("far away", UserWarning, "/nowhere/far.py", 12)

    with caught("ignore") as found:
        warnings.filterwarnings("always", module="/nowhere/far$")
        runner.execute(define(work)).raise_for_status()
    assert [(str(warning.message), warning.filename, warning.lineno) for warning in found] == [
        ("far away", "/nowhere/far.py", 12)
    ]


def test_every_pool_has_the_program_s_filters() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pool = Pool(1, {})
    pool.close()
    assert pool._surroundings.filters[0].action == "error"
