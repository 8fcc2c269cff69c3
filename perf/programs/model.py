"""A model that takes a second to load and 100 MB, in each worker; 6,000 documents are scored with it."""

import random

from perf.script import WORKERS, Script, main


def loaded():
    """Stands for a language model."""
    draw = random.Random(3)
    return {f"w{number}": draw.random() for number in range(800_000)}


def documents():
    draw = random.Random(4)
    return [" ".join(f"w{draw.randrange(900_000)}" for _ in range(300)) for _ in range(6000)]


def score(model, text):
    return round(sum(model.get(word, -1.0) for word in text.split()), 6)


def with_cloaca_map() -> Script:
    import cloaca

    def prepare():
        cloaca.worker_state.model = loaded()

    texts = documents()
    yield
    with cloaca.DefaultRunner(workers=WORKERS, initializer=prepare) as runner:
        return list(runner.map(lambda text: score(cloaca.worker_state.model, text), texts))


def with_pool() -> Script:
    from multiprocessing import Pool

    texts = documents()
    yield
    with Pool(WORKERS, load) as pool:
        return list(pool.imap(score_with_kept, texts, chunksize=50))


def with_pool_by_fork() -> Script:
    """Loaded once, before the fork."""
    from multiprocessing import get_context

    texts = documents()
    yield
    load()
    with get_context("fork").Pool(WORKERS) as pool:
        return list(pool.imap(score_with_kept, texts, chunksize=50))


def load():
    global kept  # noqa: PLW0603 - a worker's initializer has no other place for it
    kept = loaded()


def score_with_kept(text):
    return score(kept, text)


if __name__ == "__main__":
    main()
