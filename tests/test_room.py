"""Where room for large values runs short: what waits for whom, as lists of events; and what comes of it in earnest."""

import os
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from pathlib import Path
from random import Random

import pytest
from tests.reference import Graph
from tests.runs import assigned, done, failed, found, states, tell

import cloaca
from cloaca.engine.events import AttemptEvent, Begin, Cancel, Ended, Release, Room
from cloaca.engine.pairing import paired
from cloaca.engine.run import Run
from cloaca.engine.work import Work
from cloaca.errors import INPUT
from cloaca.history.plan import plan
from cloaca.retry import RetryPolicy
from cloaca.testing import NO_USAGE
from cloaca.values.blobs import Blob, reference, size_of
from cloaca.values.codec import encode
from cloaca.wire.messages import Failed, Unstarted, Version

LARGE = 1 << 20
ENCODING = 64
"""More than encoding adds to a value of that size."""


def large(name: str, size: int = LARGE) -> bytes:
    return reference(Blob(f"/x/{name}", size, is_structure=False))


def without_room(attempt: int, size: int = LARGE) -> Failed:
    return Failed(attempt, "StorageFullError", "no room.", "", None, NO_USAGE, lacking=size)


def a_run(graph: Graph, *mapped: str, retry: RetryPolicy | None = None, **given: bytes) -> Run:
    compiled = plan("w", graph)
    ranks = range(len(compiled.names))
    keys = ["items" if name in mapped else None for name in compiled.names]
    each = paired(compiled, keys, dict.fromkeys(ranks, 100), dict.fromkeys(ranks, ()))
    work = [Work(rank, (), retry=retry, each=each.get(rank)) for rank in ranks]
    known = {key: Version(INPUT, payload) for key, payload in given.items()}
    run = Run(compiled, work, known, numbers=count(), answers=True)
    tell(run, Begin())
    return run


class Desk:
    """A run whose attempts are known by their tasks."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.open: dict[str, int] = {}

    def room(self, number: int = 2, *, others: int = 0) -> list[str]:
        """Offer room for so many attempts at once; returns which ones begin."""
        found = assigned(tell(self.run, Room(number - len(self.open), len(self.open) + others)))
        self.open |= {task: attempt for attempt, task in found}
        return [task for _, task in found]

    def end(self, task: str, event: Callable[[int], AttemptEvent] = done, /, **diff: bytes | None) -> list[bytes]:
        """Report an attempt; returns what was let go of."""
        attempt = self.open.pop(task)
        commands = tell(self.run, done(attempt, **diff) if event is done else event(attempt))
        return [payload for command in commands if isinstance(command, Release) for payload in command.payloads]

    @property
    def states(self) -> Mapping[str, str]:
        return states(self.run)


PAIRS: Graph = [(f"load {n}", []) for n in range(4)] + [(f"use {n}", [f"load {n}"]) for n in range(4)]


def test_who_finds_no_room_waits_and_nothing_that_comes_later_begins() -> None:
    desk = Desk(a_run(PAIRS))
    assert desk.room() == ["load 0", "load 1"]
    desk.end("load 0", k0=large("0"))
    desk.end("load 1", without_room)
    assert desk.states["load 1"] == "HELD_UP"
    assert desk.room() == ["use 0"], "not load 2"
    assert desk.room() == []
    assert desk.end("use 0", k0=None) == [large("0")]
    assert desk.room() == ["load 1", "load 2"]
    assert desk.run.attempts[desk.run.plan.rank["load 1"]] == 0, "it counts as no try"


def test_it_goes_on_when_as_much_was_let_go_of_as_it_lacked() -> None:
    desk = Desk(a_run(PAIRS))
    desk.room(3)
    desk.end("load 0", k0=large("0"))
    desk.end("load 1", k1=large("1"))
    desk.end("load 2", lambda attempt: without_room(attempt, 2 * LARGE))
    assert desk.room(3) == ["use 0", "use 1"]
    desk.end("use 0", k0=None)
    assert desk.room(3) == []
    desk.end("use 1", k1=None)
    assert desk.room(3) == ["load 2", "load 3"], "use 2 is not ready"


def test_what_is_to_use_a_large_value_begins_wherever_it_stands() -> None:
    graph: Graph = [("load", []), ("late", []), ("use", ["late"]), ("last", ["use"])]
    desk = Desk(a_run([("first", []), ("then", ["first"]), ("after", ["then"]), ("end", ["after"]), *graph[1:3]]))
    assert desk.room(2) == ["first", "late"]
    desk.end("late", k=large("late"))
    desk.end("first", without_room)
    assert desk.room() == ["use"]
    assert desk.end("use", k=None) == [large("late")]
    assert desk.room() == ["first"]


def test_where_nobody_could_let_go_of_anything_it_is_tried_alone_and_fails_then() -> None:
    desk = Desk(a_run(PAIRS, given=large("given", 5 * LARGE)))
    desk.room()
    desk.end("load 0", without_room)
    desk.end("load 1", k1=large("1"))
    assert desk.room() == ["use 1"]
    desk.end("use 1")
    assert desk.room() == ["load 0"]
    assert desk.run.ready == 0 or desk.room() == [], "alone"
    desk.end("load 0", without_room)
    assert desk.states["load 0"] == "FAILED"
    assert desk.states["use 0"] == "SKIPPED"
    end = desk.run.ends[desk.run.plan.rank["load 0"]]
    assert isinstance(end, Failed)
    held = (
        "What holds the room: 'given' of the input (5,242,880 bytes), 'k1' of task 'load 1' (1,048,576 bytes); "
        "6,291,456 bytes in all."
    )
    assert (end.text, end.notes) == (f"no room. {held}", (held,))
    assert desk.room() == ["load 2", "load 3"], "the others go on"


def test_two_that_were_in_each_others_way_both_get_on() -> None:
    desk = Desk(a_run([("a", []), ("b", [])]))
    desk.room()
    desk.end("a", without_room)
    desk.end("b", without_room)
    assert desk.room() == ["a"]
    desk.end("a", x=large("a"))
    assert desk.room() == ["b"]
    desk.end("b", y=large("b"))
    assert {*desk.states.values()} == {"COMPLETED"}


def test_attempts_of_other_runs_may_let_go_of_values_too() -> None:
    desk = Desk(a_run([("a", []), ("b", ["a"])]))
    desk.room()
    desk.end("a", without_room)
    assert desk.run.ready
    assert desk.room(others=1) == []
    assert desk.room() == ["a"]


def test_what_failed_alone_has_its_other_tries() -> None:
    desk = Desk(a_run([("a", [])], retry=RetryPolicy(max_attempts=2)))
    for _ in range(2):
        desk.room()
        desk.end("a", without_room)
    assert desk.states["a"] == "BACKING_OFF"
    assert desk.run.attempts == [1]


@pytest.mark.parametrize("how", [failed, Unstarted])
def test_what_was_tried_alone_and_cut_off_leaves_nobody_waiting(how: Callable[[int], AttemptEvent]) -> None:
    desk = Desk(a_run([("a", []), ("b", []), ("c", [])]))
    desk.room(1)
    desk.end("a", without_room)
    assert desk.room() == ["a"]
    desk.end("a", how)
    assert desk.room(3)[-2:] == ["b", "c"]


def test_a_run_that_is_stopped_waits_for_no_room() -> None:
    desk = Desk(a_run(PAIRS))
    desk.room()
    desk.end("load 0", without_room)
    tell(desk.run, Cancel())
    assert desk.states["load 0"] == "CANCELLED"
    attempt = desk.open.pop("load 1")
    assert Ended() in tell(desk.run, without_room(attempt))
    assert desk.states["load 1"] == "FAILED"


ROW: Graph = [("load", []), ("use", ["load"]), ("end", ["use"])]


def test_of_mapped_tasks_the_items_that_are_on_their_way_go_on() -> None:
    desk = Desk(a_run(ROW, "load", "use", items=b""))
    desk.room(1)
    desk.end("load", partial(found, items=[*map(encode, range(4))]))
    assert desk.room() == ["load[0]", "load[1]"]
    desk.end("load[0]", k=large("0"))
    desk.end("load[1]", without_room)
    assert desk.room() == ["use[0]"], "not load[2]"
    assert desk.end("use[0]", k=None) == [large("0")]
    assert desk.room() == ["load[1]", "load[2]"]
    desk.end("load[1]", without_room)
    desk.end("load[2]", without_room)
    assert desk.room() == ["load[1]"]
    desk.end("load[1]", without_room)
    assert desk.room() == ["load[2]"]
    desk.end("load[2]", k=encode(1))
    assert desk.room() == ["use[2]", "load[3]"]
    assert desk.states["load[1]"] == "FAILED"


@pytest.mark.parametrize("seed", range(40))
def test_two_at_a_time_get_on_in_any_order_where_there_is_room_for_three_values(seed: int) -> None:
    """Whichever ends first: those that are on their way never take all the room that one of them needs to go on."""
    desk, chance, held = Desk(a_run(CHAIN, "grow", "warp", "shrink", items=b"")), Random(seed), set[bytes]()
    desk.room(1)
    desk.end("grow", partial(found, items=[*map(encode, range(16))]))
    while desk.room() or desk.open:
        name = chance.choice([*desk.open])
        value = large(name, grown(int(name.rpartition("[")[2][:-1])))
        if name.startswith("shrink"):
            held.difference_update(desk.end(name, warped=None))
        elif sum(map(size_of, [*held, value])) > 3 * LARGE:
            desk.end(name, partial(without_room, size=size_of(value)))
            assert desk.states[name] == "HELD_UP"
        else:
            held.add(value)
            held.difference_update(
                desk.end(name, **({"grown": value} if "grow" in name else {"warped": value, "grown": None}))
            )
    assert not held
    assert {*desk.states.values()} == {"COMPLETED"}


# ---- in earnest ----------------------------------------------------------------------------------------------------


CHAIN: Graph = [("grow", []), ("warp", ["grow"]), ("shrink", ["warp"])]


def grown(item: int) -> int:
    """How many bytes it makes of an item."""
    return (item % 3 + 6) * (LARGE // 8)


def limited_to(size: int) -> Callable[[], None]:
    """An initializer: all that a worker stores has room in so many bytes."""

    def limit() -> None:
        from cloaca.values import blobs

        def room(folder: str) -> int:
            left = size
            for file in Path(folder).iterdir():
                try:
                    left -= file.stat().st_size if file.name[0].isdigit() else 0
                except FileNotFoundError:
                    continue
            return max(0, left) if folder.startswith("/dev/shm") else 0

        blobs._room = room

    return limit


def grow(context: cloaca.Context, item: int) -> None:
    context.set("grown", os.urandom(16) * (grown(item) // 16))


def warp(context: cloaca.Context, _: int) -> None:
    context.set("warped", context.get("grown")[::-1])
    context.remove("grown")


def shrink(context: cloaca.Context, _: int) -> None:
    context.set("size", len(context.get("warped")))
    context.remove("warped")


def chains() -> cloaca.Workflow:
    with cloaca.WorkflowBuilder("chains", check="off") as builder:
        cloaca.task(for_each="seeds")(grow)
        cloaca.task(dependencies=[grow], for_each="seeds")(warp)
        cloaca.task(dependencies=[warp], for_each="seeds")(shrink)
    return builder.build()


@pytest.mark.parametrize("room", [3, 4, 6])
def test_chains_of_large_values_end_with_room_for_few_of_them(room: int) -> None:
    """One on its way takes up to two values of at most 1 MB: with room for three, two don't always fit.

    Two that wait with a value each always leave room for one more: encoded, each is a few bytes longer.
    """
    with cloaca.DefaultRunner(workers=2, initializer=limited_to(room * (LARGE + ENCODING))) as runner:
        result = runner.execute(chains(), {"seeds": list(range(16))}, raise_on_failure=True)
    assert result.final_context["size"] == [*map(grown, range(16))]
    assert {task.attempts for task in result.tasks.values()} <= {0, 1}


def test_where_nobody_frees_any_room_the_error_says_what_holds_it() -> None:
    def fill(context: cloaca.Context, number: int) -> None:
        context.set(f"kept {number}", bytes(LARGE))

    with cloaca.WorkflowBuilder("full", check="off") as builder:
        for n in range(4):
            cloaca.task(id=f"fill {n}")(lambda context, n=n: fill(context, n))
    with cloaca.DefaultRunner(workers=1, initializer=limited_to(2 * LARGE + LARGE // 2)) as runner:
        result = runner.execute(builder)
    failed = [task.error for task in result.tasks.values() if task.error is not None]
    assert [type(error) for error in failed] == [cloaca.StorageFullError] * 2
    assert "What holds the room: 'kept " in str(result.error_message)
    assert "2,097," in str(result.error_message)
    assert all("What holds the room: 'kept " in note for error in failed for note in error.__notes__)
