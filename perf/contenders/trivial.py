"""Many independent tasks that do next to nothing, each submitted by itself, and the sum of what they leave.

Each could be another function: so `map`, which runs one, is no answer here. joblib and dask put several into one
message by themselves.
"""

from perf.contenders import pools
from perf.stopwatch import Figures, main, timed, timed_anew


def with_cloaca(tasks: int, workers: int) -> Figures:
    import cloaca

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


def same(number):
    return number


def with_processpool(tasks: int, workers: int) -> Figures:
    with pools.processpool(workers) as executor:
        yield from timed_total(tasks, lambda: total_of(executor.submit, tasks))


def with_loky(tasks: int, workers: int) -> Figures:
    with pools.loky(workers) as executor:
        yield from timed_total(tasks, lambda: total_of(executor.submit, tasks))


def with_pebble(tasks: int, workers: int) -> Figures:
    with pools.pebble(workers) as pool:
        yield from timed_total(tasks, lambda: total_of(pool.submit, tasks, None))  # without a time limit


def total_of(submit, tasks, *options):
    futures = [submit(same, *options, number) for number in range(tasks)]
    return sum(future.result() for future in futures)


def with_pool(tasks: int, workers: int) -> Figures:
    with pools.pool(workers) as pool:
        yield from timed_total(tasks, lambda: total_of_pool(pool, tasks))


def with_mpire(tasks: int, workers: int) -> Figures:
    with pools.mpire(workers) as pool:
        yield from timed_total(tasks, lambda: total_of_pool(pool, tasks))


def total_of_pool(pool, tasks):
    results = [pool.apply_async(same, (number,)) for number in range(tasks)]
    return sum(result.get() for result in results)


def with_joblib(tasks: int, workers: int) -> Figures:
    from joblib import delayed

    with pools.joblib(workers) as parallel:
        yield from timed_total(tasks, lambda: sum(parallel(delayed(same)(number) for number in range(tasks))))


def with_dask(tasks: int, workers: int) -> Figures:
    """One graph, which is made before the clock starts, as cloaca's workflow is."""
    from dask import delayed

    def graph():
        return delayed(sum)([delayed(same)(number) for number in range(tasks)])

    with pools.dask(workers):
        yield from timed_anew(graph, lambda total: total.compute(), lambda total: total == sum(range(tasks)))


def with_ray(tasks: int, workers: int) -> Figures:
    with pools.ray(workers) as ray:
        remote = ray.remote(same)
        yield from timed_total(tasks, lambda: sum(ray.get([remote.remote(number) for number in range(tasks)])))


def timed_total(tasks, run):
    yield from timed(run, lambda total: total == sum(range(tasks)))


if __name__ == "__main__":
    main()
