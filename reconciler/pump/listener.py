"""An endpoint on a listening socket: each host that connects has a connection of its own."""

import errno
import os
import select
import socket
from abc import ABC, abstractmethod
from itertools import count

from reconciler.errors import ReconcilerError
from reconciler.pump.line import Line
from reconciler.stream import Backoff, Closed, Event, Opened, Trouble

CONNECTIONS_MAX = 8  # a controller, a watcher, a snapshot script, and as many again by mistake


class Listener(ABC):
    """Accepts and pumps; a subclass binds the socket and says who may come in."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._epoll = select.epoll()
        self._socket: socket.socket | None = None
        self._lines: dict[int, Line] = {}
        self._numbers = count(1)
        self._backoff = Backoff()
        self._retry_s = 0.0
        self._told = ""

    @property
    def due_s(self) -> float | None:
        if any(line.over for line in self._lines.values()):
            return 0.0
        return self._retry_s if self._socket is None else None

    def fileno(self) -> int:
        return self._epoll.fileno()

    def poll(self, now_s: float) -> list[Event]:
        events: list[Event] = []
        if self._socket is None and now_s >= self._retry_s:
            events += self._listen(now_s)
        ready = {fd for fd, _ in self._epoll.poll(0)}
        for line in list(self._lines.values()):
            if line.fd in ready or line.over:
                events += self._turn(line)
        # After the lines: whoever left has made room.
        if self._socket is not None and self._socket.fileno() in ready:
            events += self._accept(self._socket, now_s)
        return events

    def close(self) -> None:
        for line in list(self._lines.values()):
            self._drop(line)
        self._stop()
        self._epoll.close()

    @abstractmethod
    def bind(self) -> socket.socket:
        """A bound socket. Raises OSError or a ReconcilerError that says all."""

    @abstractmethod
    def refusal(self, peer: socket.socket) -> str:
        """Why this peer may not come in, or nothing."""

    def _listen(self, now_s: float) -> list[Event]:
        try:
            bound = self.bind()
            bound.listen(CONNECTIONS_MAX)
            bound.setblocking(False)
        except (OSError, ReconcilerError) as error:
            self._retry_s = self._backoff.failed(now_s)
            reason = error.strerror if isinstance(error, OSError) else error
            return self._tell(f"cannot listen on {self.name}: {reason}")
        self._told = ""
        self._socket = bound
        self._epoll.register(bound.fileno(), select.EPOLLIN)
        return []

    def _accept(self, listening: socket.socket, now_s: float) -> list[Event]:
        events: list[Event] = []
        for _ in range(CONNECTIONS_MAX):
            try:
                peer, _ = listening.accept()
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno == errno.ECONNABORTED:
                    continue
                # Out of descriptors, say. The caller stays in the queue and would wake us for ever.
                self._stop()
                self._retry_s = self._backoff.failed(now_s)
                return [*events, *self._tell(f"cannot listen on {self.name}: {error.strerror}")]
            events += self._welcome(peer)
        return events

    def _welcome(self, peer: socket.socket) -> list[Event]:
        full = len(self._lines) >= CONNECTIONS_MAX
        try:
            reason = f"{CONNECTIONS_MAX} connections are open" if full else self.refusal(peer)
        except OSError:  # it has left already, and nobody can say any more who it was
            peer.close()
            return []
        if reason:
            peer.close()
            return self._tell(f"refused a connection on {self.name}: {reason}")
        peer.setblocking(False)
        fd = peer.detach()
        line = Line(f"{self.name}#{next(self._numbers)}", fd, self._epoll)
        self._lines[fd] = line
        self._epoll.register(fd, select.EPOLLIN)
        self._backoff.succeeded()
        self._told = ""
        return [Opened(line)]

    def _turn(self, line: Line) -> list[Event]:
        events = line.turn()
        if events and isinstance(events[-1], Closed):
            self._drop(line)
        return events

    def _drop(self, line: Line) -> None:
        del self._lines[line.fd]
        self._epoll.unregister(line.fd)
        os.close(line.fd)
        line.end("closed on this side")

    def _stop(self) -> None:
        if self._socket is not None:
            self._epoll.unregister(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _tell(self, message: str) -> list[Event]:
        if message == self._told:
            return []
        self._told = message
        return [Trouble(message)]
