"""One trivial function over many items: what a pool's `map` is made for."""

from perf.contenders import pools
from perf.stopwatch import Figures, main, timed


def successor(number):
    return number + 1


def with_cloaca(items: int, workers: int) -> Figures:
    import cloaca

    with cloaca.DefaultRunner(workers=workers) as runner:
        yield from timed_map(items, lambda: list(runner.map(successor, range(items))))


def with_pool(items: int, workers: int) -> Figures:
    with pools.pool(workers) as pool:
        yield from timed_map(items, lambda: pool.map(successor, range(items)))


def with_mpire(items: int, workers: int) -> Figures:
    with pools.mpire(workers) as pool:
        yield from timed_map(items, lambda: pool.map(successor, range(items)))


def with_processpool(items: int, workers: int) -> Figures:
    chunk = chunk_of(items, workers)
    with pools.processpool(workers) as executor:
        yield from timed_map(items, lambda: list(executor.map(successor, range(items), chunksize=chunk)))


def with_loky(items: int, workers: int) -> Figures:
    chunk = chunk_of(items, workers)
    with pools.loky(workers) as executor:
        yield from timed_map(items, lambda: list(executor.map(successor, range(items), chunksize=chunk)))


def with_pebble(items: int, workers: int) -> Figures:
    chunk = chunk_of(items, workers)
    with pools.pebble(workers) as pool:
        yield from timed_map(items, lambda: list(pool.map(successor, range(items), chunksize=chunk).result()))


def with_joblib(items: int, workers: int) -> Figures:
    from joblib import delayed

    with pools.joblib(workers) as parallel:
        yield from timed_map(items, lambda: parallel(delayed(successor)(number) for number in range(items)))


def with_dask(items: int, workers: int) -> Figures:
    """In batches, as its best practices say. Its own collection for this, the bag, takes twice as long here."""
    with pools.dask(workers) as client:
        yield from timed_map(
            items, lambda: joined(client.gather(client.map(successors, batched(items, workers), pure=False)))
        )


def with_ray(items: int, workers: int) -> Figures:
    """In batches: a task for each item is what its documentation warns of."""
    with pools.ray(workers) as ray:
        remote = ray.remote(successors)
        yield from timed_map(
            items, lambda: joined(ray.get([remote.remote(batch) for batch in batched(items, workers)]))
        )


def successors(numbers):
    return [successor(number) for number in numbers]


def batched(items, workers):
    chunk = chunk_of(items, workers)
    return [range(start, min(start + chunk, items)) for start in range(0, items, chunk)]


def joined(batches):
    return [number for batch in batches for number in batch]


def chunk_of(items, workers):
    """As many as `multiprocessing.Pool` would put into one."""
    return -(-items // (4 * workers))


def timed_map(items, run):
    yield from timed(run, lambda values: values == list(range(1, items + 1)))


if __name__ == "__main__":
    main()
