"""100,000 tiny items of some 10 us: short pieces of DNA, and how often the commonest four letters stand in each."""

import random
from collections import Counter

from perf.script import WORKERS, Script, main


def given():
    draw = random.Random(5)
    return ["".join(draw.choices("ACGT", k=60)) for _ in range(100_000)]


def fours(read):
    counts = Counter(read[start : start + 4] for start in range(len(read) - 3))
    return max(counts.values()), len(counts)


def with_cloaca_map() -> Script:
    import cloaca

    reads = given()
    yield
    with cloaca.DefaultRunner(workers=WORKERS) as runner:
        return list(runner.map(fours, reads))


def with_cloaca_for_each() -> Script:
    import cloaca

    with cloaca.WorkflowBuilder("reads"):

        @cloaca.task(for_each="reads")
        def one(context, item):
            context["fours"] = fours(item)

    reads = given()
    yield
    with cloaca.DefaultRunner(workers=WORKERS) as runner:
        return list(runner.execute("reads", cloaca.Context({"reads": reads})).final_context["fours"])


def with_pool() -> Script:
    """In chunks of a size that a user has found by trying."""
    from multiprocessing import Pool

    reads = given()
    yield
    with Pool(WORKERS) as pool:
        return list(pool.imap(fours, reads, chunksize=100))


def with_processpool() -> Script:
    """In chunks of a size that a user has found by trying."""
    from concurrent.futures import ProcessPoolExecutor

    reads = given()
    yield
    with ProcessPoolExecutor(WORKERS) as pool:
        return list(pool.map(fours, reads, chunksize=1000))


def with_joblib() -> Script:
    from joblib import Parallel, delayed

    reads = given()
    yield
    return Parallel(n_jobs=WORKERS)(delayed(fours)(read) for read in reads)


if __name__ == "__main__":
    main()
