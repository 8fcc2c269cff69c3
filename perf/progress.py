"""What a display of progress costs: `python -m perf.progress [ROUNDS]` prints the CPU that it takes, with and without.

A workflow of 4 tasks and one of 10,000, each of some ten seconds on two workers, run in a process of their own, on a
terminal, in turn with the display and without it. Told are the milliseconds of a core that the program's process took,
workers aside, from before the execution begins to its end: so loading what draws is counted.
"""

import json
import os
import pty
import subprocess
import sys
import time
from statistics import median
from threading import Thread

import cloaca

KINDS = {"4 tasks": (4, 5.0), "10,000 tasks": (10_000, 0.0018)}
"""How many tasks there are, and how many seconds each sleeps."""


def main(rounds: int = 3) -> None:
    """Measure, and print a line for each kind."""
    for kind in KINDS:
        without, shown = [], []
        for _ in range(rounds):
            without.append(measured(kind, "without"))
            shown.append(measured(kind, "shown"))
        seconds = median(taken for _, taken in shown)
        cpu = median(cpu for cpu, _ in without), median(cpu for cpu, _ in shown)
        spread = max(cpu for cpu, _ in without) - min(cpu for cpu, _ in without)
        part = (cpu[1] - cpu[0]) / seconds
        print(
            f"{kind:>12}, {seconds:.1f} s: {1e3 * cpu[0]:6.0f} ms without ({1e3 * spread:.0f} between rounds), "
            f"{1e3 * cpu[1]:6.0f} ms shown: {part:.2%} of a core more"
        )


def measured(kind: str, how: str) -> tuple[float, float]:
    """Seconds of CPU, and seconds, of one execution in a process of its own, whose errors stand on a terminal."""
    end, other = pty.openpty()
    command = [sys.executable, "-m", "perf.progress", "run", kind, how]
    environment = {**os.environ, "TERM": "xterm-256color", "CI": ""}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=other, env=environment) as process:
        os.close(other)
        Thread(target=drained, args=(end,), daemon=True).start()
        told, _ = process.communicate()
    cpu, seconds = json.loads(told)
    return cpu, seconds


def drained(end: int) -> None:
    """Read what the terminal shows, as long as there is something."""
    try:
        while os.read(end, 1 << 16):
            pass
    except OSError:  # the end, as Linux tells it
        os.close(end)


def run(kind: str, how: str) -> None:
    """One execution; prints what it has cost."""
    count, sleeps = KINDS[kind]
    with cloaca.WorkflowBuilder("watched") as builder:
        for number in range(count):
            cloaca.task(id=f"task {number}")(lambda context: time.sleep(sleeps))
    workflow = builder.build()
    with cloaca.DefaultRunner(workers=2) as runner:
        cpu, began = time.process_time(), time.monotonic()
        runner.execute(workflow, progress=how == "shown")
        print(json.dumps([time.process_time() - cpu, time.monotonic() - began]))


if __name__ == "__main__":
    if sys.argv[1:2] == ["run"]:
        run(*sys.argv[2:4])
    else:
        main(*map(int, sys.argv[1:2]))
