"""From nothing to the first result. Every contender imports what it needs itself, on the clock or before it starts."""

from time import perf_counter

from perf.contenders.pools import start_ray
from perf.stopwatch import Figures, main


def with_cloaca(workers: int) -> Figures:
    import cloaca

    define_answer(cloaca)
    runner_class = cloaca.DefaultRunner
    start = perf_counter()
    with runner_class(workers=workers) as runner:
        assert runner.execute("answer").final_context["answer"] == 42
        yield perf_counter() - start


def with_cloaca_and_its_imports(workers: int) -> Figures:
    start = perf_counter()
    import cloaca

    define_answer(cloaca)
    with cloaca.DefaultRunner(workers=workers) as runner:
        assert runner.execute("answer").final_context["answer"] == 42
        yield perf_counter() - start


def define_answer(cloaca):
    with cloaca.WorkflowBuilder("answer"):

        @cloaca.task()
        def answer(context):
            context.set("answer", 42)


def with_processpool(workers: int, method: str) -> Figures:
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    start = perf_counter()
    with ProcessPoolExecutor(workers, get_context(method)) as executor:
        assert executor.submit(the_answer).result() == 42
        yield perf_counter() - start


def with_processpool_and_its_imports(workers: int, method: str) -> Figures:
    start = perf_counter()
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(workers, get_context(method)) as executor:
        assert executor.submit(the_answer).result() == 42
        yield perf_counter() - start


def with_pool(workers: int) -> Figures:
    from multiprocessing import Pool

    start = perf_counter()
    with Pool(workers) as pool:
        assert pool.apply(the_answer) == 42
        yield perf_counter() - start


def with_loky(workers: int) -> Figures:
    from loky import get_reusable_executor

    start = perf_counter()
    executor = get_reusable_executor(max_workers=workers)
    assert executor.submit(the_answer).result() == 42
    yield perf_counter() - start
    executor.shutdown()


def with_joblib(workers: int) -> Figures:
    from joblib import Parallel, delayed

    start = perf_counter()
    assert Parallel(n_jobs=workers)([delayed(the_answer)()]) == [42]
    yield perf_counter() - start


def with_mpire(workers: int) -> Figures:
    from mpire import WorkerPool

    start = perf_counter()
    with WorkerPool(workers) as pool:
        assert pool.apply(the_answer) == 42
        yield perf_counter() - start


def with_pebble(workers: int) -> Figures:
    from pebble import ProcessPool

    start = perf_counter()
    with ProcessPool(max_workers=workers) as pool:
        assert pool.submit(the_answer, None).result() == 42
        yield perf_counter() - start


def with_dask(workers: int) -> Figures:
    from distributed import Client, LocalCluster

    start = perf_counter()
    cluster = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)
    with cluster, Client(cluster) as client:
        assert client.submit(the_answer).result() == 42
        yield perf_counter() - start


def with_ray(workers: int) -> Figures:
    import ray

    start = perf_counter()
    start_ray(workers)
    assert ray.get(ray.remote(the_answer).remote()) == 42
    yield perf_counter() - start
    ray.shutdown()


def the_answer():
    return 42


if __name__ == "__main__":
    main()
