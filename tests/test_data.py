"""Large values in whole runs: what tasks and programs see of them (nothing), and that no file is left."""

import gc
import os
import pickle
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import pytest
from tests.support import ready

import cloaca
from cloaca import Context, DefaultRunner, MergeConflict, StorageFullError, WorkerDied, WorkflowResult
from cloaca.merge.equality import equal
from cloaca.pool.peer import Peer
from cloaca.values import storage
from cloaca.values.blobs import LARGE
from cloaca.values.codec import encode
from cloaca.values.folder import LOCK
from cloaca.wire.frames import frame
from cloaca.wire.messages import Down, Up

Task = tuple[str, list[str], Callable[[Context], Any]]
Execute = Callable[..., WorkflowResult]

LENGTH = LARGE // 8 + 10
SMALL = 10
SIZES = pytest.mark.parametrize("length", [SMALL, LENGTH], ids=["small", "large"])


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """Shared memory and temporary folder of these tests' own. In the end there is nothing in them."""
    shared, temporary = tmp_path_factory.mktemp("shared"), tmp_path_factory.mktemp("temporary")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "SHARED_MEMORY", shared)
        patch.setattr(tempfile, "tempdir", str(temporary))
        yield shared, temporary
        assert [*shared.iterdir(), *temporary.iterdir()] == []


@pytest.fixture(scope="module")
def files(places: tuple[Path, Path]) -> Callable[[], int]:
    """How many values are in files now. For tests and tasks alike."""
    folders, others = [str(place) for place in places], (LOCK, "modules.")

    def count() -> int:
        found = [path for folder in folders for path in Path(folder).glob("cloaca-*/*.*")]
        return sum(not path.name.startswith(others) for path in found)

    return count


@pytest.fixture(scope="module")
def runners(places: tuple[Path, Path]) -> Iterator[dict[str, DefaultRunner]]:
    """For all tests that neither end a worker nor close a runner."""
    with ready(workers=2) as processes, ready(workers=1) as other, DefaultRunner(executor="serial") as serial:
        yield {"processes": processes, "serial": serial, "other": other}


@pytest.fixture(autouse=True)
def _no_value_is_left(runners: dict[str, DefaultRunner], files: Callable[[], int]) -> Iterator[None]:
    yield
    for runner in runners.values():
        executed(runner, ("idle", [], nothing))
    if files():
        gc.collect()
    assert files() == 0


@pytest.fixture
def own(places: tuple[Path, Path]) -> Iterator[DefaultRunner]:
    """A runner for one test alone."""
    with DefaultRunner(workers=2) as runner:
        yield runner


@pytest.fixture
def execute(runners: dict[str, DefaultRunner]) -> Execute:
    return partial(executed, runners["processes"])


def executed(
    runner: DefaultRunner, *tasks: Task, given: Context | dict[str, Any] | None = None, **options: Any
) -> WorkflowResult:
    with cloaca.WorkflowBuilder("data", check="off", **options):
        for task, dependencies, function in tasks:
            cloaca.task(id=task, dependencies=dependencies)(function)
    return runner.execute("data", given if isinstance(given, Context) else Context(given))


def settle(execute: Execute) -> None:
    """Another run, after which the coordinator's thread has let go of the one before."""
    gc.collect()
    assert execute(("idle", [], nothing)).status == "Completed"
    gc.collect()


def array(number: float = 0, length: int = LENGTH) -> Any:
    return np.arange(length) + float(number)


def setting(key: str, value: Any) -> Callable[[Context], None]:
    return lambda context: context.set(key, value)


def making(key: str, number: float = 0, length: int = LENGTH) -> Callable[[Context], None]:
    return lambda context: context.set(key, array(number, length))


def nothing(context: Context) -> None:
    """Writes nothing."""


# ---- what tasks see ------------------------------------------------------------------------------------------------


def test_each_reader_has_a_copy_of_its_own(execute: Execute) -> None:
    def writing(number: int) -> Callable[[Context], None]:
        def write(context: Context) -> None:
            mine, other = context["made"], context["made"]
            mine[:] = number
            is_untouched = np.array_equal(other, context["made"]) and np.array_equal(other, array())
            context.set(f"saw {number}", (is_untouched, float(mine.sum())))

        return write

    readers: list[Task] = [(f"reader {number}", ["make"], writing(number)) for number in range(6)]
    result = execute(("make", [], making("made")), *readers, ("last", [name for name, _, _ in readers], writing(6)))
    result.raise_for_status()
    assert [result.final_context[f"saw {n}"] for n in range(7)] == [(True, float(n * LENGTH)) for n in range(7)]
    assert np.array_equal(result.final_context["made"], array())


def test_a_task_sees_what_it_set_and_not_what_became_of_it(execute: Execute) -> None:
    def change(context: Context) -> None:
        mine = context["made"]
        mine += 1
        context.set("made", mine)
        mine += 1
        assert np.array_equal(context["made"], array(1))
        context["made"][0] = 7
        assert np.array_equal(context["made"], array(1))

    result = execute(("make", [], making("made")), ("change", ["make"], change))
    result.raise_for_status()
    assert np.array_equal(result.final_context["made"], array(1))


KINDS: dict[str, Callable[[], Any]] = {
    "array": array,
    "frame": lambda: pd.DataFrame({"a": array(), "b": [str(row) for row in range(LENGTH)]}),
    "records": lambda: [{"id": row, "name": str(row)} for row in range(LENGTH)],
    "tuple": lambda: tuple(range(40_000)),
    "bytes": lambda: bytes(LARGE),
    "str": lambda: "ä" * LARGE,
    "objects": lambda: np.array([1, "a", None, [2]] * 4 * LENGTH, dtype=object),
    "structured": lambda: np.ones(LENGTH, dtype=[("a", "i4"), ("b", "f8")]),
}


@pytest.mark.parametrize("executor", ["processes", "serial"])
def test_every_kind_of_value_goes_through_a_run(executor: Any, files: Callable[[], int]) -> None:
    kinds = dict(KINDS)

    def make(context: Context) -> None:
        for kind, value in kinds.items():
            context.set(f"made {kind}", value())

    def pass_on(context: Context) -> None:
        for kind in kinds:
            context.set(f"passed on {kind}", [context[f"given {kind}"], context[f"made {kind}"]])

    given = {f"given {kind}": value() for kind, value in kinds.items()}
    with DefaultRunner(workers=2, executor=executor) as runner:
        result = executed(runner, ("make", [], make), ("pass on", ["make"], pass_on), given=given)
        result.raise_for_status()
        assert files() == (3 * len(kinds) if executor == "processes" else 0)
    made = {f"made {kind}": value() for kind, value in kinds.items()}
    passed_on = {f"passed on {kind}": [value(), value()] for kind, value in kinds.items()}
    expected = {**given, **made, **passed_on}
    assert list(result.final_context) == list(expected)
    assert [key for key, value in result.final_context.items() if not equal(value, expected[key])] == []


@SIZES
@pytest.mark.parametrize("executor", ["processes", "serial"])
def test_lists_and_dicts_are_merged_wherever_they_are(
    runners: dict[str, DefaultRunner], executor: str, length: int
) -> None:
    def extend(number: int) -> Callable[[Context], None]:
        def extend(context: Context) -> None:
            context.set("rows", [*context["rows"], number])
            context.set("table", {**context["table"], f"more {number}": number})

        return extend

    rows, table = list(range(length * 8)), {str(row): row for row in range(length * 8)}
    tasks: list[Task] = [(f"t{number}", [], extend(number)) for number in range(3)]
    join: Task = ("join", ["t0", "t1", "t2"], lambda context: context.set("seen", context["rows"][-3:]))
    result = executed(runners[executor], *tasks, join, given={"rows": rows, "table": table})
    assert result.final_context["rows"] == [*rows, 0, 1, 2]
    assert result.final_context["table"] == {**table, "more 0": 0, "more 1": 1, "more 2": 2}
    assert result.final_context["seen"] == [0, 1, 2]
    assert result.merges == {"rows": "list", "table": "dict"}


def disagreeing(length: int) -> list[Task]:
    """Two tasks that leave the key "made" in conflict."""
    return [("a", [], setting("made", "1" * 8 * length)), ("b", [], setting("made", "2" * 8 * length))]


def shown(conflict: MergeConflict) -> str:
    """The first character of each value."""
    return "".join(value[1] for value in conflict.values)  # noqa: PD011 - no frame


@SIZES
@pytest.mark.parametrize("executor", ["processes", "serial"])
def test_a_conflict_carries_its_values(runners: dict[str, DefaultRunner], executor: str, length: int) -> None:
    result = executed(runners[executor], *disagreeing(length))
    assert shown(result.conflicts["made"]) == "12"


# ---- one and the same ----------------------------------------------------------------------------------------------


def how_many(_base: object, values: list[Any]) -> int:
    return len(values)


def rewriting(keys: list[str]) -> Callable[[Context], None]:
    def rewrite(context: Context) -> None:
        for key in keys:
            context.set(key, context[key])

    return rewrite


def rewriting_twice(keys: list[str]) -> Callable[[Context], None]:
    def rewrite(context: Context) -> None:
        for key in keys:
            value = context[key]
            context.set(key, [value])
            context.set(key, value)

    return rewrite


def returning_a_mapping(keys: list[str]) -> Callable[[Context], dict[str, Any]]:
    return lambda context: {key: context[key] for key in keys}


def returning_a_context(keys: list[str]) -> Callable[[Context], Context]:
    return lambda context: Context({key: context[key] for key in keys})


def returning_a_copy(keys: list[str]) -> Callable[[Context], Context]:
    def rewrite(context: Context) -> Context:
        copy = context.copy()
        rewriting(keys)(copy)
        return copy

    return rewrite


def values_to_rewrite(length: int) -> dict[str, Any]:
    return {
        "array": array(0, length),
        "aligned": [np.zeros(64 * length, "u1"), np.zeros(64, "u1"), np.zeros(0)],
        "records": [{"id": row} for row in range(2 * length)],
        "text": "ab" * 8 * length,
    }


WAYS = (rewriting, rewriting_twice, returning_a_mapping, returning_a_context, returning_a_copy)


@SIZES
@pytest.mark.parametrize("executor", ["processes", "serial"])
@pytest.mark.parametrize("source", ["input", "task", "another run"])
def test_setting_the_very_same_value_is_no_write(
    runners: dict[str, DefaultRunner], source: str, executor: str, length: int
) -> None:
    found = values_to_rewrite(length)
    by_way = {way: [f"{way.__name__} {kind}" for kind in found] for way in WAYS}
    values = {key: value for keys in by_way.values() for key, value in zip(keys, found.values(), strict=True)}
    given: Context | None = Context(values) if source == "input" else None
    fill: Task = ("root", [], lambda context: context.update_from_dict(values))
    if source == "another run":
        given = executed(runners["other"], fill).final_context
    ways: list[Task] = [(way.__name__, ["root"], way(keys)) for way, keys in by_way.items()]
    result = executed(
        runners[executor],
        fill if source == "task" else ("root", [], nothing),
        *ways,
        ("b", ["root"], lambda context: context.update_from_dict(dict.fromkeys(values, 1))),
        ("c", ["root"], lambda context: context.update_from_dict(dict.fromkeys(values, 2))),
        given=given,
        merge=dict.fromkeys(values, how_many),
    )
    result.raise_for_status()
    assert {key: number for key, number in result.final_context.items() if number != 2} == {}


def test_a_value_that_is_passed_on_unchanged_takes_one_file(execute: Execute, files: Callable[[], int]) -> None:
    def again(context: Context) -> None:
        context.set("made", context["made"])
        context.set("files", files())

    tasks: list[Task] = [("t0", [], making("made")), *((f"t{n}", [f"t{n - 1}"], again) for n in range(1, 5))]
    result = execute(*tasks)
    assert (result.final_context["files"], files()) == (1, 1)
    assert np.array_equal(result.final_context["made"], array())


# ---- how long files stay -------------------------------------------------------------------------------------------


def test_a_result_outlives_the_runner_and_its_files(
    own: DefaultRunner, places: tuple[Path, Path], files: Callable[[], int]
) -> None:
    before = {*places[0].iterdir()}
    result = executed(own, ("make", [], making("made")), given={"given": array(5)})
    assert files() == 2
    (folder,) = {*places[0].iterdir()} - before
    shutil.rmtree(folder)
    assert np.array_equal(result.final_context["made"], array())
    own.shutdown()
    assert files() == 0
    mine = result.final_context["made"]
    mine[:] = 0
    assert np.array_equal(result.final_context["made"], array())
    assert np.array_equal(result.final_context.copy()["given"], array(5))


def test_files_go_with_the_result(execute: Execute, files: Callable[[], int]) -> None:
    result = execute(("make", [], making("made")), ("other", [], making("other")), given={"given": array(5)})
    settle(execute)
    assert files() == 3
    del result
    settle(execute)
    assert files() == 0


def test_the_final_context_alone_keeps_the_files(execute: Execute, files: Callable[[], int]) -> None:
    final = execute(("make", [], making("made"))).final_context
    settle(execute)
    assert files() == 1
    twin = final.copy()
    del final
    settle(execute)
    assert files() == 1
    assert np.array_equal(twin["made"], array())


def test_a_value_that_was_read_keeps_no_file(execute: Execute, files: Callable[[], int]) -> None:
    value = execute(("make", [], making("made"))).final_context["made"]
    settle(execute)
    assert files() == 0
    assert np.array_equal(value, array())


def test_what_nobody_can_read_any_more_goes_during_the_run(execute: Execute, files: Callable[[], int]) -> None:
    def replace(context: Context) -> None:
        context.set("files", [*context.get("files", []), files()])
        context.set("made", context["made"] + 1)

    chain: list[Task] = [(f"t{n}", [f"t{n - 1}"], replace) for n in range(1, 10)]
    result = execute(("t0", [], making("made")), *chain)
    assert result.final_context["files"] == [1] * 9
    assert np.array_equal(result.final_context["made"], array(9))
    assert files() == 1


def test_a_removed_value_goes_during_the_run(execute: Execute, files: Callable[[], int]) -> None:
    def remove(context: Context) -> None:
        del context["made"]

    result = execute(
        ("make", [], making("made")),
        ("remove", ["make"], remove),
        ("count", ["remove"], lambda context: context.set("files", files())),
    )
    assert result.final_context.to_dict() == {"files": 0}


def test_setting_a_key_again_and_again_keeps_one_file(execute: Execute, files: Callable[[], int]) -> None:
    def repeat(context: Context) -> None:
        found = set()
        for number in range(50):
            context.set("made", array(number))
            found.add(files())
        context.set("files", found)

    result = execute(("repeat", [], repeat))
    assert result.final_context["files"] == {1}
    assert files() == 1
    assert np.array_equal(result.final_context["made"], array(49))


@pytest.mark.parametrize(
    "change",
    [setting("made", 1), lambda context: context.remove("made"), lambda context: context.delete("made")],
    ids=["small", "remove", "delete"],
)
def test_what_a_task_changed_its_mind_about_is_not_kept(
    execute: Execute, files: Callable[[], int], change: Callable[[Context], Any]
) -> None:
    def make(context: Context) -> None:
        context.set("made", array())
        change(context)

    execute(("make", [], make)).raise_for_status()
    assert files() == 0


def test_a_large_input_is_stored_once(execute: Execute, files: Callable[[], int]) -> None:
    def count(context: Context) -> None:
        context.set("sums", [(files(), float(context["given"].sum()))])

    given = Context({"given": array()})
    result = execute(*((f"t{n}", [], count) for n in range(4)), given=given, merge={"sums": cloaca.merge.concat})
    assert result.final_context["sums"] == [(1, float(array().sum()))] * 4
    assert files() == 1
    del result
    settle(execute)
    assert files() == 0
    assert np.array_equal(given["given"], array())


def test_an_input_that_is_replaced_goes_during_the_run(execute: Execute, files: Callable[[], int]) -> None:
    result = execute(
        ("replace", [], setting("given", 1)),
        ("count", ["replace"], lambda context: context.set("files", files())),
        given={"given": array()},
    )
    assert result.final_context["files"] == 0


# ---- what goes wrong -----------------------------------------------------------------------------------------------


def fail(_: Context) -> NoReturn:
    raise ValueError("no")


BREAKING: dict[str, Callable[[Context], Any]] = {
    "raise": fail,
    "sys.exit": lambda _: sys.exit(3),
    "os._exit": lambda _: os._exit(7),
    "killed": lambda _: os.kill(os.getpid(), signal.SIGKILL),
    "what can't be encoded": lambda context: context.set("other", [array(), Lock()]),
    "a wrong return value": lambda _: 5,
}


@pytest.mark.parametrize("how", BREAKING)
def test_a_task_that_fails_leaves_no_file(own: DefaultRunner, files: Callable[[], int], how: str) -> None:
    end = BREAKING[how]

    def break_off(context: Context) -> Any:
        for key in "abc":
            context.set(key, array())
        return end(context)

    result = executed(
        own,
        ("break off", [], break_off),
        ("sibling", [], making("made")),
        ("count", ["break off", "sibling"], lambda context: context.set("files", files())),
    )
    assert result.tasks["break off"].status == "Failed"
    assert isinstance(result.tasks["break off"].error, WorkerDied) is (how in {"os._exit", "killed"})
    assert (result.final_context["files"], files()) == (1, 1)
    assert sorted(result.final_context) == ["files", "made"]


def full(*folders: str) -> None:
    """From here on, this process finds no room in these folders."""
    statvfs = os.statvfs

    class Full:
        f_bavail, f_frsize = 0, 4096

    os.statvfs = lambda path: Full() if str(path).startswith(folders) else statvfs(path)  # type: ignore[assignment, return-value]


def test_without_room_in_shared_memory_there_is_the_temporary_folder(
    own: DefaultRunner, places: tuple[Path, Path], files: Callable[[], int]
) -> None:
    shared, temporary = map(str, places)

    def make(context: Context) -> None:
        full(shared)
        context.set("made", array())

    result = executed(
        own, ("make", [], make), ("read", ["make"], lambda context: context.set("sum", context["made"].sum()))
    )
    result.raise_for_status()
    assert len(list(Path(temporary).glob("cloaca-*/[0-9]*"))) == files() == 1
    assert result.final_context["sum"] == array().sum()
    assert np.array_equal(result.final_context["made"], array())


def test_without_any_room_the_task_fails_and_the_error_tells_why(
    own: DefaultRunner, places: tuple[Path, Path], files: Callable[[], int]
) -> None:
    folders = tuple(map(str, places))

    def make(context: Context) -> None:
        context.set("small", 1)
        full(*folders)
        context.set("made", array())

    result = executed(own, ("make", [], make), ("sibling", [], setting("fine", 1)))
    error = result.tasks["make"].error
    assert isinstance(error, StorageFullError)
    assert (error.task, error.key, error.size) == ("make", "made", len(encode(array())))
    assert [(folder.startswith(place), room) for (folder, room), place in zip(error.folders, folders, strict=True)] == [
        (True, 0)
    ] * 2
    assert "'made', set by task 'make'" in str(error)
    assert result.final_context.to_dict() == {"fine": 1}
    assert files() == 0


def test_a_value_for_which_no_file_may_be_long_enough_is_sent(execute: Execute, files: Callable[[], int]) -> None:
    def make(context: Context) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
        try:
            context.set("made", array())
            context.set("files", files())
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    result = execute(("make", [], make), ("read", ["make"], lambda context: context.set("sum", context["made"].sum())))
    result.raise_for_status()
    assert (result.final_context["files"], result.final_context["sum"]) == (0, array().sum())
    assert np.array_equal(result.final_context["made"], array())


def test_an_input_without_room_is_told_where_the_run_is_started(
    execute: Execute, places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "statvfs", os.statvfs)  # put back in the end
    full(*map(str, places))
    with pytest.raises(StorageFullError):
        execute(("idle", [], nothing), given={"given": array()})


# ---- from one run to the next --------------------------------------------------------------------------------------


def pass_on(context: Context) -> None:
    context.set("sum", float(context["made"].sum()))
    context.set("next", context["made"] + 1)


def check_passed_on(result: WorkflowResult) -> None:
    result.raise_for_status()
    assert result.final_context["sum"] == array().sum()
    assert np.array_equal(result.final_context["next"], array(1))
    assert np.array_equal(result.final_context["made"], array())


def test_a_final_context_is_the_next_input_without_being_stored_again(
    execute: Execute, files: Callable[[], int]
) -> None:
    first = execute(("make", [], making("made")))
    second = execute(("pass on", [], pass_on), given=first.final_context)
    assert files() == 2
    del first
    settle(execute)
    assert files() == 2
    check_passed_on(second)
    del second
    settle(execute)
    assert files() == 0


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("executor", ["processes", "serial"])
def test_a_final_context_is_an_input_for_another_runner(own: DefaultRunner, executor: Any, *, closed: bool) -> None:
    first = executed(own, ("make", [], making("made")))
    if closed:
        own.shutdown()
    with DefaultRunner(workers=2, executor=executor) as other:
        second = executed(other, ("pass on", [], pass_on), given=first.final_context)
        del first
        own.shutdown()
        gc.collect()
        third = executed(other, ("pass on", [], pass_on), given=second.final_context)
        check_passed_on(second)
    check_passed_on(second)
    check_passed_on(third)


def test_dropping_the_second_result_leaves_the_first_one_readable(own: DefaultRunner) -> None:
    first = executed(own, ("make", [], making("made")))
    second = executed(own, ("pass on", [], pass_on), given=first.final_context)
    own.shutdown()
    check_passed_on(second)
    del second
    gc.collect()
    assert np.array_equal(first.final_context["made"], array())


@SIZES
@pytest.mark.parametrize("executor", ["processes", "serial"])
@pytest.mark.parametrize("closed", [True, False])
def test_a_conflict_brings_its_values_along(own: DefaultRunner, executor: Any, length: int, *, closed: bool) -> None:
    def look(context: Context) -> None:
        context.set("saw", shown(context.conflicts()["made"]))

    first = executed(own, *disagreeing(length))
    if closed:
        own.shutdown()
    with DefaultRunner(workers=2, executor=executor) as other:
        second = executed(other, ("look", [], look), given=first.final_context)
        second.raise_for_status()
        del first
        gc.collect()
        own.shutdown()
    assert second.final_context["saw"] == shown(second.conflicts["made"]) == "12"


def test_a_pickled_result_takes_its_values_along(own: DefaultRunner) -> None:
    result = executed(own, *disagreeing(LENGTH), ("make", [], making("other")))
    pickled = pickle.dumps(result)
    own.shutdown()
    del result
    gc.collect()
    twin = pickle.loads(pickled)
    assert np.array_equal(twin.final_context["other"], array())
    assert shown(twin.conflicts["made"]) == "12"


# ---- what a task returns, copies, and starts -----------------------------------------------------------------------


def returning_itself(context: Context, one: Any, _: Any) -> Context:
    context.set("made", one)
    return context


def returning_a_new_mapping(_context: Context, one: Any, _: Any) -> dict[str, Any]:
    return {"made": one}


def returning_a_new_context(_context: Context, one: Any, _: Any) -> Context:
    return Context({"made": one})


def returning_a_changed_copy(context: Context, one: Any, other: Any) -> Context:
    context.set("made", other)
    copy = context.copy()
    copy.set("made", one)
    return copy


def dropping_a_changed_copy(context: Context, one: Any, other: Any) -> None:
    context.set("made", one)
    context.copy().set("made", other)


def returning_a_copy_from_before(context: Context, one: Any, other: Any) -> Context:
    context.set("made", one)
    copy = context.copy()
    context.set("made", other)
    return copy


@SIZES
@pytest.mark.parametrize(
    "way",
    [
        returning_itself,
        returning_a_new_mapping,
        returning_a_new_context,
        returning_a_changed_copy,
        dropping_a_changed_copy,
        returning_a_copy_from_before,
    ],
)
def test_what_a_task_returns_and_copies_may_be_large(
    execute: Execute, files: Callable[[], int], way: Any, length: int
) -> None:
    result = execute(
        ("make", [], lambda context: way(context, array(1, length), array(2, length))),
        ("read", ["make"], lambda context: context.set("saw", float(context["made"][0]))),
    )
    result.raise_for_status()
    assert result.final_context["saw"] == 1.0
    assert np.array_equal(result.final_context["made"], array(1, length))
    assert files() == (length == LENGTH)


@SIZES
def test_a_process_that_a_task_forks_may_set_keys_in_vain(own: DefaultRunner, length: int) -> None:
    def make(context: Context) -> None:
        child = os.fork()
        if child == 0:
            context.set("made", np.arange(length))
            os._exit(0)
        os.waitpid(child, 0)
        context.set("made", np.arange(length) + 1)

    result = executed(own, ("make", [], make))
    result.raise_for_status()
    assert result.final_context["made"][0] == 1


# ---- what it takes -------------------------------------------------------------------------------------------------


def test_a_task_s_result_tells_what_was_read_and_written(execute: Execute) -> None:
    def read(context: Context) -> None:
        context["made"], context["small"]
        context.set("mine", array(5))
        context.set("mine", array(6))
        context["mine"], context.get("missing")

    make: Task = (
        "make",
        [],
        lambda context: context.update_from_dict({"made": array(), "small": [1, 2], "other": array()}),
    )
    tasks = execute(make, ("read", ["make"], read), ("idle", ["make"], nothing)).tasks
    large, small = len(encode(array())), len(encode([1, 2]))
    assert (tasks["make"].keys_read, tasks["make"].bytes_read, tasks["make"].bytes_mapped) == ((), 0, 0)
    assert tasks["make"].bytes_written == 2 * large + small
    assert tasks["read"].keys_read == ("made", "small", "mine")
    assert (tasks["read"].bytes_read, tasks["read"].bytes_mapped) == (2 * large + small, 2 * large)
    assert tasks["read"].bytes_written == large
    assert (tasks["idle"].keys_read, tasks["idle"].bytes_read, tasks["idle"].bytes_written) == ((), 0, 0)


class Logged:
    """Notes where it is encoded and decoded."""

    def __init__(self, log: str, content: Any) -> None:
        self.log = log
        self.content = content

    def __reduce__(self) -> tuple[Any, ...]:
        note(self.log, "encoded")
        return rebuilt, (self.log, self.content)


def note(log: str, what: str) -> None:
    with Path(log).open("a") as file:
        file.write(f"{what} {os.getpid()}\n")


def rebuilt(log: str, content: Any) -> Logged:
    note(log, "decoded")
    return Logged(log, content)


@SIZES
def test_a_value_is_encoded_once_and_decoded_only_where_it_is_read(
    execute: Execute, tmp_path: Path, length: int
) -> None:
    log = tmp_path / "log"
    name = str(log)

    def make(context: Context) -> None:
        context.set("made", Logged(name, array(0, length)))

    def read(context: Context) -> None:
        context["made"]

    log.touch()
    readers: list[Task] = [(f"reader {number}", ["make"], read) for number in range(3)]
    result = execute(("make", [], make), *readers, ("idle", ["make"], nothing))
    result.raise_for_status()
    lines = log.read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["encoded", *["decoded"] * 3]
    assert str(os.getpid()) not in {line.split()[1] for line in lines}
    result.final_context["made"]
    assert log.read_text().splitlines()[4:] == [f"decoded {os.getpid()}"]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each message takes that goes to a worker or comes from there."""
    sent: list[int] = []
    send, receive = Peer.send, Peer.receive

    def counted_send(peer: Peer, messages: Sequence[Down]) -> None:
        sent.append(len(frame(list(messages))))
        send(peer, messages)

    def counted_receive(peer: Peer) -> Iterator[Up]:
        for message in receive(peer):
            sent.append(len(frame(message)))
            yield message

    monkeypatch.setattr(Peer, "send", counted_send)
    monkeypatch.setattr(Peer, "receive", counted_receive)
    return sent


def test_large_values_of_an_input_in_conflict_are_not_sent(execute: Execute, sent: list[int]) -> None:
    number = 10 * LENGTH
    split = execute(*[(f"side {n}", [], making("x", n, number)) for n in range(2)]).final_context
    assert {*split.conflicts()} == {"x"}
    sent.clear()

    def read(context: Context) -> None:
        context["sum"] = float(context["x"].sum())

    readers: list[Task] = [(f"reader {n}", [], read) for n in range(2)]
    result = execute(*readers, given=split, on_conflict="last")
    assert result.final_context["sum"] == float(array(1, number).sum())
    assert 0 < sum(sent) < number


def test_large_values_are_not_sent(execute: Execute, sent: list[int]) -> None:
    number = 100 * LENGTH

    def read(context: Context) -> None:
        context.set(f"made {context['given'][0]}", context["made"] + context["given"])

    readers: list[Task] = [(f"reader {n}", ["make"], read) for n in range(4)]
    result = execute(("make", [], making("made", 0, number)), *readers, given={"given": array(0, number)})
    result.raise_for_status()
    moved = sum(task.bytes_read or 0 for task in result.tasks.values()) + 8 * number
    assert moved > 8 * 8 * number
    assert 0 < sum(sent) < moved / 100
