"""One descriptor: a socket pair stands for the channel."""

import select
import socket
from collections.abc import Iterator

import pytest

from reconciler.pump.line import Flow, Kernel, Line
from reconciler.stream import (
    POLL_BYTES_MAX,
    READ_BYTES,
    SEND_BYTES_MAX,
    Closed,
    Connection,
    Data,
    Drained,
    Event,
)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    with near, far:
        yield near, far


@pytest.fixture
def epoll() -> Iterator[select.epoll]:
    with select.epoll() as epoll:
        yield epoll


@pytest.fixture
def line(pair: tuple[socket.socket, socket.socket], epoll: select.epoll) -> Line:
    epoll.register(pair[0].fileno(), select.EPOLLIN)
    return Line("test:", pair[0].fileno(), epoll)


@pytest.fixture
def host(pair: tuple[socket.socket, socket.socket]) -> socket.socket:
    return pair[1]


def read_all(host: socket.socket) -> bytes:
    data = bytearray()
    try:
        while chunk := host.recv(1 << 20):
            data += chunk
    except BlockingIOError:
        pass
    return bytes(data)


def test_a_line_is_a_connection(line: Line) -> None:
    connection: Connection = line  # for the type checker
    assert connection.pending_bytes == 0


def test_bytes_pass_both_ways(line: Line, host: socket.socket) -> None:
    assert line.send(b"out")
    host.send(b"in")
    assert line.turn() == [Data(line, b"in")]
    assert host.recv(10) == b"out"


def test_a_host_that_never_reads_costs_a_bounded_memory_and_never_blocks(line: Line) -> None:
    message = b"m" * 100_000
    taken = sum(line.send(message) for _ in range(1000))
    assert SEND_BYTES_MAX - len(message) < line.pending_bytes <= SEND_BYTES_MAX
    assert 10 < taken < 100


def test_what_was_taken_arrives_in_order_once_it_is_read(
    line: Line, host: socket.socket, epoll: select.epoll
) -> None:
    sent = b""
    number = 0
    while line.send(message := b"%06d" % number * 1000):
        sent += message
        number += 1
    got = b""
    drained: list[Event] = []
    while not drained:
        got += read_all(host)
        assert epoll.poll(1) == [(line.fd, select.EPOLLOUT)]
        drained = line.turn()
    assert drained == [Drained(line)]
    assert got + read_all(host) == sent
    assert epoll.poll(0) == []


def test_a_host_that_does_not_read_is_not_read_from(
    line: Line, host: socket.socket, epoll: select.epoll
) -> None:
    assert line.send(b"x" * SEND_BYTES_MAX)
    assert line.clogged
    host.send(b"more work")
    assert epoll.poll(0) == []
    assert line.turn() == []
    events: list[Event] = []
    while line.clogged:
        read_all(host)
        events += line.turn()
    assert Data(line, b"more work") in events


def test_one_line_does_not_take_the_whole_turn(line: Line, host: socket.socket, epoll: select.epoll) -> None:
    host.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    sent = 0
    try:
        while True:
            sent += host.send(b"x" * READ_BYTES)
    except BlockingIOError:
        assert sent > POLL_BYTES_MAX
    chunks, flow = line.read()
    assert flow is Flow.MORE
    assert POLL_BYTES_MAX <= sum(map(len, chunks)) < POLL_BYTES_MAX + READ_BYTES
    assert epoll.poll(0) == [(line.fd, select.EPOLLIN)]


def test_the_last_bytes_come_before_the_end(line: Line, host: socket.socket) -> None:
    host.send(b"bye")
    host.close()
    assert line.turn() == [Data(line, b"bye"), Closed(line, "the host hung up")]
    assert not line.send(b"x")


def test_a_write_that_fails_ends_the_line_without_raising(line: Line, host: socket.socket) -> None:
    host.close()
    assert line.send(b"x")
    assert line.over == "Broken pipe"
    assert not line.send(b"x")
    assert line.turn() == [Closed(line, "Broken pipe")]


def test_what_is_unsent_at_the_end_is_gone(line: Line) -> None:
    line.send(b"x" * SEND_BYTES_MAX)
    line.close()
    assert line.pending_bytes == 0
    assert line.turn() == [Closed(line, "closed on this side")]


class Full(Kernel):
    """A device that writes nothing and says so, instead of EAGAIN: virtio_console.c in a full ring."""

    def write(self, fd: int, data: bytearray) -> int:
        return 0


def test_a_device_that_takes_nothing_is_left_for_later(epoll: select.epoll, host: socket.socket) -> None:
    line = Line("test:", host.fileno(), epoll, edge=True, kernel=Full())
    assert line.send(b"abc")
    assert line.pending_bytes == 3
