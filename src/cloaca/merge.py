"""How the concurrent versions of a key become one value, or a conflict: pure, and the same in every process.

`settle` is given the versions of a key that stand at a task, in the merge order, and depends on nothing else. It runs
where the key is read, and is the only place that decodes values in order to compare them.

Today's rules: a single version stands; versions that are all equal are taken to agree; anything else is a conflict.
"""

import reprlib
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import pairwise

from cloaca.equality import equal
from cloaca.errors import MergeConflict
from cloaca.wire.codec import decode
from cloaca.wire.messages import Version

_SHORT = reprlib.Repr()
_SHORT.maxother = _SHORT.maxstring = 60
_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Conflict:
    """A key whose versions don't combine: a value of the context until somebody reads it."""

    key: str
    versions: tuple[Version, ...]

    @property
    def error(self) -> MergeConflict:
        """What reading the key raises; a new one each time, as raising leaves its traces in an exception."""
        writers = tuple(version.writer for version in self.versions)
        return MergeConflict(self.key, writers, tuple(shown(version.payload) for version in self.versions))


def settle(key: str, versions: tuple[Version, ...]) -> Version | Conflict:
    """The version of `key` that stands for all `versions` (at least one), or the conflict that they are in."""
    payloads = {version.payload for version in versions}
    if len(payloads) == 1:
        return versions[0]
    present = {payload for payload in payloads if payload is not None}
    return versions[0] if present == payloads and agree(present) else Conflict(key, versions)


def agree(payloads: AbstractSet[bytes]) -> bool:
    """Whether encoded values are all equal. What can't be rebuilt here agrees with nothing.

    They are compared in the order of their bytes, so that no order of writers decides, whatever `__eq__` is asked.
    """
    try:
        return all(equal(one, other) for one, other in pairwise(map(decode, sorted(payloads))))
    except Exception:  # noqa: BLE001 - rebuilding a value runs user code; reading the key tells what it raised
        return False


def shown(payload: bytes | None) -> str:
    """What a message shows of an encoded value: its `repr` on one line, shortened."""
    if payload is None:
        return "nothing (it removed the key)"
    try:
        text = _SHORT.repr(decode(payload)).replace("\n", " ")
    except Exception as error:  # noqa: BLE001 - rebuilding and showing run user code, and the rest must be told
        return f"a value that can't be shown here ({type(error).__name__}: {error})"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
