"""A real clock: its zone, NTP, the host's time, the RTC, a change by hand, and sleep."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import pytest

from reconciler.host.timing import offer_time
from tests.vm.guest import Guest
from tests.vm.product import UNIT, again
from tests.vm.wire import Host, converged

pytestmark = pytest.mark.vm

TIMESYNCD = "systemd-timesyncd.service"
NEAR_S = 1.0  # how late the shell's answer may be
MAX_OFFSET_S = 0.5  # of a document that does not say
# What is left of a slew, and how far the clock has gone ahead of one that nobody slews; in milliseconds.
SLEWING = """
import time
from reconciler.facilities import timex
ahead_s = time.time() - time.clock_gettime(time.CLOCK_MONOTONIC_RAW)
print(timex.kernel().slewing_s * 1000, ahead_s * 1000)
"""
# SNTP, RFC 4330: a server that calls itself stratum 1 and answers with the clock that it sees.
NTP_SERVER = """
import socket, struct, time
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 123))
while True:
    asked, client = server.recvfrom(1024)
    now = int((time.time() + 2208988800) * 2**32).to_bytes(8, "big")
    head = struct.pack(">BBbb", 0o44, 1, 4, -20) + bytes(8) + b"TEST" + now
    server.sendto(head + asked[40:48] + now + now, client)
"""


def tell(host: Host, ahead_s: float = 0.0) -> dict[str, Any]:
    """What the product does for a guest that wants the time, which may be some seconds ahead of ours."""
    answers: list[dict[str, Any]] = []

    async def call(method: str, params: Mapping[str, Any]) -> Any:
        answers.append(dict(host.call(method, **params)))
        return answers[-1]

    asyncio.run(offer_time(call, lambda: time.time() + ahead_s))
    return answers[-1]


def off(guest: Guest) -> tuple[float, float]:
    """How far the guest's clock is from ours, by the shell, give or take the second number."""
    before_s = time.time()
    guest_s = float(guest.text("date +%s.%N"))
    after_s = time.time()
    return guest_s - (before_s + after_s) / 2, (after_s - before_s) / 2


def off_s(guest: Guest) -> float:
    return off(guest)[0]


def rtc_off_s(guest: Guest) -> float:
    return float(guest.text("cat /sys/class/rtc/rtc0/since_epoch")) + 0.5 - time.time()


def shown(host: Host) -> dict[str, Any]:
    return dict(host.status["observed"]["clock"])


def by_host(host: Host, **more: Any) -> None:
    """Put a document in force that has the clock set from us, and do our part."""
    number = host.apply({"clock": {"source": "host", **more}})
    tell(host)
    host.until(lambda status: converged(status, number))


def told(host: Host, reason: str) -> list[str]:
    return [event["message"] for event in host.call("events")["events"] if event["reason"] == reason]


def test_the_zone_is_set_kept_and_left(guest: Guest, host: Host) -> None:
    status = host.converge({"clock": "Asia/Tokyo"})
    assert guest.text("date +%Z") == "JST"
    assert status["observed"]["clock"]["zone"] == "Asia/Tokyo"
    guest.run("timedatectl set-timezone Europe/Berlin")
    guest.wait_until("test $(date +%Z) = JST", 10)
    guest.run("ln -sf /usr/share/zoneinfo/Etc/UTC /etc/localtime")
    guest.wait_until("test $(date +%Z) = JST", 10)
    host.reason("clock", "InSync")
    assert "Europe/Berlin, was Asia/Tokyo" in told(host, "ZoneChanged")
    host.converge({})
    guest.run("timedatectl set-timezone Europe/Berlin")
    time.sleep(3)
    assert guest.text("date +%Z") in ("CET", "CEST")
    host.apply({"clock": "Mars/Olympus_Mons"})
    assert "Mars/Olympus_Mons" in host.reason("clock", "NoSuchZone")["message"]


def test_ntp_is_switched_and_kept(guest: Guest, host: Host) -> None:
    host.converge({"clock": {"ntp": False}})
    assert guest.run(f"systemctl is-active {TIMESYNCD}", check=False).out == "inactive"
    assert guest.run(f"systemctl is-enabled {TIMESYNCD}", check=False).out == "disabled"
    guest.run(f"systemctl start {TIMESYNCD}", check=False)  # it may be stopped again before it is up
    guest.wait_until(f"! systemctl is-active {TIMESYNCD}", 10)
    host.converge({"clock": {"ntp": True}})
    assert guest.text(f"systemctl is-enabled {TIMESYNCD}") == "enabled"
    guest.run(f"systemctl stop {TIMESYNCD}")
    guest.wait_until(f"systemctl is-active {TIMESYNCD}", 10)
    assert host.reason("clock", "InSync")["attempts"] == 0


def test_synced_by_a_server_and_not_without_one(guest: Guest, host: Host) -> None:
    host.apply({"clock": "synced"})
    condition = host.reason("clock", "NotSynchronised")
    assert "systemd-timesyncd.service listens to no server yet" in condition["message"]
    guest.run(f"cat >/run/ntp.py <<'END'\n{NTP_SERVER}\nEND")
    guest.run("systemd-run --quiet python3 -B /run/ntp.py; mkdir -p /run/systemd/timesyncd.conf.d")
    guest.run("printf '[Time]\\nNTP=127.0.0.1\\n' >/run/systemd/timesyncd.conf.d/test.conf")
    guest.run(f"systemctl restart {TIMESYNCD}")
    host.reason("clock", "InSync", 60)
    seen = shown(host)
    assert (seen["source"], seen["synchronised"], seen["ntp"]["server"]) == ("ntp", True, "127.0.0.1")
    assert seen["error"] < 1
    # The kernel goes on believing that it is in step until somebody sets it.
    guest.run(f"systemctl mask --now {TIMESYNCD}; date -s '+5 seconds'")
    assert "no service for it is installed" in host.reason("clock", "NoTimeSource", 20)["message"]


def test_the_host_sets_a_wrong_clock(guest: Guest, host: Host) -> None:
    guest.run("date -s '2020-02-02 02:02:02'")
    by_host(host)
    assert abs(off_s(guest)) < NEAR_S
    assert abs(rtc_off_s(guest)) < NEAR_S + 0.5
    assert guest.run(f"systemctl is-active {TIMESYNCD}", check=False).out == "inactive"
    # With the round trip taken into account: what it is told is so, give or take what it is told.
    answer, (ahead_s, doubt_s) = tell(host), off(guest)
    assert abs(ahead_s - answer["ahead"]) <= answer["error"] + doubt_s
    assert 0 < answer["error"] < MAX_OFFSET_S
    seen = shown(host)
    assert seen["source"] == "host"
    assert abs(ahead_s - seen["ahead"]) <= seen["error"] + doubt_s
    assert seen["rtc"] == {"mode": "utc", "ahead": 0}
    # By hand, and nobody asks the host again.
    guest.run("date -s '+1 hour'")
    guest.wait_until(f"test $(date +%s) -lt {time.time() + 1000:.0f}", 20)
    assert abs(off_s(guest)) < NEAR_S
    steps = [round(float(message.split()[1])) for message in told(host, "ClockStepped")]
    assert {3600, -3600} <= set(steps)
    host.reason("clock", "InSync")
    assert "wants" not in host.call("hello", protocols=[1])["kinds"].get("hostname", {})
    assert host.call("hello", protocols=[1])["kinds"]["clock"]["wants"] == "time"


def test_a_little_is_slewed_and_not_stepped(guest: Guest, host: Host) -> None:
    guest.run("date -s '-1 hour'")
    by_host(host)
    told_before = len(told(host, "ClockStepped"))
    answer = tell(host, ahead_s=0.4)
    assert answer["ahead"] == pytest.approx(-0.4, abs=0.2)
    guest.run(f"cat >/run/slewing.py <<'END'\n{SLEWING}\nEND")
    look = "PYTHONDONTWRITEBYTECODE=1 python3 /run/slewing.py"
    guest.wait_until(f"{look} | grep '^[2-9]..'", 10)
    left_ms, ahead_ms = map(float, guest.text(look).split())
    time.sleep(10)
    left_later_ms, ahead_later_ms = map(float, guest.text(look).split())
    # 500 ppm of the ten seconds and of what it took to ask; the guest's clocks are all of one oscillator.
    moved_ms = ahead_later_ms - ahead_ms
    assert 4 < moved_ms < 20
    assert moved_ms == pytest.approx(left_ms - left_later_ms, abs=2)
    assert host.reason("clock", "InSync")["status"] == "True"
    assert len(told(host, "ClockStepped")) == told_before


def test_the_rtc_in_local_time(guest: Guest, host: Host) -> None:
    number = host.apply({"clock": {"zone": "Asia/Tokyo", "source": "host", "rtc": "local"}})
    tell(host)
    host.until(lambda status: converged(status, number))
    assert guest.text("tail -n1 /etc/adjtime") == "LOCAL"
    assert rtc_off_s(guest) == pytest.approx(9 * 3600, abs=2)
    assert shown(host)["rtc"] == {"mode": "local", "ahead": 0}
    # Somebody sets it to UTC, as another system on the same machine would.
    guest.run('python3 -c "from reconciler.facilities import timex; timex.set_rtc(local=False)"')
    tell(host)
    host.until(lambda status: shown(host)["rtc"]["ahead"] == 0)
    guest.wait_until(f"test $(cat /sys/class/rtc/rtc0/since_epoch) -gt {time.time() + 8 * 3600:.0f}", 20)


def test_sleep_is_noticed_and_the_clock_put_right(guest: Guest, host: Host) -> None:
    by_host(host)
    host.apply({"clock": {"source": "host"}, "power": {"suspend": {"token": "nap-1"}}})
    guest.wait_status("suspended")
    time.sleep(5)
    guest.qmp("system_wakeup")
    guest.wait_status("running")
    with again(guest, host) as later:
        assert "slept" in later.reason("clock", "NotSynchronised")["message"]
        assert [message for message in told(later, "WokeUp") if "of sleep" in message]
        tell(later)
        later.reason("clock", "InSync")
        assert abs(off_s(guest)) < NEAR_S


def test_the_rtc_sets_a_guest_that_was_held_still(guest: Guest, host: Host) -> None:
    by_host(host, rtc="utc")
    host.converge({"clock": {"source": "rtc", "maxOffset": "2s"}})
    guest.qmp("stop")
    time.sleep(8)
    guest.qmp("cont")
    assert off_s(guest) < -5
    guest.run("systemctl restart guest-reconciler")
    with again(guest, host) as later:
        later.reason("clock", "InSync")
        assert abs(off_s(guest)) < 2 + NEAR_S


def test_steps_back_that_the_policy_forbids(guest: Guest, host: Host) -> None:
    guest.run("date -s '+1 hour'")
    policy = "forbid: {acts: [clock.step-back]}"
    guest.run(f"echo '{policy}' >/etc/guest-reconciler/policy.yaml; systemctl restart {UNIT}")
    with again(guest, host) as later:
        later.apply({"clock": {"source": "host", "zone": "Asia/Tokyo"}})
        tell(later)
        assert "clock.step-back" in later.reason("clock", "Forbidden")["message"]
        assert off_s(guest) > 3000
        guest.run("date -s '-2 hours'")
        later.apply({"clock": {"source": "host"}})
        tell(later)
        later.reason("clock", "InSync")
        assert abs(off_s(guest)) < NEAR_S
