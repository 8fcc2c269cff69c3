"""Exceptions that strike a worker's own code, by alarms or from other threads: nothing is lost, torn or mixed up.

Where Python looks for signals and for exceptions from other threads (after calls, where functions begin and where loops
go round), `Striker` raises one itself, at each such place once. So races are no matter of luck here.
"""

import ctypes
import dis
import os
import signal
import stat
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import cache, partial
from itertools import count, pairwise
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest
from tests.support import pipe

import cloaca
from cloaca import Context, MergeConflict
from cloaca.pool.batching import Batching
from cloaca.pool.pool import Pool
from cloaca.testing.desk import Desk, published, versions, written
from cloaca.values.codec import decode, encode
from cloaca.wire.frames import HungUp, frame
from cloaca.wire.messages import (
    Answer,
    Assignment,
    Done,
    Failed,
    Items,
    ItemsDone,
    Logged,
    Said,
    Slice,
    Started,
    Unstarted,
    Usage,
    Wants,
    Warned,
)
from cloaca.worker.worker import Worker

DeskOf = Callable[..., Desk]
WORLD = {f"{name}{n}": (name, n) for n in range(1200) for name in "abc"}


class StrikeError(Exception):
    """What strikes."""


@pytest.fixture
def desk_of() -> Iterator[DeskOf]:
    """Makes a desk at a pool of one worker that knows the functions given, by their place."""
    with ExitStack() as stack:

        def make(*functions: Callable[[Context], Any]) -> Desk:
            pool = Pool(1, {})
            stack.callback(pool.close)
            pool.publish(published(*functions))
            return Desk(pool, WORLD)

        yield make


@cache
def places_of(code: CodeType) -> frozenset[int]:
    """The instructions before which Python may call handlers, and raise what other threads have set."""
    instructions = [instruction for instruction in dis.get_instructions(code) if instruction.opname != "CACHE"]
    looks = ("CALL", "RESUME", "JUMP_BACKWARD", "POP_JUMP_BACKWARD")
    return frozenset(
        after.offset
        for before, after in pairwise(instructions)
        if before.opname.startswith(looks) and "INTRINSIC" not in before.opname
    )


class Striker:
    """Does something in the midst of cloaca's code: once at each place, each time it is armed at one more."""

    def __init__(self, strike: Callable[[], object]) -> None:
        self.has_struck = False
        self._strike = strike
        self._places: set[tuple[CodeType, int]] = set()

    def arm(self, frame: FrameType | None = None) -> None:
        """Strike from here on, also where code goes on that `frame` was called by."""
        self.has_struck = False
        while frame is not None:
            self._enter(frame, "call", None)
            frame = frame.f_back
        sys._getframe().f_trace_opcodes = True  # Python 3.12 wants to know before
        sys.settrace(self._enter)

    def _enter(self, frame: FrameType, _event: str, _argument: object) -> Any:
        if not frame.f_globals.get("__name__", "").startswith("cloaca."):
            return None
        frame.f_trace = self._step  # Python 3.13 wants it there before the other one
        frame.f_trace_opcodes = True
        return self._step

    def _step(self, frame: FrameType, event: str, _argument: object) -> Any:
        place = frame.f_code, frame.f_lasti
        if event == "opcode" and not self.has_struck and place not in self._places and place[1] in places_of(place[0]):
            self._places.add(place)
            self.has_struck = True
            sys.settrace(None)
            self._strike()
        return None if self.has_struck else self._step


def strike() -> None:
    raise StrikeError


# ---- reading -------------------------------------------------------------------------------------------------------


def read_under_strikes(context: Context) -> None:
    """Each read is struck once, and made again."""
    striker = Striker(strike)
    wrong = []
    for n in count():
        with suppress(StrikeError):
            striker.arm()
            context.get(f"a{n}")
        sys.settrace(None)
        seen = [context.get(f"a{n}"), context.get(f"b{n}"), context.get(f"d{n}")]
        if seen != [("a", n), ("b", n), None]:
            wrong.append(seen)
        if not striker.has_struck:
            break
    context.set("reads", n)
    context.set("wrong", wrong)


def read_what_others_did(context: Context) -> None:
    context.set("seen", [context.get(f"{name}{n}") for n in range(20) for name in "abcd"])


SEEN = [(name, n) if name != "d" else None for n in range(20) for name in "abcd"]


def test_a_read_may_be_struck_anywhere(desk_of: DeskOf) -> None:
    struck, after = map(written, desk_of(read_under_strikes, read_what_others_did).run([0, 1]))
    assert struck["wrong"] == []
    assert struck["reads"] > 50
    assert after["seen"] == SEEN


def test_a_handler_may_read_wherever_it_interrupts_a_read(desk_of: DeskOf) -> None:
    def read_while_reading(context: Context) -> None:
        seen = []
        striker = Striker(lambda: seen.append(context.get(f"c{n}")))
        for n in count():
            striker.arm()
            value = context.get(f"a{n}")
            sys.settrace(None)
            seen += [value, context.get(f"b{n}"), context.get(f"c{n}")]
            if not striker.has_struck:
                break
        wrong = [value for value in seen if value is None]
        counts = Counter(name for name, _ in seen)
        context.set("wrong", (wrong, [counts["a"] - n - 1, counts["b"] - n - 1, counts["c"] - 2 * n - 1]))
        context.set("reads", n)

    struck, after = map(written, desk_of(read_while_reading, read_what_others_did).run([0, 1]))
    assert struck["wrong"] == ([], [0, 0, 0])
    assert struck["reads"] > 50
    assert after["seen"] == SEEN


# ---- sending -------------------------------------------------------------------------------------------------------


def write(text: str) -> None:
    sys.stdout.write(text + "\n")


def warn(text: str) -> None:
    import warnings

    warnings.simplefilter("always")
    warnings.warn(text, stacklevel=2)


def log(text: str) -> None:
    import logging

    logging.getLogger().error(text)


def told(event: object) -> list[str]:
    match event:
        case Said(text=text):
            return text.splitlines()
        case Warned(text=text):
            return [text]
        case Logged(record=record):
            return [decode(record)["msg"]]
        case _:
            return []


@pytest.mark.parametrize("tell", [write, warn, log])
def test_what_is_told_under_strikes_comes_whole_or_not_at_all(desk_of: DeskOf, tell: Callable[[str], None]) -> None:
    def tell_under_strikes(context: Context) -> None:
        striker = Striker(strike)
        for n in count():
            with suppress(StrikeError):
                striker.arm()
                tell(f"during {n}")
            sys.settrace(None)
            tell(f"after {n}")
            if not striker.has_struck:
                break
        context.set("lines", n + 1)

    desk = desk_of(tell_under_strikes, read_what_others_did)
    struck, after = map(written, desk.run([0, 1]))
    lines = [line for event in desk.events for line in told(event)]
    counted = Counter(lines)
    numbers = range(struck["lines"])
    assert len(numbers) > 10
    assert [line for line in lines if line.startswith("after")] == [f"after {n}" for n in numbers]
    assert set(lines) <= {f"{when} {n}" for n in numbers for when in ("during", "after")}
    assert max(counted.values()) == 1
    assert after["seen"] == SEEN


# ---- between tasks -------------------------------------------------------------------------------------------------

between = Striker(strike)


def strike_afterwards(context: Context) -> None:
    """The worker's own code is struck once, some time after this."""
    context.set("key", "value")
    context.get("a" + "1")
    between.arm(sys._getframe(1))
    keep_tracing()


def keep_tracing() -> None:
    """What traces now is none of a task's leftovers."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and not isinstance(frame.f_locals.get("self"), Worker):
        frame = frame.f_back
    assert frame is not None
    frame.f_locals["self"]._leftovers._tracer = sys.gettrace()


def look(context: Context) -> None:
    sys.settrace(None)
    keep_tracing()
    context.set("has_struck", between.has_struck)
    context.set("pid", os.getpid())
    context.set("seen", context.get("b" + "2"))


def test_a_worker_may_be_struck_anywhere_between_tasks(desk_of: DeskOf) -> None:
    desk = desk_of(strike_afterwards, look)
    pids, ends = set(), Counter[str]()
    while True:
        first, second = desk.run([0, 1])
        for end in (first, second):
            assert isinstance(end, Done) or (isinstance(end, Failed) and end.type_name == "StrikeError")
            ends[type(end).__name__] += 1
        if isinstance(first, Done):
            assert written(first) == {"key": "value"}
        if isinstance(second, Done):
            found = written(second)
            pids.add(found["pid"])
            assert found["seen"] == ("b", 2)
            if not found["has_struck"]:
                break
    assert ends.total() > 100
    assert len(pids) == 1
    assert ends["Done"] > ends["Failed"]


def strike_or_look(context: Context, item: str) -> None:
    strike_afterwards(context) if item == "strike" else look(context)


def ends_of_items(desk: Desk, attempt: int, *items: str) -> list[Done | Failed]:
    """How instances ended that were an attempt together."""
    sent = Items([encode(item) for item in items], task="m")
    desk.executor.submit([Assignment(attempt, "m[0]", 0, Slice({}), items=sent)])
    ends: list[Done | Failed] = []
    while len(ends) < len(items):
        for event in desk.executor.wait(None):
            match event:
                case Wants():
                    found = {key: versions({key: WORLD[key]})[key] for key in event.keys}
                    desk.executor.answer(Answer(attempt, Slice(found), event.question))
                case ItemsDone():
                    ends += [event.alone(place) for place in range(len(event.written))]
                case Failed():
                    assert event.item == len(ends)
                    ends.append(event)
                case _:
                    assert isinstance(event, Started | Said), event
    return ends


def test_a_worker_may_be_struck_anywhere_between_items(desk_of: DeskOf) -> None:
    desk = desk_of(strike_or_look)
    pids: set[int] = set()
    kinds = Counter[str]()
    for attempt in count():
        ends = ends_of_items(desk, attempt, "look", "strike", "look", "look")
        for end in ends:
            assert isinstance(end, Done) or end.type_name == "StrikeError"
            kinds[type(end).__name__] += 1
        before, first, *after = ends
        if isinstance(first, Done):
            assert written(first) == {"key": "value"}
        found = [written(end) for end in (before, *after) if isinstance(end, Done)]
        assert [one["seen"] for one in found] == [("b", 2)] * len(found)
        pids.update(one["pid"] for one in found)
        if isinstance(after[0], Done) and not written(after[0])["has_struck"]:
            break
    assert kinds.total() > 200
    assert len(pids) == 1
    assert kinds["Done"] > kinds["Failed"]


def look_at_what_was_left(context: Context) -> None:
    look(context)
    context.set("left", context.get("key"))


def ends_of_chain(desk: Desk, first: int) -> list[Done | Failed | Unstarted]:
    """How three attempts ended of which each comes right after the one before, in the order in which that was told."""
    ends: list[Done | Failed | Unstarted] = []
    desk.executor.submit(
        [
            Assignment(first + place, "t", min(place, 1), Slice(versions({"b2": ("b", 2)}), names=()), after=after)
            for place, after in enumerate([None, first, first + 1])
        ]
    )
    while len(ends) < 3:
        for event in desk.executor.wait(None):
            if not isinstance(event, Started | Said):
                assert isinstance(event, Done | Failed | Unstarted), event
                ends.append(event)
    return ends


def test_a_worker_may_be_struck_anywhere_in_a_chain(desk_of: DeskOf) -> None:
    """Each sees what the one before has left, or isn't run: then it is given back before that one's end is told."""
    desk = desk_of(strike_afterwards, look_at_what_was_left)
    pids: set[int] = set()
    shapes = Counter[str]()
    for first in count(0, 3):
        ends = ends_of_chain(desk, first)
        shapes[" ".join(f"{type(end).__name__} {end.attempt - first}" for end in ends)] += 1
        found = [written(end) for end in ends if isinstance(end, Done) and end.attempt > first]
        found = [{**found[0], **one} for one in found]  # what is as the one before has left it is no change
        assert all(isinstance(end, Done | Unstarted) or end.type_name == "StrikeError" for end in ends)
        assert [(one["seen"], one["left"]) for one in found] == [(("b", 2), "value")] * len(found)
        pids.update(one["pid"] for one in found)
        if found and not found[-1]["has_struck"]:
            break
    whole, cut = "Done 0 Done 1 Done 2", ["Unstarted 2 Unstarted 1 Failed 0", "Done 0 Unstarted 2 Failed 1"]
    assert set(shapes) <= {whole, "Done 0 Done 1 Failed 2", *cut}
    assert shapes[whole] > 50
    assert shapes[cut[0]] + shapes[cut[1]] > 10
    assert len(pids) == 1


def test_a_report_that_comes_twice_counts_once(desk_of: DeskOf) -> None:
    def report_first(context: Context) -> None:
        report = frame(Done(0, {"key": encode("first")}, Usage(0.0, 0.0, 0.0, 0)))
        sockets = [descriptor for descriptor in range(3, 64) if _is_socket(descriptor)]
        os.write(sockets[0], report)
        context.set("key", "second")

    desk = desk_of(report_first, look, look)
    first, *others = desk.run([0, 1, 2])
    assert written(first) == {"key": "first"}
    assert [written(end)["seen"] for end in others] == [("b", 2), ("b", 2)]


def _is_socket(descriptor: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(descriptor).st_mode)
    except OSError:
        return False


# ---- values and merging --------------------------------------------------------------------------------------------


class Trap:
    """Something to be struck once, where it is set."""

    def __init__(self) -> None:
        self._strike: Callable[[], object] | None = None

    def set(self, strike: Callable[[], object]) -> None:
        self._strike = strike

    def step_on(self) -> None:
        strike, self._strike = self._strike, None
        if strike is not None:
            strike()


trap = Trap()


def by_signal() -> None:
    def handle(*_: object) -> None:
        raise StrikeError

    signal.signal(signal.SIGALRM, handle)
    signal.raise_signal(signal.SIGALRM)


def by_thread() -> None:
    raise_in(threading.get_ident())


def raise_in(thread: int) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(StrikeError))


class Touchy:
    """A value whose own code may be struck."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __getstate__(self) -> int:
        trap.step_on()
        return self.number

    def __setstate__(self, number: int) -> None:
        trap.step_on()
        self.number = number

    def __eq__(self, other: object) -> bool:
        trap.step_on()
        return isinstance(other, Touchy) and self.number == other.number

    def __hash__(self) -> int:
        return self.number


def touchy_max(_: object, values: list[int]) -> int:
    trap.step_on()
    return max(values)


def get_by_rule(context: Context) -> Any:
    return context["by_rule"]


def get_agreed(context: Context) -> Any:
    return context["agreed"].number


def get_alone(context: Context) -> Any:
    return context["alone"].number


def set_it(context: Context) -> Any:
    context.set("fresh", Touchy(3))
    return context["fresh"].number


def act_twice(act: Callable[[Context], Any], strike: Callable[[], object], context: Context) -> None:
    trap.set(strike)
    with pytest.raises(StrikeError):
        act(context)
    context.set("first", act(context))


@pytest.mark.parametrize("strike", [by_signal, by_thread])
@pytest.mark.parametrize("act", [get_by_rule, get_agreed, get_alone, set_it])
@pytest.mark.parametrize("executor", ["processes", "serial"])
def test_a_strike_says_nothing_about_a_value(executor: Any, act: Callable[[Context], Any], strike: Any) -> None:
    """It reaches the task as it is, and neither this task nor another one sees anything but the value afterwards."""

    def fill(context: Context, number: int) -> None:
        context.set("alone", Touchy(3))
        context.set("agreed", Touchy(3))
        context.set("by_rule", number)

    merge: dict[str, Any] = {"by_rule": touchy_max, "alone": cloaca.merge.first}
    with cloaca.WorkflowBuilder("struck", merge=merge, check="off"):
        cloaca.task(id="left")(partial(fill, number=1))
        cloaca.task(id="right")(partial(fill, number=3))
        cloaca.task(id="struck", dependencies=["left", "right"])(partial(act_twice, act, strike))
        cloaca.task(id="calm", dependencies=["left", "right"])(lambda context: context.set("second", act(context)))
    before = signal.getsignal(signal.SIGALRM)
    try:
        with cloaca.DefaultRunner(workers=1, executor=executor) as runner:
            result = runner.execute("struck")
    finally:
        signal.signal(signal.SIGALRM, before)
    result.raise_for_status()
    assert (result.final_context["first"], result.final_context["second"]) == (3, 3)


def test_what_a_rule_raises_itself_is_a_conflict_as_ever(desk_of: DeskOf) -> None:
    def refuse(_: object, values: list[int]) -> int:
        raise ArithmeticError(f"{len(values)} are too many")

    with cloaca.WorkflowBuilder("refused", merge={"n": refuse}, check="off"):
        for name in ("left", "right"):
            cloaca.task(id=name)(lambda context: context.set("n", 1))
    with cloaca.DefaultRunner(workers=1) as runner:
        final = runner.execute("refused").final_context
    with pytest.raises(MergeConflict, match="2 are too many"):
        final.get("n")


# ---- threads -------------------------------------------------------------------------------------------------------


def insist(act: Callable[[], None]) -> None:
    """Call it until it comes through.

    C goes round the loop, and drops what is raised: nothing strikes between two calls.
    """
    came: list[None] = []

    def come() -> None:
        act()
        came.append(None)

    call = ctypes.PYFUNCTYPE(None)(come)
    hook, sys.unraisablehook = sys.unraisablehook, id
    deque(zip(iter(call, 0), iter(came.__len__, 1), strict=False), maxlen=0)
    sys.unraisablehook = hook


def test_a_thread_may_strike_whatever_the_main_thread_does(desk_of: DeskOf) -> None:
    """Where it strikes is a matter of luck here. What follows from it isn't.

    Neither an `Event` nor `Thread.join` can be told twice, once a strike has come in the middle: a pipe's end can.
    """

    def read_in_a_hail(context: Context) -> None:
        main, seen, has_begun = threading.get_ident(), dict[int, Any](), threading.Event()
        hails, calm = os.pipe()
        blows = Counter[int]()

        def hail() -> None:
            has_begun.wait()
            pause = threading.Event()
            while len(seen) < 400:
                pause.wait(0.0005)
                blows[len(seen)] += 1
                if blows[len(seen)] <= 3:  # what is asked for comes through at last, however slow the answers are
                    raise_in(main)
            os.close(calm)

        def read_all() -> None:
            if not has_begun.is_set():
                has_begun.set()
            while len(seen) < 400:
                n = len(seen)
                seen[n] = context.get(f"a{n}")
            os.read(hails, 1)
            context.set("wrong", [(n, value) for n, value in seen.items() if value != ("a", n)])

        threading.Thread(target=hail).start()
        insist(read_all)
        os.close(hails)

    desk = desk_of(read_in_a_hail, read_what_others_did)
    ends = desk.run([0, 1] * 5)
    for end in ends[::2]:
        assert written(end)["wrong"] == []
    for end in ends[1::2]:
        assert written(end)["seen"] == SEEN


def test_a_thread_that_a_task_leaves_may_strike_the_worker(desk_of: DeskOf) -> None:
    def leave_a_hail(context: Context) -> None:
        main, blows = threading.get_ident(), iter(range(100))

        def hail() -> None:
            pause = threading.Event()
            for _ in blows:
                pause.wait(0.0005)
                raise_in(main)

        context.set("pid", os.getpid())
        threading.Thread(target=hail, daemon=True).start()

    desk = desk_of(leave_a_hail, read_what_others_did, lambda context: context.set("pid", os.getpid()))
    first, *ends, last = desk.run([0, *[1] * 60, 2])
    for end in ends:
        match end:
            case Done():
                assert written(end)["seen"] == SEEN
            case _:
                assert isinstance(end, Failed)
                assert end.type_name == "StrikeError"
    if isinstance(first, Done) and isinstance(last, Done):
        assert written(first) == written(last)


@pytest.mark.parametrize("asks", [True, False])
def test_what_a_worker_said_before_it_was_struck_is_heard_while_it_runs_the_next_one(
    desk_of: DeskOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, asks: bool
) -> None:
    """The program reads all of that at once, and finds that the worker is at another attempt than what it reads of."""
    came, goes_on = pipe(tmp_path / "came"), pipe(tmp_path / "goes on")

    def be_struck(context: Context) -> None:
        from cloaca.worker.inlet import Inlet

        answer = Inlet.answer

        def strike_instead(self: Inlet, question: int) -> Slice:
            Inlet.answer = answer  # type: ignore[method-assign]
            raise StrikeError

        Inlet.answer = strike_instead  # type: ignore[method-assign]
        if asks:
            context.get("a" + "1")
        print("about to be struck")
        raise StrikeError

    def meet(_: Context) -> None:
        came.write_text("")
        goes_on.read_text()

    monkeypatch.setattr(Batching, "size", lambda *_: 10)  # both are given to the worker at once
    desk = desk_of(be_struck, meet, lambda context: context.set("pid", os.getpid()))
    (before,) = map(written, desk.run([2]))
    struck, met = desk.submit([0, 1])
    with monkeypatch.context() as patch:
        patch.setattr(Pool, "_look_out", lambda *_: [])
        desk.step(0)
        came.read_text()
    desk.step()
    goes_on.write_text("")
    desk.collect()
    assert [type(desk.ends[attempt]) for attempt in (struck, met)] == [Failed, Done]
    assert [written(end) for end in desk.run([2])] == [before]


def test_what_catches_a_strike_may_be_struck_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """At each of its places once, in a process of its own, as a worker ends in no other way."""
    striker, rounds = Striker(strike), count()

    def be_struck(_: Worker) -> None:
        sys.settrace(None)
        if next(rounds) and not striker.has_struck:
            raise HungUp("All places have been struck.")
        striker.arm(sys._getframe(1))
        raise StrikeError

    monkeypatch.setattr(Worker, "_go_on", be_struck)
    monkeypatch.setattr(Worker, "_bear", lambda _worker, _error: None)
    monkeypatch.setattr(Worker, "_leave", lambda _worker, _code: os._exit(next(rounds)))
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            object.__new__(Worker).serve()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) > 4
