"""History against a model that has neither memory nor short cuts."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.reference import KEYS, Diff, Graph, Inputs, Model, Visible, deterministic, diffs, graphs, inputs
from tests.runs import candidates_of, places_seen

from cloaca.engine.view import ContextView
from cloaca.errors import INPUT, MERGE
from cloaca.history.history import MANY, History
from cloaca.history.plan import Plan, plan
from cloaca.history.telling import Told
from cloaca.history.write import Write
from cloaca.wire.messages import MILESTONE, Version


@dataclass(frozen=True)
class Story:
    """A workflow, what it was given, and what each task wrote: `None` where it failed or was skipped."""

    graph: Graph
    inputs: Inputs
    diffs: Mapping[str, Diff | None]

    def plan(self) -> Plan:
        return plan("w", self.graph)

    def model(self) -> Model:
        model = Model(self.graph, self.inputs)
        for task in self.plan().names:
            diff = self.diffs[task]
            if diff is not None:
                model.record(task, diff)
        return model


@st.composite
def stories(draw: st.DrawFn) -> Story:
    graph = draw(graphs())
    return Story(graph, draw(inputs), {task: draw(st.none() | diffs) for task, _ in graph})


def large_story(seed: int) -> Story:
    """60 tasks, some of them wide joins, over few keys."""
    random = Random(seed)
    graph = []
    for number in range(60):
        width = min(number, random.choice([0, 1, 1, 2, 2, 3, 12]))
        listed = random.sample(range(max(0, number - 25), number), min(width, 25))
        graph.append((f"t{number}", [f"t{other}" for other in listed]))
    wrote = {
        task: {key: random.choice([b"0", b"1", b"2", None]) for key in KEYS if random.random() < 0.15}
        for task, _ in graph
    }
    return Story(graph, {"a": Version(INPUT, b"0")}, wrote)


Seen = list[tuple[str, tuple[Version, ...]]]


@dataclass
class Replay:
    """One run of a story: which task ends next, and what is looked up meanwhile, is left to chance."""

    story: Story
    random: Random
    looks: int
    saw: dict[str, Seen] = field(default_factory=dict)
    near: dict[str, Seen] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.plan = self.story.plan()
        self.history = History(self.plan, self.story.inputs)
        self._ended: set[int] = set()
        self._nearby: dict[int, Iterator[tuple[str, Told]]] = {}
        while running := self._running():
            for _ in range(self.looks):
                self._look(self.random.choice(running))
            self._end(self.random.choice(running))

    def _running(self) -> list[int]:
        return [
            rank
            for rank, dependencies in enumerate(self.plan.predecessors)
            if rank not in self._ended and self._ended.issuperset(dependencies)
        ]

    def _look(self, rank: int) -> None:
        """A running task asks for a key, or for some more of what is near; others may end before it goes on."""
        self.history.candidates(rank, self.random.choice(KEYS))
        name = self.plan.names[rank]
        nearby = self._nearby.setdefault(rank, filter(None, self.history.near(rank)))
        self.near.setdefault(name, []).extend(islice(nearby, 1))

    def _end(self, rank: int) -> None:
        name = self.plan.names[rank]
        nearby = self._nearby.setdefault(rank, filter(None, self.history.near(rank)))
        self.near.setdefault(name, []).extend(nearby)
        self.saw[name] = list(self.history.whole(rank).items())
        diff = self.story.diffs[name]
        if diff is not None:
            self.history.record(rank, diff)
        self._ended.add(rank)


def candidates_seen(seen: Iterable[tuple[str, Told]]) -> Visible:
    """The candidates of each key, of all that was told."""
    return {key: candidates_of(told) for key, told in seen}


def versions(writes: tuple[Write, ...]) -> tuple[Version, ...]:
    return tuple(write.version for write in writes)


def check_against_model(story: Story, replay: Replay) -> None:
    model = story.model()
    for task, seen in replay.saw.items():
        visible = model.whole(task)
        assert candidates_seen(seen) == visible, task
        assert len(replay.near[task]) == len(dict(replay.near[task])), "a key came twice"
        alone = {key: versions for key, versions in visible.items() if len(versions) == 1}
        assert dict(replay.near[task]) == alone, task
        rank = replay.plan.rank[task]
        for key in KEYS:
            assert versions(replay.history.candidates(rank, key)) == model.candidates(task, key), (task, key)
            assert candidates_of(replay.history.versions(rank, key)) == model.candidates(task, key), (task, key)
    assert candidates_seen(replay.history.final().items()) == model.final()


@given(stories(), st.randoms(use_true_random=False), st.integers(0, 3))
@deterministic
def test_every_task_sees_what_the_model_says(story: Story, random: Random, looks: int) -> None:
    check_against_model(story, Replay(story, random, looks))


@pytest.mark.parametrize("seed", range(12))
def test_every_task_of_a_large_workflow_sees_what_the_model_says(seed: int) -> None:
    story = large_story(seed)
    check_against_model(story, Replay(story, Random(seed), seed % 4))


@given(stories(), st.randoms(use_true_random=False), st.integers(0, 4))
@deterministic
def test_neither_the_order_of_ends_nor_earlier_lookups_leave_a_trace(story: Story, random: Random, looks: int) -> None:
    by_rank, by_chance = Replay(story, _Lowest(), 0), Replay(story, random, looks)
    assert by_chance.saw == by_rank.saw
    assert by_chance.near == by_rank.near
    assert list(by_chance.history.final().items()) == list(by_rank.history.final().items())


def first_answer(story: Story, task: str, key: str) -> tuple[Version, ...]:
    """What a task sees of a key when nobody has looked anything up before."""
    compiled = story.plan()
    history = History(compiled, story.inputs)
    rank = compiled.rank[task]
    for earlier, name in enumerate(compiled.names[:rank]):
        history.record(earlier, story.diffs[name] or {})
    return versions(history.candidates(rank, key))


@given(stories())
@deterministic
def test_the_first_lookup_of_a_run_is_right(story: Story) -> None:
    model = story.model()
    for task, _ in story.graph:
        for key in KEYS:
            assert first_answer(story, task, key) == model.candidates(task, key), (task, key)


@pytest.mark.parametrize("seed", range(6))
def test_the_first_lookup_of_a_large_run_is_right(seed: int) -> None:
    story = large_story(seed)
    model = story.model()
    for task, _ in story.graph[10:]:
        for key in KEYS:
            assert first_answer(story, task, key) == model.candidates(task, key), (task, key)


class _Lowest(Random):
    """No chance: always the first."""

    def choice(self, seq):
        return seq[0]


@given(stories())
@deterministic
def test_a_task_that_rewrites_what_it_saw_leaves_no_trace(story: Story) -> None:
    """Wherever the key has one version: with several, only who merges them knows what was seen."""
    plain = Replay(story, Random(0), 0)
    echoed = dict(story.diffs)
    for task, seen in plain.saw.items():
        agreed = {key: told[0].payload for key, told in seen if len(told) == 1 and not told[0].rivals}
        diff = story.diffs[task]
        echoed[task] = agreed | dict(diff or {})
    echo = Replay(Story(story.graph, story.inputs, echoed), Random(0), 0)
    assert {task: dict(seen) for task, seen in echo.saw.items()} == {
        task: dict(seen) for task, seen in plain.saw.items()
    }


@given(stories())
@deterministic
def test_a_view_is_the_whole_as_a_mapping(story: Story) -> None:
    replay = Replay(story, Random(0), 0)
    for task, seen in replay.saw.items():
        view = ContextView(replay.history, replay.plan.rank[task])
        assert list(view.items()) == seen
        assert len(view) == len(seen)
        assert all((key in view) == (key in dict(seen)) for key in KEYS)


# ---- cases that have names -----------------------------------------------------------------------------------------


def told(graph: Graph, wrote: Mapping[str, Diff], **given_: bytes) -> tuple[Plan, History]:
    story = Story(graph, {key: Version(INPUT, payload) for key, payload in given_.items()}, {})
    compiled = story.plan()
    history = History(compiled, story.inputs)
    for rank, task in enumerate(compiled.names):
        history.record(rank, wrote.get(task, {}))
    return compiled, history


def writers(writes: tuple[Write, ...]) -> list[str]:
    return [write.version.writer for write in writes]


def told_writers(told: Told) -> list[tuple[str, list[str]]]:
    """Who wrote each version that is told, and whose versions they saw."""
    return [(version.writer, [told[place].writer for place in places_seen(version)]) for version in told]


DIAMOND: Graph = [("root", []), ("left", ["root"]), ("right", ["root"]), ("join", ["right", "left"])]


def test_candidates_come_as_the_join_lists_its_dependencies_also_at_the_end() -> None:
    _, history = told(DIAMOND, {"left": {"k": b"1"}, "right": {"k": b"2"}}, k=b"0")
    candidates = history.candidates(3, "k")
    assert writers(candidates) == ["right", "left"]
    assert told_writers(history.versions(3, "k")) == [(INPUT, []), ("right", [INPUT]), ("left", [INPUT])]
    assert told_writers(history.final()["k"]) == [(INPUT, []), ("right", [INPUT]), ("left", [INPUT])]


def test_a_write_supersedes_those_of_its_ancestors_through_tasks_that_wrote_nothing() -> None:
    graph = [("a", []), ("b", ["a"]), ("c", ["b"]), ("d", ["a", "c"])]
    _, history = told(graph, {"a": {"k": b"1"}, "c": {"k": b"2"}})
    assert writers(history.candidates(3, "k")) == ["c"]


def test_a_removal_is_a_write() -> None:
    _, history = told(DIAMOND, {"left": {"k": None}}, k=b"0")
    assert [version.payload for version in versions(history.candidates(3, "k"))] == [None]


def test_removing_what_is_not_there_is_no_write() -> None:
    _, history = told(DIAMOND, {"left": {"k": None}})
    assert history.candidates(3, "k") == ()
    assert history.final() == {}


def test_two_branches_that_wrote_the_same_bytes_are_two_writes() -> None:
    _, history = told(DIAMOND, {"left": {"k": b"1"}, "right": {"k": b"1"}}, k=b"0")
    assert writers(history.candidates(3, "k")) == ["right", "left"]


def test_a_join_that_settles_with_the_bytes_of_one_branch_does_write() -> None:
    _, history = told(DIAMOND, {"left": {"k": b"1"}, "right": {"k": b"2"}, "join": {"k": b"1"}}, k=b"0")
    assert told_writers(history.final()["k"]) == [("join", [])]


def test_what_is_told_goes_back_to_the_write_that_came_before_all_others() -> None:
    """`late` saw the write of `a`; `side` only saw the input, so only the input came before both."""
    graph = [("a", []), ("late", ["a"]), ("side", []), ("join", ["late", "side"])]
    _, history = told(graph, {"a": {"k": b"1"}, "late": {"k": b"2"}, "side": {"k": b"3"}}, k=b"0")
    assert told_writers(history.versions(3, "k")) == [(INPUT, []), ("a", [INPUT]), ("late", ["a"]), ("side", [INPUT])]


def test_what_came_before_a_write_that_stood_by_itself_is_not_told() -> None:
    graph = [*DIAMOND, ("l", ["join"]), ("r", ["join"]), ("end", ["r", "l"])]
    wrote: dict[str, Diff] = {task: {"k": b"%d" % place} for place, (task, _) in enumerate(graph[:-1])}
    _, history = told(graph, wrote, k=b"0")
    assert told_writers(history.versions(6, "k")) == [("join", []), ("r", ["join"]), ("l", ["join"])]


TWO_DIAMONDS: Graph = [*DIAMOND, ("l", ["join"]), ("r", ["join"]), ("end", ["l", "r"])]
ALL_WROTE: Mapping[str, Diff] = {task: {"k": b"1"} for task in ("left", "right", "l", "r")}


def test_joins_that_wrote_nothing_are_milestones_down_to_the_last_value() -> None:
    compiled, history = told(TWO_DIAMONDS, ALL_WROTE, k=b"0")
    versions = history.versions(compiled.rank["end"], "k")
    assert [version.writer for version in versions] == [INPUT, "right", "left", MILESTONE.writer, "l", "r"]
    assert [version.saw for version in versions] == [(), (0,), (0,), (), (0,), (0,)]
    assert [version.is_milestone for version in versions] == [False, False, False, True, False, False]


def test_what_a_milestone_comes_to_is_told_once_somebody_knows() -> None:
    compiled, history = told(TWO_DIAMONDS, ALL_WROTE, k=b"0")
    end, at_the_end = compiled.rank["end"], history.final()["k"]
    history.settle(compiled.rank["l"], {"k": Version(MERGE, b"2")})
    for task in ("join", "l", "r"):
        assert history.versions(compiled.rank[task], "k") == (Version(MERGE, b"2"),)
    assert [version.payload for version in history.versions(end, "k")] == [b"2", b"1", b"1"]
    history.settle(end, {"k": Version(MERGE, b"3")})
    assert history.versions(end, "k") == (Version(MERGE, b"3"),)
    assert history.final()["k"] == (Version(MERGE, b"2"), *at_the_end[4:])  # told what it was made of


def test_who_saw_things_in_another_order_is_told_of_no_milestone() -> None:
    """`l` saw right before left, and `r` left before right: merged, that need not be the same list."""
    graph = [*DIAMOND, ("other", ["left", "right"]), ("l", ["join"]), ("r", ["other"]), ("end", ["l", "r"])]
    compiled, history = told(graph, ALL_WROTE, k=b"0")
    assert told_writers(history.versions(compiled.rank["end"], "k")) == [
        (INPUT, []),
        ("right", [INPUT]),
        ("left", [INPUT]),
        ("l", [INPUT, "right", "left"]),
        ("r", [INPUT, "left", "right"]),
    ]


def test_only_a_reader_of_several_versions_can_tell_what_they_come_to() -> None:
    _, history = told(DIAMOND, {"left": {"k": b"1"}, "right": {"own": b"1"}}, k=b"0")
    history.settle(3, {"k": Version(MERGE, b"2"), "own": Version(MERGE, b"2"), "other": Version(MERGE, b"2")})
    assert [version.payload for version in history.versions(3, "k")] == [b"1"]
    assert [version.payload for version in history.versions(3, "own")] == [b"1"]
    assert history.versions(3, "other") == ()


def test_what_a_writer_saw_is_told_in_the_order_that_it_has_there() -> None:
    graph = [("l", []), ("r", []), ("other", []), ("both", ["r", "l"]), ("end", ["l", "r", "both", "other"])]
    wrote: dict[str, Diff] = {task: {"k": b"1"} for task in ("l", "r", "both", "other")}
    _, history = told(graph, wrote)
    assert told_writers(history.versions(4, "k")) == [("l", []), ("r", []), ("both", ["r", "l"]), ("other", [])]


def test_a_writer_stands_before_a_task_that_follows_it_also_where_it_is_defined_later() -> None:
    graph = [("late", ["early"]), ("side", []), ("early", [])]
    _, history = told(graph, {task: {"k": task.encode()} for task in ("late", "side", "early")})
    assert told_writers(history.final()["k"]) == [("early", []), ("late", ["early"]), ("side", [])]


def test_superseded_writes_come_in_the_merge_order_too() -> None:
    """`b` comes first along the first dependency, though `a` has the lower rank."""
    graph = [("a", []), ("b", []), ("after", ["b"]), ("c", ["after", "a"]), ("side", []), ("end", ["c", "side"])]
    _, history = told(graph, {task: {"k": task.encode()} for task in ("a", "b", "c", "side")})
    assert [writer for writer, _ in told_writers(history.versions(5, "k"))] == ["b", "a", "c", "side"]


def test_tasks_that_see_the_same_are_told_the_same_object() -> None:
    graph = [*DIAMOND, *((f"reader{n}", ["join"]) for n in range(3))]
    _, history = told(graph, {"left": {"k": b"1"}, "right": {"k": b"2"}})
    assert len({id(history.versions(rank, "k")) for rank in range(4, 7)}) == 1


def test_a_key_that_is_kept_by_task_is_told_whole() -> None:
    compiled = plan("w", [("a", []), ("b", ["a"]), ("c", ["b"])])
    history = History(compiled, {"k": Version(INPUT, b"0")}, collected=frozenset({"k"}))
    history.record(0, {"k": b"0"})
    history.record(1, {"k": b"0"})
    assert told_writers(history.versions(2, "k")) == [(INPUT, []), ("a", [INPUT]), ("b", ["a"])]
    assert told_writers(history.final()["k"]) == [(INPUT, []), ("a", [INPUT]), ("b", ["a"])]


def test_places_of_functions_are_told_where_several_versions_are() -> None:
    history = History(plan("w", DIAMOND), {}, place_of="sales.py:{}".format)
    history.record(1, {"k": b"1"})
    assert history.versions(3, "k")[0].place == ""
    history.record(2, {"k": b"2"})
    assert [version.place for version in history.final()["k"]] == ["sales.py:1", "sales.py:2"]


def test_whether_branches_may_have_met() -> None:
    _, history = told(DIAMOND, {"root": {"k": b"1"}, "left": {"k": b"2"}})
    assert [history.met(rank) for rank in range(4)] == [()] * 4
    _, history = told(DIAMOND, {"left": {"k": b"1"}, "right": {"k": b"2"}})
    assert [history.met(rank) for rank in range(4)] == [(), (), (), ("k",)]
    assert history.joined_keys(3) == ["k"]


def test_all_names_are_told_where_they_are_few_or_few_wrote_them() -> None:
    many = {f"k{n}": b"1" for n in range(MANY + 1)}
    graph = [*DIAMOND, *((f"after {n}", ["join" if n == 0 else f"after {n - 1}"]) for n in range(3))]
    _, few = told(graph, {"root": {"r": b"1"}, "join": {"j": b"1"}}, given=b"0")
    assert {*(few.names(3) or ())} >= {"given", "r"}
    for given_, wrote in ((many, {"root": {"r": b"1"}}), ({"given": b"0"}, {"root": many, "left": many, "join": many})):
        _, history = told(graph, wrote, **given_)
        for rank in range(len(graph)):
            names = history.names(rank)
            assert names is None or {*names} >= {*history.whole(rank)}
            assert names is None or len(names) <= MANY


def test_names_that_other_branches_wrote_are_told_only_where_those_above_are_too_many_to_look_at() -> None:
    chain = [("0", []), *((f"{n}", [f"{n - 1}"]) for n in range(1, 8)), ("other root", [])]
    _, history = told(chain, {"0": {"a": b"1"}, "7": {"z": b"1"}}, given=b"0")
    assert history.names(8) == ("given",)
    assert history.names(2) == ("given", "a")
    assert {*(history.names(7) or ())} >= {"given", "a"}


def test_a_key_that_nobody_wrote_has_no_versions() -> None:
    _, history = told(DIAMOND, {})
    assert history.candidates(3, "k") == ()
    assert history.versions(3, "k") == ()


def test_keys_come_in_a_fixed_order_the_inputs_first() -> None:
    wrote = {"root": {"z": b"1", "y": b"1"}, "left": {"x": b"1", "q": b"9"}}
    _, history = told(DIAMOND, wrote, q=b"0", p=b"0")
    assert list(history.whole(3)) == ["p", "z", "y", "x", "q"]
    assert list(history.final()) == ["p", "z", "y", "x", "q"]


def test_the_nearest_keys_come_first() -> None:
    wrote = {"root": {"r": b"1"}, "left": {"l": b"1"}, "right": {"s": b"1"}}
    _, history = told(DIAMOND, wrote, i=b"0")
    assert [key for key, _ in filter(None, history.near(3))] == ["s", "l", "r", "i"]


@given(stories())
@deterministic
def test_ancestors_are_all_that_come_before(story: Story) -> None:
    compiled, model = story.plan(), story.model()
    history = History(compiled, story.inputs)
    for rank, task in enumerate(compiled.names):
        assert {compiled.names[other] for other in history.ancestors(rank)} == set(model.orders[task])
