"""Mapped tasks as lists of events: their expansion, their instances, and what becomes of both."""

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from random import Random

import pytest
from tests.reference import Graph
from tests.runs import answered, assigned, done, failed, found, lost, states, tell

from cloaca.engine.events import AttemptEvent, Begin, Cancel, Ended, Release, Room, Tick, Withdraw
from cloaca.engine.pairing import paired
from cloaca.engine.run import Run
from cloaca.engine.timers import GRACE_SECONDS
from cloaca.engine.work import Merging, Work
from cloaca.errors import INPUT, InternalError
from cloaca.history.plan import plan
from cloaca.history.unwanted import Demand
from cloaca.retry import RetryPolicy
from cloaca.values.blobs import Blob, reference, references_in
from cloaca.values.codec import decode, encode
from cloaca.wire.messages import (
    FIGURES,
    Assignment,
    Items,
    ItemsDone,
    Outcome,
    Overlay,
    Started,
    Unstarted,
    Usage,
    Version,
    Wants,
)

EXPANSION = 100
"""The number of the function that expands the task of rank 0; those of the others follow."""


def a_run(
    graph: Graph,
    *mapped: str,
    retry: RetryPolicy | None = None,
    timeout: float | None = None,
    answers: bool = True,
    merging: Merging | None = None,
    demand: Demand | None = None,
    **given: bytes,
) -> Run:
    """A run in which some tasks are mapped over `items`, and would set `out`."""
    compiled = plan("w", graph)
    ranks = range(len(compiled.names))
    keys = ["items" if name in mapped else None for name in compiled.names]
    each = paired(compiled, keys, {rank: EXPANSION + rank for rank in ranks}, dict.fromkeys(ranks, ("out",)))
    work = [Work(rank, ("k",), timeout, retry, each=each.get(rank)) for rank in ranks]
    known = {key: Version(INPUT, payload) for key, payload in given.items()}
    run = Run(compiled, work, known, numbers=count(), answers=answers, merging=merging, demand=demand)
    tell(run, Begin())
    return run


def expand(run: Run, items: Sequence[bytes], labels: Sequence[str] = ()) -> None:
    """Run the expansion of the next task."""
    ((attempt, _),) = assigned(tell(run, Room(1)))
    tell(run, Started(attempt), found(attempt, items, labels))


def submitted(run: Run, room: int | Room = 100) -> list[Assignment]:
    event = Room(room) if isinstance(room, int) else room
    return [command for command in tell(run, event) if isinstance(command, Assignment)]


def final(run: Run) -> Mapping[str, bytes | None]:
    return {key: version.payload for key, (version,) in run.history.final().items()}


PAIR: Graph = [("a", []), ("b", ["a"]), ("end", ["b"])]


def test_the_first_attempt_expands_and_the_others_get_its_items() -> None:
    run = a_run(PAIR, "a", items=b"all", k=b"1")
    (first,) = submitted(run)
    assert (first.task, first.function, first.items) == ("a", EXPANSION, None)
    assert first.slice.versions == {"items": (Version(INPUT, b"all"),)}
    tell(run, found(first.attempt, [b"x", b"y"]))
    assert states(run) == {"a": "EXPANDED", "b": "WAITING", "end": "WAITING", "a[0]": "READY", "a[1]": "READY"}
    assert run.ready == 2
    instances = submitted(run)
    assert [(one.task, one.function, one.items) for one in instances] == [
        ("a[0]", 0, Items([b"x"], None, "items", ("a",))),
        ("a[1]", 0, Items([b"y"], None, "items", ("a",))),
    ]
    assert instances[0].slice is instances[1].slice
    assert instances[0].slice.versions == {"k": (Version(INPUT, b"1"),)}
    assert run.ready == 0


def test_more_urgent_tasks_go_between_the_instances() -> None:
    """As soon as room is short: an instance that comes back takes its turn, too."""
    run = a_run([("a", []), ("late", []), ("more", ["late"]), ("most", ["more"])], "a", items=b"")
    ((attempt, name),) = assigned(tell(run, Room(1)))
    assert name == "late"
    expand(run, [b"x", b"y", b"z"])
    tell(run, done(attempt))
    assert [one.task for one in submitted(run, 3)] == ["more", "a[0]", "a[1]"]
    tell(run, Unstarted(3))
    assert [one.task for one in submitted(run)] == ["a[0]", "a[2]"]


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_ends_leaves_no_trace(seed: int) -> None:
    run = a_run(PAIR[:2], "a", "b", items=b"")
    expand(run, [encode(n) for n in range(6)])
    random = Random(seed)
    opened: list[Assignment] = []
    while run.ready or opened:
        opened += submitted(run, random.randint(0, 3))
        if opened:
            one = opened.pop(random.randrange(len(opened)))
            task, number = one.task[0], int(one.task[2])
            tell(run, done(one.attempt, **{f"{task}{number % 3}": encode(one.task), task: encode(one.task)}))
    assert list(final(run)) == ["items", "a0", "a", "a1", "a2", "b0", "b", "b1", "b2"]
    assert decode(final(run)["b"] or b"") == [f"b[{n}]" for n in range(6)]
    assert decode(final(run)["a1"] or b"") == [None, "a[1]", None, None, "a[4]", None]


def test_what_is_cut_off_is_expanded_again_and_what_raised_is_not() -> None:
    policy = RetryPolicy.builder().max_attempts(3).initial_delay(1).with_jitter(False).build()
    for report, state in ((lost, "BACKING_OFF"), (failed, "FAILED")):
        run = a_run(PAIR, "a", retry=policy, items=b"")
        tell(run, Room(1), Started(0), report(0))
        assert states(run)["a"] == state


def test_an_expansion_that_ends_after_the_run_was_cancelled() -> None:
    run = a_run(PAIR, "a", "b", items=b"")
    tell(run, Room(1), Started(0))
    assert tell(run, Cancel()) == [Withdraw(0, GRACE_SECONDS)]
    assert tell(run, found(0, [b"x"])) == [Ended()]
    assert set(states(run).values()) == {"CANCELLED"}


def test_an_instance_that_takes_too_long_is_stopped() -> None:
    run = a_run(PAIR, "a", timeout=5.0, items=b"")
    expand(run, [b"x", b"y"])
    first, second = submitted(run)
    tell(run, Started(first.attempt))
    run.handle(Started(second.attempt), 3.0)
    assert run.due == 5.0
    assert run.handle(Tick(), 6.0) == [Withdraw(first.attempt, GRACE_SECONDS)]
    tell(run, lost(first.attempt), done(second.attempt, out=b"1"))
    assert run.ledger.outcome(run.ledger.find("a[0]") or 0).error is not None
    assert (run.ledger.outcome(0).error or "").startswith(
        "1 of 2 instances failed, the first of them a[0]: TaskTimeout: "
    )
    assert (run.ledger.outcome(0).error or "").count("'a[0]'") == 1


def test_an_instance_asks_and_is_answered_with_what_those_before_it_wrote() -> None:
    run = a_run(PAIR, "a", "b", items=b"all", k=b"1", more=b"2")
    expand(run, [b"x"])
    (first,) = submitted(run)
    tell(run, done(first.attempt, k=b"3", own=b"4", more=None))
    (second,) = submitted(run)
    assert second.slice.versions == {"k": (Version("a[0]", b"3"),)}
    tell(run, Started(second.attempt))
    asked = answered(tell(run, Wants(second.attempt, ("own", "more", "missing"))))
    assert asked.versions["own"] == (Version("a[0]", b"4"),)
    assert (asked.versions["more"], asked.versions["missing"]) == ((), ())
    rest = answered(tell(run, Wants(second.attempt, rest=True, outcomes=True)))
    assert {key: version.payload for key, (version,) in rest.versions.items()} == {
        "items": b"all",
        "k": b"3",
        "own": b"4",
    }
    assert rest.outcomes == {"a": Outcome("Completed"), "a[0]": Outcome("Completed")}
    assert answered(tell(run, Wants(second.attempt, outcomes=True))).outcomes == {"a": Outcome("Completed")}
    asked = answered(tell(run, Wants(second.attempt, ("a[0]", "b[0]", "c[0]"), outcomes=True)))
    assert asked.outcomes == {"a": Outcome("Completed"), "a[0]": Outcome("Completed")}


def test_an_executor_that_never_asks_is_given_the_same() -> None:
    run = a_run(PAIR, "a", "b", answers=False, items=b"all", more=b"2")
    expand(run, [b"x"])
    (first,) = submitted(run)
    assert dict(first.slice.versions) == {"items": (Version(INPUT, b"all"),), "more": (Version(INPUT, b"2"),)}
    tell(run, done(first.attempt, own=b"4", more=None))
    (second,) = submitted(run)
    assert dict(second.slice.versions) == {"items": (Version(INPUT, b"all"),), "own": (Version("a[0]", b"4"),)}
    assert len(second.slice.versions) == 2
    assert dict(second.slice.outcomes or {}) == {"a": Outcome("Completed")}


def test_what_a_follower_may_still_read_is_released_when_it_has_ended() -> None:
    """The task above wrote a large value, which one instance replaced: the other one's follower sees it."""
    graph: Graph = [("top", []), ("a", ["top"]), ("b", ["a"]), ("end", ["b"])]
    run = a_run(graph, "a", "b", items=b"all")
    large = reference(Blob("/x/large", 1 << 20, is_structure=False))
    tell(run, Room(1), done(0, k=large))
    expand(run, [b"x", b"y"])
    for one in submitted(run):
        assert tell(run, done(one.attempt, **({"k": b"0"} if one.task == "a[0]" else {}))) == []
    first, second = submitted(run)
    assert second.slice.versions["k"] == (Version("top", large),)
    assert tell(run, done(first.attempt, k=b"1")) == []
    assert tell(run, done(second.attempt)) == [Release([large])]


def test_an_item_is_released_when_nobody_needs_it_any_more() -> None:
    items = [reference(Blob(f"/x/{n}", 1 << 20, is_structure=False)) for n in range(2)]
    run = a_run(PAIR, "a", items=b"all")
    expand(run, items)
    first, second = submitted(run)
    assert tell(run, done(second.attempt)) == [Release([items[1]])]
    assert tell(run, failed(first.attempt)) == [Release([items[0]])]


def large(name: str) -> bytes:
    return reference(Blob(f"/x/{name}", 1 << 20, is_structure=False))


def freed(run: Run, *events: AttemptEvent) -> list[bytes]:
    commands = tell(run, *events)
    return [payload for command in commands if isinstance(command, Release) for payload in command.payloads]


def test_an_item_is_freed_when_all_that_go_through_it_have_ended() -> None:
    run = a_run([("a", []), ("b", ["a"]), ("c", ["a"]), ("d", ["c"])], "a", "b", "c", "d", items=b"")
    expand(run, [large("0"), large("1")])
    first, second = submitted(run)
    assert freed(run, done(first.attempt)) == []
    attempts = {one.task: one.attempt for one in submitted(run)}
    assert freed(run, done(attempts["b[0]"]), done(attempts["c[0]"])) == []
    (last,) = submitted(run)
    assert freed(run, done(last.attempt)) == [large("0")]
    assert freed(run, failed(second.attempt)) == [large("1")], "nothing of the row goes through it any more"


CHAIN: Graph = [("a", []), ("b", ["a"]), ("c", ["b"]), ("end", ["a", "c"])]


def through_a(run: Run, k: bytes) -> dict[str, int]:
    """The first instance of `a` has set `k`; the attempts that are under way then."""
    expand(run, [b"x", b"y"])
    (first,) = submitted(run, 1)
    tell(run, done(first.attempt, k=k))
    return {one.task: one.attempt for one in submitted(run)}


@pytest.mark.parametrize("anew", [None, b"small", large("new")])
def test_what_instances_have_set_is_freed_when_those_that_follow_have_set_it_anew(anew: bytes | None) -> None:
    run = a_run(CHAIN, "a", "b", "c", items=b"")
    attempts = through_a(run, large("a"))
    assert freed(run, done(attempts["b[0]"], k=anew)) == [large("a")]
    (last,) = submitted(run)
    assert freed(run, done(last.attempt, k=b"\x01")) == ([anew] if anew == large("new") else [])


def test_what_those_that_follow_leave_alone_is_freed_by_the_one_that_sets_it() -> None:
    run = a_run(CHAIN, "a", "b", "c", items=b"")
    attempts = through_a(run, large("a"))
    assert freed(run, done(attempts["b[0]"])) == []
    (last,) = submitted(run)
    assert freed(run, done(last.attempt, k=None)) == [large("a")]


@pytest.mark.parametrize(
    ("graph", "merging"),
    [
        ([("a", []), ("b", ["a"]), ("end", ["a"])], None),
        ([("a", []), ("b", ["a"]), ("c", ["a"])], None),
        (PAIR, Merging(ruled=frozenset({"k"}))),
        (PAIR, Merging(ruled=frozenset({"k"}), collected=frozenset({"k"}))),
    ],
    ids=["read by others", "two that follow", "a rule", "kept by task"],
)
def test_what_instances_have_set_is_kept_where_somebody_may_look_at_it(graph: Graph, merging: Merging | None) -> None:
    run = a_run(graph, "a", "b", "c", items=b"", merging=merging)
    attempts = through_a(run, large("a"))
    assert freed(run, done(attempts["b[0]"], k=None)) == []


def test_what_instances_have_set_is_kept_where_those_that_follow_fail() -> None:
    run = a_run(PAIR, "a", "b", items=b"")
    attempts = through_a(run, large("a"))
    assert freed(run, failed(attempts["b[0]"])) == []
    assert freed(run, done(attempts["a[1]"], k=encode(1))) == []
    (last,) = submitted(run)
    assert freed(run, failed(last.attempt)) == []
    assert [*references_in(final(run)["k"] or b"")] == [large("a")]


K, NO_KEY = frozenset({"k"}), frozenset[str]()


def asking(*reads: frozenset[str] | None, outputs: frozenset[str] = NO_KEY) -> Demand:
    return Demand(outputs, reads)


@pytest.mark.parametrize("seen", [K, None], ids=["its key", "any key"])
def test_what_nobody_asks_for_is_freed_when_the_last_one_of_its_row_has_ended_that_may_look(
    seen: frozenset[str] | None,
) -> None:
    """Whoever comes after the row and looks at nothing of it finds its place empty."""
    run = a_run(CHAIN, "a", "b", "c", items=b"", demand=asking(K, seen, NO_KEY, NO_KEY))
    attempts = through_a(run, large("a"))
    assert freed(run, done(attempts["b[0]"])) == [large("a")]
    (last,) = submitted(run)
    assert freed(run, done(last.attempt)) == []
    assert freed(run, done(attempts["a[1]"], k=large("other"))) == []
    (second,) = submitted(run)
    assert freed(run, failed(second.attempt)) == []
    assert final(run)["k"] == encode([None, None])


def test_what_a_later_one_of_the_row_may_look_at_is_kept_for_it() -> None:
    run = a_run(CHAIN, "a", "b", "c", items=b"", demand=asking(K, K, K, NO_KEY))
    attempts = through_a(run, large("a"))
    assert freed(run, done(attempts["b[0]"])) == []
    (last,) = submitted(run)
    assert freed(run, done(last.attempt)) == [large("a")]


def test_what_is_set_anew_is_freed_once() -> None:
    run = a_run(CHAIN, "a", "b", "c", items=b"", demand=asking(K, K, K, NO_KEY))
    attempts = through_a(run, large("a"))
    assert freed(run, done(attempts["b[0]"], k=large("b"))) == [large("a")]
    (last,) = submitted(run)
    assert freed(run, done(last.attempt)) == [large("b")]


@pytest.mark.parametrize(
    ("demand", "merging"),
    [
        (asking(K, K, NO_KEY, NO_KEY, outputs=K), None),
        (asking(K, K, NO_KEY, K), None),
        (asking(K, K, NO_KEY, None), None),
        (asking(K, K, NO_KEY, NO_KEY), Merging(ruled=K)),
    ],
    ids=["asked for", "read by others", "read by who may read any", "a rule"],
)
def test_what_is_asked_for_or_may_be_looked_at_later_is_kept(demand: Demand, merging: Merging | None) -> None:
    run = a_run(CHAIN, "a", "b", "c", items=b"", demand=demand, merging=merging)
    attempts = through_a(run, large("a"))
    assert freed(run, done(attempts["b[0]"])) == []
    (last,) = submitted(run)
    assert freed(run, done(last.attempt)) == []


@pytest.mark.parametrize("seed", range(5))
def test_what_was_freed_leaves_no_trace_of_when_it_was(seed: int) -> None:
    """Whoever is told of all versions finds the same empty places, whichever instance ended first."""
    run = a_run(CHAIN[:3], "a", "b", "c", items=b"")
    expand(run, [encode(n) for n in range(3)])
    chance, opened = Random(seed), list[Assignment]()
    while run.ready or opened:
        opened += submitted(run, chance.randint(0, 3))
        if opened:
            one = opened.pop(chance.randrange(len(opened)))
            writes = {"a": {"k": large(one.task), "s": encode(one.task)}, "b": {"k": encode(2)}, "c": {}}
            report = failed(one.attempt) if one.task == "b[1]" else done(one.attempt, **writes[one.task[0]])
            tell(run, report)
    (write,) = run.history.standing()["k"]
    (before,) = write.seen
    assert decode(write.version.payload or b"") == [2, None, 2]
    assert decode(before.version.payload or b"") == [None, None, None]
    assert decode(final(run)["s"] or b"") == ["a[0]", "a[1]", "a[2]"]


def test_what_cannot_happen_names_the_instance() -> None:
    run = a_run(PAIR, "a", items=b"")
    expand(run, [b"x"], ["'north'"])
    (one,) = submitted(run)
    tell(run, Started(one.attempt))
    with pytest.raises(InternalError, match=r"Task \"a\['north'\]\" is RUNNING.* 1 of its tries"):
        run.handle(Unstarted(one.attempt), 0.0)


# ---- many at a time ---------------------------------------------------------------------------------------------


def several(run: Run, size: int, *, most: int = 5) -> Assignment:
    """An attempt at several instances of a run that has begun others before."""
    expand(run, [encode(n) for n in range(size)])
    for one in submitted(run, 4 * most):
        tell(run, done(one.attempt, out=b"\x00"))
    (found,) = submitted(run, Room(most, grain=most))
    assert found.size == most
    return found


def items_done(attempt: int, *written: bytes) -> ItemsDone:
    count = len(written)
    figures = b"".join(FIGURES.pack(n, n + 1, 0.5, 100, 1, 0, 1, 3) for n in range(count))
    return ItemsDone(attempt, figures, [(one,) for one in written], [("out",)] * count, [("items",)] * count, [])


def test_an_attempt_may_be_at_several_instances_which_end_one_by_one() -> None:
    run = a_run(PAIR[:1], "a", items=b"")
    expand(run, [encode(n) for n in range(60)])
    sizes: list[int] = []
    reports: list[tuple[int, list[bytes]]] = []
    while reports or run.ready:
        for one in submitted(run, Room(8, grain=8)):
            assert one.items is not None
            assert one.nth == 1
            sizes.append(one.size)
            reports.append((one.attempt, one.items.payloads))
        attempt, (first, *rest) = reports.pop(0)
        if rest:
            tell(run, items_done(attempt, first))
            first, *rest = rest
        tell(run, Started(attempt, 1.0), items_done(attempt, first, *rest))
    assert sum(sizes) == 60
    assert sizes[:8] == [1] * 8, "the first ones show what they take"
    assert max(sizes) == 8
    assert decode(final(run)["out"] or b"") == [*range(60)]
    end = run.ends[run.ledger.find("a[59]") or 0]
    assert isinstance(end, Usage)
    assert (end.read, end.peak_memory, end.worker) == (("items",), 100, 3)


def test_what_an_attempt_at_several_comes_to_befalls_each_alone() -> None:
    policy = RetryPolicy.builder().max_attempts(2).initial_delay(1).with_jitter(False).build()
    run = a_run(PAIR[:1], "a", retry=policy, items=b"")
    one = several(run, 40)
    number = one.attempt
    tell(run, items_done(number, b"\x01"), failed(number), Started(number), lost(number), Unstarted(number, 1))
    assert [*states(run).items()][21:27] == [
        ("a[20]", "COMPLETED"),
        ("a[21]", "BACKING_OFF"),
        ("a[22]", "BACKING_OFF"),
        ("a[23]", "SUBMITTED"),
        ("a[24]", "READY"),
        ("a[25]", "READY"),
    ]
    tell(run, items_done(number, b"\x01"))
    assert not run.open_attempts
    run.handle(Tick(), 100.0)
    again = submitted(run, Room(10, grain=5))
    assert [(one.task, one.nth, one.size) for one in again] == [
        ("a[21]", 2, 1),
        ("a[22]", 2, 1),
        ("a[24]", 1, 1),
        ("a[25]", 1, 5),
        ("a[30]", 1, 2),
    ]


@pytest.mark.parametrize("report", [lambda n: Unstarted(n, 6), lambda n: items_done(n, *[b""] * 6)])
def test_no_more_instances_are_reported_than_an_attempt_is_at(report: Callable[[int], AttemptEvent]) -> None:
    run = a_run(PAIR[:1], "a", items=b"")
    one = several(run, 40)
    with pytest.raises(InternalError):
        tell(run, report(one.attempt))


def test_what_runs_is_not_given_back_with_what_is_behind_it() -> None:
    run = a_run(PAIR[:1], "a", items=b"")
    number = several(run, 40).attempt
    tell(run, Started(number), Unstarted(number, 4))
    assert states(run)["a[20]"] == "RUNNING"
    with pytest.raises(InternalError):
        tell(run, Unstarted(number))


def test_what_is_cancelled_has_ended_as_far_as_it_came() -> None:
    run = a_run(PAIR[:1], "a", items=b"")
    number = several(run, 40).attempt
    tell(run, Started(number), Cancel())
    tell(run, items_done(number, b"\x01"), Started(number), lost(number), Unstarted(number, 3))
    assert [states(run)[f"a[{n}]"] for n in range(20, 26)] == ["COMPLETED", *["CANCELLED"] * 5]
    assert states(run)["a"] == "CANCELLED"


def test_a_time_limit_is_that_of_an_instance_from_its_own_start() -> None:
    run = a_run(PAIR[:1], "a", timeout=2.0, items=b"")
    number = several(run, 40).attempt
    tell(run, Started(number, 1.0))
    assert run.due == 3.0
    tell(run, items_done(number, b"\x01", b"\x01"))
    assert run.due is None, "nobody has heard of a start of the next one"
    tell(run, Started(number, 2.5))
    assert run.due == 4.5
    assert run.handle(Tick(), 4.5) == [Withdraw(number, GRACE_SECONDS, 2)]
    tell(run, lost(number), Unstarted(number, 2))
    assert [states(run)[f"a[{n}]"] for n in range(20, 25)] == ["COMPLETED"] * 2 + ["FAILED"] + ["READY"] * 2
    assert "TaskTimeout" in (run.ledger.outcome(run.ledger.find("a[22]") or 0).error or "")
    assert run.due is None


def test_an_instance_that_ends_as_it_is_stopped_has_ended_and_the_next_one_has_a_time_of_its_own() -> None:
    run = a_run(PAIR[:1], "a", timeout=2.0, items=b"")
    number = several(run, 40).attempt
    tell(run, Started(number, 1.0))
    assert run.handle(Tick(), 3.0) == [Withdraw(number, GRACE_SECONDS, 0)]
    tell(run, items_done(number, b"\x01"), Started(number, 3.0))
    assert run.due == 5.0
    tell(run, lost(number), Unstarted(number, 3))
    assert [states(run)[f"a[{n}]"] for n in range(20, 25)] == ["COMPLETED", "FAILED"] + ["READY"] * 3
    assert "WorkerDied" in (run.ledger.outcome(run.ledger.find("a[21]") or 0).error or "")


def test_what_is_withdrawn_of_a_run_that_was_stopped_is_all_of_it() -> None:
    run = a_run(PAIR[:1], "a", timeout=2.0, items=b"")
    number = several(run, 40).attempt
    tell(run, Started(number, 1.0), Cancel())
    assert run.handle(Tick(), 3.0) == [Withdraw(number, GRACE_SECONDS)]


def test_an_instance_that_took_too_long_is_tried_again_alone() -> None:
    policy = RetryPolicy.builder().max_attempts(2).initial_delay(1).with_jitter(False).build()
    run = a_run(PAIR[:1], "a", timeout=2.0, retry=policy, items=b"")
    number = several(run, 40).attempt
    tell(run, Started(number, 1.0))
    run.handle(Tick(), 3.0)
    tell(run, lost(number), Unstarted(number, 4))
    run.handle(Tick(), 100.0)
    again = submitted(run, Room(10, grain=5))
    assert [(one.task, one.nth, one.size) for one in again] == [("a[20]", 2, 1), ("a[21]", 1, 4), ("a[25]", 1, 5)]


def test_what_follows_goes_on_many_at_a_time() -> None:
    run = a_run(PAIR[:2], "a", "b", items=b"")
    expand(run, [encode(n) for n in range(40)])
    for one in submitted(run, Room(20)):
        tell(run, done(one.attempt, out=b"\x05"))
    for one in submitted(run, Room(20)):
        tell(run, done(one.attempt, more=b"\x06"))
    (one,) = submitted(run, Room(5, grain=5))
    tell(run, items_done(one.attempt, *[b"\x07"] * 5))
    (after,) = submitted(run, Room(5, grain=5))
    assert (after.task, after.size) == ("b[20]", 5)
    assert after.items is not None
    assert after.items.overlays == [Overlay({}, ("out",))] * 5
    assert after.items.writers == ("a",) * 5
