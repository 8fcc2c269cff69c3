"""Context: the named values that a task reads and sets. Used by the program and inside workers alike.

A context holds encoded values, never references: `set` takes a snapshot, `get` hands out a copy of the caller's own.
What it holds, and how it gets what it lacks, is the matter of its `Contents`.
"""

from collections.abc import ItemsView, Iterator, KeysView, Mapping, Sequence, ValuesView
from contextlib import suppress
from functools import partial
from itertools import islice
from operator import getitem
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self

from cloaca.errors import DecodeError, MergeConflict
from cloaca.lasting import lasting
from cloaca.merge.encoded import are_equal
from cloaca.merge.rules import Rules
from cloaca.merge.settled import Conflict
from cloaca.merge.shown import shown
from cloaca.nearest import nearest
from cloaca.tasks.contents import Contents, checked_key, inlined_version, whole
from cloaca.values.codec import decode
from cloaca.wire.messages import Outcome, Version
from cloaca.wire.text import is_encodable
from cloaca.wording import a, clipped

_MISSING = object()
_SHOWN_KEYS = 8
_SUGGESTED = 3
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

    __slots__ = ("_contents",)
    _contents: Contents
    __hash__ = None  # type: ignore[assignment]  # mutable, and equal by value

    def __init__(self, data: dict[str, Any] | None = None) -> None:
        self._contents = Contents()
        if data is not None:
            self.update_from_dict(data)

    # ---- one key ---------------------------------------------------------------------------------------------------

    def get(self, key: str, default: Any = None) -> Any:
        """A copy of the value of `key`, or `default` where the key is absent.

        Raises:
            MergeConflict: concurrent tasks wrote values that don't agree.
            DecodeError: the value can't be rebuilt in this process.
        """
        contents = self._contents
        held = contents.held(key)
        if held is None:
            if default is None or default is _MISSING:
                contents.miss(key)
            return default
        if isinstance(held, Conflict):
            raise held.error
        contents.traffic.note(contents.prefix + key, held)
        return contents.read(key, held)

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
        from cloaca.tasks.places import LazyDict, LazyList, payloads_in

        contents = self._contents
        held = contents.held(key)
        cut = contents.read(key, held, payloads_in) if isinstance(held, bytes) else None
        found = self[key] if cut is None else cut
        load = partial(getitem, found) if cut is None else partial(self._place, key, cut)
        if isinstance(found, list):
            return LazyList(load, len(found))
        if isinstance(found, dict):
            return LazyDict(load, found.keys())
        raise TypeError(f"lazy takes the key of a list or dict, and {key!r} holds {a(type(found).__name__)}.")

    def _place(self, key: str, elements: Any, place: Any) -> Any:
        held, contents = elements[place], self._contents
        contents.traffic.note(contents.prefix + key, held)
        return contents.read(key, held)

    def set(self, key: str, value: Any) -> None:
        """Insert or overwrite `key` with a snapshot of `value`.

        Raises:
            EncodeError: the value can't be pickled; the message leads to the culprit inside it.
            StorageFullError: the value is large, and there is no room for it.
            TypeError: the key is no `str`.
        """
        if type(key) is not str or not key.isascii():
            key = checked_key(key)
        self._contents.set(key, value)

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
            self._contents.remove(checked_key(key))
        return value

    delete = remove

    def pop(self, key: str, default: Any = _MISSING) -> Any:
        """Remove `key`; returns its value, or `default` where the key is absent; `KeyError` where there is none.

        Raises what `get` raises, and removes nothing then.

        >>> from cloaca import Context
        >>> context = Context({"rows": [1, 2]})
        >>> context.pop("rows"), context.pop("rows", []), "rows" in context
        ([1, 2], [], False)
        """
        if key not in self:
            if default is _MISSING:
                raise self._missing(key)
            return default
        value = self.get(key)
        self._contents.remove(checked_key(key))
        return value

    def setdefault(self, key: str, default: Any = None) -> Any:
        """A copy of the value of `key`, which is set to `default` first where it is absent. Raises what `get` raises.

        It is a copy: `context.setdefault("rows", []).append(row)` changes nothing that stays.
        """
        if key not in self:
            self.set(key, default)
        return self.get(key)

    def __ior__(self, other: "Mapping[str, Any] | Context") -> Self:
        if not isinstance(other, Mapping | Context):
            return NotImplemented
        self._update_from(other)
        return self

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
        self._contents.remove(checked_key(key))

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and is_encodable(key) and self._contents.has(key)

    # ---- all keys --------------------------------------------------------------------------------------------------

    def keys(self) -> KeysView[str]:
        """The keys, those in conflict included. Untouched inputs come first, then each task's in its place."""
        return self._contents.names().keys()

    def values(self) -> ValuesView[Any]:
        """Copies of all values, in the order of `keys`. Raises `MergeConflict` where a key is in conflict."""
        return self.to_dict().values()

    def items(self) -> ItemsView[str, Any]:
        """Pairs of key and a copy of its value. Raises `MergeConflict` where a key is in conflict."""
        return self.to_dict().items()

    def __iter__(self) -> Iterator[str]:
        return iter(self._contents.names())

    def __len__(self) -> int:
        return len(self._contents.names())

    def to_dict(self, conflicts: Literal["raise", "skip"] = "raise") -> dict[str, Any]:
        """A dict of copies. Keys in conflict raise `MergeConflict`, listing all, or are left out with "skip"."""
        if conflicts not in ("raise", "skip"):
            raise ValueError(f'conflicts must be "raise" or "skip", not {conflicts!r}')
        keys = self._contents.agreed() if conflicts == "raise" else self._contents.split()[0]
        return {key: self.get(key) for key in keys}

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
        return over(self._contents.twin())

    def __copy__(self) -> "Context":
        return self.copy()

    def __deepcopy__(self, _memo: object) -> "Context":
        return self.copy()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Context):
            return NotImplemented
        if self.keys() != other.keys():
            return False
        theirs = other._contents.present()
        return all(_alike(held, theirs[key]) for key, held in self._contents.present().items())

    def __repr__(self) -> str:
        names, held = self._contents.names(), self._contents.held
        members = [f"{key!r}: {_shown(held(key))}" for key in islice(names, _SHOWN_KEYS)]
        text = ", ".join(members if len(members) == len(names) else [*members, "..."])
        return f"Context({{{clipped(text, _SHOWN_LENGTH)}}})"

    def __reduce__(self) -> tuple[Any, ...]:
        versions = self._contents.versions().items()
        return context_of, ({key: _row_of(inlined_version(key, version)) for key, version in versions},)

    # ---- the attempt -----------------------------------------------------------------------------------------------

    @property
    def seed(self) -> int | None:
        """The seed of this attempt, from 0 to below 2**63: for `numpy.random.default_rng(context.seed)` and the like.

        It follows from the run's seed, the task and how many of its tries have ended. Outside a task it is `None`.
        """
        return self._contents.seed()

    @property
    def item_key(self) -> Any:
        """In a mapped task whose items come from a dict: the key of the item in hand. Anywhere else it is `None`."""
        key = self._contents.item_key
        return None if key is None else decode(key)

    @property
    def slots(self) -> Mapping[str, tuple[int, ...]]:
        """The numbers of the units that this try has of the runner's limits, by name: `{"gpu": (0,)}`, say.

        No other try has these at the same time. Which ones they are depends on what else runs: no result may follow
        from it. In a task without limits, and outside a task, there are none.
        """
        from cloaca.tasks.slots import HeldSlots  # few ask

        return HeldSlots(self._contents.slots or {})

    # ---- what branches and tasks left ------------------------------------------------------------------------------

    def conflicts(self) -> dict[str, MergeConflict]:
        """The keys in conflict, each with what reading it would raise: `key`, `writers` and `values`."""
        return {conflict.key: conflict.error for conflict in self._contents.split()[1]}

    def outcome(self, task: str) -> Outcome:
        """How an ancestor of this task ended: `.status`, `.error` where it failed, `.reason` where it was skipped.

        `task` is its id, or the name of an instance of a mapped task: `process[3]`, `process['north']`.

        Raises:
            KeyError: no ancestor of this task has that id.
        """
        try:
            return self._contents.outcome(task)
        except KeyError:
            close = nearest(task, self._contents.outcomes or ()) if isinstance(task, str) else []
            raise KeyError(f"No task before this one has the id {task!r}{_told(close)}") from None

    def _missing(self, key: str) -> KeyError:
        key, contents = checked_key(key), self._contents
        contents.miss(key)
        near = nearest(key, contents.keys(), 2 * _SUGGESTED)
        text = f"Key not found: {key}{_told([name for name in near if name in self][:_SUGGESTED])}"
        if contents.why is not None and (why := contents.why(key)):
            text = f"{text.removesuffix('.')}. {why}"
        if contents.prefix:
            text = f"{text.removesuffix('.')}. In the whole workflow it is {contents.prefix + key!r}; "
            text += "add_workflow(inputs=...) passes keys in."
        return KeyError(text)


def _told(close: Sequence[str]) -> str:
    return f". The nearest names are {', '.join(map(repr, close))}." if close else ""


def _alike(one: bytes | Conflict, other: bytes | Conflict) -> bool:
    return one == other or (isinstance(one, bytes) and isinstance(other, bytes) and are_equal(one, other))


def _shown(held: bytes | Conflict | None) -> str:
    return shown(held) if isinstance(held, bytes) else "<in conflict>"


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON value")


def _to_json(key: str, value: Any) -> str:
    from json import dumps

    try:
        return dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"The value of key {key!r} can't be written as JSON: {error}") from error


# ---- for the parts of cloaca, which carry contents -----------------------------------------------------------------


def contents_of(context: Context) -> Contents:
    """What the context holds."""
    return context._contents


def over(contents: Contents, kind: type[Context] = Context) -> Context:
    """A context of that class which holds them."""
    context = kind.__new__(kind)
    context._contents = contents
    return context


def of_versions(known: Mapping[str, tuple[Version, ...]], rules: Rules | None = None, leases: object = None) -> Context:
    """A context that holds exactly these versions. `leases` keep what they refer to, for as long as it lives."""
    return over(Contents(whole(known), rules=Rules() if rules is None else rules, leases=leases))


@lasting
def context_of(rows: Mapping[str, tuple[Any, ...]]) -> Context:
    """What a pickle tells, by key: a version, as far as another program can read it."""
    return of_versions({key: (_version_of(row),) for key, row in rows.items()})


def _version_of(row: tuple[Any, ...]) -> Version:
    writer, payload, place, rivals = row
    return Version(writer, payload, place=place, rivals=tuple(map(_version_of, rivals)))


def _row_of(version: Version) -> tuple[Any, ...]:
    return version.writer, version.payload, version.place, tuple(map(_row_of, version.rivals))
