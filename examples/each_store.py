"""One workflow for one store, run for each of many: with a branch, retries and a task that only some stores need.

    list_stores ---> store, for each: load ---> totals, check ---> summarize, recount ---> report

How many stores there are is known when they are listed. A store goes all the way before many others begin. Each sees
its own name as "store"; what they set is a dict at the end, by store.

    $ python examples/each_store.py
    berlin: 30 sold, best: lamp
    lisbon: 12 sold, best: chair
    Counted again: lisbon
    oslo: the branch office is closed
"""

import cloaca

SALES = {
    "berlin": {"chair": 10, "lamp": 20},
    "lisbon": {"chair": 14, "table": -2},
    "oslo": None,
}

with cloaca.WorkflowBuilder("store") as one_store:

    @cloaca.task(retry_attempts=2, retry_condition="transient")
    def load(context):
        """Load what the store has sold."""
        sales = SALES[context["store"]]
        if sales is None:
            raise ValueError("the branch office is closed")
        context["sales"] = sales

    @cloaca.task(dependencies=[load])
    def totals(context):
        """Add it up."""
        context["sold"] = sum(context["sales"].values())

    @cloaca.task(dependencies=[load])
    def check(context):
        """Look whether anything can't be."""
        context["wrong"] = [kind for kind, number in context["sales"].items() if number < 0]

    @cloaca.task(dependencies=[check], trigger_rules=cloaca.context_value("wrong", "not_equals", []))
    def recount(context):
        """Count again what can't be."""
        context["recounted"] = True

    @cloaca.task(dependencies=[totals, check])
    def summarize(context):
        """Say it in a line."""
        sales = context["sales"]
        context["line"] = f"{context['sold']} sold, best: {max(sales, key=sales.get)}"


with cloaca.WorkflowBuilder("chain") as chain:

    @cloaca.task()
    def list_stores(context):
        """Find the stores."""
        context["stores"] = {name: name for name in SALES}

    stores = chain.add_workflow(one_store, for_each="stores", item="store", dependencies=[list_stores])

    @cloaca.task(dependencies=[*stores.leaves])
    def report(context):
        """Put together what they have left: a store that has left nothing isn't there."""
        lines = [f"{name}: {line}" for name, line in context["store.line"].items()]
        context["report"] = [*lines, f"Counted again: {', '.join(context['store.recounted'])}"]


def main():
    """Run it, and show what comes of it."""
    with cloaca.DefaultRunner() as runner:
        result = runner.execute(chain)
    print(*result.final_context["report"], sep="\n")
    for name in result.final_context["stores"]:
        error = result.tasks[f"store.load[{name!r}]"].error
        if error is not None:
            print(f"{name}: {error}")


if __name__ == "__main__":
    main()
