"""Where a coordinator works: on a thread of its own (Loop), or on the caller's (Inline)."""

from threading import Thread, current_thread

from cloaca.coordinator import Coordinator, Job
from cloaca.engine.events import Begin, Cancel
from cloaca.errors import RunnerClosedError
from cloaca.execution.executor import Executor


class Inline:
    """Runs a job to its end on the calling thread, with an executor that lives as long."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._coordinator = Coordinator(executor)

    def begin(self, job: Job) -> None:
        """Run the job; it has ended on return. After Ctrl-C it has, too: as cancelled."""
        self._coordinator.post(job, Begin())
        try:
            self._finish()
        except KeyboardInterrupt:
            self.cancel(job)
            self._finish()
            raise
        finally:
            self._executor.close()

    def cancel(self, job: Job) -> None:
        """Cancel the job's run."""
        self._coordinator.post(job, Cancel())

    def _finish(self) -> None:
        while not self._coordinator.is_idle:
            self._coordinator.step(0)


class Loop:
    """Owns the coordinator's thread and the executor. It knows nothing of the runner, so a runner can be collected."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._coordinator = Coordinator(executor)
        self._is_stopping = False
        self._broken: Exception | None = None
        self._thread = Thread(target=self._work, name="cloaca coordinator", daemon=True)
        self._thread.start()

    def begin(self, job: Job) -> None:
        """Start the job's run."""
        if self._broken is not None:
            raise RunnerClosedError(f"This runner can't go on: {self._broken} Create a new one.") from self._broken
        self._coordinator.post(job, Begin())

    def cancel(self, job: Job) -> None:
        """Cancel the job's run."""
        if self._broken is None and not self._is_stopping:
            self._coordinator.post(job, Cancel())

    def stop(self) -> None:
        """End the thread and the executor. Runs that are under way end with an error. Idempotent."""
        if not self._is_stopping:
            self._is_stopping = True
            if self._broken is None:
                self._executor.wake()
        if current_thread() is not self._thread:
            self._thread.join()

    def _work(self) -> None:
        try:
            while not self._is_stopping:
                self._coordinator.step()
            self._coordinator.fail(RunnerClosedError("The runner was shut down while the workflow was running."))
        except Exception as error:  # noqa: BLE001 - whoever waits for a run is told, on their own thread
            self._broken = error
            self._coordinator.fail(error)
        finally:
            self._executor.close()
