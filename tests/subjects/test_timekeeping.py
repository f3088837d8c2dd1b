"""Bounds that stay bounds, and the host's time against ours."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.subjects.timekeeping import (
    DRIFT_PPM,
    WIDE,
    Estimate,
    Ntp,
    Reading,
    by_host,
    by_kernel,
    by_rtc,
    coarse,
    reference,
    steadied,
)

NOW = Reading(boot_s=500.0, wall_s=1_700_000_500.0)


@given(st.floats(-1e6, 1e6), st.floats(0, 1e4), st.floats(-1, 1))
def test_what_is_shown_holds_the_truth(ahead_s: float, error_s: float, where: float) -> None:
    shown = steadied(None, Estimate("host", ahead_s, error_s)).shown()
    truth_s = ahead_s + where * error_s
    assert abs(shown["ahead"] - truth_s) <= shown["error"] * 1.0001 + 1e-6


@given(st.lists(st.tuples(st.floats(-0.1, 0.1), st.floats(0, 0.1)), min_size=1), st.floats(0, 0.1))
def test_what_is_told_over_time_holds_and_is_not_far_too_wide(
    truths: list[tuple[float, float]], least_s: float
) -> None:
    told = None
    for ahead_s, error_s in truths:
        told = steadied(told, Estimate("host", ahead_s, error_s), least_s)
        assert abs(told.ahead_s - ahead_s) + error_s <= told.error_s + 1e-9
        assert told.error_s <= max(1e-6, error_s * 1.5 * 2.6, least_s * 2.6) * WIDE


def test_what_is_told_changes_with_who_says_it() -> None:
    told = steadied(None, Estimate("host", 0.0, 1.0))
    assert steadied(told, Estimate("host", 0.1, 0.5)) is told
    assert steadied(told, Estimate("rtc", 0.1, 0.5)).by == "rtc"


@given(st.floats(0, 1e6))
def test_coarse_is_no_less_and_not_much_more(seconds: float) -> None:
    assert seconds <= coarse(seconds) * 1.000001
    assert coarse(seconds) <= max(1e-6, seconds * 2.500001)


@given(ahead_s=st.floats(-1e5, 1e5), since_s=st.floats(0, 1e5))
def test_the_hosts_time_stays_good_and_its_bound_grows(ahead_s: float, since_s: float) -> None:
    told = {"bootClock": 500.0, "awakeClock": 500.0, "time": 1_700_000_500.0, "error": 0.001}
    host = reference(told, NOW)
    later = replace(NOW, boot_s=500.0 + since_s, wall_s=NOW.wall_s + since_s + ahead_s)
    estimate = by_host(host, later)
    assert estimate is not None
    assert estimate.ahead_s == pytest.approx(ahead_s, abs=1e-5)
    assert estimate.error_s == pytest.approx(0.001 + since_s * DRIFT_PPM / 1e6)


def test_nobody_knows() -> None:
    assert by_host(None, NOW) is None
    assert by_rtc(NOW) is None
    assert by_kernel(NOW) is None


def test_who_knows() -> None:
    assert by_rtc(replace(NOW, rtc_ahead_s=3.0)) == Estimate("rtc", -3.0, 0.5)
    synced = replace(NOW, synchronised=True, correcting_s=0.25, error_s=0.5)
    assert by_kernel(synced) == Estimate("kernel", -0.25, 0.5)
    timesyncd = Ntp(service="systemd-timesyncd.service", active=True, distance_s=0.25)
    assert by_kernel(replace(synced, ntp=timesyncd)) == Estimate("ntp", -0.25, 0.75)
