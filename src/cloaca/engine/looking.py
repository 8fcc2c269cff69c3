"""Looking: what stands where an attempt has looked, as digests; and what of that is another thing now than it was.

The same function makes them when an attempt has ended, and when it is asked later, in another run, whether what it has
looked at is still the same. So they follow from what can be seen from there, and from nothing else.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import msgpack

from cloaca.engine.ledger import Ledger
from cloaca.engine.looks import Looks
from cloaca.engine.outcomes import Outcomes
from cloaca.engine.work import Merging, Work
from cloaca.errors import INPUT
from cloaca.history.history import History
from cloaca.history.plan import Plan
from cloaca.history.telling import Told
from cloaca.history.told_digests import NOTHING, Combining, ContentOf
from cloaca.wire.messages import Looked, Outcome, Version

_SetBefore = Mapping[str, Told]
"""What an instance sees that others have set for the same item, by key, with the names of their tasks."""

_NO_OVERLAY: _SetBefore = {}
_LISTED = 3
_SEED, _SEED_OF_ITEM = "the seed differs", "its seed differs, which follows from the run's and the number of its item"
_GONE, _THERE, _MAYBE = "key {!r} is gone", "key {!r} is there now", "key {!r} may be there or not"


class Looking:
    """Looks at one run. `content` gives the digest of what a payload consists of; `seed` is the run's."""

    def __init__(
        self,
        plan: Plan,
        work: Sequence[Work],
        history: History,
        ledger: Ledger,
        *,
        merging: Merging,
        seed: int,
        content: ContentOf,
        combining: Combining,
    ) -> None:
        self._predecessors = plan.predecessors
        self._tasks = len(plan.names)
        self._work = work
        self._history = history
        self._ledger = ledger
        self._is_unanimous = merging.unanimous
        self._seed = seed
        self._content = content
        self._combining = combining
        self._told = history.digests(content, combining)

    @property
    def steps(self) -> int:
        """How many writes were looked at in order to make digests."""
        return self._told.steps

    # ---- what stands there -----------------------------------------------------------------------------------------

    def of(self, unit: int, looked: Looked) -> Looks:
        """What a task or an instance has found that has looked there."""
        rank, overlay = self._ledger.seen_from(unit), self._overlay(unit)
        values = {key: self._value(rank, key, overlay) for key in (*looked.values, *self._agreed(unit))}
        presence: dict[str, bool] = {}
        for key in looked.presence:
            is_present = self._is_present(rank, key, overlay)
            if is_present is None:
                values[key] = self._value(rank, key, overlay)
            else:
                presence[key] = is_present
        return Looks(
            values,
            presence,
            self._keys(unit, rank, overlay) if looked.every_key else NOTHING,
            self._outcomes_of(unit, looked.outcomes) if looked.outcomes else {},
            self._every_outcome(unit) if looked.every_outcome else NOTHING,
            self._seed_of(unit) if looked.seed else None,
            looked.fingerprint,
            self.item(unit),
        )

    def item(self, unit: int) -> bytes:
        """Of the item of an instance, and its key; a task has none."""
        if unit < self._tasks:
            return NOTHING
        fan = self._ledger.fan_of(unit)
        payload, key = fan.item(unit - fan.first)
        return self._digest((self._content(payload), None if key is None else self._content(key)))

    def _seed_of(self, unit: int) -> int:
        """The run's; of an instance, what follows from that and its name, as its own seed does."""
        if unit < self._tasks:
            return self._seed
        return int.from_bytes(self._digest((self._seed, self._ledger.name(unit)))[:8])

    def _agreed(self, unit: int) -> Iterable[str]:
        """The keys that its attempt has to find without a conflict before it begins."""
        if not self._is_unanimous or unit >= self._tasks or len(self._predecessors[unit]) == 1:
            return ()
        return self._history.joined_keys(unit)

    def _overlay(self, unit: int) -> _SetBefore:
        if unit < self._tasks:
            return _NO_OVERLAY
        fan = self._ledger.fan_of(unit)
        return fan.set_before(unit - fan.first) if fan.has_overlay else _NO_OVERLAY

    def _value(self, rank: int, key: str, overlay: _SetBefore) -> bytes:
        if key not in overlay:
            return self._told.of(rank, key)
        told = overlay[key]
        if not told:
            return NOTHING
        if len(told) == 1 and (payload := told[0].payload) is not None:
            return self._digest((told[0].writer, self._content(payload)))
        by = self._combining.rules.get(key, b""), self._combining.on_conflict
        return self._digest((self._told.of(rank, key), *by, [self._listed(version) for version in told]))

    def _listed(self, version: Version) -> object:
        content = None if version.payload is None else self._content(version.payload)
        return version.writer, content, version.saw, [self._listed(rival) for rival in version.rivals]

    def _is_present(self, rank: int, key: str, overlay: _SetBefore) -> bool | None:
        if key not in overlay:
            return self._told.is_present(rank, key)
        told = overlay[key]
        if len(told) < 2 or None in [version.payload for version in told]:  # noqa: PLR2004 - one is no join
            return bool(told) and (len(told) == 1 or None)
        return True

    def _keys(self, unit: int, rank: int, overlay: _SetBefore) -> bytes:
        """Of the names of all keys that there are, in order."""
        prefix = self._work[unit].prefix
        names = [key for key in self._history.standing_at(rank) if key not in overlay and key.startswith(prefix)]
        told = [(key, self._told.is_present(rank, key)) for key in names]
        there = [
            key if is_present else (key, self._told.of(rank, key))
            for key, is_present in told
            if is_present or is_present is None
        ]
        here = [key for key in overlay if key.startswith(prefix)]
        set_before = [(key, self._is_present(rank, key, overlay)) for key in here]
        return self._digest(
            [
                *there,
                *(
                    key if is_present else (key, self._value(rank, key, overlay))
                    for key, is_present in set_before
                    if is_present or is_present is None
                ),
            ]
        )

    def _outcomes(self, unit: int) -> Outcomes:
        ledger, history = self._ledger, self._history
        return Outcomes(ledger, lambda: history, ledger.seen_from(unit), ledger.followed(unit))

    def _outcomes_of(self, unit: int, names: Iterable[str]) -> dict[str, bytes]:
        outcomes = self._outcomes(unit)
        return {name: self._of_outcome(outcomes.get(name)) for name in names}

    def _of_outcome(self, outcome: Outcome | None) -> bytes:
        return NOTHING if outcome is None else self._digest(outcome)

    def _every_outcome(self, unit: int) -> bytes:
        return self._digest([*self._outcomes(unit).items()])

    def _digest(self, value: object) -> bytes:
        return self._content(msgpack.encode(value))

    # ---- what is another thing now ---------------------------------------------------------------------------------

    def difference(self, unit: int, looks: Looks) -> str | None:
        """What would be found another thing now, beside its item: the first that is met, in words, or `None`.

        What its fingerprint comes to only its attempt can tell.
        """
        if looks.seed is not None and looks.seed != self._seed_of(unit):
            return _SEED if unit < self._tasks else _SEED_OF_ITEM
        rank, overlay = self._ledger.seen_from(unit), self._overlay(unit)
        for key, digest in looks.values.items():
            found = self._value(rank, key, overlay)
            if digest != found:
                return self._told_of_value(rank, key, overlay, (digest, found))
        if looks.presence or looks.keys or looks.outcomes or looks.every_outcome or self._is_unanimous:
            return next(self._rarer_differences(unit, looks, rank, overlay), None)
        return None

    def _rarer_differences(self, unit: int, looks: Looks, rank: int, overlay: _SetBefore) -> Iterator[str]:
        for key, is_present in looks.presence.items():
            is_there = self._is_present(rank, key, overlay)
            if is_present is not is_there:
                yield _MAYBE.format(key) if is_there is None else (_THERE if is_there else _GONE).format(key)
        for key in self._agreed(unit):
            if key not in looks.values:
                yield f"several tasks before it have set key {key!r}"
        if looks.outcomes:
            yield from self._different_outcomes(unit, looks.outcomes)
        if looks.keys and looks.keys != self._keys(unit, rank, overlay):
            yield "the set of keys differs"
        if looks.every_outcome and looks.every_outcome != self._every_outcome(unit):
            yield "how the tasks before it ended differs"

    def _different_outcomes(self, unit: int, before: Mapping[str, bytes]) -> Iterator[str]:
        for name, digest in self._outcomes_of(unit, before).items():
            if digest != before[name]:
                yield f"outcome of {name!r} differs"

    def _told_of_value(self, rank: int, key: str, overlay: _SetBefore, digests: tuple[bytes, bytes]) -> str:
        before, now = digests
        if now == NOTHING:
            return _GONE.format(key)
        if before == NOTHING:
            return _THERE.format(key)
        writers = [write.version.writer for write in self._history.candidates(rank, key)]
        if key in overlay:
            writers = [version.writer for version in overlay[key]]
        return f"key {key!r} differs ({_told_of_writers(writers)})"


def _told_of_writers(names: Sequence[str]) -> str:
    """Who has set it."""
    if names == [INPUT]:
        return "given to the run"
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"set by {', '.join(names[:_LISTED])}{more}"
