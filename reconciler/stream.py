"""A byte stream to the host as the loop sees it: endpoints, connections, events.

The rules:

1. An endpoint has one descriptor. While it is readable, or `due_s` has passed, `poll`
   has something to say; otherwise nothing has happened and nobody need wake up.
2. Nothing here blocks. What cannot be written yet is kept, up to a limit, and what has
   no room is refused whole: a message never goes out by half because of us.
3. Each connection begins with `Opened` and ends with one `Closed`, whoever ended it.
   What it had not sent by then is gone.
4. No trouble of an endpoint is raised: it is told as `Trouble`, and tried again later.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

READ_BYTES = 64 << 10  # one read; a virtio port hands over 4 KiB, a socket some 200 KiB
POLL_BYTES_MAX = 256 << 10  # one connection in one poll, so that the others have their turn
SEND_BYTES_MAX = 1 << 20  # kept unsent; a whole status of a large guest, once
RETRY_S_FIRST = 1.0  # a service that is being restarted gives its port back by then
RETRY_S_MAX = 60.0  # a port that stays away costs one wake-up a minute


class Connection(Protocol):
    """One host at the other end. Compared by identity."""

    @property
    def name(self) -> str:
        """For a log line: the channel, and who is there where that is known."""

    @property
    def pending_bytes(self) -> int:
        """What was taken by `send` and has not gone out yet."""

    def send(self, data: bytes) -> bool:
        """Take one message whole and return True, or refuse it whole.

        Taken is whatever comes while nothing is pending, and then as long as
        SEND_BYTES_MAX suffices. `Drained` says when nothing is pending any more.
        """

    def close(self) -> None:
        """End it soon; `Closed` follows."""


@dataclass(frozen=True)
class Opened:
    """A host is there."""

    connection: Connection


@dataclass(frozen=True)
class Data:
    """What a host has sent."""

    connection: Connection
    data: bytes  # at most READ_BYTES, cut anywhere


@dataclass(frozen=True)
class Drained:
    """All that was pending for a host has gone out."""

    connection: Connection


@dataclass(frozen=True)
class Closed:
    """A host is gone, and why."""

    connection: Connection
    reason: str


@dataclass(frozen=True)
class Trouble:
    """What keeps an endpoint from its work, said once as long as it stays the same."""

    message: str


Event = Opened | Data | Drained | Closed | Trouble


class Endpoint(Protocol):
    """Where hosts come from: a port, a line or a listening socket."""

    @property
    def name(self) -> str:
        """As it was written: unix:/run/guest.sock."""

    @property
    def due_s(self) -> float | None:
        """When, on the clock given to `poll`, to call it even if the descriptor is quiet."""

    def fileno(self) -> int:
        """Readable, in any level-triggered selector, when `poll` has something to do."""

    def poll(self, now_s: float) -> Sequence[Event]:
        """What has happened, without blocking. `now_s` never goes back."""

    def close(self) -> None:
        """Give everything back at once, without events."""


class Unsent:
    """Bytes that wait for room, in order."""

    def __init__(self, bytes_max: int = SEND_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._bytes = bytearray()

    def __len__(self) -> int:
        return len(self._bytes)

    def add(self, data: bytes) -> bool:
        """Keep `data` whole, or refuse it whole; with nothing waiting, any length is kept."""
        if self._bytes and len(self._bytes) + len(data) > self._bytes_max:
            return False
        self._bytes += data
        return True

    def head(self) -> bytearray:
        """What to write next: a copy, so that the write may take its time."""
        return self._bytes[:READ_BYTES]

    def took(self, count: int) -> None:
        """Forget the first `count` bytes, which have gone out."""
        del self._bytes[:count]

    def clear(self) -> None:
        self._bytes = bytearray()


class Backoff:
    """When to try again: RETRY_S_FIRST after the first failure, then twice as long each time."""

    def __init__(self) -> None:
        self._wait_s = RETRY_S_FIRST

    def failed(self, now_s: float) -> float:
        """When to try again, after a failure just now."""
        retry_s = now_s + self._wait_s
        self._wait_s = min(2 * self._wait_s, RETRY_S_MAX)
        return retry_s

    def succeeded(self) -> None:
        self._wait_s = RETRY_S_FIRST
