"""What a function's own code does with its context."""

import functools
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from tests.support import defined

from cloaca.dataflow.symbols import Symbol, symbol_of
from cloaca.dataflow.touches import OPEN, Touches, touches_of

other: Any = None
KEY = "k"


def reading(context: Any) -> None:
    context.set("sum", sum(context["a"]) + context.get("b", 3) + context.get(key="c"))
    if "d" in context:
        context.set("d", context["d"])


def setting(context: Any) -> Any:
    context["one"] = 1
    context["two"] = f"{context.seed}"
    context.insert("three", other(context.get("x", 3), [1, 2]))
    context.update("four", len([1]))
    context["five"] += 1
    if other:
        context.set("one", 2)
        return {"six": 6, "seven": [7]}
    return context


def removing(context: Any) -> None:
    context.remove("a")
    context.delete("b")
    del context["c"]


def catching(context: Any) -> None:
    try:
        context.set("x", context["a"])
    except (KeyError, other.Error):
        context.set("x", None)
    try:
        context["b"]
    except:  # noqa: E722 - what is tested
        context["e"]
    with suppress(KeyError):
        context["c"]
    try:
        context["d"]
    except Exception as error:  # noqa: BLE001 - what is tested
        context.set("x", str(error))
    try:
        context["f"]
    finally:
        other([name for name in context["g"]])  # noqa: C416 - what is tested
    context["h"]


def getting(context: Any) -> Any:
    rows = context.get("a")
    for row in context.get("b"):
        other(rows, row, len(context.get("c")))
    limit = context.get("d")
    if limit is None:
        limit = context.get("e") or 3
    if context.get("f"):
        limit += context.get("g", 1)
    if context.get("h") == "fast" or context.get("i") is not None:
        limit = 0
    if (mode := context.get("j")) and mode != "slow":
        limit = 1
    context.get("k")
    first, second = context.get("l"), context.get("m")
    other(first[0], second + limit, n=context.get("n"))
    return context


def inside(context: Any) -> None:
    def later() -> Any:
        return context["a"]

    context.set("f", later() if other else "")


def unfolding(context: Any) -> None:
    for row in context["rows"]:
        other(row, context["limit"])


async def waiting(context: Any) -> None:
    await other(context["a"])
    context["b"] = str(context["a"])


class Callables:
    def __call__(self, context: Any) -> None:
        context.set("call", context["a"])

    def method(self, context: Any, *, year: int) -> None:
        context.set("method", year)


def late(_year: int, context: Any) -> None:
    context.set("late", context["a"])


def branching(context: Any) -> None:
    context["a"]
    if other:
        context["b"]
    for row in context["c"]:
        other(row and context["d"], context["e"])
    if other:
        context["f"]
        return
    context["g"]


def aliased(context: Any) -> None:
    alias = context
    alias.set("a", 1)
    put = context.set
    put("b", 1)


def taking(context: Any) -> None:
    other(context.pop("a"), context.pop("b", None), context.setdefault("c", []), context.setdefault("d"))
    context |= {"e": 1, "f": other()}
    context.update({"g": context["h"]})


def touches(needs: str = "", looks: str = "", asks: str = "", sets: str = "") -> Touches:
    needed, looked, asked, is_set = (frozenset(keys.split()) for keys in (needs, looks, asks, sets))
    return Touches(needed, looked, is_set, asks=asked)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (reading, touches("a c", "b d", "d", "sum d")),
        (setting, touches("four five", "x", "three", "one two three four five six seven")),
        (removing, touches("c", "", "a b", "a b c")),
        (catching, touches("e f g h", "a b c d", "", "x")),
        (getting, touches("b c l m", "a d e f g h i j k n")),
        (aliased, touches("", "", "", "a b")),
        (taking, touches("a h", "b c d", "", "a b c d e f g")),
        (inside, touches("", "a", "", "f")),
        (unfolding, touches("rows limit")),
        (Callables(), touches("a", "", "", "call")),
        (Callables().method, touches("", "", "", "method")),
        (functools.partial(late, 3), touches("a", "", "", "late")),
        (lambda context: context.set("k", 1), touches("", "", "", "k")),
        (lambda context: {"k": context["v"]}, touches("v", "", "", "k")),
        (lambda context: None, touches()),
    ],
)
def test_constant_keys_are_told(function: Callable[..., Any], expected: Touches) -> None:
    assert touches_of(function)._replace(surely=frozenset(), makes=frozenset(), values={}) == expected


def named(key: str) -> Callable[..., Any]:
    def task(context: Any) -> None:
        context.set(key, context[KEY])
        if KEY in context:
            context.remove(KEY)

    return task


def test_keys_that_stand_in_variables_of_the_module_or_around() -> None:
    for key in ("a", "b", "k"):
        found = touches_of(named(key))
        assert found._replace(surely=frozenset(), makes=frozenset(), values={}) == touches("", "k", "k", f"{key} k")
        kinds = (found.values[key].kind, found.values["k"].kind)
        assert kinds == (("unknown", "removed") if key != "k" else ("unknown", "unknown"))


def put_together(number: Any, region: Any) -> Callable[..., Any]:
    def task(context: Any) -> object:
        name = f"sum {region}"
        context[f"big{number}"] = f"text {number}"
        context[name] = context.get(f"in {number:03d}") or context[f"{{{region}}} {KEY}"]
        return {f"{region}{region}": 2}

    return task


def test_keys_that_are_texts_with_variables_in_them() -> None:
    for number, region in ((7, "north"), (8, "south")):
        found = touches_of(put_together(number, region))
        assert found.sets == {f"big{number}", f"sum {region}", region + region}
        assert found.reads == {f"in 00{number}", f"{{{region}}} k"}
        assert (found.reads_more, found.leaves_more) == (False, False)
        assert found.values[f"big{number}"] == Symbol("text")
        assert found.values[region + region] == symbol_of(2)


@pytest.mark.parametrize(("number", "region"), [(1.5, "north"), (True, "north"), ("x", "north"), (7, None), (7, [1])])
def test_texts_with_other_variables_in_them_may_be_any_key(number: Any, region: Any) -> None:
    found = touches_of(put_together(number, region))
    assert found.reads_more
    assert found.leaves_more or number == "x"


def made_otherwise(number: int) -> list[Callable[..., Any]]:
    def of_text(context: Any) -> None:
        context[f"a{number}".upper()] = 1

    def of_loop(context: Any) -> None:
        for place in range(3):
            context[f"a{place}"] = 1

    def of_default(context: Any, place: int = 1) -> None:
        context[f"a{place}"] = 1

    def of_repr(context: Any) -> None:
        context[f"a{number!r}"] = 1

    def of_width(context: Any) -> None:
        context[f"a{number:{number}}"] = 1

    def of_sum(context: Any) -> None:
        context[f"a{number + 1}"] = 1

    return [of_text, of_loop, of_default, of_repr, of_width, of_sum]


@pytest.mark.parametrize("function", made_otherwise(1), ids=lambda function: function.__name__)
def test_texts_that_are_made_otherwise_may_be_any_key(function: Callable[..., Any]) -> None:
    found = touches_of(function)
    assert (found.sets_more, found.sets) == (True, frozenset())


def test_variables_that_hold_no_text() -> None:
    def empty(context: Any) -> None:
        context.set("a", context[later])

    found = touches_of(empty)
    assert (found.reads_more, found.sets_more, set(found.sets)) == (True, False, {"a"})
    later = 3
    assert touches_of(empty) == found
    assert touches_of(lambda context: context.set(later, 1)).sets_more


def test_a_coroutine_reads_what_it_reads() -> None:
    """From Python 3.12 on it catches exceptions, as far as its code tells."""
    found = touches_of(waiting)
    assert ([*found.reads], [*found.sets], found.sets_more) == (["a"], ["b"], False)


def test_what_is_read_outside_of_branches() -> None:
    found = touches_of(branching)
    assert (sorted(found.needs), sorted(found.surely)) == ([*"abcdefg"], [*"ace"])


class Values:
    """Each method sets "k", to a value of the kind by which it is called."""

    def number(self, context: Any) -> None:
        count = context.get("n", 0)
        context.set("k", count + 1)

    def number_by_a_function(self, context: Any) -> None:
        context["k"] = round(context["n"], ndigits=2)

    def text_of_texts(self, context: Any) -> Any:
        return {"k": f"{context['n']}", "other": 1}

    def number_by_asking(self, context: Any) -> None:
        context["k"] = context["n"] > other

    def text_of_either(self, context: Any) -> None:
        name = "a"
        if context["n"]:
            name = "b"
        context.set("k", name)

    def number_by_adding(self, context: Any) -> None:
        context["k"] += 1

    def list_of_members(self, context: Any) -> None:
        context["k"] = [1, *context["n"]]

    def list_of_a_comprehension(self, context: Any) -> None:
        context.set("k", [row for row in context["n"] if row])

    def dict_in_a_variable(self, context: Any) -> None:
        found = {row: row for row in context["n"]}
        context.set("k", found)

    def dict_by_default(self, context: Any) -> None:
        context.set("k", context.get("k", {}))

    def list_appended(self, context: Any) -> None:
        rows = context["k"]
        rows.append(1)
        context["k"] = rows

    def dict_set_deep_inside(self, context: Any) -> None:
        settings = context["k"]
        settings["mail"]["port"] = 587
        context.set("k", settings)

    def dict_removed(self, context: Any) -> None:
        settings = context["k"]
        del settings["debug"]
        context.set("k", settings)

    def list_by_a_function(self, context: Any) -> Any:
        return {"k": sorted(context["n"])}

    def list_by_a_method(self, context: Any) -> Any:
        return {"k": context["n"].sum(axis=0).tolist()}

    def list_added(self, context: Any) -> None:
        context["k"] += [1]

    def list_of_either(self, context: Any) -> None:
        context.set("k", [1] if other else [2])

    def unknown(self, context: Any) -> None:
        context.set("k", other(context))

    def number_as_it_adds_up(self, context: Any) -> None:
        total = 0
        for row in context["n"]:
            total += row
        context.set("k", total)

    def unknown_of_either(self, context: Any) -> None:
        context.set("k", "a" if other else other)

    def removed(self, context: Any) -> None:
        context.remove("k")


@pytest.mark.parametrize("name", [name for name in vars(Values) if not name.startswith("_")])
def test_what_a_key_is_set_to(name: str) -> None:
    assert touches_of(getattr(Values(), name)).values["k"]._asdict() == {
        "kind": name.partition("_")[0],
        "role": "",
        "of": None,
    }


@pytest.mark.parametrize("value", [1, "a", None, True, -1])
def test_a_constant_that_a_key_is_set_to(value: Any) -> None:
    one, same, other = [
        touches_of(defined(f"def task(context):\n    kept = {one!r}\n    context.set('k', kept)")["task"]).values["k"]
        for one in (value, value, f"not {value}")
    ]
    assert one == same != other
    assert one.is_constant


def test_a_tuple_of_constants_that_a_key_is_set_to() -> None:
    values = touches_of(lambda context: {"k": (1, "b"), "other": (other, 1)}).values
    assert (values["k"].is_constant, values["other"]) == (True, Symbol("text"))


def chosen(context: Any) -> None:
    context["z"] = context.get("a" if other else "b")


def test_keys_of_which_one_is_chosen() -> None:
    def writing(context: Any) -> None:
        for name in ("a", "b"):
            context[name] = context[name] if name in context else context["c" if other else "d"]
            context["e" if other else "f"] = 1

    assert touches_of(chosen)._replace(values={}, makes=frozenset()) == touches("", "a b", "", "z")
    found = touches_of(writing)
    assert found._replace(values={}, makes=frozenset()) == touches("", "a b c d", "a b", "a b e f")
    assert found.makes == set()


def computed(context: Any) -> None:
    context["a" + KEY] = 1


def bound_anew(context: Any) -> None:
    context = context.copy()
    context["a"]


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(context: Any) -> Any:
        context.set("more", 1)
        return function(context)

    return wrapper


@pytest.mark.parametrize(
    "function",
    [
        lambda context: other(context, 1),
        lambda context: context.insert(KEY + "a", 1),
        lambda context: other[context],
        lambda context: context[other or context],
        lambda context: context.update_from_dict(other),
        lambda *contexts: contexts[0].set("a", 1),
        lambda context: context.set.__call__("a", 1),
        lambda context: [context.set][0]("a", 1),
        lambda context: exec("context['a'] = 1"),
        lambda context: locals()["context"].set("a", 1),
        lambda context: other(lambda given=context: given.set("a", 1)),
        lambda context: [other(one) for one in (context, 1)],
        lambda context: setattr(other, "context", context),
        lambda context: other[context.set],
        bound_anew,
        wrapped(reading),
        print,
        7,
    ],
)
def test_other_uses_leave_it_open(function: Any) -> None:
    found = touches_of(function)
    assert (found.reads_more, found.sets_more) == (OPEN.reads_more, OPEN.sets_more)


@pytest.mark.parametrize(
    "function",
    [
        lambda context: context.set("a" + KEY, 1),
        lambda context: context.set("a".upper(), 1),
        lambda context: context.set("%s" % KEY, 1),  # noqa: UP031 - what is tested
        lambda context: context.set(f"a{KEY.lower()}", 1),
        lambda context: context.set(KEY.lower() or "b", 1),
        lambda context: context.set(other, 1),
        lambda context: context.__setitem__("a", 1),
        computed,
    ],
)
def test_keys_that_are_made_up_to_be_set(function: Any) -> None:
    found = touches_of(function)
    assert found.sets_more
    assert found.sets == frozenset()


@pytest.mark.parametrize(
    "function",
    [
        lambda context: context.set("z", context[f"a{KEY.lower()}"]),
        lambda context: context.set("z", context[other(KEY, 3)]),
        lambda context: context.set("z", context[other]),
        lambda context: context.set("z", context.get("a" + KEY, 3)),
    ],
)
def test_keys_that_are_made_up_to_be_read(function: Any) -> None:
    found = touches_of(function)
    assert (found.reads_more, found.sets_more, set(found.sets)) == (True, False, {"z"})


def test_what_is_returned_may_set_anything() -> None:
    assert touches_of(lambda context: other).returns_more
    assert touches_of(lambda context: {**other}).returns_more
    assert touches_of(lambda context: {"a": 1, KEY.lower(): 2}).returns_more
    assert touches_of(lambda context: {"a": 1, KEY.lower(): 2}).leaves_more
    assert touches_of(lambda context: other or {"a": 1}).returns_more


def test_what_is_returned_sets_nothing() -> None:
    for function in (lambda context: True, lambda context: 5, lambda context: print(context["a"])):
        assert not touches_of(function).leaves_more


def test_listing_keys_reads_them_all_and_sets_none() -> None:
    found = touches_of(lambda context: context.set("a", len(context.keys())))
    assert (found.reads_more, found.sets_more) == (True, False)


# ---- ways through the code -----------------------------------------------------------------------------------------


class Ways:
    """Each method does what its docstring says: keys that it needs; that it reads otherwise; sets; sets for certain."""

    def caught_further_out(self, context: Any) -> None:
        """| a b | c | c"""
        try:
            with other("x") as file:
                other(file, context["a"])
        except OSError:
            other()
        try:
            try:
                other(context["b"])
            finally:
                context.set("c", 1)
        except (KeyError, ValueError, TypeError, other.Error, other.Another, other.Third):
            other()
        context["c"] = 1

    def found_by_listing(self, context: Any) -> None:
        """| a b | |"""
        if "a" in context.keys():  # noqa: SIM118 - what is tested
            other(context["a"])
        if {"b"} <= set(context.to_dict()):
            other(context["b"])

    def found_by_a_loop(self, context: Any) -> None:
        """| a b | |"""
        if all(key in context for key in ("a", "b")):
            other(context["a"], context["b"])

    def none_is_fine(self, context: Any) -> None:
        """| a b c d e f g | x | x"""
        other(context.get("a"), since=context.get("b"))
        print(f"{context.get('c')}")
        context["x"] = context.get("d")
        if other.isna(limit := context.get("e")):
            limit = 3
        if isinstance(options := context.get("f"), dict):
            other(options["x"], limit)
        if context.get("g") == other.MODE:
            other()

    def either(self, context: Any) -> None:
        """a | b | k l | k"""
        if context["a"] == "fast":
            context["k"] = 1
        else:
            context["k"] = 2
            context["l"] = context.get("b", 3)

    def unless_it_returns(self, context: Any) -> None:
        """a b | | k |"""
        if context["a"] != "fast":
            return
        context["k"] = context["b"]

    def perhaps_never(self, context: Any) -> None:
        """a b c | | k |"""
        for row in context["a"]:
            if not row:
                continue
            context["k"] = context["b"]
        while other():
            other(context["c"])
            break

    def one_after_the_other(self, context: Any) -> None:
        """| | status | status"""
        context["status"] = "running"
        other()
        context["status"] = "done"

    def by_any_name(self, context: Any) -> None:
        """a | b | x y | x y"""
        context.set(value=1, key="x")
        context.get(default=3, key="b")
        context.set("y", value=context["a"])

    def later(self, context: Any) -> Callable[[], None]:
        """| a | k more |"""
        name = other()

        def call() -> None:
            context["k"] = context["a"]

        context.set("more", call)
        return None if name else call  # type: ignore[return-value]

    def chosen_by_match(self, context: Any) -> None:
        """a | b | k |"""
        match context.get("b"):
            case other.FAST:
                context["k"] = context["a"]
            case _:
                other()


def keys(text: str) -> frozenset[str]:
    return frozenset(text.split())


@pytest.mark.parametrize("name", [name for name in vars(Ways) if not name.startswith("_")])
def test_what_is_done_on_which_ways(name: str) -> None:
    function = getattr(Ways(), name)
    needs, looks, sets, makes = map(keys, function.__doc__.split("|"))
    found = touches_of(function)
    assert (found.needs, found.looks, found.sets) == (needs, looks, sets)
    if name != "later":
        assert found.makes == makes


def test_what_is_set_last_counts() -> None:
    assert touches_of(Ways().one_after_the_other).values == {"status": symbol_of("done")}


def test_what_is_set_last_counts_in_variables_too() -> None:
    def made(first: int, last: Any) -> Callable[[Any], None]:
        def task(context: Any) -> None:
            context["k"] = first
            context["k"] = last

        return task

    for last in (2, [3], other):
        assert touches_of(made(1, last)).values == {"k": symbol_of(last)}


def test_a_context_that_is_bound_anew_under_a_function_inside() -> None:
    def task(context: Any) -> None:
        def inner() -> None:
            context["a"] = 1

        inner()
        context = other(1)

    assert touches_of(task).sets_more


def test_a_local_variable_hides_one_of_the_module() -> None:
    def hiding(context: Any) -> None:
        KEY = other()  # noqa: N806 - what is tested

        def inner() -> None:
            context[KEY] = 1

        inner()

    def changing(context: Any) -> None:
        global KEY  # noqa: PLW0603 - what is tested
        KEY = "other"
        context[KEY] = 1

    for function in (hiding, changing):
        assert touches_of(function).sets_more
        assert touches_of(function).sets == frozenset()


@pytest.mark.parametrize("line", ["x{n} = x{before} + 1", "x0 += [x{before}, {n}]", "if x0: x{n} = x{before}"])
def test_long_code_is_read(line: str) -> None:
    lines = [line.format(n=n, before=n - 1) for n in range(1, 400)]
    source = "def task(context):\n x0 = 0\n " + "\n ".join(lines) + "\n context['k'] = context['a']"
    found = touches_of(defined(source)["task"])
    assert (set(found.needs), set(found.sets)) == ({"a"}, {"k"})
