"""What tasks log reaches the program's own handlers, at the program's levels, and can't break a run."""

import contextlib
import io
import logging
import logging.config
import os
import re
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from tests.support import in_a_row, run

from cloaca import DefaultRunner
from cloaca.pool.pool import Pool
from cloaca.running.console import Console
from cloaca.testing.desk import published
from cloaca.values.records import decode_record, encode_record
from cloaca.wire.messages import Assignment, Done, Event, Logged, Said, Slice

EXECUTORS = ("processes", "serial")
log = logging.getLogger("cloaca.tests.records")
other = logging.getLogger("cloaca.tests.records.other")


define = partial(in_a_row, "logging")


@pytest.fixture(scope="module")
def runner() -> Iterator[DefaultRunner]:
    """A runner whose one worker is there."""
    with DefaultRunner(workers=1, executor="processes") as runner:
        runner.execute(define(lambda context: None)).raise_for_status()
        yield runner


@pytest.fixture
def on(request: pytest.FixtureRequest, runner: DefaultRunner) -> DefaultRunner:
    return runner if request.param == "processes" else DefaultRunner(executor="serial")


on_both = pytest.mark.parametrize("on", EXECUTORS, indirect=True)


@pytest.fixture(autouse=True)
def _loggers_are_as_before() -> Iterator[None]:
    levels = {
        name: logger.level for name, logger in vars(logging.root.manager)["loggerDict"].items() if level_of(logger)
    }
    root, handlers = logging.root.level, list(logging.root.handlers)
    yield
    logging.disable(logging.NOTSET)
    logging.root.setLevel(root)
    logging.root.handlers[:] = handlers
    for name, logger in vars(logging.root.manager)["loggerDict"].items():
        if isinstance(logger, logging.Logger):
            logger.setLevel(levels.get(name, logging.NOTSET))
            logger.disabled = False


def level_of(logger: Any) -> int:
    return getattr(logger, "level", 0)


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, int, str]]:
    """The records of tests and tasks, none of what libraries log."""
    return [record for record in caplog.record_tuples if record[0].startswith(("cloaca.tests", "root"))]


class Listener(logging.Handler):
    """Keeps the messages."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


# ---- records -------------------------------------------------------------------------------------------------------


@on_both
def test_records_reach_the_program_s_handlers(on: DefaultRunner, caplog: pytest.LogCaptureFixture) -> None:
    def work(context):
        log.warning("two and %s", "three")
        other.error("four")
        logging.getLogger().warning("of the root")
        log.info("not at this level")

    on.execute(define(work)).raise_for_status()
    assert told(caplog) == [
        (log.name, logging.WARNING, "two and three"),
        (other.name, logging.ERROR, "four"),
        ("root", logging.WARNING, "of the root"),
    ]


@on_both
def test_a_record_says_where_it_was_made(on: DefaultRunner, caplog: pytest.LogCaptureFixture) -> None:
    def work(context):
        log.warning("here", stack_info=True)

    on.execute(define(work)).raise_for_status()
    (record,) = caplog.records
    assert (record.pathname, record.filename, record.module) == (__file__, Path(__file__).name, "test_records")
    assert (record.funcName, record.lineno) == ("work", work.__code__.co_firstlineno + 1)
    assert (record.levelname, record.threadName) == ("WARNING", "MainThread")
    assert 'log.warning("here", stack_info=True)' in str(record.stack_info)
    assert abs(record.msecs - record.created % 1 * 1000) < 1


def test_a_record_says_which_process_and_task_it_is_of(runner: DefaultRunner, caplog: pytest.LogCaptureFixture) -> None:
    def work(context):
        log.warning("%s", os.getpid())

    runner.execute(define(work, work)).raise_for_status()
    first, second = caplog.records
    assert first.process == second.process == int(first.message) != os.getpid()
    assert [vars(record)["task"] for record in caplog.records] == ["work 0", "work 1"]
    assert [vars(record)["attempt"] for record in caplog.records] == [1, 1]


def test_a_record_names_its_worker(caplog: pytest.LogCaptureFixture) -> None:
    def work(context):
        import multiprocessing  # by which `logging` asks for the name, once it is loaded

        log.warning("named")
        multiprocessing.current_process().name = "renamed"
        log.warning("named by the task")

    with DefaultRunner(workers=1, executor="processes") as runner:
        runner.execute(define(work)).raise_for_status()
    DefaultRunner(executor="serial").execute(define(lambda context: log.warning("here"))).raise_for_status()
    worker, renamed, program = [str(record.processName) for record in caplog.records]
    assert re.fullmatch(r"cloaca-worker-\d+", worker)
    assert (renamed, program) == ("renamed", "MainProcess")


def test_a_record_says_which_try_it_is_of() -> None:
    pool = Pool(1, {})
    pool.publish(published(lambda context: log.warning("again")))
    pool.submit([Assignment(0, "work", 0, Slice({}), nth=3)])
    events: list[Event] = []
    while not any(isinstance(event, Done) for event in events):
        events += pool.wait(None)
    pool.close()
    (record,) = [decode_record(event.record) for event in events if isinstance(event, Logged)]
    assert (vars(record)["task"], vars(record)["attempt"]) == ("work", 3)


def test_the_clock_of_a_record_began_with_the_program(runner: DefaultRunner, caplog: pytest.LogCaptureFixture) -> None:
    def work(context):
        log.warning("between")

    log.warning("before")
    runner.execute(define(work))
    log.warning("after")
    times = [record.relativeCreated for record in caplog.records]
    assert times == sorted(times)
    apart = {round(record.created * 1000 - record.relativeCreated) for record in caplog.records}
    assert max(apart) - min(apart) <= 1


@on_both
def test_exceptions_come_with_their_traceback(on: DefaultRunner, caplog: pytest.LogCaptureFixture) -> None:
    def work(context):
        try:
            print(context["lost"])
        except KeyError:
            log.exception("it failed")

    on.execute(define(work)).raise_for_status()
    (line, *traceback) = logging.Formatter().format(caplog.records[0]).splitlines()
    assert (line, traceback[0]) == ("it failed", "Traceback (most recent call last):")
    assert traceback[-1].startswith("KeyError: ")
    assert '    print(context["lost"])' in traceback


class Unspeakable:
    def __repr__(self) -> str:
        raise ValueError("no words")


def test_extra_fields_come_as_they_are_if_they_are_plain_and_as_text_otherwise(
    runner: DefaultRunner, caplog: pytest.LogCaptureFixture
) -> None:
    class Name(str):
        __slots__ = ()

    def work(context):
        shared = [1]
        extra = {"user": {"id": 7, "tags": ["a", shared, shared]}, "size": 10**30, "odd": "\udc80", "pair": (1, 2)}
        log.warning("extra", extra={**extra, "name_of": Name("x"), "unspeakable": Unspeakable(), "flag": True})

    runner.execute(define(work)).raise_for_status()
    fields = vars(caplog.records[0])
    assert fields["user"] == "{'id': 7, 'tags': ['a', [1], [1]]}"  # what a tree can't hold comes as text
    assert (fields["size"], fields["odd"], fields["pair"], fields["flag"]) == (10**30, "\udc80", "(1, 2)", True)
    assert (fields["name_of"], type(fields["name_of"])) == ("x", str)
    assert fields["unspeakable"] == "<Unspeakable whose repr raises ValueError>"


def test_what_a_task_calls_task_itself_is_kept(runner: DefaultRunner, caplog: pytest.LogCaptureFixture) -> None:
    def work(context):
        log.warning("mine", extra={"task": "a task of its own"})

    runner.execute(define(work)).raise_for_status()
    assert vars(caplog.records[0])["task"] == "a task of its own"


def test_arguments_stay_in_the_worker(runner: DefaultRunner, caplog: pytest.LogCaptureFixture) -> None:
    def work(context):
        log.warning("%s", iter([]))
        log.warning(ValueError("an object as message"))
        log.warning("\udc80 is no text")

    runner.execute(define(work)).raise_for_status()
    first, *others = (record.getMessage() for record in caplog.records)
    assert first.startswith("<list_iterator object")
    assert others == ["an object as message", "\udc80 is no text"]


@on_both
def test_a_message_that_cannot_be_put_together_is_told_and_breaks_nothing(
    on: DefaultRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(context):
        log.warning("%d", "no number")
        log.warning("%s", Unspeakable())
        log.warning("and on")

    listener = Listener()
    with attached(logging.root, listener, alone=True):
        if on._settings.executor == "serial":
            listener.addFilter(lambda record: record.msg == "and on")
        on.execute(define(work)).raise_for_status()
    assert listener.messages == ["and on"]
    if on._settings.executor == "processes":
        error = capsys.readouterr().err
        assert error.count("--- Logging error ---") == 2
        assert re.search("TypeError: .*%d", error)
        assert "ValueError: no words" in error


@on_both
def test_a_program_that_doesn_t_want_to_know_of_such_messages(
    on: DefaultRunner, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(context):
        log.warning("%d", "no number")

    monkeypatch.setattr(logging, "raiseExceptions", False)
    with attached(logging.root, logging.StreamHandler(), alone=True):
        on.execute(define(work)).raise_for_status()
    assert capsys.readouterr().err == ""


@contextlib.contextmanager
def attached(logger: logging.Logger, handler: logging.Handler, *, alone: bool = False) -> Iterator[None]:
    before = list(logger.handlers)
    logger.handlers[:] = [handler] if alone else [*before, handler]
    try:
        yield
    finally:
        logger.handlers[:] = before


def test_records_and_lines_keep_their_order(runner: DefaultRunner) -> None:
    def work(context):
        for n in range(50):
            print("printed", n)
            log.warning("logged %s", n)

    with contextlib.redirect_stdout(io.StringIO()) as out, attached(logging.root, logging.StreamHandler(sys.stdout)):
        runner.execute(define(work)).raise_for_status()
    assert out.getvalue().splitlines() == [f"{how} {n}" for n in range(50) for how in ("printed", "logged")]


@on_both
def test_threads_of_a_task_log_too(on: DefaultRunner, caplog: pytest.LogCaptureFixture) -> None:
    def work(context):
        def shout(name):
            for _ in range(100):
                log.warning(name)

        threads = [Thread(target=shout, args=(name,), name=name) for name in "abc"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    on.execute(define(work)).raise_for_status()
    assert sorted(record.message for record in caplog.records) == sorted("abc" * 100)
    assert all(record.threadName == record.message for record in caplog.records)


def test_what_a_child_of_a_task_logs_is_written_to_standard_error(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def work(context):
        log.warning("parent")
        child = os.fork()
        if not child:
            log.warning("child")
            os._exit(0)
        context.set("ended", os.waitpid(child, 0)[1])
        log.warning("parent again")

    with DefaultRunner(workers=1, executor="processes") as runner:
        assert runner.execute(define(work)).final_context["ended"] == 0
    assert [message for _, _, message in told(caplog)] == ["parent", "parent again"]
    assert capfd.readouterr().err == f"WARNING:{log.name}:child\n"


# ---- levels --------------------------------------------------------------------------------------------------------


def enabled(context):
    """Which levels tasks find enabled."""
    context.set("debug", (log.isEnabledFor(logging.DEBUG), other.isEnabledFor(logging.DEBUG)))
    context.set("error", log.isEnabledFor(logging.ERROR))


@on_both
def test_tasks_log_at_the_program_s_levels(on: DefaultRunner) -> None:
    name = define(enabled)

    def found() -> Any:
        return on.execute(name).final_context["debug"]

    assert found() == (False, False)
    log.setLevel(logging.DEBUG)
    assert found() == (True, True)
    other.setLevel(logging.INFO)
    assert found() == (True, False)
    log.setLevel(logging.NOTSET)
    other.setLevel(logging.NOTSET)
    assert found() == (False, False)
    logging.root.setLevel(logging.NOTSET)
    assert found() == (True, True)


@on_both
def test_what_the_program_disables_is_disabled_in_tasks(on: DefaultRunner) -> None:
    name = define(enabled)
    log.disabled = True
    assert on.execute(name).final_context["error"] is False
    log.disabled = False
    assert on.execute(name).final_context["error"] is True
    logging.disable(sys.maxsize)
    assert on.execute(name).final_context["error"] is False
    logging.disable(logging.NOTSET)
    assert on.execute(name).final_context["error"] is True


def test_the_program_s_levels_of_the_moment_decide(runner: DefaultRunner, caplog: pytest.LogCaptureFixture) -> None:
    """What is logged less by now isn't shown, though the task has sent it."""
    record = logging.makeLogRecord({"name": log.name, "levelno": logging.INFO, "msg": "heard"})
    console = Console()
    console.show(Logged(0, encode_record(record)))
    log.setLevel(logging.INFO)
    console.show(Logged(0, encode_record(record)))
    assert [record.message for record in caplog.records] == ["heard"]


@pytest.mark.parametrize("level", [10**30, -(10**30)])
def test_levels_beyond_all_bounds(runner: DefaultRunner, level: int) -> None:
    log.setLevel(level)
    assert runner.execute(define(enabled)).final_context["error"] is (level < 0)


@on_both
def test_levels_of_the_program_s_own(on: DefaultRunner, caplog: pytest.LogCaptureFixture) -> None:
    logging.addLevelName(35, "NOTICE")

    def work(context):
        log.setLevel("NOTICE")
        log.log(35, "noticed")

    on.execute(define(work)).raise_for_status()
    (record,) = caplog.records
    assert (record.levelno, record.levelname, record.message) == (35, "NOTICE", "noticed")


# ---- what tasks and their modules do to logging --------------------------------------------------------------------


def test_a_level_that_a_task_sets_ends_with_it(runner: DefaultRunner) -> None:
    def change(context):
        log.setLevel(logging.CRITICAL)
        logging.root.setLevel(logging.CRITICAL)
        logging.disable(logging.CRITICAL)

    log.setLevel(logging.DEBUG)
    result = runner.execute(define(change, enabled))
    assert (result.final_context["debug"], result.final_context["error"]) == ((True, True), True)


def test_a_task_that_configures_logging_as_programs_do(runner: DefaultRunner, caplog: pytest.LogCaptureFixture) -> None:
    def work(context):
        logging.basicConfig(level=logging.DEBUG)
        log.warning("once")

    runner.execute(define(work)).raise_for_status()
    assert [message for _, _, message in told(caplog)] == ["once"]


@pytest.mark.parametrize(
    "configuring",
    [
        lambda: logging.basicConfig(force=True, format="own %(message)s"),
        lambda: logging.config.dictConfig(
            {
                "version": 1,
                "formatters": {"own": {"format": "own %(message)s"}},
                "handlers": {"own": {"class": "logging.StreamHandler", "formatter": "own"}},
                "root": {"handlers": ["own"]},
            }
        ),
    ],
)
def test_a_task_that_insists_on_its_own_configuration_has_it_for_itself(
    runner: DefaultRunner, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], configuring: Any
) -> None:
    def work(context):
        configuring()
        logging.getLogger().warning("mine")

    def after(context):
        log.warning("theirs")

    runner.execute(define(after, work, after)).raise_for_status()
    assert capsys.readouterr().err == "own mine\n"
    assert [message for _, _, message in told(caplog)] == ["theirs", "theirs"]


def test_a_handler_that_a_task_adds_for_itself_hears_it(runner: DefaultRunner) -> None:
    def work(context):
        messages: list[str] = []
        handler = logging.Handler()
        handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
        log.addHandler(handler)
        log.warning("heard")
        log.removeHandler(handler)
        context.set("messages", messages)

    assert runner.execute(define(work)).final_context["messages"] == ["heard"]


def test_a_module_with_handlers_of_its_own_is_heard_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "noisy_module.py").write_text(
        "import logging, sys\n"
        "log = logging.getLogger('noisy_module')\n"
        "log.setLevel(logging.INFO)\n"
        "log.propagate = False\n"
        "log.addHandler(logging.StreamHandler(sys.stdout))\n"
        "def task(context):\n"
        "    log.info('info')\n"
        "    log.debug('debug')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import noisy_module  # type: ignore[import-not-found]

    noisy_module.log.setLevel(logging.DEBUG)
    with DefaultRunner(workers=1, executor="processes") as runner:
        runner.execute(define(noisy_module.task, noisy_module.task)).raise_for_status()
    assert capsys.readouterr().out == "info\ndebug\n" * 2


def test_a_logger_of_a_class_of_its_own_is_made_by_the_module_that_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "own_logger.py").write_text(
        "import logging\n"
        "class Own(logging.Logger):\n"
        "    def shout(self, text): self.debug(text.upper())\n"
        "logging.setLoggerClass(Own)\n"
        "log = logging.getLogger('cloaca.tests.own_logger')\n"
        "logging.setLoggerClass(logging.Logger)\n"
        "def task(context):\n"
        "    log.shout('hello')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import own_logger  # type: ignore[import-not-found]

    own_logger.log.setLevel(logging.DEBUG)
    with DefaultRunner(workers=1, executor="processes") as runner:
        runner.execute(define(own_logger.task)).raise_for_status()
    assert told(caplog) == [("cloaca.tests.own_logger", logging.DEBUG, "HELLO")]


# ---- what the program's handlers do --------------------------------------------------------------------------------


class Raising(logging.Handler):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1
        raise self.error


@pytest.mark.parametrize("error", [ValueError("a handler's own"), SystemExit(3)])
def test_a_handler_that_raises_is_told_of_once_and_breaks_nothing(
    error: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(context):
        print("before")
        log.warning("one")
        log.warning("two")
        print("after")

    handler = Raising(error)
    with attached(log, handler), DefaultRunner(workers=1, executor="processes") as runner:
        assert runner.execute(define(work)).status == "Completed"
    out, err = capsys.readouterr()
    assert (out, handler.count) == ("before\nafter\n", 2)
    assert err.startswith("A handler of the program raised at a task's record.\nTraceback")
    assert err.count(type(error).__name__) == 1


def test_a_record_that_cannot_be_read_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.show(Logged(0, b"\xc1 is nothing"))
    console.show(Said(0, "stdout", "and on\n"))
    out, err = capsys.readouterr()
    assert out == "and on\n"
    assert err.startswith("What a task logged can't be read in the program: ")


# ---- programs ------------------------------------------------------------------------------------------------------

SCRIPT = """
import logging
import cloaca

with cloaca.WorkflowBuilder("w"):
    @cloaca.task()
    def work(context):
        logging.getLogger("mine").info("info")
        logging.getLogger("mine").warning("warning")

{configured}
logging.getLogger("cloaca").setLevel("WARNING")  # which would tell of the execution itself
cloaca.DefaultRunner(workers=1).execute("w")
"""

BOTH = "warning\nWARNING:mine:warning\n"


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize(
    ("configured", "expected"),
    [
        ("", "warning\n"),
        ("logging.basicConfig()", "WARNING:mine:warning\n"),
        ("logging.basicConfig(level='INFO', format='%(name)s %(message)s')", "mine info\nmine warning\n"),
        ("logging.getLogger('mine').setLevel('ERROR')", ""),
        ("logging.getLogger('mine').addHandler(logging.NullHandler())", ""),
        ("logging.addLevelName(30, 'NOTE'); logging.basicConfig()", "NOTE:mine:warning\n"),
        ("logging.getLogger('mine').addHandler(logging.StreamHandler())", "warning\n"),
        ("logging.basicConfig(); logging.getLogger('mine').addHandler(logging.StreamHandler())", BOTH),
        ("logging.basicConfig(); logging.getLogger('mine').propagate = False", "warning\n"),
    ],
)
def test_a_program_sees_what_it_would_see_without_workers(
    tmp_path: Path, executor: str, configured: str, expected: str
) -> None:
    (tmp_path / "program.py").write_text(SCRIPT.format(configured=configured))
    ended = run("program.py", cwd=tmp_path, CLOACA_EXECUTOR=executor)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", expected)


CONFIGURING = """
import logging
import cloaca

def configure():
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")

def work(context):
    {in_task}
    logging.getLogger("mine").info("info")

{in_program}
with cloaca.WorkflowBuilder("w"):
    cloaca.task(id="first")(work)
    cloaca.task(id="second", dependencies=["first"])(work)
cloaca.DefaultRunner(workers=1{equipped}).execute("w", raise_on_failure=True)
"""


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize(
    ("filled", "expected"),
    [
        ({"in_task": "configure()"}, "mine: info\n" * 2),
        ({"in_task": "logging.warning('by itself')"}, "WARNING:root:by itself\n" * 2),
        ({"in_task": "configure()", "in_program": "logging.basicConfig()"}, ""),
        (
            {"in_task": "configure()", "in_program": "logging.getLogger('other').addHandler(logging.StreamHandler())"},
            "mine: info\n" * 2,
        ),
        ({"equipped": ", initializer=configure"}, "mine: info\n" * 2),
        ({"equipped": ", initializer=configure", "in_program": "logging.basicConfig()"}, ""),
        ({"in_task": "assert logging.getLogger('mine').hasHandlers() is False"}, ""),
    ],
)
def test_tasks_may_configure_logging_where_the_program_has_not(
    tmp_path: Path, executor: str, filled: dict[str, str], expected: str
) -> None:
    nothing = {"in_task": "pass", "in_program": "", "equipped": ""}
    (tmp_path / "program.py").write_text(CONFIGURING.format(**{**nothing, **filled}))
    ended = run("program.py", cwd=tmp_path, CLOACA_EXECUTOR=executor)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", expected)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_the_script_in_the_documentation_logs_what_stands_beneath_it(tmp_path: Path, executor: str) -> None:
    text = (Path(__file__).parents[1] / "docs" / "output.md").read_text(encoding="utf-8")
    ((script, expected),) = re.findall(r"^```python\n(.*?)^```\n\n^```\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    (tmp_path / "example.py").write_text(script)
    ended = run("example.py", cwd=tmp_path, CLOACA_EXECUTOR=executor)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", expected)
