"""Fifteen functions that know nothing of workflows become one, wired by the names of what they take and return.

    orders --> kept --> sales --> north_sales, south_sales --> north, south -----> report
    prices ---------------'  |--> daily --> average, deviation, best_day, expected ---'
                             '--> products --> chart

They stand in a module of their own, `bakery/steps.py`, as they would without cloaca. One of them is two tasks.

    $ python examples/plain_functions.py
    report after north, south, mean, spread, best_of, forecast

    Completed: 16 tasks
    north 5,895.00, south 5,751.50
    388.22 a day, give or take 134.22; most on day 25
    464.24 expected in a week
    bread   ######
    cake    ####################
    rolls   #
"""

from bakery import steps

import cloaca

with cloaca.WorkflowBuilder("bakery", wire=True) as builder:
    cloaca.task(steps.read_orders, returns="orders")
    cloaca.task(steps.read_prices, returns="prices")
    cloaca.task(steps.without_cancelled, returns="kept")
    cloaca.task(steps.with_prices, returns="sales", inputs={"orders": "kept"})
    cloaca.task(steps.split_by_shop, returns=("north_sales", "south_sales"))
    cloaca.task(steps.total, id="north", returns="north", inputs={"sales": "north_sales"})
    cloaca.task(steps.total, id="south", returns="south", inputs={"sales": "south_sales"})
    cloaca.task(steps.by_product, returns="products")
    cloaca.task(steps.by_day, returns="daily")
    cloaca.task(steps.best_of, returns="best_day")
    cloaca.task(steps.mean, returns="average")
    cloaca.task(steps.spread, returns="deviation")
    cloaca.task(steps.trend, returns="rise")
    cloaca.task(steps.forecast, returns="expected")
    cloaca.task(steps.bars, returns="chart")
    cloaca.task(steps.report, returns="report")

last = builder.build().tasks[-1]
print(last.id, "after", ", ".join(last.dependencies))
print()
with cloaca.DefaultRunner() as runner:
    result = runner.execute(builder, {"days": 30})
    print(f"{result.status}: {len(result.tasks)} tasks")
    print(result.final_context["report"])
    print(result.final_context["chart"])
