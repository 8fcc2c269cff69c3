"""Anatomy: where the time of a trivial task goes, leg by leg.

Each leg runs by itself, with the objects that a real run has: `python -m perf.anatomy` prints microseconds per task,
the least of several rounds. Their sum says what a task takes of the processors where nothing else happens; what it
takes in a run is more, as a run of many tasks doesn't fit into the processor's caches, and processes have to be woken.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from socket import socket, socketpair
from time import perf_counter

from msgspec.structs import replace

from cloaca.border.mark import Mark, create
from cloaca.border.permits import Permit, Permits
from cloaca.border.surroundings import bearings, here
from cloaca.border.tally import Tally
from cloaca.engine.events import Begin, Room
from cloaca.engine.run import Run
from cloaca.engine.work import Limits, Work
from cloaca.history.plan import plan
from cloaca.pickling.kin import FunctionCache
from cloaca.pool.batching import LARGEST_BATCH
from cloaca.wire.frames import decode_down, decode_up, frame
from cloaca.wire.messages import Assignment, Done, Publish, Slice, Up, Usage
from cloaca.worker.worker import Worker

TASKS = 10_000
ROUNDS = 15


def setter(number):
    def work(context):
        context.set(f"value {number}", number)

    return work


FUNCTIONS = [setter(number) for number in range(TASKS)]
NAMES = [f"set {number}" for number in range(TASKS)]
ASSIGNMENTS = [Assignment(number, NAMES[number], number, Slice({}), seed=1 << 62) for number in range(TASKS)]
REPORTS = [Done(number, {f"value {number}": b"\x01"}, Usage(1.0, 2.0, 1.0, 1 << 25)) for number in range(TASKS)]


def main() -> None:
    """Print the table."""
    terminal = sys.stdout  # the worker's are its own
    total = 0.0
    for leg, seconds in legs():
        total += seconds
        print(f"{seconds / TASKS * 1e6:6.2f}  {leg}", file=terminal, flush=True)
    print(f"{total / TASKS * 1e6:6.2f}  all of it", file=terminal, flush=True)


def legs() -> Iterator[tuple[str, float]]:
    """The legs of a task's way, in order, with the seconds for all tasks."""
    yield "program: are the functions as they were", capturing()
    begin, submit, report, end = engine()
    yield "coordinator: a run is begun", begin
    yield "coordinator: the run decides what is assigned", submit
    yield "wire: assignments are encoded, many to a frame", least(encode_assignments)
    yield "wire: and decoded", decoding()
    yield "worker: a permit is taken from the pipe", permit()
    with at_work() as worker:
        yield "worker: the task runs, with all that surrounds it", least(lambda: run_all(worker))
    yield "wire: a report is encoded", least(lambda: encode_reports(REPORTS))
    yield "wire: and sent, where nobody has to be woken", sending()
    yield "wire: and decoded", decoding_reports()
    yield "coordinator: the run takes it in", report
    yield "coordinator: the result is put together", end


def least(run: Callable[[], object]) -> float:
    """The seconds of the fastest of several rounds."""
    return min(seconds_of(run) for _ in range(ROUNDS))


def seconds_of(run: Callable[[], object]) -> float:
    start = perf_counter()
    run()
    return perf_counter() - start


# ---- the program and the coordinator -------------------------------------------------------------------------------


def capturing() -> float:
    cache = FunctionCache()
    for _ in range(3):
        cache.capture_all(NAMES, FUNCTIONS)
    return least(lambda: cache.capture_all(NAMES, FUNCTIONS))


def engine() -> tuple[float, ...]:
    compiled = plan("trivial", [(name, ()) for name in NAMES])
    work = [Work(number, ()) for number in range(TASKS)]
    rounds = [
        one_run(Run(compiled, work, {}, numbers=count(), answers=True, limits=Limits(size=1 << 30)))
        for _ in range(ROUNDS)
    ]
    return tuple(map(min, zip(*rounds, strict=True)))


def one_run(run: Run) -> tuple[float, float, float, float]:
    """The seconds to begin, to submit, to take reports in, and to end."""
    start = perf_counter()
    run.handle(Begin(), 0.0)
    begun = perf_counter()
    submitting = 0.0
    while run.ready:
        asked = perf_counter()
        commands = run.handle(Room(LARGEST_BATCH), 0.0)
        submitting += perf_counter() - asked
        for command in commands:
            run.handle(REPORTS[command.attempt], 0.0)
    ended = perf_counter()
    run.history.final()
    run.ledger.outcomes_in_full()
    return begun - start, submitting, ended - begun - submitting, perf_counter() - ended


# ---- the wire ------------------------------------------------------------------------------------------------------


def batches() -> Iterator[list[Assignment]]:
    for start in range(0, TASKS, LARGEST_BATCH):
        yield ASSIGNMENTS[start : start + LARGEST_BATCH]


def encode_assignments() -> list[bytes]:
    return [frame(batch) for batch in batches()]


def decoding() -> float:
    bodies = [encoded[8:] for encoded in encode_assignments()]
    return least(lambda: [decode_down(body) for body in bodies])


def encode_reports(reports: list[Up]) -> list[bytes]:
    return [frame(report) for report in reports]


def decoding_reports() -> float:
    bodies = [encoded[8:] for encoded in encode_reports(REPORTS)]
    return least(lambda: [decode_up(body) for body in bodies])


def sending() -> float:
    """As many at a time as a socket takes; what is read in between isn't counted."""
    encoded = encode_reports(REPORTS)
    ours, theirs = socketpair()
    total = 0.0
    with ours, theirs:
        for start in range(0, TASKS, LARGEST_BATCH):
            batch = encoded[start : start + LARGEST_BATCH]
            total += seconds_of(partial(send_all, ours, batch))
            theirs.recv(1 << 20)
    return total


def send_all(connection: socket, reports: list[bytes]) -> None:
    for report in reports:
        connection.sendall(report)


# ---- the worker ----------------------------------------------------------------------------------------------------


def permit() -> float:
    pipe = Permits()
    permit = Permit(pipe.reader)
    total = 0.0
    for _ in range(0, TASKS, LARGEST_BATCH):
        pipe.issue(LARGEST_BATCH)
        total += seconds_of(lambda: [all(map(permit.is_for, range(LARGEST_BATCH)))])
    pipe.close()
    return total


@contextmanager
def at_work() -> Iterator[Worker]:
    """A worker in this process that knows all functions, and whose reports go nowhere."""
    ours, theirs = socketpair()
    reader, writer = os.pipe()
    mark = create()
    worker = Worker(theirs, Mark(mark), Tally(mark), reader, 0, 1)
    worker._surroundings = replace(here(), folders=("/dev/shm",))
    worker._bearings = bearings(worker._surroundings)
    worker._send = lambda *_: None
    cache = FunctionCache()
    captured = cache.capture_all(NAMES, FUNCTIONS)
    heads = {head.number: Publish(-1 - place, head.blob, ()) for place, head in enumerate(cache.heads)}
    for head in heads.values():
        worker._repertoire.learn(head)
    for number, one in enumerate(captured):
        head = heads.get(one.head)
        worker._repertoire.learn(Publish(number, one.blob, (), 0 if head is None else head.function))
    os.close(mark)
    yield worker
    ours.close()
    theirs.close()
    os.close(reader)
    os.close(writer)


def run_all(worker: Worker) -> None:
    for assignment in ASSIGNMENTS:
        worker._run(assignment)


if __name__ == "__main__":
    main()
