"""Context: the named values that a task reads and sets. Used by the program and inside workers alike.

A context holds encoded values, never references: `set` takes a snapshot, `get` hands out a copy of the caller's own.
Changes are kept apart from what was given, so that a task's diff is exactly what it set and removed. Inside a task the
given part is a slice: what it lacks is asked for when it is needed, and the task doesn't notice.
"""

import json
import reprlib
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, ValuesView
from difflib import get_close_matches
from typing import Any, Literal

from cloaca.errors import DecodeError, MergeConflict
from cloaca.merge import Conflict, equal, settle
from cloaca.wire.codec import decode, encode
from cloaca.wire.messages import INPUT, Outcome, Slice, Version

Ask = Callable[[tuple[str, ...], bool, bool], Slice]
"""Asks for keys, for all the rest, for the outcomes; answers with a slice."""

_NOTHING: frozenset[str] = frozenset()
_MISSING = object()
_SHORT = reprlib.Repr()
_SHORT.maxdict = 8


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

    __slots__ = ("_ask", "_changes", "_complete", "_covered", "_known", "_outcomes", "_settled", "_writer")
    __hash__ = None  # type: ignore[assignment]  # mutable, and equal by value

    def __init__(self, data: dict[str, Any] | None = None) -> None:
        self._open({}, _NOTHING, None, INPUT)
        if data is not None:
            self.update_from_dict(data)

    def _open(
        self, known: Mapping[str, tuple[Version, ...]], covered: frozenset[str], ask: Ask | None, writer: str
    ) -> None:
        self._known = known
        self._complete = ask is None
        self._covered = covered
        self._ask = ask
        self._writer = writer
        self._outcomes: Mapping[str, Outcome] | None = None
        self._changes: dict[str, bytes | None] = {}
        self._settled: dict[str, Version | Conflict] = {}

    # ---- one key ---------------------------------------------------------------------------------------------------

    def get(self, key: str, default: Any = None) -> Any:
        """A copy of the value of `key`, or `default` where the key is absent.

        Raises:
            MergeConflict: concurrent tasks wrote values that don't agree.
            DecodeError: the value can't be rebuilt in this process.
        """
        payload = self._payload(key)
        return default if payload is None else self._decode(key, payload)

    def set(self, key: str, value: Any) -> None:
        """Insert or overwrite `key` with a snapshot of `value`.

        Raises:
            EncodeError: the value can't be pickled; the message leads to the culprit inside it.
        """
        if type(key) is not str:
            key = _checked(key)
        self._changes[key] = encode(value, key)

    def insert(self, key: str, value: Any) -> None:
        """Set a key that must be absent; `ValueError` where it is present."""
        if key in self:
            raise ValueError(f"Key already exists: {key}. Use set or update to overwrite it.")
        self.set(key, value)

    def update(self, key: str, value: Any) -> None:
        """Set a key that must be present; `KeyError` where it is absent."""
        if key not in self:
            raise KeyError(self._missing(key))
        self.set(key, value)

    def remove(self, key: str) -> Any:
        """Remove `key`; returns its value, or `None` where it was absent or in conflict. Never raises."""
        held = self._held(key)
        if held is None:
            return None
        self._changes[key] = None
        return None if isinstance(held, Conflict) else self._decode(key, held)

    delete = remove

    def __getitem__(self, key: str) -> Any:
        value = self.get(key, _MISSING)
        if value is _MISSING:
            raise KeyError(self._missing(key))
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        self.set(key, value)

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise KeyError(self._missing(key))
        self._changes[key] = None

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._held(key) is not None

    # ---- all keys --------------------------------------------------------------------------------------------------

    def keys(self) -> KeysView[str]:
        """The keys, those in conflict included. Inputs come first, then each task's in its place in the workflow."""
        if not self._complete:
            self._receive(rest=True)
        names = dict.fromkeys(self._known)
        names.update(dict.fromkeys(self._changes))
        return {key: None for key in names if self._held(key) is not None}.keys()

    def values(self) -> ValuesView[Any]:
        """Copies of all values, in the order of `keys`. Raises `MergeConflict` where a key is in conflict."""
        return self.to_dict().values()

    def items(self) -> ItemsView[str, Any]:
        """Pairs of key and a copy of its value. Raises `MergeConflict` where a key is in conflict."""
        return self.to_dict().items()

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())

    def to_dict(self, conflicts: Literal["raise", "skip"] = "raise") -> dict[str, Any]:
        """A dict of copies. Keys in conflict raise `MergeConflict`, listing all, or are left out with "skip"."""
        if conflicts not in ("raise", "skip"):
            raise ValueError(f'conflicts must be "raise" or "skip", not {conflicts!r}')
        keys = self.keys()
        found = list(self.conflicts().values()) if conflicts == "raise" else []
        if found:
            raise MergeConflict.of(found)
        return {key: self._decode(key, held) for key in keys if isinstance(held := self._held(key), bytes)}

    def update_from_dict(self, data: dict[str, Any]) -> None:
        """Set every key of `data`."""
        if not isinstance(data, dict):
            raise TypeError(f"Expected a dict with str keys, not {type(data).__name__}")
        for key, value in data.items():
            self.set(key, value)

    def to_json(self) -> str:
        """The context as a JSON object; `TypeError` names the key whose value JSON can't carry."""
        members = (f"{json.dumps(key)}: {_to_json(key, value)}" for key, value in self.items())
        return "{" + ", ".join(members) + "}"

    @classmethod
    def from_json(cls, text: str) -> "Context":
        """A context from a JSON object; `ValueError` where the text is malformed or no object."""
        data = json.loads(text)
        if not isinstance(data, dict):
            raise ValueError(f"A context is a JSON object, not a JSON {type(data).__name__}")
        return cls(data)

    def copy(self) -> "Context":
        """A context of its own with the same values, and with nothing asked for again."""
        self.keys()
        twin = Context()
        twin._known = versions_of(self)
        return twin

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Context):
            return NotImplemented
        return equal(self.to_dict(), other.to_dict())

    def __repr__(self) -> str:
        shown = _SHORT.repr(self.to_dict("skip"))
        return f"Context({shown})"

    def __reduce__(self) -> tuple[Any, ...]:
        self.keys()
        return _restore, (dict(versions_of(self)),)

    # ---- what branches and tasks left ------------------------------------------------------------------------------

    def conflicts(self) -> dict[str, MergeConflict]:
        """The keys in conflict, each with what reading it would raise: `key`, `writers` and `values`."""
        return {key: held.error for key in self.keys() if isinstance(held := self._held(key), Conflict)}

    def outcome(self, task: str) -> Outcome:
        """How an ancestor of this task ended: `.status` and, where it failed, `.error`.

        Raises:
            KeyError: no ancestor of this task has that id.
        """
        if self._outcomes is None and self._ask is not None:
            self._outcomes = self._ask((), False, True).outcomes  # noqa: FBT003 - positions of Ask
        outcomes = self._outcomes or {}
        if task not in outcomes:
            raise KeyError(f"No task before this one has the id {task!r}.{_nearest(task, outcomes)}")
        return outcomes[task]

    # ---- beneath ---------------------------------------------------------------------------------------------------

    def _held(self, key: str) -> bytes | Conflict | None:
        """What the context has for `key`: an encoded value, a conflict, or nothing."""
        if key in self._changes:
            return self._changes[key]
        settled = self._settled.get(key)
        if settled is None:
            versions = self._versions(key)
            if not versions:
                return None
            settled = versions[0] if len(versions) == 1 else settle(key, versions)
            self._settled[key] = settled
        return settled if isinstance(settled, Conflict) else settled.payload

    def _payload(self, key: str) -> bytes | None:
        held = self._held(key)
        if isinstance(held, Conflict):
            raise held.error
        return held

    def _versions(self, key: str) -> tuple[Version, ...]:
        versions = self._known.get(key)
        if versions is None:
            if self._complete or key in self._covered:
                return ()
            self._receive((key,))
            versions = self._known.get(key, ())
        return versions

    def _receive(self, keys: tuple[str, ...] = (), *, rest: bool = False) -> None:
        assert self._ask is not None, "only a task's context is incomplete"
        answer = self._ask(keys, rest, False)  # noqa: FBT003 - positions of Ask
        self._known = answer.versions if rest else {**self._known, **answer.versions}
        self._complete = answer.complete

    def _decode(self, key: str, payload: bytes) -> Any:
        try:
            return decode(payload)
        except Exception as error:
            settled = None if key in self._changes else self._settled.get(key)
            writer = settled.writer if isinstance(settled, Version) else self._writer
            raise DecodeError(key, writer, f"{type(error).__name__}: {error}") from error

    def _missing(self, key: str) -> str:
        return f"Key not found: {key}.{_nearest(key, self.keys())}"


def _checked(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"A context key is a str, not {type(key).__name__}: {key!r}")
    return str(key)


def _nearest(name: str, names: Any) -> str:
    close = get_close_matches(name, list(names))
    return f" The nearest names are {', '.join(map(repr, close))}." if close else ""


def _to_json(key: str, value: Any) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise TypeError(f"The value of key {key!r} can't be written as JSON: {error}") from error


def _restore(known: dict[str, tuple[Version, ...]]) -> Context:
    return of_versions(known)


# ---- for the parts of cloaca that carry contexts -------------------------------------------------------------------


def of_versions(known: Mapping[str, tuple[Version, ...]]) -> Context:
    """A context that holds exactly these versions."""
    context = Context()
    context._known = known
    return context


def of_task(given: Slice, covered: frozenset[str], ask: Ask, writer: str) -> Context:
    """The context of one attempt: `covered` keys that `given` lacks are absent, others are asked for."""
    context = Context.__new__(Context)
    context._open(given.versions, covered, ask, writer)
    context._complete = given.complete
    context._outcomes = given.outcomes
    return context


def diff_of(context: Context) -> dict[str, bytes | None]:
    """What was set (the payload) and removed (`None`) since the context was given."""
    return context._changes


def versions_of(context: Context) -> dict[str, tuple[Version, ...]]:
    """Everything that the context holds, conflicts included."""
    changed = context._changes
    return {
        key: (Version(context._writer, changed[key]),) if key in changed else context._known[key]
        for key in context.keys()  # noqa: SIM118 - iterating a context asks for keys() anyway
    }
