"""Tasks on an executor that the program has anyway: here one of `concurrent.futures`, made anew where a process dies.

`loky.get_reusable_executor`, `MPIPoolExecutor` of mpi4py or `SingleNodeExecutor` of executorlib would do as well.

    $ python examples/other_processes.py
    north: 3 orders, 42.50 in all
    south: 2 orders, 19.00 in all
    61.5 in all, by other processes: True
"""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import cloaca

ORDERS = {"north": [12.5, 10.0, 20.0], "south": [9.0, 10.0]}

with cloaca.WorkflowBuilder("orders", merge={"total": cloaca.merge.sum, "processes": cloaca.merge.union}) as builder:
    for region in ORDERS:

        @cloaca.task(id=region)
        def add(context, region=region):
            """Add up a region, in whichever process."""
            orders = context["orders"][region]
            context.set(region, f"{region}: {len(orders)} orders, {sum(orders):.2f} in all")
            context.set("total", sum(orders))
            context.set("processes", {os.getpid()})


if __name__ == "__main__":
    make = partial(ProcessPoolExecutor, 2, multiprocessing.get_context("spawn"))
    with cloaca.DefaultRunner(executor=make, workers=2) as runner:
        found = runner.execute(builder, {"orders": ORDERS}, raise_on_failure=True).final_context
    print(found["north"])
    print(found["south"])
    print(f"{found['total']} in all, by other processes: {os.getpid() not in found['processes']}")
