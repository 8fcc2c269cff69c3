"""What the merge promises, tried on random workflows; and its every answer against the reference."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.reference import (
    ABSENT,
    CONFLICT,
    ENDINGS,
    Action,
    Graph,
    Mark,
    Reference,
    Rule,
    Tale,
    act,
    deterministic,
    graphs,
    meetings,
    tales,
)

import cloaca
from cloaca import Context, MergeConflict
from cloaca.errors import INPUT
from cloaca.history.history import History
from cloaca.history.plan import plan
from cloaca.merge.equality import equal
from cloaca.merge.rules import Rules
from cloaca.tasks.contents import Contents
from cloaca.tasks.context import of_versions, over
from cloaca.values.codec import encode
from cloaca.wire.messages import Slice, Version

KEY = "k"

chances = st.integers(0, 1 << 32).map(Random)
graphs_that_meet = meetings() | graphs()


def rule_of(tale: Tale) -> Any:
    return getattr(cloaca.merge, tale.rule) if isinstance(tale.rule, str) else tale.rule


def on_conflict_of(tale: Tale) -> Any:
    return None if tale.on_conflict == "keep" else tale.on_conflict


def inputs_of(tale: Tale) -> dict[str, Version]:
    given_ = [Version(f"earlier {place}", encode(value)) for place, value in enumerate(tale.given)]
    if len(given_) > 1:
        return {KEY: Version(INPUT, None, rivals=tuple(given_))}
    return {KEY: Version(INPUT, given_[0].payload)} if given_ else {}


def unasked(*question: object) -> Slice:
    raise AssertionError(question)


def read(context: Context, key: str = KEY) -> Any:
    try:
        return context.get(key, ABSENT)
    except MergeConflict:
        return CONFLICT


def perform(action: Action, context: Context, key: str = KEY) -> None:
    wrote = act(action, read(context, key))
    if wrote is ABSENT and key in context:
        context.remove(key)
    elif not isinstance(wrote, Mark):
        context.set(key, wrote)


@dataclass
class Telling:
    """One run of a tale. Which of the tasks that are ready ends next is left to chance.

    So is in which of the two `processes` each runs, and who of those that hand back what they merged is heard: `heard`
    of them, from 0 for nobody to 1 for all.
    """

    tale: Tale
    random: Random
    heard: float = 1.0
    at: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.plan = plan("w", self.tale.graph)
        rule = rule_of(self.tale)
        self.rules = Rules({KEY: rule} if rule else {}, on_conflict_of(self.tale))
        self.history = History(
            self.plan, inputs_of(self.tale), collected=self.rules.collected, ruled={KEY} if rule else frozenset()
        )
        self.processes = [Rules({KEY: rule} if rule else {}, on_conflict_of(self.tale)) for _ in range(2)]
        ended: set[int] = set()
        for rank in self._ends(ended):
            self._run(rank)
            ended.add(rank)
        self.final = read(of_versions(self.history.final(), self.rules))

    def _ends(self, ended: set[int]) -> Iterator[int]:
        depends_on = self.plan.predecessors
        while len(ended) < len(depends_on):
            ready = [
                rank for rank in range(len(depends_on)) if rank not in ended and ended.issuperset(depends_on[rank])
            ]
            yield self.random.choice(ready)

    def _run(self, rank: int) -> None:
        task = self.plan.names[rank]
        given_ = Slice({KEY: self.history.versions(rank, KEY)}, complete=True)
        contents = Contents(given_, task, self.random.choice(self.processes), ask=unasked)
        context = over(contents)
        self.at[task] = read(context)
        action = self.tale.actions.get(task)
        if action:
            perform(action, context)
            self.history.record(rank, contents.diff())
            settled = contents.handed_back()
            if settled and self.random.random() < self.heard:
                self.history.settle(rank, settled)


class Lowest(Random):
    """No chance: always the first."""

    def choice(self, seq):
        return seq[0]


def agree(one: Any, other: Any) -> bool:
    return one is other if isinstance(one, Mark) or isinstance(other, Mark) else equal(one, other)


def everywhere(told: Telling | Reference) -> dict[str, Any]:
    """What every task sees, and at `""` what is left in the end."""
    if isinstance(told, Telling):
        return {**told.at, "": told.final}
    return {**{task: told.at(task) for task in told.orders}, "": told.final()}


def assert_alike(one: Mapping[Any, Any], other: Mapping[Any, Any]) -> None:
    differing = {
        task: (one[task], other[task]) for task in other if task not in one or not agree(one[task], other[task])
    }
    assert not differing


def ancestors(graph: Graph) -> dict[str, list[str]]:
    """Of every task, and at `""` all tasks: at the end everything has come before."""
    return {**Reference(Tale(graph, {})).orders, "": [task for task, _ in graph]}


# ---- the reference -------------------------------------------------------------------------------------------------


@given(tales(), chances)
@settings(parent=deterministic, max_examples=300)
def test_every_task_sees_what_the_reference_says(tale: Tale, random: Random) -> None:
    assert_alike(everywhere(Telling(tale, random)), everywhere(Reference(tale)))


JOIN: Graph = [("a", []), ("b", []), ("join", ["a", "b"])]
LATE: Graph = [("a", []), ("b", []), ("c", ["a"]), ("d", ["a", "b"]), ("join", ["c", "d"])]
CROSSED: Graph = [("a", []), ("b", []), ("c", ["a", "b"]), ("d", ["b"]), ("join", ["c", "d"])]
TWICE: Graph = [("a", []), ("b", []), ("c", ["a", "b"]), ("d", ["a", "b"]), ("e", ["c"]), ("join", ["d", "e"])]

SELDOM = {
    "settled input, unlike values": Tale(JOIN, {"a": ("set", 3), "b": ("set", 4)}, (1, 2), None, "first"),
    "settled input, extended": Tale(JOIN, {"a": ("append", 1), "b": ("append", 1)}, ([], [9]), None, "first"),
    "settled input, with a rule": Tale(JOIN, {"a": ("increment", 5), "b": ("increment", 5)}, (1, 2), "sum", "last"),
    "input in conflict, members removed": Tale(
        LATE, {"a": ("remove",), "b": ("remove",), "c": ("put", "x", 0), "d": ("put", "y", 0)}, ({}, {"x": 0})
    ),
    "input in conflict, settled before the base": Tale(
        TWICE,
        {"a": ("remove",), "b": ("remove",), "c": ("add", 0), "d": ("add", 3), "e": ("discard", 0)},
        ({1}, {2}),
        "union",
    ),
    "an element added before the base, and removed beside that": Tale(
        [("r", []), ("a", ["r"]), ("w", []), ("c", ["a", "w"]), ("d", ["a"]), ("join", ["c", "d"])],
        {"r": ("discard", 0), "a": ("add", 0), "w": ("discard", 0), "c": ("add", 1), "d": ("add", 2)},
        ({0},),
        "union",
    ),
    "a member of a value that lost in order": Tale(
        TWICE,
        {"a": ("set", 0), "b": ("set", {"y": 0}), "c": ("put", "x", 0), "d": ("put", "z", 0)},
        on_conflict="first",
    ),
    "a list that began beside the base": Tale(
        CROSSED, {"a": ("set", [2]), "b": ("set", [2]), "c": ("append", 3), "d": ("append", 4)}
    ),
}


@pytest.mark.parametrize("tale", SELDOM.values(), ids=SELDOM)
def test_what_is_seldom_met_is_as_the_reference_says(tale: Tale) -> None:
    assert_alike(everywhere(Telling(tale, Lowest())), everywhere(Reference(tale)))


# ---- time leaves no trace ------------------------------------------------------------------------------------------


@given(tales(), chances)
@deterministic
def test_the_order_in_which_tasks_end_leaves_no_trace(tale: Tale, random: Random) -> None:
    """Not even in the bytes, nor in what is told at the end."""
    by_chance, lowest = Telling(tale, random, 0), Telling(tale, Lowest(), 0)
    assert in_bytes(by_chance) == in_bytes(lowest)
    ranks = range(len(tale.graph))
    assert [by_chance.history.versions(rank, KEY) for rank in ranks] == [
        lowest.history.versions(rank, KEY) for rank in ranks
    ]


@given(tales(), st.sampled_from([0.5, 1]), chances)
@deterministic
def test_who_hands_back_what_was_merged_leaves_no_trace(tale: Tale, heard: float, random: Random) -> None:
    assert in_bytes(Telling(tale, random, heard)) == in_bytes(Telling(tale, Lowest(), 0))


def in_bytes(told: Telling) -> dict[str, object]:
    return {task: shape(value) for task, value in everywhere(told).items()}


def shape(value: Any) -> object:
    return value if isinstance(value, Mark) else encode(value)


# ---- laws ----------------------------------------------------------------------------------------------------------


@given(graphs_that_meet, st.sampled_from([*ENDINGS]), st.data(), chances)
@deterministic
def test_no_unopposed_write_is_lost(graph: Graph, on_conflict: str, data: st.DataObject, random: Random) -> None:
    """Each task sets a member of its own: everybody sees those of all ancestors, with nobody else's."""
    silent = data.draw(st.sets(st.sampled_from([task for task, _ in graph])))
    actions: dict[str, Action] = {task: ("put", task, task) for task, _ in graph if task not in silent}
    told = Telling(Tale(graph, actions, data.draw(st.sampled_from([(), ({},), (0,)])), None, on_conflict), random)
    for task, seen in everywhere(told).items():
        before = [other for other in ancestors(graph)[task] if other in actions]
        assert seen == ({other: other for other in before} if before else given_value(told.tale)), task


def given_value(tale: Tale) -> Any:
    return tale.given[0] if tale.given else ABSENT


CHANGES: Sequence[tuple[Any, Action]] = [
    (0, ("set", 1)),
    (0, ("remove",)),
    ([1, 2], ("append", 3)),
    ([1, 2], ("pop",)),
    ({1, 2}, ("discard", 1)),
    ({"x": 1, "y": [1]}, ("put", "x", 2)),
    ({"x": 1, "y": [1]}, ("delete", "x")),
    ({"x": 1, "y": [1]}, ("within", "y", ("pop",))),
]


@given(
    graphs_that_meet,
    st.sampled_from(CHANGES),
    st.sampled_from([None, "sum", "concat", "union", "max", "min", "first", "last"]),
    st.data(),
    chances,
)
@deterministic
def test_an_untouched_value_never_beats_a_changed_one(
    graph: Graph, change: tuple[Any, Action], rule: Rule, data: st.DataObject, random: Random
) -> None:
    value, action = change
    (changing,) = data.draw(st.permutations([task for task, _ in graph]))[:1]
    actions: dict[str, Action] = {**{task: ("rewrite",) for task, _ in graph}, changing: action}
    told = Telling(Tale(graph, actions, (value,), rule), random)
    for task, seen in everywhere(told).items():
        expected = act(action, value) if changing in ancestors(graph)[task] else value
        assert agree(seen, expected), task


@given(graphs_that_meet, st.data(), chances)
@deterministic
def test_a_member_that_one_branch_changed_is_changed_whatever_others_do_to_other_members(
    graph: Graph, data: st.DataObject, random: Random
) -> None:
    (changing,) = data.draw(st.permutations([task for task, _ in graph]))[:1]
    change = data.draw(st.sampled_from([("put", "x", 1), ("delete", "x")]))
    actions: dict[str, Action] = {**{task: ("put", task, task) for task, _ in graph}, changing: change}
    told = Telling(Tale(graph, actions, ({"x": 0},)), random)
    changed = {"x": 1} if change[0] == "put" else {}
    for task, seen in everywhere(told).items():
        before = ancestors(graph)[task]
        own = {other: other for other in before if other != changing}
        assert seen == own | (changed if changing in before else {"x": 0}), task


@given(
    graphs_that_meet,
    st.sampled_from([None, "max", "min", "first", "last"]),
    st.sampled_from(ENDINGS),
    st.sampled_from(["key", "member"]),
    st.data(),
    chances,
)
@deterministic
def test_what_a_later_writer_saw_and_replaced_never_comes_back(
    graph: Graph, rule: Rule, on_conflict: str, where: str, data: st.DataObject, random: Random
) -> None:
    """Neither as the key nor as a member of it: whatever is seen is what a candidate set."""
    numbers = data.draw(st.permutations(range(len(graph))))
    silent = data.draw(st.sets(st.sampled_from([task for task, _ in graph])))
    value = dict(zip((task for task, _ in graph), numbers, strict=True))
    actions: dict[str, Action] = {
        task: ("set", {"x": number, task: 0} if where == "member" else number)
        for task, number in value.items()
        if task not in silent
    }
    told = Telling(Tale(graph, actions, (), rule, on_conflict), random)
    for task, seen in everywhere(told).items():
        before = ancestors(graph)
        writers = [other for other in before[task] if other in actions]
        standing = [other for other in writers if not any(other in before[later] for later in writers)]
        number = seen["x"] if isinstance(seen, dict) else seen
        possible: list[Any] = [value[other] for other in standing] or [ABSENT]
        assert number in possible or (number is CONFLICT and len(standing) > 1), task


@given(graphs_that_meet, st.sampled_from([(), (2**20,)]), st.data(), chances)
@deterministic
def test_sums_are_exact(graph: Graph, given_: tuple[int, ...], data: st.DataObject, random: Random) -> None:
    """Each task adds a power of two of its own: each is there once, or the sum would tell."""
    silent = data.draw(st.sets(st.sampled_from([task for task, _ in graph])))
    power = {task: 2**place for place, (task, _) in enumerate(graph) if task not in silent}
    actions: dict[str, Action] = {task: ("increment", power[task]) for task in power}
    told = Telling(Tale(graph, actions, given_, "sum"), random)
    for task, seen in everywhere(told).items():
        added = [power[other] for other in ancestors(graph)[task] if other in power]
        assert seen == (sum(added) + sum(given_) if added or given_ else ABSENT), task


@given(
    graphs_that_meet, st.sampled_from([(None, ([],)), (None, (["given"],)), ("concat", ()), ("concat", (["given"],))])
)
@settings(parent=deterministic)
def test_each_addition_to_a_list_is_there_once(graph: Graph, start: tuple[Rule, tuple[Any, ...]]) -> None:
    rule, given_ = start
    actions: dict[str, Action] = {task: ("append", task) for task, _ in graph}
    told = Telling(Tale(graph, actions, given_, rule), Random(0))
    for task, seen in everywhere(told).items():
        before = ancestors(graph)[task]
        if not before and not given_:
            assert seen is ABSENT, task
            continue
        beginning = given_value(told.tale) if given_ else []
        assert seen[: len(beginning)] == beginning, task
        assert sorted(seen[len(beginning) :]) == sorted(before), task


# ---- what makes no difference --------------------------------------------------------------------------------------


@given(tales(), chances)
@deterministic
def test_a_join_that_reads_and_rewrites_everything_leaves_no_trace(tale: Tale, random: Random) -> None:
    """Between every task and what it depends on."""
    graph = list(tale.graph)
    for task, dependencies in tale.graph:
        if dependencies:
            graph[graph.index((task, dependencies))] = (task, (f"above {task}",))
            graph.append((f"above {task}", dependencies))
    idle: dict[str, Action | None] = {task: ("rewrite",) for task, _ in graph if task not in tale.actions}
    with_joins = replace(tale, graph=graph, actions={**tale.actions, **idle})
    assert_alike(everywhere(Telling(with_joins, random)), everywhere(Telling(tale, Lowest())))


ORDERLESS: Sequence[tuple[Rule, Sequence[Action], tuple[Any, ...]]] = [
    ("sum", [("increment", 1), ("increment", 2), ("set", 5), ("remove",)], (1,)),
    ("union", [("add", 1), ("add", 2), ("discard", 1), ("discard", 2), ("set", {3})], ({1},)),
    ("max", [("increment", 1), ("increment", 2), ("set", 1), ("remove",)], (1,)),
    ("min", [("increment", 1), ("increment", 2), ("set", 1), ("remove",)], (1,)),
    ("by_task", [("set", 1), ("set", 2), ("remove",)], ({"given": 1},)),
    (
        None,
        [
            ("put", "x", 1),
            ("put", "x", 2),
            ("put", "y", {"z": 1}),
            ("within", "y", ("put", "x", 1)),
            ("within", "y", ("delete", "z")),
            ("delete", "x"),
            ("set", {"x": 1, "y": 2}),
            ("set", 1),
            ("remove",),
        ],
        ({"x": 0, "y": {"z": 0}},),
    ),
]


@given(graphs_that_meet, st.sampled_from(ORDERLESS), st.data(), chances)
@deterministic
def test_the_order_of_listing_and_of_definition_does_not_matter_where_nothing_depends_on_order(
    graph: Graph, case: tuple[Rule, Sequence[Action], tuple[Any, ...]], data: st.DataObject, random: Random
) -> None:
    rule, possible, given_ = case
    actions = {task: data.draw(st.none() | st.sampled_from(possible)) for task, _ in graph}
    shuffled = [(task, random.sample(dependencies, len(dependencies))) for task, dependencies in graph]
    one = Telling(Tale(graph, actions, given_, rule), random)
    other = Telling(Tale(random.sample(shuffled, len(shuffled)), actions, given_, rule), random)
    assert_alike(everywhere(other), everywhere(one))


# ---- the whole way, as users go it ---------------------------------------------------------------------------------


def as_part(tale: Tale, number: int) -> Tale:
    """The tale, told of tasks that are among those of other tales.

    Without what tasks would do whose dependencies all failed: they are skipped.
    """
    dependencies, actions = dict(tale.graph), dict(tale.actions)
    for task in plan("w", tale.graph).names:
        if dependencies[task] and not any(actions[dependency] for dependency in dependencies[task]):
            actions[task] = None
    graph = [(f"{number} {task}", [f"{number} {other}" for other in listed]) for task, listed in tale.graph]
    return replace(tale, graph=graph, actions={f"{number} {task}": action for task, action in actions.items()})


def refuse(base: Any, values: Any) -> Any:
    """A merge rule that leaves every key in conflict."""
    raise ValueError(values)


def given_together(runner: cloaca.DefaultRunner, told: Sequence[Tale]) -> Context:
    """What all these tales are given: where that is several values, branches of an earlier run left a conflict."""
    with cloaca.WorkflowBuilder("earlier", merge={key_of(number): refuse for number in range(len(told))}):
        for place in range(2):
            updates = {key_of(number): tale.given[place] for number, tale in enumerate(told) if len(tale.given) > place}
            cloaca.task(id=f"earlier {place}")(lambda context, updates=updates: updates)
    return runner.execute("earlier").final_context


def workflow_of(told: Sequence[Tale]) -> str:
    """All these tales side by side in one workflow, each with a key of its own. A task also tells what it saw."""
    functions = {key_of(number): rule for number, tale in enumerate(told) if (rule := rule_of(tale))}
    with cloaca.WorkflowBuilder("tales", merge=functions, on_conflict=on_conflict_of(told[0])):
        for number, tale in enumerate(told):
            for task, dependencies in tale.graph:
                cloaca.task(id=task, dependencies=dependencies)(function_of(number, task, tale.actions[task]))
    return "tales"


def key_of(number: int) -> str:
    return f"tale {number}"


def function_of(number: int, task: str, action: Action | None) -> Callable[[Context], None]:
    def function(context: Context) -> None:
        if action is None:
            raise RuntimeError("as the tale tells")
        context.set(f"saw {task}", read(context, key_of(number)))
        perform(action, context, key_of(number))

    return function


@dataclass(frozen=True)
class Ended:
    """How a run of several tales ended: what was seen, what is left, and what is told of that."""

    seen: Mapping[str, Any]
    final: Mapping[str, Any]
    conflicts: Mapping[str, str]
    merges: Mapping[str, str]

    def in_bytes(self) -> object:
        values = {key: shape(value) for key, value in (*self.seen.items(), *self.final.items())}
        return values, self.conflicts, self.merges


def ended(runner: cloaca.DefaultRunner, told: Sequence[Tale]) -> Ended:
    result = runner.execute(workflow_of(told), given_together(runner, told))
    context = result.final_context
    return Ended(
        {key: context[key] for key in context if key.startswith("saw")},
        {key: read(context, key) for key in map(key_of, range(len(told)))},
        {key: str(error) for key, error in result.conflicts.items()},
        result.merges,
    )


@pytest.fixture(scope="module", params=ENDINGS)
def told(request: pytest.FixtureRequest) -> Sequence[Tale]:
    """A hundred tales, always the same, told as parts of one workflow."""
    found: list[Tale] = []

    @given(tales(on_conflict=[request.param]))
    @settings(parent=deterministic, max_examples=100)
    def draw(tale: Tale) -> None:
        found.append(as_part(tale, len(found)))

    draw()
    return found


@pytest.fixture(scope="module")
def in_series(told: Sequence[Tale]) -> Ended:
    return ended(cloaca.DefaultRunner(executor="serial"), told)


@pytest.fixture(scope="module", params=[1, 2])
def processes(request: pytest.FixtureRequest) -> Iterator[cloaca.DefaultRunner]:
    with cloaca.DefaultRunner(executor="processes", workers=request.param) as runner:
        given_together(runner, [Tale([], {}, (1,))] * 2)
        yield runner


def test_a_run_ends_the_same_however_many_work_on_it(
    processes: cloaca.DefaultRunner, told: Sequence[Tale], in_series: Ended
) -> None:
    """To the byte, and with the same messages."""
    assert ended(processes, told).in_bytes() == in_series.in_bytes()


def test_a_run_ends_as_the_reference_says(told: Sequence[Tale], in_series: Ended) -> None:
    references = list(map(Reference, told))
    seen = {
        f"saw {task}": reference.at(task)
        for reference in references
        for task, action in reference.tale.actions.items()
        if action
    }
    final = {key_of(number): reference.final() for number, reference in enumerate(references)}
    assert set(in_series.seen) == set(seen)
    assert_alike(in_series.seen, seen)
    assert_alike(in_series.final, final)
    assert set(in_series.conflicts) == {key for key, value in final.items() if value is CONFLICT}
