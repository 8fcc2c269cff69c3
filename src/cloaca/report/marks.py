"""Marks: what the script is told of the tasks and nodes that stand in pictures."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cloaca.account.spans import Span
from cloaca.account.told import duration, size
from cloaca.report.graph import GraphNode
from cloaca.wording import clipped

HEAD = ("task", "status", "took", "started after", "CPU", "worker", "try", "read", "set", "peak of the worker")
_MORE = ("loading", "waiting for values", "encoding", "keys read", "packages loaded", "error")
_NODE_HEAD = ("tasks", "how they ended", "took together", "which ones")
_LONGEST = 300
_NAMED = 30


def row(span: Span) -> tuple[str, ...]:
    """A span, as `HEAD` says."""
    began, worker = duration(max(span.started, 0)), str(span.worker or "program")
    sizes = map(size, (span.bytes_read, span.bytes_written, span.peak_memory))
    return span.name, span.status, duration(span.seconds), began, duration(span.cpu), worker, str(span.nth), *sizes


def told_of_marks(
    spans: Sequence[Span],
    nodes: Sequence[GraphNode],
    names: Sequence[str],
    seconds: float,
    notes: Mapping[str, Mapping[str, str]],
) -> str:
    """All of it as JSON, in which no markup can begin. `names` of tasks by rank; `notes` say more of some, by name."""
    node_of = {rank: number for number, node in enumerate(nodes) for rank in node.ranks}
    node_of_task = {names[rank]: number for rank, number in node_of.items()}
    data: dict[str, Any] = {
        "seconds": seconds,
        "task": {
            "head": (*HEAD, *_MORE),
            "rows": [(*row(span), *_more(span)) for span in spans],
        },
        "node": {"head": ("node", *_NODE_HEAD), "rows": [_node_row(node, names) for node in nodes]},
        "names": names,
        "node of name": [node_of[rank] for rank in range(len(names))],
        "node of task": [node_of_task[span.task] for span in spans],
        "notes": notes,
    }
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def _more(span: Span) -> tuple[str, ...]:
    """What the table of the slowest has no room for; "" where there is nothing to tell."""
    texts = (", ".join(span.read), ", ".join(span.imported), span.error)
    parts = (span.loading, span.waiting, span.encoding)
    return *(duration(part) if part else "" for part in parts), *(clipped(text, _LONGEST) for text in texts)


def _node_row(node: GraphNode, names: Sequence[str]) -> tuple[str, ...]:
    of_node = [names[rank] for rank in node.ranks]
    more = [f"and {len(of_node) - _NAMED:,} more"] if len(of_node) > _NAMED else []
    return node.title, str(len(of_node)), node.told, duration(node.seconds), ", ".join([*of_node[:_NAMED], *more])
