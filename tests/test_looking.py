"""What an attempt has looked at is told with its end, as digests that come out alike wherever the same things stand."""

from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from random import Random

import pytest
from msgspec.structs import replace
from tests.reference import Graph
from tests.runs import DIAMOND, done, failed, found, tell

from cloaca.engine.events import Begin, Room
from cloaca.engine.facts import TaskExpanded, TaskFinished
from cloaca.engine.fan import Each
from cloaca.engine.looks import Looks
from cloaca.engine.run import Run
from cloaca.engine.work import Merging, Work
from cloaca.errors import INPUT
from cloaca.history.passing import Source
from cloaca.history.plan import plan
from cloaca.history.told_digests import Combining
from cloaca.values.blobs import LARGE, Blob, reference
from cloaca.values.codec import encode
from cloaca.values.composite import collected
from cloaca.values.digest import Digests
from cloaca.wire.messages import Assignment, Done, Failed, Looked, Version

Behaviour = Mapping[str, Mapping[str, bytes | None]]
SUM = Merging(ruled=frozenset("a"))
BY_TASK = Merging(ruled=frozenset("a"), collected=frozenset("a"))


def looks_of(
    graph: Graph,
    task: str,
    looked: Looked,
    behaviour: Behaviour,
    *,
    given: Mapping[str, bytes] | None = None,
    fails: Sequence[str] = (),
    merging: Merging | None = None,
    combining: Combining | None = None,
    seed: int = 0,
    order: int = 0,
) -> Looks:
    """What the task is told to have found that has looked there, in a run whose tasks end in some order."""
    compiled, random = plan("w", graph), Random(order)
    run = Run(
        compiled,
        [Work(0, (), rule="all_done") for _ in graph],
        {key: Version(INPUT, payload) for key, payload in (given or {}).items()},
        numbers=count(),
        answers=True,
        merging=merging,
        seed=seed,
        content=Digests().of,
        combining=combining,
    )
    run.listen()
    commands = tell(run, Begin(), Room(9))
    held = [command for command in commands if isinstance(command, Assignment)]
    while held:
        begun = held.pop(random.randrange(len(held)))
        assert begun.noting is not None
        end = done(begun.attempt, **behaviour.get(begun.task, {}))
        report: Done | Failed = replace(end, looked=looked) if begun.task == task else end
        if begun.task in fails:
            report = failed(begun.attempt)
        elif random.random() < 0.5 and order:
            settle_all(run, compiled.rank[begun.task])
        commands = tell(run, report, Room(9))
        held += [command for command in commands if isinstance(command, Assignment)]
    (fact,) = [fact for fact in run.facts() if isinstance(fact, TaskFinished) and fact.task == task]
    assert fact.looks is not None
    return fact.looks


def settle_all(run: Run, rank: int) -> None:
    """Somebody has read all keys there, and tells what those of several versions come to."""
    run.history.settle(rank, {key: Version("x", b"settled") for key in run.history.whole(rank)})


READS = Looked(values=("a",))
LEFT_AND_RIGHT: Behaviour = {"left": {"a": b"1"}, "right": {"a": b"2"}}


def test_a_value_is_told_by_what_it_is_and_who_wrote_it() -> None:
    chain = [("one", []), ("two", []), ("reads", ["one", "two"])]
    by_one = looks_of(chain, "reads", READS, {"one": {"a": b"1"}})
    assert by_one == looks_of(chain, "reads", READS, {"one": {"a": b"1"}, "two": {"b": b"2"}})
    assert by_one != looks_of(chain, "reads", READS, {"one": {"a": b"2"}})
    assert by_one != looks_of(chain, "reads", READS, {"two": {"a": b"1"}})


def test_what_is_absent_is_told_as_nothing_whether_it_was_removed_or_never_there() -> None:
    never = looks_of(DIAMOND, "join", READS, {})
    assert never.values == {"a": b""}
    assert never == looks_of(DIAMOND, "join", READS, {"left": {"a": None}}, given={"a": b"1"})


@pytest.mark.parametrize("merging", [None, SUM, BY_TASK])
def test_several_versions_are_told_alike_whatever_came_first_and_was_merged_meanwhile(merging: Merging | None) -> None:
    graph: Graph = [
        *DIAMOND,
        ("l2", ["join"]),
        ("r2", ["join"]),
        ("join2", ["l2", "r2"]),
        ("end", ["join2"]),
    ]
    behaviour = {**LEFT_AND_RIGHT, "l2": {"a": b"3"}, "r2": {"a": b"4"}}
    told = {looks_of(graph, "end", READS, behaviour, merging=merging, order=order).values["a"] for order in range(20)}
    assert len(told) == 1
    other = {**behaviour, "left": {"a": b"5"}}
    assert looks_of(graph, "end", READS, other, merging=merging).values["a"] not in told
    without = {**behaviour, "r2": {}}
    assert looks_of(graph, "end", READS, without, merging=merging).values["a"] not in told


def test_who_has_seen_which_version_is_told() -> None:
    behaviour = {name: {"a": name.encode()} for name in "abc"}
    told = [
        looks_of([("a", []), ("b", []), ("c", [seen]), ("end", ["a", "b", "c"])], "end", READS, behaviour)
        for seen in "ab"
    ]
    assert told[0] != told[1]


def test_a_merge_rule_counts_where_it_merges() -> None:
    rules = [Combining({"a": b"sum"}), Combining({"a": b"max"})]
    merged = [looks_of(DIAMOND, "join", READS, LEFT_AND_RIGHT, merging=SUM, combining=rule) for rule in rules]
    assert merged[0] != merged[1]
    alone = [looks_of(DIAMOND, "left", READS, {"root": {"a": b"1"}}, merging=SUM, combining=rule) for rule in rules]
    assert alone[0] == alone[1]
    by_task = [looks_of(DIAMOND, "left", READS, {"root": {"a": b"1"}}, merging=BY_TASK, combining=r) for r in rules]
    assert by_task[0] != by_task[1]


def test_what_becomes_of_conflicts_counts_where_there_may_be_one() -> None:
    terms = [Combining(on_conflict="first"), Combining(on_conflict="last")]
    merged = [looks_of(DIAMOND, "join", READS, LEFT_AND_RIGHT, combining=term) for term in terms]
    assert merged[0] != merged[1]
    alone = [looks_of(DIAMOND, "left", READS, {"root": {"a": b"1"}}, combining=term) for term in terms]
    assert alone[0] == alone[1]


def test_presence_is_told_without_values() -> None:
    asks = Looked(presence=("a", "b"))
    told = looks_of(DIAMOND, "join", asks, {"left": {"a": b"1"}})
    assert told == Looks(presence={"a": True, "b": False})
    assert told == looks_of(DIAMOND, "join", asks, {"right": {"a": b"2"}, "left": {"a": b"3"}})
    removed = looks_of(DIAMOND, "join", asks, {"right": {"a": None}, "left": {"a": b"3"}}, given={"a": b"1"})
    assert removed.values["a"], "only who merges them can tell"


def test_the_names_of_all_keys_are_told_in_their_order() -> None:
    asks = Looked(every_key=True)
    told = looks_of(DIAMOND, "join", asks, {"root": {"a": b"1"}, "left": {"b": b"2"}})
    assert told.keys
    assert told == looks_of(DIAMOND, "join", asks, {"root": {"a": b"5"}, "right": {"b": b"2"}})
    assert told != looks_of(DIAMOND, "join", asks, {"root": {"b": b"1"}, "left": {"a": b"2"}})
    assert told == looks_of(DIAMOND, "join", asks, {"root": {"a": b"1", "c": b""}, "left": {"b": b"2", "c": None}})


def test_of_a_key_that_may_be_there_or_not_the_versions_are_told() -> None:
    asks = Looked(every_key=True)
    removed_there = [
        looks_of(DIAMOND, "join", asks, {"left": {"a": None}, "right": {"a": value}}, given={"a": b"1"})
        for value in (b"2", b"3")
    ]
    assert removed_there[0] != removed_there[1]


def test_outcomes_are_told() -> None:
    asks = Looked(outcomes=("left", "nobody"))
    well = looks_of(DIAMOND, "join", asks, {})
    assert well.outcomes["nobody"] == b""
    assert well == looks_of(DIAMOND, "join", asks, {"left": {"a": b"1"}}, fails=["right"])
    assert well != looks_of(DIAMOND, "join", asks, {}, fails=["left"])
    every = Looked(every_outcome=True)
    assert looks_of(DIAMOND, "join", every, {}) != looks_of(DIAMOND, "join", every, {}, fails=["right"])


def test_the_seed_is_told_to_who_asks() -> None:
    assert looks_of(DIAMOND, "join", Looked(seed=True), {}, seed=7) == Looks(seed=7)
    assert looks_of(DIAMOND, "join", Looked(fingerprint=b"x"), {}, seed=7) == Looks(fingerprint=b"x")


def test_where_no_conflict_may_be_all_keys_of_several_versions_are_looked_at() -> None:
    unanimous = Merging(unanimous=True)
    assert looks_of(DIAMOND, "join", Looked(), LEFT_AND_RIGHT, merging=unanimous).values.keys() == {"a"}


def test_what_is_passed_in_is_told_by_its_source_whatever_was_merged_meanwhile() -> None:
    graph: Graph = [
        *DIAMOND,
        ("l2", ["join"]),
        ("r2", ["join"]),
        ("inner", ["l2", "r2"]),
        ("l3", ["inner"]),
        ("r3", ["inner"]),
        ("end", ["l3", "r3"]),
    ]
    entry = 6
    passing = {rank: {"b": (Source("a", entry),)} for rank in range(entry, len(graph))}
    reads = Looked(values=("b",))
    behaviour = {**LEFT_AND_RIGHT, "l2": {"a": b"3"}, "r2": {"a": b"4"}, "l3": {"b": b"5"}, "r3": {"b": b"6"}}
    for task in ("inner", "end"):
        told = {
            looks_of(graph, task, reads, behaviour, merging=Merging(passing=passing), order=order).values["b"]
            for order in range(20)
        }
        assert len(told) == 1
        other = {**behaviour, "left": {"a": b"9"}}
        assert looks_of(graph, task, reads, other, merging=Merging(passing=passing)).values["b"] not in told


# ---- mapped tasks --------------------------------------------------------------------------------------------------


def mapped_looks(
    items: Sequence[bytes], set_by_first: Sequence[bytes], labels: Sequence[str] = (), looked: Looked = READS
) -> list[Looks | None]:
    """What the instances are told to have found that follow those of the first, which set `a`."""
    compiled = plan("w", [("first", []), ("second", ["first"])])
    work = [Work(0, (), each=Each("items", 1)), Work(0, (), each=Each("items", 1, follows=0))]
    run = Run(compiled, work, {}, numbers=count(), answers=True, content=Digests().of)
    run.listen()
    keys = [encode(label) for label in labels] or None
    (begun,) = tell(run, Begin(), Room(1))
    assert isinstance(begun, Assignment)
    held = tell(run, replace(found(begun.attempt, items, labels, keys), looked=Looked(("items",))), Room(9))
    while held:
        begun = held.pop(0)
        if isinstance(begun, Assignment):
            place = run.open_attempts[begun.attempt].rank - len(compiled.names)
            end = done(begun.attempt, a=set_by_first[place]) if place < len(items) else done(begun.attempt)
            held += tell(run, replace(end, looked=looked), Room(9))
    facts = run.facts()
    (expanded,) = [fact for fact in facts if isinstance(fact, TaskExpanded) and fact.looks is not None]
    assert expanded.looks == Looks({"items": b""})
    ended = {fact.item: fact for fact in facts if isinstance(fact, TaskFinished) and fact.task == "second"}
    return [ended[place].looks for place in range(len(items))]


def test_instances_are_told_by_their_items_and_what_was_set_for_these() -> None:
    told = mapped_looks([b"x", b"y"], [b"1", b"2"])
    assert told[0] is not None
    assert told[1] is not None
    assert told[0].item != told[1].item
    assert told[0].values != told[1].values
    assert mapped_looks([b"y", b"x"], [b"2", b"1"]) == told[::-1], "the place of an item doesn't count"
    assert mapped_looks([b"x", b"y"], [b"1", b"3"])[0] == told[0]
    assert mapped_looks([b"x", b"y"], [b"1", b"3"])[1] != told[1]
    assert mapped_looks([b"x", b"y"], [b"1", b"2"], ["'p'", "'q'"]) != told


# ---- contents ------------------------------------------------------------------------------------------------------


def test_a_value_has_one_digest_wherever_it_lies(tmp_path: Path) -> None:
    value = encode("x" * LARGE)
    (tmp_path / "one").write_bytes(value)
    (tmp_path / "other").write_bytes(value)
    one, other = (reference(Blob(str(tmp_path / name), len(value), is_structure=False)) for name in ("one", "other"))
    digests = Digests()
    assert digests.of(one) == digests.of(other) == digests.of(value)
    made = [collected([payload, encode((1, 2))]) for payload in (one, other)]
    assert digests.of(made[0]) == digests.of(made[1])
    assert digests.of(made[0]) != digests.of(collected([one, encode((1, 3))]))
    assert digests.of(made[0]) != digests.of(collected([one, encode((1, 2))], [encode("k"), encode("l")]))


def test_what_is_lost_is_like_nothing_else() -> None:
    lost = reference(Blob("/nowhere/x", 5, is_structure=False))
    digests = Digests()
    assert digests.of(lost) != digests.of(lost)
