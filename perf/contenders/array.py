"""One array of 200 MB, made at run time, and tasks that each read a part of it: who copies it, and how often?"""

from perf.stopwatch import Figures, main, timed


def with_cloaca(tasks: int, size: int, workers: int) -> Figures:
    import numpy as np

    import cloaca

    with cloaca.WorkflowBuilder("array"):

        @cloaca.task()
        def make(context):
            context.set("array", np.arange(size, dtype=np.float64))

        for number in range(tasks):

            @cloaca.task(id=f"part {number}", dependencies=[make])
            def part(context, number=number):
                context.set(f"sum {number}", float(context["array"][number::tasks].sum()))

        @cloaca.task(dependencies=[f"part {number}" for number in range(tasks)])
        def total(context):
            context.set("total", sum(context[f"sum {number}"] for number in range(tasks)))

    def run() -> float:
        with_everything = runner.execute("array")
        return with_everything.final_context["total"]

    with cloaca.DefaultRunner(workers=workers) as runner:
        yield from timed(run, lambda total: total == size * (size - 1) / 2)


def with_joblib(tasks: int, size: int, workers: int) -> Figures:
    """As its documentation advises: large arrays are memory-mapped automatically, and the pool of workers is kept."""
    import numpy as np
    from joblib import Parallel, delayed

    def run() -> float:
        array = np.arange(size, dtype=np.float64)
        return sum(parallel(delayed(summed)(array, number, tasks) for number in range(tasks)))

    with Parallel(n_jobs=workers) as parallel:
        yield from timed(run, lambda total: total == size * (size - 1) / 2)


def summed(array, number, tasks):
    return float(array[number::tasks].sum())


if __name__ == "__main__":
    main(with_cloaca, with_joblib)
