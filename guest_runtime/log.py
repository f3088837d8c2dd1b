"""The daemon's log: lines for standard error, which must neither block nor end the daemon."""

import os
import select
from collections import deque
from contextlib import suppress

LINES_MAX = 256  # kept while a freeze lasts, or nobody reads
LINE_BYTES_MAX = 4096  # what a pipe that poll(2) calls writable takes without blocking: PIPE_BUF in pipe(7)


class Log:
    """Any thread may `say`; only the loop's thread writes. The oldest lines go when nobody reads."""

    def __init__(self, fd: int = 2) -> None:
        self._fd = fd
        self._lines: deque[str] = deque(maxlen=LINES_MAX)
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)

    def say(self, text: str) -> None:
        self._lines.extend(text.splitlines())

    def write(self) -> None:
        """Write what can be written now."""
        while self._lines and self._poll.poll(0):
            line = self._lines.popleft().encode("utf-8", "replace")
            # A full disk, a reader that is gone: the line is lost, and the guest goes on.
            with suppress(OSError):
                os.write(self._fd, line[: LINE_BYTES_MAX - 1] + b"\n")


def hold_standard_descriptors() -> None:
    """Put the null device where 0, 1 or 2 is closed, or log lines would go into what comes to lie there."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(fd)
