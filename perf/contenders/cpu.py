"""Independent tasks of pure Python that each keep a core busy for a while: they are handed out one at a time."""

from time import perf_counter

from perf.contenders import pools
from perf.stopwatch import Figures, main, timed


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
    import cloaca

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


def in_a_loop(tasks: int, loops: int) -> Figures:
    yield from timed_burning(tasks, loops, lambda: [burn(loops) for _ in range(tasks)])


def with_processpool(tasks: int, workers: int, loops: int) -> Figures:
    with pools.processpool(workers) as executor:
        yield from timed_burning(tasks, loops, lambda: list(executor.map(burn, [loops] * tasks)))


def with_loky(tasks: int, workers: int, loops: int) -> Figures:
    with pools.loky(workers) as executor:
        yield from timed_burning(tasks, loops, lambda: list(executor.map(burn, [loops] * tasks)))


def with_pool(tasks: int, workers: int, loops: int) -> Figures:
    with pools.pool(workers) as pool:
        yield from timed_burning(tasks, loops, lambda: pool.map(burn, [loops] * tasks, chunksize=1))


def with_mpire(tasks: int, workers: int, loops: int) -> Figures:
    with pools.mpire(workers) as pool:
        yield from timed_burning(tasks, loops, lambda: pool.map(burn, [loops] * tasks, chunk_size=1))


def with_pebble(tasks: int, workers: int, loops: int) -> Figures:
    with pools.pebble(workers) as pool:
        yield from timed_burning(tasks, loops, lambda: list(pool.map(burn, [loops] * tasks).result()))


def with_joblib(tasks: int, workers: int, loops: int) -> Figures:
    from joblib import delayed

    with pools.joblib(workers) as parallel:
        yield from timed_burning(tasks, loops, lambda: parallel(delayed(burn)(loops) for _ in range(tasks)))


def with_dask(tasks: int, workers: int, loops: int) -> Figures:
    with pools.dask(workers) as client:
        yield from timed_burning(tasks, loops, lambda: client.gather(client.map(burn, [loops] * tasks, pure=False)))


def with_ray(tasks: int, workers: int, loops: int) -> Figures:
    with pools.ray(workers) as ray:
        remote = ray.remote(burn)
        yield from timed_burning(tasks, loops, lambda: ray.get([remote.remote(loops) for _ in range(tasks)]))


def timed_burning(tasks, loops, run):
    expected = [burn(loops)] * tasks
    yield from timed(run, lambda values: values == expected)


if __name__ == "__main__":
    main()
