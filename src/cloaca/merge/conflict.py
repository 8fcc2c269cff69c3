"""Conflict: a key whose writes don't combine. A value of the context until somebody reads it."""

import reprlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

from msgspec import Struct

from cloaca.errors import DecodeError, MergeConflict
from cloaca.merge.change import ABSENT
from cloaca.merge.equality import same
from cloaca.merge.strand import Clash
from cloaca.values.codec import decode
from cloaca.wire.messages import Version
from cloaca.wording import clipped, summary_of

_SHORT = reprlib.Repr()
_SHORT.maxother = _SHORT.maxstring = 60
_LONGEST = 200
_REMOVED = "nothing (it removed the key)"


class Conflict(Struct, frozen=True):
    """A key whose writes don't combine.

    `versions` are the key's candidates, in the merge order. `shown` tells of those at fault what they wrote, and `path`
    where in the key's value; `rule` is the rule to suggest, if one, and `start` what lets them combine if it is there
    before; `cause` tells what a rule raised; `source` is the key of the whole workflow from which it was passed in to a
    copy, if it was.
    """

    key: str
    versions: tuple[Version, ...]
    writers: tuple[Version, ...]
    shown: tuple[str, ...]
    path: str
    rule: str
    start: str = ""
    cause: Exception | None = None
    source: str = ""

    @property
    def may_pass(self) -> bool:
        """Whether it is one only as a file couldn't be read: another time, it may be."""
        return isinstance(self.cause, DecodeError) and self.cause.is_lost

    @property
    def error(self) -> MergeConflict:
        """What reading the key raises; a new one each time, as raising leaves its traces in an exception."""
        error = MergeConflict(
            self.key,
            tuple(version.writer for version in self.writers),
            self.shown,
            places=tuple(version.place for version in self.writers),
            path=self.path,
            rule=self.rule,
            start=self.start,
            reason=None if self.cause is None else summary_of(self.cause),
            source=self.source,
        )
        error.__cause__ = self.cause
        return error


def conflict(
    key: str,
    versions: tuple[Version, ...],
    writers: tuple[Version, ...],
    values: Sequence[Any],
    path: Sequence[Any] = (),
    cause: Exception | None = None,
    base: Any = ABSENT,
) -> Conflict:
    """The conflict in which `writers` wrote `values` at `path`; `ABSENT` for those that removed what is there.

    `base` is the value before them.
    """
    where = "".join(f"[{short(member)}]" for member in path)
    rule = "" if cause is not None or path else _suggested(values, base)
    is_begun = bool(path) and type(base) is not list and set(map(type, values)) == {list}
    start = "a list (an empty one will do)" if is_begun else ""
    return Conflict(key, versions, writers, tuple(map(_shown_value, values)), where, rule, start, cause)


def rivals_of(versions: Iterable[Version]) -> Iterator[Version]:
    """The versions in conflict, with those that were so before in place of what they were given as."""
    for version in versions:
        if version.rivals:
            yield from rivals_of(version.rivals)
        else:
            yield Version(version.writer, version.payload, place=version.place)


def shown(payload: bytes | None) -> str:
    """What a message shows of an encoded value: its `repr` on one line, shortened."""
    if payload is None:
        return _REMOVED
    try:
        return short(decode(payload))
    except Exception as error:  # noqa: BLE001 - rebuilding runs user code, and the rest must be told
        return _unshown(error)


def _shown_value(value: Any) -> str:
    if value is ABSENT:
        return _REMOVED
    if isinstance(value, Clash):
        return "what was in conflict already" if value.cause is None else _unshown(value.cause.__cause__ or value.cause)
    return short(value)


def _unshown(error: BaseException) -> str:
    return f"a value that can't be shown here ({summary_of(error)})"


def short(value: Any) -> str:
    """What a message shows of a value: the same."""
    try:
        text = _SHORT.repr(value).replace("\n", " ")
    except Exception as error:  # noqa: BLE001 - showing runs user code
        return _unshown(error)
    return clipped(text, _LONGEST)


def _suggested(values: Sequence[Any], base: Any) -> str:
    """The named rule that fits the values and what was before them, most likely; `last` fits anything."""
    kept = [value for value in (*values, base) if value is not ABSENT]
    kinds = set(map(type, kept))
    if len(kept) < len(values) or any(value is ABSENT or isinstance(value, Clash) for value in (*values, *kept)):
        return "last"
    if kinds <= {int, float} or (len(kinds) == 1 and kinds <= _summed()):
        return "sum"
    if kinds <= {set} or kinds <= {frozenset}:
        return "union"
    if len(kinds) == 1 and kinds <= {list, tuple} and all(_begins(value, base) for value in values):
        return "concat"
    return "by_task" if base is ABSENT or type(base) is dict else "last"


def _summed() -> frozenset[type]:
    from fractions import Fraction  # only where something is wrong

    return frozenset({int, float, complex, Decimal, Fraction, timedelta, Counter})


def _begins(value: Any, base: Any) -> bool:
    return base is ABSENT or same(value[: len(base)], base)
