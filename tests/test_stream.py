"""Unsent bytes and waiting times, without I/O."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.stream import READ_BYTES, RETRY_S_MAX, Backoff, Unsent


def test_what_has_no_room_is_refused_whole() -> None:
    unsent = Unsent(bytes_max=10)
    assert unsent.add(b"123456")
    assert not unsent.add(b"78901")
    assert unsent.add(b"7890")
    assert unsent.head() == b"1234567890"


def test_with_nothing_waiting_any_length_is_kept() -> None:
    unsent = Unsent(bytes_max=10)
    assert unsent.add(b"x" * 1000)
    assert not unsent.add(b"y")
    unsent.took(1000)
    assert unsent.add(b"y" * 1000)


def test_a_write_is_offered_one_piece() -> None:
    unsent = Unsent()
    unsent.add(b"x" * (READ_BYTES + 1))
    assert len(unsent.head()) == READ_BYTES


def test_what_is_cleared_is_gone() -> None:
    unsent = Unsent()
    unsent.add(b"x")
    unsent.clear()
    assert len(unsent) == 0
    assert unsent.head() == b""


@given(st.lists(st.binary(max_size=8)), st.integers(1, 5))
def test_bytes_go_out_in_order_whatever_fits(messages: list[bytes], fits: int) -> None:
    unsent = Unsent()
    kept = [message for message in messages if unsent.add(message)]
    out = bytearray()
    while len(unsent):
        piece = unsent.head()[:fits]
        out += piece
        unsent.took(len(piece))
    assert out == b"".join(kept) == b"".join(messages)


def test_waits_double_up_to_a_minute_and_begin_anew() -> None:
    backoff = Backoff()
    assert [backoff.failed(100.0) - 100 for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, RETRY_S_MAX]
    backoff.succeeded()
    assert backoff.failed(0.0) == pytest.approx(1)
