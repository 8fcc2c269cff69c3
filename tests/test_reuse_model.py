"""Workflows made by chance, changed by chance, and run again beside a fresh run: the same bytes, and no more work.

What a task does follows from what it looks at, and is checked to. A naive model compares all that is told of it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import count
from random import Random
from typing import Any

import pytest
from msgspec import msgpack
from msgspec.structs import replace as replaced
from tests.follower import Place
from tests.reference import KEYS, Graph, is_well_paired
from tests.runs import places_seen
from tests.test_lifetimes import name_of, names_of, opaque, removed, small
from tests.test_resuming import Driver
from tests.test_run_model import patient

from cloaca.engine.facts import TaskExpanded, TaskFinished
from cloaca.engine.fan import Each
from cloaca.engine.looks import Looks
from cloaca.engine.pairing import paired
from cloaca.engine.reuse import Reuse
from cloaca.engine.run import Run
from cloaca.engine.work import Merging, Work
from cloaca.errors import INPUT
from cloaca.history.plan import plan
from cloaca.history.told_digests import Combining
from cloaca.history.unwanted import Demand
from cloaca.triggers.condition import context_value
from cloaca.values.blobs import is_reference
from cloaca.values.codec import encode
from cloaca.values.composite import composite_of, is_composite
from cloaca.wire.messages import (
    Assignment,
    Done,
    Failed,
    ItemsFound,
    Looked,
    Lost,
    Outcome,
    Skipped,
    Usage,
    Version,
)

NAMES = [f"t{n}" for n in range(14)]
RULES = [None, None, None, "all_done", "one_failed", "none_failed", "all_success"]
EDITS = ["input", "version", "edition", "dependency", "task", "gone", "rule", "conflict", "outside", "seed"]
UNMAPPED = Each("")


# ---- what is run ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """A task. `version` tells what it does, and `edition` how it is written; `mapped`: over which key."""

    dependencies: tuple[str, ...]
    rule: str | None = None
    is_asked: bool = False
    mapped: str | None = None
    has_fingerprint: bool = False
    tries: int = 1
    version: int = 0
    edition: int = 0

    @property
    def code(self) -> tuple[object, ...]:
        return self.version, self.edition, self.mapped, self.is_asked, self.has_fingerprint


@dataclass(frozen=True)
class Flow:
    """A workflow, its input, and what else there is: `outside` is what fingerprints are taken of."""

    seed: int
    steps: Mapping[str, Step]
    inputs: Mapping[str, int]
    outside: int = 0
    rules: Mapping[str, int] = field(default_factory=dict)
    on_conflict: str | None = None
    is_unanimous: bool = False
    run_seed: int = 5
    settles: bool = False

    @property
    def graph(self) -> Graph:
        return [(name, list(step.dependencies)) for name, step in self.steps.items()]

    @property
    def collected(self) -> frozenset[str]:
        return frozenset("c") if "c" in self.rules else frozenset()

    @property
    def combining(self) -> Combining:
        return Combining({key: bytes([rule]) for key, rule in self.rules.items()}, self.on_conflict)


def made(seed: int, *, settles: bool = False) -> Flow:
    random = Random(seed)
    flow = Flow(
        seed,
        {},
        {key: random.randrange(3) for key in KEYS},
        rules={"b": 1, "c": 1} if seed % 2 else {},
        is_unanimous=seed % 3 == 0,
        settles=settles,
    )
    for name in NAMES[:11]:
        flow = with_step(flow, name, a_step(random, [*flow.steps]))
    return flow


def a_step(random: Random, before: Sequence[str]) -> Step:
    mapped = random.choice([None, None, "a", "b"])
    return Step(
        tuple(random.sample(before, min(len(before), random.choice([0, 1, 1, 2, 3])))),
        random.choice(RULES),
        random.random() < 0.2,
        mapped,
        random.random() < 0.2,
        random.choice([1, 2, 3]),
    )


def with_step(flow: Flow, name: str, step: Step) -> Flow:
    """The flow with that step; where it couldn't be mapped there, it isn't."""
    graph = [*((other, deps) for other, deps in flow.graph if other != name), (name, list(step.dependencies))]
    if name in flow.steps:
        graph = [(other, list(step.dependencies) if other == name else deps) for other, deps in flow.graph]
    steps = dict(flow.steps)
    steps[name] = step
    mapped = {other: one.mapped for other, one in steps.items() if one.mapped is not None}
    if not is_well_paired(graph, mapped):
        steps[name] = Step(step.dependencies, step.rule, version=step.version)
        mapped.pop(name, None)
    return flow if not is_well_paired(graph, mapped) else _with(flow, steps=steps)


def _with(flow: Flow, **changes: Any) -> Flow:
    return Flow(**{**flow.__dict__, **changes})


def edited(flow: Flow, random: Random) -> Flow:
    """The same with one thing changed."""
    names = [*flow.steps]
    name = random.choice(names)
    step = flow.steps[name]
    match random.choice(EDITS):
        case "input":
            return _with(flow, inputs={**flow.inputs, random.choice(KEYS): random.randrange(3)})
        case "version":
            return _with(flow, steps={**flow.steps, name: _step(step, version=step.version + 1)})
        case "edition":
            return _with(flow, steps={**flow.steps, name: _step(step, edition=step.edition + 1)})
        case "dependency":
            before = names[: names.index(name)]
            dependencies = random.sample(before, min(len(before), random.choice([0, 1, 2])))
            return with_step(flow, name, _step(step, dependencies=tuple(dependencies)))
        case "task":
            unused = [other for other in NAMES if other not in flow.steps]
            return with_step(flow, unused[0], a_step(random, names)) if unused else flow
        case "gone":
            steps = {
                other: _step(one, dependencies=tuple(before for before in one.dependencies if before != name))
                for other, one in flow.steps.items()
                if other != name
            }
            mapped = {other: one.mapped for other, one in steps.items() if one.mapped is not None}
            smaller = _with(flow, steps=steps)
            return smaller if is_well_paired(smaller.graph, mapped) else flow
        case "rule":
            return _with(flow, rules={**flow.rules, "b": random.choice([1, 2])} if flow.rules else {})
        case "conflict":
            return _with(flow, on_conflict=random.choice([None, "first", "last"]))
        case "outside":
            return _with(flow, outside=flow.outside + 1)
        case _:
            return _with(flow, run_seed=random.choice([5, 6]))


def _step(step: Step, **changes: Any) -> Step:
    return Step(**{**step.__dict__, **changes})


# ---- what tasks do -------------------------------------------------------------------------------------------------

_copies = count()


def another(payload: bytes | None) -> bytes | None:
    """The same value, in a file of its own if it is in one."""
    return opaque(f"{next(_copies)}~{content_name(payload)}") if payload and is_reference(payload) else payload


def content_name(payload: bytes) -> str:
    return name_of(payload).rpartition("~")[2]


def plain(payload: bytes | None) -> object:
    """What a payload consists of, wherever it lies."""
    if payload is None:
        return None
    if is_composite(payload):
        made = composite_of(payload)
        return [plain(element) for element in made.elements], made.keys
    return f"in a file: {content_name(payload)}" if is_reference(payload) else payload


def plainly(told: Iterable[Version]) -> list[tuple[str, object, tuple[int, ...]]]:
    return [(version.writer, plain(version.payload), version.saw) for version in told]


def parts_of(told: Sequence[Version]) -> list[list[Version]]:
    """What is told, cut before milestones."""
    parts: list[list[Version]] = []
    for version in told:
        if version.is_milestone or not parts:
            parts.append([])
        parts[-1].append(version)
    return parts


def standing(told: Sequence[Version]) -> list[Version]:
    """The candidates."""
    part = parts_of(told)[-1]
    seen = {place for version in part for place in places_seen(version)}
    return [version for place, version in enumerate(part) if place not in seen and not version.is_milestone]


def sha(value: object) -> str:
    return sha256(msgpack.encode(value)).hexdigest()


def value_of(told: Sequence[Version], terms: object) -> bytes | None:
    """What versions come to: the same, whether somebody has found out before what a part of them does or not."""
    value: bytes | None = None
    for part in parts_of(told):
        first = value if part[0].is_milestone else part[0].payload
        rest = plainly(part[1:])
        value = sha([plain(first), rest, terms]).encode() if rest else first
    return value


class View:
    """What an attempt can see, and notes what it looks at."""

    def __init__(self, flow: Flow, assignment: Assignment) -> None:
        self.flow = flow
        self.assignment = assignment
        self.versions = {
            key: told
            for key, told in assignment.slice.versions.items()
            if told and not (len(told) == 1 and told[0].payload is None and key not in flow.collected)
        }
        self.values: dict[str, None] = {}
        self.presence: dict[str, None] = {}
        self.outcomes: dict[str, None] = {}
        self.every_key = self.every_outcome = self.seed = False

    def told(self, key: str) -> tuple[object, ...]:
        """All that is told of a key, and by what it is combined."""
        told = self.versions.get(key, ())
        if len(told) < 2 and key not in self.flow.collected:
            return tuple((version.writer, plain(version.payload)) for version in told)
        return (*plainly(told), self.terms(key))

    def terms(self, key: str) -> tuple[object, ...]:
        return self.flow.rules.get(key), None if key in self.flow.collected else self.flow.on_conflict

    def value(self, key: str) -> object:
        self.values[key] = None
        return plain(self.merged(key))

    def merged(self, key: str) -> bytes | None:
        told = self.versions.get(key, ())
        if key in self.flow.collected and told:
            return sha([plainly(told), self.terms(key)]).encode()
        return value_of(told, self.terms(key)) if told else None

    def is_mixed(self, key: str) -> bool:
        """Whether only who merges the key knows if it is there."""
        candidates = standing(self.versions[key]) if key in self.versions else []
        return any(version.payload is None for version in candidates)

    def has(self, key: str) -> bool:
        self.presence[key] = None
        return self._has(key)

    def _has(self, key: str) -> bool:
        return key in self.versions and not (self.is_mixed(key) and sha(self.merged(key)) < "8")

    def keys(self) -> list[str]:
        self.every_key = True
        return sorted(key for key in self.versions if self._has(key))

    def outcome(self, name: str) -> Outcome | None:
        self.outcomes[name] = None
        return (self.assignment.slice.outcomes or {}).get(name)

    def all_outcomes(self) -> list[tuple[str, Outcome]]:
        self.every_outcome = True
        return [*(self.assignment.slice.outcomes or {}).items()]

    def drawn(self) -> object:
        self.seed = True
        return self.flow.run_seed, self.assignment.task, self.assignment.ended

    def looked(self, fingerprint: bytes) -> Looked:
        return Looked(
            (*self.values,),
            (*self.presence,),
            self.every_key,
            (*self.outcomes,),
            self.every_outcome,
            self.seed,
            fingerprint,
        )

    def snapshot(self, looked: Looked) -> object:
        """All that stands where another attempt has looked."""
        outcomes = self.assignment.slice.outcomes or {}
        items = self.assignment.items
        values = dict.fromkeys((*looked.values, *self.assignment.agreed))
        values |= dict.fromkeys(key for key in looked.presence if self.is_mixed(key))
        names = [(key, self.told(key) if self.is_mixed(key) else None) for key in self.versions]
        return (
            {key: self.told(key) for key in values},
            {key: key in self.versions for key in looked.presence if not self.is_mixed(key)},
            names if looked.every_key else None,
            {name: outcomes.get(name) for name in looked.outcomes},
            [*outcomes.items()] if looked.every_outcome else None,
            (self.flow.run_seed, self.assignment.task) if looked.seed else None,
            looked.fingerprint and self.flow.outside,
            None if items is None else ([*map(plain, items.payloads)], items.keys),
            self.flow.is_unanimous and self.assignment.agreed,
        )


@dataclass
class Play:
    """A flow that is run, in the place of a `Weave`; and all that its attempts have seen."""

    flow: Flow
    reuse: Reuse | None = None
    released: set[str] = field(default_factory=set)
    seen: dict[Place, list[View]] = field(default_factory=dict)
    looked: dict[Place, Looked] = field(default_factory=dict)
    called: set[Place] = field(default_factory=set)
    driver: Driver = field(init=False)

    def run(self, earlier: Sequence[Any] = ()) -> Run:
        flow = self.flow
        compiled = plan("w", flow.graph)
        ranks = range(len(compiled.names))
        keys = [flow.steps[name].mapped for name in compiled.names]
        each = paired(compiled, keys, dict.fromkeys(ranks, 1), dict.fromkeys(ranks, ()))
        steps = [flow.steps[name] for name in compiled.names]
        work = [
            Work(
                0,
                tuple(KEYS),
                retry=patient(step.tries),
                rule=None if each.get(rank, UNMAPPED).follows is not None else step.rule,
                trigger=context_value("a", "exists") if step.is_asked else None,
                condition=9 * step.is_asked,
                each=each.get(rank),
                fingerprint=7 * step.has_fingerprint,
            )
            for rank, step in enumerate(steps)
        ]
        collected = flow.collected
        return Run(
            compiled,
            work,
            {key: Version(INPUT, encode(value)) for key, value in flow.inputs.items()},
            numbers=count(),
            answers=False,
            merging=Merging(ruled=frozenset(flow.rules), collected=collected, unanimous=flow.is_unanimous),
            seed=flow.run_seed,
            content=self.content,
            combining=flow.combining,
            demand=Demand(frozenset("a"), [frozenset(KEYS)] * len(steps)) if flow.seed % 5 == 0 else None,
            reuse=self.reuse,
            earlier=earlier,
        )

    def content(self, payload: bytes) -> bytes:
        assert names_of([payload]).isdisjoint(self.released), "looked at after its release"
        return sha256(msgpack.encode(plain(payload))).digest()[:16]

    def report(self, assignment: Assignment) -> Done | Failed | Lost | Skipped:
        view = View(self.flow, assignment)
        task = assignment.task.partition("[")[0]
        item = None if assignment.items is None else assignment.items.payloads[0]
        fingerprint = sha(self.flow.outside).encode()[:16] if assignment.fingerprint else b""
        usage = Usage(1.0, 2.0, 0.0, 1)
        if fingerprint and assignment.unless == fingerprint:
            return Done(assignment.attempt, {}, usage, looked=Looked(fingerprint=fingerprint), is_held=True)
        self.called.add(self.place(assignment))
        report = self._report(view, task, item)
        if isinstance(report, Done):
            settled = self._settled(view) if self.flow.settles else None
            report = replaced(report, looked=view.looked(fingerprint), settled=settled)
            self.looked[self.place(assignment)] = view.looked(fingerprint)
        self.seen.setdefault(self.place(assignment), []).append(view)
        return report

    def place(self, assignment: Assignment) -> Place:
        return self.driver.run.ledger.place(self.driver.run.ledger.find(assignment.task) or 0)

    def _settled(self, view: View) -> dict[str, Version] | None:
        several = [key for key in view.values if len(view.versions.get(key, ())) > 1]
        keys = [key for key in several if key not in self.flow.collected and not view.is_mixed(key)]
        return {key: Version("m", view.merged(key)) for key in keys} or None

    def _report(self, view: View, task: str, item: bytes | None) -> Done | Failed | Lost | Skipped:
        assignment, step = view.assignment, self.flow.steps[task]
        number, usage = assignment.attempt, Usage(1.0, 2.0, 0.0, 1)
        random = Random(f"{self.flow.seed} {task} {step.version}")
        if assignment.agreed and any(sha(plain(view.merged(key))) < "6" for key in assignment.agreed):
            return Failed(number, "MergeConflict", "no", "", None, usage)
        if assignment.condition and sha(view.value("a")) < "5":
            return Skipped(number, "a", usage)
        if step.mapped is not None and item is None:
            return Done(number, {}, usage, items=_items(random, sha(view.value(step.mapped))))
        looks = sha(
            [plain(item), view.assignment.items.keys if view.assignment.items else None, *_look(view, random, task)]
        )
        digest = sha([looks, step.has_fingerprint and self.flow.outside])
        if (random.random() < 0.3 and digest < "5") or (random.random() < 0.1 and not assignment.ended):
            return Failed(number, "ValueError", f"saw {digest[:4]}", "", None, usage)
        if random.random() < 0.1 and assignment.nth == 1:
            return Lost(number, None, "SIGKILL")
        told = digest[:9] if random.random() < 0.5 else str(digest < "8")  # or few things may come of it
        keys = random.sample(KEYS, random.choice([0, 1, 1, 2]))
        kinds = [random.choice([small, small, opaque, removed]) for _ in keys]
        values = [another(kind(f"{task}-{key}-{told}")) for key, kind in zip(keys, kinds, strict=True)]
        return Done(number, dict(zip(keys, values, strict=True)), usage)


def _look(view: View, random: Random, task: str) -> Iterator[object]:
    """All that a task looks at: where it looks may follow from what it has seen."""
    if random.random() < 0.7:
        first = view.value(random.choice(KEYS))
        yield first
        if random.random() < 0.4:
            yield view.value(KEYS[int(sha(first), 16) % len(KEYS)])
    if random.random() < 0.2:
        yield view.has(random.choice(KEYS))
    if random.random() < 0.1:
        yield view.keys()
    if random.random() < 0.2:
        yield view.outcome(random.choice([name for name in NAMES if name != task]))
    if random.random() < 0.05:
        yield view.all_outcomes()
    if random.random() < 0.15:
        yield view.drawn()


def _items(random: Random, digest: str) -> ItemsFound:
    size = random.choice([0, 1, 2, 4, 14])
    found = [another(random.choice([small, opaque])(f"item-{sign < '8'}")) for sign in digest[:size]]
    items = [item for item in found if item is not None]
    if random.random() < 0.5:
        return ItemsFound(items)
    return ItemsFound(items, [f"'k{n}'" for n in range(size)], [encode(f"k{n}") for n in range(size)])


# ---- what was recorded ---------------------------------------------------------------------------------------------


@dataclass
class Recorded:
    looks: Looks
    nth: int
    ended: int
    item: int | None
    done: Done
    origin: str = "before"

    def report(self) -> Done | None:
        done = self.done
        if done.items is not None:
            payloads = [another(payload) or b"" for payload in done.items.payloads]
            return replaced(done, items=replaced(done.items, payloads=payloads))
        return replaced(done, diff={key: another(payload) for key, payload in done.diff.items()})


class Shelf:
    """What a run has left, for one of another flow."""

    def __init__(self, before: Driver, old: Flow, new: Flow) -> None:
        self.records: dict[str, list[Recorded]] = {}
        self.asked: list[Place] = []
        self._old, self._new = old, new
        for fact in before.facts:
            match fact:
                case TaskExpanded(looks=Looks() as looks, usage=Usage() as usage, items=items):
                    done = Done(0, {}, usage, items=items)
                    self._add(fact.task, Recorded(looks, fact.nth, 0, None, done))
                case TaskFinished(looks=Looks() as looks, end=Usage() as usage):
                    settled = None if fact.settled is None else dict(fact.settled)
                    done = Done(0, dict(fact.diff), usage, settled)
                    self._add(fact.task, Recorded(looks, fact.nth, fact.ended, fact.item, done))
                case _:
                    pass

    def _add(self, task: str, record: Recorded) -> None:
        self.records.setdefault(task, []).append(record)

    def candidates(self, task: str, item: int | None, item_digest: bytes) -> Iterable[Recorded]:
        self.asked.append((task, item))
        if task not in self._old.steps or self._old.steps[task].code != self._new.steps[task].code:
            return []
        return [
            record
            for record in self.records.get(task, ())
            if (record.item is None) == (item is None) and record.looks.item == item_digest
        ]

    def why_none(self, task: str, item: int | None) -> str:
        return "never ran" if item is None else "its item is new"


def driven(flow: Flow, order: int, reuse: Reuse | None = None, earlier: Sequence[Any] = ()) -> tuple[Play, Driver]:
    play = Play(flow, reuse)
    driver = Driver.__new__(Driver)
    play.driver = driver
    Driver.__init__(driver, play, order, earlier, released=play.released)  # type: ignore[arg-type]
    return play, driver


def left_by(driver: Driver) -> object:
    """How all has ended, and what it has left."""
    ends = {
        (fact.task, fact.item): (fact.outcome, {key: plain(payload) for key, payload in fact.diff.items()})
        for fact in driver.facts
        if isinstance(fact, TaskFinished)
    }
    return ends, [(key, plainly(told)) for key, told in driver.run.history.final().items()]


def unchanged(before: Play, fresh: Play, shelf: Shelf) -> Iterator[Place]:
    """What needn't run again, as the naive model has it: all that was told where it has looked is what it was."""
    old, new = before.flow, fresh.flow
    for (task, item), views in fresh.seen.items():
        if task not in old.steps or old.steps[task].code != new.steps[task].code:
            continue
        now = views[-1]
        for record in shelf.records.get(task, ()):
            if (record.item is None) != (item is None):
                continue
            then = before.seen[task, record.item][-1]
            looked = before.looked[task, record.item]
            if looked.seed and (record.ended or now.assignment.ended):
                continue  # the first try draws something else
            if looked.every_key and item is not None:
                continue  # the slices of this test have them in an order that depends on who runs together
            if then.snapshot(looked) == now.snapshot(looked):
                yield task, item
                break


SEEDS = range(50)

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("seed", SEEDS)
def test_a_changed_workflow_leaves_what_a_fresh_run_leaves_and_runs_only_what_looked_at_changes(seed: int) -> None:
    random = Random(seed)
    old = made(seed)
    before, recorded = driven(old, 1)
    for order in range(4):
        new = edited(old, random)
        for _ in range(random.choice([0, 0, 1, 3])):
            new = edited(new, random)
        fresh, whole = driven(new, 20 + order)
        shelf = Shelf(recorded, old, new)
        again, reusing = driven(new, 10 + order, shelf)
        assert left_by(reusing) == left_by(whole)
        needless = again.called.intersection(unchanged(before, fresh, shelf))
        assert {place: reusing.run.reasons[place] for place in needless} == {}
        assert again.called <= {*reusing.run.reasons}
        assert all(reusing.run.reasons.values())
        taken = [fact for fact in reusing.facts if isinstance(fact, TaskFinished | TaskExpanded) and fact.origin]
        assert again.called.isdisjoint((fact.task, fact.item) for fact in taken)
        assert len(shelf.asked) == len(set(shelf.asked)), "offered twice"


@pytest.mark.parametrize("seed", SEEDS)
def test_what_others_have_found_out_meanwhile_makes_no_difference(seed: int) -> None:
    random = Random(seed)
    old = made(seed, settles=True)
    _, recorded = driven(old, 1)
    for order in range(3):
        new = edited(old, random)
        _, reusing = driven(new, 10 + order, Shelf(recorded, old, new))
        assert left_by(reusing) == left_by(driven(new, 20 + order)[1])


@pytest.mark.parametrize("seed", SEEDS)
def test_of_a_workflow_that_has_not_changed_nothing_runs_that_has_completed(seed: int) -> None:
    flow = made(seed, settles=bool(seed % 2))
    before, recorded = driven(flow, 1)
    again, reusing = driven(flow, 2, Shelf(recorded, flow, flow))
    assert left_by(reusing) == left_by(recorded)
    drew_later = {place for place, looked in before.looked.items() if looked.seed}
    completed = {
        (fact.task, fact.item)
        for fact in recorded.facts
        if isinstance(fact, TaskFinished | TaskExpanded) and fact.looks
    }
    assert again.called.isdisjoint(completed - drew_later)
    third, reusing = driven(flow, 3, Shelf(reusing, flow, flow))
    assert third.called == again.called, "what was taken over can be taken over in turn"


def test_the_flows_have_something_to_get_wrong() -> None:
    kinds: set[object] = set()
    for seed in SEEDS:
        flow = made(seed)
        before, recorded = driven(flow, 1)
        again, reusing = driven(flow, 2, Shelf(recorded, flow, flow))
        taken = [fact for fact in reusing.facts if isinstance(fact, TaskFinished | TaskExpanded) and fact.origin]
        kinds |= {(type(fact), fact.item is None) for fact in taken}
        kinds |= {fact.outcome.status for fact in recorded.facts if isinstance(fact, TaskFinished)}
        kinds |= {"held" for fact in taken if flow.steps[fact.task].has_fingerprint and fact.item is not None}
        kinds |= {"asked" for fact in taken if flow.steps[fact.task].is_asked}
        kinds |= {"retried" for fact in taken if fact.nth > 1}
        kinds |= {"again" for _ in again.called}
        kinds |= {"released" for _ in reusing.released}
        kinds |= {
            name for looked in before.looked.values() for name in Looked.__struct_fields__ if getattr(looked, name)
        }
    assert kinds >= {(TaskFinished, True), (TaskFinished, False), (TaskExpanded, True)}
    assert kinds >= {"Completed", "Failed", "Skipped", "held", "asked", "retried", "again", "released"}
    assert kinds >= {*Looked.__struct_fields__}
