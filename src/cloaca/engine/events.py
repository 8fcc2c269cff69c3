"""What goes into a run and what comes out: events, facts of any order; and commands, to be carried out in theirs.

What executors report about attempts (`AttemptEvent`) and what they are told (`Assignment`, `Answer`) are messages of
the wire; here are the rest.
"""

from collections.abc import Sequence

from msgspec import Struct

from cloaca.wire.messages import Answer, Assignment, Done, Failed, ItemsDone, Lost, Skipped, Started, Unstarted, Wants


class Begin(Struct, frozen=True):
    """The run starts."""


class Room(Struct, frozen=True):
    """The executor takes up to `count` more attempts. `open`: how many there are, of this run and of others.

    Instances of a mapped task count one by one; an attempt may be at `grain` of them, one after the other. So many
    tasks of a `chain` may be submitted at once.
    """

    count: int
    open: int = 0
    grain: int = 1
    chain: int = 1


class Cancel(Struct, frozen=True):
    """Nothing more is to be started, and what runs is to be stopped.

    It gets `grace` seconds to end by itself; `None`: as many as the run's limits say.
    """

    grace: float | None = None


class Tick(Struct, frozen=True):
    """Time has passed: to be sent when `Run.due` has come."""


class Supply(Struct, frozen=True):
    """A batch of items for a call of `map`: the number of the first, a name for messages, and the items as a payload.

    `part` tells which of them are to be done, encoded; `None`: all. They are to wait for `delay` seconds first.
    """

    first: int
    name: str
    payload: bytes
    part: bytes | None = None
    delay: float = 0.0


class Deliver(Struct, frozen=True):
    """What came of that batch."""

    first: int
    name: str
    end: Done | Failed | Lost


class Withdraw(Struct, frozen=True):
    """Stop the attempt; exactly one `Done`, `Failed`, `Skipped`, `Lost` or `Unstarted` is still to come.

    Once it has been told to end, it gets `grace` seconds to do so. Where it is at several items of a mapped task, and
    `item` is the place of one, only as long as it hasn't come to the end of that: else it goes on.
    """

    attempt: int
    grace: float
    item: int | None = None


class Release(Struct, frozen=True):
    """Nobody can read the values of these references any more."""

    payloads: Sequence[bytes]


class Ended(Struct, frozen=True):
    """Every task has ended; the run is over."""


RunEvent = Begin | Room | Cancel | Tick
BatchEvent = RunEvent | Supply
AttemptEvent = Started | Wants | Done | ItemsDone | Failed | Skipped | Lost | Unstarted
Command = Assignment | Answer | Withdraw | Release | Deliver | Ended
Commands = Sequence[Command]
