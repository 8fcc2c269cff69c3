"""How errors name an item of `map`: by its number in a note, with the item itself where it is at hand."""

from reprlib import repr as shortened
from typing import TypeVar

from cloaca.errors import DecodeError
from cloaca.wording import add_note

Error = TypeVar("Error", bound=BaseException)


def of_item(error: Error, number: int, *item: object) -> Error:
    """The error, which came up at the item."""
    add_note(error, f"This was item {number} of map{f': {_shown(*item)}' if item else '.'}")
    return error


def raisable(error: BaseException) -> BaseException:
    """The error, or what tells of a `StopIteration`: an iterator that raises it says that it has come to its end."""
    if not isinstance(error, StopIteration):
        return error
    told = RuntimeError(
        "The function of map raised StopIteration: next() of something empty, perhaps. Give it a default, as in "
        "next(iterator, None), or catch it in the function."
    )
    told.__cause__ = error
    return told


def of_result(error: Error, number: int) -> Error:
    """The error, which came up at the result of the item."""
    add_note(error, f"This was the result of item {number} of map.")
    return error


def unreadable_item(error: Exception) -> DecodeError:
    """What tells that rebuilding an item or a result raised `error`."""
    told = DecodeError(None, None, f"{type(error).__name__}: {error}")
    told.__cause__ = error
    return told


def _shown(item: object) -> str:
    try:
        return shortened(item)
    except Exception:  # noqa: BLE001 - the item's own code must not hide the error
        return f"<{type(item).__name__}>"
