"""Classes of the user's script in workers: whatever they are made of, they do there what they do with `serial`."""

import sys
import textwrap
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from tests.support import output_of

from cloaca.pickling.functions import capture
from cloaca.pickling.kin import FunctionCache
from cloaca.pickling.loading import load
from cloaca.values.codec import decode, encode

START = """
    import abc, collections, dataclasses, enum, functools, inspect, typing
    from dataclasses import KW_ONLY, InitVar, dataclass, field
    from datetime import date
    from typing import *
    import msgspec
    import cloaca
    T, U = TypeVar("T"), TypeVar("U")
"""

END = """
    ANNOTATION, GIVEN = globals().get("ANNOTATION", object), globals().get("GIVEN")

    def returned(context, *, given): context["returned"] = given
    returned.__annotations__["given"] = ANNOTATION

    def shown(value): return repr(sorted(value) if isinstance(value, frozenset) else value)

    with cloaca.WorkflowBuilder("w", check="off"):
        @cloaca.task()
        def run(context): context["found"] = shown(work(context["value"]))
        @cloaca.task()
        def give(context): context["given"] = context["source"]  # in the input, it would be looked at in the program
        cloaca.task(dependencies=[give])(returned)

    def told(executor):
        with cloaca.DefaultRunner(executor=executor, workers=1) as runner:
            result = runner.execute("w", cloaca.Context({"value": VALUE, "source": GIVEN}))
        outcome = result.error_message, result.final_context.get("found"), shown(result.final_context.get("returned"))
        return outcome, type(result.final_context.get("returned")), type(result.final_context["value"]) is type(VALUE)

    if __name__ == "__main__":
        serial, workers = told("serial"), told("processes")
        assert serial == workers, f"{serial}\\n{workers}"
        if not globals().get("FAILS"):
            assert serial[0][0] is None, serial
        print("the same")
"""


def run_script(tmp_path: Path, *parts: str, future: bool = False) -> str:
    path = tmp_path / "script.py"
    text = "\n".join(map(textwrap.dedent, parts))
    path.write_text("from __future__ import annotations\n" * future + text)
    return output_of("-W", "error", str(path))


CLASSES = {
    "a dataclass": """
        @dataclass
        class Item:
            number: int
            _: KW_ONLY
            factor: int = 2
            tags: list = field(default_factory=list)
            kind: ClassVar[str] = "k"
        VALUE, ANNOTATION, GIVEN = Item(1), Item, {"number": 3}
        def work(item):
            @dataclass
            class Sub(Item):
                more: int = 4
            number = dataclasses.fields(Item)[0]
            ours = number.default is dataclasses.MISSING, number._field_type is dataclasses._FIELD
            return ours, item, Item(5), Sub(1), dataclasses.replace(item, factor=7)
    """,
    "a dataclass that lacks a field": """
        @dataclass
        class Item:
            number: int
            factor: int = 2
        VALUE, ANNOTATION, GIVEN, FAILS = None, Item, {"factor": 1}, True
        def work(_): return Item(1)
    """,
    "a generic dataclass": """
        @dataclass(frozen=True, slots=True)
        class Box(Generic[T]):
            content: T
            all: list[T] = field(default_factory=list)
        @dataclass(frozen=True)
        class Named(Box[str]):
            name: str = "n"
        VALUE, ANNOTATION, GIVEN = Named("a"), Box[int], {"content": 1}
        def work(named): return named, Box(2), get_type_hints(Named)
    """,
    "a Struct": """
        class Row(msgspec.Struct, tag=True, order=True, dict=True):
            a: int
            b: Annotated[int, msgspec.Meta(ge=0, description="b")] = 0
            c: int | msgspec.UnsetType = msgspec.UNSET
            tags: list[str] = []
            kind: ClassVar[str] = "row"
            def __post_init__(self): self.sum = self.a + self.b + len(Row.__struct_fields__)
            def up(self): return Row(self.a + 1)
        VALUE, ANNOTATION, GIVEN = Row(1), Row, {"type": "Row", "a": 1}
        def work(row): return row.up(), row.sum, Row.kind, row.c is msgspec.UNSET, msgspec.json.encode(row)
    """,
    "a Struct with a wrong field": """
        class Row(msgspec.Struct):
            b: Annotated[int, msgspec.Meta(ge=0)]
        VALUE, ANNOTATION, GIVEN, FAILS = Row(1), Row, {"b": -1}, True
        def work(row): return row
    """,
    "constraints alone": """
        VALUE = [msgspec.Meta(gt=0, le=3.5), msgspec.Meta(pattern="a+", max_length=3), msgspec.Meta(extra={"a": 1})]
        ANNOTATION, GIVEN, FAILS = Annotated[int, msgspec.Meta(ge=0)], -1, True
        def work(metas): return metas, ANNOTATION
    """,
    "generic Structs": """
        class Pair(msgspec.Struct, Generic[T, U]):
            left: T
            right: U
            more: list[T] = []
        class Left(Pair[int, U], Generic[U], kw_only=True): z: int = 1
        class Plain(Left[str]): pass
        VALUE, ANNOTATION, GIVEN = Plain(1, "a"), Left[str], {"left": 1, "right": "a"}
        def work(plain): return plain, Left[int], msgspec.convert({"left": 1, "right": 1.5}, Left[float])
    """,
    "protocols": """
        @runtime_checkable
        class Sized(Protocol[T]):
            size: int
            def get(self) -> T: ...
        class Explicit(Sized[int]):
            size = 1
            def get(self): return 2
            def __repr__(self): return "explicit"
        class Fits:
            size = 1
            def get(self): return 3
        VALUE, ANNOTATION, GIVEN = Explicit(), Sized, Explicit()
        def work(one): return one.get(), [isinstance(each, Sized) for each in (one, Fits(), 1)]
    """,
    "named tuples": """
        class Row(NamedTuple):
            a: int
            b: str = "b"
            def twice(self): return 2 * self.a
        class Sub(Row):
            __slots__ = ()
            def thrice(self): return 3 * self.a
        class Any_(NamedTuple, Generic[T]):
            a: T
        VALUE, ANNOTATION, GIVEN = Sub(1), Row, [1, "x"]
        def work(row): return row.twice(), row.thrice(), hasattr(row, "__dict__"), Row(3)._replace(a=4), Any_[int](3)
    """,
    "typed dicts": """
        class Base(TypedDict, total=False):
            a: Required[int]
            b: str
        class Sub(Base):
            c: NotRequired[float]
            d: int
        class Box(TypedDict, Generic[T]):
            a: T
        VALUE, ANNOTATION, GIVEN = Sub(a=1), Sub, {"a": 1, "d": 2}
        def work(value):
            keys = sorted(Sub.__required_keys__), sorted(Sub.__optional_keys__), Base.__total__, is_typeddict(Sub)
            return keys, msgspec.convert({"a": 1}, Box[int]), value
    """,
    "an enum with aliases and methods": """
        class Colour(enum.Enum):
            RED = "r"
            CRIMSON = "r"
            BLUE = "b"
            @property
            def low(self): return self.name.lower()
            @classmethod
            def _missing_(cls, value): return cls.BLUE
        class Base(enum.Enum):
            def hello(self): return "hello " + self.name
        class Greeting(Base):
            MORNING = 1
        VALUE, ANNOTATION, GIVEN = Colour.RED, Colour, "b"
        def work(red):
            return red is Colour.CRIMSON, red.low, list(Colour.__members__), Colour("?"), Greeting.MORNING.hello()
    """,
    "enums that make their members": """
        class Planet(enum.Enum):
            EARTH = (1.0, 2.0)
            MARS = (3.0, 4.0)
            def __init__(self, mass, radius): self.mass, self.radius = mass, radius
        class Code(bytes, enum.Enum):
            A = (1, "a")
            B = (2, "b")
            def __new__(cls, value, label):
                code = bytes.__new__(cls, [value])
                code._value_, code.label = value, label
                return code
            def __repr__(self): return f"{self.name} {bytes(self)} {self.label}"
        @dataclass(frozen=True)
        class Size:
            a: int
            b: int = 2
        class Sizes(Size, enum.Enum):
            S = 1, 5
            L = 2, 6
        class Auto(enum.Enum):
            @staticmethod
            def _generate_next_value_(name, *_): return name.lower()
            ONE = enum.auto()
        VALUE = [Planet.EARTH, Code.A, Sizes.S, Auto.ONE]
        def work(values):
            planet, code, size, auto = values
            return planet.mass, Planet((3.0, 4.0)).radius, code, Code(2), size.b, Sizes.L, auto, Auto("one") is auto
    """,
    "enums of what has no hash": """
        class Route(list, enum.Enum):
            SHORT = [1, 2]
            LONG = [3]
            def low(self): return self.name.lower()
        class Table(enum.Enum):
            ROWS = {"a": 1}
        VALUE = [Route.SHORT, Table.ROWS]
        def work(values):
            route, table = values
            same = route is Route.SHORT, Route([3]) is Route.LONG, table is Table.ROWS, Table({"a": 1}) is table
            return same, list(route), list(Route.LONG), route.low(), table.value, len(Route)
    """,
    "an enum of days": """
        class Holiday(date, enum.Enum):
            NEW_YEAR = 2026, 1, 1
            EPIPHANY = 2026, 1, 6
        VALUE = Holiday.EPIPHANY
        def work(day): return day is Holiday.EPIPHANY, day.year, Holiday.NEW_YEAR, len(Holiday)
    """,
    "flags and enums of numbers and texts": """
        class Right(enum.Flag):
            READ = enum.auto()
            WRITE = enum.auto()
            BOTH = READ | WRITE
        class Kept(enum.IntFlag, boundary=enum.KEEP):
            LOW = 1
        class Name(enum.StrEnum):
            TEA = enum.auto()
            def up(self): return self.upper()
        class Level(enum.IntEnum):
            HIGH = 2
        VALUE, ANNOTATION, GIVEN = [Right.READ | Right.WRITE, Name.TEA, Level.HIGH], Name, "tea"
        def work(values):
            both, tea, high = values
            return both is Right.BOTH, ~Right.READ, list(Right), Kept(12), tea.up(), f"{tea}", high + 1, {2: 1}[high]
    """,
    "abstract classes": """
        class Base(abc.ABC):
            @abc.abstractmethod
            def area(self): ...
        class Square(Base):
            def area(self): return 4
            def __repr__(self): return "square"
        class Virtual: pass
        Base.register(Virtual)
        VALUE, ANNOTATION, GIVEN = Square(), Base, Square()
        def work(square):
            try: Base()
            except TypeError as error: return str(error), square.area(), isinstance(Virtual(), Base)
    """,
    "slots": """
        class Base:
            __slots__ = ()
        class Sub(Base):
            __slots__ = ()
        class Full(Sub):
            __slots__ = {"a": "doc", "__weakref__": ""}
            def __init__(self): self.a = 1
            def __repr__(self): return f"full {self.a}"
        VALUE, ANNOTATION, GIVEN = Full(), Full, Full()
        def work(full): return [hasattr(one, "__dict__") for one in (Sub(), full)], full.a
    """,
    "metaclasses": """
        class Meta(type):
            registry = {}
            def __new__(meta, name, bases, namespace, *, key):
                cls = super().__new__(meta, name, bases, namespace)
                cls.key, cls.loud, meta.registry[key] = key, namespace["label"].upper(), cls
                return cls
            def __init__(cls, name, bases, namespace, **_): super().__init__(name, bases, namespace)
            def __getitem__(cls, item): return item
        class One(metaclass=Meta, key=1):
            label = "one"
            def __repr__(self): return "one"
        class Two(One, key=2):
            label = "two"
        VALUE, ANNOTATION, GIVEN = Two(), One, Two()
        def work(two): return One.key, Two.key, two.loud, One["k"], type(two) is Meta.registry[2], sorted(Meta.registry)
    """,
    "hooks for subclasses": """
        class Base:
            known = []
            def __init_subclass__(cls, *, kind, **more):
                super().__init_subclass__(**more)
                cls.kind, cls.loud = kind, cls.label.upper()
                Base.known.append(cls)
        class One(Base, kind="a"):
            label = "one"
            def __repr__(self): return "one"
        class Two(One, kind="b"):
            label = "two"
        VALUE, ANNOTATION, GIVEN = Two(), One, Two()
        def work(two):
            class Three(Two, kind="c"):
                label = "three"
            known = [cls.label for cls in Base.known[:2]], Three in Base.known
            return One.kind, two.kind, two.loud, known, Base.known[1] is type(two), Three.loud
    """,
    "a hook that needs what the class has": """
        class Base:
            def __init_subclass__(cls): cls.loud = cls.label.upper()
        class One(Base):
            label = "one"
            def __repr__(self): return "one"
        class Two(One): label = "two"
        VALUE, ANNOTATION, GIVEN = Two(), One, Two()
        def work(two): return One.loud, two.loud
    """,
    "properties, descriptors, super": """
        class Named:
            def __set_name__(self, owner, name): self.name, self.times = name, getattr(self, "times", 0) + 1
            def __get__(self, instance, owner): return self.name, self.times
        class Base:
            field = Named()
            def __init__(self): self.calls = 0
            @functools.cached_property
            def cached(self):
                self.calls += 1
                return self.calls
            def __repr__(self): return f"base {vars(self)}"
        class Sub(Base):
            @functools.cached_property
            def more(self): return super().cached + 1, __class__.__name__
        VALUE, ANNOTATION, GIVEN = Sub(), Sub, Sub()
        def work(sub): return sub.more, sub.more, sub.calls, sub.field
    """,
    "descriptors that inherit from Python's own": """
        class classproperty(property):
            def __init__(self, get, *, label="l"): super().__init__(get); self.label = label
            def __get__(self, instance, owner): return self.fget(owner)
        class setter(property):
            "A property of its own text."
        class tagged(staticmethod):
            def __init__(self, function, tag="t"): super().__init__(function); self.tag = tag
        class loud(classmethod):
            __slots__ = ("times",)
            def __get__(self, instance, owner): return lambda: self.__func__(owner).upper() * self.times
        class stored(functools.cached_property):
            def __init__(self, function, unit="m"): super().__init__(function); self.unit = unit
        class Shape:
            sides = 3
            @classproperty
            def doubled(cls): return 2 * cls.sides
            @setter
            def size(self): "doc"; return self._size
            @size.setter
            def size(self, value): self._size = value
            @tagged
            def twice(x): return 2 * x
            @loud
            def named(cls): return cls.__name__
            vars()["named"].times = 2
            @stored
            def area(self): return self.sides ** 2
            @staticmethod
            def plain(): return 1
            plain.tag = "p"
            @functools.singledispatchmethod
            def show(self, value): return "any"
            @show.register
            def _(self, value: int): return "int"
            def scale(self, factor, times, *, plus=0): return self.sides * factor * times + plus
            scaled = functools.partialmethod(scale, 10, plus=1)
        class Tall(Shape): sides = 5
        VALUE, ANNOTATION, GIVEN = Tall(), Tall, Tall()
        Tall.__repr__ = lambda self: f"tall {self.area}"
        def work(tall):
            tall.size, own = 4, vars(Shape)
            kinds = [type(own[name]) for name in ("doubled", "size", "twice", "named", "area")]
            more = own["doubled"].label, own["twice"].tag, own["area"].unit, own["plain"].tag, own["size"].__doc__
            values = Tall.doubled, tall.size, tall.twice(4), Tall.named(), tall.area, tall.plain()
            return kinds, more, values, tall.show(1), tall.show("x"), tall.scaled(2)
    """,
    "enum members whose value equals nothing": """
        class Brush:
            def __init__(self, width): self.width = width
            def __repr__(self): return f"brush {self.width}"
        def double(x): return 2 * x
        class Shape(enum.Enum):
            THIN = Brush(1)
            THICK = Brush(9)
            LIST = [1]
            NAN = float("nan")
            DOUBLE = enum.member(double)
            HALF = enum.member(functools.partial(pow, 2, -1))
            CLASS = enum.member(Brush)
            SLIM = THIN
        class Level(enum.IntEnum):
            LOW = 1
            LEAST = 1
        class Right(enum.IntFlag):
            READ = 1
            WRITE = 2
            ALL = 3
            @property
            def short(self): return self.name[0]
        class Kept(enum.Flag, boundary=enum.KEEP):
            A = 1
        class ById(enum.Enum):
            X = 1
            def __reduce_ex__(self, protocol): return ById, (self.value,)
        VALUE = [*Shape, Shape.SLIM, Level.LEAST, Right.READ, Right.ALL, Right(0), Right.READ | 8, Kept(6), ById.X]
        VALUE.append({Shape.THICK: 1, Level.LOW: {Right.WRITE}})
        ANNOTATION, GIVEN = Level, 1
        def work(values):
            thin, thick, listed, nan, doubled, half, cls, slim, least, read, all_, *_ = values
            same = thin is Shape.THIN, thick is Shape.THICK, slim is thin, nan is Shape.NAN, least is Level.LOW
            more = doubled.value(4), half.value(), cls.value(3), listed is Shape.LIST, read.short, all_ is Right.ALL
            return [*same, *more, *map(str, values)]
    """,
    "record arrays": """
        import numpy
        rows = numpy.zeros(2, [("a", "i4"), ("b", [("x", "f8", (2,)), ("y", "U2")])])
        class Rows(numpy.recarray):
            def sum(self): return int(self.a.sum())
        own = rows.view(numpy.recarray)
        VALUE = [own, own[0], rows[0], rows.view(Rows), numpy.ma.array(rows)]
        def work(values):
            kinds = [type(one) is type(own) for one, own in zip(values, VALUE)]
            return kinds, values, [one.dtype for one in values], values[0][1].b.y, values[3].sum()
    """,
    "singletons and flyweights": """
        import weakref
        class Settings:
            _only = None
            def __new__(cls):
                if cls._only is None: cls._only = super().__new__(cls)
                return cls._only
        class Unit:
            _pool = {}
            def __new__(cls, name):
                if name not in cls._pool:
                    cls._pool[name] = unit = super().__new__(cls)
                    unit.name = name
                return cls._pool[name]
            def __getnewargs__(self): return (self.name,)
        class Currency:
            __slots__ = ("code",)
            _all = collections.OrderedDict()
            @classmethod
            def of(cls, code): return cls._all[code]
            def __init__(self, code): self.code = code; Currency._all[code] = self
            def __reduce__(self): return Currency.of, (self.code,)
        class Word(str):
            _known = {}
            def __new__(cls, text, length):
                if text not in cls._known: cls._known[text] = super().__new__(cls, text)
                return cls._known[text]
            def __getnewargs__(self): return str(self), len(self)
        class Single(type):
            _instances = {}
            def __call__(cls, *given):
                if cls not in cls._instances: cls._instances[cls] = super().__call__(*given)
                return cls._instances[cls]
        class Config(metaclass=Single):
            def __init__(self): self.rate = 3
        class Colour:
            _pool = weakref.WeakValueDictionary()
            def __new__(cls, name):
                found = cls._pool.get(name)
                if found is None:
                    cls._pool[name] = found = super().__new__(cls)
                    found.name = name
                return found
            def __getnewargs__(self): return (self.name,)
        RED = Colour("red")
        class Bag(dict):
            _only = None
            def __new__(cls, *given):
                if cls._only is None: cls._only = super().__new__(cls)
                return cls._only
        Settings().level, Config().rate = 3, 4
        Bag()["a"] = Unit("m")
        VALUE = [Settings(), Unit("m"), Currency("EUR"), Word("a", 1), Bag(), RED]
        ANNOTATION = GIVEN = None
        def work(values):
            settings, unit, euro, word, bag, red = values
            same = settings is Settings(), unit is Unit("m"), word is Word("a", 1), bag is Bag()
            more = euro is Currency.of("EUR"), Unit("s") is Unit("s"), Config() is Config(), Bag()["a"] is unit
            return same, more, Settings().level, Config().rate, red is Colour("red") is RED
    """,
    "constants that are instances of their class": """
        import logging, re
        log, pattern = logging.getLogger("shop"), re.compile("a+")
        TABLE = {"a": {"b": [1]}}
        def prepared(raw):
            log.debug("raw %s", raw)
            return raw + TABLE["a"]["b"][0] + len(pattern.findall("aab"))
        class Model:
            LIMIT = re.compile("b")
            def __init__(self): self.raw = 1; self._prepare()
            def _prepare(self): self.ready = prepared(self.raw) + len(self.LIMIT.findall("bb"))
            def __getstate__(self): return {"raw": self.raw}
            def __setstate__(self, state): self.__dict__.update(state); self._prepare()
            def same(self): return DEFAULT is not None and DEFAULT.ready == self.ready
        Model.FIRST, DEFAULT = Model(), Model()
        class Vector:
            SALT = 5
            def __init__(self, x): self.x = x
            def __eq__(self, other): return self.x == other.x
            def __hash__(self): return hash((self.SALT, self.x))
            def __repr__(self): return f"vector {self.x}"
        Vector.ZERO = Vector(0)
        Vector.NAMES, Vector.ALL = {Vector.ZERO: "zero"}, frozenset({Vector.ZERO, Vector(1)})
        @dataclass(frozen=True, slots=True)
        class Point:
            x: int
            y: int = 0
        Point.ORIGIN = Point(0)
        @dataclass(frozen=True)
        class Line:
            start: Point = Point.ORIGIN
            end: Point = field(default_factory=lambda: Point(1))
            known: ClassVar[list] = []
        Line.known.append(Line())
        class Node:
            def __init__(self, kind): self.kind = kind
            def __setstate__(self, state): self.__dict__.update(state); self.name = Kind.NAMES[self.kind.number]
        class Kind:
            NAMES = {1: "one"}
            def __init__(self, number): self.number = number
            def __reduce__(self): return type(self).made, (self.number,)
            @classmethod
            def made(cls, number): assert cls.NAMES; return cls(number)
        Kind.ROOT, Node.LEAF = Node(Kind(1)), Node(Kind(1))
        class Row(NamedTuple):
            a: int
        Row.EMPTY = Row(0)
        class Level(enum.Enum):
            LOW = Vector(7)
            def __init__(self, vector): self.start = Point(vector.x)
        VALUE, ANNOTATION, GIVEN = [Model(), Vector(0), Line(), Kind(1), Row(0), Level.LOW], Vector, Vector(1)
        def work(values):
            model, vector, line, kind, row, low = values
            first = model.ready, Model.FIRST.ready, model.same(), Vector.NAMES[vector], Vector(1) in Vector.ALL
            second = line, Line.known, line.start == Point.ORIGIN, Kind.ROOT.kind.number, Node.LEAF.kind.number
            return first, second, Row.EMPTY == row, low is Level.LOW, low.start, Vector.ZERO, Vector.NAMES
    """,
    "texts that mean what leads to themselves": """
        Json: TypeAlias = "dict[str, Json] | list[Json] | int"
        Nested = Union[dict[str, "Nested"], list["Nested"], int]
        Kids = List["Row"]
        @dataclass
        class Row:
            json: Json
            nested: "Nested"
            kids: "Kids" = field(default_factory=list)
        class Tree(msgspec.Struct):
            kids: "list[Tree]" = []
        get_type_hints(Row), Tree()
        def depth(json: Json, nested: Nested = 0) -> "Json": return 1 + max(map(depth, json)) if json else 0
        VALUE, ANNOTATION, GIVEN = Row([1], {"a": 1}), Tree, {"kids": [{}]}
        def work(row): return row, depth([[], [[]]]), depth.__annotations__, Row(2, 3, [row]), Tree([Tree()])
    """,
    "classes of attrs": """
        import attrs
        @attrs.define
        class Point:
            x: int
            tags: list = attrs.field(factory=list)
        @attrs.frozen
        class Line(Generic[T]):
            start: Point = attrs.field(default=Point(3))
            width: int = attrs.field(default=1, converter=int, validator=attrs.validators.ge(0))
        VALUE, ANNOTATION, GIVEN = Line(Point(1), "2"), Line, Line()
        def work(line):
            try: Line(width=-1)
            except ValueError as error: refused = error.args[0]
            return line, Line(), attrs.evolve(line, width=3), refused, attrs.asdict(line)
    """,
    "constants that lead to further classes": """
        class Third:
            MARK = frozenset({1})
            def __init__(self): self.seen = self.MARK
            def __setstate__(self, state): self.__dict__.update(state); self.seen = self.MARK
        class Second: pass
        class First: pass
        Second.LAST, First.NEXT = Third(), Second()
        First.NEXT.own = Third()
        class Changing:
            def __getstate__(self):
                class Made: number = 1
                return {"made": Made()}
        Changing.ONLY = Changing()
        VALUE, ANNOTATION, GIVEN = First(), First, First()
        First.__repr__ = lambda self: "first"
        def work(first):
            return first.NEXT.own.seen, type(first.NEXT).LAST.seen, type(Changing.ONLY) is Changing
    """,
    "annotations that are instances": """
        class Unit:
            def __init__(self, name): self.name = name
        class Measured:
            length: Unit("m")
            weight: int
        VALUE, ANNOTATION, GIVEN = None, Measured, Measured()
        Measured.__repr__ = lambda self: "measured"
        def work(nothing):
            length, weight = inspect.get_annotations(Measured).values()
            return length.name, isinstance(length, Unit), weight
    """,
    "type parameters": """
        P, Ts = ParamSpec("P"), TypeVarTuple("Ts")
        Bound = TypeVar("Bound", bound="Wrapped", covariant=True)
        class Wrapped(Generic[P, T]):
            def __init__(self, call): self.call = call
            def __call__(self, *given: P.args, **named: P.kwargs) -> T: return self.call(*given, **named)
            def __repr__(self): return "wrapped"
        class Shape(Generic[*Ts]): pass
        class Last(Generic[Bound]): pass
        VALUE, GIVEN = Wrapped(len), 1
        def work(wrapped):
            return wrapped([1]), Wrapped.__parameters__, Shape.__parameters__, Last.__parameters__[0] is Bound
    """,
}

IN_NEW_SYNTAX = {
    "a class": """
        class Box[T: int]:
            def __init__(self, content: T): self.content = content
            def take[U](self, other: U) -> U: return other
            def __repr__(self): return "box"
        class Sub(Box[int]): pass
        VALUE, ANNOTATION, GIVEN = Sub(1), Box, Sub(1)
        def work(box):
            of_method = Box.take.__type_params__
            return box.content, Box[int], Box.__type_params__[0].__bound__, box.take(1), of_method
    """,
    "a Struct": """
        class Box[T](msgspec.Struct):
            content: T
            more: "list[T] | None" = None
        VALUE, ANNOTATION, GIVEN = Box(1), Box[str], {"content": "a"}
        def work(box): return box, msgspec.convert({"content": 1, "more": [2]}, Box[int])
    """,
    "aliases that lead to themselves": """
        type Json = dict[str, Json] | list[Json] | int
        type Tree[T, U] = T | dict[U, list[T]]
        type One = list[Other] | int
        type Other = dict[str, One]
        type Same[T] = T
        type Shape[*Ts] = tuple[int, *Ts]
        type Call[**P, T] = Callable[P, T]
        @dataclass
        class Row:
            json: Json
            tree: Tree[int, str] = 1
        def depth(json: Json) -> Json: return 1 + max(map(depth, json)) if json else 0
        VALUE, ANNOTATION, GIVEN = Row([1]), object, None
        def work(row):
            tree, listed = Tree.__value__.__args__[0], Json.__value__.__args__[1]
            inside = listed.__args__[0] is Json, tree is Tree.__type_params__[0]
            values = [one.__value__ for one in (Json, Tree, One, Other, Same, Shape, Call)], Tree[str, int], Shape[str]
            more = [one.__type_params__ for one in (Json, Tree, Shape, Call)], Json.__module__, Row.__annotations__
            return row, Row(2), depth([[], [[]]]), inside, values, more, depth.__annotations__
    """,
    "others": """
        type Row = dict[str, int]
        type Pair[T] = tuple[T, T]
        @dataclass
        class Box[T]:
            content: T
            rows: list[Row]
        class Named[T](NamedTuple): a: T
        class Typed[T](TypedDict): a: T
        VALUE, ANNOTATION, GIVEN = Named(1), Box[int], {"content": 1, "rows": [{"a": 1}]}
        def work(named): return named, Named[int](2), Row.__value__, Pair[int], msgspec.convert({"a": 1}, Typed[int])
    """,
}


OF_PYDANTIC = {
    "models": """
        from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, RootModel, computed_field, field_validator
        class Kind(enum.Enum):
            A = "a"
            B = "b"
        class Node(BaseModel):
            name: str
            kids: list["Node"] = []
            kind: Kind = Kind.A
        class Account(BaseModel):
            model_config = ConfigDict(frozen=True, extra="allow")
            number: int = Field(ge=0, default=1)
            _secret: int = PrivateAttr(default=5)
            @field_validator("number")
            @classmethod
            def up(cls, number): return number + 1
            @computed_field
            @property
            def twice(self) -> int: return 2 * self.number
        class Cat(BaseModel): sort: Literal["cat"] = "cat"
        class Dog(BaseModel): sort: Literal["dog"] = "dog"
        class Zoo(BaseModel): pets: list[Annotated[Cat | Dog, Field(discriminator="sort")]]
        class Names(RootModel[list[str]]): pass
        ANNOTATION, GIVEN = Node, Node(name="a", kids=[Node(name="b", kind=Kind.B)])
        VALUE = [GIVEN, Account(number=6, more=1), Zoo(pets=[{"sort": "dog"}])]
        def work(values):
            node, account, zoo = values
            try: Account(number=-1)
            except ValueError as error: refused = error.errors()[0]["type"]
            made = Node.model_validate({"name": "x", "kids": [{"name": "y"}]}), Account(), Names(["a"])
            seen = account.twice, account._secret, refused, node.model_dump(), Node.model_fields.keys()
            return values, Zoo.model_json_schema(), made, seen
    """,
    "generic models": """
        from pydantic import BaseModel
        class Box(BaseModel, Generic[T]):
            content: T
            def again(self): return Ints(content=self.content), Box[str](content="s")
        Ints = Box[int]
        class Pair(BaseModel, Generic[T, U]):
            left: T
            right: Box[U]
        class Sub(Box[int]):
            more: int = 1
        class Holder(BaseModel):
            box: Box[int]
            boxes: list[Box[str]] = []
        VALUE = [Box[int](content=1), Pair[int, str](left=1, right=Box[str](content="a")), Sub(content=2)]
        VALUE += [Box[Box[int]](content=Box[int](content=3)), Holder(box=Box[int](content=4)), Box(content=1), Ints]
        ANNOTATION, GIVEN = Box[float], Box[float](content=1.5)
        def work(values):
            box, pair, sub, nested, holder, free, ints = values
            same = [isinstance(one, Box[int]) for one in (box, sub, nested.content, holder.box, free)]
            more = isinstance(pair, Pair[int, str]), isinstance(pair.right, Box[str]), isinstance(nested, Box[Box[int]])
            made = box.again(), [type(one) is kind for one, kind in zip(box.again(), (Box[int], Box[str]))]
            return same, more, made, ints is Box[int], Holder(box={"content": 5}), values
    """,
}


@pytest.mark.parametrize("source", CLASSES.values(), ids=CLASSES)
def test_classes_of_the_script_do_in_workers_what_they_do_in_the_program(source: str, tmp_path: Path) -> None:
    assert run_script(tmp_path, START, source, END) == "the same\n"


@pytest.mark.skipif(sys.version_info >= (3, 15), reason="pydantic isn't built for it")
@pytest.mark.parametrize("source", OF_PYDANTIC.values(), ids=OF_PYDANTIC)
def test_models_of_pydantic_do_too(source: str, tmp_path: Path) -> None:
    assert run_script(tmp_path, START, source, END) == "the same\n"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="its syntax")
@pytest.mark.parametrize("source", IN_NEW_SYNTAX.values(), ids=IN_NEW_SYNTAX)
def test_classes_with_type_parameters_do_too(source: str, tmp_path: Path) -> None:
    assert run_script(tmp_path, START, source, END) == "the same\n"


# ---- annotations that are made on demand ---------------------------------------------------------------------------

ON_DEMAND = {
    "classes that come later": """
        class Row(msgspec.Struct, kw_only=True):
            kind: ClassVar[str] = "row"
            sale: Sale
            next: Row | None = None
            boxes: list[Box[int]] = []
        @dataclass
        class Sale:
            day: date
            parts: list[Sale] = field(default_factory=list)
        class Named(NamedTuple):
            sale: Sale
            row: Row | None = None
        class Typed(TypedDict, total=False):
            day: Required[date]
            named: list[Named]
        class Box[T](msgspec.Struct):
            content: T
            more: list[Box[T]] = []
        SALE = {"day": "2026-01-31", "parts": [{"day": "2026-01-31"}]}
        ROW = {"sale": SALE, "next": {"sale": SALE}, "boxes": [{"content": 1, "more": [{"content": 2}]}]}
        VALUE, ANNOTATION = Row(sale=Sale(date(2026, 1, 31))), tuple[Row, Named, Typed]
        GIVEN = [ROW, [SALE, ROW], {"day": "2026-01-31", "named": [[SALE, ROW]]}]
        def work(row):
            hints = {cls.__name__: get_type_hints(cls, include_extras=True) for cls in (Sale, Row, Named, Typed)}
            return row, hints, Row.kind, msgspec.convert(ROW, Row), msgspec.convert({"content": "a"}, Box[str])
    """,
    "names that are never there": """
        if TYPE_CHECKING:
            from decimal import Decimal
        def helper(price: Decimal, sale: Sale) -> list[Decimal]: return [price]
        @functools.wraps(helper)
        def decorated(*given: Unknown): return helper(*given)
        @dataclass
        class Sale:
            price: Decimal
            parts: list[Decimal] = field(default_factory=list)
            def by(self, rate: Decimal) -> Sale: return dataclasses.replace(self, price=self.price * rate)
        class Row(msgspec.Struct):
            price: Decimal
            sale: Sale | None = None
        class Plain:
            price: Decimal
        VALUE = Sale(1)
        def work(sale):
            try: Plain.__annotations__["price"].upper()
            except NameError: pass
            @dataclass
            class Sub(Sale):
                other: Unknown = 3
            return helper(1, sale), decorated(2, sale), sale.by(3), Sale(2), Row(2, sale), Sub(2)
    """,
    "names that a class in a task mentions": """
        from decimal import Decimal
        from fractions import Fraction
        VALUE = 1
        def work(value):
            Local = int
            @dataclass
            class Sale:
                price: Decimal
                number: Local
                def by(self, rate: Fraction) -> date: ...
                class Inner:
                    parts: list[OrderedLater]
            return get_type_hints(Sale), get_type_hints(Sale.by), get_type_hints(Sale.Inner)
        OrderedLater = collections.OrderedDict
    """,
    "what cannot be sent": """
        import threading
        @dataclass
        class Job:
            number: int
        class Row:
            job: Job
            pool: Pool
        class Pool:
            lock = threading.Lock()
        VALUE = Job(1)
        def work(job): return job, Row.__name__
    """,
    "functions that are annotated with what a loop makes": """
        VALUE, CALLS = 1, []
        for kind in (int, str, None):
            if kind is None: del kind
            def call(value: kind = 1): return value
            CALLS.append(call)
        def work(value): return [call() for call in CALLS]
    """,
}


@pytest.mark.skipif(sys.version_info < (3, 14), reason="since Python 3.14")
@pytest.mark.parametrize("source", ON_DEMAND.values(), ids=ON_DEMAND)
def test_annotations_that_are_made_on_demand_are_in_workers_what_they_are_in_the_program(
    source: str, tmp_path: Path
) -> None:
    assert run_script(tmp_path, START, source, END) == "the same\n"


def test_a_class_in_a_task_finds_what_its_annotations_mention(tmp_path: Path) -> None:
    source = """
        from decimal import Decimal
        VALUE = 1
        def work(value):
            @dataclass
            class Sale:
                price: Decimal
                def by(self, rate: Decimal) -> date: ...
            return get_type_hints(Sale), get_type_hints(Sale.by)
    """
    assert run_script(tmp_path, START, source, END) == "the same\n"


# ---- annotations that are text -------------------------------------------------------------------------------------

TEXTS = """
    @dataclass
    class Sale:
        day: date
        amount: float
        parts: list[Sale] = field(default_factory=list)
    class Row(msgspec.Struct):
        sale: Sale
        node: Node | None = None
        price: Annotated[int, msgspec.Meta(ge=0)] = 0
        kind: ClassVar[str] = "row"
    class Node(msgspec.Struct, Generic[T]):
        row: Row
        nodes: list[Node[T]] = []
        own: T | None = None
    class Named(NamedTuple):
        day: date
        row: Row | None = None
    class Typed(TypedDict, total=False):
        day: Required[date]
        named: list[Named]
    SALE = {"day": "2026-01-31", "amount": 2, "parts": [{"day": "2026-01-31", "amount": 1}]}
    NODE = {"row": {"sale": SALE, "node": {"row": {"sale": SALE}}}, "nodes": [{"row": {"sale": SALE}}], "own": 1}
    VALUE, ANNOTATION = Row(Sale(date(2026, 1, 31), 2.0)), tuple[Node[int], Named, Typed, list[Sale]]
    GIVEN = [NODE, ["2026-01-31"], {"day": "2026-01-31", "named": [["2026-01-31"]]}, [SALE]]
    def work(row):
        hints = {cls.__name__: get_type_hints(cls, include_extras=True) for cls in (Sale, Row, Node, Named, Typed)}
        return row, hints, msgspec.convert(NODE, Node), [repr(one) for one in Sale.__dataclass_fields__]
"""


def test_annotations_that_are_text_mean_what_they_mean_in_the_script(tmp_path: Path) -> None:
    assert run_script(tmp_path, START, TEXTS, END, future=True) == "the same\n"


def test_text_that_means_nothing_stays_text(tmp_path: Path) -> None:
    source = """
        class Row:
            money: "Decimal"
            length: "in metres"
            number: "int"
            def __repr__(self): return "row"
        VALUE, FAILS = Row(), True
        def work(row):
            kept = Row.__annotations__["money"], Row.__annotations__["length"]
            try: get_type_hints(Row)
            except NameError as error: return kept, str(error)
    """
    assert run_script(tmp_path, START, source, END) == "the same\n"


def test_text_that_leads_to_what_cannot_be_sent_stays_text(tmp_path: Path) -> None:
    source = """
        import threading
        class Pool:
            lock = threading.Lock()
        @dataclass
        class Job:
            number: int
            pool: Pool | None = None
        VALUE = Job(1)
        def work(job): return job, Job(2), Job.__annotations__
    """
    assert run_script(tmp_path, START, source, END, future=True) == "the same\n"


def test_one_name_means_to_each_class_what_it_means_in_its_module(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\nKind = int\n"
        "@dataclass\nclass Order:\n    kind: Kind\n    next: Order | None = None\n"
    )
    source = """
        import cloudpickle
        import shop
        cloudpickle.register_pickle_by_value(shop)
        Kind = str
        @dataclass
        class Order:
            kind: Kind
            other: shop.Order
        VALUE, ANNOTATION, GIVEN = None, Order, {"kind": "a", "other": {"kind": 1, "next": {"kind": 2}}}
        def work(_): return get_type_hints(Order), get_type_hints(shop.Order)
    """
    assert run_script(tmp_path, START, source, END, future=True) == "the same\n"


# ---- markers -------------------------------------------------------------------------------------------------------


def test_a_plain_object_of_the_script_is_one_object_in_each_process(tmp_path: Path) -> None:
    out = run_script(
        tmp_path,
        """
        import cloaca
        MISSING, OTHER = object(), object()
        class Store:
            DEFAULT = MISSING
            def get(self, default=MISSING): return default is MISSING
            def other(self): return OTHER
        def helper(): return MISSING
        with cloaca.WorkflowBuilder("w", check="off"):
            @cloaca.task()
            def first(context, default=MISSING):
                store = Store()
                same = store.get(), store.get(MISSING), not store.get(OTHER), helper() is default
                more = Store.DEFAULT is MISSING, context["given"] is MISSING, context["store"].other() is OTHER
                return {"first": all((*same, *more, MISSING is not OTHER)), "marker": MISSING}
            for number in range(3):
                @cloaca.task(id=f"later {number}", dependencies=[first])
                def later(context, number=number):
                    context[f"later {number}"] = context["marker"] is MISSING and Store().other() is OTHER
        for executor in ("serial", "processes"):
            with cloaca.DefaultRunner(executor=executor, workers=2) as runner:
                for _ in range(2):
                    context = runner.execute("w", cloaca.Context({"given": MISSING, "store": Store()})).final_context
                    print(context["first"], *(context[f"later {n}"] for n in range(3)), context["marker"] is MISSING)
        """,
    )
    assert out.splitlines() == ["True True True True True"] * 4


def test_a_plain_object_of_an_importable_module_is_that_of_the_process(
    make_module: Callable[[str, str], types.ModuleType],
) -> None:
    module = make_module("cloaca_markers", "PLAIN = object()\nclass Own:\n x = 1\nOWN = Own()")
    names = {"__name__": "__main__", **{name: vars(module)[name] for name in ("PLAIN", "OWN")}}
    exec("def task(): return PLAIN, OWN", names)
    plain, own = load(capture("t", names["task"]).blob)()
    assert plain is module.PLAIN
    assert own is not module.OWN, "a task's changes are its own"
    assert decode(encode([module.PLAIN])) == [module.PLAIN]


def test_type_variables_of_a_module_that_is_sent_along_are_too(
    make_module: Callable[[str, str], types.ModuleType],
) -> None:
    module = make_module("cloaca_variables", "from typing import *\nT, P = TypeVar('T'), ParamSpec('P')")
    assert b"cloaca_variables" in encode((module.T,))
    cloudpickle.register_pickle_by_value(module)
    try:
        sent = encode((module.T, module.P))
    finally:
        cloudpickle.unregister_pickle_by_value(module)
    assert b"cloaca_variables" not in sent
    assert decode(sent) == (module.T, module.P)


def test_plain_objects_that_no_module_names_are_told_apart() -> None:
    one, other, third = decode(encode([first := object(), first, object()]))
    assert one is other is not third


def test_a_plain_object_of_the_program_is_what_stands_there_now(monkeypatch: pytest.MonkeyPatch) -> None:
    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    for _ in range(3):
        vars(main)["MARK"] = mark = object()
        assert decode(encode((mark,)))[0] is mark


def test_a_function_that_uses_a_plain_object_is_not_pickled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    names: dict[str, Any] = {"__name__": "__main__", "MARK": object()}
    exec("def task(context): return MARK", names)
    cache = FunctionCache()
    first = cache.capture_all(["t"], [names["task"]])[0]
    monkeypatch.setattr("cloaca.pickling.classes.Pickler.dump", None)
    assert cache.capture_all(["t"], [names["task"]])[0] is first


@pytest.mark.skipif(sys.version_info < (3, 15), reason="since Python 3.15")
def test_a_sentinel_is_one_object_in_each_process(tmp_path: Path) -> None:
    source = """
        MISSING, OTHER = sentinel("MISSING"), sentinel("OTHER")
        def made(): return sentinel("Local")
        LOCAL = made()
        @dataclass
        class Item:
            number: int | MISSING = MISSING
        def is_missing(value=MISSING): return value is MISSING
        VALUE, GIVEN = (MISSING, LOCAL, Item()), MISSING
        def work(value):
            asked = is_missing(), is_missing(value[0]), is_missing(OTHER)
            return asked, value[1] is LOCAL, Item().number is MISSING, value, repr(OTHER)
        assert __import__("cloaca").Context({"value": VALUE})["value"][0] is MISSING
    """
    assert run_script(tmp_path, START, source, END) == "the same\n"
