"""A program that is killed at random moments, again and again, and goes on until its execution has completed.

    python -m tests.lives FOLDER EXECUTOR KILLS SEED

Each life is a forked child that resumes what is on record, or begins. Prints how many executions completed, and how
many lives were killed; fails where a task ran again that was on record, or where what is left differs from what an
execution leaves that nobody has disturbed.
"""

import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cloaca
from cloaca import Context, DefaultRunner, WorkflowResult
from cloaca.store.sqlite import SqliteStore

WIDTH = 6


def workflow(folder: Path) -> cloaca.Workflow:
    """Tasks of each kind, of which each notes that it runs."""

    def note(name: str) -> None:
        file = os.open(folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, f"{name}\n".encode())
        os.close(file)
        sum(range(30_000))

    with cloaca.WorkflowBuilder("lives", merge={"total": cloaca.merge.sum}) as builder:

        @cloaca.task()
        def load(context: Context) -> None:
            note("load")
            context.set("rows", list(range(WIDTH)))
            context.set("large", bytes(context["size"]))

        @cloaca.task(dependencies=["load"], for_each="rows")
        def square(context: Context, row: int) -> None:
            note(f"square {row}")
            context.set("squares", [row**2, context.seed])

        @cloaca.task(dependencies=["square"], for_each="rows")
        def double(context: Context, row: int) -> None:
            note(f"double {row}")
            context.set("doubles", [2 * number for number in context["squares"]])

        for number in range(WIDTH):

            @cloaca.task(id=f"branch {number}", dependencies=["load"])
            def branch(context: Context, number: int = number) -> None:
                note(f"branch {number}")
                context.set("total", context.get("total", 0) + number)
                context.set(f"large {number}", context["large"] + bytes([number]))

        @cloaca.task(dependencies=["double", *(f"branch {number}" for number in range(WIDTH))])
        def report(context: Context) -> None:
            note("report")
            sizes = [len(context[f"large {number}"]) for number in range(WIDTH)]
            context.set("report", [context["total"], sizes, context["doubles"]])

    return builder.build()


def live(folder: Path, executor: str) -> WorkflowResult:
    """One life, to its end."""
    with DefaultRunner(f"{folder}/runs.db", workers=2, executor=executor) as runner:  # type: ignore[arg-type]
        going = [past.id for past in runner.executions()]
        made = workflow(folder)
        return runner.resume(going[0], made) if going else runner.execute(made, {"size": 100_000}, seed=7)


def killed(folder: Path, executor: str, delay: float) -> bool:
    """A life that is killed after so many seconds; returns whether that came before its end."""
    child = os.fork()
    if not child:
        try:
            status = live(folder, executor).status
        except BaseException as error:  # noqa: BLE001 - it is told by the exit code, and shown
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(3)
        os._exit(0 if status == "Completed" else 2)
    pidfd = os.pidfd_open(child)
    until = time.monotonic() + delay
    while time.monotonic() < until and os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        time.sleep(0.001)
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    os.close(pidfd)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code not in (0, -signal.SIGKILL):
        raise AssertionError(f"a life ended with {code}")
    return code != 0


def on_record(folder: Path) -> Iterator[str]:
    """What has completed by the store, as the log calls it."""
    if not (folder / "runs.db").exists():
        return
    store = SqliteStore(f"{folder}/runs.db")
    try:
        for listed in store.entries():
            tasks = store.header(listed.id).tasks
            for record in store.records(listed.id):
                if record.state == "Completed" and record.size is None:
                    yield tasks[record.task].id if record.item is None else f"{tasks[record.task].id} {record.item}"
    finally:
        store.close()


def run(folder: Path, executor: str, kills: int, seed: int) -> tuple[int, int]:
    """Let executions be killed until so many lives were; returns how many completed."""
    chance = random.Random(seed)
    began = time.monotonic()
    undisturbed = live(folder, executor).final_context.to_dict()
    seconds = time.monotonic() - began
    completed = killings = 0
    while killings < kills:
        for file in [folder / "runs.db", folder / "runs.db-wal", folder / "runs.db-shm", folder / "log"]:
            file.unlink(missing_ok=True)
        lines = 0
        recorded: set[str] = set()
        while killed(folder, executor, chance.uniform(0, seconds)):
            killings += 1
            told = (folder / "log").read_text().splitlines() if (folder / "log").exists() else []
            again = recorded.intersection(told[lines:])
            if again:
                raise AssertionError(f"{again} ran again, and had been recorded before")
            lines, recorded = len(told), set(on_record(folder))
        with DefaultRunner(f"{folder}/runs.db", executor="serial") as runner:
            (past,) = runner.executions()
            if past.final_context.to_dict() != undisturbed:
                raise AssertionError(f"{past.final_context} is not what an undisturbed execution leaves")
        completed += 1
    return completed, killings


if __name__ == "__main__":
    folder, executor, kills, seed = sys.argv[1:]
    print(*run(Path(folder), executor, int(kills), int(seed)))
