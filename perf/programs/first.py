"""The first result of a new runner or pool: a small script, whose time is all start and end."""

import numpy as np
from perf.script import WORKERS, Script, main

ITEMS = [np.ones(10)] * 4


def total(values):
    return float(values.sum())


def with_cloaca(total=total) -> Script:
    import cloaca

    runner_class = cloaca.DefaultRunner
    yield
    with runner_class(workers=WORKERS) as runner:
        return list(runner.map(total, ITEMS))


def with_processpool(total=total) -> Script:
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    yield
    with ProcessPoolExecutor(WORKERS, get_context("fork")) as pool:
        return list(pool.map(total, ITEMS))


def with_joblib(total=total) -> Script:
    from joblib import Parallel, delayed

    yield
    return Parallel(n_jobs=WORKERS)(delayed(total)(item) for item in ITEMS)


if __name__ == "__main__":
    main()
