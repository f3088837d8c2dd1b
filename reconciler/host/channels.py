"""Ways to a guest: a unix socket, vsock, a serial line; each opened as one byte stream."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from reconciler.host.failures import Misused

READ_BYTES = 64 << 10
BAUD = 115200  # what Linux consoles and QEMU's serial ports default to
FORMS = "unix:PATH, serial:DEV[,BAUD] or vsock:CID:PORT"


class Stream(Protocol):
    """Bytes both ways. Every method raises OSError once the other end is gone."""

    async def read(self) -> bytes:
        """Some bytes; none when the other end has closed."""

    def write(self, data: bytes) -> None:
        """Hold `data` until the other end takes it; never blocks."""

    async def drain(self) -> None:
        """Wait until everything written has gone out of this process."""

    def pending(self) -> int:
        """Bytes written that have not gone out yet."""

    def close(self) -> None: ...


Opener = Callable[[], Awaitable[Stream]]


def opener(channel: str) -> Opener:
    """How to open what `channel` names. Raises Misused for what names nothing."""
    scheme, _, rest = channel.partition(":")
    match scheme:
        case "unix" if rest:
            return lambda: _open_unix(rest)
        case "serial" if rest.partition(",")[0]:
            device, _, baud = rest.partition(",")
            speed = _number(channel, "the baud rate", baud or str(BAUD))
            if not speed:
                raise Misused(f"cannot use channel {channel!r}: a line of 0 baud is one that is hung up")
            return lambda: _open_serial(device, speed)
        case "vsock":
            cid, _, port = rest.partition(":")
            peer = _number(channel, "the CID", cid), _number(channel, "the port", port)
            return lambda: _open_vsock(*peer)
    raise Misused(f"cannot use channel {channel!r}: it is not {FORMS}")


def _number(channel: str, what: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:11]) < 1 << 32):
        raise Misused(f"cannot use channel {channel!r}: {what} {text!r} is not a number below 2^32")
    return int(text)


@dataclass
class _AsyncStream:
    """A stream over asyncio's own reader and writer."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    more: tuple[asyncio.BaseTransport, ...] = ()  # whatever else must be closed

    def __post_init__(self) -> None:
        # So that `drain` means "gone", not "not much left".
        self.writer.transport.set_write_buffer_limits(0)

    async def read(self) -> bytes:
        return await self.reader.read(READ_BYTES)

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    async def drain(self) -> None:
        await self.writer.drain()

    def pending(self) -> int:
        return self.writer.transport.get_write_buffer_size()

    def close(self) -> None:
        # Not `close`, which would wait for a guest that takes no more bytes.
        for transport in (self.writer.transport, *self.more):
            transport.abort() if isinstance(transport, asyncio.WriteTransport) else transport.close()


async def _open_unix(path: str) -> Stream:
    return _AsyncStream(*await asyncio.open_unix_connection(path))


async def _open_vsock(cid: int, port: int) -> Stream:
    peer = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    try:
        peer.setblocking(False)
        await asyncio.get_running_loop().sock_connect(peer, (cid, port))
        return _AsyncStream(*await asyncio.open_connection(sock=peer))
    except BaseException:
        peer.close()
        raise


async def _open_serial(device: str, baud: int) -> Stream:
    # Late: most channels are not serial lines, and pyserial takes 10 ms.
    import serial

    try:
        # exclusive: two hosts on one line would each take half of every answer.
        line = serial.Serial(device, baud, timeout=0, write_timeout=0, exclusive=True)
    except (ValueError, OverflowError) as error:
        raise Misused(f"cannot open serial line {device}: {error}") from None
    try:
        return await _over_descriptor(line.fileno())
    finally:
        line.close()  # the duplicates live on, with the line's settings


async def _over_descriptor(fd: int) -> Stream:
    """A stream over a character device, through two duplicates of its descriptor."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    pipes = [os.fdopen(os.dup(fd), mode, buffering=0) for mode in ("rb", "wb")]
    try:
        inward, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipes[0])
        # Its own reader stays empty: a protocol of asyncio's streams wants one for itself.
        outward, protocol = await loop.connect_write_pipe(
            lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), pipes[1]
        )
    except BaseException:
        for pipe in pipes:
            pipe.close()
        raise
    return _AsyncStream(reader, asyncio.StreamWriter(outward, protocol, None, loop), (inward,))
