"""What is recorded of an execution: how it began, and what became of each attempt.

These are written to disk, and read by later versions: a field is only ever appended, with a default. They are encoded
as arrays (msgpack). A payload stands in them as the run has it, but for references: these name the content of a file
among the store's values (see `cloaca.store.values`).
"""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from cloaca.engine.looks import Looks
from cloaca.wire.messages import Figures


class StoredVersion(Struct, frozen=True, array_like=True, gc=False):
    """A version of a key (see `cloaca.wire.messages.Version`)."""

    writer: str
    payload: bytes | None
    place: str = ""
    rivals: "tuple[StoredVersion, ...]" = ()
    saw: tuple[int, ...] = ()
    source: str = ""
    is_milestone: bool = False


class TaskRow(Struct, frozen=True, array_like=True, gc=False):
    """A task of the plan: its id, what it depends on by place in the plan, and the key that it is mapped over.

    `writes`, `prefix`, `allow_failure` and `rule` (its `trigger_rule`) as in `cloaca.workflows.workflow.Task`.
    `condition`: its `trigger_rules`, as `("value", key, operator, payload)`, `("ended", task, status)` or
    `(how, part, part...)`.
    `per_item`: in a workflow that runs for each item, the prefix of its copies and the key of the item.
    """

    id: str
    dependencies: tuple[int, ...] = ()
    for_each: str | None = None
    writes: tuple[str, ...] | None = None
    prefix: str = ""
    rule: str | None = None
    condition: Any = None
    allow_failure: bool = False
    per_item: tuple[str, str] | None = None


class CopyRow(Struct, frozen=True, array_like=True, gc=False):
    """A workflow as part of this one (see `cloaca.workflows.workflow.Copy`)."""

    prefix: str
    ids: tuple[str, ...]
    roots: tuple[str, ...]
    leaves: tuple[str, ...]
    inputs: Mapping[str, str]
    for_each: str | None = None


class Header(Struct, frozen=True, array_like=True, gc=False):
    """How an execution began. `tasks` are its tasks in order of definition, `rules` its merge rules as payloads.

    `targets`: the tasks that were wanted, if not all were. `python`: the minor version, as in "3.11".
    """

    id: str
    workflow: str
    began: float
    seed: int
    inputs: Mapping[str, StoredVersion]
    tasks: tuple[TaskRow, ...]
    python: str
    rules: Mapping[str, bytes] = field(default_factory=dict)
    targets: tuple[str, ...] | None = None
    on_conflict: str | None = None
    copies: tuple[CopyRow, ...] = ()
    outputs: tuple[str, ...] | None = None


class Code(Struct, frozen=True, array_like=True, gc=False):
    """The code of a task: its digest, and those of its parts by what they are called, to tell what has changed."""

    digest: bytes
    parts: Mapping[str, bytes] = field(default_factory=dict)


class Problem(Struct, frozen=True, array_like=True, gc=False):
    """How an attempt failed or was lost, or why it was skipped: the report itself, encoded, and its text."""

    kind: str
    text: str
    report: bytes = b""


class Record(Struct, frozen=True, array_like=True, gc=False):
    """What became of an attempt, of the task at that place of the plan, or of its instance for an item.

    `state`: "Completed", "Failed", "Skipped", "Cancelled"; "Expanded": a mapped task has found its items; "Retried": it
    failed, and there was another one. `nth` of its tries, of which `ended` had ended by themselves before. `figures`:
    what it cost, as the wire has it. `code`: the digest of the code that ran. `reused`: the execution from which it
    was taken over. `why`: why it ran, where that was asked.
    """

    task: int
    item: int | None
    state: str
    nth: int
    time: float
    ended: int = 0
    figures: Figures | None = None
    read: tuple[str, ...] = ()
    diff: Mapping[str, bytes | None] = field(default_factory=dict)
    code: bytes = b""
    looks: Looks | None = None
    settled: Mapping[str, StoredVersion] | None = None
    problem: Problem | None = None
    items: tuple[bytes, ...] | None = None
    labels: tuple[str, ...] | None = None
    item_keys: tuple[bytes, ...] | None = None
    size: int | None = None
    reused: str = ""
    why: str = ""


class Timed(Struct, frozen=True, array_like=True, gc=False):
    """What a record begins with: all that tells how long an attempt took. What follows isn't read then."""

    task: int
    item: int | None
    state: str
    nth: int
    time: float
    ended: int = 0
    figures: Figures | None = None
