"""What the pickles of values mention of cloaca: names that stay, so that later versions can read what was stored."""

import json
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from pickletools import genops

import pytest
from tests.support import run

from cloaca import lasting
from cloaca.values.codec import PICKLED, parts_of

SCRIPT = """
import dataclasses, enum, functools, json, sys, typing
import cloaca, msgspec
from cloaca.values.codec import encode

T, MISSING = typing.TypeVar("T"), object()
class own(property): pass
class Plain:
    @own
    def twice(self): return 2
class Empty:
    pass
@dataclasses.dataclass
class Item:
    number: int
class Row(msgspec.Struct):
    number: int
    more: list = []
class Pair(typing.NamedTuple):
    one: int
    other: int
class Planet(enum.Enum):
    EARTH = 1.0, 2.0
    def __init__(self, mass, radius): self.mass = mass
class Broken(Exception):
    def __init__(self, number): self.number = number
def outer():
    def inner(): return late
    if len(sys.argv) > 9: late = 1
    return inner
@functools.cache
def cached(number): return number
@functools.singledispatch
def generic(value): return value
if sys.version_info >= (3, 12): exec("type Json = list[Json] | int")
print(json.dumps({kind: encode(eval(value)).hex() for kind, value in json.loads(sys.argv[1]).items()}))
"""

OF_CLASSES = {"Loader.assign", "Loader.make", "known_class", "make_class"}
OF_FUNCTIONS = {"load_code", "make_function", "make_variables", "tell_function"}

KINDS: dict[str, tuple[str, set[str]]] = {
    "a tuple": ("(1, {'a': (2.5, None)}, Ellipsis)", set()),
    "an instance": ("Empty()", OF_CLASSES),
    "a descriptor of one's own": ("Plain()", OF_CLASSES | OF_FUNCTIONS | {"make_native"}),
    "a dataclass": ("Item(1)", OF_CLASSES | OF_FUNCTIONS),
    "a Struct": ("Row(1)", OF_CLASSES),
    "a named tuple": ("Pair(1, 2)", OF_CLASSES | OF_FUNCTIONS | {"make_native"}),
    "a member of an enum": ("Planet.EARTH", OF_CLASSES - {"make_class"} | OF_FUNCTIONS | {"make_enum"}),
    "an exception": ("Broken(1)", OF_CLASSES | OF_FUNCTIONS | {"make_native", "tell_exception"}),
    "an exception of cloaca": ("cloaca.TaskTimeout('t', 1.0)", {"make_error"}),
    "a context": ("cloaca.Context({'a': 1})", {"context_of"}),
    "a plain object": ("MISSING", {"marker"}),
    "a function": ("outer()", OF_FUNCTIONS | {"Empty"}),
    "a caching function": ("cached", OF_FUNCTIONS | {"make_cached"}),
    "a generic function": ("generic", OF_FUNCTIONS | {"tell_dispatcher"}),
    "a type variable": ("T", {"make_type_parameter"}),
    "what a worker has": ("cloaca.worker_state", {"of_this_process"}),
}
"""What gives a value of each kind, and the names that its pickle mentions."""

if sys.version_info >= (3, 12):
    KINDS["an alias"] = ("Json", {"make_alias", "tell_alias"})

ELSEWHERE = {"TaskTimeout": "cloaca.errors"}
"""Public names, and where they are for good."""

OF_FUNCTIONS_THAT_TRAVEL = {"fresh_class"}
"""What only functions on their way to workers mention."""


@pytest.fixture(scope="module")
def payloads() -> dict[str, bytes]:
    ended = run("-c", SCRIPT, json.dumps({kind: value for kind, (value, _) in KINDS.items()}), cwd=Path.cwd())
    assert ended.returncode == 0, ended.stderr
    return {kind: bytes.fromhex(payload) for kind, payload in json.loads(ended.stdout).items()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_pickle_mentions_names_that_stay(payloads: dict[str, bytes], kind: str) -> None:
    payload = payloads[kind]
    assert payload[0] == PICKLED
    pickled, *_ = parts_of(memoryview(payload))
    found = {(module, name) for module, name in mentioned(bytes(pickled)) if module.startswith("cloaca")}
    public = {(module, name) for module, name in found if ELSEWHERE.get(name) == module}
    assert {module for module, _ in found - public} <= {"cloaca.lasting"}
    assert {name for _, name in found - public} == KINDS[kind][1]


def test_there_are_no_other_names() -> None:
    names = set.union(OF_FUNCTIONS_THAT_TRAVEL, {"make_alias", "tell_alias"}, *(names for _, names in KINDS.values()))
    assert {name.partition(".")[0] for name in names} == set(lasting.HOMES)
    assert all(getattr(lasting, name).__module__ == "cloaca.lasting" for name in lasting.HOMES if name != "Loader")


def mentioned(pickled: bytes) -> Iterator[tuple[str, str]]:
    """The names that pickles, one after the other, mention, each with its module; those in pickles inside, too."""
    file = BytesIO(pickled)
    given: list[str | None] = []
    memo: list[str | None] = []
    while file.tell() < len(pickled):
        for step, value, _ in genops(file):
            match step.name:
                case "MEMOIZE":
                    memo.append(given[-1])
                case "BINGET" | "LONG_BINGET":
                    given.append(memo[int(value or 0)])
                case "STACK_GLOBAL":
                    yield str(given[-2]), str(given[-1])
                    given.append(None)
                case "FRAME":
                    pass
                case _:
                    given.append(value if isinstance(value, str) else None)
            if isinstance(value, bytes) and value.startswith(b"\x80\x05"):
                yield from mentioned(value)
