"""Inlet: what a worker is told, whatever interrupts the reading of it.

Signal handlers, finalizers and other threads may raise an exception anywhere in it, and a handler may read in the
middle of reading. So there is one list of all that has come: messages, and behind them bytes that aren't read yet. It
changes in single steps, which nothing can interrupt: bytes are added, or bytes are replaced by the messages in them.
What an exception keeps from being done, the next one who reads does.
"""

import select
from functools import partial
from itertools import repeat
from socket import socket
from typing import Any

from cloaca.border.spin import Lookout
from cloaca.wire.frames import HungUp, messages_in, needed
from cloaca.wire.messages import Answer, Down, Slice

_CAPACITY = 1 << 16
_PATIENCE = 100  # ms: a handler that reads in the middle of reading takes along what its caller would wake up for


class Inlet:
    """The receiving end of a worker's socket, which doesn't block. `mail` is what has come: messages, and bytes."""

    def __init__(self, connection: socket) -> None:
        self.mail: list[Any] = []
        self._connection = connection
        self._lookout = Lookout()
        self._glance = partial(self._watch().poll, 0)
        self._receive = map(self.mail.append, map(connection.recv, repeat(_CAPACITY))).__next__

    def messages(self) -> list[Down]:
        """Those that have come, in order. They stay in the mail.

        Raises `HungUp` where no more will come, and `Garbled` where something else has read or written here.
        """
        return self.mail[: self._read()]

    def await_more(self, patience: int | None = None) -> None:
        """Wait until something comes, for so many milliseconds at most."""
        if not self._lookout.look(self._glance):
            self._watch().poll(patience)  # one for each wait: what interrupts it may wait, too
        self._receive_some()

    def answer(self, question: int) -> Slice:
        """Wait for the answer to a question. All else is left where it is."""
        while True:
            self.await_more(_PATIENCE)
            self._read()
            for message in reversed(self.mail):
                if type(message) is Answer and message.question == question:
                    return message.slice

    def _watch(self) -> "select.poll":
        watch = select.poll()
        watch.register(self._connection, select.POLLIN)
        return watch

    def _receive_some(self) -> None:
        try:
            self._receive()
        except BlockingIOError:
            return  # nothing is there, or what has interrupted this has received it

    def _read(self) -> int:
        """Make messages of bytes, as far as whole frames have come; returns how many messages there are."""
        mail = self.mail[:]
        start = len(mail)
        while start and type(mail[start - 1]) is bytes:
            start -= 1
        pieces: list[bytes] = mail[start:]
        if not pieces or (len(pieces) > 1 and pieces[-1] and sum(map(len, pieces)) < needed(pieces[0])):
            return start
        found, rest = messages_in(b"".join(pieces))
        has_ended = not pieces[-1]
        if has_ended and not found:
            raise HungUp("The program has closed the connection to this worker.")
        left = [rest, b""] if has_ended else [rest] * bool(rest)
        past = start + len(pieces)
        if self.mail[start] is pieces[0]:  # else what has interrupted this did it
            self.mail[start:past] = [*found, *left]
        return start + len(found)
