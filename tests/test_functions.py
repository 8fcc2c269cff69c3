"""Task functions as blobs: what they take along, what is refused, and when they are pickled again."""

import dis
import importlib.util
import json
import math
import operator
import os
import subprocess
import sys
import textwrap
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
from tests.support import output_of

from cloaca.errors import CaptureError
from cloaca.pickling.code import codes_in, global_names
from cloaca.pickling.functions import Captured, capture, reads
from cloaca.pickling.kin import FunctionCache
from cloaca.pickling.loading import load
from cloaca.values.codec import decode, encode

LOCK = threading.Lock()


class Multiply:
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, context):
        return self.factor * context["number"]

    def method(self, context):
        return self.factor * context["other"]


def by_reference(context):
    return context["by_reference"]


def program(source: str, **names: Any) -> dict[str, Any]:
    """The globals of a program that no other process can import, after it ran."""
    namespace = {"__name__": "__main__", **names}
    exec(textwrap.dedent(source), namespace)
    return namespace


# ---- the globals that code names ------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["argparse", "inspect", "turtle", "typing", "unittest.mock"])
def test_the_globals_that_code_names_are_those_that_dis_tells(module: str) -> None:
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    codes = list(codes_in(compile(Path(spec.origin).read_text(encoding="utf-8"), module, "exec")))
    assert len(codes) > 100
    assert [global_names(code) for code in codes] == [named_by_dis(code) for code in codes]


def test_so_they_are_of_code_that_the_interpreter_has_adapted() -> None:
    def adapted(number: int) -> int:
        return len(str(math.floor(number))) + int(operator.add(number, LENGTH))

    for number in range(1000):
        adapted(number)
    assert global_names(adapted.__code__) == named_by_dis(adapted.__code__)


LENGTH = 3


def named_by_dis(code: CodeType) -> tuple[str, ...]:
    names = ("LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
    steps = (step for one in codes_in(code) for step in dis.get_instructions(one))
    return tuple(dict.fromkeys([step.argval for step in steps if step.opname in names]))


# ---- there and back ------------------------------------------------------------------------------------------------


def test_functions_of_every_kind_are_captured():
    factor = 2
    functions: list[Callable[[dict[str, Any]], Any]] = [
        lambda context: factor * context["number"],
        Multiply(2),
        Multiply(2).method,
        partial(operator.mul, 2),
    ]
    arguments: list[Any] = [{"number": 3}, {"number": 3}, {"other": 3}, 3]
    blobs = [capture("t", function).blob for function in functions]
    assert [load(blob)(argument) for blob, argument in zip(blobs, arguments, strict=True)] == [6, 6, 6, 6]


def test_an_importable_function_travels_by_reference():
    blob = capture("t", json.dumps).blob
    assert load(blob) is json.dumps
    assert len(blob) < 100


def test_numbers_are_never_used_twice():
    captured = [capture("t", by_reference) for _ in range(3)]
    assert len({one.number for one in captured}) == 3


def test_a_function_of_the_program_runs_elsewhere():
    script = """
        import subprocess, sys
        from cloaca.pickling.functions import capture
        LIMIT = 3
        def helper(number): return number + LIMIT if number < 10 else helper(number - 1)
        def task(context): return helper(context["number"])
        child = "import sys; from cloaca.pickling.loading import load;"
        child += "print(load(sys.stdin.buffer.read())({'number': 12}))"
        print(subprocess.check_output([sys.executable, "-c", child], input=capture("t", task).blob))
    """
    assert run_script(script) == "b'12\\n'\n"


def run_script(script: str) -> str:
    return output_of("-c", textwrap.dedent(script))


WORKER = """
    import subprocess, sys
    from cloaca.errors import CaptureError
    from cloaca.pickling.functions import capture
    from cloaca.pickling.kin import FunctionCache

    def elsewhere(function):
        child = "import sys; from cloaca.pickling.loading import load; print(load(sys.stdin.buffer.read())(None))"
        blob = capture("t", function).blob
        print(subprocess.check_output([sys.executable, "-c", child], input=blob, text=False).decode(), end="")
"""


def test_caching_wrappers_of_the_program_run_elsewhere():
    out = run_script(
        WORKER
        + """
    from functools import cache, lru_cache
    @lru_cache(maxsize=7, typed=True)
    def fib(n):
        "Rabbits."
        return n if n < 2 else fib(n - 1) + fib(n - 2)
    fib.note = "kept"
    class Shop:
        @cache
        def price(self, item): return len(item) + fib(2)
    def makes(step):
        return cache(lambda n: n + step)
    add = makes(5)
    def task(context):
        hits = fib(30), fib.cache_info().currsize, fib.__wrapped__.__globals__["fib"] is fib
        return *hits, fib.cache_parameters(), fib.__name__, fib.__doc__, fib.note, Shop().price("tea"), add(1)
    elsewhere(task)
    @cache
    def cached_task(context): return fib(10), cached_task.cache_info().misses
    elsewhere(cached_task)
    """
    )
    assert out.splitlines() == [
        "(832040, 7, True, {'maxsize': 7, 'typed': True}, 'fib', 'Rabbits.', 'kept', 4, 6)",
        "(55, 1)",  # the wrapper that its function mentions is the one that was called
    ]


def test_an_importable_caching_wrapper_travels_by_reference(make_module):
    module = make_module("cloaca_cached", "import functools\n@functools.cache\ndef twice(n): return 2 * n")
    assert load(capture("t", module.twice).blob) is module.twice


def test_a_caching_wrapper_whose_function_reads_something_else_is_captured_again():
    source = "import functools\nSTEP = 1\n@functools.cache\ndef add(n): return n + STEP\ndef task(c): return add(1)"
    namespace = program(source)
    first, again, after = twice(namespace["task"], lambda: exec("STEP = 2", namespace))
    assert again is first
    assert (load(first.blob)({}), load(after.blob)({})) == (2, 3)


def test_properties_dispatchers_and_new_types_of_the_program_run_elsewhere():
    out = run_script(
        WORKER
        + """
    import functools, typing
    Id = typing.NewType("Id", int)
    class Square:
        def __init__(self, side): self.side = side
        @functools.cached_property
        def area(self):
            "In cm."
            return self.side ** 2
        @functools.singledispatchmethod
        def show(self, value): return "any"
        @show.register
        def _(self, value: int): return "int"
    @functools.singledispatch
    def kind(value):
        "What it is."
        return "any"
    @kind.register
    def _(value: list): return [kind(one) for one in value]
    @kind.register
    def _(value: Square): return "square"
    kind.note = "kept"
    def task(context):
        square = Square(3)
        area = square.area, vars(square)["area"], Square.area.__doc__, square.show(1), square.show("a")
        return *area, kind([1, square]), kind.__name__, kind.__doc__, kind.note, Id(5), Id.__name__
    elsewhere(task)
    """
    )
    assert out == "(9, 9, 'In cm.', 'int', 'any', ['any', 'square'], 'kind', 'What it is.', 'kept', 5, 'Id')\n"


def test_what_is_pickled_by_a_name_of_the_program_is_refused_when_captured():
    out = run_script(
        WORKER
        + """
    class Sentinel:
        def __reduce__(self): return "MISSING"
    MISSING = Sentinel()
    def task(context): return MISSING
    try:
        capture("t", task)
    except CaptureError as error:
        print(error.variable, error)
    """
    )
    assert out.startswith("MISSING The function of task 't' can't be sent")
    assert "'MISSING', which no module that workers can import has" in out


def test_a_worker_takes_the_definitions_as_they_stand_when_captured():
    """One worker is sent: a function; a value; the function once more, after the program changed its class."""
    out = run_script("""
        import subprocess, sys
        from cloaca.values.codec import encode
        from cloaca.pickling.functions import capture
        from cloaca.pickling.loading import load

        class Rate:
            value = 1
            gone = True
            def read(self): return type(self).value

        def task(rate): return isinstance(rate, Rate), rate.read(), Rate.value, hasattr(Rate, "gone")
        def change(rate): Rate.value = "scratch"

        sent = [capture("t", task).blob, encode(Rate())]
        Rate.value = 2
        sent += [encode(Rate())]
        del Rate.gone
        sent += [capture("t", task).blob, capture("c", change).blob]

        child = '''
        import pickle, sys
        from cloaca.values.codec import decode
        from cloaca.pickling.loading import load
        first, one, two, second, change = pickle.load(sys.stdin.buffer)
        old = load(first)
        rate = decode(one)
        print(old(rate))
        print(old(decode(two)))  # a value never changes a class that is known
        load(first)
        print(old(rate))
        new = load(second)       # a function does
        print(new(rate), old(rate))
        load(change)(rate)
        load(second)
        print(new(rate)[1])      # the definition is the one it was loaded from: what a task did to it stays
        '''
        import pickle, textwrap
        child = [sys.executable, "-c", textwrap.dedent(child)]
        print(subprocess.check_output(child, input=pickle.dumps(sent)).decode())
        load(sent[0])
        assert Rate.value == 2 and not hasattr(Rate, "gone"), "here the class is at home"
    """)
    assert out.splitlines() == [
        "(True, 1, 1, True)",
        "(True, 1, 1, True)",
        "(True, 1, 1, True)",
        "(True, 2, 2, False) (True, 2, 2, False)",
        "scratch",
        "",
    ]


def test_what_a_function_refers_to_must_be_importable(make_module):
    module = make_module("cloaca_made_up", "def task(context): pass")
    blob = capture("t", module.task).blob
    del sys.modules[module.__name__]
    sys.path.remove(str(Path(module.__file__).parent))
    with pytest.raises(ModuleNotFoundError, match="cloaca_made_up"):
        load(blob)


def test_a_captured_environment_is_that_of_the_process_where_the_function_runs(monkeypatch):
    task = program("from os import environ\ndef task(): return environ")["task"]
    cache = FunctionCache()
    first = cache.capture_all(["t"], [task])[0]
    monkeypatch.setenv("NEWS", "today")
    assert load(first.blob)() is os.environ
    assert cache.capture_all(["t"], [task])[0] is first
    snapshot = decode(encode(os.environ))
    assert snapshot == os.environ
    assert snapshot is not os.environ


# ---- what can't be captured ----------------------------------------------------------------------------------------


def with_cell(lock):
    return lambda context: lock


def with_default(context, lock=LOCK):
    return lock


def with_keyword(context, *, lock=LOCK):
    return lock


@dataclass
class Holder:
    lock: Any


HOLDER = {"inner": Holder(LOCK)}
TROUBLE = {
    "global": ("def task(context): return lock", "lock"),
    "path": ("def task(context): return holder", "holder['inner'].lock"),
    "nested code": ("def task(context):\n    def inner(): return lock\n    return inner()", "lock"),
    "default": ("def task(context, given=lock): pass", "given"),
    "keyword": ("def task(context, *, given=lock): pass", "given"),
    "helper": ("def helper(): return lock\ndef task(context): return helper()", "helper uses lock"),
    "class": ("class Model:\n    guard = lock\ndef task(context): return Model()", "Model.guard"),
    "cached function": (
        "import functools\n@functools.cache\ndef slow(): return lock\ndef task(context): return slow()",
        "slow.__wrapped__ uses lock",
    ),
    "cached property": (
        "from functools import *\nclass Model:\n    guard = cached_property(lambda self: lock)\ndef task(c): Model()",
        "Model.guard.func uses lock",
    ),
    "dispatched function": (
        "from functools import *\nshow = singledispatch(print)\nshow.register(int, lambda x: lock)\ndef task(c): show",
        "show.registry[<class 'int'>] uses lock",
    ),
    "attribute": ("def task(context): pass\ntask.guard = lock", "task.guard"),
}


@pytest.mark.parametrize(("source", "variable"), TROUBLE.values(), ids=TROUBLE)
def test_the_captured_variable_at_fault_is_named(source, variable):
    task = program(source, lock=LOCK, holder=HOLDER)["task"]
    with pytest.raises(CaptureError) as caught:
        capture("load", task)
    assert (caught.value.task, caught.value.variable, caught.value.type_name) == ("load", variable, "_thread.lock")


def test_closure_cells_and_objects_at_fault_are_named():
    partial_of_lock = partial(print, LOCK)
    functions = {with_cell(LOCK): "lock", Multiply(LOCK): "Multiply.factor", partial_of_lock: "partial.args[0]"}
    for function, variable in functions.items():
        with pytest.raises(CaptureError) as caught:
            FunctionCache().capture_all(["load"], [function])[0]
        assert caught.value.variable == variable


# ---- large variables -----------------------------------------------------------------------------------------------


def test_a_large_variable_is_warned_about_once():
    task = program("def task(context): return len(table) + len(small)", table=list(range(10**6)), small=[1])["task"]
    cache = FunctionCache()
    with pytest.warns(
        UserWarning, match=r"task 'load' captures table, \d\.\d MB.*[Pp]ut it into the context"
    ) as caught:
        cache.capture_all(["load"], [task])[0]
    assert len(caught) == 1
    task.__globals__["table"].append(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cache.capture_all(["load"], [task])[0]


def test_many_small_variables_are_not_warned_about():
    names = {f"v{n}": bytes(200_000) + bytes([n]) for n in range(10)}
    task = program(f"def task(context): return {', '.join(names)}", **names)["task"]
    assert len(capture("load", task).blob) > 1_000_000


# ---- the keys that a function may read -----------------------------------------------------------------------------


def documented(context, default="default", *, keyword="keyword"):
    """The docstring is no key."""

    def inner():
        """Nor is this one."""
        return [context["inner"] for _ in range(3)]

    text = context.get("first") or context["second"] or context.get("first")
    later = lambda: context["lambda"]  # noqa: E731 - the code of a lambda counts too
    return text, inner(), later(), [context[key] for key in ("in", "tuple")], default, keyword


def decorated(function):
    @wraps(function)
    def wrapper(context):
        return function(context)

    return wrapper


def test_reads_are_the_strings_of_the_code():
    key = "cell"
    assert reads(documented) == ("inner", "first", "second", "lambda", "in", "tuple", "default", "keyword")
    assert reads(lambda context: context["lambda"] + context[key]) == ("lambda", "cell")
    assert reads(Multiply(1)) == ("number",)
    assert reads(Multiply(1).method) == ("other",)
    assert reads(partial(by_reference, "given")) == ("by_reference", "given")
    assert reads(decorated(by_reference)) == ("by_reference",)
    assert reads(math.sqrt) == ()
    assert capture("t", by_reference).reads == ("by_reference",)


def test_what_cannot_be_a_key_is_none():
    """No message could carry it: a task that only mentions it would end the run."""
    assert reads(lambda context: context["größe"] + "\udc80") == ("größe",)


def test_reads_of_a_function_that_mentions_itself_end():
    def again(context):
        return again(context["again"])

    assert reads(again) == ("again",)


# ---- pickled again only if need be ---------------------------------------------------------------------------------


def twice(function: Callable[..., Any], change: Callable[[], object]) -> tuple[Captured, Captured, Captured]:
    """Captured by one cache: at first, again at once, and after the change."""
    cache = FunctionCache()
    return (
        cache.capture_all(["t"], [function])[0],
        cache.capture_all(["t"], [function])[0],
        (change(), cache.capture_all(["t"], [function])[0])[1],
    )


STABLE = """
    import math, json
    from json import dumps
    LIMIT, NAMES = 3, ("a", 1.5)
    def helper(number, step=1): return number + LIMIT + (helper(number - 1) if number else 0)
    def task(context: int, *, keyword="k") -> list[int]:
        return math.pi, dumps, helper(2), NAMES, len, json.dumps, int, keyword
"""

CHANGES = {
    "a global": "LIMIT = 4",
    "an equal global of another type": "LIMIT = 3.0",
    "a global that was missing": "len = 5",
    "a global that goes": "del NAMES",
    "a helper": "def helper(number): return 5",
    "a helper's code": "helper.__code__ = (lambda number, step=1: 0).__code__",
    "a helper's default": "helper.__defaults__ = (2,)",
    "its own code": "task.__code__ = (lambda context, *, keyword: 0).__code__",
    "a keyword's default": "task.__kwdefaults__['keyword'] = 'z'",
    "an attribute": "task.note = 'x'",
    "a module": "math = json",
    "an annotation": "task.__annotations__['context'] = float",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_changed_is_captured_again(change):
    namespace = program(STABLE)
    first, again, after = twice(namespace["task"], lambda: exec(change, namespace))
    assert again is first
    assert after is not first
    assert after.number != first.number


def test_a_closure_cell_that_changed_is_captured_again():
    number = 1

    def task(context):
        return number

    def change():
        nonlocal number
        number = 2

    first, again, after = twice(task, change)
    assert again is first
    assert (load(first.blob)({}), load(after.blob)({})) == (1, 2)


def test_a_cell_that_is_empty_or_gets_emptied_is_no_trouble():
    def task(context):
        return number  # noqa: F821 - the cell is empty at first, and in the end

    empty = FunctionCache().capture_all(["t"], [task])[0]
    number = 1
    cache = FunctionCache()
    full = cache.capture_all(["t"], [task])[0]
    del number
    assert cache.capture_all(["t"], [task])[0].blob == empty.blob != full.blob


MUTABLE = """
    class Model:
        rate = 1
    ITEMS, MODEL = [1], Model()
    def task(context): return ITEMS, MODEL.rate
    def annotated(model: Model): return model.rate
"""


@pytest.mark.parametrize("change", ["ITEMS.append(2)", "MODEL.rate = 3", "Model.rate = 2"])
def test_a_change_inside_a_mutable_is_seen(change):
    namespace = program(MUTABLE)
    first, again, after = twice(namespace["task"], lambda: exec(change, namespace))
    assert again is first
    assert after is not first


def test_a_class_that_only_an_annotation_names_is_captured_too():
    namespace = program(MUTABLE)
    first, again, after = twice(namespace["annotated"], lambda: exec("Model.rate = 2", namespace))
    assert again is first
    assert after is not first


def test_nothing_is_pickled_again_while_only_atoms_are_captured(monkeypatch):
    namespace = program(STABLE)
    cache = FunctionCache()
    first = cache.capture_all(["t"], [namespace["task"]])[0]
    monkeypatch.setattr("cloaca.pickling.functions.Pickler.dump", None)
    monkeypatch.setattr("cloaca.pickling.kin.is_watched", None)
    assert cache.capture_all(["t"], [namespace["task"]])[0] is first


def test_what_holds_only_what_is_watched_is_watched_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    source = """
class Settings:
    def __init__(self): self.rates, self.names = {"a": [1.5, 2]}, {"x", "y"}

SETTINGS, TABLE = Settings(), [(1, {"k": 2})]
def task(context): return SETTINGS, TABLE
"""
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(source, names)
    cache = FunctionCache()
    first = cache.capture_all(["t"], [names["task"]])[0]
    with monkeypatch.context() as patch:
        patch.setattr("cloaca.pickling.classes.Pickler.dump", None)
        assert cache.capture_all(["t"], [names["task"]])[0] is first
    for change in ("SETTINGS.rates['a'].append(3)", "TABLE[0][1]['k'] = 3", "Settings.more = 1", "SETTINGS.new = 1"):
        exec(change, names)
        changed = cache.capture_all(["t"], [names["task"]])[0]
        assert changed.blob != first.blob
        assert changed.blob == FunctionCache().capture_all(["t"], [names["task"]])[0].blob
        first = changed


def test_a_change_of_a_dict_of_attributes_is_seen() -> None:
    class Settings:
        def __init__(self) -> None:
            self.rate = [1]

    settings = Settings()
    attributes = vars(settings)
    cache, task = FunctionCache(), lambda context: attributes
    first = cache.capture_all(["t"], [task])[0]
    settings.rate = [2]
    second = cache.capture_all(["t"], [task])[0]
    settings.rate.append(3)
    assert len({first.blob, second.blob, cache.capture_all(["t"], [task])[0].blob}) == 3


def test_another_function_under_the_same_id_is_captured_anew():
    cache = FunctionCache()
    one = cache.capture_all(["t"], [lambda context: 1])[0]
    other = cache.capture_all(["t"], [lambda context: 2])[0]
    assert (load(one.blob)({}), load(other.blob)({})) == (1, 2)


def test_a_reloaded_module_is_seen(make_module):
    module = make_module("cloaca_reloaded", "def task(context): return 1")
    first, again, after = twice(module.task, lambda: importlib.reload(module))
    assert again is first
    assert after is not first


def test_a_class_inside_a_function_finds_the_globals_of_its_body() -> None:
    script = """
from typing import NamedTuple
from cloaca.pickling import functions

LIMIT = 3

def task(context):
    class Row(NamedTuple):
        size: int = LIMIT
        def double(self) -> NamedTuple:
            return 2 * self.size
    return Row().double()

import sys
sys.stdout.buffer.write(functions.capture("t", task).blob)
"""
    blob = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True).stdout
    reader = "import sys; from cloaca.pickling import loading; print(loading.load(sys.stdin.buffer.read())(None))"
    read = subprocess.run([sys.executable, "-c", reader], input=blob, check=True, capture_output=True)
    assert read.stdout.strip() == b"6"
