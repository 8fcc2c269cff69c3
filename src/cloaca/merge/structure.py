"""Merging by structure: what writes without a rule come to.

In this order: lists that every write only extended, where a key without a list counts as an empty one; equal values;
dicts, member by member. All else is a clash, unless the workflow settles clashes by order.

A member of a dict is a strand of its own: a write counts there only if it changed the member against what its writer
saw. So an untouched member never beats a changed one, and what was replaced never comes back.
"""

from collections import Counter, OrderedDict, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, pairwise
from typing import Any

from msgspec.structs import replace

from cloaca.merge.change import ABSENT, Absent, Change
from cloaca.merge.equality import are_found_by_hash, equal, same
from cloaca.merge.given import OnConflict
from cloaca.merge.lineage import Lineage, Versions, members, set_of
from cloaca.merge.strand import Clash, Join, Order, Steps, Strand
from cloaca.values.codec import encode
from cloaca.values.kinds import SCALARS

_DICTS = frozenset({dict, OrderedDict, defaultdict, Counter})
_SCALARS = SCALARS | {Absent}
_NO_MEMBERS: Mapping[Any, Any] = {}

_Touched = dict[Any, dict[int, Change]]
"""What versions did to members: by member, and by number."""


class Structured(Strand):
    """A strand without a rule. `on_conflict`: "first" or "last" settles clashes by order."""

    on_conflict: OnConflict | None = None

    def __init__(self, lineage: Lineage, known: dict[Versions, Any] | None = None) -> None:
        super().__init__(lineage, known)
        self._of_members: dict[int, dict[Any, Change]] = {}  # what versions changed, where each member is found by hash

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
        touched = self._touched(join) if len(kinds) == 1 and kinds <= _DICTS else None
        if touched is not None:
            merged = yield from self._by_member(join, order, values[0], touched)
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

    def _by_member(self, join: Join, order: Order, model: Any, touched: _Touched) -> Steps:
        merged = _empty(model)
        merged.update(_members(join.base))
        for member, changes in touched.items():
            strand = _MemberStrand(self, member, changes)
            several = len(changes) > 1
            value = (yield strand.steps_to(set_of(changes), order)) if several else strand.wrote(*changes)
            if isinstance(value, Clash):
                return replace(value, path=(member, *value.path))
            if value is ABSENT:
                merged.pop(member, None)
            else:
                merged[member] = value
        return merged

    def _touched(self, join: Join) -> _Touched | None:
        """The members that were changed, and how; `None` where those of one dict aren't found in the others.

        Each dict is looked at once, beside what its writer saw: so no more than a few need to be there at a time.
        """
        touched: _Touched = {}
        if not are_found_by_hash(_members(join.base)):
            return None
        for number in join.later:
            changes = self._of_members.get(number)
            if changes is None:
                if not are_found_by_hash(_members(self.wrote(number))):
                    return None
                changes = self.changes(number)
                if not isinstance(self.wrote(number), Clash):
                    self._of_members[number] = changes
            for member, change in changes.items():
                touched.setdefault(member, {})[number] = change
        for number in members(join.before) if touched else ():
            for member, change in self._changes_among(touched, number):
                touched[member][number] = change
        return touched

    def _changes_among(self, touched: Collection[Any], number: int) -> Iterable[tuple[Any, Change]]:
        """What the version's writer did to those of these members that it changed."""
        known = self._of_members.get(number)
        if known is not None:
            fewer, more = (known, touched) if len(known) < len(touched) else (touched, known)
            return [(member, known[member]) for member in fewer if member in more]
        saw, wrote = self.saw(number), self.wrote(number)
        changes = [(member, Change(_member(saw, member), _member(wrote, member))) for member in touched]
        return [(member, change) for member, change in changes if self._is_write(number, member, change)]

    def _is_put_in_order(self, merged: OrderedDict[Any, Any], join: Join, order: Order) -> bool:
        """Give the members the order that a write gave them, if one did; not where two gave them different ones."""
        moving = [number for number in join.later if _gives_another_order(self.saw(number), self.wrote(number))]
        orders = [self.wrote(number) for number in sorted(self.lineage.tops(set_of(moving)), key=order)]
        if any(_is_another_order(orders[0], other) for other in orders[1:]):
            return False
        for member in [member for member in reversed(orders[0]) if member in merged] if orders else ():
            merged.move_to_end(member, last=False)
        return True

    def changes(self, number: int) -> dict[Any, Change]:
        """What the version's writer did to those members that it set, changed or removed."""
        saw, wrote = self.saw(number), self.wrote(number)
        if isinstance(saw, Clash):
            changed: Iterable[Any] = dict.fromkeys([*_members(wrote), *self.members_before(number)])
        else:
            old, new = _members(saw), _members(wrote)
            changed = [member for member, value in new.items() if member not in old or not same(value, old[member])]
            changed += [member for member in old if member not in new]
        return {member: Change(_member(saw, member), _member(wrote, member)) for member in changed}

    def _is_write(self, number: int, member: Any, change: Change) -> bool:
        """Whether the version is a write of the member."""
        saw, wrote = change
        if isinstance(saw, Clash):
            return wrote is not ABSENT or member in self.members_before(number)
        return not (saw is wrote or (saw is not ABSENT and wrote is not ABSENT and same(saw, wrote)))

    def members_before(self, number: int) -> Iterator[Any]:
        """The members of all that came before the version: what its writer may have removed, if it saw a conflict."""
        for earlier in members(self.lineage.below(number)):
            wrote = self.wrote(earlier)
            for value in wrote.values if isinstance(wrote, Clash) else (wrote,):
                yield from _members(value)


class _MemberStrand(Structured):
    """One member of a dict: a strand of its own. `changes`: what versions did to it, by their numbers."""

    def __init__(self, whole: Structured, member: Any, changes: Mapping[int, Change]) -> None:
        super().__init__(whole.lineage)
        self.on_conflict = whole.on_conflict
        self._whole = whole
        self._member = member
        self._changes = changes

    def wrote(self, number: int) -> Any:
        """What the member is in the version's dict."""
        change = self._changes.get(number)
        return _member(self._whole.wrote(number), self._member) if change is None else change.wrote

    def saw(self, number: int) -> Any:
        """What the member was in the dict that the writer saw."""
        change = self._changes.get(number)
        return _member(self._whole.saw(number), self._member) if change is None else change.saw

    def start_of(self, value: Any) -> list[Any] | None:
        """In a dict a list that nobody saw before is a value like any other."""
        return value if type(value) is list else None


def _member(value: Any, member: Any) -> Any:
    if isinstance(value, Clash):
        return replace(value, values=tuple([_member(one, member) for one in value.values]))
    return _members(value).get(member, ABSENT)


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
