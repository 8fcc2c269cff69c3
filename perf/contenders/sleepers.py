"""Many workers that sleep more than they work: what does the program itself take of the processor for each task?

The figure is that, not the time that passes: with so many workers, it is what the next task waits for.
"""

from collections.abc import Callable
from time import process_time, sleep

from perf.contenders import pools
from perf.stopwatch import Figures, main

SECONDS = 0.005


def slept(number):
    sleep(SECONDS)
    return number


def with_cloaca(tasks: int, workers: int) -> Figures:
    import cloaca

    with cloaca.WorkflowBuilder("sleepers"):
        for number in range(tasks):
            cloaca.task(id=f"sleep {number}")(sleeper(number))

    def run() -> int:
        return len(runner.execute("sleepers").final_context)

    with cloaca.DefaultRunner(workers=workers) as runner:
        yield from charged(tasks, run)


def sleeper(number):
    return lambda context: context.set(f"slept {number}", slept(number))


def with_processpool(tasks: int, workers: int) -> Figures:
    with pools.processpool(workers) as executor:
        yield from charged(
            tasks, lambda: answered([executor.submit(slept, number) for number in range(tasks)], "result")
        )


def with_pool(tasks: int, workers: int) -> Figures:
    with pools.pool(workers) as pool:
        yield from charged(
            tasks, lambda: answered([pool.apply_async(slept, (number,)) for number in range(tasks)], "get")
        )


def answered(futures, method):
    return len([getattr(future, method)() for future in futures])


def charged(tasks: int, run: Callable[[], int]) -> Figures:
    """The seconds of the processor that this process takes, all its threads together, its workers left out."""
    while True:
        start = process_time()
        count = run()
        seconds = process_time() - start
        assert count == tasks
        yield seconds


if __name__ == "__main__":
    main()
