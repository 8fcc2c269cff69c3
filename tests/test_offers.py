"""What has become ready is offered to attempts of other executions before it is submitted."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
from msgspec.structs import replace
from tests.reference import Graph
from tests.runs import CHAIN, DIAMOND, done, failed, found, tell
from tests.test_resuming import finished

from cloaca.engine.events import Begin, Cancel, Command, Ended, Room
from cloaca.engine.facts import Fact, RunFinished, TaskExpanded, TaskFinished
from cloaca.engine.fan import Each
from cloaca.engine.looks import Looks
from cloaca.engine.run import Run
from cloaca.engine.seats import Seats
from cloaca.engine.work import Limits, Merging, Work
from cloaca.errors import INPUT, InternalError
from cloaca.history.plan import plan
from cloaca.testing import NO_USAGE
from cloaca.values.codec import encode
from cloaca.wire.messages import Assignment, Done, ItemsFound, Looked, Started, Version


def content(payload: bytes) -> bytes:
    return b"of " + payload


@dataclass
class Kept:
    looks: Looks
    done: Done | None
    nth: int = 1
    ended: int = 0
    origin: str = "e1"

    def report(self) -> Done | None:
        return self.done


@dataclass
class Shelf:
    """What can be taken over, by task."""

    kept: dict[str, list[Kept]] = field(default_factory=dict)
    asked: list[tuple[str, int | None]] = field(default_factory=list)

    def candidates(self, task: str, item: int | None, item_digest: bytes) -> Iterable[Kept]:
        self.asked.append((task, item))
        return [one for one in self.kept.get(task, ()) if one.looks.item == item_digest]

    def why_none(self, task: str, item: int | None) -> str:
        return f"never ran: {task} {item}"


def run_of(graph: Graph, shelf: Shelf | None, given: Mapping[str, bytes] | None = None, **of_run: Any) -> Run:
    compiled = plan("w", graph)
    inputs = {key: Version(INPUT, payload) for key, payload in (given or {}).items()}
    work = of_run.pop("work", [Work(rank, ()) for rank in range(len(compiled.names))])
    run = Run(compiled, work, inputs, numbers=count(), answers=True, content=content, reuse=shelf, **of_run)
    run.listen()
    return run


def recorded(
    graph: Graph,
    diffs: Mapping[str, Mapping[str, bytes | None]],
    looked: Mapping[str, Looked] | None = None,
    given: Mapping[str, bytes] | None = None,
    **of_run: Any,
) -> Shelf:
    """What a run leaves in which tasks set that, and looked there."""
    run = run_of(graph, None, given, **of_run)
    commands = tell(run, Begin(), Room(9))
    while commands and not isinstance(commands[-1], Ended):
        begun = commands[0]
        assert isinstance(begun, Assignment)
        end = replace(done(begun.attempt, **diffs.get(begun.task, {})), looked=(looked or {}).get(begun.task, Looked()))
        commands = [*commands[1:], *tell(run, end, Room(9))]
    return shelf_of(run.facts())


def shelf_of(facts: Sequence[Fact]) -> Shelf:
    ends = [fact for fact in facts if isinstance(fact, TaskFinished) and fact.looks is not None]
    return Shelf({fact.task: [Kept(fact.looks or Looks(), Done(0, dict(fact.diff), NO_USAGE))] for fact in ends})


def submitted(commands: Iterable[Command]) -> list[str]:
    return [command.task for command in commands if isinstance(command, Assignment)]


def taken(run: Run) -> list[str]:
    facts = [fact for fact in run.facts() if isinstance(fact, TaskFinished | TaskExpanded) and fact.reused]
    assert all(fact.origin == "e1" for fact in facts)
    return [fact.task for fact in facts]


READS = {"b": Looked(("x",)), "c": Looked(("y",))}
SETS: Mapping[str, Mapping[str, bytes | None]] = {"a": {"x": b"1"}, "b": {"y": b"2"}, "c": {"z": b"3"}}


def test_a_run_of_which_nothing_has_changed_ends_as_it_begins() -> None:
    run = run_of(CHAIN, recorded(CHAIN, SETS, READS))
    assert tell(run, Begin()) == [Ended()]
    assert run.history.final()["z"] == (Version("c", b"3"),)
    assert taken(run) == ["a", "b", "c"]
    assert not run.reasons


def test_what_runs_again_and_leaves_what_it_left_makes_nothing_behind_it_run() -> None:
    shelf = recorded(CHAIN, SETS, READS)
    del shelf.kept["a"]
    run = run_of(CHAIN, shelf)
    (begun,) = tell(run, Begin(), Room(9))
    assert isinstance(begun, Assignment)
    assert run.reasons["a", None] == "never ran: a None"
    assert tell(run, done(begun.attempt, x=b"1")) == [Ended()]
    again = run_of(CHAIN, shelf)
    tell(again, Begin(), Room(9))
    assert submitted(tell(again, done(0, x=b"9"), Room(9))) == ["b"]
    assert again.reasons["b", None] == "key 'x' differs (set by a)"
    assert tell(again, done(1, y=b"2")) == [Ended()]


@pytest.mark.parametrize(
    ("looked", "before", "now", "reason"),
    [
        (Looked(("k",)), {"k": b"1"}, {"k": b"2"}, "key 'k' differs (given to the run)"),
        (Looked(("k",)), {"k": b"1"}, {}, "key 'k' is gone"),
        (Looked(("k",)), {}, {"k": b"1"}, "key 'k' is there now"),
        (Looked(presence=("k",)), {"k": b"1"}, {}, "key 'k' is gone"),
        (Looked(presence=("k",)), {}, {"k": b"1"}, "key 'k' is there now"),
        (Looked(every_key=True), {}, {"k": b"1"}, "the set of keys differs"),
    ],
)
def test_the_reason_tells_what_is_another_thing_now(
    looked: Looked, before: Mapping[str, bytes], now: Mapping[str, bytes], reason: str
) -> None:
    shelf = recorded([("a", [])], {}, {"a": looked}, before)
    run = run_of([("a", [])], shelf, now)
    assert submitted(tell(run, Begin(), Room(1))) == ["a"]
    assert run.reasons == {("a", None): reason}
    assert tell(run_of([("a", [])], shelf, {**before, "other": b"1"} if not looked.every_key else before), Begin()) == [
        Ended()
    ]


def test_where_no_conflict_may_be_a_key_that_several_set_now_counts() -> None:
    """The join has looked at nothing: but it couldn't begin now, if these don't agree."""
    sets: Mapping[str, Mapping[str, bytes | None]] = {"left": {"k": b"1"}}
    shelf = recorded(DIAMOND, sets, merging=Merging(unanimous=True))
    assert tell(run_of(DIAMOND, shelf, merging=Merging(unanimous=True)), Begin()) == [Ended()]
    del shelf.kept["right"]
    run = run_of(DIAMOND, shelf, merging=Merging(unanimous=True))
    (begun,) = tell(run, Begin(), Room(9))
    assert isinstance(begun, Assignment)
    assert submitted(tell(run, done(begun.attempt, k=b"2"), Room(9))) == ["join"]
    assert run.reasons["join", None] == "several tasks before it have set key 'k'"


def test_an_outcome_that_was_asked_for_counts() -> None:
    graph: Graph = [("a", []), ("b", ["a"])]
    work = [Work(0, ()), Work(1, (), rule="all_done")]
    shelf = recorded(graph, {}, {"b": Looked(outcomes=("a",)), "a": Looked(("k",))}, work=work)
    run = run_of(graph, shelf, {"k": b"1"}, work=work)
    tell(run, Begin(), Room(1))
    assert submitted(tell(run, failed(0), Room(1))) == ["b"]
    assert run.reasons["b", None] == "outcome of 'a' differs"


def test_the_seed_counts_for_who_has_drawn_and_so_does_which_try_it_was() -> None:
    shelf = recorded([("a", [])], {}, {"a": Looked(seed=True)}, seed=5)
    assert tell(run_of([("a", [])], shelf, seed=5), Begin()) == [Ended()]
    other = run_of([("a", [])], shelf, seed=6)
    tell(other, Begin())
    assert other.reasons["a", None] == "the seed differs"
    shelf.kept["a"][0].ended = 1
    later = run_of([("a", [])], shelf, seed=5)
    tell(later, Begin())
    assert later.reasons["a", None].startswith("the seed differs")


def test_the_attempt_of_which_all_holds_is_taken_whichever_that_is() -> None:
    old = recorded([("a", [])], {"a": {"r": b"old"}}, {"a": Looked(("k",))}, {"k": b"1"}).kept["a"]
    new = recorded([("a", [])], {"a": {"r": b"new"}}, {"a": Looked(("k",))}, {"k": b"2"}).kept["a"]
    run = run_of([("a", [])], Shelf({"a": [*new, *old]}), {"k": b"1"})
    assert tell(run, Begin()) == [Ended()]
    assert run.history.final()["r"] == (Version("a", b"old"),)


def test_an_attempt_whose_values_are_gone_holds_no_more() -> None:
    run = run_of([("a", [])], Shelf({"a": [Kept(Looks(), None)]}))
    assert submitted(tell(run, Begin(), Room(1))) == ["a"]
    assert run.reasons["a", None] == "what its attempt has left is gone"


def test_what_was_found_out_of_keys_counts_only_where_their_values_were_looked_at() -> None:
    settled = {"k": Version("m", b"merged"), "l": Version("m", b"old")}
    sets: Mapping[str, Mapping[str, bytes | None]] = {
        task: {"k": task.encode(), "l": task.encode()} for task in ("left", "right")
    }
    shelf = recorded(DIAMOND, sets, {"join": Looked(("k",), ("l",))})
    (kept,) = shelf.kept["join"]
    assert kept.done is not None
    kept.done = replace(kept.done, settled=settled)
    graph: Graph = [*DIAMOND, ("end", ["join"])]
    run = run_of(graph, shelf)
    tell(run, Begin())
    assert len(run.history.versions(4, "k")) == 1
    assert len(run.history.versions(4, "l")) == 2


def test_only_what_nothing_can_stand_for_goes_ahead_in_a_chain() -> None:
    shelf = Shelf()
    run = run_of(CHAIN, shelf)
    assert submitted(tell(run, Begin(), Room(9, chain=9))) == ["a", "b", "c"]
    assert [*run.reasons] == [("a", None), ("b", None), ("c", None)]
    known = recorded(CHAIN, SETS, READS)
    del known.kept["a"], known.kept["b"]
    run = run_of(CHAIN, known)
    assert submitted(tell(run, Begin(), Room(9, chain=9))) == ["a", "b"]
    assert tell(run, done(0, x=b"1"), done(1, y=b"2")) == [Ended()]
    assert taken(run) == ["c"]


def test_each_is_offered_once_also_if_it_is_tried_again() -> None:
    shelf = Shelf()
    run = run_of(CHAIN, shelf)
    tell(run, Begin(), Room(1))
    tell(run, Started(0))
    tell(run, done(0), Room(1), Cancel())
    assert shelf.asked == [("a", None), ("b", None)]


def test_what_is_taken_over_needs_no_seat_and_lets_no_run_wait() -> None:
    seats, elsewhere = Seats({"db": 1}), object()
    seats.take((("db", 1),), 99, elsewhere)
    graph: Graph = [("a", []), ("b", [])]
    work = [Work(rank, (), share=(("db", 1),)) for rank in range(2)]
    shelf = recorded(graph, {}, work=work, seats=Seats({"db": 1}))
    assert tell(run_of(graph, shelf, work=work, seats=seats), Begin()) == [Ended()]


def test_a_run_that_is_to_fail_fast_goes_on_with_what_is_taken_over() -> None:
    run = run_of(CHAIN, recorded(CHAIN, SETS, READS), limits=Limits(fail_fast=True))
    assert tell(run, Begin()) == [Ended()]


def test_a_run_that_is_not_recorded_can_take_over_nothing() -> None:
    with pytest.raises(InternalError, match="isn't recorded"):
        Run(plan("w", CHAIN), [Work(0, ())] * 3, {}, numbers=count(), answers=True, reuse=Shelf())


# ---- with what is given --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("left", "runs"), [(b"1", []), (b"7", ["b"])])
def test_what_can_not_be_gone_on_with_is_offered(left: bytes, runs: list[str]) -> None:
    """The first task is made anew. If it leaves what it left, those behind it count that have ended before."""
    shelf = recorded(CHAIN, SETS, READS)
    given = [finished("b", y=b"2"), finished("c", z=b"3")]
    run = run_of(CHAIN, Shelf({task: shelf.kept[task] for task in "bc"}), earlier=given)
    (begun,) = tell(run, Begin(), Room(9))
    assert isinstance(begun, Assignment)
    assert begun.task == "a"
    assert submitted(tell(run, done(begun.attempt, x=left), Room(9))) == runs


def test_what_was_given_is_not_offered() -> None:
    shelf = Shelf()
    run = run_of(CHAIN, shelf, earlier=[finished("a", x=b"1")])
    tell(run, Begin())
    assert shelf.asked == [("b", None)]


def test_after_what_was_given_come_those_that_are_taken_over() -> None:
    shelf = recorded(CHAIN, SETS, READS)
    run = run_of(CHAIN, shelf, earlier=[finished("a", x=b"1")])
    assert tell(run, Begin()) == [Ended()]
    facts = [fact for fact in run.facts() if isinstance(fact, TaskFinished)]
    assert [(fact.task, fact.origin) for fact in facts] == [("a", ""), ("b", "e1"), ("c", "e1")]


# ---- fingerprints --------------------------------------------------------------------------------------------------


def with_fingerprint(fingerprint: bytes) -> tuple[Run, Assignment]:
    work = [Work(0, (), fingerprint=7)]
    shelf = recorded([("a", [])], {"a": {"r": b"1"}}, {"a": Looked(fingerprint=fingerprint)}, work=work)
    run = run_of([("a", [])], shelf, work=work)
    (begun,) = tell(run, Begin(), Room(1))
    assert isinstance(begun, Assignment)
    return run, begun


def test_what_a_fingerprint_would_have_to_be_is_told_to_the_attempt() -> None:
    run, begun = with_fingerprint(b"f")
    assert (begun.fingerprint, begun.unless) == (7, b"f")
    assert run.reasons["a", None] == "its fingerprint differs"
    held = replace(done(begun.attempt), looked=Looked(fingerprint=b"f"), is_held=True)
    assert tell(run, held) == [Ended()]
    assert run.history.final()["r"] == (Version("a", b"1"),)
    assert taken(run) == ["a"]
    assert not run.reasons


def test_nothing_goes_ahead_behind_a_task_for_which_an_attempt_may_stand() -> None:
    graph, work = CHAIN[:2], [Work(0, (), fingerprint=7), Work(1, ())]
    shelf = recorded(graph, {}, {"a": Looked(fingerprint=b"f")}, work=work)
    del shelf.kept["b"]
    assert submitted(tell(run_of(graph, shelf, work=work), Begin(), Room(9, chain=9))) == ["a"]


def test_where_the_fingerprint_is_another_one_the_task_has_run() -> None:
    run, begun = with_fingerprint(b"f")
    assert tell(run, replace(done(begun.attempt, r=b"2"), looked=Looked(fingerprint=b"g"))) == [Ended()]
    assert run.history.final()["r"] == (Version("a", b"2"),)
    assert taken(run) == []
    assert run.reasons["a", None] == "its fingerprint differs"


# ---- mapped tasks --------------------------------------------------------------------------------------------------

MAPPED = [Work(0, (), each=Each("k", 7)), Work(1, (), each=Each("k", 7, follows=0))]
ROW: Graph = [("m", []), ("n", ["m"])]


def mapped(shelf: Shelf, items: Sequence[bytes], work: Sequence[Work] = MAPPED) -> tuple[Run, list[Command]]:
    run = run_of(ROW[: len(work)], shelf, work=[*work])
    tell(run, Begin(), Room(1))
    return run, tell(run, found(0, items))


def recorded_items(work: Sequence[Work] = MAPPED) -> Shelf:
    """Each instance of the first task sets `r` to its item, and each of the second one `s`, having read `r`."""
    run, commands = mapped(Shelf(), [b"\x01", b"\x02", b"\x03"], work)
    commands = tell(run, Room(99))
    while commands and not isinstance(commands[-1], Ended):
        begun = commands.pop(0)
        assert isinstance(begun, Assignment)
        assert begun.items is not None
        key, looked = ("r", Looked()) if begun.task.startswith("m") else ("s", Looked(("r",)))
        end = replace(done(begun.attempt, **{key: begun.items.payloads[0]}), looked=looked)
        commands += tell(run, end, Room(99))
    kept: dict[str, list[Kept]] = {}
    for fact in run.facts():
        if isinstance(fact, TaskFinished) and fact.looks is not None:
            kept.setdefault(fact.task, []).append(Kept(fact.looks, Done(0, dict(fact.diff), NO_USAGE)))
    return Shelf(kept)


def test_instances_are_taken_over_one_by_one_wherever_their_items_stand() -> None:
    run, commands = mapped(recorded_items(), [b"\x03", b"\x04", b"\x01"])
    assert commands == []
    assert run.reasons["m", 1] == "never ran: m 1"
    (first,) = tell(run, Room(9))
    assert isinstance(first, Assignment)
    (second,) = tell(run, done(first.attempt, r=b"\x04"), Room(9))
    assert isinstance(second, Assignment)
    assert [first.task, second.task] == ["m[1]", "n[1]"]
    assert tell(run, done(second.attempt, s=b"\x04")) == [Ended()]
    final = run.history.final()
    assert [final[key][0].payload for key in "rs"] == [encode([3, 4, 1])] * 2


def test_of_a_mapped_task_the_items_are_taken_over_too() -> None:
    shelf = recorded_items()
    told = Done(0, {}, NO_USAGE, items=ItemsFound([b"\x01", b"\x02"]))
    shelf.kept = {**shelf.kept, "m": [*shelf.kept["m"], Kept(Looks(), told)]}
    run = run_of(ROW, shelf, work=MAPPED)
    assert tell(run, Begin()) == [Ended()]
    assert run.history.final()["s"][0].payload == encode([1, 2])
    facts = [fact for fact in run.facts() if isinstance(fact, TaskExpanded | TaskFinished | RunFinished)]
    assert [fact.origin for fact in facts if isinstance(fact, TaskExpanded)] == ["e1", ""]
    assert sum(isinstance(fact, TaskFinished) and fact.origin == "e1" for fact in facts) == 4


def test_instances_that_are_not_taken_over_run_together() -> None:
    work = MAPPED[:1]
    run, _ = mapped(recorded_items(work), [bytes([n % 120]) for n in range(4000)], work)
    sizes = []
    while (commands := tell_quickly(run, Room(64, grain=64))) and not isinstance(commands[-1], Ended):
        for begun in commands:
            assert isinstance(begun, Assignment)
            sizes.append(begun.size)
            for _ in range(begun.size):
                run.handle(done(begun.attempt, r=b"\x01"), 0.0)
    assert max(sizes) > 30


def tell_quickly(run: Run, event: Room) -> list[Command]:
    return [*run.handle(event, 0.0)]


def test_instances_with_a_fingerprint_go_one_by_one() -> None:
    work = [replace(MAPPED[0], fingerprint=7)]
    run, _ = mapped(Shelf(), [b"\x01"] * 40, work)
    for _ in range(5):
        assert len(submitted(tell(run, Room(8, grain=8)))) == 8


# ---- growth --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 20])
def test_taking_over_takes_steps_in_proportion_to_the_tasks(width: int) -> None:
    """A chain, or layers in each of which each task writes a key that the next layer reads, merged."""

    def steps(tasks: int) -> tuple[int, int]:
        names = [f"t{n}" for n in range(tasks)]
        graph: Graph = [
            (name, [names[m] for m in range(n - n % width - width, n - n % width)] if n >= width else [])
            for n, name in enumerate(names)
        ]
        diffs: Mapping[str, Mapping[str, bytes | None]] = {name: {"k": name.encode()} for name in names}
        shelf = recorded_quickly(graph, diffs)
        run = run_of(graph, shelf)
        assert [*run.handle(Begin(), 0.0)] == [Ended()]
        looking = run._looking
        assert looking is not None
        return run.history.steps + looking.steps, len(shelf.asked)

    (few, asked), (many, asked_more) = steps(400), steps(1600)
    assert (asked, asked_more) == (400, 1600)
    assert many < 5 * few


def recorded_quickly(graph: Graph, diffs: Mapping[str, Mapping[str, bytes | None]]) -> Shelf:
    run = run_of(graph, None)
    commands = [*run.handle(Begin(), 0.0), *run.handle(Room(9), 0.0)]
    while commands and not isinstance(commands[-1], Ended):
        begun = commands.pop(0)
        assert isinstance(begun, Assignment)
        end = replace(done(begun.attempt, **diffs[begun.task]), looked=Looked(("k",)))
        commands += [*run.handle(end, 0.0), *run.handle(Room(9), 0.0)]
    return shelf_of(run.facts())


def test_a_long_chain_is_taken_over_without_recursion() -> None:
    names = [f"t{n}" for n in range(100_000)]
    graph: Graph = [(name, names[n - 1 : n] if n else []) for n, name in enumerate(names)]
    shelf = Shelf({name: [Kept(Looks(), done(0))] for name in names})
    assert [*run_of(graph, shelf).handle(Begin(), 0.0)] == [Ended()]
