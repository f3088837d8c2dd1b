"""The virtio port over a model of one, which answers as drivers/char/virtio_console.c does."""

import errno
import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.pump.line import Kernel
from reconciler.stream import (
    SEND_BYTES_MAX,
    Closed,
    Connection,
    Data,
    Drained,
    Endpoint,
    Event,
    Opened,
    Trouble,
)
from reconciler.transports.virtio_serial import EARLY_S, VirtioSerial
from tests.transports.ends import descriptors, only, ready, received, settle

RING_BYTES = 32 << 10


class Port(Kernel):
    """One port. An eventfd gives its edges; what it reads and writes is decided here."""

    def __init__(self) -> None:
        self.present = True
        self.taken = False
        self.connected = False
        self.inbox = bytearray()  # from the host, not read yet
        self.outbox = bytearray()  # to the host, at most RING_BYTES
        self.opened = -1

    def arrive(self) -> None:
        self.connected = True
        self._edge()

    def leave(self) -> None:
        self.connected = False
        self.outbox.clear()
        self._edge()

    def put(self, data: bytes) -> None:
        self.inbox += data
        self._edge()

    def get(self) -> bytes:
        data = bytes(self.outbox)
        self.outbox.clear()
        self._edge()
        return data

    def _edge(self) -> None:
        if self.opened >= 0:
            os.eventfd_write(self.opened, 1)

    def open(self, path: str) -> int:
        if not self.present:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        if self.taken:
            raise OSError(errno.EBUSY, "Device or resource busy")
        self.opened = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        return self.opened

    def read(self, fd: int) -> bytes:
        data = bytes(self.inbox[:4096])
        del self.inbox[:4096]
        if not data and self.connected:
            raise BlockingIOError
        return data

    def write(self, fd: int, data: bytearray) -> int:
        room = RING_BYTES - len(self.outbox)
        if not self.connected or not room:
            raise BlockingIOError
        self.outbox += data[:room]
        return len(data[:room])

    def close(self, fd: int) -> None:
        os.close(fd)
        self.opened = -1


@pytest.fixture
def port() -> Port:
    return Port()


@pytest.fixture
def endpoint(port: Port, tmp_path: Path) -> Iterator[VirtioSerial]:
    endpoint = VirtioSerial("org.test.0", str(tmp_path / "virtio-ports"), port)
    yield endpoint
    endpoint.close()


def arrive(endpoint: VirtioSerial, port: Port) -> Connection:
    settle(endpoint)
    port.arrive()
    return only(Opened, settle(endpoint)).connection


def test_without_a_host_nothing_happens(endpoint: VirtioSerial) -> None:
    seen: Endpoint = endpoint  # for the type checker
    assert settle(seen) == []
    assert (seen.due_s, ready(seen)) == (None, False)


def test_a_host_that_is_there_already_is_found(endpoint: VirtioSerial, port: Port) -> None:
    port.arrive()
    only(Opened, settle(endpoint))


def test_a_host_that_arrives_leaves_and_returns(endpoint: VirtioSerial, port: Port) -> None:
    first = arrive(endpoint, port)
    assert not ready(endpoint)
    port.leave()
    assert settle(endpoint) == [Closed(first, "the host closed the port")]
    assert not ready(endpoint)
    assert not first.send(b"x")
    second = arrive(endpoint, port)
    assert second is not first
    port.put(b"in")
    assert settle(endpoint) == [Data(second, b"in")]
    assert second.send(b"out")
    assert port.get() == b"out"


def test_the_last_words_of_a_host_are_heard(endpoint: VirtioSerial, port: Port) -> None:
    connection = arrive(endpoint, port)
    port.put(b"bye")
    port.leave()
    assert settle(endpoint) == [Data(connection, b"bye")]
    assert endpoint.due_s == EARLY_S
    assert settle(endpoint, now_s=EARLY_S) == [Closed(connection, "the host closed the port")]


def test_the_late_news_of_a_host_that_left_takes_nothing_from_the_next(
    endpoint: VirtioSerial, port: Port
) -> None:
    """Seen on a busy emulator: the answer to the next host's first words was thrown away."""
    connection = arrive(endpoint, port)
    port.put(b"of the next host")
    assert settle(endpoint) == [Data(connection, b"of the next host")]
    port.leave()
    assert settle(endpoint) == []
    assert connection.send(b"answer")
    port.arrive()
    assert settle(endpoint) == [Drained(connection)]
    assert port.get() == b"answer"
    assert settle(endpoint, now_s=10 * EARLY_S) == []
    port.leave()
    assert settle(endpoint, now_s=10 * EARLY_S) == [Closed(connection, "the host closed the port")]


def test_data_that_comes_before_its_host_is_answered_once_the_host_is_known(
    endpoint: VirtioSerial, port: Port
) -> None:
    settle(endpoint)
    port.put(b"hello")
    events = settle(endpoint)
    connection = only(Opened, events).connection
    assert received(events) == b"hello"
    assert connection.send(b"answer")
    assert (port.get(), connection.pending_bytes) == (b"", 6)
    assert settle(endpoint) == []
    assert endpoint.due_s == EARLY_S
    port.arrive()
    assert settle(endpoint) == [Drained(connection)]
    assert port.get() == b"answer"
    assert settle(endpoint, now_s=10 * EARLY_S) == []


def test_data_that_a_host_left_behind_opens_nothing_for_long(endpoint: VirtioSerial, port: Port) -> None:
    settle(endpoint)
    port.put(b"left behind")
    connection = only(Opened, settle(endpoint)).connection
    connection.send(b"to nobody")
    assert settle(endpoint, now_s=EARLY_S) == [Closed(connection, "the host closed the port")]
    assert endpoint.due_s is None
    fresh = arrive(endpoint, port)
    assert fresh.pending_bytes == 0
    assert port.get() == b""


def test_a_host_that_never_reads_does_not_block(endpoint: VirtioSerial, port: Port) -> None:
    connection = arrive(endpoint, port)
    sent = b""
    while connection.send(b"m" * 100_000):
        sent += b"m" * 100_000
    assert SEND_BYTES_MAX - 100_000 < connection.pending_bytes <= SEND_BYTES_MAX
    assert settle(endpoint) == []
    got, events = b"", list[Event]()
    while len(got) < len(sent):
        got += port.get()
        events += settle(endpoint)
    assert got == sent
    assert only(Drained, events).connection is connection


@pytest.mark.parametrize("read_bytes", [0, 1, 100, RING_BYTES - 1, RING_BYTES])
def test_a_host_that_leaves_at_any_byte_takes_the_rest_with_it(
    endpoint: VirtioSerial, port: Port, read_bytes: int
) -> None:
    connection = arrive(endpoint, port)
    connection.send(b"old" * 100_000)
    del port.outbox[:read_bytes]
    port.leave()
    settle(endpoint)
    arrive(endpoint, port).send(b"new")
    assert port.get() == b"new"


def test_a_flood_takes_turns_and_is_not_forgotten(endpoint: VirtioSerial, port: Port) -> None:
    arrive(endpoint, port)
    port.put(b"x" * 1_000_000)
    once = received(endpoint.poll(0.0))
    assert 0 < len(once) < 300_000
    assert ready(endpoint)
    assert len(once + received(settle(endpoint))) == 1_000_000


def test_a_port_that_another_holds_is_told_once_and_tried_again(endpoint: VirtioSerial, port: Port) -> None:
    port.taken = True
    message = "cannot open virtio-serial:org.test.0: another process holds it"
    assert settle(endpoint) == [Trouble(message)]
    assert [settle(endpoint, now_s=second) for second in (1.0, 3.0)] == [[], []]
    assert endpoint.due_s == 7.0
    port.taken = False
    port.connected = True
    only(Opened, settle(endpoint, now_s=7.0))


def test_a_port_that_stays_away_costs_a_look_a_minute(endpoint: VirtioSerial, port: Port) -> None:
    port.present = False
    assert settle(endpoint) == [Trouble("cannot open virtio-serial:org.test.0: no such port")]
    now_s = 0.0
    looks: list[float] = []
    while len(looks) < 12:
        assert endpoint.due_s is not None
        looks.append(endpoint.due_s - now_s)
        now_s = endpoint.due_s
        assert settle(endpoint, now_s) == []
    assert looks[-4:] == [60.0] * 4


def test_a_port_that_appears_is_opened_at_once(endpoint: VirtioSerial, port: Port, tmp_path: Path) -> None:
    port.present = False
    settle(endpoint)
    (tmp_path / "virtio-ports").mkdir()
    settle(endpoint)
    port.present = port.connected = True
    (tmp_path / "virtio-ports/org.test.0").symlink_to("../vport1p1")
    assert ready(endpoint)
    only(Opened, settle(endpoint, now_s=0.1))
    assert not ready(endpoint)


@pytest.mark.parametrize("connected", [True, False])
def test_a_port_that_is_unplugged_is_given_back(endpoint: VirtioSerial, port: Port, connected: bool) -> None:
    """The kernel says HUP alone for this; an eventfd cannot, so the mask is handed in."""
    settle(endpoint)
    if connected:
        arrive(endpoint, port)
    line = endpoint.line
    assert line is not None
    port.connected = port.present = False
    events = endpoint.turn(line, select.EPOLLHUP, 0.0)
    assert events == ([Closed(line, "the port was unplugged")] if connected else [])
    assert endpoint.due_s == 0.0
    settle(endpoint)
    assert port.opened == -1
    only(Trouble, settle(endpoint, now_s=1.0))


def test_a_connection_closed_here_gives_the_port_back_for_a_while(endpoint: VirtioSerial, port: Port) -> None:
    connection = arrive(endpoint, port)
    connection.close()
    assert settle(endpoint) == [Closed(connection, "closed on this side")]
    assert port.opened == -1
    only(Opened, settle(endpoint, now_s=1.0))


def test_a_plain_file_in_place_of_a_port_is_told(tmp_path: Path) -> None:
    before = descriptors()
    (tmp_path / "org.test.0").write_text("")
    endpoint = VirtioSerial("org.test.0", str(tmp_path))
    only(Trouble, settle(endpoint))
    endpoint.close()
    assert descriptors() == before


@given(st.lists(st.sampled_from(["arrive", "leave", "put", "get"]), max_size=30))
def test_connections_begin_and_end_in_turn_whatever_the_host_does(deeds: list[str]) -> None:
    port = Port()
    endpoint = VirtioSerial("org.test.0", "/nonexistent", port)
    events: list[Event] = settle(endpoint)
    now_s = 0.0
    for deed in deeds:
        now_s += 0.4
        if deed == "put":
            port.put(b"x" * 5000)
        else:
            getattr(port, deed)()
        events += settle(endpoint, now_s)
    port.arrive()
    events += settle(endpoint, now_s + 2 * EARLY_S)
    here: Connection | None = None
    for event in events:
        match event:
            case Opened(connection):
                assert here is None
                here = connection
            case Closed(connection, _):
                assert here is connection
                here = None
            case Data(connection, _) | Drained(connection):
                assert here is connection
    assert here is not None
    assert len(received(events)) == 5000 * deeds.count("put")
    port.get()
    assert here.send(b"hello")
    assert port.get().endswith(b"hello")
    assert settle(endpoint) == []
    assert not ready(endpoint)
    endpoint.close()
