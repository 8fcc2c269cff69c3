"""Coroutines: what an `async def` task leaves to be awaited is run to its end, in an event loop of its own.

In the end the loop is closed in order: tasks that are left are cancelled, and asynchronous generators shut down; also
when the worker is told to end, and on Ctrl-C. The program's own event loop and policy aren't touched.
"""

import asyncio
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from queue import SimpleQueue
from typing import Any


def finish(awaitable: Awaitable[Any]) -> Any:
    """What comes of it. Where this thread is inside an event loop already, that takes a thread beside it."""
    return _run(awaitable) if asyncio._get_running_loop() is None else _run_beside(awaitable)


def _run(awaitable: Awaitable[Any]) -> Any:
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(_awaiting(awaitable))


async def _awaiting(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _run_beside(awaitable: Awaitable[Any]) -> Any:
    """Run it in a thread, and wait. What interrupts the waiting cancels it."""
    begun: SimpleQueue[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any] | None]] = SimpleQueue()

    async def main() -> Any:
        begun.put((asyncio.get_running_loop(), asyncio.current_task()))
        return await awaitable

    with ThreadPoolExecutor(1, "cloaca async task") as thread:
        running = thread.submit(copy_context().run, _run, main())
        try:
            return running.result()
        except BaseException:
            if not running.done():
                _cancel(*begun.get())
            raise


def _cancel(loop: asyncio.AbstractEventLoop, task: "asyncio.Task[Any] | None") -> None:
    if task is not None:
        with suppress(RuntimeError):  # it has just ended, and its loop is closed
            loop.call_soon_threadsafe(task.cancel)
