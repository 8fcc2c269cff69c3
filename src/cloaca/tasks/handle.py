"""TaskHandle: what a task may ask for beside its context, to wait for something without an end of its own."""

import time
from collections.abc import Awaitable, Callable, Generator
from functools import wraps
from inspect import isawaitable, iscoroutine
from typing import Any

from cloaca import argument

Predicate = Callable[[], Any]


class TaskHandle:
    """A task's hold on its worker: what a second parameter named `handle` or `task_handle` is given.

    >>> import cloaca
    >>> def load(context, handle):
    ...     handle.defer_until(lambda: context["ready"], poll_interval_ms=10)
    ...     context.set("loaded", handle.is_slot_held())
    >>> with cloaca.WorkflowBuilder("loading"):
    ...     load = cloaca.task()(load)
    >>> with cloaca.DefaultRunner(executor="serial") as runner:
    ...     runner.execute("loading", cloaca.Context({"ready": True})).final_context["loaded"]
    True
    """

    def __init__(self) -> None:
        self._loop: object = None
        self._unawaited: set[Deferral] = set()

    def defer_until(self, condition: Predicate, poll_interval_ms: float = 1000) -> Awaitable[None]:
        """Wait until `condition()` is true; it is called after each interval, first when one has passed.

        The worker waits along, and runs nothing else. A cancel, Ctrl-C and a time limit end the waiting at once. In an
        `async def` task write `await handle.defer_until(...)`: then other coroutines of the task go on meanwhile, and
        the condition may be an `async def` too.

        Raises what the condition raises; `ValueError` where the interval is no number above 0, or the condition no
        function; `TypeError` for a condition that would have to be awaited by a task that can't.
        """
        seconds = argument.positive("defer_until(poll_interval_ms=...), in milliseconds,", poll_interval_ms) / 1000
        argument.function("defer_until(condition=...)", condition)
        if self._is_in_loop():
            deferral = Deferral(condition, seconds, self._unawaited)
            self._unawaited.add(deferral)
            return deferral
        time.sleep(seconds)
        while not _checked(condition()):
            time.sleep(seconds)
        return _DONE

    def is_slot_held(self) -> bool:
        """Whether the task holds its worker; it does from its beginning to its end, while it waits too."""
        return True

    def _is_in_loop(self) -> bool:
        """Whether this is called by the task's own coroutines, not by a thread that they have started."""
        if self._loop is None:
            return False
        import asyncio

        return asyncio._get_running_loop() is self._loop

    async def _lead(self, task: Awaitable[Any]) -> Any:
        """What comes of a task that is to be awaited, once it is clear that it has waited for all that it wanted to."""
        import asyncio

        self._loop = asyncio.get_running_loop()
        returned = await task
        if self._unawaited:
            raise RuntimeError(
                "The task called handle.defer_until(...) without waiting for it: in an `async def` task, write `await "
                "handle.defer_until(...)`."
            )
        return returned


class Deferral:
    """The waiting of an `async def` task; it begins when it is awaited."""

    def __init__(self, condition: Predicate, seconds: float, unawaited: "set[Deferral]") -> None:
        self._condition = condition
        self._seconds = seconds
        self._unawaited = unawaited

    def __await__(self) -> Generator[Any, None, None]:
        """Wait."""
        self._unawaited.discard(self)
        return self._wait().__await__()

    async def _wait(self) -> None:
        import asyncio

        while True:
            await asyncio.sleep(self._seconds)
            answer = self._condition()
            if await answer if isawaitable(answer) else answer:
                return


class _Over:
    """Stands for a waiting that is over."""

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield


_DONE = _Over()


def with_handle(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, to be called without its last argument: a handle of its own each time."""

    @wraps(function, assigned=(), updated=())
    def handled(*given: Any, **named: Any) -> Any:
        handle = TaskHandle()
        returned = function(*given, handle, **named)
        return handle._lead(returned) if isawaitable(returned) else returned

    return handled


def _checked(answer: Any) -> Any:
    if not isawaitable(answer):
        return answer
    if iscoroutine(answer):
        answer.close()
    raise TypeError(
        "The condition of defer_until would have to be awaited, which this task can't: make the task an `async def`, "
        "and write `await handle.defer_until(...)`."
    )
