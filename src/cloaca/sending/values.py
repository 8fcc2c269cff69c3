"""What the program has of large values: it goes to the holder, and references take its place."""

from cloaca.errors import StorageFullError
from cloaca.tasks.contents import inlined_version
from cloaca.values.blobs import LARGE, references_in, size_of
from cloaca.values.holder import Holder
from cloaca.values.storage import Leases
from cloaca.wire.messages import Version


def stored(inputs: dict[str, Version], holder: Holder) -> Leases:
    """Put what is large among the inputs into the holder, in their place; returns the leases."""
    leases: Leases = {}
    for key, version in inputs.items():
        inputs[key] = _stored_version(key, version, holder, leases)
    return leases


def _stored_version(key: str, version: Version, holder: Holder, leases: Leases) -> Version:
    if version.rivals:
        rivals = [_stored_version(key, rival, holder, leases) for rival in version.rivals]
        return Version(version.writer, None, rivals=tuple(rivals))
    payload = version.payload
    if payload is None or size_of(payload) < LARGE or holder.has(payload):
        return version
    put, lease = holder.put(inlined_version(key, version).payload or b"")
    if lease is not None:
        leases[put] = lease
    return Version(version.writer, put)


def kept(holder: Holder, leases: Leases, payload: bytes) -> bytes:
    """Put what was collected into the holder, in its place. What refers to files itself is sent as it is."""
    if any(references_in(payload)):
        return payload
    try:
        put, lease = holder.put(payload)
    except StorageFullError:
        return payload
    if lease is not None:
        leases[put] = lease
    return put
