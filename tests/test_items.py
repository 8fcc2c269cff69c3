"""Instances of mapped tasks that travel many to an attempt: what holds of each alone holds of them here, too."""

import math
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.support import pipe

import cloaca
from cloaca import Context, DefaultRunner, WorkerDied, WorkflowResult
from cloaca.pool import batching, pool
from cloaca.pool.peer import Peer
from cloaca.pool.pool import Pool
from cloaca.testing.desk import Desk
from cloaca.values.blobs import LARGE
from cloaca.values.codec import encode
from cloaca.wire.messages import Assignment, Event, Items, ItemsDone, Lost, Started, Unstarted, Up

SIZE = 400


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many instances each attempt was at. Every task counts as tiny, however long it takes here."""
    monkeypatch.setattr(batching, "BATCH_SECONDS", 3600.0)
    found: list[int] = []
    submit = Pool.submit

    def note(self: Pool, assignments: Sequence[Assignment]) -> None:
        found.extend(assignment.size for assignment in assignments)
        submit(self, assignments)

    monkeypatch.setattr(Pool, "submit", note)
    return found


@pytest.fixture
def runner(sizes: list[int]) -> Iterator[DefaultRunner]:
    """One that has learnt that tasks are tiny, and so puts many in an attempt."""
    with DefaultRunner(workers=2, executor="processes") as runner:
        run(runner, lambda context, item: context.set("out", item))
        assert max(sizes) > 10
        sizes.clear()
        yield runner
        assert max(sizes) > 10, "they travelled alone"


def run(runner: DefaultRunner, *functions: Callable[..., Any], items: Any = None, **options: Any) -> WorkflowResult:
    """One mapped task after the other, item by item."""
    with cloaca.WorkflowBuilder("mapped", check="off") as builder:
        for number, function in enumerate(functions):
            after = [f"m{number - 1}"] if number else []
            cloaca.task(id=f"m{number}", for_each="items", dependencies=after, **options)(function)
    return runner.execute(builder, Context({"items": range(SIZE) if items is None else items, "plus": 1}), seed=5)


def noting(path: Path, item: object) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{item}\n".encode())
    os.close(descriptor)


def noted(path: Path) -> Counter[int]:
    return Counter(map(int, path.read_text().split()))


def test_a_death_costs_the_item_that_was_running_and_no_other_one(runner: DefaultRunner, tmp_path: Path) -> None:
    trace, grave = tmp_path / "trace", tmp_path / "grave"

    def fall(context: Context, item: int) -> None:
        noting(trace, item)
        context.set("large", bytes(LARGE + item))
        if item in (150, 300):
            noting(grave, item)
            os.kill(os.getpid(), signal.SIGKILL)
        context.set("out", item)

    result = run(runner, fall)
    assert noted(trace) == Counter(range(SIZE))
    failed = [task.id for task in result.tasks.values() if task.status == "Failed"]
    assert failed == ["m0", "m0[150]", "m0[300]"]
    assert isinstance(result.tasks["m0[150]"].error, WorkerDied)
    assert result.tasks["m0[149]"].status == result.tasks["m0[151]"].status == "Completed"
    assert {task.attempts for task in result.tasks.values()} == {1}
    assert result.final_context["out"] == [None if item in (150, 300) else item for item in range(SIZE)]
    sizes = [None if item in (150, 300) else LARGE + item for item in range(SIZE)]
    assert [large and len(large) for large in result.final_context["large"]] == sizes


def test_what_died_is_tried_again_alone(runner: DefaultRunner, tmp_path: Path) -> None:
    trace = tmp_path / "trace"

    def fall_once(context: Context, item: int) -> None:
        noting(trace, item)
        if item == 200 and noted(trace)[item] == 1:
            os._exit(3)
        context.set("out", item)

    result = run(runner, fall_once, retry_attempts=2, retry_delay_ms=0)
    assert result.final_context["out"] == [*range(SIZE)]
    assert noted(trace) == Counter(range(SIZE)) + Counter([200])
    assert [task.id for task in result.tasks.values() if task.attempts == 2] == ["m0[200]"]


def test_only_what_takes_too_long_is_ended_and_tried_again(runner: DefaultRunner, tmp_path: Path) -> None:
    trace = tmp_path / "trace"

    def hang_once(context: Context, item: int) -> None:
        noting(trace, item)
        if item == 200 and noted(trace)[item] == 1:
            signal.pause()
        context.set("out", item)

    result = run(runner, hang_once, timeout=3, retry_attempts=2, retry_delay_ms=0)
    assert result.final_context["out"] == [*range(SIZE)]
    assert noted(trace) == Counter(range(SIZE)) + Counter([200])
    assert [task.id for task in result.tasks.values() if task.attempts == 2] == ["m0[200]"]


def test_no_more_run_at_once_than_a_limit_allows(sizes: list[int], tmp_path: Path) -> None:
    trace = tmp_path / "trace"

    def enter_and_leave(context: Context, item: int) -> None:
        noting(trace, item)
        context.set("out", item)
        noting(trace, item)

    with DefaultRunner(workers=2, executor="processes", limits={"one": 1}) as runner:
        run(runner, lambda context, item: context.set("out", item))
        sizes.clear()
        result = run(runner, enter_and_leave, limit="one")
    assert max(sizes) > 10
    assert result.final_context["out"] == [*range(SIZE)]
    lines = trace.read_text().split()
    assert lines[0::2] == lines[1::2], "one began before another one had ended"
    assert noted(trace) == Counter([*range(SIZE)] * 2)


def test_what_raises_fails_alone_and_the_rest_goes_on(
    runner: DefaultRunner, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "RECALL_SECONDS", math.inf)  # none counts as long, however long it takes here

    def check(context: Context, item: int) -> None:
        if item % 40 == 7:
            raise ValueError(f"bad {item}")
        context.set("out", item)

    def go_on(context: Context, item: int) -> None:
        context.set("more", (item, context["out"] + context["plus"]))

    result = run(runner, check, go_on)
    bad = [item for item in range(SIZE) if item % 40 == 7]
    assert [task.error_message for task in result.tasks.values() if "m0[" in task.id and task.status == "Failed"] == [
        f"ValueError: bad {item}" for item in bad
    ]
    assert [task.id for task in result.tasks.values() if task.status == "Skipped"] == [f"m1[{item}]" for item in bad]
    assert result.final_context["more"] == [None if item in bad else (item, item + 1) for item in range(SIZE)]
    assert sum(sizes) == 2 * SIZE - len(bad) + 1, "none is sent twice"


def test_what_waits_behind_a_long_one_goes_to_others(runner: DefaultRunner, tmp_path: Path) -> None:
    """The first one waits for all others, and so do those between which and the end there is more than one worker."""
    trace = tmp_path / "trace"
    trace.touch()

    def wait_for_others(context: Context, item: int) -> None:
        if item == 250:
            while len(noted(trace)) < SIZE - 1:
                signal.sigtimedwait([], 0.001)
        noting(trace, item)
        context.set("out", item)

    result = run(runner, wait_for_others)
    assert result.final_context["out"] == [*range(SIZE)]
    assert noted(trace) == Counter(range(SIZE))


def test_what_follows_goes_on_while_a_long_one_runs(runner: DefaultRunner, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    trace.touch()

    def wait_for_followers(context: Context, item: int) -> None:
        if item == 250:
            while len(noted(trace)) < SIZE - 1:
                signal.sigtimedwait([], 0.001)
        context.set("out", item)

    def follow(context: Context, item: int) -> None:
        noting(trace, item)
        context.set("more", context["out"])

    assert run(runner, wait_for_followers, follow).final_context["more"] == [*range(SIZE)]


def test_each_asks_for_what_it_lacks(runner: DefaultRunner) -> None:
    def look_up(context: Context, item: int) -> None:
        context.set("out", item + context[f"{'pl'}us"])

    result = run(runner, look_up)
    assert result.final_context["out"] == [item + 1 for item in range(SIZE)]
    assert result.tasks["m0[399]"].keys_read == ("items", "plus")


def test_the_items_of_a_dict_keep_their_keys_and_names(runner: DefaultRunner) -> None:
    def tell(context: Context, item: int) -> None:
        context.set(f"kind {item % 3}", (context.item_key, item))
        if item % 3 == 1:
            context.set("one", item)

    items = {f"key {n}": n for n in range(SIZE)}
    result = run(runner, tell, items=items)
    for kind in range(3):
        expected = {key: (key, item) for key, item in items.items() if item % 3 == kind}
        assert result.final_context[f"kind {kind}"] == expected
    assert result.tasks["m0['key 7']"].bytes_written


def test_the_answer_is_that_of_one_at_a_time(runner: DefaultRunner) -> None:
    def draw(context: Context, item: int) -> None:
        import random

        context.set("out", (item, random.random(), context.seed))

    def go_on(context: Context, item: int) -> None:
        context.set("items", item * 2)
        context.remove("plus") if item % 2 else context.set("plus", b"x" * (item * 1000))

    def look(context: Context, item: int) -> None:
        context.set("seen", (item, context.get("plus"), context["out"]))

    alone = run(DefaultRunner(executor="serial"), draw, go_on, look)
    together = run(runner, draw, go_on, look)
    assert {key: together.final_context[key] for key in together.final_context} == {
        key: alone.final_context[key] for key in alone.final_context
    }
    assert [*together.tasks] == [*alone.tasks]


def test_what_an_item_changes_the_next_ones_do_not_see(runner: DefaultRunner, tmp_path: Path) -> None:
    """It looks at no more than what it can look at without a call that counts as a change."""

    def change(context: Context, item: int) -> None:
        import logging.config
        import resource
        import sys
        import threading
        import warnings

        descriptor = os.open(tmp_path / str(item), os.O_CREAT | os.O_WRONLY, 0o777)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        found = (
            os.fstat(descriptor).st_mode,  # tells the umask
            os.getcwd(),
            os.environ.get("LEFT"),
            [entry for entry in sys.path if entry == "/left"],
            "left" in sys.argv,
            sys.getrecursionlimit(),
            sys.dont_write_bytecode,
            logging.root.level,
            logging.getLogger("other").disabled,
            len(logging.root.handlers),
            len(warnings.filters),
            signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL,
            soft,
            sys.stdout.closed,
            sys.excepthook is sys.__excepthook__,
            threading.excepthook is threading.__excepthook__,
            logging.lastResort is None,
            sys.getprofile() is None,
            "left" in dir(sys.stdout),
            context.get("left"),
        )
        os.close(descriptor)
        changes: list[Callable[[], object]] = [
            lambda: os.chdir("/"),
            lambda: os.environ.update(LEFT="yes"),
            lambda: sys.path.append("/left"),
            lambda: sys.argv.append("left"),
            lambda: sys.setrecursionlimit(5000),
            lambda: setattr(sys, "dont_write_bytecode", not sys.dont_write_bytecode),
            lambda: logging.basicConfig(level=1, handlers=[logging.NullHandler()], force=True),
            lambda: logging.config.dictConfig({"version": 1}),
            lambda: warnings.simplefilter("ignore"),
            lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN),
            lambda: os.umask(0o077),
            lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard)),
            sys.stdout.close,
            lambda: setattr(sys, "excepthook", print),
            lambda: setattr(threading, "excepthook", print),
            lambda: setattr(logging, "lastResort", None),
            lambda: sys.setprofile(lambda *_: None),
            lambda: setattr(sys, "stdout", sys.__stderr__),
            lambda: context.set("left", item),
            lambda: None,
        ]
        context.set("found", found)
        changes[item % len(changes)]()

    found = run(runner, change).final_context["found"]
    assert len(found) == SIZE
    assert found == [found[0]] * SIZE


class Meddler:
    """Changes its process where it is expected to count, and tells what it has found there."""

    def count(self, _text: str) -> tuple[str | None, int]:
        found = os.environ.get("LEFT"), os.umask(0o077)
        os.environ["LEFT"] = "yes"
        return found


@pytest.mark.parametrize(
    "function",
    [
        lambda context, item: context.set("out", item.count("a")),
        lambda context, item: context.set("out", context["meddler"].count(item) if isinstance(item, str) else 0),
    ],
    ids=["its item", "a key that it reads"],
)
def test_a_function_that_changes_nothing_itself_may_be_given_what_does(
    runner: DefaultRunner, function: Callable[..., Any]
) -> None:
    with cloaca.WorkflowBuilder("meddling", check="off") as builder:
        cloaca.task(id="m0", for_each="items")(function)
    items = ["a", Meddler()] * (SIZE // 2)
    found = runner.execute(builder, Context({"items": items, "meddler": Meddler()})).final_context["out"]
    assert len({one for one in found if isinstance(one, tuple)}) == 1


def test_lines_that_items_leave_unfinished_end_with_them(
    runner: DefaultRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    def tell(context: Context, item: int) -> None:
        import sys

        if item % 2:
            sys.stdout.reconfigure(write_through=False)  # type: ignore[union-attr]
        print(f"item {item}", end="")
        context.set("out", item)

    run(runner, tell)
    assert sorted(capsys.readouterr().out.splitlines()) == sorted(f"item {item}" for item in range(SIZE))


def test_what_instances_cost_is_told_of_each(runner: DefaultRunner) -> None:
    def write(context: Context, item: int) -> None:
        context.set("out", bytes(item))

    result = run(runner, write)
    tasks = [result.tasks[f"m0[{item}]"] for item in range(SIZE)]
    assert all(task.duration is not None and task.duration >= 0 for task in tasks)
    assert [task.bytes_written for task in tasks] == [len(bytes(item)) + 2 + (item > 255) for item in range(SIZE)]
    assert {task.keys_read for task in tasks} == {("items",)}
    assert sum(task.duration or 0 for task in tasks) == pytest.approx(
        sum((task.usage.ended - task.usage.started) for task in tasks if task.usage), abs=1e-6
    )


# ---- reports on their way ------------------------------------------------------------------------------------------


def acting(came: Path, goes_on: Path) -> Callable[[Context, str], None]:
    """What an item does is its name. Of none anything is reported before its attempt ends, or one says so."""

    def act(_: Context, item: str) -> None:
        from cloaca.worker import worker

        hand_in = worker.Worker._hand_in_tally

        def meet() -> None:
            came.write_text("")
            goes_on.read_text()

        def meet_and_hand_in(self: worker.Worker) -> None:
            worker.Worker._hand_in_tally = hand_in  # type: ignore[method-assign]
            meet()
            hand_in(self)

        worker.REPORT_SECONDS = -1.0 if item == "is reported" else 1000.0
        match item:
            case "meets":
                meet()
            case "meets when it has ended":
                worker.Worker._hand_in_tally = meet_and_hand_in  # type: ignore[method-assign]
            case "makes no sense":
                for descriptor in [path for path in Path("/proc/self/fd").iterdir() if path.is_socket()]:
                    os.write(int(descriptor.name), bytes(range(1, 100)))
                signal.pause()
            case _:
                """It ends at once."""

    return act


def words(*items: str) -> Items:
    return Items([encode(item) for item in items], task="m")


Look = Callable[..., Sequence[Event]]


@pytest.fixture
def look_only(monkeypatch: pytest.MonkeyPatch) -> Look:
    """One look after workers, by a program that has heard of no report when it begins. What takes longer is long."""
    monkeypatch.setattr(pool, "RECALL_SECONDS", math.inf)  # at any other time nothing is, on the slowest machine

    def look(desk: Desk, longest: float = 0.0) -> Sequence[Event]:
        with monkeypatch.context() as patch:
            patch.setattr(pool, "RECALL_SECONDS", longest)
            patch.setattr(Pool, "_look_out", lambda *_: [])
            return desk.executor.wait(0)

    return look


def ended(events: Sequence[Event]) -> list[tuple[int, int]]:
    """Of which attempts how many items have ended well, as it was told."""
    return [(event.attempt, len(event.written)) for event in events if isinstance(event, ItemsDone)]


def rest_of(desk: Desk, last: int) -> list[tuple[int, int]]:
    """Which items end well until that attempt has ended. All goes on in the worker that there is."""
    assert isinstance(desk.executor, Pool)
    pids, found = desk.executor.pids, list[tuple[int, int]]()
    while last not in dict(found):
        found += ended(desk.executor.wait(None))
    assert desk.executor.pids == pids
    return found


def test_what_has_been_sent_is_read_before_what_was_noted_after_it(
    desk_of: Callable[..., Desk], look_only: Look, tmp_path: Path
) -> None:
    came, goes_on = pipe(tmp_path / "came"), pipe(tmp_path / "goes on")
    desk = desk_of(1, acting(came, goes_on), lambda _: None)
    desk.run([1])
    (attempt,) = desk.submit([0], sent=words("ends", "is reported", "ends", "meets", "ends"))
    look_only(desk, math.inf)
    came.read_text()
    assert ended(look_only(desk)) == [(attempt, 2), (attempt, 1)]
    goes_on.write_text("")
    assert rest_of(desk, attempt) == [(attempt, 2)]


def test_what_was_noted_and_is_sent_late_is_read_before_what_was_noted_after_it(
    desk_of: Callable[..., Desk], look_only: Look, tmp_path: Path
) -> None:
    came, goes_on = pipe(tmp_path / "came"), pipe(tmp_path / "goes on")
    desk = desk_of(1, acting(came, goes_on), lambda _: None)
    desk.run([1])
    attempts = [desk.submit([0], sent=words("ends", "meets when it has ended"))[0] for _ in range(2)]
    (last,) = desk.submit([0], sent=words("ends", "ends"))
    look_only(desk, math.inf)
    for attempt in attempts:
        came.read_text()
        assert ended(look_only(desk)) == [(attempt, 2)]
        goes_on.write_text("")
    assert rest_of(desk, last) == [(last, 2)]


def test_what_is_noted_while_reports_are_read_is_not_read_before_its_own(
    desk_of: Callable[..., Desk], look_only: Look, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    came, goes_on = pipe(tmp_path / "came"), pipe(tmp_path / "goes on")
    desk = desk_of(1, acting(came, goes_on), lambda _: None)
    desk.run([1])
    (attempt,) = desk.submit([0], sent=words("ends", "meets", "is reported", "ends", "meets"))
    look_only(desk, math.inf)
    came.read_text()
    receive = Peer.receive

    def receive_and_go_on(peer: Peer) -> Iterator[Up]:
        try:
            yield from receive(peer)
        except BlockingIOError:
            monkeypatch.setattr(Peer, "receive", receive)
            goes_on.write_text("")
            came.read_text()
            raise

    monkeypatch.setattr(Peer, "receive", receive_and_go_on)
    assert ended(look_only(desk)) == [(attempt, 1)]
    goes_on.write_text("")
    rest = rest_of(desk, attempt)
    assert rest + (rest_of(desk, attempt) if len(rest) == 1 else []) == [(attempt, 2), (attempt, 2)]


def test_an_item_that_was_begun_is_lost_with_a_worker_that_makes_no_sense_afterwards(
    desk_of: Callable[..., Desk], tmp_path: Path
) -> None:
    came, goes_on = pipe(tmp_path / "came"), pipe(tmp_path / "goes on")
    desk = desk_of(1, acting(came, goes_on), lambda _: None)
    desk.run([1])
    (attempt,) = desk.submit([0], sent=words("meets", "makes no sense", "ends"))
    events = [*desk.executor.wait(0)]
    came.read_text()
    while not any(isinstance(event, Started) for event in events):
        events += desk.executor.wait(None)
    goes_on.write_text("")
    while not any(isinstance(event, Lost) for event in events):
        events += desk.executor.wait(None)
    assert [type(event) for event in events] == [Started, Lost, Unstarted]
    assert [event.item for event in events if isinstance(event, Lost)] == [0]
    assert events[-1] == Unstarted(attempt, 2)


# ---- stopped at an item --------------------------------------------------------------------------------------------


@pytest.fixture
def waiting(desk_of: Callable[..., Desk], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs items of these names until the first one has begun that waits to go on. Returns the desk and the attempt."""
    monkeypatch.setattr(pool, "RECALL_SECONDS", math.inf)  # what a worker has noted is read only to judge it
    desk = desk_of(1, acting(pipe(tmp_path / "came"), pipe(tmp_path / "goes on")), lambda _: None)
    desk.run([1])

    def wait(*items: str) -> tuple[Desk, int]:
        (attempt,) = desk.submit([0], sent=words(*items))
        until(desk, lambda events: any(isinstance(event, Started) for event in events))
        (tmp_path / "came").read_text()
        return desk, attempt

    return wait


def until(desk: Desk, holds: Callable[[list[Event]], object]) -> list[Event]:
    """What is told until that holds of it."""
    events = list[Event]()
    while not holds(events):
        events += desk.executor.wait(None)
    return events


def is_over(events: list[Event]) -> bool:
    return any(isinstance(event, Unstarted) for event in events)


def let_go_on(tmp_path: Path) -> None:
    """Let an item end that waits, until the next one has begun."""
    (tmp_path / "goes on").write_text("")
    (tmp_path / "came").read_text()


def test_an_item_is_stopped_alone(waiting: Callable[..., tuple[Desk, int]]) -> None:
    desk, attempt = waiting("meets", "ends", "ends")
    desk.executor.cancel([attempt], 0, 0)
    lost, rest = until(desk, is_over)
    assert isinstance(lost, Lost)
    assert lost.item == 0
    assert rest == Unstarted(attempt, 2)


def test_a_worker_that_has_come_to_the_next_item_goes_on(
    waiting: Callable[..., tuple[Desk, int]], tmp_path: Path
) -> None:
    desk, attempt = waiting("meets", "meets", "ends")
    let_go_on(tmp_path)
    desk.executor.cancel([attempt], 0, 0)
    assert ended(until(desk, ended)) == [(attempt, 1)]
    (tmp_path / "goes on").write_text("")
    assert rest_of(desk, attempt) == [(attempt, 2)]


def test_the_next_item_can_be_stopped_after_one_that_ended_in_time(
    waiting: Callable[..., tuple[Desk, int]], tmp_path: Path
) -> None:
    desk, attempt = waiting("meets", "meets", "ends")
    let_go_on(tmp_path)
    desk.executor.cancel([attempt], 0, 0)
    done, started = until(desk, lambda events: len(events) > 1)
    assert ended([done]) == [(attempt, 1)]
    assert isinstance(started, Started)
    desk.executor.cancel([attempt], 0, 1)
    lost, rest = until(desk, is_over)
    assert isinstance(lost, Lost)
    assert lost.item == 1
    assert rest == Unstarted(attempt, 1)


@pytest.mark.parametrize("comes_to", [0, 1])
def test_a_worker_that_dies_as_it_is_to_be_stopped_costs_the_item_that_it_is_at(
    waiting: Callable[..., tuple[Desk, int]], tmp_path: Path, comes_to: int
) -> None:
    desk, attempt = waiting("meets", "meets", "ends")
    if comes_to:
        let_go_on(tmp_path)
    assert isinstance(desk.executor, Pool)
    (pid,) = desk.executor.pids
    desk.executor.cancel([attempt], 1000, 0)
    os.kill(pid, signal.SIGKILL)
    events = until(desk, is_over)
    assert ended(events) == [(attempt, 1)] * comes_to
    assert [event.item for event in events if isinstance(event, Lost)] == [comes_to]
    assert events[-1] == Unstarted(attempt, 2 - comes_to)
