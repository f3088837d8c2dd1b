"""Lists of numbers, read and written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.subjects.numbers import NUMBERS_MAX, listed, members


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param("0", [0], id="one"),
        pytest.param("0-3,7,9-10\n", [0, 1, 2, 3, 7, 9, 10], id="ranges"),
        pytest.param("", [], id="none"),
        pytest.param("0-1,x,5", [0, 1], id="ends at what is no number"),
        pytest.param("3-1", [], id="backwards"),
    ],
)
def test_members(text: str, found: list[int]) -> None:
    assert list(members(text)) == found


def test_members_are_bounded() -> None:
    assert len(list(members("0-999999999"))) == NUMBERS_MAX


@given(st.text() | st.text("0123456789-,²\n"))
def test_any_list_is_survived(text: str) -> None:
    assert all(number >= 0 for number in members(text))


@given(st.sets(st.integers(0, 300)))
def test_what_is_written_reads_back(numbers: set[int]) -> None:
    assert set(members(listed(numbers))) == numbers
    assert listed(reversed(sorted(numbers))) == listed(numbers)
