"""3,000 results of 1 MB, of which the program needs one number each: what is kept, and for how long?"""

import numpy as np
from perf.script import WORKERS, Script, main

RESULTS = 3000


def features(number):
    return np.full(125_000, number, dtype=float)


def total(results):
    return sum(float(result[0]) for result in results)


def with_cloaca_map() -> Script:
    import cloaca

    yield
    with cloaca.DefaultRunner(workers=WORKERS) as runner:
        return total(runner.map(features, range(RESULTS)))


def with_cloaca_for_each() -> Script:
    import cloaca

    with cloaca.WorkflowBuilder("features"):

        @cloaca.task(for_each="numbers")
        def one(context, item):
            context["features"] = features(item)

    yield
    with cloaca.DefaultRunner(workers=WORKERS) as runner:
        result = runner.execute("features", cloaca.Context({"numbers": list(range(RESULTS))}))
        return total(result.final_context["features"])


def with_pool() -> Script:
    from multiprocessing import Pool

    yield
    with Pool(WORKERS) as pool:
        return total(pool.imap(features, range(RESULTS)))


def with_joblib() -> Script:
    from joblib import Parallel, delayed

    yield
    parallel = Parallel(n_jobs=WORKERS, return_as="generator")
    return total(parallel(delayed(features)(number) for number in range(RESULTS)))


if __name__ == "__main__":
    main()
