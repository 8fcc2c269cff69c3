"""A pandas pipeline: 12 files are loaded, cleaned, and summed up in two ways, and all of that is joined."""

import numpy as np
import pandas as pd
from perf.contenders import pools
from perf.script import WORKERS, Script, main

FILES, SALES = 12, 60_000


def loaded(number):
    """Stands for reading a file."""
    draw = np.random.default_rng(number)
    return pd.DataFrame(
        {
            "shop": draw.integers(0, 50, SALES),
            "item": draw.integers(0, 400, SALES),
            "price": draw.random(SALES).round(3),
            "name": draw.choice(["tea", "milk", "cake"], SALES),
        }
    )


def cleaned(sales):
    sales = sales[sales.price > 0.05].copy()
    sales["name"] = sales["name"].str.upper().str.strip()
    return sales


def by_shop(sales):
    return sales.groupby(["shop", "name"]).price.agg(["sum", "count"])


def by_item(sales):
    return sales.groupby("item").price.median()


def joined(shops, items):
    return pd.concat(shops).groupby(level=[0, 1]).sum(), pd.concat(items).groupby(level=0).mean()


def summary(tables):
    shops, items = tables
    return round(float((shops["sum"] / shops["count"]).sum()), 6), round(float(items.sum()), 6)


def with_cloaca_tasks() -> Script:
    import cloaca

    with cloaca.WorkflowBuilder("sales"):
        ends = [end for number in range(FILES) for end in tasks_of(number)]

        @cloaca.task(dependencies=ends)
        def join(context):
            shops = [context[f"shops {number}"] for number in range(FILES)]
            items = [context[f"items {number}"] for number in range(FILES)]
            context["tables"] = joined(shops, items)

        @cloaca.task(dependencies=[join])
        def report(context):
            context["summary"] = summary(context["tables"])

    yield
    with cloaca.DefaultRunner(workers=WORKERS) as runner:
        return runner.execute("sales").final_context["summary"]


def tasks_of(number):
    import cloaca

    @cloaca.task(id=f"load {number}")
    def load(context):
        context[f"raw {number}"] = loaded(number)

    @cloaca.task(id=f"clean {number}", dependencies=[load])
    def clean(context):
        context[f"clean {number}"] = cleaned(context[f"raw {number}"])

    @cloaca.task(id=f"shops {number}", dependencies=[clean])
    def shops(context):
        context[f"shops {number}"] = by_shop(context[f"clean {number}"])

    @cloaca.task(id=f"items {number}", dependencies=[clean])
    def items(context):
        context[f"items {number}"] = by_item(context[f"clean {number}"])

    return shops, items


def with_cloaca_for_each() -> Script:
    import cloaca

    with cloaca.WorkflowBuilder("sales"):

        @cloaca.task(for_each="files")
        def load(context, item):
            context["raw"] = loaded(item)

        @cloaca.task(dependencies=[load], for_each="files")
        def clean(context, item):
            context["clean"] = cleaned(context["raw"])

        @cloaca.task(dependencies=[clean], for_each="files")
        def shops(context, item):
            context["shops"] = by_shop(context["clean"])

        @cloaca.task(dependencies=[clean], for_each="files")
        def items(context, item):
            context["items"] = by_item(context["clean"])

        @cloaca.task(dependencies=[shops, items])
        def join(context):
            context["tables"] = joined(context["shops"], context["items"])

        @cloaca.task(dependencies=[join])
        def report(context):
            context["summary"] = summary(context["tables"])

    yield
    with cloaca.DefaultRunner(workers=WORKERS) as runner:
        return runner.execute("sales", cloaca.Context({"files": list(range(FILES))})).final_context["summary"]


def with_processpool() -> Script:
    """All stages of a file are fused into one function, as a pool has no stages."""
    from concurrent.futures import ProcessPoolExecutor

    yield
    with ProcessPoolExecutor(WORKERS) as pool:
        shops, items = zip(*pool.map(of_file, range(FILES)), strict=True)
        return summary(joined(shops, items))


def of_file(number):
    sales = cleaned(loaded(number))
    return by_shop(sales), by_item(sales)


def with_dask() -> Script:
    from dask import delayed

    yield
    with pools.start_dask(WORKERS):
        clean = [delayed(cleaned)(delayed(loaded)(number)) for number in range(FILES)]
        shops, items = [delayed(by_shop)(sales) for sales in clean], [delayed(by_item)(sales) for sales in clean]
        return delayed(summary)(delayed(joined)(shops, items)).compute()


if __name__ == "__main__":
    main()
