"""A virtio-serial port by name: waits for the port, for the host, and for its return.

Linux (drivers/char/virtio_console.c) tells by read(2) whether the host has the port open:
without data it says EAGAIN while the host is there and end of file while it is not. So
every edge means: read to the end and see. Two things follow.

1. Data can be there before the port knows its host (both travel in queues of their own), and
   before it knows that the host before has left. So the end of file within EARLY_S of data
   is not believed: the connection is opened early or kept open, what is sent waits, and if
   no host is known when the time is up, the data was what a host had left behind: closed.
2. A host that leaves and another that comes between two looks, or within EARLY_S of the
   first one's last words, are one to us. The second one's hello says that it is new.
"""

import os
import select

from reconciler.errors import InvalidSpec, Unsupported
from reconciler.pump.device import ALL_EDGES, Device
from reconciler.pump.line import KERNEL, Flow, Kernel, Line
from reconciler.stream import Closed, Data, Drained, Endpoint, Event, Opened

FOLDER = "/dev/virtio-ports"  # udev links each port here by the name that the host gave it
EARLY_S = 1.0  # the host's data came some milliseconds early where measured


def endpoint(name: str) -> Endpoint:
    """From what follows `virtio-serial:`: the port's name."""
    if not name or "/" in name or name in (".", ".."):
        raise InvalidSpec("virtio-serial: is followed by the name of a port, as org.guest_reconciler.0")
    return VirtioSerial(name)


class VirtioSerial(Device):
    """One port; its hosts come one after the other."""

    edge = True

    def __init__(self, port: str, folder: str = FOLDER, kernel: Kernel = KERNEL) -> None:
        super().__init__(f"virtio-serial:{port}", os.path.join(folder, port), kernel)
        self._here = False  # the host is, or seems to be
        self._early_s: float | None = None  # until when it need only seem so, while it does
        self._heard_s = -EARLY_S  # when there last was data

    @property
    def due_s(self) -> float | None:
        due_s = super().due_s
        return self._early_s if due_s is None else due_s

    def open(self) -> int:
        try:
            return self.kernel.open(self.path)
        except FileNotFoundError:
            raise Unsupported("no such port") from None

    def opened(self, line: Line, now_s: float) -> list[Event]:
        self._here, self._early_s = False, None
        return self.turn(line, select.EPOLLIN, now_s)

    def turn(self, line: Line, mask: int, now_s: float) -> list[Event]:
        expired = self._early_s is not None and now_s >= self._early_s
        events: list[Event] = []
        if mask & select.EPOLLHUP and not mask & select.EPOLLIN:
            line.end("the port was unplugged")  # while the host is only away, the mask has both
        if (mask or expired) and not line.over:
            events += self._read(line, now_s)
            if self._here and self._early_s is None and line.flush():
                events.append(Drained(line))
        if line.over and self._here:
            self._here, self._early_s = False, None
            events.append(Closed(line, line.over))
        return events

    def _read(self, line: Line, now_s: float) -> list[Event]:
        chunks, flow = line.read()
        events: list[Event] = []
        if not self._here and (chunks or flow is Flow.DRY):
            self._here = True
            events.append(Opened(line))
        events += [Data(line, chunk) for chunk in chunks]
        if chunks:
            self._heard_s = now_s
        if flow is Flow.DRY:
            self._early_s = None
        elif flow is Flow.MORE:
            self.epoll.modify(line.fd, ALL_EDGES)  # reports again what is there to read
        elif self._here and not line.over:
            self._early_s = self._heard_s + EARLY_S
            if now_s >= self._early_s:
                line.end("the host closed the port")
                events.append(Closed(line, line.over))
                self._here, self._early_s = False, None
                self.line = self.new_line(line.fd)
        return events
