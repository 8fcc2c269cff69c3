"""k-means: 8 blocks of 10 MB stay, and 12 times each is gone through with new centres."""

from functools import partial

import numpy as np
from perf.contenders import pools
from perf.script import WORKERS, Script, main

BLOCKS, POINTS, CENTRES, ROUNDS = 8, 150_000, 8, 12


def given():
    """The blocks, and where the centres begin."""
    blocks = [points(np.random.default_rng(number)) for number in range(BLOCKS)]
    return blocks, blocks[0][:CENTRES].copy()


def points(draw):
    return draw.normal(draw.integers(0, 10, (POINTS, 1)), 1.0, (POINTS, 8))


def gathered(centres, block):
    """For each centre, the sum of the points that are nearest to it, and how many they are."""
    distances = (block**2).sum(1)[:, None] - 2 * block @ centres.T + (centres**2).sum(1)
    nearest = distances.argmin(1)
    sums = np.stack([block[nearest == centre].sum(0) for centre in range(CENTRES)])
    return sums, np.bincount(nearest, minlength=CENTRES)


def moved(found):
    sums, counts = (sum(parts) for parts in zip(*found, strict=True))
    return sums / np.maximum(counts, 1)[:, None]


def found_by(step, centres):
    """Where the centres end, given what takes a step with all blocks."""
    for _ in range(ROUNDS):
        centres = moved(step(centres))
    return centres.round(6)


def with_cloaca_map() -> Script:
    import cloaca

    blocks, centres = given()
    yield
    with cloaca.DefaultRunner(workers=WORKERS) as runner:
        return found_by(lambda centres: list(runner.map(partial(gathered, centres), blocks)), centres)


def with_cloaca_tasks() -> Script:
    import cloaca

    with cloaca.WorkflowBuilder("k-means"):
        parts = [cloaca.task(id=f"gather {number}")(gatherer(number)) for number in range(BLOCKS)]

        @cloaca.task(dependencies=parts)
        def move(context):
            context["centres"] = moved([context[f"found {number}"] for number in range(BLOCKS)])

    blocks, centres = given()
    yield
    context = cloaca.Context({f"block {number}": block for number, block in enumerate(blocks)})
    context["centres"] = centres
    with cloaca.DefaultRunner(workers=WORKERS) as runner:
        for _ in range(ROUNDS):
            context = runner.execute("k-means", context).final_context
        return context["centres"].round(6)


def gatherer(number):
    def work(context):
        context[f"found {number}"] = gathered(context["centres"], context[f"block {number}"])

    return work


def with_pool() -> Script:
    """Forked: what the initializer is given is there, and not copied."""
    from multiprocessing import get_context

    blocks, centres = given()
    yield
    with get_context("fork").Pool(WORKERS, keep, (blocks,)) as pool:
        return found_by(lambda centres: pool.map(partial(gathered_of_kept, centres), range(BLOCKS)), centres)


def keep(blocks):
    global kept  # noqa: PLW0603 - a worker's initializer has no other place for it
    kept = blocks


def gathered_of_kept(centres, number):
    return gathered(centres, kept[number])


def with_joblib() -> Script:
    from joblib import Parallel, delayed

    blocks, centres = given()
    yield
    with Parallel(n_jobs=WORKERS) as parallel:
        return found_by(lambda centres: parallel(delayed(gathered)(centres, block) for block in blocks), centres)


def with_ray() -> Script:
    blocks, centres = given()
    yield
    ray = pools.start_ray(WORKERS)
    gather, held = ray.remote(gathered), [ray.put(block) for block in blocks]
    centres = found_by(lambda centres: ray.get([gather.remote(centres, block) for block in held]), centres)
    ray.shutdown()
    return centres


if __name__ == "__main__":
    main()
