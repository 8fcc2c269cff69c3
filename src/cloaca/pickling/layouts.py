"""How a class is made anew: bare, without a call of what the program itself has written for the making of classes.

A metaclass's `__new__` and `__init__`, and `__init_subclass__`, did their work in the program, and what they left is
among the attributes, which are set afterwards. Where the layout is fixed from the start, what fixes it is given when
the class is made: `__slots__`, the fields and options of a msgspec Struct, the members of an enum.
"""

import enum
import types
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, TypeAlias

import msgspec
from cloudpickle import cloudpickle

from cloaca.lasting import lasting
from cloaca.pickling.enums import attributes_of_members, enum_arguments, make_enum
from cloaca.pickling.hints import meant, written
from cloaca.pickling.identity import identity_of, tracked
from cloaca.pickling.modules import by_reference

_NOTICED = ("__module__", "__orig_bases__", "__slots__")
_NOTICED_OF_STRUCTS = ("__module__", "__orig_bases__", "__post_init__")
"""What is looked for when a class is made, and not again."""

_FACTORY: Any = type(
    msgspec.defstruct("Probe", [("field", list, msgspec.field(default_factory=list))]).__struct_defaults__[0]
)

HOOK = "__init_subclass__"

Head: TypeAlias = tuple[Any, str, tuple[Any, ...]]
"""The metaclass, name and bases of a class: those that it really has, as generic ones stand for others."""

OF_THIS_PROCESS = frozenset(
    {"__msgspec_cache__", "__annotate__", "__annotate_func__", "__annotations__", "__annotations_cache__"}
)
"""What msgspec has found out of a class, and how its annotations are evaluated: with the names that are here."""


OF_PYTHON = {one: name for name, one in vars(types).items() if getattr(one, "__module__", None) == "builtins"}
"""Types that say they are builtins, but stand in `types`, under other names."""


def layout(
    cls: type, annotations: Callable[[type], dict[str, Any]] = meant
) -> tuple[Callable[..., type], tuple[Any, ...], dict[str, Any]]:
    """What makes an empty class like this one, its arguments, and the attributes to set on it afterwards.

    `annotations` says which it is to have.
    """
    everything = cloudpickle._dynamic_class_reduce(cls)[2][0]
    attributes = {name: value for name, value in everything.items() if name not in OF_THIS_PROCESS}
    attributes["__qualname__"] = cls.__qualname__  # made by its name alone, it would be at home nowhere
    if own := annotations(cls):
        attributes["__annotations__"] = own
    if issubclass(cls, enum.Enum):
        kept = {name: one for name, one in attributes.items() if name not in cls.__members__}
        return make_enum, enum_arguments(cls), kept | attributes_of_members(cls)
    more, options = _of_struct(cls) if issubclass(cls, msgspec.Struct) else ({}, {})
    noticed = _NOTICED_OF_STRUCTS if issubclass(cls, msgspec.Struct) else _NOTICED
    namespace = {name: vars(cls)[name] for name in noticed if name in vars(cls)} | more
    head: Head = type(cls), cls.__name__, cls.__bases__
    return make_class, (head, namespace, options, identity_of(cls)), attributes


def subscripted(cls: type) -> tuple[type, Any] | None:
    """The generic model and the types that a model of pydantic was made of: each process keeps its own `Box[int]`."""
    metadata = vars(cls).get("__pydantic_generic_metadata__")
    if not metadata or metadata["origin"] is None:
        return None
    return metadata["origin"], metadata["args"]


@lasting
def make_class(head: Head, namespace: dict[str, Any], options: dict[str, Any], identity: str) -> type:
    """A class of that namespace, known by that identity from now on."""
    metaclass, name, bases = head
    native = _native(metaclass)
    content = native.__prepare__(name, bases)
    content.update(namespace)
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


def _of_struct(cls: type[msgspec.Struct]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What its namespace has at the start, and its options. The types of its fields are told afterwards."""
    annotated = written(cls)
    own = {name: object for name in cls.__struct_fields__ if name in annotated}
    config = cls.__struct_config__
    options = {
        **{name: getattr(config, name) for name in dir(config) if not name.startswith("_")},
        "rename": dict(zip(cls.__struct_fields__, cls.__struct_encode_fields__, strict=True)),
        "kw_only": not own.keys() <= set(cls.__match_args__),
    }
    return {"__annotations__": own, **_defaults(cls, own)}, options


def _defaults(cls: type[msgspec.Struct], own: dict[str, Any]) -> dict[str, Any]:
    """Those that are values, and those that are made; `msgspec.structs.fields` would evaluate annotations for them."""
    fields, defaults = cls.__struct_fields__, cls.__struct_defaults__
    named = zip(fields[len(fields) - len(defaults) :], defaults, strict=True)
    given = {name: default for name, default in named if name in own and default is not msgspec.NODEFAULT}
    return {
        name: msgspec.field(default_factory=default.factory) if type(default) is _FACTORY else default
        for name, default in given.items()
    }
