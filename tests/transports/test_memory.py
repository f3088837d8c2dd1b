"""The stream without a descriptor behaves as the others do."""

from reconciler.stream import SEND_BYTES_MAX, Closed, Data, Drained, Endpoint, Opened
from reconciler.transports.memory import READ_BYTES, Memory
from tests.transports.ends import descriptors, only, ready, received, settle


def test_bytes_pass_both_ways() -> None:
    endpoint = Memory()
    seen: Endpoint = endpoint  # for the type checker
    host = endpoint.connect()
    host.send(b"in")
    connection = only(Opened, list(seen.poll(0.0))[:1]).connection
    assert connection.send(b"out")
    assert host.receive() == b"out"


def test_messages_are_cut() -> None:
    endpoint = Memory()
    endpoint.connect().send(b"x" * (READ_BYTES + 1))
    assert [len(event.data) for event in endpoint.poll(0.0) if isinstance(event, Data)] == [READ_BYTES, 1]


def test_a_host_that_never_reads_costs_a_bounded_memory() -> None:
    endpoint = Memory()
    host = endpoint.connect(room_bytes=10)
    connection = only(Opened, list(endpoint.poll(0.0))).connection
    sent = b""
    while connection.send(b"m" * 100_000):
        sent += b"m" * 100_000
    assert connection.pending_bytes <= SEND_BYTES_MAX
    got = b""
    while connection.pending_bytes:
        got += host.receive()
    assert got + host.receive() == sent
    assert list(endpoint.poll(0.0)) == [Drained(connection)]


def test_a_host_that_leaves_ends_its_connection_only() -> None:
    endpoint = Memory()
    one, two = endpoint.connect(), endpoint.connect()
    first, second = (event.connection for event in endpoint.poll(0.0) if isinstance(event, Opened))
    one.send(b"bye")
    one.leave()
    assert list(endpoint.poll(0.0)) == [Data(first, b"bye"), Closed(first, "the host hung up")]
    assert not first.send(b"x")
    assert second.send(b"x")
    assert two.open


def test_what_a_closed_guest_is_sent_is_lost() -> None:
    endpoint = Memory()
    host = endpoint.connect()
    connection = only(Opened, list(endpoint.poll(0.0))).connection
    connection.close()
    host.send(b"x")
    assert not host.open
    assert received(list(endpoint.poll(0.0))) == b""


def test_a_loop_can_wait_for_it() -> None:
    before = descriptors()
    endpoint = Memory()
    assert not ready(endpoint)
    host = endpoint.connect()
    assert ready(endpoint)
    only(Opened, settle(endpoint))
    host.send(b"in")
    assert received(settle(endpoint)) == b"in"
    endpoint.close()
    assert descriptors() == before


def test_what_came_before_anybody_waited_is_not_missed() -> None:
    endpoint = Memory()
    endpoint.connect()
    assert ready(endpoint)
    endpoint.close()
