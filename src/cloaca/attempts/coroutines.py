"""Coroutines: what an `async def` task leaves to be awaited is run to its end, in an event loop of its own.

In the end the loop is closed in order: tasks that are left are cancelled, and asynchronous generators shut down; also
when the worker is told to end, and on Ctrl-C. The program's own event loop and policy aren't touched.
"""

import asyncio
import os
from collections.abc import Awaitable
from concurrent.futures import Future, wait
from contextlib import suppress
from contextvars import copy_context
from threading import Thread
from typing import Any

from cloaca.attempts import child


def finish(awaitable: Awaitable[Any]) -> Any:
    """What comes of it. Where this thread is inside an event loop already, that takes a thread beside it."""
    return _run(awaitable) if asyncio._get_running_loop() is None else _run_beside(awaitable)


def _run(awaitable: Awaitable[Any]) -> Any:
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(_awaiting(awaitable))


async def _awaiting(awaitable: Awaitable[Any]) -> Any:
    """Await it. A process that it forks ends here: the loop is its parent's."""
    process = os.getpid()
    try:
        result = await awaitable
    except BaseException as error:
        child.end_unless_in(process, error)
        raise
    child.end_unless_in(process, None)
    return result


def _run_beside(awaitable: Awaitable[Any]) -> Any:
    """Run it in a thread, and wait. What interrupts the waiting cancels it, whether or not it has begun by then."""
    beside, ended = _Beside(awaitable), Future[Any]()
    thread = Thread(target=copy_context().run, args=(_resolve, ended, beside), name="cloaca async task", daemon=True)
    try:
        thread.start()
        return ended.result()
    except BaseException:
        if not ended.cancel():  # it has begun
            beside.cancel()
            wait([ended])
        raise


def _resolve(ended: "Future[Any]", beside: "_Beside") -> None:
    if not ended.set_running_or_notify_cancel():
        return
    try:
        ended.set_result(_run(beside.main()))
    except BaseException as error:  # noqa: BLE001 - raised where it is waited for
        ended.set_exception(error)


class _Beside:
    """Something to be awaited in another thread, unless it is cancelled."""

    def __init__(self, awaitable: Awaitable[Any]) -> None:
        self._awaitable = awaitable
        self._task: asyncio.Task[Any] | None = None
        self._is_cancelled = False

    async def main(self) -> Any:
        """Await it. One of the two sees what the other one has done, whoever comes first."""
        self._task = asyncio.current_task()
        if self._is_cancelled and self._task is not None:
            self._task.cancel()
        return await self._awaitable

    def cancel(self) -> None:
        """Cancel it, from the thread that waits for it. If it has ended, nothing happens."""
        self._is_cancelled = True
        if self._task is not None:
            with suppress(RuntimeError):  # its loop is closed
                self._task.get_loop().call_soon_threadsafe(self._task.cancel)
