"""Tasks of which each needs the one before: nothing to run in parallel, every round trip counts.

Pools submit and wait, one after another; tools that know dependencies are given all of them at once. joblib can do
neither.
"""

from perf.contenders import pools
from perf.stopwatch import Figures, main, timed, timed_anew


def with_cloaca(tasks: int, workers: int) -> Figures:
    import cloaca

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


def successor(count):
    return count + 1


def with_processpool(tasks: int, workers: int) -> Figures:
    with pools.processpool(workers) as executor:
        yield from timed_count(tasks, lambda count: executor.submit(successor, count).result())


def with_pool(tasks: int, workers: int) -> Figures:
    with pools.pool(workers) as pool:
        yield from timed_count(tasks, lambda count: pool.apply(successor, (count,)))


def with_loky(tasks: int, workers: int) -> Figures:
    with pools.loky(workers) as executor:
        yield from timed_count(tasks, lambda count: executor.submit(successor, count).result())


def with_mpire(tasks: int, workers: int) -> Figures:
    with pools.mpire(workers) as pool:
        yield from timed_count(tasks, lambda count: pool.apply(successor, (count,)))


def with_pebble(tasks: int, workers: int) -> Figures:
    with pools.pebble(workers) as pool:
        yield from timed_count(tasks, lambda count: pool.submit(successor, None, count).result())


def timed_count(tasks, next_after):
    yield from timed(lambda: counted(tasks, next_after), lambda count: count == tasks)


def counted(tasks, next_after):
    count = 0
    for _ in range(tasks):
        count = next_after(count)
    return count


def with_dask(tasks: int, workers: int) -> Figures:
    """One graph, which is made before the clock starts, as cloaca's workflow is."""
    from dask import delayed

    with pools.dask(workers):
        yield from timed_anew(
            lambda: counted(tasks, delayed(successor)), lambda last: last.compute(), lambda count: count == tasks
        )


def with_ray(tasks: int, workers: int) -> Figures:
    """Each task is given the reference to the result of the one before."""
    with pools.ray(workers) as ray:
        remote = ray.remote(successor)
        yield from timed(lambda: ray.get(counted(tasks, remote.remote)), lambda count: count == tasks)


if __name__ == "__main__":
    main()
