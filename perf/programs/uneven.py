"""Uneven items: the first takes as long as all 144 others together, and those differ, too (12 queens on a board)."""

from itertools import product

from perf.script import WORKERS, Script, main

QUEENS = 12
WHOLE = (1 << QUEENS) - 1


def boards():
    yield ()
    yield from product(range(QUEENS), repeat=2)


def ways(board):
    """In how many ways the queens of the first rows can be joined by all others."""
    columns = left = right = 0
    for column in board:
        queen = 1 << column
        if queen & (columns | left | right):
            return 0
        columns, left, right = columns | queen, (left | queen) << 1, (right | queen) >> 1
    return ways_on(len(board), columns, left, right)


def ways_on(row, columns, left, right):
    if row == QUEENS:
        return 1
    count, free = 0, WHOLE & ~(columns | left | right)
    while free:
        queen = free & -free
        free ^= queen
        count += ways_on(row + 1, columns | queen, (left | queen) << 1, (right | queen) >> 1)
    return count


def with_cloaca_map() -> Script:
    import cloaca

    yield
    with cloaca.DefaultRunner(workers=WORKERS) as runner:
        return sum(runner.map(ways, boards()))


def with_cloaca_for_each() -> Script:
    import cloaca

    with cloaca.WorkflowBuilder("queens"):

        @cloaca.task(for_each="boards")
        def one(context, item):
            context["ways"] = ways(item)

    yield
    with cloaca.DefaultRunner(workers=WORKERS) as runner:
        return sum(runner.execute("queens", cloaca.Context({"boards": list(boards())})).final_context["ways"])


def with_pool() -> Script:
    from multiprocessing import Pool

    yield
    with Pool(WORKERS) as pool:
        return sum(pool.imap_unordered(ways, boards()))


if __name__ == "__main__":
    main()
