"""One array of 256 MB that the program has; a function goes through 56 windows of it. Who copies it, and how often?"""

from functools import partial

import numpy as np
from perf.script import WORKERS, Script, main


def given():
    windows = [slice(start, start + 4_000_000) for start in range(0, 28_000_000, 500_000)]
    return np.random.default_rng(1).random(32_000_000), windows


def spread(data, window):
    part = data[window]
    return float(np.sqrt(((part - part.mean()) ** 2).mean()))


def with_cloaca_map() -> Script:
    import cloaca

    data, windows = given()
    yield
    with cloaca.DefaultRunner(workers=WORKERS) as runner:
        return list(runner.map(partial(spread, data), windows))


def with_cloaca_for_each() -> Script:
    import cloaca

    with cloaca.WorkflowBuilder("spreads"):

        @cloaca.task(for_each="windows")
        def one(context, item):
            context["spread"] = spread(context["data"], item)

    data, windows = given()
    yield
    with cloaca.DefaultRunner(workers=WORKERS) as runner:
        result = runner.execute("spreads", cloaca.Context({"data": data, "windows": windows}))
        return result.final_context["spread"]


def with_joblib() -> Script:
    from joblib import Parallel, delayed

    data, windows = given()
    yield
    return Parallel(n_jobs=WORKERS)(delayed(spread)(data, window) for window in windows)


def with_pool() -> Script:
    """Forked: what the initializer is given is there, and not copied."""
    from multiprocessing import get_context

    data, windows = given()
    yield
    with get_context("fork").Pool(WORKERS, keep, (data,)) as pool:
        return pool.map(spread_of_kept, windows)


def keep(data):
    global kept  # noqa: PLW0603 - a worker's initializer has no other place for it
    kept = data


def spread_of_kept(window):
    return spread(kept, window)


if __name__ == "__main__":
    main()
