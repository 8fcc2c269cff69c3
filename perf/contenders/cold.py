"""From nothing to the first result. Every contender imports what it needs itself, on the clock or before it starts."""

from time import perf_counter

from perf.stopwatch import Figures, main


def with_cloaca(workers: int) -> Figures:
    import cloaca

    define_answer(cloaca)
    runner_class = cloaca.DefaultRunner
    start = perf_counter()
    with runner_class(workers=workers) as runner:
        assert runner.execute("answer").final_context["answer"] == 42
        yield perf_counter() - start


def with_cloaca_and_its_imports(workers: int) -> Figures:
    start = perf_counter()
    import cloaca

    define_answer(cloaca)
    with cloaca.DefaultRunner(workers=workers) as runner:
        assert runner.execute("answer").final_context["answer"] == 42
        yield perf_counter() - start


def define_answer(cloaca):
    with cloaca.WorkflowBuilder("answer"):

        @cloaca.task()
        def answer(context):
            context.set("answer", 42)


def with_pool(workers: int, method: str) -> Figures:
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    start = perf_counter()
    with ProcessPoolExecutor(workers, get_context(method)) as executor:
        assert executor.submit(answer_of_pool).result() == 42
        yield perf_counter() - start


def with_pool_and_its_imports(workers: int, method: str) -> Figures:
    start = perf_counter()
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(workers, get_context(method)) as executor:
        assert executor.submit(answer_of_pool).result() == 42
        yield perf_counter() - start


def answer_of_pool():
    return 42


if __name__ == "__main__":
    main(with_cloaca, with_cloaca_and_its_imports, with_pool, with_pool_and_its_imports)
