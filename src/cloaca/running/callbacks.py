"""Callbacks: what the program asked to be told of a run, called one at a time on the thread that waits for its result.

    coordinator's thread: follow, release, end --> due --> call: whoever waits

Those of the workflow, and the hooks of the program (`running/hooks`).

A callback is given what the task saw as a context that looks keys up when it is read, in a replica of the history. The
large values that it may still read are kept for it, also those that the run has let go of meanwhile.
"""

import logging
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from threading import Lock, RLock, get_ident
from typing import Any, TypeVar

from cloaca.engine.facts import Fact, TaskFinished, TaskRetried, TryFact
from cloaca.engine.replica import Replica
from cloaca.engine.run import Run
from cloaca.merge.rules import Rules
from cloaca.results.result import WorkflowResult
from cloaca.running.hooks import Hook, Hooked, tell
from cloaca.tasks.contents import Contents
from cloaca.tasks.context import Context, over
from cloaca.tasks.scope import as_set
from cloaca.wire.messages import Outcome, Slice
from cloaca.workflows.workflow import Task, Workflow

_logger = logging.getLogger("cloaca")
_Value = TypeVar("_Value")
_Event = TypeVar("_Event")


class Callbacks:
    """Those of one execution. `call` is for the threads that wait, all else for the coordinator's."""

    def __init__(self, workflow: Workflow, rules: Rules, run: Run, hooked: Hooked) -> None:
        self._workflow = workflow
        self._hooked = hooked
        wanted = [task for task in workflow.tasks if task.on_success is not None or task.on_failure is not None]
        self._tasks = {task.id: task for task in wanted}
        self._rules = rules
        self._seed = run.seed
        self._replica: Replica | None = Replica(run)
        self._lock = RLock()
        self._due: deque[tuple[str, Callable[[], object]]] = deque()
        self._turn = Lock()
        self._caller: int | None = None
        self._newest: Callable[[], _KeptLeases | None] = lambda: None
        self._is_over = False

    @property
    def is_wanted(self) -> bool:
        """Whether any is told of tasks: then the facts of the run are to be followed."""
        return bool(self._tasks or self._hooked.by_task)

    @property
    def is_due(self) -> bool:
        """Whether one is to be called."""
        return bool(self._due)

    def begin(self, time: float) -> None:
        """The run is about to begin."""
        self._hook(self._hooked.by_run, "on_run", lambda: self._hooked.begun(time))

    def follow(self, facts: Sequence[Fact]) -> None:
        """Each try that has ended well or failed, of a task that has a callback for that, is one to call it.

        A mapped task that was expanded isn't told of: its instances were. Neither is what was taken over: of that its
        own execution has told. Hooks are told of all ends but these.
        """
        for fact in facts:
            match fact:
                case TaskRetried():
                    self._tell(fact, "on_failure", {}, fact.error)
                case TaskFinished(outcome=Outcome("Failed", error), size=None):
                    self._tell(fact, "on_failure", {}, error or "")
                case TaskFinished(outcome=Outcome("Completed"), size=None, reused=False):
                    self._tell(fact, "on_success", fact.diff)
                case _:
                    """No callback is called."""
            if isinstance(fact, TaskFinished) and not fact.reused:
                self._hook(self._hooked.by_task, "on_task", partial(self._hooked.finished, fact))

    def _tell(self, fact: TryFact, which: str, diff: Mapping[str, bytes | None], *error: str) -> None:
        task = self._tasks.get(fact.task)
        callback = getattr(task, which, None)
        if task is not None and callback is not None:
            name, context = self._seen(fact, task, diff)
            self._add(f"{which} of task {name!r}", partial(callback, name, *error, context))

    def release(self, leases: list[Any]) -> None:
        """The run doesn't need these any more; contexts of callbacks may."""
        newest = self._newest()
        if newest is not None:
            newest.leases.append(leases)

    def end(
        self, result: WorkflowResult | None, leases: object, time: float, seconds: float, error: str | None
    ) -> None:
        """The run is over, after so many seconds. `leases` are what it still had.

        Without a result, an `error` has ended it: the workflow isn't told of that.
        """
        self.release([leases])
        self._replica = None  # it holds every value of the run
        if result is not None and self._workflow.on_complete is not None:
            self._add(f"on_complete of workflow {self._workflow.name!r}", partial(self._workflow.on_complete, result))
        self._hook(self._hooked.by_run, "on_run", lambda: self._hooked.ended(time, seconds, error, result))

    def call(self) -> None:
        """Call all that are due, in order. What they raise is logged; only what ends programs passes."""
        if self._caller == get_ident():
            raise RuntimeError(
                f"A callback of workflow {self._workflow.name!r} waits for the result of the execution that it was "
                "called in, which waits for the callback. Look at the result in on_complete."
            )
        with self._turn:
            self._caller = get_ident()
            try:
                while self._due:
                    _call(*self._due.popleft())
            finally:
                self._caller = None

    def give_up(self) -> None:
        """Call none any more."""
        self._is_over = True
        self._due.clear()

    def _add(self, what: str, call: Callable[[], object]) -> None:
        if not self._is_over:
            self._due.append((what, call))

    def _hook(self, hooks: Sequence[Hook[_Event]], which: str, event: Callable[[], _Event]) -> None:
        for hook in hooks:
            self._add(f"{which}({hook.name})", partial(tell, hook, event()))

    def _seen(self, fact: TryFact, task: Task, diff: Mapping[str, bytes | None]) -> tuple[str, Context]:
        """What the task or instance is called, and its context."""
        if self._replica is None:
            raise AssertionError("an attempt ended after its run")
        kept, before = _KeptLeases(), self._newest()
        if before is not None:
            before.next = kept
        self._newest = weakref.ref(kept)
        given = self._replica.slice(fact)
        outcomes = given.outcomes if given.outcomes is None else _OneByOne(given.outcomes, self._lock)
        slice_ = Slice(_OneByOne(given.versions, self._lock), given.complete, outcomes)
        name = self._replica.name(fact)
        contents = Contents(slice_, name, self._rules, leases=kept, origin=(self._seed, fact.ended))
        if task.prefix:
            contents.enter(task.prefix)
        own = diff if task.per_item is None else as_set(diff)
        contents.changes = {key[len(task.prefix) :]: payload for key, payload in own.items()}
        return name, over(contents)


class _KeptLeases:
    """Leases that a context may need: those that were released while it was the newest, and all later ones."""

    __slots__ = ("__weakref__", "leases", "next")

    def __init__(self) -> None:
        self.leases: list[object] = []
        self.next: _KeptLeases | None = None


class _OneByOne(Mapping[str, _Value]):
    """A mapping that threads look into one after the other: a callback may hand its context to another thread."""

    def __init__(self, mapping: Mapping[str, _Value], lock: RLock) -> None:
        self._mapping = mapping
        self._lock = lock

    def __getitem__(self, key: str) -> _Value:
        with self._lock:
            return self._mapping[key]

    def __iter__(self) -> Iterator[str]:
        with self._lock:
            return iter(self._mapping)

    def __len__(self) -> int:
        with self._lock:
            return len(self._mapping)


def _call(what: str, call: Callable[[], object]) -> None:
    try:
        call()
    except Exception:
        _logger.exception("The callback %s raised. That changes nothing for the run.", what)
