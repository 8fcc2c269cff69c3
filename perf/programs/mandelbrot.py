"""A picture of the Mandelbrot set in 64 tiles, whose coordinates go to workers as arrays; some take far longer."""

from itertools import product

import numpy as np
from perf.script import WORKERS, Script, main

SIZE, TILES, LIMIT = 1024, 8, 400
STEP = SIZE // TILES


def tiles():
    """The place of each tile in the picture, and the numbers that belong to its points."""
    imaginary, real = np.mgrid[-1.5 : 1.5 : SIZE * 1j, -2 : 1 : SIZE * 1j]
    for row, column in product(range(0, SIZE, STEP), range(0, SIZE, STEP)):
        at = np.s_[row : row + STEP, column : column + STEP]
        yield at, real[at] + 1j * imaginary[at]


def escapes(tile):
    """After how many steps each point has left the circle."""
    at, start = tile
    here = np.zeros_like(start)
    steps = np.zeros(start.shape, dtype=np.int64)
    inside = np.ones(start.shape, dtype=bool)
    for step in range(LIMIT):
        here[inside] = here[inside] ** 2 + start[inside]
        inside &= np.abs(here) < 2
        if not inside.any():
            break
        steps[inside] = step
    return at, steps


def with_cloaca_map() -> Script:
    import cloaca

    items = list(tiles())
    yield
    with cloaca.DefaultRunner(workers=WORKERS) as runner:
        return painted(runner.map(escapes, items))


def with_processpool() -> Script:
    from concurrent.futures import ProcessPoolExecutor, as_completed

    items = list(tiles())
    yield
    with ProcessPoolExecutor(WORKERS) as pool:
        return painted(done.result() for done in as_completed([pool.submit(escapes, item) for item in items]))


def painted(results):
    picture = np.zeros((SIZE, SIZE), dtype=np.int64)
    for at, steps in results:
        picture[at] = steps
    return picture


if __name__ == "__main__":
    main()
