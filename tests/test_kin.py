"""Functions that a program makes of one piece of code: each arrives as it is, and what changes in one is seen."""

import gc
import json
import math
import os
import random
import re
import sys
import textwrap
import threading
import tracemalloc
import types
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.test_functions import CHANGES, STABLE

import cloaca
from cloaca.errors import CaptureError
from cloaca.pickling import classes
from cloaca.pickling.code import reduce_code
from cloaca.pickling.functions import Captured, capture
from cloaca.pickling.kin import FunctionCache
from cloaca.pickling.loading import load


def program(source: str, **names: Any) -> dict[str, Any]:
    """The globals of a program that no other process can import, after it ran."""
    namespace = {"__name__": "__main__", **names}
    exec(textwrap.dedent(source), namespace)
    return namespace


def captured_all(cache: FunctionCache, functions: Sequence[Callable[..., Any]], times: int = 1) -> list[Captured]:
    """As in that many executions, one after the other."""
    for _ in range(times):
        captured = cache.capture_all([f"t{place}" for place in range(len(functions))], functions)
    return captured


def loaded(cache: FunctionCache, captured: Captured) -> Any:
    """The function as a worker makes it."""
    heads = {head.number: head.blob for head in cache.heads}
    return load(captured.blob, heads[captured.head] if captured.head else b"")


def described(function: Any) -> dict[str, Any]:
    """All that can be told from outside about a function, and what it returns."""
    names = ("__name__", "__qualname__", "__module__", "__doc__", "__defaults__", "__kwdefaults__", "__annotations__")
    cells = [gc.get_referents(cell) for cell in function.__closure__ or ()]
    return {
        **{name: getattr(function, name) for name in names},
        "dict": {name: shown(value) for name, value in vars(function).items()},
        "cells": [[shown(content) for content in cell] for cell in cells],
        "closure": function.__closure__ is None,
        "globals": {name: shown(value) for name, value in function.__globals__.items()},
        "code": function.__code__,
        "file": function.__code__.co_filename,
    }


def own(function: Any) -> dict[str, Any]:
    """What is the same on both sides."""
    return {name: one for name, one in described(function).items() if name != "globals"}


def shown(value: Any) -> Any:
    """By-value functions and instances are other objects on the other side: they are told by their names."""
    if callable(value) or type(value).__name__ in ("Rate", "module"):
        return type(value).__name__, getattr(value, "__qualname__", "")
    return type(value), re.sub(" at 0x[0-9a-f]+", "", repr(value))


# ---- kinds of functions, each as what makes three of them: in a program that can't be imported ---------------------

KINDS = {
    "a cell": "def make(n):\n return lambda: n * 2",
    "a default": "def make(n):\n return lambda n=n: n + 1",
    "a default of a function": "def make(n):\n def task(n=n, other='x'): 'Doc.'; return n, other\n return task",
    "a keyword's default": "def make(n):\n def task(*, n=n, m='m'): return n, m\n return task",
    "all of them": "def make(n):\n m = -n\n def task(a=n, *, b=str(n)): return a, b, n, m\n return task",
    "nothing of its own": "def make(n):\n def task(): return FACTOR\n return task",
    "a string": "def make(n):\n key = f'k{n}'\n return lambda: key",
    "None, floats, bytes": "def make(n):\n x = [None, 1.5, b'x'][n]\n return lambda: x",
    "complex, bool, Ellipsis": "def make(n):\n x = [1j, True, ...][n]\n return lambda: x",
    "a tuple": "def make(n):\n row = (n, f'k{n}', None)\n return lambda: row",
    "a list": "def make(n):\n rows = [n, f'k{n}']\n return lambda: (rows.append(1), rows)",
    "a list twice": "def make(n):\n one = other = [n]\n return lambda: (one is other, one)",
    "a list and a global one": "def make(n):\n rows = [n]\n return lambda: rows + TABLE",
    "a dict": "def make(n):\n row = {'n': n, n: None}\n return lambda: list(row.items())",
    "a set": "def make(n):\n row = {n}\n return lambda: row",
    "globals": "def make(n):\n return lambda: (n, FACTOR, math.pi, json.dumps(n), missing if n > 9 else 0)",
    "a helper": "def help(n): return n + FACTOR if n else help(1)\ndef make(n):\n return lambda: help(n)",
    "a common helper in a cell": "def help(n): return n\ndef make(n, h=help):\n return lambda: h(n)",
    "a common list in a cell": "shared = [1]\ndef make(n, s=shared):\n return lambda: (s, n)",
    "a global list": "def make(n):\n return lambda: TABLE + [n]",
    "a class of the program": "def make(n):\n return lambda: Rate().times(n)",
    "an instance in common": "rate = Rate()\ndef make(n):\n return lambda: rate.times(n)",
    "annotations": "def make(n):\n def task(x: int = n) -> 'list[int]': return x\n return task",
    "annotations made anew": "def make(n):\n def task(x: int = n) -> list[int] | None: return [x]\n return task",
    "a nested function": "def make(n):\n def task():\n  def inner(): return n\n  return inner()\n return task",
    "a nested class": "def make(n):\n def task():\n  class A:\n   x: int = FACTOR\n  return A.x + n\n return task",
    "a generator inside": "def make(n):\n return lambda: sum(i for i in range(n))",
    "async": "def make(n):\n async def task(): return n\n return task",
    "a generator": "def make(n):\n def task(): yield n\n return task",
    "the name of its module": "def make(n):\n return lambda: (n, __name__)",
    "of the process": "def make(n):\n return lambda: (n, randint.__self__ is _inst, environ is os.environ)",
    "global scratch": "count = 0\ndef make(n):\n def t():\n  global count; count += 1; return n, count\n return t",
    "attributes": "def make(n):\n def task(): return n\n task.note = n\n return task",
    "wrapped": "from functools import *\ndef f(): return 1\ndef make(n):\n @wraps(f)\n def t(): return n\n return t",
    "a name of its own": "def make(n):\n def task(): return n\n task.__name__ = f'task{n}'\n return task",
    "itself": "def make(n):\n def task(m=n): return task(m - 1) if m > 0 else m\n return task",
    "a tuple of more than atoms": "def make(n):\n row = (n, [])\n return lambda: row",
    "a long list": "def make(n):\n rows = [n] * 100\n return lambda: rows",
    "a list of more than atoms": "def make(n):\n rows = [[n]]\n return lambda: rows",
    "a list of its own that a global holds": "rows = [1]\ndef make(n):\n own = rows\n return lambda: (own is rows, n)",
    "a long tuple": "def make(n):\n row = (n,) * 100\n return lambda: row",
    "a function of its own": "def make(n):\n def help(): return n\n return lambda: help()",
    "a large text of its own": "def make(n):\n text = str(n) * 5000\n return lambda: text",
    "an instance of its own": "def make(n):\n rate = Rate()\n return lambda: rate.times(n)",
    "all of its kind": "tasks = []\ndef make(n):\n tasks.append(lambda: (len(tasks), n))\n return tasks[-1]",
    "an empty cell": "def make(n):\n def task(): return n if True else late\n if n > 9: late = 1\n return task",
    "a bound method": "def make(n):\n return Rate().times",
    "a partial": "from functools import partial\ndef make(n):\n return partial(pow, n, 2)",
    "a caching wrapper": "from functools import cache\ndef make(n):\n return cache(lambda: n)",
    "another code each": "def make(n):\n return eval(f'lambda: {n}')",
}


def three(source: str) -> list[Any]:
    shared = {"os": os, "environ": os.environ, "randint": random.randint, "_inst": random._inst}
    names = {**shared, "FACTOR": 3, "TABLE": [1, 2], "math": math, "json": json, "Rate": program(RATE)["Rate"]}
    make = program(source, **names)["make"]
    return [make(n) for n in range(3)]


RATE = """
    class Rate:
        value = 5
        def times(self, number=1): return self.value * number
"""


def outcome(function: Any) -> Any:
    if function.__code__.co_flags & 0x20:
        return list(function())
    result = function()
    if not hasattr(result, "send"):
        return result
    with pytest.raises(StopIteration) as stop:
        result.send(None)
    return stop.value.value


@pytest.mark.parametrize("source", KINDS.values(), ids=KINDS)
def test_a_function_arrives_as_it_is(source):
    functions = three(source)
    captured = captured_all(cache := FunctionCache(), functions)
    for function, one in zip(functions, captured, strict=True):
        made, again = loaded(cache, one), load(capture("t", function).blob)
        assert one.reads == capture("t", function).reads
        if isinstance(made, types.FunctionType):
            assert own(made) == own(function)
            assert outcome(again) == outcome(made)
            assert described(made) == described(again)
        else:
            assert made() == again()


ATOMS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.complex_numbers()


@given(st.lists(st.tuples(ATOMS, ATOMS, ATOMS), min_size=2))
def test_any_atoms_arrive_as_they_were(rows):
    def make(cell, default, keyword):
        def task(context, given=default, *, named=keyword):
            return cell, given, named

        return task

    captured = captured_all(cache := FunctionCache(), [make(*row) for row in rows])
    found = [loaded(cache, one)(None) for one in captured]
    assert list(map(repr, found)) == list(map(repr, rows))
    assert [one.reads for one in captured] == [
        tuple(dict.fromkeys(part for part in (default, keyword, cell) if type(part) is str))
        for cell, default, keyword in rows
    ]


# ---- what it costs: counted ----------------------------------------------------------------------------------------

LOOP = """
    LIMIT, table = 3, [1, 2]
    def helper(number): return number + LIMIT
    def make(number, key):
        def task(context): context.set(key, helper(number) + len(table))
        return task
    tasks = [make(number, f"key {number}") for number in range(size)]
"""


TABLES = {
    "a global": "def make(number):\n return lambda: (number, len(table))",
    "a cell": "def make(number, table=table):\n return lambda: (number, len(table))",
    "a default": "def make(number):\n return lambda table=table: (number, len(table))",
    "part of an instance": "rate.table = table\ndef make(number):\n return lambda: (number, len(rate.table))",
    "an argument": "from functools import partial\ndef work(*given): pass\ndef make(n): return partial(work, n, table)",
    "of a method": "rate.table = table\ndef make(number): return rate.times",
}


@pytest.mark.parametrize("source", TABLES.values(), ids=TABLES)
def test_a_table_that_many_functions_capture_is_pickled_and_sent_once(source):
    names = {"table": {str(number): number for number in range(100_000)}, "rate": program(RATE)["Rate"]()}
    make = program(source, **names)["make"]
    with warnings.catch_warnings(record=True, action="always") as caught:
        captured = captured_all(cache := FunctionCache(), [make(number) for number in range(200)])
    (head,) = cache.heads
    assert len(caught) == 1
    assert len(head.blob) > 1_000_000
    assert sum(len(one.blob) for one in captured) < 50_000
    assert {one.head for one in captured} == {head.number}
    table = loaded(cache, captured[7])
    assert table is not loaded(cache, captured[7])


def test_what_leads_to_what_stays_so_between_what_is_shared_and_what_is_not():
    rows = [[number] for number in range(3)]

    def make(row):
        return lambda: (row in rows, row.append(7), rows)

    captured = captured_all(cache := FunctionCache(), [make(row) for row in rows])
    assert cache.heads
    assert loaded(cache, captured[2])() == (True, None, [[0], [1], [2, 7]])
    assert loaded(cache, captured[1])() == (True, None, [[0], [1, 7], [2]])


def test_code_is_pickled_once_for_all_functions_that_share_it():
    codes = []

    def counted(code: types.CodeType) -> Any:
        codes.append(code)
        return reduce_code(code)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(classes._REDUCERS, types.CodeType, counted)
        captured_all(FunctionCache(), program(LOOP, size=1000)["tasks"])
    assert [code.co_name for code in codes] == ["task", "helper"]


def test_each_function_more_takes_a_few_bytes():
    captured = captured_all(cache := FunctionCache(), program(LOOP, size=1000)["tasks"])
    assert max(len(one.blob) for one in captured) < 100
    (head,) = cache.heads
    assert len(head.blob) < 1000


def test_nothing_is_pickled_again_where_nothing_has_changed(monkeypatch):
    tasks = program(LOOP.replace("[1, 2]", "(1, 2)"), size=100)["tasks"]
    first = captured_all(cache := FunctionCache(), tasks)
    monkeypatch.setattr("cloaca.pickling.functions.Pickler.dump", None)
    monkeypatch.setattr("cloaca.pickling.kin.is_watched", None)
    assert captured_all(cache, tasks) is first


def test_code_is_made_once_in_a_process_and_globals_for_each_function():
    captured = captured_all(cache := FunctionCache(), program(LOOP, size=3)["tasks"])
    one, other = (loaded(cache, each) for each in captured[1:])
    assert one.__code__ is other.__code__
    assert one.__globals__ is not other.__globals__
    assert one.__globals__["helper"].__globals__ is one.__globals__
    assert one.__globals__["helper"].__code__ is other.__globals__["helper"].__code__
    assert one.__globals__["table"] is not other.__globals__["table"]


# ---- what changes is seen ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("times", [1, 3])
def test_a_change_that_concerns_all_is_seen_in_all(change, times):
    """As for single functions, in `tests/test_functions.py`: each is captured again, and as it would be anew."""
    source = (
        STABLE.replace("task", "loop") + "\n    def make(n):\n        def task(context): return loop(n), helper(n)\n"
    )
    namespace = program(source + "        return task\n    tasks = [make(n) for n in range(4)]\n")
    first = captured_all(cache := FunctionCache(), namespace["tasks"], times)
    exec(change.replace("task", "loop"), namespace)
    after = captured_all(cache, namespace["tasks"])
    assert {one.number for one in first}.isdisjoint(one.number for one in after)
    anew = captured_all(other := FunctionCache(), namespace["tasks"])
    assert [described(loaded(cache, one)) for one in after] == [described(loaded(other, one)) for one in anew]


@pytest.mark.parametrize("times", [1, 3])
def test_only_the_function_whose_own_value_changed_is_captured_again(times):
    def make(number):
        def change():
            nonlocal number
            number += 10

        return lambda: number, change

    tasks, changes = zip(*(make(number) for number in range(4)), strict=True)
    first = captured_all(cache := FunctionCache(), tasks, times)
    changes[2]()
    after = captured_all(cache, tasks)
    assert [one is before for one, before in zip(after, first, strict=True)] == [True, True, False, True]
    assert loaded(cache, after[2])() == 12


INNER_CHANGES: dict[str, tuple[Callable[[int], Any], Callable[[Any], Any]]] = {
    "a list": (lambda number: [number], lambda rows: rows.append(7)),
    "an item of a list": (lambda number: [number], lambda rows: rows.__setitem__(0, 7)),
    "an equal item": (lambda number: [number], lambda rows: rows.__setitem__(0, float(rows[0]))),
    "a dict": (lambda number: {"n": number}, lambda row: row.update(n=7)),
    "a key of a dict": (lambda number: {"n": number}, lambda row: row.update(m=row.pop("n"))),
    "a set": (lambda number: {number}, lambda found: found.add(7)),
}


def holding(part: Any) -> Callable[..., Any]:
    return lambda given=part: (given, part)


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize(("make", "change"), INNER_CHANGES.values(), ids=INNER_CHANGES)
def test_a_change_inside_what_a_function_holds_is_seen(make, change, times):
    held = [make(number) for number in range(4)]
    tasks = list(map(holding, held))
    first = captured_all(cache := FunctionCache(), tasks, times)
    change(held[2])
    after = captured_all(cache, tasks)
    assert [one is before for one, before in zip(after, first, strict=True)] == [True, True, False, True]
    assert repr(loaded(cache, after[2])()) == repr((held[2], held[2]))
    assert captured_all(cache, tasks, times) == after


def set_keyword(task: Any, **default: int) -> None:
    if task.__kwdefaults__ is None:
        task.__kwdefaults__ = {}
    task.__kwdefaults__.update(default)


OWN_CHANGES: dict[str, Callable[[Any], Any]] = {
    "an attribute": lambda task: setattr(task, "note", "x"),
    "a default": lambda task: setattr(task, "__defaults__", (7,)),
    "no default": lambda task: setattr(task, "__defaults__", None),
    "a keyword": lambda task: set_keyword(task, k=7),
    "another keyword": lambda task: set_keyword(task, z=7),
    "its code": lambda task: setattr(task, "__code__", (lambda n=0, *, k=0: "new").__code__),
    "its name": lambda task: setattr(task, "__name__", "other"),
    "an annotation": lambda task: task.__annotations__.update(n=int),
    "a list": lambda task: setattr(task, "__defaults__", ([],)),
}


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("keyword", [True, False])
@pytest.mark.parametrize("place", [1, 2, 3])
@pytest.mark.parametrize("change", OWN_CHANGES.values(), ids=OWN_CHANGES)
def test_a_function_travels_as_it_is_now(change, place, keyword, times):
    def make(number):
        def with_keyword(n=number, *, k=number):
            return n, k

        def without(n=number):
            return n

        task = with_keyword if keyword else without
        if not keyword:
            task.__kwdefaults__ = None

        return task

    tasks = [make(number) for number in range(4)]
    first = captured_all(cache := FunctionCache(), tasks, times)
    change(tasks[place])
    after = captured_all(cache, tasks)
    assert after[place] is not first[place]
    for task, one in zip(tasks, after, strict=True):
        assert described(loaded(cache, one)) == described(load(capture("t", task).blob))
    again = captured_all(cache, tasks)
    assert all(one is before for one, before in zip(again, after, strict=True))


@pytest.mark.parametrize("times", [1, 3])
def test_a_cell_that_is_emptied_is_no_trouble(times):
    def make(number):
        def empty():
            nonlocal number
            del number

        return (lambda: number), empty

    tasks, emptying = zip(*(make(number) for number in range(3)), strict=True)
    captured_all(cache := FunctionCache(), tasks, times)
    emptying[2]()
    with pytest.raises(NameError):
        loaded(cache, captured_all(cache, tasks)[2])()


def test_what_two_have_in_common_is_seen_to_change_by_those_of_their_code_that_do_not_have_it():
    table = [1]

    def make(rows):
        return lambda: rows

    tasks = [make(table), make(table), make(None)]
    captured_all(cache := FunctionCache(), tasks, 2)
    table.append(2)
    assert [loaded(cache, one)() for one in captured_all(cache, tasks)] == [[1, 2], [1, 2], None]


def test_functions_that_are_replaced_are_captured_anew():
    cache = FunctionCache()
    for offset in (0, 10):
        tasks = program(LOOP.replace("number +", f"{offset} + number +"), size=4)["tasks"]
        context: dict[str, int] = {}
        for one in captured_all(cache, tasks):
            loaded(cache, one)(types.SimpleNamespace(set=context.__setitem__))
        assert context == {f"key {number}": offset + number + 5 for number in range(4)}


def test_an_importable_function_of_the_same_code_travels_by_reference(make_module):
    source = "tasks = []\nfor n in range(3):\n    def task(n=n): return n\n    tasks.append(task)"
    module = make_module("cloaca_loop", source)
    captured = captured_all(cache := FunctionCache(), module.tasks)
    assert [loaded(cache, one)() for one in captured] == [0, 1, 2]
    assert loaded(cache, captured[2]) is module.task


# ---- what can't be captured ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source", ["def make(n):\n return lambda: (n, lock)", "def make(n, l=lock):\n return lambda: l"]
)
def test_what_is_at_fault_is_named_as_ever(source):
    tasks = [program(source, lock=threading.Lock())["make"](n) for n in range(3)]
    with pytest.raises(CaptureError) as caught:
        captured_all(FunctionCache(), tasks)
    assert (caught.value.task, caught.value.type_name) == ("t0", "_thread.lock")


def test_a_fault_that_comes_later_names_the_task():
    namespace = program("table = [1]\ndef make(n):\n return lambda: (n, table)")
    tasks = [namespace["make"](n) for n in range(3)]
    captured_all(cache := FunctionCache(), tasks)
    namespace["table"].append(threading.Lock())
    with pytest.raises(CaptureError) as caught:
        cache.capture_all(["second", "third"], tasks[1:])
    assert (caught.value.task, caught.value.variable) == ("second", "table[1]")


def test_what_all_have_in_common_is_warned_about_once():
    tasks = program(LOOP.replace("[1, 2]", "list(range(10**6))"), size=4)["tasks"]
    cache = FunctionCache()
    with pytest.warns(UserWarning, match=r"captures table, \d\.\d MB") as caught:
        captured_all(cache, tasks)
    assert len(caught) == 1
    captured_all(cache, tasks)


# ---- on workers ----------------------------------------------------------------------------------------------------


def test_functions_of_a_kind_run_on_workers_and_keep_their_globals_apart():
    source = """
        import cloaca
        count = 0
        def define(number):
            @cloaca.task(id=f"t{number}")
            def task(context):
                global count
                count += 1
                context.set(f"k{number}", [number + context.get("start"), count])
        with cloaca.WorkflowBuilder("kinds"):
            for number in range(50):
                define(number)
    """
    program(source)
    with cloaca.DefaultRunner(workers=2) as runner:
        for start in (0, 100):
            context = runner.execute("kinds", cloaca.Context({"start": start})).final_context
            assert [context[f"k{number}"][0] for number in range(50)] == list(range(start, start + 50))
        program(source.replace("range(50)", "range(3)").replace("number +", "-number +"))
        context = runner.execute("kinds", cloaca.Context({"start": 0})).final_context
        assert [context[f"k{number}"] for number in range(3)] == [[0, 1], [-1, 1], [-2, 1]]


def test_one_more_function_of_the_same_code_costs_few_calls() -> None:
    """Now 124, of Python's functions and of C's, to pickle it, and to see later whether it has changed."""
    make = program("def make(n): return lambda context: context.set('sum', n)")["make"]

    def calls_for(number: int) -> int:
        functions, events = [make(n) for n in range(number)], Counter[str]()

        def count(_: types.FrameType, event: str, __: object) -> None:
            events[event] += 1

        sys.setprofile(count)
        captured_all(FunctionCache(), functions)
        sys.setprofile(None)
        return events["call"] + events["c_call"]

    calls_for(2)  # what is to be known of the code itself is found out once
    assert (calls_for(30) - calls_for(10)) / 20 <= 135


def test_a_function_of_many_takes_little_where_it_is_loaded() -> None:
    make = program("def make(n):\n    return lambda: n", __file__="/somewhere/program.py", __package__=None)["make"]
    captured = captured_all(cache := FunctionCache(), [make(number) for number in range(1000)])
    loaded(cache, captured[0])
    tracemalloc.start()
    try:
        functions = [loaded(cache, one) for one in captured]
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [function() for function in functions] == [*range(1000)]
    assert len({id(function.__globals__) for function in functions}) == 1000
    assert {function.__globals__["__file__"] for function in functions} == {"/somewhere/program.py"}
    assert taken < 640 * len(functions)


def test_of_thousands_of_functions_that_name_one_variable_it_is_watched_once() -> None:
    make = program("RATE = 2\ndef make(n): return lambda context: n * RATE")["make"]
    captured_all(cache := FunctionCache(), functions := [make(number) for number in range(50)])
    assert len(cache._watch.keys) == 1
    make.__globals__["RATE"] = 3
    assert loaded(cache, captured_all(cache, functions)[7])(None) == 21


def test_a_function_is_given_no_attributes_by_being_looked_at() -> None:
    """An empty dict for its attributes and one for its annotations would take as much as all else that it has."""

    def make(number: int) -> Callable[..., Any]:
        return lambda context: context.set(f"k{number}", number)

    functions = [make(number) for number in range(3)]
    before = [len(gc.get_referents(function)) for function in functions]
    with cloaca.WorkflowBuilder("w"):
        for number, function in enumerate(functions):
            cloaca.task(id=f"t{number}")(function)
    with cloaca.DefaultRunner(workers=1) as runner:
        for _ in range(2):
            runner.execute("w").raise_for_status()
    assert [len(gc.get_referents(function)) for function in functions] == before
