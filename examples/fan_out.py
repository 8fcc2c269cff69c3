"""A year of sales, cut into batches that nobody knows before the rows are read: one for each region that there is.

    load ---> split ===> clean ===> total ---> report

`split` sets a dict of batches. `clean` and `total` are mapped tasks: each runs once for every batch, on all cores.
`total` goes item by item after `clean`: a region is totalled as soon as it is clean, whatever the others do. `report`
finds what all of them set, collected by region. One region's rows are damaged: that costs this region alone.

    $ python examples/fan_out.py
    Failed: ValueError: 3 rows have no month: is it the old format?

    east     2,507 rows     12 dropped      688,181 euros   best month 4
    north    2,476 rows     16 dropped      681,925 euros   best month 5
    south    no figures
    west     2,434 rows      9 dropped      671,852 euros   best month 3
"""

import random

import cloaca

REGIONS = ("east", "north", "south", "west")


def read_rows(year):
    """The sales of a year, made up. Some have no amount, and a few of one region no month."""
    rng = random.Random(year)
    for number in range(10_000):
        region = REGIONS[rng.randrange(4)]
        euros = None if rng.random() < 0.004 else rng.randint(50, 500)
        month = None if region == "south" and number < 12 else rng.randint(1, 12)
        yield {"region": region, "month": month, "euros": euros}


with cloaca.WorkflowBuilder("fan_out") as builder:
    builder.description("Totals of a year by region, in as many tasks as there are regions")

    @cloaca.task()
    def load(context):
        """Read all rows."""
        context.set("rows", list(read_rows(context["year"])))

    @cloaca.task(dependencies=[load])
    def split(context):
        """Cut the rows into a batch for each region."""
        batches = {}
        for row in context["rows"]:
            batches.setdefault(row["region"], []).append(row)
        context.set("batches", batches)

    @cloaca.task(dependencies=[split], for_each="batches")
    def clean(context, rows):
        """Leave out what can't be counted. What it sets as `batches` is what `total` gets as its item."""
        undated = sum(row["month"] is None for row in rows)
        if undated:
            raise ValueError(f"{undated} rows have no month: is it the old format?")
        kept = [row for row in rows if row["euros"] is not None]
        context.set("dropped", len(rows) - len(kept))
        context.set("batches", kept)

    @cloaca.task(dependencies=[clean], for_each="batches")
    def total(context, rows):
        """Add up one region."""
        months = dict.fromkeys(range(1, 13), 0)
        for row in rows:
            months[row["month"]] += row["euros"]
        context.set("count", len(rows))
        context.set("months", months)

    @cloaca.task(dependencies=[total])
    def report(context):
        """Put everything into a text. A region that failed has no entry."""
        count, dropped, months = context["count"], context["dropped"], context["months"]
        lines = []
        for region in REGIONS:
            if region not in months:
                lines.append(f"{region:8} no figures")
                continue
            best = max(months[region], key=months[region].get)
            lines.append(
                f"{region:8} {count[region]:,} rows {dropped[region]:6} dropped "
                f"{sum(months[region].values()):12,} euros   best month {best}"
            )
        context.set("report", "\n".join(lines))


def main():
    """Run the workflow, and print the report with what went wrong."""
    with cloaca.DefaultRunner() as runner:
        result = runner.execute("fan_out", cloaca.Context({"year": 2026}))
    error = result.tasks["clean['south']"].error
    print(f"{result.status}: {type(error).__name__}: {error}")
    print()
    print(result.final_context["report"])


if __name__ == "__main__":
    main()
