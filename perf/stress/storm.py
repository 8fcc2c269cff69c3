"""A storm: something kills a random worker every 50 ms while 2,000 tasks of 5 ms run, with 6 tries each.

    python -m perf.stress.storm

Every task counts itself, under a key with the merge rule `sum`: one that was recorded twice, or lost, shows. Prints the
counts and the time beside that of a quiet run, and fails where anything but the time is not as it should be.
"""

import os
import random
import signal
from contextlib import suppress
from dataclasses import dataclass
from threading import Event, Thread
from time import perf_counter

import psutil

import cloaca

WORKERS = 2
TASK_SECONDS = 0.005


@dataclass(frozen=True)
class Weather:
    """What came of one run."""

    result: cloaca.WorkflowResult
    seconds: float
    kills: int

    @property
    def attempts(self) -> int:
        """How many tries all tasks took together."""
        return sum(task.attempts for task in self.result.tasks.values())

    @property
    def lost(self) -> int:
        """How many tries were lost, or given up."""
        return self.attempts - len(self.result.tasks)


def define(tasks: int) -> None:
    """A task for each number, and one that follows them all."""
    with cloaca.WorkflowBuilder("storm", merge={"count": cloaca.merge.sum}):
        for number in range(tasks):
            cloaca.task(id=f"task {number}", retry_attempts=6, retry_delay_ms=0)(counting(number))

        @cloaca.task(dependencies=[f"task {number}" for number in range(tasks)], retry_attempts=6, retry_delay_ms=0)
        def total(context):
            context.set("total", context["count"])


def counting(number):
    def count(context):
        until = perf_counter() + TASK_SECONDS
        while perf_counter() < until:
            pass
        context.set("count", 1)
        context.set(f"value {number}", number)

    return count


def weather(kill_every: float | None) -> Weather:
    """Run the workflow, with somebody who kills a random worker every so many seconds, or with nobody."""
    over = Event()
    kills: list[int] = []
    with cloaca.DefaultRunner(workers=WORKERS) as runner:
        storm = Thread(target=kill_workers, args=(over, kill_every, kills))
        if kill_every is not None:
            storm.start()
        start = perf_counter()
        try:
            result = runner.execute("storm")
        finally:
            seconds = perf_counter() - start
            over.set()
        if kill_every is not None:
            storm.join()
    return Weather(result, seconds, len(kills))


def kill_workers(over: Event, every: float, kills: list[int]) -> None:
    chance, program = random.Random(0), psutil.Process()
    while not over.wait(every):
        workers = program.children()
        if workers:
            victim = chance.choice(workers).pid
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
                kills.append(victim)


def check(quiet: Weather, stormy: Weather) -> None:
    """Raise where the storm cost more than time."""
    stormy.result.raise_for_status()
    if stormy.result.final_context != quiet.result.final_context:
        raise AssertionError("The storm changed the final context.")
    if stormy.lost > stormy.kills:
        raise AssertionError(f"{stormy.kills} kills cost {stormy.lost} tries.")


def main() -> None:
    define(2_000)
    quiet, stormy = weather(None), weather(0.05)
    check(quiet, stormy)
    print(f"quiet: {quiet.seconds:.2f} s, {quiet.attempts} tries")
    print(f"storm: {stormy.seconds:.2f} s, {stormy.attempts} tries, {stormy.kills} kills, {stormy.lost} tries lost")
    print(f"ratio: {stormy.seconds / quiet.seconds:.2f} (must: 5)")


if __name__ == "__main__":
    main()
