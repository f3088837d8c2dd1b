"""Bounds that stay bounds, and the host's time against ours."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.subjects.timekeeping import (
    DRIFT_PPM,
    Estimate,
    Ntp,
    Reading,
    by_host,
    by_kernel,
    by_rtc,
    coarse,
    reference,
)

NOW = Reading(boot_s=500.0, wall_s=1_700_000_500.0)


@given(st.floats(-1e6, 1e6), st.floats(0, 1e4), st.floats(-1, 1))
def test_what_is_shown_holds_the_truth(ahead_s: float, error_s: float, where: float) -> None:
    shown = Estimate("host", ahead_s, error_s).shown()
    truth_s = ahead_s + where * error_s
    assert abs(shown["ahead"] - truth_s) <= shown["error"] * 1.0001 + 1e-6


@given(st.floats(0, 1e6))
def test_coarse_is_no_less_and_not_much_more(seconds: float) -> None:
    assert seconds <= coarse(seconds) * 1.000001
    assert coarse(seconds) <= max(1e-6, seconds * 2.500001)


@given(ahead_s=st.floats(-1e5, 1e5), since_s=st.floats(0, 1e5))
def test_the_hosts_time_stays_good_and_its_bound_grows(ahead_s: float, since_s: float) -> None:
    host = reference({"bootClock": 500.0, "time": 1_700_000_500.0, "error": 0.001}, NOW)
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
