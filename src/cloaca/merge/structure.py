"""Merging by structure: what writes without a rule come to.

In this order: lists that every write only extended, where a key without a list counts as an empty one; equal values;
dicts, member by member. All else is a clash, unless the workflow settles clashes by order.

A member of a dict is a strand of its own: a write counts there only if it changed the member against what its writer
saw. So an untouched member never beats a changed one, and what was replaced never comes back.
"""

from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, pairwise
from typing import Any

from cloaca.merge.change import ABSENT, Absent
from cloaca.merge.equality import are_found_by_hash, equal, same
from cloaca.merge.lineage import members, set_of
from cloaca.merge.rules import OnConflict
from cloaca.merge.strand import Clash, Join, Order, Steps, Strand
from cloaca.wire.codec import SCALARS, encode

_DICTS = frozenset({dict, OrderedDict, defaultdict, Counter})
_SCALARS = SCALARS | {Absent}
_NO_MEMBERS: Mapping[Any, Any] = {}


class Structured(Strand):
    """A strand without a rule. `on_conflict`: "first" or "last" settles clashes by order."""

    on_conflict: OnConflict | None = None

    def start_of(self, value: Any) -> list[Any] | None:
        """The list that is extended where this is the value; no list counts as an empty one. `None` for a clash."""
        if isinstance(value, Clash):
            return None
        return value if type(value) is list else []

    def addition(self, number: int) -> list[Any] | None:
        """What the version added to the list that its writer saw; `None` where it didn't only extend one."""
        start, wrote = self.start_of(self.saw(number)), self.wrote(number)
        if start is None or type(wrote) is not list or len(wrote) < len(start):
            return None
        return wrote[len(start) :] if not start or same(wrote[: len(start)], start) else None

    def join(self, join: Join, order: Order) -> Steps:
        """What the writes come to."""
        start = self.start_of(join.base)
        added = None if start is None else self._extensions(join.later)
        if start is not None and added is not None:
            return [*start, *added]
        values = [self.wrote(number) for number in join.tops]
        unknown = next((value for value in values if isinstance(value, Clash)), None)
        if unknown is not None:
            return Clash(tuple(join.tops), tuple(values), cause=unknown.cause)
        if _agree(values):
            return values[0]
        if isinstance(join.base, Clash):
            return Clash(tuple(join.tops), tuple(values), join.base.path, join.base, join.base.cause)
        kinds = set(map(type, values))
        if len(kinds) == 1 and kinds <= _DICTS and self._have_members(join):
            merged = yield from self._by_member(join, order, values[0])
            if type(merged) is not OrderedDict or self._is_put_in_order(merged, join, order):
                return merged
        return self._unsettled(join, values)

    def _unsettled(self, join: Join, values: Sequence[Any]) -> Any:
        if self.on_conflict == "first":
            return values[0]
        if self.on_conflict == "last":
            return values[-1]
        return Clash(tuple(join.tops), tuple(values), base=join.base)

    def _extensions(self, writers: Sequence[int]) -> list[Any] | None:
        """All that the writes added to the lists that they saw, if none of them did anything else."""
        parts: list[list[Any]] = []
        for number in writers:
            part = self.addition(number)
            if part is None:
                return None
            parts.append(part)
        return list(chain.from_iterable(parts))

    # ---- dicts -----------------------------------------------------------------------------------------------------

    def _by_member(self, join: Join, order: Order, model: Any) -> Steps:
        touched: dict[Any, list[int]] = {}
        for number in join.later:
            for member in self.changed(number):
                touched.setdefault(member, []).append(number)
        merged = _empty(model)
        merged.update(_members(join.base))
        earlier = members(join.before)
        for member, writers in touched.items():
            strand = _Member(self, member)
            both = [*filter(strand.has_changed, earlier), *writers]
            value = (yield strand.steps_to(set_of(both), order)) if len(both) > 1 else strand.wrote(both[0])
            if isinstance(value, Clash):
                return replace(value, path=(member, *value.path))
            if value is ABSENT:
                merged.pop(member, None)
            else:
                merged[member] = value
        return merged

    def _have_members(self, join: Join) -> bool:
        """Whether the members of one dict are found in the others."""
        dicts = [_members(join.base), *(_members(self.wrote(number)) for number in join.later)]
        return all(map(are_found_by_hash, dicts))

    def _is_put_in_order(self, merged: OrderedDict[Any, Any], join: Join, order: Order) -> bool:
        """Give the members the order that a write gave them, if one did; not where two gave them different ones."""
        moving = [number for number in join.later if _gives_another_order(self.saw(number), self.wrote(number))]
        orders = [self.wrote(number) for number in sorted(self.lineage.tops(set_of(moving)), key=order)]
        if any(_is_another_order(orders[0], other) for other in orders[1:]):
            return False
        for member in [member for member in reversed(orders[0]) if member in merged] if orders else ():
            merged.move_to_end(member, last=False)
        return True

    def changed(self, number: int) -> list[Any]:
        """The members that the version's writer set, changed or removed."""
        wrote = _members(self.wrote(number))
        saw = self.saw(number)
        if isinstance(saw, Clash):
            return list(dict.fromkeys([*wrote, *self.members_before(number)]))
        saw = _members(saw)
        changed = [member for member, value in wrote.items() if member not in saw or not same(value, saw[member])]
        return changed + [member for member in saw if member not in wrote]

    def members_before(self, number: int) -> Iterator[Any]:
        """The members of all that came before the version: what its writer may have removed, if it saw a conflict."""
        for earlier in members(self.lineage.below(number)):
            wrote = self.wrote(earlier)
            for value in wrote.values if isinstance(wrote, Clash) else (wrote,):
                yield from _members(value)


class _Member(Structured):
    """One member of a dict: a strand of its own."""

    def __init__(self, whole: Structured, member: Any) -> None:
        super().__init__(whole.lineage)
        self.on_conflict = whole.on_conflict
        self._whole = whole
        self._member = member
        self._wrote: dict[int, Any] = {}
        self._saw: dict[int, Any] = {}

    def wrote(self, number: int) -> Any:
        """What the member is in the version's dict."""
        if number not in self._wrote:
            self._wrote[number] = self._of(self._whole.wrote(number))
        return self._wrote[number]

    def saw(self, number: int) -> Any:
        """What the member was in the dict that the writer saw."""
        if number not in self._saw:
            self._saw[number] = self._of(self._whole.saw(number))
        return self._saw[number]

    def start_of(self, value: Any) -> list[Any] | None:
        """In a dict a list that nobody saw before is a value like any other."""
        return value if type(value) is list else None

    def has_changed(self, number: int) -> bool:
        """Whether the version is a write of this member."""
        saw, wrote = self.saw(number), self.wrote(number)
        if isinstance(saw, Clash):
            return wrote is not ABSENT or self._member in self._whole.members_before(number)
        return not (saw is wrote or (saw is not ABSENT and wrote is not ABSENT and same(saw, wrote)))

    def _of(self, value: Any) -> Any:
        if isinstance(value, Clash):
            return replace(value, values=tuple(map(self._of, value.values)))
        return _members(value).get(self._member, ABSENT)


def _members(value: Any) -> Mapping[Any, Any]:
    return value if type(value) in _DICTS else _NO_MEMBERS


def _gives_another_order(saw: Any, wrote: Any) -> bool:
    return type(saw) is type(wrote) is OrderedDict and _is_another_order(saw, wrote)


def _is_another_order(one: OrderedDict[Any, Any], other: OrderedDict[Any, Any]) -> bool:
    return [member for member in one if member in other] != [member for member in other if member in one]


def _empty(model: Any) -> Any:
    """An empty dict of the model's kind, with its `default_factory` if it has one."""
    return defaultdict(model.default_factory) if type(model) is defaultdict else type(model)()


def _have_other_members(one: dict[Any, Any], other: dict[Any, Any]) -> bool:
    """Whether two dicts surely differ, without a look at what is in them."""
    return len(one) != len(other) or (
        are_found_by_hash(one) and are_found_by_hash(other) and one.keys() != other.keys()
    )


def _agree(values: Sequence[Any]) -> bool:
    """Whether all are equal. Removals agree with removals only.

    Values are compared in the order of their bytes, so that no order of writers decides, whatever `__eq__` is asked.
    """
    kinds = set(map(type, values))
    if len(kinds) > 1:
        return False
    if kinds == {dict} and any(_have_other_members(values[0], value) for value in values):
        return False
    if kinds <= _SCALARS:
        return all(same(values[0], value) for value in values)
    by_bytes = {encode(value): value for value in values}
    return all(equal(by_bytes[one], by_bytes[other]) for one, other in pairwise(sorted(by_bytes)))
