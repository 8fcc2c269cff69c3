"""Passing: keys that find the value of another key, where no task has written them. So copies get their inputs.

The source is looked up once, at a task where the copy begins. Every task of the copy has the same ancestors outside of
it, and none of the copy writes the source: so each of them would find the same.
"""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from cloaca.engine.telling import Told
from cloaca.errors import MERGE
from cloaca.wire.messages import Version


class Source(Struct, frozen=True, gc=False):
    """Where a key finds its value: under another `key`, as it is seen at the task of rank `entry`."""

    key: str
    entry: int


Passing = Mapping[int, Mapping[str, Source]]
"""By the rank of a task, and by the key that it reads."""

NOTHING_PASSED: Final[Passing] = {}


def passed(source: str, told: Told, *, is_ruled: bool) -> Version | None:
    """The one version that stands for all those of the source; `None` where there is no value to pass.

    Who reads it merges them, by the rule of the source: the coordinator never does. `is_ruled`: that even a single one
    is not yet the value.
    """
    if len(told) == 1 and not is_ruled and not told[0].rivals:
        (version,) = told
        return None if version.payload is None else Version(version.writer, version.payload)
    return Version(MERGE, None, rivals=told, source=source) if told else None
