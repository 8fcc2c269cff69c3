"""Values as pickles: those that msgpack doesn't carry."""

from io import BytesIO
from typing import Any

from cloaca.errors import EncodeError
from cloaca.pickling import culprit
from cloaca.pickling.classes import Pickler
from cloaca.pickling.stack import with_room
from cloaca.values.blobs import Part
from cloaca.values.canonical import Encode, canonical
from cloaca.wire.strike import is_strike


def pickled(value: object, key: str | None, of_elements: Encode | None) -> list[Part]:
    """The pickle of a value, and its buffers. The elements of sets are in the order of what `of_elements` gives.

    Raises:
        EncodeError: the value holds something that can't be pickled, and the error's `path` leads to it.
    """
    try:
        return with_room(_parts, value, of_elements)
    except Exception as error:
        if is_strike(error, lambda: with_room(_parts, value, of_elements)):
            raise
        found = culprit.find(value, "value" if key is None else key, error)
        raise EncodeError(key, found.path, found.type_name, found.reason) from error


def _parts(value: object, of_elements: Encode | None) -> list[Part]:
    buffers: list[Any] = []
    with BytesIO() as file:
        Pickler(file, buffers.append).dump(value if of_elements is None else canonical(value, of_elements))
        return [file.getvalue(), *(buffer.raw() for buffer in buffers)]
