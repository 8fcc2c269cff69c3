"""What a worker sends goes out whole and in order, also where sending is interrupted by what sends, too."""

from collections.abc import Callable
from threading import Thread
from typing import Any

import pytest

from cloaca.execution.outlet import Outlet
from cloaca.wire.frames import frame
from cloaca.wire.messages import Said


def said(n: int) -> Said:
    return Said(n, "stdout", f"line {n}\n")


class Connection:
    """Takes what is sent; `interruption` comes in the middle of the first message."""

    def __init__(self, interruption: Callable[[], None] = lambda: None) -> None:
        self.taken = b""
        self._interruption = interruption

    def sendall(self, data: bytes) -> None:
        interruption, self._interruption = self._interruption, lambda: None
        self.taken += data[:5]
        interruption()
        self.taken += data[5:]


def outlet_to(connection: Any) -> Outlet:
    return Outlet(connection)


def test_what_a_finalizer_sends_in_the_middle_of_sending_comes_after() -> None:
    connection = Connection(lambda: outlet.send(said(2)))
    outlet = outlet_to(connection)
    outlet.send(said(1))
    assert connection.taken == frame(said(1)) + frame(said(2))


def test_what_another_thread_sends_meanwhile_comes_after() -> None:
    threads = [Thread(target=lambda: outlet.send(said(2)))]
    connection = Connection(threads[0].start)
    outlet = outlet_to(connection)
    outlet.send(said(1))
    threads[0].join()
    assert connection.taken == frame(said(1)) + frame(said(2))


def test_an_interruption_that_raises_does_not_silence_what_follows() -> None:
    def interrupt() -> None:
        raise TimeoutError

    connection = Connection(interrupt)
    outlet = outlet_to(connection)
    with pytest.raises(TimeoutError):
        outlet.send(said(1))
    outlet.send(said(2))
    assert connection.taken.endswith(frame(said(2)))
