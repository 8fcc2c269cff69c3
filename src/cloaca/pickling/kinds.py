"""Kinds of functions: those that a program makes of one piece of code, again and again.

    for region in regions:
        define(region)  # a function that closes over the region; or a lambda with `region=region`

Functions of a kind differ in small atoms only, or short tuples, lists and the like of them, which they hold in closure
cells or as defaults. What they have in common is pickled once, as a template, and of each function just its atoms.
Whatever is of another make travels whole: functions with attributes, with objects of their own, such that lead to their
own kind, or hold a list that their globals hold as well.

Kinds are looked at once in each round of the functions of a workflow. Where nothing that a template took along may have
changed, it stands; otherwise it is written again, and is a new one if that gives other bytes. That a function is the
same as before then shows by the identity of what it holds, and of what is in there.

Roads not taken: to share globals among the functions of a worker as well. It would save half of the memory, but what
one task leaves in them another one would find, depending on which worker it runs.
"""

import gc
import pickle
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain, count
from operator import attrgetter, is_
from sys import getsizeof
from types import FunctionType, GenericAlias, UnionType

from msgspec import Struct

from cloaca.pickling.hints import are_readable
from cloaca.pickling.mentions import held, strings_in
from cloaca.pickling.templates import Hole, write
from cloaca.pickling.watch import ATOMS, Watch, watch

SMALL = 1000
"""How many bytes of memory an atom takes at most of which each function has its own."""

SHORT = 32
"""How many of them a tuple has at most."""

CHANGEABLE = frozenset({list, set, dict})

_TELLING = frozenset({str, tuple, list})

VARIES = object()
"""A mark in the place of such an atom."""

_attributes = attrgetter("__code__", "__name__", "__qualname__", "__module__", "__doc__")


class Kind(Struct, frozen=True):
    """The functions of one template, which is published as `number`.

    `held` is what they hold, place by place, and `strings` are those of the code, and of each place; `reads`: the
    strings of a function none of whose own atoms is one. `inside` are the identities of what is in the template. The
    rest is what they have in common otherwise.
    """

    number: int
    blob: bytes
    watch: Watch | None
    held: tuple[object, ...]
    strings: tuple[tuple[str, ...], ...]
    reads: tuple[str, ...]
    attributes: tuple[object, ...]
    layout: tuple[object, ...]
    namespace: dict[str, object]
    annotations: dict[str, object]
    inside: frozenset[int]

    def is_like(self, function: FunctionType) -> bool:
        """Whether it may be of this kind, but for what it holds."""
        return (
            function.__globals__ is self.namespace
            and _attributes(function) == self.attributes
            and not function.__dict__
            and _layout(function) == self.layout
            and are_readable(function)
            and _are_annotated_alike(function.__annotations__, self.annotations)
        )

    def may_hold(self, mine: Sequence[object]) -> bool:
        """Whether a function of this kind may hold that."""
        is_fitting = len(mine) == len(self.held) and all(map(_may_be, mine, self.held))
        own = self._own(mine) if is_fitting else ()
        return is_fitting and self.inside.isdisjoint([id(part) for part in own if type(part) in CHANGEABLE])

    def contents(self, mine: Sequence[object]) -> bytes:
        """What fills the template for a function of this kind that holds `mine`."""
        return pickle.dumps(self._own(mine), 5)

    def reads_of(self, mine: Sequence[object]) -> tuple[str, ...]:
        """What `functions.reads` finds in that function."""
        if _TELLING.isdisjoint(map(type, self._own(mine))):
            return self.reads
        code, *places = self.strings
        parts = zip(mine, self.held, places, strict=True)
        return _each_once([code, *(_strings(part) if common is VARIES else found for part, common, found in parts)])

    def _own(self, mine: Sequence[object]) -> tuple[object, ...]:
        return tuple([part for part, common in zip(mine, self.held, strict=True) if common is VARIES])


class Kin(Struct):
    """Functions of one code that hold the same objects, but for small atoms. `kind` is what they were of in `round`."""

    kind: Kind | None = None
    round: int = 0


class Kinds:
    """The kinds among the functions of one workflow. `numbers` gives templates theirs."""

    def __init__(self, numbers: Iterator[int]) -> None:
        self._numbers = numbers
        self._round = 0
        self._met: set[tuple[int, ...]] = set()
        self._kin: dict[tuple[int, ...], Kin] = {}

    @property
    def current(self) -> list[Kind]:
        """The kinds that were looked at in this round."""
        return [kin.kind for kin in self._kin.values() if kin.kind is not None and kin.round == self._round]

    def begin(self) -> None:
        """Begin a round: anything may have changed since the last one."""
        self._round += 1

    def kin_of(self, function: FunctionType) -> Kin | None:
        """The kin of a function that travels by value; the first one of them has none yet."""
        family = (id(function.__code__), *[id(part) for part in held(function) if not varies(part)])
        if family in self._met:
            return self._kin.setdefault(family, Kin())
        self._met.add(family)
        return None

    def kind_of(self, kin: Kin, function: FunctionType) -> Kind | None:
        """The kind of its kin, as far as there is one and the function is like it; what it holds may still differ."""
        if kin.round != self._round:
            kin.round, kin.kind = self._round, self._renewed(kin.kind, function)
        return kin.kind if kin.kind is not None and kin.kind.is_like(function) else None

    def _renewed(self, kind: Kind | None, function: FunctionType) -> Kind | None:
        still = kind is not None and kind.watch is not None and kind.watch.unchanged()
        return kind if still else self._made_of(function, kind)

    def _made_of(self, function: FunctionType, before: Kind | None) -> Kind | None:
        """The kind of a function; under the number that it has if nothing about its template has changed."""
        is_whole = all(map(gc.get_referents, function.__closure__ or ()))
        if function.__dict__ or not is_whole or not are_readable(function):
            return None
        now = watch(function, varies)
        common = tuple([VARIES if varies(part) else part for part in held(function)])
        try:
            blob, inside = write(function, _with_holes(common))
        except Exception:  # noqa: BLE001 - it travels whole; if that fails too, there is more to say about why
            return None
        is_same = before is not None and before.blob == blob and are_same(before.held, common)
        strings = (_strings(function.__code__), *(() if part is VARIES else _strings(part) for part in common))
        return Kind(
            number=before.number if before is not None and is_same else next(self._numbers),
            blob=blob,
            watch=now,
            held=common,
            strings=strings,
            reads=_each_once(strings),
            attributes=_attributes(function),
            layout=_layout(function),
            namespace=function.__globals__,
            annotations=dict(function.__annotations__),
            inside=inside,
        )


def varies(part: object) -> bool:
    """Whether each function of a kind may have its own."""
    kind = type(part)
    if kind is tuple or kind in CHANGEABLE:
        items = [part] if not isinstance(part, Collection) else inner(part)
        return len(items) <= SHORT and all(map(_is_small_atom, items))
    return _is_small_atom(part)


def inner(part: Collection[object]) -> list[object]:
    """What is in a tuple, list, set or dict, in order."""
    return [*part, *part.values()] if isinstance(part, dict) else list(part)


def seen(mine: Sequence[object]) -> tuple[object, ...]:
    """What a function holds, and what is in there now, where that may change."""
    if CHANGEABLE.isdisjoint(map(type, mine)):
        return tuple(mine)
    return (
        *mine,
        *[item for part in mine if isinstance(part, list | set | dict) for item in (len(part), *inner(part))],
    )


def _is_small_atom(part: object) -> bool:
    return type(part) in ATOMS and getsizeof(part) <= SMALL


def are_same(left: Sequence[object], right: Sequence[object]) -> bool:
    """Whether they consist of the very same objects."""
    return len(left) == len(right) and all(map(is_, left, right))


def _may_be(part: object, common: object) -> bool:
    return part is common or (common is VARIES and varies(part))


def _layout(function: FunctionType) -> tuple[object, ...]:
    """How what a function holds is spread over its defaults and cells."""
    return len(function.__defaults__ or ()), *(function.__kwdefaults__ or ())


def _are_annotated_alike(left: dict[str, object], right: dict[str, object]) -> bool:
    if not left:
        return not right
    return left.keys() == right.keys() and all(map(_is_same_type, left.values(), right.values()))


def _is_same_type(left: object, right: object) -> bool:
    """Whether two annotations are the same, also where a type like `list[int]` is made anew each time it is named."""
    return left is right or (type(left) is type(right) and isinstance(left, GenericAlias | UnionType) and left == right)


def _with_holes(common: Sequence[object]) -> list[object]:
    places = count(-sum(part is VARIES for part in common))
    return [Hole(next(places)) if part is VARIES else part for part in common]


def _strings(value: object) -> tuple[str, ...]:
    return tuple(strings_in(value))


def _each_once(strings: Iterable[Iterable[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(chain.from_iterable(strings)))
