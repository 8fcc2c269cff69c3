"""What a recorded attempt tells of what it has looked at: enough to know whether it would come to the same."""

import os
import pickle
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context, resource_tracker
from threading import Lock
from typing import Any

import numpy.random
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.support import PATIENCE

import cloaca
from cloaca import Context
from cloaca.attempts.attempt import run
from cloaca.attempts.expansion import Expansion
from cloaca.attempts.meter import Meter
from cloaca.attempts.seeding import Seeding, Unseeded, unseeded
from cloaca.dataflow.demand import demand_of, looked_at
from cloaca.engine.events import Commands
from cloaca.engine.run import Run
from cloaca.errors import INPUT
from cloaca.merge.rules import Rules
from cloaca.pool.pool import Pool
from cloaca.tasks.binding import Binding, bound
from cloaca.tasks.signature import form_of
from cloaca.tasks.watched import Watched
from cloaca.testing.desk import published
from cloaca.triggers.condition import Condition, all_of, context_value, task_success
from cloaca.values.codec import encode
from cloaca.values.digest import Digests
from cloaca.wire.messages import (
    NOTING,
    Assignment,
    Done,
    Failed,
    Items,
    ItemsDone,
    Looked,
    Noting,
    Outcome,
    Skipped,
    Slice,
    Version,
)

Told = tuple[Version, ...]
World = Mapping[str, Told]
OUTCOMES = {"before": Outcome("Completed"), "x.before": Outcome("Failed", "boom")}


def by(writer: str, value: Any) -> Version:
    return Version(writer, encode(value))


ABSENT: Told = ()
REMOVED: Told = (Version("clean", None),)
SPLIT: Told = (by("north", 1), by("south", 2))
GIVEN_SPLIT: Told = (Version(INPUT, None, rivals=SPLIT),)
AGREED: Told = (by("north", 3), by("south", 3))
WORLD: dict[str, Told] = {"a": (by(INPUT, 1),), "b": (by("load", [2, 3]),), "x.c": (by("load", 4),)}


class Attempts:
    """Runs functions as attempts that see a world. What their slice lacks, they ask for."""

    def __init__(self, world: World, *, sent: Iterable[str] | None = (), kind: type[Context] = Context) -> None:
        self._world = dict(world)
        self._sent = sent
        self._kind = kind

    def end(
        self,
        function: Callable[..., Any],
        *others: object,
        seeding: Callable[[], Seeding | Unseeded] = unseeded,
        fingerprint: int = 0,
        **told: Any,
    ) -> Done | Failed | Skipped:
        """`others` are known by their place, from 1 on."""
        known = dict(enumerate([function, *others]))
        slice_ = (
            Slice(self._world, complete=True, outcomes=OUTCOMES)
            if self._sent is None
            else Slice({key: self._world[key] for key in self._sent if key in self._world}, outcomes=OUTCOMES, met=None)
        )
        assignment = Assignment(7, "task", 0, slice_, noting=Noting(fingerprint), **told)
        nothing = frozenset[str]()
        return run(assignment, known.__getitem__, nothing, self._answer, Meter(), kind=self._kind, seeding=seeding)

    def looked(self, function: Callable[..., Any], *others: object, **told: Any) -> Looked:
        end = self.end(function, *others, **told)
        assert isinstance(end, Done), end
        assert end.looked is not None
        return end.looked

    def _answer(self, keys: tuple[str, ...], rest: bool, outcomes: bool) -> Slice:  # noqa: FBT001 - the shape of Ask
        if outcomes:
            named = {name: OUTCOMES[name] for name in keys if name in OUTCOMES}
            return Slice({}, outcomes=named if keys else OUTCOMES)
        return Slice(self._world if rest else {key: self._world.get(key, ()) for key in keys}, rest)


@pytest.fixture(params=["asked", "sent in part", "complete", "watched"])
def attempts(request: pytest.FixtureRequest) -> Attempts:
    sent: dict[str, tuple[str, ...] | None] = {"sent in part": ("a",), "complete": None}
    return Attempts(WORLD, sent=sent.get(request.param, ()), kind=Watched if request.param == "watched" else Context)


# ---- one key --------------------------------------------------------------------------------------------------------


def only(look: Callable[[Context], Any]) -> Callable[[Context], None]:
    """A task that only looks, and returns nothing."""

    def task(context: Context) -> None:
        look(context)

    return task


def catching(kind: type[Exception], function: Callable[..., Any], *given: Any) -> None:
    with pytest.raises(kind):
        function(*given)


def set_and_read(context: Context) -> None:
    context.set("new", 1)
    assert ("new" in context, context["new"], context.get("new")) == (True, 1, 1)


def set_and_remove(context: Context) -> None:
    context.set("new", 1)
    context.remove("new")


def delete(context: Context, key: str) -> None:
    del context[key]


def assign(context: Context, key: str, value: Any) -> None:
    context[key] = value


ONE_KEY: dict[str, tuple[Callable[[Context], Any], Looked]] = {
    "nothing": (lambda _: None, Looked()),
    "get": (lambda c: c.get("a"), Looked(("a",))),
    "item": (lambda c: c["a"], Looked(("a",))),
    "get what is absent": (lambda c: c.get("new"), Looked(("new",))),
    "get with a default": (lambda c: c.get("new", 1), Looked(("new",))),
    "in": (lambda c: "a" in c, Looked(presence=("a",))),
    "not in": (lambda c: "new" in c, Looked(presence=("new",))),
    "in, and get": (lambda c: "a" in c and c.get("a"), Looked(("a",))),
    "no key at all": (lambda c: 5 in c or "\ud800" in c, Looked()),
    "a key that is no text": (lambda c: catching(TypeError, c.get, 5), Looked()),
    "a key that can't be sent": (lambda c: catching(ValueError, c.get, "\ud800"), Looked()),
    "set": (lambda c: c.set("a", 1), Looked(("a",))),
    "set what is absent": (lambda c: assign(c, "new", 1), Looked(("new",))),
    "set, and read that": (set_and_read, Looked(("new",))),
    "set, and remove that": (set_and_remove, Looked(presence=("new",))),
    "insert": (lambda c: c.insert("new", 1), Looked(("new",))),
    "insert what is there": (lambda c: catching(ValueError, c.insert, "a", 1), Looked(presence=("a",))),
    "update": (lambda c: c.update("a", 5), Looked(("a",))),
    "update several": (lambda c: c.update({"a": 5, "new": 6}), Looked(("a", "new"))),
    "remove": (lambda c: c.remove("a"), Looked(("a",))),
    "remove what is absent": (lambda c: c.remove("new"), Looked(("new",))),
    "del": (lambda c: delete(c, "a"), Looked(presence=("a",))),
    "lazy": (lambda c: c.lazy("b")[0], Looked(("b",))),
    "lazy without a place": (lambda c: len(c.lazy("b")), Looked(("b",))),
    "seed": (lambda c: c.seed, Looked(seed=True)),
    "item key": (lambda c: c.item_key, Looked()),
    "a copy": (lambda c: c.copy().get("a"), Looked(("a",))),
    "a copy of a copy": (lambda c: "a" in c.copy().copy(), Looked(presence=("a",))),
    "what a copy sets": (lambda c: c.copy().set("a", 1), Looked()),
    "outcome": (lambda c: c.outcome("before").status, Looked(outcomes=("before",))),
    "outcome of nobody": (
        lambda c: catching(KeyError, c.outcome, "nobody"),
        Looked(outcomes=("nobody",), every_outcome=True),
    ),
    "outcome of what can't be": (lambda c: catching(KeyError, c.outcome, "\ud800"), Looked(every_outcome=True)),
}


RETURNED: dict[str, tuple[Callable[[Context], Any], Looked]] = {
    "a mapping": (lambda _: {"new": 1}, Looked(("new",))),
    "itself": (lambda c: c, Looked()),
    "a copy": (lambda c: changed(c.copy()), Looked(("new",), ("a",))),
    "a copy of what it has changed": (lambda c: changed(c).copy(), Looked(("new",), ("a",))),
    "another context": (lambda _: Context({"new": 1}), Looked(("new",))),
    "another context of the same": (lambda c: Context(c.to_dict()), Looked(("a", "b", "x.c"), every_key=True)),
}


def changed(context: Context) -> Context:
    del context["a"]
    context["new"] = 2
    return context


@pytest.mark.parametrize("what", ONE_KEY)
def test_looking_at_one_key_is_told(what: str, attempts: Attempts) -> None:
    function, looked = ONE_KEY[what]
    assert attempts.looked(only(function)) == looked


@pytest.mark.parametrize("what", RETURNED)
def test_what_a_task_returns_is_set(what: str, attempts: Attempts) -> None:
    function, looked = RETURNED[what]
    assert attempts.looked(function) == looked


# ---- all keys -------------------------------------------------------------------------------------------------------

KEYS = ("a", "b", "x.c")
EVERY_KEY = Looked(every_key=True)
EVERYTHING = Looked(KEYS, every_key=True)

ALL_KEYS: dict[str, tuple[Callable[[Context], Any], Looked]] = {
    "keys": (lambda c: c.keys(), EVERY_KEY),
    "iteration": (lambda c: [*c], EVERY_KEY),
    "len": (len, EVERY_KEY),
    "truth": (bool, EVERY_KEY),
    "items": (lambda c: c.items(), EVERYTHING),
    "values": (lambda c: [*c.values()], EVERYTHING),
    "to_dict": (lambda c: c.to_dict(), EVERYTHING),
    "to_dict without conflicts": (lambda c: c.to_dict(conflicts="skip"), EVERYTHING),
    "to_json": (lambda c: c.to_json(), EVERYTHING),
    "repr": (repr, EVERYTHING),
    "a pickle": (pickle.dumps, EVERYTHING),
    "conflicts": (lambda c: c.conflicts(), EVERYTHING),
    "equality": (lambda c: c == c.copy(), EVERYTHING),
    "inequality": (lambda c: c == Context({"a": 1}), EVERY_KEY),
    "a value": (lambda c: c.set("new", c), Looked((*KEYS, "new"), every_key=True)),
}


@pytest.mark.parametrize("what", ALL_KEYS)
def test_looking_at_all_keys_is_told(what: str, attempts: Attempts) -> None:
    function, expected = ALL_KEYS[what]
    looked = attempts.looked(only(function))
    assert replace(looked, values=tuple(sorted(looked.values))) == replace(
        expected, values=tuple(sorted(expected.values))
    )


def test_a_message_that_lists_near_names_looks_at_all_of_them(attempts: Attempts) -> None:
    looked = attempts.looked(only(lambda context: catching(KeyError, context.__getitem__, "aa")))
    assert (looked.values, looked.every_key) == (("aa",), True)


def test_the_first_few_values_that_are_shown_are_looked_at(attempts: Attempts) -> None:
    many = Attempts({f"key {n}": (by(INPUT, n),) for n in range(20)})
    looked = many.looked(only(repr))
    assert (len(looked.values), looked.presence, looked.every_key) == (8, (), True)


# ---- several versions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "looked"),
    [
        (SPLIT, Looked(("k",))),
        (GIVEN_SPLIT, Looked(("k",))),
        (AGREED, Looked(("k",))),
        (REMOVED, Looked(presence=("k",))),
        ((by("north", 1), *REMOVED), Looked(("k",))),
    ],
)
def test_whether_a_key_is_there_that_has_several_versions_follows_from_their_values(told: Told, looked: Looked) -> None:
    assert Attempts({"k": told}).looked(only(lambda context: "k" in context)) == looked


def test_to_settle_a_conflict_is_to_look_at_it() -> None:
    assert Attempts({"k": SPLIT}).looked(only(lambda context: context.set("k", 1))) == Looked(("k",))
    assert Attempts({"k": SPLIT}).looked(only(lambda context: delete(context, "k"))) == Looked(("k",))
    assert Attempts({"k": SPLIT}).looked(only(lambda context: context.remove("k"))) == Looked(("k",))


def test_what_is_kept_by_task_counts_where_it_is_looked_at_and_not_where_it_is_set() -> None:
    rules, told = Rules({"k": cloaca.merge.by_task}), {"k": (by("north", 1),)}
    assert Attempts(told).looked(only(lambda context: context.set("k", 2)), rules, rules=1) == Looked()
    assert Attempts(told).looked(only(lambda context: "k" in context), rules, rules=1) == Looked(("k",))
    assert Attempts(told).looked(only(lambda context: context["k"]), rules, rules=1) == Looked(("k",))


def test_keys_that_must_agree_are_looked_at() -> None:
    looked = Attempts({"k": AGREED, "a": (by(INPUT, 1),)}).looked(lambda _: None, agreed=("k",))
    assert looked == Looked(("k",))


# ---- copies, limits, parameters -------------------------------------------------------------------------------------


def test_the_task_of_a_copy_tells_names_as_they_are_outside() -> None:
    def look(context: Context) -> None:
        assert (context["c"], context.get("a"), "d" in context) == (4, None, False)
        assert context.outcome("before").status == "Failed"
        context.set("e", [*context])

    looked = Attempts(WORLD).looked(look, prefix="x.")
    assert looked == Looked(("x.c", "x.a", "x.e"), every_key=True, outcomes=("x.before",))


def test_a_condition_of_a_copy_names_keys_as_they_are_outside() -> None:
    condition = all_of(context_value("x.c", "equals", 4), task_success("before"))
    looked = Attempts(WORLD, sent=("x.c",)).looked(lambda _: None, condition, condition=1, prefix="x.")
    assert looked == Looked(("x.c",), outcomes=("before",))


@pytest.mark.parametrize(
    ("condition", "looked"),
    [
        (context_value("a", "equals", 1), Looked(("a",))),
        (context_value("a", "exists"), Looked(presence=("a",))),
        (context_value("new", "not_exists"), Looked(presence=("new",))),
        (task_success("before"), Looked(outcomes=("before",))),
    ],
)
def test_a_condition_looks_too(condition: Condition, looked: Looked) -> None:
    assert Attempts(WORLD, sent=("a",)).looked(lambda _: None, condition, condition=1) == looked


def test_limits_of_what_a_task_may_look_at_and_set_change_nothing_of_what_is_told() -> None:
    def look(context: Context) -> None:
        assert (context["a"], "new" in context) == (1, False)
        catching(cloaca.UndeclaredReadError, context.get, "b")
        catching(cloaca.UndeclaredWriteError, context.set, "other", 1)
        context["out"] = 1

    limited = bound(look, None, ("out",), ("a", "new"))
    assert Attempts(WORLD).looked(limited) == Looked(("a", "b", "out"), ("new",))


def test_typed_parameters_are_looked_at() -> None:
    def total(context: Context, *, a: int, b: list[int], new: int = 3) -> None:
        context["total"] = a + sum(b) + new

    parameters = form_of("total", total, with_item=False).parameters
    called = bound(total, Binding(parameters), None, None)
    assert Attempts(WORLD).looked(called) == Looked(("a", "b", "new", "total"))


def test_the_first_attempt_of_a_mapped_task_looks_at_its_collection() -> None:
    condition = context_value("a", "exists")
    looked = Attempts(WORLD, sent=("a",)).looked(Expansion("each", "b"), condition, condition=1)
    assert looked == Looked(("b",), ("a",))


def test_an_instance_tells_neither_its_item_nor_what_it_sets() -> None:
    def take(context: Context, item: Any) -> None:
        context["out"] = (item, context.get("a"))

    items = Items([encode("first")], None, "b", ("load",))
    assert Attempts(WORLD).looked(take, items=items) == Looked(("a",))


# ---- chance ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("draw", "counts"),
    [
        (lambda: None, False),
        (random.random, True),
        (lambda: random.gauss(0, 1), True),
        (lambda: [random.getrandbits(32) for _ in range(624)], True),  # it stands where it began, then
        (lambda: random.seed(5), False),
        (lambda: random.Random(3).random(), False),
        (numpy.random.rand, True),
        (lambda: numpy.random.rand(312), True),  # noqa: NPY002 - as many words as there are
        (lambda: numpy.random.default_rng(1).random(), False),
    ],
)
def test_the_seed_counts_where_numbers_were_drawn(draw: Callable[[], object], counts: bool) -> None:  # noqa: FBT001
    def task(_: Context) -> None:
        draw()

    here = Seeding()
    with here.kept():
        looked = Attempts(WORLD).looked(task, seeding=lambda: here)
    here.done()
    assert looked.seed is counts


# ---- processes that a task forks ------------------------------------------------------------------------------------


def test_what_a_forked_process_may_have_looked_at_counts() -> None:
    def look(context: Context) -> None:
        assert "a" in context
        child = os.fork()
        if not child:
            os._exit(0 if context.get("b") == [2, 3] else 1)
        assert os.waitpid(child, 0)[1] == 0

    told = Attempts(WORLD, sent=("a", "b")).looked(look)
    assert told == Looked(("a", "b"), seed=True, every_outcome=True)
    everything = Attempts(WORLD, sent=None).looked(look)
    assert everything == Looked(KEYS, every_key=True, every_outcome=True, seed=True)
    assert Attempts(WORLD).looked(lambda _: None) == Looked(), "the next one forks nothing"


# ---- fingerprints ---------------------------------------------------------------------------------------------------


def test_a_fingerprint_comes_to_a_digest_that_follows_from_its_value() -> None:
    told = [
        Attempts(WORLD).looked(lambda c: c.set("out", 1), lambda _, one=one: one, fingerprint=1).fingerprint
        for one in (3.5, 3.5, 4.5, {"x", "y"}, {"y", "x"}, None)
    ]
    assert {len(digest) for digest in told} == {16}
    assert (told[0] == told[1], told[3] == told[4], len(set(told))) == (True, True, 4)


def test_what_a_fingerprint_looks_at_counts() -> None:
    looked = Attempts(WORLD).looked(lambda _: None, lambda context: (context["a"], "b" in context), fingerprint=1)
    assert looked == Looked(("a",), ("b",), fingerprint=looked.fingerprint)


@pytest.mark.parametrize(
    ("fingerprint", "reason"),
    [
        (lambda _: os.stat("/no/such/file"), "FileNotFoundError: [Errno 2] No such file"),
        (lambda context: context["nothing"], "KeyError: 'Key not found: nothing'"),
        (lambda context: context.set("a", 5), "TypeError: it sets key 'a', and may only look"),
        (lambda context: delete(context, "a"), "TypeError: it removes key 'a', and may only look"),
        (lambda _: Lock(), "EncodeError: The value can't be sent: value: _thread.lock"),
    ],
)
def test_a_fingerprint_that_raises_fails_its_task(fingerprint: Callable[..., Any], reason: str) -> None:
    ran: list[int] = []
    end = Attempts(WORLD).end(lambda _: ran.append(1), fingerprint, fingerprint=1)
    assert isinstance(end, Failed)
    assert (end.type_name, ran) == ("FingerprintError", [])
    assert end.text.startswith(f"Task 'task' can't begin: its fingerprint raised {reason}")


def test_a_fingerprint_draws_nothing_from_what_the_task_draws() -> None:
    state, here = random.getstate(), Seeding()

    def draw(context: Context) -> None:
        context["drawn"] = random.random()

    try:
        ends = [
            Attempts(WORLD).end(draw, lambda _: random.random(), fingerprint=one, seeding=lambda: here)
            for one in (0, 1)
        ]
    finally:
        random.setstate(state)
    first, second = (end.diff for end in ends if isinstance(end, Done))
    assert first == second


def test_an_item_that_a_fingerprint_changes_is_as_it_was_for_the_task() -> None:
    def take(context: Context, item: list[int]) -> None:
        context["out"] = item

    items = Items([encode([1])], None, "b", ("load",))
    end = Attempts(WORLD).end(take, lambda _, item: item.append(2), fingerprint=1, items=items)
    assert isinstance(end, Done)
    assert end.diff == {"out": encode([1])}


def with_fingerprint(fingerprint: Any, **options: Any) -> cloaca.Workflow:
    """A workflow whose second task sets a key, and has that fingerprint."""
    with cloaca.WorkflowBuilder("printed", check="off", **options) as builder:

        @cloaca.task()
        def load(context: Context) -> None:
            context["rate"] = 2

        @cloaca.task(dependencies=[load], fingerprint=fingerprint)
        def use(context: Context) -> None:
            context["out"] = 1

    return builder.build()


def test_what_a_fingerprint_reads_is_kept_and_sent_for_it() -> None:
    workflow = with_fingerprint(lambda context: context["rate"], outputs=["out"])
    demand = demand_of(workflow)
    assert demand is not None
    assert (looked_at(workflow)[1], demand.reads[1]) == (frozenset({"rate", "out"}), frozenset({"rate", "out"}))
    assert looked_at(with_fingerprint(len)) == [{"rate"}, None], "nobody knows what a builtin reads"


def test_a_fingerprint_that_cannot_be_sent_is_told_before_anything_runs() -> None:
    lock = Lock()
    workflow = with_fingerprint(lambda _: lock.locked())
    with cloaca.DefaultRunner(workers=1) as runner, pytest.raises(cloaca.CaptureError, match=r"task 'use'.* lock "):
        runner.execute(workflow)


# ---- nothing is missed ----------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "aa", "k"])
VALUES = st.sampled_from([1, 2, [1], [1, 2], {"x": 1}])
STATES = st.one_of(
    st.just(ABSENT),
    st.just(REMOVED),
    st.just(SPLIT),
    st.just(GIVEN_SPLIT),
    st.just(AGREED),
    st.builds(lambda value: (by("load", value),), VALUES),
    st.builds(lambda one, other: (by("north", one), by("south", other)), VALUES, VALUES),
)

Step = Callable[[Context], Any]


def steps() -> st.SearchStrategy[Step]:
    def made(name: str, value: Any) -> list[Step]:
        return [
            lambda c: c.get(name),
            lambda c: c[name],
            lambda c: name in c,
            lambda c: c.set(name, value),
            lambda c: c.insert(name, value),
            lambda c: c.update(name, value),
            lambda c: c.remove(name),
            lambda c: delete(c, name),
            lambda c: [*c.keys()],
            len,
            lambda c: c.to_dict(),
            lambda c: c.to_dict(conflicts="skip"),
            lambda c: [*c.items()],
            lambda c: c == Context({name: value}),
            repr,
            lambda c: c.conflicts(),
            lambda c: len(c.lazy(name)),
            lambda c: c.to_json(),
            lambda c: c.update_from_dict({name: value}),
            lambda c: c.set(name, c.get(name)),
            lambda c: c.copy().remove(name),
            lambda c: c.copy()[name],
            lambda c: changed(c.copy()),
            lambda c: pickle.loads(pickle.dumps(c)).to_dict(),
        ]

    return st.builds(lambda name, value, place: made(name, value)[place], NAMES, VALUES, st.integers(0, 23))


@st.composite
def programs(draw: st.DrawFn) -> Callable[[Context, list[Any]], Any]:
    """A task that notes what each of its steps came to; at the end it returns itself, a copy, or nothing."""
    chosen, end = draw(st.lists(steps(), min_size=1, max_size=5)), draw(st.sampled_from(["none", "copy", "itself"]))

    def task(context: Context, trace: list[Any]) -> Any:
        for step in chosen:
            try:
                trace.append(repr(step(context)))
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the outcome
                trace.append((type(error), str(error)))
        return {"none": None, "copy": changed(context.copy()) if "a" in context else None, "itself": context}[end]

    return task


def has(told: Told) -> bool | None:
    """Whether a key is there; `None` where that follows from its values."""
    if len(told) > 1 or any(version.rivals for version in told):
        return None
    return bool(told) and told[0].payload is not None


def counted(diff: Mapping[str, bytes | None], seen: World) -> dict[str, bytes | None]:
    """What of it counts: to remove what isn't there is no write."""
    return {key: payload for key, payload in diff.items() if payload is not None or has(seen.get(key, ())) is not False}


@settings(max_examples=400, deadline=None)
@given(
    st.fixed_dictionaries(dict.fromkeys(("a", "b", "aa", "k"), STATES)),
    NAMES,
    STATES,
    programs(),
    st.sampled_from([None, (), ("a", "k")]),
)
def test_what_makes_a_difference_was_looked_at(
    world: dict[str, Told],
    name: str,
    other: Told,
    program: Callable[[Context, list[Any]], Any],
    sent: tuple[str, ...] | None,
) -> None:
    outcomes = []
    for told in (world[name], other):
        trace: list[Any] = []
        seen = {key: versions for key, versions in {**world, name: told}.items() if versions}
        end = Attempts(seen, sent=sent).end(lambda context, trace=trace: program(context, trace))
        kind = end.kinds if isinstance(end, Failed) else None
        outcomes.append((trace, kind, counted(end.diff, seen) if isinstance(end, Done) else None))
        looked = end.looked if isinstance(end, Done) else None
        if looked is None:
            return  # what has failed is never held
        if outcomes[0] != outcomes[-1]:
            is_another = has(world[name]) is None or has(world[name]) != has(other)
            is_asked = name in looked.presence or looked.every_key
            assert name in looked.values or (is_asked and is_another), (outcomes, looked)


# ---- in whole runs --------------------------------------------------------------------------------------------------


class Heard(Run):
    """A recorded run, which keeps what each task and instance was told to have looked at, by its name."""

    __slots__ = ("looked", "names")

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, content=Digests().of, **named)
        self.names: dict[int, list[str]] = {}
        self.looked: dict[str, Looked | None] = {}

    def handle(self, event: Any, now: float, time: float = 0.0) -> Commands:
        if isinstance(event, Done | ItemsDone):
            told = [event.looked] if isinstance(event, Done) else list(event.looked)
            for looked in told:
                self.looked[self.names[event.attempt].pop(0)] = looked
        commands = super().handle(event, now, time)
        for command in commands:
            if isinstance(command, Assignment):
                self.names[command.attempt] = command.names() if command.items is not None else [command.task]
        return commands


def heard_of(workflow: cloaca.Workflow, executor: Any, monkeypatch: pytest.MonkeyPatch, context: Any) -> Any:
    """What was told in one execution; the seed is left out, as it depends on what a process has loaded."""
    runs: list[Heard] = []

    def recorded(*given: Any, **named: Any) -> Heard:
        runs.append(Heard(*given, **{name: value for name, value in named.items() if name != "content"}))
        return runs[-1]

    monkeypatch.setattr("cloaca.executions.Run", recorded)
    with cloaca.DefaultRunner(executor=executor, workers=None if callable(executor) else 2) as runner:
        result = runner.execute(workflow, context)
    assert result.status == "Completed", result.error_message
    return {name: looked and replace(looked, seed=False) for name, looked in runs[0].looked.items()}


def rich() -> cloaca.Workflow:
    """A chain, mapped tasks after one another, a condition, a copy, and fingerprints."""
    with cloaca.WorkflowBuilder("inner", check="off") as inner:

        @cloaca.task(trigger_rules=context_value("rate", "exists"))
        def scale(context: Context) -> None:
            context["scaled"] = context["rate"] * context.get("factor", 2)

        @cloaca.task(for_each="list")
        def each(context: Context, item: int) -> None:
            context["rates"] = context["rate"] + item

    with cloaca.WorkflowBuilder("rich", check="off") as builder:

        @cloaca.task()
        def one(context: Context) -> None:
            context["items"] = [*range(context["n"])]

        @cloaca.task(dependencies=[one], fingerprint=lambda context: len(context["items"]))
        def two(context: Context) -> None:
            context["two"] = "items" in context

        @cloaca.task(dependencies=[two])
        def three(context: Context) -> None:
            context["three"] = context["two"]
            context["three"] = sorted(context)

        @cloaca.task(for_each="items", dependencies=[one])
        def square(context: Context, item: int) -> None:
            context["squares"] = item * item + (context["n"] if item % 100 == 7 else 0)

        @cloaca.task(for_each="items", dependencies=[square], fingerprint=lambda context, item: item % 2)
        def follow(context: Context, item: int) -> None:
            context["followed"] = context["squares"] + item

        builder.add_workflow(inner, prefix="copy", inputs={"rate": "n", "list": "items"}, dependencies=[one])

        @cloaca.task(dependencies=[follow, three])
        def last(context: Context) -> None:
            context["last"] = sum(context["followed"]), context.outcome("one").status

    return builder.build()


EXECUTORS: dict[str, Any] = {
    "processes": "processes",
    "threads": "threads",
    "serial": "serial",
    "elsewhere": partial(ProcessPoolExecutor, 2, get_context("spawn")),
}


TASKS = ("one", "two", "three", "square", "copy.scale", "copy.each", "last")


@pytest.fixture(params=EXECUTORS)
def executor(request: pytest.FixtureRequest) -> Iterator[Any]:
    yield EXECUTORS[request.param]
    resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]  # a process that multiprocessing leaves


@pytest.mark.slow
def test_each_executor_tells_the_same_of_each_task_and_instance(executor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    told = heard_of(rich(), executor, monkeypatch, {"n": 150})
    prints = {name: looked.fingerprint for name, looked in told.items() if looked and looked.fingerprint}
    assert sorted(prints) == sorted(["two", *(f"follow[{n}]" for n in range(150))])
    assert len(set(prints.values())) == 3
    plain = {name: looked and replace(looked, fingerprint=b"") for name, looked in told.items()}
    assert {name: plain.pop(name) for name in TASKS} == {
        "one": Looked(("n", "items")),
        "two": Looked(("items", "two"), ()),
        "three": Looked(("two", "three"), every_key=True),
        "square": Looked(("items",)),
        "copy.each": Looked(("copy.list",)),
        "copy.scale": Looked(("copy.rate", "copy.factor", "copy.scaled")),
        "last": Looked(("followed", "last"), outcomes=("one",)),
    }
    assert {name for name, looked in plain.items() if looked == Looked(("n",))} == {"square[7]", "square[107]"}
    assert {name for name, looked in plain.items() if looked == Looked(("squares",))} == {
        f"follow[{n}]" for n in range(150)
    }
    assert {name for name, looked in plain.items() if looked == Looked(("copy.rate",))} == {
        f"copy.each[{n}]" for n in range(150)
    }
    assert sum(looked == Looked() for looked in plain.values()) == 148
    assert len(plain) == 450


@pytest.mark.slow
def test_what_comes_right_after_another_one_tells_what_it_has_looked_at_of_that() -> None:
    def first(context: Context) -> None:
        context["made"] = 1

    def second(context: Context) -> None:
        context["out"] = context["made"], "other" in context

    seen, ends = Slice({}, names=()), dict[int, Looked | None]()
    pool = Pool(1, {})
    try:
        pool.publish(published(first, second))
        pool.submit([Assignment(n, "ab"[n], n, seen, after=n - 1 if n else None, noting=NOTING) for n in (0, 1)])
        while len(ends) < 2:
            ends |= {event.attempt: event.looked for event in pool.wait(PATIENCE) if isinstance(event, Done)}
    finally:
        pool.close()
    told = {number: looked and replace(looked, seed=False) for number, looked in ends.items()}
    assert told == {0: Looked(("made",)), 1: Looked(("made", "out"), ("other",))}


def test_a_fingerprint_is_as_it_stands_when_an_execution_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[Heard] = []

    def recorded(*given: Any, **named: Any) -> Heard:
        runs.append(Heard(*given, **{name: value for name, value in named.items() if name != "content"}))
        return runs[-1]

    monkeypatch.setattr("cloaca.executions.Run", recorded)
    prices = {"bread": 1}
    workflow = with_fingerprint(lambda _: prices["bread"])
    with cloaca.DefaultRunner(workers=1) as runner:
        for prices["bread"] in (1, 1, 2):
            assert runner.execute(workflow).status == "Completed"
    first, second, third = (run.looked["use"] for run in runs)
    assert (first == second, first == third) == (True, False)


def test_where_nothing_is_recorded_nothing_is_told_and_no_fingerprint_called(monkeypatch: pytest.MonkeyPatch) -> None:
    def raising(_: Context) -> None:
        raise AssertionError

    with cloaca.WorkflowBuilder("unrecorded") as builder:
        cloaca.task(id="only", fingerprint=raising)(lambda context: context.set("out", context.get("in")))
    runs: list[Run] = []
    ends: list[Done] = []

    class Listening(Run):
        def handle(self, event: Any, now: float, time: float = 0.0) -> Commands:
            ends.extend([event] if isinstance(event, Done) else [])
            return super().handle(event, now, time)

    def unrecorded(*given: Any, **named: Any) -> Run:
        runs.append(Listening(*given, **named))
        return runs[-1]

    monkeypatch.setattr("cloaca.executions.Run", unrecorded)
    with cloaca.DefaultRunner(workers=1) as runner:
        assert runner.execute(builder.build()).status == "Completed"
    assert [end.looked for end in ends] == [None]
