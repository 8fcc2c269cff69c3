"""Where a coordinator works: on a thread of its own (Loop), or on the caller's (Inline)."""

import atexit
import os
import weakref
from collections.abc import Callable
from contextlib import suppress
from threading import Thread, get_ident

from cloaca.engine.events import Begin, Cancel, Supply
from cloaca.engine.seats import Seats
from cloaca.errors import RunnerClosedError, WorkersUnavailableError
from cloaca.execution.executor import Executor
from cloaca.running.console import Console, ConsoleThread
from cloaca.running.coordinator import AnyJob, Coordinator
from cloaca.running.latch import Latch
from cloaca.values.holder import Holder, Nowhere

STOP_SECONDS = 10.0
"""How long to wait at most for a loop that was told to end: longer than its workers and its console may take."""

_loops: "weakref.WeakSet[Loop]" = weakref.WeakSet()


class Inline:
    """Runs a job to its end on the calling thread, with an executor that lives as long."""

    def __init__(self, executor: Executor, seats: Seats) -> None:
        self.holder: Holder = Nowhere()
        self.answers = executor.answers
        self.seats = seats
        self._executor = executor
        self._console = Console()
        self._coordinator = Coordinator(executor, self._console, self.holder, seats)

    def begin(self, job: AnyJob) -> None:
        """Run the job; it has ended on return. Whatever interrupts it, it has, too: as cancelled."""
        self._coordinator.post(job, Begin())
        try:
            self._finish(job)
        except BaseException:
            self.cancel(job)
            self._finish(job)
            raise
        finally:
            self._executor.close()

    def cancel(self, job: AnyJob, grace: float | None = None) -> None:
        """Cancel the job's run."""
        self._coordinator.post(job, Cancel(grace))

    def settle(self, until: float | None = None) -> None:
        """What tasks print here is shown at once."""

    def unwritten(self) -> Exception | None:
        """Tasks print here by themselves, and what that raises is theirs."""
        return None

    def log(self, level: int, call: Callable[[], None]) -> None:
        """Have a record of that level logged."""
        self._console.log(level, call)

    def do(self, call: Callable[[], None]) -> None:
        """Have something done."""
        self._console.do(call)

    def _finish(self, job: AnyJob) -> None:
        while not self._coordinator.is_idle:
            job.catch_up()
            try:
                self._coordinator.step()
            except WorkersUnavailableError as error:
                self._coordinator.fail(error)
        job.catch_up()


class Loop:
    """Owns the coordinator's thread, the executor and its holder of large values.

    It knows nothing of the runner, so a runner can be collected. `begin`, `cancel`, `supply`, `let_go` and `stop` are
    for every thread and for signal handlers, all but `begin` and `stop` for finalizers, too: they lock nothing.
    """

    def __init__(self, executor: Executor, holder: Holder, seats: Seats | None = None) -> None:
        self.holder = holder
        self.answers = executor.answers
        self.calls_objects = executor.calls_objects
        self.seats = Seats() if seats is None else seats
        self._executor = executor
        self._console = ConsoleThread()
        self._coordinator = Coordinator(executor, self._console, holder, self.seats)
        self._end: Exception | None = None
        self._is_stopping = False
        self._is_over = Latch()
        self._process = os.getpid()
        self._thread = Thread(target=self._work, name="cloaca coordinator", daemon=True)
        try:
            self._thread.start()
        except BaseException:
            self._console.close()
            raise
        _loops.add(self)

    def begin(self, job: AnyJob) -> None:
        """Start the job's run. Raises `RunnerClosedError` where there is no thread any more to drive it."""
        self._post(job, Begin())

    def cancel(self, job: AnyJob, grace: float | None = None) -> None:
        """Cancel the job's run, if it hasn't ended with the thread. Its tasks have `grace` seconds to end, if given."""
        with suppress(RunnerClosedError):
            self._post(job, Cancel(grace))

    def supply(self, job: AnyJob, batch: Supply) -> None:
        """Hand a batch of items to the job's call of `map`."""
        self._post(job, batch)

    def let_go(self) -> None:
        """Tell the thread to end, and wait for nothing: the program waits for it at its own end.

        In a forked child of the program there is no thread, and nothing to be ended.
        """
        if self._process == os.getpid():
            self._is_stopping = True
            self._executor.wake()

    def stop(self) -> None:
        """End the thread and the executor, in bounded time. Runs that are under way end with an error. Idempotent."""
        self.let_go()
        if self._process == os.getpid() and self._thread.ident != get_ident():
            self._is_over.wait(STOP_SECONDS)

    def settle(self, until: float | None = None) -> None:
        """Wait until what tasks have printed so far is shown, or that moment has come."""
        self._console.settle(until)

    def unwritten(self) -> Exception | None:
        """What writing what tasks print has raised until then, said once."""
        return self._console.unwritten()

    def log(self, level: int, call: Callable[[], None]) -> None:
        """Have a record of that level logged, after what tasks have printed so far."""
        self._console.log(level, call)

    def do(self, call: Callable[[], None]) -> None:
        """Have something done, after what tasks have printed so far."""
        self._console.do(call)

    def _post(self, job: AnyJob, event: Begin | Cancel | Supply) -> None:
        if self._process != os.getpid():
            raise RunnerClosedError("This runner belongs to the process that forked this one. Create a new one here.")
        if self._end is not None:
            raise RunnerClosedError(f"This runner has ended: {self._end} Create a new one.") from self._end
        self._coordinator.post(job, event)
        if self._end is not None:  # it has ended meanwhile: what was posted before that is taken out there
            self._coordinator.refuse(self._end)

    def _step(self) -> None:
        try:
            self._coordinator.step()
        except WorkersUnavailableError as error:
            self._coordinator.fail(error)  # the next execution tries anew

    def _work(self) -> None:
        end: Exception = RunnerClosedError("The runner was shut down while the workflow was running.")
        try:
            while not self._is_stopping:
                self._step()
        except Exception as error:  # noqa: BLE001 - whoever waits for a run is told, on their own thread
            end = error
        self._end = end
        try:
            self._coordinator.close()
            self._coordinator.fail(end)
            self.holder.close()
            self._console.close()
        finally:
            self._is_over.open()


def _outlast() -> None:
    """As the program ends: wait for the loops that were let go."""
    for loop in list(_loops):
        if loop._is_stopping:
            loop.stop()


atexit.register(_outlast)
