"""What a worker sends goes out whole and in order, whatever interrupts the sending."""

import select
from collections.abc import Callable, Iterator
from socket import MSG_DONTWAIT, socket, socketpair
from threading import Thread

import pytest

from cloaca.wire.frames import FrameReader, decode_up, frame
from cloaca.wire.messages import Said
from cloaca.worker.outlet import Outlet


def said(n: int, size: int = 0) -> Said:
    return Said(n, "stdout", f"line {n}\n" + "x" * size)


LARGE = 1 << 20


class Line:
    """A socket pair; `full` is what happens when the sender finds no room, beside making some."""

    def __init__(self) -> None:
        self.sender, self._receiver = socketpair()
        self.sender.setblocking(False)
        self.taken = b""
        self.full: Callable[[], None] = lambda: None

    def take(self) -> None:
        """Receive what is there."""
        try:
            while True:
                self.taken += self._receiver.recv(LARGE, MSG_DONTWAIT)
        except BlockingIOError:
            return

    def register(self, given: socket, event: int) -> None:
        assert (given, event) == (self.sender, select.POLLOUT)

    def poll(self) -> None:
        """In the place of waiting for room."""
        self.take()
        full, self.full = self.full, lambda: None
        full()

    def close(self) -> None:
        self.sender.close()
        self._receiver.close()


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    line = Line()
    monkeypatch.setattr(select, "poll", lambda: line)
    yield line
    line.close()


def test_what_does_not_fit_goes_when_there_is_room(line: Line) -> None:
    Outlet(line.sender).send(said(1, LARGE))
    line.take()
    assert line.taken == frame(said(1, LARGE))


def test_what_a_handler_sends_while_another_message_waits_comes_after(line: Line) -> None:
    outlet = Outlet(line.sender)
    line.full = lambda: outlet.send(said(2, LARGE))
    outlet.send(said(1, LARGE))
    line.take()
    assert line.taken == frame(said(1, LARGE)) + frame(said(2, LARGE))


def test_what_an_exception_has_kept_from_going_goes_with_the_next(line: Line) -> None:
    def interrupt() -> None:
        raise TimeoutError

    outlet = Outlet(line.sender)
    line.full = interrupt
    with pytest.raises(TimeoutError):
        outlet.send(said(1, LARGE))
    line.take()
    assert 0 < len(line.taken) < LARGE
    outlet.send(said(2))
    line.take()
    assert line.taken == frame(said(1, LARGE)) + frame(said(2))


def test_threads_send_whole_messages() -> None:
    ours, theirs = socketpair()
    ours.setblocking(False)
    outlet = Outlet(ours)

    def send(name: int) -> None:
        for n in range(50):
            outlet.send(said(name * 100 + n, n * 1000))

    threads = [Thread(target=send, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    reader, found = FrameReader(theirs, decode_up), list[object]()
    while len(found) < 200:
        found += reader.receive()
    for thread in threads:
        thread.join()
    ours.close()
    theirs.close()
    for name in range(4):
        mine = [message for message in found if isinstance(message, Said) and message.attempt // 100 == name]
        assert mine == [said(name * 100 + n, n * 1000) for n in range(50)]
