"""One array of 200 MB, made at run time, and tasks that each read a part of it: who copies it, and how often?"""

from perf.contenders import pools
from perf.stopwatch import Figures, main, timed, timed_anew


def made(size):
    import numpy as np

    return np.arange(size, dtype=np.float64)


def summed(array, number, tasks):
    return float(array[number::tasks].sum())


def with_cloaca(tasks: int, size: int, workers: int) -> Figures:
    import cloaca

    with cloaca.WorkflowBuilder("array"):

        @cloaca.task()
        def make(context):
            context.set("array", made(size))

        for number in range(tasks):

            @cloaca.task(id=f"part {number}", dependencies=[make])
            def part(context, number=number):
                context.set(f"sum {number}", summed(context["array"], number, tasks))

        @cloaca.task(dependencies=[f"part {number}" for number in range(tasks)])
        def total(context):
            context.set("total", sum(context[f"sum {number}"] for number in range(tasks)))

    def run() -> float:
        with_everything = runner.execute("array")
        return with_everything.final_context["total"]

    with cloaca.DefaultRunner(workers=workers) as runner:
        yield from timed_sum(size, run)


def with_joblib(tasks: int, size: int, workers: int) -> Figures:
    """Large arrays are memory-mapped automatically, and the pool of workers is kept."""
    from joblib import delayed

    def run() -> float:
        array = made(size)
        return sum(parallel(delayed(summed)(array, number, tasks) for number in range(tasks)))

    with pools.joblib(workers) as parallel:
        yield from timed_sum(size, run)


def with_pool(tasks: int, size: int, workers: int) -> Figures:
    """What all tasks need is given to the workers when they start: so there is a pool for each array."""
    from multiprocessing import Pool

    def run() -> float:
        with Pool(workers, keep, (made(size),)) as pool:
            return sum(pool.map(summed_of_kept, [(number, tasks) for number in range(tasks)]))

    yield from timed_sum(size, run)


def keep(array):
    global kept  # noqa: PLW0603 - a worker's initializer has no other place for it
    kept = array


def summed_of_kept(part):
    return summed(kept, *part)


def with_mpire(tasks: int, size: int, workers: int) -> Figures:
    """Shared objects, which workers have from their start: so there is a pool for each array."""
    from mpire import WorkerPool

    def run() -> float:
        with WorkerPool(workers, shared_objects=made(size)) as pool:
            return sum(pool.map(summed, [(number, tasks) for number in range(tasks)]))

    yield from timed_sum(size, run)


def with_processpool(tasks: int, size: int, workers: int) -> Figures:
    """An argument, as the three that follow have no other way: it is sent with each task."""
    with pools.processpool(workers) as executor:
        yield from timed_sum(size, lambda: sum_of(executor.submit, tasks, size))


def with_loky(tasks: int, size: int, workers: int) -> Figures:
    with pools.loky(workers) as executor:
        yield from timed_sum(size, lambda: sum_of(executor.submit, tasks, size))


def with_pebble(tasks: int, size: int, workers: int) -> Figures:
    with pools.pebble(workers) as pool:
        yield from timed_sum(size, lambda: sum_of(pool.submit, tasks, size, None))  # without a time limit


def sum_of(submit, tasks, size, *options):
    array = made(size)
    futures = [submit(summed, *options, array, number, tasks) for number in range(tasks)]
    return sum(future.result() for future in futures)


def with_dask(tasks: int, size: int, workers: int) -> Figures:
    """One graph; a task makes the array where it is needed, which is better than to send it there."""
    from dask import delayed

    def graph():
        array = delayed(made)(size)
        return delayed(sum)([delayed(summed)(array, number, tasks) for number in range(tasks)])

    with pools.dask(workers):
        yield from timed_anew(graph, lambda total: total.compute(), lambda total: total == size * (size - 1) / 2)


def with_ray(tasks: int, size: int, workers: int) -> Figures:
    """A task makes the array; what others are given is the reference, and they map it."""
    with pools.ray(workers) as ray:
        make, part = ray.remote(made), ray.remote(summed)

        def run() -> float:
            array = make.remote(size)
            return sum(ray.get([part.remote(array, number, tasks) for number in range(tasks)]))

        yield from timed_sum(size, run)


def timed_sum(size, run):
    yield from timed(run, lambda total: total == size * (size - 1) / 2)


if __name__ == "__main__":
    main()
