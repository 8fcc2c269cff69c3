"""Independent tasks of pure Python that each keep a core busy for a while."""

from concurrent.futures import ProcessPoolExecutor
from time import perf_counter

from perf.stopwatch import Figures, main, timed

import cloaca


def burn(loops: int) -> int:
    total = 0
    for number in range(loops):
        total += number * number % 7
    return total


def loops_for(seconds: float) -> int:
    """How often `burn` loops in that time, here and now."""
    trial = 200_000
    return round(trial * seconds / min(_seconds_of(trial) for _ in range(9)))


def _seconds_of(loops: int) -> float:
    start = perf_counter()
    burn(loops)
    return perf_counter() - start


def with_cloaca(tasks: int, workers: int, loops: int) -> Figures:
    with cloaca.WorkflowBuilder("cpu"):
        for number in range(tasks):
            cloaca.task(id=f"burn {number}")(burner(number, loops))
    value = burn(loops)
    expected = {f"value {number}": value for number in range(tasks)}
    with cloaca.DefaultRunner(workers=workers) as runner:
        yield from timed(lambda: runner.execute("cpu"), lambda result: result.final_context.to_dict() == expected)


def burner(number, loops):
    def work(context):
        context.set(f"value {number}", burn(loops))

    return work


def with_pool(tasks: int, workers: int, loops: int) -> Figures:
    expected = [burn(loops)] * tasks
    with ProcessPoolExecutor(workers) as executor:
        yield from timed(lambda: burnt(executor, tasks, loops), lambda values: values == expected)


def burnt(executor, tasks, loops):
    futures = [executor.submit(burn, loops) for _ in range(tasks)]
    return [future.result() for future in futures]


def in_a_loop(tasks: int, loops: int) -> Figures:
    expected = [burn(loops)] * tasks
    yield from timed(lambda: [burn(loops) for _ in range(tasks)], lambda values: values == expected)


if __name__ == "__main__":
    main(with_cloaca, with_pool, in_a_loop)
