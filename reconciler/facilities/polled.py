"""Wake-ups from kernel files that tell poll(2) when they change, such as /proc/swaps."""

import os
import select

_BYTES_MAX = 64 * 1024  # the largest, mountinfo of a host of containers, is seldom longer


class PolledFile:
    """A `Watch` on one file of /proc or /sys; see proc_sys_poll and swaps_poll in the kernel.

    Such a file is always readable, and tells of a change by POLLPRI: an epoll descriptor
    around it turns that into one that is readable when there is something to drain. It
    tells once, and whoever waits for the descriptor has heard it: so to drain is to
    compare. Raises OSError where there is no such file.
    """

    def __init__(self, path: str, items: tuple[str, ...] = ()) -> None:
        self.items = items
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._epoll = select.epoll()
        # Edge-triggered, because some of these files go on telling until they are opened anew.
        self._epoll.register(self._file, select.EPOLLPRI | select.EPOLLET)
        self._seen = self._text()

    def fileno(self) -> int:
        return self._epoll.fileno()

    def drain(self) -> bool:
        """Whether the file reads otherwise than when it was last drained."""
        self._epoll.poll(0)
        before, self._seen = self._seen, self._text()
        return self._seen != before

    def close(self) -> None:
        self._epoll.close()
        os.close(self._file)

    def _text(self) -> bytes:
        return os.pread(self._file, _BYTES_MAX, 0)
