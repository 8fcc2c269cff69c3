"""Group-by and apply: a million sales of 400 shops, rolling means and ranks for each shop, and one table of all."""

import numpy as np
import pandas as pd
from perf.script import WORKERS, Script, main

SALES = 1_000_000


def given():
    draw = np.random.default_rng(2)
    return pd.DataFrame(
        {"shop": draw.integers(0, 400, SALES), "day": draw.integers(0, 365, SALES), "amount": draw.random(SALES)}
    )


def groups(sales):
    return (shop for _, shop in sales.groupby("shop"))


def ranked(shop):
    shop = shop.sort_values("day", kind="stable").copy()
    for days in (7, 28, 91):
        shop[f"mean of {days}"] = shop["amount"].rolling(days, min_periods=1).mean()
        shop[f"rank in {days}"] = shop[f"mean of {days}"].rank(pct=True)
    return shop


def with_cloaca_map() -> Script:
    import cloaca

    sales = given()
    yield
    with cloaca.DefaultRunner(workers=WORKERS) as runner:
        return pd.concat(runner.map(ranked, groups(sales))).to_numpy()


def with_cloaca_for_each() -> Script:
    import cloaca

    with cloaca.WorkflowBuilder("sales"):

        @cloaca.task(for_each="shops")
        def one(context, item):
            context["ranked"] = ranked(item)

        @cloaca.task(dependencies=[one])
        def table(context):
            context["table"] = pd.concat(context["ranked"])

    sales = given()
    yield
    with cloaca.DefaultRunner(workers=WORKERS) as runner:
        result = runner.execute("sales", cloaca.Context({"shops": list(groups(sales))}))
        return result.final_context["table"].to_numpy()


def with_pool() -> Script:
    from multiprocessing import Pool

    sales = given()
    yield
    with Pool(WORKERS) as pool:
        return pd.concat(pool.map(ranked, list(groups(sales)))).to_numpy()


def with_joblib() -> Script:
    from joblib import Parallel, delayed

    sales = given()
    yield
    return pd.concat(Parallel(n_jobs=WORKERS)(delayed(ranked)(shop) for shop in groups(sales))).to_numpy()


if __name__ == "__main__":
    main()
