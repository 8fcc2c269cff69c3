"""16 images of 11 MB are made smoother: large arrays go in, and as large ones come out."""

import numpy as np
from perf.script import WORKERS, Script, main


def given():
    return [np.random.default_rng(number).random((1200, 1200)) for number in range(16)]


def smoothed(image):
    """Every point moves towards its neighbours, the less so the more it differs: edges stay."""
    for _ in range(3):
        slopes = [np.roll(image, step, axis) - image for axis in (0, 1) for step in (-1, 1)]
        image = image + 0.2 * sum(slope * np.exp(-((slope / 0.3) ** 2)) for slope in slopes)
    return image


def with_cloaca_map() -> Script:
    import cloaca

    images = given()
    yield
    with cloaca.DefaultRunner(workers=WORKERS) as runner:
        return sums(list(runner.map(smoothed, images)))


def with_cloaca_for_each() -> Script:
    import cloaca

    with cloaca.WorkflowBuilder("images"):

        @cloaca.task(for_each="images")
        def one(context, item):
            context["smoothed"] = smoothed(item)

    images = given()
    yield
    with cloaca.DefaultRunner(workers=WORKERS) as runner:
        return sums(runner.execute("images", cloaca.Context({"images": images})).final_context["smoothed"])


def with_processpool() -> Script:
    from concurrent.futures import ProcessPoolExecutor

    images = given()
    yield
    with ProcessPoolExecutor(WORKERS) as pool:
        return sums(list(pool.map(smoothed, images)))


def with_joblib() -> Script:
    from joblib import Parallel, delayed

    images = given()
    yield
    return sums(Parallel(n_jobs=WORKERS)(delayed(smoothed)(image) for image in images))


def sums(images):
    return [float(image.sum()) for image in images]


if __name__ == "__main__":
    main()
