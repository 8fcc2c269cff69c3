"""What keeps the large values of a result, which outlive the runner and its files."""

from collections.abc import Iterator, Mapping

from cloaca.values.blobs import blob_of, preserve, references_in
from cloaca.values.storage import Leases
from cloaca.wire.messages import Version


def held(final: Mapping[str, tuple[Version, ...]], leases: Leases, others: object) -> object:
    """What keeps the large values of a final context, also where their files are removed meanwhile."""
    if not leases and others is None:
        return None
    payloads = (payload for versions in final.values() for version in versions for payload in _payloads(version))
    stored = {one for payload in payloads for one in references_in(payload)}
    if not stored:
        return None
    return (
        [leases[payload] for payload in stored if payload in leases],
        list(map(preserve, map(blob_of, stored))),
        others,
    )


def _payloads(version: Version) -> Iterator[bytes]:
    """The payload of a version, and those of the versions from which it follows."""
    if version.payload is not None:
        yield version.payload
    for rival in version.rivals:
        yield from _payloads(rival)
