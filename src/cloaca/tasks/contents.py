"""Contents: what a context holds. That is what it was given, what it has asked for since, and what was changed.

All of it is encoded; values are read and set through `Context`, which is what users see. Changes are kept apart from
what was given, so that a task's diff is exactly what it set and removed. Inside a task the given part is a slice: what
it lacks is asked for when it is needed, and the task doesn't notice. What is known is replaced and never changed, as
threads of a task may look at it meanwhile.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from copy import copy
from functools import partial
from itertools import chain
from time import monotonic
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from cloaca.errors import INPUT, MergeConflict, StorageFullError, UndeclaredReadError, UndeclaredWriteError
from cloaca.merge.encoded import are_equal
from cloaca.merge.rules import Rules
from cloaca.merge.settled import Conflict, Settled, rivals_of
from cloaca.nearest import nearest
from cloaca.tasks.scope import Ask, Scope
from cloaca.tasks.shelf import Shelf, Traffic
from cloaca.values.blobs import LARGE, REFERS, SMALL, Part, blob_of, is_content, is_reference, is_small, unreadable
from cloaca.values.codec import decode, encode, encode_each, inlined, is_telling
from cloaca.values.composite import is_composite
from cloaca.wire.messages import Items, ItemsFound, Looked, Outcome, Ranges, Slice, Version
from cloaca.wire.strike import is_strike
from cloaca.wire.text import is_encodable

HANDED_BACK = 1 << 20
"""How many bytes a merged value takes at most that a task hands back for those after it."""

SEVERAL = 2


def whole(versions: Mapping[str, tuple[Version, ...]]) -> Slice:
    """Exactly these versions, and nothing to be asked for."""
    return Slice(versions, complete=True, outcomes={})


_NOTHING = whole({})


def _answer_nothing(*_question: object) -> Slice:
    return _NOTHING


class Contents(Struct, eq=False):
    """What one context holds. It is a `Struct`, as there is one for each item: no other object is made as quickly.

    `covered` keys that `given` lacks are absent, others are asked for. Large values are put on the `shelf`, if there is
    one. `leases` keep the files that values refer to. `origin` is what the attempt's seed follows from beside the id of
    the task, its `writer`: the run's seed, and how many tries of the task have ended.
    """

    given: Slice = _NOTHING
    writer: str = INPUT
    rules: Rules = field(default_factory=Rules)
    covered: frozenset[str] = frozenset()
    ask: Ask = _answer_nothing
    shelf: Shelf | None = None
    leases: object = None
    origin: tuple[int, int] | None = None
    prefix: str = ""  # of the names of keys, where the task belongs to a copy
    traffic: Traffic = field(default_factory=Traffic)
    changes: dict[str, bytes | None] = field(default_factory=dict)
    settled: dict[str, Settled | Conflict] = field(default_factory=dict)
    outcomes: Mapping[str, Outcome] | None = None  # once one was asked for
    item_key: bytes | None = None  # where the attempt is for an item
    items: ItemsFound | None = None  # where it has found those of a mapped task
    shares: bool = True  # whether what it sets may lie where what it saw does
    why: Callable[[str], str] | None = None  # where it is that of a result: why a key is absent
    slots: Mapping[str, Ranges] | None = None  # the units that the attempt has, where it has some of any limit

    # ---- other contents --------------------------------------------------------------------------------------------

    def enter(self, prefix: str) -> None:
        """Be as the task of a copy sees it: only what is called `prefix...`, and by the rest of its name.

        What is read is told under the names that keys have outside.
        """
        scope = Scope(prefix)
        self.given = scope.entered(self.given)
        self.covered = frozenset(scope.inner(self.covered))
        self.ask = scope.asking(self.ask)
        self.rules = self.rules.within(prefix)
        self.prefix = prefix
        self.settled = {}

    def twin(self) -> "Contents":
        """The same, to be changed apart. What is merged for one of the two is merged for both."""
        if self.shelf is not None:
            self.shelf.share()
        twin = copy(self)
        twin.traffic = Traffic()
        twin.changes = dict(self.changes)
        return twin

    def unchanged(self) -> "Contents":
        """What was given, without the changes. What is merged for one of the two is merged for both."""
        given = Contents(whole(self.given.versions), rules=self.rules, leases=self.leases)
        given.settled = self.settled
        return given

    # ---- one key ---------------------------------------------------------------------------------------------------

    def held(self, key: str) -> bytes | Conflict | None:
        """What there is for `key`: an encoded value, a conflict, or nothing."""
        return self.changes[key] if key in self.changes else self.seen(key)

    def has(self, key: str) -> bool:
        """Whether there is anything for `key`."""
        return self.changes[key] is not None if key in self.changes else self.was_there(key)

    def was_there(self, key: str) -> bool:
        """Whether there was anything for it before the changes."""
        return self.seen(key) is not None

    def payload(self, key: str) -> bytes | None:
        """The encoded value of the key as it stands; `None` where it is absent or in conflict."""
        held = self.held(key)
        return held if isinstance(held, bytes) else None

    def seen(self, key: str) -> bytes | Conflict | None:
        """What was there before the changes."""
        versions = self.given.versions.get(key)
        if versions is None:
            versions = self.sought(key)
        if len(versions) == 1 and key not in self.rules.collected and not versions[0].rivals:
            return versions[0].payload
        if not versions:
            return None
        settled = self.settled.get(key)
        if settled is None:
            from cloaca.merge.settle import settle  # most keys have one version

            settled = settle(key, versions, self.rules)
            if not (isinstance(settled, Conflict) and settled.may_pass):
                self.settled[key] = settled
        return settled if isinstance(settled, Conflict) else settled.payload

    def sought(self, key: str) -> tuple[Version, ...]:
        """The versions of a key that isn't known: asked for, unless it is known to be absent."""
        name, given = checked_key(key), self.given
        if given.complete or name in self.covered or (given.names is not None and name not in given.names):
            return ()
        answer = self._asked((name,), rest=False)
        found = {name: (), **answer.versions}
        self._learn(found)
        return found[name]

    def _asked(self, keys: tuple[str, ...], *, rest: bool) -> Slice:
        """What is answered to who asks for these keys, or for all there are; the time that takes is noted."""
        began = monotonic()
        answer = self.ask(keys, rest, False)  # noqa: FBT003 - positions of Ask
        self.traffic.waiting += monotonic() - began
        return answer

    def _learn(self, found: Mapping[str, tuple[Version, ...]]) -> None:
        self.given = replace(self.given, versions={**self.given.versions, **found})

    def read(self, key: str, held: Part, how: Callable[[Part], Any] = decode) -> Any:
        """The value of a key, or a place in it. Raises `DecodeError` where it can't be rebuilt."""
        try:
            return how(held) if is_small(held) else self._timed(how, held)
        except Exception as error:
            if is_strike(error, partial(how, held)):
                raise
            raise unreadable(key, self._writer_of(key), held, error) from error

    def item(self, items: Items, place: int = 0) -> Any:
        """The item at that place. From here on its key is known. Raises `DecodeError` as above."""
        payload = items.payloads[place]
        self.shares = False
        if items.keys is not None:
            self.item_key = items.keys[place]
        self.traffic.note(items.of, payload)
        try:
            if len(payload) < SMALL and payload[:1] != REFERS:  # as `is_small`, for each item
                return decode(payload)
            return self._timed(decode, payload)
        except Exception as error:
            if is_strike(error, partial(decode, payload)):
                raise
            raise unreadable(items.of, items.writers[place % len(items.writers)], payload, error) from error

    def stand_for_item(self, items: Items, place: int) -> None:
        """Be those of an instance that sees its item as it sees any key. What it sets is its own."""
        self.shares = False
        if items.keys is not None:
            self.item_key = items.keys[place]

    def settle_joined(self) -> None:
        """Set each key that has several versions to what they come to. Raises `MergeConflict`, telling of all."""
        joined = [key for key, told in self.given.versions.items() if len(told) > 1]
        self.demand_agreement(joined)
        for key in joined:
            payload = self.payload(key)
            if payload is not None and (is_reference(payload) or is_composite(payload)):
                self.set(key, self.read(key, payload))  # its files are those of the versions
            else:
                self.changes[key] = payload

    def _timed(self, how: Callable[[Part], Any], held: Part) -> Any:
        """What it is rebuilt to; the time that takes is noted."""
        began = monotonic()
        value = how(held)
        self.traffic.loading += monotonic() - began
        return value

    def set(self, key: str, value: Any) -> None:
        """Insert or overwrite it; what the attempt has stored for it before goes."""
        began, shelf = monotonic(), self.shelf
        if shelf is None:
            payload = self.changes[key] = encode(value, key)
        else:
            before = self.changes.get(key)
            payload = self.changes[key] = encode(value, key, self._store)
            if before is not None and before != payload:
                shelf.drop(before)
        if len(payload) >= SMALL or payload[:1] == REFERS:  # as not `is_small`
            self.traffic.encoding += monotonic() - began

    def _store(self, parts: Sequence[Part], is_structure: bool, key: str | None) -> bytes:  # noqa: FBT001 - as in Put
        """Store a large value; one that has the very bytes of what the task saw is that already."""
        if self.shelf is None or key is None:
            raise AssertionError("a value of no task is never stored")
        versions = self.given.versions.get(key)
        if versions is None:
            versions = self.sought(key)
        seen = versions[0].payload if len(versions) == 1 and self.shares else None
        if seen is not None and is_reference(seen) and is_content(blob_of(seen), parts):
            return seen
        try:
            return self.shelf.put(parts, is_structure)
        except StorageFullError as error:
            raise StorageFullError(error.size, error.folders, self.writer, key, unusable=error.unusable) from None

    def remove(self, key: str) -> None:
        """Remove it."""
        self.changes[key] = None

    def set_unseen(self, key: str, payload: bytes) -> None:
        """Set an encoded value that nobody merges or compares."""
        self.changes[key] = self._kept(key, payload, is_structure=False)

    def _kept(self, key: str, payload: bytes, *, is_structure: bool) -> bytes:
        """The payload, or where it is large the reference to where it was stored."""
        is_large = self.shelf is not None and len(payload) >= LARGE
        return self._store([payload], is_structure, key) if is_large else payload

    def miss(self, key: str) -> None:
        """Note that the key was looked up, and isn't there."""
        self.traffic.miss(self.prefix + key)

    def _writer_of(self, key: str) -> str:
        if key in self.changes:
            return self.writer
        settled = self.settled.get(key)
        return settled.writer if isinstance(settled, Settled) else self.given.versions[key][0].writer

    # ---- all keys --------------------------------------------------------------------------------------------------

    def keys(self) -> Iterable[str]:
        """Every key that there is, in order, and those that were removed."""
        if not self.given.complete:
            found = self._asked((), rest=True).versions
            self.given = replace(self.given, versions=found, complete=True, outcomes=None)
        return dict.fromkeys(chain(self.given.versions, self.changes))  # asks no mapping how long it is

    def names(self) -> dict[str, None]:
        """Every key for which there is anything, in order."""
        return dict.fromkeys(filter(self.has, self.keys()))

    def present(self) -> dict[str, bytes | Conflict]:
        """What stands for every key that there is, in order."""
        return {key: held for key in self.keys() if (held := self.held(key)) is not None}

    def split(self) -> tuple[dict[str, bytes], list[Conflict]]:
        """The values, by key, and the conflicts."""
        present = self.present()
        values = {key: held for key, held in present.items() if isinstance(held, bytes)}
        return values, [held for held in present.values() if isinstance(held, Conflict)]

    def agreed(self) -> dict[str, bytes]:
        """The values, by key, where no key is in conflict. Raises `MergeConflict`, telling of all that are."""
        values, conflicts = self.split()
        if conflicts:
            raise MergeConflict.of([conflict.error for conflict in conflicts])
        return values

    def versions(self) -> dict[str, Version]:
        """Everything, one version for each key. One in conflict keeps its rivals."""
        return {key: self._alone(key, held) for key, held in self.present().items()}

    def _alone(self, key: str, held: bytes | Conflict) -> Version:
        if isinstance(held, Conflict):
            return Version(INPUT, None, rivals=tuple(rivals_of(held.versions)))
        return Version(self._writer_of(key), held)

    def merges(self) -> dict[str, str]:
        """The keys whose value was made of several, each with the rule that made it."""
        merged = {key: self.settled.get(key) for key in self.present()}
        return {key: settled.how for key, settled in merged.items() if isinstance(settled, Settled) and settled.how}

    # ---- an attempt ------------------------------------------------------------------------------------------------

    def cover(self, keys: Iterable[str]) -> None:
        """Take it that those of `keys` that weren't given are absent."""
        self.covered = self.covered.union(keys)

    def demand_agreement(self, keys: Iterable[str]) -> None:
        """Raise `MergeConflict` where one of `keys` is in conflict, telling of all that are."""
        conflicts = [held.error for key in keys if isinstance(held := self.held(key), Conflict)]
        if conflicts:
            raise MergeConflict.of(conflicts)

    def limit_writes(self, writes: Collection[str]) -> None:
        """Let no other keys be set or removed from here on."""
        self.changes = _Declared(self.writer, writes)

    def limit_reads(self, reads: Collection[str]) -> None:
        """Let no other keys be looked at from here on: one that is there is an `UndeclaredReadError`."""
        seen, task, ask = self.given.versions, self.writer, None if self.given.complete else self.ask
        self.outcomes = self._outcomes_given

        def ask_declared(keys: tuple[str, ...], rest: bool, outcomes: bool) -> Slice:  # noqa: FBT001 - the shape of Ask
            here = seen if rest else {key: seen[key] for key in keys if key in seen}
            answer = Slice(here) if ask is None else ask(keys, rest, outcomes)
            for key in keys if not outcomes else ():
                if key not in reads and answer.versions.get(key):
                    raise UndeclaredReadError(task, key, tuple(nearest(key, reads)))
            return replace(answer, versions={key: told for key, told in answer.versions.items() if key in reads})

        self.ask = ask_declared
        known = {key: seen[key] for key in reads if key in seen}
        self.given = replace(self.given, versions=known, complete=False)

    def find_items(self, of: str, items: list[Any], labels: list[str] | None, keys: list[bytes] | None) -> None:
        """These are the items of key `of` for which instances are to run.

        Nothing is seen from here on, so that no item can count as unchanged.
        """
        self.given, self.settled = _NOTHING, {}
        put, began = None if self.shelf is None else self._store, monotonic()
        self.items = ItemsFound(encode_each(items, of, put), labels, keys)
        self.traffic.encoding += monotonic() - began

    def adopt(self, other: "Contents") -> None:
        """Set every key of `other`, as it is encoded there. Raises `MergeConflict` where one is in conflict.

        Of a twin, what was removed there is removed.
        """
        if other.settled is self.settled:
            for key in [key for key in self.changes if key not in other.changes and other.has(key)]:
                del self.changes[key]
            for key, change in other.changes.items():
                self.changes[key] = change
            return
        for key, payload in other.agreed().items():
            is_picky = self.item_key is not None or isinstance(self.changes, _Declared)
            if is_picky and payload == self.held(key):
                continue  # what it has from there is nothing that was set
            self.changes[key] = self._kept(key, payload, is_structure=True)

    def diff(self) -> dict[str, bytes | None]:
        """What was set (the payload) and removed (`None`).

        To set a value that equals what was there is no change; where bytes don't tell, what was there is asked for.
        """
        changes = dict(self.changes)  # a thread that the task leaves may go on with its own
        if not self.given.complete:
            if self.given.names == () and not self.given.versions:
                return changes  # there is nothing that they could equal
            unknown = tuple([key for key, payload in changes.items() if self._is_in_doubt(key, payload)])
            if unknown:
                self._learn(self._asked(unknown, rest=False).versions)
        kept = {key: payload for key, payload in changes.items() if not self._is_as_seen(key, payload)}
        return changes if len(kept) == len(changes) else kept

    def _is_in_doubt(self, key: str, payload: bytes | None) -> bool:
        """Whether a change may be one or not, and only what was there can tell, which isn't known."""
        given = self.given
        if key in given.versions or key in self.covered or key in self.rules.collected:
            return False
        if given.met is None or key in given.met:
            return True
        is_there = given.names is None or key in given.names
        return is_there and payload is not None and not is_telling(payload)

    def _is_as_seen(self, key: str, payload: bytes | None) -> bool:
        """Whether a change sets what was there. Where that isn't known, the bytes will tell.

        A key that is kept by task counts only where the task has looked at it: to tell all that is in it, for nothing,
        would cost as much as all that tasks have set.
        """
        if key in self.rules.collected and key not in self.settled:
            return False
        if not self.given.versions.get(key):
            return False
        if payload is None:
            return not self.was_there(key)
        seen = self.seen(key)
        return isinstance(seen, bytes) and are_equal(seen, payload)

    def seed(self) -> int | None:
        """The seed of the attempt, if there is one."""
        if self.origin is None:
            return None
        from cloaca.seed import derived  # few tasks ask

        return derived(self.origin[0], self.writer, self.origin[1])

    def handed_back(self) -> dict[str, Version] | None:
        """What keys of several versions came to, for those that go on from there: what is small, and new."""
        if not self.settled:
            return None
        return {
            self.prefix + key: Version(settled.writer, settled.payload)
            for key, settled in self.settled.items()
            if isinstance(settled, Settled) and self._is_worth_telling(key, settled)
        } or None

    def _is_worth_telling(self, key: str, settled: Settled) -> bool:
        if len(self.given.versions.get(key, ())) < SEVERAL or key in self.rules.collected:
            return False
        payload = settled.payload
        if payload is not None and (len(payload) > HANDED_BACK or is_reference(payload) or is_composite(payload)):
            return False
        is_news, settled.is_handed_back = not settled.is_handed_back, True
        return is_news

    def outcome(self, task: str) -> Outcome:
        """How an ancestor ended. Raises `KeyError` where there is none of that id."""
        if self.outcomes is None:
            self.outcomes = self._outcomes_given
        if self.outcomes is None:
            self.outcomes = _Ancestors(self.ask)
        return self.outcomes[task]

    def looked(self, *, has_drawn: bool) -> Looked | None:  # noqa: ARG002 - whatever it drew
        """What the attempt has looked at; `None`, as its run isn't recorded (see `tasks/recorded`)."""
        return None

    def note_outcome(self, task: str) -> None:
        """Note that the attempt was told how a task had ended: nothing, as above."""

    @property
    def _outcomes_given(self) -> Mapping[str, Outcome] | None:
        """All of them, if they were given, and not only those that a condition names."""
        return self.given.outcomes if self.given.complete else None


class _Declared(dict[str, bytes | None]):
    """What a task has set and removed, by key. `writes` are all the keys that may be among them."""

    __slots__ = ("_task", "_writes")

    def __init__(self, task: str, writes: Collection[str]) -> None:
        super().__init__()
        self._task = task
        self._writes = writes

    def __setitem__(self, key: str, payload: bytes | None) -> None:
        if key not in self._writes:
            raise UndeclaredWriteError(self._task, key, tuple(nearest(key, self._writes)))
        super().__setitem__(key, payload)


class _Ancestors(Mapping[str, Outcome]):
    """Their outcomes by name, asked for one by one: each answer brings more that may be wanted. Listed are tasks."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._known: dict[str, Outcome] = {}
        self._tasks: Mapping[str, Outcome] | None = None

    def __getitem__(self, name: str) -> Outcome:
        if name not in self._known and isinstance(name, str) and is_encodable(name):
            self._known.update(self._ask((name,), False, True).outcomes or {})  # noqa: FBT003 - positions of Ask
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> Mapping[str, Outcome]:
        if self._tasks is None:
            self._tasks = self._ask((), False, True).outcomes or {}  # noqa: FBT003 - positions of Ask
        return self._tasks


def checked_key(key: Any) -> str:
    """The key as exactly what messages carry: a `str`, no subclass of it (an enum's member), and valid UTF-8."""
    if not isinstance(key, str):
        raise TypeError(f"A context key is a str, not {type(key).__name__}: {key!r}")
    try:
        key.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"A context key is valid text, and {key!r} is not: {error.reason}") from error
    return str.__str__(key)


def inlined_version(key: str, version: Version) -> Version:
    """The version of a key with all its bytes, as another program can read it. Raises `DecodeError`."""
    try:
        payload = None if version.payload is None else inlined(version.payload)
    except OSError as error:
        raise unreadable(key, version.writer, version.payload or b"", error) from error
    rivals = tuple([inlined_version(key, rival) for rival in version.rivals])
    return Version(version.writer, payload, place=version.place, rivals=rivals)
