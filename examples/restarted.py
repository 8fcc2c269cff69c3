"""A long job that is killed in the middle, and goes on where it was when it is started again.

Eight simulations, each of which is recorded when it has ended. The program starts itself as the job, kills that by
`kill -9` while the fourth one runs, and starts it again: the three that were done are not run a second time.

    $ python examples/restarted.py
    killed after 3 of 8 simulations
    Completed: 5 simulations were run in the second life, and the mean is 3.5
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cloaca

WANTED = 8
DONE_FIRST = 3


def simulations(folder: Path) -> cloaca.Workflow:
    """Eight simulations and their mean. In the first life, the fourth one takes forever."""
    with cloaca.WorkflowBuilder("simulations") as builder:

        @cloaca.task()
        def draw(context: cloaca.Context) -> None:
            context["starts"] = list(range(WANTED))

        @cloaca.task(dependencies=[draw], for_each="starts")
        def simulate(context: cloaca.Context, start: int) -> None:
            while start >= DONE_FIRST and not (folder / "second life").exists():
                time.sleep(0.01)
            context["outcome"] = float(start)

        @cloaca.task(dependencies=[simulate])
        def report(context: cloaca.Context) -> None:
            context["mean"] = sum(context["outcome"]) / WANTED

    return builder.build()


def job(folder: Path) -> None:
    """What the user starts, again and again: it goes on with what is left of the last time, or begins."""
    workflow = simulations(folder)
    with cloaca.DefaultRunner(f"sqlite:///{folder}/runs.db", workers=1) as runner:
        left = [past.id for past in runner.executions("simulations") if past.status == "Interrupted"]
        result = runner.resume(left[0], workflow) if left else runner.execute(workflow)
    run = sum(not result.tasks[f"simulate[{number}]"].reused for number in range(WANTED))
    mean = result.final_context["mean"]
    print(f"{result.status}: {run} simulations were run in the second life, and the mean is {mean}")


def simulations_on_record(runner: cloaca.DefaultRunner) -> int:
    """How many have completed so far, as far as anybody else can know."""
    for past in runner.executions("simulations"):
        return sum(task.status == "Completed" for name, task in past.tasks.items() if name.startswith("simulate["))
    return 0


def main() -> None:
    """Start the job, kill it, and start it again."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first = subprocess.Popen([sys.executable, __file__, name])
        with cloaca.DefaultRunner(f"sqlite:///{folder}/runs.db") as runner:
            while simulations_on_record(runner) < DONE_FIRST:
                time.sleep(0.05)
        first.kill()
        first.wait()
        print(f"killed after {DONE_FIRST} of {WANTED} simulations", flush=True)
        (folder / "second life").touch()
        subprocess.run([sys.executable, __file__, name], check=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        job(Path(sys.argv[1]))
    else:
        main()
