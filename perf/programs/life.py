"""The game of life in four strips, 40 steps: each step of a strip needs the edges of its neighbours."""

import numpy as np
from perf.script import WORKERS, Script, main

STRIPS, STEPS, HEIGHT, WIDTH = 4, 40, 600, 2400


def given():
    world = np.random.default_rng(8).random((STRIPS * HEIGHT, WIDTH)) < 0.3
    return np.split(world.astype(np.uint8), STRIPS)


def grown(above, strip, below):
    padded = np.pad(np.vstack([above[-1:], strip, below[:1]]), ((0, 0), (1, 1)), mode="wrap")
    height, width = strip.shape
    windows = [padded[y : y + height, x : x + width] for y in range(3) for x in range(3) if (y, x) != (1, 1)]
    neighbours = sum(windows)
    return ((neighbours == 3) | ((neighbours == 2) & (strip == 1))).astype(np.uint8)


def with_neighbours(number):
    return [(number + shift) % STRIPS for shift in (-1, 0, 1)]


def with_cloaca_tasks() -> Script:
    import cloaca

    with cloaca.WorkflowBuilder("life"):
        for step in range(STEPS):
            for number in range(STRIPS):
                near = with_neighbours(number)
                before = [f"{step - 1}: {other}" for other in near] if step else []
                names = [f"strip {other}" for other in near]
                cloaca.task(id=f"{step}: {number}", dependencies=before, reads=names)(grower(names))

    strips = given()
    yield
    with cloaca.DefaultRunner(workers=WORKERS) as runner:
        context = cloaca.Context({f"strip {number}": strip for number, strip in enumerate(strips)})
        final = runner.execute("life", context).final_context
        return np.vstack([final[f"strip {number}"] for number in range(STRIPS)])


def grower(names):
    def work(context):
        context[names[1]] = grown(*(context[name] for name in names))

    return work


def with_cloaca_map() -> Script:
    import cloaca

    strips = given()
    yield
    with cloaca.DefaultRunner(workers=WORKERS) as runner:
        return played(strips, lambda threes: list(runner.map(lambda three: grown(*three), threes)))


def with_pool() -> Script:
    from multiprocessing import Pool

    strips = given()
    yield
    with Pool(WORKERS) as pool:
        return played(strips, lambda threes: pool.starmap(grown, threes))


def played(strips, step):
    for _ in range(STEPS):
        strips = step([tuple(strips[other] for other in with_neighbours(number)) for number in range(STRIPS)])
    return np.vstack(strips)


if __name__ == "__main__":
    main()
