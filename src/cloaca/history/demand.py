"""Demand: what is asked for of a run's values, at the end and by its tasks."""

from collections.abc import Sequence

from msgspec import Struct


class Demand(Struct, frozen=True):
    """`outputs`: the keys whose values are needed when the run has ended.

    `reads`: of each task, by rank, the keys whose values it may look at; `None`: any key.
    """

    outputs: frozenset[str]
    reads: Sequence[frozenset[str] | None]
