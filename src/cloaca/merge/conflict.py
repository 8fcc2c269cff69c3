"""How a conflict tells of the writes that don't combine, and which rule would combine them."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

from cloaca.merge.change import ABSENT
from cloaca.merge.equality import same
from cloaca.merge.settled import Conflict
from cloaca.merge.shown import REMOVED, short, unshown
from cloaca.merge.strand import Clash
from cloaca.wire.messages import Version


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


def _shown_value(value: Any) -> str:
    if value is ABSENT:
        return REMOVED
    if isinstance(value, Clash):
        return "what was in conflict already" if value.cause is None else unshown(value.cause.__cause__ or value.cause)
    return short(value)


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
