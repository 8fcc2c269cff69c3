"""ThreadsExecutor: runs assignments on threads of the program, by any executor of `concurrent.futures` that has some.

The functions are the program's own objects; values go through the same codec as everywhere. What belongs to the whole
process (generators of random numbers, the working directory, signals, output) is shared by all attempts, and left
alone. An attempt that asks for something waits in a queue of its own.
"""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import count
from queue import SimpleQueue
from threading import Lock, get_ident
from time import monotonic, thread_time
from typing import Any

from cloaca.attempts import attempt, child
from cloaca.attempts.meter import Meter
from cloaca.attempts.nesting import inside_task
from cloaca.attempts.seeding import unseeded
from cloaca.attempts.workroom import Workroom
from cloaca.errors import WorkersUnavailableError
from cloaca.execution.futures import FuturesExecutor
from cloaca.execution.provider import Provider
from cloaca.tasks.context import Context
from cloaca.wire.messages import Answer, Assignment, Slice, Started, Unstarted, Wants

_MENTIONED: frozenset[str] = frozenset()


class ThreadsExecutor(FuturesExecutor):
    """Runs assignments as `provider` does.

    `functions` maps the number of a function to the object: they needn't be published. `workroom` is where they run.
    """

    answers = True
    place = "thread"

    def __init__(
        self,
        provider: Provider,
        workers: int,
        functions: Mapping[int, Any],
        workroom: Workroom | None = None,
        kind: type[Context] = Context,
    ) -> None:
        super().__init__(provider, workers)
        self._functions = functions
        self._workroom = workroom or Workroom()
        self._kind = kind
        self._lock = Lock()
        self._threads: dict[int, int] = {}
        self._questions = count(1)
        self._asking: dict[int, tuple[int, SimpleQueue[Slice | None]]] = {}

    def answer(self, answer: Answer) -> None:
        """Let the thread go on that waits for this. Nobody may wait for it any more."""
        _, mailbox = self._asking.get(answer.question, (None, None))
        if mailbox is not None:
            mailbox.put(answer.slice)

    def cancel(self, attempts: Sequence[int], grace: float, item: int | None = None) -> None:
        """As in all, and nobody waits for an answer that won't come."""
        super().cancel(attempts, grace, item)
        for asked_by, mailbox in list(self._asking.values()):
            if asked_by in self.stuck:
                mailbox.put(None)

    def handed(self, assignment: Assignment) -> tuple[Future[Any], bool]:
        return self.provider.submit(self._run, assignment), False

    # ---- on the threads --------------------------------------------------------------------------------------------

    def _run(self, assignment: Assignment) -> None:
        number, worker = assignment.attempt, self._worker()
        if number in self.stuck:  # it was cancelled as its thread came to it
            self.mail.put(Unstarted(number))
            return
        self.mail.put(Started(number, monotonic(), worker))
        try:
            with inside_task(), self._workroom.entered():
                report = attempt.run(
                    assignment,
                    self._functions.__getitem__,
                    _MENTIONED,
                    partial(self._ask, number),
                    Meter(thread_time, worker),
                    left=partial(child.end_unless_in, os.getpid()),
                    kind=self._kind,
                    seeding=unseeded,
                    note=self.mail.put,
                )
        except WorkersUnavailableError as error:  # of the initializer: nothing can run
            self.mail.put(error)
        else:
            self.mail.put(report)

    def _worker(self) -> int:
        """The number of this thread among those that have run attempts."""
        with self._lock:
            return self._threads.setdefault(get_ident(), len(self._threads) + 1)

    def _ask(self, number: int, keys: tuple[str, ...], rest: bool, outcomes: bool) -> Slice:  # noqa: FBT001 - as in Ask
        question, mailbox = next(self._questions), SimpleQueue[Slice | None]()
        self._asking[question] = number, mailbox
        try:
            if number in self.stuck:
                raise RuntimeError("The task was ended by its run: it can't read more of its context.")
            self.mail.put(Wants(number, keys, rest, outcomes, question))
            told = mailbox.get()
        finally:
            del self._asking[question]
        if told is None:
            raise RuntimeError("The task was ended by its run: it can't read more of its context.")
        return told
