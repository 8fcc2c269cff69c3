"""A bell for coroutines: whoever awaits an execution goes on in their event loop when something has happened."""

from asyncio import Event, get_running_loop
from contextlib import suppress


class Bell:
    """Rings in the event loop that runs where it is made. It may be rung on any thread."""

    def __init__(self) -> None:
        self._loop = get_running_loop()
        self._has_rung = Event()

    def put(self, _: None) -> None:
        """Ring, unless the loop was closed meanwhile: then nobody awaits anything any more."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._has_rung.set)

    async def heard(self) -> None:
        """Wait until it rings."""
        await self._has_rung.wait()
        self._has_rung.clear()
