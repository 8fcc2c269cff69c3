"""What has been made is used before more is made: of a fan-out, only few values are alive at once."""

import os
import time
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from itertools import count
from pathlib import Path
from random import Random

import pytest
from tests.reference import Graph
from tests.runs import done

import cloaca
from cloaca.engine.events import Begin, Ended, Room
from cloaca.engine.run import Run
from cloaca.engine.work import Work
from cloaca.history.plan import plan
from cloaca.wire.messages import Assignment

BRANCHES = 60
FEWER = 20
LARGE = 1 << 20


def most_alive(changes: Iterable[tuple[float, int]]) -> int:
    """How many there were at once, given when one came (1) or went (-1); at one moment, those that go go first."""
    alive = most = 0
    for _, change in sorted(changes):
        alive += change
        most = max(most, alive)
    return most


# ---- in virtual time -----------------------------------------------------------------------------------------------


def branches(stages: int, *, by_stage: bool, joined: bool) -> Graph:
    """Chains beside each other: stage 0 makes a value, and the last one is the last to need it."""
    pairs = [(n, stage) for n in range(BRANCHES) for stage in range(stages)]
    if by_stage:
        pairs.sort(key=lambda pair: pair[1])
    graph: Graph = [(f"{stage} {n}", [f"{stage - 1} {n}"] if stage else []) for n, stage in pairs]
    return [*graph, ("total", [f"{stages - 1} {n}" for n in range(BRANCHES)])] if joined else graph


def alive_in(graph: Graph, stages: int, workers: int, seconds: Callable[[str], float], *, known: bool) -> int:
    compiled = plan("w", graph)
    given = [seconds(name) for name in compiled.names] if known else None
    work = [Work(0, ()) for _ in compiled.names]
    run = Run(compiled, work, {}, numbers=count(), answers=True, durations=given)
    run.handle(Begin(), 0.0)
    now, running, names, is_over = 0.0, list[tuple[float, int]](), dict[int, str](), False
    changes: list[tuple[float, int]] = []
    while not is_over:
        for command in run.handle(Room(workers - len(running)), now):
            assert isinstance(command, Assignment)
            names[command.attempt] = command.task
            heappush(running, (now + seconds(command.task), command.attempt))
            if command.task.startswith("0 "):
                changes.append((now, 1))
        now, attempt = heappop(running)
        if names[attempt].startswith(f"{stages - 1} "):
            changes.append((now, -1))
        is_over = Ended() in run.handle(done(attempt), now)
    return most_alive(changes)


@pytest.mark.parametrize("joined", [True, False])
@pytest.mark.parametrize("by_stage", [True, False])
@pytest.mark.parametrize("stages", [2, 3, 4])
@pytest.mark.parametrize("workers", [1, 2, 4, 8, 16])
def test_at_most_two_values_more_than_workers_are_alive(
    workers: int, stages: int, *, by_stage: bool, joined: bool
) -> None:
    graph = branches(stages, by_stage=by_stage, joined=joined)
    for first, others in [(1.0, 1.0), (20.0, 1.0), (1.0, 20.0)]:
        chance = Random(stages)
        usual = {name: first if name.startswith("0 ") else others for name, _ in graph}
        durations = {name: seconds * chance.uniform(0.9, 1.1) for name, seconds in usual.items()}
        for known in (True, False):
            assert alive_in(graph, stages, workers, durations.__getitem__, known=known) <= workers + 2


# ---- in earnest ----------------------------------------------------------------------------------------------------


def load(context: cloaca.Context, item: int) -> None:
    context.set(f"value {item}", bytes(LARGE))
    context.set(f"made {item}", time.monotonic())


def pass_on(context: cloaca.Context, item: int) -> None:
    context.set(f"value {item}", bytes(LARGE - len(context.get(f"value {item}")) % 2))


def use(context: cloaca.Context, item: int) -> None:
    context.set(f"size {item}", len(context.get(f"value {item}")))
    context.remove(f"value {item}")
    context.set(f"gone {item}", time.monotonic())


STAGES = {2: [load, use], 3: [load, pass_on, use]}


def a_fan_out(stages: int) -> cloaca.Workflow:
    with cloaca.WorkflowBuilder("a fan-out", check="off") as builder:
        for stage, function in enumerate(STAGES[stages]):
            for n in range(FEWER):
                above = [f"{stage - 1} {n}"] if stage else []
                cloaca.task(id=f"{stage} {n}", dependencies=above)(lambda context, n=n, do=function: do(context, n))
    return builder.build()


def load_one(context: cloaca.Context, _: int) -> None:
    context.set("value", bytes(LARGE))
    context.set("made", time.monotonic())


def pass_one_on(context: cloaca.Context, _: int) -> None:
    context.set("value", bytes(LARGE - len(context.get("value")) % 2))


def stored() -> int:
    """How many large values the runner has stored, beside the code of modules."""
    files = [file.name for folder in Path("/dev/shm").glob(f"cloaca-{os.getppid()}-*") for file in folder.iterdir()]
    return sum(not name.startswith(("cloaca.lock", "modules.")) for name in files)


def use_one(context: cloaca.Context, _: int) -> None:
    context.set("stored", stored())
    context.set("size", len(context.get("value")))
    context.remove("value")
    context.set("gone", time.monotonic())


MAPPED = {2: [load_one, use_one], 3: [load_one, pass_one_on, use_one]}


def a_mapped_fan_out(stages: int) -> cloaca.Workflow:
    with cloaca.WorkflowBuilder("a mapped fan-out", check="off") as builder:
        above: list[str] = []
        for stage, function in enumerate(MAPPED[stages]):
            cloaca.task(id=f"{stage}", dependencies=above, for_each="items")(function)
            above = [f"{stage}"]
    return builder.build()


@pytest.mark.parametrize("stages", [2, 3])
def test_few_values_of_a_fan_out_are_alive(runner: cloaca.DefaultRunner, stages: int) -> None:
    workflow = a_fan_out(stages)
    for _ in range(2):  # then durations are known
        found = runner.execute(workflow, raise_on_failure=True).final_context
        made = [(found[f"made {n}"], 1) for n in range(FEWER)]
        assert most_alive([*made, *((found[f"gone {n}"], -1) for n in range(FEWER))]) <= 4


@pytest.mark.parametrize("stages", [2, 3])
def test_few_values_of_a_mapped_fan_out_are_alive(runner: cloaca.DefaultRunner, stages: int) -> None:
    workflow = a_mapped_fan_out(stages)
    for _ in range(2):
        given = {"items": list(range(FEWER))}
        found = runner.execute(workflow, given, raise_on_failure=True).final_context
        assert most_alive([*((at, 1) for at in found["made"]), *((at, -1) for at in found["gone"])]) <= 4
        assert max(found["stored"]) <= 6, "what is set anew is there twice until the task has ended"
