"""What objects are pickled as where their own way fails elsewhere, or loses something.

Caching wrappers, dispatchers and new types are pickled by name, which leads to the program's own `__main__`, or hold
locks and weak references. Exceptions are rebuilt by a call of their class, whose `__init__` may take other arguments
than `args`. Cycles end in the pickler's memo: a wrapper that its own function mentions is made on the way there, and
the outer one is dropped when it loads.
"""

import builtins
import dataclasses
import functools
import os
import pickle
import sys
import typing
import weakref
from collections.abc import Callable
from enum import Enum, Flag
from operator import getitem
from types import FunctionType
from typing import Any

import msgspec

from cloaca.lasting import lasting
from cloaca.pickling.bare import is_in_python, make_native
from cloaca.pickling.identity import identity_of, known_as, tracked
from cloaca.pickling.lazy import LAZY
from cloaca.pickling.markers import reduce_sentinel
from cloaca.pickling.modules import home_of

OF_LRU_CACHE = frozenset({"cache_parameters"})
OF_DISPATCHER = frozenset({"register", "dispatch", "registry", "_clear_cache", "__wrapped__"})
OF_DESCRIPTOR = frozenset({*functools.WRAPPER_ASSIGNMENTS, "__wrapped__", "lock", "_method_cache"}) - {"__doc__"}
"""Attributes that a descriptor takes from its function, and those that belong to its process."""
OF_TYPE_PARAMETER = ("bound", "constraints", "covariant", "contravariant", "infer_variance", "default")
NAMING = ("__module__", "__name__", "__qualname__", "__doc__")
OWN_WAYS = ("__reduce__", "__reduce_ex__", "__getnewargs__", "__getnewargs_ex__", "__getstate__", "__setstate__")


def importable(value: object, name: str) -> str:
    """The name, for a value that is pickled by its name.

    Raises:
        PicklingError: no module that other processes can import has it.
    """
    if home_of(value, name) is not None:
        return name
    raise pickle.PicklingError(
        f"it is pickled by its name {name!r}, which no module that workers can import has: define it in such a module"
    )


def _without(names: frozenset[str], value: object) -> dict[str, Any]:
    return {name: attribute for name, attribute in vars(value).items() if name not in names}


# ---- functools and descriptors --------------------------------------------------------------------------------------


def _reduce_cached(wrapper: Any) -> Any:
    parameters = wrapper.cache_parameters()
    return (
        make_cached,
        (wrapper.__wrapped__, parameters["maxsize"], parameters["typed"]),
        _without(OF_LRU_CACHE, wrapper),
    )


@lasting
def make_cached(function: Callable[..., Any], maxsize: int | None, typed: bool) -> Any:  # noqa: FBT001 - as in the blob
    return functools.lru_cache(maxsize, typed)(function)


DESCRIPTORS: dict[type, tuple[str, ...]] = {
    property: ("fget", "fset", "fdel", "__doc__"),
    staticmethod: ("__func__",),
    classmethod: ("__func__",),
    functools.cached_property: ("func",),
    functools.singledispatchmethod: ("func",),
}
"""Which attributes make a descriptor, by its type."""


def reduce_descriptor(value: Any) -> Any:
    """Also for classes that inherit from it: their own `__init__` may take other arguments, and isn't called."""
    base, made_of = parts_of_descriptor(value)
    return make_native, (type(value), base, *made_of.values()), _state_of_descriptor(value)


def parts_of_descriptor(value: object) -> tuple[type, dict[str, Any]]:
    """The type behind a descriptor, and what that makes it of."""
    base = next(base for base in DESCRIPTORS if isinstance(value, base))
    return base, {name: getattr(value, name) for name in DESCRIPTORS[base]}


def _state_of_descriptor(value: object) -> Any:
    state: Any = value.__getstate__()
    plain, slotted = state if isinstance(state, tuple) else (state, None)
    kept = {name: one for name, one in (plain or {}).items() if name not in OF_DESCRIPTOR}
    return (kept, slotted) if slotted else kept or None


def _reduce_partial_method(value: "functools.partialmethod[Any]") -> Any:
    """It can't be made without its function since Python 3.15."""
    return functools.partial(type(value), value.func, *value.args, **value.keywords), ()


# ---- typing --------------------------------------------------------------------------------------------------------


def _reduce_new_type(value: Any) -> Any:
    return typing.NewType, (value.__name__, value.__supertype__), vars(value)


def _reduce_constraints(meta: msgspec.Meta) -> Any:
    fields = {name: value for name, value in meta.__rich_repr__() if value is not None}
    return functools.partial(msgspec.Meta, **fields), ()


def _reduce_made_default(field: Any) -> Any:
    return functools.partial(msgspec.field, default_factory=field.default_factory), ()


def _reduce_type_parameter(value: Any) -> Any:
    """As cloudpickle does type variables: those of the program are told apart by an identity, too."""
    given = {name: told for name in OF_TYPE_PARAMETER if (told := getattr(value, f"__{name}__", None))}
    return make_type_parameter, (type(value), value.__name__, given, identity_of(value))


@lasting
def make_type_parameter(kind: Any, name: str, given: dict[str, Any], identity: str) -> Any:
    known = known_as(identity)
    if known is not None:
        return known
    constraints = given.pop("constraints", ())
    return tracked(identity, kind(name, *constraints, **given))


def _reduce_weak(mapping: Any) -> Any:
    return type(mapping), (dict(mapping),)


def _reduce_forward_reference(value: Any) -> Any:
    """Without what it was found to mean, which may lead to itself."""
    how = {name: getattr(value, f"__forward_{name}__") for name in ("is_argument", "module", "is_class")}
    return functools.partial(typing.ForwardRef, value.__forward_arg__, **how), ()


def _reduce_type_alias(value: Any) -> Any:
    """As a `type` statement, which is told afterwards what it stands for: that may lead to the alias itself.

    One that has parameters is made of what it stands for.
    """
    parameters, meaning = value.__type_params__, value.__value__
    held: list[Any] = [meaning] if parameters else []
    made_of = value.__name__, value.__module__, held, parameters
    return (make_alias, made_of) if parameters else (make_alias, made_of, (held, meaning), None, None, tell_alias)


@lasting
def make_alias(name: str, module: str, held: list[Any], parameters: tuple[Any, ...]) -> Any:
    names: dict[str, Any] = {"__name__": module, "__held__": held, "__parameters__": parameters, "__typing__": typing}
    made = f"{name} = __typing__.TypeAliasType({name!r}, __held__[0], type_params=__parameters__)"
    exec(made if parameters else f"type {name} = __held__[0]", names)  # noqa: S102 - of a name, in the alias's module
    return names[name]


@lasting
def tell_alias(_: object, told: tuple[list[Any], Any]) -> None:
    held, meaning = told
    held.append(meaning)


def _reduce_lazy_import(value: Any) -> Any:
    return getitem, ((LAZY.resolve(value),), 0)


def _by_name(name: str) -> Callable[[object], str]:
    return lambda _: name


def _by_its_name_or(reduce: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """By its name what stands under it in a module that other processes can import."""

    def reduced(value: Any) -> Any:
        name = getattr(value, "__qualname__", value.__name__)
        return name if home_of(value, name) is not None else reduce(value)

    return reduced


BY_TYPE: dict[type, Callable[[Any], Any]] = {
    **{type(getattr(dataclasses, name)): _by_name(name) for name in ("MISSING", "KW_ONLY", "_HAS_DEFAULT_FACTORY")},
    msgspec.Meta: _reduce_constraints,
    type(msgspec.field()): _reduce_made_default,
    **dict.fromkeys((typing.TypeVar, typing.ParamSpec, typing.TypeVarTuple), _by_its_name_or(_reduce_type_parameter)),
    typing.ForwardRef: _reduce_forward_reference,
    functools._lru_cache_wrapper: _by_its_name_or(_reduce_cached),
    **dict.fromkeys(DESCRIPTORS, reduce_descriptor),
    functools.partialmethod: _reduce_partial_method,
    typing.NewType: _by_its_name_or(_reduce_new_type),
    weakref.WeakKeyDictionary: _reduce_weak,
    weakref.WeakValueDictionary: _reduce_weak,
}


_GENERATORS = {"random": "_inst", "numpy.random.mtrand": "_rand"}
"""Under which name a module keeps the generator that its functions are methods of."""


def is_shared(value: object) -> bool:
    """Whether it is the generator that `from random import randint` draws from: a copy would be of no use."""
    module = type(value).__module__
    return module in _GENERATORS and value is getattr(sys.modules.get(module), _GENERATORS[module], None)


def reduce_shared(generator: object) -> Any:
    """As that of the process where it arrives."""
    module = type(generator).__module__
    return getattr, (sys.modules[module], _GENERATORS[module])


def _reduce_environment(variables: Any) -> Any:
    """A function that captured `os.environ` means that of the process that it runs in; as a value it is a snapshot."""
    return (getattr, (os, "environ")) if variables is os.environ else variables.__reduce_ex__(5)


if sys.version_info >= (3, 12):
    BY_TYPE[typing.TypeAliasType] = _by_its_name_or(_reduce_type_alias)
if "sentinel" in vars(builtins):  # since Python 3.15
    BY_TYPE[vars(builtins)["sentinel"]] = _by_its_name_or(reduce_sentinel)
if LAZY is not None:
    BY_TYPE[LAZY] = _reduce_lazy_import

FOR_FUNCTIONS = {**BY_TYPE, type(os.environ): _reduce_environment}

_dispatching = typing.cast("FunctionType", functools.singledispatch(len)).__code__


def is_dispatcher(function: FunctionType) -> bool:
    """Whether `functools.singledispatch` made the function."""
    return function.__code__ is _dispatching


def reduce_dispatcher(function: Any) -> Any:
    naming = {name: getattr(function, name) for name in NAMING}
    state = {"registry": dict(function.registry), **_without(OF_DISPATCHER, function), **naming}
    return functools.singledispatch, (function.__wrapped__,), state, None, None, tell_dispatcher


@lasting
def tell_dispatcher(dispatcher: Any, state: dict[str, Any]) -> None:
    for cls, implementation in state.pop("registry").items():
        dispatcher.register(cls, implementation)
    for name, value in state.items():
        setattr(dispatcher, name, value)


# ---- enums ---------------------------------------------------------------------------------------------------------

_BY_VALUE: tuple[Any, ...] = (Enum.__reduce_ex__, Flag.__reduce_ex__)


def reduce_member(member: Any) -> Any:
    """By its name: whether a value is found again is up to its `__eq__`. What has no name is made of its value."""
    kind = type(member)
    is_found = kind.__reduce_ex__ in _BY_VALUE and kind.__members__.get(member._name_) is member
    return (getitem, (kind, member._name_)) if is_found else member.__reduce_ex__(5)


# ---- exceptions ----------------------------------------------------------------------------------------------------


def reduce_exception(error: BaseException) -> Any:
    """Rebuilds without a call of an `__init__` or `__new__` that is written in Python."""
    kind = type(error)
    reduced: Any = error.__reduce_ex__(5)
    if any(is_in_python(kind, name) for name in OWN_WAYS) or reduced[0] is not kind:
        return reduced
    _, arguments, *rest = reduced
    named: dict[str, Any] = {"name": error.name} if isinstance(error, AttributeError | NameError) and error.name else {}
    state = (rest[0] if rest else None) or {}
    if isinstance(error, BaseExceptionGroup) and is_in_python(kind, "__new__"):  # given its `args`
        arguments, named = (error.message, list(error.exceptions)), {"args": error.args}
    base: Any = kind
    while is_in_python(base, "__init__") or is_in_python(base, "__new__"):
        base = base.__base__
    return make_native, (kind, base, *arguments), state | named or None, None, None, tell_exception


@lasting
def tell_exception(error: BaseException, state: dict[str, Any]) -> None:
    for name, value in state.items():
        BaseException.__setattr__(error, name, value)  # past the `__setattr__` of a frozen dataclass
