"""Outstanding requests: given out, taken back, bounded."""

import pytest

from reconciler.errors import Busy
from reconciler.protocols.calls import OUTSTANDING_MAX, Calls


def test_an_answer_finds_its_call_once() -> None:
    calls: Calls[str] = Calls(first_id=70)
    first, second = calls.begin("status"), calls.begin("ping")
    assert (first, second) == (70, 71)
    assert calls.end(second) == "ping"
    assert calls.end(second) is None
    assert calls.end(first) == "status"
    assert len(calls) == 0


@pytest.mark.parametrize("stray", [None, 5, "5", True], ids=repr)
def test_an_answer_to_nothing_is_nothing(stray: int | str | None) -> None:
    calls: Calls[str] = Calls(first_id=6)
    calls.begin("status")
    assert calls.end(stray) is None
    assert len(calls) == 1


def test_no_more_than_the_other_end_takes() -> None:
    calls: Calls[int] = Calls()
    ids = [calls.begin(number) for number in range(OUTSTANDING_MAX)]
    with pytest.raises(Busy, match="cannot send: 16 requests wait"):
        calls.begin(99)
    calls.end(ids[3])
    assert calls.begin(99) not in ids


def test_a_lost_connection_ends_all_and_no_id_comes_again() -> None:
    calls: Calls[str] = Calls()
    old = [calls.begin("a"), calls.begin("b")]
    assert calls.drop() == ["a", "b"]
    assert len(calls) == 0
    assert calls.begin("c") not in old
