"""Payloads as they stand in a store, and as runs have them.

What refers to a file of a run refers, in a store, to the file of the same content there: by its digest, as the store
may move. Large values that runs send along stand in files there, too.
"""

from collections.abc import Callable, Mapping

from msgspec import msgpack
from msgspec.structs import replace

from cloaca.errors import StoreError
from cloaca.store.records import StoredVersion
from cloaca.store.store import Claim, Store
from cloaca.values.blobs import LARGE, Blob, blob_of, content_of, is_reference, reference
from cloaca.values.blobs import MARK as REFERS
from cloaca.values.composite import MARK, Composite, composite_of, is_composite
from cloaca.wire.messages import Version

PICKLED = REFERS[:1]
"""How what is no plain data begins."""

Digest = Callable[[bytes], bytes]
"""Of the content of a payload."""


class Shelving:
    """Puts the payloads of one execution into a store."""

    def __init__(self, store: Store, claim: Claim, digest: Digest) -> None:
        self._store = store
        self._claim = claim
        self._digest = digest

    @property
    def allows_pickles(self) -> bool:
        """Whether values may be stored that only a pickle can carry."""
        return self._store.allows_pickles

    def stored(self, payload: bytes, what: str = "a value") -> bytes:
        """What stands in a record for a payload. What is large is written to a file, unless it is there.

        Raises `StoreError` where it is of a kind that the store doesn't allow; `what` tells which value that is.
        """
        if _is_small(payload):  # as mostly
            return payload
        if is_composite(payload):
            return self._composite(payload, what)
        _demand_allowed(payload, self._store, what)
        if is_reference(payload):
            return self._file(payload)
        if len(payload) < LARGE:
            return payload
        digest = self._digest(payload)
        self._store.put(self._claim, [payload], digest)
        return reference(Blob(digest.hex(), len(payload), is_structure=True))

    def _file(self, payload: bytes) -> bytes:
        blob, digest = blob_of(payload), self._digest(payload)
        self._store.put_file(self._claim, blob.path, digest)
        return reference(replace(blob, path=digest.hex()))

    def _composite(self, payload: bytes, what: str) -> bytes:
        made = composite_of(payload)
        elements = [None if element is None else self.stored(element, what) for element in made.elements]
        return MARK + msgpack.encode(Composite(elements, made.keys))

    def diff(self, diff: Mapping[str, bytes | None]) -> dict[str, bytes | None]:
        """What stands there for what an attempt has left."""
        return {
            key: payload if payload is None or _is_small(payload) else self.stored(payload, f"the value of key {key!r}")
            for key, payload in diff.items()
        }


def named(payload: bytes, digest: Digest) -> bytes:
    """What stands in a record for a payload whose files will be written later."""
    if len(payload) >= LARGE and not (is_reference(payload) or is_composite(payload)):
        return reference(Blob(digest(payload).hex(), len(payload), is_structure=True))
    return _translated(payload, lambda large: reference(replace(blob_of(large), path=digest(large).hex())))


def restored(payload: bytes, store: Store, what: str = "a value") -> bytes:
    """A payload as a run has it. Raises as `Shelving.stored`, and `ValueLostError` where a file is gone."""
    found = _translated(payload, lambda large: _found(blob_of(large), store))
    if not store.allows_pickles:
        for part in parts_of(found):
            _demand_allowed(part, store, what)
    return found


def _is_small(payload: bytes) -> bool:
    """Whether it is plain data that stands in a record as it is."""
    return len(payload) < LARGE and payload[:1] != PICKLED


def _demand_allowed(payload: bytes, store: Store, what: str) -> None:
    if store.allows_pickles or bytes(content_of(payload)[:1]) != PICKLED:
        return
    raise StoreError(
        f"A pickle is needed for {what}, which allow_pickle=False forbids to store and to load. Let tasks set plain "
        "data (numbers, texts, bytes, lists and dicts of them), or leave allow_pickle at True."
    )


def _found(blob: Blob, store: Store) -> bytes:
    return reference(replace(blob, path=store.path(bytes.fromhex(blob.path))))


def _translated(payload: bytes, translate: Callable[[bytes], bytes]) -> bytes:
    if is_reference(payload):
        return translate(payload)
    if not is_composite(payload):
        return payload
    made = composite_of(payload)
    elements = [None if element is None else _translated(element, translate) for element in made.elements]
    return MARK + msgpack.encode(Composite(elements, made.keys))


def demand_allowed(version: Version, store: Store, what: str) -> None:
    """Raise `StoreError` where a value is of a kind that the store doesn't allow."""
    for payload in parts_of(version.payload or b""):
        _demand_allowed(payload, store, what)
    for rival in version.rivals:
        demand_allowed(rival, store, what)


def parts_of(payload: bytes) -> list[bytes]:
    """The payloads of which one consists: mostly itself."""
    return [part for part in composite_of(payload).elements if part] if is_composite(payload) else [payload]


def stored_version(version: Version, keep: Callable[[bytes], bytes]) -> StoredVersion:
    """What stands in a record for a version."""
    return StoredVersion(
        version.writer,
        None if version.payload is None else keep(version.payload),
        version.place,
        tuple([stored_version(rival, keep) for rival in version.rivals]),
        version.saw,
        version.source,
        version.is_milestone,
    )


def restored_version(stored: StoredVersion, store: Store, what: str = "a value") -> Version:
    """The version as a run has it."""
    return Version(
        stored.writer,
        None if stored.payload is None else restored(stored.payload, store, what),
        stored.saw,
        stored.place,
        tuple([restored_version(rival, store, what) for rival in stored.rivals]),
        stored.source,
        stored.is_milestone,
    )
