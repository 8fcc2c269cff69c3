"""Warming: a runner is made ready for a workflow. Its workers are up, and have loaded what the tasks call."""

from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import Any

from cloaca.attempts.batch import BatchFunction
from cloaca.attempts.meeting import Meeting
from cloaca.attempts.seeding import unseeded
from cloaca.engine.batches import BatchRun
from cloaca.engine.events import Deliver
from cloaca.merge.rules import Rules
from cloaca.pickling.functions import OfMap, capture
from cloaca.prepared import known_of, makings_of
from cloaca.running.batches import Sizes
from cloaca.running.coordinator import Job, OnEnd
from cloaca.running.mapping import mapped, unseen
from cloaca.runs import Runs, at_hand
from cloaca.sending.makings import Makings
from cloaca.terms import Terms
from cloaca.wire.messages import ITEMS, Publish
from cloaca.workflows.passed import homes
from cloaca.workflows.workflow import Workflow


def make_ready(runs: Runs, workflow: Workflow, seconds: float) -> None:
    """Start what isn't there, and have it load what the workflow's tasks call; wait for that, at most so long."""
    runs.check_usable()
    if runs.settings.executor == "serial":
        with runs.workroom.entered():
            return
    with TemporaryDirectory(prefix="cloaca-warm-") as folder:
        meeting = Meeting(folder, runs.settings.workers, seconds)
        meeting.prepare()
        _meet(runs, workflow, meeting)


def _meet(runs: Runs, workflow: Workflow, meeting: Meeting) -> None:
    """Have each worker call it once, where what the workflow needs is loaded before."""
    workers, loop = runs.settings.workers, runs.running_loop()
    rules = Rules(workflow.merge, workflow.on_conflict, homes(workflow))
    makings = makings_of(runs, workflow, known_of(runs, workflow), rules, None if loop.calls_objects else loop.holder)
    called: dict[int, Any] = {}
    sent = None
    if loop.calls_objects:
        number = next(runs.blocks)
        called[number] = BatchFunction(meeting, 0, float("inf"), unseeded)
    else:
        captured = capture(OfMap("map"), BatchFunction(meeting, 0, float("inf")), meeting)
        number = captured.number
        sent = Publish(number, captured.blob, (ITEMS,), along=_called(makings))
    surroundings = runs.surroundings(loop.holder)
    run = BatchRun(number, numbers=runs.numbers, grace=0.0, variables=makings.variables, seats=runs.seats)
    objects = runs.objects

    def job(on_delivery: Callable[[Deliver], None], on_end: OnEnd) -> Job[BatchRun]:
        ending = at_hand(objects, called, on_end)
        leases = dict(makings.leases)
        return Job(workflow.name, run, makings.functions, ending, surroundings, sent, leases, on_delivery)

    for _ in mapped(runs, loop, job, range(workers), Sizes(1), workers, Terms(), unseen):
        """It was there."""


def _called(makings: Makings) -> tuple[int, ...]:
    """The numbers of all that tasks call."""
    numbers = [
        number
        for work in makings.work
        for number in (work.function, work.condition, work.fingerprint, 0 if work.each is None else work.each.expansion)
    ]
    return tuple(dict.fromkeys(number for number in numbers if number))
