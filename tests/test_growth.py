"""What things cost as workflows grow: counted, never timed.

`History.steps` counts the tasks that lookups visit; `lines` counts every line of Python that an action executes in
cloaca, whatever the code says of itself.
"""

import difflib
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from itertools import count, pairwise
from random import Random
from types import FrameType
from typing import Any

import pytest
from tests.runs import found

from cloaca import Context, DefaultRunner, WorkflowBuilder, context_value, merge, nearest, task
from cloaca.engine.events import Begin, Cancel, Room
from cloaca.engine.pairing import paired
from cloaca.engine.run import Run
from cloaca.engine.state import State
from cloaca.engine.work import Work
from cloaca.errors import INPUT
from cloaca.history.history import History
from cloaca.history.plan import Plan, plan
from cloaca.merge.rules import Rules
from cloaca.merge.settle import settle
from cloaca.merge.settled import Settled
from cloaca.recording.past_attempts import PastAttempts
from cloaca.store.memory import MemoryStore
from cloaca.store.records import Code, Record
from cloaca.tasks.contents import Contents
from cloaca.tasks.context import of_versions, over
from cloaca.testing import NO_USAGE
from cloaca.testing.stores import TASKS, header, record
from cloaca.values.codec import decode, encode
from cloaca.wire.messages import Answer, Assignment, Done, Failed, Outcome, Slice, Started, Usage, Version, Wants

Tasks = list[tuple[str, list[str]]]

LARGE = 10_000


def lines(action: Callable[[], object]) -> int:
    """How many lines of cloaca's code an action executes."""
    executed = 0

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal executed
        if not frame.f_globals.get("__name__", "").startswith("cloaca."):
            return None
        executed += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(before)
    return executed


def names(prefix: str, size: int) -> list[str]:
    return [f"{prefix}{n}" for n in range(size)]


def fan(prefix: str, size: int, *dependencies: str) -> Tasks:
    return [(name, list(dependencies)) for name in names(prefix, size)]


def chain(length: int) -> Tasks:
    return [("t0", []), *((f"t{n}", [f"t{n - 1}"]) for n in range(1, length))]


def history(tasks: Tasks, **given: bytes) -> History:
    return History(plan("w", tasks), {key: Version(INPUT, payload) for key, payload in given.items()})


def wide_input(size: int) -> dict[str, bytes]:
    return {f"x{n}": b"0" for n in range(size)}


# ---- the cost is that of the diffs, not of the context -------------------------------------------------------------


def test_a_wide_fan_in_costs_nothing_per_key_of_the_context() -> None:
    branches = names("a", LARGE)
    past = history([*fan("a", LARGE), ("join", branches)], **wide_input(LARGE))
    for rank, branch in enumerate(branches):
        past.record(rank, {f"of {branch}": b"1"})
    assert past.steps == 0
    found = [past.candidates(LARGE, f"of {branch}") for branch in branches]
    assert [write.version.writer for (write,) in found] == branches
    assert [past.candidates(LARGE, key)[0].version.payload for key in wide_input(LARGE)] == [b"0"] * LARGE
    assert past.steps == 0
    assert len(past.whole(LARGE)) == 2 * LARGE
    assert past.steps == 0


def record_own_keys(past: History, ranks: range) -> None:
    for rank in ranks:
        past.record(rank, {f"k{rank}": b"1"})


def test_recording_costs_the_same_whatever_the_context() -> None:
    def recording(keys: int) -> int:
        past = history([("root", []), *fan("a", 50, "root"), ("join", names("a", 50))], **wide_input(keys))
        past.record(0, {f"y{n}": b"1" for n in range(keys)})
        return lines(lambda: record_own_keys(past, range(1, 52)))

    assert recording(10) == recording(1000)


@pytest.mark.parametrize(("given", "root"), [(LARGE, 0), (0, LARGE)], ids=["input", "root"])
def test_a_chain_under_many_keys_looks_none_of_them_up(given: int, root: int) -> None:
    past = history(chain(1000), **wide_input(given))
    past.record(0, wide_input(root))
    for rank in range(1, 1000):
        assert past.candidates(rank, f"x{rank}")[0].version.payload == b"0"
        assert past.candidates(rank, "x0")[0].version.payload == b"0"
        past.record(rank, {f"k{rank}": b"1", "last": b"%d" % rank})
    assert past.steps == 0


def test_a_fan_in_of_branches_that_write_one_key_is_linear() -> None:
    past = history([("root", []), *fan("a", LARGE, "root"), ("join", names("a", LARGE))])
    past.record(0, {"k": b"0"})
    for rank in range(1, LARGE + 1):
        past.record(rank, {"k": b"%d" % rank})
    assert past.steps <= LARGE
    assert len(past.candidates(LARGE + 1, "k")) == LARGE
    assert past.steps <= 2 * LARGE
    for _ in range(100):
        past.candidates(LARGE + 1, "k")
    assert past.steps <= 2 * LARGE


@pytest.mark.parametrize("keys", [1, 1000])
def test_telling_of_many_keys_with_many_candidates_is_linear(keys: int) -> None:
    """Each key in its candidates, whatever else the branches wrote."""

    def telling(branches: int) -> int:
        past = history([("root", []), *fan("a", branches, "root"), ("join", names("a", branches))], **wide_input(keys))
        for rank in range(1, branches + 1):
            past.record(rank, {f"x{key}": b"%d" % rank for key in range(keys)})
        before = past.steps
        for key in range(keys):
            assert len(past.versions(branches + 1, f"x{key}")) == branches + 1
        return past.steps - before

    assert telling(100) <= 4 * 100 * keys
    assert telling(200) <= 2 * telling(100) + keys


@pytest.mark.parametrize(
    ("base", "wrote"),
    [([], lambda n: [n]), ({}, lambda n: {str(n): n}), ({}, lambda n: {"x": [n]}), (0, lambda n: n), (0, lambda _: 5)],
    ids=["list", "dict", "members", "conflict", "agreed"],
)
def test_merging_is_linear_in_the_candidates(base: Any, wrote: Callable[[int], Any]) -> None:
    def merging(candidates: int) -> int:
        given = Version(INPUT, encode(base))
        told = (given, *(Version(f"t{n}", encode(wrote(n)), (0,)) for n in range(candidates)))
        return lines(lambda: settle("k", told, Rules()))

    assert merging(400) <= 2.2 * merging(200)


def test_tasks_of_a_chain_that_all_list_the_root_are_linear() -> None:
    length = 1600
    tasks: Tasks = [("t0", []), *((f"t{n}", list(dict.fromkeys(["t0", f"t{n - 1}"]))) for n in range(1, length))]
    past = history(tasks)
    past.record(0, {"root": b"0", "k": b"0"})
    for rank in range(1, length):
        for key in ("root", "k", f"own{rank - 1}", "own1"):
            past.candidates(rank, key)
        past.record(rank, {"k": b"%d" % rank, f"own{rank}": b"1"})
    assert past.steps <= 4 * length


def layered(width: int, depth: int, *, roots: int) -> Tasks:
    random = Random(5)
    tasks: Tasks = fan("l0.", roots)
    for layer in range(1, depth):
        above = names(f"l{layer - 1}.", roots if layer == 1 else width)
        tasks += [(name, random.sample(above, min(3, len(above)))) for name in names(f"l{layer}.", width)]
    return tasks


@pytest.mark.parametrize("roots", [1, 100])
def test_tasks_of_a_layered_workflow_take_few_steps_each(roots: int) -> None:
    compiled = plan("w", layered(100, 100, roots=roots))
    past = History(compiled, {})
    past.record(0, {"root": b"0", "own0": b"0", "shared": b"0"})
    for rank, dependencies in enumerate(compiled.predecessors[1:], start=1):
        for dependency in dependencies:
            assert past.candidates(rank, f"own{dependency}")
        past.candidates(rank, "root")
        past.candidates(rank, "shared")
        past.record(rank, {f"own{rank}": b"1", "shared": b"%d" % rank})
    assert past.steps <= 12 * len(compiled.names)


# ---- doubling the workflow doubles the cost ------------------------------------------------------------------------


def two_stages(size: int) -> None:
    """Each task of a second stage reads the key of its own shard, written by one task of the first."""
    past = history([*fan("a", size), ("barrier", names("a", size)), *fan("b", size, "barrier")])
    for rank in range(size):
        past.record(rank, {f"shard{rank}": b"1"})
    for rank in range(size):
        assert past.candidates(size + 1 + rank, f"shard{rank}")


def two_pipelines_with_the_same_keys(size: int) -> None:
    """Two fan-outs side by side use the same key names; each join reads all of its own."""
    joins = [("join a", names("a", size)), ("join b", names("b", size))]
    past = history([*fan("a", size), *fan("b", size), *joins])
    for rank in range(2 * size):
        past.record(rank, {f"shard{rank % size}": b"%d" % rank})
    assert len(past.whole(2 * size)) == size
    assert len(past.whole(2 * size + 1)) == size


def two_joins_of_which_one_rewrites(size: int) -> None:
    """The first join rewrites every key; the second one reads them as the branches left them."""
    joins = [("first", names("a", size)), ("second", names("a", size))]
    past = history([*fan("a", size), *joins])
    for rank in range(size):
        past.record(rank, {f"shard{rank}": b"1"})
    past.record(size, {f"shard{rank}": b"2" for rank in range(size)})
    assert len(past.whole(size + 1)) == size


def chain_with_observers(size: int) -> None:
    """A chain rewrites a key; beside each of its tasks, one reads the key as that task and a side branch wrote it."""
    tasks: Tasks = [("side", []), ("t0", [])]
    for n in range(1, size):
        tasks += [(f"t{n}", [f"t{n - 1}"]), (f"seen{n}", [f"t{n}", "side"])]
    past = history(tasks)
    for rank in (0, 1):
        past.record(rank, {"k": b"%d" % rank})
    for rank in range(2, 2 * size, 2):
        past.record(rank, {"k": b"%d" % rank})
        assert len(past.candidates(rank + 1, "k")) == 2


def outcomes_read_one_by_one(size: int) -> None:
    """A join without an executor to ask looks at how each of its dependencies ended."""
    run = begun([*fan("a", size), ("join", names("a", size))], answers=False)
    finish(run, size)
    (join,) = submitted(run, 1)
    assert join.slice.outcomes is not None
    assert [join.slice.outcomes[name] for name in names("a", size)] == [Outcome("Completed")] * size


def chain_that_asks_how_others_ended(size: int) -> None:
    """Every task asks about the one before it, and about the first one."""
    run = begun(chain(size))
    for rank in range(size):
        (assignment,) = submitted(run, 1)
        run.handle(Started(assignment.attempt), 0.0)
        for name in (f"t{rank - 1}", "t0") if rank else ():
            (answer,) = run.handle(Wants(assignment.attempt, (name,), outcomes=True), 0.0)
            assert isinstance(answer, Answer)
            assert answer.slice.outcomes is not None
            assert answer.slice.outcomes[name] == Outcome("Completed")
        run.handle(Done(assignment.attempt, {}, NO_USAGE), 0.0)


def chain_that_looks_outcomes_up(size: int) -> None:
    """The same with an executor that doesn't ask."""
    run = begun(chain(size), answers=False)
    for rank in range(size):
        (assignment,) = submitted(run, 1)
        assert assignment.slice.outcomes is not None
        assert f"t{rank + 1}" not in assignment.slice.outcomes
        if rank:
            assert assignment.slice.outcomes[f"t{rank - 1}"] == assignment.slice.outcomes["t0"] == Outcome("Completed")
        run.handle(Done(assignment.attempt, {}, NO_USAGE), 0.0)


def chain_that_reads_everything(size: int) -> None:
    """Every task rewrites one key, and asks for all that there are."""
    run = begun(chain(size))
    for rank in range(size):
        (assignment,) = submitted(run, 1)
        run.handle(Started(assignment.attempt), 0.0)
        (answer,) = run.handle(Wants(assignment.attempt, rest=True), 0.0)
        assert isinstance(answer, Answer)
        assert len(answer.slice.versions) == min(rank, 1)
        run.handle(Done(assignment.attempt, {"k": b"%d" % rank}, NO_USAGE), 0.0)


def ladder_that_reads_everything(size: int) -> None:
    """The same with two tasks on each rung, the second of which sets a key of its own."""
    tasks: Tasks = [("l0", []), ("r0", [])]
    for n in range(1, size):
        tasks += [(f"l{n}", [f"l{n - 1}", f"r{n - 1}"]), (f"r{n}", [f"r{n - 1}", f"l{n - 1}"])]
    past = history(tasks)
    for rank in range(2 * size):
        assert len(past.whole(rank)) == (0 if rank < 2 else 2)
        past.record(rank, {"lr"[rank % 2]: b"%d" % rank})


def chain_that_asks_on_demand(size: int) -> None:
    """Every task of a chain rewrites one key, and asks for one that its slice lacks."""
    run = begun(chain(size))
    for _ in range(size):
        (assignment,) = submitted(run, 1)
        run.handle(Started(assignment.attempt), 0.0)
        run.handle(Wants(assignment.attempt, ("missing",)), 0.0)
        run.handle(Done(assignment.attempt, {"k": b"%d" % assignment.attempt}, NO_USAGE), 0.0)


def whole_run_of_a_fan_out(size: int) -> None:
    run = begun([("root", []), *fan("a", size, "root"), ("join", names("a", size))])
    for room in (1, size, 1):
        finish(run, room)


def failure_at_the_top_of_a_ladder(size: int) -> None:
    """Two tasks on each rung, each after both of the rung above: all but the first two are skipped."""
    tasks: Tasks = [("l0", []), ("r0", [])]
    for n in range(1, size):
        tasks += [(f"l{n}", [f"l{n - 1}", f"r{n - 1}"]), (f"r{n}", [f"r{n - 1}", f"l{n - 1}"])]
    run = begun(tasks)
    for assignment in submitted(run, 2):
        run.handle(Started(assignment.attempt), 0.0)
        run.handle(Failed(assignment.attempt, "ValueError", "no", "", None, NO_USAGE), 0.0)
    assert run.states.count(State.SKIPPED) == 2 * size - 2


def mapped(size: int, *tasks: str) -> Run:
    """A run of mapped tasks that go item by item after each other, begun and expanded."""
    compiled = plan("w", [("first", []), *((task, [before]) for before, task in pairwise(["first", *tasks]))])
    keys = ["items"] * len(compiled.names)
    each = paired(compiled, keys, dict.fromkeys(range(len(keys)), 1), dict.fromkeys(range(len(keys)), ()))
    work = [Work(0, ("k",), each=each[rank]) for rank in range(len(keys))]
    run = Run(compiled, work, {"k": Version(INPUT, b"1")}, numbers=count(), answers=True)
    run.handle(Begin(), 0.0)
    (expansion,) = submitted(run, 1)
    run.handle(found(expansion.attempt, [b"%d" % n for n in range(size)]), 0.0)
    return run


def finish_instances(run: Run) -> None:
    while run.ready:
        for assignment in submitted(run, 64):
            run.handle(Started(assignment.attempt), 0.0)
            run.handle(Done(assignment.attempt, {assignment.task.partition("[")[0]: b"1"}, NO_USAGE), 0.0)


def instances_of_a_mapped_task(size: int) -> None:
    run = mapped(size)
    finish_instances(run)
    assert run.states == [State.COMPLETED] * (size + 1)


def instances_of_mapped_tasks_in_a_row(size: int) -> None:
    run = mapped(size, "second", "third")
    finish_instances(run)
    assert run.states == [State.COMPLETED] * (3 * size + 3)


def instances_that_end_in_any_order(size: int) -> None:
    run = mapped(size, "second")
    assignments = list(submitted(run, size))
    Random(3).shuffle(assignments)
    for assignment in assignments:
        run.handle(Done(assignment.attempt, {"k": b"2"}, NO_USAGE), 0.0)
    finish_instances(run)
    assert run.states == [State.COMPLETED] * (2 * size + 2)


def instances_that_are_cancelled(size: int) -> None:
    run = mapped(size, "second", "third")
    list(submitted(run, 10))
    run.handle(Cancel(), 0.0)
    assert run.states.count(State.CANCELLED) == 3 * size - 10


def begun(tasks: Tasks, *, answers: bool = True) -> Run:
    compiled: Plan = plan("w", tasks)
    run = Run(compiled, [Work(0, ())] * len(compiled.names), {}, numbers=count(), answers=answers)
    run.handle(Begin(), 0.0)
    return run


def submitted(run: Run, room: int) -> Iterator[Assignment]:
    return (command for command in run.handle(Room(room), 0.0) if isinstance(command, Assignment))


def finish(run: Run, room: int) -> None:
    for assignment in submitted(run, room):
        run.handle(Started(assignment.attempt), 0.0)
        run.handle(Done(assignment.attempt, {assignment.task: b"1"}, NO_USAGE), 0.0)


@pytest.mark.parametrize(
    "case",
    [
        two_stages,
        two_pipelines_with_the_same_keys,
        two_joins_of_which_one_rewrites,
        chain_with_observers,
        outcomes_read_one_by_one,
        chain_that_asks_on_demand,
        chain_that_asks_how_others_ended,
        chain_that_looks_outcomes_up,
        chain_that_reads_everything,
        ladder_that_reads_everything,
        whole_run_of_a_fan_out,
        failure_at_the_top_of_a_ladder,
        instances_of_a_mapped_task,
        instances_of_mapped_tasks_in_a_row,
        instances_that_end_in_any_order,
        instances_that_are_cancelled,
    ],
)
def test_twice_the_size_is_twice_the_cost(case: Callable[[int], None]) -> None:
    small, large = lines(lambda: case(100)), lines(lambda: case(200))
    assert large < 2.3 * small


@pytest.mark.parametrize("tasks", [(), ("second",)])
def test_an_instance_costs_the_same_among_a_hundred_thousand(tasks: tuple[str, ...]) -> None:
    """Of so many, a hundred are looked at: the first ones, and others when nearly all have ended."""

    def hundred(run: Run) -> int:
        assignments = [*submitted(run, 100)]
        return lines(lambda: [run.handle(Done(one.attempt, {"k": b"2"}, NO_USAGE), 0.0) for one in assignments])

    few, many = mapped(1_000, *tasks), mapped(10 * LARGE, *tasks)
    first = hundred(few)
    assert hundred(many) == first
    for assignment in submitted(many, 10 * LARGE - 1_000):
        many.handle(Done(assignment.attempt, {"k": b"2"}, NO_USAGE), 0.0)
    assert hundred(many) <= 1.1 * first  # of two tasks in a row, it may be the second one's turn


def test_an_instance_that_has_ended_takes_less_than_a_kilobyte() -> None:
    tracemalloc.start()
    try:
        run = mapped(LARGE)
        for assignment in submitted(run, LARGE - 1):
            now = float(assignment.attempt)
            usage = Usage(now, now + 1, 0.5 * now, 1 << 20, ("k",), 1 << 10)
            run.handle(Done(assignment.attempt, {"out": b"%d" % assignment.attempt}, usage), 0.0)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < 1024 * LARGE


def test_a_task_without_fault_takes_little_more_than_its_function() -> None:
    def setter(number: int) -> Callable[[Context], None]:
        def set_one(context: Context) -> None:
            context[f"key {number}"] = number

        return set_one

    def define(size: int) -> WorkflowBuilder:
        with WorkflowBuilder(f"{size} tasks") as builder:
            for number in range(size):
                task(id=f"t{number}")(setter(number))

            @task(dependencies=[f"t{number}" for number in range(size)])
            def total(context: Context) -> None:
                context["total"] = sum(context[f"key {number}"] for number in range(size))

        return builder

    define(2)  # what is loaded once
    tracemalloc.start()
    try:
        builder = define(LARGE)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(builder.build().tasks) == LARGE + 1
    assert taken < 1536 * LARGE


def test_a_missing_name_among_many_is_compared_with_few(monkeypatch: pytest.MonkeyPatch) -> None:
    compared, get_close_matches = list[int](), difflib.get_close_matches

    def counted(name: str, names: Sequence[str], count: int) -> list[str]:
        compared.append(len(names))
        return get_close_matches(name, names, count)

    monkeypatch.setattr(difflib, "get_close_matches", counted)
    given = of_versions({f"key number {n}": (Version(INPUT, b"\x00"),) for n in range(LARGE)})
    with pytest.raises(KeyError, match=r"key numbr 7\. The nearest names are 'key number 7'"):
        given["key numbr 7"]
    assert compared == [nearest.COMPARED]


# ---- what was merged once is not merged again ----------------------------------------------------------------------


def diamonds(size: int) -> Tasks:
    tasks: Tasks = [("j0", [])]
    for n in range(1, size + 1):
        tasks += [(f"l{n}", [f"j{n - 1}"]), (f"r{n}", [f"j{n - 1}"]), (f"j{n}", [f"l{n}", f"r{n}"])]
    return tasks


def layers(depth: int, width: int = 10) -> Tasks:
    """Each layer's tasks come after a join of those of the layer before."""
    tasks: Tasks = [("j0", [])]
    for n in range(1, depth + 1):
        tasks += [*fan(f"l{n}.", width, f"j{n - 1}"), (f"j{n}", names(f"l{n}.", width))]
    return tasks


def layers_without_joins(depth: int, width: int = 10) -> Tasks:
    """Each task lists all those of the layer before."""
    return [task for n in range(depth) for task in fan(f"l{n}.", width, *(names(f"l{n - 1}.", width) if n else ()))]


def diamonds_beside_a_root(size: int) -> Tasks:
    """Each left task depends on the root as well, which never touches the key."""
    root: Tasks = [("config", [])]
    return root + [(task, [*(["config"] if task[0] == "l" else []), *above]) for task, above in diamonds(size)]


def diamonds_beside_a_loader(size: int) -> Tasks:
    """Each left task depends on the task that began as well."""
    tasks: Tasks = [("loader", []), ("j0", ["loader"])]
    return tasks + [(task, [*(["loader"] if task[0] == "l" else []), *above]) for task, above in diamonds(size)[1:]]


def diamonds_with_longer_memories(size: int) -> Tasks:
    """Each left task lists the join before the last one, too."""
    tasks = [("j-1", []), *diamonds(size)]
    return [(task, [*above, f"j{int(task[1:]) - 2}"] if task[0] == "l" else above) for task, above in tasks]


def diamonds_in_diamonds(size: int) -> Tasks:
    tasks: Tasks = [("j0", [])]
    for n in range(1, size + 1):
        tasks += [(f"a{n}", [f"j{n - 1}"]), (f"b{n}", [f"j{n - 1}"]), (f"l{n}", [f"a{n}", f"b{n}"])]
        tasks += [(f"r{n}", [f"j{n - 1}"]), (f"j{n}", [f"l{n}", f"r{n}"])]
    return tasks


def diamonds_with_two_joins(size: int) -> Tasks:
    """Two tasks join the same branches, and write nothing; those of the next diamond list both."""
    tasks: Tasks = [("j0", []), ("i0", [])]
    for n in range(1, size + 1):
        both = [f"j{n - 1}", f"i{n - 1}"]
        tasks += [(f"l{n}", both), (f"r{n}", both), (f"j{n}", [f"l{n}", f"r{n}"]), (f"i{n}", [f"l{n}", f"r{n}"])]
    return tasks


Change = Callable[[Context, str], None]


def put(context: Context, task: str) -> None:
    context.set("k", {**context.get("k", {}), task: 1})


def append(context: Context, task: str) -> None:
    context.set("k", [*context.get("k", []), task])


def add(context: Context, task: str) -> None:
    context.set("k", context.get("k", 0) + 1)


def accumulated(tasks: Tasks, change: Change) -> Any:
    """What is left of the key that all tasks change whose names don't begin with `i` or `j`.

    Each runs in a process of its own, so to speak: what one has merged, another one knows if it was handed back.
    """
    compiled = plan("w", tasks)
    rules = {"k": merge.sum} if change is add else {}
    past = History(compiled, {}, ruled=frozenset(rules))
    for rank, name in enumerate(compiled.names):
        given = Slice({"k": past.versions(rank, "k")}, complete=True)
        contents = Contents(given, name, Rules(rules), ask=unasked)
        if name[0] in "lrab":
            change(over(contents), name)
        past.record(rank, contents.diff())
        past.settle(rank, contents.handed_back() or {})
    return of_versions({"k": past.versions(len(tasks) - 1, "k")}, Rules(rules)).get("k")


def unasked(*question: object) -> Slice:
    raise AssertionError(question)


@pytest.mark.parametrize("change", [put, append, add])
@pytest.mark.parametrize(
    ("shape", "few", "many"),
    [
        (diamonds, 20, 200),
        (layers, 20, 160),
        (layers_without_joins, 20, 80),
        (diamonds_beside_a_root, 20, 100),
        (diamonds_beside_a_loader, 20, 100),
        (diamonds_with_longer_memories, 20, 100),
        (diamonds_in_diamonds, 20, 100),
        (diamonds_with_two_joins, 20, 100),
    ],
)
def test_adding_to_one_key_costs_the_same_however_often_it_was_added_to(
    shape: Callable[[int], Tasks], few: int, many: int, change: Change
) -> None:
    def of_each(size: int) -> float:
        tasks = shape(size)
        return lines(lambda: accumulated(tasks, change)) / len(tasks)

    of_each(2)
    assert of_each(many) < 1.2 * of_each(few)


@pytest.mark.parametrize("shape", [diamonds, layers, diamonds_in_diamonds, diamonds_with_two_joins])
def test_what_is_added_on_the_way_is_all_there(shape: Callable[[int], Tasks]) -> None:
    tasks = shape(5)
    added = [name for name in plan("w", tasks).names if name[0] in "lrab"]
    assert accumulated(tasks, put).keys() == set(added)
    assert accumulated(tasks, add) == len(added)
    assert sorted(accumulated(tasks, append)) == sorted(added)


@pytest.mark.parametrize("change", [put, add])
def test_layers_without_a_common_point_cost_a_process_what_was_added_to_all_that_there_was(change: Change) -> None:
    """Each task goes on from three tasks of the layer before, at random: each reader is told all that was written."""

    def of_all(depth: int) -> int:
        compiled = plan("w", layered(10, depth, roots=10))
        rules = Rules({"k": merge.sum} if change is add else {})
        past = History(compiled, {}, ruled=frozenset({"k"} if change is add else ()))

        def run() -> None:
            for rank, name in enumerate(compiled.names):
                given = Slice({"k": past.versions(rank, "k")}, complete=True)
                contents = Contents(given, name, rules, ask=unasked)
                change(over(contents), name)
                past.record(rank, contents.diff())

        return lines(run)

    of_all(2)
    assert of_all(8) < 9 * of_all(4)


def test_reading_in_the_end_what_nobody_has_read_is_linear() -> None:
    """Each task sets a member of its own, without a look at the others."""

    def reading(size: int) -> int:
        tasks = diamonds(size)
        past = history(tasks)
        for rank, name in enumerate(plan("w", tasks).names):
            past.record(rank, {"k": encode({name: 1})} if name[0] in "lr" else {})
        return lines(lambda: of_versions(past.final()).get("k"))

    assert reading(100) < 2.2 * reading(50)


def test_merging_two_chains_holds_few_of_the_dicts_on_the_way() -> None:
    """Each task of two chains that meet changes one member of a large dict."""

    def merging(length: int) -> int:
        given = {str(n): 0 for n in range(2_000)}
        versions = [Version(INPUT, encode(given))]
        for begin in (0, 1_000):
            edited = dict(given)
            for n in range(length):
                edited[str(begin + n)] = 1
                versions.append(Version(f"t{begin + n}", encode(edited), (len(versions) - 1 if n else 0,)))
        rules = Rules()
        tracemalloc.start()
        try:
            settled = settle("k", tuple(versions), rules)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert isinstance(settled, Settled)
        assert sum(decode(settled.payload or b"").values()) == 2 * length
        return peak

    assert merging(80) < 1.2 * merging(20)


# ---- whole executions ----------------------------------------------------------------------------------------------


def read_by_computed_name(context: Context) -> None:
    name = "k"
    context.set(name, context.get(name, 0) + 1)


def look_back(context: Context) -> None:
    if "k" in context:
        context.set("k", context.outcome("0").status)
    else:
        context.set("k", "")


def count_keys(context: Context) -> None:
    context.set("k", len(context))


def read_all(context: Context) -> None:
    context.set("k", len(context.to_dict()))


def miss(context: Context) -> None:
    with suppress(KeyError):
        context["missing"]
    context.set("k", 1)


def hand_back(context: Context) -> Context:
    context.set("k", 1)
    return context.copy()


@pytest.mark.parametrize(
    ("function", "options"),
    [
        (read_by_computed_name, {}),
        (read_by_computed_name, {"trigger_rules": context_value("given", "equals", 1)}),
        (read_by_computed_name, {"on_success": lambda _task, context: context.get("k")}),
        (look_back, {}),
        (count_keys, {}),
        (read_all, {}),
        (hand_back, {}),
        (miss, {}),
    ],
    ids=["plain", "condition", "callback", "outcome", "len", "to_dict", "copy", "missing"],
)
def test_a_serial_chain_is_linear_in_its_length(function: Callable[[Context], Any], options: dict[str, Any]) -> None:
    def executing(length: int) -> int:
        with WorkflowBuilder("chain", check="off") as builder:
            for n in range(length):
                task(id=str(n), dependencies=[str(n - 1)] if n else [], **options)(function)
        workflow = builder.build()
        with DefaultRunner(executor="serial") as runner:
            return lines(lambda: runner.execute(workflow, Context({"given": 1})).raise_for_status())

    executing(10)
    assert executing(400) < 2.2 * executing(200)


@pytest.mark.parametrize(
    ("rules", "growth"),
    [({"k": merge.by_task}, 2.2), ({}, 3.2)],
    ids=["what is kept by task is only told to who looks at it", "what stays in conflict is told, not merged again"],
)
def test_setting_one_key_without_a_look_at_it(rules: dict[str, Any], growth: float) -> None:
    def executing(size: int) -> int:
        with WorkflowBuilder("diamonds", check="off", merge=rules) as builder:
            for name, above in diamonds(size):
                task(id=name, dependencies=above)(hand_over if name[0] == "j" else set_by_computed_name(name))
        workflow = builder.build()
        with DefaultRunner(executor="serial") as runner:
            return lines(lambda: runner.execute(workflow).raise_for_status())

    executing(5)
    assert executing(80) < growth * executing(40)


def set_by_computed_name(value: str) -> Callable[[Context], None]:
    return lambda context: context.set("".join("k"), value)


def hand_over(_context: Context) -> None:
    """Writes nothing."""


def test_why_tasks_ran_again_is_told_by_reading_each_execution_once() -> None:
    class CountingStore(MemoryStore):
        reads = 0

        def records(self, execution: str) -> Iterator[Record]:
            self.reads += 1
            return super().records(execution)

    with closing(CountingStore()) as store:
        for id in "ab":
            store.append(
                store.create(header(id)), [record(task, b"old") for task in TASKS], [Code(b"old", {"x": b"1"})]
            )
        now = Code(b"new", {"x": b"2"})
        past = PastAttempts(store, "sales", dict.fromkeys([*TASKS, "another"], now), {}, frozenset())
        assert {past.why_none(task, None) for task in TASKS} == {"its code changed: x"}
        assert past.why_none("another", None) == "never ran"
        assert store.reads == 2
