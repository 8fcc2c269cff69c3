"""Workflows made and changed by chance, run by a runner with a store and by one without: the same result, always."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import pytest

import cloaca
from cloaca import Context, DefaultRunner, MergeConflict, Workflow, WorkflowBuilder, WorkflowResult

pytestmark = pytest.mark.slow

KEYS = "abcd"
LARGE = 70_000
EDITS = ["input", "input", "version", "dependencies", "rule", "outside", "items", "gone"]


@dataclass(frozen=True)
class Job:
    dependencies: tuple[str, ...]
    version: int = 0
    is_mapped: bool = False
    reads_outside: bool = False
    trigger_rule: str | None = None


@dataclass(frozen=True)
class Plant:
    """What is run: `outside` is what stands in a file that some tasks read, and take a fingerprint of."""

    seed: int
    jobs: dict[str, Job]
    inputs: dict[str, Any]
    rule: str = "first"
    outside: str = "1"


def planted(seed: int) -> Plant:
    random = Random(seed)
    jobs: dict[str, Job] = {}
    for n in range(9):
        before = random.sample([*jobs], min(n, random.choice([0, 1, 1, 2, 3])))
        is_mapped = random.random() < 0.25 and not any(jobs[name].is_mapped for name in before)
        rule = random.choice([None, None, "all_done"])
        jobs[f"t{n}"] = Job(tuple(before), 0, is_mapped, random.random() < 0.15, rule)
    return Plant(seed, jobs, {**{key: random.randrange(3) for key in KEYS}, "items": [1, 2, 3, 2]})


def edited(plant: Plant, random: Random) -> Plant:
    names = [*plant.jobs]
    name = random.choice(names)
    job = plant.jobs[name]
    match random.choice(EDITS):
        case "input":
            return replace(plant, inputs={**plant.inputs, random.choice(KEYS): random.randrange(3)})
        case "version":
            return replace(plant, jobs={**plant.jobs, name: replace(job, version=job.version + 1)})
        case "dependencies" if not job.is_mapped:
            before = names[: names.index(name)]
            dependencies = tuple(random.sample(before, min(len(before), random.choice([0, 1, 2]))))
            return replace(plant, jobs={**plant.jobs, name: replace(job, dependencies=dependencies)})
        case "rule":
            return replace(plant, rule="last" if plant.rule == "first" else "first")
        case "outside":
            return replace(plant, outside=plant.outside + "1")
        case "items":
            items = [random.randrange(4) for _ in range(random.randrange(5))]
            return replace(plant, inputs={**plant.inputs, "items": items})
        case "gone" if len(names) > 3:
            left = {
                other: replace(one, dependencies=tuple(before for before in one.dependencies if before != name))
                for other, one in plant.jobs.items()
                if other != name
            }
            return replace(plant, jobs=left)
        case _:
            return plant


def number(value: object) -> int:
    return int(sha256(repr(value).encode()).hexdigest(), 16)


def looked_at(context: Context, random: Random) -> Iterator[object]:
    """Here and there: where may follow from what was seen."""

    def value(key: str) -> object:
        try:
            return context.get(key)
        except MergeConflict:
            return "in conflict"

    if random.random() < 0.7:
        first = value(random.choice(KEYS))
        yield first
        if random.random() < 0.5:
            yield value(KEYS[number(first) % len(KEYS)])
    yield from looked_around(context, random)


def looked_around(context: Context, random: Random) -> Iterator[object]:
    """At what is there beside values."""
    if random.random() < 0.2:
        yield random.choice(KEYS) in context
    if random.random() < 0.1:
        yield [*context.keys()]
    if random.random() < 0.1:
        yield len(context)
    if random.random() < 0.15:
        yield context.to_dict(conflicts="skip")
    if random.random() < 0.1:
        import random as generator

        yield generator.random()
    if random.random() < 0.15:
        try:
            yield context.outcome(f"t{random.randrange(9)}").status
        except KeyError:
            yield None


def leave(context: Context, name: str, random: Random, seen: Sequence[object]) -> None:
    """What follows from what was seen: much, or little."""
    found = number(seen)
    if random.random() < 0.1 and found % 3 == 0:
        raise ValueError(f"saw {found % 1000}")
    told = found % 100_000 if random.random() < 0.5 else found % 2
    for key in random.sample(KEYS, random.choice([0, 1, 1, 2])):
        values: list[object] = [{f"k{found % 3}": told}, [told, name], (told,), told, "x" * LARGE + str(told)]
        value = random.choice(values)
        if random.random() < 0.15 and key in context:
            context.remove(key)
        else:
            context.set(key, value)


def task_of(name: str, seed: int, job: Job, outside: str) -> Callable[..., None]:
    label, reads_outside = f"{seed} {name} {job.version}", job.reads_outside

    def run(context: Context, item: object = None) -> None:
        random = Random(label)
        there = Path(outside).read_text() if reads_outside else None
        leave(context, name, random, [item, there, *looked_at(context, random)])

    def run_once(context: Context) -> None:
        run(context)

    return run if job.is_mapped else run_once


def built(plant: Plant, outside: Path) -> Workflow:
    outside.write_text(plant.outside)
    path = str(outside)
    rules = {"b": cloaca.merge.by_task, "c": getattr(cloaca.merge, plant.rule)}
    with WorkflowBuilder("by chance", merge=rules, check="off") as builder:
        for name, job in plant.jobs.items():
            options: dict[str, Any] = {"for_each": "items"} if job.is_mapped else {}
            if job.reads_outside:
                options["fingerprint"] = lambda context, item=None: Path(path).read_text()
            if job.trigger_rule is not None and not job.is_mapped:
                options["trigger_rule"] = job.trigger_rule
            cloaca.task(id=name, dependencies=list(job.dependencies), **options)(task_of(name, plant.seed, job, path))
    return builder.build()


@dataclass
class Told:
    """What a result tells that is to be the same."""

    status: str
    tasks: dict[str, tuple[str, str]]
    values: list[tuple[str, object]]
    conflicts: list[str]
    reused: list[str] = field(compare=False)

    @classmethod
    def of(cls, result: WorkflowResult) -> "Told":
        tasks = {name: (one.status, repr(one.error)) for name, one in result.tasks.items()}
        values = [*result.final_context.to_dict(conflicts="skip").items()]
        reused = [name for name, one in result.tasks.items() if one.reused]
        return cls(result.status, tasks, values, sorted(result.conflicts), reused)


@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_what_is_reused_leaves_what_a_fresh_run_leaves(executor: Any, tmp_path: Path) -> None:
    outside, reused = tmp_path / "outside", 0
    options = {"executor": executor, "workers": None if executor == "serial" else 2}
    with DefaultRunner(**options) as plain:
        for seed in range(30 if executor == "serial" else 6):
            random, plant = Random(seed), planted(seed)
            with DefaultRunner(f"sqlite:///{tmp_path}/{seed}.db", **options) as recording:
                for _ in range(5):
                    workflow = built(plant, outside)
                    again = Told.of(recording.execute(workflow, dict(plant.inputs), reuse=True, seed=7))
                    assert again == Told.of(plain.execute(workflow, dict(plant.inputs), seed=7)), seed
                    reused += len(again.reused)
                    plant = edited(plant, random)
    assert reused > (300 if executor == "serial" else 60), "there was something to reuse"
