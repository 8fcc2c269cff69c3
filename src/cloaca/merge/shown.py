"""What messages show of a value."""

import reprlib
from typing import Any

from cloaca.values.codec import decode
from cloaca.wording import clipped, summary_of

REMOVED = "nothing (it removed the key)"

_SHORT = reprlib.Repr()
_SHORT.maxother = _SHORT.maxstring = 60
_LONGEST = 200


def shown(payload: bytes | None) -> str:
    """What a message shows of an encoded value: its `repr` on one line, shortened."""
    if payload is None:
        return REMOVED
    try:
        return short(decode(payload))
    except Exception as error:  # noqa: BLE001 - rebuilding runs user code, and the rest must be told
        return unshown(error)


def short(value: Any) -> str:
    """What a message shows of a value: the same."""
    try:
        text = _SHORT.repr(value).replace("\n", " ")
    except Exception as error:  # noqa: BLE001 - showing runs user code
        return unshown(error)
    return clipped(text, _LONGEST)


def unshown(error: BaseException) -> str:
    """What it shows where rebuilding or showing the value raised."""
    return f"a value that can't be shown here ({summary_of(error)})"
