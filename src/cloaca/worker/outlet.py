"""Outlet: what a worker sends, in whole messages, from any thread and at any moment, whatever interrupts it.

Signal handlers, finalizers and other threads may raise an exception anywhere in it, and may print, log or warn in the
middle of sending. So it moves on in steps of one call of C each, which nothing can interrupt: a message is added to
what has to go, or some of that has gone and is dropped. What an exception keeps from being sent, the next one sends.
"""

import select
from itertools import repeat
from socket import socket
from threading import RLock

from cloaca.wire.frames import frame
from cloaca.wire.messages import Up


class Outlet:
    """The sending end of a worker's socket, which doesn't block. No other process ever holds its lock."""

    def __init__(self, connection: socket) -> None:
        self._connection = connection
        self._lock = RLock()
        self._unsent = unsent = bytearray()
        self._push = map(unsent.__delitem__, map(slice, map(connection.send, repeat(unsent)))).__next__

    def send(self, message: Up) -> None:
        """Send it, after all that waits."""
        data = frame(message)
        with self._lock:
            self._unsent.extend(data)
            while self._unsent:
                try:
                    self._push()
                except BlockingIOError:
                    self._await_room()

    def _await_room(self) -> None:
        room = select.poll()
        room.register(self._connection, select.POLLOUT)
        room.poll()
