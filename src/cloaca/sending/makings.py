"""Makings: what a run is made of, beside its plan and its input, in the form that its executor takes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from cloaca.engine.work import Work
from cloaca.merge.rules import Rules
from cloaca.values.storage import Leases
from cloaca.wire.messages import Publish

if TYPE_CHECKING:
    from cloaca.profiling.task import Profilers


class Makings(Struct, frozen=True):
    """The `work` by rank, which names by number what tasks run; and the workflow's merge `rules`, under `number`.

    Workers are sent what stands under these numbers: `functions` and `sent`, the rules. What runs in the program calls
    `objects`. `variables`: the number of what modules are to have; 0 where that is what importing them gives. `leases`
    keep what functions take along in files. `profilers` are those of `objects` that are profiled, if any are.
    """

    work: Sequence[Work]
    rules: Rules
    number: int
    functions: Sequence[Publish] = ()
    sent: Publish | None = None
    variables: int = 0
    objects: Mapping[int, object] = {}
    leases: Leases = {}
    profilers: "Profilers | None" = None
