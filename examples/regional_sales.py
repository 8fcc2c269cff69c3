"""A day's orders of a shop, counted region by region side by side, on top of what was known the day before.

    north, east, south, west ---> report

Every region writes the same five keys, and none knows of the others. What becomes of them where they meet:

    totals     a dict: each region fills in its own member
    warnings   a list that wasn't there before: the regions' lists, one after the other
    orders     a running total: the rule `sum` counts what each region added to it
    customers  a set: the rule `union`
    largest    the largest order so far: a rule of our own

The regions are done in any order; what is printed is always the same.

    $ python examples/regional_sales.py
    1,347 orders so far, by 239 customers
    The largest order so far: 898 euros, from east

    north     30,806 euros
    east      39,660 euros
    south     33,299 euros
    west      46,153 euros

    Warning: north: 2 orders without an amount
    Warning: south: 2 orders without an amount
    Warning: west: 3 orders without an amount
"""

import random

import cloaca

REGIONS = ("north", "east", "south", "west")


def largest_order(base, orders):
    """The largest order: that of the day before, or one of those that the regions found."""
    known = [] if base is None else [base]
    return max([*known, *orders], key=lambda order: order["euros"])


def orders_of(region):
    """The orders of the day, made up; some lack an amount."""
    rng = random.Random(region)
    return [
        {"region": region, "customer": rng.randint(1, 300), "euros": rng.randint(-20, 900)}
        for _ in range(rng.randint(60, 120))
    ]


def region_task(region):
    """The task that counts one region."""

    def count_region(context):
        orders = orders_of(region)
        valid = [order for order in orders if order["euros"] > 0]
        if len(valid) < len(orders):
            context.set("warnings", [f"{region}: {len(orders) - len(valid)} orders without an amount"])
        context.set("totals", {region: sum(order["euros"] for order in valid)})
        context.set("orders", context.get("orders") + len(valid))
        context.set("customers", context.get("customers") | {order["customer"] for order in valid})
        context.set("largest", max(valid, key=lambda order: order["euros"]))

    return count_region


rules = {"orders": cloaca.merge.sum, "customers": cloaca.merge.union, "largest": largest_order}
with cloaca.WorkflowBuilder("regional_sales", merge=rules) as builder:
    builder.description("A day's orders by region, on top of what was known the day before")

    for region in REGIONS:
        cloaca.task(id=region)(region_task(region))

    @cloaca.task(dependencies=REGIONS)
    def report(context):
        """Put everything into a text."""
        largest = context.get("largest")
        lines = [
            f"{context.get('orders'):,} orders so far, by {len(context.get('customers'))} customers",
            f"The largest order so far: {largest['euros']} euros, from {largest['region']}",
            "",
            *(f"{region:8}{euros:>8,} euros" for region, euros in context.get("totals").items()),
            "",
            *(f"Warning: {warning}" for warning in context.get("warnings", [])),
        ]
        context.set("report", "\n".join(lines))


def main():
    """Run the workflow on what was known the day before."""
    day_before = {"orders": 1000, "customers": set(range(1, 100)), "largest": {"region": "west", "euros": 890}}
    with cloaca.DefaultRunner() as runner:
        result = runner.execute("regional_sales", cloaca.Context(day_before))
    result.raise_for_status()
    print(result.final_context.get("report"))


if __name__ == "__main__":
    main()
