"""An option's price by simulation: 32 jobs of plain Python, each with a seed of its own."""

import math
import random

from perf.script import WORKERS, Script, main

JOBS = [(seed, 60_000) for seed in range(32)]


def price(job):
    seed, paths = job
    gauss = random.Random(seed).gauss
    gains = (max(100 * math.exp(0.03 + 0.2 * gauss(0, 1)) - 100, 0) for _ in range(paths))
    return math.exp(-0.05) * sum(gains) / paths


def with_cloaca_map() -> Script:
    import cloaca

    yield
    with cloaca.DefaultRunner(workers=WORKERS) as runner:
        return sum(runner.map(price, JOBS)) / len(JOBS)


def with_pool() -> Script:
    from multiprocessing import Pool

    yield
    with Pool(WORKERS) as pool:
        return sum(pool.map(price, JOBS)) / len(JOBS)


if __name__ == "__main__":
    main()
