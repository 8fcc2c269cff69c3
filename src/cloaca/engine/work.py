"""What a run is given beside its plan: what tasks run, what it must keep to, and what it has to know of merging."""

from collections.abc import Sequence

from msgspec import Struct, field

from cloaca.engine.fan import Each, InCopy
from cloaca.engine.seats import Share
from cloaca.engine.timers import GRACE_SECONDS
from cloaca.history.passing import Passing
from cloaca.history.telling import PlaceOf
from cloaca.retry import RetryPolicy
from cloaca.triggers.condition import Condition


class Work(Struct, frozen=True, gc=False):
    """What a task runs: the number of its published function, and the keys that it will probably read.

    `timeout`: how many seconds one attempt may take. Without a `retry` policy there is one. It starts if its
    `rule` holds, given by name (`None`: the default one), and so does its `trigger`, if there is one. `condition`: the
    number under which that was published, where it is asked in the attempt; 0 where the run decides. `each`: it is a
    mapped task, and runs this for each item. `share`: the seats that each attempt takes. `prefix`: of the task's keys,
    in a copy. `fingerprint`: the number under which the task's was published, 0 where it has none.
    `allow_failure`: its failure stops no run that is to fail fast, and makes none count as failed.
    `priority`: of the tasks that are ready, those with a higher one go first.
    """

    function: int
    reads: tuple[str, ...]
    timeout: float | None = None
    retry: RetryPolicy | None = None
    rule: str | None = None
    trigger: Condition | None = None
    condition: int = 0
    each: Each | None = None
    share: Share = ()
    prefix: str = ""
    fingerprint: int = 0
    allow_failure: bool = False
    priority: int = 0

    @property
    def inner(self) -> InCopy | None:
        """How it belongs to a workflow that runs for each item, if it does: then its rule is asked in each copy."""
        return None if self.each is None else self.each.inner


def followers(work: Sequence[Work]) -> dict[int, list[int]]:
    """The tasks that go through the items of another one, by the rank of that; each after those that it follows."""
    found: dict[int, list[int]] = {}
    heads: dict[int, int] = {}
    for rank, each in enumerate([one.each for one in work]):
        before = None if each is None else each.head(rank)
        if before is not None:
            heads[rank] = heads.get(before, before)
            found.setdefault(heads[rank], []).append(rank)
    return found


class Limits(Struct, frozen=True):
    """What a run as a whole must keep to.

    It is stopped after `timeout` seconds, and by the first failure where it is to `fail_fast`; a task that is stopped
    has `grace` seconds to put its things in order. Values over `size` bytes are taken note of. The time counts from the
    moment the first task starts, if that is at most `startup` seconds after the run has begun.
    """

    timeout: float | None = None
    fail_fast: bool = False
    grace: float = GRACE_SECONDS
    size: int | None = None
    startup: float = 0.0


class Merging(Struct, frozen=True):
    """What a run has to know of merging, which it never does itself.

    `rules` is the number of the published rules; `ruled` are the keys that have one, and `collected` those among them
    whose values are kept by task; `unanimous`: no task begins while a key is in conflict at it; `place_of` tells where
    the function of a task stands, by rank; `passing` which keys find a value of another key.
    """

    rules: int = 0
    ruled: frozenset[str] = frozenset()
    collected: frozenset[str] = frozenset()
    unanimous: bool = False
    place_of: PlaceOf = lambda _rank: ""
    passing: Passing = field(default_factory=dict)
