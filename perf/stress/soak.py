"""A soak: 200,000 tasks on one runner, in 20 executions. Does anything grow?

    python -m perf.stress.soak

Reads the program's memory and its open descriptors after each execution; what counts is how far they grow after the
first tenth. Fails where a descriptor is left, or memory grows by more than 10 MB.
"""

import gc
from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter

import psutil

import cloaca

WORKERS = 2
MOST_GROWTH = 10_000_000


@dataclass(frozen=True)
class Reading:
    """What the program holds: bytes of memory for itself, and descriptors."""

    memory: int
    descriptors: int

    @classmethod
    def now(cls) -> "Reading":
        gc.collect()
        process = psutil.Process()
        info = process.memory_info()
        return cls(info.rss - getattr(info, "shared", 0), process.num_fds())


def define(tasks: int) -> None:
    """A task for each number, and one that follows them all."""
    with cloaca.WorkflowBuilder("soak"):
        for number in range(tasks):
            cloaca.task(id=f"task {number}")(setting(number))

        @cloaca.task(dependencies=[f"task {number}" for number in range(tasks)])
        def count(context):
            context.set("count", len(context))


def setting(number):
    def set_own(context):
        context.set(f"value {number}", number)

    return set_own


def soak(tasks: int, executions: int) -> Iterator[Reading]:
    """Execute, and read after each execution."""
    define(tasks)
    with cloaca.DefaultRunner(workers=WORKERS) as runner:
        for _ in range(executions):
            result = runner.execute("soak")
            result.raise_for_status()
            if result.final_context["count"] != tasks:
                raise AssertionError(f"{result.final_context['count']} of {tasks} tasks count.")
            del result
            yield Reading.now()


def growth(readings: list[Reading]) -> Reading:
    """How much more there is in the end than after the first tenth."""
    first, last = readings[max(1, len(readings) // 10) - 1], readings[-1]
    return Reading(last.memory - first.memory, last.descriptors - first.descriptors)


def main() -> None:
    start = perf_counter()
    readings = list(soak(10_000, 20))
    for number, reading in enumerate(readings, 1):
        print(f"after {10_000 * number:7,} tasks: {reading.memory / 1e6:6.1f} MB, {reading.descriptors} descriptors")
    grown = growth(readings)
    print(f"{perf_counter() - start:.1f} s; grown by {grown.memory / 1e6:.1f} MB, {grown.descriptors} descriptors")
    if grown.memory > MOST_GROWTH or grown.descriptors > 0:
        raise SystemExit("Something grows.")


if __name__ == "__main__":
    main()
