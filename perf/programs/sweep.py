"""A parameter sweep: a trading rule with 80 choices of three parameters over one table of 250,000 prices."""

from functools import partial
from itertools import product

import numpy as np
import pandas as pd
from perf.script import WORKERS, Script, main

CHOICES = list(product((5, 10, 20, 40, 60), (80, 120, 200, 300), (0.001, 0.002, 0.005, 0.01)))


def given():
    steps = np.random.default_rng(9).normal(0, 0.001, 250_000)
    return pd.DataFrame({"close": 100 * np.exp(np.cumsum(steps))})


def tried(prices, choice):
    quick, slow, stop = choice
    close = prices["close"]
    holds = (close.rolling(quick).mean() > close.rolling(slow).mean()).shift(1, fill_value=False)
    value = (1 + close.pct_change().fillna(0).clip(lower=-stop) * holds).cumprod()
    fall = (value / value.cummax() - 1).min()
    return {"quick": quick, "slow": slow, "stop": stop, "gain": value.iloc[-1] - 1, "fall": fall}


def best_first(rows):
    return pd.DataFrame(rows).sort_values(["gain", "quick", "slow", "stop"], ascending=False, ignore_index=True)


def plain(table):
    return table.round(8).to_numpy()


def with_cloaca_map() -> Script:
    import cloaca

    prices = given()
    yield
    with cloaca.DefaultRunner(workers=WORKERS) as runner:
        return plain(best_first(runner.map(partial(tried, prices), CHOICES)))


def with_cloaca_for_each() -> Script:
    import cloaca

    with cloaca.WorkflowBuilder("sweep"):

        @cloaca.task(for_each="choices")
        def one(context, item):
            context["row"] = tried(context["prices"], item)

        @cloaca.task(dependencies=[one])
        def collect(context):
            context["table"] = best_first(context["row"])

    prices = given()
    yield
    with cloaca.DefaultRunner(workers=WORKERS) as runner:
        result = runner.execute("sweep", cloaca.Context({"prices": prices, "choices": CHOICES}))
        return plain(result.final_context["table"])


def with_processpool() -> Script:
    from concurrent.futures import ProcessPoolExecutor, as_completed

    prices = given()
    yield
    with ProcessPoolExecutor(WORKERS) as pool:
        futures = [pool.submit(tried, prices, choice) for choice in CHOICES]
        return plain(best_first([future.result() for future in as_completed(futures)]))


def with_joblib() -> Script:
    from joblib import Parallel, delayed

    prices = given()
    yield
    return plain(best_first(Parallel(n_jobs=WORKERS)(delayed(tried)(prices, choice) for choice in CHOICES)))


if __name__ == "__main__":
    main()
