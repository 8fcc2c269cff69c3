"""What holds of a run after every event: the audit that tests make.

An auditor reads the books: `Run` keeps its counters and its heap to itself, and everything here is worked out a second
time from the plan and the states alone, then compared.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from cloaca.engine.queue import Queue
from cloaca.engine.run import Run
from cloaca.engine.seats import Seats, Share, Slots
from cloaca.engine.state import ENDED, State
from cloaca.engine.statuses import Statuses
from cloaca.engine.tries import Tries
from cloaca.engine.work import Work
from cloaca.history.write import unsuperseded
from cloaca.progress.left import TimeLeft
from cloaca.progress.progress import progress_of
from cloaca.triggers.rules import DEFAULT, RULES, Ends
from cloaca.triggers.verdict import judge
from cloaca.wire.messages import Failed, Lost, Ranges, Skipped, Usage

_OPEN = frozenset({State.SUBMITTED, State.RUNNING})
_TAKEN_UP = frozenset({State.RUNNING, State.BACKING_OFF, State.COMPLETED, State.FAILED})
_RELEASED = frozenset({State.READY, State.BACKING_OFF, State.HELD_UP, *_OPEN, State.COMPLETED, State.FAILED})
_IDLE = frozenset({State.WAITING, State.READY, State.BACKING_OFF, State.HELD_UP})


class _Books(Struct, frozen=True):
    """What a run keeps to itself."""

    unended: int
    aside: Mapping[Share, Sequence[int]]
    seats: Seats
    queue: Queue
    waiting: Sequence[int]
    well: Sequence[int]
    tries: Tries
    work: Sequence[Work]
    following: frozenset[int]

    @classmethod
    def of(cls, run: Run) -> "_Books":
        of_run = ("unended", "queue", "waiting", "well", "tries", "work", "following")
        held = {name: getattr(run, f"_{name}") for name in of_run}
        return cls(**held, **{name: getattr(held["queue"], f"_{name}") for name in ("aside", "seats")})


def check(run: Run) -> None:
    """Raise `AssertionError` with every invariant that the run breaks.

    Costs time in proportion to the tasks, the dependencies and the writes of the run.
    """
    books = _Books.of(run)
    faults = [
        *_counts(run, books),
        *_seats(run, books),
        *_attempts(run),
        *_dependencies(run, books),
        *_fans(run),
        *_ends(run),
        *_writes(run),
        *_progress(run),
    ]
    if faults:
        raise AssertionError("The run broke its invariants:\n" + "\n".join(faults))


def _progress(run: Run) -> Iterator[str]:
    """What is shown of it counts every task and instance once: a mapped task itself only as long as it has none."""
    time_left = TimeLeft(run.plan, run.durations, {}, 2)
    told = progress_of("w", "Running", run.ledger, run.open_attempts.values(), time_left, 1.0, 0.0)
    states = Counter(state for unit, state in enumerate(run.states) if unit not in run.ledger.fans)
    known = (State.COMPLETED, State.FAILED, State.SKIPPED, State.CANCELLED, State.RUNNING)
    counts = [told.completed, told.failed, told.skipped, told.cancelled, told.running]
    if [told.total, *counts] != [states.total(), *(states[state] for state in known)]:
        yield f"It is told that {told}, and the states are {states}."


def _counts(run: Run, books: _Books) -> Iterator[str]:
    unended = sum(state not in ENDED for state in run.states)
    if books.unended != unended:
        yield f"{unended} tasks have not ended, and the run counts {books.unended}."
    units = _ranks(run, frozenset({State.READY}))
    fans = run.ledger.fans
    offered = sorted(unit for fan in fans.values() for unit in fan.ready_units)
    if offered != [unit for unit in units if unit >= len(run.plan.names)]:
        yield f"The entries {units} are READY, and of instances {offered} are offered."
    ready = sorted({unit if unit < len(run.plan.names) else run.ledger.fan_of(unit).rank for unit in units})
    held = sorted(books.queue)
    if held != ready:
        yield f"The tasks {ready} are READY, and the queue holds {held}."
    waiting = _ranks(run, frozenset({State.BACKING_OFF}))
    backoffs, deadlines = [*books.tries.backoffs], [*books.tries.deadlines]
    if sorted(backoffs) != waiting:
        yield f"The tasks {waiting} are BACKING_OFF, and timers run for {backoffs}."
    if not set(deadlines) <= set(run.open_attempts):
        yield f"Time limits run for {deadlines}, and the attempts {[*run.open_attempts]} are open."


def _seats(run: Run, books: _Books) -> Iterator[str]:
    """An open attempt of a task with a share has its seats, and nobody else; who waits for some stands in line."""
    shares = {attempt.number: books.work[attempt.rank].share for attempt in run.open_attempts.values()}
    seated = {number: dict(share) for number, share in shares.items() if share}
    taken = {number: _counted(slots) for number, slots in books.seats.taken.items() if number in shares}
    if taken != seated:
        yield f"The open attempts {seated} need seats, and those that have some are {taken}."
    for limit, size in books.seats.sizes.items():
        numbers = sorted(seat for slots in books.seats.taken.values() for seat in _numbers(slots.get(limit, ())))
        if len({*numbers}) < len(numbers) or not {*numbers} <= {*range(size)}:
            yield f"The seats {numbers} of {limit!r} are taken, and there are {size}."
    for waiting, share in books.seats.line:
        wants = [rank for rank in _ranks(run, frozenset({State.READY})) if books.work[rank].share == share]
        if waiting is books.queue and not wants:
            yield f"The run stands in line for {share}, and none of its tasks needs that."
    for share, places in books.aside.items():
        if (books.queue, share) not in books.seats.line:
            yield f"The tasks at {places} wait for {share}, and the run is not in line."
        wrong = [run.priority.ranks[place] for place in places if books.work[run.priority.ranks[place]].share != share]
        if wrong or not places:
            yield f"For {share} wait {list(places)}, of which {wrong} have no business there."


def _counted(slots: Slots) -> dict[str, int]:
    return {limit: len(_numbers(ranges)) for limit, ranges in slots.items()}


def _numbers(ranges: Ranges) -> list[int]:
    return [number for start, stop in ranges for number in range(start, stop)]


def _attempts(run: Run) -> Iterator[str]:
    attempts = run.open_attempts
    ranks = sorted(attempt.rank + nth for attempt in attempts.values() for nth in range(attempt.count))
    opened = _ranks(run, frozenset({State.AHEAD, *_OPEN}))
    if ranks != opened:
        yield f"The tasks {opened} are AHEAD, SUBMITTED or RUNNING, and attempts are open at {ranks}."
    for rank in _ranks(run, frozenset({State.AHEAD})):
        before = [dependency for dependency in run.plan.predecessors[rank] if dependency in ranks]
        if len(before) != len(run.plan.predecessors[rank]):
            yield _about(run, rank, f"of what it was to come right after, only {before} is under way")
    yield from (
        f"Attempt {attempt.number} is filed under {number}."
        for number, attempt in attempts.items()
        if attempt.number != number
    )
    for rank in _ranks(run, _TAKEN_UP):
        fan = run.ledger.fans.get(rank)
        has_none = _ends_copies(run, rank) or (fan is not None and not fan.is_head)
        if not run.attempts[rank] and not has_none:
            yield _about(run, rank, "no attempt of it was ever started")


def _dependencies(run: Run, books: _Books) -> Iterator[str]:
    has_begun = any(state is not State.WAITING for state in run.states)
    for rank, dependencies in enumerate(run.plan.predecessors):
        state = run.states[rank]
        unended = sum(run.states[dependency] not in ENDED for dependency in dependencies)
        completed = sum(_counts_as_completed(run, dependency) for dependency in dependencies)
        if state is State.WAITING and (books.waiting[rank], books.well[rank]) != (unended, completed):
            counted = f"{books.waiting[rank]} unended and {books.well[rank]} completed"
            yield _about(run, rank, f"it counts {counted} dependencies, not {unended} and {completed}")
        if state is State.WAITING and not unended and has_begun:
            yield _about(run, rank, "nothing is left to wait for")
        if state in _RELEASED and unended:
            yield _about(run, rank, f"{unended} of its dependencies have not ended")
        if not unended and rank not in books.following:
            yield from _released(run, books, rank)
        if state is State.SKIPPED and unended:
            yield _about(run, rank, f"{unended} of its dependencies have not ended")


def _released(run: Run, books: _Books, rank: int) -> Iterator[str]:
    """Of a task whose dependencies have all ended: it was released or skipped as its rule says."""
    state = run.states[rank]
    may_start = not run.plan.predecessors[rank] or _lets_start(run, books.work[rank], rank)
    if state in _RELEASED and not may_start:
        yield _about(run, rank, "its rule does not let it start")
    if state is State.SKIPPED and may_start and not isinstance(run.ends[rank], Skipped):
        yield _about(run, rank, "its rule lets it start")


def _lets_start(run: Run, work: Work, rank: int) -> bool:
    statuses = [state.name.capitalize() for state in run.states]
    ends = (status for dependency in run.plan.predecessors[rank] for status in _statuses(run, dependency))
    if not RULES[work.rule or DEFAULT].holds(Ends.of(ends)):
        return False
    if work.trigger is None or work.condition:
        return True
    return judge(work.trigger, Statuses(lambda task: statuses[run.plan.rank[task]])).holds


def _statuses(run: Run, rank: int) -> list[str]:
    """How a dependency ended; where it has instances, how each of them did."""
    fan, state = run.ledger.fans.get(rank), run.states[rank]
    if fan is None or fan.is_too_wide or not fan.size:
        return [state.name.capitalize()]
    return [run.states[unit].name.capitalize() for unit in range(fan.first, fan.first + fan.size)]


def _counts_as_completed(run: Run, rank: int) -> bool:
    if run.states[rank] not in ENDED:
        return False
    states = _instances(run, rank)
    return State.COMPLETED in states if states else run.states[rank] is State.COMPLETED


def _instances(run: Run, rank: int) -> list[State]:
    """How the instances of a task stand; none where it has none."""
    fan = run.ledger.fans.get(rank)
    return [] if fan is None else run.states[fan.first : fan.first + fan.size]


def _fans(run: Run) -> Iterator[str]:
    for rank, fan in run.ledger.fans.items():
        states = _instances(run, rank)
        unended = sum(state not in ENDED for state in states)
        if fan.unended != unended:
            yield _about(run, rank, f"{unended} of its instances have not ended, and it counts {fan.unended}")
        leads = any(run.states[leader.rank] not in ENDED for leader in fan.leaders)
        if (run.states[rank] is State.EXPANDED) != (bool(unended) or leads):
            yield _about(run, rank, f"{unended} of its instances have not ended")
        if run.states[rank] in ENDED and not fan.is_too_wide and run.states[rank] is not _verdict(states):
            yield _about(run, rank, f"its instances are {states}")
        if fan.inner is not None:
            yield from _in_copies(run, rank, [_instances(run, leader.rank) for leader in fan.leaders], states)
        elif fan.leader is not None:
            yield from _pairs(run, rank, _instances(run, fan.leader.rank), states)


def _verdict(states: Sequence[State]) -> State:
    for state in (State.FAILED, State.CANCELLED):
        if state in states:
            return state
    return State.SKIPPED if {*states} == {State.SKIPPED} else State.COMPLETED


def _pairs(run: Run, rank: int, leading: Sequence[State], following: Sequence[State]) -> Iterator[str]:
    """A following instance waits as long as the leading one hasn't ended, and is skipped where that ended badly."""
    for before, after in zip(leading, following, strict=True):
        if before not in ENDED:
            fits = after in {State.WAITING, State.CANCELLED}
        elif before is State.COMPLETED:
            fits = after not in {State.WAITING, State.SKIPPED}
        else:
            fits = after in {State.SKIPPED, State.CANCELLED}
        if not fits:
            yield _about(run, rank, f"one of its instances is {after.name} after one that is {before.name}")


def _ends_copies(run: Run, unit: int) -> bool:
    """Whether an instance has completed by itself, as there was nothing left to do in its copy."""
    is_task = unit < len(run.plan.names)
    return not is_task and run.states[unit] is State.COMPLETED and run.ledger.fan_of(unit).is_end


def _in_copies(run: Run, rank: int, leading: Sequence[Sequence[State]], following: Sequence[State]) -> Iterator[str]:
    """In a copy, an instance waits for those that it follows; by the default rule it begins if one ended well."""
    has_rule = run._work[rank].rule is not None or run._work[rank].trigger is not None
    for before, after in zip(zip(*leading, strict=True), following, strict=False):
        if not ENDED.issuperset(before):
            fits = after in {State.WAITING, State.CANCELLED}
        elif has_rule or State.COMPLETED in before:
            fits = after is not State.WAITING and (has_rule or after is not State.SKIPPED)
        else:
            fits = after in {State.SKIPPED, State.CANCELLED}
        if not fits:
            yield _about(run, rank, f"one of its instances is {after.name} after some that are {before}")


def _ends(run: Run) -> Iterator[str]:
    for rank, (state, end) in enumerate(zip(run.states, run.ends, strict=True)):
        match state:
            case State.COMPLETED:
                fits = isinstance(end, Usage)
            case State.FAILED:
                fits = isinstance(end, Failed | Lost)
            case State.CANCELLED:
                fits = end is None or isinstance(end, Lost)
            case State.SKIPPED:
                fits = end is None or isinstance(end, Skipped)
            case _:
                fits = end is None
        if not fits and not (end is None and _ends_copies(run, rank)):
            yield _about(run, rank, f"its end is {end}")
        if bool(run.stopped) != (state is State.CANCELLED) and state in {*_IDLE, State.CANCELLED}:
            yield _about(run, rank, f"the run {'was' if run.stopped else 'was not'} stopped")


def _writes(run: Run) -> Iterator[str]:
    for key, writes in run.history.standing().items():
        if set(unsuperseded(writes)) != set(writes):
            yield f"Key {key!r}: of {writes}, which are said to stand, one supersedes another."
        yield from (
            _about(run, write.rank, f"its write of {key!r} stands")
            for write in writes
            if write.rank >= 0
            and run.states[write.rank] is not State.COMPLETED
            and not (run.states[write.rank] in ENDED and write.rank in run.ledger.fans)
        )


def _ranks(run: Run, states: frozenset[State]) -> list[int]:
    return [rank for rank, state in enumerate(run.states) if state in states]


def _about(run: Run, rank: int, fault: str) -> str:
    return f"Task {run.ledger.name(rank)!r} is {run.states[rank].name}, and {fault}."
