"""Growth: what a task costs the coordinator's state machine in a run of 10,000 tasks, and in one of a million.

    python -m perf.stress.growth

Every attempt ends as soon as it is submitted: no process, no wire. CPU time and memory per task, for four shapes.
"""

import gc
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from random import Random
from time import process_time

import psutil

from cloaca.engine.events import Begin, Room
from cloaca.engine.run import Run
from cloaca.engine.work import Work
from cloaca.history.plan import plan
from cloaca.wire.messages import Assignment, Done, Usage

SIZES = (10_000, 1_000_000)
LAYER = 100
WINDOW = 512

Tasks = list[tuple[str, list[str]]]


def flat(size: int) -> Tasks:
    return [(f"t{n}", []) for n in range(size)]


def chain(size: int) -> Tasks:
    return [(f"t{n}", [f"t{n - 1}"] if n else []) for n in range(size)]


def layers(size: int) -> Tasks:
    """Layers of a hundred tasks, each with three dependencies of the layer before."""
    chance = Random(1)
    return [
        (f"t{n}", [f"t{(n // LAYER - 1) * LAYER + chance.randrange(LAYER)}" for _ in range(3)] if n >= LAYER else [])
        for n in range(size)
    ]


def fan_in(size: int) -> Tasks:
    return [*flat(size - 1), ("end", [f"t{n}" for n in range(size - 1)])]


@dataclass(frozen=True)
class Cost:
    """Of one task: CPU time in microseconds, and bytes kept when the run has ended."""

    time: float
    memory: float


def cost(tasks: Tasks) -> Cost:
    """Run them all, in the coordinator's head."""
    compiled = plan("growth", tasks)
    work = [Work(rank, ("key",)) for rank in range(len(tasks))]
    before, start = held(), process_time()
    run = Run(compiled, work, {}, numbers=count(), answers=True)
    run.handle(Begin(), 0.0)
    while attempts := list(submitted(run)):
        for attempt in attempts:
            run.handle(Done(attempt, {f"value {attempt}": b"1"}, Usage(0.0, 1e-5, 0.0, 0)), 0.0)
    seconds = process_time() - start
    return Cost(seconds / len(tasks) * 1e6, (held() - before) / len(tasks))


def submitted(run: Run) -> Iterator[int]:
    return (command.attempt for command in run.handle(Room(WINDOW), 0.0) if isinstance(command, Assignment))


def held() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)


def main() -> None:
    print("shape    tasks        per task")
    for shape in (flat, chain, layers, fan_in):
        small, large = (cost(shape(size)) for size in SIZES)
        for size, found in zip(SIZES, (small, large), strict=True):
            print(f"{shape.__name__:8} {size:9,}  {found.time:6.2f} us  {found.memory:5.0f} bytes")
        print(f"{'':18}  x {large.time / small.time:.2f} (must: 1.8)")


if __name__ == "__main__":
    main()
