"""Channels that are really opened: a unix socket, a pty as a serial line."""

import asyncio
import os
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.host.channels import opener
from reconciler.host.client import connect
from reconciler.host.failures import Misused
from tests.host.fake_guest import FakeGuest, Session
from tests.host.served import served


@pytest.mark.parametrize(
    "channel",
    [
        *("", "unix", "unix:", "tcp:1.2.3.4:5"),
        *("serial:", "serial:,9600", "serial:/dev/x,0", "serial:/dev/x,fast", "serial:/dev/x,\u0663"),
        *("vsock:3", "vsock::1", "vsock:3:-1", "vsock:3:99999999999"),
    ],
)
def test_what_is_no_channel(channel: str) -> None:
    with pytest.raises(Misused, match="cannot use channel"):
        opener(channel)


def test_a_unix_socket(tmp_path: Path) -> None:
    async def work() -> None:
        async with connect(f"unix:{tmp_path}/g") as guest:
            assert (await guest.apply({"hostname": {"static": "x"}})).generation == 1

    with served(FakeGuest(), tmp_path / "g") as it:
        asyncio.run(work())
        assert it.guest.generation == 1


@pytest.fixture
def line() -> Iterator[tuple[int, str]]:
    """A guest's end of a serial line, and the device of the host's."""
    guest, host = os.openpty()
    tty.setraw(guest)
    name = os.ttyname(host)
    yield guest, name
    os.close(guest)
    os.close(host)


def test_a_serial_line(line: tuple[int, str]) -> None:
    fd, device = line

    async def work() -> None:
        guest = FakeGuest()
        session = Session(guest, lambda data: _write_all(fd, data))
        os.set_blocking(fd, False)
        loop = asyncio.get_running_loop()
        loop.add_reader(fd, lambda: session.receive(os.read(fd, 65536)))
        os.write(fd, b'the tail of what the last user was sent"}\n')
        async with connect(f"serial:{device},9600") as client:
            await client.apply({"files": {"/etc/motd": "x" * 3000}})
            assert (await client.wait(lambda s: True, timeout_s=10))["observedGeneration"] == 1
        loop.remove_reader(fd)

    asyncio.run(work())


def _write_all(fd: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            raise AssertionError("the line is full") from None


def test_a_serial_line_that_is_not_there(tmp_path: Path) -> None:
    async def work() -> None:
        with pytest.raises(OSError, match="No such file"):
            await opener(f"serial:{tmp_path}/tty")()

    asyncio.run(work())


def test_a_baud_rate_that_does_not_exist(line: tuple[int, str]) -> None:
    async def work() -> None:
        with pytest.raises((Misused, OSError)):
            await opener(f"serial:{line[1]},4294967295")()

    asyncio.run(work())


def test_vsock_gets_as_far_as_the_socket() -> None:
    async def work() -> None:
        with pytest.raises(OSError):  # noqa: PT011 - which one hangs on the kernel
            await opener("vsock:4294967290:5")()

    asyncio.run(work())
