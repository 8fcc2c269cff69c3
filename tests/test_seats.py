"""Named limits as the engine keeps them: seats, who gets the next one, and that none waits behind one that can't go."""

from collections.abc import Sequence
from itertools import count
from random import Random

import pytest
from tests import invariants
from tests.reference import Graph
from tests.runs import done, failed, lost, states

from cloaca.border.surroundings import here
from cloaca.engine.events import AttemptEvent, Begin, Cancel, Release, Room, RunEvent, Tick
from cloaca.engine.run import Run
from cloaca.engine.seats import Seats
from cloaca.engine.work import Work
from cloaca.errors import WorkersUnavailableError
from cloaca.history.plan import plan
from cloaca.retry import RetryPolicy
from cloaca.running.coordinator import Coordinator, Job
from cloaca.testing import Choose, Move, ScriptedExecutor
from cloaca.values.blobs import Blob, reference
from cloaca.wire.messages import Assignment, Publish, Started, Unstarted

# ---- who gets a seat -----------------------------------------------------------------------------------------------


def test_who_waits_is_served_in_turn_and_nobody_overtakes() -> None:
    seats, first, second, third = Seats({"db": 2}), object(), object(), object()
    seats.take("db", 1, first)
    seats.take("db", 2, first)
    seats.stand_in_line("db", second)
    seats.stand_in_line("db", third)
    seats.stand_in_line("db", second)
    seats.free(1)
    assert [seats.room("db", run) for run in (first, second, third)] == [0, 1, 0]
    seats.take("db", 3, second)
    seats.free(2)
    assert [seats.room("db", run) for run in (first, second, third)] == [0, 0, 1]


def test_a_seat_is_freed_once() -> None:
    seats, run = Seats({"db": 1}), object()
    seats.take("db", 1, run)
    seats.free(1)
    seats.free(1)
    seats.free(7)
    assert seats.room("db", run) == 1


def test_who_leaves_the_line_holds_nobody_up() -> None:
    seats, gone, run = Seats({"db": 1}), object(), object()
    seats.take("db", 1, gone)
    seats.stand_in_line("db", gone)
    seats.stand_in_line("db", run)
    seats.leave(gone)
    seats.free(1)
    assert seats.room("db", run) == 1


# ---- one run -------------------------------------------------------------------------------------------------------

FLAT: Graph = [(name, []) for name in "abcdef"]


def limited(limits: str, seats: Seats, graph: Graph = FLAT, retry: RetryPolicy | None = None, first: int = 0) -> Run:
    """A run whose tasks have the limit "db" or "gpu" where there is a "d" or a "g"."""
    names = {"d": "db", "g": "gpu"}
    work = [Work(0, (), None, retry, limit=names.get(limit)) for limit in limits]
    return Run(plan("w", graph), work, {}, numbers=count(first), answers=True, seats=seats)


def told(run: Run, *events: RunEvent | AttemptEvent) -> str:
    """The names of the tasks that are submitted, with an audit after each event."""
    names = ""
    for event in events:
        names += "".join(command.task for command in run.handle(event, 0.0) if isinstance(command, Assignment))
        invariants.check(run)
    return names


def test_a_task_that_finds_no_seat_is_passed_over_and_goes_first_when_there_is_one() -> None:
    run = limited("dddxxx", Seats({"db": 1}))
    assert told(run, Begin(), Room(3)) == "ade"
    assert run.ready == 1, "f: without a seat, b and c could not be submitted"
    assert told(run, Started(0), done(0), Room(1)) == "b"
    assert told(run, Room(5)) == "f"


def test_limits_do_not_know_of_each_other() -> None:
    run = limited("ddggxx", Seats({"db": 1, "gpu": 1}))
    assert told(run, Begin(), Room(9)) == "acef"
    assert told(run, Started(1), done(1), Room(9)) == "d"


@pytest.mark.parametrize("ends", [[done(0)], [failed(0)], [Started(0), lost(0)], [Unstarted(0)]])
def test_however_an_attempt_ends_its_seat_is_free_and_only_that(ends: list[AttemptEvent]) -> None:
    seats = Seats({"db": 1})
    run = limited("dddddd", seats)
    told(run, Begin(), Room(9), *ends)
    assert not seats.taken
    assert len(told(run, Room(9))) == 1


def test_a_task_that_backs_off_has_no_seat() -> None:
    policy = RetryPolicy.builder().max_attempts(3).initial_delay(5).build()
    run = limited("ddxxxx", Seats({"db": 1}), retry=policy)
    assert told(run, Begin(), Room(9), failed(0)) == "acdef"
    assert states(run)["a"] == "BACKING_OFF"
    assert told(run, Room(9)) == "b"
    run.handle(Tick(), 1000.0)
    assert states(run)["a"] == "READY"
    assert told(run, Room(9)) == ""
    assert told(run, done(5), Room(9)) == "a"


@pytest.mark.parametrize("is_structure", [False, True])
def test_a_value_stays_while_a_task_that_waits_for_a_seat_may_read_it(*, is_structure: bool) -> None:
    def large(name: str) -> bytes:
        return reference(Blob(f"/x/{name}", 100_000, is_structure))

    graph: Graph = [("r", []), ("a", ["r"]), ("b", ["r"]), ("s", ["r"]), ("end", ["a", "b", "s"])]
    run = limited("xddxx", Seats({"db": 1}), graph)
    told(run, Begin(), Room(9), done(0, k=large("old")))
    assert told(run, Room(9)) == "as"
    assert list(run.handle(done(2, k=large("new")), 0.0)) == []
    assert list(run.handle(done(1), 0.0)) == []
    assert told(run, Room(9)) == "b"
    assert list(run.handle(done(3), 0.0)) == [Release([large("old")])]


def test_a_cancelled_run_stands_in_no_line_and_its_attempts_keep_their_seats_until_they_have_ended() -> None:
    seats = Seats({"db": 1})
    run, other = limited("dddddd", seats), limited("dddddd", seats, first=100)
    told(run, Begin(), Room(9))
    assert told(other, Begin(), Room(9)) == ""
    told(run, Started(0), Cancel())
    assert other.ready == 0
    told(run, lost(0))
    assert other.ready == 1
    assert told(other, Room(9)) == "a"


def test_runs_take_turns() -> None:
    seats = Seats({"db": 1})
    runs = [limited("dddddd", seats, first=1000 * n) for n in range(3)]
    for run in runs:
        told(run, Begin(), Room(9))
    served = []
    for _ in range(9):
        (attempt,) = seats.taken
        told(runs[attempt // 1000], done(attempt))
        served += [n for n, run in enumerate(runs) if told(run, Room(9))]
    assert served == [0, 1, 2, 0, 1, 2, 0, 1, 2], "in the order in which they came"


# ---- through the coordinator, in any order of events ---------------------------------------------------------------


class Watched(ScriptedExecutor):
    """Notes the most attempts that were open at once, by the name's first letter."""

    def __init__(self, choose: Choose) -> None:
        super().__init__(choose=choose, window=5)
        self.most: dict[str, int] = {}

    def submit(self, assignments: Sequence[Assignment]) -> None:
        super().submit(assignments)
        tasks = [assignment.task for assignment in (*self.held.values(), *self.running.values())]
        for kind in "dgx":
            self.most[kind] = max(self.most.get(kind, 0), sum(task[0] == kind for task in tasks))


def jobs(seats: Seats, ends: list[Exception | None], runs: int) -> list[Job[Run]]:
    """Runs of thirty tasks in three layers, of which two in three have limits."""
    numbers = count()
    made = []
    for n in range(runs):
        graph: Graph = [
            (f"{'dgx'[i % 3]}{i}", [f"{'dgx'[(i - 10) % 3]}{i - 10}"] if i >= 10 else []) for i in range(30)
        ]
        compiled = plan(f"w{n}", graph)
        work = [Work(0, (), limit={"d": "db", "g": "gpu"}.get(name[0])) for name in compiled.names]
        run = Run(compiled, work, {}, numbers=numbers, answers=True, seats=seats)
        made.append(Job("w", run, [Publish(0, b"", ())], ends.append, here()))
    return made


@pytest.mark.parametrize("seed", range(20))
def test_in_any_order_of_events_limits_are_kept_used_and_everybody_ends(seed: int) -> None:
    seats, ends = Seats({"db": 1, "gpu": 2}), list[Exception | None]()
    executor = Watched(Random(seed).choice)
    coordinator = Coordinator(executor, seats=seats)
    for job in jobs(seats, ends, 3):
        coordinator.post(job, Begin())
    while not coordinator.is_idle:
        coordinator.step(0)
    executor.close()
    assert ends == [None] * 3
    assert not seats.taken
    assert (executor.most["d"], executor.most["g"]) == (1, 2)


def first(moves: Sequence[Move]) -> Move:
    return moves[0]


def test_runs_that_a_fault_ended_give_their_seats_up_when_their_attempts_have_ended() -> None:
    seats, ends = Seats({"db": 1, "gpu": 1}), list[Exception | None]()
    executor = ScriptedExecutor()
    coordinator = Coordinator(executor, seats=seats)
    broken, later = jobs(seats, ends, 2)
    coordinator.post(broken, Begin())
    coordinator.step(0)
    open_attempts = list(executor.held)
    coordinator.fail(WorkersUnavailableError("no workers"))
    coordinator.post(later, Begin())
    coordinator.step(0)
    assert set(seats.taken) <= set(open_attempts), "what was left may still run"
    for attempt in open_attempts:
        executor.give_back(attempt)
    coordinator.step(0)
    coordinator.step(0)
    assert sorted(seats.taken.values()) == ["db", "gpu"]
    assert not set(seats.taken) & set(open_attempts)
    executor.close()
