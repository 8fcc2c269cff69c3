"""Templates: what functions of one kind have in common, sent once, and how a function is made of it.

A template is pickled in two parts. Its constants can't change, so the functions of a process share them: code, strings,
and what travels by reference. Its steps make one function out of them, as if it had been sent whole: with globals,
helper functions and closure cells of its own. In the place of what is different in each function they have holes.

The steps are a pickle that names constants and holes as persistent objects: those by their index, these from the end.
So recursion, sharing and classes work as in any other pickle. Functions are made by fewer steps than cloudpickle takes,
and only told what they don't know from their code.
"""

import builtins
import pickle
from collections.abc import Callable, Hashable, Mapping, Sequence
from io import BytesIO
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, ModuleType
from typing import Any, TypeAlias

from cloudpickle import cloudpickle

from cloaca.pickling.classes import Pickler
from cloaca.pickling.definitions import fresh_class
from cloaca.pickling.modules import by_reference
from cloaca.pickling.reductions import FOR_FUNCTIONS

Template: TypeAlias = tuple[tuple[Any, ...], bytes]
"""Constants and steps, as they were loaded."""

_MAKE_AND_TELL = 2
_EMPTY = cloudpickle._empty_cell_value


class Hole:
    """Stands for what is different in each function; `place` counts from the end."""

    def __init__(self, place: int) -> None:
        self.place = place


# ---- reading -------------------------------------------------------------------------------------------------------


def fill(template: Template, contents: bytes) -> Callable[..., Any]:
    """The function of a template with these contents, which are pickled as a tuple."""
    constants, steps = template
    function: Callable[..., Any] = _Filler(steps, constants + pickle.loads(contents)).load()
    return function


class _Filler(pickle.Unpickler):
    def __init__(self, steps: bytes, parts: tuple[Any, ...]) -> None:
        super().__init__(BytesIO(steps))
        self.persistent_load = parts.__getitem__  # type: ignore[method-assign]  # a method in Python takes twice as long


def make(code: CodeType, namespace: dict[str, Any], cells: int) -> FunctionType:
    """A function that is still to be told what it holds."""
    return FunctionType(code, namespace, None, None, tuple([CellType() for _ in range(cells)]) or None)


def tell(function: FunctionType, state: tuple[Any, ...]) -> None:
    """Give a function its globals, the contents of its cells, and its attributes. The rest only had to be loaded."""
    names, contents, slots, attributes, _ = state
    function.__globals__.update(names)
    function.__globals__["__builtins__"] = vars(builtins)
    for cell, content in zip(function.__closure__ or (), contents, strict=True):
        if content is not _EMPTY:
            cell.cell_contents = content
    for name, value in slots.items():
        setattr(function, name, value)
    if attributes:
        function.__dict__.update(attributes)


# ---- writing -------------------------------------------------------------------------------------------------------


class SelfReferenceError(Exception):
    """A function leads to itself, or to another one of its kind: they can't have a template."""


def write(function: FunctionType, contents: Sequence[object]) -> tuple[bytes, frozenset[int]]:
    """The template of a function, and the identities of the objects in it.

    `contents` is what the function holds, as in `mentions.held`, with holes in it.

    Raises whatever pickling it raises; `SelfReferenceError` where it can't have one.
    """
    with BytesIO() as steps, BytesIO() as file:
        pickler = _TemplatePickler(steps, function, contents)
        pickler.dump(function)
        Pickler(file).dump((tuple(pickler.constants), steps.getvalue()))
        return file.getvalue(), frozenset(pickler.memo.copy())


class _TemplatePickler(Pickler):
    """Writes the steps for one function, and collects the constants."""

    resolve = staticmethod(fresh_class)
    by_type = FOR_FUNCTIONS
    is_for_code = True

    def __init__(self, file: Any, function: FunctionType, contents: Sequence[object]) -> None:
        super().__init__(file)
        self.constants: list[object] = []
        self._places: dict[Hashable, int] = {}
        self._function = function
        self._contents = contents
        self._meetings = 0

    def persistent_id(self, obj: object) -> int | None:
        if type(obj) is Hole:
            return obj.place
        if type(obj) is FunctionType and obj.__code__ is self._function.__code__:
            self._meet(obj)
            return None
        return self._place_of(obj) if is_constant(obj) else None

    def _meet(self, function: FunctionType) -> None:
        """It is met twice: to be made, and to be told what it holds."""
        self._meetings += 1
        if function is not self._function or self._meetings > _MAKE_AND_TELL:
            raise SelfReferenceError

    def _place_of(self, constant: object) -> int:
        """Equal texts count as one, whether they are one object or not: the bytes mustn't depend on that."""
        kind = type(constant)
        key = (kind, constant if kind in _TEXTS else id(constant))
        place = self._places.setdefault(key, len(self.constants))
        if place == len(self.constants):
            self.constants.append(constant)
        return place

    def _dynamic_function_reduce(self, func: FunctionType) -> Any:
        reduced = super()._dynamic_function_reduce(func)
        if reduced[0] is not cloudpickle._make_function:
            return reduced
        code, namespace, *_ = reduced[1]
        attributes, slots = reduced[2]
        names, modules = slots.pop("__globals__"), slots.pop("_cloudpickle_submodules")
        cells = list(map(cloudpickle._get_cell_contents, slots.pop("__closure__") or ()))
        if func is self._function:
            cells = self._with_holes(slots, len(cells))
        bare = make(code, namespace, len(cells))
        news = {name: value for name, value in slots.items() if _is_news(getattr(bare, name), value)}
        return make, (code, namespace, len(cells)), (names, cells, news, attributes, modules), None, None, tell

    def _with_holes(self, slots: dict[str, Any], cells: int) -> list[object]:
        """Put the contents where they belong: into the defaults, and into the list of cells' contents."""
        contents = iter(self._contents)
        defaults, keywords = slots["__defaults__"], slots["__kwdefaults__"]
        if defaults:
            slots["__defaults__"] = tuple([next(contents) for _ in defaults])
        if keywords:
            slots["__kwdefaults__"] = {name: next(contents) for name in keywords}
        return [next(contents) for _ in range(cells)]


_TEXTS = frozenset({str, bytes})


def is_constant(value: object) -> bool:
    """Whether functions of a process may share it: it can't change, or travels by reference anyway."""
    kind = type(value)
    if kind in _TEXTS or kind is CodeType:
        return True
    if isinstance(value, BuiltinFunctionType):
        return type(value.__self__) is ModuleType
    return (kind is FunctionType or kind is ModuleType or issubclass(kind, type)) and by_reference(value)


def _is_news(given: object, value: object) -> bool:
    """Whether an attribute must be set, where a bare function has `given` for it."""
    if value is None or type(value) is str:
        return given != value
    return not isinstance(value, Mapping) or bool(value)
