"""Prepared: what runs of a workflow are made of on a runner, as it stands now, kept for the next one."""

import pickle
from array import array
from functools import partial

from cloaca.attempts.expansion import Expansion
from cloaca.merge.rules import Rules
from cloaca.pickling.functions import next_number
from cloaca.runs import KnownWorkflow, Runs
from cloaca.sending.captures import Captures
from cloaca.sending.makings import Makings
from cloaca.values.holder import Holder
from cloaca.wire.messages import Publish
from cloaca.workflows.workflow import Task, Workflow


def known_of(runs: Runs, workflow: Workflow) -> KnownWorkflow:
    """What is known of the workflow. Where tasks run one after the other, nothing is learnt: their order stays."""
    with runs.lock:
        known = runs.known.get(workflow)
        if known is None:
            known = KnownWorkflow(array("d", bytes(8 * len(workflow.tasks))), {}, {})
            if runs.settings.executor != "serial":
                runs.known[workflow] = known
        return known


def makings_of(runs: Runs, workflow: Workflow, known: KnownWorkflow, rules: Rules, holder: Holder | None) -> Makings:
    """What is called here; or what workers are sent, as it stands now, in `holder` what of it is large."""
    if holder is None:
        from cloaca.sending.objects import objects_of  # workers are sent everything as bytes

        return objects_of(workflow, rules, _expansion, partial(_time_limit, runs), next(runs.blocks))
    with runs.lock:
        if known.captures is None:
            known.captures = Captures(workflow, rules.collected, runs.settings.task_timeout, _expansion)
        captured = known.captures.now(holder)
    rules = rules.packed(captured.rules)  # what they use is read now, also for what is merged here later
    sent = Publish(next_number(), pickle.dumps(rules), ())
    return Makings(
        captured.work, rules, sent.function, captured.functions, sent, captured.variables, leases=captured.leases
    )


def _time_limit(runs: Runs, task: Task) -> float | None:
    """How long a try may take. On the thread that calls, nothing can be ended before its time."""
    return None if runs.settings.executor == "serial" else task.timeout or runs.settings.task_timeout


def _expansion(task: Task) -> Expansion:
    """What expands a mapped task."""
    return Expansion(task.id, task.for_each or "")
