"""Tasks of which each needs the one before: nothing to run in parallel, every round trip counts."""

from concurrent.futures import ProcessPoolExecutor

from perf.stopwatch import Figures, main, timed

import cloaca


def with_cloaca(tasks: int, workers: int) -> Figures:
    with cloaca.WorkflowBuilder("chain"):
        for number in range(tasks):
            cloaca.task(id=f"step {number}", dependencies=[f"step {number - 1}"] if number else [])(step)
    with cloaca.DefaultRunner(workers=workers) as runner:
        yield from timed(
            lambda: runner.execute("chain", cloaca.Context({"count": 0})),
            lambda result: result.final_context["count"] == tasks,
        )


def step(context):
    context.set("count", context["count"] + 1)


def with_pool(tasks: int, workers: int) -> Figures:
    with ProcessPoolExecutor(workers) as executor:
        yield from timed(lambda: count_to(executor, tasks), lambda count: count == tasks)


def count_to(executor, tasks):
    count = 0
    for _ in range(tasks):
        count = executor.submit(successor, count).result()
    return count


def successor(count):
    return count + 1


if __name__ == "__main__":
    main(with_cloaca, with_pool)
