"""Wake-ups from kernel files that tell poll(2) when they change, such as /proc/swaps."""

import os
import select


class PolledFile:
    """A `Watch` on one file of /proc or /sys; see proc_sys_poll and swaps_poll in the kernel.

    Such a file is always readable, and tells of a change by POLLPRI: an epoll descriptor
    around it turns that into one that is readable when there is something to drain.
    Raises OSError where there is no such file.
    """

    def __init__(self, path: str, items: tuple[str, ...] = ()) -> None:
        self.items = items
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._epoll = select.epoll()
        # Edge-triggered, because the file goes on telling until it is opened anew.
        self._epoll.register(self._file, select.EPOLLPRI | select.EPOLLET)

    def fileno(self) -> int:
        return self._epoll.fileno()

    def drain(self) -> bool:
        return bool(self._epoll.poll(0))

    def close(self) -> None:
        self._epoll.close()
        os.close(self._file)
