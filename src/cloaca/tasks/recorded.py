"""What an attempt looks at, noted where it looks: what tells later whether it would come to the same elsewhere.

Purpose
    A recorded attempt may stand for one of another execution, if all that it has looked at is the same there.

Guarantees
    - What isn't noted has made no difference: neither to what the attempt set, nor to how it went. Whatever leads to
      what it was given goes through `seen`, `was_there`, `keys` and `outcome`; copies of its context note here, too.
    - A key's value counts where it was read, or compared with what was set under the key. Where it was only asked
      whether there is one, its presence does; but where several versions stood there, or a conflict, that follows from
      their values. What an attempt has set itself it may read as often as it wants to.
    - A process that a task forks may look at all that the task was told, and nobody hears of it: so all that counts
      then, and the seed, too.

Roads not taken
    - To note in `Contents` itself: each read would ask whether it is to be noted, in runs that aren't recorded as well.
    - To tell by its state whether a generator of random numbers was drawn from: to ask for that takes as long as a
      task. Where there is one, it may have been.
"""

import os
from collections.abc import Callable, Iterable
from copy import copy
from functools import partial
from operator import attrgetter

from msgspec import Struct, field
from msgspec.structs import replace

from cloaca.merge.settled import Conflict
from cloaca.tasks.contents import Contents, checked_key
from cloaca.wire.messages import Looked, Outcome
from cloaca.wire.text import is_encodable

_forkings: list[None] = []
"""As many as this process was forked."""

os.register_at_fork(before=partial(_forkings.append, None))


class Noted(Struct, eq=False):
    """What was looked at beside keys, as `Looked` tells it.

    `forkings`: of the process, when the attempt began. `outside`: what was looked at before the names were those of a
    copy. `has_removed`: some key was removed.
    """

    forkings: int = field(default_factory=_forkings.__len__)
    every_key: bool = False
    every_outcome: bool = False
    seed: bool = False
    fingerprint: bytes = b""
    outside: Looked | None = None
    has_removed: bool = False


class RecordedContents(Contents, eq=False):
    """The contents of an attempt whose run is recorded. All copies have the same `noted`, and the same dicts here.

    `values` are the keys whose values were looked at, `presence` those that were only asked for, `ends` the tasks whose
    outcome was: by the names that they have inside.
    """

    noted: Noted = field(default_factory=Noted)
    values: dict[str, object] = field(default_factory=dict)
    presence: dict[str, object] = field(default_factory=dict)
    ends: dict[str, object] = field(default_factory=dict)

    def enter(self, prefix: str) -> None:
        """As in all contents. What was looked at before is told by the names that it had then."""
        self.noted.outside = self.looked(has_drawn=False)
        self.values, self.presence, self.ends = {}, {}, {}
        super().enter(prefix)

    def seen(self, key: str) -> bytes | Conflict | None:
        """What was there before the changes: that counts."""
        self.values[key if type(key) is str and key.isascii() else checked_key(key)] = None
        return Contents.seen(self, key)  # what `super` takes is a tenth of a read

    def was_there(self, key: str) -> bool:
        """Whether there was anything: that alone counts, where it doesn't follow from the values."""
        self.presence[key if type(key) is str and key.isascii() else checked_key(key)] = None
        versions = self.given.versions.get(key)
        if versions is None:
            versions = self.sought(key)
        if not versions:
            return False
        if len(versions) == 1 and key not in self.rules.collected and not versions[0].rivals:
            return versions[0].payload is not None
        return self.seen(key) is not None

    def keys(self) -> Iterable[str]:
        """Every key that there is: that counts."""
        self.noted.every_key = True
        return super().keys()

    def diff(self) -> dict[str, bytes | None]:
        """As in all contents. Of what is set, what was there counts as looked at, whoever compares the two."""
        changes, collected = self.changes, self.rules.collected
        if collected or self.noted.has_removed:
            changes = changes.copy()
            self.presence.update({key: None for key, payload in changes.items() if payload is None})
            changes = {key: set_ for key, set_ in changes.items() if set_ is not None and key not in collected}
        self.values.update(changes)
        return Contents.diff(self)

    def remove(self, key: str) -> None:
        """As in all contents. What was there needn't be looked at for that."""
        self.noted.has_removed = True
        super().remove(key)

    def outcome(self, task: str) -> Outcome:
        """How an ancestor ended: that counts."""
        self.note_outcome(task)
        try:
            return super().outcome(task)
        except KeyError:  # its message lists those that there are
            self.noted.every_outcome = True
            raise

    def note_outcome(self, task: str) -> None:
        """The attempt was told how that task had ended."""
        if isinstance(task, str) and is_encodable(task):
            self.ends[str.__str__(task)] = None

    def seed(self) -> int | None:
        """The seed of the attempt: that counts."""
        self.noted.seed = True
        return super().seed()

    def sealed(self) -> "RecordedContents":
        """The same, to be looked at only. To set or remove a key raises `TypeError`."""
        sealed = copy(self)
        sealed.shelf, sealed.changes = None, _Sealed()
        return sealed

    # ---- what is told of it ----------------------------------------------------------------------------------------

    def looked(self, *, has_drawn: bool) -> Looked:
        """What the attempt has looked at. `has_drawn`: it has drawn numbers that follow from its seed."""
        noted = self.noted
        if noted.forkings != len(_forkings):
            self._look_at_all()
        looked = Looked(
            tuple(self.values),
            self._only_asked_for() if self.presence else (),
            noted.every_key,
            tuple(self.ends) if self.ends else (),
            noted.every_outcome,
            noted.seed or has_drawn,
            noted.fingerprint,
        )
        return looked if noted.outside is None else _together(noted.outside, looked, self.prefix)

    def _only_asked_for(self) -> tuple[str, ...]:
        """The keys of which it knows no more than whether they are there: not even the names of all."""
        return () if self.noted.every_key else tuple([key for key in tuple(self.presence) if key not in self.values])

    def _look_at_all(self) -> None:
        noted, given = self.noted, self.given
        self.values |= dict.fromkeys(given.versions)
        noted.every_key |= given.complete
        noted.every_outcome |= given.outcomes is not None or self.outcomes is not None
        noted.seed = True


def _together(before: Looked, looked: Looked, prefix: str) -> Looked:
    """What a condition has looked at, and then the task of a copy, as it is called outside."""

    def all_of(asked: Callable[[Looked], tuple[str, ...]]) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*asked(before), *[prefix + name for name in asked(looked)])))

    values = all_of(attrgetter("values"))
    presence = [key for key in all_of(attrgetter("presence")) if key not in values]
    return replace(looked, values=values, presence=tuple(presence), outcomes=all_of(attrgetter("outcomes")))


class _Sealed(dict[str, bytes | None]):
    """What a fingerprint has set and removed: nothing."""

    def __setitem__(self, key: str, payload: bytes | None) -> None:
        what = "removes" if payload is None else "sets"
        raise TypeError(f"it {what} key {key!r}, and may only look: what the task depends on it returns")
