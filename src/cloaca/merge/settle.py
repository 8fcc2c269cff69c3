"""How the versions of a key become one value, or a conflict: pure, and the same in every process.

`settle` is given all versions of a key that matter at a task, in the merge order, each with what its writer saw, and
the workflow's rules; it depends on nothing else. It runs where the key is read, and is the only place that decodes
values in order to combine them.

The versions are those since the last one that stands by itself. Which of them are candidates, what the base is and what
each write changed all follow from what the writers saw.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from itertools import chain, pairwise
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from cloaca.errors import INPUT, MERGE
from cloaca.merge.change import ABSENT, Change
from cloaca.merge.conflict import conflict
from cloaca.merge.equality import are_found_by_hash
from cloaca.merge.lineage import Lineage, Versions, set_of
from cloaca.merge.named import combined, first, last, union
from cloaca.merge.rules import Rules
from cloaca.merge.settled import Conflict, Settled, rivals_of
from cloaca.merge.strand import BY_NUMBER, Clash, Join, Order, Steps
from cloaca.merge.structure import Structured
from cloaca.merge.united import united
from cloaca.pickling.stack import with_room
from cloaca.values.blobs import is_reference, unreadable
from cloaca.values.codec import decode, encode
from cloaca.values.suffix import added, extended
from cloaca.wire.messages import Version
from cloaca.wire.strike import is_strike

_HELD = 8
"""How many values that aren't candidates are there at a time: a write mostly goes on from one of the latest."""


_TIMES_DECODED = 8
"""How many times more a value takes than its bytes do."""


class _RuleExited(Exception):  # noqa: N818 - stands for the SystemExit that a rule raised
    """A rule called `sys.exit`."""


def settle(key: str, versions: tuple[Version, ...], rules: Rules) -> Settled | Conflict:
    """What `versions` (at least one) of `key` come to. It is found out once in a run, in each process that asks.

    Where there are milestones, what is before one comes first, and all after it is merged with that. A conflict isn't
    one value: then they are merged together.
    """
    unknown: list[tuple[Version, ...]] = []
    found: _Found | None = None
    for part in _parts_from_the_last(versions):
        found = rules.remembered((key, _writers(part)))
        if found is not None:
            break
        unknown.append(part)
    for part in reversed(unknown):
        found = _go_on(key, found, part, rules)
        payload = found.settled.payload if isinstance(found.settled, Settled) else None
        if not (isinstance(found.settled, Conflict) and found.settled.may_pass):
            rules.remember((key, _writers(part)), found, 0 if payload is None else len(payload))
    if found is None:
        raise AssertionError("a key without versions has no value")
    return found.settled


class _Found(Struct, frozen=True):
    """What a key comes to with the last part of what is told; where that is a conflict, of which versions.

    `known`: what all of them come to inside the merge, so that those that come after go on from there.
    """

    settled: Settled | Conflict
    versions: tuple[Version, ...] = ()
    known: Mapping[Versions, Any] = field(default_factory=dict)


def _parts_from_the_last(versions: tuple[Version, ...]) -> Iterator[tuple[Version, ...]]:
    """The versions, cut at milestones, which come first in each part but the first."""
    end = len(versions)
    for place in reversed(range(len(versions))):
        if place == 0 or versions[place].is_milestone:
            yield versions[place:end]
            end = place


def _writers(part: tuple[Version, ...]) -> tuple[str, ...]:
    """What tells a part from others of its key: from who wrote, and in which order, follows what they saw."""
    return tuple([version.writer for version in part])


def _go_on(key: str, before: _Found | None, part: tuple[Version, ...], rules: Rules) -> _Found:
    if before is None:
        versions = part
    elif isinstance(before.settled, Settled):
        versions = (Version(before.settled.writer, before.settled.payload), *part[1:])
    else:
        versions = _continued(before.versions, part)
    known: dict[Versions, Any] = {}

    def settled_anew() -> Settled | Conflict:
        known.clear()
        known.update(before.known if before is not None else {})
        return _settle(key, versions, rules, known)

    settled = _for_good(settled_anew)
    if isinstance(settled, Settled):
        return _Found(settled)
    everything = (1 << len(versions)) - 1
    return _Found(settled, versions, {everything: known[everything]} if everything in known else {})


def _continued(earlier: tuple[Version, ...], part: tuple[Version, ...]) -> tuple[Version, ...]:
    """The earlier versions, and in place of a milestone after them the part that it begins."""
    more = len(earlier) - 1

    def moved(saw: tuple[int, ...]) -> tuple[int, ...]:
        if saw[:1] == (0,):
            saw = (-1, *saw[1:])
        return tuple([place - more if place < 0 else place + more for place in saw if place])

    return (*earlier, *(replace(version, saw=moved(version.saw)) for version in part[1:]))


def _for_good(settle_it: Callable[[], Settled | Conflict]) -> Settled | Conflict:
    """What it comes to. A strike is raised, and no conflict that others would be shown."""
    settled = settle_it()
    cause = settled.cause if isinstance(settled, Conflict) else None

    def raise_again() -> None:
        again = settle_it()
        if isinstance(again, Conflict) and again.cause is not None:
            raise again.cause

    if cause is not None and is_strike(cause, raise_again):
        raise cause
    return settled


def _settle(key: str, versions: tuple[Version, ...], rules: Rules, known: dict[Versions, Any]) -> Settled | Conflict:
    if key in rules.collected:
        return _collected(key, _found(versions, rules), rules)
    if len(versions) == 1:
        return _standing(key, versions[0], rules)
    history = _KeyHistory(key, _found(versions, rules), rules, known)
    extended = history.extended_unopened()
    if extended is not None:
        return extended
    agreed = history.agreed_unopened()
    return history.outcome() if agreed is None else Settled(agreed.payload, agreed.writer)


def _found(versions: tuple[Version, ...], rules: Rules) -> tuple[Version, ...]:
    """The versions, with what is passed in from another key in the place of where it comes from."""
    if not any(version.source for version in versions):
        return versions
    return tuple([_from_source(version, rules) if version.source else version for version in versions])


def _from_source(version: Version, rules: Rules) -> Version:
    """What the versions of its source come to, or those that don't combine."""
    settled = settle(version.source, version.rivals, rules.whole)
    if isinstance(settled, Conflict):
        rivals = tuple(rivals_of(settled.versions))
        return Version(version.writer, None, version.saw, version.place, rivals, version.source)
    return Version(version.writer, settled.payload, version.saw, version.place)


def _standing(key: str, version: Version, rules: Rules) -> Settled | Conflict:
    """A version that stands by itself. One that was in conflict when it was given to the run still is."""
    if version.source:
        settled = settle(version.source, version.rivals, rules.whole)
        if isinstance(settled, Conflict):
            return replace(settled, key=key, source=version.source)
        return Settled(settled.payload, version.writer)
    version = _by_order(version, rules)
    rivals = version.rivals
    if rivals:
        return conflict(key, rivals, rivals, [_decoded(key, rival) for rival in rivals])
    return Settled(version.payload, version.writer)


def _by_order(version: Version, rules: Rules) -> Version:
    """The version, or the one of its rivals that counts where conflicts are settled by order.

    What is in conflict in another key all the same, as its rule has raised, stays so where it was passed in from there.
    """
    if not version.rivals or version.source or rules.on_conflict not in ("first", "last"):
        return version
    return version.rivals[0 if rules.on_conflict == "first" else -1]


def _decoded(key: str, version: Version) -> Any:
    """A version's value, `ABSENT`, or a `Clash` where there is none or it can't be rebuilt here."""
    if version.rivals:
        return Clash(values=tuple(_decoded(key, rival) for rival in version.rivals))
    if version.payload is None:
        return ABSENT
    try:
        return decode(version.payload)
    except Exception as error:  # rebuilding a value runs user code; reading the key tells what it raised
        if is_strike(error, partial(decode, version.payload)):
            raise
        return Clash(cause=unreadable(key, version.writer, version.payload, error))


class _KeyHistory(Structured):
    """The history of a key: the strand that has rules, and payloads. `known`: what sets of versions come to."""

    def __init__(self, key: str, versions: tuple[Version, ...], rules: Rules, known: dict[Versions, Any]) -> None:
        super().__init__(Lineage([version.saw for version in versions]), known)
        self.on_conflict = rules.on_conflict
        self._key = key
        self._rules = rules
        self._versions = [_by_order(versions[place], rules) for place in self.lineage.places]
        self._latest = _held(key, self._versions)
        self._wrote: dict[int, Any] = {}  # of candidates
        self._saw: dict[int, Any] = {}
        self._joins = [*filter(self.lineage.saw_several, range(len(versions)))]
        self._resolved = 0
        in_order = isinstance(self.lineage.places, range)
        self._order: Order = BY_NUMBER if in_order else self.lineage.places.__getitem__
        self._tops = sorted(self.lineage.tops(self.lineage.everything), key=self._order)
        self._candidates = frozenset(self._tops)

    def agreed_unopened(self) -> Version | None:
        """The first candidate, where all have the same bytes and that settles it: not by a rule, nor for lists."""
        candidates = [self._versions[number] for number in self._tops]
        if self._rules.has(self._key) or len({candidate.payload for candidate in candidates}) > 1:
            return None
        return None if type(self.wrote(self._tops[0])) is list or candidates[0].rivals else candidates[0]

    def extended_unopened(self) -> Settled | None:
        """What the additions of all make of a first list or dict that each of them only added to."""
        first, *later = self._versions
        payloads = [version.payload for version in later if version.payload]
        is_apart = any(version.saw != (0,) for version in later) or len(payloads) < len(later)
        if is_apart or self._order is not BY_NUMBER or first.payload is None or self._rules.has(self._key):
            return None
        found = extended(first.payload, payloads)
        if found is None:
            return None
        whole, parts = found
        if type(parts[0]) is dict and not _are_apart([decode(first.payload), *parts]):
            return None
        return Settled(whole, MERGE, type(parts[0]).__name__) if all(parts) else None

    def outcome(self) -> Settled | Conflict:
        """What the versions come to."""
        try:
            value = self.at(self.lineage.everything, self._order)
            if not isinstance(value, Clash):
                return self._settled(value)
        except Exception as error:  # noqa: BLE001 - values' own methods run here: what they raise is told where the key is read
            value = Clash(cause=error)
        candidates = tuple(self._versions[number] for number in self._tops)
        tops = value.tops or self._tops
        writers = tuple(self._versions[number] for number in tops)
        values = value.values or [self.wrote(number) for number in tops]
        return conflict(self._key, candidates, writers, values, value.path, value.cause, value.base)

    def _settled(self, value: Any) -> Settled:
        how = getattr(self._rules.rule(self._key), "__name__", "a merge rule") if self._rules.has(self._key) else None
        if value is ABSENT:
            return Settled(None, MERGE, how)
        for number in self._tops:
            if number in self._wrote and value is self._wrote[number]:
                return Settled(self._versions[number].payload, self._versions[number].writer, how)
        return Settled(encode(value, self._key), MERGE, how or type(value).__name__)

    # ---- the strand ------------------------------------------------------------------------------------------------

    def wrote(self, number: int) -> Any:
        """What the version holds. The values of those that are superseded may be large, and many: few are kept."""
        if number in self._wrote:
            return self._wrote[number]
        value = self._latest(number)
        if number in self._candidates:
            self._wrote[number] = value
        return value

    def saw(self, number: int) -> Any:
        """What its writer saw. Joins are resolved from the earliest on, so that none has to wait for another."""
        if number in self._saw:
            return self._saw[number]
        seen = self.lineage.saw(number)
        if not seen:
            return ABSENT
        if len(seen) == 1:
            return self.wrote(self.lineage.numbers[seen[0]])
        while number not in self._saw:
            earliest = self._joins[self._resolved]
            self._resolved += 1
            self._saw[earliest] = self._view_of(earliest)
        return self._saw[number]

    def _view_of(self, number: int) -> Any:
        """What its writer saw, of several: the same for whoever asks, and so it is remembered, where it is small."""
        version = self._versions[number]
        name = "seen", self._key, version.writer
        remembered = self._rules.remembered(name)
        if remembered is not None:
            return remembered[0]
        view = self._view(self.lineage.saw(number))
        if version.payload is not None and not is_reference(version.payload) and not isinstance(view, Clash):
            self._rules.remember(name, (view,), _TIMES_DECODED * len(version.payload))
        return view

    def _view(self, seen: Sequence[int]) -> Any:
        """What the versions at these places come to, in their order."""
        if isinstance(self.lineage.places, range) and _ascends(seen):
            return self.at(set_of(seen), BY_NUMBER)
        order = {self.lineage.numbers[place]: position for position, place in enumerate(seen)}
        return self.at(set_of(order), order.__getitem__)

    def addition(self, number: int) -> list[Any] | None:
        """What the version added to the list that its writer saw: mostly a look at the bytes tells."""
        found = self._added(number)
        return found if type(found) is list else super().addition(number)

    def changes(self, number: int) -> dict[Any, Change]:
        """What the version's writer did to members: the same, where it only added some."""
        found = self._added(number)
        if type(found) is not dict:
            return super().changes(number)
        return {member: Change(ABSENT, value) for member, value in found.items()}

    def _added(self, number: int) -> Any:
        version = self._versions[number]
        seen = self.lineage.saw(number)
        if len(seen) != 1 or version.payload is None:
            return None
        before = self._versions[self.lineage.numbers[seen[0]]].payload
        return None if before is None else added(before, version.payload)

    def join(self, join: Join, order: Order) -> Steps:
        """What writes that stand side by side come to, by the key's rule if it has one."""
        if not self._rules.has(self._key):
            return (yield from super().join(join, order))
        values = [self.wrote(number) for number in join.tops]
        if all(value is ABSENT for value in values):
            return ABSENT
        if isinstance(join.base, Clash):
            return Clash(tuple(join.tops), tuple(values), join.base.path, join.base, join.base.cause)
        try:
            return with_room(self._by_rule, join, values)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a rule that raises leaves the key in conflict
            return Clash(cause=error if isinstance(error, Exception) else _RuleExited(f"{error.code!r}"))

    def _by_rule(self, join: Join, values: Sequence[Any]) -> Any:
        rule = self._rules.rule(self._key)
        if rule is first or rule is last:
            return values[0 if rule is first else -1]
        combine = next((function for named, function in combined.items() if named is rule), None)
        if combine is not None or rule is union:
            changes = [Change(self.saw(number), self.wrote(number)) for number in join.later]
            unknown = next((part for change in changes for part in change if isinstance(part, Clash)), None)
            if unknown is not None:
                return unknown
            return united(self, join) if combine is None else combine(join.base, changes)
        unknown = next((value for value in values if isinstance(value, Clash)), None)
        if unknown is not None:
            return unknown
        base = None if join.base is ABSENT else decode(encode(join.base, self._key))
        payloads = [self._versions[number].payload for number in join.tops]
        return rule(base, [decode(payload) for payload in payloads if payload is not None])


def _held(key: str, versions: Sequence[Version]) -> Callable[[int], Any]:
    """Gives the values of versions by their numbers, and holds the latest."""

    @lru_cache(_HELD)
    def value(number: int) -> Any:
        return _decoded(key, versions[number])

    return value


def _are_apart(dicts: Sequence[Mapping[Any, Any]]) -> bool:
    """Whether no two have a member in common, and each is found in a copy."""
    together = set(chain.from_iterable(dicts))
    return len(together) == sum(map(len, dicts)) and are_found_by_hash(together)


def _ascends(places: Sequence[int]) -> bool:
    return isinstance(places, range) or all(one < other for one, other in pairwise(places))


# ---- by task -------------------------------------------------------------------------------------------------------


def _collected(key: str, versions: tuple[Version, ...], rules: Rules) -> Settled | Conflict:
    """A dict of what each task wrote, on top of the input's dict. A removal takes along all that its task saw."""
    lineage = Lineage([version.saw for version in versions])
    gone = 0
    for version, number in zip(versions, lineage.numbers, strict=True):
        if version.payload is None and not version.rivals:
            gone |= lineage.below(number) | 1 << number
    kept = [version for version, number in zip(versions, lineage.numbers, strict=True) if not gone >> number & 1]
    if not kept:
        return Settled(None, MERGE, "by_task")
    values = [_decoded(key, _by_order(version, rules)) for version in kept]
    if len(kept) == 1 and kept[0].writer == INPUT and not isinstance(values[0], Clash):
        return _standing(key, kept[0], rules)
    entries: dict[str, Any] = {}
    try:
        for version, value in zip(kept, map(_rebuilt, values), strict=True):
            entries |= _given(value) if version.writer == INPUT else {rules.called(key, version.writer): value}
    except Exception as cause:  # noqa: BLE001 - what is told where the key is read
        return conflict(key, tuple(kept), tuple(kept), values, cause=cause)
    return Settled(encode(entries, key), MERGE, "by_task")


def _rebuilt(value: Any) -> Any:
    """The value. Raises why it isn't one, if it couldn't be rebuilt here."""
    if isinstance(value, Clash) and value.cause is not None:
        raise value.cause
    return value


def _given(value: Any) -> Mapping[str, Any]:
    """The entries of the input's value, to which those of tasks are added."""
    if isinstance(value, dict):
        return value
    if isinstance(value, Clash):
        raise TypeError("by_task adds to a dict, and the input was in conflict already")
    if value is not ABSENT:
        raise TypeError(f"by_task adds to a dict, and the input has a value of type {type(value).__name__}")
    return {}
