"""Definitions of the script's classes are kept, and are always those of the classes as they are now."""

import sys
from types import ModuleType
from typing import Any

import pytest

from cloaca.pickling import classes, kept, watch
from cloaca.values.codec import encode

SCRIPT = """
from __future__ import annotations
import collections, dataclasses, enum, functools, typing
from dataclasses import dataclass, field

RATE = 2
TABLE = {"a": [1, 2]}
MISSING = object()

def helper(number): return number * RATE

class Base:
    shared = [1]
    def area(self): return helper(self.side)

class Rule:
    def __init__(self): self.limit, self.names = 1, {"x": 1}

@dataclass
class Item(Base):
    side: int = 1
    tags: list[Other] = field(default_factory=list)
    kind: typing.ClassVar[str] = "k"
    rule: typing.ClassVar = Rule()
    def double(self, by=2, *, more=MISSING): return self.side * by
    def looked_up(self): return TABLE["a"]
    @property
    def perimeter(self): return self.side * 4
    @functools.cached_property
    def slow(self): return 1
    @classmethod
    def made(cls): return cls(1)
    @staticmethod
    def plain(): return None

class Other: pass

class Color(enum.Enum):
    RED = 1
    BLUE = "b"
    def told(self): return RATE

class Pair(typing.NamedTuple):
    one: int
    other: Other = None

VALUES = {"Item": Item(3), "Color": Color.RED, "Pair": Pair(1), "Rule": Rule()}
"""

CHANGES = {
    "nothing": "pass",
    "a method": "Item.double = lambda self: 7",
    "a new method": "Item.third = lambda self: 7",
    "a removed attribute": "del Item.kind",
    "a renamed one": "Item.kind_of = Item.kind; del Item.kind",
    "a renamed method at the end": "Item.last = helper; encoded(); del Item.last; Item.latter = helper",
    "the code of a method": "Item.double.__code__ = (lambda self, by, *, more: 7).__code__",
    "a default": "Item.double.__defaults__ = (3,)",
    "a default by name": "Item.double.__kwdefaults__['more'] = 3",
    "an attribute of a method": "Item.double.label = 1",
    "a method of the base": "Base.area = lambda self: 7",
    "a list of the base": "Base.shared.append(2)",
    "a base": "Base.more = 1",
    "a variable that a method uses": "RATE = 3",
    "a function that a method uses": "def helper(number): return 1",
    "what is in a table that a method uses": "TABLE['a'].append(3)",
    "another table": "TABLE['b'] = 1",
    "a marker's name": "MISSING = None",
    "an attribute of a constant": "Item.rule.limit = 2",
    "a renamed attribute of a constant": "Item.rule.bound = Item.rule.__dict__.pop('limit')",
    "what is in a constant": "Item.rule.names['y'] = 1",
    "a constant's class": "Rule.label = 1",
    "what an annotation means": "class Other: more = 1",
    "what was meant by an annotation": "Other.more = 1",
    "an annotation": "Item.__annotations__['side'] = 'float'",
    "a new annotation": "Item.__annotations__['more'] = 'int'",
    "a field": "Item.__dataclass_fields__['side'].default = 5",
    "a property": "Item.perimeter = property(lambda self: 1)",
    "a cached property": "Item.slow.attrname = 'other'",
    "the name": "Item.__name__ = 'Thing'",
    "the text": "Item.__doc__ = 'Some.'",
    "a method of an enum": "Color.told = lambda self: 1",
    "an attribute of a member": "Color.RED.weight = 2",
    "a default of a named tuple": "Pair.__new__.__defaults__ = (None, 2)",
    "the modules": "import sys; sys.modules['kept_probe'] = sys",
}


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What stands in a script."""
    main = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.setattr(kept, "_kept", {})
    monkeypatch.setattr(kept, "_changing", type(kept._changing)())
    monkeypatch.delitem(sys.modules, "kept_probe", raising=False)
    exec(SCRIPT, vars(main))
    return vars(main)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[type]:
    """The classes of which definitions were pickled."""
    found: list[type] = []
    define = classes._define

    def noting(cls: type) -> Any:
        found.append(cls)
        return define(cls)

    monkeypatch.setattr(classes, "_define", noting)
    return found


def encoded_anew(value: object, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The value's bytes, where nothing is kept."""
    with monkeypatch.context() as patch:
        patch.setattr(kept, "definitions_of", lambda cls, define: define(cls))
        return encode(value)


@pytest.mark.parametrize("name", ["Item", "Color", "Pair", "Rule"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_class_travels_as_it_is_now(
    script: dict[str, Any], change: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = script["VALUES"][name]
    for _ in range(3):  # looking at a class for the first time may change it
        encode(value)
    script["encoded"] = lambda: encode(value)
    exec(CHANGES[change], script)
    assert encode(value) == encoded_anew(value, monkeypatch)
    assert encode(value) == encoded_anew(value, monkeypatch)


@pytest.mark.parametrize("name", ["Item", "Color", "Pair", "Rule"])
def test_what_is_unchanged_is_not_pickled_again(script: dict[str, Any], name: str, made: list[type]) -> None:
    value = script["VALUES"][name]
    for _ in range(3):
        encode(value)
    made.clear()
    assert len({encode(value) for _ in range(10)}) == 1
    assert made == []


@pytest.mark.parametrize(
    ("source", "times"),
    [
        ("import random\nclass Item:\n    draw = random.Random(5)", 1),
        ("import numpy\nclass Item:\n    table = numpy.arange(3)", 1),
        ("class Item:\n    count = 0", kept.MOST_MISSES + 2),
    ],
)
def test_what_may_change_unseen_is_looked_at_no_more(
    script: dict[str, Any], source: str, times: int, made: list[type], monkeypatch: pytest.MonkeyPatch
) -> None:
    exec(source, script)
    looked: list[object] = []

    def looking(cls: type, seen: watch.Watch) -> bool:
        looked.append(cls)
        return watch.is_watched(cls, seen)

    monkeypatch.setattr(kept, "is_watched", looking)
    value = script["Item"]()
    for count in range(1, 41):
        encode(value)
        script["Item"].count = count
    assert len(made) == 40
    assert len(looked) <= times


def test_only_so_many_are_kept(script: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MOST", 2)
    for value in script["VALUES"].values():
        encode(value)
        assert 0 < len(kept._kept) <= 2


def test_classes_that_functions_make_are_not_kept_alive() -> None:
    class Local:
        pass

    encode(Local())
    assert not any(cls.__name__ == "Local" for cls in kept._kept)
