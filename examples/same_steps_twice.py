"""One workflow for one warehouse, used for two of them: each with its own tasks, keys and stock.

    north.count ---> north.value --\
                                    >---> compare
    south.count ---> south.value --/

The workflow of a warehouse says "stock", "prices" and "value", whichever warehouse it works for. Added with a prefix,
its "value" is "north.value"; `inputs` says in which key of the whole each finds its "stock".

    $ python examples/same_steps_twice.py
    north: 3 kinds, 1,050 euros
    south: 2 kinds, 840 euros
    More lies in the north.
"""

import cloaca

with cloaca.WorkflowBuilder("warehouse") as warehouse:

    @cloaca.task()
    def count(context):
        """Tell how many kinds of things there are."""
        context["kinds"] = len(context["stock"])

    @cloaca.task(dependencies=[count])
    def value(context):
        """Add up what they are worth."""
        prices = context["prices"]
        context["value"] = sum(number * prices[kind] for kind, number in context["stock"].items())


with cloaca.WorkflowBuilder("company") as company:
    copies = [
        company.add_workflow(warehouse, prefix=name, inputs={"stock": f"stock in the {name}", "prices": "prices"})
        for name in ("north", "south")
    ]

    @cloaca.task(dependencies=[leaf for copy in copies for leaf in copy.leaves])
    def compare(context):
        """Tell where most lies."""
        context["most"] = max(("north", "south"), key=lambda name: context[f"{name}.value"])


def main():
    """Run it on one day's stock."""
    inputs = cloaca.Context(
        {
            "prices": {"chair": 40, "table": 120, "lamp": 25},
            "stock in the north": {"chair": 10, "table": 5, "lamp": 2},
            "stock in the south": {"chair": 9, "table": 4},
        }
    )
    with cloaca.DefaultRunner() as runner:
        result = runner.execute("company", inputs)
    result.raise_for_status()
    final = result.final_context
    for name in ("north", "south"):
        print(f"{name}: {final[f'{name}.kinds']} kinds, {final[f'{name}.value']:,} euros")
    print(f"More lies in the {final['most']}.")


if __name__ == "__main__":
    main()
