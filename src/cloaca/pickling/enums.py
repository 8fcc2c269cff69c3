"""How an enum is made anew: its members as they are, without a call of its own `__new__` and `__init__`.

These belong to the class that is only being made, and take what the body of the class wrote, which nobody has any more.
"""

import enum
from typing import Any

from cloaca.lasting import lasting
from cloaca.pickling.bare import given_to, native_base
from cloaca.pickling.identity import identity_of, tracked

Member = tuple[Any, tuple[Any, ...]]
"""Its value, and what the type that it is made of needs, as the text of a `str`."""

_GIVEN = ("_value_", "_name_", "__objclass__", "_sort_order_")
"""The attributes that a member has in any case."""

OF_MEMBERS = "__members__"
"""Under this name, attributes of members are among those of their class."""

_STAND_INS = ("__new_member__", "__init__")


def enum_arguments(cls: type[enum.Enum]) -> tuple[Any, ...]:
    """What `make_enum` takes to make one like this."""
    base: Any = native_base(_kind_of_members(cls))
    members = {
        name: (member._value_, (base(member),) if base.__hash__ is None else given_to(base, member))
        for name, member in cls.__members__.items()
    }
    naming = {"__module__": cls.__module__, "__qualname__": cls.__qualname__}
    boundary = vars(cls).get("_boundary_")
    return type(cls), cls.__name__, cls.__bases__, naming, members, boundary, identity_of(cls)


def attributes_of_members(cls: type[enum.Enum]) -> dict[str, dict[str, dict[str, Any]]]:
    """Under `OF_MEMBERS`, what members have been given as attributes, by name; nothing, where none was given any."""
    found = {
        name: {key: value for key, value in vars(member).items() if key not in _GIVEN}
        for name, member in cls.__members__.items()
    }
    given = {name: attributes for name, attributes in found.items() if attributes}
    return {OF_MEMBERS: given} if given else {}


@lasting
def make_enum(
    metaclass: Any,
    name: str,
    bases: tuple[type, ...],
    naming: dict[str, str],
    members: dict[str, Member],
    boundary: Any,
    identity: str,
) -> type:
    waiting = iter(members.values())

    def new(cls: Any, *_: object) -> Any:
        value, data = next(waiting)
        base: Any = native_base(_kind_of_members(cls))
        member = base.__new__(cls, *data)
        if base.__hash__ is None:  # it is filled afterwards
            base.__init__(member, *data)
        member._value_ = value
        return member

    namespace = metaclass.__prepare__(name, bases)
    namespace.update(naming)
    if members:
        namespace["__new__"], namespace["__init__"] = new, _nothing
    for key, (value, _) in members.items():
        namespace[key] = enum.member(value)
    made = enum.EnumType.__new__(metaclass, name, bases, namespace, **({"boundary": boundary} if boundary else {}))
    for stand_in in _STAND_INS:
        if stand_in in vars(made):
            type.__delattr__(made, stand_in)
    cls: type = tracked(identity, made)
    return cls


def _nothing(*_: object) -> None:
    pass


def _kind_of_members(cls: Any) -> type:
    kind: type = getattr(cls, "_member_type_", object)
    return kind
