"""What a reader is told of a key, as a digest: equal wherever equal versions are told, in this run and in others.

It goes over what was written, by whom, and who saw which of that: not over where the functions of tasks stand, where
values lie, nor what others have found out meanwhile that versions come to.

Where a key has several versions, those since a base (see `history/stretch.py`) go on from the digest of that. So in a
chain of joins each write is looked at once, however many of them are read.
"""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from msgspec import Struct, field, msgpack

from cloaca.history.passing import Passed
from cloaca.history.stretch import Site
from cloaca.history.telling import Telling
from cloaca.history.write import Write
from cloaca.wire.messages import Version

NOTHING = b""
"""In place of a digest, where there is no value."""

_encode = msgpack.Encoder().encode

ContentOf = Callable[[bytes], bytes]
"""The digest of what a payload consists of."""


class Combining(Struct, frozen=True):
    """What versions are combined by, beside themselves: the digests of merge rules, by key, and `on_conflict`."""

    rules: Mapping[str, bytes] = field(default_factory=dict)
    on_conflict: str | None = None


class ToldDigests:
    """Those of one run. Tasks are given by rank; `candidates` are the writes that stand at one.

    `collected`: the keys that are kept by task.
    """

    def __init__(
        self,
        predecessors: Sequence[Site],
        candidates: Callable[[int, str], tuple[Write, ...]],
        telling: Telling,
        passed: Passed,
        *,
        collected: AbstractSet[str],
        content: ContentOf,
        combining: Combining,
    ) -> None:
        self._predecessors = predecessors
        self._candidates = candidates
        self._telling = telling
        self._passed = passed
        self._collected = collected
        self._content = content
        self._combining = combining
        self._of_writes: dict[Write, bytes] = {}
        self._of_sites: dict[tuple[str, Site], bytes] = {}
        self.steps = 0

    def of(self, rank: int, key: str) -> bytes:
        """Of all that the key's value follows from at that task; `NOTHING` where it has none."""
        candidates = self._candidates(rank, key)
        if len(candidates) == 1 and key not in self._collected:
            (write,) = candidates
            known = self._of_writes.get(write)
            return self._of_one(write) if known is None else known
        if not candidates:
            return NOTHING
        dependencies = self._predecessors[rank]
        if key not in self._collected:
            return self._of_site(self._telling.site(dependencies, key), key)
        writes, told = self._telling.collection(dependencies, key, candidates)
        return self._of_several(key, NOTHING, writes, told)

    def is_present(self, rank: int, key: str) -> bool | None:
        """Whether the key has a value at that task, or is in conflict; `None`: only who merges it can tell."""
        versions = [write.version for write in self._candidates(rank, key)]
        if not versions:
            return False
        if any(version.rivals for version in versions):
            return None
        if None not in [version.payload for version in versions]:
            return True
        return False if len(versions) == 1 and key not in self._collected else None

    def _of_one(self, write: Write) -> bytes:
        self.steps += 1
        (version,) = write.told
        if version.payload is None and not version.rivals:
            digest = NOTHING
        else:
            by_order = self._combining.on_conflict if version.rivals else None
            digest = self._content(_encode((self._listed(write, version), by_order)))
        self._of_writes[write] = digest
        return digest

    def _of_site(self, site: Site, key: str) -> bytes:
        known, ahead = self._of_sites, []
        while site and (key, site) not in known:
            base, writes, told = self._telling.stretch(site, key)
            ahead.append((site, writes, told))
            site = base
        digest = known[key, site] if site else NOTHING
        for site, writes, told in reversed(ahead):
            if told:  # else it passes on what its base sees
                digest = self._of_several(key, digest, writes, told)
            known[key, site] = digest
        return digest

    def _of_several(self, key: str, base: bytes, writes: Sequence[Write], told: Sequence[Version]) -> bytes:
        """Of what is told since a base. A milestone, where there is one, comes before the writes."""
        self.steps += len(writes)
        listed = [self._listed(*pair) for pair in zip(writes, told[len(told) - len(writes) :], strict=True)]
        rule = self._combining.rules.get(key, b"")
        on_conflict = None if key in self._collected else self._combining.on_conflict
        return self._content(_encode((base, rule, on_conflict, listed)))

    def _listed(self, write: Write, version: Version) -> object:
        """A version as it is told of a write. Of one that was passed in, what its source comes down to counts."""
        source = self._passed.source_of(write) if version.source else None
        if source is None:
            return self._listed_alone(version)
        return (version.writer, self.of(source.entry, source.key), version.saw, source.key)

    def _listed_alone(self, version: Version) -> object:
        content = None if version.payload is None else self._content(version.payload)
        rivals = [self._listed_alone(rival) for rival in version.rivals] if version.rivals else ()
        return (version.writer, content, version.saw, rivals)
