"""One list of 200,000 records, and tasks that each go through all of it: who encodes it, and how often?"""

from perf.stopwatch import Figures, main, timed

FIELDS = ("region", "product", "year", "count", "price")


def made(size):
    return [{"region": n % 7, "product": f"p{n % 100}", "year": 2026, "count": n, "price": n / 3} for n in range(size)]


def counted(records, number):
    return sum(record["count"] for record in records if record["region"] == number % 7)


def with_cloaca(tasks: int, size: int, workers: int) -> Figures:
    import cloaca

    with cloaca.WorkflowBuilder("records"):
        for number in range(tasks):

            @cloaca.task(id=f"part {number}")
            def part(context, number=number):
                context.set(f"count {number}", counted(context["records"], number))

    records = made(size)
    right = sum(counted(records, number) for number in range(tasks))

    def run() -> int:
        result = runner.execute("records", cloaca.Context({"records": records}))
        return sum(result.final_context[f"count {number}"] for number in range(tasks))

    with cloaca.DefaultRunner(workers=workers) as runner:
        yield from timed(run, lambda total: total == right)


def with_pool(tasks: int, size: int, workers: int) -> Figures:
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(workers) as executor:
        yield from _mapped(executor, tasks, size)


def with_loky(tasks: int, size: int, workers: int) -> Figures:
    from loky import get_reusable_executor

    yield from _mapped(get_reusable_executor(max_workers=workers), tasks, size)


def with_joblib(tasks: int, size: int, workers: int) -> Figures:
    from joblib import Parallel, delayed

    records = made(size)
    right = sum(counted(records, number) for number in range(tasks))
    with Parallel(n_jobs=workers) as parallel:
        yield from timed(
            lambda: sum(parallel(delayed(counted)(records, number) for number in range(tasks))),
            lambda total: total == right,
        )


def _mapped(executor, tasks, size):
    records = made(size)
    right = sum(counted(records, number) for number in range(tasks))
    yield from timed(
        lambda: sum(executor.map(counted, [records] * tasks, range(tasks))),
        lambda total: total == right,
    )


if __name__ == "__main__":
    main(with_cloaca, with_pool, with_loky, with_joblib)
