"""Facts: what has happened in a run, one after the other, for all that follow it: to call, show, record, explain.

Purpose
    One stream in place of a message for each such purpose. It is made by the run itself (`engine/chronicle`), and
    handed out after each event.

Guarantees
    - The same events in the same order make the same facts in the same order, but for their times. A fact comes after
      all that it follows from: a task is told to be skipped after the end for which it is.
    - `RunBegan` comes first and `RunFinished` last, unless a fault has ended the run. Of each attempt of which anything
      ran there is exactly one of `TaskPutBack`, `TaskRetried`, `TaskExpanded` and `TaskFinished`, and before that
      `TaskStarted`, if it was known to run before it was known how it ended: else its usage tells when it began.
    - Each task has exactly one `TaskFinished`, also where it never began, and so has each instance of a mapped task,
      between the `TaskExpanded` and the `TaskFinished` of that.
    - A fact doesn't change any more. No payload in it has been opened. A large value in it is held by the run as long
      as somebody may read it: who wants it for longer takes it when the fact comes.
    - Where nobody follows the run, no fact is made.

Roads not taken
    - To call those who follow from inside of the run: what they raise would leave a transition half done.
    - The reports of executors as the stream: these don't say what becomes of them. One that failed may be tried again,
      or come late; what is skipped or cancelled reports nothing.
    - That an attempt was handed to the executor: nothing of a task has happened then, and it would be a third of all
      there is to tell. What is given back before anything of it ran leaves no trace.
    - Numbers of units, as the run has them: those of instances depend on which task was expanded first. Ids of tasks
      and numbers of items are the same in each run, so that facts of one can be given to another.
    - To keep the facts of each run for messages of errors: they hold values.
"""

from collections.abc import Mapping

from msgspec import Struct, field

from cloaca.engine.ends import End, cost_of, worker_of
from cloaca.engine.looks import Looks
from cloaca.history.telling import Told
from cloaca.wire.messages import Failed, ItemsFound, Lost, Outcome, Usage, Version


class Fact(Struct, frozen=True, gc=False):
    """`at` is when the run learned of it, on the machine's monotonic clock, and `time` on the wall's, since 1970."""

    at: float
    time: float


class RunBegan(Fact, frozen=True, gc=False):
    """The run has begun."""


class RunFinished(Fact, frozen=True, gc=False):
    """All has ended. `stopped` says why the run was stopped before, if it was."""

    stopped: str | None = None


class TaskFact(Fact, frozen=True, gc=False):
    """About a task, or the instance of a mapped one for the item of that number.

    `nth`: which of its tries this is about, from 1.
    """

    task: str
    item: int | None
    nth: int


class TaskStarted(TaskFact, frozen=True, gc=False):
    """It runs, since that moment of the monotonic clock, on that worker (0: in the program itself, or not known)."""

    moment: float
    worker: int = 0


class TaskPutBack(TaskFact, frozen=True, gc=False):
    """The try doesn't count, and will be made again: it found no room for so many bytes."""

    lacking: int


class TaskRetried(TaskFact, frozen=True, gc=False):
    """The try has failed, and there will be another one, in `delay` seconds; `None`: that isn't known any more.

    `error` is what it failed with, in words. `ended`: how many tries had ended by themselves before. `overlay`: what it
    saw that the instances had set which it follows.
    """

    end: Failed | Lost
    error: str
    delay: float | None
    ended: int = 0
    overlay: Mapping[str, Told] = field(default_factory=dict)


class TaskExpanded(TaskFact, frozen=True, gc=False):
    """A mapped task has so many instances from here on: itself, or together with the one that it follows.

    `items` are what it has instances for, and `usage` is what finding them has cost; of one that follows another there
    are neither. `reused`: the run was given it (see `engine/earlier`), or has taken it over from the execution of the
    `origin`. `looks`: what its attempt has looked at, where the run is recorded.
    """

    size: int
    items: ItemsFound | None = None
    usage: Usage | None = None
    reused: bool = False
    origin: str = ""
    looks: Looks | None = None


class TaskFinished(TaskFact, frozen=True, gc=False):
    """It has ended. `nth` is the number of its tries then: 0 where it never began.

    `end` is what the last one ended with; `None` where it never began, or was cancelled. `diff` is what it has set and
    removed, and `settled` what keys came to of which it was told several versions. `ended` and `overlay` as above.
    `size`: of a mapped task that was expanded, how many instances it had; what they set stands in their facts.
    `reused`, `origin` and `looks` as above.
    """

    outcome: Outcome
    end: End = None
    diff: Mapping[str, bytes | None] = field(default_factory=dict)
    settled: Mapping[str, Version] | None = None
    ended: int = 0
    overlay: Mapping[str, Told] = field(default_factory=dict)
    size: int | None = None
    reused: bool = False
    origin: str = ""
    looks: Looks | None = None

    @property
    def usage(self) -> Usage | None:
        """What the last try has cost; `None` where it didn't report."""
        return cost_of(self.end)

    @property
    def worker(self) -> int:
        """Which worker made the last try; 0: none, or the program itself."""
        return worker_of(self.end)


TryFact = TaskRetried | TaskFinished
"""A try has ended, well or not."""
