"""What the versions of a key come to: a value, or a conflict, which is a value of the context until it is read."""

from collections.abc import Iterable, Iterator

from msgspec import Struct

from cloaca.errors import DecodeError, MergeConflict
from cloaca.wire.messages import Version
from cloaca.wording import summary_of


class Settled(Struct):
    """The value that a key's versions come to: encoded, or `None` where the key is absent.

    `how` names what made it of several values; it is `None` where one of them stands, as it was written.
    `is_handed_back`: the run was told of it by this process.
    """

    payload: bytes | None
    writer: str
    how: str | None = None
    is_handed_back: bool = False


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


def rivals_of(versions: Iterable[Version]) -> Iterator[Version]:
    """The versions in conflict, with those that were so before in place of what they were given as."""
    for version in versions:
        if version.rivals:
            yield from rivals_of(version.rivals)
        else:
            yield Version(version.writer, version.payload, place=version.place)
