"""How versions become one value, or a conflict."""

import sys
from collections import Counter, OrderedDict, defaultdict
from itertools import permutations
from typing import Any

import pytest

from cloaca.errors import INPUT, DecodeError, EncodeError, MergeConflict
from cloaca.merge import settle as merging
from cloaca.merge import sum as summed
from cloaca.merge import union
from cloaca.merge.rules import Rules
from cloaca.merge.settled import Conflict, Settled
from cloaca.merge.shown import shown
from cloaca.values.codec import decode, encode
from cloaca.wire.messages import Version


def settle(key: str, concurrent: tuple[Version, ...], rules: Rules | None = None) -> Settled | Conflict:
    return merging.settle(key, concurrent, rules or Rules())


def versions(*values: Any) -> tuple[Version, ...]:
    """A version of each value, by writers a, b, c, ...; `...` is a deletion."""
    return tuple(
        Version(chr(ord("a") + place), None if value is ... else encode(value)) for place, value in enumerate(values)
    )


class Stubborn:
    """Can be sent, and not rebuilt."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _refuse, ()


def _refuse() -> None:
    raise OSError("no licence")


class Nearly:
    """An equality that isn't transitive: 1 is nearly 2, 2 is nearly 3, and 1 isn't nearly 3."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Nearly) and abs(self.number - other.number) <= 1

    def __hash__(self) -> int:
        return 0


class Broken:
    """Its `__eq__` raises."""

    def __init__(self, number: int) -> None:
        self.number = number

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise ValueError("no")


# ---- a story of versions ---------------------------------------------------------------------------------------------


def told(*writes: tuple[str, Any, tuple[int, ...]]) -> tuple[Version, ...]:
    """Versions as (writer, value, places of what the writer saw), in the merge order; `...` is a deletion."""
    return tuple(Version(writer, None if value is ... else encode(value), saw) for writer, value, saw in writes)


def value_of(settled: Settled | Conflict) -> Any:
    assert isinstance(settled, Settled), settled
    return ... if settled.payload is None else decode(settled.payload)


# ---- settle --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [1, None, [1], ...])
def test_a_single_version_stands(value: Any) -> None:
    (version,) = versions(value)
    assert settle("key", (version,)) == Settled(version.payload, "a")


@pytest.mark.parametrize("value", [1, {"b"}, float("nan"), Stubborn(), Broken(1), ...])
def test_the_same_bytes_agree_unopened(value: Any) -> None:
    concurrent = versions(value, value, value)
    assert settle("key", concurrent) == Settled(concurrent[0].payload, "a")


def test_versions_that_are_equal_agree_and_the_first_stands() -> None:
    concurrent = versions({"x": 1, "y": {2}}, {"y": {2}, "x": 1})
    assert concurrent[0].payload != concurrent[1].payload
    assert settle("key", concurrent) == Settled(concurrent[0].payload, "a")


@pytest.mark.parametrize("values", [(1, 2), (1, True), (1, 1, 2), ([1], (1,)), (None, 0), ({"x": 1}, {"x": 2})])
def test_versions_that_differ_are_in_conflict(values: tuple[Any, ...]) -> None:
    for order in permutations(versions(*values)):
        settled = settle("key", order)
        assert isinstance(settled, Conflict)
        assert settled.versions == order


@pytest.mark.parametrize("values", [(1, ...), (..., 1, 1), (None, ...), (Stubborn(), ...), ([1], ...), ({}, ...)])
def test_a_deletion_and_a_value_are_in_conflict(values: tuple[Any, ...]) -> None:
    for order in permutations(versions(*values)):
        settled = settle("key", order)
        assert isinstance(settled, Conflict)
        assert settled.versions == order


def test_all_deleted_is_deleted() -> None:
    assert value_of(settle("key", versions(..., ...))) is ...


def test_what_cannot_be_rebuilt_is_in_conflict_and_the_cause_tells_why() -> None:
    settled = settle("key", versions(1, Stubborn()))
    assert isinstance(settled, Conflict)
    assert isinstance(settled.cause, DecodeError)
    assert settled.cause.writer == "b"


def test_an_equality_that_raises_makes_a_conflict() -> None:
    assert isinstance(settle("key", versions(Broken(1), Broken(2))), Conflict)


@pytest.mark.parametrize("numbers", [(1, 2, 3), (1, 3, 5)])
def test_an_odd_equality_decides_alike_in_every_order(numbers: tuple[int, ...]) -> None:
    verdicts = {type(settle("key", order)) for order in permutations(versions(*map(Nearly, numbers)))}
    assert len(verdicts) == 1


def test_what_was_found_out_once_is_not_worked_out_again() -> None:
    calls: list[Any] = []

    def noting(_base: Any, values: list[int]) -> int:
        calls.append(values)
        return sum(values)

    rules = Rules({"key": noting})
    assert settle("key", versions(1, 2), rules) is settle("key", versions(1, 2), rules)
    assert calls == [[1, 2]]


# ---- lists, dicts, and what their writers saw ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("story", "value"),
    [
        ([("i", [0], ()), ("l", [0, 1], (0,)), ("r", [0, 1], (0,))], [0, 1, 1]),
        ([("i", [], ()), ("l", [1], (0,)), ("m", [1, 2], (1,)), ("r", [3], (0,))], [1, 2, 3]),
        ([("i", [(0,)], ()), ("l", [(0,), {1}], (0,)), ("r", [(0,), 2], (0,))], [(0,), {1}, 2]),
        ([("l", [1], ()), ("r", [1], ())], [1, 1]),
        ([("l", [1], ()), ("r", [2], ()), ("s", [1], ())], [1, 2, 1]),
        ([("a", [1], ()), ("b", [2], ()), ("l", [1, 2, 3], (0, 1)), ("r", [1, 4], (0,))], [1, 2, 3, 4]),
        ([("a", [1], ()), ("l", [1, 2], (0,)), ("r", [1, 3], (0,)), ("x", [9], ())], [1, 2, 3, 9]),
        (
            [("a", [1], ()), ("b", [2], ()), ("l", [1, 2, 3], (0, 1)), ("r", [1, 4], (0,)), ("x", [9], ())],
            [1, 2, 3, 4, 9],
        ),
        ([("i", None, ()), ("l", [1], (0,)), ("r", [2], (0,))], [1, 2]),
        ([("i", {"k": 1}, ()), ("l", {"k": 1, "x": 1}, (0,)), ("r", {}, (0,))], {"x": 1}),
        ([("i", {}, ()), ("l", {"x": {"y": 1}}, (0,)), ("r", {"x": {"z": 1}}, (0,))], {"x": {"y": 1, "z": 1}}),
        ([("i", {"n": [1]}, ()), ("l", {"n": [1, 2]}, (0,)), ("r", {"n": [1, 3]}, (0,))], {"n": [1, 2, 3]}),
        ([("i", {}, ()), ("l", {"n": [1]}, (0,)), ("r", {"n": [1], "m": [2]}, (0,))], {"n": [1], "m": [2]}),
        ([("i", 5, ()), ("l", {"x": 1}, (0,)), ("r", {"y": 1}, (0,))], {"x": 1, "y": 1}),
        ([("i", 1, ()), ("l", ..., (0,)), ("r", ..., (0,))], ...),
    ],
)
def test_what_writes_come_to(story: list[tuple[str, Any, tuple[int, ...]]], value: Any) -> None:
    assert value_of(settle("key", told(*story))) == value


@pytest.mark.parametrize(
    "story",
    [
        [("i", [0], ()), ("l", [0, 1], (0,)), ("r", [5], (0,))],
        [("i", [0], ()), ("l", [1], (0,)), ("r", [2], (0,))],
        [("i", {"k": 1}, ()), ("l", {"k": 2}, (0,)), ("r", {}, (0,))],
        [("i", {"k": 1}, ()), ("l", {"k": 2}, (0,)), ("r", ..., (0,))],
        [("i", {"n": [1]}, ()), ("l", {"n": [1, 2]}, (0,)), ("r", {"n": [3]}, (0,))],
        [("a", [1], ()), ("l", [2], (0,)), ("r", [1, 3], (0,)), ("x", [9], ())],
        [("i", {}, ()), ("l", {"x": 1}, (0,)), ("r", Counter(x=1), (0,))],
        [("a", [1], ()), ("l", [2], (0,)), ("r", [3], ())],
        [("l", {"n": [1]}, ()), ("r", {"n": [2]}, ())],
        [("a", [1], ()), ("b", [1], ()), ("l", [1, 3], (0, 1)), ("r", [1, 4], (0,)), ("x", [9], ())],
    ],
)
def test_what_does_not_combine(story: list[tuple[str, Any, tuple[int, ...]]]) -> None:
    assert isinstance(settle("key", told(*story)), Conflict)


def test_a_member_that_a_later_writer_saw_and_replaced_never_comes_back() -> None:
    story = told(
        ("first", {"a": 1}, ()),
        ("replaces", {"a": 2}, (0,)),
        ("leaves", {"a": 1, "b": 1}, (0,)),
        ("elsewhere", {"c": 1}, ()),
    )
    assert value_of(settle("key", story)) == {"a": 2, "b": 1, "c": 1}


def test_the_kind_of_dict_is_kept() -> None:
    ordered = told(("i", OrderedDict(), ()), ("l", OrderedDict(x=1), (0,)), ("r", OrderedDict(y=1), (0,)))
    assert value_of(settle("key", ordered)) == OrderedDict(x=1, y=1)
    grouped = [defaultdict(list, {name: [1]}) for name in "xy"]
    merged = value_of(settle("key", told(("l", grouped[0], ()), ("r", grouped[1], ()))))
    assert type(merged) is defaultdict
    assert merged["new"] == []


def test_a_base_of_several_joins_in_a_row() -> None:
    """Diamonds whose joins write nothing, as deep as no stack is."""
    rows: list[tuple[str, Any, tuple[int, ...]]] = [("i", 0, ())]
    for level in range(1, 400):
        seen = (0,) if level == 1 else tuple(range(2 * level - 1))
        rows += [(f"l{level}", 4 * level - 3 + 1, seen), (f"r{level}", 4 * level - 3 + 2, seen)]
    rules = Rules({"key": lambda base, values: base + sum(value - base for value in values)})
    settled = settle("key", told(*rows[:7]), rules)
    assert isinstance(settled, Settled)
    assert isinstance(settle("key", told(*rows), rules), Settled)


def test_the_end_of_a_run_may_list_a_writer_before_what_it_saw() -> None:
    """There the order is that of definition, and a task may be defined before its dependency."""
    story = told(("late", [0, 1, 2], (2,)), ("side", [0, 9], (3,)), ("early", [0, 1], (3,)), ("i", [0], ()))
    assert value_of(settle("key", story)) == [0, 2, 9, 1]


# ---- rules ---------------------------------------------------------------------------------------------------------


def test_a_rule_is_given_the_base_and_the_candidates_without_removals() -> None:
    rules = Rules({"key": lambda base, values: (base, values)})
    story = told(("i", 1, ()), ("a", 2, (0,)), ("b", 3, (1,)), ("c", ..., (0,)), ("d", 5, (0,)))
    assert value_of(settle("key", story, rules)) == (1, [3, 5])
    assert value_of(settle("key", versions(1, 2), rules)) == (None, [1, 2])


def test_a_rule_gets_values_of_its_own() -> None:
    def greedy(base: list[int], values: list[list[int]]) -> list[int]:
        base.extend(values.pop())
        return base

    story = told(("i", [1], ()), ("a", [2], (0,)), ("b", [3], (0,)))
    rules = Rules({"key": greedy})
    assert value_of(settle("key", story, rules)) == [1, 3]
    more = told(*(("i", [1], ()), ("a", [2], (0,)), ("b", [3], (0,)), ("c", [4], (0, 1, 2)), ("d", [5], (0, 1, 2))))
    assert value_of(settle("key", more, rules)) == [1, 3, 5]


@pytest.mark.parametrize("on_conflict", [None, "first", "last"])
def test_a_rule_that_raises_leaves_the_key_in_conflict(on_conflict: Any) -> None:
    settled = settle("key", versions(1, 2), Rules({"key": lambda base, values: base[0]}, on_conflict))
    assert isinstance(settled, Conflict)
    assert isinstance(settled.cause, TypeError)
    assert isinstance(settled.error.__cause__, TypeError)
    assert "TypeError: 'NoneType' object is not subscriptable" in str(settled.error)


def test_a_rule_whose_result_cannot_be_sent_leaves_the_key_in_conflict() -> None:
    settled = settle("key", versions(1, 2), Rules({"key": lambda _base, _values: (value for value in "ab")}))
    assert isinstance(settled, Conflict)
    assert isinstance(settled.cause, EncodeError)


@pytest.mark.parametrize(("on_conflict", "place"), [("first", 0), ("last", -1)])
@pytest.mark.parametrize("values", [(1, 2), (..., 2), (1, ...), ([1], (1,))])
def test_the_order_settles_where_the_workflow_says_so(on_conflict: Any, place: int, values: tuple[Any, ...]) -> None:
    assert value_of(settle("key", versions(*values), Rules(None, on_conflict))) == values[place]


def test_the_order_settles_members_one_by_one() -> None:
    story = told(("i", {}, ()), ("l", {"x": 1, "a": 1}, (0,)), ("r", {"x": 2, "b": 1}, (0,)))
    assert value_of(settle("key", story, Rules(None, "last"))) == {"x": 2, "a": 1, "b": 1}


def test_what_was_in_conflict_when_it_was_given_stays_so_until_it_is_settled() -> None:
    given = Version(INPUT, None, rivals=versions([1], [2]))
    settled = settle("key", (given,))
    assert isinstance(settled, Conflict)
    assert settled.error.writers == ("a", "b")
    assert value_of(settle("key", (given,), Rules(None, "last"))) == [2]
    written = (given, *told(("l", 1, (0,)), ("r", 2, (0,))))
    assert isinstance(settle("key", written), Conflict)
    assert isinstance(settle("key", written, Rules({"key": lambda _base, values: sum(values)})), Conflict)
    agreed = (given, *told(("l", 1, (0,)), ("r", 1, (0,))))
    assert value_of(settle("key", agreed)) == 1


# ---- the conflict --------------------------------------------------------------------------------------------------


def test_a_conflict_tells_who_wrote_what() -> None:
    conflict = settle("total", versions(1, ..., "x" * 1000, Stubborn()))
    assert isinstance(conflict, Conflict)
    error = conflict.error
    assert isinstance(error, MergeConflict)
    assert (error.key, error.writers) == ("total", ("a", "b", "c", "d"))
    one, nothing, text, unknown = vars(error)["values"]
    assert (one, nothing) == ("1", "nothing (it removed the key)")
    assert len(text) < 70
    assert unknown == "a value that can't be shown here (OSError: no licence)"
    assert "context.set('total', ...)" in str(error)


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ((1, 2.5), "sum"),
        (({1}, {2}), "union"),
        (([1], (2,)), "by_task"),
        (("a", "b"), "by_task"),
        ((True, 1), "by_task"),
        ((1, ...), "last"),
    ],
)
def test_the_message_suggests_a_rule_that_fits(values: Any, rule: Any) -> None:
    conflict = _in_conflict(*((name, value, ()) for name, value in zip("ab", values, strict=True)))
    assert f"WorkflowBuilder(..., merge={{'total': cloaca.merge.{rule}}})" in str(conflict.error)


@pytest.mark.parametrize(
    ("base", "values", "rule"),
    [
        ("old", ("a", "b"), "last"),
        ([1, 2], ([1], [1, 2, 3]), "last"),
        ((0,), ((1,), (2,)), "last"),
        ((0,), ((0, 1), (0, 2)), "concat"),
        (1, (2, 3), "sum"),
        (1, (2, Counter(a=1)), "last"),
        ({}, ("a", "b"), "by_task"),
    ],
)
def test_the_rule_suggested_fits_what_was_before_too(base: Any, values: tuple[Any, Any], rule: str) -> None:
    conflict = _in_conflict(("i", base, ()), ("a", values[0], (0,)), ("b", values[1], (0,)))
    assert conflict.rule == rule


def _in_conflict(*story: tuple[str, Any, tuple[int, ...]]) -> Conflict:
    found = settle("total", told(*story))
    assert isinstance(found, Conflict)
    return found


NAN = float("nan")


class Known:
    """Known by its identity alone."""


@pytest.mark.parametrize("member", [NAN, (1, NAN), Known()])
def test_members_that_no_copy_is_equal_to_make_a_conflict(member: Any) -> None:
    story = told(("i", {member: 3}, ()), ("a", {member: 3, "x": 1}, (0,)), ("b", {member: 3, "y": 1}, (0,)))
    assert isinstance(settle("key", story), Conflict)
    cases: list[tuple[Any, Any, Any]] = [
        (union, {member}, {member, 1}),
        (summed, Counter([member]), Counter([member, 1])),
    ]
    for rule, one, other in cases:
        concurrent = told(("i", one, ()), ("a", other, (0,)), ("c", other, (0,)))
        assert isinstance(settle("key", concurrent, Rules({"key": rule})), Conflict)


def test_a_rule_that_exits_leaves_the_key_in_conflict() -> None:
    def leave(_base: Any, _values: Any) -> Any:
        sys.exit(3)

    settled = settle("key", versions(1, 2), Rules({"key": leave}))
    assert isinstance(settled, Conflict)
    assert "3" in str(settled.error)


def test_a_rule_need_not_be_hashable() -> None:
    class Rule:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self, _base: Any, values: list[int]) -> int:
            return sum(values)

    assert value_of(settle("key", versions(1, 2), Rules({"key": Rule()}))) == 3


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloaca.merge.rules.REMEMBERED", 2000)
    rules = Rules({f"k{n}": lambda _base, values: b"".join(values) for n in range(3)})
    first = settle("k0", versions(b"x" * 500, b"x" * 500), rules)
    settle("k1", versions(b"x" * 500, b"x" * 500), rules)
    settle("k2", versions(b"x" * 500, b"x" * 500), rules)
    assert settle("k0", versions(b"x" * 500, b"x" * 500), rules) is not first


def test_the_first_n_is_short_for_their_places() -> None:
    long = told(
        ("i", [], ()), ("l", [1], (0,)), ("r", [2], (0,)), ("x", [1, 2, 3], (0, 1, 2)), ("y", [1, 2, 4], (0, 1, 2))
    )
    short = tuple(Version(v.writer, v.payload, (-3,) if len(v.saw) == 3 else v.saw) for v in long)
    assert value_of(settle("key", long)) == value_of(settle("key", short)) == [1, 2, 3, 4]


def test_the_message_tells_where_the_writers_stand_and_which_member_they_differ_in() -> None:
    story = (
        Version("north", encode({"sum": {"a": 1}}), (), "sales.py:12"),
        Version("south", encode({"sum": {"a": 2}}), (), "sales.py:17"),
    )
    conflict = settle("report", story)
    assert isinstance(conflict, Conflict)
    assert str(conflict.error).splitlines()[:3] == [
        "Key 'report' has 2 concurrent values that don't combine, at ['sum']['a']:",
        "  task 'north' (sales.py:12) wrote 1",
        "  task 'south' (sales.py:17) wrote 2",
    ]
    assert conflict.error.path == "['sum']['a']"
    assert conflict.error.places == ("sales.py:12", "sales.py:17")


def test_each_error_is_new() -> None:
    conflict = settle("key", versions(1, 2))
    assert isinstance(conflict, Conflict)
    assert conflict.error is not conflict.error


@pytest.mark.parametrize(
    "value", [{"digits": 10**10_000}, "line\nline" * 100, list(range(10**5)), {"k": [[["deep"] * 9] * 9] * 9}]
)
def test_whatever_is_shown_is_one_short_line(value: Any) -> None:
    text = shown(encode(value))
    assert "\n" not in text
    assert len(text) <= 203


def test_a_repr_over_several_lines_is_shown_on_one() -> None:
    assert "\n" not in shown(encode(Lines()))


class Lines:
    def __repr__(self) -> str:
        return "a\nb"
