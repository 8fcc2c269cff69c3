"""Named limits as the engine keeps them: seats, who gets the next ones, and that none waits for one that can't go."""

from collections import Counter
from collections.abc import Sequence
from itertools import count
from random import Random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from msgspec.structs import replace
from tests import invariants
from tests.reference import Graph
from tests.runs import done, failed, lost, states

from cloaca.border.surroundings import here
from cloaca.engine.events import AttemptEvent, Begin, Cancel, Release, Room, RunEvent, Tick
from cloaca.engine.run import Run
from cloaca.engine.seats import Seats, Share
from cloaca.engine.work import Work
from cloaca.errors import WorkersUnavailableError
from cloaca.history.plan import plan
from cloaca.retry import RetryPolicy
from cloaca.running.coordinator import Coordinator, Job
from cloaca.testing import Choose, Move, ScriptedExecutor
from cloaca.values.blobs import Blob, reference
from cloaca.wire.messages import Assignment, Publish, Started, Unstarted

# ---- who gets a seat -----------------------------------------------------------------------------------------------


DB: Share = (("db", 1),)
LARGE: Share = (("db", 3), ("gpu", 1))


def test_who_waits_is_served_in_turn_and_nobody_overtakes() -> None:
    seats, first, second, third = Seats({"db": 2}), object(), object(), object()
    seats.take(DB, 1, first)
    seats.take(DB, 2, first)
    seats.stand_in_line(DB, second)
    seats.stand_in_line(DB, third)
    seats.stand_in_line(DB, second)
    seats.free(1)
    assert [seats.room(DB, run) for run in (first, second, third)] == [0, 1, 0]
    seats.take(DB, 3, second)
    seats.free(2)
    assert [seats.room(DB, run) for run in (first, second, third)] == [0, 0, 1]


def test_a_seat_is_freed_once() -> None:
    seats, run = Seats({"db": 1}), object()
    seats.take(DB, 1, run)
    seats.free(1)
    seats.free(1)
    seats.free(7)
    assert seats.room(DB, run) == 1


def test_who_leaves_the_line_holds_nobody_up() -> None:
    seats, gone, run = Seats({"db": 1}), object(), object()
    seats.take(DB, 1, gone)
    seats.stand_in_line(DB, gone)
    seats.stand_in_line(DB, run)
    seats.leave(gone)
    seats.free(1)
    assert seats.room(DB, run) == 1


def test_an_attempt_takes_all_of_its_share_or_nothing() -> None:
    seats, one, other = Seats({"db": 4, "gpu": 1}), object(), object()
    assert seats.take(LARGE, 1, one) == {"db": ((0, 3),), "gpu": ((0, 1),)}
    assert seats.room(LARGE, other) == 0
    assert seats.room(DB, other) == 1, "what there is of one limit isn't held while another one is lacking"
    seats.free(1)
    assert seats.room(LARGE, other) == 1


def test_what_the_first_in_line_lacks_is_kept_for_it_and_nothing_else() -> None:
    seats, small, large = Seats({"db": 4, "gpu": 1, "net": 1}), object(), object()
    for attempt in (1, 2):
        seats.take(DB, attempt, small)
    seats.stand_in_line(LARGE, large)
    assert seats.room(DB, small) == 0, "two are left, and three are asked for"
    assert seats.room((("net", 1),), small) == 1
    assert seats.room((("gpu", 1),), small) == 0
    seats.free(1)
    assert (seats.room(DB, small), seats.room(LARGE, large)) == (0, 1)
    seats.take(LARGE, 3, large)
    seats.free(2)
    assert seats.room(DB, small) == 1


def test_the_same_seats_are_told_as_few_ranges_and_the_lowest_go_first() -> None:
    seats, run = Seats({"mb": 100_000}), object()
    told = [seats.take((("mb", count),), attempt, run)["mb"] for attempt, count in enumerate((10, 20, 30))]
    assert told == [((0, 10),), ((10, 30),), ((30, 60),)]
    seats.free(0)
    seats.free(2)
    assert seats.take((("mb", 50),), 3, run)["mb"] == ((0, 10), (30, 70))
    seats.free(1)
    seats.free(3)
    assert seats.take((("mb", 100_000),), 4, run)["mb"] == ((0, 100_000),)


# ---- any shares in any order ---------------------------------------------------------------------------------------

SIZES = {"one": 1, "two": 2, "five": 5}
shares = st.dictionaries(st.sampled_from([*SIZES]), st.integers(1, 5), min_size=1).map(
    lambda drawn: tuple((name, min(count, SIZES[name])) for name, count in sorted(drawn.items()))
)


class AnyShares(RuleBasedStateMachine):
    """Runs ask, wait, take and end in any order; each takes as soon as there is room for it."""

    def __init__(self) -> None:
        super().__init__()
        self.seats = Seats(SIZES)
        self.runs = [object() for _ in range(3)]
        self.numbers = count()
        self.open: dict[int, Share] = {}

    @rule(number=st.integers(0, 2), share=shares)
    def ask(self, number: int, share: Share) -> None:
        run = self.runs[number]
        if self.seats.room(share, run):
            self.take(run, share)
        else:
            self.seats.stand_in_line(share, run)

    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        """One ends. All that are in line are asked again, in any order, and none twice."""
        if self.open:
            attempt = data.draw(st.sampled_from([*self.open]))
            self.seats.free(attempt)
            del self.open[attempt]
        for run, share in data.draw(st.permutations(self.seats.line)):
            if self.seats.room(share, run):
                self.take(run, share)

    def take(self, run: object, share: Share) -> None:
        first, before = next(iter(self.seats.line), None), self.free()
        slots = self.seats.take(share, number := next(self.numbers), run)
        assert {name: sum(stop - start for start, stop in ranges) for name, ranges in slots.items()} == dict(share)
        self.open[number] = share
        if first is not None and first != (run, share):
            assert all(self.free()[name] >= min(needed, before[name]) for name, needed in first[1]), "it was kept"

    def free(self) -> dict[str, int]:
        taken = Counter[str]()
        for share in self.open.values():
            taken.update(dict(share))
        return {name: size - taken[name] for name, size in SIZES.items()}

    @invariant()
    def no_more_is_taken_than_there_is_and_no_seat_twice(self) -> None:
        assert all(number >= 0 for number in self.free().values())
        for name, size in SIZES.items():
            ranges = [pair for slots in self.seats.taken.values() for pair in slots.get(name, ())]
            numbers = [number for start, stop in ranges for number in range(start, stop)]
            assert len({*numbers}) == len(numbers) == size - self.free()[name]

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        if not self.open and self.seats.line:
            run, share = self.seats.line[0]
            assert self.seats.room(share, run), "no deadlock: where nobody has any, the first one finds its own"


def test_whatever_is_asked_for_no_deadlock_and_what_the_first_lacks_is_kept() -> None:
    run_state_machine_as_test(
        AnyShares,
        settings=settings(
            derandomize=True,
            database=None,
            deadline=None,
            max_examples=150,
            stateful_step_count=40,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("seed", range(50))
def test_a_large_share_is_served_when_what_was_under_way_has_ended_however_many_small_ones_come(seed: int) -> None:
    """Every run of small ones has more of them whenever it is asked. The large one comes when all seats are taken."""
    chance = Random(seed)
    seats, large, small = Seats({"db": 4, "gpu": 2}), object(), [object() for _ in range(3)]
    numbers, open_attempts = count(), list[int]()

    def ask_all() -> None:
        for run in chance.sample(small, 3):
            for share in chance.sample([DB, (("gpu", 1),), (("db", 1), ("gpu", 1))], 3):
                while seats.room(share, run):
                    open_attempts.append(next(numbers))
                    seats.take(share, open_attempts[-1], run)
                seats.stand_in_line(share, run)

    ask_all()
    seats.stand_in_line((("db", 4), ("gpu", 2)), large)
    most = len(open_attempts) + len(seats.line) - 1
    ends = 0
    while not seats.room((("db", 4), ("gpu", 2)), large):
        assert open_attempts, "nobody has a seat, and the large one finds none"
        attempt = chance.choice(open_attempts)
        open_attempts.remove(attempt)
        seats.free(attempt)
        ends += 1
        ask_all()
    assert ends <= most, "all that was under way, and one turn of each that was ahead in the line"


# ---- one run -------------------------------------------------------------------------------------------------------

FLAT: Graph = [(name, []) for name in "abcdef"]


def limited(limits: str, seats: Seats, graph: Graph = FLAT, retry: RetryPolicy | None = None, first: int = 0) -> Run:
    """A run whose tasks have the limit "db" or "gpu" where there is a "d" or a "g"."""
    names = {"d": "db", "g": "gpu"}
    shares = [((names[limit], 1),) if limit in names else () for limit in limits]
    work = [Work(0, (), None, retry, share=share) for share in shares]
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


def test_where_room_is_short_those_that_wait_for_seats_do_not_keep_the_others_waiting() -> None:
    """What is held back may have found its seat, and others still wait for one: nobody is under way, nor will be."""
    seats, elsewhere = Seats({"db": 1}), object()
    seats.take(DB, 99, elsewhere)
    run = limited("xddxxx", seats)
    assert told(run, Begin(), Room(6)) == "adef"
    told(run, done(1), done(2), done(3), replace(failed(0), lacking=100))
    seats.free(99)
    assert told(run, Room(6)) == "a", "alone, as nobody could let go of values"
    told(run, done(4))
    assert told(run, Room(6)) == "b"


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


def test_who_could_have_seats_and_has_more_urgent_things_to_do_lets_others_go_first() -> None:
    seats, elsewhere = Seats({"db": 1}), object()
    seats.take(DB, 99, elsewhere)
    graph: Graph = [("x", []), ("patient", []), ("u", ["x"]), ("v", ["x"])]
    priorities, shares = {"u": 9, "v": 9}, {"patient": DB}
    names = plan("w", graph).names
    work = [Work(0, (), share=shares.get(name, ()), priority=priorities.get(name, 0)) for name in names]
    busy = Run(plan("w", graph), work, {}, numbers=count(), answers=True, seats=seats)
    other = limited("dddddd", seats, first=100)
    assert told(busy, Begin(), Room(2)) == "x"
    assert told(other, Begin(), Room(1)) == ""
    seats.free(99)
    told(busy, done(0))
    assert told(busy, Room(1)) == "u"
    assert told(other, Room(1)) == "", "for this once, what the first one in line could have is kept for it"
    assert told(busy, Room(1)) == "v"
    assert told(other, Room(1)) == "a"
    assert told(busy, Room(1)) == ""
    told(other, done(100))
    assert told(other, Room(1)) == ""
    assert told(busy, Room(1)) == "patient"


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


KINDS: dict[str, Share] = {"d": (("db", 1),), "g": (("gpu", 1),), "x": (), "b": (("db", 1), ("gpu", 2))}


class Watched(ScriptedExecutor):
    """Notes the most attempts that were open at once, by the name's first letter."""

    def __init__(self, choose: Choose) -> None:
        super().__init__(choose=choose, window=5)
        self.most: dict[str, int] = {}
        self.both = 0

    def submit(self, assignments: Sequence[Assignment]) -> None:
        super().submit(assignments)
        tasks = [assignment.task for assignment in (*self.held.values(), *self.running.values())]
        for kind in KINDS:
            self.most[kind] = max(self.most.get(kind, 0), sum(task[0] == kind for task in tasks))
        kinds = Counter(task[0] for task in tasks)
        self.both += bool(kinds["b"] and (kinds["d"] or kinds["g"]))


def jobs(seats: Seats, ends: list[Exception | None], runs: int) -> list[Job[Run]]:
    """Runs of thirty tasks in three layers, of which three in four have limits, and one in four two of them."""
    numbers = count()
    made = []
    for n in range(runs):
        graph: Graph = [
            (f"{'dgxb'[i % 4]}{i}", [f"{'dgxb'[(i - 10) % 4]}{i - 10}"] if i >= 10 else []) for i in range(30)
        ]
        compiled = plan(f"w{n}", graph)
        work = [Work(0, (), share=KINDS[name[0]]) for name in compiled.names]
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
    assert (executor.most["d"], executor.most["g"], executor.most["b"]) == (1, 2, 1)
    assert executor.both == 0, "b takes all that there is of both limits"


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
    assert sorted(name for slots in seats.taken.values() for name in slots) == ["db", "gpu"]
    assert not set(seats.taken) & set(open_attempts)
    executor.close()
