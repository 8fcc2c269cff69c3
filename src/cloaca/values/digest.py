"""Digests of what values consist of: the same wherever they lie, and whichever run has made them.

XXH3 (128 bits) reads as fast as memory does. It keeps apart what differs by chance, not what somebody has made in order
to be taken for something else.
"""

import os
from functools import cache
from typing import Any

from msgspec import msgpack

from cloaca.values.blobs import Part, blob_of, is_reference, opened
from cloaca.values.composite import composite_of, is_composite

SIZE = 16
"""How many bytes a digest has."""


class Digests:
    """Those of the payloads of one run. Large values are read once each.

    >>> from cloaca.values.codec import encode
    >>> digests = Digests()
    >>> digests.of(encode([1, 2])) == digests.of(encode([1, 2])), digests.of(encode([1, 2])) == digests.of(encode([2]))
    (True, False)
    """

    def __init__(self) -> None:
        self._known: dict[bytes, bytes] = {}

    def of(self, payload: Part) -> bytes:
        """That of a payload: of a reference, that of what the file holds; of a composite, by that of its elements.

        What can't be read any more is like nothing else.
        """
        if is_reference(payload):
            return self._of_file(bytes(payload))
        return self._of_elements(payload) if is_composite(payload) else digest_of(payload)

    def _of_file(self, reference: bytes) -> bytes:
        known = self._known.get(reference)
        if known is None:
            try:
                known = self.of(opened(blob_of(reference)))
            except OSError:
                return os.urandom(SIZE)
            self._known[reference] = known
        return known

    def _of_elements(self, payload: Part) -> bytes:
        made = composite_of(payload)
        elements = [None if element is None else self.of(element) for element in made.elements]
        return digest_of(msgpack.encode(("composite", elements, made.keys)))


def digest_of(content: Part) -> bytes:
    """That of some bytes, as they are."""
    found: bytes = _xxh3()(content)
    return found


@cache
def _xxh3() -> Any:
    from xxhash import xxh3_128_digest  # where nothing is recorded, it isn't needed

    return xxh3_128_digest
