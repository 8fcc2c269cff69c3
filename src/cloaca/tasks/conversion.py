"""Conversion: makes of a value what an annotation asks for.

msgspec does it, strictly: no text becomes a number. It is asked first, about the whole value, as nothing is faster.
Where it refuses, or would make less of a value than it is (a plain dict of a `Counter`, say), the value is gone through
part by part, and what is as annotated already stays the very object that it is.
"""

import dataclasses
import typing
from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Mapping,
    MutableMapping,
    MutableSequence,
    MutableSet,
    Sequence,
)
from collections.abc import Set as AbstractSet
from functools import cached_property
from operator import is_
from reprlib import repr as short
from types import MappingProxyType, UnionType
from typing import Any, Final, NamedTuple, Union, get_args, get_origin, get_type_hints

import msgspec

from cloaca.tasks.mismatch import Mismatch, mismatch, missing, told_by_msgspec
from cloaca.tasks.number import plain

_UNIONS: Final = (Union, UnionType)
_ARRAYS: Final = (list, tuple, set, frozenset)
_TEXTS: Final = (str, bytes, bytearray)
_MADE: Final[Mapping[Any, Callable[[Any], Any]]] = MappingProxyType(
    {
        **{kind: kind for kind in (list, tuple, set, frozenset, dict)},
        **dict.fromkeys((Sequence, MutableSequence, Collection, Iterable), list),
        **dict.fromkeys((AbstractSet, MutableSet), set),
        **dict.fromkeys((Mapping, MutableMapping), dict),
    }
)
"""What is made where an annotation asks for one of these: msgspec does so too."""

_MARKS: Final = (typing.Required, typing.NotRequired, getattr(typing, "ReadOnly", typing.Required))
_TAKEN_APART: Final = (AttributeError, LookupError)
"""What comes of arrays where msgspec takes them for a mapping."""

_ATTRIBUTE: Final = ".{}"
_ITEM: Final = "[{}]"
_KEY: Final = " key {}"
_ELEMENT: Final = " element {}"


class Conversion:
    """What an annotation asks for: called with a value, it gives the value so. As it stands, of what has no parts."""

    is_always_safe = True
    """Whether msgspec makes nothing less of any value than it is."""

    def __init__(self, annotation: Any) -> None:
        self._annotation = annotation
        self._is_class = isinstance(annotation, type)

    def __call__(self, value: Any) -> Any:
        """The value as annotated: itself where it is an instance. Raises `Mismatch` where it can't be made so."""
        if self._is_class and _is_instance(value, self._annotation):
            return value
        if not self.is_always_safe and not self.is_safe(value):
            return self.by_parts(value)
        try:
            return msgspec.convert(value, self._annotation, strict=True)
        except (msgspec.ValidationError, TypeError, *_TAKEN_APART):  # TypeError: a union that it takes apart no further
            return self.by_parts(value)

    def kept(self, value: Any) -> Any:
        """The same, and where the value is as annotated already, all the way down, it is the very object."""
        return value if self._is_class and _is_instance(value, self._annotation) else self.by_parts(value)

    def holds(self, value: Any) -> bool:
        """Whether the value is as annotated already."""
        try:
            return self.kept(value) is value
        except Mismatch:
            return False

    def is_safe(self, _value: Any) -> bool:
        """Whether msgspec makes nothing less of this value than it is."""
        return True

    def are_safe(self, values: Collection[Any]) -> bool:
        """The same of many values."""
        return self.is_always_safe or all(map(self.is_safe, values))

    def by_parts(self, value: Any) -> Any:
        """The value as annotated, gone through part by part, if it isn't an instance anyway."""
        annotation = self._annotation
        kind = annotation.__origin__ if get_origin(annotation) is typing.Annotated else annotation
        try:
            return msgspec.convert(plain(value, kind), annotation, strict=True)
        except msgspec.ValidationError as error:
            raise told_by_msgspec(error, annotation, value) from None
        except _TAKEN_APART:
            raise mismatch(annotation, value) from None


def conversion_of(annotation: Any) -> Conversion:
    """The conversion to what the annotation asks for."""
    annotation = bare(annotation)
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin in _UNIONS:
        return _OneOf(annotation)
    if parts and origin in _MADE:
        if _MADE[origin] is dict:
            return _Entries(annotation)
        return _PlacedTuple(annotation) if origin is tuple and parts[-1] is not Ellipsis else _Elements(annotation)
    if typing.is_typeddict(annotation):
        return _Dict(annotation)
    if isinstance(annotation, type) and (_is_struct(annotation) or dataclasses.is_dataclass(annotation)):
        return _Object(annotation)
    return Conversion(annotation)


def bare(annotation: Any) -> Any:
    """The annotation without what makes no difference to values: a name for it, and notes that aren't msgspec's."""
    while True:
        if hasattr(annotation, "__supertype__"):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        elif get_origin(annotation) in _MARKS:
            (annotation,) = get_args(annotation)
        elif get_origin(annotation) is typing.Annotated and not any(map(_is_meta, annotation.__metadata__)):
            annotation = annotation.__origin__
        else:
            return annotation


def _is_meta(note: object) -> bool:
    return isinstance(note, msgspec.Meta)


def _is_struct(kind: type) -> bool:
    return issubclass(kind, msgspec.Struct)


def _is_instance(value: Any, kind: Any) -> bool:
    try:
        return isinstance(value, kind)
    except TypeError:  # one that doesn't tell, as TypedDict and Any
        return False


def _part(conversion: Conversion, value: Any, way: str, name: object) -> Any:
    """A part of a value; `way` leads there, with the part's `name` in its braces."""
    try:
        return conversion.kept(value)
    except Mismatch as found:
        found.enter(way.format(name if way is _ATTRIBUTE else short(name)))
        raise


# ---- unions --------------------------------------------------------------------------------------------------------


class _OneOf(Conversion):
    """The first that the value is already, or else the first that it can be made into."""

    def __init__(self, annotation: Any) -> None:
        super().__init__(annotation)
        self._choices = list(map(conversion_of, get_args(annotation)))
        self.is_always_safe = all(choice.is_always_safe for choice in self._choices)

    def is_safe(self, value: Any) -> bool:
        return all(choice.is_safe(value) for choice in self._choices)

    def by_parts(self, value: Any) -> Any:
        found: list[Mismatch] = []
        for choice in sorted(self._choices, key=lambda choice: not choice.holds(value)):
            try:
                return choice.kept(value)
            except Mismatch as fault:
                found.append(fault)
        nearest = max(found, key=lambda fault: (fault.depth, fault.advice))
        raise nearest if nearest.depth or nearest.advice else mismatch(self._annotation, value)


# ---- containers ----------------------------------------------------------------------------------------------------


class _Container(Conversion):
    """A container of what is annotated in brackets."""

    is_always_safe = False

    def __init__(self, annotation: Any) -> None:
        super().__init__(annotation)
        self._origin: Any = get_origin(annotation)
        self._make = _MADE[self._origin]

    def is_safe(self, value: Any) -> bool:
        if isinstance(value, self._origin) and type(value) is not self._make:
            return False
        return self._has_safe_parts(value)

    def are_safe(self, values: Collection[Any]) -> bool:
        """Where parts don't matter, one value of each type tells."""
        some = dict(zip(map(type, values), values, strict=True)).values() if self._is_flat else values
        return all(map(self.is_safe, some))

    @cached_property
    def _is_flat(self) -> bool:
        """Whether all parts are always safe."""
        return all(conversion_of(part).is_always_safe for part in get_args(self._annotation) if part is not Ellipsis)

    def _has_safe_parts(self, value: Any) -> bool:
        raise NotImplementedError

    def _is_kept(self, value: Any, given: Iterable[Any], parts: list[Any]) -> bool:
        """Whether the value is as annotated: the parts of it that were given are what was made of them."""
        return isinstance(value, self._origin) and all(map(is_, given, parts))


class _Elements(_Container):
    """One of elements that are all annotated alike."""

    @cached_property
    def _element(self) -> Conversion:
        return conversion_of(get_args(self._annotation)[0])

    def _has_safe_parts(self, value: Any) -> bool:
        return self._is_flat or not isinstance(value, _ARRAYS) or self._element.are_safe(value)

    def by_parts(self, value: Any) -> Any:
        is_one = isinstance(value, self._origin) and isinstance(value, Collection) and not isinstance(value, _TEXTS)
        if not (is_one or isinstance(value, _ARRAYS)):
            raise mismatch(self._annotation, value)
        given = list(value)
        if isinstance(value, Sequence):
            made = [_part(self._element, each, _ITEM, place) for place, each in enumerate(given)]
        else:
            made = [_part(self._element, each, _ELEMENT, each) for each in given]
        if self._is_kept(value, given, made):
            return value
        try:
            return self._make(made)
        except TypeError as error:  # an element of a set has no hash
            raise Mismatch(str(error)) from None


class _PlacedTuple(_Container):
    """A tuple in which each place is annotated."""

    @cached_property
    def _places(self) -> list[Conversion]:
        return list(map(conversion_of, get_args(self._annotation)))

    def _has_safe_parts(self, value: Any) -> bool:
        if self._is_flat or not isinstance(value, list | tuple):
            return True
        return all(place.is_safe(each) for place, each in zip(self._places, value, strict=False))

    def by_parts(self, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise mismatch(self._annotation, value)
        if len(value) != len(self._places):
            raise Mismatch(f"expected {len(self._places)} elements, got {len(value)}")
        pairs = enumerate(zip(self._places, value, strict=True))
        made = [_part(conversion, each, _ITEM, place) for place, (conversion, each) in pairs]
        return value if self._is_kept(value, value, made) else tuple(made)


class _Entries(_Container):
    """A dict, in which keys are annotated, and values."""

    @cached_property
    def _both(self) -> tuple[Conversion, Conversion]:
        key, value = get_args(self._annotation)
        return conversion_of(key), conversion_of(value)

    def _has_safe_parts(self, value: Any) -> bool:
        if self._is_flat or not isinstance(value, Mapping):
            return True
        of_key, of_value = self._both
        return of_key.are_safe(value.keys()) and of_value.are_safe(value.values())

    def by_parts(self, value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise mismatch(self._annotation, value)
        of_key, of_value = self._both
        keys = [_part(of_key, key, _KEY, key) for key in value]
        values = [_part(of_value, each, _ITEM, key) for key, each in value.items()]
        is_kept = self._is_kept(value, value, keys) and self._is_kept(value, value.values(), values)
        return value if is_kept else dict(zip(keys, values, strict=True))


# ---- what has fields -----------------------------------------------------------------------------------------------


class _Dict(Conversion):
    """A `TypedDict`. What a dict has beyond it stays there."""

    is_always_safe = False

    @cached_property
    def _fields(self) -> dict[str, Conversion]:
        hints = get_type_hints(self._annotation, include_extras=True)
        return {name: conversion_of(hint) for name, hint in hints.items()}

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(self._fields)

    @cached_property
    def _unsafe(self) -> list[tuple[str, Conversion]]:
        return [(name, field) for name, field in self._fields.items() if not field.is_always_safe]

    def is_safe(self, value: Any) -> bool:
        if not isinstance(value, dict):
            return True
        if type(value) is not dict or not self._names.issuperset(value):
            return False
        return all(field.is_safe(value[name]) for name, field in self._unsafe if name in value)

    def are_safe(self, values: Collection[Any]) -> bool:
        """Without a call for each, where all are plain dicts."""
        if self._unsafe or set(map(type, values)) != {dict}:
            return super().are_safe(values)
        return all(map(self._names.issuperset, values))

    def by_parts(self, value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise mismatch(self._annotation, value)
        for name in self._annotation.__required_keys__:
            if name not in value:
                raise missing(name)
        made = {name: _part(field, value[name], _ITEM, name) for name, field in self._fields.items() if name in value}
        if isinstance(value, dict) and all(value[name] is each for name, each in made.items()):
            return value
        return {**value, **made}


class _Field(NamedTuple):
    """A field of a class: what a dict calls it, and whether it has to be there."""

    name: str
    key: str
    conversion: Conversion
    is_required: bool


class _Object(Conversion):
    """A msgspec `Struct` or a dataclass, made of a dict where the value is one."""

    @cached_property
    def _fields(self) -> list[_Field]:
        if _is_struct(self._annotation):
            return [
                _Field(one.name, one.encode_name, conversion_of(one.type), one.required)
                for one in msgspec.structs.fields(self._annotation)
            ]
        hints = get_type_hints(self._annotation, include_extras=True)
        return [
            _Field(
                one.name,
                one.name,
                conversion_of(hints[one.name]),
                one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING,
            )
            for one in dataclasses.fields(self._annotation)
            if one.init
        ]

    def kept(self, value: Any) -> Any:
        return self(value)  # which is quicker, and makes copies of containers only

    def by_parts(self, value: Any) -> Any:
        if not isinstance(value, Mapping) or not self._is_plain(value):
            return super().by_parts(value)
        made: dict[str, Any] = {}
        for field in self._fields:
            if field.key in value:
                made[field.name] = _part(field.conversion, value[field.key], _ATTRIBUTE, field.key)
            elif field.is_required:
                raise missing(field.key)
        try:
            return self._annotation(**made)
        except (TypeError, ValueError) as error:  # from its own checks
            raise Mismatch(str(error)) from None

    def _is_plain(self, value: Mapping[Any, Any]) -> bool:
        """Whether it takes no more than a call with its fields; of tags and unknown fields msgspec knows."""
        config = getattr(self._annotation, "__struct_config__", None)
        if config is None:
            return True
        is_known = not config.forbid_unknown_fields or value.keys() <= {field.key for field in self._fields}
        return is_known and config.tag is None and not config.array_like
