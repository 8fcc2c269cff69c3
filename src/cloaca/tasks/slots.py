"""Slots: which units of the runner's limits a try has, for the task that is to use these and no others."""

from collections.abc import Mapping

from cloaca.wire.messages import Ranges


class HeldSlots(dict[str, tuple[int, ...]]):
    """The numbers of the units, by the name of the limit. A name that isn't there is an error which says how to get it.

    >>> HeldSlots({"gpu": ((0, 1), (3, 4))})
    {'gpu': (0, 3)}
    """

    def __init__(self, slots: Mapping[str, Ranges]) -> None:
        super().__init__(
            {name: tuple([unit for one in ranges for unit in range(*one)]) for name, ranges in slots.items()}
        )

    def __missing__(self, name: object) -> tuple[int, ...]:
        raise KeyError(f"This task has nothing of {name!r}: it takes some by task(limits={{{name!r}: 1}}).")
