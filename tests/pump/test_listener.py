"""A listening socket and its connections, for real, over an abstract unix socket."""

import errno
import os
import resource
import socket
from collections.abc import Iterator

import pytest

from reconciler.errors import DriverError
from reconciler.pump.listener import CONNECTIONS_MAX, Listener
from reconciler.stream import Closed, Data, Opened, Trouble
from tests.transports.ends import only, ready, received, settle


class Abstract(Listener):
    """Lets everybody in, unless told otherwise."""

    def __init__(self) -> None:
        super().__init__("test:")
        self.address = ""
        self.reason = ""
        self.broken = False

    def bind(self) -> socket.socket:
        if self.broken:
            raise DriverError("it is broken")
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        bound.bind("")  # unix(7): the kernel chooses an abstract address
        self.address = bound.getsockname()
        return bound

    def refusal(self, peer: socket.socket) -> str:
        return self.reason


@pytest.fixture
def endpoint() -> Iterator[Abstract]:
    endpoint = Abstract()
    assert settle(endpoint) == []
    yield endpoint
    endpoint.close()


def call(endpoint: Abstract) -> socket.socket:
    caller = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    caller.connect(endpoint.address)
    return caller


def test_hosts_do_not_hear_each_other(endpoint: Abstract) -> None:
    with call(endpoint) as first, call(endpoint) as second:
        one, two = (event.connection for event in settle(endpoint) if isinstance(event, Opened))
        assert one.name != two.name
        two.send(b"two")
        assert second.recv(10) == b"two"
        first.send(b"one")
        assert settle(endpoint) == [Data(one, b"one")]


def test_a_host_that_left_makes_room_for_another(endpoint: Abstract) -> None:
    callers = [call(endpoint) for _ in range(CONNECTIONS_MAX)]
    assert len(settle(endpoint)) == CONNECTIONS_MAX
    with call(endpoint) as refused:
        trouble = only(Trouble, settle(endpoint))
        assert trouble.message == "refused a connection on test:: 8 connections are open"
        assert refused.recv(1) == b""
    callers[0].close()
    with call(endpoint):
        events = settle(endpoint)
        only(Closed, events)
        only(Opened, events)
    for caller in callers:
        caller.close()


def test_the_same_trouble_is_told_once(endpoint: Abstract) -> None:
    callers = [call(endpoint) for _ in range(CONNECTIONS_MAX)]
    settle(endpoint)
    for _ in range(20):
        callers.append(call(endpoint))
        callers.append(call(endpoint))
        if len(callers) > CONNECTIONS_MAX + 2:
            assert settle(endpoint) == []
        else:
            only(Trouble, settle(endpoint))
    for caller in callers:
        caller.close()


def test_the_last_words_of_a_host_are_heard(endpoint: Abstract) -> None:
    with call(endpoint) as host:
        host.send(b"bye")
    events = settle(endpoint)
    assert received(events) == b"bye"
    assert only(Closed, events).reason == "the host hung up"


def test_a_connection_closed_here_ends_at_the_host_too(endpoint: Abstract) -> None:
    with call(endpoint) as host:
        connection = only(Opened, settle(endpoint)).connection
        connection.close()
        assert endpoint.due_s == 0.0
        assert settle(endpoint) == [Closed(connection, "closed on this side")]
        assert host.recv(1) == b""
    assert endpoint.due_s is None


def test_a_host_that_vanishes_while_we_send_is_a_closed_connection(endpoint: Abstract) -> None:
    with call(endpoint):
        connection = only(Opened, settle(endpoint)).connection
        connection.send(b"x" * 1_000_000)
    settled = settle(endpoint)
    assert only(Closed, settled).connection is connection
    assert not connection.send(b"x")


def test_without_descriptors_it_listens_again_later(endpoint: Abstract) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with call(endpoint):
        highest = max(int(name) for name in os.listdir("/proc/self/fd"))
        fillers = [os.dup(0) for _ in range(highest)]  # no gap below the limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(fillers) + 1, hard))
        try:
            trouble = only(Trouble, settle(endpoint))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for filler in fillers:
                os.close(filler)
    assert trouble.message == "cannot listen on test:: Too many open files"
    assert not ready(endpoint)
    assert settle(endpoint, now_s=1.0) == []
    with call(endpoint):
        only(Opened, settle(endpoint, now_s=1.0))


def test_who_is_refused_hears_nothing(endpoint: Abstract) -> None:
    endpoint.reason = "not you"
    with call(endpoint) as host:
        assert settle(endpoint) == [Trouble("refused a connection on test:: not you")]
        assert host.recv(1) == b""


def test_who_left_before_we_asked_for_the_name_is_forgotten(
    endpoint: Abstract, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_: socket.socket) -> str:
        raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))

    with monkeypatch.context() as patch, call(endpoint) as host:
        patch.setattr(endpoint, "refusal", gone)
        assert settle(endpoint) == []
        assert host.recv(1) == b""
    with call(endpoint):
        only(Opened, settle(endpoint))


def test_what_cannot_listen_says_why_and_tries_again() -> None:
    endpoint = Abstract()
    endpoint.broken = True
    assert settle(endpoint) == [Trouble("cannot listen on test:: it is broken")]
    assert endpoint.due_s == 1.0
    assert settle(endpoint, now_s=1.0) == []
    endpoint.broken = False
    settle(endpoint, now_s=3.0)
    with call(endpoint):
        only(Opened, settle(endpoint, now_s=3.0))
    endpoint.close()
