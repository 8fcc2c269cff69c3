"""16 chains of three stages that leave 40 MB each to the next one."""

import numpy as np
from perf.contenders import pools
from perf.script import WORKERS, Script, main

CHAINS, SIZE = 16, 5_000_000


def grown(seed):
    return np.random.default_rng(seed).random(SIZE)


def warped(data):
    return np.sqrt(data) * 2


def shrunk(data):
    return float(data.sum())


def chain(seed):
    return shrunk(warped(grown(seed)))


def with_cloaca_tasks() -> Script:
    import cloaca

    with cloaca.WorkflowBuilder("chains"):
        ends = [tasks_of(seed) for seed in range(CHAINS)]

        @cloaca.task(dependencies=ends)
        def total(context):
            context["total"] = sum(context[f"part {seed}"] for seed in range(CHAINS))

    yield
    with cloaca.DefaultRunner(workers=WORKERS) as runner:
        return runner.execute("chains").final_context["total"]


def tasks_of(seed):
    import cloaca

    @cloaca.task(id=f"grow {seed}")
    def grow(context):
        context[f"grown {seed}"] = grown(seed)

    @cloaca.task(id=f"warp {seed}", dependencies=[grow])
    def warp(context):
        context[f"warped {seed}"] = warped(context[f"grown {seed}"])

    @cloaca.task(id=f"shrink {seed}", dependencies=[warp])
    def shrink(context):
        context[f"part {seed}"] = shrunk(context[f"warped {seed}"])

    return shrink


def with_cloaca_for_each() -> Script:
    import cloaca

    with cloaca.WorkflowBuilder("chains"):

        @cloaca.task(for_each="seeds")
        def grow(context, item):
            context["grown"] = grown(item)

        @cloaca.task(dependencies=[grow], for_each="seeds")
        def warp(context, item):
            context["warped"] = warped(context["grown"])

        @cloaca.task(dependencies=[warp], for_each="seeds")
        def shrink(context, item):
            context["part"] = shrunk(context["warped"])

        @cloaca.task(dependencies=[shrink])
        def total(context):
            context["total"] = sum(context["part"])

    yield
    with cloaca.DefaultRunner(workers=WORKERS) as runner:
        return runner.execute("chains", cloaca.Context({"seeds": list(range(CHAINS))})).final_context["total"]


def with_cloaca_map() -> Script:
    """All stages fused into one function, as for a pool."""
    import cloaca

    yield
    with cloaca.DefaultRunner(workers=WORKERS) as runner:
        return sum(runner.map(chain, range(CHAINS)))


def with_processpool() -> Script:
    """All stages of a chain are fused into one function, as a pool has no stages."""
    from concurrent.futures import ProcessPoolExecutor

    yield
    with ProcessPoolExecutor(WORKERS) as pool:
        return sum(pool.map(chain, range(CHAINS)))


def with_dask() -> Script:
    """As separate stages: dask would fuse them by itself."""
    from dask import delayed

    yield
    with pools.start_dask(WORKERS):
        parts = [delayed(shrunk)(delayed(warped)(delayed(grown)(seed))) for seed in range(CHAINS)]
        return delayed(sum)(parts).compute(optimize_graph=False)


def with_ray() -> Script:
    yield
    ray = pools.start_ray(WORKERS)
    grow, warp, shrink = map(ray.remote, (grown, warped, shrunk))
    total = sum(ray.get([shrink.remote(warp.remote(grow.remote(seed))) for seed in range(CHAINS)]))
    ray.shutdown()
    return total


if __name__ == "__main__":
    main()
