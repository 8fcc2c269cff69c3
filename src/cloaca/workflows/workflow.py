"""A workflow: tasks, what each depends on, and the plan compiled from that. Nothing of it ever changes."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct, field

from cloaca.history.plan import Plan, plan
from cloaca.merge.given import OnConflict, Rule
from cloaca.nearest import nearest
from cloaca.retry import RetryPolicy
from cloaca.tasks.place import place_of, shortened
from cloaca.tasks.signature import PLAIN, Form, described_plain
from cloaca.tasks.signature import described as described_annotation
from cloaca.triggers.condition import Condition, described
from cloaca.triggers.rules import DEFAULT, beside
from cloaca.wording import counted

if TYPE_CHECKING:
    from cloaca.workflows.diagram import Direction
    from cloaca.workflows.picture import Picture

Target = str | Callable[..., Any]
"""A task that is wanted: its id, or its function."""


class PerItem(Struct, frozen=True):
    """Of a task in a workflow that runs for each item: the prefix of the copies, and the key of the item in each."""

    prefix: str
    item: str


class Task(Struct, frozen=True):
    """One task: its id, the user's function, and the ids of its dependencies as listed.

    `reads`: the keys that it says to read, or `None` where it doesn't say. `retry`: when it is tried again, or `None`
    where it is tried once. `timeout`: how many seconds each try may take, or `None` where it may take any time.
    `trigger_rule`: the name of the rule by which it starts, `None` for the default; `trigger_rules`: the condition that
    has to hold, too. `on_success` and `on_failure` are called in the program, if given, when tries
    of it have ended. `for_each`: the key of the items for each of which it runs, or `None` where it runs once.
    `limits`: how much each try takes of which of the runner's limits, by name. `priority`: of the tasks that are ready,
    those with a higher one go first. `form`: what the function is called with. `writes`: the keys that it may set and
    remove, as its function names them, or `None` where it doesn't say. `prefix`: in a copy of another workflow, what
    the names of its keys begin with; its function leaves that out. `reuse`: whether an attempt of an earlier execution
    may stand for it, or `None` where it doesn't say. `fingerprint` is called with the context (and the item) before it,
    and what that returns is part of what it looks at. `cache_version` is part of its code, and attempts of code with
    the digests in `accept` are as good as its own. `profile`: the name of the profiler that it runs under, whether it
    runs under that of the execution, or `None` where it doesn't say. `allow_failure`: an execution in which it fails
    doesn't fail by that. `defined`: the file and line where it was made a task, if its function has none. `per_item`:
    where it belongs to a workflow that runs for each item, which one that is. Then it is mapped, and called without the
    item.
    """

    id: str
    function: Callable[..., Any]
    dependencies: tuple[str, ...] = ()
    reads: tuple[str, ...] | None = None
    retry: RetryPolicy | None = None
    timeout: float | None = None
    trigger_rule: str | None = None
    trigger_rules: Condition | None = None
    on_success: Callable[..., object] | None = None
    on_failure: Callable[..., object] | None = None
    for_each: str | None = None
    limits: tuple[tuple[str, int], ...] = ()
    priority: int = 0
    form: Form = PLAIN
    writes: tuple[str, ...] | None = None
    prefix: str = ""
    reuse: bool | None = None
    fingerprint: Callable[..., object] | None = None
    cache_version: str = ""
    accept: tuple[str, ...] = ()
    profile: bool | str | None = None
    allow_failure: bool = False
    defined: str = ""
    per_item: PerItem | None = None

    def place(self, directory: str = "") -> str:
        """The file and line of its function, named from `directory`; of one without any, where it was made a task."""
        return place_of(self.function, directory) or shortened(self.defined, directory)

    @property
    def stands_for_copies(self) -> bool:
        """Whether it stands for a workflow that runs for each item, and is none of its tasks."""
        return self.per_item is not None and self.id == self.per_item.prefix[:-1]

    @property
    def rule(self) -> str:
        """The name of the rule that has to hold, beside its condition if it has one."""
        return self.trigger_rule or beside(self.trigger_rules)

    @property
    def has_rule(self) -> bool:
        """Whether it says when it starts, and that is something else than the default."""
        return self.rule != DEFAULT or self.trigger_rules is not None

    @property
    def ways(self) -> tuple[object, ...]:
        """What it says that changes what its function is called with, whether it is, and what comes of that."""
        said: list[object] = [
            (one.name, one.is_required, *described_annotation(one.annotation)) for one in self.form.parameters
        ]
        if self.for_each is not None:
            said.append(("for_each", self.for_each.removeprefix(self.prefix)))
        if self.per_item is not None:
            said.append(("item", self.per_item.item.removeprefix(self.per_item.prefix)))
        if self.form.returns is not None:
            said.append(("returns", *described_plain(self.form)))
        elif self.writes is not None:
            said.append(("writes", *sorted(self.writes)))
        if self.trigger_rules is not None and self.trigger_rules.keys:
            said.append(described(self.trigger_rules))
        return tuple(said)


class Copy(Struct, frozen=True):
    """A workflow as part of another one: what `WorkflowBuilder.add_workflow` returns. Its names begin with the prefix.

    `ids` are its tasks, in order of definition; `roots` and `leaves` those of them on which it begins and ends;
    `inputs` leads from its keys to those in which their first values are found. All names are as the whole workflow
    has them. Where it runs for each item, `for_each` is the key of the items, and its one leaf stands for all of it.
    """

    prefix: str
    ids: tuple[str, ...]
    roots: tuple[str, ...]
    leaves: tuple[str, ...]
    inputs: Mapping[str, str] = field(default_factory=dict)
    for_each: str | None = None

    def __hash__(self) -> int:
        return hash((self.prefix, self.ids))


class Workflow(Struct, frozen=True, eq=False, dict=True, weakref=True):
    """What `WorkflowBuilder.build()` returns: a validated graph of tasks.

    `tasks` is in order of definition; `plan` is the same graph in the engine's terms. `merge` holds the merge rules by
    key, and `on_conflict` says what becomes of values that don't combine: "first", "last", "fail", or `None`.
    `on_complete`, if given, is called with the result of each execution. `copies` are the workflows that are part of
    it, each before those that are part of that. `check` says what becomes of likely mistakes in its data flow;
    `structured` are keys that merge by structure on purpose, as any key without a rule does. `outputs` are the keys
    that are wanted at the end, `None`: all. `reuse`: attempts of earlier executions may stand for its tasks, unless a
    task or an execution says otherwise.
    """

    name: str
    description: str
    tags: Mapping[str, str]
    tasks: tuple[Task, ...]
    plan: Plan
    merge: Mapping[str, Rule] = field(default_factory=dict)
    on_conflict: OnConflict | None = None
    on_complete: Callable[..., object] | None = None
    copies: tuple[Copy, ...] = ()
    check: Literal["error", "warn", "off"] = "warn"
    structured: frozenset[str] = frozenset()
    outputs: tuple[str, ...] | None = None
    reuse: bool = False

    @cached_property
    def version(self) -> str:
        """16 hex digits over structure and code: equal where a run would do the same (see `workflows/version`)."""
        from cloaca.workflows.version import version  # only where a script asks for it

        tasks = ((task.id, task.dependencies, task.function, *_settings(task)) for task in self.tasks)
        rules = sorted(self.merge.items(), key=itemgetter(0))
        copies = tuple([(copy.prefix, tuple(copy.inputs.items())) for copy in self.copies])
        outputs = None if self.outputs is None else tuple(sorted(self.outputs))
        return version(tasks, rules, (self.on_conflict, copies, outputs))

    def code_of(self, id: str) -> str:
        """Return 32 hex digits over all code that a task runs: the same where an earlier result of it still holds.

        What counts stands in `docs/same_code.md`. Given to `task(accept=...)`, it tells that results of that code are
        as good as those of the present one.

        Raises `ValueError` where there is no such task.

        >>> import cloaca
        >>> with cloaca.WorkflowBuilder("prices") as builder:
        ...
        ...     @cloaca.task()
        ...     def fetch(context): ...
        >>> len(builder.build().code_of("fetch"))
        32
        """
        from cloaca.workflows.codes import Codes  # only where it is asked for

        if id not in self.plan.rank:
            near = nearest(id, self.plan.names)
            advice = f": did you mean {' or '.join(map(repr, near))}?" if near else "."
            raise ValueError(f"Workflow {self.name!r} has no task {id!r}{advice}")
        return Codes().of(self.tasks[self.plan.defined[self.plan.rank[id]]]).digest.hex()

    def topological_sort(self) -> list[str]:
        """Return the task ids in the one fixed order in which every task follows its dependencies."""
        return list(self.plan.names)

    def get_execution_levels(self) -> list[list[str]]:
        """Return the task ids in groups: those of one group don't depend on each other, only on earlier groups."""
        return [[self.plan.names[rank] for rank in level] for level in self.plan.levels()]

    def get_roots(self) -> list[str]:
        """Return the ids of the tasks without dependencies, in order of definition."""
        return [task.id for task in self.tasks if not task.dependencies]

    def get_leaves(self) -> list[str]:
        """Return the ids of the tasks on which no other depends, in order of definition."""
        rank, successors = self.plan.rank, self.plan.successors
        return [task.id for task in self.tasks if not successors[rank[task.id]]]

    def validate(self) -> None:
        """Check the graph again. Building has done so already, so this finds nothing; scripts may call it.

        Raises `WorkflowError` with every fault.
        """
        plan(self.name, [(task.id, task.dependencies) for task in self.tasks])

    def to_mermaid(self, direction: "Direction" = "TB", most: int | None = 100) -> str:
        """Return the graph as the text of a Mermaid flowchart.

        Beneath the names of tasks stand their rules, and what they take of limits.

        It goes from top to bottom ("TB"), or from left to right ("LR"). A graph of more than `most` nodes, or of more
        than a fifth of that side by side, is folded: tasks that are alike stand as one node, such as
        "load_0 ... load_997 (998 tasks)". `None`: each task is drawn.

        Raises `ValueError` where `direction` or `most` is something else.
        """
        return self._picture.to_mermaid(direction, most)

    def to_dot(self, direction: "Direction" = "TB", most: int | None = 100) -> str:
        """Return the graph as the text of a Graphviz file. Takes what `to_mermaid` takes."""
        return self._picture.to_dot(direction, most)

    def to_svg(self, direction: "Direction" = "TB", most: int | None = 100) -> str:
        """Return the graph as an SVG picture, drawn by Graphviz. Takes what `to_mermaid` takes.

        Raises `RuntimeError` where there is no Graphviz; the message says how to install it.
        """
        return self._picture.to_svg(direction, most)

    @property
    def _picture(self) -> "Picture":
        from cloaca.workflows.picture import Picture, noting  # only where a script asks for it

        tasks = by_rank(self)
        return Picture(self.name, self.plan, copies_of(self), noting([*map(_noted, tasks)], mapped_in(tasks)))

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """What notebooks show: a picture by Graphviz, or else one that JupyterLab 4.1 draws; others take the text."""
        return {"text/plain": repr(self), **self._picture.for_notebooks()}

    def __repr__(self) -> str:
        return f"Workflow({self.name!r}, {counted(len(self.tasks), 'task')})"


def copies_of(workflow: Workflow) -> list[tuple[str, tuple[str, ...]]]:
    """The prefix of each copy, with the ids of its tasks: for pictures."""
    return [(copy.prefix, copy.ids) for copy in workflow.copies]


def mapped_in(tasks: Sequence[Task]) -> frozenset[int]:
    """The places of those that are mapped."""
    return frozenset([place for place, task in enumerate(tasks) if task.for_each is not None])


def by_rank(workflow: Workflow) -> list[Task]:
    """The tasks in the order of `topological_sort`."""
    return [workflow.tasks[place] for place in workflow.plan.defined]


def asked_in_attempts(tasks: Iterable[Task]) -> list[Condition]:
    """The conditions that a run can't decide, each once: they look at values, or nothing has to end before."""
    conditions = (
        task.trigger_rules
        for task in tasks
        if task.trigger_rules is not None and (task.trigger_rules.keys or not task.dependencies)
    )
    return list(dict.fromkeys(conditions))


def _settings(task: Task) -> Iterator[object]:
    """What the task says about what it takes, when it starts and how it is run."""
    yield tuple([(one.name, one.is_required, described_annotation(one.annotation)) for one in task.form.parameters])
    if task.form.returns is not None:
        yield described_plain(task.form)
    yield task.rule
    yield None if task.trigger_rules is None else described(task.trigger_rules)
    yield repr(task.retry)
    yield task.timeout
    yield task.for_each if task.per_item is None else (task.for_each, task.per_item.item)
    yield None if task.writes is None else tuple(sorted(task.writes))


def _noted(task: Task) -> tuple[str, ...]:
    """What stands beneath the name of the task, a line each: when it starts, and what it takes of limits."""
    rules = " and ".join(_said(task))
    taken = ", ".join([f"{name}: {count}" for name, count in task.limits])
    return tuple([line for line in (rules, taken) if line])


def _said(task: Task) -> Iterator[str]:
    """What the task says of when it starts, where that isn't the default; and what a workflow runs for each item of."""
    if task.stands_for_copies:
        yield f"for each item of {task.for_each}"
    if task.rule != beside(task.trigger_rules):
        yield task.rule
    if task.trigger_rules is not None:
        yield str(task.trigger_rules)
