"""A stream within one process, for tests and simulations; no descriptor until asked."""

import os
from collections.abc import Sequence

from reconciler.stream import Closed, Data, Drained, Event, Opened, Unsent

READ_BYTES = 4096  # small, so that messages are cut as they are in life


class Memory:
    """The guest's end; `connect` gives a host's."""

    def __init__(self, name: str = "memory:") -> None:
        self.name = name
        self._events: list[Event] = []
        self._connections: list[_Connection] = []
        self._descriptor: int | None = None

    @property
    def due_s(self) -> float | None:
        return None

    def connect(self, room_bytes: int = 1 << 16) -> "Host":
        """A host arrives; it takes `room_bytes` before it must read."""
        connection = _Connection(self, f"{self.name}#{len(self._connections) + 1}", room_bytes)
        self._connections.append(connection)
        self.tell(Opened(connection))
        return Host(connection)

    def fileno(self) -> int:
        if self._descriptor is None:
            self._descriptor = os.eventfd(len(self._events), os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        return self._descriptor

    def poll(self, now_s: float) -> Sequence[Event]:
        events, self._events = self._events, []
        if events and self._descriptor is not None:
            os.eventfd_read(self._descriptor)
        return events

    def close(self) -> None:
        for connection in self._connections:
            connection.close()
        self._events = []
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def tell(self, event: Event) -> None:
        self._events.append(event)
        if self._descriptor is not None:
            os.eventfd_write(self._descriptor, 1)


class _Connection:
    def __init__(self, endpoint: Memory, name: str, room_bytes: int) -> None:
        self.name = name
        self.endpoint = endpoint
        self.open = True
        self._room_bytes = room_bytes
        self._unsent = Unsent()
        self._sent = bytearray()  # what the host has not read

    @property
    def pending_bytes(self) -> int:
        return len(self._unsent)

    def send(self, data: bytes) -> bool:
        if not self.open or not self._unsent.add(data):
            return False
        self._flush()
        return True

    def close(self) -> None:
        self.end("closed on this side")

    def end(self, reason: str) -> None:
        if self.open:
            self.open = False
            self._unsent.clear()
            self.endpoint.tell(Closed(self, reason))

    def read(self) -> bytes:
        """What the host reads, which makes room for what waits."""
        data, self._sent = bytes(self._sent), bytearray()
        waited = len(self._unsent) > 0
        self._flush()
        if waited and not self._unsent:
            self.endpoint.tell(Drained(self))
        return data

    def _flush(self) -> None:
        while len(self._unsent) and (room := self._room_bytes - len(self._sent)) > 0:
            data = self._unsent.head()[:room]
            self._sent += data
            self._unsent.took(len(data))


class Host:
    """The other end of one connection."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    @property
    def open(self) -> bool:
        return self._connection.open

    def send(self, data: bytes) -> None:
        """To the guest, unless it has closed; what it then did not get is lost, as in life."""
        for start in range(0, len(data) if self.open else 0, READ_BYTES):
            self._connection.endpoint.tell(Data(self._connection, data[start : start + READ_BYTES]))

    def receive(self) -> bytes:
        return self._connection.read()

    def leave(self) -> None:
        self._connection.end("the host hung up")
