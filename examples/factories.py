"""Tasks that are made: from a table by a function, and as instances of a class.

    read ---> smallest, largest, mean (from a table) ---> scaled_2, scaled_10 (of a class) ---> report

A function that makes a task binds what the task is about; a loop alone would bind its variable, which all tasks share.
A class does the same with a name and parts. Either way the tasks are ordinary ones, under ids of their own.

    $ python examples/factories.py
    smallest   1.0
    largest    9.0
    mean       4.5
    by 2       [2.0, 18.0, 9.0]
    by 10      [10.0, 90.0, 45.0]
"""

import statistics

import cloaca

MEASURES = {"smallest": min, "largest": max, "mean": statistics.mean}


def measure_task(name, measure):
    """Define the task that sets one measure of the numbers."""

    @cloaca.task(id=name, dependencies=["read"])
    def task(context):
        context.set(name, float(measure(context["numbers"])))


class Scaling:
    """A task with a factor of its own. What it would note in `self` stays in its worker: results go to the context."""

    def __init__(self, factor):
        """Scale by `factor`."""
        self.factor = factor

    def __call__(self, context):
        """Run as a task."""
        context.set(f"by {self.factor}", [self.scaled(context[name]) for name in MEASURES])

    def scaled(self, number):
        """A number, scaled."""
        return number * self.factor


with cloaca.WorkflowBuilder("factories") as builder:

    @cloaca.task()
    def read(context):
        """Make up some numbers."""
        context.set("numbers", [3, 1, 4, 1, 5, 9, 2, 6, 5, 9])

    for name, measure in MEASURES.items():
        measure_task(name, measure)

    scalings = {f"scaled_{factor}": Scaling(factor) for factor in (2, 10)}
    for task_id, scaling in scalings.items():
        cloaca.task(id=task_id, dependencies=list(MEASURES))(scaling)

    @cloaca.task(dependencies=list(scalings.values()))  # a task may be named by what it was made of
    def report(context):
        """Put everything into a text."""
        lines = [*MEASURES, *(f"by {scaling.factor}" for scaling in scalings.values())]
        context.set("report", "\n".join(f"{line:10} {context[line]}" for line in lines))


def main():
    """Run it."""
    with cloaca.DefaultRunner() as runner:
        result = runner.execute("factories")
    result.raise_for_status()
    print(result.final_context["report"])


if __name__ == "__main__":
    main()
