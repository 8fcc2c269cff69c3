"""Count: what has come of the items of a call of `map`, as it comes; whoever shows it looks."""

from msgspec import Struct


class Count(Struct, gc=False):
    """How many items have come to their end, handed out or not; how many of these failed; how many were tried again.

    Where a failure ends the call, it isn't counted: what comes after it isn't handed out.
    """

    done: int = 0
    failed: int = 0
    retried: int = 0
