"""The clock's zone, source, steps and slews, decided without a clock."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.documents import read
from reconciler.errors import InvalidSpec
from reconciler.resource import Action
from reconciler.resources.clock import PATIENCE_S, Clock, Desired, Observed
from reconciler.subjects.timekeeping import Estimate, Ntp, Reading

TIMESYNCD = Ntp(service="systemd-timesyncd.service", active=True, server="ntp.example.org")
OFF = replace(TIMESYNCD, active=False, server="")
NOW = Reading(boot_s=1000.0, wall_s=1_700_001_000.0, zone="Etc/UTC", ntp=OFF, rtc_ahead_s=0.2)
NTP = replace(NOW, synchronised=True, error_s=0.02, ntp=TIMESYNCD)
HOST = Desired(managed=True, source="host", ntp=False)
RTC = Desired(managed=True, source="rtc", ntp=False)
SYNCED = Desired(managed=True, synced=True, ntp=True)


def off(ahead_s: float, error_s: float = 0.01, reading: Reading = NOW) -> Observed:
    return Observed(reading=reading, estimate=Estimate("host", ahead_s, error_s))


def slewing(observed: Observed, by_s: float) -> Observed:
    assert observed.reading is not None
    return replace(observed, reading=replace(observed.reading, slewing_s=by_s))


@pytest.mark.parametrize(
    ("desired", "observed", "acts"),
    [
        pytest.param(Desired(), Observed(), [], id="not managed"),
        pytest.param(Desired(managed=True), Observed(reading=NOW), [], id="only looked at"),
        pytest.param(
            Desired(managed=True, zone="Asia/Tokyo"),
            Observed(reading=NOW),
            [Action("set", "zone", value="Asia/Tokyo")],
            id="another zone",
        ),
        pytest.param(
            Desired(managed=True, zone="Asia/Nowhere"),
            Observed(reading=replace(NOW, zone_exists=False)),
            [],
            id="a zone that there is not",
        ),
        pytest.param(SYNCED, Observed(reading=NOW), [Action("set", "ntp", value=True)], id="NTP on"),
        pytest.param(SYNCED, Observed(reading=replace(NOW, ntp=None)), [], id="no NTP service"),
        pytest.param(HOST, off(0.0, reading=NTP), [Action("set", "ntp", value=False)], id="one source"),
        pytest.param(
            HOST,
            off(-60.0),
            [Action("step", "clock", value=60.0), Action("write", "rtc")],
            id="behind, and the RTC gets it too",
        ),
        pytest.param(
            HOST,
            off(60.0, reading=replace(NOW, rtc_ahead_s=None)),
            [Action("step-back", "clock", value=-60.0)],
            id="ahead, without an RTC",
        ),
        pytest.param(HOST, off(-0.4), [Action("slew", "clock", value=0.4)], id="a little is slewed"),
        pytest.param(HOST, off(-0.2), [], id="less is left alone"),
        pytest.param(HOST, off(-60.0, 59.6), [Action("slew", "clock", value=60.0)], id="surely a little"),
        pytest.param(HOST, off(-60.0, 61.0), [], id="not surely off"),
        pytest.param(HOST, slewing(off(-0.4), 0.4), [], id="a slew is under way"),
        pytest.param(
            HOST,
            slewing(off(0.4), 0.3),
            [Action("step-back", "clock", value=-0.4), Action("write", "rtc")],
            id="a slew the wrong way",
        ),
        pytest.param(HOST, Observed(reading=NOW), [], id="no host yet"),
        pytest.param(RTC, off(-60.0), [Action("step", "clock", value=60.0)], id="not written back"),
        pytest.param(SYNCED, off(-60.0, reading=NTP), [], id="to set it is NTP's"),
        pytest.param(
            Desired(managed=True, rtc="local"),
            Observed(reading=NOW),
            [Action("set", "rtc", value="local")],
            id="the RTC's mode",
        ),
        pytest.param(
            replace(HOST, rtc="local"),
            off(-60.0),
            [Action("step", "clock", value=60.0), Action("set", "rtc", value="local")],
            id="the RTC's mode, with the time after the step",
        ),
        pytest.param(
            replace(SYNCED, rtc="utc"),
            off(0.0, reading=replace(NTP, rtc_ahead_s=3600.0)),
            [Action("write", "rtc")],
            id="the RTC's time",
        ),
        pytest.param(
            Desired(managed=True, rtc="utc"),
            Observed(reading=replace(NOW, rtc_ahead_s=3600.0)),
            [],
            id="whether RTC or clock is right is not known",
        ),
    ],
)
def test_plan(desired: Desired, observed: Observed, acts: list[Action]) -> None:
    assert list(Clock.plan(desired, Clock.diff(desired, observed))) == acts


def lacking(observed: Observed, since_s: float = 1000.0) -> Observed:
    return replace(observed, lacking_since_s=since_s)


AGO = 1000.0 - PATIENCE_S


@pytest.mark.parametrize(
    ("desired", "observed", "reason", "mood", "words"),
    [
        pytest.param(HOST, off(0.0), "InSync", "ready", "Etc/UTC, by host", id="right"),
        pytest.param(HOST, off(-0.4), "InSync", "ready", "by host", id="a slew is nothing to tell"),
        pytest.param(HOST, off(-60.0), "Drifted", "", "the clock is 60.000 s behind", id="behind"),
        pytest.param(SYNCED, Observed(reading=NOW), "Drifted", "", "NTP is off", id="NTP is off"),
        pytest.param(
            SYNCED,
            lacking(Observed(reading=replace(NTP, synchronised=False))),
            "NotSynchronised",
            "waiting",
            "listens to ntp.example.org",
            id="so soon",
        ),
        pytest.param(
            SYNCED,
            lacking(Observed(reading=replace(NOW, ntp=replace(OFF, active=True))), AGO),
            "NoTimeSource",
            "failed",
            "listens to no server yet",
            id="no NTP server",
        ),
        pytest.param(
            SYNCED,
            Observed(reading=replace(NOW, ntp=None)),
            "NoTimeSource",
            "failed",
            "no service for it is installed",
            id="no NTP service",
        ),
        pytest.param(
            SYNCED,
            Observed(reading=replace(NTP, ntp=None), estimate=Estimate("kernel", 0.0, 0.1)),
            "InSync",
            "ready",
            "by kernel",
            id="something that we do not know keeps it right",
        ),
        pytest.param(
            HOST, lacking(Observed(reading=NOW)), "NotSynchronised", "waiting", "no host", id="no host"
        ),
        pytest.param(
            HOST,
            lacking(off(0.0, 0.6), AGO),
            "NoTimeSource",
            "failed",
            "known to 0.600 s",
            id="a host too far",
        ),
        pytest.param(
            RTC, lacking(Observed(reading=NOW), AGO), "NoTimeSource", "failed", "no RTC", id="no RTC"
        ),
        pytest.param(
            Desired(managed=True, zone="Asia/Nowhere"),
            Observed(reading=replace(NOW, zone_exists=False)),
            "NoSuchZone",
            "failed",
            "Asia/Nowhere",
            id="no such zone",
        ),
        pytest.param(Desired(), Observed(), "InSync", "ready", "", id="not managed"),
    ],
)
def test_verdict(desired: Desired, observed: Observed, reason: str, mood: str, words: str) -> None:
    verdict = Clock.verdict(desired, observed, Clock.diff(desired, observed))
    moods = {"ready": verdict.ready, "waiting": verdict.waiting, "failed": verdict.failed}
    assert (verdict.reason, [name for name, so in moods.items() if so]) == (reason, [mood] if mood else [])
    assert words in verdict.message


seconds = st.floats(-1e6, 1e6).map(lambda s: round(s, 3))
readings = st.builds(
    Reading,
    boot_s=st.just(1000.0),
    wall_s=st.just(1_700_001_000.0),
    slewing_s=st.floats(-1, 1),
    zone=st.sampled_from(["", "Etc/UTC", "Asia/Tokyo"]),
    ntp=st.sampled_from([None, OFF, TIMESYNCD]),
    rtc_ahead_s=st.none() | st.just(0.0) | seconds,
    rtc_local=st.booleans(),
)


@given(
    desired=st.builds(
        Desired,
        managed=st.booleans(),
        zone=st.sampled_from([None, "Asia/Tokyo"]),
        ntp=st.sampled_from([None, True, False]),
        source=st.sampled_from([None, "host", "rtc"]),
        synced=st.booleans(),
        rtc=st.sampled_from([None, "utc", "local"]),
    ),
    observed=st.builds(
        Observed,
        reading=st.none() | readings,
        estimate=st.none() | st.builds(Estimate, st.just("host"), seconds, st.floats(0, 100)),
    ),
)
def test_a_whole_plan_leaves_nothing_to_do(desired: Desired, observed: Observed) -> None:
    for action in Clock.plan(desired, Clock.diff(desired, observed)):
        assert action.verb in Clock.verbs  # or a policy could not name it
        assert action.phase >= Clock.earliest
        had_rtc = observed.reading is not None and observed.reading.rtc_ahead_s is not None
        observed = Clock.foresee(observed, action)
        assert had_rtc == (observed.reading is not None and observed.reading.rtc_ahead_s is not None)
    assert Clock.diff(desired, observed) == ()


def test_what_is_shown_keeps_still() -> None:
    shown = Clock.show(off(0.0123, 0.004, reading=replace(NTP, rtc_ahead_s=-0.7)))
    assert shown == {
        "zone": "Etc/UTC",
        "synchronised": True,
        "source": "host",
        "ahead": 0.01,
        "error": 0.01,
        "ntp": {"service": "systemd-timesyncd.service", "active": True, "server": "ntp.example.org"},
        "rtc": {"mode": "utc", "ahead": 0},
    }
    told = Estimate("host", 0.25, 1.0)
    assert Clock.show(replace(off(0.0125, 0.0045), told=told))["ahead"] == 0.25


def test_events() -> None:
    after = replace(NTP, wall_s=NTP.wall_s + 5.0, zone="Asia/Tokyo", synchronised=False)
    notices = Clock.notices(Observed(reading=NTP), Observed(reading=after))
    assert [(each.reason, each.message) for each in notices] == [
        ("ClockStepped", "by +5.000 s"),
        ("ZoneChanged", "Asia/Tokyo, was Etc/UTC"),
        ("ClockUnsynchronised", "systemd-timesyncd.service listens to ntp.example.org"),
    ]
    assert Clock.notices(Observed(), Observed(reading=NTP)) == ()
    later = replace(NTP, boot_s=NTP.boot_s + 9.0, wall_s=NTP.wall_s + 9.01)
    assert Clock.notices(Observed(reading=NTP), Observed(reading=later)) == ()


@pytest.mark.parametrize(
    ("text", "desired"),
    [
        pytest.param("clock: synced", SYNCED, id="synced"),
        pytest.param("clock: Europe/Berlin", Desired(managed=True, zone="Europe/Berlin"), id="zone"),
        pytest.param(
            "clock: America/Argentina/Buenos_Aires",
            Desired(managed=True, zone="America/Argentina/Buenos_Aires"),
            id="a long zone",
        ),
        pytest.param("clock: {zone: Etc/GMT+1}", Desired(managed=True, zone="Etc/GMT+1"), id="a zone with +"),
        pytest.param("clock: {source: host}", HOST, id="the host's time, so no NTP"),
        pytest.param(
            "clock: {state: synced, source: rtc, maxOffset: 2s}",
            replace(RTC, synced=True, max_offset_s=2.0),
            id="the RTC's time",
        ),
        pytest.param(
            "clock: {state: synced, ntp: false, rtc: local}",
            Desired(managed=True, synced=True, ntp=False, rtc="local"),
            id="synced by something else",
        ),
        pytest.param(
            "clock: {source: rtc, maxOffset: 500ms}",
            replace(RTC, max_offset_s=0.5),
            id="as exact as an RTC is",
        ),
        pytest.param("clock: {ntp: true}", Desired(managed=True, ntp=True), id="NTP alone"),
    ],
)
def test_reads(text: str, desired: Desired) -> None:
    assert Clock.parse(read(text)[0].normal["clock"]) == desired


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("clock: sync", id="no such word"),
        pytest.param("clock: ../../etc/passwd", id="out of the folder"),
        pytest.param("clock: Europe/../UTC", id="up and down"),
        pytest.param("clock: -rf", id="an option"),
        pytest.param("clock: /etc/localtime", id="a path"),
        pytest.param('clock: "UTC\\nX"', id="two lines"),
        pytest.param("clock: UTC;reboot", id="a shell's words"),
        pytest.param("clock: " + "A" * 65, id="too long"),
        pytest.param("clock: A/b/c/d", id="too deep"),
        pytest.param("clock: {source: host, ntp: true}", id="two sources"),
        pytest.param("clock: {source: ntp}", id="no such source"),
        pytest.param("clock: {maxOffset: 0s}", id="nothing is that right"),
        pytest.param("clock: {rtc: gmt}", id="no such mode"),
        pytest.param("clock: {source: rtc, maxOffset: 499ms}", id="an RTC is not that exact"),
    ],
)
def test_refuses(text: str) -> None:
    with pytest.raises(InvalidSpec, match=r"spec\.clock"):
        Clock.parse(read(text)[0].normal["clock"])
