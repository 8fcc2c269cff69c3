"""Where a coordinator works: on a thread of its own (Loop), or on the caller's (Inline)."""

import os
from collections.abc import Callable
from contextlib import suppress
from threading import Lock, Thread, current_thread

from cloaca.engine.events import Begin, Cancel, Supply
from cloaca.engine.seats import Seats
from cloaca.errors import RunnerClosedError, WorkersUnavailableError
from cloaca.execution.executor import Executor
from cloaca.running.console import Console, ConsoleThread
from cloaca.running.coordinator import AnyJob, Coordinator
from cloaca.running.storage import Storage


class Inline:
    """Runs a job to its end on the calling thread, with an executor that lives as long."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._console = Console()
        self._coordinator = Coordinator(executor, self._console)

    def begin(self, job: AnyJob) -> None:
        """Run the job; it has ended on return. After Ctrl-C it has, too: as cancelled."""
        self._coordinator.post(job, Begin())
        try:
            self._finish(job)
        except (KeyboardInterrupt, SystemExit):
            self.cancel(job)
            self._finish(job)
            raise
        finally:
            self._executor.close()

    def cancel(self, job: AnyJob, grace: float | None = None) -> None:
        """Cancel the job's run."""
        self._coordinator.post(job, Cancel(grace))

    def settle(self) -> None:
        """What tasks print here is shown at once."""

    def unwritten(self) -> Exception | None:
        """Tasks print here by themselves, and what that raises is theirs."""
        return None

    def log(self, call: Callable[[], None]) -> None:
        """Have something logged."""
        self._console.log(call)

    def _finish(self, job: AnyJob) -> None:
        while not self._coordinator.is_idle:
            try:
                self._coordinator.step()
            except WorkersUnavailableError as error:
                self._coordinator.fail(error)
            job.catch_up()
        job.catch_up()


class Loop:
    """Owns the coordinator's thread, the executor and its storage.

    It knows nothing of the runner, so a runner can be collected.
    """

    def __init__(self, executor: Executor, storage: Storage, seats: Seats | None = None) -> None:
        self._executor = executor
        self.storage = storage
        self._console = ConsoleThread()
        self._coordinator = Coordinator(executor, self._console, storage, seats)
        self._lock = Lock()  # a job either comes before the end, and is ended with it, or is refused
        self._end: Exception | None = None
        self._is_stopping = False
        self._process = os.getpid()
        self._thread = Thread(target=self._work, name="cloaca coordinator", daemon=True)
        self._thread.start()

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

    def stop(self) -> None:
        """End the thread and the executor. Runs that are under way end with an error. Idempotent.

        In a forked child of the program there is neither: nothing is to be ended.
        """
        if self._process != os.getpid():
            return
        with self._lock:
            self._is_stopping = True
            if self._end is None:
                self._executor.wake()
        if current_thread() is not self._thread:
            self._thread.join()

    def settle(self) -> None:
        """Wait until what tasks have printed so far is shown."""
        self._console.settle()

    def unwritten(self) -> Exception | None:
        """What writing what tasks print has raised until then, said once."""
        return self._console.unwritten()

    def log(self, call: Callable[[], None]) -> None:
        """Have something logged, after what tasks have printed so far."""
        self._console.log(call)

    def _post(self, job: AnyJob, event: Begin | Cancel | Supply) -> None:
        if self._process != os.getpid():
            raise RunnerClosedError("This runner belongs to the process that forked this one. Create a new one here.")
        with self._lock:
            if self._end is not None:
                raise RunnerClosedError(f"This runner has ended: {self._end} Create a new one.") from self._end
            self._coordinator.post(job, event)

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
        with self._lock:
            self._end = end
            self._executor.close()
        self._coordinator.fail(end)
        self.storage.close()
        self._console.close()
