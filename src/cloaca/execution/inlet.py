"""Inlet: what a worker is told, whatever interrupts the reading of it.

Signal handlers, finalizers and other threads may raise an exception anywhere in it, and a handler may read in the
middle of reading. So there is one list of all that has come: messages, and behind them bytes that aren't read yet. It
changes in single steps, which nothing can interrupt: bytes are added, or bytes are replaced by the messages in them.
What an exception keeps from being done, the next one who reads does.
"""

import select
from functools import partial
from itertools import repeat
from socket import MSG_DONTWAIT, socket
from typing import Any

import msgspec

from cloaca.execution.spin import Lookout
from cloaca.wire.frames import cut, decode_down, needed
from cloaca.wire.messages import Answer, Down, Slice

_CAPACITY = 1 << 16
_PATIENCE = 100  # ms: a handler that reads in the middle of reading takes along what its caller would wake up for


class HungUp(EOFError):  # noqa: N818 - no fault: so an idle worker learns that it isn't needed any more
    """The program has closed the connection, or sends what makes no sense."""


class Inlet:
    """The receiving end of a worker's socket. `mail` is what has come: messages, and bytes."""

    def __init__(self, connection: socket) -> None:
        self.mail: list[Any] = []
        self._connection = connection
        self._lookout = Lookout()
        self._receive = map(self.mail.append, map(connection.recv, repeat(_CAPACITY), repeat(MSG_DONTWAIT))).__next__

    def messages(self) -> list[Down]:
        """Those that have come, in order. They stay in the mail."""
        return self.mail[: self._read()]

    def await_more(self) -> None:
        """Wait until something comes. Raises `HungUp` where nothing will."""
        self._await(self._watch(), None)

    def answer(self, question: int) -> Slice:
        """Wait for the answer to a question. All else is left where it is."""
        watch = self._watch()
        while True:
            for message in reversed(self.mail):
                if type(message) is Answer and message.question == question:
                    return message.slice
            self._await(watch, _PATIENCE)

    def _watch(self) -> "select.poll":
        """One for each wait: what interrupts it may wait, too."""
        watch = select.poll()
        watch.register(self._connection, select.POLLIN)
        return watch

    def _await(self, watch: "select.poll", patience: int | None) -> None:
        try:
            if self._lookout.look(partial(watch.poll, 0)) or watch.poll(patience):
                self._receive()
        except BlockingIOError:
            return  # what has interrupted this has received it
        self._read()

    def _read(self) -> int:
        """Make messages of bytes, as far as whole frames have come; returns how many messages there are."""
        mail = self.mail[:]
        start = len(mail)
        while start and type(mail[start - 1]) is bytes:
            start -= 1
        pieces: list[bytes] = mail[start:]
        if not pieces or (pieces[-1] and sum(map(len, pieces)) < needed(pieces[0])):
            return start
        found, rest = _messages(b"".join(pieces))
        has_ended = not pieces[-1]
        if has_ended and not found:
            raise HungUp("The program has closed the connection to this worker.")
        left = [rest, b""] if has_ended else [rest] * bool(rest)
        past = start + len(pieces)
        if self.mail[start] is pieces[0]:  # else what has interrupted this did it
            self.mail[start:past] = [*found, *left]
        return start + len(found)


def _messages(data: bytes) -> tuple[list[Down], bytes]:
    bodies, rest = cut(data)
    try:
        return [message for body in bodies for message in decode_down(body)], rest
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise HungUp("The program has sent what makes no sense to this worker.") from error
