"""Streams in memory between client and fake guest, with faults, on a clock of ours."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from tests.host.fake_guest import FakeGuest, Session

T = TypeVar("T")


class _Selector(selectors.DefaultSelector):
    """Never waits: whenever all is quiet, the clock goes on to the next thing to do."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "everything waits for something that nobody will do"
        self.now_s += max(0.0, timeout)
        return super().select(0)


class ClockedLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = _Selector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now_s


def run(work: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` on a loop whose seconds take no time."""
    with asyncio.Runner(loop_factory=ClockedLoop) as runner:
        return runner.run(work)


class Wire:
    """Opens streams to one guest. Faults are set for the connection that is opened next."""

    def __init__(self, guest: FakeGuest) -> None:
        self.guest = guest
        self.opened = self.sent = 0
        self.cuts: list[tuple[int | None, int | None]] = []  # (to host, to guest) bytes of each connection
        self.before = b""  # arrives before everything else, on each connection
        self.alter: Callable[[int, bytes], bytes] = lambda number, data: data  # what the guest sends
        self.alter_to_guest: Callable[[bytes], bytes] = lambda data: data
        self.refuse: OSError | None = None
        self.streams: list[MemoryStream] = []

    async def open(self) -> "MemoryStream":
        if self.refuse:
            raise self.refuse
        cut = self.cuts[self.opened] if self.opened < len(self.cuts) else (None, None)
        self.opened += 1
        stream = MemoryStream(self, *cut)
        self.streams.append(stream)
        return stream


class MemoryStream:
    def __init__(self, wire: Wire, to_host_max: int | None, to_guest_max: int | None) -> None:
        self._wire = wire
        self._to_host_max, self._to_guest_max = to_host_max, to_guest_max
        self._inbox: asyncio.Queue[bytes] = asyncio.Queue()
        self.closed = False
        self.to_host = self.to_guest = 0
        self.session = Session(wire.guest, self._to_host)
        if wire.before:
            self._inbox.put_nowait(wire.before)
        self.session.hello()

    def _to_host(self, data: bytes) -> None:
        self._wire.sent += 1
        data = self._wire.alter(self._wire.sent, data)
        if self._to_host_max is not None:
            data = data[: max(0, self._to_host_max - self.to_host)]
        self.to_host += len(data)
        if data and not self.closed:
            self._inbox.put_nowait(data)
        if self.to_host == self._to_host_max:
            self.drop()

    def drop(self) -> None:
        """The other end goes away."""
        self.session.close()
        self._inbox.put_nowait(b"")

    async def read(self) -> bytes:
        return await self._inbox.get()

    def write(self, data: bytes) -> None:
        if self.closed:
            raise BrokenPipeError(32, "Broken pipe")
        if self._to_guest_max is not None:
            data = data[: max(0, self._to_guest_max - self.to_guest)]
        self.to_guest += len(data)
        self.session.receive(self._wire.alter_to_guest(data))
        if self.to_guest == self._to_guest_max:
            self.drop()

    async def drain(self) -> None:
        await asyncio.sleep(0)

    def pending(self) -> int:
        return 0

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.drop()
