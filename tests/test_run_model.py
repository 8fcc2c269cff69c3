"""The run against a naive model, checked after every event; and the checks themselves."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from operator import attrgetter
from typing import TypeVar, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace
from tests import invariants
from tests.follower import Follower
from tests.reference import (
    KEYS,
    Diff,
    Graph,
    Inputs,
    Model,
    Visible,
    deterministic,
    diffs,
    graphs,
    inputs,
    is_well_paired,
    leaders,
)
from tests.runs import DIAMOND, a_run, answered, candidates_of, done, failed, lost, states, tell

from cloaca.engine.events import AttemptEvent, Begin, Cancel, Command, Ended, Room, RunEvent, Tick, Withdraw
from cloaca.engine.facts import Fact, RunFinished, TaskRetried, TryFact
from cloaca.engine.pairing import paired
from cloaca.engine.replica import Replica
from cloaca.engine.run import Run
from cloaca.engine.seats import Seats, Share
from cloaca.engine.state import State, Stop
from cloaca.engine.timers import GRACE_SECONDS, Timers
from cloaca.engine.work import Work
from cloaca.history.plan import plan
from cloaca.retry import BackoffStrategy, RetryPolicy
from cloaca.testing import NO_USAGE
from cloaca.triggers.condition import (
    Condition,
    all_of,
    any_of,
    context_value,
    none_of,
    task_failed,
    task_skipped,
    task_success,
)
from cloaca.values.codec import decode, encode
from cloaca.wire.messages import (
    Assignment,
    Done,
    ItemsFound,
    Outcome,
    Skipped,
    Slice,
    Started,
    Unstarted,
    Version,
    Wants,
)

# ---- against a naive model -----------------------------------------------------------------------------------------


def seen(versions: Mapping[str, tuple[Version, ...]]) -> Visible:
    """The candidates of each key, of all that was told."""
    return {key: candidates_of(told) for key, told in versions.items()}


DELAY = 5.0


def patient(tries: int) -> RetryPolicy | None:
    """A policy of that many tries, always with the same delay."""
    if tries == 1:
        return None
    builder = RetryPolicy.builder().max_attempts(tries).initial_delay(DELAY).with_jitter(False)
    return builder.backoff_strategy(BackoffStrategy.fixed()).build()


NAMED: Mapping[str, Callable[[Sequence[str | None]], bool]] = {
    "all_success": lambda ends: set(ends) == {"COMPLETED"},
    "all_done": lambda ends: True,
    "one_success": lambda ends: "COMPLETED" in ends,
    "one_failed": lambda ends: "FAILED" in ends,
    "all_failed": lambda ends: set(ends) == {"FAILED"},
    "none_failed": lambda ends: "FAILED" not in ends,
    "none_skipped": lambda ends: "SKIPPED" not in ends,
    "none_failed_min_one_success": lambda ends: "FAILED" not in ends and "COMPLETED" in ends,
    "all_done_min_one_success": lambda ends: "COMPLETED" in ends,
}


@dataclass(frozen=True)
class OnTasks:
    """A condition on tasks, and the same in plain Python, given how each task ended."""

    condition: Condition
    holds: Callable[[Mapping[str, str]], bool]


ON_VALUE = "a value"
"""A condition that is asked in attempts."""

EXPANSION = 7


@dataclass(frozen=True)
class Trigger:
    """When a task starts: both have to hold."""

    rule: str | None
    condition: OnTasks | str | None


def triggers(above: Sequence[str]) -> st.SearchStrategy[Trigger]:
    """When a task starts that has these ancestors."""
    conditions: st.SearchStrategy[OnTasks | str | None] = st.sampled_from([None, None, ON_VALUE])
    if above:
        conditions |= st.builds(on_tasks, st.sampled_from(above), st.sampled_from(above))
    return st.builds(Trigger, st.sampled_from([None, *NAMED]), conditions)


def on_tasks(one: str, other: str) -> OnTasks:
    return OnTasks(
        any_of(all_of(task_success(one), none_of(task_failed(other))), task_skipped(one)),
        lambda ended: (ended[one] == "COMPLETED" and ended[other] != "FAILED") or ended[one] == "SKIPPED",
    )


SEATS = {"one": 1, "two": 2, "three": 3}
SHARES: list[Share] = [
    (("one", 1),),
    (("two", 1),),
    (("two", 2),),
    (("three", 1),),
    (("three", 2), ("two", 1)),
    (("one", 1), ("three", 3)),
]


def work_of(trigger: Trigger, above: Sequence[str], tries: int, timeout: float | None, share: Share) -> Work:
    work = Work(0, ("a", "b"), timeout, patient(tries), trigger.rule, share=share)
    if isinstance(trigger.condition, OnTasks):
        return replace(work, trigger=trigger.condition.condition)
    if trigger.condition is None:
        return work
    named = [task_success(task) for task in above[:1]]
    return replace(work, trigger=any_of(context_value("a", "exists"), *named), condition=1)


Method = TypeVar("Method", bound=Callable[..., object])


def once(method: Method) -> Method:
    """Work it out once for each object: it follows from the workflow alone, and would take most of the time."""

    def remembered(self: object, *given: object) -> object:
        known = self.__dict__.setdefault(f"known {method.__name__}", {})
        if given not in known:
            known[given] = method(self, *given)
        return known[given]

    return cast("Method", remembered)


class NaiveRun:
    """Who has ended and how, who is open: everything else is worked out anew each time."""

    def __init__(
        self,
        graph: Graph,
        given: Inputs,
        tries: Mapping[str, int],
        timeouts: Mapping[str, float],
        durations: Mapping[str, float],
        triggers: Mapping[str, Trigger],
        mapped: Mapping[str, str],
        known: Mapping[str, Sequence[str]],
        shares: Mapping[str, Share],
        priorities: Mapping[str, int],
    ) -> None:
        self.shares = shares
        self.priorities = priorities
        self.elsewhere: list[Share] = []
        self.line: list[tuple[str, Share]] = []  # who waits ("" is this run), and for what
        self.aside: set[str] = set()  # tasks that were passed over, and haven't been called up
        self.called: dict[Share, None] = {}  # what tasks take that have been, and haven't been begun
        self.failures: dict[str, int] = {}
        self.mapped = mapped
        self.known = known  # keys that mapped tasks are known to set
        self.leaders = leaders(graph, mapped)
        self.items: dict[str, dict[str, bytes]] = {}  # of each task that was expanded, by label
        self.keys: dict[str, list[bytes] | None] = {}
        self.wrote: dict[str, Diff] = {}  # by instance
        self.durations = durations
        self.triggers = triggers
        self.tries = tries
        self.timeouts = timeouts
        self.now = 0.0
        self.attempts = dict.fromkeys(dict(graph), 0)
        self.backing_off: dict[str, float] = {}
        self.deadlines: dict[int, float] = {}
        self.expired: set[int] = set()
        self.dependencies = dict(graph)
        self.names = plan("w", graph).names
        self.context = Model(graph, given)
        self.ended: dict[str, str] = {}
        self.open: dict[int, str] = {}
        self.started: set[int] = set()
        self.is_cancelled = False

    @property
    def entries(self) -> list[str]:
        """All tasks and instances."""
        return [*self.names, *(entry for name in self.items for entry in self.instances(name))]

    def instances(self, name: str) -> list[str]:
        return [f"{name}[{label}]" for label in self.items[name]]

    def above(self, name: str) -> list[str]:
        """The tasks that it follows, the nearest first."""
        leader = self.leaders.get(name)
        return [] if leader is None else [leader, *self.above(leader)]

    def expands(self, name: str) -> bool:
        """Whether an attempt of that name expands its task."""
        return name in self.mapped and "[" not in name

    def view(self, name: str) -> Visible:
        """What a task or an instance sees: from where it was expanded, under what those before it wrote."""
        task, label = split(name)
        above = self.above(task)
        visible = dict(self.context.whole([task, *above][-1]))
        for leader in reversed(above) if label else ():
            for key, payload in self.wrote.get(f"{leader}{label}", {}).items():
                visible[key] = () if payload is None else (Version(f"{leader}{label}", payload),)
        return {key: versions for key, versions in visible.items() if versions}

    def item(self, name: str) -> tuple[bytes, bytes | None]:
        """The item that an instance is given, and its key."""
        task, label = split(name)
        keys, place = self.keys[task], list(self.items[task]).index(label[1:-1])
        set_before = [self.wrote.get(f"{leader}{label}", {}).get(self.mapped[task]) for leader in self.above(task)]
        given = [payload for payload in set_before if payload is not None] or [self.items[task][label[1:-1]]]
        return given[0], None if keys is None else keys[place]

    def expand(self, attempt: int, items: dict[str, bytes], keys: list[bytes] | None) -> None:
        head = self.close(attempt)
        for name in self.names:
            if name == head or head in self.above(name):
                self.items[name], self.keys[name] = items, keys
                self.attempts |= dict.fromkeys(self.instances(name), 0)
        self.skip()

    def seconds(self, name: str) -> float:
        return self.durations.get(name, 1.0)

    @once
    def way(self, name: str) -> float:
        after = [self.way(other) for other in self.names if name in self.dependencies[other]]
        return self.seconds(name) + max(after, default=0.0)

    @once
    def depth(self, name: str) -> float:
        return self.seconds(name) + max(map(self.depth, self.dependencies[name]), default=0.0)

    @once
    def order(self) -> list[str]:
        """Each task after what it needs, the deepest first; in place of a mapped one stands its row, the last first."""
        found: list[str] = []

        def visit(name: str) -> None:
            for needed in sorted(dict.fromkeys(self.dependencies[name]), key=self.depth, reverse=True):
                visit(needed)
            if name not in found:
                found.append(name)

        for end in sorted(self.ends(), key=self.depth, reverse=True):
            visit(end)
        order = [one for name in found if name not in self.leaders for one in reversed(self.row(name))]
        return sorted(order, key=lambda name: -self.priorities[name])

    def ends(self) -> list[str]:
        return [name for name in self.names if not any(name in needed for needed in self.dependencies.values())]

    def row(self, head: str) -> list[str]:
        row = [head]
        for leader in row:
            row += [name for name in self.names if self.leaders.get(name) == leader]
        return row

    @once
    def tail(self) -> float:
        """How long the last tasks take, as long as there is one at a time."""
        ends, tail = self.ends(), 0.0
        while len(ends) == 1:
            tail += self.seconds(ends[0])
            ends = list(dict.fromkeys(self.dependencies[ends[0]]))
        return tail

    def ready(self) -> list[str]:
        return [
            entry
            for name in self.order()
            for entry in (self.instances(name) if name in self.items else [name])
            if entry not in self.ended
            and entry not in self.open.values()
            and entry not in self.backing_off
            and self._may_start(entry)
        ]

    def left(self) -> float:
        """The work that hasn't begun, without the tail."""
        begun = [*self.ended, *self.open.values()]
        entries = [entry for name in self.names for entry in (self.instances(name) if name in self.items else [name])]
        return sum(self.seconds(split(entry)[0]) for entry in entries if entry not in begun) - self.tail()

    def room(self, share: Share, who: str) -> int:
        """How many such shares can be met: with those ahead in the line left alone, one; with all, any number."""
        place = self.line.index((who, share)) if (who, share) in self.line else len(self.line)
        ahead, others = self.line[:place], [waiting for waiting in self.line if waiting != (who, share)]
        is_next = self.fits([share], ahead) and place < len(self.line)
        return max(is_next, next(n for n in count() if not self.fits([share] * (n + 1), others)))

    def fits(self, shares: Sequence[Share], waiting: Sequence[tuple[str, Share]]) -> bool:
        """Whether these could be met now beside what those share that are waiting."""
        held = [self.shares[split(name)[0]] for name in self.open.values()]
        kept = [share for _, share in waiting]
        names = {name for share in shares for name, _ in share}
        sums = Counter[str]()
        for share in (*shares, *held, *self.elsewhere, *kept):
            sums.update(dict(share))
        return all(sums[name] <= SEATS[name] for name in names)

    def next(self, size: int) -> list[str]:
        """Of the ready ones those that go: who finds too few seats is passed over, and stands in line."""
        self.call_up()
        width, left = len(self.open) + size, self.left()
        ready = [name for name in self.ready() if split(name)[0] not in self.aside]
        chosen: list[str] = []
        before = dict(self.open)
        while ready and len(chosen) < size:
            name = self.first(ready, width, left)
            task = split(name)[0]
            share = self.shares[task]
            if share and not self.room(share, ""):
                self.aside.add(task)
                self.called.pop(share, None)
                self.stand_in_line(share)
                ready = [other for other in ready if split(other)[0] != task]
                continue
            ready.remove(name)
            self.open[-1 - len(chosen)] = name
            self.called.pop(share, None)
            if ("", share) in self.line:
                self.line.remove(("", share))
            if any(self.shares[other] == share for other in self.aside):
                self.stand_in_line(share)
            left -= self.seconds(task)
            chosen.append(name)
        self.open = before
        return chosen

    def call_up(self) -> None:
        """Those compete again for which there is room. Those that did so in vain go to the end of the line."""
        for share in self.called:
            if ("", share) in self.line and self.room(share, ""):
                self.line.remove(("", share))
                self.line.append(("", share))
        rooms = {self.shares[task]: self.room(self.shares[task], "") for task in self.aside}
        for task in sorted(self.aside, key=self.order().index):
            if rooms[self.shares[task]]:
                rooms[self.shares[task]] -= 1
                self.aside.remove(task)
                self.called.setdefault(self.shares[task])

    def stand_in_line(self, share: Share, who: str = "") -> None:
        if (who, share) not in self.line:
            self.line.append((who, share))

    def first(self, ready: Sequence[str], width: int, left: float) -> str:
        """The first in the order, unless the longest way is longer by three usual tasks, and wouldn't fit in."""
        usual = sum(map(self.seconds, self.names)) / len(self.names)
        level = [name for name in ready if self.priorities[split(name)[0]] == self.priorities[split(ready[0])[0]]]
        longest = max(self.way(split(name)[0]) for name in level)
        farthest = min(
            (name for name in level if self.way(split(name)[0]) == longest),
            key=lambda name: self.names.index(split(name)[0]),
        )
        way = longest - 3 * usual
        is_in_danger = way >= self.way(split(ready[0])[0]) and (way - self.tail()) * width >= left
        return farthest if is_in_danger else ready[0]

    def start(self, attempt: int) -> None:
        name = self.open[attempt]
        self.started.add(attempt)
        self.attempts[name] += 1
        if split(name)[0] in self.timeouts:
            self.deadlines[attempt] = self.now + self.timeouts[split(name)[0]]

    def close(self, attempt: int) -> str:
        self.deadlines.pop(attempt, None)
        return self.open.pop(attempt)

    def end(self, attempt: int, how: str) -> None:
        self.ended[self.close(attempt)] = how
        self.skip()

    def fail(self, attempt: int) -> None:
        name = self.open[attempt]
        if self.is_cancelled or self.attempts[name] >= self.tries[split(name)[0]]:
            self.end(attempt, "FAILED")
        else:
            self.backing_off[self.close(attempt)] = self.now + DELAY

    def lose(self, attempt: int) -> None:
        if self.is_cancelled and attempt not in self.expired:
            self.end(attempt, "CANCELLED")
        else:
            self.fail(attempt)

    def due(self) -> float | None:
        return min([*self.backing_off.values(), *self.deadlines.values()], default=None)

    def tick(self) -> list[int]:
        self.backing_off = {name: moment for name, moment in self.backing_off.items() if moment > self.now}
        expired = sorted((moment, attempt) for attempt, moment in self.deadlines.items() if moment <= self.now)
        for _, attempt in expired:
            del self.deadlines[attempt]
            self.expired.add(attempt)
        return [attempt for _, attempt in expired]

    def skip(self) -> None:
        for name in self.names:
            if name in self.items:
                self._skip_instances(name)
                self._close_mapped(name)
            elif name not in self.ended and self._dependencies_ended(name) and not self._may_start(name):
                self.ended[name] = "SKIPPED"

    def _skip_instances(self, name: str) -> None:
        for entry in self.instances(name):
            before = self._before(entry)
            if entry not in self.ended and before is not None and self.ended.get(before, "COMPLETED") != "COMPLETED":
                self.ended[entry] = "CANCELLED" if self.is_cancelled else "SKIPPED"

    def _close_mapped(self, name: str) -> None:
        ends = [self.ended.get(entry) for entry in self.instances(name)]
        if name in self.ended or None in ends or self.leaders.get(name, name) not in {*self.ended, name}:
            return
        if "FAILED" in ends or "CANCELLED" in ends:
            self.ended[name] = "FAILED" if "FAILED" in ends else "CANCELLED"
        else:
            self.ended[name] = "SKIPPED" if {*ends} == {"SKIPPED"} else "COMPLETED"
        self.context.record(name, self.collected(name))

    def collected(self, name: str) -> Diff:
        """What was set, decoded and encoded anew: the very bytes."""
        diffs = [self.wrote.get(entry, {}) for entry in self.instances(name)]
        if "COMPLETED" not in [self.ended[entry] for entry in self.instances(name)]:
            return {key: self._whole(name, [None] * len(diffs)) for key in self.known[name]}
        columns = {key: [diff.get(key) for diff in diffs] for key in {key for diff in diffs for key in diff}}
        return {key: self._whole(name, column) if any(column) else None for key, column in columns.items()}

    def _whole(self, name: str, column: Sequence[bytes | None]) -> bytes:
        keys = self.keys[name]
        if keys is None:
            return encode([None if payload is None else decode(payload) for payload in column])
        return encode({decode(key): decode(payload) for key, payload in zip(keys, column, strict=True) if payload})

    def cancel(self) -> None:
        self.is_cancelled = True
        self.backing_off.clear()
        self.aside.clear()
        self.called.clear()
        self.line = [(who, share) for who, share in self.line if who]
        idle = {*self.entries} - {*self.ended} - {*self.open.values()} - {*self.items}
        self.ended |= dict.fromkeys(idle, "CANCELLED")
        self.skip()

    def states(self) -> dict[str, str]:
        ready = dict.fromkeys(self.ready(), "READY")
        waiting = dict.fromkeys(self.backing_off, "BACKING_OFF")
        opened = {name: "RUNNING" if n in self.started else "SUBMITTED" for n, name in self.open.items()}
        expanded = dict.fromkeys(self.items, "EXPANDED")
        return dict.fromkeys(self.entries, "WAITING") | expanded | ready | waiting | opened | self.ended

    def _dependencies_ended(self, name: str) -> bool:
        return all(dependency in self.ended for dependency in self.dependencies[name])

    def _before(self, entry: str) -> str | None:
        """The instance that it follows."""
        task, label = split(entry)
        leader = self.leaders.get(task)
        return None if leader is None or not label else f"{leader}{label}"

    def _may_start(self, entry: str) -> bool:
        before = self._before(entry)
        if before is not None:
            return self.ended.get(before) == "COMPLETED"
        if "[" in entry:
            return True
        return entry not in self.leaders and self._dependencies_ended(entry) and self._rule_holds(entry)

    def _rule_holds(self, name: str) -> bool:
        ends = [end for dependency in self.dependencies[name] for end in self._ends(dependency)]
        trigger = self.triggers[name]
        if not self.dependencies[name]:
            return True
        is_let = not isinstance(trigger.condition, OnTasks) or trigger.condition.holds(self.ended)
        return is_let and NAMED[trigger.rule or "all_done_min_one_success"](ends)

    def _ends(self, name: str) -> list[str]:
        """How a dependency ended: a mapped task that has instances did as they did."""
        return [self.ended[entry] for entry in self.instances(name)] if self.items.get(name) else [self.ended[name]]


def split(entry: str) -> tuple[str, str]:
    """A task, and the rest of the name of its instance."""
    task, bracket, label = entry.partition("[")
    return task, bracket + label


class RunAgainstModel(RuleBasedStateMachine):
    """Any events that an executor's contract allows, and late ones, in any order."""

    @initialize(graph=graphs(most=8), given=inputs, answers=st.booleans(), data=st.data())
    def begin(self, graph: Graph, given: Inputs, data: st.DataObject, *, answers: bool) -> None:
        compiled = plan("w", graph)
        tries = {name: data.draw(st.sampled_from([1, 1, 2, 3])) for name in compiled.names}
        timeouts = {name: 8.0 for name in compiled.names if data.draw(st.booleans())}
        above = Model(graph, given).orders
        rules = {name: data.draw(triggers(above[name])) for name in compiled.names}
        shares = {name: data.draw(st.sampled_from([(), (), *SHARES])) for name in compiled.names}
        priorities = {name: data.draw(st.sampled_from([0, 0, 5, -1])) for name in compiled.names}
        mapped: dict[str, str] = {}
        for name in compiled.names:
            key = data.draw(st.sampled_from([None, None, "a", "b"]))
            if key is not None and is_well_paired(graph, {**mapped, name: key}):
                mapped[name] = key
        keys = [mapped.get(name) for name in compiled.names]
        known = {name: tuple(sorted(data.draw(st.sets(st.sampled_from(KEYS))))) for name in mapped}
        writes = {rank: known.get(name, ()) for rank, name in enumerate(compiled.names)}
        each = paired(compiled, keys, dict.fromkeys(range(len(keys)), EXPANSION), writes)
        work = [
            replace(
                work_of(rules[name], above[name], tries[name], timeouts.get(name), shares[name]),
                each=each.get(rank),
                priority=priorities[name],
            )
            for rank, name in enumerate(compiled.names)
        ]
        durations = {name: float(data.draw(st.integers(1, 4))) for name in compiled.names} if answers else {}
        taken = [durations[name] for name in compiled.names] if durations else None
        self.seats = Seats(SEATS)
        self.guests = count(1000)  # attempts of other runs
        self.run = Run(compiled, work, given, numbers=count(), answers=answers, durations=taken, seats=self.seats)
        self.answers = answers
        self.model = NaiveRun(graph, given, tries, timeouts, durations, rules, mapped, known, shares, priorities)
        self.replica = Replica(self.run)
        self.looks: list[tuple[str, Slice]] = []
        self.last = -1
        self.late = 0
        self.ends_told = 0
        self.run.listen()
        self.follower = Follower()
        self.facts: Sequence[Fact] = ()
        assert self.tell(Begin()) == []

    def tell(self, event: RunEvent | AttemptEvent) -> list[Command]:
        commands = list(self.run.handle(event, self.model.now, self.model.now + 100))
        self.facts = self.run.facts()
        self.follower.follow(self.facts)
        self.ends_told += commands.count(Ended())
        return [command for command in commands if command != Ended()]

    def pick(self, data: st.DataObject, attempts: Sequence[int]) -> int:
        return data.draw(st.sampled_from(sorted(attempts)))

    def pick_ending(self, data: st.DataObject, attempts: Sequence[int] | None = None) -> int:
        """One that ends, whether or not its start was told."""
        attempt = self.pick(data, list(self.model.open) if attempts is None else attempts)
        if attempt not in self.model.started:
            self.model.start(attempt)
        return attempt

    @property
    def held(self) -> list[int]:
        return [attempt for attempt in self.model.open if attempt not in self.model.started]

    @property
    def asked(self) -> list[int]:
        """The attempts that ask a condition."""
        asking = {name for name, trigger in self.model.triggers.items() if trigger.condition == ON_VALUE}
        return [attempt for attempt, name in self.model.open.items() if name in asking]

    @property
    def running(self) -> list[int]:
        return [attempt for attempt in self.model.open if attempt in self.model.started]

    @rule(size=st.integers(0, 4))
    def room(self, size: int) -> None:
        expected = self.model.next(size)
        if size:
            assert min(self.run.ready, 1) >= min(len(expected), 1)  # room is offered where there is something to do
        for command, name in zip(self.tell(Room(size)), expected, strict=True):
            assert isinstance(command, Assignment)
            assert command.task == name
            assert command.attempt == self.last + 1
            self.last = command.attempt
            self.model.open[command.attempt] = name
            self.check_slice(command)

    def check_slice(self, assignment: Assignment) -> None:
        visible = self.model.view(assignment.task)
        given = assignment.slice
        assert given.complete is not self.answers
        expands = self.model.expands(assignment.task)
        assert assignment.function == (EXPANSION if expands else 0)
        is_asked = "[" not in assignment.task and self.model.triggers[assignment.task].condition == ON_VALUE
        assert assignment.condition == is_asked
        items = assignment.items
        expected = self.model.item(assignment.task) if "[" in assignment.task else None
        sent = None if items is None else (items.payloads[0], None if items.keys is None else items.keys[0])
        assert sent == expected
        if self.answers:
            named = self.model.context.orders[split(assignment.task)[0]][:1]
            statuses = {name: Outcome(self.model.ended[name].capitalize()) for name in named} if is_asked else None
            assert given.outcomes == statuses
            reads = {self.model.mapped[assignment.task], *("a" * is_asked)} if expands else {"a", "b"}
            found = {key: told for key, told in seen(given.versions).items() if told}
            assert found.items() <= visible.items(), "what comes along unasked is as it would be read"
            assert visible.keys() & reads <= found.keys()
        else:
            assert seen(given.versions) == visible
            assert given.outcomes is not None
            assert dict(given.outcomes) == self.outcomes(assignment.task)

    def outcomes(self, task: str) -> dict[str, Outcome]:
        task, label = split(task)
        above = self.model.above(task) if label else []
        names = {name: name for name in self.model.context.orders[[task, *above][-1]]}
        names |= {leader: f"{leader}{label}" for leader in above}
        return {name: self.run.ledger.outcome(self.run.ledger.find(entry) or 0) for name, entry in names.items()}

    @rule(share=st.sampled_from(SHARES))
    def come_and_go_elsewhere(self, share: Share) -> None:
        """Another run takes seats where they are left; or it stands in line; or it gives up all that it has."""
        room = self.seats.room(share, self)
        assert room == self.model.room(share, "elsewhere")
        if room and len(self.model.elsewhere) < 2:
            self.seats.take(share, next(self.guests), self)
            self.model.elsewhere.append(share)
            if ("elsewhere", share) in self.model.line:
                self.model.line.remove(("elsewhere", share))
            return
        if not room and not self.model.elsewhere:
            self.seats.stand_in_line(share, self)
            self.model.stand_in_line(share, "elsewhere")
            return
        for number in [number for number in self.seats.taken if number >= 1000]:
            self.seats.free(number)
        self.model.elsewhere.clear()

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def start(self, data: st.DataObject) -> None:
        attempt = self.pick(data, self.held)
        assert self.tell(Started(attempt)) == []
        self.model.start(attempt)

    @rule(seconds=st.integers(1, 6))
    def pass_time(self, seconds: int) -> None:
        self.model.now += seconds
        assert self.tell(Tick()) == [Withdraw(attempt, GRACE_SECONDS) for attempt in self.model.tick()]

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        attempt = self.pick(data, self.held)
        assert self.tell(Unstarted(attempt)) == []
        if self.model.is_cancelled:
            self.model.end(attempt, "CANCELLED")
        else:
            self.model.close(attempt)

    @precondition(lambda self: self.model.open)
    @rule(data=st.data(), diff=diffs)
    def complete(self, data: st.DataObject, diff: Diff) -> None:
        attempt = self.pick_ending(data)
        name = self.model.open[attempt]
        if self.model.expands(name):
            self.expand(attempt, data)
            return
        assert self.tell(Done(attempt, dict(diff), NO_USAGE)) == []
        self.check_told(name, diff, None)
        if "[" in name:
            self.model.wrote[name] = diff
        else:
            self.model.context.record(name, diff)
        self.model.end(attempt, "COMPLETED")

    def expand(self, attempt: int, data: st.DataObject) -> None:
        size = data.draw(st.integers(0, 3))
        is_dict = data.draw(st.booleans())
        labels = [f"'k{n}'" if is_dict else str(n) for n in range(size)]
        items = {label: encode(f"item {label}") for label in labels}
        keys = [encode(f"k{n}") for n in range(size)] if is_dict else None
        found = ItemsFound([*items.values()], [*items] if is_dict else None, keys)
        assert self.tell(Done(attempt, {}, NO_USAGE, items=found)) == []
        if self.model.is_cancelled:
            self.model.end(attempt, "CANCELLED")
        else:
            self.model.expand(attempt, items, keys)

    def check_told(self, name: str, diff: Diff, error: str | None) -> None:
        """Those who follow the run are told how a try has ended. What the task saw is looked at, now or later."""
        task, label = split(name)
        (fact,) = [fact for fact in self.facts if isinstance(fact, TryFact) and self.replica.name(fact) == name]
        told, wrote = (fact.error, {}) if isinstance(fact, TaskRetried) else (fact.outcome.error, fact.diff)
        assert ((told or "").partition(": ")[0] or None, wrote) == (error, diff)
        assert (fact.nth, fact.ended) == (self.model.attempts[name], self.model.failures.get(name, 0))
        assert fact.overlay == {
            key: () if payload is None else (Version(f"{leader}{label}", payload),)
            for leader in (reversed(self.model.above(task)) if label else ())
            for key, payload in self.model.wrote.get(f"{leader}{label}", {}).items()
        }
        self.looks.append((name, self.replica.slice(fact)))

    @precondition(lambda self: self.looks)
    @rule(data=st.data())
    def look(self, data: st.DataObject) -> None:
        self.look_at(*self.looks.pop(data.draw(st.integers(0, len(self.looks) - 1))))

    def teardown(self) -> None:
        for name, slice_ in getattr(self, "looks", ()):
            self.look_at(name, slice_)

    def look_at(self, name: str, given: Slice) -> None:
        assert seen(given.versions) == self.model.view(name)
        assert given.outcomes is not None
        assert dict(given.outcomes) == self.outcomes(name)

    @precondition(lambda self: self.model.open)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        attempt = self.pick_ending(data)
        name = self.model.open[attempt]
        assert self.tell(failed(attempt)) == []
        self.check_told(name, {}, "ValueError")
        self.model.failures[name] = self.model.failures.get(name, 0) + 1
        if self.model.expands(name):
            self.model.end(attempt, "FAILED")
        else:
            self.model.fail(attempt)

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def skip(self, data: st.DataObject) -> None:
        """The condition of an attempt doesn't hold."""
        attempt = self.pick_ending(data, self.asked)
        assert self.tell(Skipped(attempt, "it is small", NO_USAGE)) == []
        rank = self.run.plan.rank[self.model.open[attempt]]
        assert self.run.ledger.outcome(rank) == Outcome("Skipped", reason="it is small")
        self.model.end(attempt, "SKIPPED")

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        attempt = self.pick(data, self.running)
        name = self.model.open[attempt]
        assert self.tell(lost(attempt)) == []
        is_cancelled = self.model.is_cancelled and attempt not in self.model.expired
        dead = "TaskTimeout" if attempt in self.model.expired else "WorkerDied"
        self.check_told(name, {}, None if is_cancelled else dead)  # what was cancelled has not failed
        self.model.lose(attempt)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), keys=st.sets(st.sampled_from([*KEYS, "z"])), rest=st.booleans())
    def want(self, data: st.DataObject, keys: set[str], *, rest: bool) -> None:
        attempt = self.pick(data, self.running)
        task = self.model.open[attempt]
        visible = self.model.view(task)
        given = answered(self.tell(Wants(attempt, tuple(sorted(keys)), rest)))
        assert given.complete is rest
        assert given.outcomes is None
        assert rest or keys <= given.versions.keys()
        assert not rest or seen(given.versions) == visible
        assert all(found == visible.get(key, ()) for key, found in seen(given.versions).items())

    @precondition(lambda self: self.running)
    @rule(data=st.data(), rest=st.booleans())
    def want_outcomes(self, data: st.DataObject, *, rest: bool) -> None:
        attempt = self.pick(data, self.running)
        task = self.model.open[attempt]
        told = self.outcomes(task)
        given = answered(self.tell(Wants(attempt, (), rest, outcomes=True)))
        instances = self.outcomes_of_instances(task)
        assert given.outcomes == ({**told, **instances} if rest else told)
        assert seen(given.versions) == (self.model.view(task) if rest else {})
        for name in [entry for entry in self.model.entries if "[" in entry][:4]:
            beside = {one: how for one, how in instances.items() if split(one)[0] == split(name)[0]}
            expected = beside if name in instances else {}
            assert answered(self.tell(Wants(attempt, (name,), outcomes=True))).outcomes == expected

    def outcomes_of_instances(self, task: str) -> dict[str, Outcome]:
        """Of those that surely ended before it: of the tasks that it follows its own, of others all."""
        own, label = split(task)
        above = self.model.above(own) if label else []
        before = self.model.context.orders[[own, *above][-1]]
        names = [entry for name in before if name in self.model.items for entry in self.model.instances(name)]
        names += [f"{leader}{label}" for leader in above]
        return {name: self.run.ledger.outcome(self.run.ledger.find(name) or 0) for name in names}

    def go_on(self, data: st.DataObject) -> None:
        """Several tasks start and end."""
        self.room(size=4)
        for end in data.draw(st.lists(st.sampled_from(["complete", "fail", "skip"]), min_size=2, max_size=4)):
            if end == "skip" and self.asked:
                self.skip(data=data)
            elif end == "complete" and self.model.open:
                self.complete(data=data, diff=data.draw(diffs))
            elif self.model.open:
                self.fail(data=data)

    @precondition(lambda self: self.last > len(self.model.open))
    @rule(
        data=st.data(),
        event=st.sampled_from(
            [
                Started,
                Unstarted,
                failed,
                lost,
                lambda n: Skipped(n, "late", NO_USAGE),
                lambda n: done(n, a=b"late"),
                lambda n: Wants(n, ("a",)),
            ]
        ),
    )
    def report_late(self, data: st.DataObject, event: Callable[[int], AttemptEvent]) -> None:
        closed = [attempt for attempt in range(self.last + 1) if attempt not in self.model.open]
        assert self.tell(event(self.pick(data, closed))) == []
        self.late += 1

    @precondition(lambda self: not self.run_is_over)
    @rule(is_meant=st.integers(0, 3))
    def cancel(self, is_meant: int) -> None:
        """Not too often: most runs should go on for a while."""
        if is_meant:
            return
        assert self.tell(Cancel(1.5)) == [Withdraw(attempt, 1.5) for attempt in self.model.open]
        self.model.cancel()

    @property
    def run_is_over(self) -> bool:
        return len(self.model.ended) == len(self.model.entries)

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "run"):
            return
        invariants.check(self.run)
        assert states(self.run) == self.model.states()
        assert self.run.due == self.model.due()
        attempts = {self.run.ledger.name(unit): tried for unit, tried in enumerate(self.run.attempts)}
        assert attempts == self.model.attempts
        assert self.run.late == self.late
        shares = {attempt: self.model.shares[split(name)[0]] for attempt, name in self.model.open.items()}
        seated = {attempt: {name for name, _ in share} for attempt, share in shares.items() if share}
        assert {number: {*slots} for number, slots in self.seats.taken.items() if number < 1000} == seated
        line = [("" if waiting is not self else "elsewhere", share) for waiting, share in self.seats.line]
        assert line == self.model.line
        assert self.ends_told == self.run_is_over
        ends = {self.replica.name(fact): fact.outcome.status.upper() for fact in self.follower.ended.values()}
        assert ends == self.model.ended
        assert isinstance(self.follower.facts[-1], RunFinished) == self.run_is_over
        if State.EXPANDED not in self.run.states:  # what a mapped task leaves is told with what follows it by item
            assert seen(self.run.history.final()) == self.model.context.final()


def test_the_run_agrees_with_the_naive_model() -> None:
    run_state_machine_as_test(
        RunAgainstModel,
        settings=settings(
            derandomize=True,
            database=None,
            deadline=None,
            max_examples=120,
            stateful_step_count=40,
            suppress_health_check=list(HealthCheck),
        ),
    )


@deterministic
@given(graph=graphs(most=8), inputs=inputs, answers=st.booleans(), data=st.data())
def test_whole_runs_agree_with_the_naive_model(
    graph: Graph, inputs: Inputs, data: st.DataObject, *, answers: bool
) -> None:
    """Events at random seldom lead to the end of a run: here every task has its turn."""
    machine = RunAgainstModel()
    machine.begin(graph=graph, given=inputs, data=data, answers=answers)
    while not machine.run_is_over:
        machine.go_on(data)
        machine.pass_time(seconds=6)
        machine.agrees()


# ---- the audit itself ----------------------------------------------------------------------------------------------


def timers(number: int) -> Timers:
    running = Timers()
    running.set(number, 1.0)
    return running


def taken_by(attempt: int) -> Seats:
    seats = Seats({"db": 1})
    seats.take((("db", 1),), attempt, object())
    return seats


def spoil(run: Run, name: str, change: Callable[[object], object]) -> None:
    holder, _, name = name.rpartition(".")
    spoilt = attrgetter(holder)(run) if holder else run
    setattr(spoilt, name, change(getattr(spoilt, name)))


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("_unended", lambda unended: unended - 1, "the run counts 2"),
        ("_queue._ready._heap", lambda heap: [*heap, 2], "the queue holds"),
        ("_open", lambda _: {}, "attempts are open at []"),
        ("_queue._aside", lambda _: {(("db", 1),): [2]}, "the queue holds"),
        ("_queue._seats", lambda _: taken_by(1), "those that have some are {1: {'db': 1}}"),
        ("_waiting", lambda _: [0, 0, 0, 5], "it counts 5 unended"),
        ("_well", lambda well: [0, 0, 0, 1], "and 1 completed dependencies"),
        ("attempts", lambda _: [0, 0, 0, 0], "no attempt of it was ever started"),
        ("ends", lambda _: [None] * 4, "its end is None"),
        ("stopped", lambda _: Stop.CANCELLED, "the run was stopped"),
        ("_tries.backoffs", lambda _: timers(1), "timers run for [1]"),
        ("_tries.deadlines", lambda _: timers(9), "Time limits run for [9]"),
        ("states", lambda states: [*states[:3], State.READY], "of its dependencies have not ended"),
        ("states", lambda states: [*states[:3], State.SKIPPED], "of its dependencies have not ended"),
        ("states", lambda states: [State.FAILED, *states[1:]], "its write of 'k' stands"),
        ("states", lambda states: [State.FAILED, *states[1:]], "its rule does not let it start"),
        ("states", lambda states: [*states[:2], State.SKIPPED, states[3]], "its rule lets it start"),
    ],
)
def test_the_audit_finds_a_broken_run(name: str, change: Callable[[object], object], said: str) -> None:
    run = a_run(DIAMOND)
    tell(run, Begin(), Room(1), Started(0), done(0, k=b"1"), Room(1), Started(1))
    spoil(run, name, change)
    with pytest.raises(AssertionError) as caught:
        invariants.check(run)
    assert said in str(caught.value)
