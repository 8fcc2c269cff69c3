"""Anatomy: where the time of a trivial task goes, leg by leg.

Each leg runs by itself, with the objects that a real run has: `python -m perf.anatomy` prints microseconds per task,
the least of several rounds. Their sum says what a task takes of the processors where nothing else happens; what it
takes in a run is more, as a run of many tasks doesn't fit into the processor's caches, and processes have to be woken.

What surrounds a task in its worker is timed part by part, one in each run, less what the timing takes.

`python -m perf.anatomy docs/profile.md` writes both tables into that page as well.
"""

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from socket import socket, socketpair
from time import perf_counter, process_time
from typing import Any, NamedTuple, cast

from msgspec.structs import replace

from cloaca.attempts import attempt
from cloaca.attempts.meter import Meter
from cloaca.border.mark import Mark, create
from cloaca.border.permits import Permit, Permits
from cloaca.border.surroundings import bearings, here, is_in
from cloaca.border.tally import Tally
from cloaca.engine.events import Begin, Room
from cloaca.engine.run import Run
from cloaca.engine.work import Limits, Work
from cloaca.history.plan import plan
from cloaca.pickling.kin import FunctionCache
from cloaca.pool.batching import LARGEST_BATCH
from cloaca.tasks.shelf import Shelf
from cloaca.wire.frames import decode_down, decode_up, frame
from cloaca.wire.messages import Assignment, Done, Down, Publish, Slice, Up, Usage
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


class EngineLegs(NamedTuple):
    """What the run does for all tasks, in seconds."""

    begin: float
    submit: float
    report: float
    end: float


Row = tuple[str, float]
"""What is timed, and microseconds per task."""


ONE_FOR_EACH_TASK = ("FUNCTIONS", "NAMES", "ASSIGNMENTS", "REPORTS")


def main() -> None:
    """Print both tables, and write them into the page that the command line names, if it names one."""
    terminal = sys.stdout  # the worker's are its own
    engine = engine_legs()
    legs = list(way_there(engine))
    with at_work() as worker:
        legs.append(("worker: the task runs, with all that surrounds it", least(partial(run_all, worker))))
        parts = list(inside(worker))
    legs += way_back(engine)
    tables = {"legs": summed(legs, "all of it"), "inside": parts}
    for rows in tables.values():
        for what, microseconds in rows:
            print(f"{microseconds:6.2f}  {what}", file=terminal)
    for path in map(Path, sys.argv[1:]):
        text = path.read_text(encoding="utf-8")
        for name, rows in tables.items():
            text = with_table(text, name, rows)
        path.write_text(text, encoding="utf-8")


def summed(timed: Iterable[tuple[str, float]], all_of_it: str) -> list[Row]:
    rows = [(what, seconds / TASKS * 1e6) for what, seconds in timed]
    return [*rows, (all_of_it, sum(microseconds for _, microseconds in rows))]


def with_table(text: str, name: str, rows: Iterable[Row]) -> str:
    """The page with the table after `<!-- anatomy: NAME -->` made of these rows.

    >>> print(with_table("<!-- anatomy: legs -->\\n\\n| old |\\n| table |\\n\\nMore.", "legs", [("a leg", 1.234)]))
    <!-- anatomy: legs -->
    <BLANKLINE>
    |  | us |
    | --- | --- |
    | a leg | 1.23 |
    <BLANKLINE>
    More.
    """
    marker = f"<!-- anatomy: {name} -->"
    table = "".join(f"| {what} | {microseconds:.2f} |\n" for what, microseconds in rows)
    place = re.compile(rf"{marker}\n\n(\|.*\n)*")
    if not place.search(text):
        raise ValueError(f"The page has no {marker!r}, after which a table stands")
    return place.sub(lambda _: f"{marker}\n\n|  | us |\n| --- | --- |\n{table}", text)


def way_there(engine: EngineLegs) -> Iterator[tuple[str, float]]:
    """The legs of a task's way to its worker, in order, with the seconds for all tasks."""
    yield "program: are the functions as they were", capturing()
    yield "coordinator: a run is begun", engine.begin
    yield "coordinator: the run decides what is assigned", engine.submit
    yield "wire: assignments are encoded, many to a frame", least(encode_assignments)
    yield "wire: and decoded", decoding()
    yield "worker: a permit is taken from the pipe", permit()


def way_back(engine: EngineLegs) -> Iterator[tuple[str, float]]:
    yield "wire: a report is encoded", least(lambda: encode_reports(REPORTS))
    yield "wire: and sent, where nobody has to be woken", sending()
    yield "wire: and decoded", decoding_reports()
    yield "coordinator: the run takes it in", engine.report
    yield "coordinator: the result is put together", engine.end


def least(run: Callable[[], object]) -> float:
    """The seconds that the fastest of several rounds takes of the processor."""
    return min(seconds_of(run) for _ in range(ROUNDS))


def seconds_of(run: Callable[[], object]) -> float:
    start = process_time()
    run()
    return process_time() - start


# ---- the program and the coordinator -------------------------------------------------------------------------------


def capturing() -> float:
    cache = FunctionCache()
    for _ in range(3):
        cache.capture_all(NAMES, FUNCTIONS)
    return least(lambda: cache.capture_all(NAMES, FUNCTIONS))


def engine_legs() -> EngineLegs:
    compiled = plan("trivial", [(name, ()) for name in NAMES])
    work = [Work(number, ()) for number in range(TASKS)]
    rounds = [
        one_run(Run(compiled, work, {}, numbers=count(), answers=True, limits=Limits(size=1 << 30)))
        for _ in range(ROUNDS)
    ]
    return EngineLegs(*map(min, zip(*rounds, strict=True)))


def one_run(run: Run) -> EngineLegs:
    start = process_time()
    run.handle(Begin(), 0.0)
    begun = process_time()
    submitting = 0.0
    while run.ready:
        asked = process_time()
        commands = cast("list[Assignment]", run.handle(Room(LARGEST_BATCH), 0.0))
        submitting += process_time() - asked
        for command in commands:
            run.handle(REPORTS[command.attempt], 0.0)
    ended = process_time()
    run.history.final()
    run.ledger.outcomes_in_full()
    return EngineLegs(begun - start, submitting, ended - begun - submitting, process_time() - ended)


# ---- the wire ------------------------------------------------------------------------------------------------------


def batches() -> Iterator[list[Down]]:
    for start in range(0, TASKS, LARGEST_BATCH):
        yield [*ASSIGNMENTS[start : start + LARGEST_BATCH]]


def encode_assignments() -> list[bytes]:
    return [frame(batch) for batch in batches()]


def decoding() -> float:
    bodies = [encoded[8:] for encoded in encode_assignments()]
    return least(lambda: [decode_down(body) for body in bodies])


def encode_reports(reports: Sequence[Up]) -> list[bytes]:
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
        of = heads.get(one.head)
        worker._repertoire.learn(Publish(number, one.blob, (), 0 if of is None else of.function))
    os.close(mark)
    yield worker
    ours.close()
    theirs.close()
    os.close(reader)
    os.close(writer)


def run_all(worker: Worker) -> None:
    for assignment in ASSIGNMENTS:
        worker._is_settled = worker._is_settled and is_in(worker._bearings)
        worker._run(assignment)


# ---- what surrounds a task -----------------------------------------------------------------------------------------

PARTS = (
    ("the working directory, `sys.path` and the environment are as the program's", sys.modules[__name__], "is_in"),
    ("which attempt runs since when, for who looks on when the worker dies", Worker, "_begin"),
    ("what it sees: the slice, the workflow's rules, its place for large values", attempt, "Contents"),
    ("its context", attempt, "over"),
    ("context variables of its own, and those of `decimal`", attempt, "own_variables"),
    ("nothing was touched: signals, streams, logging, warnings", Worker, "_has_left"),
    ("what it set", attempt, "changes_of"),
    ("what of that stays in shared memory", Shelf, "keep"),
    ("how long it took, and what of the processor", Meter, "stop"),
    ("the report is handed in", Worker, "_hand_in"),
)
"""What is done, and the function that does it."""


def inside(worker: Worker) -> Iterator[Row]:
    """The parts of what a worker does around a task; the last row is what they leave of the whole."""
    run = partial(run_all, worker)
    whole = least(run) / TASKS * 1e6
    *rows, (_, known) = summed(((what, spent_in(home, name, run)) for what, home, name in PARTS), "all of these")
    yield from rows
    yield "the function itself, the calls between all of these, and what they hand on", whole - known


def spent_in(home: object, name: str, run: Callable[[], object]) -> float:
    """The seconds that a run spends in this function, less what it takes to time it."""
    original = getattr(home, name)
    nothing = Timed(lambda: None)
    timing = min(nothing.during(lambda: [nothing.call() for _ in range(TASKS)]) for _ in range(ROUNDS))
    timed = Timed(original)

    def call(*arguments: Any, **named: Any) -> Any:  # a function, which becomes a method where it stands in a class
        return timed.call(*arguments, **named)

    setattr(home, name, call)
    try:
        return max(0.0, min(timed.during(run) for _ in range(ROUNDS)) - timing)
    finally:
        setattr(home, name, original)


class Timed:
    """A function, and the seconds that its calls have taken."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._seconds = 0.0

    def call(self, *arguments: Any, **named: Any) -> Any:
        start = perf_counter()
        result = self._function(*arguments, **named)
        self._seconds += perf_counter() - start
        return result

    def during(self, run: Callable[[], object]) -> float:
        """The seconds that its calls take in a run."""
        before = self._seconds
        run()
        return self._seconds - before


if __name__ == "__main__":
    main()
