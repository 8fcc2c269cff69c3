"""Reported: what a report tells beside the account of the run: failures, skipped tasks, keys, and what was reused."""

from collections.abc import Iterator, Mapping
from traceback import format_exception
from typing import TYPE_CHECKING

from cloaca.engine.ledger import Ledger
from cloaca.engine.state import State
from cloaca.errors import INPUT
from cloaca.history.pedigree import Pedigrees
from cloaca.history.plan import Plan
from cloaca.report.graph import MOST_NODES
from cloaca.report.story import Failure, Group, KeyTraffic
from cloaca.values.blobs import size_of
from cloaca.wire.messages import Version
from cloaca.wording import shortened
from cloaca.workflows.folding import outline_of
from cloaca.workflows.outline import Boxes, Node

if TYPE_CHECKING:
    from cloaca.results.task import TaskResult
    from cloaca.results.task_explanation import TaskExplanation


def groups(plan: Plan, copies: Boxes) -> list[Group]:
    """The nodes of the graph: all tasks, or, of many, those that are alike together."""
    return [Group(_called(node), node.ranks) for node in outline_of(plan, copies, MOST_NODES).nodes]


def _called(node: Node) -> str:
    return node.first if node.first == node.last else f"{node.first}{node.link}{node.last}"


def failed(ledger: Ledger) -> Iterator[str]:
    """The names of the tasks that failed; of a mapped one, of its instances that did."""
    for rank, state in enumerate(ledger.states[: len(ledger.names)]):
        if state is State.FAILED:
            yield from map(ledger.name, ledger.failed(rank, len(ledger.states)))


def failure_of(task: "TaskResult", explanation: "TaskExplanation") -> Failure:
    """How a task failed."""
    traced = "" if task.error is None else "".join(format_exception(task.error))
    return Failure(task.id, shortened(task.error_message or ""), str(explanation), traced)


def skipped(ledger: Ledger) -> list[tuple[str, str]]:
    """Why tasks were skipped, by their names."""
    ranks = range(len(ledger.names))
    return [(ledger.names[rank], ledger.reason(rank)) for rank in ranks if ledger.states[rank] is State.SKIPPED]


def named(ledger: Ledger, told: Mapping[tuple[str, int | None], str]) -> dict[str, str]:
    """What is told of tasks and instances, by their names."""
    return {ledger.name(ledger.unit(*place)): text for place, text in told.items()}


def traffic(pedigrees: Pedigrees, final: Mapping[str, tuple[Version, ...]]) -> Iterator[KeyTraffic]:
    """How often keys were set, and to how much: those that are there in the end, and those set more than once."""
    known = pedigrees.sizes
    for key, sizes in known.items():
        yield KeyTraffic(key, len(sizes), sum(sizes))
    for key, versions in final.items():
        if key not in known:
            sizes = [size_of(one.payload) for one in versions if one.payload is not None and one.writer != INPUT]
            if sizes:
                yield KeyTraffic(key, len(sizes), sum(sizes))
