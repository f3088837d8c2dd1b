"""An endpoint on one device file, which may be absent, taken, or go away at any time."""

import errno
import os
import select
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from reconciler.errors import ReconcilerError
from reconciler.facilities.inotify import CREATE, MOVED_TO, Folders
from reconciler.pump.line import KERNEL, Kernel, Line
from reconciler.stream import Backoff, Data, Event, Trouble

ALL_EDGES = select.EPOLLIN | select.EPOLLOUT | select.EPOLLHUP | select.EPOLLET


class Device(ABC):
    """Opens the file when it appears, and anew after it failed; a subclass reads it."""

    edge: ClassVar[bool] = False  # whether the device is watched for edges, not levels

    def __init__(self, name: str, path: str, kernel: Kernel = KERNEL) -> None:
        self.name = name
        self.path = path
        self.kernel = kernel
        self.epoll = select.epoll()
        self.line: Line | None = None
        self._folder: Folders | None = None  # watched while the file is absent
        self._backoff = Backoff()
        self._retry_s = 0.0
        self._told = ""

    @property
    def due_s(self) -> float | None:
        if self.line is None:
            return self._retry_s
        return 0.0 if self.line.over else None

    def fileno(self) -> int:
        return self.epoll.fileno()

    def poll(self, now_s: float) -> list[Event]:
        masks = dict(self.epoll.poll(0))
        if self.line is None:
            if not self._appeared(masks) and now_s < self._retry_s:
                return []
            events = self._open(now_s)
        else:
            events = self.turn(self.line, masks.get(self.line.fd, 0), now_s)
        if any(isinstance(event, Data) for event in events):
            self._backoff.succeeded()
        if self.line is not None and self.line.over:
            self._give_back()
            self._retry_s = self._backoff.failed(now_s)
        return events

    def close(self) -> None:
        self._give_back()
        self._unwatch()
        self.epoll.close()

    @abstractmethod
    def open(self) -> int:
        """The descriptor, not blocking. Raises OSError or a ReconcilerError that says all."""

    @abstractmethod
    def opened(self, line: Line, now_s: float) -> list[Event]:
        """What follows from the device having been opened."""

    @abstractmethod
    def turn(self, line: Line, mask: int, now_s: float) -> list[Event]:
        """What has happened on the open device; `line.over` afterwards has it opened anew.

        `mask` is what epoll said, 0 for nothing.
        """

    def new_line(self, fd: int) -> Line:
        return Line(self.name, fd, self.epoll, edge=self.edge, kernel=self.kernel)

    def _open(self, now_s: float) -> list[Event]:
        # Watch before looking, or a file that appears between the two is missed.
        self._watch()
        try:
            self.line = self._start(self.open())
        except (OSError, ReconcilerError) as error:
            self._retry_s = self._backoff.failed(now_s)
            return self._tell(f"cannot open {self.name}: {_reason(error)}")
        self._unwatch()
        self._told = ""
        return self.opened(self.line, now_s)

    def _start(self, fd: int) -> Line:
        try:
            self.epoll.register(fd, ALL_EDGES if self.edge else select.EPOLLIN)
        except OSError:  # a plain file, which cannot be waited for
            self.give_back(fd)
            raise
        return self.new_line(fd)

    def _tell(self, message: str) -> list[Event]:
        if message == self._told:
            return []
        self._told = message
        return [Trouble(message)]

    def _give_back(self) -> None:
        if self.line is not None:
            self.epoll.unregister(self.line.fd)
            self.give_back(self.line.fd)
            self.line.end("closed on this side")
            self.line = None

    def give_back(self, fd: int) -> None:
        """Close what `open` opened."""
        self.kernel.close(fd)

    def _watch(self) -> None:
        if self._folder is not None:
            return
        folder, name = os.path.split(self.path)
        try:
            self._folder = Folders(folder, names=[name], mask=CREATE | MOVED_TO)
        except ReconcilerError:
            return  # the timer looks again, only later
        self.epoll.register(self._folder.fileno(), select.EPOLLIN)

    def _appeared(self, masks: Mapping[int, int]) -> bool:
        if self._folder is None or self._folder.fileno() not in masks:
            return False
        try:
            return self._folder.drain()
        except ReconcilerError:
            self._unwatch()  # the next attempt watches anew, or leaves it to the timer
            return True

    def _unwatch(self) -> None:
        if self._folder is not None:
            self.epoll.unregister(self._folder.fileno())
            self._folder.close()
            self._folder = None


def _reason(error: OSError | ReconcilerError) -> str:
    if not isinstance(error, OSError):
        return str(error)
    return "another process holds it" if error.errno == errno.EBUSY else error.strerror or str(error)
