"""How a class is made anew where its layout is fixed from the start.

cloudpickle makes an empty class and sets the attributes afterwards. That loses `__slots__`, and fails for a msgspec
Struct, whose fields, defaults and options must be there when the class is made.
"""

import inspect
import typing
from collections.abc import Callable
from typing import Any

import msgspec
from cloudpickle import cloudpickle

STRUCT_SWITCHES = (
    "array_like",
    "cache_hash",
    "dict",
    "eq",
    "forbid_unknown_fields",
    "frozen",
    "gc",
    "omit_defaults",
    "order",
    "repr_omit_defaults",
    "weakref",
)


def layout(cls: type) -> tuple[Callable[..., type], tuple[Any, ...], dict[str, Any]]:
    """What makes an empty class like this one, its arguments, and the attributes to set on it afterwards."""
    reduced: tuple[Any, ...] = cloudpickle._dynamic_class_reduce(cls)
    maker, arguments, (attributes, _), *_ = reduced
    attributes.pop("__msgspec_cache__", None)  # what msgspec has found out of the class, in this process
    if issubclass(cls, msgspec.Struct):
        return make_struct, _struct_arguments(cls), attributes
    if maker is cloudpickle._make_skeleton_class and "__slots__" in attributes:
        return maker, _with_slots(attributes["__slots__"], *arguments), attributes
    return maker, arguments, attributes


def _with_slots(
    slots: Any, metaclass: type, name: str, bases: tuple[Any, ...], namespace: dict[str, Any], *rest: Any
) -> tuple[Any, ...]:
    if typing.NamedTuple in bases:  # makes its own
        return metaclass, name, bases, namespace, *rest
    return metaclass, name, bases, namespace | {"__slots__": slots}, *rest


def _struct_arguments(cls: type[msgspec.Struct]) -> tuple[Any, ...]:
    own = vars(cls).get("__annotations__", {})
    plain, factories = _defaults(cls, own)
    namespace = {"__module__": cls.__module__, "__annotations__": own} | plain
    identity = cloudpickle._get_or_create_tracker_id(cls)
    return (type(cls), cls.__name__, cls.__bases__), namespace, factories, _options(cls, own), identity


def _defaults(cls: type[msgspec.Struct], own: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    fields = (field for field in msgspec.structs.fields(cls) if field.name in own)
    plain, factories = {}, {}
    for field in fields:
        if field.default is not msgspec.NODEFAULT:
            plain[field.name] = field.default
        if field.default_factory is not msgspec.NODEFAULT:
            factories[field.name] = field.default_factory
    return plain, factories


def _options(cls: type[msgspec.Struct], own: dict[str, Any]) -> dict[str, Any]:
    config = cls.__struct_config__
    parameters = inspect.signature(cls).parameters
    tagged = {"tag": config.tag, "tag_field": config.tag_field} if config.tag is not None else {}
    return {
        **{name: getattr(config, name) for name in STRUCT_SWITCHES},
        **tagged,
        "rename": dict(zip(cls.__struct_fields__, cls.__struct_encode_fields__, strict=True)),
        "kw_only": any(parameters[name].kind is inspect.Parameter.KEYWORD_ONLY for name in own),
    }


def make_struct(
    skeleton: tuple[type, str, tuple[type, ...]],
    namespace: dict[str, Any],
    factories: dict[str, Any],
    options: dict[str, Any],
    identity: str,
) -> type:
    """A Struct class of those fields and options, known by that identity from now on."""
    metaclass, name, bases = skeleton
    fields = {field: msgspec.field(default_factory=factory) for field, factory in factories.items()}
    made = metaclass(name, bases, namespace | fields, **options)
    cls: type = cloudpickle._lookup_class_or_track(identity, made)
    return cls
