"""Context: the named values that a task reads and sets. Used by the program and inside workers alike.

A context holds encoded values, never references: `set` takes a snapshot, `get` hands out a copy of the caller's own.
Changes are kept apart from what was given, so that a task's diff is exactly what it set and removed. Inside a task the
given part is a slice: what it lacks is asked for when it is needed, and the task doesn't notice.
"""

from collections.abc import Callable, Collection, ItemsView, Iterable, Iterator, KeysView, Mapping, Sequence, ValuesView
from contextlib import suppress
from functools import partial
from itertools import chain, islice
from operator import getitem
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self

from cloaca.errors import INPUT, DecodeError, MergeConflict, StorageFullError
from cloaca.merge.conflict import Conflict, rivals_of, shown
from cloaca.merge.encoded import are_equal
from cloaca.merge.rules import Rules
from cloaca.merge.settle import Settled, settle
from cloaca.nearest import nearest
from cloaca.tasks.ancestors import Ancestors
from cloaca.tasks.declaration import Declared, asking_for
from cloaca.tasks.scope import Ask, Scope
from cloaca.tasks.shelf import Shelf, Traffic
from cloaca.values.blobs import LARGE, Part, blob_of, is_content, is_reference, unreadable
from cloaca.values.codec import decode, encode, encode_each, inlined, is_telling
from cloaca.values.composite import is_composite
from cloaca.wire.frames import is_encodable
from cloaca.wire.messages import Items, Outcome, Slice, Version
from cloaca.wire.strike import is_strike
from cloaca.wording import a

_NOTHING = Slice({}, complete=True, outcomes={})
_MISSING = object()
_SHOWN_KEYS = 8

HANDED_BACK = 1 << 20
"""How many bytes a merged value takes at most that a task hands back for those after it."""

SEVERAL = 2
SUGGESTED = 3
_SHOWN_LENGTH = 100


class Context:
    """Named values. Values go in as snapshots and come out as copies, equal and of the same type.

    Args:
        data: the first values, by key (`str`).

    Raises:
        TypeError: `data` is no dict with `str` keys.
        EncodeError: a value can't be pickled.

    >>> from cloaca import Context
    >>> context = Context({"year": 2026, "shape": (3, 4)})
    >>> context.set("rows", [1, 2])
    >>> rows = context.get("rows")
    >>> rows.append(3)  # a copy: the context doesn't change
    >>> context.get("rows"), context["shape"]
    ([1, 2], (3, 4))
    """

    __slots__ = (
        "_ask",
        "_changes",
        "_complete",
        "_covered",
        "_item_key",
        "_known",
        "_leases",
        "_met",
        "_names",
        "_origin",
        "_outcomes",
        "_prefix",
        "_rules",
        "_settled",
        "_shelf",
        "_traffic",
        "_why",
        "_writer",
    )
    _why: Callable[[str], str]  # where it is that of a result: why a key is absent
    __hash__ = None  # type: ignore[assignment]  # mutable, and equal by value

    def __init__(self, data: dict[str, Any] | None = None) -> None:
        self._open(_NOTHING, frozenset(), _answer_nothing, INPUT, Rules())
        if data is not None:
            self.update_from_dict(data)

    def _open(
        self,
        given: Slice,
        covered: frozenset[str],
        ask: Ask,
        writer: str,
        rules: Rules,
        shelf: Shelf | None = None,
        leases: object = None,
        origin: tuple[int, int] | None = None,
    ) -> None:
        self._known: Mapping[str, tuple[Version, ...]] = given.versions
        self._complete = given.complete
        self._outcomes = given.outcomes if given.complete else None  # else those that the condition names, not all
        self._met = given.met
        self._names = given.names
        self._covered = covered
        self._ask = ask
        self._writer = writer
        self._rules = rules
        self._shelf = shelf
        self._leases = leases
        self._origin = origin
        self._traffic = Traffic()
        self._item_key: bytes | None = None  # where the attempt is for an item
        self._prefix = ""  # of the names of keys, where the task belongs to a copy
        self._changes: dict[str, bytes | None] = {}
        self._settled: dict[str, Settled | Conflict] = {}

    # ---- one key ---------------------------------------------------------------------------------------------------

    def get(self, key: str, default: Any = None) -> Any:
        """A copy of the value of `key`, or `default` where the key is absent.

        Raises:
            MergeConflict: concurrent tasks wrote values that don't agree.
            DecodeError: the value can't be rebuilt in this process.
        """
        held = self._held(key)
        if held is None:
            if default is None or default is _MISSING:
                self._traffic.miss(key)
            return default
        if isinstance(held, Conflict):
            raise held.error
        return self._decoded(key, held)

    def lazy(self, key: str) -> Any:
        """The list or dict of `key`, of which each place is decoded when it is first looked at.

        For tasks that look at few of the places: of what a mapped task has collected, above all. It can't be changed.
        (A list or dict that holds anything but plain data, and wasn't collected, is decoded as a whole.)

        Raises what `context[key]` raises, and `TypeError` where the value is no list or dict.

        >>> from cloaca import Context
        >>> rows = Context({"rows": [[1, 2], [3], []]}).lazy("rows")
        >>> len(rows), rows[1], rows[:2]
        (3, [3], [[1, 2], [3]])
        """
        from cloaca.tasks.places import LazyDict, LazyList
        from cloaca.values.elements import elements_of

        held = self._held(key)
        cut = self._read(key, held, elements_of) if isinstance(held, bytes) else None
        found = self[key] if cut is None else cut
        load = partial(getitem, found) if cut is None else partial(self._place, key, cut)
        if isinstance(found, list):
            return LazyList(load, len(found))
        if isinstance(found, dict):
            return LazyDict(load, found.keys())
        raise TypeError(f"lazy takes the key of a list or dict, and {key!r} holds {a(type(found).__name__)}.")

    def _place(self, key: str, elements: Any, place: Any) -> Any:
        return self._decoded(key, elements[place])

    def _decoded(self, key: str, held: Part) -> Any:
        """The value of a key, or a place in it."""
        self._traffic.note(key, held)
        return self._read(key, held, decode)

    def _read(self, key: str, held: Part, read: Callable[[Part], Any]) -> Any:
        try:
            return read(held)
        except Exception as error:
            if is_strike(error, partial(read, held)):
                raise
            raise unreadable(key, self._writer_of(key), held, error) from error

    def set(self, key: str, value: Any) -> None:
        """Insert or overwrite `key` with a snapshot of `value`.

        Raises:
            EncodeError: the value can't be pickled; the message leads to the culprit inside it.
            StorageFullError: the value is large, and there is no room for it.
            TypeError: the key is no `str`.
        """
        if type(key) is not str or not key.isascii():
            key = _checked(key)
        if self._shelf is None:
            self._changes[key] = encode(value, key)
            return
        before = self._changes.get(key)
        self._changes[key] = encode(value, key, self._store)
        if before is not None and before != self._changes[key]:
            self._shelf.drop(before)

    def _store(self, parts: Sequence[Part], is_structure: bool, key: str | None) -> bytes:  # noqa: FBT001 - as in Put
        """Store a large value; one that has the very bytes of what the task saw is that already."""
        if self._shelf is None or key is None:
            raise AssertionError("a value of no task is never stored")
        versions = self._known.get(key)
        if versions is None:
            versions = self._sought(key)
        seen = versions[0].payload if len(versions) == 1 and self._item_key is None else None
        if seen is not None and is_reference(seen) and is_content(blob_of(seen), parts):
            return seen
        try:
            return self._shelf.put(parts, is_structure)
        except StorageFullError as error:
            raise StorageFullError(error.size, error.folders, self._writer, key, unusable=error.unusable) from None

    def insert(self, key: str, value: Any) -> None:
        """Set a key that must be absent; `ValueError` where it is present: `set` and `update` overwrite."""
        if key in self:
            raise ValueError(f"Key already exists: {key}")
        self.set(key, value)

    def update(self, key: "str | Mapping[str, Any] | Context", value: Any = _MISSING) -> None:
        """Set a key that must be present; `KeyError` where it is absent. Given a mapping, set all of its keys."""
        if value is _MISSING:
            self._update_from(key)
            return
        name: Any = key
        if name not in self:
            raise self._missing(name)
        self.set(name, value)

    def _update_from(self, mapping: object) -> None:
        if not isinstance(mapping, Mapping | Context):
            raise TypeError(f"update takes a key and its value, or a mapping, not {a(type(mapping).__name__)} alone.")
        for key, value in mapping.items():
            self.set(key, value)

    def remove(self, key: str) -> Any:
        """Remove `key`; returns its value, or `None` where there is none to return.

        That is so where the key is absent or in conflict, and where its value can't be rebuilt in this process.
        """
        value = None
        with suppress(MergeConflict, DecodeError):
            value = self.get(key)
        if key in self:
            self._changes[_checked(key)] = None
        return value

    delete = remove

    def __getitem__(self, key: str) -> Any:
        value = self.get(key, _MISSING)
        if value is _MISSING:
            raise self._missing(key)
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        self.set(key, value)

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise self._missing(key)
        self._changes[_checked(key)] = None

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and is_encodable(key) and self._held(key) is not None

    # ---- all keys --------------------------------------------------------------------------------------------------

    def keys(self) -> KeysView[str]:
        """The keys, those in conflict included. Untouched inputs come first, then each task's in its place."""
        return self._present().keys()

    def values(self) -> ValuesView[Any]:
        """Copies of all values, in the order of `keys`. Raises `MergeConflict` where a key is in conflict."""
        return self.to_dict().values()

    def items(self) -> ItemsView[str, Any]:
        """Pairs of key and a copy of its value. Raises `MergeConflict` where a key is in conflict."""
        return self.to_dict().items()

    def __iter__(self) -> Iterator[str]:
        return iter(self._present())

    def __len__(self) -> int:
        return len(self._present())

    def to_dict(self, conflicts: Literal["raise", "skip"] = "raise") -> dict[str, Any]:
        """A dict of copies. Keys in conflict raise `MergeConflict`, listing all, or are left out with "skip"."""
        if conflicts not in ("raise", "skip"):
            raise ValueError(f'conflicts must be "raise" or "skip", not {conflicts!r}')
        return {key: self.get(key) for key in (self._agreed() if conflicts == "raise" else self._split()[0])}

    def update_from_dict(self, data: dict[str, Any]) -> None:
        """Set every key of `data`."""
        if not isinstance(data, dict):
            raise TypeError(f"Expected a dict with str keys, not {type(data).__name__}")
        for key, value in data.items():
            self.set(key, value)

    def to_json(self) -> str:
        """The context as a JSON object; `TypeError` names the key whose value JSON can't carry."""
        from json import dumps  # workers do without it

        members = (f"{dumps(key)}: {_to_json(key, value)}" for key, value in self.items())
        return "{" + ", ".join(members) + "}"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """A context from a JSON object; `ValueError` where the text is malformed or no object."""
        from json import loads  # as above

        data = loads(text, parse_constant=_refuse_constant)
        if not isinstance(data, dict):
            raise ValueError(f"A context is a JSON object, not a JSON {type(data).__name__}")
        return cls(data)

    if not TYPE_CHECKING:  # to type checkers, it has the attributes that it has

        def __getattr__(self, name: str) -> NoReturn:
            """What is no attribute may be meant for a key."""
            meant = (
                "" if name.startswith("_") else f": a key is read by context[{name!r}], set by context[{name!r}] = ..."
            )
            raise AttributeError(f"A context has no attribute {name!r}{meant}", name=name)

    def copy(self) -> "Context":
        """A context of its own with the same values; changing one doesn't change the other."""
        return twin_of(self, Context.__new__(Context))

    def __copy__(self) -> "Context":
        return self.copy()

    def __deepcopy__(self, _memo: object) -> "Context":
        return self.copy()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Context):
            return NotImplemented
        mine, theirs = self._present(), other._present()
        return mine.keys() == theirs.keys() and all(_alike(held, theirs[key]) for key, held in mine.items())

    def __repr__(self) -> str:
        present = self._present()
        members = [f"{key!r}: {_shown(held)}" for key, held in islice(present.items(), _SHOWN_KEYS)]
        text = ", ".join(members if len(members) == len(present) else [*members, "..."])
        return f"Context({{{text if len(text) <= _SHOWN_LENGTH else f'{text[:_SHOWN_LENGTH]}...'}}})"

    def __reduce__(self) -> tuple[Any, ...]:
        return of_versions, ({key: (inlined_version(key, version),) for key, version in versions_of(self).items()},)

    # ---- the attempt -----------------------------------------------------------------------------------------------

    @property
    def seed(self) -> int | None:
        """The seed of this attempt, from 0 to below 2**63: for `numpy.random.default_rng(context.seed)` and the like.

        It follows from the run's seed, the task and how many of its tries have ended. Outside a task it is `None`.
        """
        if self._origin is None:
            return None
        from cloaca.seed import derived

        seed, ended = self._origin
        return derived(seed, self._writer, ended)

    @property
    def item_key(self) -> Any:
        """In a mapped task whose items come from a dict: the key of the item in hand. Anywhere else it is `None`."""
        key = self._item_key
        return None if key is None else decode(key)

    # ---- what branches and tasks left ------------------------------------------------------------------------------

    def conflicts(self) -> dict[str, MergeConflict]:
        """The keys in conflict, each with what reading it would raise: `key`, `writers` and `values`."""
        return {conflict.key: conflict.error for conflict in self._split()[1]}

    def outcome(self, task: str) -> Outcome:
        """How an ancestor of this task ended: `.status`, `.error` where it failed, `.reason` where it was skipped.

        `task` is its id, or the name of an instance of a mapped task: `process[3]`, `process['north']`.

        Raises:
            KeyError: no ancestor of this task has that id.
        """
        if self._outcomes is None:
            self._outcomes = Ancestors(self._ask)
        try:
            return self._outcomes[task]
        except KeyError:
            close = nearest(task, self._outcomes) if isinstance(task, str) else []
            raise KeyError(f"No task before this one has the id {task!r}{_told(close)}") from None

    # ---- beneath ---------------------------------------------------------------------------------------------------

    def _held(self, key: str) -> bytes | Conflict | None:
        """What the context has for `key`: an encoded value, a conflict, or nothing."""
        return self._changes[key] if key in self._changes else self._seen(key)

    def _seen(self, key: str) -> bytes | Conflict | None:
        """What was there before the context's own changes."""
        versions = self._known.get(key)
        if versions is None:
            versions = self._sought(key)
        if len(versions) == 1 and key not in self._rules.collected and not versions[0].rivals:
            return versions[0].payload
        if not versions:
            return None
        settled = self._merged(key, versions)
        return settled if isinstance(settled, Conflict) else settled.payload

    def _merged(self, key: str, versions: tuple[Version, ...]) -> Settled | Conflict:
        settled = self._settled.get(key)
        if settled is None:
            settled = settle(key, versions, self._rules)
            if not (isinstance(settled, Conflict) and settled.may_pass):
                self._settled[key] = settled
        return settled

    def _is_as_seen(self, key: str, payload: bytes | None) -> bool:
        """Whether a change sets what was there. Where that isn't known, the bytes will tell.

        A key that is kept by task counts only where the task has looked at it: to tell all that is in it, for nothing,
        would cost as much as all that tasks have set.
        """
        if key in self._rules.collected and key not in self._settled:
            return False
        if not self._known.get(key):
            return False
        seen = self._seen(key)
        if seen is None or payload is None:
            return seen is payload
        return isinstance(seen, bytes) and are_equal(seen, payload)

    def _sought(self, key: str) -> tuple[Version, ...]:
        """The versions of a key that isn't known: asked for, unless it is known to be absent."""
        name = _checked(key)
        if self._complete or name in self._covered or (self._names is not None and name not in self._names):
            return ()
        answer = self._ask((name,), False, False)  # noqa: FBT003 - positions of Ask
        found = {name: (), **answer.versions}
        self._known = {**self._known, **found}
        return found[name]

    def _present(self) -> dict[str, bytes | Conflict]:
        """What stands for every key that there is, in order."""
        return {key: held for key in self._names_in_order() if (held := self._held(key)) is not None}

    def _names_in_order(self) -> Iterable[str]:
        """Every key that there is, and those that were removed."""
        if not self._complete:
            self._known = self._ask((), True, False).versions  # noqa: FBT003 - positions of Ask
            self._complete = True
        return dict.fromkeys(chain(self._known, self._changes))  # asks no mapping how long it is

    def _split(self) -> tuple[dict[str, bytes], list[Conflict]]:
        """The values, by key, and the conflicts."""
        present = self._present()
        values = {key: held for key, held in present.items() if isinstance(held, bytes)}
        return values, [held for held in present.values() if isinstance(held, Conflict)]

    def _agreed(self) -> dict[str, bytes]:
        """The values, by key, where no key is in conflict."""
        values, conflicts = self._split()
        if conflicts:
            raise MergeConflict.of([conflict.error for conflict in conflicts])
        return values

    def _writer_of(self, key: str) -> str:
        if key in self._changes:
            return self._writer
        settled = self._settled.get(key)
        return settled.writer if isinstance(settled, Settled) else self._known[key][0].writer

    def _missing(self, key: str) -> KeyError:
        self._traffic.miss(key)
        close = [name for name in nearest(_checked(key), self._names_in_order(), 2 * SUGGESTED) if name in self]
        text = f"Key not found: {_checked(key)}{_told(close[:SUGGESTED])}"
        if hasattr(self, "_why") and (why := self._why(key)):
            text = f"{text.removesuffix('.')}. {why}"
        if self._prefix:
            text = f"{text.removesuffix('.')}. In the whole workflow it is {self._prefix + key!r}; "
            text += "add_workflow(inputs=...) passes keys in."
        return KeyError(text)


def _answer_nothing(*_question: object) -> Slice:
    return _NOTHING


def _checked(key: Any) -> str:
    """The key as exactly what messages carry: a `str`, no subclass of it (an enum's member), and valid UTF-8."""
    if not isinstance(key, str):
        raise TypeError(f"A context key is a str, not {type(key).__name__}: {key!r}")
    try:
        key.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"A context key is valid text, and {key!r} is not: {error.reason}") from error
    return str.__str__(key)


def _told(close: Sequence[str]) -> str:
    return f". The nearest names are {', '.join(map(repr, close))}." if close else ""


def _alike(one: bytes | Conflict, other: bytes | Conflict) -> bool:
    return one == other or (isinstance(one, bytes) and isinstance(other, bytes) and are_equal(one, other))


def _shown(held: bytes | Conflict) -> str:
    return "<in conflict>" if isinstance(held, Conflict) else shown(held)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON value")


def _to_json(key: str, value: Any) -> str:
    from json import dumps

    try:
        return dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"The value of key {key!r} can't be written as JSON: {error}") from error


# ---- for the parts of cloaca that carry contexts -------------------------------------------------------------------


def of_versions(known: Mapping[str, tuple[Version, ...]], rules: Rules | None = None, leases: object = None) -> Context:
    """A context that holds exactly these versions. `leases` keep what they refer to, for as long as it lives."""
    context = Context.__new__(Context)
    given = Slice(known, complete=True, outcomes={})
    context._open(given, frozenset(), _answer_nothing, INPUT, rules or Rules(), leases=leases)
    return context


def of_task(
    given: Slice,
    covered: frozenset[str],
    ask: Ask,
    writer: str,
    rules: Rules,
    shelf: Shelf | None = None,
    origin: tuple[int, int] | None = None,
    kind: type[Context] = Context,
) -> Context:
    """The context of one attempt: `covered` keys that `given` lacks are absent, others are asked for.

    Large values are put on the `shelf`, if there is one. `origin` is what the attempt's seed follows from beside the
    task's id: the run's seed, and how many tries of the task have ended. `kind` is the context's class.
    """
    context = kind.__new__(kind)
    context._open(given, covered, ask, writer, rules, shelf, origin=origin)
    return context


def of_ended(
    given: Slice,
    writer: str,
    diff: Mapping[str, bytes | None],
    rules: Rules,
    leases: object,
    origin: tuple[int, int],
    prefix: str = "",
) -> Context:
    """What an attempt saw, with what it has set: for a look at it afterwards. `leases` and `origin` are as above."""
    context = Context.__new__(Context)
    context._open(given, frozenset(), _answer_nothing, writer, rules, leases=leases, origin=origin)
    if prefix:
        context = within(context, prefix)
    context._changes = {key[len(prefix) :]: payload for key, payload in diff.items()}
    return context


def explain_absence(context: Context, why: Callable[[str], str]) -> None:
    """From here on the error of an absent key says why it is, where that is known."""
    context._why = why


def payload_of(context: Context, key: str) -> bytes | None:
    """The encoded value of the key as it stands; `None` where it is absent or in conflict."""
    held = context._held(key)
    return held if isinstance(held, bytes) else None


def twin_of(context: Context, twin: Context) -> Context:
    """A copy of the context, in `twin`, which has been made and holds nothing yet."""
    if context._shelf is not None:
        context._shelf.share()
    twin._open(
        _given_to(context),
        context._covered,
        context._ask,
        context._writer,
        context._rules,
        context._shelf,
        context._leases,
        context._origin,
    )
    twin._outcomes = context._outcomes
    twin._prefix = context._prefix
    twin._changes = dict(context._changes)
    twin._settled = context._settled  # what is merged for one of the two is merged for both
    twin._item_key = context._item_key
    return twin


def within(context: Context, prefix: str) -> Context:
    """A task's context as the task of a copy sees it: only what is called `prefix...`, and by the rest of its name.

    Changes are made here under these names. What is read is told under the names that `context` has.
    """
    scope, kind = Scope(prefix), type(context)
    view = kind.__new__(kind)
    given = scope.entered(_given_to(context))
    covered, rules = frozenset(scope.inner(context._covered)), context._rules.within(prefix)
    view._open(
        given,
        covered,
        scope.asking(context._ask),
        context._writer,
        rules,
        context._shelf,
        context._leases,
        origin=context._origin,
    )
    view._traffic = context._traffic.within(prefix)
    view._prefix = prefix
    return view


def _given_to(context: Context) -> Slice:
    """What the context was given, and what it has asked for since."""
    return Slice(context._known, context._complete, context._outcomes, context._met, context._names)


def leases_of(context: Context) -> object:
    """What keeps the files that the context's values refer to."""
    return context._leases


def task_of(context: Context) -> str:
    """The id of the task whose attempt this is the context of, or of the instance."""
    return context._writer


def limit_writes(context: Context, writes: Collection[str]) -> None:
    """Let no other keys be set or removed from here on."""
    context._changes = Declared(context._writer, writes)


def limit_reads(context: Context, reads: Collection[str]) -> None:
    """Let no other keys be looked at from here on."""
    seen, ask = context._known, context._ask

    def ask_here(keys: tuple[str, ...], rest: bool, _outcomes: bool) -> Slice:  # noqa: FBT001 - the shape of Ask
        return Slice(seen if rest else {key: seen[key] for key in keys if key in seen})

    context._ask = asking_for(reads, context._writer, ask_here if context._complete else ask)
    context._known = {key: seen[key] for key in reads if key in seen}
    context._complete = False


def traffic_of(context: Context) -> Traffic:
    """What was read so far."""
    return context._traffic


def inlined_version(key: str, version: Version) -> Version:
    """The version of a key with all its bytes, as another program can read it. Raises `DecodeError`."""
    try:
        payload = None if version.payload is None else inlined(version.payload)
    except OSError as error:
        raise unreadable(key, version.writer, version.payload or b"", error) from error
    rivals = tuple([inlined_version(key, rival) for rival in version.rivals])
    return Version(version.writer, payload, place=version.place, rivals=rivals)


def unchanged(context: Context) -> Context:
    """The context as it was given, without its changes. What is merged for one of the two is merged for both."""
    given = of_versions(context._known, context._rules, context._leases)
    given._settled = context._settled
    return given


def diff_of(context: Context) -> dict[str, bytes | None]:
    """What was set (the payload) and removed (`None`) since the context was given.

    To set a value that equals what was there is no change; where bytes don't tell, what was there is asked for.
    """
    changes = dict(context._changes)  # a thread that the task leaves may go on with its own
    if not context._complete:
        if context._names == () and not context._known:
            return changes  # there is nothing that they could equal
        unknown = tuple([key for key, payload in changes.items() if _is_in_doubt(context, key, payload)])
        if unknown:
            answer = context._ask(unknown, False, False)  # noqa: FBT003 - positions of Ask
            context._known = {**context._known, **answer.versions}
    kept = {key: payload for key, payload in changes.items() if not context._is_as_seen(key, payload)}
    return changes if len(kept) == len(changes) else kept


def _is_in_doubt(context: Context, key: str, payload: bytes | None) -> bool:
    """Whether a change may be one or not, and only what was there can tell, of which the context doesn't know."""
    if key in context._known or key in context._covered or key in context._rules.collected:
        return False
    if context._met is None or key in context._met:
        return True
    is_there = context._names is None or key in context._names
    return is_there and payload is not None and not is_telling(payload)


def cover(context: Context, keys: Iterable[str]) -> None:
    """Take it that those of `keys` that the context wasn't given are absent."""
    context._covered = context._covered.union(keys)


def is_in_conflict(context: Context, key: str) -> bool:
    """Whether reading the key would raise a `MergeConflict`."""
    return isinstance(context._held(key), Conflict)


def demand_agreement(context: Context, keys: Iterable[str]) -> None:
    """Raise `MergeConflict` where one of `keys` is in conflict, telling of all that are."""
    conflicts = [held.error for key in keys if isinstance(held := context._held(key), Conflict)]
    if conflicts:
        raise MergeConflict.of(conflicts)


def adopt(context: Context, other: Context) -> None:
    """Set every key of `other`, as it is encoded there. Raises `MergeConflict` where one is in conflict.

    Of a copy of the context, what was removed there is removed.
    """
    if other._settled is context._settled:
        outdated = [key for key in context._changes if key not in other._changes and key in other]
        for key in outdated:
            del context._changes[key]
        for key, change in other._changes.items():
            context._changes[key] = change
        return
    for key, payload in other._agreed().items():
        is_picky = context._item_key is not None or isinstance(context._changes, Declared)
        if is_picky and payload == context._held(key):
            continue  # a copy of the context: what it has from there is nothing that was set
        context._changes[key] = _kept(context, key, payload, is_structure=True)


def set_unseen(context: Context, key: str, payload: bytes) -> None:
    """Set an encoded value that nobody merges or compares."""
    context._changes[key] = _kept(context, key, payload, is_structure=False)


def _kept(context: Context, key: str, payload: bytes, *, is_structure: bool) -> bytes:
    """The payload, or where it is large the reference to where it was stored."""
    is_large = context._shelf is not None and len(payload) >= LARGE
    return context._store([payload], is_structure, key) if is_large else payload


def set_items(context: Context, of: str, labels: Iterable[str], items: list[Any], keys: bytes | None = None) -> None:
    """Set every item of key `of` under its label, and nothing else; under "" their `keys`, if there are any.

    The context sees nothing from here on, so that no item can count as unchanged.
    """
    context._known, context._settled, context._complete, context._met = {}, {}, True, ()
    put = None if context._shelf is None else context._store
    context._changes = dict(zip(labels, encode_each(items, of, put), strict=True))
    if keys is not None:
        context._changes[""] = keys


def item_of(context: Context, items: Items) -> Any:
    """The one item that an attempt is for. From here on its context knows the item's key.

    Raises:
        DecodeError: the item can't be rebuilt in this process.
    """
    (payload,) = items.payloads
    context._item_key = None if items.keys is None else items.keys[0]
    context._traffic.note(items.of.removeprefix(context._prefix), payload)
    try:
        return decode(payload)
    except Exception as error:
        if is_strike(error, partial(decode, payload)):
            raise
        raise unreadable(items.of, items.writers[0], payload, error) from error


def changes_of(context: Context) -> dict[str, bytes | None]:
    """All that was set and removed, also where it is what was there: what an instance sets is collected."""
    return context._changes


def settled_of(context: Context) -> dict[str, Version] | None:
    """What keys came to that were made of several versions, for those that go on from there: what is small, and new."""
    if not context._settled:
        return None
    prefix = context._prefix
    return {
        prefix + key: Version(settled.writer, settled.payload)
        for key, settled in context._settled.items()
        if isinstance(settled, Settled) and _is_worth_telling(context, key, settled)
    } or None


def _is_worth_telling(context: Context, key: str, settled: Settled) -> bool:
    if len(context._known.get(key, ())) < SEVERAL or key in context._rules.collected:
        return False
    payload = settled.payload
    if payload is not None and (len(payload) > HANDED_BACK or is_reference(payload) or is_composite(payload)):
        return False
    is_news, settled.is_handed_back = not settled.is_handed_back, True
    return is_news


def versions_of(context: Context) -> dict[str, Version]:
    """Everything that the context holds, one version for each key. One in conflict keeps its rivals."""
    return {key: _alone(context, key, held) for key, held in context._present().items()}


def _alone(context: Context, key: str, held: bytes | Conflict) -> Version:
    if isinstance(held, Conflict):
        return Version(INPUT, None, rivals=tuple(rivals_of(held.versions)))
    return Version(context._writer_of(key), held)


def merges_of(context: Context) -> dict[str, str]:
    """The keys whose value was made of several, each with the rule that made it."""
    merged = {key: context._settled.get(key) for key in context._present()}
    return {key: settled.how for key, settled in merged.items() if isinstance(settled, Settled) and settled.how}
