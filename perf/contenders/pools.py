"""How each peer is started with so many workers, and ended. When one is handed out, its workers have run some tasks."""

import os
from contextlib import contextmanager

STARTERS = range(20)


def nothing(_):
    pass


@contextmanager
def processpool(workers):
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(workers) as executor:
        list(executor.map(nothing, STARTERS))
        yield executor


@contextmanager
def pool(workers):
    from multiprocessing import Pool

    with Pool(workers) as pool:
        pool.map(nothing, STARTERS)
        yield pool


@contextmanager
def loky(workers):
    from loky import get_reusable_executor

    executor = get_reusable_executor(max_workers=workers)
    list(executor.map(nothing, STARTERS))
    yield executor
    executor.shutdown()


@contextmanager
def joblib(workers):
    from joblib import Parallel, delayed

    with Parallel(n_jobs=workers, batch_size="auto") as parallel:
        parallel(delayed(nothing)(number) for number in STARTERS)
        yield parallel


@contextmanager
def mpire(workers):
    from mpire import WorkerPool

    with WorkerPool(n_jobs=workers, keep_alive=True) as pool:
        pool.map(nothing, STARTERS)
        yield pool


@contextmanager
def pebble(workers):
    from pebble import ProcessPool

    with ProcessPool(max_workers=workers) as pool:
        list(pool.map(nothing, STARTERS).result())
        yield pool


@contextmanager
def dask(workers):
    with start_dask(workers) as client:
        client.gather(client.map(nothing, STARTERS))
        yield client


@contextmanager
def start_dask(workers):
    """Without its dashboard, which costs time and wants a port."""
    from distributed import Client, LocalCluster

    cluster = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)
    with cluster, Client(cluster) as client:
        yield client


@contextmanager
def ray(workers):
    ray = start_ray(workers)
    start = ray.remote(nothing)
    ray.get([start.remote(number) for number in STARTERS])
    yield ray
    ray.shutdown()


def start_ray(workers):
    """Without its dashboard, and without sending home what it did."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="error")
    return ray
