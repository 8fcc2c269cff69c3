"""Tasks under profilers, the real ones: what they record is put together by task, and fails no task."""

import cProfile
import importlib.util
import json
import os
import pickle
import pstats
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

import cloaca
from cloaca import Context, DefaultRunner, NoProfileError
from cloaca.pool import pool
from cloaca.testing import warm

MEGABYTE = 1_000_000


def needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"NOT TESTED: {name} isn't installed")


PYINSTRUMENT, MEMRAY = needs("pyinstrument"), needs("memray")
ALL = [
    "cprofile",
    pytest.param("pyinstrument", marks=PYINSTRUMENT),
    pytest.param("memray", marks=MEMRAY),
]


@pytest.fixture(autouse=True, scope="module")
def _memray_has_what_it_keeps(tmp_path_factory: pytest.TempPathFactory) -> None:
    """With its first tracker it opens a pipe, for as long as the process lives."""
    if importlib.util.find_spec("memray") is not None:
        from memray import Tracker

        with Tracker(tmp_path_factory.mktemp("memray") / "first.bin"):
            pass


def step(number: int) -> int:
    return number + 1


def spin(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def grow(megabytes: int) -> int:
    return len(bytearray(megabytes * MEGABYTE))


def counts(profile: cloaca.Profile) -> dict[str, int]:
    """How often each function was called, by its name."""
    stats: Any = profile.opened()
    return {name: calls for (_, _, name), (_, calls, *_) in stats.stats.items()}


with cloaca.WorkflowBuilder("numbers", check="off") as numbers:

    @cloaca.task()
    def load(context: Context) -> None:
        context.set("rows", list(range(7)))

    @cloaca.task(for_each="rows", dependencies=[load])
    def each(context: Context, item: int) -> None:
        context.set("next", step(step(step(item))))

    @cloaca.task(dependencies=[each])
    async def total(context: Context) -> None:
        context.set("total", step(sum(context["next"])))


# ---- what is recorded ----------------------------------------------------------------------------------------------


def test_calls_of_all_workers_tries_and_items_are_counted(runner: DefaultRunner) -> None:
    result = runner.execute(numbers, profile="cprofile")
    assert result.final_context["total"] == 7 * 3 + 21 + 1
    profile = result.profile("each")
    assert (profile.profiler, profile.tasks, profile.calls, profile.notes) == ("cprofile", ("each",), 7, ())
    assert counts(profile)["each"] == 7
    assert counts(profile)["step"] == 21
    assert counts(result.profile("total"))["step"] == 1
    assert counts(result.profile("load", "each"))["load"] == 1
    assert result.profile().tasks == ("load", "each", "total")
    assert counts(result.profile())["step"] == 22
    assert "(each)" in str(profile)
    assert repr(profile) == "<Profile of 'each' by cprofile: 7 calls>"
    assert "cloaca/profiling/" not in str(result.profile())  # what profiles isn't part of it
    stats = result.profile().opened().stats
    assert {caller for *_, callers in stats.values() for caller in callers} <= stats.keys()  # viewers look them up


def test_each_execution_has_a_profile_of_its_own(runner: DefaultRunner) -> None:
    first = runner.execute(numbers, profile="cprofile")
    between = runner.execute(numbers)
    second = runner.execute(numbers, profile="cprofile")
    assert counts(first.profile("each")) == counts(second.profile("each"))
    with pytest.raises(NoProfileError, match="There are no profiles: the execution wasn't profiled"):
        between.profile("each")


def test_tries_that_fail_are_in_it(runner: DefaultRunner) -> None:
    with cloaca.WorkflowBuilder("failing") as builder:

        @cloaca.task(retry_attempts=3, retry_delay_ms=1)
        def fail(context: Context) -> None:
            step(1)
            raise ValueError("no")

    result = runner.execute(builder, profile="cprofile")
    assert result.tasks["fail"].attempts == 3
    assert counts(result.profile("fail"))["step"] == 3
    error = result.tasks["fail"].error
    assert error is not None
    assert "attempts/profiled.py" not in str(error.__cause__)


def test_many_items_take_the_room_of_one(runner: DefaultRunner) -> None:
    with cloaca.WorkflowBuilder("many", check="off") as builder:

        @cloaca.task(for_each="rows")
        def each(context: Context, item: int) -> None:
            context.set("next", step(item))

    result = runner.execute(builder, {"rows": range(2000)}, profile="cprofile")
    assert counts(result.profile("each"))["step"] == 2000
    plain = runner.execute(builder, {"rows": range(2000)})
    assert len(pickle.dumps(result.profile("each"))) < 10_000
    assert plain.final_context["next"] == result.final_context["next"]


def test_tasks_of_a_copy_have_their_own(runner: DefaultRunner) -> None:
    with cloaca.WorkflowBuilder("copies", check="off") as builder:
        builder.add_workflow(numbers, prefix="north")
        builder.add_workflow(numbers, prefix="south")
    result = runner.execute(builder, profile="cprofile")
    assert counts(result.profile("north.each"))["step"] == 21
    assert counts(result.profile("north.each", "south.each"))["step"] == 42


@PYINSTRUMENT
def test_where_time_went_is_seen_by_looking(runner: DefaultRunner, tmp_path: Path) -> None:
    with cloaca.WorkflowBuilder("spinning") as builder:

        @cloaca.task()
        def busy(context: Context) -> None:
            spin(0.05)

        @cloaca.task()
        async def busy_later(context: Context) -> None:
            spin(0.05)

    result = runner.execute(builder, profile="pyinstrument")
    profile = result.profile("busy")
    text = str(profile)
    assert "spin" in text
    assert "profiled.py" not in text
    assert "worker.py" not in text
    assert "spin" in str(result.profile("busy_later"))
    profile.save(tmp_path / "busy.json")
    told = json.loads((tmp_path / "busy.json").read_text())
    assert told["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    assert "spin" in {frame["name"] for frame in told["shared"]["frames"]}
    profile.save(tmp_path / "busy.html")
    assert "spin" in (tmp_path / "busy.html").read_text()
    profile.save(tmp_path / "busy.pyisession")
    from pyinstrument.session import Session

    assert Session.load(tmp_path / "busy.pyisession").sample_count == profile.opened().sample_count > 10
    assert result.profile().opened().sample_count > profile.opened().sample_count


@MEMRAY
def test_memory_is_that_of_the_call_with_most(runner: DefaultRunner, tmp_path: Path) -> None:
    with cloaca.WorkflowBuilder("growing", check="off") as builder:

        @cloaca.task(for_each="sizes")
        def each(context: Context, item: int) -> None:
            grow(item)

    result = runner.execute(builder, {"sizes": [5, 30, 1, 10]}, profile="memray")
    profile = result.profile("each")
    assert profile.calls == 4
    assert 30 * MEGABYTE <= profile.opened().metadata.peak_memory < 40 * MEGABYTE
    assert "(grow)" in str(profile).splitlines()[1]
    profile.save(tmp_path / "each.bin")
    from memray import FileReader

    with FileReader(tmp_path / "each.bin") as reader:
        records = [*reader.get_high_watermark_allocation_records(merge_threads=True)]
        largest = max(records, key=lambda record: record.size)
        assert [function for function, _, _ in largest.stack_trace()][:2] == ["grow", "each"]
    assert sum(record.size for record in records) >= 30 * MEGABYTE
    profile.save(tmp_path / "each.html")
    page = (tmp_path / "each.html").read_text()
    assert "grow" in page
    assert "cdn." not in page.split("<script", 1)[1].split(">", 1)[0]


@MEMRAY
def test_where_files_have_names_they_go_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As on macOS."""
    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with cloaca.WorkflowBuilder("named") as builder:

        @cloaca.task()
        def look(context: Context) -> None:
            grow(5)
            context.set("there", [path.name for path in tmp_path.iterdir()])

    with DefaultRunner(executor="serial") as runner:
        result = runner.execute(builder, profile="memray")
    assert result.final_context["there"] == []
    assert result.profile("look").opened().metadata.peak_memory >= 5 * MEGABYTE
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("profiler", ALL)
def test_a_result_with_profiles_can_be_pickled(runner: DefaultRunner, profiler: Any, tmp_path: Path) -> None:
    result = pickle.loads(pickle.dumps(runner.execute(numbers, profile=profiler)))
    profile = pickle.loads(pickle.dumps(result.profile()))
    assert str(profile) == str(result.profile())
    profile.save(tmp_path / "all.TXT")
    assert (tmp_path / "all.TXT").read_text() == f"{profile}\n"


def test_it_is_saved_for_viewers(runner: DefaultRunner, tmp_path: Path) -> None:
    profile = runner.execute(numbers, profile="cprofile").profile("each")
    for name in ("each.prof", "each.pstats"):
        profile.save(tmp_path / name)
        assert vars(pstats.Stats(str(tmp_path / name)))["stats"] == profile.opened().stats
    with pytest.raises(ValueError, match=r"by cprofile is saved to a file that ends with .prof, .pstats, .txt, not"):
        profile.save(tmp_path / "each.html")
    with pytest.raises(OSError, match="No such file"):
        profile.save(tmp_path / "nowhere" / "each.prof")


# ---- which tasks ---------------------------------------------------------------------------------------------------


def test_a_task_says_whether_it_is_profiled(runner: DefaultRunner) -> None:
    with cloaca.WorkflowBuilder("one") as builder:
        cloaca.task(id="always", profile=True)(lambda context: context.set("a", step(1)))
        cloaca.task(id="never", profile=False)(lambda context: context.set("b", step(1)))
        cloaca.task(id="plain")(lambda context: context.set("c", step(1)))
    alone, all_of_it = runner.execute(builder), runner.execute(builder, profile="cprofile")
    assert alone.profile().tasks == ("always",)
    assert all_of_it.profile().tasks == ("always", "plain")
    with pytest.raises(NoProfileError, match="task 'never': it wasn't to be profiled, as it says profile=False"):
        all_of_it.profile("never")


@PYINSTRUMENT
def test_a_task_may_have_a_profiler_of_its_own(runner: DefaultRunner) -> None:
    with cloaca.WorkflowBuilder("two") as builder:
        cloaca.task(id="sampled", profile="pyinstrument")(lambda context: spin(0.01))
        cloaca.task(id="asked", profile=True)(lambda context: spin(0.01))
    result = runner.execute(builder, profile="cprofile")
    assert {task: result.profile(task).profiler for task in ("sampled", "asked")} == {
        "sampled": "pyinstrument",
        "asked": "cprofile",
    }
    with pytest.raises(NoProfileError, match="profiled by cprofile and pyinstrument, whose profiles can't be put"):
        result.profile()
    assert runner.execute(builder, profile="pyinstrument").profile().profiler == "pyinstrument"


# ---- why there is none ---------------------------------------------------------------------------------------------


def test_what_isnt_there_is_told_in_a_sentence(runner: DefaultRunner) -> None:
    with cloaca.WorkflowBuilder("parts", check="off") as builder:
        cloaca.task(id="broken")(lambda context: context["nowhere"])
        cloaca.task(id="after", dependencies=["broken"])(lambda context: None)
        cloaca.task(id="mapped", for_each="rows")(lambda context, item: None)
    result = runner.execute(builder, {"rows": [1]}, profile="cprofile")
    assert result.profile("broken").calls == 1
    with pytest.raises(NoProfileError, match=r"^There is no profile of task 'after': it didn't run \(skipped\)\.$"):
        result.profile("after")
    with pytest.raises(NoProfileError, match=r"put together: ask for profile\('mapped'\)"):
        result.profile("mapped[0]")
    with pytest.raises(KeyError, match="nearest ids are 'broken'"):
        result.profile("brokn")
    with pytest.raises(KeyError, match="nearest ids are 'broken'"):
        runner.execute(builder, {"rows": [1]}).profile("brokn")
    assert result.profile().tasks == ("broken", "mapped")


def test_what_is_taken_over_has_none(tmp_path: Path) -> None:
    with DefaultRunner(str(tmp_path / "runs.db"), workers=1) as runner:
        first = runner.execute(numbers, profile="cprofile", reuse=True)
        second = runner.execute(numbers, profile="cprofile", reuse=True)
        third = runner.execute(numbers, reuse=True)
    assert counts(first.profile("each"))["step"] == 21
    assert second.tasks["each"].reused
    assert third.tasks["each"].reused
    with pytest.raises(NoProfileError, match=f"it wasn't run, as an attempt of execution '{first.execution_id}'"):
        second.profile("each")


def test_what_is_resumed_has_profiles_of_what_ran(tmp_path: Path) -> None:
    with cloaca.WorkflowBuilder("resumed") as builder:
        cloaca.task(id="fine")(lambda context: context.set("a", step(1)))

        @cloaca.task(dependencies=["fine"])
        def mended(context: Context) -> None:
            context.set("b", step(1) // (tmp_path / "mended").exists())

    with DefaultRunner(str(tmp_path / "runs.db"), workers=1) as runner:
        failed = runner.execute(builder, profile="cprofile")
        assert failed.status == "Failed"
        (tmp_path / "mended").touch()
        result = runner.resume(failed.execution_id, profile="cprofile")
        assert result.profile().tasks == ("mended",)
        with pytest.raises(NoProfileError, match="or is on record, where none are"):
            runner.execution(failed.execution_id).result.profile()


def test_profiling_a_task_doesnt_make_it_another_one() -> None:
    def built(**options: Any) -> cloaca.Workflow:
        with cloaca.WorkflowBuilder("same") as builder:
            cloaca.task(id="only", **options)(load)
        return builder.build()

    plain, profiled = built(), built(profile=True)
    assert plain.version == profiled.version
    assert plain.code_of("only") == profiled.code_of("only")


# ---- bad input -----------------------------------------------------------------------------------------------------


def test_bad_input_is_told_before_anything_runs(runner: DefaultRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong: Any = "perf"
    with pytest.raises(ValueError, match=r"^profile='perf' is one of 'cprofile', 'pyinstrument', 'memray', not 'perf'"):
        runner.execute(numbers, profile=wrong)
    with pytest.raises(ValueError, match=r"^task\(profile=\.\.\.\) is True, False or one of 'cprofile'"):
        cloaca.task(profile=wrong)
    monkeypatch.setitem(sys.modules, "memray", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"^profile='memray' needs memray, which isn't installed: pip install"
    ):
        runner.execute(numbers, profile="memray")
    with cloaca.WorkflowBuilder("own") as builder:
        cloaca.task(id="only", profile="memray")(lambda context: None)
    with pytest.raises(ModuleNotFoundError, match="of task 'only', needs memray, which isn't installed: pip install"):
        runner.start(builder)


def test_map_has_no_place_for_a_profile(runner: DefaultRunner) -> None:
    wrong: Any = {"profile": "cprofile"}
    with pytest.raises(
        ValueError, match=r"make the function a task with for_each, and profile that, by execute\(\.\.\."
    ):
        runner.map(abs, [1], **wrong)


def test_threads_cant_be_profiled() -> None:
    with DefaultRunner(workers=2, executor="threads") as runner:
        with pytest.raises(ValueError, match="Tasks are profiled with executor='processes' or 'serial'"):
            runner.execute(numbers, profile="cprofile")
        assert runner.execute(numbers).status == "Completed"


# ---- other profilers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profiler", ALL)
def test_a_task_may_use_profilers_itself(runner: DefaultRunner, profiler: Any, tmp_path: Path) -> None:
    with cloaca.WorkflowBuilder("profiling") as builder:

        @cloaca.task(dependencies=[])
        def with_cprofile(context: Context) -> None:
            with cProfile.Profile() as own:
                step(1)
            context.set("calls", any(name == "step" for _, _, name in pstats.Stats(own).stats))  # type: ignore[attr-defined]

        @cloaca.task(dependencies=[with_cprofile])
        def with_setprofile(context: Context) -> None:
            sys.setprofile(lambda *_: None)
            step(1)
            sys.setprofile(None)

    result = runner.execute(builder, raise_on_failure=True, profile=profiler)
    assert result.final_context["calls"]
    assert runner.execute(builder, raise_on_failure=True).final_context["calls"]
    if profiler == "cprofile":
        assert result.profile("with_cprofile").notes == (
            "the task has used a profiler of its own: what it did from there on is left out",
        )
        assert "profiler of its own" in str(result.profile("with_cprofile"))


@MEMRAY
def test_a_task_may_use_memray_itself(runner: DefaultRunner, tmp_path: Path) -> None:
    path = tmp_path / "own.bin"
    with cloaca.WorkflowBuilder("own memray") as builder:

        @cloaca.task()
        def tracked(context: Context) -> None:
            import memray

            grow(7)
            with memray.Tracker(path):
                grow(20)

    result = runner.execute(builder, raise_on_failure=True, profile="memray")
    assert path.stat().st_size > 0
    assert result.profile("tracked").opened().metadata.peak_memory < 10 * MEGABYTE
    assert result.profile("tracked").notes == (
        "the task has used memray itself: what it did from there on is left out",
    )


@PYINSTRUMENT
def test_a_task_may_use_pyinstrument_itself(runner: DefaultRunner) -> None:
    with cloaca.WorkflowBuilder("own pyinstrument") as builder:

        @cloaca.task()
        def sampled(context: Context) -> None:
            from pyinstrument import Profiler

            with Profiler() as own:
                spin(0.03)
            assert own.last_session is not None
            context.set("samples", own.last_session.sample_count)

    result = runner.execute(builder, raise_on_failure=True, profile="pyinstrument")
    assert result.final_context["samples"] > 0
    assert "spin" in str(result.profile("sampled"))


def test_where_another_one_is_active_tasks_run_without() -> None:
    with DefaultRunner(executor="serial") as runner, cProfile.Profile() as outer:
        result = runner.execute(numbers, profile="cprofile")
    assert result.status == "Completed"
    with pytest.raises(NoProfileError, match="There is no profile of task 'each': another profiler was active"):
        result.profile("each")
    assert any(name == "step" for _, _, name in pstats.Stats(outer).stats)  # type: ignore[attr-defined]


# ---- ends ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profiler", ALL)
def test_a_worker_that_is_killed_leaves_nothing_behind(profiler: Any) -> None:
    with cloaca.WorkflowBuilder("killed") as builder:

        @cloaca.task()
        def fine(context: Context) -> None:
            grow(1)

        @cloaca.task(dependencies=[fine])
        def killed(context: Context) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

    with DefaultRunner(workers=1) as runner:
        result = runner.execute(builder, profile=profiler)
    assert result.tasks["killed"].status == "Failed"
    assert result.profile("fine").calls == 1
    with pytest.raises(NoProfileError, match="task 'killed'"):
        result.profile("killed")


def test_a_task_that_takes_too_long_shows_what_it_was_at() -> None:
    with cloaca.WorkflowBuilder("long", check="off") as builder:

        @cloaca.task(timeout=2)
        def stuck(context: Context) -> None:
            spin(60)

        @cloaca.task(for_each="rows", timeout=2)
        def stuck_item(context: Context, item: int) -> None:
            step(item)
            if item == 2:
                spin(60)

    with DefaultRunner(workers=2) as runner:
        warm(runner, builder)  # to load functions counts
        result = runner.execute(builder, {"rows": [0, 1, 2]}, profile="cprofile")
    assert [result.tasks[task].status for task in ("stuck", "stuck_item")] == ["Failed", "Failed"]
    assert counts(result.profile("stuck"))["spin"] == 1
    assert counts(result.profile("stuck_item"))["step"] == 3


def test_a_process_that_a_task_forks_isnt_in_it(runner: DefaultRunner) -> None:
    with cloaca.WorkflowBuilder("forking") as builder:

        @cloaca.task()
        def fork(context: Context) -> None:
            child = os.fork()
            step(1)
            if child:
                os.waitpid(child, 0)

    result = runner.execute(builder, profile="cprofile", raise_on_failure=True)
    assert counts(result.profile("fork"))["step"] == 1


def test_what_is_read_of_a_worker_comes_after_its_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program may read of items that have ended before their worker reports them: it does so all the time here."""
    monkeypatch.setattr(pool, "RECALL_SECONDS", 0.0)
    with cloaca.WorkflowBuilder("many", check="off") as builder:

        @cloaca.task(for_each="rows")
        def each(context: Context, item: int) -> None:
            context.set("next", step(item))

    with DefaultRunner(workers=1) as runner:
        for _ in range(20):
            result = runner.execute(builder, {"rows": range(500)}, profile="cprofile")
            assert counts(result.profile("each"))["step"] == 500
