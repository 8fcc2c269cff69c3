"""Bootstrap: 400 times, quantiles of 200,000 values that are drawn from as many. All draw from one array."""

from functools import partial

import numpy as np
from perf.script import WORKERS, Script, main

DRAWS = 400


def given():
    return np.random.default_rng(0).lognormal(size=200_000)


def quantiles(values, seed):
    draw = np.random.default_rng(seed)
    return np.quantile(values[draw.integers(0, len(values), len(values))], (0.05, 0.5, 0.95))


def with_cloaca_map() -> Script:
    import cloaca

    values = given()
    yield
    with cloaca.DefaultRunner(workers=WORKERS) as runner:
        return np.array(list(runner.map(partial(quantiles, values), range(DRAWS))))


def with_processpool() -> Script:
    from concurrent.futures import ProcessPoolExecutor

    values = given()
    yield
    with ProcessPoolExecutor(WORKERS) as pool:
        return np.array(list(pool.map(partial(quantiles, values), range(DRAWS))))


def with_joblib() -> Script:
    from joblib import Parallel, delayed

    values = given()
    yield
    return np.array(Parallel(n_jobs=WORKERS)(delayed(quantiles)(values, seed) for seed in range(DRAWS)))


if __name__ == "__main__":
    main()
