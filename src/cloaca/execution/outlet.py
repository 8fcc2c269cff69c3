"""Outlet: what a worker sends, in whole messages, from any thread and at any moment.

Also in the middle of sending: the garbage collector and signals interrupt a thread wherever it is, and a finalizer or a
handler may print, log or warn. Such a message waits until the one before it has gone.
"""

from collections import deque
from socket import socket
from threading import RLock

from cloaca.wire.frames import frame
from cloaca.wire.messages import Up


class Outlet:
    """The sending end of a worker's socket. No other process ever holds its lock."""

    def __init__(self, connection: socket) -> None:
        self._socket = connection
        self._lock = RLock()
        self._waiting: deque[bytes] = deque()
        self._is_sending = False

    def send(self, message: Up) -> None:
        """Send it, after all that waits; where this interrupts another call of the same thread, leave it to that."""
        self._waiting.append(frame(message))
        with self._lock:
            while self._waiting and not self._is_sending:
                self._is_sending = True
                try:
                    while self._waiting:
                        self._socket.sendall(self._waiting.popleft())
                finally:
                    self._is_sending = False
