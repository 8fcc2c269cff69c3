"""Runs: what those of one runner have in common, above all the loop that its workers stand behind."""

import os
import sys
import weakref
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence
from contextlib import ExitStack, suppress
from importlib import import_module
from itertools import count
from threading import Lock
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from cloaca.attempts.initializer import Equipment, equipment, name_of
from cloaca.attempts.nesting import depth, runs_task
from cloaca.attempts.workroom import Workroom
from cloaca.border.surroundings import here
from cloaca.engine.seats import Seats
from cloaca.errors import NestedExecutionError, RunnerClosedError, StoreError
from cloaca.execution import choice
from cloaca.execution.choice import Spare
from cloaca.pickling.functions import InitializerOf, capture
from cloaca.running.coordinator import OnEnd
from cloaca.running.gates import Gates
from cloaca.running.loop import Loop
from cloaca.running.settings import Settings
from cloaca.sending.modules import Modules
from cloaca.sending.variables import Variables
from cloaca.tasks.watched import context_kind
from cloaca.values.holder import Holder
from cloaca.wire.messages import Surroundings
from cloaca.wire.shortage import patiently

if TYPE_CHECKING:
    from cloaca.recorded import WorkflowCodes
    from cloaca.recording.recorder import Recorder
    from cloaca.running.future import Execution
    from cloaca.sending.captures import Captures
    from cloaca.workflows.workflow import Workflow

import_module("cloaca.values.pickles")  # where it is needed, there may be no descriptor left to read it with


DEEPEST = 16
"""How many workflows may run inside of each other: more of them never end, as a rule."""


class Runs:
    """What a runner has run: executions of workflows (`cloaca.executions`), and calls of `map` (`cloaca.calls`).

    Its workers start with the first of them. They are forked from the nursery, if there is a `spare` one.
    """

    def __init__(self, settings: Settings, initializer: Callable[[], object] | None, spare: Spare) -> None:
        self.settings = settings
        self._spare = spare
        self.initializer = initializer
        self.workroom = Workroom(self.initializer)
        self.seats = Seats(self.settings.limits)
        self.gates = Gates(self.seats)
        self.kind = context_kind()
        self.warned: set[str] = set()
        self.lock = Lock()
        self._loop: Loop | None = None
        self._recorder: Recorder | None = None
        self._closed = False
        self._process = os.getpid()
        self.under_way: set[Execution] = set()
        self.numbers = count()
        self.blocks = count(1 << 32, 1 << 32)  # of numbers for the objects that threads call
        self.objects: dict[int, object] = {}
        self._modules = Modules()
        self.known: weakref.WeakKeyDictionary[Workflow, KnownWorkflow] = weakref.WeakKeyDictionary()

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be begun any more."""
        return self._closed

    def close(self, *, waits: bool) -> None:
        """Begin nothing more; with `waits`, return when what `start` has begun has ended."""
        self._closed = True
        if waits and self.under_way:
            from cloaca.running.future import finish

            finish(self.under_way)

    def stop(self) -> None:
        """End the workers, and with them what is under way. Idempotent. A signal handler may call this."""
        self._closed = True  # without a lock: what a signal handler has interrupted may hold it
        self._spare.close()
        if self._loop is not None:
            self._loop.stop()
        if self._recorder is not None:
            self._recorder.close()

    def recorder(self, what: str = "") -> "Recorder":
        """What records executions. Raises `StoreError` where the runner has no store, and `what` needs one."""
        with self.lock:
            self.check_usable()
            if self._recorder is None:
                from cloaca.recording.recorder import Recorder
                from cloaca.store.sqlite import SqliteStore

                settings = self.settings
                if settings.store is None:
                    raise StoreError(
                        f"{what} needs a runner that records: name a file, as in DefaultRunner('sqlite:///runs.db')."
                    )
                self._recorder = Recorder(
                    SqliteStore(settings.store, durability=settings.durability, allows_pickles=settings.allows_pickles)
                )
                weakref.finalize(self, _end_recorder, weakref.ref(self), self._recorder)
            return self._recorder

    def running_loop(self) -> Loop:
        """What runs on other threads or processes; made when it is first asked for."""
        with self.lock:
            self.check_usable()
            if self._loop is None:
                self._loop = patiently(self._made_loop)
            loop = self._loop
        if self._closed:  # meanwhile, by another thread or a signal handler, who saw no loop to stop
            loop.stop()
            self.check_usable()
        return loop

    def _made_loop(self) -> Loop:
        """What runs tasks. Where something lacks for it, nothing is left."""
        settings = self.settings
        with ExitStack() as undo:
            if settings.executor == "processes":
                terms = settings.workers, settings.memory_limit, self._equipment()
                executor, holder = choice.on_processes(*terms, self._spare.taken())
            else:
                executor, holder = choice.on_provider(
                    settings.executor, settings.workers, self.objects, self.workroom, self.kind, self._equipment
                )
            undo.callback(executor.close)
            undo.callback(holder.close)
            loop = Loop(executor, holder, self.seats)
            undo.pop_all()
        weakref.finalize(self, _end, weakref.ref(self), self.under_way, loop)
        return loop

    def surroundings(self, holder: Holder) -> Surroundings:
        """Where tasks run that are started now."""
        if self.settings.executor != "processes":
            return here()
        folders = holder.renew()
        modules = self._modules.now(holder)
        return replace(here(), folders=folders, modules=modules.payload, generation=modules.generation)

    def _equipment(self) -> Equipment | None:
        """The initializer, as workers get it."""
        if self.initializer is None:
            return None
        name = name_of(self.initializer)
        captured = capture(InitializerOf(name), self.initializer)
        variables = Variables([self.initializer], lambda _: "The runner's initializer").contents()
        return equipment(name, captured.number, captured.blob, variables)

    def check_usable(self) -> None:
        """Raise where nothing can be run here: in a task, after the end, in a forked process."""
        if depth() >= DEEPEST:
            raise NestedExecutionError(
                f"{DEEPEST} workflows run inside of each other, each in a task of another one: the innermost would be "
                "one more. Does a task run the workflow that it belongs to?"
            )
        if self.settings.executor != "serial" and runs_task():
            raise NestedExecutionError(
                "execute was called inside a task or its worker. Where a module starts a run when it is imported, put "
                "the call under `if __name__ == '__main__':`. A task that runs a workflow of its own does so in its "
                "own process: DefaultRunner(executor='serial')."
            )
        if self._closed:
            raise RunnerClosedError("This runner was shut down. Create a new DefaultRunner.")
        if self._process != os.getpid():
            raise RunnerClosedError("This runner belongs to the process that forked this one. Create a new one here.")


class KnownWorkflow(Struct):
    """What a runner knows of a workflow that it has run: what runs are given and bring up to date, captures, codes."""

    durations: MutableSequence[float]
    habits: MutableMapping[int, tuple[str, ...]]
    sizes: dict[int, int]
    captures: "Captures | None" = None
    codes: "WorkflowCodes | None" = None


def _end(runs: "weakref.ref[Runs]", under_way: "set[Execution]", loop: Loop) -> None:
    """Nobody has the runner any more, or the program ends: it waits for what it has begun, unless Ctrl-C ends it.

    A runner is collected on any thread, in the middle of anything: there nothing is waited for.
    """
    if runs() is None:
        loop.let_go()
        return
    try:
        if under_way and not isinstance(getattr(sys, "last_value", None), KeyboardInterrupt):
            from cloaca.running.future import outlast

            with suppress(KeyboardInterrupt, SystemExit):  # it has ended the execution, and the program ends anyway
                outlast(under_way)
    finally:
        loop.stop()


def _end_recorder(runs: "weakref.ref[Runs]", recorder: "Recorder") -> None:
    """As above: what is left is written."""
    if runs() is None:
        recorder.let_go()
    else:
        recorder.close()


def at_hand(objects: dict[int, object], called: Mapping[int, object], on_end: OnEnd) -> OnEnd:
    """A run begins that calls these: they are there until it has ended. Returns what is to be told of that."""
    objects.update(called)

    def ending(error: Exception | None) -> None:
        for number in called:
            objects.pop(number, None)
        on_end(error)

    return ending
