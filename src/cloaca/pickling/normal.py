"""Code in its normal form, which is the same where the code does the same.

Without the lines and the file where it stands, docstrings, and the names of locals and of the code itself. The steps
are taken one by one, each with the constant or name that it uses: a docstring shifts the places of all other constants.
The compiler joins two steps where they stand on one line, and leaves empty ones where they don't (since Python 3.13):
so none is joined here, empty ones are left out, and jumps lead from step to step.

Beside it stands how the code uses what it names: `helpers.clean(rows)` asks the variable `helpers` for its `clean`,
and `apply(helpers)` may ask it for anything. What stands in names of several variables counts as of all of them.
"""

import __future__

import dis
import inspect
import marshal
import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import takewhile, zip_longest
from opcode import EXTENDED_ARG, opmap, opname
from operator import itemgetter
from types import CodeType
from typing import Any

from msgspec import Struct

from cloaca.pickling.code import codes_in, nothing
from cloaca.pickling.watch import ATOMS

AskedFor = tuple[str, ...]
"""The attributes that a variable is asked for, one of the other. Without any, what is done with it isn't known."""

Instruction = tuple[int, int]
"""An instruction and its argument."""

PLAIN = 2
"""The version of `marshal` whose bytes depend on nothing but the value. The elements of a set it sorts."""

_CONSTANTS = frozenset(opmap[name] for name in ("LOAD_CONST", "KW_NAMES", "RETURN_CONST") if name in opmap)
_SHIFTED = {"LOAD_GLOBAL": 1}
if sys.version_info >= (3, 12):
    _SHIFTED |= {"LOAD_ATTR": 1, "LOAD_SUPER_ATTR": 2}
if sys.version_info >= (3, 15):
    _SHIFTED |= {"IMPORT_NAME": 2}
_NAMES = {code: _SHIFTED.get(opname[code], 0) for code in dis.hasname if code < len(opname)}
"""The instructions that name something, and by how many bits the name's place is shifted there."""


def _known(*names: str) -> frozenset[int]:
    return frozenset(opmap[name] for name in names if name in opmap)


_STORE_NAME, _IMPORT_NAME = opmap["STORE_NAME"], opmap["IMPORT_NAME"]
_LOADED_BY_NAME = _known("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
_LOADED_BY_CELL = _known("LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF")
_LOADED = _known("LOAD_FAST", "LOAD_FAST_CHECK")
_STORED = _known("STORE_FAST", "STORE_DEREF", "STORE_NAME", "STORE_GLOBAL")
_OF_ATTRIBUTES = _known("LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR", "DELETE_ATTR")
_SMALL = opmap.get("LOAD_SMALL_INT", -1)
_GIVEN = _CONSTANTS | {_SMALL, opmap.get("LOAD_COMMON_CONSTANT", -1)}
_TWO = {
    opmap[name]: (opmap[first], opmap[second])
    for name, first, second in (
        ("LOAD_FAST_LOAD_FAST", "LOAD_FAST", "LOAD_FAST"),
        ("LOAD_FAST_BORROW_LOAD_FAST_BORROW", "LOAD_FAST", "LOAD_FAST"),
        ("STORE_FAST_LOAD_FAST", "STORE_FAST", "LOAD_FAST"),
        ("STORE_FAST_STORE_FAST", "STORE_FAST", "STORE_FAST"),
    )
    if name in opmap
}
"""Instructions that are two in one."""

_BORROWED = {opmap[name]: opmap["LOAD_FAST"] for name in ("LOAD_FAST_BORROW",) if name in opmap}
_NOTHING = opmap["NOP"]
_JUMPS = {step: -2 if "BACKWARD" in opname[step] else 2 for step in dis.hasjrel if step < len(opname)}
"""How many bytes one of what they are given leads on."""

_OF_THE_PLACE = frozenset({"__doc__", "__firstlineno__", "__static_attributes__"})
"""What the body of a class is told of where it stands, and of the names in its methods, which these have, too."""

_UNSEEN = ~(__future__.annotations.compiler_flag | getattr(inspect, "CO_HAS_DOCSTRING", 0))
_ASK_FOR_LOCALS = frozenset({"dir", "eval", "exec", "locals", "vars"})
_ASK_FOR_GLOBALS = frozenset({"eval", "exec", "globals"})
_LEAD_TO_LOCALS = frozenset({"_getframe", "currentframe", "f_locals"})
_LEAD_TO_GLOBALS = frozenset({"__globals__", "f_globals"})
"""Builtins, and attributes, by which code may use all variables of a function or a module."""


_IMPORT_BY_TEXT = frozenset({"__import__", "import_module"})


class Import(Struct, frozen=True):
    """A module that code imports itself, at so many dots, and what of it (`None`: the module), under which name."""

    dots: int
    module: str
    item: str | None
    variable: str | None


class Normal(Struct, frozen=True):
    """The `digest` of code in its normal form, with the code inside it.

    `uses`: how it uses variables of its module, by name; `inner`: those of functions, where they may be modules.
    `mentioned`: all names that it mentions, of attributes as well.
    `docstrings`: its own, among other texts, where it reads any.
    """

    digest: bytes
    uses: Mapping[str, tuple[AskedFor, ...]]
    inner: Mapping[str, tuple[AskedFor, ...]]
    imports: tuple[Import, ...]
    mentioned: frozenset[str]
    docstrings: tuple[tuple[str, ...], ...] = ()

    @property
    def asks_for_globals(self) -> bool:
        """Whether it may use all variables of its module."""
        return not (_ASK_FOR_GLOBALS.isdisjoint(self.uses) and _LEAD_TO_GLOBALS.isdisjoint(self.mentioned))

    @property
    def asks_for_modules(self) -> bool:
        """Whether it may name modules in its texts."""
        is_looking_up = any(asked[:1] == ("modules",) for asked in self.uses.get("sys", ()))
        return is_looking_up or not _IMPORT_BY_TEXT.isdisjoint(self.mentioned)


def normal(code: CodeType) -> Normal:
    """The normal form of code."""
    codes = [*codes_in(code)]
    mentioned = frozenset([name for one in codes for name in one.co_names])
    uses: defaultdict[str, set[AskedFor]] = defaultdict(set)
    inner: defaultdict[str, set[AskedFor]] = defaultdict(set)
    imports: list[Import] = []
    for one in codes:
        steps, _ = _taken(one)
        _note_uses(one, steps, _LOADED_BY_NAME, uses)
        _note_uses(one, steps, _LOADED_BY_CELL, inner)
        found = [*_imported(one, steps)] if _IMPORT_NAME in map(itemgetter(0), steps) else ()
        if found:
            _note_uses(one, steps, _LOADED, inner)
            imports += found
    docstrings = tuple(map(_texts, codes)) if any(map(_reads_docstrings, codes)) else ()
    locals_of = nothing if _ASK_FOR_LOCALS.isdisjoint(uses) and _LEAD_TO_LOCALS.isdisjoint(mentioned) else _locals_of
    return Normal(_digest(code, locals_of), _sorted(uses), _sorted(inner), tuple(imports), mentioned, docstrings)


def _sorted(uses: Mapping[str, set[AskedFor]]) -> dict[str, tuple[AskedFor, ...]]:
    return {name: tuple(sorted(uses[name])) for name in sorted(uses)}


@lru_cache(maxsize=256)
def imports_of(code: bytes) -> Mapping[str, Import]:
    """What the code of a module, marshalled, imports by `from ... import ...`, by the variables that it sets."""
    loaded: CodeType = marshal.loads(code)  # noqa: S302 - it was made here
    found = _imported(loaded, _taken(loaded)[0])
    return {one.variable: one for one in found if one.item is not None and one.variable is not None}


def digest_of(form: Any) -> bytes:
    """The digest of what `marshal` knows, 8 bytes."""
    return blake2b(marshal.dumps(form, PLAIN), digest_size=8).digest()


def _reads_docstrings(code: CodeType) -> bool:
    """Whether it asks for any. The body of a class sets one."""
    if "__doc__" not in code.co_names:
        return False
    asked = [step for step, argument in _taken(code)[0] if step in _NAMES and step != _STORE_NAME
             and code.co_names[argument >> _NAMES[step]] == "__doc__"]  # fmt: skip
    return bool(asked)


def _texts(code: CodeType) -> tuple[str, ...]:
    return tuple([constant for constant in code.co_consts if isinstance(constant, str)])


# ---- the form ------------------------------------------------------------------------------------------------------


def _locals_of(code: CodeType) -> tuple[str, ...]:
    """The names of its locals, which count where code may ask for them."""
    return *code.co_varnames, *code.co_cellvars, *code.co_freevars


def _digest(code: CodeType, locals_of: Callable[[CodeType], tuple[str, ...]]) -> bytes:
    """The digest of the code."""
    count = code.co_argcount + code.co_kwonlyargcount
    counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & _UNSEEN
    steps, numbers = _taken(code)
    spelled = [_constant(one, locals_of) for one in _spelled(code, steps)]
    caught = _caught(code.co_exceptiontable, numbers)
    return digest_of((counts, code.co_varnames[:count], locals_of(code), caught, spelled))


def _spelled(code: CodeType, steps: Iterable[Instruction]) -> Iterator[Any]:
    """The steps one after the other, with what they use in place of where that stands in the code."""
    constants, names = code.co_consts, code.co_names
    for step, argument in steps:
        yield step
        if step in _CONSTANTS:
            yield constants[argument]
        elif step in _NAMES:
            shift = _NAMES[step]
            yield names[argument >> shift]
            yield argument & ((1 << shift) - 1)
        else:
            yield argument


def _constant(value: Any, locals_of: Callable[[CodeType], tuple[str, ...]]) -> Any:
    """What `marshal` writes for a constant, the same whoever refers to it."""
    kind = type(value)
    if kind in ATOMS or kind is frozenset:
        return value
    if kind is CodeType:
        return [_digest(value, locals_of)]
    if kind is tuple:
        return tuple([_constant(one, locals_of) for one in value])
    return [value.start, value.stop, value.step]  # a slice, since Python 3.14


def _taken(code: CodeType) -> tuple[list[Instruction], Mapping[int, int]]:
    """The steps, and the number of each by the place in the code where it begins. A jump tells how many to go."""
    steps: list[Instruction] = []
    numbers: dict[int, int] = {}
    jumps: list[tuple[int, int]] = []
    units = [*_units(code.co_code)]
    ends = [*[start for start, _, _ in units[1:]], len(code.co_code)]
    for (start, step, argument), end in zip(units, ends, strict=True):
        numbers[start] = len(steps)
        if step in _JUMPS:
            jumps.append((len(steps), end + argument * _JUMPS[step]))
        if step in _TWO:
            first, second = _TWO[step]
            steps += (first, argument >> 4), (second, argument & 15)
        elif step == _STORE_NAME and code.co_names[argument] in _OF_THE_PLACE and steps[-1][0] in _GIVEN:
            del steps[-1]
        elif step != _NOTHING:
            steps.append((_BORROWED.get(step, step), argument))
    numbers[len(code.co_code)] = len(steps)
    for number, end in jumps:
        steps[number] = steps[number][0], numbers[end] - number
    return steps, numbers


def _units(content: bytes) -> Iterator[tuple[int, int, int]]:
    """As `dis` tells them, in a twentieth of the time. What the interpreter keeps between them reads as zeros."""
    start, wide = 0, 0
    for place in range(0, len(content), 2):
        step, argument = content[place], content[place + 1]
        if step == EXTENDED_ARG:
            wide = (wide | argument) << 8
            continue
        if step:
            yield start, step, wide | argument
        start, wide = place + 2, 0


def _caught(table: bytes, numbers: Mapping[int, int]) -> list[int]:
    """Which steps are watched for exceptions, and where these lead: the table of the code, by the numbers of steps."""
    entries: list[int] = []
    value = 0
    for byte in table:
        value = value << 6 | (byte & 63)
        if not byte & 64:  # the last one of this number
            entries.append(value)
            value = 0
    starts, lengths, targets, depths = (entries[which::4] for which in range(4))
    ends = [start + length for start, length in zip(starts, lengths, strict=True)]
    return [*[numbers[2 * place] for places in (starts, ends, targets) for place in places], *depths]


# ---- how variables are used ------------------------------------------------------------------------------------------


def _note_uses(
    code: CodeType, steps: Sequence[Instruction], loading: Collection[int], uses: defaultdict[str, set[AskedFor]]
) -> None:
    """Note what each variable is asked for that these instructions load."""
    for place, (step, argument) in enumerate(steps):
        if step in loading:
            uses[_variable(code, step, argument)].add(_asked(code, steps, place + 1))


def _variable(code: CodeType, step: int, argument: int) -> str:
    """The variable that a step loads or stores."""
    if step in _NAMES:
        return code.co_names[argument >> _NAMES[step]]
    own = code.co_varnames
    return (*own, *[name for name in code.co_cellvars if name not in own], *code.co_freevars)[argument]


def _asked(code: CodeType, steps: Sequence[Instruction], place: int) -> AskedFor:
    asked = takewhile(lambda step: step[0] in _OF_ATTRIBUTES, steps[place : place + 10])
    return tuple([code.co_names[argument >> _NAMES[step]] for step, argument in asked])


def _imported(code: CodeType, steps: Sequence[Instruction]) -> Iterator[Import]:
    """What import statements import. Before each stand the number of dots, and which items it asks for."""
    for place, (step, argument) in enumerate(steps):
        if step != _IMPORT_NAME:
            continue
        module = code.co_names[argument >> _NAMES[step]]
        dots, items = [_loaded(code, one) for one in steps[place - 2 : place]]
        stored = [_variable(code, *one) for one in steps[place + 1 :] if one[0] in _STORED]
        if not items:
            yield Import(dots, module, None, stored[0] if stored else None)
        for item, variable in zip_longest(items or (), stored[: len(items or ())]):
            yield Import(dots, module, item, variable)


def _loaded(code: CodeType, step: Instruction) -> Any:
    kind, argument = step
    if kind == _SMALL:
        return argument
    return code.co_consts[argument] if kind in _CONSTANTS else None  # `None` is a common one, since Python 3.15
