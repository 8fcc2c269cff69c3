"""What it takes to do nothing again: 10,000 cached calls, beside three tools that cache; and what recording adds.

    python -m perf.reuse [CALLS]

Each tool calls a trivial function with 10,000 arguments, then once more with the same ones, from a new object as a new
program would have it; told is the second time, per call. redun plays with a tenth of the calls, as the first time would
take minutes.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import cloaca
from cloaca import Context, DefaultRunner

CALLS = 10_000
LARGE = 25_000_000  # numbers of 8 bytes


def trivial(number: int) -> int:
    """What is called."""
    return number + 1


def tasks(calls: int) -> cloaca.Workflow:
    """As many tasks, of which each is a function of its own."""
    with cloaca.WorkflowBuilder("tasks") as builder:
        for number in range(calls):

            @cloaca.task(id=f"task {number}")
            def call(context: Context, number: int = number) -> None:
                context.set(f"result {number}", trivial(number))

    return builder.build()


def seconds_of(call: Callable[[], Any]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def of_cloaca(folder: Path, calls: int) -> float:
    """A workflow of as many tasks, of which nothing has changed."""
    with DefaultRunner(f"{folder}/runs.db", workers=2) as runner:
        runner.execute(tasks(calls))
    workflow = tasks(calls)
    with DefaultRunner(f"{folder}/runs.db", workers=2) as runner:
        return seconds_of(lambda: runner.execute(workflow, reuse=True))


def of_joblib(folder: Path, calls: int) -> float:
    """`joblib.Memory`."""
    import joblib

    def play() -> float:
        cached = joblib.Memory(folder / "joblib", verbose=0).cache(trivial)
        return seconds_of(lambda: [cached(number) for number in range(calls)])

    play()
    return play()


def of_pipefunc(folder: Path, calls: int) -> float:
    """A pipeline whose function has a cache on disk."""
    from pipefunc import Pipeline, pipefunc

    def play() -> float:
        function = pipefunc(output_name="result", cache=True)(trivial)
        pipeline = Pipeline([function], cache_type="disk", cache_kwargs={"cache_dir": folder / "pipefunc"})
        return seconds_of(lambda: [pipeline(number=number) for number in range(calls)])

    play()
    return play()


def of_redun(folder: Path, calls: int) -> float:
    """Tasks of redun, with its database in a file."""
    from redun import Scheduler, task
    from redun.config import Config

    called = task(name="trivial", namespace="perf")(trivial)

    def play() -> float:
        scheduler = Scheduler(config=Config({"backend": {"db_uri": f"sqlite:///{folder}/redun.db"}}))
        scheduler.load()
        return seconds_of(lambda: scheduler.run([called(number) for number in range(calls)]))

    play()
    return play()


@contextmanager
def folder() -> Iterator[Path]:
    """A temporary one."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def recording(calls: int) -> Iterator[str]:
    """How much longer an execution takes that is recorded, the first one of a program and a later one; and resuming."""
    workflow = tasks(calls)
    with folder() as place, DefaultRunner(workers=2) as plain, DefaultRunner(f"{place}/r.db", workers=2) as recorded:
        for runner in (plain, recorded):
            runner.execute(tasks(1))  # workers have started
        times = [(seconds_of(lambda: plain.execute(workflow)), seconds_of(lambda: recorded.execute(workflow)))]
        times += [
            (seconds_of(lambda: plain.execute(workflow)), seconds_of(lambda: recorded.execute(workflow)))
            for _ in range(5)
        ]
        without, taken = times[0]
        yield f"{calls:,} trivial tasks, the first time: {without:.2f} s, recorded {taken:.2f} s: {taken / without:.2f}"
        without, taken = sorted(times[1:], key=lambda pair: pair[1] / pair[0])[2]
        yield f"{calls:,} trivial tasks, later ones: {without:.2f} s, recorded {taken:.2f} s: {taken / without:.2f}"
        size = sum(file.stat().st_size for file in place.iterdir()) / (6 * calls)
        yield f"bytes on disk per trivial task: {size:.0f}"


def resuming(calls: int) -> str:
    """To the first task of an execution of which all others are done."""
    with folder() as place:
        mended = place / "mended"
        with cloaca.WorkflowBuilder("resumed") as builder:
            for number in range(calls - 1):
                cloaca.task(id=f"task {number}")(lambda context: None)

            @cloaca.task(id="last")
            def last(context: Context) -> None:
                if not mended.exists():
                    raise ValueError("not yet")
                context.set("began", time.time())

        workflow = builder.build()
        with DefaultRunner(f"{place}/r.db", workers=2) as runner:
            id = runner.execute(workflow, raise_on_failure=False).execution_id
            mended.touch()
            began = time.time()
            took = runner.resume(id, workflow).final_context["began"] - began
    return f"resuming {calls:,} tasks with {calls - 1:,} done, to the first one that runs: {took:.2f} s"


def large() -> str:
    """What a value of 200 MB adds that a task makes and another one reads."""
    with cloaca.WorkflowBuilder("large") as builder:
        cloaca.task(id="make")(
            lambda context: context.set("array", np.arange(context["first"], context["first"] + LARGE))
        )
        cloaca.task(id="read", dependencies=["make"])(lambda context: context.set("sum", int(context["array"].sum())))
    with folder() as place, DefaultRunner(workers=2) as plain, DefaultRunner(f"{place}/r.db", workers=2) as recorded:
        for runner in (plain, recorded):
            runner.execute(tasks(1))  # workers have started
        without, taken = (
            min(seconds_of(partial(runner.execute, builder, {"first": first})) for first in range(3))
            for runner in (plain, recorded)
        )
    return f"a value of {LARGE * 8 / 1e6:.0f} MB: {without:.2f} s, recorded {taken:.2f} s: {taken - without:.2f} s more"


def main(calls: int) -> None:
    """Print it all."""
    contenders: dict[str, tuple[Callable[[Path, int], float], int]] = {
        "cloaca": (of_cloaca, calls),
        "joblib.Memory": (of_joblib, calls),
        "pipefunc": (of_pipefunc, calls),
        "redun": (of_redun, calls // 10),
    }
    for name, (play, count) in contenders.items():
        with folder() as place:
            took = play(place, count)
        print(f"{count:,} cached calls, {name}: {took:.2f} s, {took / count * 1e6:.0f} us each", flush=True)
    for line in recording(calls):
        print(line, flush=True)
    print(resuming(calls), flush=True)
    print(large(), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else CALLS)
