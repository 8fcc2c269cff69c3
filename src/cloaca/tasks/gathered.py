"""What runs at the end of a copy that was made for an item, where a key has several versions there."""

from cloaca.tasks.context import Context, contents_of


def gathered(context: Context) -> None:
    """Set each such key to what its versions come to. Raises `MergeConflict`, telling of all that are in conflict."""
    contents_of(context).settle_joined()
