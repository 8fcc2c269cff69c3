"""What comes on a worker's socket that its worker never meant to say: it costs that worker, and nothing else."""

import math
import os
import socket
import struct
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from msgspec.structs import replace

import cloaca
from cloaca import Context, DefaultRunner, WorkerDied
from cloaca.pool.reports import checked
from cloaca.values.blobs import MARK
from cloaca.values.composite import MARK as COMPOSITE
from cloaca.wire import messages
from cloaca.wire.frames import FrameReader, Garbled, HungUp, decode_up, frame, messages_in
from cloaca.wire.messages import (
    Done,
    Failed,
    ItemsFound,
    Logged,
    Profiled,
    Ready,
    Said,
    Skipped,
    SpanNote,
    Tallied,
    Unfit,
    Up,
    Usage,
    Version,
    Wants,
    Worn,
)

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # as if all this stood in the user's script

NO_COST = Usage(0.0, 0.0, 0.0, 0)

# ---- frames --------------------------------------------------------------------------------------------------------


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


GARBAGE = {
    "zeros": bytes(8),
    "a text": b"hello world, this is a line of text\n",
    "a length alone": struct.pack("<Q", 7) + b"\x91\xa5ready",
    "a huge length": struct.pack("<Q", 1 << 39),
    "all ones": b"\xff" * 8,
    "a frame that begins a byte late": b"x" + frame(Ready()),
    "a frame that lacks a byte": frame(Ready())[:-1] + frame(Ready()),
    "an unknown message": frame([])[:-1] + b"\x90",
    "a list that claims four billion members": frame([])[:7] + frame([])[7:8] + b"\xdd\xff\xff\xff\xff",
}


def framed(body: bytes) -> bytes:
    """A frame with that body."""
    head = frame([])[:8]
    return (int.from_bytes(head, "little") - 1 + len(body)).to_bytes(8, "little") + body


BODIES = {
    "nothing": b"",
    "no array": b"\xc0",
    "no such message": b"\x91\xa5never",
    "half a message": b"\x92\xa4done",
    "a list that claims four billion members": b"\xdd\xff\xff\xff\xff",
    "members within members": b"\x91" * 100_000,
    "a text that is none": b"\x94\xa4said\x00\xa6stdout\xa2\xff\xfe",
    "a number as a text": b"\x94\xa4said\x00\xa6stdout\x05",
}


@pytest.mark.parametrize(
    "garbage",
    [*GARBAGE.values(), *map(framed, BODIES.values())],
    ids=[*GARBAGE, *(f"a body: {name}" for name in BODIES)],
)
def test_what_makes_no_sense_is_told(garbage: bytes, ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    ours.sendall(frame(Ready()) + garbage)
    with pytest.raises(Garbled, match=r"no message|begins with"):
        list(FrameReader(theirs, decode_up).receive())


def test_what_came_before_garbage_is_read(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    ours.sendall(frame(Ready()) + b"garbage, garbage")
    messages = FrameReader(theirs, decode_up).receive()
    assert next(messages) == Ready()
    with pytest.raises(Garbled, match="no message begins with b'garbage, garbage'"):
        next(messages)


def test_a_length_takes_no_memory_before_its_bytes_come(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    theirs.setblocking(False)
    whole = frame(Said(0, "stdout", "x" * 3_000_000))
    claim = int.from_bytes(whole[:8], "little") | (1 << 39)  # half a terabyte
    reader = FrameReader(theirs, decode_up)
    tracemalloc.start()
    try:
        ours.sendall(claim.to_bytes(8, "little") + b"x" * 100_000)
        assert list(reader.receive()) == []
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    with pytest.raises(BlockingIOError):
        next(reader.receive())
    ours.close()
    with pytest.raises(HungUp):
        next(reader.receive())


def test_workers_tell_garbage_too() -> None:
    whole = frame([])
    assert messages_in(whole + whole[:3]) == ([], whole[:3])
    for garbage in (b"garbage, garbage", framed(b"\x91\xa5never")):
        with pytest.raises(Garbled):
            messages_in(whole + garbage)


# ---- reports -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("figure", [math.nan, math.inf, -math.inf, -1.0, 1e300])
@pytest.mark.parametrize("name", ["started", "ended", "cpu"])
def test_figures_that_cannot_be_are_left_out(figure: float, name: str) -> None:
    if (name, figure) == ("cpu", 1e300):
        return
    usage = replace(Usage(1.0, 2.0, 0.5, 5), **{name: figure})
    for report in (Done(1, {}, usage), Failed(1, "E", "t", "", None, usage), Skipped(1, "why", usage)):
        found = checked(report).usage
        assert math.isfinite(found.started)
        assert (found.ended - found.started, found.cpu, found.peak_memory) == (0.0, 0.0, 5)


def test_figures_that_can_be_are_left_as_they_are() -> None:
    report = Done(1, {}, Usage(1.0, 2.0, 0.5, 5))
    assert checked(report) is report


@pytest.mark.parametrize(
    "payload",
    [b"", MARK, MARK + b"garbage", MARK + b"\x93\xa1x\xff\xc2", COMPOSITE + b"garbage", COMPOSITE + b"\x91\x91\x05"],
)
def test_a_value_that_is_not_what_it_seems_is_refused(payload: bytes) -> None:
    for report in (Done(1, {"k": payload}, NO_COST), Done(1, {}, NO_COST, {"k": Version("a", payload)})):
        with pytest.raises(Garbled, match="a value of key 'k'"):
            checked(report)


# ---- runs ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def of_two() -> Iterator[DefaultRunner]:
    with DefaultRunner(workers=2) as runner:
        yield runner


def own_number() -> int:
    """The number of the attempt that runs here."""
    frame = sys._getframe()
    while type(frame.f_locals.get("self")).__name__ != "Worker":
        assert frame.f_back is not None
        frame = frame.f_back
    number: int = frame.f_locals["self"]._current[0]
    return number


def sockets() -> list[int]:
    """The descriptors of this process that are sockets."""
    found = [path for path in Path("/proc/self/fd").iterdir() if path.exists() and path.is_socket()]
    return [number for path in found if (number := int(path.name)) > 2]


def said(data: bytes) -> Callable[[Context], None]:
    """A task that writes to its worker's socket, and waits for what comes of it."""

    def forge(_: Context) -> None:
        for number in sockets():
            os.write(number, data)
        import signal

        signal.pause()

    return forge


def told(make: Callable[[int], list[Up]]) -> Callable[[Context], None]:
    """A task that sends messages in its worker's name."""

    def forge(context: Context) -> None:
        said(b"".join(map(frame, make(own_number()))))(context)

    return forge


def beside_innocents(runner: DefaultRunner, forge: Callable[[Context], None]) -> cloaca.WorkflowResult:
    """Run it beside tasks that must come through, and see that the runner goes on."""
    with cloaca.WorkflowBuilder("forged") as builder:
        cloaca.task(id="forge")(forge)
        for n in range(6):

            @cloaca.task(id=f"innocent {n}")
            def innocent(context: Context, n: int = n) -> None:
                context.set(f"k{n}", n)

    result = runner.execute(builder)
    assert [result.final_context.get(f"k{n}") for n in range(6)] == list(range(6))
    assert all(result.tasks[f"innocent {n}"].attempts == 1 for n in range(6))
    with cloaca.WorkflowBuilder("next") as builder:
        cloaca.task(id="a")(lambda context: context.set("a", 1))
    assert runner.execute(builder).status == "Completed"
    return result


IMPOSSIBLE: dict[str, tuple[Callable[[int], list[Up]], str]] = {
    "a report of another attempt": (lambda n: [Done(n + 999, {}, NO_COST)], "a report of attempt"),
    "reports of all attempts": (
        lambda n: [Done(i, {}, NO_COST) for i in range(n + 20) if i != n],
        "a report of attempt",
    ),
    "a tally of another attempt": (lambda n: [Tallied(n + 999, 0, b"", b"\x90")], "a report of attempt"),
    "a tally of no items": (lambda n: [Tallied(n, 0, b"", b"\x90")], "a tally of attempt"),
    "a failure of another": (lambda n: [Failed(n + 1, "E", "t", "", None, NO_COST)], "a report of attempt"),
    "a question of another": (lambda n: [Wants(n + 999, ("k",))], "a question of attempt"),
    "a failed initializer": (lambda _: [Unfit("E", "t", "")], "initializer"),
    "word that it ends": (lambda _: [Worn()], "word that it ends"),
    "word of no recall": (lambda _: [Ready(7)], "word of recall 7"),
    "word of recall -1": (lambda _: [Ready(-1)], "word of recall -1"),
    "a reference to nothing": (lambda n: [Done(n, {"big": MARK + b"x"}, NO_COST)], "a value of key 'big'"),
    "an item that refers to nothing": (
        lambda n: [Done(n, {}, NO_COST, items=ItemsFound([MARK + b"x"]))],
        "a value of an item that begins",
    ),
    "fewer names than items": (
        lambda n: [Done(n, {}, NO_COST, items=ItemsFound([b"x"], []))],
        "0 names or keys of 1 items",
    ),
    "word that it is held": (lambda n: [Done(n, {}, NO_COST, is_held=True)], "word that another attempt stands for"),
    "a composite of nothing": (lambda n: [Done(n, {"big": COMPOSITE + b"x"}, NO_COST)], "a value of key 'big'"),
}


@pytest.mark.parametrize(("make", "what"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_a_message_that_cannot_be_costs_the_attempt(
    make: Callable[[int], list[Up]], what: str, of_two: DefaultRunner
) -> None:
    result = beside_innocents(of_two, told(make))
    error = result.tasks["forge"].error
    assert isinstance(error, WorkerDied)
    assert "makes no sense" in str(error)
    assert what in str(error)


@pytest.mark.parametrize("garbage", [GARBAGE["a huge length"], GARBAGE["a frame that begins a byte late"]])
def test_garbage_costs_the_attempt(garbage: bytes, of_two: DefaultRunner) -> None:
    error = beside_innocents(of_two, said(garbage)).tasks["forge"].error
    assert isinstance(error, WorkerDied)
    assert "makes no sense" in str(error)
    assert "write only what it has opened itself" in str(error)


def test_what_a_task_reads_from_its_worker_costs_that_worker(of_two: DefaultRunner, tmp_path: Path) -> None:
    """It takes a part of what is on its way to the worker: the rest makes no sense there."""

    def steal(context: Context) -> None:
        for number in sockets():
            os.set_blocking(number, False)
            os.write(number, frame(Wants(own_number(), ("k",), question=10**6)))
            import select

            select.select([number], [], [])
            os.read(number, 3)
        context.get("never sent" + str(len(sockets())))

    beside_innocents(of_two, steal)


HARMLESS: dict[str, Callable[[int], list[Up]]] = {
    "done twice": lambda n: [Done(n, {}, NO_COST)] * 3,
    "figures that are no numbers": lambda n: [Done(n, {}, Usage(math.nan, math.inf, math.nan, -5))],
    "figures before all time": lambda n: [Done(n, {}, Usage(1e18, -1e18, -1.0, -5, (), -1, -1, -1))],
    "questions that nobody waits for": lambda n: [
        Wants(n, ("a", "b")),
        Wants(n, (), rest=True),
        Wants(n, ("no such instance", "no[3]"), outcomes=True),
        Done(n, {}, NO_COST),
    ],
    "profiles of nothing": lambda n: [
        Profiled(n, "forge", "cprofile", 1, b"garbage"),
        Profiled(-5, "nobody", "never", -1, b"", ("", "")),
        SpanNote(n, b"none", {"a": None}, "event", -1, "", ("NONE", None)),
        SpanNote(-5, b""),
        Done(n, {}, NO_COST),
    ],
    "words for nobody": lambda n: [Said(n, "stdfoo", ""), Said(-5, "stdout", ""), Done(n, {}, NO_COST)],
}


@pytest.mark.parametrize("make", HARMLESS.values(), ids=HARMLESS)
def test_what_can_be_said_is_taken_at_its_word(make: Callable[[int], list[Up]], of_two: DefaultRunner) -> None:
    """The task goes on, and what it reports then is known already; its worker is stopped as it never does."""

    def forge(context: Context) -> None:
        for number in sockets():
            os.write(number, b"".join(map(frame, make(own_number()))))

    result = beside_innocents(of_two, forge)
    forged = result.tasks["forge"]
    assert forged.status == "Completed"
    assert forged.start_time is not None
    assert forged.end_time is not None
    assert forged.duration is not None
    assert forged.duration >= 0


def test_records_that_cannot_be_read_are_told(of_two: DefaultRunner, capsys: pytest.CaptureFixture[str]) -> None:
    def forge(_: Context) -> None:
        for number in sockets():
            for record in (b"", b"\xff\xff", b"\xc1garbage", b"\x05"):
                os.write(number, frame(Logged(0, record)))

    assert beside_innocents(of_two, forge).status == "Completed"
    assert capsys.readouterr().err.count("What a task logged can't be read in the program") == 4


def test_a_worker_s_clock_that_stands_still_ends_nothing(of_two: DefaultRunner) -> None:
    """As libraries for tests replace it. The time limit counts from the moment at which the program heard of it."""

    def replace_clocks(_: Context) -> None:
        from cloaca.attempts import meter
        from cloaca.worker import worker

        for module in (meter, worker):
            module.monotonic = lambda: -1e9  # type: ignore[attr-defined]

    assert beside_innocents(of_two, replace_clocks).status == "Completed"
    with cloaca.WorkflowBuilder("timed") as builder:
        for n in range(4):
            cloaca.task(id=str(n), timeout=1000)(lambda context: context.set("a", 1))
    result = of_two.execute(builder)
    assert result.status == "Completed"
    assert all((task.duration or 0) >= 0 and task.start_time for task in result.tasks.values())


def test_messages_are_all_covered() -> None:
    """Each kind that a worker may send stands in one of the tables above."""
    kinds: set[Any] = set(messages.Up.__args__)
    told = {Said, Logged, messages.Warned, Profiled, SpanNote}
    assert kinds == {Ready, Unfit, Worn, Wants, Done, Tallied, Failed, Skipped} | told
