"""The union of sets, element by element: each is there or not as if it were a key of its own."""

from collections.abc import Iterator
from typing import Any

from cloaca.merge.change import ABSENT
from cloaca.merge.equality import are_found_by_hash
from cloaca.merge.lineage import members
from cloaca.merge.named import kind_of_set
from cloaca.merge.strand import Clash, Join, Strand


def united(strand: Strand, join: Join) -> Any:
    """What writes to a set come to. An element is in it if some write added it and none that knew of that removed it.

    Raises `TypeError` where a value is no set.
    """
    written = [strand.wrote(number) for number in join.later]
    sets = [value for value in (join.base, *written) if value is not ABSENT]
    kind = kind_of_set(sets)
    if not all(map(are_found_by_hash, sets)):
        raise TypeError("union needs elements that are equal to their copies: neither NaN nor objects without __eq__")
    result = set(_elements(join.base))
    touched: dict[Any, list[int]] = {}
    for number in join.later:
        for element in _elements(strand.wrote(number)) ^ _elements(strand.saw(number)):
            touched.setdefault(element, []).append(number)
    for element, writers in touched.items():
        if _is_in(strand, join, element, writers):
            result.add(element)
        else:
            result.discard(element)
    return kind(result)


def _is_in(strand: Strand, join: Join, element: Any, writers: list[int]) -> bool:
    removing = [number for number in writers if element not in _elements(strand.wrote(number))]
    if not removing:
        return True
    known = [number for number in members(join.before) if not isinstance(strand.wrote(number), Clash)]
    earlier = [number for number in known if _has_touched(strand, number, element)]
    removing += (number for number in earlier if element not in _elements(strand.wrote(number)))
    adding = {*writers, *earlier}.difference(removing)
    below = strand.lineage.below
    return any(not any(below(other) >> number & 1 for other in removing) for number in adding)


def _has_touched(strand: Strand, number: int, element: Any) -> bool:
    """Whether an earlier write added or removed the element. Who saw a conflict has removed all that it didn't keep."""
    saw, wrote = strand.saw(number), strand.wrote(number)
    if isinstance(saw, Clash):
        return any(element in _elements(value) for value in _all_before(strand, number)) or element in _elements(wrote)
    return (element in _elements(wrote)) != (element in _elements(saw))


def _all_before(strand: Strand, number: int) -> Iterator[Any]:
    for earlier in members(strand.lineage.below(number)):
        wrote = strand.wrote(earlier)
        yield from wrote.values if isinstance(wrote, Clash) else (wrote,)


def _elements(value: Any) -> frozenset[Any] | set[Any]:
    return frozenset() if value is ABSENT else value
