"""The serial line with the real pyserial, on a pseudoterminal."""

import errno
import os
import select
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.stream import SEND_BYTES_MAX, Closed, Drained, Endpoint, Event, Opened, Trouble
from reconciler.transports.serial_line import SerialLine
from tests.transports.ends import PATIENCE_S, descriptors, only, ready, settle, wait, wait_for_bytes


class Wire:
    """A pseudoterminal under a name of our own, as a device that can be plugged in."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.host, self.device = os.openpty()
        os.set_blocking(self.host, False)
        path.symlink_to(os.ttyname(self.device))

    def unplug(self) -> None:
        if self.host >= 0:
            self.path.unlink()
            os.close(self.device)
            os.close(self.host)
            self.host = -1

    def read(self, count: int) -> bytes:
        """At least `count` bytes, and whatever comes with them."""
        data = b""
        while len(data) < count:
            assert select.select([self.host], [], [], PATIENCE_S)[0], "the line is silent"
            data += os.read(self.host, 65536)
        return data


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    wire = Wire(tmp_path / "ttyS1")
    yield wire
    wire.unplug()


@pytest.fixture
def endpoint(wire: Wire) -> Iterator[SerialLine]:
    endpoint = SerialLine(str(wire.path))
    yield endpoint
    endpoint.close()


def test_it_is_open_at_once_and_quiet(endpoint: SerialLine) -> None:
    seen: Endpoint = endpoint  # for the type checker
    only(Opened, settle(seen))
    assert (seen.due_s, ready(seen)) == (None, False)


@pytest.mark.parametrize("byte", [0x00, 0x03, 0x0A, 0x0D, 0x11, 0x13, 0x1A, 0x1E, 0x7F, 0xFF], ids=hex)
def test_every_byte_passes_both_ways_unchanged(endpoint: SerialLine, wire: Wire, byte: int) -> None:
    connection = only(Opened, settle(endpoint)).connection
    data = bytes([65, byte, 66])
    os.write(wire.host, data)
    assert wait_for_bytes(endpoint, 3) == data
    connection.send(data + b"!")
    assert wire.read(4) == data + b"!"  # an echo would have come before


@pytest.mark.parametrize(("baud", "code"), [(9600, termios.B9600), (115200, termios.B115200)])
def test_the_speed_is_as_written(wire: Wire, baud: int, code: int) -> None:
    endpoint = SerialLine(str(wire.path), baud)
    only(Opened, settle(endpoint))
    assert termios.tcgetattr(wire.device)[4:6] == [code, code]
    endpoint.close()


def test_a_host_that_never_reads_does_not_block(endpoint: SerialLine, wire: Wire) -> None:
    connection = only(Opened, settle(endpoint)).connection
    sent = b""
    while connection.send(message := os.urandom(50_000)):
        sent += message
    assert SEND_BYTES_MAX - 50_000 < connection.pending_bytes <= SEND_BYTES_MAX
    got = b""
    events: list[Event] = []
    while len(got) < len(sent):
        got += wire.read(1)
        events += settle(endpoint)
    assert got == sent
    assert only(Drained, events).connection is connection


def test_a_line_that_appears_is_opened_at_once(tmp_path: Path) -> None:
    endpoint = SerialLine(str(tmp_path / "dev" / "ttyS1"))
    assert only(Trouble, settle(endpoint)).message.endswith("ttyS1,115200: No such file or directory")
    (tmp_path / "dev").mkdir()
    settle(endpoint, now_s=0.1)
    wire = Wire(tmp_path / "dev" / "ttyS1")
    assert ready(endpoint)
    only(Opened, settle(endpoint, now_s=0.2))
    endpoint.close()
    wire.unplug()


def test_a_line_that_is_unplugged_is_waited_for(endpoint: SerialLine, wire: Wire) -> None:
    connection = only(Opened, settle(endpoint)).connection
    connection.send(b"x" * 900_000)
    wire.unplug()
    assert only(Closed, wait(endpoint, Closed)).connection is connection
    assert (endpoint.due_s, ready(endpoint)) == (1.0, False)
    only(Trouble, settle(endpoint, now_s=1.0))
    again = Wire(wire.path)
    fresh = only(Opened, settle(endpoint, now_s=1.1)).connection
    assert fresh is not connection
    os.write(again.host, b"hello")
    assert wait_for_bytes(endpoint, 5, now_s=1.1) == b"hello"
    endpoint.close()
    again.unplug()


def test_a_line_has_one_user(endpoint: SerialLine, wire: Wire) -> None:
    only(Opened, settle(endpoint))
    second = SerialLine(str(wire.path))
    assert only(Trouble, settle(second)).message.endswith(": another process holds it")
    endpoint.close()
    only(Opened, settle(second, now_s=1.0))
    second.close()


def test_a_connection_closed_here_is_opened_anew_later(endpoint: SerialLine) -> None:
    connection = only(Opened, settle(endpoint)).connection
    connection.close()
    assert settle(endpoint) == [Closed(connection, "closed on this side")]
    assert settle(endpoint, now_s=0.9) == []
    only(Opened, settle(endpoint, now_s=1.0))


@pytest.mark.parametrize("path", ["/dev/null", "/proc/self/status"])
def test_what_is_no_serial_line_is_told(path: str) -> None:
    endpoint = SerialLine(path)
    assert only(Trouble, settle(endpoint)).message.startswith(f"cannot open serial:{path},115200: ")
    endpoint.close()


def test_without_pyserial_it_says_so(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "serial", None)
    endpoint = SerialLine(str(wire.path))
    assert only(Trouble, settle(endpoint)).message.endswith(": pyserial is not installed here")
    endpoint.close()


def test_a_line_that_is_unplugged_while_it_opens_is_told(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    def unplugged(_: int) -> None:
        raise termios.error(errno.EIO, "Input/output error")

    import serial  # before: it takes the function itself

    endpoint = SerialLine(str(wire.path))
    monkeypatch.setattr(serial.Serial, "_reconfigure_port", lambda *_, **__: None)
    monkeypatch.setattr(termios, "tcgetattr", unplugged)
    assert only(Trouble, settle(endpoint)).message.endswith(": Input/output error")
    endpoint.close()


def test_everything_is_given_back(wire: Wire) -> None:
    before = descriptors()
    for path in (str(wire.path), str(wire.path) + "0"):
        endpoint = SerialLine(path)
        settle(endpoint)
        endpoint.close()
    assert descriptors() == before
