"""A batch of orders is scored, goes one of two ways, and is confirmed after either.

    score --+--> premium  --+--> confirm
            +--> standard --+

The ways are tasks with conditions on the score: `premium` starts if it is above 70, `standard` if it isn't. The one
that doesn't start is skipped, and its result says why. `confirm` comes after both, and goes on with the one that ran.

    $ python examples/branching.py
    Monday: 3 orders, on average 38 euros: sent by mail, in 5 days
    - premium was skipped: its rule context_value('score', 'greater_than', 70) doesn't hold: 'score' is 38

    Tuesday: 2 orders, on average 225 euros: sent by courier, tomorrow
    - standard was skipped: its rule none_of(context_value('score', 'greater_than', 70)) doesn't hold: 'score' is 100
"""

import cloaca

is_premium = cloaca.context_value("score", "greater_than", 70)

with cloaca.WorkflowBuilder("orders") as builder:
    builder.description("Score a batch of orders, and send it by the way that the score says")

    @cloaca.task()
    def score(context):
        """From 0 to 100, by the average order."""
        orders = context["orders"]
        context["average"] = sum(orders) / len(orders)
        context["score"] = min(100, round(context["average"]))

    @cloaca.task(dependencies=[score], trigger_rules=is_premium)
    def premium(context):
        """Send it at once."""
        context["sent"] = "by courier, tomorrow"

    @cloaca.task(dependencies=[score], trigger_rules=cloaca.none_of(is_premium))
    def standard(context):
        """Send it some day."""
        context["sent"] = "by mail, in 5 days"

    @cloaca.task(dependencies=[premium, standard])
    def confirm(context):
        """Say what was done, whichever it was."""
        orders, average, sent = (context[key] for key in ("orders", "average", "sent"))
        context["confirmation"] = f"{len(orders)} orders, on average {average:.0f} euros: sent {sent}"


def show(day, result):
    """Print the confirmation, and why the other way wasn't taken."""
    print(f"{day}: {result.final_context['confirmation']}")
    for task in result.tasks.values():
        if task.status == "Skipped":
            print(f"- {task.id} was skipped: {task.reason}")


def main():
    """Run two batches."""
    with cloaca.DefaultRunner() as runner:
        show("Monday", runner.execute("orders", cloaca.Context({"orders": [31, 40, 43]})))
        print()
        show("Tuesday", runner.execute("orders", cloaca.Context({"orders": [150, 300]})))


if __name__ == "__main__":
    main()
