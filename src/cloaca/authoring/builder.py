"""The block in which a workflow is written, and the `task` decorator's way to find it.

The open blocks are kept per thread and per `contextvars` context, innermost last, so that workflows may be defined in
several threads at once and inside one another.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from functools import cached_property
from types import MappingProxyType, MethodType, TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeAlias

from msgspec.structs import replace

from cloaca import argument
from cloaca.authoring import precedence, registry
from cloaca.errors import INPUT, WorkflowError
from cloaca.history.plan import Plan, plan
from cloaca.merge.given import OnConflict, Rule, checked_on_conflict, checked_rules, structured
from cloaca.tasks.signature import typed
from cloaca.triggers.condition import renamed, stands_alone
from cloaca.triggers.rules import TriggerRule, checked_rule
from cloaca.wire.text import is_encodable
from cloaca.wording import a, counted
from cloaca.workflows.copies import (
    Added,
    checked_inputs,
    checked_items,
    checked_prefix,
    copied_tasks,
    copy_of,
    tasks_for_each,
)
from cloaca.workflows.workflow import Copy, Task, Workflow

if TYPE_CHECKING:
    from cloaca.compat.namespace import WorkflowContext
    from cloaca.results.result import WorkflowResult

Dependency: TypeAlias = str | Callable[..., Any]
_CHECKS: Final[dict[str, Literal["error", "warn", "off"]]] = {"error": "error", "warn": "warn", "off": "off"}

_open_builders: ContextVar[tuple["WorkflowBuilder", ...]] = ContextVar("cloaca.open_builders", default=())


def current_builder() -> "WorkflowBuilder | None":
    """Return the builder of the innermost open block of this thread, if there is one."""
    builders = _open_builders.get()
    return builders[-1] if builders else None


def check_name(what: str, name: object) -> None:
    """Raise `ValueError` where `name` is no string, an empty one, or one that UTF-8 can't carry."""
    if not isinstance(name, str) or not name:
        raise ValueError(f"{what} is a string that isn't empty, and {name!r} is not.")
    if not is_encodable(name):
        raise ValueError(f"{what} is a string that UTF-8 can carry, and {name!r} is not: it has lone surrogates.")


def checked_dependencies(what: str, listed: Any) -> tuple[Dependency, ...]:
    """The dependencies, in the order in which they are listed. Raises `ValueError` where they are none."""
    if not isinstance(listed, list | tuple):
        raise ValueError(f"{what} takes a list of ids or functions, not {listed!r}.")
    for i, dependency in enumerate(listed):
        if not isinstance(dependency, str) and not callable(dependency):
            raise ValueError(f"Dependency {i} must be either a string or a function object with __name__ attribute")
    return tuple(listed)


class WorkflowBuilder:
    """A workflow being written: a context manager, whose block defines the tasks.

    Leaving the block validates the workflow and registers it in place of an earlier one of that name, with a warning if
    that was defined at another place in the code. Where the block raised, nothing is registered. `tenant`, `package`
    and `workflow` only make up `namespace`.

    `merge` gives merge rules by key: how the writes of concurrent tasks combine, as in `{"total": cloaca.merge.sum}`
    (see `cloaca.merge`). `on_conflict` settles what doesn't combine and has no rule: "first" or "last" takes a value in
    the merge order, "fail" fails the task in which such branches meet. Otherwise the key is in conflict until a task
    sets it, and reading it raises `MergeConflict`.

    `trigger_rule` is the default for the tasks that name no rule themselves (see `task`).

    `outputs` names the keys that are wanted at the end. All others are left out of the result, and large values of
    theirs go after their last readers: see `docs/memory.md`. Without it, every key is part of the result.

    `on_complete(result)` is called in the program once an execution has ended, however it did, before `execute`
    returns. What it raises is logged.

    `check` says what becomes of keys that are read and don't come, or come from two sides, as far as the tasks' code
    tells: "warn" issues a `DataflowWarning` when the block ends or an execution starts, "error" raises a
    `WorkflowError`, "off" is silent. `cloaca.check` returns them.

    `reuse=True`: where executions are recorded, attempts of earlier ones stand for tasks whose code and whatever they
    look at are the same, unless a task or `execute` says otherwise.

    `wire=True`: each task also depends on the one that returns what it takes, by the names of keys. What no task
    returns comes from the input. Of two tasks that return a key, the one is meant that `dependencies` lists; a key with
    a merge rule comes from all that return it.

    Raises `ValueError` where a merge rule is no function of the base and the values, `on_complete` none of the result,
    and for other arguments that make no sense.

    >>> import cloaca
    >>> with cloaca.WorkflowBuilder("greet") as builder:
    ...
    ...     @cloaca.task()
    ...     def hello(context):
    ...         context.set("text", "hello")
    >>> builder.build().topological_sort()
    ['hello']
    """

    def __init__(
        self,
        name: str,
        *,
        tenant: str | None = None,
        package: str | None = None,
        workflow: str | None = None,
        merge: Mapping[str, Rule] | None = None,
        on_conflict: OnConflict | None = None,
        trigger_rule: TriggerRule | None = None,
        outputs: Sequence[str] | None = None,
        on_complete: Callable[["WorkflowResult"], object] | None = None,
        check: Literal["error", "warn", "off"] = "warn",
        reuse: bool = False,
        wire: bool = False,
    ) -> None:
        check_name("A workflow's name", name)
        self._trigger_rule = checked_rule("WorkflowBuilder(trigger_rule=...)", trigger_rule)
        rules = checked_rules(merge)
        self._structured = structured(rules)
        self._merge = MappingProxyType({key: rule for key, rule in rules.items() if key not in self._structured})
        self._on_conflict: OnConflict | None = checked_on_conflict(on_conflict)
        self._outputs = None if outputs is None else argument.keys("WorkflowBuilder(outputs=...)", outputs)
        self._on_complete = (
            None
            if on_complete is None
            else argument.callback("WorkflowBuilder(on_complete=...)", on_complete, "result")
        )
        self._check: Literal["error", "warn", "off"] = argument.choice("WorkflowBuilder(check=...)", check, _CHECKS)
        self._reuse = argument.switch("WorkflowBuilder(reuse=...)", reuse)
        self._wire = argument.switch("WorkflowBuilder(wire=...)", wire)
        self.name = name
        self._namespace = (tenant or "public", package or "embedded", workflow or name)
        self._description = ""
        self._tags: dict[str, str] = {}
        self._defined: list[tuple[Task, Sequence[Dependency]]] = []  # tasks, each with what it lists to depend on
        self._ids: dict[Hashable, tuple[str, ...]] = {}  # by id, and by function: the ids it was defined under
        self._added = Added()
        self._built: Workflow | None = None
        self._has_ended = False
        self._origin: registry.Origin | None = None  # where its first block begins: others add to it

    @cached_property
    def namespace(self) -> "WorkflowContext":
        """What completes the ids of its tasks to full names."""
        from cloaca.compat.namespace import WorkflowContext  # only where a script asks for it

        return WorkflowContext(*self._namespace)

    def description(self, text: str) -> Self:
        """Set the workflow's description; returns the builder."""
        self._description = text
        self._built = None
        return self

    def tag(self, key: str, value: str) -> Self:
        """Set one tag; returns the builder."""
        self._tags[key] = value
        self._built = None
        return self

    def define(self, task: Task, dependencies: Sequence[Dependency] = ()) -> None:
        """Add a task: what the `task` decorator calls. Which tasks `dependencies` are is found out by `build`."""
        if task.id == INPUT:
            raise ValueError(f"{INPUT!r} stands for what a run is given, and can't be a task's id.")
        self._defined.append((task, dependencies))
        alone = (task.id,)
        for key in (task.id, _identity(task.function)):
            ids = self._ids.setdefault(key, alone)
            if task.id not in ids:
                self._ids[key] = (*ids, task.id)
        self._built = None

    def add_task(self, task: Dependency) -> Self:
        """Confirm that the block has defined a task, given by id or as its function; returns the builder.

        Every task of the block belongs to the workflow anyway. Raises `ValueError` where it isn't one.
        """
        if not isinstance(task, str) and not hasattr(task, "__name__"):
            raise ValueError("Task must be either a string task ID or a function object with __name__ attribute")
        if _identity(task) not in self._ids:
            name = task if isinstance(task, str) else task.__name__
            raise ValueError(f"Task {name!r} not found in registry. Make sure it was decorated with @task.")
        return self

    def add_workflow(
        self,
        other: "Workflow | WorkflowBuilder | str",
        *,
        prefix: str | None = None,
        dependencies: Sequence[Dependency] = (),
        inputs: Mapping[str, str] | None = None,
        for_each: str | None = None,
        item: str | None = None,
    ) -> Copy:
        """Make another workflow a part of this one, under a prefix; returns the copy, with its `ids` and `leaves`.

        With the prefix "north" its task "load" is "north.load" here, and what it sets as "total" is "north.total"; its
        own code goes on to say "load" and "total". Its tasks see no other keys, but for `inputs`: from a key of theirs
        to the key of this workflow in which its first value is found. The tasks on which it begins depend on
        `dependencies`. Rules, retries and limits come along; its description, tags and outputs don't.

        With `for_each` it runs once for each item of the list or dict under that key, found when the first copy is to
        begin; each copy sees its own under the key `item`. What copies set is a list (or dict) here, in the order of
        the items. The one leaf, called by the prefix, ends when all copies have.

        Args:
            other: a workflow, as it is now; its name, or its builder, will do.
            prefix: a name without a dot; by default the workflow's own.
            dependencies: ids of tasks, or functions that are tasks of this block; they may be defined later.
            inputs: as in `{"rows": "north_rows"}`.
            for_each: the key of the items.
            item: the key under which a copy sees its item.

        Raises:
            ValueError: an argument makes no sense, the prefix is taken, or a builder is to be added to itself.
            UnknownWorkflowError: no workflow of that name is registered.

        >>> import cloaca
        >>> with cloaca.WorkflowBuilder("region") as region:
        ...
        ...     @cloaca.task()
        ...     def total(context):
        ...         context["total"] = sum(context["rows"])
        >>> with cloaca.WorkflowBuilder("country") as country:
        ...     north = country.add_workflow(region, prefix="north", inputs={"rows": "north_rows"})
        ...
        ...     @cloaca.task(dependencies=[*north.leaves])
        ...     def report(context):
        ...         context["report"] = context["north.total"]
        >>> country.build().topological_sort()
        ['north.total', 'report']
        """
        workflow = self._other(other)
        prefix = checked_prefix(workflow.name if prefix is None else prefix)
        passed = MappingProxyType(checked_inputs(prefix, inputs))
        items = checked_items(prefix, for_each, item, passed)
        copy = copy_of(workflow, prefix, passed, items and items[0])
        first = checked_dependencies("add_workflow(dependencies=...)", dependencies)
        self._added.add(workflow, copy)
        for task in copied_tasks(workflow, prefix) if items is None else tasks_for_each(workflow, copy, items[1]):
            self._defined.append((task, task.dependencies or first))
            self._ids[task.id] = (task.id,)
        self._built = None
        return copy

    def _other(self, other: "Workflow | WorkflowBuilder | str") -> Workflow:
        if other is self:
            raise ValueError(f"The workflow {self.name!r} can't be a part of itself.")
        if isinstance(other, str):
            return registry.find(other)
        if isinstance(other, WorkflowBuilder):
            return other.build()
        if isinstance(other, Workflow):
            return other
        raise ValueError(f"add_workflow takes a workflow, its builder or its name, not {other!r}.")

    def ended(self) -> Workflow:
        """The workflow that the block has defined. Raises `ValueError` where it hasn't ended, or not well."""
        if not self._has_ended:
            raise ValueError(
                f"The block of workflow {self.name!r} hasn't ended, or has raised: execute it after the block. Inside, "
                "builder.build() gives what was defined so far."
            )
        return self.build()

    def build(self) -> Workflow:
        """Return the workflow with every task defined so far; works inside the block and after it.

        Raises `WorkflowError` with every fault: an empty workflow, duplicate ids, missing dependencies, cycles, and
        rules that name tasks which don't exist or don't come before.
        """
        if self._built is None:
            self._built = self._build()
        return self._built

    def _build(self) -> Workflow:
        tasks = tuple(
            [replace(task, dependencies=self._resolved(listed)) if listed else task for task, listed in self._defined]
        )
        keys: Mapping[tuple[str, str], str] = {}
        found: list[str] = []
        if self._wire:
            from cloaca.authoring.wiring import wired  # many workflows list their dependencies

            tasks, keys, findings = wired(tasks, self._added.copies, {*self._merge, *self._structured})
            found += findings
        if self._trigger_rule is not None or any(task.trigger_rules is not None for task in tasks):
            mapped = {task.id: task.for_each for task in tasks if task.for_each is not None and task.per_item is None}
            tasks = tuple([task if task.prefix else self._with_rule(task, mapped) for task in tasks])
        if any(task.form.parameters or task.form.item for task in tasks):
            tasks = tuple([_typed(task, found) for task in tasks])
        compiled = self._compiled(tasks, found, keys)
        tags = MappingProxyType(dict(self._tags))
        merge = MappingProxyType({**self._merge, **self._added.rules}) if self._added.rules else self._merge
        return Workflow(
            self.name,
            self._description,
            tags,
            tasks,
            compiled,
            merge,
            self._on_conflict,
            self._on_complete,
            tuple(self._added.copies),
            self._check,
            self._structured | self._added.structured,
            self._outputs,
            self._reuse,
        )

    def _compiled(self, tasks: Sequence[Task], found: Sequence[str], keys: Mapping[tuple[str, str], str]) -> Plan:
        """The plan. `found` is what is at fault anyway, and `keys` are those that make dependencies."""
        conditions = [(task.id, task.trigger_rules) for task in tasks if task.trigger_rules is not None]
        unclear = (
            *self._unclear(),
            *found,
            *precedence.unknown(conditions, [task.id for task in tasks]),
            *self._added.findings(tasks, (*self._merge, *sorted(self._structured)), self._on_conflict),
        )
        try:
            compiled = plan(self.name, [(task.id, task.dependencies) for task in tasks])
        except WorkflowError as error:
            raise self._error(unclear + self._told_with(keys, error.findings), tasks) from None
        unclear = unclear or tuple(precedence.unordered(conditions, compiled))
        if any(task.for_each for task in tasks):
            from cloaca.engine.pairing import findings

            in_order = [tasks[place] for place in compiled.defined]
            mapped = [task.for_each if task.per_item is None else None for task in in_order]
            ruled = {task.id for task, _ in self._defined if task.has_rule and not task.prefix}
            unclear += tuple(findings(compiled, mapped, ruled))
        if unclear:
            raise self._error(unclear, tasks)
        return compiled

    @staticmethod
    def _told_with(keys: Mapping[tuple[str, str], str], findings: tuple[str, ...]) -> tuple[str, ...]:
        if not keys:
            return findings
        from cloaca.authoring.wiring import with_keys

        return tuple([with_keys(finding, keys) for finding in findings])

    def _error(self, findings: tuple[str, ...], tasks: Sequence[Task]) -> WorkflowError:
        from cloaca.authoring.places import places_of

        return WorkflowError(self.name, findings, places_of(findings, tasks))

    def _with_rule(self, task: Task, mapped: Mapping[str, str]) -> Task:
        """The task with its condition, in which ids stand for functions, and with the rule by which it starts.

        `mapped` tells over which key tasks are mapped: one that goes item by item after another one needs no rule.
        """
        condition = task.trigger_rules
        if condition is not None:
            task = replace(task, trigger_rules=renamed(condition, self._id_of))
        is_said = task.trigger_rule is not None or (condition is not None and stands_alone(condition))
        if is_said or self._trigger_rule is None:
            return task
        follows = any(mapped[one] == task.for_each for one in task.dependencies if one in mapped)
        return task if follows else replace(task, trigger_rule=self._trigger_rule)

    def _id_of(self, named: Dependency) -> Dependency:
        """The id of a task; a function stays what it is where `_unclear` reports it."""
        known = self._ids.get(_identity(named), ())
        return known[0] if len(known) == 1 and not isinstance(named, str) else named

    def _resolved(self, dependencies: Sequence[Dependency]) -> tuple[str, ...]:
        """Turn functions into ids, leaving out what `_unclear` reports."""
        ids: list[str] = []
        for dependency in dependencies:
            if isinstance(dependency, str):
                ids.append(dependency)
            elif len(known := self._ids.get(_identity(dependency), ())) == 1:
                ids += known
        return tuple(ids)

    def _unclear(self) -> Iterator[str]:
        for task, dependencies in self._defined:
            for dependency in dependencies:
                if not isinstance(dependency, str):
                    yield from self._finding(f"Task {task.id!r} depends on", dependency)
            for named in () if task.trigger_rules is None else task.trigger_rules.tasks:
                if not isinstance(named, str):
                    yield from self._finding(f"The rule of task {task.id!r} names", named)

    def _finding(self, lead: str, dependency: Callable[..., Any]) -> Iterator[str]:
        ids = self._ids.get(_identity(dependency), ())
        lead = f"{lead} the function {getattr(dependency, '__name__', dependency)!r}"
        if not ids:
            yield f"{lead}, which is no task of this block: decorate it here with @task, or give the id of a task."
        if len(ids) > 1:
            yield f"{lead}, which has several ids here ({', '.join(map(repr, ids))}): give the id that is meant."

    def __repr__(self) -> str:
        return f"WorkflowBuilder({self.name!r}, {counted(len(self._defined), 'task')})"

    def __enter__(self) -> Self:
        self._has_ended = False
        _open_builders.set((*_open_builders.get(), self))
        self._origin = self._origin or registry.Origin.of_caller()
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _open_builders.set(tuple([builder for builder in _open_builders.get() if builder is not self]))
        if error_type is None:
            from cloaca.dataflow.check import told

            workflow = self.build()
            told(workflow)
            registry.register(workflow, self._origin or registry.Origin.of_caller())
            self._has_ended = True


def workflow_of(given: Workflow | WorkflowBuilder | str) -> Workflow:
    """The workflow that is to be executed: given itself, as its builder, or by its name.

    Raises:
        UnknownWorkflowError: no workflow of that name is registered.
        ValueError: the builder's block hasn't ended.
        TypeError: it is none of these.
    """
    if isinstance(given, Workflow):
        return given
    if isinstance(given, WorkflowBuilder):
        return given.ended()
    if isinstance(given, str):
        return registry.find(given)
    raise TypeError(
        "execute takes a workflow, its builder or its name, as in runner.execute(builder), not "
        f"{a(type(given).__name__)}."
    )


def _typed(task: Task, faults: list[str]) -> Task:
    """The task with the types that its parameters are annotated with; where one is at fault, that is added."""
    if not (task.form.parameters or task.form.item):
        return task
    try:
        form = typed(task.function, task.form)
    except ValueError as error:
        faults.append(f"Task {task.id!r}: {error}")
        return task
    return task if form is task.form else replace(task, form=form)


def _identity(task: Dependency) -> Hashable:
    """Return what says whether two dependencies are the same task: methods are made anew each time they are named."""
    match task:
        case str():
            return task
        case MethodType():
            return id(task.__self__), id(task.__func__)
        case _:
            return id(task)
