"""One open descriptor as a connection: reads within a budget, keeps what does not fit.

Descriptors live in an epoll instance of their endpoint, and that instance is what the
loop selects on. A virtio-serial port needs this: it says HUP for as long as the host is
away, which keeps a level-triggered selector busy, while an edge is reported once.
"""

import os
import select
from enum import Enum, auto

from reconciler.stream import POLL_BYTES_MAX, READ_BYTES, SEND_BYTES_MAX, Closed, Data, Drained, Event, Unsent

# A host that does not read is not read from: its requests would only add to what waits for it.
_CLOGGED_BYTES = SEND_BYTES_MAX // 2


class Kernel:
    """The system calls on a device, to be replaced where a test has no such device."""

    def open(self, path: str) -> int:
        return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)

    def read(self, fd: int) -> bytes:
        return os.read(fd, READ_BYTES)

    def write(self, fd: int, data: bytearray) -> int:
        return os.write(fd, data)

    def close(self, fd: int) -> None:
        os.close(fd)


KERNEL = Kernel()


class Flow(Enum):
    """How a descriptor stands after it was read."""

    DRY = auto()  # nothing more for now
    MORE = auto()  # the budget is spent
    END = auto()  # end of file


class Line:
    """A connection over a descriptor, which is opened and closed by the endpoint."""

    def __init__(
        self, name: str, fd: int, epoll: select.epoll, *, edge: bool = False, kernel: Kernel = KERNEL
    ) -> None:
        self.name = name
        self.fd = fd
        self.over = ""  # why it has ended, once it has
        self._epoll = epoll
        self._edge = edge
        self._kernel = kernel
        self._unsent = Unsent()
        self._interest = select.EPOLLIN

    @property
    def pending_bytes(self) -> int:
        return len(self._unsent)

    @property
    def clogged(self) -> bool:
        return len(self._unsent) > _CLOGGED_BYTES

    def send(self, data: bytes) -> bool:
        if self.over or not self._unsent.add(data):
            return False
        self.flush()
        return True

    def close(self) -> None:
        self.end("closed on this side")

    def end(self, reason: str) -> None:
        """It has ended, for the first reason given; what was unsent is gone."""
        self.over = self.over or reason
        self._unsent.clear()

    def turn(self) -> list[Event]:
        """Everything that can be done now, ending in `Closed` where it has ended."""
        events: list[Event] = []
        if self.flush():
            events.append(Drained(self))
        if not self.over and not self.clogged:
            chunks, flow = self.read()
            events += [Data(self, chunk) for chunk in chunks]
            if flow is Flow.END:
                self.end("the host hung up")
        if self.over:
            events.append(Closed(self, self.over))
        return events

    def flush(self) -> bool:
        """Write what fits; whether that was the last of it."""
        waited = len(self._unsent) > 0
        try:
            while len(self._unsent):
                count = self._kernel.write(self.fd, self._unsent.head())
                self._unsent.took(count)
                if not count:  # a virtio port whose ring is just full
                    break
        except BlockingIOError:
            pass
        except OSError as error:
            self.end(error.strerror or str(error))
        self._watch()
        return waited and not self.over and not self._unsent

    def read(self) -> tuple[list[bytes], Flow]:
        """What has come, at most POLL_BYTES_MAX, and how it stands now."""
        chunks: list[bytes] = []
        try:
            while sum(map(len, chunks)) < POLL_BYTES_MAX:
                chunk = self._kernel.read(self.fd)
                if not chunk:
                    return chunks, Flow.END
                chunks.append(chunk)
        except BlockingIOError:
            return chunks, Flow.DRY
        except OSError as error:
            self.end(error.strerror or str(error))
            return chunks, Flow.END
        return chunks, Flow.MORE

    def _watch(self) -> None:
        """Have epoll report what we wait for; edges are all reported anyway."""
        writing = select.EPOLLOUT if len(self._unsent) else 0
        interest = (0 if self.clogged else select.EPOLLIN) | writing
        if not self._edge and not self.over and interest != self._interest:
            self._epoll.modify(self.fd, interest)
            self._interest = interest
