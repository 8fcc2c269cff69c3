"""Where a task, or an instance of a mapped one, stands; and why a run was stopped."""

from enum import Enum, IntEnum, auto


class State(IntEnum):
    """Where a task stands."""

    WAITING = auto()
    READY = auto()
    AHEAD = auto()
    SUBMITTED = auto()
    RUNNING = auto()
    BACKING_OFF = auto()
    HELD_UP = auto()
    EXPANDED = auto()
    COMPLETED = auto()
    FAILED = auto()
    SKIPPED = auto()
    CANCELLED = auto()


WAITING, READY, AHEAD, SUBMITTED, RUNNING = State.WAITING, State.READY, State.AHEAD, State.SUBMITTED, State.RUNNING
BACKING_OFF, HELD_UP, EXPANDED = State.BACKING_OFF, State.HELD_UP, State.EXPANDED
COMPLETED, FAILED, SKIPPED, CANCELLED = State.COMPLETED, State.FAILED, State.SKIPPED, State.CANCELLED
"""The same by themselves, for those who ask many times for each task: in the class each takes ten times as long."""

ENDED = frozenset({State.COMPLETED, State.FAILED, State.SKIPPED, State.CANCELLED})


class Stop(Enum):
    """Why a run was stopped before its end."""

    CANCELLED = "it was cancelled"
    FAILED_FAST = "a task failed"
    OUT_OF_TIME = "its time was up"
