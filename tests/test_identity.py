"""Classes of a script are the same classes in its next process, as long as their definitions are."""

import subprocess
import sys
import textwrap
from pathlib import Path

import cloaca

SOURCE = str(Path(cloaca.__path__[0]).parent)

START = """
    import abc, dataclasses, enum, functools, pickle, sys
    from dataclasses import dataclass, field
    from typing import *
    import msgspec
    import cloaca

    def stored(values):
        with open(sys.argv[1], "wb") as file:
            pickle.dump(cloaca.Context(values), file)

    def read():
        with open(sys.argv[1], "rb") as file:
            return pickle.load(file).to_dict()
"""

CLASSES = """
    def logged(function):
        @functools.wraps(function)
        def call(*given): return function(*given)
        return call

    class Plain:
        made, known, limit = 0, [], 5
        def __init__(self, number=1): Plain.made += 1; Plain.known.append(number)
        def total(self): return super().__str__() if self.made in {1, 2, "a", "b", "c"} else other(self)
        @logged
        def wrapped(self): return [number for number in self.known]
        @functools.cached_property
        def cached(self): return 1
        @functools.lru_cache
        def kept(self): return 2
        @staticmethod
        def plain(of=("a", 1.5, None), *, kind=frozenset({"x", "y", "z"})): return of
        class Inner:
            def outer(self): return Plain
    def other(plain): return 3
    class Sub(Plain):
        __slots__ = ("more",)
    class Generic_(Generic[TypeVar("T")]):
        def get(self): return self
    @dataclass
    class Data:
        number: "int"
        names: list[str] = field(default_factory=list)
        other: Optional["Data"] = None
        price: Annotated[float, msgspec.Meta(ge=0)] | Literal["free"] = 2.5
    @dataclass(frozen=True, slots=True, order=True)
    class Frozen:
        number: int = 3
    class Row(msgspec.Struct, rename="camel", tag="row"):
        first_number: int
        rows: "list[Row]" = []
    class Named(NamedTuple):
        a: int
        b: str = "b"
    class Colour(enum.Enum):
        RED = "r"
        BLUE = Plain
        def up(self): return self.name
    class Right(enum.IntFlag):
        READ = 1
    class Failed(Exception):
        def __init__(self, code, text): super().__init__(code, text); self.code = code
    class Shape(abc.ABC):
        @abc.abstractmethod
        def area(self): ...
    class Square(Shape):
        def area(self): return 4
    class Meta(type):
        def __call__(cls, *given): return super().__call__(*given)
    class Made(metaclass=Meta): pass
    try:
        import attrs, pydantic
    except ImportError:
        OTHERS = []
    else:
        @attrs.define
        class Point:
            x: int = 3
        class Model(pydantic.BaseModel):
            number: int = pydantic.Field(ge=0, default=1)
            next: "Model | None" = None
            @pydantic.field_validator("number")
            @classmethod
            def up(cls, number): return number
        OTHERS = [Point(), Model(next=Model())]
    def all_of_them():
        return [
            Plain(), Plain.Inner(), Sub(), Generic_(), Data(1), Frozen(), Row(1, [Row(2)]), Named(1), Colour.RED,
            Right.READ, Failed(1, "a"), Square(), Made(), *OTHERS, Colour, Plain, Row, Meta,
        ]
"""


def run(tmp_path: Path, *parts: str, seed: int = 0, name: str = "script.py") -> str:
    path = tmp_path / name
    path.write_text("\n".join(map(textwrap.dedent, parts)))
    done = subprocess.run(
        [sys.executable, str(path), str(tmp_path / "values")],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": SOURCE, "PYTHONHASHSEED": str(seed)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


SAME = """
    own, made = all_of_them(), Plain.made
    found = read()["values"]
    for one, mine in zip(found, own, strict=True):
        assert type(one) is type(mine), (type(one), type(mine))
        assert one is mine or not isinstance(mine, type | enum.Enum), one
    assert Plain.made == made and isinstance(found[6].rows[0], Row)
    print("the same")
"""


def test_values_of_one_process_are_instances_of_the_same_classes_in_the_next_one(tmp_path: Path) -> None:
    run(tmp_path, START, CLASSES, "[all_of_them() for _ in range(3)]; stored({'values': all_of_them()})", seed=1)
    moved = "\n# Other lines, and another file.\n\n"
    assert run(tmp_path, START, moved, CLASSES, SAME, seed=2, name="moved.py") == "the same\n"


def test_values_that_a_worker_has_made_are_too(tmp_path: Path) -> None:
    make = """
        with cloaca.WorkflowBuilder("w", check="off"):
            @cloaca.task()
            def make(context): context["values"] = all_of_them()
        if __name__ == "__main__":
            with cloaca.DefaultRunner(workers=1) as runner:
                stored(runner.execute("w", {}, raise_on_failure=True).final_context.to_dict())
    """
    run(tmp_path, START, CLASSES, make, seed=1)
    assert run(tmp_path, START, CLASSES, SAME, seed=2) == "the same\n"


def test_values_are_instances_of_classes_that_the_next_process_has_used_before(tmp_path: Path) -> None:
    run(tmp_path, START, CLASSES, "stored({'values': all_of_them()})", seed=1)
    before = "cloaca.Context({'a': all_of_them()})"
    assert run(tmp_path, START, CLASSES, before, SAME, seed=2) == "the same\n"


DEFINITIONS = {
    "a method": "class Row:\n def total(self): return 1",
    "another constant in it": "class Row:\n def total(self): return 2",
    "another name in it": "class Row:\n def total(self): return one",
    "another method": "class Row:\n def sum(self): return 1",
    "a default": "class Row:\n def total(self, by=1): return 1",
    "another default": "class Row:\n def total(self, by=2): return 1",
    "a keyword's default": "class Row:\n def total(self, *, by=1): return 1",
    "a class method": "class Row:\n @classmethod\n def total(self): return 1",
    "a property": "class Row:\n @property\n def total(self): return 1",
    "a wrapped method": "class Row:\n @functools.cache\n def total(self): return 1",
    "another base": "class Row(Exception):\n def total(self): return 1",
    "a base of the script": "class Base: pass\nclass Row(Base):\n def total(self): return 1",
    "which has a method": "class Base:\n def more(self): pass\nclass Row(Base):\n def total(self): return 1",
    "an annotation": "class Row:\n number: int\n def total(self): return 1",
    "another annotation": "class Row:\n number: str\n def total(self): return 1",
    "slots": "class Row:\n __slots__ = ('number',)\n def total(self): return 1",
    "other slots": "class Row:\n __slots__ = ('other',)\n def total(self): return 1",
    "a dataclass": "@dataclass\nclass Row:\n number: int = 1",
    "with another default": "@dataclass\nclass Row:\n number: int = 2",
    "that is frozen": "@dataclass(frozen=True)\nclass Row:\n number: int = 1",
    "a Struct": "class Row(msgspec.Struct):\n number: int = 1",
    "a Struct with another default": "class Row(msgspec.Struct):\n number: int = 2",
    "an enum": "class Row(enum.Enum):\n A = 1",
    "with another value": "class Row(enum.Enum):\n A = 2",
    "with another member": "class Row(enum.Enum):\n B = 1",
    "with one more": "class Row(enum.Enum):\n A = 1\n B = 2",
    "a named tuple": "class Row(NamedTuple):\n number: int = 1",
    "a named tuple with another default": "class Row(NamedTuple):\n number: int = 2",
    "an inner class": "class Row:\n class Inner: pass",
}

TELL = """
    from cloaca.pickling.identity import identity_of
    import json
    found = {}
    for name, source in DEFINITIONS.items():
        exec(source, globals())
        found[name] = identity_of(Row)
    print(json.dumps(found))
"""


def test_another_definition_is_another_identity_in_every_process(tmp_path: Path) -> None:
    import json

    given = f"DEFINITIONS = {DEFINITIONS!r}"
    first, second = (json.loads(run(tmp_path, START, given, TELL, seed=seed)) for seed in (1, 2))
    assert first == second
    assert len(set(first.values())) == len(DEFINITIONS)
    assert [name for name, identity in first.items() if identity.count(":") != 2] == []


CHANGED = """
    mine, (one, other) = Row, read()["values"]
    assert type(one) is type(other) is not Row and type(one).__qualname__ == "Row"
    assert not isinstance(one, Row) and not isinstance(Row(), type(one))
    assert (one.total(), Row().total()) == (1, 2)
    assert Row is mine and type(cloaca.Context({"a": Row()})["a"]) is Row
    assert type(cloaca.Context({"a": one})["a"]) is type(one)
    print("another one")
"""


def test_an_instance_of_a_class_that_was_changed_is_none_of_the_new_one(tmp_path: Path) -> None:
    run(tmp_path, START, DEFINITIONS["a method"], "stored({'values': [Row(), Row()]})")
    assert run(tmp_path, START, DEFINITIONS["another constant in it"], CHANGED) == "another one\n"


def test_what_a_class_holds_and_calls_may_differ(tmp_path: Path) -> None:
    source = """
        LIMIT = {limit}
        def helper(): return {limit}
        class Row:
            "{limit}"
            limit, rows, options = {limit}, [{limit}], {{"a": {limit}}}
            def total(self): return helper() + LIMIT
        Row.later = {limit}
    """
    run(tmp_path, START, source.format(limit=1), "stored({'row': Row()})")
    out = run(tmp_path, START, source.format(limit=2), "print(type(read()['row']) is Row)")
    assert out == "True\n"


def test_a_definition_that_runs_again_makes_another_class(tmp_path: Path) -> None:
    source = """
        CELL = "class Row:\\n LIMIT = 5\\n def total(self): return self.LIMIT"
        exec(CELL)
        old, Old = Row(), Row
        context = cloaca.Context({"old": old})
        exec(CELL.replace("5", "6"))
        context["new"] = Row()
        assert type(context["old"]) is Old and type(context["new"]) is Row is not Old
        with cloaca.WorkflowBuilder("w", check="off"):
            @cloaca.task()
            def total(context): return {"totals": (context["old"].total(), context["new"].total())}
        if __name__ == "__main__":
            with cloaca.DefaultRunner(workers=1) as runner:
                found = runner.execute("w", context).final_context
            assert (type(found["old"]), type(found["new"]), found["totals"]) == (Old, Row, (5, 6))
            stored({"old": Old(), "new": Row()})
    """
    run(tmp_path, START, source)
    later = "class Row:\n LIMIT = 7\n def total(self): return self.LIMIT\nprint(type(read()['new']) is Row)"
    assert run(tmp_path, START, later) == "True\n"


def test_plain_objects_that_tell_what_is_missing_are_those_of_the_next_process(tmp_path: Path) -> None:
    run(tmp_path, START, "MISSING, OTHER = object(), object(); stored({'value': [MISSING, OTHER]})")
    source = "OTHER, MISSING = object(), object(); print([one is MISSING for one in read()['value']])"
    assert run(tmp_path, START, source) == "[True, False]\n"


def test_classes_that_functions_make_are_those_of_one_process(tmp_path: Path) -> None:
    source = """
        def make():
            class Local:
                def get(self): return 1
            return Local
        one, other = make(), make()
        context = cloaca.Context({"one": one(), "other": other()})
        assert (type(context["one"]), type(context["other"])) == (one, other)
    """
    run(tmp_path, START, source, "stored({'value': one()})")
    out = run(tmp_path, START, source, "value = read()['value']; print(value.get(), type(value) in (one, other))")
    assert out == "1 False\n"


def test_a_process_that_multiprocessing_spawns_has_the_same_classes(tmp_path: Path) -> None:
    source = """
        import multiprocessing
        class Row: pass
        def is_row(context): return isinstance(context["row"], Row), context
        if __name__ == "__main__":
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                there, context = pool.apply(is_row, [cloaca.Context({"row": Row()})])
            print(there, isinstance(context["row"], Row))
    """
    assert run(tmp_path, START, source) == "True True\n"
