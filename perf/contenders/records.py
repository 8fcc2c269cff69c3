"""One list of 200,000 records, and tasks that each go through all of it: who encodes it, and how often?"""

from perf.contenders import pools
from perf.stopwatch import Figures, main, timed


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

    def run(records) -> int:
        result = runner.execute("records", cloaca.Context({"records": records}))
        return sum(result.final_context[f"count {number}"] for number in range(tasks))

    with cloaca.DefaultRunner(workers=workers) as runner:
        yield from timed_count(tasks, size, run)


def with_processpool(tasks: int, size: int, workers: int) -> Figures:
    """An argument, as pools that are kept have no other way."""
    with pools.processpool(workers) as executor:
        yield from timed_count(tasks, size, lambda records: sum(executor.map(counted, [records] * tasks, range(tasks))))


def with_loky(tasks: int, size: int, workers: int) -> Figures:
    with pools.loky(workers) as executor:
        yield from timed_count(tasks, size, lambda records: sum(executor.map(counted, [records] * tasks, range(tasks))))


def with_pebble(tasks: int, size: int, workers: int) -> Figures:
    with pools.pebble(workers) as pool:
        yield from timed_count(
            tasks, size, lambda records: sum(pool.map(counted, [records] * tasks, range(tasks)).result())
        )


def with_joblib(tasks: int, size: int, workers: int) -> Figures:
    from joblib import delayed

    with pools.joblib(workers) as parallel:
        yield from timed_count(
            tasks, size, lambda records: sum(parallel(delayed(counted)(records, number) for number in range(tasks)))
        )


def with_pool(tasks: int, size: int, workers: int) -> Figures:
    """What all tasks need is given to the workers when they start: so there is a pool for each list."""
    from multiprocessing import Pool

    def run(records) -> int:
        with Pool(workers, keep, (records,)) as pool:
            return sum(pool.map(counted_of_kept, range(tasks)))

    yield from timed_count(tasks, size, run)


def keep(records):
    global kept  # noqa: PLW0603 - a worker's initializer has no other place for it
    kept = records


def counted_of_kept(number):
    return counted(kept, number)


def with_mpire(tasks: int, size: int, workers: int) -> Figures:
    """Shared objects, which workers have from their start: so there is a pool for each list."""
    from mpire import WorkerPool

    def run(records) -> int:
        with WorkerPool(workers, shared_objects=records) as pool:
            return sum(pool.map(counted, range(tasks)))

    yield from timed_count(tasks, size, run)


def with_dask(tasks: int, size: int, workers: int) -> Figures:
    """Scattered once, to all workers."""
    with pools.dask(workers) as client:

        def run(records) -> int:
            (held,) = client.scatter([records], broadcast=True)
            return sum(client.gather(client.map(counted, [held] * tasks, range(tasks), pure=False)))

        yield from timed_count(tasks, size, run)


def with_ray(tasks: int, size: int, workers: int) -> Figures:
    """Put into the object store once; each task is given the reference."""
    with pools.ray(workers) as ray:
        remote = ray.remote(counted)

        def run(records) -> int:
            held = ray.put(records)
            return sum(ray.get([remote.remote(held, number) for number in range(tasks)]))

        yield from timed_count(tasks, size, run)


def timed_count(tasks, size, run):
    records = made(size)
    right = sum(counted(records, number) for number in range(tasks))
    yield from timed(lambda: run(records), lambda total: total == right)


if __name__ == "__main__":
    main()
