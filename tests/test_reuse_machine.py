"""Workflows that are edited at random, run and run again: what reuse and resume leave, and what they run.

A naive model has of each past execution what each call of a task has read, as the values themselves and all that was
written to the key before. By it, nothing runs of which all this is the same, and all runs that read something new.
"""

import random
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple
from zlib import crc32

import pytest
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from tests.support import without_places

import cloaca
from cloaca import Context, DefaultRunner, WorkflowError, WorkflowResult
from cloaca.workflows.workflow import Workflow

KEYS = ("a", "b", "c", "rows", "tab")
LISTS = ("rows", "tab")
RULES: Mapping[str, Any] = {"last": cloaca.merge.last, "first": cloaca.merge.first, "by_task": cloaca.merge.by_task}
TRIGGERS = (None, None, None, "all_done", "all_success", "one_failed")

CALLS: "SimpleQueue[Call]" = SimpleQueue()
"""Every call of a task. Of a queue, the code of tasks has nothing but the type."""

FUSE: "SimpleQueue[bool]" = SimpleQueue()
"""For each call to come, whether it is interrupted."""

Unit = tuple[str, int | None]
Step = tuple[Any, ...]


class Call(NamedTuple):
    """What one call of a task has read, as (what, key, value), and set."""

    task: str
    item: Any
    reads: list[tuple[str, str, str]]
    writes: dict[str, str]


class Node(NamedTuple):
    """A task of a flow. It is mapped over that key; `cares`: its condition is that this key has that value."""

    after: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    each: str | None = None
    trigger: str | None = None
    cares: tuple[str, int] | None = None
    tries: int = 1


class Flow(NamedTuple):
    """A workflow, and what it is given."""

    nodes: Mapping[str, Node]
    given: Mapping[str, Any]
    rules: Mapping[str, str]
    policy: str | None = None


def play(task: str, steps: Sequence[Step], context: Context, *item: Any) -> None:  # noqa: C901, PLR0912, PLR0915 - a table of steps
    """Do what the steps say. What is set follows from all that was read."""
    call = Call(task, item, [], {})
    CALLS.put(call)
    with suppress(Empty):
        if FUSE.get_nowait():
            raise KeyboardInterrupt
    seen: list[object] = [task, *item]
    for what, *told in steps:
        key = told[0] if told else ""
        found: object = None
        match what:
            case "get":
                found = context.get(key, "absent")
            case "demand":
                found = context[key]
            case "has":
                found = key in context
            case "keys":
                found = [*context.keys()]
            case "count":
                found = len(context)
            case "items":
                found = [*context.items()]
            case "conflicts":
                found = [*context.conflicts()]
            case "outcome":
                with suppress(KeyError):
                    found = context.outcome(key)
            case "seed":
                found = context.seed
            case "draw":
                found = random.random()
            case "flaky":
                found = context.seed
                if context.seed is not None and context.seed % 2:
                    raise ValueError("odd")
            case "raise":
                raise ValueError(f"{task} fails")
            case "put":
                context[key] = told[1]
            case "derive":
                context[key] = [crc32(repr(seen).encode()) % told[1], told[1]]
            case "remove":
                if key in context:
                    del context[key]
            case _:
                raise AssertionError(what)
        if what in ("put", "derive"):
            call.writes[key] = repr(context[key])
        elif what == "remove":
            call.reads.append(("has", key, repr(found)))
            call.writes[key] = "removed"
        else:
            call.reads.append((what, key, repr(found)))
            seen.append(found)


def built(flow: Flow) -> Workflow:
    rules = {key: RULES[name] for key, name in flow.rules.items()}
    with cloaca.WorkflowBuilder("machine", merge=rules, on_conflict=flow.policy, check="off") as builder:  # type: ignore[arg-type]
        for id, node in flow.nodes.items():
            options: dict[str, Any] = {"trigger_rule": node.trigger, "for_each": node.each}
            if node.cares is not None:
                options["trigger_rules"] = cloaca.context_value(node.cares[0], "equals", node.cares[1])
            if node.tries > 1:
                options |= {"retry_attempts": node.tries, "retry_delay_ms": 0}
            cloaca.task(id=id, dependencies=[*node.after], **options)(partial(play, id, node.steps))
    return builder.build()


def is_sound(flow: Flow) -> bool:
    try:
        built(flow)
    except WorkflowError:
        return False
    return True


# ---- what a run has left -------------------------------------------------------------------------------------------


def left_by(result: WorkflowResult) -> tuple[object, ...]:
    """All that two runs have in common that come to the same."""
    final = result.final_context
    conflicts = {key: without_places(str(one)) for key, one in final.conflicts().items()}
    values = [(key, None if key in conflicts else repr(final[key])) for key in final]
    tasks = {id: (one.status, without_places(one.error_message), one.reason) for id, one in result.tasks.items()}
    return result.status, values, conflicts, result.merges, tasks


def drained(queue: "SimpleQueue[Any]") -> list[Any]:
    found = []
    with suppress(Empty):
        while True:
            found.append(queue.get_nowait())
    return found


def calls() -> list[Call]:
    return drained(CALLS)


def place_of(call: Call) -> tuple[str, str]:
    return call.task, repr(call.item)


def places_of(made: Sequence[Call]) -> set[tuple[str, str]]:
    return {place_of(call) for call in made}


# ---- the model -----------------------------------------------------------------------------------------------------


def ancestors(nodes: Mapping[str, Node], id: str) -> set[str]:
    found: set[str] = set()
    left = [*nodes[id].after]
    while left:
        one = left.pop()
        if one not in found:
            found.add(one)
            left += nodes[one].after
    return found


class Known(NamedTuple):
    """What is known of one call that has completed. `seen`: as the values were; `stood`: and all that led to them."""

    code: object
    item: object
    seen: object
    stood: object


def code_of(node: Node) -> object:
    return node.steps, node.each, node.cares, node.trigger if node.cares else None


def known_of(flow: Flow, result: WorkflowResult, made: Sequence[Call], seed: int) -> dict[tuple[str, str], list[Known]]:
    """What a fresh run of the flow has shown, by task and item."""
    latest = {place_of(call): call for call in made}
    counts = Counter(map(place_of, made))
    ended = {call.task for call in made if result.tasks[call.task].status == "Completed"}
    known: dict[tuple[str, str], list[Known]] = {}
    for place, call in latest.items():
        if call.task not in ended:
            continue
        before = ancestors(flow.nodes, call.task)
        stands = partial(standing, flow, latest, ended & before)
        node = flow.nodes[call.task]
        stood: list[object] = [seed, *map(stands, [key for key in (node.each, node.cares and node.cares[0]) if key])]
        by_seed = seed if any(what in ("seed", "draw", "flaky") for what, *_ in call.reads) else None
        for what, key, value in call.reads:
            if what in ("get", "demand", "has"):
                stood.append((what, key, value, stands(key)))
            elif what in ("keys", "count", "items", "conflicts"):
                stood.append((what, value, [stands(key) for key in KEYS]))
            else:
                stood.append((what, key, value))
        stood += map(stands, call.writes)  # to set what is there is no write, so that counts
        if flow.policy == "fail":
            stood.append(object())  # it has looked at all that was to be united
        if counts[place] > 1:
            stood.append(object())  # the first try draws something else
        seen = [(what, key, value) for what, key, value in call.reads]
        item = call.item
        known.setdefault(place, []).append(Known(code_of(node), item, (seen, by_seed), stood))
    return known


def standing(flow: Flow, latest: Mapping[tuple[str, str], Call], before: set[str], key: str) -> object:
    """All that was written to a key by the tasks before, and how that unites."""
    writes = {place: call.writes[key] for place, call in latest.items() if place[0] in before and key in call.writes}
    writers = {task for task, _ in writes}
    if len(writers) < 2:
        return key, writes, repr(flow.given.get(key)), flow.policy, flow.rules.get(key) == "by_task"
    return key, writes, repr(flow.given.get(key)), flow.policy, flow.rules.get(key), [*flow.nodes.items()]


# ---- flows and their edits -----------------------------------------------------------------------------------------

keys = st.sampled_from(KEYS)
plain = st.sampled_from(["a", "b", "c"])
lists = st.lists(st.integers(0, 3), max_size=3)
ids = st.sampled_from([f"t{number}" for number in range(6)])
steps = st.one_of(
    st.tuples(st.sampled_from(["get", "get", "demand", "has"]), keys),
    st.tuples(st.just("derive"), plain, st.sampled_from([1, 2, 1000])),
    st.tuples(st.just("derive"), plain, st.sampled_from([1, 2, 1000])),
    st.tuples(st.just("put"), plain, st.integers(0, 1)),
    st.tuples(st.just("put"), st.sampled_from(LISTS), lists),
    st.tuples(st.just("remove"), keys),
    st.tuples(st.sampled_from(["keys", "count", "items", "conflicts", "seed", "draw", "raise", "flaky"])),
    st.tuples(st.just("outcome"), ids),
)


@st.composite
def nodes(draw: st.DrawFn, before: Sequence[str] = ()) -> Node:
    each = draw(st.sampled_from([None, None, *LISTS]))
    cares = draw(st.none() | st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 1))) if draw(st.booleans()) else None
    return Node(
        tuple(draw(st.lists(st.sampled_from(before), max_size=3, unique=True))) if before else (),
        tuple(draw(st.lists(steps, max_size=5))),
        each,
        draw(st.sampled_from(TRIGGERS)),
        cares,
        draw(st.sampled_from([1, 1, 2])),
    )


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    made: dict[str, Node] = {}
    for number in range(draw(st.integers(1, 6))):
        made[f"t{number}"] = draw(nodes([*made]))
    return Flow(
        made,
        {"rows": draw(lists), **draw(st.dictionaries(st.sampled_from(["a", "b", "tab"]), lists, max_size=2))},
        draw(st.dictionaries(plain, st.sampled_from([*RULES]), max_size=2)),
        draw(st.sampled_from([None, None, "last", "first", "fail"])),
    )


@st.composite
def edits(draw: st.DrawFn, flow: Flow) -> Flow:  # noqa: C901 - a table of edits
    some = dict(flow.nodes)
    id = draw(st.sampled_from([*some]))
    node = some[id]
    match draw(
        st.sampled_from(["steps", "steps", "given", "rule", "policy", "order", "add", "remove", "node", "after"])
    ):
        case "steps":
            place = draw(st.integers(0, len(node.steps)))
            more = draw(st.lists(steps, max_size=1))
            some[id] = node._replace(steps=(*node.steps[:place], *more, *node.steps[place + draw(st.integers(0, 1)) :]))
        case "given":
            return flow._replace(given={**flow.given, draw(st.sampled_from(["a", "b", *LISTS])): draw(lists)})
        case "rule":
            return flow._replace(rules=draw(st.dictionaries(plain, st.sampled_from([*RULES]), max_size=2)))
        case "policy":
            return flow._replace(policy=draw(st.sampled_from([None, "last", "first"])))
        case "order":
            some[id] = node._replace(after=tuple(reversed(node.after)))
        case "add":
            new = draw(st.sampled_from([f"t{number}" for number in range(8)]))
            if new not in some:
                some[new] = draw(nodes([*some]))
        case "remove":
            if len(some) > 1:
                del some[id]
                some = {one: at._replace(after=tuple(x for x in at.after if x != id)) for one, at in some.items()}
        case "node":
            some[id] = draw(nodes())._replace(after=node.after, steps=node.steps)
        case "after":
            before = [*some][: [*some].index(id)]
            earlier = [one for one in before if id not in ancestors(some, one)]
            some[id] = node._replace(
                after=tuple(draw(st.lists(st.sampled_from(earlier), max_size=3, unique=True))) if earlier else ()
            )
        case what:
            raise AssertionError(what)
    return flow._replace(nodes=some)


def mended_node(node: Node) -> Node:
    """One that fails no more, and doesn't tell how often it has: each of its tries has another seed."""
    gone = {"raise", "flaky", "demand", *(["seed", "draw"] if node.tries > 1 else [])}
    return node._replace(steps=tuple(step for step in node.steps if step[0] not in gone))


class Machine(RuleBasedStateMachine):
    """A flow, a runner that records, and one that doesn't."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._runner = DefaultRunner(f"sqlite:///{Path(self._folder.name)}/runs.db", executor="serial")
        self._bare = DefaultRunner(executor="serial")
        self._flow = self._first = Flow({}, {}, {})
        self._known: dict[str, dict[tuple[str, str], list[Known]]] = {}
        self._failed: tuple[str, Flow] | None = None
        self._made: list[Call] = []

    def teardown(self) -> None:
        self._runner.shutdown()
        self._bare.shutdown()
        self._folder.cleanup()

    @initialize(flow=flows())
    def begin(self, flow: Flow) -> None:
        assume(is_sound(flow))
        self._flow = self._first = flow

    @rule(data=st.data())
    def edit(self, data: st.DataObject) -> None:
        edited = data.draw(edits(self._flow))
        assume(is_sound(edited))
        self._flow = edited

    @rule()
    def revert(self) -> None:
        self._flow = self._first

    @rule(seed=st.none() | st.integers(0, 1))
    def fresh(self, seed: int | None) -> None:
        calls()
        result = self._runner.execute(built(self._flow), dict(self._flow.given), seed=seed)
        self._compare(result, places_of(calls()), is_reused=False)

    @rule(seed=st.none() | st.none() | st.integers(0, 1))
    def again(self, seed: int | None) -> None:
        calls()
        plan = self._runner.plan(built(self._flow), dict(self._flow.given), seed=seed)
        assert calls() == []
        result = self._runner.execute(built(self._flow), dict(self._flow.given), seed=seed, reuse=True)
        ran = places_of(calls())
        tasks = {task for task, _ in ran}
        for id, told in plan.items():
            node = self._flow.nodes[id]
            assert told.runs != "no" or id not in tasks, (id, told, result.tasks[id].ran_because)
            assert told.runs != "yes" or id in tasks or node.each or node.cares, (id, told)
            assert told.runs != "yes" or not result.tasks[id].reused, (id, told)
        self._compare(result, ran, is_reused=True)

    @rule(after=st.integers(0, 6), reuse=st.booleans())
    def interrupt(self, after: int, reuse: bool) -> None:  # noqa: FBT001 - drawn
        """Interrupt it, as Ctrl-C does, and go on."""
        calls()
        past = {one.id for one in self._runner.executions()}
        for number in range(after + 1):
            FUSE.put(number == after)
        result = None
        try:
            result = self._runner.execute(built(self._flow), dict(self._flow.given), reuse=reuse)
        except KeyboardInterrupt:
            (id,) = [one.id for one in self._runner.executions() if one.id not in past]
        finally:
            drained(FUSE)
        ran = calls()
        if result is not None:
            self._compare(result, places_of(ran), is_reused=reuse)
            return
        result = self._runner.resume(id, built(self._flow))
        whole = Counter(map(place_of, [*ran[:-1], *calls()]))
        fresh = self._compare(result, set(), is_reused=False)
        behind = self._behind_failures(fresh)
        once = Counter(map(place_of, self._made))
        assert {place for place in whole if whole[place] > once[place] and place[0] not in behind} == set()

    def _behind_failures(self, result: WorkflowResult) -> set[str]:
        """Tasks that didn't complete, or had several tries, and those behind them: they may run again."""
        bad = {
            id for id in self._flow.nodes if result.tasks[id].status != "Completed" or self._flow.nodes[id].tries > 1
        }
        return bad | {id for id in self._flow.nodes if bad & ancestors(self._flow.nodes, id)}

    @precondition(lambda self: self._failed is not None)
    @rule()
    def mend(self) -> None:
        """Mend all that has failed in the last execution, and resume that."""
        assert self._failed is not None
        id, self._flow = self._failed
        self._failed = None
        past = self._runner.execution(id)
        failed = {name for name in self._flow.nodes if past.tasks[name].status != "Completed"}
        mended = {name: mended_node(node) if name in failed else node for name, node in self._flow.nodes.items()}
        self._flow = self._flow._replace(nodes=mended)
        calls()
        result = self._runner.resume(id, built(self._flow))
        ran = places_of(calls())
        well = {*mended} - failed
        firm = {one for one in well if ancestors(mended, one) <= well}
        assert {place for place in ran if place[0] in firm} == set()
        self._compare(result, ran, is_reused=False)
        known = self._known[id]  # what had failed before counts as tries
        self._known[id] = {
            at: [one if at[0] in firm or mended[at[0]].tries == 1 else one._replace(stood=object()) for one in there]
            for at, there in known.items()
        }

    @rule(keep=st.integers(0, 2))
    def prune(self, keep: int) -> None:
        self._runner.prune(keep=keep)
        there = {one.id for one in self._runner.executions()}
        assert len(there) <= keep
        self._known = {id: known for id, known in self._known.items() if id in there}
        if self._failed is not None and self._failed[0] not in there:
            self._failed = None

    # ---- the comparison --------------------------------------------------------------------------------------------

    def _compare(self, result: WorkflowResult, ran: set[tuple[str, str]], *, is_reused: bool) -> WorkflowResult:
        id = result.execution_id
        seed = self._runner.execution(id).seed
        fresh = self._bare.execute(built(self._flow), dict(self._flow.given), seed=seed)
        self._made = made = calls()
        assert left_by(result) == left_by(fresh)
        past = self._runner.execution(id)
        assert left_by(past.result) == left_by(fresh)
        known = known_of(self._flow, fresh, made, seed)
        if is_reused:
            self._check_runs(result, ran, known, made)
        self._known[id] = known
        self._failed = (id, self._flow) if result.status == "Failed" else None
        return fresh

    def _check_runs(
        self,
        result: WorkflowResult,
        ran: set[tuple[str, str]],
        known: Mapping[tuple[str, str], list[Known]],
        made: Sequence[Call],
    ) -> None:
        for place, now in known.items():
            before = [
                one
                for earlier in self._known.values()
                for there in earlier.items()
                if there[0][0] == place[0]
                for one in there[1]
            ]
            if place in ran:
                same = [
                    one for one in before if (one.code, one.item, one.stood) == (now[0].code, now[0].item, now[0].stood)
                ]
                assert not same, (place, result.tasks[place[0]].ran_because)
                assert result.tasks[place[0]].ran_because or self._flow.nodes[place[0]].each
            else:
                same = [
                    one for one in before if (one.code, one.item, one.seen) == (now[0].code, now[0].item, now[0].seen)
                ]
                assert same, place
        failed = places_of(made) - {*known}
        assert failed <= ran | {place for place in failed if self._flow.nodes[place[0]].each}


Machine.TestCase.settings = settings(
    max_examples=100, stateful_step_count=12, deadline=None, suppress_health_check=[*HealthCheck]
)
TestMachine = pytest.mark.slow(Machine.TestCase)
