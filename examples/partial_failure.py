"""Three batches of measurements, one of them broken: the summary goes on with the other two, and says what is missing.

    batch_1 --+--> summary
    batch_2 --+--> publish     only if all batches ended well
    batch_3 --+--> alert       only if one of them failed

A task that fails writes nothing. So `summary` doesn't find what `batch_2` would have set, and asks how that one ended:
by the default rule, a task starts when all of its dependencies have ended and at least one ended well. The run counts
as failed all the same, and its error message leads with the cause.

    $ python examples/partial_failure.py
    alert: a batch has failed

    200 measurements, on average 99.5
    without batch_2 (ValueError: sensor 7 sent no number)

    Failed
    Task 'batch_2' failed: ValueError: sensor 7 sent no number (examples/partial_failure.py:32)
    Task 'publish' was skipped: not all of its dependencies ended well: 'batch_2' failed
"""

import cloaca

BATCHES = ("batch_1", "batch_2", "batch_3")


def batch_task(number):
    """The task that reads one batch."""

    def read_batch(context):
        if number == 2:
            raise ValueError("sensor 7 sent no number")
        context[f"batch_{number}"] = [float(n) for n in range(50 * (number - 1), 50 * (number + 1))]

    return read_batch


with cloaca.WorkflowBuilder("measurements"):
    for number, name in enumerate(BATCHES, 1):
        cloaca.task(id=name)(batch_task(number))

    @cloaca.task(dependencies=BATCHES)
    def summary(context):
        """Sum up what there is."""
        measured = [value for name in BATCHES for value in context.get(name, [])]
        lines = [f"{len(measured)} measurements, on average {sum(measured) / len(measured):.1f}"]
        for name in BATCHES:
            outcome = context.outcome(name)
            if outcome.status != "Completed":
                lines.append(f"without {name} ({outcome.error})")
        context["summary"] = "\n".join(lines)

    @cloaca.task(dependencies=BATCHES, trigger_rule="all_success")
    def publish(context):
        """Not with gaps."""
        print("publish: all batches are there")

    @cloaca.task(dependencies=BATCHES, trigger_rule="one_failed")
    def alert(context):
        """Call somebody."""
        print("alert: a batch has failed")


def main():
    """Run it, and show what it came to."""
    with cloaca.DefaultRunner() as runner:
        result = runner.execute("measurements")
    print(f"\n{result.final_context['summary']}\n\n{result.status}\n{result.error_message}")


if __name__ == "__main__":
    main()
