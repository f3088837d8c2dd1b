"""Times as texts, against the standard library."""

from calendar import timegm
from time import gmtime, strftime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.subjects.timestamps import epoch_s, stamp

YEAR_9999_S = 253_402_300_799


def theirs(seconds: float) -> str:
    return strftime("%Y-%m-%dT%H:%M:%SZ", gmtime(seconds))


@given(st.integers(min_value=0, max_value=YEAR_9999_S))
def test_both_ways(seconds: int) -> None:
    assert stamp(seconds) == theirs(seconds)
    assert epoch_s(stamp(seconds)) == seconds == timegm(gmtime(seconds))


@pytest.mark.parametrize("year", [1972, 1999, 2000, 2001, 2004, 2099, 2100, 2400])
def test_around_the_turns_of_years_and_of_february(year: int) -> None:
    for date in (f"{year}-01-01", f"{year}-03-01"):
        first_s = epoch_s(f"{date}T00:00:00Z")
        for seconds in (first_s - 86_401, first_s - 1, first_s, first_s + 86_399):
            assert stamp(seconds) == theirs(seconds)


def test_fractions_are_cut_off() -> None:
    assert stamp(0.999) == "1970-01-01T00:00:00Z"
    assert stamp(-0.5) == "1969-12-31T23:59:59Z"
