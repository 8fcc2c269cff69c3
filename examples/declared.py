"""Tasks that say what they need and what they write, and a mistake that is found before anything runs.

    read ---> convert ---> summary

Each task names its keys: they are checked against their annotations, and `rows` arrive as what they are. The second
workflow has a misspelt key and lacks a dependency; `cloaca.check` says so.

    $ python examples/declared.py
    Completed: 3 orders, 161.50 dollars, 90.00 the largest
    Failed: ParameterError: Task 'convert' can't be called: rows[1].euros: expected float, got str. ...

    missing: Task 'convert' reads key 'rats', which no task sets and the input lacks: did it mean 'rate'? ...
    unordered: Task 'summary' reads key 'dollars', which task 'convert' sets without coming before it: ...
"""

from dataclasses import dataclass

import cloaca


@dataclass
class Order:
    """One order of a customer."""

    customer: str
    euros: float


with cloaca.WorkflowBuilder("orders"):

    @cloaca.task(writes=["rows"])
    def read(context, *, table: list[tuple[str, object]]):
        """Make rows of a table, as a file would have them."""
        context.set("rows", [{"customer": customer, "euros": euros} for customer, euros in table])

    @cloaca.task(dependencies=[read], writes=["dollars"])
    def convert(context, *, rows: list[Order], rate: float = 1.0):
        """Convert all amounts."""
        context.set("dollars", [order.euros * rate for order in rows])

    @cloaca.task(dependencies=[convert], writes=["summary"])
    def summary(context, *, dollars: list[float]):
        """Sum them up."""
        context.set("summary", f"{len(dollars)} orders, {sum(dollars):.2f} dollars, {max(dollars):.2f} the largest")


with cloaca.WorkflowBuilder("mistaken", check="off") as mistaken:

    @cloaca.task(id="convert", writes=["dollars"])
    def convert_misspelt(context, *, rats: float):
        """Take a key that nobody has."""
        context.set("dollars", [rats])

    @cloaca.task(id="summary", writes=["summary"])
    def summary_alone(context, *, dollars: list[float]):
        """Take a key that comes too late, or not at all."""
        context.set("summary", sum(dollars))


TABLES = [[("Ada", 20), ("Bob", 45.0), ("Ada", 15.75)], [("Ada", 20), ("Bob", "45 euros")]]

with cloaca.DefaultRunner() as runner:
    for table in TABLES:
        result = runner.execute("orders", cloaca.Context({"table": table, "rate": 2.0}))
        told = result.final_context.get("summary") or result.tasks["convert"].error_message
        print(f"{result.status}: {told}")
print()
for finding in cloaca.check(mistaken.build(), ["rate"]):
    print(f"{finding.kind}: {finding}")
