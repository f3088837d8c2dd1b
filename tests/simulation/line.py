"""The channel between them: what one side sends, the other gets late, torn, twice or never.

Seamless is what a virtio port or a serial line is: the host's end stays open whatever
becomes of the agent, which finds what was sent to the one before it.
"""

import asyncio
from collections.abc import Callable

from reconciler.protocols.channel import Broken, Channel
from reconciler.transports.memory import Host, Memory
from tests.simulation.clock import Clock
from tests.simulation.luck import Luck

READ_BYTES = 4096
LEFT_BYTES_MAX = 8192  # what a port keeps for the next agent
LATE_S = 12.0
TICK_S = 1e-6  # between two pieces, since what is due at one time comes in any order


class Pipe:
    """One direction of one connection; `deliver` gets what is left of it."""

    def __init__(self, luck: Luck, clock: Clock, deliver: Callable[[bytes], None]) -> None:
        self._luck, self._clock, self._deliver = luck, clock, deliver
        self._due_s = 0.0  # of the last bytes under way: they keep their order
        self._kept = b""  # the beginning of a message that is still being sent
        self._held = b""  # a message that changes places with the next one
        self._last = b""
        self._cut_after = luck.draw.randrange(6000) if luck.strikes("cuts") else None
        self.cut: Callable[[], None] = lambda: None

    def send(self, data: bytes) -> None:
        *whole, self._kept = (self._kept + data).split(b"\n")
        for line in whole:
            self._message(line + b"\n")

    def _message(self, message: bytes) -> None:
        held, self._held, self._last = self._held, b"", message
        if self._luck.strikes("noise"):
            message = self._spoilt(message)
        self._bytes(message + held)

    def _spoilt(self, message: bytes) -> bytes:
        draw = self._luck.draw
        place, end = sorted((draw.randrange(len(message)), draw.randrange(len(message))))
        match draw.randrange(10):
            case 0:
                return b""
            case 1:
                return message + message
            case 2 | 8 | 9:
                self._late(message)
                return message if draw.random() < 0.5 else b""
            case 3:
                self._held = message
                return b""
            case 4:
                return draw.randbytes(draw.randrange(30)).replace(b"\x1e", b"") + message
            case 5:
                torn = message[:place] + message[end:]
            case 6:
                torn = message[:end] + message[place:]
            case _:
                torn = message[:place] + draw.randbytes(draw.randint(1, 3)) + message[end:]
        # Noise that makes another good message of one is for a checksum on the line to find.
        return torn if _only_broken(torn) else message[:place] + b"\xff" + message[place + 1 :]

    def _late(self, message: bytes) -> None:
        """Also into another connection, if this is a line without a seam."""
        delay_s = self._luck.draw.uniform(0, LATE_S)
        if self._clock.time() + delay_s < self._luck.until_s:
            self._clock.after(delay_s, lambda: self._deliver(message))

    def echo(self) -> None:
        """The last message once more, after what comes next."""
        if self._luck.has("noise") and self._last:
            self._late(self._last)

    def _bytes(self, data: bytes) -> None:
        if self._cut_after is not None:
            data, beyond = data[: self._cut_after], data[self._cut_after :]
            self._cut_after -= len(data)
            if beyond:
                self._at(data)
                self.cut()
                return
        while data:
            size = self._luck.draw.randint(1, 500) if self._luck.has("slow") else READ_BYTES
            self._at(data[:size])
            data = data[size:]

    def _at(self, data: bytes) -> None:
        now_s = self._clock.time()
        delay_s = self._luck.draw.uniform(0, 3) if self._luck.strikes("slow", 0.3) else self._luck.little_s()
        self._due_s = max(self._due_s + TICK_S, now_s + delay_s)
        self._clock.after(self._due_s - now_s, lambda: self._deliver(data))


class Stream:
    """The host's end of one connection, as its client wants it."""

    def __init__(self, line: "Line") -> None:
        luck, clock = line.luck, line.clock
        self._line = line
        self._inbox: asyncio.Queue[bytes] = asyncio.Queue()
        self.open = True
        self.to_host = Pipe(luck, clock, self._arrived)
        self.to_guest = Pipe(luck, clock, lambda data: line.reach_guest(self, data))
        self.to_host.cut = self.to_guest.cut = self.end

    def _arrived(self, data: bytes) -> None:
        if self.open and data:
            self._inbox.put_nowait(data)

    def end(self) -> None:
        """The other end goes away."""
        self._arrived(b"")
        if self.open:
            self._inbox.put_nowait(b"")
            self.close()

    async def read(self) -> bytes:
        return await self._inbox.get()

    def write(self, data: bytes) -> None:
        if not self.open:
            raise BrokenPipeError(32, "Broken pipe")
        self.to_guest.send(data)

    async def drain(self) -> None:
        pass

    def pending(self) -> int:
        return 0

    def close(self) -> None:
        self.open = False
        self._line.host_left(self)


class Line:
    def __init__(self, luck: Luck, clock: Clock) -> None:
        self.luck, self.clock = luck, clock
        self.stream: Stream | None = None
        self.deaf_until_s = 0.0
        self._endpoint: Memory | None = None  # of the agent that lives
        self._guest: Host | None = None  # our handle of its connection
        self._left = b""  # bytes that wait for the next agent
        self.stirred: Callable[[], None] = lambda: None  # the agent has something to read

    async def open(self) -> Stream:
        """For the host."""
        if self._endpoint is None and not self.luck.seamless:
            raise ConnectionRefusedError(111, "Connection refused")
        if self.stream is not None:
            self.stream.end()
        self.stream = Stream(self)
        self._meet()
        return self.stream

    def agent_came(self, endpoint: Memory) -> None:
        self._endpoint = endpoint
        self._meet()

    def agent_went(self) -> None:
        self._endpoint = self._guest = None
        if self.stream is not None:
            if self.luck.seamless:
                self.stream.to_host.echo()
            else:
                self.stream.end()

    def host_left(self, stream: Stream) -> None:
        if stream is self.stream:
            self.stream = None
            if self._guest is not None:
                self._guest.leave()
                self._guest = None
                self.stirred()

    def reach_guest(self, stream: Stream, data: bytes) -> None:
        if stream is not self.stream and not self.luck.seamless:
            return
        if self._guest is None:
            self._left = (self._left + data)[-LEFT_BYTES_MAX:] if self.luck.seamless else b""
            return
        self._guest.send(data)
        self.stirred()

    def pull(self) -> None:
        """Take what the agent has sent, unless the host does not read."""
        if self._guest is None or self.stream is None:
            return
        if self.clock.time() < self.deaf_until_s:
            return
        guest, stream = self._guest, self.stream
        while data := guest.receive():
            stream.to_host.send(data)

    def deafen(self, seconds: float) -> None:
        self.deaf_until_s = self.clock.time() + seconds

        def hear() -> None:
            self.pull()
            self.stirred()  # it may have been waiting for room

        self.clock.after(seconds, hear)

    def _meet(self) -> None:
        if self._endpoint is None or self.stream is None:
            return
        self._guest = self._endpoint.connect(self.luck.room_bytes)
        if self._left:
            self._guest.send(self._left)
            self._left = b""
        self.stirred()


def _only_broken(message: bytes) -> bool:
    # Followed by a good one, as it is on the line.
    events = Channel.of_host().receive_data(message + b"\x1e{}\n")
    return all(isinstance(event, Broken) for event in events)
