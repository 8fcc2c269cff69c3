"""What the engine should answer, said naively: no memory, no short cuts, names instead of ranks. Slow and plain.

`Model` is what a task sees of the writes of others, and `Reference` the value that becomes of them: the merge rules
of the design, read aloud. `graphs`, `inputs`, `diffs` and `tales` draw what they are tried on.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from graphlib import TopologicalSorter
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from cloaca.merge.equality import equal
from cloaca.wire.messages import Version

Graph = Sequence[tuple[str, Sequence[str]]]  # (task, dependencies as listed), by order of definition
Inputs = Mapping[str, Version]
Diff = Mapping[str, bytes | None]
Visible = dict[str, tuple[Version, ...]]

KEYS = "abc"


class Model:
    """The writes of a run. Tasks are recorded in any topological order."""

    def __init__(self, graph: Graph, inputs: Inputs) -> None:
        self.graph = graph
        self.inputs = inputs
        self.writes: dict[str, dict[str, Version]] = {task: {} for task, _ in graph}
        self.completed: set[str] = set()
        self.orders: dict[str, list[str]] = {}
        dependencies = dict(graph)
        for task in TopologicalSorter(dependencies).static_order():
            self.orders[task] = self.merge_order(dependencies[task])

    def merge_order(self, dependencies: Sequence[str]) -> list[str]:
        """For each dependency as listed, first that dependency's own order, then itself; repeats dropped."""
        with_repeats = [task for listed in dependencies for task in (*self.orders[listed], listed)]
        return list(dict.fromkeys(with_repeats))

    def order_at_the_end(self, completed: Collection[str]) -> list[str]:
        """That of a task which depends on all sinks: the completed tasks that no completed task follows."""
        ended_well = [task for task, _ in self.graph if task in completed]
        sinks = [task for task in ended_well if not any(task in self.orders[other] for other in ended_well)]
        return self.merge_order(sinks)

    def record(self, task: str, diff: Diff) -> None:
        """The task has completed. Writing the very bytes that it saw is no write; nor is removing what isn't there.

        Where it saw several versions, or one in conflict, any write is one: only who merges them knows better.
        """
        self.completed.add(task)
        for key, payload in diff.items():
            seen = self.candidates(task, key) or (Version(task, None),)
            if len(seen) > 1 or seen[0].rivals or seen[0].payload != payload:
                self.writes[task][key] = Version(task, payload)

    def candidates(self, task: str, key: str) -> tuple[Version, ...]:
        return self._versions(self._unsuperseded(self._writers(self.orders[task], key)), key)

    def whole(self, task: str) -> Visible:
        return self._visible(lambda key: self.candidates(task, key))

    def final(self) -> Visible:
        """The end of the run."""
        order = self.order_at_the_end(self.completed)
        return self._visible(lambda key: self._versions(self._unsuperseded(self._writers(order, key)), key))

    def _writers(self, tasks: Sequence[str], key: str) -> list[str]:
        return [task for task in tasks if key in self.writes[task]]

    def _unsuperseded(self, writers: list[str]) -> list[str]:
        return [task for task in writers if not any(task in self.orders[later] for later in writers)]

    def _versions(self, writers: list[str], key: str) -> tuple[Version, ...]:
        written = tuple(self.writes[task][key] for task in writers)
        return written or ((self.inputs[key],) if key in self.inputs else ())

    def _visible(self, candidates) -> Visible:
        keys = {*self.inputs, *(key for writes in self.writes.values() for key in writes)}
        return {key: versions for key in sorted(keys) if (versions := candidates(key))}


def leaders(graph: Graph, mapped: Mapping[str, str]) -> dict[str, str]:
    """Which mapped task follows which: the last dependency that goes over the same key."""
    orders = Model(graph, {}).orders
    order = sorted(orders, key=lambda task: len(orders[task]))
    found = {}
    for task, dependencies in graph:
        same = [other for other in dependencies if task in mapped and mapped.get(other) == mapped[task]]
        if same:
            found[task] = max(same, key=order.index)
    return found


def is_well_paired(graph: Graph, mapped: Mapping[str, str]) -> bool:
    """Whether, where one task follows another, all that it depends on beside comes before both."""
    orders = Model(graph, {}).orders
    return all(
        other == leader or other in orders[leader]
        for task, leader in leaders(graph, mapped).items()
        for other in dict(graph)[task]
    )


# ---- the merge of values -------------------------------------------------------------------------------------------


class Mark(Enum):
    """What a key may be instead of a value, and what an action may do instead of writing one."""

    ABSENT = "absent"
    CONFLICT = "conflict"
    UNTOUCHED = "untouched"


ABSENT, CONFLICT, UNTOUCHED = Mark.ABSENT, Mark.CONFLICT, Mark.UNTOUCHED

ENDINGS = ("keep", "first", "last")
DICTS = (dict, OrderedDict)

Function = Callable[[Any, list[Any]], Any]
Rule = str | Function | None  # a name of `cloaca.merge`, or a function of users
Action = tuple[Any, ...]


@dataclass(frozen=True)
class Tale:
    """One key of a workflow: what it was given, and what each task does to it: `None` where it fails or is skipped."""

    graph: Graph
    actions: Mapping[str, Action | None]
    given: tuple[Any, ...] = ()  # nothing, one value, or several: an earlier run left it in conflict
    rule: Rule = None
    on_conflict: str = "keep"


@dataclass(frozen=True)
class Key:
    """A key, or a member of a dict: what it was given, and the writes of it."""

    given: Any
    offered: tuple[Any, ...]  # what was given: several values where it was in conflict
    saw: Mapping[str, Any]
    wrote: Mapping[str, Any]


class Reference:
    """What every task sees of a key, and what is left in the end. `tasks` are always in the order of the merge."""

    def __init__(self, tale: Tale) -> None:
        self.tale = tale
        self.model = Model(tale.graph, {})
        self.orders = self.model.orders
        self.saw: dict[str, Any] = {}
        self.wrote: dict[str, Any] = {}
        self.key = Key(self._given(), tale.given, self.saw, self.wrote)
        for task in self.orders:
            self._perform(task, tale.actions.get(task))

    def at(self, task: str) -> Any:
        return self._by_rule(self._writers(self.key, self.orders[task]))

    def final(self) -> Any:
        completed = [task for task, action in self.tale.actions.items() if action]
        return self._by_rule(self._writers(self.key, self.model.order_at_the_end(completed)))

    def _given(self) -> Any:
        if len(self.tale.given) > 1:
            return self._otherwise(list(self.tale.given))
        return self.tale.given[0] if self.tale.given else ABSENT

    def _perform(self, task: str, action: Action | None) -> None:
        saw = self.at(task)
        wrote = act(action, saw) if action else UNTOUCHED
        if wrote is not UNTOUCHED and is_write(saw, wrote):
            self.saw[task], self.wrote[task] = saw, wrote

    # ---- who wrote -------------------------------------------------------------------------------------------------

    def _writers(self, key: Key, tasks: list[str]) -> list[str]:
        return [task for task in tasks if task in key.wrote]

    def _candidates(self, writers: list[str]) -> list[str]:
        return [task for task in writers if not any(task in self.orders[later] for later in writers)]

    def _common(self, writers: list[str]) -> list[str]:
        candidates = self._candidates(writers)
        return [task for task in writers if all(task in self.orders[top] for top in candidates)]

    def _later(self, writers: list[str]) -> list[str]:
        common = self._common(writers)
        return [task for task in writers if task not in common]

    # ---- rule 1 ----------------------------------------------------------------------------------------------------

    def _by_rule(self, writers: list[str]) -> Any:
        rule = self.tale.rule
        if rule is None:
            return self._value(self.key, writers)
        if not writers:
            return self.key.given
        if rule == "by_task":
            return self._by_task(writers)
        values = [self.wrote[task] for task in self._candidates(writers)]
        if len(values) == 1 or all(value is ABSENT for value in values):
            return values[0]
        base = self._by_rule(self._common(writers))
        try:
            return self._combined(rule, base, writers) if rule in COMBINING else chosen(rule, base, values)
        except Exception:  # noqa: BLE001 - a rule of users may raise whatever it likes
            return CONFLICT

    def _by_task(self, writers: list[str]) -> Any:
        removals = [task for task in writers if self.wrote[task] is ABSENT]
        given = {} if removals or self.key.given is ABSENT else self.key.given
        entries = {
            task: self.wrote[task]
            for task in writers
            if task not in removals and not any(task in self.orders[removal] for removal in removals)
        }
        if not isinstance(given, dict):
            return CONFLICT
        return {**given, **entries} or ABSENT

    def _combined(self, rule: Rule, base: Any, writers: list[str]) -> Any:
        """The base, and every later write's own change."""
        changes = {task: (self.saw[task], self.wrote[task]) for task in self._later(writers)}
        if base is CONFLICT or any(saw is CONFLICT for saw, _ in changes.values()):
            return CONFLICT
        if rule == "sum":
            return number(base) + sum(number(wrote) - number(saw) for saw, wrote in changes.values())
        if rule == "concat":
            return extended(base, list(changes.values()))
        return self._union(base, changes, writers)

    def _union(self, base: Any, changes: Mapping[str, tuple[Any, Any]], writers: list[str]) -> Any:
        """Each element by its own history; where one adds it and another, who doesn't know of that, removes it: in."""
        elements = elements_of(base).union(*(elements_of(value) for change in changes.values() for value in change))
        kept = set()
        for element in elements:
            has = {task: (is_in(element, self.saw[task]), is_in(element, self.wrote[task])) for task in writers}
            changed = [task for task, (before, after) in has.items() if before != after]
            if any(has[task][1] for task in self._candidates(changed)) or (not changed and element in base):
                kept.add(element)
        return kept

    # ---- rules 2 to 6 ----------------------------------------------------------------------------------------------

    def _value(self, key: Key, writers: list[str]) -> Any:
        if not writers:
            return key.given
        values = [key.wrote[task] for task in self._candidates(writers)]
        if len(values) == 1:
            return values[0]
        base = self._value(key, self._common(writers))
        changes = [(key.saw[task], key.wrote[task]) for task in self._later(writers)]
        if key is self.key:  # a list in a dict is another thing
            changes = [(empty_unless_list(saw), wrote) for saw, wrote in changes]
        start = empty_unless_list(base) if key is self.key else base
        if type(start) is list and all(is_extension(*change) for change in changes):
            return [*start, *(element for change in changes for element in addition(*change))]
        if all(equal(values[0], value) for value in values):
            return values[0]
        if base is CONFLICT:
            return self._otherwise(values)
        settled: Any = CONFLICT
        if set(map(type, values)) in ({dict}, {OrderedDict}):
            settled = self._members(key, base, writers)
            if type(values[0]) is OrderedDict and settled is not CONFLICT:
                settled = self._put_in_order(key, settled, writers)
        return self._otherwise(values) if settled is CONFLICT else settled

    def _otherwise(self, values: list[Any]) -> Any:
        places = {"keep": CONFLICT, "first": values[0], "last": values[-1]}
        return places[self.tale.on_conflict]

    def _members(self, key: Key, base: Any, writers: list[str]) -> Any:
        """Each member by its own history, in which a write counts only where it changed the member."""
        later = self._later(writers)
        settled = {}
        for name in self._names(key, base, writers):
            member = Key(
                member_of(key.given, name),
                tuple(member_of(value, name) for value in key.offered),
                {task: member_of(key.saw[task], name) for task in writers},
                {task: member_of(key.wrote[task], name) for task in writers},
            )
            changed = [task for task in writers if self._is_change(member, task)]
            is_touched = any(task in later for task in changed)
            settled[name] = self._value(member, changed) if is_touched else member_of(base, name)
        if any(value is CONFLICT for value in settled.values()):
            return CONFLICT
        return {name: value for name, value in settled.items() if value is not ABSENT}

    def _names(self, key: Key, base: Any, writers: list[str]) -> list[str]:
        """The members of the base, then those that later writes changed, as they came to change them."""
        names = list(base) if type(base) in DICTS else []
        for task in self._later(writers):
            saw, wrote = (value if type(value) in DICTS else {} for value in (key.saw[task], key.wrote[task]))
            names += [name for name in wrote if name not in saw or not equal(saw[name], wrote[name])]
            names += [name for name in saw if name not in wrote]
        return list(dict.fromkeys(names))

    def _put_in_order(self, key: Key, settled: dict[str, Any], writers: list[str]) -> Any:
        """The order is a change of its own. Who wrote the members in the order in which they stood didn't change it."""
        moving = [task for task in self._later(writers) if is_moved(key.saw[task], key.wrote[task])]
        orders = [list(key.wrote[task]) for task in self._candidates(moving)]
        if any(in_common(orders[0], other) != in_common(other, orders[0]) for other in orders):
            return CONFLICT
        names = dict.fromkeys([*(orders[0] if orders else ()), *settled])
        return OrderedDict((name, settled[name]) for name in names if name in settled)

    def _is_change(self, member: Key, task: str) -> bool:
        """Who saw a conflict changed all members that it set, and removed all others that there had been."""
        if member.saw[task] is not CONFLICT:
            return is_write(member.saw[task], member.wrote[task])
        before = [wrote for other, wrote in member.wrote.items() if other in self.orders[task]]
        return any(value is not ABSENT for value in (*member.offered, *before, member.wrote[task]))


COMBINING = ("sum", "concat", "union")


def chosen(rule: Rule, base: Any, values: list[Any]) -> Any:
    """By a rule that looks at the base and the candidates."""
    if base is CONFLICT:
        return CONFLICT
    if rule in ("first", "last"):
        return values[0] if rule == "first" else values[-1]
    present = [value for value in values if value is not ABSENT]
    if callable(rule):
        return rule(None if base is ABSENT else base, present)
    return max(present) if rule == "max" else min(present)


def is_write(saw: Any, wrote: Any) -> bool:
    if saw is CONFLICT:
        return True
    if saw is ABSENT or wrote is ABSENT:
        return saw is not wrote
    return not equal(saw, wrote)


def member_of(value: Any, name: str) -> Any:
    if value is CONFLICT:
        return CONFLICT
    return value.get(name, ABSENT) if type(value) in DICTS else ABSENT


def empty_unless_list(value: Any) -> Any:
    """No list counts as an empty one. A conflict is neither."""
    return value if type(value) is list or value is CONFLICT else []


def is_moved(saw: Any, wrote: Any) -> bool:
    return type(saw) is type(wrote) is OrderedDict and in_common(saw, wrote) != in_common(wrote, saw)


def in_common(some: Iterable[str], others: Iterable[str]) -> list[str]:
    return [name for name in some if name in others]


def is_extension(saw: Any, wrote: Any) -> bool:
    return type(saw) is type(wrote) is list and equal(wrote[: len(saw)], saw)


def addition(saw: Any, wrote: Any) -> Any:
    return wrote[len(saw) :] if type(saw) is type(wrote) else wrote


def extended(base: Any, changes: Sequence[tuple[Any, Any]]) -> Any:
    """The base and everything that was added, if all is of one kind and was only added to."""
    there = [value for value in (base, *(value for change in changes for value in change)) if value is not ABSENT]
    (kind,) = {type(value) for value in there}
    if kind not in (list, tuple, str, bytes) or any(wrote is ABSENT for _, wrote in changes):
        raise TypeError(kind)
    if any(saw is not ABSENT and not equal(wrote[: len(saw)], saw) for saw, wrote in changes):
        raise ValueError(changes)
    total = kind() if base is ABSENT else base
    for saw, wrote in changes:
        total = total + addition(saw, wrote)  # not in place: the base is a value of others
    return total


def number(value: Any) -> Any:
    if value is ABSENT:
        return 0
    if isinstance(value, (list, dict, set, str, tuple)) or value is None:
        raise TypeError(value)
    return value


def is_in(element: Any, value: Any) -> bool | None:
    """Whether it is in a set; nothing else holds elements. `None`: nobody can tell."""
    return None if value is CONFLICT else isinstance(value, set) and element in value


def elements_of(value: Any) -> set[Any]:
    if value is ABSENT:
        return set()
    if not isinstance(value, set):
        raise TypeError(value)
    return value


# ---- what to try it on ---------------------------------------------------------------------------------------------


deterministic = settings(
    derandomize=True, database=None, deadline=None, max_examples=150, suppress_health_check=list(HealthCheck)
)


@st.composite
def graphs(draw: st.DrawFn, *, most: int = 10) -> Graph:
    """Draw a DAG: several roots, redundant edges, dependencies in any order, dependents defined before dependencies."""
    order = draw(st.permutations(range(draw(st.integers(1, most)))))
    tasks = []
    for place, number in enumerate(order):
        earlier = draw(st.lists(st.sampled_from(order[:place]), unique=True, max_size=6)) if place else []
        tasks.append((f"t{number}", tuple(f"t{other}" for other in earlier)))
    return sorted(tasks) if draw(st.booleans()) else tasks


payloads = st.sampled_from([b"0", b"1", None])

diffs = st.dictionaries(st.sampled_from(KEYS), payloads, max_size=3)
"""What a task sets and removes: few keys and few values, so that they meet."""

inputs = st.dictionaries(
    st.sampled_from(KEYS),
    st.sampled_from(
        [
            Version("the input", b"0"),
            Version("the input", b"1"),
            Version("the input", None, rivals=(Version("one", b"0"), Version("other", b"1"))),
        ]
    ),
)
"""What a run is given. The final context of an earlier run may bring a key in conflict."""


# ---- what tasks do to a key ----------------------------------------------------------------------------------------


def act(action: Action, saw: Any) -> Any:
    """What a task that does this writes, given what it saw. Of a conflict it only knows that there is one."""
    name, *arguments = action
    if name not in ("set", "remove") and saw is CONFLICT:
        return UNTOUCHED
    return ACTIONS[name](saw, *arguments)


def _append(saw: Any, element: Any) -> Any:
    if type(saw) is tuple:
        return (*saw, element)
    return [*saw, element] if type(saw) is list else [element]


def _put(saw: Any, name: str, value: Any) -> Any:
    wrote = type(saw)(saw) if type(saw) in DICTS else {}
    wrote[name] = value
    return wrote


def _delete(saw: Any, name: str) -> Any:
    if type(saw) not in DICTS or name not in saw:
        return UNTOUCHED
    return type(saw)((other, value) for other, value in saw.items() if other != name)


def _move(saw: Any, name: str) -> Any:
    """Put a member last."""
    return UNTOUCHED if (left := _delete(saw, name)) is UNTOUCHED else _put(left, name, saw[name])


def _within(saw: Any, name: str, action: Action) -> Any:
    """The same for a member of a dict."""
    wrote = act(action, member_of(saw, name))
    if wrote is UNTOUCHED:
        return UNTOUCHED
    return _delete(saw, name) if wrote is ABSENT else _put(saw, name, wrote)


ACTIONS: Mapping[str, Callable[..., Any]] = {
    "set": lambda _saw, value: value,
    "rewrite": lambda saw: saw,
    "remove": lambda _saw: ABSENT,
    "increment": lambda saw, by: saw + by if type(saw) is int else by,
    "append": _append,
    "pop": lambda saw: saw[:-1] if type(saw) is list and saw else UNTOUCHED,
    "put": _put,
    "delete": _delete,
    "within": _within,
    "move": _move,
    "add": lambda saw, element: (saw if type(saw) is set else set()) | {element},
    "discard": lambda saw, element: saw - {element} if type(saw) is set else UNTOUCHED,
}

_small = st.integers(0, 2)
_names = st.sampled_from("xyz")
_lists = st.lists(_small, max_size=2)
_sets = st.sets(_small, max_size=3)
_members = _small | _lists | st.dictionaries(_names, _small | _lists, max_size=2)
_dicts = st.dictionaries(_names, _members, max_size=3)


def _deed(name: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Action]:
    return st.tuples(st.just(name), *arguments)


_leaving = _deed("remove") | _deed("rewrite")
_on_numbers = _deed("set", _small) | _deed("increment", _small)
_on_lists = _deed("append", _small) | _deed("append", _small) | _deed("set", _lists) | _deed("pop")
_on_sets = _deed("add", _small) | _deed("discard", _small) | _deed("set", _sets)
_on_members = _on_numbers | _on_lists | _deed("put", _names, _small | _lists) | _deed("delete", _names) | _leaving
_on_dicts = (
    _deed("put", _names, _members)
    | _deed("delete", _names)
    | _deed("within", _names, _on_members)
    | _deed("within", _names, _on_members)
    | _deed("set", _dicts)
)

_ordered = st.lists(st.tuples(_names, _small), max_size=3).map(OrderedDict)
_on_ordered = _deed("put", _names, _small) | _deed("delete", _names) | _deed("move", _names) | _deed("set", _ordered)

FLAVOURS = (  # what a key mostly holds, and what is mostly done to it: values of one kind meet
    (_small, _on_numbers),
    (_lists, _on_lists),
    (_sets, _on_sets),
    (_dicts, _on_dicts),
    (_ordered, _on_ordered),
    (_small | _lists | _sets | _dicts, _on_numbers | _on_lists | _on_sets | _on_dicts),
)


def mean(base: Any, values: list[Any]) -> Any:
    """A rule of users, for numbers: it raises for anything else."""
    return (0 if base is None else base) + sum(values) // len(values)


NAMED = ("sum", "concat", "union", "max", "min", "first", "last", "by_task")
FITTING = {"sum": FLAVOURS[0], "concat": FLAVOURS[1], "union": FLAVOURS[2], mean: FLAVOURS[0]}


@st.composite
def meetings(draw: st.DrawFn) -> Graph:
    """Draw a DAG of levels in which branches meet, part and meet again."""
    tasks: list[tuple[str, tuple[str, ...]]] = []
    levels: list[list[str]] = []
    for width in draw(st.lists(st.sampled_from((2, 1, 3)), min_size=3, max_size=5)):
        nearest, all_earlier = levels[-1:], [task for level in levels for task in level]
        level = [f"t{len(tasks) + number}" for number in range(width)]
        for task in level:
            listed = draw(st.lists(st.sampled_from(nearest[0]), unique=True, min_size=1)) if nearest else []
            further = draw(st.lists(st.sampled_from(all_earlier), max_size=1)) if all_earlier else []
            tasks.append((task, tuple(dict.fromkeys((*listed, *further)))))
        levels.append(level)
    return tasks


any_rule: st.SearchStrategy[Rule] = st.sampled_from((None, None, None, None, *NAMED, mean))


@st.composite
def tales(
    draw: st.DrawFn,
    *,
    graphs: st.SearchStrategy[Graph] = meetings() | meetings() | graphs(),  # noqa: B008 - strategies are constants
    rules: st.SearchStrategy[Rule] = any_rule,
    on_conflict: Sequence[str] = ("keep", *ENDINGS),
) -> Tale:
    graph, rule = draw(graphs), draw(rules)
    fitting = FITTING.get(rule)
    values, usual = fitting if fitting and draw(st.integers(0, 4)) else draw(st.sampled_from(FLAVOURS))
    actions = st.one_of(*[usual] * 8, _leaving, st.none())
    dispute = st.lists(values, min_size=2, max_size=2).filter(lambda pair: not equal(*pair))
    given = st.one_of(st.just([]), *[values.map(lambda value: [value])] * 4, dispute)
    return Tale(
        graph,
        {task: draw(actions) for task, _ in graph},
        tuple(draw(given)),
        rule,
        draw(st.sampled_from(on_conflict)),
    )
