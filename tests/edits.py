"""Edits of small programs, and whether they change what the code of their task does: see `test_codes`.

A program is files, each behind a line with its name. Its task is `task` in `steps.py`, or `TASK`.
"""

from collections.abc import Iterator
from typing import NamedTuple


class Edit(NamedTuple):
    """A program of some files, of which `old` becomes `new`."""

    source: str
    old: str
    new: str

    @property
    def result(self) -> str:
        """The program as it is then."""
        return self.source.replace(self.old, self.new)


def edited(source: str, edits: str) -> list[Edit]:
    """Several edits of one program, each on a line."""
    pairs = [line.replace("\\n", "\n").split(" =>") for line in edits.strip().splitlines()]
    return [Edit(source, old, new.removeprefix(" ")) for old, new in pairs]


PLAIN = """
# steps.py
import helpers
import pkg.sub.mod
from pkg import other
from helpers import scale, Model, RATE as rate
from stars import *

LIMIT = 10
UNUSED = 1

def local(x):
    "What it does."
    return x + LIMIT

def unused(x):
    return x

def task(context, factor=2, *, more=(1, "a")):
    "The task."
    rows = [helpers.clean(row) for row in context["rows"] if row in {"long", "longer", "x"}]
    context["rows"] = local(rows) * scale(factor) * rate
    context["model"] = Model(3).predict(pkg.sub.mod.deep(1))
    context["other"] = other.apply(1), starred(2)
    def inner(x):
        "Inside."
        return x * 3
    try:
        return inner(len(rows))
    except ValueError as error:
        raise

# helpers.py
import math
RATE = 1.5
STEP = 4
def clean(row):
    return floor(row) - STEP
def floor(x):
    return math.floor(x)
def scale(x):
    return x * 2 if x else loop(x)
def loop(x):
    return scale(x - 1)
def never(x):
    return x
class Base:
    width = 3
    def size(self):
        return self.width
class Model(Base):
    "A model."
    depth = 5
    def __init__(self, x):
        self.x = x
    def predict(self, y):
        return self.x + y + self.size() + self._hidden
    @property
    def _hidden(self):
        return 7
    @staticmethod
    def of(x):
        return Model(x + 11)
    @classmethod
    def also(cls):
        return cls(12)

# pkg/__init__.py
THING = 1

# pkg/sub/__init__.py

# pkg/sub/mod.py
def deep(x):
    return x + 100
def shallow(x):
    return x

# pkg/other.py
from . import THING
def apply(x):
    return x + THING

# stars.py
def starred(x):
    return x ** 2
def not_starred(x):
    return x
"""

COUNT = {
    "plain": edited(
        PLAIN,
        r"""
return x + LIMIT => return x - LIMIT
LIMIT = 10 => LIMIT = 11
LIMIT = 10 => LIMIT = 10.0
LIMIT = 10 =>
factor=2 => factor=3
more=(1, "a") => more=(1, "b")
"longer" => "longest"
context["rows"] = => context["lines"] =
return x * 3 => return x * 4
ValueError => TypeError
floor(row) - STEP => floor(row) + STEP
STEP = 4 => STEP = 5
RATE = 1.5 => RATE = 2.5
math.floor => math.ceil
x * 2 if x => x * 3 if x
scale(x - 1) => scale(x - 2)
width = 3 => width = 4
return self.width => return -self.width
depth = 5 => depth = 6
class Model(Base) => class Model(Base, dict)
self.x = x => self.x = -x
self.x + y => self.x - y
return 7 => return 8
x + 11 => x + 13
cls(12) => cls(13)
@classmethod => @staticmethod
x + 100 => x + 101
THING = 1 => THING = 2
x ** 2 => x ** 3
def starred(x) => def starred(x, y=2)
""",
    ),
    "registry": edited(
        r"""
# steps.py
from registry import STEPS, LIST
import actions
def task(context):
    return STEPS["a"](1), LIST[0]
# registry.py
STEPS, LIST = {}, []
def register(f):
    STEPS[f.__name__] = f
    LIST.append(f)
    return f
# actions.py
from registry import register
from deeper import C
@register
def a(x):
    return x + 1
@register
def b(x):
    return x + C
# deeper.py
C = 3
""",
        r"""
x + 1 => x + 2
x + C => x - C
C = 3 => C = 4
def b => def c
""",
    ),
    "decorated": edited(
        r"""
# steps.py
import functools, tools
@tools.logged("a")
@tools.cached
def helper(x):
    return x + 1
@functools.lru_cache(maxsize=10)
def kept(x):
    return x + 2
@functools.singledispatch
def dispatched(x):
    return x + 3
@dispatched.register(int)
def _(x):
    return x + 4
@tools.logged("b")
def task(context):
    return helper(1), kept(2), dispatched(3), [f(1) for f in tools.made]
# tools.py
import functools
def logged(name):
    def decorate(f):
        @functools.wraps(f)
        def inner(*args, **kwargs):
            return name, f(*args, **kwargs)
        return inner
    return decorate
def cached(f):
    known = {}
    @functools.wraps(f)
    def inner(x):
        return known.setdefault(x, f(x))
    return inner
def make(n):
    def inner(x):
        return x * n
    return inner
made = (make(5), functools.partial(make(6)), lambda x: x + 7)
""",
        r"""
x + 1 => x + 10
x + 2 => x + 20
x + 3 => x + 30
x + 4 => x + 40
logged("a") => logged("c")
logged("b") => logged("c")
return name, f( => return f(
known.setdefault(x, f(x)) => f(x)
make(5) => make(50)
make(6) => make(60)
x * n => x + n
x + 7 => x + 70
register(int) => register(str)
""",
    ),
    "classes": edited(
        r"""
# steps.py
import abc, enum, collections, typing
from dataclasses import dataclass, field
class Meta(type):
    def __call__(cls, *args):
        return super().__call__(*args)
class Hooked:
    def __init_subclass__(cls, flag=1):
        cls.flag = flag
class Own(Hooked, metaclass=Meta, flag=2):
    __slots__ = ("a", "b")
    def go(self):
        return 3
    def __len__(self):
        return 4
class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self): ...
    @property
    def side(self):
        return 6
class Colour(enum.Enum):
    RED = 1
    BLUE = 2
    def mixed(self):
        return self.value + 8
@dataclass(frozen=True)
class Row:
    name: str
    size: int = 9
    tags: list = field(default_factory=lambda: [10])
class Pair(typing.NamedTuple):
    left: int
    right: int = 11
Point = collections.namedtuple("Point", "x y")
class Add:
    def __init__(self, n):
        self.n = n
    def __call__(self, x):
        return x + self.n
add, bound = Add(12), Add(13).__call__
def task(context):
    return Own().go(), Shape, Colour.RED, Row("a"), Pair(1), Point(1, 2), add(1), bound(2)
""",
        r"""
super().__call__(*args) => super().__call__()
flag=2 => flag=3
cls.flag = flag => cls.flag = -flag
return 3 => return 30
return 4 => return 40
("a", "b") => ("a", "c")
@abc.abstractmethod =>
return 6 => return 60
RED = 1 => RED = 3
RED = 1\n    BLUE = 2 => BLUE = 2\n    RED = 1
self.value + 8 => self.value
frozen=True => frozen=False
size: int = 9 => size: int = 90
name: str => name: bytes
[10] => [100]
right: int = 11 => right: int = 110
"x y" => "y x"
Add(12) => Add(120)
Add(13) => Add(130)
x + self.n => x - self.n
""",
    ),
    "values": edited(
        r"""
# steps.py
import datetime, decimal, pathlib, re
import numpy as np
import pandas as pd
from things import *
def task(context):
    return NUMBER, TEXT, TUPLE, SET, LIST, NESTED, BIG, DAY, MONEY, PATH, PATTERN, ARRAY, FRAME, CONFIG, CYCLE, BYTES
# things.py
import datetime, decimal, pathlib, re
import numpy as np
import pandas as pd
NUMBER, TEXT, BYTES = 10**5000, "text\ud800", b"bytes"
TUPLE, SET = (1, (2, 3)), frozenset({"a", "b", "c"})
LIST, NESTED = [1, [2]], {"a": {"b": [{1, 2}]}, "c": 5}
BIG = [{"x": i, "y": (i, str(i))} for i in range(5000)]
BIG[4000]["x"] = 20
DAY, MONEY = datetime.date(2020, 1, 1), decimal.Decimal("1.50")
PATH, PATTERN = pathlib.PurePosixPath("a/b"), re.compile("a+", re.I)
ARRAY = np.arange(6).reshape(2, 3)
FRAME = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
class Config:
    def __init__(self):
        self.rate, self.more = 30, {"k": [31]}
CONFIG = Config()
CYCLE = [40]
CYCLE.append(CYCLE)
""",
        r"""
10**5000 => 10**5000 + 1
ud800 => ud801
b"bytes" => bytearray(b"bytes")
(1, (2, 3)) => (1, [2, 3])
"c"}) => "d"})
frozenset({"a", "b", "c"}) => {"a", "b", "c"}
[1, [2]] => [1, 2]
[{1, 2}] => [{1, 3}]
"a": {"b": [{1, 2}]}, "c": 5 => "c": 5, "a": {"b": [{1, 2}]}
["x"] = 20 => ["x"] = 21
date(2020, 1, 1) => date(2020, 1, 2)
1.50 => 1.5
a/b => a/c
a+ => a*
re.I) => re.S)
np.arange(6) => np.arange(6.0)
reshape(2, 3) => reshape(3, 2)
np.arange(6) => -np.arange(6)
"a": [1, 2] => "a": [1, 3]
["x", "y"] => ["x", "z"]
= 30 => = 300
[31] => [310]
[40] => [400]
""",
    ),
    "kinds": edited(
        r"""
# steps.py
import asyncio
N = 1
async def later(x):
    return x + 1
def generated(x):
    yield x + 2
async def both(x):
    yield x + 3
def even(n):
    return n == 0 or odd(n - 1)
def odd(n):
    return n != 0 and even(n - 2)
def outer(a):
    def middle(b):
        def inner(c):
            return a + b + c + 4
        return inner
    return middle
closed = outer(5)(6)
def with_default(f=lambda x: x + 7, g=odd):
    return f, g
area = lambda x: x + 8
namespace = {}
exec("def made(x): return x + y\ny = 9", namespace)
made = namespace["made"]
def task(context):
    return later, generated, both, even, closed, with_default, area, made, [i + 10 for i in context]
""",
        r"""
x + 1 => x + 10
x + 2 => x + 20
x + 3 => x + 30
n - 1 => n - 3
n - 2 => n - 4
c + 4 => c + 40
outer(5) => outer(50)
(6) => (60)
x + 7 => x + 70
g=odd => g=even
x + 8 => x + 80
x + y => x - y
y = 9 => y = 90
i + 10 => i + 100
yield x + 2 => return x + 2
""",
    ),
    "modules": edited(
        r"""
# steps.py
import settings, tools
from settings import inner
def use(module):
    return module.a(1)
def task(context):
    from local import found as renamed
    import late.part
    import late.second as second
    from late import third
    name = "dyn" + "amic"
    tools.counter = 5
    return use(tools), getattr(settings, name), renamed(1), late.part.f(2), second.g(3), third.h(4), inner.i(5)
# settings/__init__.py
dynamic = 1
# settings/inner.py
def i(x):
    return x + 5
# tools.py
counter = 6
def a(x):
    return x + 1
# local.py
def found(x):
    return x + 2
def unfound(x):
    return x
# late/__init__.py
# late/part.py
def f(x):
    return x + 3
# late/second.py
def g(x):
    return x + 4
# late/third.py
from .fourth import VALUE
def h(x):
    return x + VALUE
# late/fourth.py
VALUE = 7
""",
        r"""
dynamic = 1 => dynamic = 2
x + 5 => x + 50
counter = 6 => counter = 7
x + 1 => x + 10
x + 2 => x + 20
x + 3 => x + 30
x + 4 => x + 40
VALUE = 7 => VALUE = 8
return module.a(1) => return module
""",
    ),
    "relative": edited(
        r"""
# steps.py
from app.main import task
# app/__init__.py
# app/main.py
def task(context):
    from . import near
    from .sub.far import f
    return near.g, f
# app/near.py
def g(x):
    return x + 1
# app/sub/__init__.py
# app/sub/far.py
from ..near import g
def f(x):
    return x + 2
""",
        r"""
x + 1 => x + 10
x + 2 => x + 20
""",
    ),
    "names": edited(
        r"""
# steps.py
import importlib
A = 1
def later(x):
    return missing(x)
def by_name(x):
    return globals()["A" + x]
def by_import(x):
    return importlib.import_module("plugin").run(x)
def named(x):
    first = 2
    return locals()
def documented(x):
    "Doc."
    return documented.__doc__, other.__doc__
def other(x):
    "Other."
def task(context):
    return later(1), by_name("B"), by_import(3), named(4), documented(5)
AB = 3
# plugin.py
def run(x):
    return x + 4
""",
        r"""
AB = 3 => AB = 4
AB = 3 => AB = 3\ndef missing(x): return x
x + 4 => x + 5
first = 2 => second = 2
"Doc." => "Docs."
"Other." => "Others."
""",
    ),
    "roots": edited(
        r"""
# steps.py
import functools
from cloaca.workflows.workflow import Task
from cloaca import context_value
class Step:
    def __init__(self, n):
        self.n = n
    def run(self, context):
        return self.n + 1
class Called(Step):
    def __call__(self, context):
        return self.n + 2
def base(context, a, b=0):
    return a + b
def fingerprint(context):
    return 3
TASK = Task("t", functools.partial(base, a=4, b=5), fingerprint=Step(6).run, cache_version="v1", writes=("w",),
            trigger_rules=context_value("k", ">", 7), for_each="rows")
""",
        r"""
a=4 => a=40
b=5 => b=50
a + b => a - b
self.n + 1 => self.n - 1
Step(6) => Step(60)
"v1" => "v2"
("w",) => ("w", "x")
">", 7 => ">", 8
"rows" => "lines"
Step(6).run => Called(6)
Step(6).run => fingerprint
""",
    ),
}

DONT = {
    "imported": edited(
        """
# steps.py
import os, sys
from os import environ as env
from sys import argv, modules
from json import decoder, JSONDecodeError as problem
class Model:
    def eval(self):
        return self
def task(context):
    first = 1
    return Model().eval(), env, argv, modules, decoder, problem
def unused():
    return 1
""",
        r"""
first => second
return 1 => return 2
import os, sys => import os, sys; os.environ["MORE"] = "1"; sys.argv.append("more")
""",
    ),
    "order": edited(
        """
# steps.py
class C:
    a = 1
    b = 2
    def f(self): return 3
    def g(self): return 4
def h(): return 5
def i(): return 6
def task(context): return C, h, i
""",
        r"""
a = 1\n    b = 2 => b = 2\n    a = 1
def f(self): return 3\n    def g(self): return 4 => def g(self): return 4\n    def f(self): return 3
def h(): return 5\ndef i(): return 6 => def i(): return 6\ndef h(): return 5
class C: => class C:\n    'C.'
""",
    ),
    "plain": edited(
        PLAIN,
        r"""
LIMIT = 10 => # a remark\n\n\nLIMIT = 10
LIMIT = 10 => import os, sys\nLIMIT = 10
"What it does." => "What else it does."
"What it does." =>
"The task."\n => \n
"Inside." => # nothing
"A model." =>
UNUSED = 1 => UNUSED = 2
def unused(x):\n    return x => def unused(x):\n    return -x
def unused(x):\n    return x =>
def never(x):\n    return x => def never(x):\n    return -x
rows = [helpers.clean(row) for row in => rows = [helpers.clean(row) for row in\n\n
return x + LIMIT => return (\n        x\n        + LIMIT\n    )
def local(x) => def local(x: int) -> 'int'
import helpers\n => from __future__ import annotations\nimport helpers\n
def shallow(x):\n    return x => def shallow(x):\n    return -x
def not_starred(x):\n    return x =>
as error => as problem
""",
    ),
    "locals": edited(
        r"""
# steps.py
import threading, logging
LOCK, LOG, FILE = threading.Lock(), logging.getLogger("a"), open(__file__)
FILE.close()
class Holder:
    def __init__(self):
        self.lock = LOCK
HOLDER = Holder()
COLOURS = {"red", "green", "blue", "yellow"}
def task(context):
    total, other = 0, 1
    for one in context:
        total += one + other
    def inner(x):
        return x + total
    class Local:
        "Local."
        def go(self):
            self.one = self.two = self.three = 1
    return inner, Local, LOCK, LOG, FILE, HOLDER, COLOURS, __file__
""",
        r"""
other => another
for one in context:\n        total += one => for single in context:\n        total += single
total => summed
"Local." =>
LOCK, LOG, FILE = => UNUSED = 3\nLOCK, LOG, FILE =
"red", "green" => "green", "red"
""",
    ),
    "installed": edited(
        r"""
# steps.py
import json, msgspec, numpy
import attrs, local
from random import random, shuffle
from numpy.random import normal
try:
    import pydantic
except ImportError:  # there is none for Python 3.15
    Checked = None
else:
    class Checked(pydantic.BaseModel):
        a: int = 1
        @pydantic.field_validator("a")
        @classmethod
        def check(cls, v): return v
@attrs.frozen(hash=True)
class Held:
    a: int = 1
class Data(msgspec.Struct):
    a: int
    b: list[int] = []
def task(context):
    from collections import Counter
    drawn = random(), shuffle, normal, Checked
    return drawn, Held(), json.dumps(1), msgspec.json.encode(Data(1)), numpy.float64(2), numpy.add, Counter, local.f
# local.py
def f(): return 1
def g(): return 2
""",
        r"""
import json, msgspec => import msgspec, json
return 2 => return 3
""",
    ),
}

SMALL = r"""
## global augmented module attr: x => y
import st
def task(c):
    st.n += 1
    return st.f()
# st.py
n=1
def f(): return 'x'
## closure module: 'x' => 'y'
import st
def mk(m):
    def task(c): return m.f()
    return task
task=mk(st)
# st.py
def f(): return 'x'
def g(): return 'z'
## closure module unrelated (not): 'z' => 'y'
import st
def mk(m):
    def task(c): return m.f()
    return task
task=mk(st)
# st.py
def f(): return 'x'
def g(): return 'z'
## default module: 'x' => 'y'
import st
def task(c, m=st): return m.f()
# st.py
def f(): return 'x'
def g(): return 'z'
## module in dict: 'x' => 'y'
import st
D={'a':st}
def task(c): return D['a'].f()
# st.py
def f(): return 'x'
## class attr module: 'x' => 'y'
import st
class A: m=st
def task(c): return A.m.f()
# st.py
def f(): return 'x'
## module aliased local: 'x' => 'y'
import st
def task(c):
    s=st
    return s.f()
# st.py
def f(): return 'x'
## module from conditional: 'x' => 'y'
import st,st2
def task(c): return (st if c else st2).f()
# st.py
def f(): return 'w'
# st2.py
def f(): return 'x'
## nested class in function: 'x' => 'y'
def task(c):
    class A:
        def f(self): return 'x'
    return A().f()
## super: 'x' => 'y'
class B:
    def f(self): return 'x'
class A(B):
    def f(self): return super().f()
def task(c): return A().f()
## instance method alias: 'x' => 'y'
class A:
    def f(self): return 'x'
a=A()
f=a.f
def task(c): return f()
## property setter: 'x' => 'y'
class A:
    @property
    def p(self): return 1
    @p.setter
    def p(self,v): self.z='x'
def task(c): A().p=1
## cached_property: 'x' => 'y'
import functools
class A:
    @functools.cached_property
    def p(self): return 'x'
def task(c): return A().p
## partialmethod: 'x' => 'y'
import functools
class A:
    def f(self,a): return a
    g=functools.partialmethod(f,'x')
def task(c): return A().g()
## singledispatchmethod: 'x' => 'y'
import functools
class A:
    @functools.singledispatchmethod
    def f(self,a): return a
    @f.register
    def _(self,a:int): return 'x'
def task(c): return A().f(1)
## descriptor: 'x' => 'y'
class D:
    def __get__(self,o,t): return 'x'
class A: d=D()
def task(c): return A().d
## metaclass attr: 'x' => 'y'
class M(type):
    def f(cls): return 'x'
class A(metaclass=M): pass
def task(c): return A.f()
## getattr module: 'x' => 'y'
import st
def task(c): return st.anything
# st.py
def __getattr__(n): return 'x'
## context manager: 'x' => 'y'
import contextlib
@contextlib.contextmanager
def m(): yield 'x'
def task(c):
    with m() as v: return v
## exception class: 'x' => 'y'
class E(Exception):
    def __str__(self): return 'x'
def task(c): raise E
## generator expr global: 'x' => 'y'
K='x'
def task(c): return [K for _ in c]
## lambda default: 'x' => 'y'
def task(c, f=lambda: 'x'): return f()
## kwonly default: 'x' => 'y'
def task(c, *, f='x'): return f
## function attribute: 'x' => 'y'
def helper(): return helper.k
helper.k='x'
def task(c): return helper()
## task attribute: 'x' => 'y'
def task(c): return task.k
task.k='x'
## deque of functions: 'x' => 'y'
import collections
def f(): return 'x'
D=collections.deque([f])
def task(c): return D[0]()
## defaultdict factory: 'x' => 'y'
import collections
D=collections.defaultdict(lambda:'x')
def task(c): return D[0]
## OrderedDict: 'x' => 'y'
import collections
D=collections.OrderedDict(a='x')
def task(c): return D
## SimpleNamespace: 'x' => 'y'
import types
N=types.SimpleNamespace(a='x')
def task(c): return N.a
## namespace argparse: 'x' => 'y'
import argparse
N=argparse.Namespace(a='x')
def task(c): return N.a
## set of functions: 'x' => 'y'
def f(): return 'x'
S={f}
def task(c): return S
## map object of a class with slots: 'x' => 'y'
class A:
    __slots__=('a',)
    def __init__(s): s.a='x'
A1=A()
def task(c): return A1
## user dict subclass: 'x' => 'y'
class D(dict):
    def go(self): return 'x'
d=D(a=1)
def task(c): return d.go()
## user dict subclass data: 'x' => 'y'
class D(dict): pass
d=D(a='x')
def task(c): return d
## user list subclass attr: 'x' => 'y'
class D(list): pass
d=D([1]); d.k='x'
def task(c): return d
## user int subclass: 'x' => 'y'
class D(int):
    def go(self): return 'x'
d=D(1)
def task(c): return d.go()
## user str subclass attr: 'x' => 'y'
class D(str): pass
d=D('q'); d.k='x'
def task(c): return d
## operator.methodcaller: 'x' => 'y'
import operator
G=operator.itemgetter('x')
def task(c): return G(c)
## range: range(3) => range(4)
R=range(3)
def task(c): return R
## memoryview (not): b'x' => b'y'
M=memoryview(b'x')
def task(c): return M
## struct: <I => <Q
import struct
M=struct.Struct('<I')
def task(c): return M
## ContextVar (not): 'x' => 'y'
import contextvars
V=contextvars.ContextVar('x')
def task(c): return V
## TypeVar of generic: 'x' => 'y'
import typing
T=typing.TypeVar('T')
class A(typing.Generic[T]):
    def f(self): return 'x'
def task(c): return A[int]().f()
## Protocol: 'x' => 'y'
import typing
class P(typing.Protocol):
    def f(self): return 'x'
class A(P): pass
def task(c): return A().f()
## TypedDict: a: int => a: str
import typing
class P(typing.TypedDict):
    a: int
def task(c): return P
## global via walrus name: 'x' => 'y'
K='x'
def task(c):
    global K
    K=K+'z'
    return K
## del builtin shadow: def task => def sum(x): return 1\ndef task
def task(c): return sum([1])
## shadowed from star: 'z' => 'x'\ndef len(x): return 1
from st import *
def task(c): return len(c)
# st.py
Q='z'
## decorator unhashable args: 'x' => 'y'
def deco(*a):
    def d(f):
        def g(c): return f(c), a
        return g
    return d
@deco(['x'])
def task(c): return 1
## async: 'x' => 'y'
async def h(): return 'x'
async def task(c): return await h()
## match: 'x' => 'y'
class A:
    __match_args__=('a',)
def task(c):
    match c:
        case A(a='x'): return 1
## fstring: :>3 => :>4
def task(c): return f'{c!r:>3}'
## name of a local in a text: x=1\n    return f'{x=}' => y=1\n    return f'{y=}'
def task(c):
    x=1
    return f'{x=}'
## nonlocal: 'x' => 'y'
def mk():
    n='x'
    def task(c):
        nonlocal n
        n+='z'
        return n
    return task
task=mk()
## annotations of param unresolved (not): 'int' => 'str'
def task(c: 'int'): pass
## operators: < => >
def task(c): return c < 1
## order of branches: 1 if c else 2 => 2 if c else 1
def task(c): return 1 if c else 2
## try: KeyError => ValueError
def task(c):
    try: f()
    except KeyError: pass
## del module: os.path.join('a') => os.path.split('a')
import os.path
def task(c): return os.path.join('a')
## attr name: foo => bar
def task(c): return c.foo
## kw name: foo => bar
def task(c): return c(foo=1)
## const types: return 1 => return True
def task(c): return 1
## const zero: 0.0 => -0.0
def task(c): return 0.0
## tuple const: (1,2) => (1,2.0)
def task(c): return (1,2)
## inner default: a=1 => a=2
def task(c):
    def f(a=1): return a
    return f()
## enum auto: A=enum.auto()\n    B => B=enum.auto()\n    A
import enum
class E(enum.Enum):
    A=enum.auto()
    B=enum.auto()
def task(c): return E.A
## enum flag: B=2 => B=4
import enum
class E(enum.Flag):
    A=1
    B=2
def task(c): return E.A|E.B
## intenum member global: X=E.A => X=E.B
import enum
class E(enum.IntEnum):
    A=1
    B=2
X=E.A
def task(c): return X
## weakref dict (not): task(c): return W => task(c): return  W
import weakref
W=weakref.WeakValueDictionary()
def task(c): return W
## globals in class body: 'x' => 'y'
K='x'
def task(c):
    class A:
        k=K
    return A.k
## type alias: int,str => int,bytes
import typing
A=typing.Union[int,str]
def task(c): return isinstance(c,A)
## types union: int|str => int|bytes
A=int|str
def task(c): return isinstance(c,A)
## generic alias: list[int] => list[str]
A=list[int]
def task(c): return A
## logging filter lambda: 'x' => 'y'
import logging
L=logging.getLogger('x')
def task(c): L.info(1)
## random instance: Random(1) => Random(2)
import random
R=random.Random(1)
def task(c): return R.random()
## fraction: 1,2 => 1,3
from fractions import Fraction
R=Fraction(1,2)
def task(c): return R
## zoneinfo: Paris => Berlin
import zoneinfo
Z=zoneinfo.ZoneInfo('Europe/Paris')
def task(c): return Z
## rename param of lambda: lambda x: x => lambda q: q
def task(c): return lambda x: x
## compare via type(): 'x' => 'y'
class A:
    k='x'
a=A()
def task(c): return type(a).k
## functions in class dict: 'x' => 'y'
def f(): return 'x'
class A: table={'f':f}
def task(c): return A.table['f']()
## recursion own name: 'x' => 'y'
def task(c): return task(c) if c else 'x'
## module escapes through getattr: 'x' => 'y'
import st,operator
def task(c): return operator.attrgetter('f')(st)()
# st.py
def f(): return 'x'
## sys.modules text: 'x' => 'y'
import sys,st
def task(c): return sys.modules['st'].f()
# st.py
def f(): return 'x'
## wrapper class: 'x' => 'y'
class W:
    def __init__(s,f): s.f=f
    def __call__(s,c): return s.f(c)
@W
def task(c): return 'x'
## wrapper class code: 'x' => 'y'
class W:
    def __init__(s,f): s.f=f
    def __call__(s,c): return s.f(c),'x'
@W
def task(c): return 1
## lambda in dict in class instance: 'x' => 'y'
class S:
    def __init__(s): s.d={'k':lambda: 'x'}
S1=S()
def task(c): return S1.d['k']()
## hidden by getstate: 'x' => 'y'
class S:
    def __init__(s): s.a='x'
    def __getstate__(s): return {}
S1=S()
def task(c): return S1.a
## slots+reduce raising: 'x' => 'y'
class S:
    def __init__(s): s.a='x'
    def __reduce__(s): raise TypeError
S1=S()
def task(c): return S1.a
## tenacity-like stdlib wrapper: 'x' => 'y'
import functools
@functools.lru_cache
def h(x): return 'x'
def task(c): return h(1)
## total_ordering: 'x' => 'y'
import functools
@functools.total_ordering
class A:
    def __lt__(s,o): return 'x'
    def __eq__(s,o): return 1
def task(c): return A()<A()
## registry by subclasses: 'x' => 'y'
class Base:
    def all(self): return Base.__subclasses__()
class Sub(Base):
    def f(self): return 'x'
def task(c): return Base().all()
"""
"""More programs, each behind a line with what it is about, and its edit. Where that doesn't count, it says "(not)"."""


def small(programs: str) -> Iterator[tuple[str, tuple[Edit, bool]]]:
    """The small programs by name, each with whether its edit counts."""
    for program in programs.split("\n## ")[1:]:
        lead, _, source = program.partition("\n")
        name, _, edit = lead.partition(": ")
        yield name, (edited(f"# steps.py\n{source}\n", edit)[0], not name.endswith(" (not)"))


CASES = {
    f"{'counts' if counts else 'not'} {name} {number:02}": (edit, counts)
    for counts, table in ((True, COUNT), (False, DONT))
    for name, edits in table.items()
    for number, edit in enumerate(edits)
} | dict(small(SMALL))
"""The edits by name, each with whether it counts."""
