"""Provider: an executor of `concurrent.futures` that a runner was given, or makes by a function, and then anew."""

from collections.abc import Callable
from concurrent.futures import Executor as Futures
from concurrent.futures import Future
from threading import Thread
from typing import Any, cast

from cloaca.attempts.errand import PROBE, echo
from cloaca.errors import WorkersUnavailableError
from cloaca.wording import a, summary_of

ENDING_SECONDS = 5.0
"""How long to wait at most for an executor that has nothing to do to end."""

_NO_MORE = "The executor of the runner takes no more tasks"
_ADVICE = (
    "Give the runner a function that makes one, as in executor=lambda: ProcessPoolExecutor(8): then a new one takes "
    "the place of one that is broken."
)


class Provider:
    """Hands calls to the executor. What was given stays its owner's; what was made here ends with the runner."""

    def __init__(self, given: Futures | Callable[[], Futures]) -> None:
        self._make: Callable[[], Futures] | None = None
        if isinstance(given, type) or not hasattr(given, "submit"):
            self._make = cast("Callable[[], Futures]", given)
        self._pool: Futures = cast("Futures", given) if self._make is None else self._made(self._make)

    @staticmethod
    def _made(make: Callable[[], Futures]) -> Futures:
        made = make()
        if not hasattr(made, "submit"):
            raise TypeError(f"executor={make!r} makes {a(type(made).__name__)}, which has no `submit`.")
        return made

    def is_here(self) -> bool:
        """Whether it calls functions in this process. `WorkersUnavailableError` where it can't call ours."""
        echoed = self.submit(echo, PROBE)
        try:
            return echoed.result() is PROBE
        except Exception as error:
            raise WorkersUnavailableError(
                f"The executor of the runner, {a(type(self._pool).__name__)}, calls no functions of cloaca's: "
                f"{summary_of(error)}. Its processes must be able to import cloaca; and where they are started anew "
                "(`spawn`), the script's own work stands under `if __name__ == '__main__':`."
            ) from error

    def submit(self, function: Callable[..., Any], *given: Any) -> Future[Any]:
        """Have it called. One that takes nothing any more is replaced, if that can be done."""
        try:
            return self._pool.submit(function, *given)
        except RuntimeError as error:  # it was shut down, or is broken
            if self._make is None:
                raise WorkersUnavailableError(f"{_NO_MORE}: {error}. {_ADVICE}") from error
        self.let_go()
        try:
            self._pool = self._made(self._make)
            return self._pool.submit(function, *given)
        except Exception as error:
            raise WorkersUnavailableError(f"{_NO_MORE}, and no new one does: {summary_of(error)}") from error

    def let_go(self) -> None:
        """Have it take nothing more. What it runs goes on."""
        if self._make is not None:
            self._pool.shutdown(wait=False)

    def close(self) -> None:
        """Have it end, where it runs nothing any more.

        That is waited for: a program that ends before its executor of processes is told of pipes and locks that are
        gone. Not without a limit, as a process may hang before it has begun anything.
        """
        if self._make is None:
            return
        ending = Thread(target=self._pool.shutdown, name="cloaca end of an executor", daemon=True)
        try:
            ending.start()
        except RuntimeError:  # an interpreter that ends has no new threads, and waits by itself
            self.let_go()
        else:
            ending.join(ENDING_SECONDS)
