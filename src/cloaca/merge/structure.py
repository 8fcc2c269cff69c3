"""Merging by structure: what writes without a rule come to.

In this order: lists that every write only extended; equal values; dicts, member by member; lists where there
was none before. All else is a clash, unless the workflow settles clashes by order.

A member of a dict is a strand of its own: a write counts there only if it changed the member against what its writer
saw. So an untouched member never beats a changed one, and what was replaced never comes back.
"""

from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, pairwise
from typing import Any

from cloaca.merge.change import ABSENT, Absent
from cloaca.merge.equality import equal, fingerprint, is_found_by_hash, same
from cloaca.merge.lineage import members, set_of
from cloaca.merge.rules import OnConflict
from cloaca.merge.strand import Clash, Join, Order, Strand
from cloaca.wire.codec import SCALARS, encode

_DICTS = frozenset({dict, OrderedDict, defaultdict, Counter})
_SCALARS = SCALARS | {Absent}
_NO_MEMBERS: Mapping[Any, Any] = {}


class Structured(Strand):
    """A strand without a rule. `on_conflict`: "first" or "last" settles clashes by order."""

    on_conflict: OnConflict | None = None

    def addition(self, number: int) -> list[Any] | None:
        """What the version added to the list that its writer saw; `None` where it didn't only extend one."""
        saw, wrote = self.saw(number), self.wrote(number)
        if type(saw) is not list or type(wrote) is not list or len(wrote) < len(saw):
            return None
        return wrote[len(saw) :] if not saw or same(wrote[: len(saw)], saw) else None

    def join(self, join: Join, order: Order) -> Any:
        """What the writes come to."""
        if type(join.base) is list:
            added = self._extensions(join.later)
            if added is not None:
                return [*join.base, *added]
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
            return self._by_member(join, order, values[0])
        if kinds == {list} and type(join.base) is not list:
            joined = self._concatenated(join, order)
            if joined is not None:
                return joined
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

    def _by_member(self, join: Join, order: Order, model: Any) -> Any:
        touched: dict[Any, list[int]] = {}
        for number in join.later:
            for member in self._changed(number):
                touched.setdefault(member, []).append(number)
        merged = _empty(model)
        merged.update(_members(join.base))
        earlier = members(join.before)
        for member, writers in touched.items():
            strand = _Member(self, member)
            both = [*filter(strand.has_changed, earlier), *writers]
            value = strand.at(set_of(both), order) if len(both) > 1 else strand.wrote(both[0])
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
        return all(all(map(is_found_by_hash, members)) for members in dicts)

    def _changed(self, number: int) -> list[Any]:
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

    # ---- lists without a list to start from ------------------------------------------------------------------------

    def _concatenated(self, join: Join, order: Order) -> list[Any] | None:
        """The lists one after the other, equal ones once. Those that have writes in common count as one."""
        lists: list[list[Any]] = []
        for group in self._groups(join):
            alone = len(group.tops) == 1
            together = self.wrote(group.tops[0]) if alone else self._grown(sorted(group.writers, key=order))
            if together is None:
                return None
            lists.append(together)
        return list(chain.from_iterable(_distinct(lists)))

    def _grown(self, writers: Sequence[int]) -> list[Any] | None:
        """All that writes added which have some in common, if each made a list or only extended one.

        Of two lists that were made and are equal it isn't clear whether who saw both took them for one.
        """
        made = {number: self.wrote(number) for number in writers if self._has_made_a_list(number)}
        if len(_distinct(made.values())) < len(made):
            return None
        parts: list[list[Any]] = []
        for number in writers:
            part = made[number] if number in made else self.addition(number)
            if part is None:
                return None
            parts.append(part)
        return list(chain.from_iterable(parts))

    def _has_made_a_list(self, number: int) -> bool:
        saw = self.saw(number)
        return type(saw) is not list and not isinstance(saw, Clash) and type(self.wrote(number)) is list

    def _groups(self, join: Join) -> Iterable["_Group"]:
        """The tops, those together that have later writes in common; in the order of each group's first top."""
        shared = set_of(join.later)
        group_of: dict[int, _Group] = {}
        for top in join.tops:
            group = _Group([top])
            for writer in [*members(self.lineage.below(top) & shared), top]:
                other = group_of.get(writer)
                if other is None:
                    group.writers.append(writer)
                elif other is not group:
                    group = other.joined_by(group)
                    group_of.update(dict.fromkeys(group.writers, group))
            group_of.update(dict.fromkeys(group.writers, group))
        return dict.fromkeys(group_of[top] for top in join.tops)


@dataclass(eq=False)
class _Group:
    """Tops that have writes in common, and all of these writes."""

    tops: list[int]
    writers: list[int] = field(default_factory=list)

    def joined_by(self, other: "_Group") -> "_Group":
        """This group with the other one's tops and writes."""
        self.tops += other.tops
        self.writers += other.writers
        return self


class _Member(Structured):
    """One member of a dict: a strand of its own."""

    def __init__(self, whole: Structured, member: Any) -> None:
        super().__init__(whole.lineage)
        self.on_conflict = whole.on_conflict
        self._whole = whole
        self._member = member

    def wrote(self, number: int) -> Any:
        """What the member is in the version's dict."""
        return self._of(self._whole.wrote(number))

    def saw(self, number: int) -> Any:
        """What the member was in the dict that the writer saw."""
        return self._of(self._whole.saw(number))

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


def _empty(model: Any) -> Any:
    """An empty dict of the model's kind, with its `default_factory` if it has one."""
    return defaultdict(model.default_factory) if type(model) is defaultdict else type(model)()


def _distinct(lists: Iterable[list[Any]]) -> list[list[Any]]:
    """The lists in their order, equal ones once."""
    found: list[list[Any]] = []
    alike: dict[object, list[list[Any]]] = {}
    for one in lists:
        others = alike.setdefault(fingerprint(one), [])
        if not any(same(one, other) for other in others):
            others.append(one)
            found.append(one)
    return found


def _agree(values: Sequence[Any]) -> bool:
    """Whether all are equal. Removals agree with removals only.

    Values are compared in the order of their bytes, so that no order of writers decides, whatever `__eq__` is asked.
    """
    kinds = set(map(type, values))
    if len(kinds) > 1:
        return False
    if kinds <= _SCALARS:
        return all(same(values[0], value) for value in values)
    by_bytes = {encode(value): value for value in values}
    return all(equal(by_bytes[one], by_bytes[other]) for one, other in pairwise(sorted(by_bytes)))
