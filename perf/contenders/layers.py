"""Layers of tasks that do next to nothing; each task needs three of the layer before, drawn at random, always the same.

Tools that know dependencies are given all of them at once. Pools have none: they map one layer after the other. cloaca
is told which keys a task reads (`reads`), as names that are put together at run time can't be seen in the task's code.
"""

import random

from perf.contenders import pools
from perf.stopwatch import Figures, main, timed, timed_anew

READ = 3
PRIME = 1_000_003


def wired(layers, width):
    """For each task of each layer but the first, the places of what it reads in the layer before."""
    chance = random.Random(6)
    return [[chance.sample(range(width), READ) for _ in range(width)] for _ in range(layers - 1)]


def combined(*values):
    return (sum(values) + 1) % PRIME


def with_cloaca(layers: int, width: int, workers: int) -> Figures:
    import cloaca

    wiring = wired(layers, width)
    with cloaca.WorkflowBuilder("layers"):
        for place in range(width):
            cloaca.task(id=f"0:{place}")(setter(place))
        for layer, wires in enumerate(wiring):
            for place, read in enumerate(wires):
                names = [f"{layer}:{number}" for number in read]
                cloaca.task(id=f"{layer + 1}:{place}", dependencies=names, reads=names)(
                    combiner(f"{layer + 1}:{place}", names)
                )
        last = [f"{layers - 1}:{place}" for place in range(width)]

        @cloaca.task(dependencies=last)
        def total(context):
            context.set("total", sum(context[name] for name in last))

    right = total_of(width, wiring, one_by_one)
    with cloaca.DefaultRunner(workers=workers) as runner:
        yield from timed(lambda: runner.execute("layers"), lambda result: result.final_context["total"] == right)


def setter(place):
    return lambda context: context.set(f"0:{place}", place)


def combiner(name, names):
    return lambda context: context.set(name, combined(*(context[other] for other in names)))


def with_processpool(layers: int, width: int, workers: int) -> Figures:
    chunk = chunk_of(width, workers)
    with pools.processpool(workers) as executor:
        yield from timed_layers(layers, width, lambda layer: executor.map(combined, *columns(layer), chunksize=chunk))


def with_loky(layers: int, width: int, workers: int) -> Figures:
    chunk = chunk_of(width, workers)
    with pools.loky(workers) as executor:
        yield from timed_layers(layers, width, lambda layer: executor.map(combined, *columns(layer), chunksize=chunk))


def with_pebble(layers: int, width: int, workers: int) -> Figures:
    chunk = chunk_of(width, workers)
    with pools.pebble(workers) as pool:
        yield from timed_layers(
            layers, width, lambda layer: pool.map(combined, *columns(layer), chunksize=chunk).result()
        )


def columns(layer):
    return zip(*layer, strict=True)


def chunk_of(width, workers):
    """As many as `multiprocessing.Pool` would put into one."""
    return -(-width // (4 * workers))


def with_pool(layers: int, width: int, workers: int) -> Figures:
    with pools.pool(workers) as pool:
        yield from timed_layers(layers, width, lambda layer: pool.starmap(combined, layer))


def with_mpire(layers: int, width: int, workers: int) -> Figures:
    with pools.mpire(workers) as pool:
        yield from timed_layers(layers, width, lambda layer: pool.map(combined, layer))


def with_joblib(layers: int, width: int, workers: int) -> Figures:
    from joblib import delayed

    with pools.joblib(workers) as parallel:
        yield from timed_layers(layers, width, lambda layer: parallel(delayed(combined)(*values) for values in layer))


def timed_layers(layers, width, map_one):
    wiring = wired(layers, width)
    right = total_of(width, wiring, one_by_one)
    yield from timed(lambda: total_of(width, wiring, map_one), lambda total: total == right)


def total_of(width, wiring, map_one):
    """The sum of the last layer; `map_one` makes the values of one layer, of tuples of those before."""
    values = range(width)
    for wires in wiring:
        values = list(map_one([tuple(values[number] for number in read) for read in wires]))
    return sum(values)


def one_by_one(layer):
    return [combined(*values) for values in layer]


def with_dask(layers: int, width: int, workers: int) -> Figures:
    """One graph, which is made before the clock starts, as cloaca's workflow is."""
    from dask import delayed

    wiring = wired(layers, width)
    right = total_of(width, wiring, one_by_one)

    def graph():
        one = delayed(combined)
        values = [delayed(same)(place) for place in range(width)]
        for wires in wiring:
            values = [one(*(values[number] for number in read)) for read in wires]
        return delayed(sum)(values)

    with pools.dask(workers):
        yield from timed_anew(graph, lambda total: total.compute(), lambda total: total == right)


def same(place):
    return place


def with_ray(layers: int, width: int, workers: int) -> Figures:
    """Each task is given references to the results that it needs."""
    wiring = wired(layers, width)
    right = total_of(width, wiring, one_by_one)
    with pools.ray(workers) as ray:
        first, remote = ray.remote(same), ray.remote(combined)

        def run() -> int:
            values = [first.remote(place) for place in range(width)]
            for wires in wiring:
                values = [remote.remote(*(values[number] for number in read)) for read in wires]
            return sum(ray.get(values))

        yield from timed(run, lambda total: total == right)


if __name__ == "__main__":
    main()
