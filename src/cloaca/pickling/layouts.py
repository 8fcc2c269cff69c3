"""How a class is made anew: bare, without a call of what the program itself has written for the making of classes.

A metaclass's `__new__` and `__init__`, and `__init_subclass__`, did their work in the program, and what they left is
among the attributes, which are set afterwards. Where the layout is fixed from the start, what fixes it is given when
the class is made: `__slots__`, the fields and options of a msgspec Struct, the members of an enum.
"""

import enum
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, TypeAlias

import msgspec
from cloudpickle import cloudpickle

from cloaca.pickling.enums import enum_arguments, make_enum
from cloaca.pickling.hints import meant, written
from cloaca.pickling.identity import identity_of, tracked
from cloaca.pickling.modules import by_reference

NOTICED = ("__post_init__",)
"""What msgspec looks for when a class is made, and not again."""

_FACTORY: Any = type(
    msgspec.defstruct("Probe", [("field", list, msgspec.field(default_factory=list))]).__struct_defaults__[0]
)

HOOK = "__init_subclass__"

Bare: TypeAlias = tuple[Any, str, tuple[Any, ...], dict[str, Any]]


OF_THIS_PROCESS = frozenset(
    {"__msgspec_cache__", "__annotate__", "__annotate_func__", "__annotations__", "__annotations_cache__"}
)
"""What msgspec has found out of a class, and how its annotations are evaluated: with the names that are here."""


def layout(
    cls: type, annotations: Callable[[type], dict[str, Any]] = meant
) -> tuple[Callable[..., type], tuple[Any, ...], dict[str, Any]]:
    """What makes an empty class like this one, its arguments, and the attributes to set on it afterwards.

    `annotations` says which it is to have.
    """
    reduced: tuple[Any, ...] = cloudpickle._dynamic_class_reduce(cls)
    maker, arguments, (everything, _), *_ = reduced
    attributes = {name: value for name, value in everything.items() if name not in OF_THIS_PROCESS}
    if own := annotations(cls):
        attributes["__annotations__"] = own
    if issubclass(cls, enum.Enum):
        of_enum = enum_arguments(cls)
        if of_enum is None:
            return maker, arguments, attributes
        return make_enum, of_enum, {name: one for name, one in attributes.items() if name not in cls.__members__}
    if issubclass(cls, msgspec.Struct):
        return make_struct, (_bare(cls), *_struct_arguments(cls)), attributes
    namespace = arguments[3] | {name: vars(cls)[name] for name in ("__slots__",) if name in vars(cls)}
    return make_class, (_bare(cls), namespace, {}, identity_of(cls)), attributes


def subscripted(cls: type) -> tuple[type, Any] | None:
    """The generic model and the types that a model of pydantic was made of: each process keeps its own `Box[int]`."""
    metadata = vars(cls).get("__pydantic_generic_metadata__")
    if not metadata or metadata["origin"] is None:
        return None
    return metadata["origin"], metadata["args"]


def _bare(cls: type) -> Bare:
    """What any class is made of. Its bases are those that it really has, as generic ones stand for others."""
    generic = {"__orig_bases__": vars(cls)["__orig_bases__"]} if "__orig_bases__" in vars(cls) else {}
    return type(cls), cls.__name__, cls.__bases__, generic


def make_class(bare: Bare, namespace: dict[str, Any], options: dict[str, Any], identity: str) -> type:
    """A class of that namespace, known by that identity from now on."""
    metaclass, name, bases, generic = bare
    native = _native(metaclass)
    content = native.__prepare__(name, bases)
    content.update({sys.intern(key): value for key, value in {**namespace, **generic}.items()})
    with _unheard(bases):
        if native is metaclass:
            made = native(name, bases, content, **options)
        else:
            made = native.__new__(metaclass, name, bases, content, **options)
    cls: type = tracked(identity, made)
    return cls


def _native(metaclass: type) -> Any:
    """The metaclass, or what it stands on that the program hasn't written itself."""
    if metaclass.__name__ == "_TypedDictMeta":  # takes bodies of classes only
        return type
    return next(base for base in metaclass.__mro__ if by_reference(base))


@contextmanager
def _unheard(bases: tuple[type, ...]) -> Generator[None, None, None]:
    """Without a call of the `__init_subclass__` that the program has written.

    Which one is called can't be said where a class is made, so it is exchanged for that moment.
    """
    owners = (base for one in bases for base in one.__mro__ if HOOK in vars(base))
    owner = next(owners, object)
    if owner is object or by_reference(owner):
        yield
        return
    own = vars(owner)[HOOK]
    type.__setattr__(owner, HOOK, classmethod(_nothing))
    try:
        yield
    finally:
        type.__setattr__(owner, HOOK, own)


def _nothing(*_: object, **__: object) -> None:
    pass


# ---- msgspec Structs -----------------------------------------------------------------------------------------------


def _struct_arguments(cls: type[msgspec.Struct]) -> tuple[Any, ...]:
    annotated = written(cls)
    own = {name: object for name in cls.__struct_fields__ if name in annotated}  # their types are told afterwards
    plain, factories = _defaults(cls, own)
    noticed = {name: vars(cls)[name] for name in NOTICED if name in vars(cls)}
    namespace = {"__module__": cls.__module__, "__annotations__": own} | noticed | plain
    return namespace, factories, _options(cls, own), identity_of(cls)


def _defaults(cls: type[msgspec.Struct], own: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Those that are values, and those that are made; `msgspec.structs.fields` would evaluate annotations for them."""
    fields, defaults = cls.__struct_fields__, cls.__struct_defaults__
    named = zip(fields[len(fields) - len(defaults) :], defaults, strict=True)
    given = {name: default for name, default in named if name in own and default is not msgspec.NODEFAULT}
    factories = {name: default.factory for name, default in given.items() if type(default) is _FACTORY}
    return {name: default for name, default in given.items() if name not in factories}, factories


def _options(cls: type[msgspec.Struct], own: dict[str, Any]) -> dict[str, Any]:
    config = cls.__struct_config__
    return {
        **{name: getattr(config, name) for name in dir(config) if not name.startswith("_")},
        "rename": dict(zip(cls.__struct_fields__, cls.__struct_encode_fields__, strict=True)),
        "kw_only": not own.keys() <= set(cls.__match_args__),
    }


def make_struct(
    bare: Bare, namespace: dict[str, Any], factories: dict[str, Any], options: dict[str, Any], identity: str
) -> type:
    """A Struct class of those fields and options, known by that identity from now on."""
    fields = {field: msgspec.field(default_factory=factory) for field, factory in factories.items()}
    return make_class(bare, namespace | fields, options, identity)
