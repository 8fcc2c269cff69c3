"""Which large values are released while a run goes on: never one that is still needed, and in the end all others.

Values are told apart by their references alone, whose files don't exist: the engine opens none.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from tests.reference import ABSENT, KEYS, Graph, Reference, Tale, deterministic, graphs, is_well_paired, meetings, tales
from tests.runs import CHAIN, DIAMOND, candidates_of, done, failed, found, lost, tell

from cloaca.engine.events import AttemptEvent, Begin, Cancel, Command, Ended, Release, Room, RunEvent
from cloaca.engine.pairing import paired
from cloaca.engine.run import Run
from cloaca.engine.work import Merging, Work
from cloaca.errors import INPUT
from cloaca.history.ancestry import Ancestry
from cloaca.history.history import History
from cloaca.history.plan import plan
from cloaca.history.telling import NOTHING_TO_MERGE, Told
from cloaca.history.unwanted import Demand
from cloaca.merge.rules import Rules
from cloaca.merge.settle import settle
from cloaca.merge.settled import Conflict, Settled
from cloaca.values.blobs import Blob, blob_of, reference, references_in
from cloaca.values.codec import decode, encode
from cloaca.wire.messages import Answer, Assignment, Slice, Started, Unstarted, Version, Wants

KEY = "k"

# ---- values --------------------------------------------------------------------------------------------------------


def opaque(name: str) -> bytes:
    """The reference to a large value that merging can't look into."""
    return reference(Blob(f"/x/{name}", 100_000, is_structure=False))


def structure(name: str) -> bytes:
    """The reference to a large list or dict."""
    return reference(Blob(f"/x/{name}", 100_000, is_structure=True))


def small(name: str) -> bytes:
    return encode(name)


def removed(_name: str) -> None:
    """The value of a key that was removed."""


Kind = Callable[[str], bytes | None]


def name_of(payload: bytes) -> str:
    return blob_of(payload).path.removeprefix("/x/")


def names_of(payloads: Iterable[bytes | None]) -> set[str]:
    """The large ones among the payloads, by name."""
    return {name_of(held) for payload in payloads if payload is not None for held in references_in(payload)}


def told_names(versions: Mapping[str, Told]) -> set[str]:
    """The large values in what somebody is told."""
    return names_of(version.payload for told in versions.values() for version in told)


def given_versions(kinds: Mapping[str, Kind]) -> dict[str, Version]:
    return {key: Version(INPUT, kind(f"input-{key}")) for key, kind in kinds.items()}


# ---- any run, in any order -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plot:
    """A workflow, and what each task does: what it writes, by key; `None` where it fails.

    `mapped`: the tasks that do so for each of some items, with the key of these. `outputs`: the keys that are wanted at
    the end, `None`: all; and then `reads`: those that each task may look at, `None`: any.
    """

    graph: Graph
    given: Mapping[str, Kind]
    writes: Mapping[str, Mapping[str, Kind] | None]
    merging: Merging
    mapped: Mapping[str, str] = field(default_factory=dict)
    outputs: frozenset[str] | None = None
    reads: Mapping[str, frozenset[str] | None] = field(default_factory=dict)

    def demand(self, names: Sequence[str]) -> Demand | None:
        reads = [self.reads.get(name) for name in names]
        return None if self.outputs is None else Demand(self.outputs, reads)

    def is_output(self, key: str) -> bool:
        return self.outputs is None or key in self.outputs

    def may_read(self, name: str, key: str) -> bool:
        reads = self.reads.get(name.partition("[")[0])
        return reads is None or key in reads


KINDS: Sequence[Kind] = (opaque, opaque, structure, structure, small, removed)
UNMERGED: Sequence[Kind] = (opaque, opaque, opaque, small, removed)
RULES = ("", "", "", "ruled", "by task")


@st.composite
def plots(draw: st.DrawFn, *, kinds: Sequence[Kind] = KINDS, rules: Sequence[str] = RULES) -> Plot:
    """Draw workflows in which most tasks write and few fail: so values meet, and are superseded."""
    graph = draw(meetings() | graphs(most=9))
    keys = KEYS[: draw(st.integers(1, 2))]
    writing = st.sampled_from([*kinds, *kinds, None, None, None])
    has_failed = st.sampled_from([False] * 7 + [True])
    wrote = {task: {key: draw(writing) for key in keys} for task, _ in graph}
    rule = {key: draw(st.sampled_from(rules)) for key in keys}
    collected = frozenset(key for key in keys if rule[key] == "by task")
    return Plot(
        graph,
        draw(st.dictionaries(st.sampled_from(keys), st.sampled_from(kinds))),
        {
            task: None if draw(has_failed) else {key: kind for key, kind in writes.items() if kind is not None}
            for task, writes in wrote.items()
        },
        Merging(ruled=collected | {key for key in keys if rule[key] == "ruled"}, collected=collected),
    )


@st.composite
def mapped_plots(draw: st.DrawFn) -> Plot:
    """The same with mapped tasks, many of which follow another one item by item."""
    plot = draw(plots())
    mapped: dict[str, str] = {}
    for task in plan("w", plot.graph).names:
        key = draw(st.sampled_from([None, "items", "items"]))
        if key is not None and is_well_paired(plot.graph, {**mapped, task: key}):
            mapped[task] = key
    return replace(plot, mapped=mapped)


@st.composite
def plots_with_outputs(draw: st.DrawFn, *, mapped: bool = True) -> Plot:
    """The same where some keys aren't wanted at the end, and of some tasks it is known what they look at."""
    plot = draw(mapped_plots() if mapped else plots())
    some = st.frozensets(st.sampled_from(KEYS))
    reads: dict[str, frozenset[str] | None] = {}
    for task, writes in plot.writes.items():
        known = draw(st.none() | some)
        reads[task] = None if known is None else known | {*(writes or ())}
    return replace(plot, outputs=draw(some), reads=reads)


@dataclass
class Play:
    """One run of a plot, to its end: what is submitted, starts, asks and ends when is left to chance.

    `sent` are the large values that open attempts were told of; `made` all that there ever were. Each command is
    checked as it comes: nothing that was released is told, and nothing that is needed is released.
    """

    plot: Plot
    random: Random
    answers: bool = True
    made: set[str] = field(default_factory=set)
    released: set[str] = field(default_factory=set)
    sent: dict[int, set[str]] = field(default_factory=dict)
    whole: dict[int, Slice] = field(default_factory=dict)
    held: list[int] = field(default_factory=list)
    running: list[int] = field(default_factory=list)
    is_over: bool = False

    def __post_init__(self) -> None:
        compiled = plan("w", self.plot.graph)
        given_ = given_versions(self.plot.given)
        self.made |= names_of(version.payload for version in given_.values())
        keys = [self.plot.mapped.get(name) for name in compiled.names]
        ranks = range(len(keys))
        each = paired(compiled, keys, dict.fromkeys(ranks, 1), dict.fromkeys(ranks, ("a",)))
        work = [Work(0, ("a", "b"), each=each.get(rank)) for rank in ranks]
        self.run = Run(
            compiled,
            work,
            given_,
            numbers=count(),
            answers=self.answers,
            merging=self.plot.merging,
            demand=self.plot.demand(compiled.names),
        )
        self.tell(Begin())
        while not self.is_over:
            self.random.choice(self.moves())()

    def moves(self) -> list[Callable[[], None]]:
        moves: list[Callable[[], None]] = [self.submit] if self.run.ready else []
        if self.held:
            moves += [self.start, self.start, self.give_back]
        if self.running:
            moves += [self.end, self.end, self.ask if self.answers else self.read]
        return moves

    def submit(self) -> None:
        self.tell(Room(self.random.randint(1, 3)))

    def start(self) -> None:
        attempt = self.pick(self.held)
        self.running.append(attempt)
        self.tell(Started(attempt))

    def give_back(self) -> None:
        attempt = self.pick(self.held)
        del self.sent[attempt]
        self.tell(Unstarted(attempt))

    def ask(self) -> None:
        attempt = self.random.choice(self.running)
        keys = tuple(self.random.sample(KEYS, self.random.randint(0, 2)))
        self.tell(Wants(attempt, keys, rest=not keys))

    def read(self) -> None:
        """A task that was given its whole slice reads it when it likes."""
        attempt = self.random.choice(self.running)
        self.check_told(self.looked_at(attempt, self.whole[attempt].versions))

    def end(self) -> None:
        attempt = self.pick(self.running)
        if not self.answers:
            self.check_told(self.looked_at(attempt, self.whole[attempt].versions))
        del self.sent[attempt]
        name = self.run.ledger.name(self.run.open_attempts[attempt].rank)
        if name in self.plot.mapped:
            self.expand(attempt, name)
            return
        writes = self.plot.writes[name.partition("[")[0]]
        if writes is None:
            self.tell(failed(attempt) if self.random.random() < 0.5 else lost(attempt))
            return
        diff = {key: kind(f"{name}-{key}") for key, kind in writes.items() if name[-1] != "]" or self.is_likely()}
        self.made |= names_of(diff.values())
        self.tell(done(attempt, **diff))

    def expand(self, attempt: int, name: str) -> None:
        items = [opaque(f"{name}-item-{n}") for n in range(self.random.randint(0, 3))]
        self.made |= names_of(items)
        self.tell(found(attempt, items))

    def is_likely(self) -> bool:
        return self.random.random() < 0.7

    def pick(self, attempts: list[int]) -> int:
        return attempts.pop(self.random.randrange(len(attempts)))

    def tell(self, event: RunEvent | AttemptEvent) -> None:
        for command in tell(self.run, event):
            self.obey(command)
        self.check_told(self.final())

    def obey(self, command: Command) -> None:
        match command:
            case Assignment(attempt=attempt, slice=slice_, items=items):
                self.held.append(attempt)
                self.whole[attempt] = slice_
                self.sent[attempt] = set() if items is None else names_of(items.payloads)
                assert self.sent[attempt].isdisjoint(self.released), "the item was released"
                self.hand(attempt, slice_)
            case Answer(attempt=attempt, slice=slice_):
                self.hand(attempt, slice_)
            case Release(payloads=payloads):
                self.release([name_of(payload) for payload in payloads])
            case Ended():
                self.is_over = True
            case _:
                raise AssertionError(command)

    def hand(self, attempt: int, slice_: Slice) -> None:
        looked_at = self.looked_at(attempt, slice_.versions)
        self.check_told(looked_at)
        self.sent[attempt] |= told_names(looked_at)

    def looked_at(self, attempt: int, versions: Mapping[str, Told]) -> dict[str, Told]:
        """Those of them that the task may look at."""
        name = self.run.ledger.name(self.run.open_attempts[attempt].rank)
        return {key: told for key, told in versions.items() if self.plot.may_read(name, key)}

    def final(self) -> dict[str, Told]:
        return {key: told for key, told in self.run.history.final().items() if self.plot.is_output(key)}

    def check_told(self, versions: Mapping[str, Told]) -> None:
        assert told_names(versions).isdisjoint(self.released), "told of after its release"

    def release(self, names: Sequence[str]) -> None:
        assert len(set(names)) == len(names), "released twice"
        assert self.released.isdisjoint(names), "released twice"
        assert self.standing().isdisjoint(names), "it stands"
        for attempt, sent in self.sent.items():
            assert sent.isdisjoint(names), f"attempt {attempt} may still read it"
        self.released.update(names)

    def standing(self) -> set[str]:
        outputs = {key: writes for key, writes in self.run.history.standing().items() if self.plot.is_output(key)}
        return names_of(write.version.payload for writes in outputs.values() for write in writes)

    def left(self) -> set[str]:
        """What was neither released nor is told in the end."""
        return self.made - self.released - told_names(self.final())


chances = st.integers(0, 1 << 32).map(Random)


@given(plots(), chances, st.booleans())
@deterministic
def test_nothing_that_anybody_may_need_is_released_and_nothing_twice(
    plot: Plot,
    random: Random,
    answers: bool,  # noqa: FBT001 - drawn by hypothesis
) -> None:
    Play(plot, random, answers)


@pytest.mark.timeout(300)
@given(mapped_plots(), chances, st.booleans())
@settings(deterministic, max_examples=400)
def test_nothing_that_an_instance_may_need_is_released_and_nothing_twice(
    plot: Plot,
    random: Random,
    answers: bool,  # noqa: FBT001 - drawn by hypothesis
) -> None:
    Play(plot, random, answers)


@given(plots(kinds=UNMERGED, rules=("", "", "by task")), chances)
@deterministic
def test_of_opaque_values_only_those_are_left_that_the_end_is_told_of(plot: Plot, random: Random) -> None:
    assert Play(plot, random).left() == set()


@given(plots(), chances)
@deterministic
def test_of_all_values_only_those_are_left_that_the_end_is_told_of(plot: Plot, random: Random) -> None:
    assert Play(plot, random).left() == set()


@given(plots(), chances, chances, st.booleans())
@deterministic
def test_the_same_values_are_released_in_whatever_order_tasks_end(
    plot: Plot,
    random: Random,
    other: Random,
    answers: bool,  # noqa: FBT001 - drawn by hypothesis
) -> None:
    assert Play(plot, random).released == Play(plot, other, answers).released


@pytest.mark.timeout(300)
@given(plots_with_outputs(), chances, st.booleans())
@deterministic
def test_with_outputs_nothing_that_anybody_may_look_at_is_released_and_nothing_twice(
    plot: Plot,
    random: Random,
    answers: bool,  # noqa: FBT001 - drawn by hypothesis
) -> None:
    Play(plot, random, answers)


@given(plots_with_outputs(mapped=False), chances)
@deterministic
def test_with_outputs_only_those_values_are_left_that_the_end_is_told_of(plot: Plot, random: Random) -> None:
    assert Play(plot, random).left() == set()


@given(plots_with_outputs(mapped=False), chances, chances, st.booleans())
@deterministic
def test_with_outputs_the_same_values_are_released_in_whatever_order_tasks_end(
    plot: Plot,
    random: Random,
    other: Random,
    answers: bool,  # noqa: FBT001 - drawn by hypothesis
) -> None:
    assert Play(plot, random).released == Play(plot, other, answers).released


# ---- cases that have names -----------------------------------------------------------------------------------------


class ByHand:
    """A run in which every task starts as soon as it can, and ends when the test says so."""

    def __init__(
        self,
        graph: Graph,
        *,
        given: Mapping[str, Kind] | None = None,
        ruled: str = "",
        collected: str = "",
        demand: Demand | None = None,
    ) -> None:
        compiled = plan("w", graph)
        merging = Merging(ruled=frozenset(ruled + collected), collected=frozenset(collected))
        work = [Work(0, (KEY,))] * len(compiled.names)
        self.run = Run(
            compiled, work, given_versions(given or {}), numbers=count(), answers=True, merging=merging, demand=demand
        )
        self.told: dict[str, Told] = {}
        self._attempts: dict[str, int] = {}
        self._tell(Begin())

    def end(self, task: str, kind: Kind | None = None) -> list[str]:
        """The task completes, having written the key, if a kind of value is given. Returns what is released."""
        diff = {} if kind is None else {KEY: kind(task)}
        return self._tell(done(self._attempts[task], **diff))

    def cancel(self) -> list[str]:
        """The run is cancelled; what runs hasn't ended by then."""
        return self._tell(Cancel())

    def fail(self, task: str) -> list[str]:
        return self._tell(failed(self._attempts[task]))

    def final(self) -> set[str]:
        return told_names(self.run.history.final())

    def _tell(self, event: AttemptEvent | Begin | Cancel) -> list[str]:
        commands = [*self.run.handle(event, 0.0), *self.run.handle(Room(len(self.run.states)), 0.0)]
        for command in commands:
            if isinstance(command, Assignment):
                self._attempts[command.task] = command.attempt
                self.told[command.task] = command.slice.versions.get(KEY, ())
                self.run.handle(Started(command.attempt), 0.0)
        released = [command.payloads for command in commands if isinstance(command, Release)]
        return sorted(name_of(payload) for payloads in released for payload in payloads)


LARGE = pytest.mark.parametrize("kind", [opaque, structure])


def chain(length: int) -> Graph:
    return [(f"t{place}", [f"t{place - 1}"] if place else []) for place in range(length)]


@LARGE
def test_in_a_chain_each_value_goes_as_soon_as_the_next_one_is_there(kind: Kind) -> None:
    """So two are there while a task runs, and never more."""
    run = ByHand(chain(100))
    released = [run.end(f"t{place}", kind) for place in range(100)]
    assert released == [[], *([f"t{place}"] for place in range(99))]
    assert run.final() == {"t99"}


@LARGE
def test_what_is_listed_by_all_tasks_goes_once_it_was_replaced_before_them(kind: Kind) -> None:
    graph = [("t0", []), *((f"t{place}", ["t0", f"t{place - 1}"]) for place in range(1, 100))]
    run = ByHand(graph)
    released = [run.end(f"t{place}", kind) for place in range(100)]
    assert released == [[], *([f"t{place}"] for place in range(99))]


@LARGE
def test_a_removal_supersedes_too(kind: Kind) -> None:
    run = ByHand(CHAIN)
    assert [run.end("a", kind), run.end("b", removed), run.end("c")] == [[], ["a"], []]


@LARGE
def test_small_values_are_not_released(kind: Kind) -> None:
    run = ByHand(CHAIN)
    assert [run.end("a", small), run.end("b", kind), run.end("c", small)] == [[], [], ["b"]]


@LARGE
def test_in_a_diamond_a_value_stays_until_the_other_branch_has_ended(kind: Kind) -> None:
    run = ByHand(DIAMOND)
    assert [run.end("root", kind), run.end("left", kind)] == [[], []]
    assert run.end("right") == ["root"]
    assert run.end("join", kind) == ["left"]


@LARGE
def test_in_a_diamond_the_branch_that_reads_may_end_first(kind: Kind) -> None:
    run = ByHand(DIAMOND)
    assert [run.end("root", kind), run.end("right")] == [[], []]
    assert run.end("left", kind) == ["root"]


SIDE_BRANCH: Graph = [
    ("root", []),
    ("next", ["root"]),
    ("after", ["next"]),
    ("side", ["root"]),
    ("aside", ["side"]),
    ("reader", ["aside"]),
]


@LARGE
def test_a_reader_at_the_end_of_a_side_branch_keeps_the_value(kind: Kind) -> None:
    run = ByHand(SIDE_BRANCH)
    assert [run.end("root", kind), run.end("next", kind)] == [[], []]
    assert [run.end(task) for task in ("side", "after", "aside")] == [[], [], []]
    assert [version.payload for version in run.told["reader"]] == [kind("root")]
    assert run.end("reader") == ["root"]


def test_a_write_in_the_side_branch_hides_an_opaque_value_from_all_after_it() -> None:
    run = ByHand(SIDE_BRANCH)
    assert [run.end("root", opaque), run.end("next", opaque)] == [[], []]
    assert run.end("side", opaque) == ["root"]
    assert run.end("aside", opaque) == ["side"]


def test_a_structure_stays_while_the_branches_that_changed_it_may_meet() -> None:
    run = ByHand([*SIDE_BRANCH, ("join", ["after", "reader"])])
    assert [run.end(task, structure) for task in ("root", "next", "side", "aside")] == [[], [], [], []]
    assert [run.end(task) for task in ("after", "reader")] == [[], []]
    assert names_of(version.payload for version in run.told["join"]) == {"root", "next", "side", "aside"}
    assert run.end("join", structure) == ["aside", "next", "root", "side"]


@LARGE
def test_a_value_is_read_behind_a_task_that_failed(kind: Kind) -> None:
    run = ByHand([("root", []), ("other", []), ("next", ["root"]), ("fails", ["root"]), ("reader", ["fails", "other"])])
    assert [run.end("root", kind), run.end("other"), run.end("next", kind), run.fail("fails")] == [[], [], [], []]
    assert [version.payload for version in run.told["reader"]] == [kind("root")]
    assert run.end("reader") == ["root"]


@LARGE
def test_tasks_that_are_skipped_keep_nothing(kind: Kind) -> None:
    run = ByHand(SIDE_BRANCH)
    assert [run.end("root", kind), run.end("next", kind), run.end("after")] == [[], [], []]
    assert run.fail("side") == ["root"]


@LARGE
def test_the_value_of_a_task_that_failed_supersedes_nothing(kind: Kind) -> None:
    run = ByHand(CHAIN)
    assert [run.end("a", kind), run.fail("b")] == [[], []]
    assert run.final() == {"a"}


@LARGE
def test_an_input_is_kept_for_every_root(kind: Kind) -> None:
    run = ByHand([("writer", []), ("after", ["writer"]), ("one", []), ("other", [])], given={KEY: kind})
    assert [run.end("writer", kind), run.end("one"), run.end("after")] == [[], [], []]
    assert run.end("other") == ["input-k"]


@LARGE
def test_an_input_that_nobody_replaced_stands(kind: Kind) -> None:
    run = ByHand(CHAIN, given={KEY: kind})
    assert [run.end(task) for task in "abc"] == [[], [], []]
    assert run.final() == {"input-k"}


@LARGE
def test_rivals_that_a_run_was_given_are_not_released(kind: Kind) -> None:
    """They are parts of a conflict, which has no payload of its own; who gave them keeps them."""
    compiled = plan("w", [("a", [])])
    rivals = Version("one", kind("one")), Version("other", kind("other"))
    given_ = {KEY: Version(INPUT, None, rivals=rivals)}
    run = Run(compiled, [Work(0, ())], given_, numbers=count(), answers=True)
    commands = tell(run, Begin(), Room(1), Started(0), done(0, k=kind("a")))
    assert commands[1:] == [Ended()]


@LARGE
def test_a_rule_may_look_at_everything_until_the_branches_have_met(kind: Kind) -> None:
    run = ByHand(DIAMOND, ruled=KEY)
    assert [run.end(task, kind) for task in ("root", "left", "right")] == [[], [], []]
    assert names_of(version.payload for version in run.told["join"]) == {"root", "left", "right"}
    assert run.end("join", kind) == ["left", "right", "root"]


@LARGE
def test_a_rule_looks_at_everything_at_the_end(kind: Kind) -> None:
    run = ByHand(DIAMOND[:-1], ruled=KEY)
    assert [run.end(task, kind) for task in ("root", "left", "right")] == [[], [], []]
    assert run.final() == {"root", "left", "right"}


@LARGE
def test_what_is_kept_by_task_is_never_released(kind: Kind) -> None:
    run = ByHand(CHAIN, collected=KEY)
    assert [run.end(task, kind) for task in "abc"] == [[], [], []]
    assert run.final() == {"a", "b", "c"}


@LARGE
def test_values_that_were_seen_side_by_side_go_when_they_are_settled(kind: Kind) -> None:
    run = ByHand([("left", []), ("right", []), ("join", ["left", "right"]), ("after", ["join"])])
    assert [run.end("left", kind), run.end("right", kind)] == [[], []]
    assert names_of(version.payload for version in run.told["join"]) == {"left", "right"}
    assert run.end("join", kind) == ["left", "right"]


@LARGE
def test_values_that_were_seen_side_by_side_and_not_settled_stand(kind: Kind) -> None:
    run = ByHand(DIAMOND)
    assert [run.end("root"), run.end("left", kind), run.end("right", kind), run.end("join")] == [[], [], [], []]
    assert run.final() == {"left", "right"}


def test_what_came_before_values_side_by_side_goes_if_merging_cannot_look_into_it() -> None:
    run = ByHand(DIAMOND)
    assert [run.end(task, opaque) for task in ("root", "left", "right")] == [[], [], ["root"]]
    assert [version.payload for version in run.told["join"]] == [NOTHING_TO_MERGE, opaque("left"), opaque("right")]
    assert run.end("join", opaque) == ["left", "right"]


def test_what_came_before_values_side_by_side_stays_if_merging_looks_into_it() -> None:
    run = ByHand(DIAMOND)
    assert [run.end(task, structure) for task in ("root", "left", "right")] == [[], [], []]
    assert names_of(version.payload for version in run.told["join"]) == {"root", "left", "right"}
    assert run.end("join", structure) == ["left", "right", "root"]


SEEN_ALONE_AND_ASIDE: Graph = [
    ("one", []),
    ("other", []),
    ("alone", ["one"]),
    ("settles", ["one", "other"]),
    ("join", ["alone", "settles"]),
]


@pytest.mark.parametrize("ends", [("alone", "settles"), ("settles", "alone")])
def test_what_one_task_replaced_and_another_settled_beside_others_is_still_merged(ends: Sequence[str]) -> None:
    """`settles` saw the values of `one` and `other`: what they came to for it matters at `join`."""
    run = ByHand(SEEN_ALONE_AND_ASIDE)
    assert [run.end(task, opaque) for task in ("one", "other", *ends)] == [[], [], [], []]
    assert names_of(version.payload for version in run.told["join"]) == {"one", "other", "alone", "settles"}
    assert run.end("join", opaque) == ["alone", "one", "other", "settles"]


FORK: Graph = [("a", []), ("reader", ["a"]), ("b", ["a"]), ("left", ["b"]), ("right", ["b"])]


@LARGE
@pytest.mark.parametrize("place", range(4))
def test_what_came_before_a_fork_goes_whenever_its_last_reader_ends(kind: Kind, place: int) -> None:
    """`left` and `right` stand side by side in the end, and start from `b`: nobody is told of `a` any more."""
    run = ByHand(FORK)
    written = ["b", "left", "right"]
    released = run.end("a", kind)
    for task in (*written[:place], "reader", *written[place:]):
        released += run.end(task, None if task == "reader" else kind)
    assert "a" not in run.final()
    assert "a" in released


SEVERAL_REPLACE: Graph = [
    ("root", []),
    *((f"replaces{place}", ["root"]) for place in range(8)),
    *((f"after{place}", ["root", f"replaces{place}"]) for place in range(8)),
    *((f"later{place}", ["root", f"after{place}"]) for place in range(8)),
]


def test_what_several_branches_replace_goes_with_the_last_write_though_later_tasks_list_the_first_one() -> None:
    run = ByHand(SEVERAL_REPLACE)
    assert run.end("root", opaque) == []
    assert [run.end(f"replaces{place}", opaque) for place in range(8)] == [*[[]] * 7, ["root"]]


@LARGE
@pytest.mark.parametrize("reads", [None, frozenset(KEY)])
def test_what_runs_on_when_all_else_was_cancelled_may_read(kind: Kind, reads: frozenset[str] | None) -> None:
    run = ByHand(CHAIN, demand=Demand(frozenset(), [reads] * 3))
    assert [run.end("a", kind), run.cancel(), run.end("b")] == [[], [], ["a"]]


@LARGE
def test_what_nobody_asks_for_goes_at_once(kind: Kind) -> None:
    run = ByHand(CHAIN, given={KEY: kind}, demand=Demand(frozenset(), [frozenset(KEY), frozenset(), frozenset(KEY)]))
    assert [run.end("a"), run.end("b"), run.end("c")] == [[], [], ["input-k"]]
    run = ByHand(CHAIN, demand=Demand(frozenset(), [frozenset()] * 3))
    assert run.end("a", kind) == ["a"]


# ---- stencils: each task depends on its neighbours, and few of those that come after a value directly ---------------


def stencil(tiles: int, steps: int) -> Graph:
    def near(tile: int) -> list[int]:
        return sorted({(tile + aside) % tiles for aside in (-1, 0, 1)})

    return [
        (f"{step}/{tile}", [f"{step - 1}/{one}" for one in near(tile)] if step else [])
        for step in range(steps)
        for tile in range(tiles)
    ]


def most_alive(graph: Graph, kind: Kind, random: Random) -> int:
    """How many large values there are at most, where each task replaces that of its tile; by chance, one goes first."""
    compiled = plan("w", graph)
    tiles = {task.partition("/")[2]: kind for task, _ in graph}
    run = Run(compiled, [Work(0, ())] * len(graph), given_versions(tiles), numbers=count(), answers=True)
    running: list[tuple[int, str]] = []
    alive = most = len(tiles)
    commands = run.handle(Begin(), 0.0)
    while not any(isinstance(command, Ended) for command in commands):
        for command in run.handle(Room(2 - len(running)), 0.0):
            assert isinstance(command, Assignment)
            run.handle(Started(command.attempt), 0.0)
            running.append((command.attempt, command.task))
        attempt, task = running.pop(random.randrange(len(running)))
        alive += 1
        most = max(most, alive)
        commands = run.handle(done(attempt, **{task.partition("/")[2]: kind(task)}), 0.0)
        alive -= sum(len(command.payloads) for command in commands if isinstance(command, Release))
    return most


@LARGE
@pytest.mark.parametrize("tiles", [4, 8, 24])
def test_a_stencil_keeps_as_many_values_however_long_it_goes_on(kind: Kind, tiles: int) -> None:
    short, long = (most_alive(stencil(tiles, steps), kind, Random(1)) for steps in (2 * tiles, 6 * tiles))
    assert long <= short <= tiles * (tiles // 2 + 3)


# ---- what it costs -------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every question whether a task comes before another, one entry each."""
    questions: list[int] = []
    ask = Ancestry.is_known_above

    def counting(self: Ancestry, ancestor: int, task: int) -> bool:
        questions.append(task)
        return ask(self, ancestor, task)

    monkeypatch.setattr(Ancestry, "is_known_above", counting)
    return questions


READERS = 1000


@LARGE
@pytest.mark.parametrize("step", [1, -1])
@pytest.mark.parametrize("first", [0, READERS // 2, READERS])
def test_many_readers_are_looked_at_a_few_times_each(asked: list[int], kind: Kind, step: int, first: int) -> None:
    """Among them one replaces the value: before, in the midst of, or after the ends of the others."""
    readers = [f"r{place}" for place in range(READERS)][::step]
    run = ByHand([("root", []), ("next", ["root"]), *((reader, ["root"]) for reader in sorted(readers))])
    assert run.end("root", kind) == []
    asked.clear()
    released = [run.end(reader) for reader in readers[:first]]
    released.append(run.end("next", kind))
    released += [run.end(reader) for reader in readers[first:]]
    assert released == [[]] * READERS + [["root"]]
    assert len(asked) < 8 * READERS


@LARGE
def test_readers_of_the_old_value_and_of_the_new_one_are_looked_at_a_few_times_each(
    asked: list[int], kind: Kind
) -> None:
    graph: list[tuple[str, Sequence[str]]] = [("root", []), ("next", ["root"])]
    graph += [(f"{name}{place}", [name]) for place in range(READERS) for name in ("root", "next")]
    run = ByHand(graph)
    assert [run.end("root", kind), run.end("next", kind)] == [[], []]
    asked.clear()
    released = [run.end(f"{name}{place}") for place in range(READERS) for name in ("next", "root")]
    assert released == [[]] * (2 * READERS - 1) + [["root"]]
    assert len(asked) < 16 * READERS


# ---- what merging is told of values that may be gone ---------------------------------------------------------------


def recorded(
    graph: Graph, wrote: Mapping[str, bytes | None], given_: Mapping[str, Version], ruled: str = ""
) -> History:
    history = History(plan("w", graph), given_, ruled=frozenset(ruled))
    for rank, task in enumerate(plan("w", graph).names):
        if task in wrote:
            history.record(rank, {KEY: wrote[task]})
    return history


def payloads_told(history: History, task: int) -> dict[str, bytes | None]:
    return {version.writer: version.payload for version in history.versions(task, KEY)}


REPLACED: Graph = [
    ("root", []),
    ("left", ["root"]),
    ("later", ["left"]),
    ("right", ["root"]),
    ("join", ["later", "right"]),
]


def told_at_the_join(kind: Kind, ruled: str = "") -> dict[str, bytes | None]:
    wrote = {task: kind(task) for task in ("root", "left", "later", "right")}
    return payloads_told(recorded(REPLACED, wrote, {}, ruled), 4)


def test_none_is_told_in_place_of_an_opaque_value_that_was_replaced() -> None:
    assert decode(NOTHING_TO_MERGE) is None
    assert told_at_the_join(opaque) == {
        "root": NOTHING_TO_MERGE,
        "left": NOTHING_TO_MERGE,
        "later": opaque("later"),
        "right": opaque("right"),
    }


@pytest.mark.parametrize("kind", [structure, small])
def test_structures_and_small_values_that_were_replaced_are_told(kind: Kind) -> None:
    assert told_at_the_join(kind) == {task: kind(task) for task in ("root", "left", "later", "right")}


def test_a_rule_is_told_everything() -> None:
    assert told_at_the_join(opaque, ruled=KEY) == {task: opaque(task) for task in ("root", "left", "later", "right")}


def test_opaque_values_that_a_writer_saw_side_by_side_are_told() -> None:
    wrote = {task: opaque(task) for task, _ in SEEN_ALONE_AND_ASIDE[:-1]}
    assert payloads_told(recorded(SEEN_ALONE_AND_ASIDE, wrote, {}), 4) == wrote


@dataclass
class Twins:
    """The history of a tale, with all payloads inline, and with those of opaque values, and some others, as references.

    `inline` has what the references stand for: merging is tried without any file.
    """

    tale: Tale
    random: Random
    inline: dict[bytes, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        told = Reference(self.tale)
        wrote = {task: self.encoded(value) for task, value in told.wrote.items()}
        offered = [self.encoded(value) for value in self.tale.given]
        large = {task: self.stored(task, payload, told.wrote[task]) for task, payload in wrote.items()}
        places = enumerate(zip(offered, self.tale.given, strict=True))
        stored = [self.stored(f"given {place}", payload, value) for place, (payload, value) in places]
        self.plain = recorded(self.tale.graph, wrote, self.inputs(offered))
        self.referred = recorded(self.tale.graph, large, self.inputs(stored))

    def encoded(self, value: Any) -> bytes | None:
        return None if value is ABSENT else encode(value)

    def stored(self, name: str, payload: bytes | None, value: Any) -> bytes | None:
        """Half of the lists and dicts are large too."""
        is_structure = isinstance(value, (list, dict))
        if payload is None or (is_structure and self.random.random() < 0.5):
            return payload
        stored = structure(name) if is_structure else opaque(name)
        self.inline[stored] = payload
        return stored

    def inputs(self, payloads: Sequence[bytes | None]) -> dict[str, Version]:
        versions = tuple(Version(f"earlier {place}", payload) for place, payload in enumerate(payloads))
        if len(versions) > 1:
            return {KEY: Version(INPUT, None, rivals=versions)}
        return {KEY: Version(INPUT, payloads[0])} if payloads else {}

    def opened(self, told: Told) -> Told:
        return tuple(
            structs.replace(
                version,
                payload=self.inline.get(version.payload or b"", version.payload),
                rivals=self.opened(version.rivals),
            )
            for version in told
        )

    def merged(self, told: Told) -> Settled | Conflict | None:
        on_conflict: Any = None if self.tale.on_conflict == "keep" else self.tale.on_conflict
        return settle(KEY, told, Rules(on_conflict=on_conflict)) if told else None

    def views(self) -> Iterable[tuple[Told, Told]]:
        """What each task is told, and then the end: the plain one, and the one with references."""
        for rank in range(len(self.tale.graph)):
            yield self.plain.versions(rank, KEY), self.referred.versions(rank, KEY)
        yield self.plain.final().get(KEY, ()), self.referred.final().get(KEY, ())


def shape(merged: Settled | Conflict | None) -> object:
    """All that a merge comes to; a conflict's cause by what it says."""
    if not isinstance(merged, Conflict):
        return merged
    values = [(candidate.writer, candidate.payload) for candidate in merged.versions]
    return values, [version.writer for version in merged.writers], merged.shown, merged.path, repr(merged.cause)


@given(tales(rules=st.none()), chances)
@deterministic
def test_merging_does_not_miss_the_values_that_it_is_not_told(tale: Tale, random: Random) -> None:
    twins = Twins(tale, random)
    for plain, referred in twins.views():
        assert [version.writer for version in referred] == [version.writer for version in plain]
        assert [version.writer for version in candidates_of(referred)] == [
            version.writer for version in candidates_of(plain)
        ]
        assert shape(twins.merged(twins.opened(referred))) == shape(twins.merged(plain))
