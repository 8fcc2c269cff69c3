"""Counting words by map, shuffle and reduce: what 12 tasks find is sorted by reducer, and 12 more put it together."""

import random
import zlib
from collections import Counter

from perf.contenders import pools
from perf.script import WORKERS, Script, main

PARTS = 12


def words(part):
    draw = random.Random(part)
    return [f"w{int(draw.paretovariate(0.7)) % 40_000}" for _ in range(60_000)]


def sorted_out(part):
    """The words for each reducer, in pairs: far more than what comes of them."""
    piles = [[] for _ in range(PARTS)]
    for word in words(part):
        piles[zlib.crc32(word.encode()) % PARTS].append((word, 1))
    return piles


def counted(*piles):
    counts = Counter()
    for pile in piles:
        for word, count in pile:
            counts[word] += count
    return dict(counts)


def most(tables):
    return sorted(((count, word) for table in tables for word, count in table.items()), reverse=True)[:20]


def with_cloaca_tasks() -> Script:
    import cloaca

    with cloaca.WorkflowBuilder("words"):
        maps = [cloaca.task(id=f"map {part}")(mapper(part)) for part in range(PARTS)]
        for reducer in range(PARTS):
            names = [f"{part} for {reducer}" for part in range(PARTS)]
            cloaca.task(id=f"reduce {reducer}", dependencies=maps, reads=names)(summer(reducer, names))

        @cloaca.task(dependencies=[f"reduce {reducer}" for reducer in range(PARTS)])
        def report(context):
            context["most"] = most([context[f"table {reducer}"] for reducer in range(PARTS)])

    yield
    with cloaca.DefaultRunner(workers=WORKERS) as runner:
        return runner.execute("words").final_context["most"]


def mapper(part):
    def work(context):
        for reducer, pile in enumerate(sorted_out(part)):
            context[f"{part} for {reducer}"] = pile

    return work


def summer(reducer, names):
    def work(context):
        context[f"table {reducer}"] = counted(*(context[name] for name in names))

    return work


def with_cloaca_for_each() -> Script:
    import cloaca

    with cloaca.WorkflowBuilder("words"):

        @cloaca.task(for_each="parts")
        def sort_out(context, item):
            context["piles"] = sorted_out(item)

        @cloaca.task(dependencies=[sort_out], for_each="reducers")
        def count(context, item):
            context["table"] = counted(*(piles[item] for piles in context["piles"]))

        @cloaca.task(dependencies=[count])
        def report(context):
            context["most"] = most(context["table"])

    parts = list(range(PARTS))
    yield
    with cloaca.DefaultRunner(workers=WORKERS) as runner:
        result = runner.execute("words", cloaca.Context({"parts": parts, "reducers": parts}))
        return result.final_context["most"]


def with_processpool() -> Script:
    from concurrent.futures import ProcessPoolExecutor

    yield
    with ProcessPoolExecutor(WORKERS) as pool:
        return most(pool.map(counted, *list(pool.map(sorted_out, range(PARTS)))))


def with_ray() -> Script:
    yield
    ray = pools.start_ray(WORKERS)
    sort_out, count = ray.remote(sorted_out).options(num_returns=PARTS), ray.remote(counted)
    piles = [sort_out.remote(part) for part in range(PARTS)]
    tables = ray.get([count.remote(*(pile[reducer] for pile in piles)) for reducer in range(PARTS)])
    ray.shutdown()
    return most(tables)


if __name__ == "__main__":
    main()
