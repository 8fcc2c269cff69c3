"""The data-flow check: keys that are read and never come, or come from two sides, found before anything runs.

It goes by what tasks declare and by what their own code does with constant keys (`dataflow/touches`), and is silent
where keys are made up at run time. When a block ends the input isn't known, so any key may come from there: what
depends on that is told when an execution starts.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cached_property
from itertools import chain, islice
from weakref import WeakKeyDictionary, WeakSet

from cloaca.dataflow.finding import Finding, FindingKind, advice_of, finding_of
from cloaca.dataflow.flow import Flow
from cloaca.dataflow.symbols import Symbol
from cloaca.dataflow.touches import OPEN, Touches, touched_by, touches_of
from cloaca.errors import DataflowWarning, WorkflowError
from cloaca.nearest import nearest
from cloaca.tasks.place import innermost, working_directory
from cloaca.tasks.signature import UNSAID, Parameter, named
from cloaca.triggers.condition import Condition, ContextValue, leaves
from cloaca.warning import warn
from cloaca.workflows.passed import passed_in, source_of
from cloaca.workflows.workflow import Task, Workflow, by_rank

_MOST = 100
_SETTERS = 4  # of a key that are looked at
_COMPARED = 1000
_ON_FAILURE = frozenset({"one_failed", "all_failed"})


def check(workflow: Workflow, input_keys: Collection[str] | None = None) -> tuple[Finding, ...]:
    """What looks like a mistake in how values go from task to task, as far as declarations and code tell.

    `input_keys` are the keys that an execution would be given; without them any key may be one of those.

    Raises `TypeError` where `workflow` is none (`builder.build()` returns one), and where `input_keys` are no texts.

    >>> import cloaca
    >>> with cloaca.WorkflowBuilder("sales", check="off") as builder:
    ...
    ...     @cloaca.task()
    ...     def load(context):
    ...         context.set("rows", [1, 2])
    ...
    ...     @cloaca.task()
    ...     def report(context):
    ...         context.set("total", sum(context["rows"]))
    >>> [(finding.kind, finding.task, finding.key) for finding in cloaca.check(builder.build())]
    [('unordered', 'report', 'rows')]
    """
    if not isinstance(workflow, Workflow):
        raise TypeError(f"cloaca.check takes a workflow, as builder.build() returns it, not {workflow!r}.")
    if isinstance(input_keys, str) or not all(isinstance(key, str) for key in input_keys or ()):
        raise TypeError(f"cloaca.check takes keys as input_keys, as in ['rows', 'year'], not {input_keys!r}.")
    analysis = _analysis(workflow)
    return (*analysis.likely(None if input_keys is None else frozenset(input_keys)), *analysis.unread)


def told(workflow: Workflow, input_keys: Iterable[str] | None = None) -> tuple[Finding, ...]:
    """Those of the findings that are likely mistakes, after telling of them as the workflow wants it: each once.

    Raises `WorkflowError` where it wants them to be errors.
    """
    if workflow.check == "off" or workflow in _faultless:
        return ()
    analysis = _analysis(workflow)
    if not analysis.may_find:
        _faultless.add(workflow)
        del _analyses[workflow]
        return ()
    found = analysis.likely(None if input_keys is None else frozenset(input_keys))
    if found and workflow.check == "error":
        raise WorkflowError(workflow.name, tuple([finding.message for finding in found]))
    for finding in found:
        if finding not in analysis.told:
            analysis.told.add(finding)
            warn(f"Workflow {workflow.name!r}: {finding.message}", DataflowWarning)
    return found


def touches(workflow: Workflow) -> Sequence[Touches]:
    """What is known of each task, by rank: what it declares, and what its code tells."""
    return _analysis(workflow).touches


_analyses: "WeakKeyDictionary[Workflow, _Analysis]" = WeakKeyDictionary()
_faultless: "WeakSet[Workflow]" = WeakSet()
"""Those of which nothing is to be told whatever they are given. What was found out of them isn't kept."""


def _analysis(workflow: Workflow) -> "_Analysis":
    known = _analyses.get(workflow)
    return known if known is not None else _analyses.setdefault(workflow, _Analysis(workflow))


class _Analysis:
    """What is found of one workflow. It leads to tasks and plan, and not back to the workflow."""

    def __init__(self, workflow: Workflow) -> None:
        self._defined = workflow.plan.defined
        self._tasks = by_rank(workflow)
        self._leaves = [not successors for successors in workflow.plan.successors]
        self._settled = None if workflow.on_conflict is not None else workflow.structured | workflow.merge.keys()
        exceptional = frozenset(rank for rank, task in enumerate(self._tasks) if is_exceptional(task))
        self._prefixes = [copy.prefix for copy in workflow.copies]
        self._passed = passed_in(workflow)
        self._outputs = workflow.outputs or ()
        self.touches = _touches(self._tasks)
        self._flow = Flow(workflow.plan, self.touches, exceptional, self._passed)
        self._directory = working_directory()
        self._last: tuple[frozenset[str], tuple[Finding, ...]] | None = None
        self._alike: dict[str, list[str]] = {}  # what stands for it may be given too, so it goes with `_last`
        self.told: set[Finding] = set()

    @property
    def may_find(self) -> bool:
        """Whether some input makes for a likely mistake."""
        return bool(self._outputs or self._always or self._flow.unmet or self._flow.unfound)

    def likely(self, given: frozenset[str] | None) -> tuple[Finding, ...]:
        """The likely mistakes. Executions mostly are given the same keys: what the last one was told is kept."""
        if given is None:
            return (*self._needed(None), *self._unset(None), *self._always)
        if self._last is None or self._last[0] != given:
            self._alike = {}
            self._last = given, (*self._needed(given), *self._unset(given), *self._always)
        return self._last[1]

    def _needed(self, given: frozenset[str] | None) -> Iterator[Finding]:
        """Keys that are needed and don't come, in the order of the tasks."""
        unmet, setters = self._flow.unmet, self._flow.setters
        asked = (key for key in unmet if (key in setters if given is None else key not in given))
        places = sorted([(rank, key) for key in asked for rank in unmet[key]])
        found = (finding for rank, key in places if (finding := self._unmet(key, rank, given)) is not None)
        return islice(found if given is None else chain(found, self._unfound(given)), _MOST)

    def _unfound(self, given: AbstractSet[str]) -> Iterator[Finding]:
        """Keys that are looked for in vain: none of the tasks that set one comes before, or after.

        A key that a later task sets may come from the run before this one. A function that several tasks run may look
        for what only some of them find.
        """
        unfound, setters, readers = self._flow.unfound, self._flow.setters, self._flow.readers
        for key in sorted(unfound.keys() & setters.keys() - given - self._updated):
            elsewhere = {self._code(rank) for rank in {*readers[key]} - {*unfound[key]}}
            for rank in unfound[key]:
                setter = self._only_apart(rank, key)
                if setter is not None and self._code(rank) not in elsewhere:
                    lead = f"{self._meets(rank, 'looks for', key)}, which only tasks set that don't come before it"
                    text = f"{lead}: {advice_of(self._tasks[rank], self._tasks[setter])}, or give {key!r} in the input"
                    yield self._finding("unordered", key, text, rank, setter)

    def _unset(self, given: frozenset[str] | None) -> Iterator[Finding]:
        """Outputs that never come. When the block ends only a slip is told: any other key may be in the input."""
        if any(touched.leaves_more for touched in self.touches):
            return
        for key in self._outputs:
            if key in self._flow.setters or key in (self._flow.readers if given is None else given):
                continue
            close = self._close(key, given or frozenset())
            if close or given is not None:
                meant = f": did it mean {' or '.join(map(repr, close))}?" if close else "."
                text = f"The output {key!r} is set by no task, and the input lacks it{meant}"
                yield Finding("missing", "", key, text)

    def _code(self, rank: int) -> object:
        return getattr(innermost(self._tasks[rank].function), "__code__", rank)

    def _only_apart(self, rank: int, key: str) -> int | None:
        """The first task that sets the key, if all that do are surely neither before the task nor after it."""
        setters = self._flow.setters[key][:_SETTERS]
        return setters[0] if all(self._flow.comes_before(*sorted((rank, one))) is False for one in setters) else None

    def _unmet(self, key: str, rank: int, given: frozenset[str] | None) -> Finding | None:
        setters = self._flow.setters.get(key)
        if not setters:
            return None if given is None else self._missing(key, rank, given)
        if given is None and (key in self._updated or not self._is_sure(key, rank)):
            return None
        orders = {one: self._flow.comes_before(rank, one) for one in setters[:_SETTERS]}
        apart = [one for one, comes_before in orders.items() if comes_before is False]
        if None in orders.values() or (given is None and not apart):
            return None
        reader = self._tasks[rank].id
        setter = self._tasks[(apart or setters)[0]].id
        lead = f"{self._meets(rank, 'reads', key)}, which task {setter!r} sets"
        if apart:
            text = f"{lead} without coming before it: {advice_of(self._tasks[rank], self._tasks[apart[0]])}"
            return self._finding("unordered", key, text, rank, apart[0])
        text = f"{lead} after it: give {key!r} in the input, or set it in a task before {reader!r}"
        return self._finding("late", key, text, rank, setters[0])

    def _meets(self, rank: int, does: str, key: str) -> str:
        """What a task does with a key, perhaps under the name under which it was passed in to a copy."""
        touched = self._flow.touches[rank]
        inner = next(
            (name for name in touched.reads | touched.asks if source_of(name, self._passed) == key != name), None
        )
        passed = f" (passed in as {inner!r})" if inner is not None else ""
        return f"Task {self._tasks[rank].id!r} {does} key {key!r}{passed}"

    @cached_property
    def _updated(self) -> AbstractSet[str]:
        """The keys that are set by tasks that also read them: most likely the input has them."""
        touches = self._flow.touches
        made = {key for touched in touches for key in touched.sets - touched.reads - touched.asks}
        return {key for touched in touches for key in touched.sets} - made

    def _missing(self, key: str, rank: int, given: frozenset[str]) -> Finding | None:
        task = self._tasks[rank]
        is_passed = key in self._passed.values()
        is_declared = is_passed or key == task.for_each or any(task.prefix + one == key for one in task.form.keys)
        is_sure = is_declared or self._is_sure(key, rank)
        close = self._close(key, given) if is_sure else []
        if not close and not is_declared:
            return None
        meant = f": did it mean {' or '.join(map(repr, close))}?" if close else "."
        text = f"{self._meets(rank, 'reads', key)}, which no task sets and the input lacks{meant}"
        return self._finding("missing", key, text, rank)

    def _close(self, key: str, given: frozenset[str]) -> list[str]:
        """The names most like the key, of those that there are; in a copy, of the copy's. Few keys are looked up."""
        if key in self._alike or len(self._alike) >= _MOST:
            return self._alike.get(key, [])
        prefix = max((one for one in self._prefixes if key.startswith(one)), key=len, default="")
        names = [*given, *(name for name in {**self._flow.setters, **self._passed} if name not in given)]
        inner = [name.removeprefix(prefix) for name in names if name.startswith(prefix)][:_COMPARED]
        self._alike[key] = [prefix + name for name in nearest(key.removeprefix(prefix), inner, 2)]
        return self._alike[key]

    @cached_property
    def _always(self) -> tuple[Finding, ...]:
        """What is found whatever the input is: of keys that two tasks set, of declarations, and of mapped tasks."""
        return tuple(
            islice((*self._ambiguous(), *self._declared(), *self._unclear(), *self._lost(), *self._mistyped()), _MOST)
        )

    def _ambiguous(self) -> Iterator[Finding]:
        clashes = () if self._settled is None else self._flow.clashes(self._settled)
        return (self._clash(*clash) for clash in islice(clashes, _MOST))

    def _clash(self, key: str, one: int, other: int, reader: int | None) -> Finding:
        one, other = sorted((one, other), key=self._defined.__getitem__)
        first, second = (self._tasks[rank].id for rank in (one, other))
        met = "the result has both" if reader is None else f"task {self._tasks[reader].id!r} reads it"
        text = (
            f"Tasks {first!r} and {second!r} both set key {key!r}, neither after the other, and {met}: give the key a "
            f"merge rule (merge={{{key!r}: {self._fitting(key, one, other)}), let one depend on the other, "
            "or set two keys"
        )
        return self._finding("ambiguous", key, text, one, other, *(() if reader is None else (reader,)))

    def _fitting(self, key: str, *ranks: int) -> str:
        """The rule that fits what these tasks set the key to, as far as their code tells."""
        kinds = {self._flow.value(rank, key).kind for rank in ranks}
        is_read = all(key in self._flow.touches[rank].reads for rank in ranks)
        if "set" in kinds:
            return "cloaca.merge.union}"
        if kinds == {"list"}:
            return "cloaca.merge.concat}, which keeps the items of both"
        if is_read and kinds <= {"number", "added"}:
            return "cloaca.merge.sum}" if "added" not in kinds else "cloaca.merge.sum}, .concat or .union"
        if is_read and "text" in kinds:
            return "cloaca.merge.concat}"
        if kinds <= {"number", "text"} or {"list", "dict"} <= kinds:
            return "cloaca.merge.last}"
        return "cloaca.merge.last}, or .by_structure for lists and dicts"

    def _is_sure(self, key: str, rank: int) -> bool:
        """Whether the task reads the key on every way through its code, by whatever name it has for it."""
        surely = self._flow.touches[rank].surely
        return key in surely or any(source_of(inner, self._passed) == key for inner in surely if inner in self._passed)

    def _declared(self) -> Iterator[Finding]:
        """Where what a task declares to set, and what its code sets, differ."""
        for rank, task in enumerate(self._tasks):
            known = OPEN if task.writes is None or task.form.is_plain else touches_of(task.function)
            declared = set(task.writes or ())
            unmade = set() if known.leaves_more else declared - known.sets
            for key in sorted(known.sets - declared):
                close = nearest(key, unmade, 1)
                unmade.difference_update(close)
                meant = f": did it mean {close[0]!r}?" if close else f": add {key!r} there, or leave the key as it is"
                text = f"Task {task.id!r} sets key {key!r}, which its writes= doesn't name{meant}"
                yield self._finding("undeclared", task.prefix + key, text, rank)
            for key in sorted(unmade):
                text = f"Task {task.id!r} declares key {key!r}, and its code never sets it"
                advice = "set it, or take it out of writes="
                yield self._finding("unmade", task.prefix + key, f"{text}: {advice}", rank)

    def _unclear(self) -> Iterator[Finding]:
        """Mapped tasks of which nobody knows what they leave where there are no items."""
        for rank, task in enumerate(self._tasks):
            if task.for_each and not task.stands_for_copies and self._flow.touches[rank].leaves_more:
                lead = f"Task {task.id!r} is mapped over key {task.for_each!r}, and its code doesn't tell for certain"
                advice = "declare writes=[...] with all of them, or [] if there are none"
                text = f"{lead} which keys it sets, so it leaves none where there are no items: {advice}"
                yield self._finding("unclear", task.for_each, text, rank)

    def _mistyped(self) -> Iterator[Finding]:
        """Where what a plain function returns surely can't be what it is taken for, as both are annotated."""
        plain = [(rank, task) for rank, task in enumerate(self._tasks) if task.form.returns]
        if not plain:
            return
        from cloaca.dataflow.annotations import fault_of, returned

        types: dict[tuple[int, str], object] = {}
        for rank, task in plain:
            types |= {(rank, task.prefix + key): annotation for key, annotation in returned(task).items()}
            if fault := fault_of(task):
                keys = ", ".join(map(repr, task.form.returns or ()))
                text = f"Task {task.id!r} is annotated to return {fault}, and its returns= has {keys}"
                advice = "let it return a tuple with one value for each"
                yield self._finding(
                    "mistyped", task.prefix + (task.form.returns or ("",))[0], f"{text}: {advice}", rank
                )
        for rank, task in enumerate(self._tasks if types else ()):
            asked = [*task.form.parameters] if task.form.item is None else [task.form.item, *task.form.parameters]
            for parameter in asked:
                if parameter.annotation is not UNSAID:
                    yield from self._misfit(rank, parameter, types)

    def _misfit(self, rank: int, parameter: Parameter, types: Mapping[tuple[int, str], object]) -> Iterator[Finding]:
        from cloaca.dataflow.annotations import element_of, never_fits

        task = self._tasks[rank]
        key = task.prefix + parameter.key
        setter = self._only_setter(rank, key)
        if setter is None:
            return
        given = types.get((setter, source_of(key, self._passed)), UNSAID)
        made = element_of(given) if parameter is task.form.item else given
        if not never_fits(made, parameter.annotation):
            return
        text = (
            f"Task {task.id!r} takes key {key!r} for {named(parameter.annotation)} ({parameter.name}), and task "
            f"{self._tasks[setter].id!r}, which sets it, returns {named(given)}: let one return what the other takes, "
            "or correct what is annotated"
        )
        yield self._finding("mistyped", key, text, rank, setter)

    def _only_setter(self, rank: int, key: str) -> int | None:
        """The task of which a task surely sees the value of the key, unless that is skipped."""
        setters = {*self._flow.setters.get(key, ()), *self._flow.setters.get(source_of(key, self._passed), ())} - {rank}
        if len(setters) != 1 or self._flow.beneath_open[rank]:
            return None
        (setter,) = setters
        return setter if self._flow.comes_before(setter, rank) else None

    def _lost(self) -> Iterator[Finding]:
        """Where a copy is changed that nobody has after that."""
        for rank, touched in enumerate(self.touches):
            for key in sorted(touched.loses):
                task = self._tasks[rank]
                inner = key.removeprefix(task.prefix)
                text = (
                    f"Task {task.id!r} changes the value of key {inner!r} where it fetches it, and the change is lost: "
                    f"the context hands out copies. Set it again after that: value = context[{inner!r}], change the "
                    f"value, context[{inner!r}] = value"
                )
                yield self._finding("lost", key, text, rank)

    @cached_property
    def unread(self) -> tuple[Finding, ...]:
        """For information: tasks of which nobody reads what they set, though others follow."""
        is_open = any(touched.reads_more for touched in self._flow.touches)
        return () if is_open else tuple(islice(self._unused(), _MOST))

    def _unused(self) -> Iterator[Finding]:
        for rank, touched in enumerate(self._flow.touches):
            if touched.sets and not self._leaves[rank] and self._read.isdisjoint(touched.sets):
                text = f"No task reads what task {self._tasks[rank].id!r} sets, though others depend on it"
                yield self._finding("unread", min(touched.sets), text, rank)

    @cached_property
    def _read(self) -> AbstractSet[str]:
        """The keys that some task reads, or asks for."""
        return {key for touched in self._flow.touches for key in touched.reads | touched.asks}

    def _finding(self, kind: FindingKind, key: str, text: str, *ranks: int) -> Finding:
        return finding_of(kind, key, text, [self._tasks[rank] for rank in ranks], self._directory)


def _touches(tasks: Sequence[Task]) -> list[Touches]:
    """What is known of tasks, by the names that keys have in the whole workflow."""
    found: list[Touches] = []
    inside: dict[str, list[Touches]] = {}
    for task in tasks:
        if task.per_item is None:
            found.append(_declared(task).under(task.prefix))
            continue
        above = inside.setdefault(task.per_item.prefix, [])
        if task.stands_for_copies:
            found.append(_gathered(above))
            continue
        touched = _declared(task).under(task.prefix)
        if not above and task.for_each is not None:
            items = frozenset([task.for_each])
            touched = touched._replace(needs=touched.needs | items, surely=touched.surely | items)
        above.append(touched)
        found.append(touched)
    return found


def _gathered(inside: Iterable[Touches]) -> Touches:
    """What is left by a workflow that runs for each item."""
    known = [*inside]
    sets = frozenset(chain.from_iterable(touched.sets for touched in known))
    is_open = any(touched.leaves_more for touched in known)
    return Touches(sets=sets, sets_more=is_open, values=dict.fromkeys(sets, Symbol("collected")), makes=sets)


def _declared(task: Task) -> Touches:
    """What is known of the task, by the names that its function has for keys: what it declares, and what code tells."""
    touched = touched_by(task)
    is_mapped = task.for_each is not None and task.per_item is None
    if not (task.form.parameters or task.writes is not None or is_mapped or task.trigger_rules or task.reads):
        return touched

    def inner(keys: Iterable[str]) -> set[str]:
        return {key.removeprefix(task.prefix) for key in keys}

    required = {parameter.key for parameter in task.form.parameters if parameter.is_required}
    optional = {parameter.key for parameter in task.form.parameters if not parameter.is_required}
    compared, asked = _asked(task.trigger_rules)
    said = inner(task.reads or ()) - touched.looks - touched.asks - optional
    certain = required | inner(compared) | inner([task.for_each] if is_mapped and task.for_each else ())
    sets = touched.sets if task.writes is None else frozenset(task.writes)
    guarded = inner(asked)
    return touched._replace(
        needs=(touched.needs | certain | said) - guarded,
        looks=touched.looks | optional | guarded,
        asks=touched.asks | guarded,
        sets=sets,
        values=dict.fromkeys(sets, Symbol("collected")) if is_mapped else touched.values,
        sets_more=touched.sets_more and task.writes is None,
        surely=touched.surely | certain | said,
        returns_more=touched.returns_more and task.writes is None,
        makes=touched.makes | (sets - touched.sets),
    )


def _asked(condition: Condition | None) -> tuple[set[str], set[str]]:
    """The keys whose values a condition compares, and those of which it only asks whether they are there."""
    looked_at = [leaf for leaf in leaves(condition) if isinstance(leaf, ContextValue)] if condition else []
    asked = {leaf.key for leaf in looked_at if leaf.operator in ("exists", "not_exists")}
    return {leaf.key for leaf in looked_at} - asked, asked


def is_exceptional(task: Task) -> bool:
    """Whether a rule may keep it from running where all goes well."""
    return task.trigger_rules is not None or task.trigger_rule in _ON_FAILURE
