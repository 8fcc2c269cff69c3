r"""Trainings that take a card and some memory each, on a machine that has two cards and twenty gigabytes.

    oak  birch  willow  elm     a card and 4 GB each: two at once
      \    |     |     /
          compare               16 GB, and no card
             |
           report               first of all that is ready: priority=1

Each training asks which card is its own: `context.slots["gpu"]`. What it comes to doesn't depend on that. Here a file
stands for a card, and a training notices if another one uses the same.

    $ python examples/cards_and_memory.py
    best: willow, with 70
    no two used the same card at once: True
    too much: it has too little for 'huge' (limits={'memory_gb': 32})
"""

import tempfile
from pathlib import Path

import cloaca

TREES = ("oak", "birch", "willow", "elm")
MACHINE = {"gpu": 2, "memory_gb": 20}


def train_task(tree):
    """The task that trains a model for one kind of tree."""

    def train(context):
        (card,) = context.slots["gpu"]
        lock = Path(context["cards"]) / f"card {card}"
        lock.touch(exist_ok=False)  # fails where another one uses the card
        context[f"{tree} score"] = sum(map(ord, tree)) % 100
        lock.unlink()

    return train


with cloaca.WorkflowBuilder("trees") as builder:
    for tree in TREES:
        cloaca.task(id=tree, limits={"gpu": 1, "memory_gb": 4})(train_task(tree))

    @cloaca.task(dependencies=TREES, limits={"memory_gb": 16})
    def compare(context):
        """Find the best one."""
        scores = {tree: context[f"{tree} score"] for tree in TREES}
        context["best"] = max(scores, key=scores.get)

    @cloaca.task(dependencies=["compare"], priority=1)
    def report(context):
        """Say so."""
        best = context["best"]
        context["report"] = f"best: {best}, with {context[f'{best} score']}"


def main():
    """Run it, and what can't be run."""
    with cloaca.WorkflowBuilder("too much") as greedy:
        cloaca.task(id="huge", limits={"memory_gb": 32})(print)
    with tempfile.TemporaryDirectory() as cards, cloaca.DefaultRunner(workers=3, limits=MACHINE) as runner:
        result = runner.execute(builder, {"cards": cards})
        print(result.final_context["report"])
        print("no two used the same card at once:", result.status == "Completed")
        try:
            runner.execute(greedy)
        except ValueError as error:
            print("too much:", str(error).split(": ", 1)[1].partition(".")[0])


if __name__ == "__main__":
    main()
