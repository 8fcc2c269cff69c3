"""Many independent tasks that do next to nothing, and one that sums what they leave."""

from concurrent.futures import ProcessPoolExecutor

from perf.stopwatch import Figures, main, timed

import cloaca


def with_cloaca(tasks: int, workers: int) -> Figures:
    with cloaca.WorkflowBuilder("trivial"):
        for number in range(tasks):
            cloaca.task(id=f"set {number}")(setter(number))

        @cloaca.task(dependencies=[f"set {number}" for number in range(tasks)])
        def total(context):
            context.set("total", sum(context[f"value {number}"] for number in range(tasks)))

    with cloaca.DefaultRunner(workers=workers) as runner:
        yield from timed(
            lambda: runner.execute("trivial"),
            lambda result: result.final_context["total"] == sum(range(tasks)),
        )


def setter(number):
    def work(context):
        context.set(f"value {number}", number)

    return work


def with_pool(tasks: int, workers: int) -> Figures:
    with ProcessPoolExecutor(workers) as executor:
        yield from timed(lambda: total_of(executor, tasks), lambda total: total == sum(range(tasks)))


def total_of(executor, tasks):
    futures = [executor.submit(same, number) for number in range(tasks)]
    return sum(future.result() for future in futures)


def same(number):
    return number


if __name__ == "__main__":
    main(with_cloaca, with_pool)
