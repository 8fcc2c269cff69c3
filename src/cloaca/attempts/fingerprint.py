"""Fingerprint: asks a task what it goes by beside its context, in its attempt, before its function is called.

It is the user's function, and may look at the context, which counts as looking of the task. It leaves nothing there.
"""

from collections.abc import Callable
from typing import Any

from cloaca.errors import FingerprintError
from cloaca.tasks.contents import Contents
from cloaca.tasks.context import over
from cloaca.tasks.recorded import RecordedContents
from cloaca.values.codec import encode
from cloaca.values.digest import digest_of
from cloaca.wire.messages import Assignment
from cloaca.wording import summary_of


def is_met(assignment: Assignment, load: Callable[[int], Any], contents: Contents, place: int) -> bool:
    """Whether it comes to what an earlier attempt's did; what it comes to is noted.

    `place` is that of the item, if there are some. Raises `FingerprintError` where it raises.
    """
    if not isinstance(contents, RecordedContents):
        raise AssertionError("only where the run is recorded, a fingerprint is asked for")
    sealed, items = contents.sealed(), assignment.items
    given = () if items is None or items.are_seen else (sealed.item(items, place),)
    try:
        value = load(assignment.fingerprint)(over(sealed), *given)
        digest = digest_of(encode(value))
    except Exception as error:
        raise FingerprintError(contents.writer, summary_of(error)) from error
    contents.given = sealed.given
    contents.noted.fingerprint = digest
    return digest == assignment.unless
